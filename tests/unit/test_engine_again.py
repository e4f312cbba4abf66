"""What a run does again, and how often: partitions, snapshots, stages; and what it need not do again."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace

import pytest

from rapidbyte.contract import PartitionReceipt, ResumeFacts, WriteContract
from rapidbyte.cursor import CursorBounds
from rapidbyte.engine.run import execute
from rapidbyte.errors import ConfigError, DataError, DestinationError, FenceError, RapidbyteError, SourceError
from rapidbyte.events import Event, Retried, StreamStarted
from rapidbyte.model import QualifiedName
from rapidbyte.partition import FileRange, Partition
from rapidbyte.plan import RunPlan, StreamPlan, StreamShape
from rapidbyte.ports import Runtime, Stop
from rapidbyte.result import RunResult
from rapidbyte.spec import RunOptions
from tests import fakes
from tests.fakes import FakeLeader, FakeSource, Script, pipeline_spec


def run(
    source: FakeSource,
    leader: FakeLeader,
    *names: str,
    workers: int = 2,
    max_retries: int = 3,
    together: bool = False,
    events: list[Event] | None = None,
    **options: object,
) -> RunResult:
    spec = pipeline_spec(*names)
    spec = replace(
        spec,
        resources=replace(spec.resources, max_retries=max_retries),
        destination=replace(spec.destination, publish_together=together),
    )
    runtime = Runtime(
        source=source,
        leader=leader,
        write=fakes.write,
        options=RunOptions(workers=workers, **options),  # type: ignore[arg-type]
        observe=(lambda event: None) if events is None else events.append,
    )
    return execute(spec, runtime, threading.Event())


def refused() -> RapidbyteError:
    return DestinationError("deadlock", code="deadlock", retry="transaction")


def lost() -> RapidbyteError:
    return SourceError("gone", code="snapshot_lost")


def emptied(stream: str) -> RapidbyteError:
    return DestinationError("empty", code="stage_emptied", stream=stream)


def failing(times: int, tries: list[int]) -> Script:
    """A partition that is refused so many times, and counts its tries."""

    def before(stop: Stop) -> None:
        tries.append(1)
        if len(tries) <= times:
            raise refused()

    return Script(before=before)


def calls(leader: FakeLeader, *steps: str) -> list[tuple[str, str]]:
    return [call for call in leader.calls if call[0] in steps]


@pytest.mark.parametrize("max_retries", [0, 1, 3])
def test_a_partition_is_tried_exactly_as_often_as_allowed(max_retries: int) -> None:
    """E18: max_retries + 1 tries, all of them in retry_count although the partition failed in the end."""
    tries: list[int] = []
    events: list[Event] = []
    source = FakeSource(1, {("a", 0): failing(99, tries)})
    result = run(source, FakeLeader(), "a", max_retries=max_retries, events=events)
    assert len(tries) == max_retries + 1
    assert (result.status, result.retry_count, result.attempts) == ("failed", max_retries, 1)
    told = [(event.stream, event.partition, event.failures) for event in events if isinstance(event, Retried)]
    assert told == [("a", 0, number + 1) for number in range(max_retries)]


def test_a_partition_that_recovers_is_counted_once_a_retry() -> None:
    """E18: two refusals, then it goes well: three tries, two retries."""
    tries: list[int] = []
    result = run(FakeSource(3, {("a", 1): failing(2, tries)}), FakeLeader(), "a")
    assert (result.status, result.retry_count, len(tries), result.records_written) == ("succeeded", 2, 3, 3)


@pytest.mark.parametrize("max_retries", [0, 2])
def test_a_publish_is_tried_exactly_as_often_as_allowed(max_retries: int) -> None:
    """E18: a deadlock each time; every try is counted although it was in vain, and nothing is loaded again."""
    events: list[Event] = []
    leader = FakeLeader(passing={("finalize", "a"): [refused() for _ in range(9)]})
    source = FakeSource(1)
    result = run(source, leader, "a", max_retries=max_retries, events=events)
    assert (result.status, result.retry_count, result.attempts) == ("failed", max_retries, 1)
    assert len(calls(leader, "finalize")) == max_retries + 1
    assert [event.stream for event in events if isinstance(event, Retried)] == ["a"] * max_retries
    assert source.snapshots == [("a",)]


def test_a_publish_that_may_have_been_carried_out_is_not_repeated() -> None:
    """The outcome of a COMMIT is not known: whatever kind of failure it was, a second one could load twice."""
    unknown = DestinationError("lost", code="commit_unknown", retry="connection", commit_state="after_commit_unknown")
    leader = FakeLeader(passing={("finalize", "a"): [unknown]})
    result = run(FakeSource(1), leader, "a")
    assert (result.status, result.streams[0].commit_state) == ("failed", "after_commit_unknown")
    assert len(calls(leader, "finalize")) == 1


def test_a_publish_that_recovers_is_published_once() -> None:
    """Two deadlocks, then it goes well."""
    leader = FakeLeader(passing={("finalize", "a"): [refused(), refused()]})
    result = run(FakeSource(2), leader, "a")
    assert (result.status, result.retry_count, leader.published) == ("succeeded", 2, [("a",)])


def test_a_snapshot_that_cannot_be_taken_is_tried_again() -> None:
    """The source refuses twice; both are counted, and nothing else is begun again."""
    source = FakeSource(1)
    source.passing = [refused(), refused()]
    result = run(source, FakeLeader(), "a")
    assert (result.status, result.retry_count, result.attempts) == ("succeeded", 2, 1)
    source = FakeSource(1)
    source.passing = [refused() for _ in range(5)]
    result = run(source, FakeLeader(), "a")
    assert (result.status, result.retry_count, result.exit_code, len(source.passing)) == ("failed", 3, 4, 1)


def test_streams_that_were_not_fully_read_start_again_in_another_snapshot() -> None:
    """The holder dies after a is published: b and c are discarded, prepared and read anew; a is not."""
    died: list[int] = []

    def die(stop: Stop) -> None:
        if not died:
            died.append(1)
            raise lost()

    source = FakeSource(2, {("b", 1): Script(before=die)})
    leader = FakeLeader()
    result = run(source, leader, "a", "b", "c", workers=1)
    assert (result.status, result.attempts, result.retry_count) == ("succeeded", 2, 0)
    assert source.snapshots == [("a", "b", "c"), ("b", "c")]
    assert calls(leader, "prepare", "discard", "finalize") == [
        ("prepare", "a"),
        ("prepare", "b"),
        ("prepare", "c"),
        ("finalize", "a"),
        ("discard", "b"),
        ("prepare", "b"),
        ("discard", "c"),
        ("prepare", "c"),
        ("finalize", "b"),
        ("finalize", "c"),
    ]
    assert result.records_written == 6


def test_a_snapshot_that_one_stream_prevents_is_taken_without_it() -> None:
    """E10: with --keep-going its table, which somebody has locked, does not end the others."""
    source = FakeSource(1)
    source.passing = [SourceError("locked", code="lock_not_available", stream="b")]
    leader = FakeLeader()
    result = run(source, leader, "a", "b", "c", keep_going=True)
    assert [stream.status for stream in result.streams] == ["succeeded", "failed", "succeeded"]
    assert (result.exit_code, leader.published, source.snapshots) == (3, [("a",), ("c",)], [("a", "c")])
    source.passing = [SourceError("locked", code="lock_not_available", stream="b")]
    result = run(source, FakeLeader(), "a", "b", "c")
    assert [stream.status for stream in result.streams] == ["skipped", "failed", "skipped"]


class Splitting(FakeSource):
    """Loses the snapshot's session while it tells the partitions of a stream, so many times."""

    def __init__(self, times: int, stream: str) -> None:
        super().__init__(1)
        self._times = times
        self._stream = stream

    def partitions(
        self, stream: StreamPlan, partition_bytes: int, bounds: CursorBounds | None = None
    ) -> tuple[Partition, ...]:
        if stream.name == self._stream and self._times:
            self._times -= 1
            raise SourceError("gone", code="connection_lost", retry="connection")
        return super().partitions(stream, partition_bytes, bounds)


