"""The ledger: schema `_rapidbyte` in the destination, which is restored, failed over and rolled back with the data.

Its tables as statements, their comments, and how an older ledger becomes a newer one. What is done with their rows is
in `lease`, `loads`, `cursors` and `runs`. docs/ledger.md describes it.
"""

from __future__ import annotations

from typing import LiteralString

from psycopg import sql

from rapidbyte.errors import DestinationError
from rapidbyte.model import QualifiedName
from rapidbyte.pg.session import PgConnection

SCHEMA = "_rapidbyte"
VERSION = 4
"""Of the tables below. A ledger with a higher one was made by a newer rapidbyte and is left alone."""

CURSORS_SINCE, FILES_SINCE = 2, 3
"""The versions that brought these tables."""

LEDGER = QualifiedName(schema=SCHEMA, name="ledger")
LEASES = QualifiedName(schema=SCHEMA, name="leases")
RUNS = QualifiedName(schema=SCHEMA, name="runs")
LOADS = QualifiedName(schema=SCHEMA, name="loads")
RECEIPTS = QualifiedName(schema=SCHEMA, name="receipts")
CURSORS = QualifiedName(schema=SCHEMA, name="cursors")
FILES = QualifiedName(schema=SCHEMA, name="files")
REJECTS = QualifiedName(schema=SCHEMA, name="rejects")
TABLES = (LEDGER, LEASES, RUNS, LOADS, RECEIPTS, CURSORS, FILES, REJECTS)

_CREATE_LEASES: LiteralString = """CREATE TABLE _rapidbyte.leases (
    pipeline text PRIMARY KEY,
    fence bigint NOT NULL,
    run_id text,
    host text,
    pid integer,
    backend_pid integer,
    acquired_at timestamptz,
    renewed_at timestamptz,
    expires_at timestamptz
)"""

_CREATE_RUNS: LiteralString = """CREATE TABLE _rapidbyte.runs (
    run_id text PRIMARY KEY,
    pipeline text NOT NULL,
    run_key text,
    host text NOT NULL,
    pid integer NOT NULL,
    tool_version text NOT NULL,
    status text NOT NULL DEFAULT 'running'
        CHECK (status IN ('running', 'succeeded', 'failed', 'cancelled', 'partial', 'lost')),
    exit_code integer,
    started_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    finished_at timestamptz,
    streams jsonb NOT NULL DEFAULT '[]',
    result jsonb
)"""

_INDEX_RUNS: LiteralString = "CREATE INDEX runs_of_pipeline ON _rapidbyte.runs (pipeline, started_at)"

_CREATE_CURSORS: LiteralString = """CREATE TABLE _rapidbyte.cursors (
    pipeline text NOT NULL,
    stream text NOT NULL,
    source text,
    field text NOT NULL,
    type text NOT NULL,
    value text NOT NULL,
    load_id text,
    run_id text,
    updated_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    PRIMARY KEY (pipeline, stream)
)"""

_CREATE_FILES: LiteralString = """CREATE TABLE _rapidbyte.files (
    pipeline text NOT NULL,
    stream text NOT NULL,
    path text NOT NULL,
    size bigint NOT NULL,
    stamp text NOT NULL,
    digest text NOT NULL,
    load_id text NOT NULL,
    run_id text NOT NULL,
    loaded_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    PRIMARY KEY (pipeline, stream, path)
)"""

_CREATE_REJECTS: LiteralString = """CREATE TABLE _rapidbyte.rejects (
    reject_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    pipeline text NOT NULL,
    stream text NOT NULL,
    run_id text NOT NULL,
    load_id text NOT NULL,
    partition integer,
    file text,
    line bigint,
    column_name text,
    code text NOT NULL,
    sqlstate text,
    message text NOT NULL,
    form text NOT NULL CHECK (form IN ('target', 'source', 'text')),
    row_data json NOT NULL,
    rejected_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    replayed_at timestamptz,
    replayed_by text
)"""

_INDEX_REJECTS: LiteralString = "CREATE INDEX rejects_of_load ON _rapidbyte.rejects (load_id)"

