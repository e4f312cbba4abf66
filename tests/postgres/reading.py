"""What the source's tests share: a source of a database, plans without a destination, rows as they are read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from rapidbyte.contract import ReplaceFacts
from rapidbyte.decisions import make_plan
from rapidbyte.model import QualifiedName, Secret, Wire
from rapidbyte.partition import Partition
from rapidbyte.plan import ColumnPlan, RunPlan, StreamPlan, StreamShape
from rapidbyte.ports import Snapshot, Stop
from rapidbyte.sources.postgres import PostgresSource
from rapidbyte.spec import Connection, PostgresSourceSpec, Resources, RunOptions, StreamSpec

SMALL = 8192
"""Bytes of a partition: one heap block, about."""


def never() -> bool:
    """A stop that never comes."""
    return False


def source_of(dsn: str, schema: str = "public") -> PostgresSource:
    """The source under test."""
    return PostgresSource(PostgresSourceSpec(connection=Connection(dsn=Secret(dsn)), schema=schema), pipeline="test")


def specs(streams: Sequence[str | StreamSpec]) -> tuple[StreamSpec, ...]:
    """Entries, of which the plain ones are names."""
    return tuple(StreamSpec(name=stream) if isinstance(stream, str) else stream for stream in streams)


def shapes(dsn: str, *streams: str | StreamSpec, schema: str = "public") -> tuple[StreamShape, ...]:
    """What the source says of these streams."""
    return source_of(dsn, schema).describe(specs(streams))


def plan_of(shape: StreamShape, wire: Wire = "text-relay", order: int = 0) -> StreamPlan:
    """A plan that carries every column as it is."""
    return StreamPlan(
        order=order,
        shape=shape,
        target=QualifiedName(schema="raw", name=shape.spec.name),
        write_mode="append",
        publish="insert",
        publish_reason="",
        wire=wire,
        columns=tuple(ColumnPlan(source=each, target=each, conversion="identical") for each in shape.columns),
        primary_key=(),
        replace=ReplaceFacts(target_exists=False),
        statements=(),
    )


def run_plan(dsn: str, streams: tuple[StreamPlan, ...], block_bytes: int = 1024) -> RunPlan:
    """A run of these streams, in small blocks."""
    facts = source_of(dsn).facts()
    plan = make_plan(
        pipeline="test",
        streams=streams,
        resources=Resources(parallelism=2),
        options=RunOptions(),
        source=facts,
        destination=replace(facts, is_plain=False),  # blocks of rows, which tests look at
        cores=2,
    )
    return replace(plan, flush=replace(plan.flush, block_bytes=block_bytes))


@dataclass(frozen=True, slots=True, kw_only=True)
class Open:
    """A snapshot that is held, and what can be read in it."""

    snapshot: Snapshot
    plan: RunPlan

    def partitions(self, order: int = 0, partition_bytes: int = SMALL) -> tuple[Partition, ...]:
        """A stream's partitions."""
        return self.snapshot.partitions(self.plan.streams[order], partition_bytes)

    def data(self, partition: Partition, order: int = 0, *, worker: int = 0, stop: Stop = never) -> bytes:
        """One partition's bytes. Asserts that all counts agree."""
        read = self.snapshot.reader(self.plan.streams[order], self.plan)
        with read(partition, stop, worker) as blocks:
            found = list(blocks)
            assert sum(block.rows for block in found) == blocks.row_count
            assert [len(block.data) for block in found if isinstance(block.data, bytes)] == [b.size for b in found]
            return b"".join(block.data for block in found if isinstance(block.data, bytes))

    def lines(self, partition: Partition, order: int = 0, *, worker: int = 0) -> list[str]:
        """One partition's rows, as COPY's text."""
        return self.data(partition, order, worker=worker).decode().splitlines()

    def rows(self, order: int = 0, partition_bytes: int = SMALL) -> list[str]:
        """All rows of a stream, from all of its partitions, sorted."""
        return sorted(
            line for partition in self.partitions(order, partition_bytes) for line in self.lines(partition, order)
        )


@contextmanager
def opened(
    dsn: str, *found: StreamShape, wire: Wire = "text-relay", block_bytes: int = 1024, schema: str = "public"
) -> Iterator[Open]:
    """A snapshot of the source, in which these streams can be read."""
    streams = tuple(plan_of(shape, wire, order) for order, shape in enumerate(found))
    plan = run_plan(dsn, streams, block_bytes)
    with source_of(dsn, schema).snapshot(streams) as snapshot:
        yield Open(snapshot=snapshot, plan=plan)


def read_all(dsn: str, stream: str | StreamSpec, schema: str = "public") -> tuple[list[str], int]:
    """All rows of one stream, sorted, and the number of partitions they came in."""
    (shape,) = shapes(dsn, stream, schema=schema)
    with opened(dsn, shape, schema=schema) as source:
        return source.rows(), len(source.partitions())
