"""Which cells there are in each part: a slice for every commit, all of them for `make soak`."""

from __future__ import annotations

import random
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import get_args

from tests.faults import cells, cuts, kills, late, refusals, rounds, sweep, ties, watchers
from tests.faults.cells import Cell
from tests.faults.cuts import Side
from tests.faults.lane import Lane
from tests.faults.protocol import Task
from tests.faults.proxy import Cut, How
from tests.faults.sweep import Outcome

WORKERS = (1, 4)
SLICE_CELLS = 3
"""Of each failpoint, in the slice of every commit."""
CRASH_POINTS = ("join.all_done", "ddl.committed", "w.commit_acked", "pub.begin", "pub.inserted", "pub.acked")
FREEZE_POINTS = ("join.all_done", "ddl.committed", "w.copy_mid", "pub.begin")
SIDES: tuple[Side, ...] = get_args(Side)
HOWS: tuple[How, ...] = get_args(How)


def _sweep(lanes: Sequence[Lane], modes: Sequence[str], *, full: bool, seed: int) -> list[Task]:
    passings = sweep.learn(lanes, tuple(modes), WORKERS)
    chosen = cells.slice_cells(passings, seed, SLICE_CELLS)  # first: every failpoint fires, however short the time is
    if full:
        rest = [cell for cell in cells.all_cells(passings, seed) if cell not in chosen]
        random.Random(seed).shuffle(rest)
        chosen += rest

    def task(cell: Cell) -> Task:
        return Task(part="P1", kind=cell.mode, document=cell.document(), run=lambda lane: sweep.run_cell(lane, cell))

    return [task(cell) for cell in chosen]


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """How many cells of each kind."""

    kills: int
    kills_as_users: int
    backends: int
    stops: int
    server_kills: int
    freezes: int
    offsets: int
    slow: int
    acknowledgements: int
    together: int
    schemas: int
    replaces: int
    ties: int


SLICE = Counts(
    kills=2,
    kills_as_users=1,
    backends=1,
    stops=1,
    server_kills=0,
    freezes=0,
    offsets=1,
    slow=0,
    acknowledgements=1,
    together=1,
    schemas=1,
    replaces=4,
    ties=1,
)
FULL = Counts(
    kills=400,
    kills_as_users=20,
    backends=100,
    stops=50,
    server_kills=50,
    freezes=50,
    offsets=128,
    slow=2,
    acknowledgements=500,
    together=100,
    schemas=100,
    replaces=100,
    ties=50,
)
"""Of the protocol; per mode where modes differ."""


def _kills(lanes: Sequence[Lane], modes: Sequence[str], *, full: bool, seed: int) -> list[Task]:
    counts, dice = FULL if full else SLICE, random.Random(seed)
    tasks: list[Task] = []
    start_s = 0.0  # what the start of an interpreter adds
    for order, mode in enumerate(modes):
        usual = kills.median_seconds(lanes[0], mode, runs=3 if full else 1)
        if order == 0:
            start_s = kills.median_seconds(lanes[0], mode, runs=2, as_users_do=True) - usual

        def at(seconds: float = usual) -> float:
            return round(dice.uniform(0, 1.3 * seconds), 4)

        kinds: list[tuple[str, int, float, Callable[..., Outcome]]] = [
            ("SIGKILL of a run", counts.kills, usual, partial(kills.kill_run, as_users_do=False)),
            ("SIGKILL of a command", counts.kills_as_users, usual + start_s, partial(kills.kill_run, as_users_do=True)),
            ("SIGKILL of a backend", counts.backends, usual, partial(kills.kill_backend, seed=seed)),
            ("immediate stop of the server", counts.stops, usual, kills.stop_at_once),
            ("SIGKILL of the server", counts.server_kills, usual, partial(kills.stop_at_once, number=signal.SIGKILL)),
            ("frozen past its lease, at any moment", counts.freezes, usual, kills.freeze_at),
        ]
        for turn, (kind, count, seconds, act) in enumerate(kinds):
            rare = not full and count == 1 and (order + turn) % 3  # each mode has one of the rarer kinds
            for moment in [at(seconds) for _ in range(0 if rare else count)]:
                document = {"mode": mode, "kind": kind, "after_s": moment}
                run = partial(_at, act=act, mode=mode, moment=moment)
                tasks.append(Task(part="P2", kind=f"{kind}, {mode}", document=document, run=run))
        for point in CRASH_POINTS if full else CRASH_POINTS[len(tasks) % len(CRASH_POINTS) :][:1]:
            document = {"mode": mode, "kind": "crash", "at": point}
            run = partial(_crash, mode=mode, point=point)
            tasks.append(Task(part="P2", kind=f"crash at a failpoint, {mode}", document=document, run=run))
        for point in FREEZE_POINTS if full else FREEZE_POINTS[len(tasks) % len(FREEZE_POINTS) :][:1]:
            document = {"mode": mode, "kind": "frozen past its lease, at a failpoint", "at": point}
            run = partial(_freeze, mode=mode, point=point)
            tasks.append(
                Task(part="P2", kind=f"frozen past its lease, at a failpoint, {mode}", document=document, run=run)
            )
    return tasks


def _freeze(lane: Lane, *, mode: str, point: str) -> Outcome:
    return kills.freeze(lane, mode, point)


def _crash(lane: Lane, *, mode: str, point: str) -> Outcome:
    return kills.crash_at(lane, mode, point)


def _at(lane: Lane, *, act: Callable[..., Outcome], mode: str, moment: float) -> Outcome:
    return act(lane, mode, moment)