CREATE_TABLES: tuple[LiteralString, ...] = (
    """CREATE TABLE _rapidbyte.ledger (
    version integer PRIMARY KEY,
    installed_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp()
)""",
    _CREATE_LEASES,
    _CREATE_RUNS,
    _INDEX_RUNS,
    """CREATE TABLE _rapidbyte.loads (
    load_id text PRIMARY KEY,
    run_id text NOT NULL,
    pipeline text NOT NULL,
    stream text NOT NULL,
    target_schema text NOT NULL,
    target_table text NOT NULL,
    target_oid oid,
    stage_schema text,
    stage_table text,
    write_mode text NOT NULL,
    publish text NOT NULL,
    state text NOT NULL DEFAULT 'prepared' CHECK (state IN ('prepared', 'published', 'discarded')),
    row_count bigint,
    worker_role text,
    granted jsonb NOT NULL DEFAULT '[]',
    prepared_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    ended_at timestamptz,
    fence bigint NOT NULL DEFAULT 0,
    run_key text,
    source text,
    signature text,
    partitions jsonb,
    bounds jsonb
)""",
    "CREATE INDEX loads_unfinished ON _rapidbyte.loads (pipeline, stream) WHERE state = 'prepared'",
    """CREATE TABLE _rapidbyte.receipts (
    load_id text NOT NULL,
    partition integer NOT NULL,
    pipeline text NOT NULL,
    stream text NOT NULL,
    worker integer NOT NULL,
    rows bigint NOT NULL,
    bytes bigint NOT NULL,
    committed_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    rejected bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (load_id, partition)
)""",
    _CREATE_CURSORS,
    _CREATE_FILES,
    _CREATE_REJECTS,
    _INDEX_REJECTS,
)
"""A ledger of this version from nothing."""

MIGRATIONS: dict[int, tuple[LiteralString, ...]] = {
    1: (
        _CREATE_LEASES,
        _CREATE_RUNS,
        _INDEX_RUNS,
        """ALTER TABLE _rapidbyte.loads
    ADD COLUMN fence bigint NOT NULL DEFAULT 0,
    ADD COLUMN run_key text,
    ADD COLUMN source text,
    ADD COLUMN signature text,
    ADD COLUMN partitions jsonb,
    ADD COLUMN bounds jsonb""",
        _CREATE_CURSORS,
    ),
    2: (_CREATE_FILES,),
    3: (
        "ALTER TABLE _rapidbyte.receipts ADD COLUMN rejected bigint NOT NULL DEFAULT 0",
        _CREATE_REJECTS,
        _INDEX_REJECTS,
    ),
}
"""What makes a ledger of that version one of the next. They end with the same tables as `CREATE_TABLES`."""

