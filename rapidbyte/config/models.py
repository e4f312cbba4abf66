"""The keys of a pipeline file: one model for each mapping, one line for each key. pydantic lives here.

A key of a feature that is not there yet is listed and refused; a key of the Rust rapidbyte of early 2026 is accepted
where it has a counterpart or does no harm. Rules that concern several keys are in `rules`.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, PlainValidator, WithJsonSchema

from rapidbyte.config.document import Scalar
from rapidbyte.config.scalars import (
    Duration,
    Flag,
    Identifier,
    Integer,
    Kind,
    Lag,
    Name,
    Names,
    Paths,
    Patterns,
    PipelineName,
    RawText,
    Rejects,
    RelationName,
    SecretText,
    Size,
    SourceName,
    Sql,
    Text,
    Texts,
    as_count_or_auto,
    as_list,
    as_text,
    as_word,
    as_written,
    at_least,
    fault,
    not_yet,
    only,
)
from rapidbyte.config.section import Section
from rapidbyte.config.transform_keys import TransformKeys
from rapidbyte.cursor import NullCursor
from rapidbyte.model import SyncMode, WriteMode
from rapidbyte.rejects import OnDataError
from rapidbyte.spec import (
    MEGABYTE,
    AppendStrategy,
    NullabilityPolicy,
    OnDuplicateKey,
    ReplaceStrategy,
    TypeChangePolicy,
)

Word = BeforeValidator(as_word)
SslMode = Annotated[Literal["disable", "allow", "prefer", "require", "verify-ca", "verify-full"], Word]
Port = Annotated[Integer, AfterValidator(at_least(1, 65535))]
Count = Annotated[Integer, AfterValidator(at_least(0))]
Positive = Annotated[Integer, AfterValidator(at_least(1))]

NOT_YET = "Not available in this version."
NO_EFFECT = "Accepted, without effect:"


def _embedded(value: Any) -> Any:
    """`true` is an embedded server with its defaults, `false` none; a mapping is read as it is."""
    value = as_written(value)
    if isinstance(value, Scalar):
        if value.text not in ("true", "false"):
            raise fault("true, false, or a mapping with `data_dir` and `database` is due here")
        return {} if value.text == "true" else None
    return value


def _type_names(value: Any) -> tuple[tuple[str, str], ...]:
    """Declared column types, as (column, type)."""
    value = as_written(value)
    if not isinstance(value, dict):
        raise fault("a mapping of columns to types is due here", "write it as {column: type}")
    pairs: list[tuple[str, str]] = []
    for column, node in value.items():  # pyright: ignore[reportUnknownVariableType]
        text = as_text(node)
        if not text.strip() or len(text) > 200 or not text.isprintable():
            raise fault(f"the type of column `{column}` is no type's name")
        pairs.append((str(column), text))  # pyright: ignore[reportUnknownArgumentType]
    return tuple(pairs)


def _one_character(text: str) -> str:
    if len(text) != 1 or not (" " < text <= "~" or text == "\t"):
        raise fault("a single visible ASCII character, or a tab, is due here")
    return text


def _some(names: tuple[str, ...]) -> tuple[str, ...]:
    if not names:
        raise fault("the list is empty", "remove the key to load all columns")
    return names


METADATA = ("_file", "_line", "_loaded_at", "_run_id")


def _metadata(names: tuple[str, ...]) -> tuple[str, ...]:
    unknown = [name for name in names if name not in METADATA]
    if unknown:
        raise fault(f"there is no `{unknown[0]}` to add", f"these are there: {', '.join(METADATA)}")
    return names


Character = Annotated[RawText, AfterValidator(_one_character)]
SomeNames = Annotated[Names, AfterValidator(_some)]
FormatWord = Annotated[Literal["csv", "ndjson", "parquet", "arrow"], Word]
ColumnTypes = Annotated[
    tuple[tuple[str, str], ...],
    PlainValidator(_type_names),
    Kind(name="mapping of columns to types"),
    WithJsonSchema({"type": "object", "additionalProperties": {"type": "string"}}),
]
Parallelism = Annotated[
    int | None,
    PlainValidator(as_count_or_auto),
    Kind(name="auto, or a number"),
    WithJsonSchema(
        {"anyOf": [{"const": "auto"}, {"type": "integer", "minimum": 1}, {"type": "string", "pattern": r"\$\{"}]}
    ),
]


class Embedded(Section, frozen=True):
    """The embedded PostgreSQL instead of a connection."""

    data_dir: Text | None = Field(
        default=None, description="Folder of its data. Default: a folder in the user's cache."
    )
    database: Identifier = Field(default="postgres", description="Database to use; made when it is missing.")


EmbeddedServerKey = Annotated[
    Embedded | None,
    BeforeValidator(_embedded),
    Kind(name="true, or a mapping"),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "boolean"},
                {
                    "type": "object",
                    "properties": {"data_dir": {"type": "string"}, "database": {"type": "string"}},
                    "additionalProperties": False,
                },
            ]
        }
    ),
]


class ConnectionKeys(Section, frozen=True):
    """How to reach a server."""

    dsn: SecretText | None = Field(
        default=None, description="Connection URI or key=value string. Fields beside it add what it does not say."
    )
    host: Text | None = Field(default=None, description="Host, or the folder of a Unix socket. Default: libpq's.")
    port: Port | None = Field(default=None, description="Port. Default: libpq's, 5432.")
    user: Text | None = Field(default=None, description="Role to log in as. Default: libpq's.")
    password: SecretText | None = Field(default=None, description="Its password. Default: PGPASSWORD, then .pgpass.")
    database: Text | None = Field(default=None, description="Database. Default: libpq's.")
    sslmode: SslMode | None = Field(
        default=None, description="TLS. Default: `require` for hosts that are not local, otherwise libpq's."
    )
    sslrootcert: Text | None = Field(default=None, description="File with the certificates of trusted authorities.")
    sslcert: Text | None = Field(default=None, description="File with the client's certificate.")
    sslkey: Text | None = Field(default=None, description="File with the client's key.")
    service: Text | None = Field(default=None, description="Name of a section in pg_service.conf.")
    connect_timeout: Duration = Field(default=10.0, description="How long to wait for a connection.")
    embedded: EmbeddedServerKey = Field(
        default=None,
        description="`true`, or `{data_dir, database}`: start the embedded PostgreSQL (extra `embedded`) instead.",
    )


class PostgresSourceKeys(ConnectionKeys, frozen=True):
    """`source.config` with `use: postgres`."""

    schema_: Identifier = Field(default="public", alias="schema", description="Schema of streams that name none.")
    publication: Annotated[Text, AfterValidator(only())] | None = Field(
        default=None, description=f"Publication for change data capture. {NOT_YET}"
    )
    replication_slot: Annotated[Text, AfterValidator(only())] | None = Field(
        default=None, description=f"Slot for change data capture. {NOT_YET}"
    )


class StorageKeys(Section, frozen=True):
    """What opens a store of files."""

    access_key: SecretText | None = Field(default=None, description="s3: default AWS_ACCESS_KEY_ID, ~/.aws, ...")
    secret_key: SecretText | None = Field(default=None, description="s3: default AWS_SECRET_ACCESS_KEY, ~/.aws, ...")
    session_token: SecretText | None = Field(default=None, description="s3: default AWS_SESSION_TOKEN.")
    endpoint: Text | None = Field(default=None, description="s3: URL of another store with the same interface.")
    region: Text | None = Field(default=None, description="s3: default AWS_DEFAULT_REGION.")
    credentials_file: Text | None = Field(
        default=None, description="gs: a service account's JSON. Default: GOOGLE_APPLICATION_CREDENTIALS, gcloud's."
    )
    account_name: Text | None = Field(default=None, description="az: the storage account.")
    account_key: SecretText | None = Field(default=None, description="az: its key.")
    connection_string: SecretText | None = Field(default=None, description="az: instead of account and key.")
    authorization: SecretText | None = Field(
        default=None, description="http: the header of this name, as `Bearer ...`."
    )
    anonymous: Flag = Field(default=False, description="s3, gs, az: without credentials.")


class FilesSourceKeys(Section, frozen=True):
    """`source.config` with `use: files`."""

    path: Paths | None = Field(
        default=None,
        description="File, glob such as data/*.csv, or folder (all files of the format in it; data/** those below it "
        "too), or a list of these; relative to the pipeline file. `-` is standard input; s3://, gs://, az://, http:// "
        "and https:// need the extra `remote`. A stream's own path wins.",
    )
    storage: StorageKeys = Field(default_factory=StorageKeys, description="Credentials of a store.")
    follow_symlinks: Flag = Field(
        default=False,
        description="Whether a glob or a folder may find files that lie outside of its folder, by symbolic links. A "
        "path that names one file is followed wherever it leads.",
    )
    format: FormatWord | None = Field(
        default=None, description="Default: guessed from the name. `arrow` is Arrow IPC, as file or stream."
    )
    delimiter: Character | None = Field(
        default=None, description="CSV: what parts two fields. Default: read off the header."
    )
    quote: Character | None = Field(default=None, description="CSV: what encloses a field. Default: a double quote.")
    escape: Character | None = Field(
        default=None, description="CSV: what precedes a quote inside of quotes. Default: the quote."
    )
    header: Flag | None = Field(default=None, description="CSV: whether the first line holds names. Default: true.")
    null_strings: Texts | None = Field(
        default=None, description="CSV: texts that mean NULL. Default: an unquoted empty field, as in PostgreSQL's csv."
    )
    encoding: Text | None = Field(default=None, description="CSV and NDJSON: character encoding. Default: utf-8.")
    skip: Count = Field(default=0, description="CSV: lines to skip before the header.")
    decimal_comma: Flag = Field(
        default=False, description="CSV: numbers have a comma before their decimals, as 3,14, and no point."
    )
    date_formats: Texts | None = Field(
        default=None,
        description="CSV: how dates and times are written, as `%d.%m.%Y`; the first that fits counts. ISO 8601 always "
        "does.",
    )


class StreamKeys(Section, frozen=True):
    """Keys of every stream."""

    sync_mode: Annotated[SyncMode, Word, AfterValidator(not_yet("cdc"))] = Field(
        default="full_refresh",
        description="`full_refresh` reads all rows, `incremental` those since the last run by `cursor_field`; of "
        "files, those files that are new. `cdc` is not available in this version.",
    )
    columns: SomeNames = Field(default=(), description="Columns to load, in this order. Default: all.")
    where: Sql | None = Field(default=None, description="SQL condition that rows must meet, evaluated by the source.")
    target: RelationName | None = Field(
        default=None,
        description="Table to write, as table or schema.table, parted at the first dot. With a pattern it holds a `*`, "
        "which stands for the table's name. Default: the stream's own name.",
    )
    write_mode: Annotated[WriteMode, Word] | None = Field(default=None, description="Overrides the destination's.")
    primary_key: Names = Field(
        default=(), description="Overrides the destination's. An upsert without either takes the source's primary key."
    )
    min_rows: Count | None = Field(default=None, description="The load fails when the source has fewer rows.")
    allow_lossy: Names = Field(default=(), description="Columns whose values may change in a conversion.")
    cursor_field: Identifier | None = Field(
        default=None,
        description="Column that says how far an increment has come: a number, date, timestamp, uuid or text that only "
        "grows. In an upsert the row with the greatest one wins.",
    )
    tie_breaker_field: Identifier | None = Field(
        default=None, description="Column that orders rows with equal cursors."
    )
    null_cursor: Annotated[NullCursor, Word] = Field(
        default="fail",
        description="Rows whose cursor is NULL: the load fails, they are left out (`skip`), or read every time "
        "(`always`).",
    )
    cursor_lag: Lag | None = Field(
        default=None,
        description="How far below the cursor an increment begins, to read late rows again; needs `write_mode: "
        "upsert`. A number for numeric cursors.",
    )
    on_duplicate_key: Annotated[OnDuplicateKey, Word] = Field(
        default="fail",
        description="Two rows of one key in an upsert, of which no cursor is the greater: the load fails, or `any` of "
        "them is taken.",
    )


class PostgresStream(StreamKeys, frozen=True):
    """One entry of `source.streams` with `use: postgres`."""

    name: SourceName = Field(
        description="Table, schema.table, a pattern such as sales.*, or any name with `query`. A table's rows are "
        "those of `SELECT * FROM` it, those of its partitions and of the tables that inherit from it included; a "
        "pattern leaves these to it."
    )
    query: Sql | None = Field(default=None, description="One SELECT to load instead of a table.")
    partition_key: Identifier | None = Field(
        default=None, description="Integer column by whose ranges the stream is read in parallel. Default: chosen."
    )
    exclude: Patterns = Field(
        default=(), description="Tables that a pattern in `name` shall leave out; `*` stands for anything."
    )
    indexes: Annotated[Literal["none", "source"], Word] = Field(
        default="none", description="`source`: a table that is created gets the source's indexes."
    )


class FilesStream(StreamKeys, frozen=True):
    """One entry of `source.streams` with `use: files`."""

    name: Name = Field(description="Any name; the target is called so unless `target` is given.")
    path: Paths | None = Field(
        default=None,
        description="As `source.config.path`. Default: of that, the file called like the stream, else all.",
    )
    query: Sql | None = Field(
        default=None, description="One SELECT of DuckDB over files, as `select * from 'a/*.csv'`; one partition."
    )
    types: ColumnTypes = Field(default=(), description="PostgreSQL types of columns, instead of the inferred ones.")
    infer: Annotated[Literal["sample", "full"], Word] = Field(
        default="sample",
        description="What types of CSV and NDJSON are inferred from: their first rows, or (`full`) all rows, which "
        "reads the files twice.",
    )
    flatten: Flag = Field(
        default=False,
        description="Members of nested objects and structs become columns of their own, called `outer_inner`, instead "
        "of one jsonb.",
    )
    metadata: Annotated[Names, AfterValidator(_metadata)] = Field(
        default=(),
        description="Columns to add: `_file`, `_line` (CSV and NDJSON), `_loaded_at`, `_run_id`. Default: none.",
    )


class Network(Section, frozen=True):
    """Hosts a connector may reach."""

    allowed_hosts: Texts | None = Field(
        default=None, description="Checked against `config.host`; `*.domain` is allowed."
    )


class EnvironmentPermission(Section, frozen=True):
    """Variables a connector may see."""

    allowed_vars: Texts | None = Field(
        default=None, description="Checked against the PG* variables that libpq would read."
    )


class FileSystem(Section, frozen=True):
    """Folders a connector may open."""

    allowed_preopens: Annotated[Texts, AfterValidator(only())] | None = Field(
        default=None, description="Refused: a connector is not confined to folders here."
    )


class Permissions(Section, frozen=True):
    """What a connector may do."""

    network: Network = Field(default_factory=Network, description="Hosts it may reach.")
    env: EnvironmentPermission = Field(default_factory=EnvironmentPermission, description="Variables it may see.")
    fs: FileSystem = Field(default_factory=FileSystem, description="Folders it may open.")


class Limits(Section, frozen=True):
    """How much a connector may take."""

    max_memory: Size | None = Field(default=None, description="Lowers `resources.max_memory`.")
    timeout_seconds: Positive | None = Field(
        default=None, description="Cancels the run after this many seconds; the least counts."
    )


class SourceKeys(Section, frozen=True):
    """`source`, without what depends on the connector."""

    permissions: Permissions | None = Field(default=None, description="Limits what the connector may do.")
    limits: Limits | None = Field(default=None, description="Limits what the connector may take.")


class PostgresSource(SourceKeys, frozen=True):
    """`source` with `use: postgres`."""

    use: Annotated[Literal["postgres", "source-postgres"], Word] = Field(description="The connector.")
    config: PostgresSourceKeys = Field(description="The connector's own keys.")
    streams: Annotated[tuple[PostgresStream, ...], BeforeValidator(as_list)] = Field(description="What to load.")


class FilesSource(SourceKeys, frozen=True):
    """`source` with `use: files`."""

    use: Annotated[Literal["files"], Word] = Field(description="The connector.")
    config: FilesSourceKeys = Field(default_factory=FilesSourceKeys, description="The connector's own keys.")
    streams: Annotated[tuple[FilesStream, ...], BeforeValidator(as_list)] = Field(description="What to load.")


class DatabaseFileKeys(Section, frozen=True):
    """`source.config` with `use: sqlite` or `use: duckdb`."""

    path: Text = Field(description="The database's file; relative to the pipeline file. It is only read.")


class DatabaseFileStream(StreamKeys, frozen=True):
    """One entry of `source.streams` with `use: sqlite` or `use: duckdb`."""

    name: SourceName = Field(description="Table or view, also as schema.table, or any name with `query`.")
    query: Sql | None = Field(default=None, description="One SELECT to load instead of a table; one partition.")
    types: ColumnTypes = Field(default=(), description="sqlite: PostgreSQL types, instead of the declared ones.")


class DatabaseFileSource(SourceKeys, frozen=True):
    """`source` with `use: sqlite` or `use: duckdb`."""

    use: Annotated[Literal["sqlite", "duckdb"], Word] = Field(description="The connector.")
    config: DatabaseFileKeys = Field(description="The connector's own keys.")
    streams: Annotated[tuple[DatabaseFileStream, ...], BeforeValidator(as_list)] = Field(description="What to load.")


class WorkerKeys(Section, frozen=True):
    """The workers' own login."""

    user: Text = Field(description="Role that the COPY writers log in as; it needs no right to create anything.")
    password: SecretText | None = Field(default=None, description="Its password.")


