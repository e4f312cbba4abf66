"""Streams and each other: `--keep-going`, `publish: together`, `--failed`, `--key`, on in-memory ends."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace

import pytest

from rapidbyte.engine.run import execute
from rapidbyte.errors import (
    BusyError,
    ConfigError,
    DataError,
    DestinationError,
    PrivilegeError,
    SchemaError,
    SourceError,
)
from rapidbyte.events import Event, StreamFinished
from rapidbyte.plan import RunPlan, StreamShape
from rapidbyte.ports import LastRun, OpenedRun, Runtime, Stop
from rapidbyte.result import RunResult
from rapidbyte.spec import RunOptions, StreamSpec
from tests import fakes
from tests.fakes import FakeLeader, FakeSource, Script, pipeline_spec


def run(
    source: FakeSource,
    leader: FakeLeader,
    *names: str,
    workers: int = 3,
    together: bool = False,
    events: list[Event] | None = None,
    stop: threading.Event | None = None,
    **options: object,
) -> RunResult:
    spec = pipeline_spec(*names)
    spec = replace(spec, destination=replace(spec.destination, publish_together=together))
    runtime = Runtime(
        source=source,
        leader=leader,
        write=fakes.write,
        options=RunOptions(workers=workers, **options),  # type: ignore[arg-type]
        observe=(lambda event: None) if events is None else events.append,
    )
    return execute(spec, runtime, stop or threading.Event())


def bad(message: str) -> Script:
    return Script(failure=SourceError(message, code="reading_failed"))


def until(event: threading.Event) -> Callable[[Stop], None]:
    def wait(stop: Stop) -> None:
        event.wait(5)

    return wait


def statuses(result: RunResult) -> list[str]:
    return [stream.status for stream in result.streams]


def ends(leader: FakeLeader) -> list[tuple[str, str]]:
    return [call for call in leader.calls if call[0] in ("finalize", "discard")]


def test_a_stream_that_fails_does_not_end_the_others() -> None:
    """--keep-going: b fails, a and c are published, b's stage is dropped; exit code and error are b's (E10)."""
    leader = FakeLeader()
    result = run(FakeSource(2, {("b", 1): bad("b is bad")}), leader, "a", "b", "c", keep_going=True)
    assert statuses(result) == ["succeeded", "failed", "succeeded"]
    assert (result.status, result.exit_code) == ("partial", 3)
    assert [stream.commit_state for stream in result.streams] == [
        "after_commit_confirmed",
        "before_commit",
        "after_commit_confirmed",
    ]
    assert ends(leader) == [("finalize", "a"), ("finalize", "c"), ("discard", "b")]


def test_the_exit_code_is_that_of_the_first_failure_in_pipeline_order() -> None:
    """c fails long before a does; a's code is reported, and both errors are in the result."""
    c_failed = threading.Event()
    scripts = {
        ("a", 0): Script(failure=DataError("a", code="bad"), before=until(c_failed)),
        ("c", 0): Script(failure=SourceError("c", code="gone"), before=lambda stop: c_failed.set()),
    }
    result = run(FakeSource(1, scripts), FakeLeader(), "a", "b", "c", keep_going=True)
    assert statuses(result) == ["failed", "succeeded", "failed"]
    assert result.exit_code == 5
    assert [stream.error and stream.error.category for stream in result.streams] == ["data", None, "source"]


def test_a_failing_partition_cancels_those_above_it_in_its_own_stream_alone() -> None:
    """Partition 1 of a fails at once: 0 of a and all of b are committed."""
    failed = threading.Event()
    scripts = {
        ("a", 0): Script(before=until(failed)),
        ("a", 1): Script(failure=SourceError("gone", code="reading_failed"), before=lambda stop: failed.set()),
    }
    result = run(FakeSource(9, scripts), FakeLeader(), "a", "b", workers=2, keep_going=True)
    loaded = [stream.partitions.loaded if stream.partitions else None for stream in result.streams]
    assert result.streams[0].timeline[0].partition == 0
    assert loaded[0] is not None
    assert loaded[0] < 9
    assert loaded[1] == 9