COMMENTS: tuple[tuple[LiteralString, LiteralString], ...] = (
    ("TABLE _rapidbyte.ledger", "One row per version that was installed; the highest is that of these tables"),
    ("COLUMN _rapidbyte.ledger.version", "Version of the tables of this schema"),
    ("COLUMN _rapidbyte.ledger.installed_at", "When that version was installed"),
    ("TABLE _rapidbyte.leases", "One row per pipeline: which run may load it now"),
    ("COLUMN _rapidbyte.leases.pipeline", "Name of the pipeline"),
    (
        "COLUMN _rapidbyte.leases.fence",
        "Raised by each run that takes the lease; a run with a lower one publishes nothing",
    ),
    ("COLUMN _rapidbyte.leases.run_id", "The run that holds the lease; NULL when it is free"),
    ("COLUMN _rapidbyte.leases.host", "Host of that run"),
    ("COLUMN _rapidbyte.leases.pid", "Process id of that run on its host"),
    ("COLUMN _rapidbyte.leases.backend_pid", "The backend of its session that holds the lease's advisory lock"),
    ("COLUMN _rapidbyte.leases.acquired_at", "When the lease was taken, by the server's clock"),
    ("COLUMN _rapidbyte.leases.renewed_at", "The last sign of life, every 5 s"),
    (
        "COLUMN _rapidbyte.leases.expires_at",
        "After this the lease may be taken, though its session is still there",
    ),
    ("TABLE _rapidbyte.runs", "One row per run of a pipeline: who, when, how it ended"),
    ("COLUMN _rapidbyte.runs.run_id", "The run"),
    ("COLUMN _rapidbyte.runs.pipeline", "Name of the pipeline"),
    ("COLUMN _rapidbyte.runs.run_key", "What --key gave; NULL without"),
    ("COLUMN _rapidbyte.runs.host", "Host on which it ran"),
    ("COLUMN _rapidbyte.runs.pid", "Its process id there"),
    ("COLUMN _rapidbyte.runs.tool_version", "Version of rapidbyte"),
    (
        "COLUMN _rapidbyte.runs.status",
        "running, succeeded, failed, cancelled, partial; lost: it did not say how it ended",
    ),
    ("COLUMN _rapidbyte.runs.exit_code", "Its exit code"),
    ("COLUMN _rapidbyte.runs.started_at", "When it took the lease, by the server's clock"),
    ("COLUMN _rapidbyte.runs.finished_at", "When it ended, or was found dead"),
    ("COLUMN _rapidbyte.runs.streams", "Its streams, in order, each with name and status"),
    ("COLUMN _rapidbyte.runs.result", "Its result, as the command printed it, without row values"),
    ("TABLE _rapidbyte.loads", "One row per load of one stream: what it writes, where its stage is, how it ended"),
    ("COLUMN _rapidbyte.loads.load_id", "The load; the name of its stage is made from it"),
    ("COLUMN _rapidbyte.loads.run_id", "The run that prepared the load, or the last one that went on with it"),
    ("COLUMN _rapidbyte.loads.pipeline", "Name of the pipeline"),
    ("COLUMN _rapidbyte.loads.stream", "Name of the stream"),
    ("COLUMN _rapidbyte.loads.target_schema", "Schema of the table that the load fills"),
    ("COLUMN _rapidbyte.loads.target_table", "The table that the load fills"),
    ("COLUMN _rapidbyte.loads.target_oid", "The target as it was when the load was prepared; NULL: it did not exist"),
    ("COLUMN _rapidbyte.loads.stage_schema", "Schema of the stage"),
    ("COLUMN _rapidbyte.loads.stage_table", "The stage; it exists while the load is prepared"),
    ("COLUMN _rapidbyte.loads.write_mode", "append, replace or upsert"),
    ("COLUMN _rapidbyte.loads.publish", "Publish method: planned, and once published the one that was used"),
    ("COLUMN _rapidbyte.loads.state", "prepared, published or discarded"),
    ("COLUMN _rapidbyte.loads.row_count", "Rows that were published"),
    ("COLUMN _rapidbyte.loads.worker_role", "The workers' own role; NULL where they use the leader's"),
    ("COLUMN _rapidbyte.loads.granted", "What was granted to that role for this load and is revoked after it"),
    ("COLUMN _rapidbyte.loads.prepared_at", "When the load was prepared, by the server's clock"),
    ("COLUMN _rapidbyte.loads.ended_at", "When the load was published or discarded"),
    ("COLUMN _rapidbyte.loads.fence", "The fence of that run"),
    ("COLUMN _rapidbyte.loads.run_key", "What --key gave to that run"),
    ("COLUMN _rapidbyte.loads.source", "Which source it is loaded from; NULL where that cannot be known"),
    ("COLUMN _rapidbyte.loads.signature", "Of all that must be equal for another run to go on with the load"),
    ("COLUMN _rapidbyte.loads.partitions", "All partitions; NULL where they cannot be named again"),
    ("COLUMN _rapidbyte.loads.bounds", "Of an incremental load: from where to where it goes"),
    ("TABLE _rapidbyte.receipts", "One row per partition, committed together with the partition's rows"),
    ("COLUMN _rapidbyte.receipts.load_id", "The load that the partition belongs to"),
    ("COLUMN _rapidbyte.receipts.partition", "Number of the partition within its stream, from 0"),
    ("COLUMN _rapidbyte.receipts.pipeline", "Name of the pipeline"),
    ("COLUMN _rapidbyte.receipts.stream", "Name of the stream"),
    ("COLUMN _rapidbyte.receipts.worker", "The worker that wrote the partition"),
    ("COLUMN _rapidbyte.receipts.rows", "Rows of the partition"),
    ("COLUMN _rapidbyte.receipts.bytes", "Bytes of its COPY"),
    ("COLUMN _rapidbyte.receipts.committed_at", "Just before the commit, by the server's clock"),
    ("COLUMN _rapidbyte.receipts.rejected", "Rows of the partition that were set aside; they are not among `rows`"),
    ("TABLE _rapidbyte.cursors", "How far each incremental stream has been published"),
    ("COLUMN _rapidbyte.cursors.pipeline", "Name of the pipeline"),
    ("COLUMN _rapidbyte.cursors.stream", "Name of the stream"),
    ("COLUMN _rapidbyte.cursors.source", "Which source the value is from; NULL where that cannot be known"),
    ("COLUMN _rapidbyte.cursors.field", "The cursor's column"),
    ("COLUMN _rapidbyte.cursors.type", "That column's type in the source"),
    ("COLUMN _rapidbyte.cursors.value", "The source server's text; the next load begins here"),
    ("COLUMN _rapidbyte.cursors.load_id", "The load that was published with it; NULL: set by hand"),
    ("COLUMN _rapidbyte.cursors.run_id", "The run that published it; NULL: set by hand"),
    ("COLUMN _rapidbyte.cursors.updated_at", "When, by the server's clock"),
    ("TABLE _rapidbyte.files", "One row per file that an incremental stream of files has loaded"),
    ("COLUMN _rapidbyte.files.pipeline", "Name of the pipeline"),
    ("COLUMN _rapidbyte.files.stream", "Name of the stream"),
    ("COLUMN _rapidbyte.files.path", "The file: relative to the pipeline file's folder where it lies below it"),
    ("COLUMN _rapidbyte.files.size", "Its bytes"),
    ("COLUMN _rapidbyte.files.stamp", "Size and time, or ETag: a file that has the same is not looked into again"),
    ("COLUMN _rapidbyte.files.digest", "Of its content: SHA-256, or the ETag where it lies in a store"),
    ("COLUMN _rapidbyte.files.load_id", "The load that was published with it"),
    ("COLUMN _rapidbyte.files.run_id", "The run that published it"),
    ("COLUMN _rapidbyte.files.loaded_at", "When, by the server's clock"),
    ("TABLE _rapidbyte.rejects", "One row per bad row that was set aside, committed together with its partition"),
    ("COLUMN _rapidbyte.rejects.reject_id", "Its number"),
    ("COLUMN _rapidbyte.rejects.pipeline", "Name of the pipeline"),
    ("COLUMN _rapidbyte.rejects.stream", "Name of the stream"),
    ("COLUMN _rapidbyte.rejects.run_id", "The run that set it aside"),
    ("COLUMN _rapidbyte.rejects.load_id", "The load that it was left out of"),
    ("COLUMN _rapidbyte.rejects.partition", "Of that load; NULL: it was set aside when the load was published"),
    ("COLUMN _rapidbyte.rejects.file", "The file that it stands in; NULL where it came from a server"),
    ("COLUMN _rapidbyte.rejects.line", "Its line there, from 1; where a file has no lines, its row"),
    ("COLUMN _rapidbyte.rejects.column_name", "The column that is at fault, where that is known"),
    ("COLUMN _rapidbyte.rejects.code", "The kind of fault as one word"),
    ("COLUMN _rapidbyte.rejects.sqlstate", "PostgreSQL's code of the fault, where there is one"),
    ("COLUMN _rapidbyte.rejects.message", "What is wrong, without a value"),
    (
        "COLUMN _rapidbyte.rejects.form",
        "What row_data is: the target's columns, the source's, or the text of a line",
    ),
    ("COLUMN _rapidbyte.rejects.row_data", "The row: an object of texts as PostgreSQL reads them, or one text"),
    ("COLUMN _rapidbyte.rejects.rejected_at", "When, by the server's clock"),
    ("COLUMN _rapidbyte.rejects.replayed_at", "When `rejects replay` loaded it; NULL: it did not"),
    ("COLUMN _rapidbyte.rejects.replayed_by", "The replay's run id"),
)
"""What `\\d+` shows; docs/ledger.md is tested against them."""


