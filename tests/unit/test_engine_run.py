"""The steps of a run, on in-memory ends: order, failures, cancellation, what the result says."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from dataclasses import replace

import pytest

from rapidbyte.engine.run import execute
from rapidbyte.engine.stopping import deadline_seconds
from rapidbyte.errors import DataError, DestinationError, SchemaError, SourceError
from rapidbyte.events import Event, PartitionLoaded, StreamFinished
from rapidbyte.ports import Block, Runtime
from rapidbyte.result import RunResult
from rapidbyte.spec import RunOptions
from tests import fakes
from tests.fakes import FakeLeader, FakeSource, Script, pipeline_spec


def run(
    source: FakeSource,
    leader: FakeLeader,
    *names: str,
    workers: int = 3,
    stop: threading.Event | None = None,
    events: list[Event] | None = None,
    **options: object,
) -> RunResult:
    runtime = Runtime(
        source=source,
        leader=leader,
        write=fakes.write,
        options=RunOptions(workers=workers, **options),  # type: ignore[arg-type]
        observe=(lambda event: None) if events is None else events.append,
    )
    return execute(pipeline_spec(*names), runtime, stop or threading.Event())


def bad(message: str) -> Script:
    return Script(failure=SourceError(message, code="reading_failed"))


def test_every_stream_is_prepared_before_any_worker_starts_and_finalized_once_in_order() -> None:
    """Plan all, prepare all, then load, then finalize each in pipeline order; nothing is discarded."""
    leader = FakeLeader()
    result = run(FakeSource(4), leader, "a", "b")
    assert result.status == "succeeded"
    assert leader.calls == [
        ("plan", "a"),
        ("plan", "b"),
        ("open", ""),
        ("prepare", "a"),
        ("prepare", "b"),
        ("finalize", "a"),
        ("finalize", "b"),
        ("close_run", ""),
        ("close", ""),
    ]
    assert leader.threads == {threading.current_thread().name}
    assert [stream.records_written for stream in result.streams] == [4, 4]


def test_no_worker_starts_when_prepare_fails() -> None:
    """The stream that was prepared is discarded; no partition is read."""
    started: list[int] = []
    scripts = {("a", 0): Script(before=lambda stop: started.append(1))}
    leader = FakeLeader(failures={("prepare", "b"): DestinationError("no room", code="disk_full", stream="b")})
    result = run(FakeSource(1, scripts), leader, "a", "b")
    assert started == []
    assert ("discard", "a") in leader.calls
    assert [stream.status for stream in result.streams] == ["skipped", "failed"]
    assert (result.status, result.exit_code) == ("failed", 4)


@pytest.mark.parametrize("later_first", [True, False])
def test_the_reported_failure_does_not_depend_on_timing(later_first: bool) -> None:
    """Partitions 1 and 2 are both bad; 1 is reported, whichever fails first."""
    other_failed = threading.Event()
    first, second = (2, 1) if later_first else (1, 2)

    def wait(stop: object) -> None:
        other_failed.wait(5)

    def note(stop: object) -> None:
        other_failed.set()

    scripts = {
        ("a", first): Script(failure=DataError(f"row in {first}", code="bad"), before=note),
        ("a", second): Script(failure=DataError(f"row in {second}", code="bad"), before=wait),
    }
    result = run(FakeSource(3, scripts), FakeLeader(), "a")
    assert result.error is not None
    assert (result.error.message, result.error.partition) == ("row in 1", 1)
    assert result.exit_code == 5


def test_a_failure_cancels_the_partitions_above_it_and_lets_those_below_end() -> None:
    """Partition 0 is committed although 1 failed meanwhile; 2 to 9 are never begun or told to stop."""
    failed = threading.Event()
    stopped: list[bool] = []

    def until_failed(stop: object) -> None:
        failed.wait(5)

    scripts = {
        ("a", 0): Script(before=until_failed),
        ("a", 1): Script(failure=SourceError("gone", code="reading_failed"), before=lambda stop: failed.set()),
        **{("a", index): Script(before=lambda stop: stopped.append(stop())) for index in range(2, 10)},
    }
    leader = FakeLeader()
    result = run(FakeSource(10, scripts), leader, "a", workers=2)
    assert result.streams[0].partitions is not None
    assert result.streams[0].partitions.loaded >= 1
    assert result.streams[0].timeline[0].partition == 0
    assert ("finalize", "a") not in leader.calls
    assert ("discard", "a") in leader.calls


def test_a_source_that_fails_midway_is_not_the_end_of_its_data() -> None:
    """Two blocks came, then an error: the stream failed, nothing is published, exit 3."""
    scripts = {("a", 0): Script(blocks=(Block(data=b"x", rows=1, size=1),) * 2, failure=SourceError("cut", code="x"))}
    leader = FakeLeader()
    result = run(FakeSource(1, scripts), leader, "a")
    assert (result.status, result.exit_code) == ("failed", 3)
    assert ("finalize", "a") not in leader.calls
    assert result.streams[0].commit_state == "before_commit"


def test_streams_after_the_first_failure_are_skipped_and_those_before_it_are_published() -> None:
    """Stream b fails: a is published, c is skipped and discarded; the run is partial with b's exit code."""
    leader = FakeLeader()
    result = run(FakeSource(2, {("b", 1): bad("b is bad")}), leader, "a", "b", "c")
    assert [stream.status for stream in result.streams] == ["succeeded", "failed", "skipped"]
    assert (result.status, result.exit_code) == ("partial", 3)
    assert [call for call in leader.calls if call[0] in ("finalize", "discard")] == [
        ("finalize", "a"),
        ("discard", "b"),
        ("discard", "c"),
    ]


