"""What a run says of itself while it goes on: progress, `--events` and logs are views of these."""

from __future__ import annotations

from collections.abc import Callable

from rapidbyte.values import frozen


@frozen
class RunStarted:
    """A run has begun. The first event."""

    run_id: str
    pipeline: str
    streams: tuple[str, ...]
    """As the pipeline file has them, patterns not resolved."""


@frozen
class PhaseStarted:
    """The run has come to: preflight, prepare, load, finalize, cleanup."""

    phase: str


@frozen
class StreamStarted:
    """A stream's partitions are known."""

    stream: str
    target: str
    partitions: int
    estimated_rows: int | None
    estimated_bytes: int | None
    resumed: int = 0
    """Partitions that an earlier run has committed; they are not read again."""


@frozen
class BlockMoved:
    """A worker has handed a block to its writer."""

    stream: str
    partition: int
    worker: int
    rows: int
    bytes: int


@frozen
class PartitionLoaded:
    """A partition is committed."""

    stream: str
    partition: int
    worker: int
    rows: int
    bytes: int


@frozen
class Retried:
    """A partition, a publish or a snapshot has failed, and is tried again."""

    stream: str | None
    """None for what concerns several streams."""
    partition: int | None
    """None for a publish, a snapshot, and a stream that starts anew."""
    worker: int | None
    failures: int
    """Tries so far."""
    code: str
    """Of the error."""
    message: str


@frozen
class StreamFinished:
    """A stream is published, failed, cancelled or skipped."""

    stream: str
    status: str
    rows: int
    error_code: str | None = None


@frozen
class RunFinished:
    """The run has its result. The last event."""

    run_id: str
    status: str
    exit_code: int
    rows: int
    """Rows that are published."""
    duration_s: float
    error_code: str | None


@frozen
class Notice:
    """A line for the user: a warning, a notice about an accepted key."""

    message: str


Event = (
    RunStarted
    | PhaseStarted
    | StreamStarted
    | BlockMoved
    | PartitionLoaded
    | Retried
    | StreamFinished
    | RunFinished
    | Notice
)
Observer = Callable[[Event], None]
"""Called from several threads; must not block and must not raise."""