def _cuts(lanes: Sequence[Lane], modes: Sequence[str], *, full: bool, seed: int) -> list[Task]:
    counts, dice = FULL if full else SLICE, random.Random(seed)
    chosen: list[tuple[str, str, Side, Cut]] = []
    for number, mode in enumerate(modes):
        for side in SIDES:
            totals = cuts.measure(lanes[0], mode, side)
            for direction in ("up", "down"):
                for place, offset in enumerate(cuts.offsets(dice, totals[direction], counts.offsets)):
                    ways = HOWS if full else (HOWS[(number + place) % len(HOWS)],)
                    for how in ways:
                        cut = Cut(how=how, direction=direction, offset=offset)
                        chosen.append((f"{how}, {side}", mode, side, cut))
        for turn in range(counts.acknowledgements):
            for who, after in (("rapidbyte leader", cuts.PUBLISHING), ("rapidbyte worker", b"receipts")):
                cut = Cut(commit_of=who, after=after, answered=turn % 2 == 0)
                chosen.append((f"the answer to COMMIT of a {who}", mode, "destination", cut))

    slow = [
        Task(part="P3", kind="a slow network", document={"mode": mode}, run=partial(_slow, mode=mode))
        for mode in modes
        for _ in range(counts.slow)
    ]

    def task(kind: str, mode: str, side: Side, cut: Cut) -> Task:
        document = {"mode": mode, "side": side, **{name: getattr(cut, name) for name in Cut.__slots__}}
        run = partial(_cut, mode=mode, side=side, cut=cut)
        return Task(part="P3", kind=kind, document=document, run=run)

    return [task(*each) for each in chosen] + slow


def _slow(lane: Lane, *, mode: str) -> Outcome:
    return cuts.slow_run(lane, mode)


def _cut(lane: Lane, *, mode: str, side: Side, cut: Cut) -> Outcome:
    return cuts.cut_run(lane, mode, side, cut)


def _refusals(_lanes: Sequence[Lane], modes: Sequence[str], *, full: bool, seed: int) -> list[Task]:
    tasks: list[Task] = []
    for number, refusal in enumerate(refusals.REFUSALS):
        fitting = [mode for mode in modes if not refusal.modes or mode in refusal.modes]
        for mode in fitting if full else fitting[number % max(1, len(fitting)) :][:1]:
            document = {"mode": mode, "refusal": refusal.name}
            run = partial(_refused, mode=mode, refusal=refusal)
            tasks.append(Task(part="P4", kind=refusal.name, document=document, run=run))
    return tasks


def _refused(lane: Lane, *, mode: str, refusal: refusals.Refusal) -> Outcome:
    return refusals.refused(lane, mode, refusal)


def _rounds(_lanes: Sequence[Lane], modes: Sequence[str], *, full: bool, seed: int) -> list[Task]:
    counts, dice = FULL if full else SLICE, random.Random(seed)
    tasks: list[Task] = []
    for mode in modes:
        for turn in range(counts.together):
            runs = (2, 8)[turn] if full and turn < 2 else dice.randint(2, 8)
            run = partial(_together, mode=mode, count=runs)
            tasks.append(Task(part="P5", kind="one pipeline at once", document={"mode": mode, "runs": runs}, run=run))
    for _ in range(counts.schemas):
        run = partial(rounds.fresh_schema, count=8)
        tasks.append(Task(part="P5", kind="8 pipelines, fresh schema", document={}, run=run))
        run = partial(rounds.one_target, count=4)
        tasks.append(Task(part="P5", kind="4 pipelines, one target", document={}, run=run))
    for mode in modes:
        if mode.startswith("replace"):
            run = partial(_replaces, mode=mode, count=counts.replaces)
            tasks.append(Task(part="P5", kind=f"readers of {mode}", document={"mode": mode}, run=run))
    return tasks


def _together(lane: Lane, *, mode: str, count: int) -> Outcome:
    return rounds.same_pipeline(lane, mode, count)


def _replaces(lane: Lane, *, mode: str, count: int) -> Outcome:
    return watchers.readers_of_replaces(lane, mode, count)


def _late(_lanes: Sequence[Lane], modes: Sequence[str], *, full: bool, seed: int) -> list[Task]:
    if not any(mode.startswith("incremental") for mode in modes):
        return []
    tasks: list[Task] = []
    for cursor in late.CURSORS:
        for write_mode in ("append", "upsert"):
            for number in range(10 if full else 1):
                document = {"cursor": cursor, "write_mode": write_mode, "seed": seed + number}
                run = partial(late.late_commits, seconds=60.0 if full else 6.0, **document)
                tasks.append(Task(part="P7", kind=f"late commits, {cursor}", document=document, run=run))
            for number in range((FULL if full else SLICE).ties):
                document = {"cursor": cursor, "write_mode": write_mode, "seed": seed + number}
                run = partial(ties.tied_increments, increments=6 if full else 2, **document)
                tasks.append(Task(part="P7", kind=f"ties and kills, {cursor}", document=document, run=run))
    return tasks


PARTS: dict[str, Callable[..., list[Task]]] = {
    "P1": _sweep,
    "P2": _kills,
    "P3": _cuts,
    "P4": _refusals,
    "P5": _rounds,
    "P7": _late,
}


def tasks_of(part: str, lanes: Sequence[Lane], modes: Sequence[str], *, full: bool, seed: int) -> list[Task]:
    """The part's cells, in the order in which they are carried out; of all counts that of chance."""
    tasks = PARTS[part](lanes, modes, full=full, seed=seed)
    if full and part != "P1":
        random.Random(seed).shuffle(tasks)
    return tasks
