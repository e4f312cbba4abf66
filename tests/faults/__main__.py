"""python -m tests.faults: carries out the protocol, or a slice of it; exit code 1 when anything is wrong.

--full             all counts (make soak); without it the slice of every commit (make faults)
--seed N           of everything that is chosen by chance; printed
--only P1,P3       some parts
--modes a,b        some modes
--lanes N          servers that work at the same time; default 2
--limit N          at most so many cells a part
--minutes N        begins no cell after that; every part has its share of the time, and its cells are taken by chance
--results FILE     where the JSON goes
"""

from __future__ import annotations

import argparse
import contextlib
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psycopg

from tests.faults import plan, results
from tests.faults.cells import unfired
from tests.faults.dataset import MODES
from tests.faults.lane import Lane
from tests.faults.protocol import Runner, Task, open_lanes


def main() -> int:
    arguments = _arguments()
    found = results.Results(seed=arguments.seed, full=arguments.full, minutes=arguments.minutes)
    started = time.monotonic()

    def tell(text: str) -> None:
        print(f"[{time.monotonic() - started:6.1f}s] {text}", file=sys.stderr, flush=True)

    def save() -> None:
        found.seconds = round(time.monotonic() - started, 1)
        results.write(found, arguments.results)

    tell(f"seed {arguments.seed}, {'everything' if arguments.full else 'the slice of every commit'}")
    with contextlib.ExitStack() as stack:
        lanes = _open(stack, arguments)
        with psycopg.connect(lanes[0].admin) as connection:
            found.versions = results.versions(connection.info.parameter_status("server_version") or "")
        _carry_out(arguments, lanes, Runner(found, tell, save), tell)
    if "P1" in arguments.only and not arguments.limit and set(arguments.modes) == set(MODES):
        found.unfired = unfired(found.fired)
    save()
    for point in found.unfired:
        tell(f"FAILED: failpoint {point} fired in no cell")
    failing = sum(len(part.failing) for part in found.parts.values())
    cells = sum(part.cells for part in found.parts.values())
    tell(f"{cells} cells, {failing} failing, seed {found.seed}: {arguments.results}")
    return 1 if found.failed else 0


def _open(stack: contextlib.ExitStack, arguments: argparse.Namespace) -> list[Lane]:
    """The lanes; with a server beside them whose rows outlive a crash of theirs, where there will be crashes."""
    lanes = [stack.enter_context(lane) for lane in open_lanes(arguments.lanes)]
    if "P2" in arguments.only:
        (spare,) = (stack.enter_context(lane) for lane in open_lanes(1))
        for lane in lanes:
            lane.elsewhere = spare.server
    return lanes


def _carry_out(arguments: argparse.Namespace, lanes: list[Lane], runner: Runner, tell: Callable[[str], None]) -> None:
    """Part after part; or, when the time is short, all of them by turns."""
    together: list[Task] = []
    for part in arguments.only:
        tasks = plan.tasks_of(part, lanes, arguments.modes, full=arguments.full, seed=arguments.seed)
        if arguments.limit:
            tasks = tasks[:: max(1, len(tasks) // arguments.limit)][: arguments.limit]
        tell(f"{part}: {len(tasks)} cells")
        if arguments.minutes is None:
            runner.carry_out(lanes, tasks)
        together += tasks
    if arguments.minutes is not None:
        runner.carry_out(lanes, together, seconds=arguments.minutes * 60)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.faults")
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default=",".join(plan.PARTS), type=lambda text: text.split(","))
    parser.add_argument("--modes", default=",".join(MODES), type=lambda text: text.split(","))
    parser.add_argument("--lanes", type=int, default=2)
    parser.add_argument("--limit", type=int, default=0)
    parser.add_argument("--minutes", type=float)
    parser.add_argument("--results", type=Path, default=Path("tests/faults/results/latest.json"))
    return parser.parse_args()


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the servers are stopped
    sys.exit(main())