@pytest.mark.parametrize("step", ["plan", "prepare", "finalize"])
def test_a_stream_that_fails_at_the_destination_is_isolated_too(step: str) -> None:
    """Drift, a stage that cannot be made, a constraint: the others are published; with the stream's name and state."""
    leader = FakeLeader(failures={(step, "b"): SchemaError("no", code="drift")})
    result = run(FakeSource(1), leader, "a", "b", "c", keep_going=True)
    assert statuses(result) == ["succeeded", "failed", "succeeded"]
    assert (result.status, result.exit_code) == ("partial", 6)
    assert result.error is not None
    assert result.error.stream == "b"
    assert leader.published == [("a",), ("c",)]


def test_streams_of_which_a_privilege_is_missing_are_isolated() -> None:
    """All are asked for at once; only when that fails, each by itself."""

    class Guarded(FakeLeader):
        def check_privileges(self, plan: RunPlan) -> None:
            if any(stream.name == "b" for stream in plan.streams):
                raise PrivilegeError("no", code="privilege_missing", hint="GRANT")

    result = run(FakeSource(1), Guarded(), "a", "b", keep_going=True)
    assert statuses(result) == ["succeeded", "failed"]
    assert result.exit_code == 2
    alone = run(FakeSource(1), Guarded(), "b", keep_going=True)
    assert (alone.status, alone.exit_code) == ("failed", 2)


def test_streams_that_the_source_does_not_have_are_isolated() -> None:
    """Described all at once; only when that fails, each by itself."""

    class Missing(FakeSource):
        def describe(self, streams: tuple[StreamSpec, ...]) -> tuple[StreamShape, ...]:
            if any(stream.name == "b" for stream in streams):
                raise ConfigError("no such table", code="stream_missing")
            return super().describe(streams)

    leader = FakeLeader()
    result = run(Missing(1), leader, "a", "b", "c", keep_going=True)
    assert statuses(result) == ["succeeded", "failed", "succeeded"]
    assert result.exit_code == 2
    assert leader.published == [("a",), ("c",)]


def test_what_concerns_the_run_ends_every_stream() -> None:
    """The lease is another's: no stream is tried, also with --keep-going."""
    leader = FakeLeader(failures={("open", ""): BusyError("held", code="busy")})
    result = run(FakeSource(1), leader, "a", "b", keep_going=True)
    assert statuses(result) == ["skipped", "skipped"]
    assert (result.status, result.exit_code) == ("failed", 8)
    assert ("prepare", "a") not in leader.calls


def test_a_stopped_run_stops_every_stream() -> None:
    """SIGINT while a is read: a and b are cancelled, also with --keep-going."""
    stop = threading.Event()
    scripts = {("a", 0): Script(before=lambda asked: stop.set())}
    result = run(FakeSource(3, scripts), FakeLeader(), "a", "b", workers=1, stop=stop, keep_going=True)
    assert statuses(result) == ["cancelled", "cancelled"]
    assert result.exit_code == 7


def test_all_streams_are_published_in_one_transaction() -> None:
    """`publish: together`: one finalize, after the last partition of the last stream."""
    leader = FakeLeader()
    result = run(FakeSource(2), leader, "a", "b", "c", together=True)
    assert result.status == "succeeded"
    assert leader.published == [("a", "b", "c")]


@pytest.mark.parametrize("failing", ["a", "b", "c"])
def test_together_a_failure_of_any_stream_publishes_none(failing: str) -> None:
    """The one has failed, the others are skipped; every stage is dropped."""
    leader = FakeLeader()
    result = run(FakeSource(2, {(failing, 0): bad("no")}), leader, "a", "b", "c", together=True)
    assert sorted(statuses(result)) == ["failed", "skipped", "skipped"]
    assert (result.status, result.exit_code, leader.published) == ("failed", 3, [])
    assert ends(leader) == [("discard", "a"), ("discard", "b"), ("discard", "c")]
    assert {stream.records_written or 0 for stream in result.streams} == {0}


def test_together_a_failing_publish_is_told_of_the_stream_that_failed() -> None:
    """b's constraint: b has failed, a and c are skipped, nothing is published."""
    broken = DataError("no", code="constraint_violated", stream="b")
    leader = FakeLeader(failures={("finalize", "b"): broken})
    result = run(FakeSource(1), leader, "a", "b", "c", together=True)
    assert statuses(result) == ["skipped", "failed", "skipped"]
    assert (result.exit_code, leader.published) == (5, [])


