"""What a run will do and why: values only, made by `decisions`. `rapidbyte plan` prints them."""

from __future__ import annotations

from typing import Literal

from rapidbyte.contract import FlushSettings, MergeFacts, ReplaceFacts
from rapidbyte.cursor import CursorColumn, CursorPlan
from rapidbyte.model import (
    Column,
    PublishMethod,
    QualifiedName,
    RelationKind,
    ServerFacts,
    TypeDefinition,
    Wire,
    WriteMode,
)
from rapidbyte.rejects import RejectPolicy
from rapidbyte.spec import Hooks, StreamSpec
from rapidbyte.tuning import Choice, partition_bytes
from rapidbyte.values import field, frozen

ConversionKind = Literal["identical", "exact", "checked", "lossy"]

ChangeKind = Literal["create_table", "add_column", "widen_column", "drop_not_null", "ignored_column", "missing_column"]


@frozen
class StreamShape:
    """What the source says of one stream: one relation, query or set of files."""

    spec: StreamSpec
    """The entry it came from, its pattern resolved: `name` is the stream's name everywhere."""
    kind: RelationKind
    relation: QualifiedName | None
    """None for a query and for files."""
    columns: tuple[Column, ...]
    """In the order in which the reader delivers them; projection applied, generated ones included."""
    primary_key: tuple[str, ...] = ()
    leaves: tuple[QualifiedName, ...] = ()
    """Heap leaves to read, each with ONLY; the relation itself where it is a plain table."""
    reads: tuple[QualifiedName, ...] = ()
    """What a view, `query` or `where` reads, as far as its text tells: functions may read more."""
    estimated_rows: int | None = None
    estimated_bytes: int | None = None
    """Bytes on disk with TOAST, or of the files."""
    delivers: Literal["copy", "arrow"] = "copy"
    partitioning: str = ""
    """How it will be split, as a phrase for `plan`: `ctid ranges`, `one partition: a view`."""
    index_definitions: tuple[str, ...] = ()
    """`pg_get_indexdef` of the source's indexes, for `indexes: source`."""
    types: tuple[TypeDefinition, ...] = ()
    """The columns' types that are not built in; `oid` is the one of `Column.type`."""
    cursor: CursorColumn | None = None
    """What `cursor_field` names."""
    files: tuple[tuple[str, str], ...] = ()
    """(path, fingerprint) of each, as the ledger has them; empty for what is no files."""
    transforms: tuple[str, ...] = ()
    """What happens to the rows before they are written, a phrase for each transform; `columns` are those after it."""
    warnings: tuple[str, ...] = ()


@frozen
class ColumnPlan:
    """One column's way from source to target."""

    source: Column
    target: Column
    conversion: ConversionKind


@frozen
class SchemaChange:
    """One difference between stream and target, and the statement that settles it (None: nothing is done)."""

    kind: ChangeKind
    column: str | None = None
    before: str | None = None
    after: str | None = None
    statement: str | None = None


@frozen
class StreamPlan:
    """What will happen to one stream."""

    order: int
    """Position in pipeline order, from 0."""
    shape: StreamShape
    target: QualifiedName
    write_mode: WriteMode
    publish: PublishMethod
    publish_reason: str
    wire: Wire
    columns: tuple[ColumnPlan, ...]
    primary_key: tuple[str, ...]
    replace: ReplaceFacts
    merge: MergeFacts | None = None
    """None but for an upsert."""
    statements: tuple[str, ...]
    """Every DDL statement, in order, as SQL text; `{load}` stands for the load id."""
    cursor: CursorPlan | None = None
    """How it is read; None for a stream that is read as a whole."""
    new_files: int | None = None
    """Of an increment of files: those that the ledger does not know as they are now; None elsewhere."""
    schema_changes: tuple[SchemaChange, ...] = ()
    lossy_columns: tuple[str, ...] = ()
    rejects: RejectPolicy = field(default_factory=RejectPolicy)
    """What bad rows do."""
    warnings: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The stream's name."""
        return self.shape.spec.name

    @property
    def is_incremental(self) -> bool:
        """It loads what is new by its cursor, or the files that are."""
        return self.cursor is not None or (self.shape.kind == "file" and self.shape.spec.sync_mode == "incremental")

    @property
    def moves_rows_unchanged(self) -> bool:
        """Every column's type is the same at both ends, so both servers print equal rows equally."""
        return all(column.conversion == "identical" for column in self.columns)


@frozen
class RunPlan:
    """What a run will do."""

    pipeline: str
    streams: tuple[StreamPlan, ...]
    choice: Choice
    """Of the number of workers."""
    checkpoint_interval_bytes: int
    flush: FlushSettings
    max_retries: int
    source: ServerFacts | None
    destination: ServerFacts
    same_database: bool
    source_title: str = "files"
    """What the source is, for people: `PostgreSQL`, `files`, `SQLite`, `DuckDB`."""
    warnings: tuple[str, ...] = ()
    hooks: Hooks = field(default_factory=Hooks)
    """Statements that are run when it publishes."""
    run_id: str | None = None
    """Of the run that carries it out; None for a plan that is only shown."""
    is_sample: bool = False
    """A dry run reads a few rows: whoever reads tells of bad ones at once, before it is stopped."""

    @property
    def workers(self) -> int:
        """How many the run begins with."""
        return self.choice.workers

    @property
    def workers_reason(self) -> str:
        """Why, as a phrase."""
        return self.choice.reason

    def partition_bytes(self, stream: StreamPlan) -> int:
        """Size of a partition: at most the checkpoint interval, and several for each worker."""
        return partition_bytes(
            stream.shape.estimated_bytes,
            largest=self.checkpoint_interval_bytes,
            workers=self.choice.workers,
            limit=self.choice.limit,
        )


@frozen
class CheckItem:
    """One thing that `rapidbyte check` looked at."""

    name: str
    ok: bool
    detail: str
    hint: str | None = None
    exit_code: int = 2
    """The exit code of a run that fails on it; means nothing where `ok`."""


@frozen
class CheckReport:
    """What `rapidbyte check` found. Items in the order in which they were looked at."""

    pipeline: str
    items: tuple[CheckItem, ...]

    @property
    def ok(self) -> bool:
        """True when every item is."""
        return all(item.ok for item in self.items)