class DestinationKeys(ConnectionKeys, frozen=True):
    """`destination.config`."""

    schema_: Identifier = Field(default="public", alias="schema", description="Schema of targets that name none.")
    worker: WorkerKeys | None = Field(default=None, description="The workers' own login. Default: the leader's.")
    load_method: Annotated[Literal["copy", "insert"], Word] | None = Field(
        default=None, description=f"{NO_EFFECT} rows are always loaded with COPY."
    )
    copy_flush_bytes: Size | None = Field(
        default=None, description=f"{NO_EFFECT} `resources.max_memory` bounds the blocks."
    )


def _removed(value: Any) -> Any:
    """The Rust tool's `add` meant `ignore` here."""
    word = as_word(value)
    return "ignore" if word == "add" else word


class SchemaEvolution(Section, frozen=True):
    """What may differ between source and target."""

    new_column: Annotated[Literal["add", "ignore", "fail"], Word] = Field(
        default="add", description="A column the target lacks."
    )
    removed_column: Annotated[Literal["ignore", "fail"], BeforeValidator(_removed)] = Field(
        default="ignore", description="A column the source lacks."
    )
    type_change: Annotated[TypeChangePolicy, Word, AfterValidator(not_yet("null"))] = Field(
        default="fail",
        description="A column whose type has outgrown the target's (integer to bigint, real to double precision, more "
        "text or digits). `coerce` widens the target's, and has the server read text as richer types. `null` is not "
        "available in this version.",
    )
    nullability_change: Annotated[NullabilityPolicy, Word] = Field(
        default="allow", description="A column that may be NULL in the source alone."
    )


