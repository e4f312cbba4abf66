"""What the leader hands to the workers, and what they hand back. Immutable, picklable, complete.

WriteContract   one per stream load, made by `prepare_stream`, read by `finalize`
.copy         CopyTarget: the part of it that a COPY needs, and all that a worker ever gets
PartitionReceipt  one per partition, made by the writer in the transaction of its COPY
LoadReceipts    all receipts of a load; it cannot be built with one missing
"""

from __future__ import annotations

from rapidbyte.cursor import CursorBounds
from rapidbyte.errors import ContractError, InternalError
from rapidbyte.metrics import ReadTimes, WorkTimes
from rapidbyte.model import Column, PublishMethod, QualifiedName, Wire, WriteMode
from rapidbyte.partition import Partition
from rapidbyte.rejects import RejectPolicy
from rapidbyte.spec import Connection, OnDuplicateKey
from rapidbyte.values import field, frozen


@frozen
class RejectTarget:
    """Where a worker puts the rows that are set aside."""

    policy: RejectPolicy
    run_id: str
    table: QualifiedName | None
    """None: they are counted, and not kept."""


@frozen
class CopyTarget:
    """Everything a worker needs for one COPY: where to, which columns, which wire, under which login."""

    load_id: str
    pipeline: str
    stream: str
    table: QualifiedName
    """The stage (or the target, where the publish method is direct). It exists and is committed."""
    columns: tuple[Column, ...]
    """Active columns, in the order of the stream. COPY always names them."""
    wire: Wire
    receipts: QualifiedName
    """The ledger's receipts table."""
    session: tuple[tuple[str, str], ...]
    """Settings of every transaction, made with `set_config(name, value, true)`."""
    login: Connection
    """The workers' own login where the destination has one."""
    checked: tuple[str, ...] = ()
    """Columns whose texts are looked at before they are sent: the server would change some in silence."""
    rejects: RejectTarget | None = None
    """What becomes of bad rows; None: the first one ends the load."""

    def require_complete(self) -> CopyTarget:
        """This target. Raises ContractError when a part is missing; called before a connection is opened."""
        missing = [
            name
            for name in ("load_id", "pipeline", "stream", "table", "columns", "wire", "receipts", "session", "login")
            if not getattr(self, name, None)
        ]
        if missing:
            raise ContractError(
                f"the contract of stream {self.stream or '?'} lacks {', '.join(missing)}",
                code="contract_incomplete",
                hint="this is a defect of rapidbyte; nothing was written",
                stream=self.stream or None,
            )
        return self


@frozen
class FlushSettings:
    """How bytes are handed over between reading and writing."""

    block_bytes: int = 256 * 1024
    """Rows are collected to blocks of about this size before they are handed on."""
    max_inflight_bytes: int = 4 * 1024 * 1024
    """A worker's reader waits while this much is under way to its writer."""
    large_rows_bytes: int = 128 * 1024 * 1024
    """What rows larger than a block may take, those of all workers together; one row alone may take more."""
    max_row_bytes: int = 1024 * 1024 * 1024
    """A longer row is refused."""


@frozen
class ReplaceFacts:
    """What `finalize` needs to know of the target that it replaces or adds to."""

    target_exists: bool
    target_oid: int | None = None
    """The target as prepare saw it: finalize refuses another (someone dropped or renamed it)."""
    key: tuple[str, ...] = ()
    """Key by which in_place finds the same row; empty: all rows are deleted and inserted."""
    min_rows: int | None = None


@frozen
class MergeFacts:
    """Which of several rows of one key an upsert takes."""

    order: tuple[str, ...] = ()
    """Cursor and tie-breaker: the row with the greatest ones counts. Empty: no row is the greater."""
    on_duplicate_key: OnDuplicateKey = "fail"
    """For rows of which none is the greater."""


@frozen
class ResumeFacts:
    """What an earlier run of the same load has committed. Empty for a load that begins."""

    receipts: tuple[PartitionReceipt, ...] = ()
    """Of the partitions that are loaded, by their index; `already_loaded` is true. These are not read again."""
    partitions: tuple[Partition, ...] = ()
    """All of the load, as recorded: a resume uses exactly these."""
    bounds: CursorBounds | None = None
    """An incremental load's own: a resume takes no new ones."""

    @property
    def loaded_partitions(self) -> tuple[int, ...]:
        """Indexes of those that have their receipts."""
        return tuple(receipt.partition for receipt in self.receipts)

    @property
    def resumed(self) -> bool:
        """Whether the load goes on in the stage of an earlier run."""
        return bool(self.partitions)


@frozen
class WriteContract:
    """One stream load, as prepared and committed by the leader."""

    run_id: str
    load_id: str
    pipeline: str
    stream: str
    target: QualifiedName
    stage: QualifiedName | None
    """None where the publish method is direct."""
    columns: tuple[Column, ...]
    write_mode: WriteMode
    publish: PublishMethod
    primary_key: tuple[str, ...]
    copy: CopyTarget
    flush: FlushSettings
    checkpoint_interval_bytes: int
    replace: ReplaceFacts
    resume: ResumeFacts
    fence: int = 0
    """The lease's token: when another run has a higher one, this load is not published."""
    bounds: CursorBounds | None = None
    """An incremental load's; the stream's cursor is moved to `high` when it is published."""
    merge: MergeFacts | None = None
    """None but for an upsert, whose key is `primary_key`."""
    rejects: RejectPolicy = field(default_factory=RejectPolicy)
    index_definitions: tuple[str, ...] = ()
    """The source's indexes, which a created target gets with `indexes: source`."""


@frozen
class PartitionReceipt:
    """One partition is committed: its rows and this receipt are in one transaction."""

    load_id: str
    stream: str
    partition: int
    rows: int
    bytes: int
    """COPY payload bytes that went over the wire."""
    rejected: int = 0
    """Rows that were set aside; they are not among `rows`."""
    first_reject: str | None = None
    """Where and why the first of them was; None where an earlier run has written the receipt."""
    already_loaded: bool = False
    """The receipt was there before: nothing was written now."""
    times: WorkTimes = field(default_factory=WorkTimes)
    write_blocked_s: float = 0.0
    """The part of `times.write_s` in which the destination's socket took nothing."""


@frozen
class WorkerReport:
    """What a worker tells the engine of one partition: the receipt, and what was around it."""

    receipt: PartitionReceipt
    worker: int
    started_s: float
    """`time.monotonic()` at the partition's start."""
    ended_s: float
    times: WorkTimes
    """The receipt's times and what the worker spent before and after."""
    read: ReadTimes
    bytes_read: int
    rows_read: int | None = None
    """Rows that the source delivered, where transforms may have made others of them; None: those of the receipt."""
    attempts: int = 1


@frozen
class LoadReceipts:
    """The proof that every planned partition of a load is committed, exactly once."""

    load_id: str
    stream: str
    planned: int
    receipts: tuple[PartitionReceipt, ...]

    def __post_init__(self) -> None:
        found = sorted(receipt.partition for receipt in self.receipts)
        if found != list(range(self.planned)) or any(r.load_id != self.load_id for r in self.receipts):
            raise InternalError(
                f"load {self.load_id} of stream {self.stream}: receipts {found} of {self.planned} partitions",
                code="receipts_incomplete",
                stream=self.stream,
            )

    @property
    def rows(self) -> int:
        """Rows of all partitions together."""
        return sum(receipt.rows for receipt in self.receipts)

    @property
    def rejected(self) -> int:
        """Rows that were set aside, of all partitions together."""
        return sum(receipt.rejected for receipt in self.receipts)