def test_a_failing_finalize_keeps_its_commit_state() -> None:
    """A COMMIT whose answer is lost is told as such."""
    lost = DestinationError("lost", code="commit_unknown", commit_state="after_commit_unknown", safe_to_retry=False)
    result = run(FakeSource(1), FakeLeader(failures={("finalize", "a"): lost}), "a")
    assert result.streams[0].commit_state == "after_commit_unknown"
    assert result.error is not None
    assert result.error.safe_to_retry is False


def test_a_lost_server_is_reported_without_a_partition() -> None:
    """Which of the workers noticed first is chance."""
    scripts = {("a", index): Script(failure=DestinationError("lost", code="connection_lost")) for index in range(3)}
    result = run(FakeSource(3, scripts), FakeLeader(), "a")
    assert result.error is not None
    assert (result.error.code, result.error.partition, result.error.worker) == ("connection_lost", None, None)


def test_a_preflight_failure_changes_nothing() -> None:
    """Planning fails: no prepare, no discard; the failing stream is named."""
    leader = FakeLeader(failures={("plan", "b"): SchemaError("drift", code="drift", stream="b")})
    result = run(FakeSource(1), leader, "a", "b")
    assert [call[0] for call in leader.calls] == ["plan", "plan", "close"]
    assert result.exit_code == 6
    assert [stream.status for stream in result.streams] == ["skipped", "failed"]


def test_a_stopped_run_is_cancelled_and_discards_its_stage() -> None:
    """`stop` set while partition 0 is read: exit 7, nothing published."""
    stop = threading.Event()
    leader = FakeLeader()
    scripts = {("a", 0): Script(before=lambda asked: stop.set())}
    result = run(FakeSource(6, scripts), leader, "a", workers=1, stop=stop)
    assert (result.status, result.exit_code) == ("cancelled", 7)
    assert ("discard", "a") in leader.calls


def test_a_run_that_is_stopped_before_it_begins_asks_nobody() -> None:
    """The signal came while the file was read."""
    stop = threading.Event()
    stop.set()
    leader = FakeLeader()
    result = run(FakeSource(1), leader, "a", stop=stop)
    assert (result.status, result.exit_code) == ("cancelled", 7)
    assert [call[0] for call in leader.calls] == ["close"]


@pytest.mark.parametrize(
    ("file", "option", "counts"),
    [(None, None, None), (5.0, None, 5.0), (None, 5.0, 5.0), (3.0, 5.0, 3.0), (5.0, 3.0, 3.0)],
)
def test_of_two_deadlines_the_earlier_counts(file: float | None, option: float | None, counts: float | None) -> None:
    """`limits.timeout_seconds` and `--deadline`."""
    spec = replace(pipeline_spec("a"), timeout_seconds=file)
    assert deadline_seconds(spec, RunOptions(deadline_seconds=option)) == counts


