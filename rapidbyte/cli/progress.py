"""How far a run has come: events counted as they arrive, told as plain lines or as a live table.

The observer is called by worker threads at every block, so it only counts. A thread of its own tells.
"""

from __future__ import annotations

import contextlib
import threading
import time
from typing import TYPE_CHECKING

from rapidbyte.events import (
    BlockMoved,
    Notice,
    PartitionLoaded,
    PhaseStarted,
    Retried,
    RunFinished,
    RunStarted,
    StreamFinished,
    StreamStarted,
)
from rapidbyte.report.summary import count, counted, seconds
from rapidbyte.spec import MEGABYTE
from rapidbyte.values import frozen

if TYPE_CHECKING:
    from collections.abc import Generator

    from rapidbyte.cli.console import Console
    from rapidbyte.events import Event, Observer

TELL_EVERY_SECONDS = 5.0
ALMOST = 0.99
"""The share of a stream of which everything has been read, and which is not published yet."""


class _Counters:
    """One stream's counters. They change at every block, under the tally's lock."""

    __slots__ = (
        "bytes",
        "ended_at",
        "estimated_rows",
        "name",
        "partitions",
        "partitions_loaded",
        "rows",
        "started_at",
        "status",
        "under_way",
    )

    def __init__(self, name: str) -> None:
        self.name = name
        self.partitions: int | None = None
        self.estimated_rows: int | None = None
        self.partitions_loaded = self.rows = self.bytes = 0
        self.started_at = time.monotonic()
        self.ended_at: float | None = None
        self.status = "loading"
        self.under_way: set[int] = set()
        """Partitions of which blocks have moved and which are not committed yet: one a worker."""


@frozen
class StreamProgress:
    """One stream at one moment."""

    name: str
    rows: int
    bytes: int
    partitions: int | None
    partitions_loaded: int
    rows_per_s: float | None
    mb_per_s: float | None
    share: float | None
    """How much of it is done, from 0 to 1; None where nothing tells."""
    status: str


@frozen
class Progress:
    """The run at one moment."""

    phase: str
    duration_s: float
    """Since the run's start, as the result counts it."""
    workers_active: int
    left_s: float | None
    streams: tuple[StreamProgress, ...]


