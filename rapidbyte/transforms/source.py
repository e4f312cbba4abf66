"""A source whose streams are what their transforms make of them. What it reads is the inner source's business."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace

from rapidbyte.contract import FlushSettings
from rapidbyte.cursor import CursorBounds, StoredCursor
from rapidbyte.errors import ConfigError
from rapidbyte.metrics import ReadTimes
from rapidbyte.model import ServerFacts
from rapidbyte.partition import Partition, Whole
from rapidbyte.plan import ColumnPlan, RunPlan, StreamPlan, StreamShape
from rapidbyte.ports import Block, PartitionRead, ReadPartition, Sampled, Snapshot, Source, Stop, TransformPartition
from rapidbyte.spec import StreamSpec
from rapidbyte.transforms.chain import Chain, plan_chain
from rapidbyte.transforms.decode import arrow_columns
from rapidbyte.transforms.flow import Resources
from rapidbyte.transforms.printing import Sampling
from rapidbyte.tuning import Choice
from rapidbyte.values import frozen


@frozen
class _Stream:
    """One stream before and after its transforms."""

    inner: StreamShape
    chain: Chain


class TransformedSource:
    """`ports.Source` over another one. Streams without transforms are passed on untouched."""

    def __init__(self, inner: Source, resources: Resources, stop: Stop) -> None:
        self._inner = inner
        self._resources = resources
        self._stop = stop
        self._streams: dict[str, _Stream] = {}

    def facts(self) -> ServerFacts | None:
        """The inner source's."""
        return self._inner.facts()

    def describe(self, streams: tuple[StreamSpec, ...]) -> tuple[StreamShape, ...]:
        """The streams' columns as they are after the transforms. Raises ConfigError for transforms that do not fit."""
        return tuple(map(self._described, self._inner.describe(streams)))

    def _described(self, shape: StreamShape) -> StreamShape:
        spec = shape.spec
        if not spec.transforms:
            return shape
        given = shape.columns if shape.delivers == "arrow" else arrow_columns(shape.columns)
        chain = plan_chain(spec, given, self._resources)
        _require_ordered(spec, chain)
        self._streams[spec.name] = _Stream(inner=shape, chain=chain)
        names = {column.name for column in chain.columns}
        whole = "one partition: a transform sees the whole stream"
        return replace(
            shape,
            columns=chain.columns,
            delivers="arrow",
            primary_key=shape.primary_key if set(shape.primary_key) <= names and _keeps_names(chain) else (),
            index_definitions=shape.index_definitions if _keeps_names(chain) else (),
            partitioning=whole if chain.needs_all else shape.partitioning,
            transforms=chain.phrases,
        )

    def discover(self) -> tuple[StreamShape, ...]:
        """The inner source's streams, as they are."""
        return self._inner.discover()

    def bounds(
        self, streams: tuple[StreamPlan, ...], stored: Mapping[str, StoredCursor]
    ) -> tuple[CursorBounds | None, ...]:
        """The inner source's: a cursor is a column of what is read."""
        return self._inner.bounds(tuple(map(self.before, streams)), stored)

    @contextmanager
    def snapshot(self, streams: tuple[StreamPlan, ...]) -> Generator[TransformedSnapshot]:
        """The inner source's snapshot."""
        with self._inner.snapshot(tuple(map(self.before, streams))) as snapshot:
            yield TransformedSnapshot(self, snapshot, self._stop)

    def chain_of(self, stream: StreamPlan) -> Chain | None:
        """The stream's transforms; None where it has none."""
        found = self._streams.get(stream.name)
        return None if found is None else found.chain

    def transform(self, stream: StreamPlan) -> TransformPartition | None:
        """What a worker does with the stream's blocks."""
        return self.chain_of(stream)

    def before(self, stream: StreamPlan) -> StreamPlan:
        """The stream's plan as the inner source knows it: its own columns, on a wire that it can read."""
        found = self._streams.get(stream.name)
        if found is None:
            return stream
        columns = tuple(ColumnPlan(source=each, target=each, conversion="identical") for each in found.inner.columns)
        return replace(stream, shape=found.inner, columns=columns, wire="arrow-text")


def _keeps_names(chain: Chain) -> bool:
    """Whether the columns that are delivered are still those of the relation: no query, no new names."""
    names = {column.name: column.type for column in chain.given}
    is_query = any(phrase.startswith("sql") for phrase in chain.phrases)
    return not is_query and all(names.get(column.name) == column.type for column in chain.columns)


