"""What the user asked for: the pipeline file and the options, parsed, checked, frozen.

`config.load` makes these values; nothing below `config` knows YAML. Sizes are bytes, durations seconds.
"""

from __future__ import annotations

import re
from typing import Literal
from urllib.parse import urlsplit

from rapidbyte.cursor import CursorLag, NullCursor
from rapidbyte.model import Secret, SyncMode, WriteMode
from rapidbyte.rejects import RejectPolicy
from rapidbyte.values import field, frozen

AppendStrategy = Literal["staged", "direct"]
ReplaceStrategy = Literal["auto", "swap", "in_place"]
OnDuplicateKey = Literal["fail", "any"]
FilePath = str | tuple[str, ...]
"""A file, a glob or a folder; or several of them."""
FileFormat = Literal["csv", "ndjson", "parquet", "arrow"]
NewColumnPolicy = Literal["add", "ignore", "fail"]
RemovedColumnPolicy = Literal["ignore", "fail"]
TypeChangePolicy = Literal["coerce", "fail", "null"]
NullabilityPolicy = Literal["allow", "fail"]
RuleKind = Literal["assert_not_null", "assert_unique", "assert_regex", "assert_range", "assert_in", "assert_expression"]
MaskMethod = Literal["hash", "redact", "partial", "null"]
CaseStyle = Literal["lower", "upper", "snake"]

MEGABYTE = 1024 * 1024
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*")


@frozen
class EmbeddedServer:
    """The embedded PostgreSQL instead of a connection (extra `embedded`)."""

    data_dir: str | None = None
    """None: a folder in the user's cache directory."""
    database: str = "postgres"


@frozen
class WorkerLogin:
    """The workers' own role: all it ever needs is INSERT on the stage and on receipts."""

    user: str
    password: Secret | None = None


@frozen
class Connection:
    """How to reach a PostgreSQL server. What is None is left to libpq: PG* variables, .pgpass, service."""

    dsn: Secret | None = None
    host: str | None = None
    port: int | None = None
    user: str | None = None
    password: Secret | None = None
    database: str | None = None
    sslmode: str | None = None
    sslrootcert: str | None = None
    sslcert: str | None = None
    sslkey: str | None = None
    service: str | None = None
    connect_timeout_seconds: int = 10
    embedded: EmbeddedServer | None = None
    login: WorkerLogin | None = None
    """Takes the place of user and password, also of those in the DSN."""


def paths_of(path: FilePath | None) -> tuple[str, ...]:
    """Each of the paths."""
    return () if path is None else (path,) if isinstance(path, str) else path


def dsn_fault(dsn: str) -> tuple[str, str] | None:
    """What is wrong with a connection URI, and what to do: words that quote none of it. None for any other text.

    libpq prints what it cannot parse, password included, and takes part of an unescaped password for the host; so a
    URI is looked at before libpq is.
    """
    scheme, is_uri, rest = dsn.partition("://")
    if not is_uri or not _SCHEME.fullmatch(scheme.strip()):
        return None
    if scheme not in ("postgresql", "postgres"):
        return (
            "the DSN is no PostgreSQL URI: it must begin with postgresql://",
            "write postgresql://user:password@host:port/database, without a driver's name",
        )
    authority = rest.split("/", 1)[0].split("?", 1)[0]
    if authority.count("@") > 1 or "@" in rest[len(authority) :].split("?", 1)[0]:
        return (
            "the DSN holds an unescaped '@' or '/' in its user or password",
            "write %40 for @, %3A for :, %2F for /, or give host, user, password as separate fields",
        )
    try:
        _ = urlsplit(dsn).port
    except ValueError:
        return (
            "the DSN's host or port cannot be read",
            "an IPv6 address stands in [brackets]; a ':' in the password is written %3A",
        )
    return None


@frozen
class SqlTransform:
    """`use: sql`: one SELECT over `input`, which is also called like the stream."""

    query: str
    tables: tuple[tuple[str, str], ...] = ()
    """(name, path): files that the query sees as tables. Paths are absolute, or addresses."""


@frozen
class Rule:
    """One rule of `use: validate`. What a kind does not need is empty."""

    kind: RuleKind
    fields: tuple[str, ...] = ()
    """One for all kinds but `assert_unique`, which takes several together, and `assert_expression`, which has none."""
    pattern: str = ""
    low: str | None = None
    high: str | None = None
    """Bounds as they were written, both inclusive."""
    values: tuple[str, ...] = ()
    expression: str = ""