_FIRST_WORDS = re.compile(r"(?:\s|--[^\n]*(?:\n|\Z)|/\*.*?\*/)*([A-Za-z]*)(?:\s+([A-Za-z]+))?", re.DOTALL)
_ENDS_TRANSACTION = ("BEGIN", "START", "COMMIT", "END", "ROLLBACK", "ABORT", "SAVEPOINT", "RELEASE", "COPY")


def _statements(texts: tuple[str, ...]) -> tuple[str, ...]:
    for text in texts:
        found = _FIRST_WORDS.match(text)
        word, second = (word or "" for word in found.groups()) if found is not None else ("", "")
        if not word:
            raise fault("a statement is due here")
        if word.upper() in _ENDS_TRANSACTION or (word.upper(), second.upper()) == ("PREPARE", "TRANSACTION"):
            raise fault(
                f"{word.upper()} cannot be a hook",
                "hooks run in the transaction that publishes, which is not theirs to begin, to end or to copy in",
            )
    return texts


Statements = Annotated[Texts, AfterValidator(_statements)]


class Hooks(Section, frozen=True):
    """SQL to run around a load."""

    before_load: Statements = Field(
        default=(),
        description="Statements, one each, run first in every transaction that publishes; a failure publishes nothing.",
    )
    after_load: Statements = Field(default=(), description="The same, run last.")


