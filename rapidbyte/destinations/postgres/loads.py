"""Rows of `loads` and `receipts`: what the leader writes down of a load, and finds of those that were begun before."""

from __future__ import annotations

from typing import Any, Literal, LiteralString

from psycopg import sql
from psycopg.types.json import Jsonb

from rapidbyte.contract import PartitionReceipt
from rapidbyte.model import QualifiedName
from rapidbyte.pg.session import PgConnection
from rapidbyte.values import frozen

LoadState = Literal["prepared", "published", "discarded"]


@frozen
class LoadRecord:
    """A row of `loads`, as far as it is looked at again."""

    load_id: str
    run_id: str
    stream: str
    state: LoadState
    publish: str
    row_count: int | None
    stage: QualifiedName | None
    signature: str | None
    partitions: Any
    """As `records` writes them; None where they were not recorded."""
    bounds: Any
    """As `records` writes them; None for a full refresh."""


INSERT_LOAD: LiteralString = """
INSERT INTO _rapidbyte.loads (load_id, run_id, pipeline, stream, target_schema, target_table, target_oid,
                              stage_schema, stage_table, write_mode, publish, worker_role, granted,
                              fence, run_key, source, signature, bounds)
VALUES (%(load_id)s, %(run_id)s, %(pipeline)s, %(stream)s, %(target_schema)s, %(target_table)s, %(target_oid)s,
        %(stage_schema)s, %(stage_table)s, %(write_mode)s, %(publish)s, %(worker_role)s, %(granted)s,
        %(fence)s, %(run_key)s, %(source)s, %(signature)s, %(bounds)s)
"""

_SELECT: LiteralString = """
SELECT load_id, run_id, stream, state, publish, row_count, stage_schema, stage_table, signature, partitions, bounds
FROM _rapidbyte.loads
"""


def load_record(connection: PgConnection, load_id: str, *, lock_row: bool) -> LoadRecord | None:
    """The load's row; None where there is none. With `lock_row` the row stays ours until the transaction ends.

    Waits for another session that holds the row: so the outcome of a COMMIT that is still under way is known.
    """
    row = connection.execute(
        sql.SQL("{} WHERE load_id = %s{}").format(sql.SQL(_SELECT), sql.SQL(" FOR UPDATE" if lock_row else "")),
        (load_id,),
    ).fetchone()
    return None if row is None else _record(row)


def unfinished_loads(connection: PgConnection, *, pipeline: str, stream: str | None = None) -> tuple[LoadRecord, ...]:
    """Loads of this pipeline, or stream, that were prepared and neither published nor discarded; the newest first.

    They belong to dead runs, once we hold the pipeline's lease.
    """
    rows = connection.execute(
        sql.SQL(
            "{} WHERE pipeline = %(pipeline)s AND state = 'prepared' AND stream = coalesce(%(stream)s, stream)"
            " ORDER BY prepared_at DESC, load_id DESC"
        ).format(sql.SQL(_SELECT)),
        {"pipeline": pipeline, "stream": stream},
    ).fetchall()
    return tuple(map(_record, rows))


def _record(row: tuple[Any, ...]) -> LoadRecord:
    load_id, run_id, stream, state, publish, row_count, schema, table, signature, partitions, bounds = row
    return LoadRecord(
        load_id=load_id,
        run_id=run_id,
        stream=stream,
        state=state,
        publish=publish,
        row_count=row_count,
        stage=QualifiedName(schema=schema, name=table) if table is not None else None,
        signature=signature,
        partitions=partitions,
        bounds=bounds,
    )


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


def adopt_load(connection: PgConnection, load_id: str, *, run_id: str, fence: int, run_key: str | None) -> None:
    """From now on the load is this run's."""
    connection.execute(
        "UPDATE _rapidbyte.loads SET run_id = %s, fence = %s, run_key = %s WHERE load_id = %s",
        (run_id, fence, run_key, load_id),
    )


def record_partitions(connection: PgConnection, load_id: str, document: list[dict[str, Any]]) -> None:
    """Names all partitions of a load, so that another run can go on with it."""
    connection.execute(
        "UPDATE _rapidbyte.loads SET partitions = %s WHERE load_id = %s AND state = 'prepared'",
        (Jsonb(document), load_id),
    )


