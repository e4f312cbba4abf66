"""The ledger: schema `_rapidbyte` in the destination, which is restored, failed over and rolled back with the data.

Statements and the few actions on its rows. `loads` has one row per stream load, `receipts` one per committed
partition. Leases, cursors, rejects and runs will have tables of their own beside them. docs/ledger.md describes it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, LiteralString

from psycopg import sql

from rapidbyte.errors import DestinationError
from rapidbyte.model import QualifiedName
from rapidbyte.pg.session import PgConnection

SCHEMA = "_rapidbyte"
VERSION = 1
"""Of the tables below. A ledger with a higher one was made by a newer rapidbyte and is left alone."""

LEDGER = QualifiedName(schema=SCHEMA, name="ledger")
LOADS = QualifiedName(schema=SCHEMA, name="loads")
RECEIPTS = QualifiedName(schema=SCHEMA, name="receipts")

LoadState = Literal["prepared", "published", "discarded"]

CREATE_TABLES: tuple[LiteralString, ...] = (
    """CREATE TABLE _rapidbyte.ledger (
    version integer PRIMARY KEY,
    installed_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp()
)""",
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
    ended_at timestamptz
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
    PRIMARY KEY (load_id, partition)
)""",
)

COMMENTS: tuple[tuple[LiteralString, LiteralString], ...] = (
    ("TABLE _rapidbyte.ledger", "One row: the version of these tables"),
    ("COLUMN _rapidbyte.ledger.version", "Version of the tables of this schema"),
    ("COLUMN _rapidbyte.ledger.installed_at", "When that version was installed"),
    ("TABLE _rapidbyte.loads", "One row per load of one stream: what it writes, where its stage is, how it ended"),
    ("COLUMN _rapidbyte.loads.load_id", "The load; the name of its stage is made from it"),
    ("COLUMN _rapidbyte.loads.run_id", "The run that prepared the load"),
    ("COLUMN _rapidbyte.loads.pipeline", "Name of the pipeline"),
    ("COLUMN _rapidbyte.loads.stream", "Name of the stream"),
    ("COLUMN _rapidbyte.loads.target_schema", "Schema of the table that the load fills"),
    ("COLUMN _rapidbyte.loads.target_table", "The table that the load fills"),
    ("COLUMN _rapidbyte.loads.target_oid", "The target as it was when the load was prepared; NULL: it did not exist"),
    ("COLUMN _rapidbyte.loads.stage_schema", "Schema of the stage"),
    ("COLUMN _rapidbyte.loads.stage_table", "The stage; it exists while the load is prepared"),
    ("COLUMN _rapidbyte.loads.write_mode", "append or replace"),
    ("COLUMN _rapidbyte.loads.publish", "Publish method: planned, and once published the one that was used"),
    ("COLUMN _rapidbyte.loads.state", "prepared, published or discarded"),
    ("COLUMN _rapidbyte.loads.row_count", "Rows that were published"),
    ("COLUMN _rapidbyte.loads.worker_role", "The workers' own role; NULL where they use the leader's"),
    ("COLUMN _rapidbyte.loads.granted", "What was granted to that role for this load and is revoked after it"),
    ("COLUMN _rapidbyte.loads.prepared_at", "When the load was prepared, by the server's clock"),
    ("COLUMN _rapidbyte.loads.ended_at", "When the load was published or discarded"),
    ("TABLE _rapidbyte.receipts", "One row per partition, committed together with the partition's rows"),
    ("COLUMN _rapidbyte.receipts.load_id", "The load that the partition belongs to"),
    ("COLUMN _rapidbyte.receipts.partition", "Number of the partition within its stream, from 0"),
    ("COLUMN _rapidbyte.receipts.pipeline", "Name of the pipeline"),
    ("COLUMN _rapidbyte.receipts.stream", "Name of the stream"),
    ("COLUMN _rapidbyte.receipts.worker", "The worker that wrote the partition"),
    ("COLUMN _rapidbyte.receipts.rows", "Rows of the partition"),
    ("COLUMN _rapidbyte.receipts.bytes", "Bytes of its COPY"),
    ("COLUMN _rapidbyte.receipts.committed_at", "Just before the commit, by the server's clock"),
)
"""What `\\d+` shows; docs/ledger.md is tested against them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadRecord:
    """A row of `loads`, as far as finalize and discard need it."""

    state: LoadState
    publish: str
    row_count: int | None
    stage: QualifiedName | None


def bootstrap_statements() -> tuple[sql.Composed, ...]:
    """Everything that makes a ledger in its schema, in order. PUBLIC gets nothing."""
    composed = [sql.Composed([sql.SQL(statement)]) for statement in CREATE_TABLES]
    composed += [sql.SQL("COMMENT ON {} IS {}").format(sql.SQL(thing), sql.Literal(text)) for thing, text in COMMENTS]
    composed.append(sql.SQL("INSERT INTO _rapidbyte.ledger (version) VALUES ({})").format(sql.Literal(VERSION)))
    composed += [sql.SQL("REVOKE ALL ON {} FROM PUBLIC").format(identifier(name)) for name in (LEDGER, LOADS, RECEIPTS)]
    return tuple(composed)


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
    """The ledger's version; None where there is none. Raises DestinationError for one that is newer than ours."""
    found = connection.execute(
        "SELECT EXISTS (SELECT FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
        " WHERE n.nspname = %s AND c.relname = %s)",
        (LEDGER.schema, LEDGER.name),
    ).fetchone()
    if not (found and found[0]):
        return None
    row = connection.execute("SELECT max(version) FROM _rapidbyte.ledger").fetchone()
    version: int | None = row[0] if row else None
    if version is not None and version > VERSION:
        raise DestinationError(
            f"the ledger in schema {SCHEMA} has version {version}; this rapidbyte knows version {VERSION}",
            code="ledger_newer",
            hint="a newer rapidbyte has been here: use that one",
        )
    return version


