"""The seams of the house: what the engine asks of a source, of the leader, of a writer.

A source is conformant when `tests/conformance` passes for it; the same holds for a writer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Protocol

from rapidbyte.contract import CopyTarget, LoadReceipts, PartitionReceipt, WriteContract
from rapidbyte.cursor import CursorBounds, StoredCursor
from rapidbyte.errors import RapidbyteError
from rapidbyte.events import Observer
from rapidbyte.metrics import ReadTimes
from rapidbyte.model import PublishMethod, QualifiedName, ServerFacts
from rapidbyte.partition import Partition
from rapidbyte.plan import RunPlan, StreamPlan, StreamShape
from rapidbyte.rejects import Reject
from rapidbyte.result import RunResult
from rapidbyte.spec import RunOptions, RunRequest, StreamSpec
from rapidbyte.values import field, frozen

if TYPE_CHECKING:
    import pyarrow as pa


@frozen
class Place:
    """Where a row stands in its source."""

    file: str
    line: int | None = None
    """From 1; None where the format has no lines."""
    row: int | None = None
    """From 1, within the file; None where rows were left out before."""

    def __str__(self) -> str:
        if self.line is not None:
            return f"{self.file}, line {self.line}"
        return self.file if self.row is None else f"{self.file}, row {self.row}"


@frozen
class Block:
    """One hand-over: about `FlushSettings.block_bytes` of a partition, in order."""

    data: bytes | pa.RecordBatch
    rows: int
    """Whole rows that ended in this block."""
    size: int
    """Bytes, for the bound on what is under way."""
    origin: Callable[[int], Place] | None = None
    """Where a row of this block, counted from 0, comes from. May read the source again. None: nobody knows."""
    rejects: tuple[Reject, ...] = ()
    """Rows that were set aside before this block; they are not in it."""
    transform_s: float = 0.0
    """Seconds that the thread which takes this block has spent on transforming it."""
    is_framed: bool = False
    """The bytes are messages of PostgreSQL's protocol, heads included; `size` does not count these."""
    missing_bytes: int = 0
    """Of the last message, which is larger than a block: they come with the next one."""


class BlockStream(Protocol):
    """One partition on its way. Iterated once, by one thread.

    Ends by StopIteration only when the source has delivered all of it; a source that fails raises instead. A
    failure is never an end.
    """

    def __iter__(self) -> Iterator[Block]: ...

    @property
    def row_count(self) -> int:
        """Rows the source says it has sent. Raises InternalError before the stream's end."""
        ...


class PartitionRead(Protocol):
    """What a reader has open for one partition: blocks, and afterwards what they cost."""

    def __iter__(self) -> Iterator[Block]: ...

    @property
    def row_count(self) -> int:
        """Rows delivered, as the source itself counted them. Valid after the last block."""
        ...

    @property
    def times(self) -> ReadTimes:
        """Seconds blocked and busy so far."""
        ...


Stop = Callable[[], bool]
"""True once this partition's work, or the run, is to end. Asked at every block, before every statement, and at least
every 0.2 s while waiting."""


def never() -> bool:
    """A Stop that does not come."""
    return False


TransformPartition = Callable[[Iterator[Block], Stop], Iterator[Block]]
"""A partition's blocks, transformed. Takes every block, to the last one. Picklable; called by a worker's thread.

Raises DataError for rows that a rule refuses or whose values do not fit, CancelledError, and what taking raises.
"""

ReadPartition = Callable[[Partition, Stop, int], AbstractContextManager[PartitionRead]]
"""(partition, stop, worker number) -> blocks. Picklable; connects when entered, closes when left."""


class WritePartition(Protocol):
    """A worker's COPY: connect, begin, look for the receipt, copy, insert the receipt, commit.

    The rows of the COPY are compared with `blocks.row_count` before the commit. Raises DataError,
    DestinationError, ContractError, CancelledError, or what `blocks` raises; nothing is left behind then.
    """

    def __call__(
        self, target: CopyTarget, partition: Partition, blocks: BlockStream, *, worker: int, stop: Stop
    ) -> PartitionReceipt:
        """The receipt, once rows and receipt are committed."""
        ...