class Destination(Section, frozen=True):
    """`destination`."""

    use: Annotated[Literal["postgres", "dest-postgres"], Word] = Field(description="The connector.")
    config: DestinationKeys = Field(description="The connector's own keys.")
    write_mode: Annotated[WriteMode, Word] = Field(
        default="append",
        description="`append` adds rows, `replace` swaps the whole content, `upsert` updates and adds by key.",
    )
    primary_key: Names = Field(default=(), description="Key columns of every stream that names none.")
    replace_strategy: Annotated[ReplaceStrategy, Word] = Field(
        default="auto", description="How a replace is published: a new table swapped in, or rows exchanged in place."
    )
    append_strategy: Annotated[AppendStrategy, Word] = Field(
        default="staged",
        description="Whether an append goes through a stage. With `direct` readers see partitions as they land, also "
        "those of a run that fails later.",
    )
    schema_evolution: SchemaEvolution = Field(
        default_factory=SchemaEvolution, description="What may differ between source and target."
    )
    publish_timeout: Duration = Field(default=600.0, description="How long to wait for locks when publishing.")
    settle_timeout: Duration = Field(
        default=30.0,
        description="How long an incremental load waits for the source's open transactions to end.",
    )
    publish: Annotated[Literal["each", "together"], Word] = Field(
        default="each",
        description="`each` stream is published by itself, in pipeline order; `together`: all of them in one "
        "transaction, and none when one fails.",
    )
    on_data_error: Annotated[OnDataError, Word] = Field(
        default="fail",
        description="What a bad row does: `fail` ends the load, `skip` leaves it out and counts it, `dlq` also stores "
        "it (docs/rejects.md).",
    )
    max_rejects: Rejects = Field(
        default=1000,
        description="How many rows of a stream may be set aside, or which part of those that are read, as `1%`; with "
        "more the load fails.",
    )
    hooks: Hooks = Field(default_factory=Hooks, description="SQL to run in the transaction that publishes.")
    permissions: Permissions | None = Field(default=None, description="Limits what the connector may do.")
    limits: Limits | None = Field(default=None, description="Limits what the connector may take.")


