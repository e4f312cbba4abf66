"""The keys of `source`: one model for each connector, its `config` and an entry of its `streams`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, PlainValidator, WithJsonSchema

from rapidbyte.config.confinement_keys import Limits, Permissions
from rapidbyte.config.connection_keys import ConnectionKeys
from rapidbyte.config.scalars import (
    Count,
    Flag,
    Identifier,
    Kind,
    Lag,
    Name,
    Names,
    Paths,
    Patterns,
    RawText,
    RelationName,
    SecretText,
    SourceName,
    Sql,
    Text,
    Texts,
    Word,
    as_list,
    as_text,
    as_written,
    fault,
    not_yet,
    only,
)
from rapidbyte.config.section import NOT_YET, Section
from rapidbyte.cursor import NullCursor
from rapidbyte.model import SyncMode, WriteMode
from rapidbyte.spec import OnDuplicateKey

METADATA = ("_file", "_line", "_loaded_at", "_run_id")


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
