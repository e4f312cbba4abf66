"""What happened, as the steps of a run hand it on to the result."""

from __future__ import annotations

import time
from typing import Literal, get_args

from rapidbyte.contract import PartitionReceipt, WorkerReport
from rapidbyte.cursor import CursorBounds
from rapidbyte.engine.tuner import Adjustment
from rapidbyte.errors import RapidbyteError
from rapidbyte.events import Observer, PhaseStarted
from rapidbyte.plan import RunPlan, StreamPlan
from rapidbyte.ports import FinalizeReport, Sampled
from rapidbyte.result import Phases, SampleRows, StreamStatus
from rapidbyte.spec import StreamSpec
from rapidbyte.values import frozen

Phase = Literal["preflight", "prepare", "load", "finalize", "cleanup"]


@frozen
class StreamOutcome:
    """How one stream ended."""

    spec: StreamSpec
    plan: StreamPlan | None = None
    status: StreamStatus
    reports: tuple[WorkerReport, ...] = ()
    """Of the partitions that were committed."""
    retries: int = 0
    """Tries beyond the first: of its partitions, also those that failed in the end, and of its publish."""
    resumed: tuple[PartitionReceipt, ...] = ()
    """Of the partitions that an earlier run had committed, and that were not read again."""
    resumable: bool = False
    """It was not published, and the same command goes on with what is loaded."""
    bounds: CursorBounds | None = None
    """Of an incremental load."""
    published_by: str | None = None
    """The earlier run that has published it under the same key; nothing was loaded now."""
    partition_count: int | None = None
    started_s: float | None = None
    """`time.monotonic()`; None for a stream that did not begin."""
    ended_s: float | None = None
    published: FinalizeReport | None = None
    error: RapidbyteError | None = None
    source_checksum: str | None = None
    sample: SampleRows | None = None
    sampled: Sampled | None = None
    """Of a dry run: how the sample was found."""


@frozen
class RunOutcome:
    """How a run ended."""

    plan: RunPlan | None
    streams: tuple[StreamOutcome, ...]
    error: RapidbyteError | None = None
    """The first failure in pipeline order."""
    warnings: tuple[str, ...] = ()
    adjustments: tuple[Adjustment, ...] = ()
    """How the number of workers changed."""
    attempts: int = 1
    """How often loading began: more than once where the source's snapshot, or a stage, was lost."""
    retries: int = 0
    """Tries beyond the first of what concerns no stream alone: opening the run, the source's bounds and snapshot."""


class PhaseClock:
    """Books the leader thread's time under the phase it is in. The first is preflight."""

    def __init__(self, observe: Observer) -> None:
        self._observe = observe
        self._seconds: dict[Phase, float] = dict.fromkeys(get_args(Phase), 0.0)
        self._phase: Phase = "preflight"
        self.started_s = self._last = time.monotonic()

    def enter(self, phase: Phase) -> None:
        """From now on time is `phase`'s. A phase may be entered again."""
        now = time.monotonic()
        self._seconds[self._phase] += now - self._last
        self._last = now
        if phase != self._phase:
            self._phase = phase
            self._observe(PhaseStarted(phase=phase))

    def read(self) -> Phases:
        """Seconds of every phase until now."""
        self.enter(self._phase)
        return Phases(**{f"{phase}_s": seconds for phase, seconds in self._seconds.items()})