@frozen
class Sampled:
    """What a dry run has read of a stream."""

    rows: tuple[tuple[str | None, ...], ...]
    """The first ones, as PostgreSQL prints their values."""
    looked_at: int
    """Rows that were read to find them: whole blocks, bad rows included."""
    rejected: int | None = None
    """Those among them that a load would set aside before they are sent; None where only the server could tell."""
    first_reject: str | None = None
    """Where and why the first of these, without a value."""


class Snapshot(Protocol):
    """One consistent view of the source, held open until every partition is read."""

    def partitions(
        self, stream: StreamPlan, partition_bytes: int, bounds: CursorBounds | None = None
    ) -> tuple[Partition, ...]:
        """Every row of the stream, or of the increment, in exactly one of them. At least one."""
        ...

    def reader(self, stream: StreamPlan, plan: RunPlan) -> ReadPartition:
        """The function that reads one of these partitions, in this snapshot."""
        ...

    def still_has(self, stream: StreamPlan, partitions: tuple[Partition, ...]) -> bool:
        """Whether partitions that an earlier run was given hold the same rows now: its load can be continued."""
        ...

    def checksum(self, stream: StreamPlan, bounds: CursorBounds | None = None) -> str | None:
        """Order-free checksum of the stream's rows, or the increment's; None where the source cannot compute one."""
        ...

    def sample(self, stream: StreamPlan, limit: int) -> Sampled:
        """The first rows as the server prints them, for `--dry-run`, and what was bad on the way to them."""
        ...

    def require_alive(self) -> None:
        """Raises SourceError when the snapshot's holder is gone: what was read since may not belong together."""
        ...


class Source(Protocol):
    """Where rows come from."""

    def facts(self) -> ServerFacts | None:
        """The server's own word; None for files. First connection: an unreachable source fails here."""
        ...

    def describe(self, streams: tuple[StreamSpec, ...]) -> tuple[StreamShape, ...]:
        """One shape a stream, patterns resolved, in order. Raises ConfigError with every fault of the names."""
        ...

    def discover(self) -> tuple[StreamShape, ...]:
        """All that could be loaded, with columns, keys and estimates."""
        ...

    def bounds(
        self, streams: tuple[StreamPlan, ...], stored: Mapping[str, StoredCursor]
    ) -> tuple[CursorBounds | None, ...]:
        """From where to where the increments go, in the streams' order; None for streams that are read as a whole.

        `stored` are the ledger's cursors by stream; one that is not there begins at the beginning. A snapshot that is
        taken after this returns has every row that lies within these bounds: transactions that could still bring one
        have ended. Raises SourceError when they do not, ConfigError, DataError (NULL cursors), CancelledError.
        """
        ...

    def snapshot(self, streams: tuple[StreamPlan, ...]) -> AbstractContextManager[Snapshot]:
        """Locks what it must, then fixes what is seen."""
        ...


@frozen
class FinalizeReport:
    """The load is published."""

    load_id: str
    publish: PublishMethod
    """The method that was used in the end."""
    rows: int
    warnings: tuple[str, ...] = ()
    checksum: str | None = None
    """Of the rows as they lie in the stage, before they are published; None unless asked for."""
    rejected: int = 0
    """Rows that were set aside when the load was published: repeated keys, and keys that are NULL."""


@frozen
class OpenedRun:
    """The lease is ours: what the ledger knows of the pipeline."""

    fence: int
    """Greater than that of every run before."""
    cursors: Mapping[str, StoredCursor] = field(default_factory=dict[str, StoredCursor])
    """By stream."""
    unfinished: Mapping[str, str] = field(default_factory=dict[str, str])
    """Load ids of dead runs' loads, by stream; `prepare_stream` goes on with them or drops them."""
    published_by_key: Mapping[str, str] = field(default_factory=dict[str, str])
    """Run ids by stream: what has been published under this run's key."""
    warnings: tuple[str, ...] = ()