def forget_partitions(connection: PgConnection, load_id: str) -> None:
    """No run goes on with this load."""
    connection.execute("UPDATE _rapidbyte.loads SET partitions = NULL WHERE load_id = %s", (load_id,))


def receipts_total(connection: PgConnection, load_id: str) -> tuple[int, int]:
    """(partitions, rows) of a load's receipts."""
    row = connection.execute(
        "SELECT pg_catalog.count(*), coalesce(pg_catalog.sum(rows), 0)::bigint FROM _rapidbyte.receipts"
        " WHERE load_id = %s",
        (load_id,),
    ).fetchone()
    return (row[0], row[1]) if row else (0, 0)


def receipts_of(connection: PgConnection, load_id: str) -> tuple[PartitionReceipt, ...]:
    """Of the partitions that are committed, by their index."""
    rows = connection.execute(
        "SELECT stream, partition, rows, bytes, rejected FROM _rapidbyte.receipts"
        " WHERE load_id = %s ORDER BY partition",
        (load_id,),
    ).fetchall()
    return tuple(
        PartitionReceipt(
            load_id=load_id,
            stream=stream,
            partition=partition,
            rows=row_count,
            bytes=size,
            rejected=rejected,
            already_loaded=True,
        )
        for stream, partition, row_count, size, rejected in rows
    )


def delete_receipts(connection: PgConnection, load_id: str) -> None:
    """Of a load that was discarded: its rows are gone, and those that were set aside will be met again."""
    connection.execute("DELETE FROM _rapidbyte.receipts WHERE load_id = %s", (load_id,))
    connection.execute("DELETE FROM _rapidbyte.rejects WHERE load_id = %s", (load_id,))


def delete_old_receipts(connection: PgConnection, *, pipeline: str, stream: str, keep: str | None) -> int:
    """Of the published loads of a stream, but for `keep`; returns how many.

    Those of the last published load stay: a worker of a run that was thought dead finds its partitions receipted.
    """
    return connection.execute(
        "DELETE FROM _rapidbyte.receipts r USING _rapidbyte.loads l WHERE l.load_id = r.load_id"
        " AND l.pipeline = %s AND l.stream = %s AND l.state <> 'prepared' AND l.load_id IS DISTINCT FROM %s",
        (pipeline, stream, keep),
    ).rowcount


def delete_all_old_receipts(connection: PgConnection, pipeline: str) -> int:
    """Of all loads of a pipeline that have ended; returns how many. For when no run can be under way."""
    return connection.execute(
        "DELETE FROM _rapidbyte.receipts r USING _rapidbyte.loads l"
        " WHERE l.load_id = r.load_id AND l.pipeline = %s AND l.state <> 'prepared'",
        (pipeline,),
    ).rowcount


def published_by_key(connection: PgConnection, *, pipeline: str, run_key: str | None) -> dict[str, str]:
    """Run ids by stream: what has been published under this key."""
    rows = connection.execute(
        "SELECT DISTINCT ON (stream) stream, run_id FROM _rapidbyte.loads"
        " WHERE pipeline = %s AND run_key = %s AND state = 'published' ORDER BY stream, ended_at",
        (pipeline, run_key),
    ).fetchall()
    return dict(rows)


def known_source(connection: PgConnection, pipeline: str) -> str | None:
    """The source that this pipeline has been loaded from; None before the first load, or where it is not known."""
    row = connection.execute(
        "SELECT source FROM ("
        " SELECT source, updated_at AS at FROM _rapidbyte.cursors WHERE pipeline = %(pipeline)s"
        " UNION ALL SELECT source, ended_at FROM _rapidbyte.loads"
        " WHERE pipeline = %(pipeline)s AND state = 'published'"
        ") AS known WHERE source IS NOT NULL ORDER BY at DESC LIMIT 1",
        {"pipeline": pipeline},
    ).fetchone()
    return None if row is None else str(row[0])


def forget_source(connection: PgConnection, pipeline: str) -> None:
    """The pipeline may be loaded from another source from now on."""
    connection.execute("UPDATE _rapidbyte.loads SET source = NULL WHERE pipeline = %s", (pipeline,))
