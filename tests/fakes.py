"""A source, a leader and a writer that live in memory: the ports' shapes without a server."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from rapidbyte.contract import (
    CopyTarget,
    FlushSettings,
    PartitionReceipt,
    ReplaceFacts,
    ResumeFacts,
    WriteContract,
)
from rapidbyte.cursor import CursorBounds, CursorColumn, CursorPlan, StoredCursor
from rapidbyte.errors import RapidbyteError
from rapidbyte.metrics import Laps, ReadTimes
from rapidbyte.model import Column, QualifiedName, Secret, ServerFacts
from rapidbyte.partition import FileRange, Partition, PartitionRange, Whole
from rapidbyte.pg.types import built_in
from rapidbyte.plan import ColumnPlan, RunPlan, StreamPlan, StreamShape
from rapidbyte.ports import (
    Block,
    BlockStream,
    FinalizeReport,
    LastRun,
    Lost,
    OpenedRun,
    PartitionRead,
    Publication,
    ReadPartition,
    Sampled,
    Stop,
)
from rapidbyte.result import RunResult
from rapidbyte.spec import Connection, DestinationSpec, PipelineSpec, PostgresSourceSpec, RunRequest, StreamSpec

ID = Column(name="id", type=built_in("bigint"))
FACTS = ServerFacts(version="18.0", version_number=180000, connections_left=50, identity="here/1")
CURSOR = CursorPlan(
    field="id", tie_breaker=None, type="bigint", stored=None, column=CursorColumn(field="id", type="bigint")
)
SESSION = (("TimeZone", "UTC"),)


def copy_target(**changes: object) -> CopyTarget:
    """A complete CopyTarget, with these fields changed."""
    values: dict[str, object] = {
        "load_id": "load-1",
        "pipeline": "shop",
        "stream": "orders",
        "table": QualifiedName(schema="raw", name="stage"),
        "columns": (ID,),
        "wire": "binary-relay",
        "receipts": QualifiedName(schema="_rapidbyte", name="receipts"),
        "session": SESSION,
        "login": Connection(host="db", password=Secret("canary")),
    }
    return CopyTarget(**{**values, **changes})  # type: ignore[arg-type]


def pipeline_spec(*names: str) -> PipelineSpec:
    """A pipeline with these streams."""
    return PipelineSpec(
        pipeline="shop",
        source=PostgresSourceSpec(connection=Connection(host="source")),
        streams=tuple(StreamSpec(name=name) for name in names),
        destination=DestinationSpec(connection=Connection(host="destination")),
    )


@dataclass(frozen=True)
class Script:
    """What one partition of the fake source does: blocks, then perhaps a failure; `before` runs first."""

    blocks: tuple[Block, ...] = (Block(data=b"row", rows=1, size=3),)
    failure: BaseException | None = None
    before: Callable[[Stop], None] | None = None


class FakeRead:
    """A PartitionRead over a script."""

    times = ReadTimes(blocked_s=0.25, busy_s=0.75)

    def __init__(self, script: Script) -> None:
        self._script = script

    def __iter__(self) -> Iterator[Block]:
        yield from self._script.blocks
        if self._script.failure is not None:
            raise self._script.failure

    @property
    def row_count(self) -> int:
        return sum(block.rows for block in self._script.blocks)


def reader(scripts: dict[tuple[str, int], Script]) -> ReadPartition:
    """Reads partitions as their scripts say."""

    @contextmanager
    def read(partition: Partition, stop: Stop, worker: int) -> Generator[PartitionRead]:
        script = scripts.get((partition.stream, partition.index), Script())
        if script.before is not None:
            script.before(stop)
        yield FakeRead(script)

    return read


def write(
    target: CopyTarget, partition: Partition, blocks: BlockStream, *, worker: int, stop: Stop
) -> PartitionReceipt:
    """Takes every block and counts; commits nothing anywhere."""
    target.require_complete()
    laps = Laps()
    size = sum(block.size for block in blocks)
    laps.lap("write")
    return PartitionReceipt(
        load_id=target.load_id,
        stream=target.stream,
        partition=partition.index,
        rows=blocks.row_count,
        bytes=size,
        times=laps.times(),
    )


class FakeSource:
    """A source of so many partitions a stream."""

    def __init__(self, partitions: int, scripts: dict[tuple[str, int], Script] | None = None) -> None:
        self._partitions = partitions
        self._scripts = scripts or {}
        self.open_snapshots = 0
        self.unchanged = True
        self.files = False
        self.snapshots: list[tuple[str, ...]] = []
        """Streams of each snapshot that was taken."""
        self.passing: list[RapidbyteError] = []
        """What taking a snapshot raises, once each, before it goes well."""
        self.increments: dict[str, CursorBounds] = {}
        """Bounds of the streams that are read as increments."""
        self.refusals: dict[str, RapidbyteError] = {}
        """What asking for a stream's bounds raises."""
        self.asked_bounds: list[tuple[tuple[str, ...], dict[str, StoredCursor]]] = []
        self.given_bounds: list[CursorBounds | None] = []
        """What partitions were made for."""
        self.deaths: list[RapidbyteError] = []
        """What asking whether the snapshot is alive raises, once each."""

    def facts(self) -> ServerFacts:
        return ServerFacts(version="17.0", version_number=170000, connections_left=50, identity="there/1")

    def describe(self, streams: tuple[StreamSpec, ...]) -> tuple[StreamShape, ...]:
        return tuple(
            StreamShape(
                spec=spec,
                kind="table",
                relation=QualifiedName(schema="public", name=spec.name),
                columns=(ID,),
                estimated_bytes=1000,
            )
            for spec in streams
        )

    def discover(self) -> tuple[StreamShape, ...]:
        return ()

    def bounds(
        self, streams: tuple[StreamPlan, ...], stored: Mapping[str, StoredCursor]
    ) -> tuple[CursorBounds | None, ...]:
        self.asked_bounds.append((tuple(stream.name for stream in streams), dict(stored)))
        refused = next((self.refusals[each.name] for each in streams if each.name in self.refusals), None)
        if refused is not None:
            raise refused
        return tuple(self.increments.get(stream.name) for stream in streams)

    @contextmanager
    def snapshot(self, streams: tuple[StreamPlan, ...]) -> Generator[FakeSource]:
        if self.passing:
            raise self.passing.pop(0)
        self.snapshots.append(tuple(stream.name for stream in streams))
        self.open_snapshots += 1
        try:
            yield self
        finally:
            self.open_snapshots -= 1

    def partitions(
        self, stream: StreamPlan, partition_bytes: int, bounds: CursorBounds | None = None
    ) -> tuple[Partition, ...]:
        self.given_bounds.append(bounds)
        part: PartitionRange = FileRange(path="orders.csv", fingerprint="1/1") if self.files else Whole()
        return tuple(Partition(stream=stream.name, index=index, range=part) for index in range(self._partitions))

    def reader(self, stream: StreamPlan, plan: RunPlan) -> ReadPartition:
        return reader(self._scripts)

    def still_has(self, stream: StreamPlan, partitions: tuple[Partition, ...]) -> bool:
        return self.unchanged

    def checksum(self, stream: StreamPlan, bounds: CursorBounds | None = None) -> str:
        return "checksum of the source"

    def sample(self, stream: StreamPlan, limit: int) -> Sampled:
        rows = (("1",), (None,))[:limit]
        return Sampled(rows=rows, looked_at=len(rows))

    def require_alive(self) -> None:
        if self.deaths:
            raise self.deaths.pop(0)