@pytest.mark.parametrize("keep_going", [False, True])
def test_a_snapshot_that_is_lost_before_its_partitions_are_told_is_taken_again(keep_going: bool) -> None:
    """C18, E18: nothing was read in it; as often as retries allow, and not for ever."""
    source, leader = Splitting(2, "b"), FakeLeader()
    result = run(source, leader, "a", "b", keep_going=keep_going)
    assert (result.exit_code, result.attempts, leader.published) == (0, 3, [("a",), ("b",)])
    assert source.snapshots == [("a", "b")] * 3
    source, leader = Splitting(9, "b"), FakeLeader()
    result = run(source, leader, "a", "b", keep_going=keep_going)
    assert (result.exit_code, result.attempts, result.streams[1].status) == (3, 4, "failed")


@pytest.mark.parametrize("max_retries", [0, 2])
def test_a_snapshot_that_is_lost_each_time_ends_the_run(max_retries: int) -> None:
    """E18: as many rounds as retries allow and one; the failure is the source's."""
    source = FakeSource(1)
    source.deaths = [lost() for _ in range(9)]
    leader = FakeLeader()
    result = run(source, leader, "a", max_retries=max_retries)
    assert (result.status, result.attempts, result.exit_code) == ("failed", max_retries + 1, 3)
    assert len(source.snapshots) == max_retries + 1
    assert result.error is not None
    assert result.error.code == "snapshot_lost"
    assert leader.published == []