def test_together_an_unknown_outcome_is_every_streams() -> None:
    """The answer to the one COMMIT is lost: what holds for one stream holds for all."""
    lost = DestinationError(
        "lost", code="commit_unknown", stream="a", commit_state="after_commit_unknown", safe_to_retry=False
    )
    result = run(FakeSource(1), FakeLeader(failures={("finalize", "a"): lost}), "a", "b", together=True)
    assert [stream.commit_state for stream in result.streams] == ["after_commit_unknown"] * 2
    assert [stream.error and stream.error.stream for stream in result.streams] == ["a", "b"]
    assert [stream.safe_to_retry for stream in result.streams] == [False, False]


def test_together_and_keep_going_contradict_each_other() -> None:
    """Exit 2, before a server is asked."""
    leader = FakeLeader()
    result = run(FakeSource(1), leader, "a", together=True, keep_going=True)
    assert (result.exit_code, result.error.code if result.error else None) == (2, "options_conflict")
    assert leader.calls == [("close", "")]


def test_only_what_failed_in_the_last_run_is_loaded() -> None:
    """--failed: b failed and c was skipped; a is left alone."""
    leader = FakeLeader(last=LastRun(run_id="r1", streams=(("a", True), ("b", False), ("c", False))))
    result = run(FakeSource(1), leader, "a", "b", "c", failed=True)
    assert [stream.name for stream in result.streams] == ["b", "c"]
    assert leader.requests[0].streams == ("b", "c")
    assert leader.published == [("b",), ("c",)]


def test_nothing_to_repeat_is_success_and_no_run() -> None:
    """Exit 0 with a sentence; no lease is taken, so that the last run stays the last."""
    leader = FakeLeader(last=LastRun(run_id="r1", streams=(("a", True),)))
    result = run(FakeSource(1), leader, "a", failed=True)
    assert (result.status, result.exit_code, result.streams) == ("succeeded", 0, ())
    assert result.warnings == ("no stream failed in run r1: nothing to do",)
    assert leader.calls == [("close", "")]


def test_without_a_last_run_nothing_can_be_repeated() -> None:
    """Exit 2; nor when what failed is no longer in the pipeline."""
    assert run(FakeSource(1), FakeLeader(), "a", failed=True).exit_code == 2
    gone = FakeLeader(last=LastRun(run_id="r1", streams=(("z", False),)))
    result = run(FakeSource(1), gone, "a", failed=True)
    assert (result.exit_code, result.error.code if result.error else None) == (2, "stream_unknown")


def test_what_is_published_under_a_key_is_not_loaded_again() -> None:
    """a was published under K by run r1: it succeeds with 0 rows and a warning; b is loaded."""
    events: list[Event] = []
    leader = FakeLeader(opened=OpenedRun(fence=2, published_by_key={"a": "r1"}), write_mode="append")
    result = run(FakeSource(2), leader, "a", "b", key="K", events=events)
    assert leader.requests[0].key == "K"
    first, second = result.streams
    assert (first.status, first.commit_state, first.records_read, first.records_written, first.partitions) == (
        "succeeded",
        "after_commit_confirmed",
        0,
        0,
        None,
    )
    assert first.warnings == ("it was published by run r1 under the same key: nothing was loaded again",)
    assert (second.records_written, second.safe_to_retry) == (2, True)
    assert ("prepare", "a") not in leader.calls
    assert leader.published == [("b",)]
    assert [event.stream for event in events if isinstance(event, StreamFinished)] == ["a", "b"]


def test_where_everything_is_published_under_the_key_nothing_is_read() -> None:
    """No snapshot is taken; the run has succeeded."""
    source = FakeSource(1)
    leader = FakeLeader(opened=OpenedRun(fence=2, published_by_key={"a": "r1"}))
    result = run(source, leader, "a", key="K")
    assert (result.status, result.attempts, source.snapshots) == ("succeeded", 1, [])


def test_a_full_refresh_replaces_what_is_there() -> None:
    """--full-refresh: every stream is planned as replace, whatever the file says."""
    seen: list[str | None] = []

    class Seeing(FakeSource):
        def describe(self, streams: tuple[StreamSpec, ...]) -> tuple[StreamShape, ...]:
            seen.extend(stream.write_mode for stream in streams)
            return super().describe(streams)

    run(Seeing(1), FakeLeader(), "a", "b", full_refresh=True)
    run(Seeing(1), FakeLeader(), "a")
    assert seen == ["replace", "replace", None]