@frozen
class LastRun:
    """A pipeline's latest run, as the ledger tells it."""

    run_id: str
    streams: tuple[tuple[str, bool], ...]
    """(name, whether it succeeded), in order."""


@frozen
class Publication:
    """A load that is complete, to be published."""

    contract: WriteContract
    receipts: LoadReceipts
    expected_checksum: str | None = None
    """The source's; None where it cannot be compared."""
    checksum: bool = False
    """Whether the stage's is to be computed."""


Lost = Callable[[RapidbyteError], None]
"""Called at most once, from another thread, when the lease is lost: the run is to stop with that error."""


class Leader(Protocol):
    """The one that may do DDL. Not thread-safe; used by the engine's own thread."""

    def facts(self) -> ServerFacts:
        """The destination's own word. First connection: an unreachable destination fails here."""
        ...

    def plan_stream(
        self, order: int, shape: StreamShape, readers: tuple[tuple[QualifiedName, str], ...] = ()
    ) -> StreamPlan:
        """Looks the target up, then decides purely. Nothing is changed. Raises ConfigError, SchemaError.

        `readers` are the relations of this very database that streams of the run read, with these streams.
        """
        ...

    def last_run(self) -> LastRun | None:
        """The pipeline's latest run, also one that was killed; None where the ledger knows of none."""
        ...

    def check_privileges(self, plan: RunPlan) -> None:
        """Raises PrivilegeError with the exact GRANT for everything that is missing."""
        ...

    def open_run(self, request: RunRequest, lost: Lost) -> OpenedRun:
        """Ledger made or migrated, lease taken, run recorded; committed. Raises BusyError when another run lives,
        ConfigError when the pipeline's name belongs to another source.
        """
        ...

    def prepare_stream(
        self, plan: RunPlan, stream: StreamPlan, run_id: str, bounds: CursorBounds | None = None
    ) -> WriteContract:
        """Schema, target or stage; recorded; committed when this returns. The only DDL before the load.

        The contract is that of a dead run's load where it can be continued: see its `resume`.
        """
        ...

    def record_partitions(self, contract: WriteContract, partitions: Sequence[Partition]) -> None:
        """Records all partitions of a load, so that another run can go on with it. For those alone that another run
        can name again and that hold the same rows then.
        """
        ...

    def finalize(self, publications: Sequence[Publication]) -> tuple[FinalizeReport, ...]:
        """Publishes all of these loads in one transaction, once; reports in the same order.

        Raises with `commit_state` set; FenceError when the lease is not ours any more. Nothing is published then.
        """
        ...

    def require_lease(self) -> None:
        """Raises FenceError when another run has taken the lease; DestinationError when the server cannot be asked."""
        ...

    def discard_stream(self, contract: WriteContract) -> None:
        """Drops the stage of a load that will not be published, and says so in the ledger. May be repeated."""
        ...

    def close_run(self, result: RunResult) -> tuple[str, ...]:
        """Records how the run ended, and releases the lease. What fails here is a warning; the next run copes."""
        ...

    @property
    def ddl_race_retries(self) -> int:
        """How often setup lost a race with another session's DDL, and was tried again."""
        ...

    def close(self) -> None:
        """Closes the leader's connections. May be repeated."""
        ...


def untransformed(_stream: StreamPlan) -> TransformPartition | None:
    """None: rows are written as they are read."""
    return None


@frozen
class Runtime:
    """What `wiring` puts together and the engine runs with."""

    source: Source
    leader: Leader
    write: WritePartition
    options: RunOptions
    observe: Observer
    transform: Callable[[StreamPlan], TransformPartition | None] = untransformed
    """What happens to a stream's rows between reading and writing; None: nothing."""
