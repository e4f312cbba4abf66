"""Direct loads that ended before they were complete: some of their partitions are in the target, and stay there.

The ledger keeps such a load as `prepared`, with its receipts. Rows and receipt of a partition were written by one
transaction, so `xmin` tells which rows of the target are the load's. A run goes on with it where its partitions can be
named again and all their rows are there still; otherwise they are to be removed first.
"""

from __future__ import annotations

from psycopg import sql

from rapidbyte.destinations.postgres import ledger, loads, workers
from rapidbyte.destinations.postgres.ledger import identifier
from rapidbyte.destinations.postgres.loads import LoadRecord
from rapidbyte.destinations.postgres.target_catalog import look_up
from rapidbyte.errors import ConfigError
from rapidbyte.model import QualifiedName
from rapidbyte.pg.session import PgConnection


def has_begun(connection: PgConnection, *, pipeline: str, stream: str) -> bool:
    """Whether partitions of an unfinished direct load of this stream are in its target. Looks; False without ledger."""
    if (ledger.installed_version(connection) or 0) < ledger.CURSORS_SINCE:
        return False
    unfinished = loads.unfinished_loads(connection, pipeline=pipeline, stream=stream)
    return any(has_landed(connection, record) for record in unfinished)


def is_whole(connection: PgConnection, record: LoadRecord) -> bool:
    """Whether all rows that the load has landed are in the target, as they were."""
    target = _target(connection, record.load_id)
    if target is None or not look_up(connection, target).exists:
        return False
    found = connection.execute(
        sql.SQL(
            "SELECT pg_catalog.count(*) FROM {} AS t WHERE EXISTS (SELECT FROM {} AS r"
            " WHERE r.load_id OPERATOR(pg_catalog.=) {} AND r.xmin OPERATOR(pg_catalog.=) t.xmin)"
        ).format(identifier(target), identifier(ledger.RECEIPTS), sql.Literal(record.load_id))
    ).fetchone()
    return bool(found and found[0] == loads.receipts_total(connection, record.load_id)[1])


def require_none_unfinished(connection: PgConnection, *, pipeline: str, stream: str, but: str | None) -> None:
    """Refuses to load a stream of which an earlier direct load is incomplete: its rows would come twice.

    `but` is the load that this run goes on with. Raises ConfigError with what landed, and how it is removed.
    """
    for record in loads.unfinished_loads(connection, pipeline=pipeline, stream=stream):
        load_id = record.load_id
        if load_id == but:
            continue
        partitions, row_count = loads.receipts_total(connection, load_id)
        target = _target(connection, load_id)
        if target is None or not partitions:
            continue
        raise ConfigError(
            f"an earlier direct load of stream {stream} did not end: {row_count} rows in {partitions} partitions of it"
            f" are in {target}, and the same source is not there to load the rest from",
            code="direct_load_unfinished",
            hint="remove them with `rapidbyte gc --undo`, then load again",
            stream=stream,
            table=str(target),
        )


def has_landed(connection: PgConnection, record: LoadRecord) -> bool:
    """Whether partitions of this load are in the target: then its record and its receipts are all that tells them."""
    return record.publish == "direct" and loads.receipts_total(connection, record.load_id)[0] > 0


def _target(connection: PgConnection, load_id: str) -> QualifiedName | None:
    """The target of a load that is direct and unfinished."""
    row = connection.execute(
        "SELECT target_schema, target_table FROM _rapidbyte.loads"
        " WHERE load_id = %s AND publish = 'direct' AND state = 'prepared'",
        (load_id,),
    ).fetchone()
    return None if row is None else QualifiedName(schema=row[0], name=row[1])


def keep_writers_out(connection: PgConnection, load_id: str) -> None:
    """Waits until no worker of this load has a transaction open, and keeps them out until ours has ended.

    A worker of a run that was thought dead sees afterwards that the load has ended (D3).
    """
    connection.execute("SELECT pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtextextended(%s, 0))", (load_id,))


def undo_statement(target: QualifiedName, load_id: str) -> sql.Composed:
    """DELETE of the rows that a direct load has landed and that nobody has changed since."""
    return sql.SQL(
        "DELETE FROM {} AS t USING {} AS r WHERE r.load_id OPERATOR(pg_catalog.=) {}"
        " AND t.xmin OPERATOR(pg_catalog.=) r.xmin"
    ).format(identifier(target), identifier(ledger.RECEIPTS), sql.Literal(load_id))


def undo(connection: PgConnection, load_id: str) -> int:
    """Removes what an unfinished direct load has landed, and marks it as discarded; the number of rows removed.

    In the caller's transaction. Nothing where the load is no such load.
    """
    loads.load_record(connection, load_id, lock_row=True)
    target = _target(connection, load_id)
    if target is None:
        return 0
    keep_writers_out(connection, load_id)
    removed = connection.execute(undo_statement(target, load_id)).rowcount
    loads.end_load(connection, load_id, state="discarded")
    workers.release(connection, load_id)
    return removed