def test_a_stage_that_was_emptied_is_loaded_anew_once() -> None:
    """C2: a crash of the server emptied a's stage; a is loaded into another, and both are published in order."""
    leader = FakeLeader(passing={("finalize", "a"): [emptied("a")]})
    source = FakeSource(2)
    result = run(source, leader, "a", "b")
    assert (result.status, result.attempts, result.records_written) == ("succeeded", 2, 4)
    assert leader.published == [("a",), ("b",)]
    assert source.snapshots == [("a", "b"), ("a",)]
    twice = FakeLeader(passing={("finalize", "a"): [emptied("a"), emptied("a")]})
    result = run(FakeSource(1), twice, "a")
    assert (result.status, result.attempts, result.exit_code) == ("failed", 2, 4)


def test_together_only_the_emptied_stage_is_loaded_anew() -> None:
    """The other stream's stage is whole: it is not read again."""
    leader = FakeLeader(passing={("finalize", "b"): [emptied("b")]})
    source = FakeSource(2)
    result = run(source, leader, "a", "b", together=True)
    assert (result.status, leader.published) == ("succeeded", [("a", "b")])
    assert source.snapshots == [("a", "b"), ("b",)]


def test_a_load_that_cannot_begin_again_has_failed() -> None:
    """The new stage cannot be made: the stream fails, those behind it are skipped, nothing hangs."""
    source = FakeSource(1)
    source.deaths = [lost()]
    leader = FakeLeader(failures={("discard", "a"): DestinationError("gone", code="unreachable")})
    result = run(source, leader, "a", "b")
    assert [stream.status for stream in result.streams] == ["failed", "skipped"]
    assert (result.exit_code, leader.published) == (4, [])


def resumed(stream: str, partitions: int, *loaded: int) -> ResumeFacts:
    part = FileRange(path="orders.csv", fingerprint="1/1")
    return ResumeFacts(
        receipts=tuple(
            PartitionReceipt(
                load_id=f"load-{stream}", stream=stream, partition=index, rows=10, bytes=100, already_loaded=True
            )
            for index in loaded
        ),
        partitions=tuple(Partition(stream=stream, index=index, range=part) for index in range(partitions)),
    )


@dataclass
class DirectLeader(FakeLeader):
    """Streams land in their targets; one that has begun cannot be prepared again."""

    def plan_stream(
        self, order: int, shape: StreamShape, readers: tuple[tuple[QualifiedName, str], ...] = ()
    ) -> StreamPlan:
        return replace(super().plan_stream(order, shape, readers), publish="direct", write_mode="append")

    def prepare_stream(
        self, plan: RunPlan, stream: StreamPlan, run_id: str, bounds: CursorBounds | None = None
    ) -> WriteContract:
        if ("prepare", stream.name) in self.calls:
            raise ConfigError("rows of it are there", code="direct_load_unfinished")
        return super().prepare_stream(plan, stream, run_id, bounds)