class Tally:
    """Counts events. `count` is safe from any thread and takes microseconds; `now` gives a frozen picture."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._streams: dict[str, _Counters] = {}
        self._phase = "preflight"
        self._started_at = time.monotonic()

    def count(self, event: Event) -> None:
        """Takes one event into account."""
        with self._lock:
            match event:
                case PhaseStarted():
                    self._phase = event.phase
                case StreamStarted():
                    stream = self._stream(event.stream)
                    stream.partitions, stream.estimated_rows = event.partitions, event.estimated_rows
                    stream.partitions_loaded = event.resumed
                    stream.started_at = time.monotonic()
                case BlockMoved():
                    stream = self._stream(event.stream)
                    stream.rows += event.rows
                    stream.bytes += event.bytes
                    stream.under_way.add(event.partition)
                case PartitionLoaded():
                    stream = self._stream(event.stream)
                    stream.partitions_loaded += 1
                    stream.under_way.discard(event.partition)
                case StreamFinished():
                    stream = self._stream(event.stream)
                    stream.status, stream.ended_at = event.status, time.monotonic()
                    stream.under_way.clear()
                case RunStarted():
                    self._started_at = time.monotonic()
                case Retried() | RunFinished() | Notice():
                    pass

    def now(self) -> Progress:
        """The run as counted so far."""
        moment = time.monotonic()
        with self._lock:
            streams = tuple(_stream_progress(stream, moment) for stream in self._streams.values())
            return Progress(
                phase=self._phase,
                duration_s=moment - self._started_at,
                workers_active=sum(len(stream.under_way) for stream in self._streams.values()),
                left_s=_time_left(tuple(self._streams.values()), moment),
                streams=streams,
            )

    def _stream(self, name: str) -> _Counters:
        if name not in self._streams:
            self._streams[name] = _Counters(name)
        return self._streams[name]


def _stream_progress(stream: _Counters, moment: float) -> StreamProgress:
    elapsed_s = (stream.ended_at or moment) - stream.started_at
    known = elapsed_s > 0 and stream.rows > 0
    return StreamProgress(
        name=stream.name,
        rows=stream.rows,
        bytes=stream.bytes,
        partitions=stream.partitions,
        partitions_loaded=stream.partitions_loaded,
        rows_per_s=stream.rows / elapsed_s if known else None,
        mb_per_s=stream.bytes / elapsed_s / MEGABYTE if known else None,
        share=_share(stream),
        status=stream.status,
    )


def _share(stream: _Counters) -> float | None:
    """By rows where the source has an estimate, else by partitions; below 1 until the stream has ended."""
    if stream.ended_at is not None:
        return 1.0
    if stream.estimated_rows:
        return min(ALMOST, stream.rows / stream.estimated_rows)
    if stream.partitions and stream.partitions > 1:
        return min(ALMOST, stream.partitions_loaded / stream.partitions)
    return None


def _time_left(streams: tuple[_Counters, ...], moment: float) -> float | None:
    """Of all streams together, at the pace so far; None before a twentieth is done, or without an estimate.

    Also None once all is read as far as the estimates go: how long the publish takes, nothing tells.
    """
    shares = [_share(stream) for stream in streams]
    known = [share for share in shares if share is not None]
    if not known or len(known) < len(shares) or all(stream.ended_at is not None for stream in streams):
        return None
    weights = [stream.estimated_rows or 1 for stream in streams]
    done = sum(weight * share for weight, share in zip(weights, known, strict=True)) / sum(weights)
    elapsed_s = moment - min(stream.started_at for stream in streams)
    return elapsed_s * (1 - done) / done if 0.05 <= done < ALMOST else None


def progress_line(progress: Progress) -> str:
    """One plain line: `run 7.2 s, load: orders 1,200,000 rows 45.1 MB/s (60%), 2 workers active, 3.1 s left`."""
    streams = "; ".join(
        f"{stream.name} {_stream_words(stream)}" for stream in progress.streams if stream.status == "loading"
    )
    active = f", {counted(progress.workers_active, 'worker')} active" if streams else ""
    left = f", {seconds(progress.left_s)} left" if progress.left_s is not None else ""
    return f"run {seconds(progress.duration_s)}, {progress.phase}{': ' if streams else ''}{streams}{active}{left}"


def _stream_words(stream: StreamProgress) -> str:
    speed = f" {stream.mb_per_s:.1f} MB/s" if stream.mb_per_s is not None else ""
    share = f" ({stream.share:.0%})" if stream.share is not None else ""
    return f"{counted(stream.rows, 'row')}{speed}{share}"


@contextlib.contextmanager
def told_progress(console: Console) -> Generator[Observer]:
    """An observer whose events are told on stderr until the block ends: live on a terminal, else as lines."""
    tally = Tally()

    def observe(event: Event) -> None:
        tally.count(event)
        _tell_event(console, event)

    if console.shows_live:
        from rapidbyte.cli.live import live_table

        with live_table(console, tally):
            yield observe
    else:
        with _ticking(console, tally):
            yield observe


def _tell_event(console: Console, event: Event) -> None:
    """Lines that an event is worth by itself."""
    match event:
        case Notice():
            console.warn(event.message)
        case PhaseStarted():
            console.tell(f"{event.phase} ...", level="debug")
        case Retried():
            what = f"partition {event.partition} of " if event.partition is not None else ""
            where = f"{what}stream {event.stream}" if event.stream is not None else "the run"
            message = f"{where} is tried again after failure {event.failures}: {event.message}"
            console.tell(message, level="debug", fields={"stream": event.stream, "code": event.code})
        case StreamFinished() if event.status in ("failed", "cancelled", "skipped"):
            console.tell(f"stream {event.stream}: {event.status}", fields={"stream": event.stream})
        case PartitionLoaded() if console.verbosity > 1:
            console.tell(
                f"stream {event.stream}: partition {event.partition} loaded by worker {event.worker}, "
                f"{count(event.rows)} rows",
                level="debug",
            )
        case _:
            pass


@contextlib.contextmanager
def _ticking(console: Console, tally: Tally) -> Generator[None]:
    """A line every `TELL_EVERY_SECONDS`, also when nothing moves: silence is what a stuck job looks like."""
    done = threading.Event()

    def tell() -> None:
        while not done.wait(TELL_EVERY_SECONDS):
            progress = tally.now()
            console.tell(progress_line(progress), fields=_fields(progress))

    thread = threading.Thread(target=tell, name="rapidbyte progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _fields(progress: Progress) -> dict[str, object]:
    return {
        "phase": progress.phase,
        "duration_s": round(progress.duration_s, 3),
        "workers_active": progress.workers_active,
        "rows": sum(stream.rows for stream in progress.streams),
        "bytes": sum(stream.bytes for stream in progress.streams),
    }