def bootstrap_statements() -> tuple[sql.Composed, ...]:
    """Everything that makes a ledger in its schema, in order. PUBLIC gets nothing."""
    return (*_composed(CREATE_TABLES), *_finishing(VERSION))


def migration_statements(version: int) -> tuple[sql.Composed, ...]:
    """Everything that makes a ledger of this older version one of ours, in order."""
    steps: list[LiteralString] = [statement for old in range(version, VERSION) for statement in MIGRATIONS[old]]
    return (*_composed(tuple(steps)), *_finishing(VERSION))


def _composed(statements: tuple[LiteralString, ...]) -> tuple[sql.Composed, ...]:
    return tuple(sql.Composed([sql.SQL(statement)]) for statement in statements)


def _finishing(version: int) -> tuple[sql.Composed, ...]:
    return (
        *(sql.SQL("COMMENT ON {} IS {}").format(sql.SQL(thing), sql.Literal(text)) for thing, text in COMMENTS),
        sql.SQL("INSERT INTO _rapidbyte.ledger (version) VALUES ({})").format(sql.Literal(version)),
        *(sql.SQL("REVOKE ALL ON {} FROM PUBLIC").format(identifier(name)) for name in TABLES),
    )


def identifier(name: QualifiedName) -> sql.Identifier:
    """The relation's name, quoted and qualified."""
    return sql.Identifier(name.schema, name.name)