class Autotune(Section, frozen=True):
    """Hints of the Rust tool."""

    enabled: Flag | None = Field(default=None, description=f"{NO_EFFECT} sizes follow from the plan.")
    parallelism: Annotated[Positive, AfterValidator(at_least(1, 1024))] | None = Field(
        default=None, description="Used where `resources.parallelism` is auto. Also `pin_parallelism`."
    )
    partition_mode: Annotated[Literal["mod", "mod_hash", "range"], Word] | None = Field(
        default=None, description=f"{NO_EFFECT} the source decides. Also `pin_source_partition_mode`."
    )
    flush_bytes: Size | None = Field(
        default=None, description=f"{NO_EFFECT} `resources.max_memory` bounds the blocks. Also `pin_copy_flush_bytes`."
    )


def _unpinned(value: Any) -> Any:
    """`autotune` with the keys' older names replaced."""
    value = as_written(value)
    if not isinstance(value, dict):
        return value  # the model refuses it
    names = {
        "pin_parallelism": "parallelism",
        "pin_source_partition_mode": "partition_mode",
        "pin_copy_flush_bytes": "flush_bytes",
    }
    return {names.get(str(key), str(key)): node for key, node in value.items()}  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]


class ResourceKeys(Section, frozen=True):
    """`resources`."""

    parallelism: Parallelism = Field(
        default=None, description="Number of workers of the run; `auto`: see performance.md."
    )
    max_memory: Annotated[Size, AfterValidator(at_least(MEGABYTE))] = Field(
        default=256 * MEGABYTE,
        description="Bound of what is in memory between reading and writing; see performance.md.",
    )
    max_batch_bytes: Annotated[Size, AfterValidator(at_least(1024))] = Field(
        default=64 * MEGABYTE, description="Bound of one batch."
    )
    checkpoint_interval_bytes: Size = Field(
        default=64 * MEGABYTE, description="Size of a partition, the unit of commit and retry; 0: no bound."
    )
    checkpoint_interval_rows: Annotated[Integer, AfterValidator(only(0))] = Field(
        default=0, description="Refused unless 0: partitions are bounded in bytes."
    )
    checkpoint_interval_seconds: Annotated[Integer, AfterValidator(only(0))] = Field(
        default=0, description="Refused unless 0: partitions are bounded in bytes."
    )
    max_retries: Annotated[Count, AfterValidator(at_least(0, 1000))] = Field(
        default=3, description="How often a partition or a publish may be tried again."
    )
    max_inflight_batches: Annotated[Integer, AfterValidator(at_least(1))] = Field(
        default=16, description="Batches between a reader and its writer."
    )
    compression: Annotated[Literal["lz4", "zstd"], Word] | None = Field(
        default=None, description=f"{NO_EFFECT} there is one process."
    )
    autotune: Annotated[Autotune, BeforeValidator(_unpinned)] | None = Field(
        default=None, description="Hints of the Rust rapidbyte."
    )