def lock_ledger(connection: PgConnection) -> None:
    """Makes this transaction the only one that changes the ledger's tables or their grants."""
    lock(connection, "ledger")


def lock(connection: PgConnection, what: str) -> None:
    """An advisory lock until the transaction ends."""
    connection.execute(
        "SELECT pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtextextended(%s, 0))", (f"rapidbyte {what}",)
    )


INSERT_LOAD: LiteralString = """
INSERT INTO _rapidbyte.loads (load_id, run_id, pipeline, stream, target_schema, target_table, target_oid,
                              stage_schema, stage_table, write_mode, publish, worker_role, granted)
VALUES (%(load_id)s, %(run_id)s, %(pipeline)s, %(stream)s, %(target_schema)s, %(target_table)s, %(target_oid)s,
        %(stage_schema)s, %(stage_table)s, %(write_mode)s, %(publish)s, %(worker_role)s, %(granted)s)
"""


def load_record(connection: PgConnection, load_id: str, *, lock_row: bool) -> LoadRecord | None:
    """The load's row; None where there is none. With `lock_row` the row stays ours until the transaction ends.

    Waits for another session that holds the row: so the outcome of a COMMIT that is still under way is known.
    """
    row = connection.execute(
        sql.SQL(
            "SELECT state, publish, row_count, stage_schema, stage_table FROM _rapidbyte.loads WHERE load_id = %s{}"
        ).format(sql.SQL(" FOR UPDATE" if lock_row else "")),
        (load_id,),
    ).fetchone()
    if row is None:
        return None
    state, publish, row_count, schema, table = row
    stage = QualifiedName(schema=schema, name=table) if table is not None else None
    return LoadRecord(state=state, publish=publish, row_count=row_count, stage=stage)


def end_load(
    connection: PgConnection,
    load_id: str,
    *,
    state: LoadState,
    publish: str | None = None,
    row_count: int | None = None,
) -> None:
    """Marks a load as published or discarded."""
    connection.execute(
        "UPDATE _rapidbyte.loads SET state = %s, publish = coalesce(%s, publish), row_count = %s,"
        " ended_at = pg_catalog.clock_timestamp() WHERE load_id = %s",
        (state, publish, row_count, load_id),
    )


def receipts_total(connection: PgConnection, load_id: str) -> tuple[int, int]:
    """(partitions, rows) of a load's receipts."""
    row = connection.execute(
        "SELECT pg_catalog.count(*), coalesce(pg_catalog.sum(rows), 0)::bigint FROM _rapidbyte.receipts"
        " WHERE load_id = %s",
        (load_id,),
    ).fetchone()
    return (row[0], row[1]) if row else (0, 0)


def unfinished_loads(connection: PgConnection, *, pipeline: str, stream: str) -> tuple[str, ...]:
    """Loads of this stream that were prepared and neither published nor discarded."""
    rows = connection.execute(
        "SELECT load_id FROM _rapidbyte.loads WHERE pipeline = %s AND stream = %s AND state = 'prepared'"
        " ORDER BY load_id",
        (pipeline, stream),
    ).fetchall()
    return tuple(load_id for (load_id,) in rows)


def hold_load(connection: PgConnection, load_id: str) -> bool:
    """Shows other sessions that the load's leader lives, for as long as this session does. False: another holds it."""
    row = connection.execute(
        "SELECT pg_catalog.pg_try_advisory_lock(pg_catalog.hashtextextended(%s, 0))", (f"rapidbyte load {load_id}",)
    ).fetchone()
    return bool(row and row[0])


def take_over_load(connection: PgConnection, load_id: str) -> bool:
    """True when the load's leader is gone; until the transaction ends nobody else takes it over."""
    row = connection.execute(
        "SELECT pg_catalog.pg_try_advisory_xact_lock(pg_catalog.hashtextextended(%s, 0))",
        (f"rapidbyte load {load_id}",),
    ).fetchone()
    return bool(row and row[0])


def release_load(connection: PgConnection, load_id: str) -> None:
    """The opposite of `hold_load`."""
    connection.execute(
        "SELECT pg_catalog.pg_advisory_unlock(pg_catalog.hashtextextended(%s, 0))", (f"rapidbyte load {load_id}",)
    )
