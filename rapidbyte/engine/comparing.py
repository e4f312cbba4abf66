"""`verify`, stream by stream: both ends opened once, each stream planned and compared."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Protocol

from rapidbyte.comparison import ComparedColumn, Cut, LedgerFacts, RowEnd
from rapidbyte.cursor import NullCursor, StoredCursor
from rapidbyte.decisions import select_streams
from rapidbyte.engine.verification import ComparisonPlan, StreamComparison, VerifyReport, plain, plan_comparison
from rapidbyte.engine.verify import compare
from rapidbyte.model import Column, ColumnType, QualifiedName, ServerFacts
from rapidbyte.plan import ConversionKind, StreamShape
from rapidbyte.spec import PipelineSpec, RunOptions, StreamSpec


class SourceSide(Protocol):
    """The source's rows in one snapshot."""

    def of_stream(
        self,
        stream: str,
        columns: tuple[ComparedColumn, ...],
        key: tuple[ComparedColumn, ...],
        *,
        cursor: StoredCursor | None,
        nulls: NullCursor,
    ) -> RowEnd:
        """One stream's."""
        ...


class DestinationSide(Protocol):
    """The targets in one snapshot."""

    def columns(self, target: QualifiedName) -> tuple[Column, ...] | None:
        """None where there is no such table. Raises PrivilegeError."""
        ...

    def ledger(self, pipeline: str, stream: str, target: QualifiedName, *, incremental: bool) -> LedgerFacts:
        """What the ledger says of the stream."""
        ...

    def of_target(
        self, target: QualifiedName, columns: tuple[ComparedColumn, ...], key: tuple[ComparedColumn, ...]
    ) -> RowEnd:
        """One target's rows."""
        ...


class ComparedSource(Protocol):
    """A source whose server can compute checksums."""

    def facts(self) -> ServerFacts:
        """The server's own word."""
        ...

    def describe(self, streams: tuple[StreamSpec, ...]) -> tuple[StreamShape, ...]:
        """One shape a stream, patterns resolved."""
        ...

    def rows(self, shapes: tuple[StreamShape, ...]) -> AbstractContextManager[SourceSide]:
        """The rows of these streams."""
        ...


class ComparedDestination(Protocol):
    """A destination whose server can compute checksums."""

    def facts(self) -> ServerFacts:
        """The server's own word."""
        ...

    def target_of(self, shape: StreamShape) -> QualifiedName:
        """Where a stream goes."""
        ...

    def conversion(self, source: ColumnType, target: ColumnType) -> ConversionKind:
        """What happens to the values of one type in a column of the other."""
        ...

    def rows(self, targets: tuple[QualifiedName, ...]) -> AbstractContextManager[DestinationSide]:
        """The rows of these targets."""
        ...


def verify_streams(
    spec: PipelineSpec, options: RunOptions, *, source: ComparedSource, destination: ComparedDestination
) -> VerifyReport:
    """Compares every stream that was asked for. Nothing is changed. Raises RapidbyteError."""
    started_s = time.monotonic()
    selected = select_streams(spec.streams, options.streams)
    here, there = source.facts(), destination.facts()
    shapes = source.describe(selected)
    targets = {shape.spec.name: destination.target_of(shape) for shape in shapes}
    same_money = here.lc_monetary == there.lc_monetary
    # The destination's snapshot first: what is there now was at the source before.
    with destination.rows(tuple(targets.values())) as rows_there, source.rows(shapes) as rows_here:
        streams = tuple(
            _compared(
                _planned(spec, shape, targets, rows_there, destination, same_money=same_money),
                rows_here,
                rows_there,
                nulls=shape.spec.null_cursor,
            )
            for shape in shapes
        )
    return VerifyReport(
        pipeline=spec.pipeline,
        source=here,
        destination=there,
        streams=streams,
        duration_s=time.monotonic() - started_s,
    )


def _planned(
    spec: PipelineSpec,
    shape: StreamShape,
    targets: Mapping[str, QualifiedName],
    rows: DestinationSide,
    destination: ComparedDestination,
    *,
    same_money: bool,
) -> ComparisonPlan:
    stream, target = shape.spec, targets[shape.spec.name]
    columns, incremental = rows.columns(target), stream.sync_mode == "incremental"
    ledger = rows.ledger(spec.pipeline, stream.name, target, incremental=incremental)
    return plan_comparison(
        stream=stream.name,
        target=target,
        write_mode=stream.write_mode or spec.destination.write_mode,
        source=shape.columns,
        destination=columns,
        key=stream.primary_key or spec.destination.primary_key or shape.primary_key,
        conversion=destination.conversion,
        same_money=same_money,
        ignores_new_columns=spec.destination.schema_policy.new_column == "ignore",
        cursor=ledger.cursor,
        incremental=incremental,
        published_rows=ledger.published_rows,
        estimated_rows=shape.estimated_rows,
    )


def _compared(plan: ComparisonPlan, here: SourceSide, there: DestinationSide, *, nulls: NullCursor) -> StreamComparison:
    if not plan.target_exists:
        cut = Cut(by="row_hash", key=(), count=1)
        return StreamComparison(plan=plan, cut=cut, source_rows=None, destination_rows=None)
    return compare(
        plan,
        here.of_stream(plan.stream, plan.columns, plan.key, cursor=plan.cursor, nulls=nulls),
        there.of_target(plan.target, plain(plan.columns), plain(plan.key)),
    )
