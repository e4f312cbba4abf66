"""One more worker while the destination is idle: what has ended is measured, `tuning` decides, the pool grows."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from rapidbyte.contract import WorkerReport
from rapidbyte.engine.pool import Crew
from rapidbyte.engine.shares import shares
from rapidbyte.metrics import MachineLoad
from rapidbyte.tuning import Choice, Step, Window, next_step
from rapidbyte.values import frozen


@frozen
class Adjustment:
    """A change of the number of workers, or why there will be no more of them."""

    at_s: float
    """`time.monotonic()`."""
    workers: int
    """From then on."""
    reason: str


class Tuner:
    """Of one run. `note` is called by the workers' threads."""

    def __init__(self, choice: Choice, machine: Callable[[], float] | None = None) -> None:
        self.choice = choice
        self.workers = choice.workers
        self._machine = machine or MachineLoad().busy
        self._crew: Crew | None = None
        self._adjustments: list[Adjustment] = []
        self._reports: list[WorkerReport] = []
        self._before: Window | None = None
        self._since = time.monotonic()
        self._ended = choice.limit <= choice.workers
        self._lock = threading.Lock()

    @property
    def adjustments(self) -> tuple[Adjustment, ...]:
        """In the order in which they were made."""
        return tuple(self._adjustments)

    def crew(self) -> ThreadPoolExecutor:
        """The pool of a round, with as many workers as the run has come to have."""
        with self._lock:
            self._crew = Crew(self.workers, limit=self.choice.limit)
            self._begin()
            return self._crew

    def note(self, report: WorkerReport) -> None:
        """A partition is committed."""
        with self._lock:
            if self._ended or self._crew is None:
                return
            self._reports.append(report)
            if len(self._reports) < self.workers:
                return
            window = self._window(self._crew)
            step = next_step(window, self._before, limit=self.choice.limit)
            if step is not None:
                self._take(step, window, self._crew)

    def _take(self, step: Step, window: Window, crew: Crew) -> None:
        if step.adds:
            self.workers += 1
            crew.grow()
            self._before = window
        if step.adds or (step.ends and self._adjustments):
            self._adjustments.append(Adjustment(at_s=time.monotonic(), workers=self.workers, reason=step.reason))
        self._ended = step.ends
        self._begin()

    def _begin(self) -> None:
        self._reports.clear()
        self._since = time.monotonic()
        self._machine()  # measures from here on

    def _window(self, crew: Crew) -> Window:
        found = shares(self._reports)
        return Window(
            workers=self.workers,
            partitions=len(self._reports),
            waiting=crew.waiting,
            elapsed_s=time.monotonic() - self._since,
            worked_s=sum(each.times.wait_source_s + each.times.active_s for each in self._reports),
            bytes=sum(each.bytes_read for each in self._reports),
            source=found.source if found is not None else 0.0,
            destination=found.destination if found is not None else 0.0,
            machine=self._machine(),
        )
