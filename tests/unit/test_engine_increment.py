"""Increments in a run: whose bounds, of which cursor, and what an empty one does, on in-memory ends."""

from __future__ import annotations

import threading
from dataclasses import replace

from rapidbyte.cursor import CursorBounds, StoredCursor
from rapidbyte.engine.run import execute
from rapidbyte.errors import SourceError
from rapidbyte.ports import OpenedRun, Runtime
from rapidbyte.result import CursorResult, RunResult
from rapidbyte.spec import RunOptions
from tests import fakes
from tests.fakes import FakeLeader, FakeSource, pipeline_spec

STORED = StoredCursor(field="id", type="bigint", value="10")


def bounds(stored: str | None, high: str | None, *warnings: str) -> CursorBounds:
    return CursorBounds(
        field="id",
        type="bigint",
        low=stored,
        low_inclusive=False,
        high=high,
        high_inclusive=True,
        stored=stored,
        warnings=warnings,
    )


def run(source: FakeSource, leader: FakeLeader, *names: str, increments: str = "", **options: object) -> RunResult:
    """Streams whose name is a letter of `increments` are incremental."""
    spec = pipeline_spec(*names)
    streams = tuple(
        replace(stream, sync_mode="incremental") if stream.name in increments else stream for stream in spec.streams
    )
    runtime = Runtime(
        source=source,
        leader=leader,
        write=fakes.write,
        options=RunOptions(workers=2, **options),  # type: ignore[arg-type]
        observe=lambda event: None,
    )
    return execute(replace(spec, streams=streams), runtime, threading.Event())


def test_bounds_are_asked_for_once_with_the_stored_cursors_and_go_all_the_way() -> None:
    """After the lease, before anything is prepared; to the contract, the partitions, the result."""
    source, increment = FakeSource(1), bounds("10", "20", "one row waits")
    source.increments = {"b": increment}
    leader = FakeLeader(opened=OpenedRun(fence=1, cursors={"b": STORED}), write_mode="append")
    result = run(source, leader, "a", "b", increments="b")
    assert source.asked_bounds == [(("b",), {"b": STORED})]
    assert source.given_bounds == [None, increment]
    assert result.streams[0].cursor is None
    assert result.streams[1].cursor == CursorResult(field="id", low="10", high="20")
    assert result.streams[1].warnings == ("one row waits",)


def test_without_increments_the_source_is_not_asked_for_bounds() -> None:
    """No transaction is waited for."""
    source = FakeSource(1)
    assert run(source, FakeLeader(), "a", "b").status == "succeeded"
    assert source.asked_bounds == []


def test_a_load_that_is_resumed_keeps_its_own_bounds() -> None:
    """The new upper bound is not taken: partitions and result are of the load's own."""
    source, old = FakeSource(1), bounds("10", "15")
    source.increments = {"a": bounds("10", "20")}
    result = run(source, FakeLeader(stored_bounds={"a": old}, write_mode="append"), "a", increments="a")
    assert source.given_bounds == [old]
    assert result.streams[0].cursor == CursorResult(field="id", low="10", high="15")


def test_an_empty_increment_is_success_and_touches_nothing() -> None:
    """E8: no stage, no publish, no snapshot; the cursor stays where it is."""
    source = FakeSource(1)
    source.increments = {"a": bounds("10", None)}
    leader = FakeLeader(write_mode="append")
    (stream,) = run(source, leader, "a", increments="a").streams
    assert (stream.status, stream.commit_state, stream.records_written) == ("succeeded", "after_commit_confirmed", 0)
    assert stream.cursor == CursorResult(field="id", low="10", high="10")
    assert [call[0] for call in leader.calls] == ["plan", "open", "close_run", "close"]
    assert source.snapshots == []


def test_a_full_refresh_begins_at_the_beginning_and_empties_too() -> None:
    """The stored cursor is as if it were not; an empty source in replace empties the target (E9)."""
    source = FakeSource(1)
    source.increments = {"a": bounds(None, None)}
    leader = FakeLeader(opened=OpenedRun(fence=1, cursors={"a": STORED}))
    result = run(source, leader, "a", increments="a", full_refresh=True)
    assert source.asked_bounds == [(("a",), {})]
    assert (result.status, leader.published) == ("succeeded", [("a",)])


def test_a_stream_whose_bounds_cannot_be_had_is_isolated() -> None:
    """--keep-going: asked for together first, then each by itself; without it the run ends."""
    refusal = SourceError("transactions are still running", code="settle_timeout")
    source = FakeSource(1)
    source.increments, source.refusals = {"b": bounds("10", "20")}, {"a": refusal}
    leader = FakeLeader(write_mode="append")
    result = run(source, leader, "a", "b", increments="ab", keep_going=True)
    assert [stream.status for stream in result.streams] == ["failed", "succeeded"]
    assert [names for names, _ in source.asked_bounds] == [("a", "b"), ("a",), ("b",)]
    strict = FakeLeader(write_mode="append")
    result = run(source, strict, "a", "b", increments="ab")
    assert (result.status, result.exit_code, strict.published) == ("failed", 3, [])


def test_a_load_begun_anew_keeps_its_bounds() -> None:
    """The snapshot was lost: the same increment is read in another one."""
    source, increment = FakeSource(1), bounds("10", "20")
    source.increments = {"a": increment}
    source.deaths = [SourceError("gone", code="snapshot_lost")]
    result = run(source, FakeLeader(write_mode="append"), "a", increments="a")
    assert (result.status, result.attempts) == ("succeeded", 2)
    assert source.given_bounds == [increment, increment]
    assert len(source.asked_bounds) == 1