class State(Section, frozen=True):
    """`state`."""

    backend: Annotated[Literal["sqlite", "postgres"], Word] | None = Field(
        default=None, description=f"{NO_EFFECT} the ledger in the destination is used."
    )
    connection: SecretText | None = Field(
        default=None, description=f"{NO_EFFECT} the ledger in the destination is used."
    )


class Dask(Section, frozen=True):
    """`execution.dask`."""

    address: Annotated[Text, AfterValidator(only())] | None = Field(default=None, description=f"Scheduler. {NOT_YET}")


class Execution(Section, frozen=True):
    """`execution`."""

    engine: Annotated[Literal["threads", "dask"], Word, AfterValidator(not_yet("dask"))] = Field(
        default="threads", description="Where workers run. `dask` is not available in this version."
    )
    dask: Dask | None = Field(default=None, description=f"The cluster. {NOT_YET}")


def _version(text: str) -> str:
    if text != "1.0":
        raise fault('the version must be "1.0"')
    return text


class PipelineKeys(Section, frozen=True):
    """A whole pipeline file, whatever its source."""

    version: Annotated[Text, AfterValidator(_version), WithJsonSchema({"const": "1.0"})] = Field(
        description='Version of this format: "1.0", in quotes.'
    )
    pipeline: PipelineName = Field(description="Name of state, lease and receipts.")
    source: SourceKeys = Field(description="Where rows come from.")
    transforms: Annotated[tuple[TransformKeys, ...], BeforeValidator(as_list)] = Field(
        default=(), description="What happens to the rows on the way, in order (docs/transforms.md)."
    )
    destination: Destination = Field(description="Where rows go.")
    resources: ResourceKeys = Field(default_factory=ResourceKeys, description="How much the run may take.")
    execution: Execution = Field(default_factory=Execution, description="Where workers run.")
    state: State | None = Field(default=None, description=f"{NO_EFFECT} the ledger in the destination is used.")


class PostgresPipeline(PipelineKeys, frozen=True):
    """A pipeline that reads PostgreSQL."""

    source: PostgresSource = Field(description="Where rows come from.")


class FilesPipeline(PipelineKeys, frozen=True):
    """A pipeline that reads files."""

    source: FilesSource = Field(description="Where rows come from.")


class DatabaseFilePipeline(PipelineKeys, frozen=True):
    """A pipeline that reads a database that is a file."""

    source: DatabaseFileSource = Field(description="Where rows come from.")


Pipeline = PostgresPipeline | FilesPipeline | DatabaseFilePipeline