@pytest.mark.parametrize("keep_going", [False, True])
def test_a_direct_load_that_lost_its_snapshot_is_the_source_s_failure(keep_going: bool) -> None:
    """E18: what has landed stays, so it is not read anew; the run says what happened, not that rows are in the way."""
    source = FakeSource(2)
    source.deaths = [lost()]
    leader = DirectLeader()
    result = run(source, leader, "a", "b", workers=1, keep_going=keep_going)
    assert (result.exit_code, result.error.code if result.error else None) == (3, "snapshot_lost")
    assert calls(leader, "prepare").count(("prepare", "a")) == 1
    assert result.streams[0].status == "failed"
    assert "stay there" in (result.error.afterwards or "" if result.error else "")


def test_what_an_earlier_run_has_loaded_is_not_read_again() -> None:
    """Partitions 0 and 2 of 4 have their receipts: 1 and 3 are read; rows and partitions are told honestly."""
    read: list[int] = []
    scripts = {("a", index): Script(before=lambda stop, index=index: read.append(index)) for index in range(4)}
    source = FakeSource(99, scripts)
    source.files = True
    leader = FakeLeader(resumes={"a": resumed("a", 4, 0, 2)})
    events: list[Event] = []
    result = run(source, leader, "a", events=events)
    assert sorted(read) == [1, 3]
    (stream,) = result.streams
    assert stream.partitions is not None
    assert (stream.partitions.total, stream.partitions.loaded, stream.partitions.resumed) == (4, 2, 2)
    assert (stream.records_read, stream.records_written, stream.bytes_read) == (22, 22, 6)
    assert [entry.partition for entry in stream.timeline] == [1, 3]
    assert calls(leader, "record", "discard") == []
    assert [event.resumed for event in events if isinstance(event, StreamStarted)] == [2]


def test_a_load_that_lacks_nothing_is_published_without_reading() -> None:
    """The earlier run died between its last partition and its publish."""
    source = FakeSource(9, {("a", index): Script(failure=DataError("read", code="read")) for index in range(9)})
    result = run(source, FakeLeader(resumes={"a": resumed("a", 2, 0, 1)}), "a")
    assert (result.status, result.records_written, result.workers.rows_max) == ("succeeded", 20, None)


def test_files_that_have_changed_since_are_loaded_anew() -> None:
    """The recorded partitions are of other files: the old stage is dropped, and nothing of it is counted."""
    source = FakeSource(2)
    source.files, source.unchanged = True, False
    leader = FakeLeader(resumes={"a": resumed("a", 4, 0, 2)})
    result = run(source, leader, "a")
    assert calls(leader, "prepare", "discard", "record") == [
        ("prepare", "a"),
        ("discard", "a"),
        ("prepare", "a"),
        ("record", "a"),
    ]
    assert result.records_written == 2


def test_recording_partitions_survives_a_lost_connection() -> None:
    """E18: naming them twice is harmless; the try that failed is told and counted, and nothing begins anew."""
    broken = DestinationError("gone", code="connection_lost", retry="connection")
    leader = FakeLeader(passing={("record", "a"): [broken]})
    events: list[Event] = []
    source = FakeSource(1)
    source.files = True
    result = run(source, leader, "a", events=events)
    assert (result.status, result.retry_count, result.attempts) == ("succeeded", 1, 1)
    assert calls(leader, "record", "discard") == [("record", "a"), ("record", "a")]
    assert [event.code for event in events if isinstance(event, Retried)] == ["connection_lost"]


@pytest.mark.parametrize("step", [("open", ""), ("prepare", "a"), ("prepare", "b")])
@pytest.mark.parametrize(("times", "max_retries", "exit_code", "retries"), [(2, 3, 0, 2), (1, 0, 4, 0)])
def test_what_precedes_the_load_survives_a_lost_connection(
    step: tuple[str, str], times: int, max_retries: int, exit_code: int, retries: int
) -> None:
    """C1, E18: opening the run and preparing a stream are tried again, told and counted; not without retries."""
    broken = DestinationError("gone", code="connection_lost", retry="connection")
    leader = FakeLeader(passing={step: [broken] * times})
    events: list[Event] = []
    result = run(FakeSource(1), leader, "a", "b", max_retries=max_retries, events=events)
    assert (result.exit_code, result.retry_count, result.attempts) == (exit_code, retries, 1)
    assert calls(leader, step[0]).count(step) == retries + 1
    told = [event.stream for event in events if isinstance(event, Retried)]
    assert told == [step[1] or None] * retries