@frozen
class ValidateTransform:
    """`use: validate`: rules that every row must meet."""

    rules: tuple[Rule, ...]


@frozen
class FieldMask:
    """How one column is masked. NULL stays NULL."""

    field: str
    method: MaskMethod
    keep_start: int = 0
    keep_end: int = 0
    """Characters that `partial` leaves at either end."""
    text: str = "***"
    """What `redact` puts in every value's place."""


@frozen
class MaskTransform:
    """`use: mask`."""

    masks: tuple[FieldMask, ...]
    key: Secret | None = None
    """Given where a column is hashed."""


@frozen
class RenameTransform:
    """`use: rename`."""

    names: tuple[tuple[str, str], ...]
    """(column, its new name)."""


@frozen
class DropTransform:
    """`use: drop`."""

    columns: tuple[str, ...]


@frozen
class CastTransform:
    """`use: cast`."""

    types: tuple[tuple[str, str], ...]
    """(column, PostgreSQL type)."""


@frozen
class CaseTransform:
    """`use: case`: how columns are spelled."""

    style: CaseStyle


Transform = (
    SqlTransform | ValidateTransform | MaskTransform | RenameTransform | DropTransform | CastTransform | CaseTransform
)


@frozen
class StreamSpec:
    """One entry of `source.streams`, or one table that a pattern matched."""

    name: str
    """Table, `schema.table`, a pattern such as `sales.*`, or any name where `query` or `path` is given."""
    sync_mode: SyncMode = "full_refresh"
    columns: tuple[str, ...] = ()
    """Empty: all of them, in the source's order."""
    where: str | None = None
    query: str | None = None
    path: FilePath | None = None
    partition_key: str | None = None
    target: str | None = None
    """None: the stream's own name. May be `schema.table`; with a pattern, may hold `*`."""
    write_mode: WriteMode | None = None
    primary_key: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    on_duplicate_key: OnDuplicateKey = "fail"
    """Two rows of one key in an upsert, and no cursor that tells which one counts."""
    min_rows: int | None = None
    allow_lossy: tuple[str, ...] = ()
    indexes: Literal["none", "source"] = "none"
    types: tuple[tuple[str, str], ...] = ()
    """Declared types of a file's columns: (column, PostgreSQL type)."""
    infers_fully: bool = False
    """`infer: full`: types come from all rows of the files, not from the first ones."""
    flatten: bool = False
    """Members of nested objects are columns of their own, called `outer_inner`."""
    metadata: tuple[str, ...] = ()
    """Columns of a file's stream that say where a row comes from: `_file`, `_line`, `_loaded_at`, `_run_id`."""
    cursor_field: str | None = None
    """Column that says how far an increment has come. Given for every incremental stream."""
    tie_breaker_field: str | None = None
    """Column that orders rows with equal cursors."""
    null_cursor: NullCursor = "fail"
    cursor_lag: CursorLag | None = None
    transforms: tuple[Transform, ...] = ()
    """What happens to its rows on the way, in order."""


@frozen
class PostgresSourceSpec:
    """`use: postgres`."""

    connection: Connection
    schema: str = "public"

    @property
    def title(self) -> str:
        """What it is, for people."""
        return "PostgreSQL"


@frozen
class Storage:
    """What opens a store of files. What is None is left to the store's own variables and files."""

    access_key: Secret | None = None
    secret_key: Secret | None = None
    session_token: Secret | None = None
    endpoint: str | None = None
    region: str | None = None
    credentials_file: str | None = None
    account_name: str | None = None
    account_key: Secret | None = None
    connection_string: Secret | None = None
    authorization: Secret | None = None
    anonymous: bool = False