def test_a_run_past_its_deadline_says_so() -> None:
    """`limits.timeout_seconds`: exit 7 with a code of its own, the stage discarded, no timer left behind."""
    leader = FakeLeader()
    started = threading.Event()

    def until_stopped(stop: Callable[[], bool]) -> None:
        started.set()
        while not stop():
            threading.Event().wait(0.01)

    runtime = Runtime(
        source=FakeSource(2, {("a", 0): Script(before=until_stopped)}),
        leader=leader,
        write=fakes.write,
        options=RunOptions(workers=1),
        observe=lambda event: None,
    )
    result = execute(replace(pipeline_spec("a"), timeout_seconds=0.2), runtime, threading.Event())
    assert started.is_set()
    assert result.error is not None
    assert (result.exit_code, result.error.code) == (7, "deadline")
    assert ("discard", "a") in leader.calls


def test_no_thread_outlives_a_run() -> None:
    """Workers, readers and the meter are joined, also after a failure."""
    before = set(threading.enumerate())
    run(FakeSource(8, {("a", 3): bad("x")}), FakeLeader(), "a", "b")
    assert set(threading.enumerate()) == before


def test_the_snapshot_is_closed_after_success_and_failure() -> None:
    """Its holder does not stay behind."""
    for scripts in ({}, {("a", 0): bad("x")}):
        source = FakeSource(2, scripts)
        run(source, FakeLeader(), "a")
        assert source.open_snapshots == 0


def test_a_dry_run_reads_rows_and_prepares_nothing() -> None:
    """The first rows are in the result; the leader has only planned."""
    leader = FakeLeader()
    result = run(FakeSource(1), leader, "a", dry_run=True, limit=1)
    assert [call[0] for call in leader.calls] == ["plan", "close"]
    assert result.streams[0].sample is not None
    assert result.streams[0].sample.rows == (("1",),)
    assert result.records_written == 0


def test_figures_add_up() -> None:
    """Phases make the duration; connect, wait and active make a worker's lifetime; active is its four parts."""
    result = run(FakeSource(9), FakeLeader(), "a", "b")
    phases = result.phases
    total = phases.preflight_s + phases.prepare_s + phases.load_s + phases.finalize_s + phases.cleanup_s
    assert total == pytest.approx(result.duration_s, rel=0.02)
    for worker in itertools.chain.from_iterable(stream.workers for stream in result.streams):
        lifetime = worker.ended_s - worker.started_s
        measured = worker.connect_s + worker.wait_s.source + worker.wait_s.queue + worker.active_s
        assert measured == pytest.approx(lifetime, rel=0.02, abs=0.002)
        parts = worker.transform_s + worker.encode_s + worker.write_s + worker.commit_s
        assert worker.active_s == pytest.approx(parts)
    assert sum(worker.rows for stream in result.streams for worker in stream.workers) == result.records_read == 18


def test_what_may_be_run_again_is_said() -> None:
    """A published replace may; a published append would be twice there; a failure before the commit may."""
    for mode, safe in (("replace", True), ("append", False)):
        leader = FakeLeader(write_mode=mode)
        assert run(FakeSource(1), leader, "a").streams[0].safe_to_retry is safe
    failed = run(FakeSource(1, {("a", 0): bad("x")}), FakeLeader(write_mode="append"), "a")
    assert failed.streams[0].safe_to_retry is True


def test_watchers_hear_of_partitions_and_streams() -> None:
    """One PartitionLoaded a partition, one StreamFinished a stream."""
    events: list[Event] = []
    run(FakeSource(3), FakeLeader(), "a", "b", events=events)
    assert sum(isinstance(event, PartitionLoaded) for event in events) == 6
    assert [event.stream for event in events if isinstance(event, StreamFinished)] == ["a", "b"]


def test_only_the_named_streams_run() -> None:
    """`--stream b` leaves a alone; an unknown name is refused before anything is asked."""
    leader = FakeLeader()
    result = run(FakeSource(1), leader, "a", "b", streams=("b",))
    assert [stream.name for stream in result.streams] == ["b"]
    refused = run(FakeSource(1), FakeLeader(), "a", streams=("nope",))
    assert (refused.exit_code, refused.error.code if refused.error else None) == (2, "stream_unknown")