def test_retries_of_a_stream_that_was_never_prepared_are_counted() -> None:
    """E18: in vain is counted, too: three deadlocks after the first."""
    leader = FakeLeader(passing={("prepare", "b"): [refused() for _ in range(9)]})
    result = run(FakeSource(1), leader, "a", "b")
    assert (result.exit_code, result.retry_count) == (4, 3)
    assert calls(leader, "discard") == [("discard", "a")]
    leader = FakeLeader(passing={("prepare", "b"): [refused() for _ in range(9)]})
    result = run(FakeSource(1), leader, "a", "b", keep_going=True)
    assert (result.exit_code, result.retry_count, leader.published) == (4, 3, [("a",)])


@pytest.mark.parametrize(("files", "recorded"), [(True, [("record", "a")]), (False, [])])
def test_only_partitions_that_can_be_named_again_are_recorded(files: bool, recorded: list[tuple[str, str]]) -> None:
    """Ranges of a heap are not: another snapshot has other rows in them."""
    source = FakeSource(2)
    source.files = files
    leader = FakeLeader()
    assert run(source, leader, "a").status == "succeeded"
    assert calls(leader, "record") == recorded


@pytest.mark.parametrize(
    ("failure", "files", "kept"),
    [
        (SourceError("gone", code="connection_lost"), True, True),
        (SourceError("gone", code="connection_lost"), False, False),
        (DataError("bad row", code="bad"), True, False),
    ],
)
def test_a_load_that_can_be_continued_keeps_its_stage(failure: RapidbyteError, files: bool, kept: bool) -> None:
    """A bad row would be met again; partitions of a heap cannot be named again: those stages are dropped."""
    source = FakeSource(2, {("a", 1): Script(failure=failure)})
    source.files = files
    leader = FakeLeader()
    result = run(source, leader, "a", workers=1)
    assert (("discard", "a") not in leader.calls) is kept
    assert any("the same command goes on from there" in warning for warning in result.warnings) is kept


def test_a_run_whose_end_cannot_be_recorded_has_ended_all_the_same() -> None:
    """A warning; never the run's own error, nor instead of it."""
    unreachable = DestinationError("unreachable", code="unreachable")
    result = run(FakeSource(1), FakeLeader(failures={("close_run", ""): unreachable}), "a")
    assert (result.status, result.exit_code) == ("succeeded", 0)
    assert result.warnings == ("the run's end could not be recorded in the ledger: unreachable",)
    source = FakeSource(1, {("a", 0): Script(failure=DataError("bad", code="bad"))})
    result = run(source, FakeLeader(failures={("close_run", ""): unreachable}), "a")
    assert (result.status, result.exit_code) == ("failed", 5)


GONE = DestinationError("relation does not exist", code="table_missing", sqlstate="42P01")


@pytest.mark.parametrize(
    ("lease", "exit_code", "code"),
    [
        (None, 4, "table_missing"),
        (FenceError("taken over", code="lease_lost"), 8, "lease_lost"),
        (DestinationError("unreachable", code="unreachable"), 4, "table_missing"),
    ],
)
@pytest.mark.parametrize("step", ["partition", "finalize"])
def test_a_failure_that_a_takeover_explains_is_told_as_the_lost_lease(
    step: str, lease: RapidbyteError | None, exit_code: int, code: str
) -> None:
    """D3: whoever thaws finds its stage gone before its heartbeat learns why: the lease is asked, then it is told."""
    leader = FakeLeader(failures={} if lease is None else {("lease", ""): lease})
    source = FakeSource(1)
    if step == "partition":
        source = FakeSource(1, {("a", 0): Script(failure=GONE)})
    else:
        leader.failures["finalize", "a"] = GONE
    result = run(source, leader, "a", "b")
    assert (result.exit_code, result.error.code if result.error else None) == (exit_code, code)
    assert [stream.status for stream in result.streams] == ["failed", "skipped"]
    assert leader.published == []


def test_a_failure_of_the_data_does_not_ask_for_the_lease() -> None:
    """No other run can have caused it."""
    leader = FakeLeader(failures={("lease", ""): FenceError("taken over", code="lease_lost")})
    result = run(FakeSource(1, {("a", 0): Script(failure=DataError("bad", code="bad"))}), leader, "a")
    assert (result.exit_code, calls(leader, "lease")) == (5, [])
