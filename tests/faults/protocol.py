"""The protocol as a list of tasks, carried out on several lanes at once."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from tests.faults.lane import Lane, open_lane
from tests.faults.results import PartResult, Results
from tests.faults.spawn import ROOT
from tests.faults.sweep import Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One cell, whatever its part."""

    part: str
    kind: str
    document: dict[str, Any] = field(default_factory=dict)
    run: Callable[[Lane], Outcome]


class Runner:
    """Carries out tasks. `tell` gets a line for each that fails, and one now and then."""

    def __init__(self, results: Results, tell: Callable[[str], None]) -> None:
        self._results = results
        self._tell = tell
        self._lock = threading.Lock()

    def carry_out(self, lanes: Sequence[Lane], tasks: Sequence[Task], *, stop_at_failure: bool = False) -> None:
        """All tasks, each on the lane that is free first."""
        waiting: SimpleQueue[Task] = SimpleQueue()
        for task in tasks:
            waiting.put(task)
        failed = threading.Event()

        def work(lane: Lane) -> None:
            while not (stop_at_failure and failed.is_set()):
                try:
                    task = waiting.get_nowait()
                except Empty:
                    return
                if self._one(lane, task).problems:
                    failed.set()

        threads = [threading.Thread(target=work, args=(lane,), daemon=True) for lane in lanes]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _one(self, lane: Lane, task: Task) -> Outcome:
        started = time.monotonic()
        try:
            outcome = task.run(lane)
        except Exception as error:  # noqa: BLE001 - a cell that cannot be carried out has failed
            outcome = Outcome(problems=[f"the cell broke: {type(error).__name__}: {error}"])
        with self._lock:
            part = self._results.parts.setdefault(task.part, PartResult(part=task.part))
            part.cells += 1
            part.attempts += outcome.attempts
            part.reads += outcome.reads
            part.seconds = round(part.seconds + time.monotonic() - started, 1)
            part.kinds[task.kind] = part.kinds.get(task.kind, 0) + 1
            for name in set(outcome.fired):
                self._results.fired[name] = self._results.fired.get(name, 0) + 1
            if outcome.problems:
                part.failing.append({"cell": task.document, "problems": outcome.problems, "evidence": outcome.evidence})
                self._tell(f"FAILED {task.part} {task.kind} {task.document}: {'; '.join(outcome.problems)}")
            elif part.cells % 25 == 0:
                self._tell(f"{task.part}: {part.cells} cells")
        return outcome


def open_lanes(count: int, package: Path = ROOT) -> list[Any]:
    """Context managers of so many lanes."""
    return [open_lane(package) for _ in range(count)]
