"""Progress is counted from events; shares and the time left are claimed only where something tells them."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest

from rapidbyte.cli import progress as progress_module
from rapidbyte.cli.console import Console
from rapidbyte.cli.progress import Progress, StreamProgress, Tally, progress_line, told_progress
from rapidbyte.events import (
    BlockMoved,
    Notice,
    PartitionLoaded,
    PhaseStarted,
    RunStarted,
    StreamFinished,
    StreamStarted,
)
from rapidbyte.spec import MEGABYTE


class Clock:
    """A clock that moves when it is told to."""

    def __init__(self) -> None:
        self.seconds = 100.0

    def monotonic(self) -> float:
        return self.seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The module's clock."""
    found = Clock()
    monkeypatch.setattr(progress_module, "time", found)
    return found


def started(name: str, partitions: int = 4, rows: int | None = None) -> StreamStarted:
    return StreamStarted(stream=name, target=name, partitions=partitions, estimated_rows=rows, estimated_bytes=None)


def moved(name: str, partition: int, rows: int, size: int = 0) -> BlockMoved:
    return BlockMoved(stream=name, partition=partition, worker=0, rows=rows, bytes=size)


def loaded(name: str, partition: int) -> PartitionLoaded:
    return PartitionLoaded(stream=name, partition=partition, worker=0, rows=1, bytes=1)


def test_rows_bytes_and_pace_of_a_stream(clock: Clock) -> None:
    """From the moment its partitions were known; the run's duration counts from the run's own start."""
    tally = Tally()
    clock.seconds += 1
    tally.count(RunStarted(run_id="r", pipeline="p", streams=("a",)))
    clock.seconds += 2
    tally.count(PhaseStarted(phase="load"))
    tally.count(started("a", rows=1000))
    tally.count(moved("a", 0, 100, 3 * MEGABYTE))
    tally.count(moved("a", 1, 400, 1 * MEGABYTE))
    tally.count(loaded("a", 1))
    clock.seconds += 2
    assert tally.now() == Progress(
        phase="load",
        duration_s=4.0,
        workers_active=1,
        left_s=2.0,
        streams=(
            StreamProgress(
                name="a",
                rows=500,
                bytes=4 * MEGABYTE,
                partitions=4,
                partitions_loaded=1,
                rows_per_s=250.0,
                mb_per_s=2.0,
                share=0.5,
                status="loading",
            ),
        ),
    )


def test_without_an_estimate_partitions_tell_the_share(clock: Clock) -> None:
    """And a single partition tells nothing."""
    tally = Tally()
    tally.count(started("a", partitions=4))
    tally.count(started("b", partitions=1))
    tally.count(loaded("a", 0))
    clock.seconds += 1
    now = tally.now()
    assert [stream.share for stream in now.streams] == [0.25, None]
    assert now.left_s is None


def test_a_stream_is_not_done_before_it_has_ended(clock: Clock) -> None:
    """An estimate may be too low; a publish may still take long."""
    tally = Tally()
    tally.count(started("a", rows=10))
    tally.count(moved("a", 0, 5000))
    clock.seconds += 1
    assert [stream.share for stream in tally.now().streams] == [0.99]
    assert tally.now().left_s is None
    tally.count(StreamFinished(stream="a", status="succeeded", rows=5000))
    now = tally.now()
    assert [(stream.share, stream.status) for stream in now.streams] == [(1.0, "succeeded")]
    assert (now.workers_active, now.left_s) == (0, None)


def test_large_streams_weigh_more_in_the_time_left(clock: Clock) -> None:
    """A small table that is done says little."""
    tally = Tally()
    tally.count(started("small", rows=100))
    tally.count(started("large", rows=900))
    tally.count(moved("small", 0, 100))
    tally.count(StreamFinished(stream="small", status="succeeded", rows=100))
    clock.seconds += 1
    assert tally.now().left_s == pytest.approx(9.0)


def test_a_line_tells_what_is_loading() -> None:
    """Streams that have ended are left out."""
    stream = StreamProgress(
        name="orders",
        rows=1_200_000,
        bytes=0,
        partitions=4,
        partitions_loaded=2,
        rows_per_s=1.0,
        mb_per_s=45.06,
        share=0.6,
        status="loading",
    )
    done = StreamProgress(
        name="x", rows=1, bytes=0, partitions=1, partitions_loaded=1, rows_per_s=None, mb_per_s=None, share=1.0,
        status="succeeded",
    )  # fmt: skip
    line = progress_line(Progress(phase="load", duration_s=4.2, workers_active=2, left_s=3.14, streams=(stream, done)))
    assert line == "run 4.20 s, load: orders 1,200,000 rows 45.1 MB/s (60%), 2 workers active, 3.14 s left"
    one = replace(stream, rows=1)
    line = progress_line(Progress(phase="load", duration_s=4.2, workers_active=1, left_s=None, streams=(one,)))
    assert line == "run 4.20 s, load: orders 1 row 45.1 MB/s (60%), 1 worker active"
    assert progress_line(Progress(phase="prepare", duration_s=1, workers_active=0, left_s=None, streams=())) == (
        "run 1.00 s, prepare"
    )


def test_lines_come_also_while_nothing_moves(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Silence is what a stuck job looks like."""
    told = threading.Event()
    monkeypatch.setattr(progress_module, "TELL_EVERY_SECONDS", 0.01)
    console = Console()
    console.start()
    monkeypatch.setattr(console, "tell", lambda message, **rest: told.set())
    with told_progress(console):
        assert told.wait(60)
    assert console.close()


def test_a_notice_is_a_warning_and_names_are_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    """Stream names come from a server (G11)."""
    console = Console()
    console.start()
    with told_progress(console) as observe:
        observe(Notice(message="state: is ignored"))
        observe(StreamFinished(stream="a\n\x1b[2J", status="failed", rows=0))
        observe(StreamFinished(stream="b", status="succeeded", rows=0))
    assert console.close()
    assert capsys.readouterr().err == "warning: state: is ignored\nstream a\\n\\x1b[2J: failed\n"


def test_counting_is_safe_from_many_threads() -> None:
    """No block is lost."""
    tally = Tally()
    threads = [
        threading.Thread(target=lambda: [tally.count(moved("a", 0, 1, 2)) for _ in range(2000)]) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (stream,) = tally.now().streams
    assert (stream.rows, stream.bytes) == (8000, 16000)