@dataclass
class FakeLeader:
    """A leader that notes what it was asked to do, in order. `failures` maps (step, stream) to what it raises."""

    failures: dict[tuple[str, str], RapidbyteError] = field(default_factory=dict)
    calls: list[tuple[str, str]] = field(default_factory=list)
    ddl_race_retries: int = 0
    write_mode: str = "replace"
    threads: set[str] = field(default_factory=set)
    opened: OpenedRun = field(default_factory=lambda: OpenedRun(fence=1))
    resumes: dict[str, ResumeFacts] = field(default_factory=dict)
    """Taken by the first prepare of a stream: a second one begins anew."""
    stored_bounds: dict[str, CursorBounds] = field(default_factory=dict)
    """Of loads that are resumed."""
    last: LastRun | None = None
    passing: dict[tuple[str, str], list[RapidbyteError]] = field(default_factory=dict)
    """(step, stream) to what it raises, once each, before it goes well."""
    published: list[tuple[str, ...]] = field(default_factory=list)
    """Streams of each transaction that was committed."""
    requests: list[RunRequest] = field(default_factory=list)

    def _call(self, step: str, stream: str) -> None:
        self.calls.append((step, stream))
        self.threads.add(threading.current_thread().name)
        if (step, stream) in self.failures:
            raise self.failures[step, stream]
        if self.passing.get((step, stream)):
            raise self.passing[step, stream].pop(0)

    def facts(self) -> ServerFacts:
        return FACTS

    def plan_stream(
        self, order: int, shape: StreamShape, readers: tuple[tuple[QualifiedName, str], ...] = ()
    ) -> StreamPlan:
        self._call("plan", shape.spec.name)
        return StreamPlan(
            order=order,
            shape=shape,
            target=QualifiedName(schema="raw", name=shape.spec.name),
            write_mode=self.write_mode,  # type: ignore[arg-type]
            publish="swap",
            publish_reason="because",
            wire="binary-relay",
            columns=(ColumnPlan(source=ID, target=ID, conversion="identical"),),
            primary_key=(),
            replace=ReplaceFacts(target_exists=True),
            statements=(),
            cursor=CURSOR if shape.spec.sync_mode == "incremental" else None,
        )

    def check_privileges(self, plan: RunPlan) -> None:
        return

    def open_run(self, request: RunRequest, lost: Lost) -> OpenedRun:
        self.requests.append(request)
        self._call("open", "")
        return self.opened

    def last_run(self) -> LastRun | None:
        return self.last

    def close_run(self, result: RunResult) -> tuple[str, ...]:
        if ("open", "") in self.calls:
            self._call("close_run", "")
        return ()

    def record_partitions(self, contract: WriteContract, partitions: Sequence[Partition]) -> None:
        self._call("record", contract.stream)

    def prepare_stream(
        self, plan: RunPlan, stream: StreamPlan, run_id: str, bounds: CursorBounds | None = None
    ) -> WriteContract:
        self._call("prepare", stream.name)
        return WriteContract(
            run_id=run_id,
            load_id=f"load-{stream.name}",
            pipeline=plan.pipeline,
            stream=stream.name,
            target=stream.target,
            stage=QualifiedName(schema="raw", name=f"stage_{stream.name}"),
            columns=(ID,),
            write_mode=stream.write_mode,
            publish=stream.publish,
            primary_key=(),
            copy=copy_target(load_id=f"load-{stream.name}", stream=stream.name),
            flush=FlushSettings(),
            checkpoint_interval_bytes=plan.checkpoint_interval_bytes,
            replace=stream.replace,
            resume=self.resumes.pop(stream.name, ResumeFacts()),
            fence=self.opened.fence,
            bounds=self.stored_bounds.get(stream.name, bounds),
        )

    def finalize(self, publications: Sequence[Publication]) -> tuple[FinalizeReport, ...]:
        for publication in publications:
            self._call("finalize", publication.contract.stream)
        self.published.append(tuple(each.contract.stream for each in publications))
        return tuple(
            FinalizeReport(load_id=each.contract.load_id, publish=each.contract.publish, rows=each.receipts.rows)
            for each in publications
        )

    def require_lease(self) -> None:
        self._call("lease", "")

    def discard_stream(self, contract: WriteContract) -> None:
        self._call("discard", contract.stream)

    def close(self) -> None:
        self.calls.append(("close", ""))