def _require_ordered(spec: StreamSpec, chain: Chain) -> None:
    """Raises ConfigError where an upsert would order its rows by a column that is gone."""
    names = {column.name for column in chain.columns}
    wanted = [name for name in (spec.cursor_field, spec.tie_breaker_field) if name is not None]
    gone = [name for name in wanted if name not in names]
    if gone:
        raise ConfigError(
            f"stream {spec.name}: the transforms leave out {', '.join(gone)}, its cursor or tie-breaker",
            code="cursor_dropped",
            hint="let the column through under its own name",
            stream=spec.name,
        )


class TransformedSnapshot:
    """`ports.Snapshot` over another one."""

    def __init__(self, source: TransformedSource, inner: Snapshot, stop: Stop) -> None:
        self._source = source
        self._inner = inner
        self._stop = stop
        self._parts: dict[str, tuple[Partition, ...]] = {}

    def partitions(
        self, stream: StreamPlan, partition_bytes: int, bounds: CursorBounds | None = None
    ) -> tuple[Partition, ...]:
        """The inner source's; a single one, of all of them, where a transform must see the whole stream."""
        parts = self._inner.partitions(self._source.before(stream), partition_bytes, bounds)
        chain = self._source.chain_of(stream)
        if chain is None or not chain.needs_all:
            return parts
        self._parts[stream.name] = parts
        return (Partition(stream=stream.name, index=0, range=Whole()),)

    def reader(self, stream: StreamPlan, plan: RunPlan) -> ReadPartition:
        """Reads one of these partitions; the transforms are the worker's business."""
        read = self._inner.reader(self._source.before(stream), plan)
        parts = self._parts.get(stream.name)
        return read if parts is None else ReadAll(read=read, parts=parts)

    def still_has(self, stream: StreamPlan, partitions: tuple[Partition, ...]) -> bool:
        """The inner source's word; of a whole stream in one partition nothing is recorded."""
        return self._inner.still_has(self._source.before(stream), partitions)

    def checksum(self, stream: StreamPlan, bounds: CursorBounds | None = None) -> str | None:
        """None where there are transforms: the server could only compute that of the rows before them."""
        return None if self._source.chain_of(stream) is not None else self._inner.checksum(stream, bounds)

    def sample(self, stream: StreamPlan, limit: int) -> Sampled:
        """The first rows after the transforms, as PostgreSQL would print their values."""
        chain = self._source.chain_of(stream)
        if chain is None:
            return self._inner.sample(stream, limit)
        before = self._source.before(stream)
        parts = self._inner.partitions(before, 1 << 62)
        read = self._inner.reader(before, _sampling(stream))
        sampling = Sampling(chain.columns, limit)
        for block in chain(_blocks(read, parts, self._stop), self._stop):
            if sampling.take(block):
                break
        return sampling.found()

    def require_alive(self) -> None:
        """The inner source's word."""
        self._inner.require_alive()


def _sampling(stream: StreamPlan) -> RunPlan:
    """What reading a few rows needs to know of a run."""
    return RunPlan(
        pipeline="",
        streams=(stream,),
        choice=Choice(mode="explicit", workers=1, limit=1, reason=""),
        checkpoint_interval_bytes=1 << 62,
        flush=FlushSettings(),
        max_retries=0,
        source=None,
        destination=ServerFacts(version="", version_number=0),
        same_database=False,
        is_sample=True,
    )


def _blocks(read: ReadPartition, parts: tuple[Partition, ...], stop: Stop) -> Iterator[Block]:
    for part in parts:
        with read(part, stop, 0) as blocks:
            yield from blocks


@frozen
class ReadAll:
    """Reads all of a stream's partitions, one after the other, as one. A `ReadPartition`; pickles."""

    read: ReadPartition
    parts: tuple[Partition, ...]

    def __call__(self, partition: Partition, stop: Stop, worker: int) -> AbstractContextManager[PartitionRead]:
        """The blocks of all of them; each is opened when its turn comes."""
        del partition
        return self._opened(stop, worker)

    @contextmanager
    def _opened(self, stop: Stop, worker: int) -> Generator[_AllBlocks]:
        yield _AllBlocks(self, stop, worker)


class _AllBlocks:
    """A PartitionRead over several. Iterated once, by one thread."""

    def __init__(self, task: ReadAll, stop: Stop, worker: int) -> None:
        self._task = task
        self._stop = stop
        self._worker = worker
        self.row_count = 0
        """Rows delivered, as the source itself counted them."""
        self.times = ReadTimes()
        """Of those that have been read."""

    def __iter__(self) -> Iterator[Block]:
        for part in self._task.parts:
            with self._task.read(part, self._stop, self._worker) as blocks:
                yield from blocks
                self.row_count += blocks.row_count
                spent = blocks.times
                self.times = ReadTimes(
                    blocked_s=self.times.blocked_s + spent.blocked_s, busy_s=self.times.busy_s + spent.busy_s
                )