@frozen
class FilesSourceSpec:
    """`use: files`. Paths are relative to the pipeline file's folder (`base_dir`)."""

    path: FilePath | None = None
    format: FileFormat | None = None
    """None: guessed from the name."""
    base_dir: str = "."
    delimiter: str | None = None
    quote: str | None = None
    escape: str | None = None
    header: bool | None = None
    null_strings: tuple[str, ...] | None = None
    """None: an unquoted empty field is NULL, as in PostgreSQL's csv."""
    encoding: str | None = None
    skip: int = 0
    decimal_comma: bool = False
    date_formats: tuple[str, ...] = ()
    """As `%d.%m.%Y`."""
    follows_links: bool = False
    """A glob or a folder may find files that lie elsewhere, by symbolic links."""
    sets_aside: bool = False
    """Rows that cannot be parsed do not end the load (`on_data_error`)."""
    storage: Storage = field(default_factory=Storage)
    """Of files that are not here."""
    shows_values: bool = False
    """`--show-row-values`: a reason may quote a value."""

    @property
    def title(self) -> str:
        """What it is, for people."""
        return "files"


@frozen
class DatabaseFileSpec:
    """`use: sqlite` or `use: duckdb`. The path is relative to the pipeline file's folder (`base_dir`)."""

    kind: Literal["sqlite", "duckdb"]
    path: str
    base_dir: str = "."

    @property
    def title(self) -> str:
        """What it is, for people."""
        return "SQLite" if self.kind == "sqlite" else "DuckDB"


@frozen
class SchemaPolicy:
    """`schema_evolution`: what may differ between source and target, and what happens then."""

    new_column: NewColumnPolicy = "add"
    removed_column: RemovedColumnPolicy = "ignore"
    type_change: TypeChangePolicy = "fail"
    nullability_change: NullabilityPolicy = "allow"


@frozen
class Hooks:
    """Statements that are run in the transaction that publishes: one each, in order."""

    before_load: tuple[str, ...] = ()
    after_load: tuple[str, ...] = ()


@frozen
class DestinationSpec:
    """`destination` with `use: postgres`."""

    connection: Connection
    schema: str = "public"
    worker: WorkerLogin | None = None
    write_mode: WriteMode = "append"
    primary_key: tuple[str, ...] = ()
    replace_strategy: ReplaceStrategy = "auto"
    append_strategy: AppendStrategy = "staged"
    schema_policy: SchemaPolicy = field(default_factory=SchemaPolicy)
    publish_timeout_seconds: float = 600.0
    settle_timeout_seconds: float = 30.0
    """How long an increment waits for the transactions that were running when its upper bound was taken."""
    publish_together: bool = False
    """All streams of a run in one transaction; a failure of one publishes none."""
    rejects: RejectPolicy = field(default_factory=RejectPolicy)
    hooks: Hooks = field(default_factory=Hooks)


@frozen
class Resources:
    """`resources`, and `execution.engine`."""

    parallelism: int | None = None
    """Number of workers of the whole run; None is `auto`."""
    max_memory_bytes: int = 256 * MEGABYTE
    max_batch_bytes: int = 64 * MEGABYTE
    checkpoint_interval_bytes: int = 64 * MEGABYTE
    max_retries: int = 3
    max_inflight_batches: int = 16


@frozen
class RunOptions:
    """What the command line adds to the file."""

    streams: tuple[str, ...] = ()
    """Names to keep; empty keeps all."""
    workers: int | None = None
    dry_run: bool = False
    limit: int | None = None
    checksum: bool = False
    show_row_values: bool = False
    keep_going: bool = False
    """A stream that fails does not end the others."""
    failed: bool = False
    """Only the streams that did not succeed in the pipeline's last run."""
    key: str | None = None
    """Idempotence key: what is published under it already is not loaded again."""
    full_refresh: bool = False
    """Stored cursors are ignored, and every stream is published as replace."""
    deadline_seconds: float | None = None
    """As `limits.timeout_seconds`; the smaller one counts."""


@frozen
class RunRequest:
    """A run that wants a pipeline's lease: who it is, and what it will load."""

    run_id: str
    pipeline: str
    streams: tuple[str, ...]
    """Names, in pipeline order."""
    key: str | None = None
    """`--key`: what has been published under it is not published again."""
    host: str
    pid: int
    source_identity: str | None = None
    """Tells one source from another; None where it cannot be known."""
    tool_version: str


@frozen
class PipelineSpec:
    """A whole pipeline file."""

    pipeline: str
    source: PostgresSourceSpec | FilesSourceSpec | DatabaseFileSpec
    streams: tuple[StreamSpec, ...]
    destination: DestinationSpec
    resources: Resources = field(default_factory=Resources)
    timeout_seconds: float | None = None
    notices: tuple[str, ...] = ()
    """One line for each accepted key that has no effect here."""
    path: str = ""