def schema_exists(connection: PgConnection, schema: str) -> bool:
    """True when there is a schema of this name, committed or of this transaction."""
    row = connection.execute(
        "SELECT EXISTS (SELECT FROM pg_catalog.pg_namespace WHERE nspname = %s)", (schema,)
    ).fetchone()
    return bool(row and row[0])


def installed_version(connection: PgConnection) -> int | None:
    """The ledger's version; None where there is none.

    Raises DestinationError for one that is newer than ours, and for one that is damaged (E11).
    """
    found = connection.execute(
        "SELECT EXISTS (SELECT FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
        " WHERE n.nspname = %s AND c.relname = %s)",
        (LEDGER.schema, LEDGER.name),
    ).fetchone()
    if not (found and found[0]):
        return None
    row = connection.execute("SELECT max(version) FROM _rapidbyte.ledger").fetchone()
    version: int | None = row[0] if row else None
    if version is None or version < 1:
        raise DestinationError(
            f"the ledger in schema {SCHEMA} is damaged: its table `ledger` does not say its version",
            code="ledger_damaged",
            hint="restore the schema from a backup; dropping it forgets every cursor and every load",
        )
    if version > VERSION:
        raise DestinationError(
            f"the ledger in schema {SCHEMA} has version {version}; this rapidbyte knows version {VERSION}",
            code="ledger_newer",
            hint="a newer rapidbyte has been here: use that one",
        )
    return version


def may_look(connection: PgConnection) -> bool:
    """Whether what the ledger says can be read; also where there is none. Which GRANT is missing is asked elsewhere."""
    row = connection.execute(
        "SELECT pg_catalog.bool_and(pg_catalog.has_schema_privilege(n.oid, 'USAGE')"
        " AND pg_catalog.has_table_privilege(c.oid, 'SELECT'))"
        " FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
        " WHERE n.nspname = %s AND c.relname = ANY (%s)",
        (SCHEMA, [name.name for name in TABLES]),
    ).fetchone()
    return row is None or row[0] is not False


def lock_ledger(connection: PgConnection) -> None:
    """Makes this transaction the only one that changes the ledger's tables or their grants."""
    lock(connection, "ledger")


def lock(connection: PgConnection, what: str) -> None:
    """An advisory lock until the transaction ends."""
    connection.execute(
        "SELECT pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtextextended(%s, 0))", (f"rapidbyte {what}",)
    )
