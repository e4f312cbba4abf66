"""The protocol as tasks, carried out on several lanes at once: all of them, or each part for its share of the time."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
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


SHARES = {"P1": 30, "P2": 28, "P3": 18, "P4": 8, "P5": 8, "P7": 8}
"""Of the time, when it is short."""


class Queue:
    """Tasks that wait. Of several parts the one whose lanes have worked least, for its share, is next."""

    def __init__(self, tasks: Sequence[Task], *, seconds: float | None = None) -> None:
        self._waiting: dict[str, deque[Task]] = {}
        for task in tasks:
            self._waiting.setdefault(task.part, deque()).append(task)
        self._spent = dict.fromkeys(self._waiting, 0.0)
        self._until = None if seconds is None else time.monotonic() + seconds
        self._lock = threading.Lock()

    def take(self) -> Task | None:
        """The next; None when there is none, or the time is up."""
        with self._lock:
            if self._until is not None and time.monotonic() > self._until:
                return None
            left = [part for part, tasks in self._waiting.items() if tasks]
            if not left:
                return None
            return self._waiting[min(left, key=lambda part: self._spent[part] / SHARES[part])].popleft()

    def spent(self, part: str, seconds: float) -> None:
        """A task of this part took so long."""
        with self._lock:
            self._spent[part] += seconds


class Runner:
    """Carries out tasks. `tell` gets a line for each that fails, and one now and then."""

    def __init__(self, results: Results, tell: Callable[[str], None], save: Callable[[], None] = lambda: None) -> None:
        self._results = results
        self._tell = tell
        self._save = save
        self._lock = threading.Lock()

    def carry_out(self, lanes: Sequence[Lane], tasks: Sequence[Task], *, seconds: float | None = None) -> None:
        """All tasks, each on the lane that is free first; after so many seconds none is begun."""
        queue = Queue(tasks, seconds=seconds)
        for task in tasks:
            self._part(task.part).planned += 1

        def work(lane: Lane) -> None:
            while (task := queue.take()) is not None:
                queue.spent(task.part, self._one(lane, task))

        threads = [threading.Thread(target=work, args=(lane,), daemon=True) for lane in lanes]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _part(self, name: str) -> PartResult:
        return self._results.parts.setdefault(name, PartResult(part=name))

    def _one(self, lane: Lane, task: Task) -> float:
        """Carries it out; returns how long it took."""
        started = time.monotonic()
        try:
            outcome = task.run(lane)
        except Exception as error:  # noqa: BLE001 - a cell that cannot be carried out has failed
            outcome = Outcome(problems=[f"the cell broke: {type(error).__name__}: {error}"])
        seconds = time.monotonic() - started
        with self._lock:
            part = self._part(task.part)
            if outcome.skipped:
                part.skipped[outcome.skipped] = part.skipped.get(outcome.skipped, 0) + 1
                return seconds
            part.cells += 1
            part.attempts += outcome.attempts
            part.reads += outcome.reads
            part.seconds = round(part.seconds + seconds, 1)
            part.kinds[task.kind] = part.kinds.get(task.kind, 0) + 1
            for name in set(outcome.fired):
                self._results.fired[name] = self._results.fired.get(name, 0) + 1
            if outcome.problems:
                part.failing.append({"cell": task.document, "problems": outcome.problems, "evidence": outcome.evidence})
                self._tell(f"FAILED {task.part} {task.kind} {task.document}: {'; '.join(outcome.problems)}")
            elif part.cells % 25 == 0:
                self._tell(f"{task.part}: {part.cells} cells")
            self._save()
        return seconds


def open_lanes(count: int, package: Path = ROOT) -> list[Any]:
    """Context managers of so many lanes."""
    return [open_lane(package) for _ in range(count)]
