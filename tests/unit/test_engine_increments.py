"""Incremental streams in a run, on in-memory ends: bounds before prepare, nothing done where nothing is new."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from rapidbyte.cursor import CursorBounds, CursorColumn, StoredCursor, plan_cursor
from rapidbyte.engine.run import execute
from rapidbyte.errors import RapidbyteError, SourceError
from rapidbyte.model import QualifiedName
from rapidbyte.plan import StreamPlan, StreamShape
from rapidbyte.ports import OpenedRun, Runtime
from rapidbyte.result import RunResult
from rapidbyte.spec import RunOptions
from tests import fakes
from tests.fakes import FakeLeader, FakeSource, pipeline_spec

COLUMN = CursorColumn(field="id", type="bigint", index="t_pkey", nullable=False)
STORED = StoredCursor(field="id", type="bigint", value="5")


def bounds(high: str | None) -> CursorBounds:
    return CursorBounds(
        field="id", type="bigint", low="5", low_inclusive=False, high=high, high_inclusive=True, stored="5"
    )


@dataclass
class IncrementalLeader(FakeLeader):
    """All streams but `whole` are incremental."""

    def plan_stream(
        self, order: int, shape: StreamShape, readers: tuple[tuple[QualifiedName, str], ...] = ()
    ) -> StreamPlan:
        plan = super().plan_stream(order, shape, readers)
        if plan.name == "whole":
            return plan
        return replace(plan, cursor=plan_cursor(COLUMN, stored=None, lag=None, nulls="fail", stream=plan.name))


@dataclass
class IncrementalSource(FakeSource):
    """Notes what it was asked; `highs` are the increments' ends, or failures, by stream."""

    highs: Mapping[str, str | RapidbyteError | None] = field(default_factory=dict[str, str | RapidbyteError | None])
    asked: list[tuple[tuple[str, ...], dict[str, StoredCursor]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(1)

    def bounds(
        self, streams: tuple[StreamPlan, ...], stored: Mapping[str, StoredCursor]
    ) -> tuple[CursorBounds | None, ...]:
        self.asked.append((tuple(stream.name for stream in streams), dict(stored)))
        found: list[CursorBounds] = []
        for stream in streams:
            high = self.highs[stream.name]
            if isinstance(high, RapidbyteError):
                raise high
            found.append(bounds(high))
        return tuple(found)


def run(source: FakeSource, leader: FakeLeader, *names: str, **options: object) -> RunResult:
    runtime = Runtime(
        source=source,
        leader=leader,
        write=fakes.write,
        options=RunOptions(workers=1, **options),  # type: ignore[arg-type]
        observe=lambda event: None,
    )
    return execute(pipeline_spec(*names), runtime, threading.Event())


def leader() -> IncrementalLeader:
    return IncrementalLeader(write_mode="append", opened=OpenedRun(fence=1, cursors={"a": STORED}))


def test_bounds_are_taken_once_the_run_is_open_and_told() -> None:
    """From the ledger's cursors, for all incremental streams at once; the result tells from and to."""
    source = IncrementalSource(highs={"a": "9", "b": "7"})
    result = run(source, leader(), "a", "whole", "b")
    assert source.asked == [(("a", "b"), {"a": STORED})]
    assert result.exit_code == 0
    cursors = [stream.cursor for stream in result.streams]
    assert [(each.field, each.low, each.high) if each else None for each in cursors] == [
        ("id", "5", "9"),
        None,
        ("id", "5", "7"),
    ]
    assert [stream.safe_to_retry for stream in result.streams] == [True, False, True]


def test_an_increment_without_rows_changes_nothing() -> None:
    """No stage, no publish; zero rows, and the cursor where it was (E8)."""
    source = IncrementalSource(highs={"a": None})
    used = leader()
    result = run(source, used, "a")
    assert used.calls == [("plan", "a"), ("open", ""), ("close_run", ""), ("close", "")]
    (stream,) = result.streams
    assert (stream.status, stream.records_read, stream.records_written) == ("succeeded", 0, 0)
    assert stream.cursor is not None
    assert (stream.cursor.low, stream.cursor.high, result.exit_code) == ("5", "5", 0)


def test_a_full_refresh_begins_at_the_beginning() -> None:
    """Whatever the ledger's cursor is; and an empty source is loaded, too: it empties the target."""
    source = IncrementalSource(highs={"a": None})
    used = leader()
    run(source, used, "a", full_refresh=True)
    assert source.asked == [(("a",), {})]
    assert ("prepare", "a") in used.calls
    assert ("finalize", "a") in used.calls


def test_bounds_that_cannot_be_taken_end_the_run() -> None:
    """Before anything is prepared."""
    used = leader()
    result = run(IncrementalSource(highs={"a": SourceError("waited", code="settle_timeout")}), used, "a", "whole")
    assert result.exit_code == 3
    assert ("prepare", "whole") not in used.calls


def test_with_keep_going_the_other_streams_go_on() -> None:
    """The one without bounds has failed."""
    source = IncrementalSource(highs={"a": SourceError("waited", code="settle_timeout"), "b": "7"})
    result = run(source, leader(), "a", "b", "whole", keep_going=True)
    assert [stream.status for stream in result.streams] == ["failed", "succeeded", "succeeded"]
    assert result.exit_code == 3
