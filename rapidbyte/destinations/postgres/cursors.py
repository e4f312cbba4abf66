"""Rows of `cursors`: how far each incremental stream has been published. Written by the transaction that publishes."""

from __future__ import annotations

import shlex
from datetime import datetime
from typing import LiteralString

import psycopg
from psycopg import sql

from rapidbyte.contract import WriteContract
from rapidbyte.cursor import FILES_FIELD, StoredCursor
from rapidbyte.destinations.postgres import ledger, loaded_files
from rapidbyte.errors import ConfigError
from rapidbyte.pg.session import PgConnection
from rapidbyte.values import frozen

_COMPARABLE: dict[str, LiteralString] = {
    "smallint": "bigint",
    "integer": "bigint",
    "bigint": "bigint",
    "numeric": "numeric",
    "date": "date",
    "timestamp without time zone": "timestamp",
    "timestamp with time zone": "timestamptz",
    "uuid": "uuid",
}
"""Types that every server orders alike. Text is not among them: only the source knows its collation (B26)."""

_TYPES: dict[str, LiteralString] = {
    "smallint": "smallint",
    "integer": "integer",
    **{name: kind for name, kind in _COMPARABLE.items() if name not in ("smallint", "integer")},
}
"""The same, as their values are read."""

_UPSERT: LiteralString = """
INSERT INTO _rapidbyte.cursors AS c (pipeline, stream, source, field, type, value, load_id, run_id)
VALUES (%(pipeline)s, %(stream)s, %(source)s, %(field)s, %(type)s, %(value)s, %(load_id)s, %(run_id)s)
ON CONFLICT (pipeline, stream) DO UPDATE
SET source = excluded.source, field = excluded.field, type = excluded.type, value = excluded.value,
    load_id = excluded.load_id, run_id = excluded.run_id, updated_at = pg_catalog.clock_timestamp()
"""


@frozen
class CursorRecord:
    """A row of `cursors`."""

    stream: str
    cursor: StoredCursor
    source: str | None
    run_id: str | None
    """None: set by hand."""
    updated_at: datetime


def list_cursors(connection: PgConnection, pipeline: str) -> tuple[CursorRecord, ...]:
    """Every stream's cursor, with where it comes from, by the stream's name."""
    rows = connection.execute(
        "SELECT stream, field, type, value, source, run_id, updated_at FROM _rapidbyte.cursors"
        " WHERE pipeline = %s ORDER BY stream",
        (pipeline,),
    ).fetchall()
    has_files = any(field == FILES_FIELD for _, field, *_ in rows)
    files = loaded_files.list_files(connection, pipeline) if has_files else {}
    return tuple(
        CursorRecord(
            stream=stream,
            cursor=StoredCursor(
                field=field, type=kind, value=value, files=files.get(stream, ()) if field == FILES_FIELD else ()
            ),
            source=source,
            run_id=run_id,
            updated_at=updated_at,
        )
        for stream, field, kind, value, source, run_id, updated_at in rows
    )


def stored_cursors(connection: PgConnection, pipeline: str) -> dict[str, StoredCursor]:
    """Every stream's cursor. Empty where there is no ledger, or one from before there were cursors."""
    version = ledger.installed_version(connection) or 0
    if version < ledger.CURSORS_SINCE:
        return {}
    files = loaded_files.list_files(connection, pipeline) if version >= ledger.FILES_SINCE else {}
    rows = connection.execute(
        "SELECT stream, field, type, value FROM _rapidbyte.cursors WHERE pipeline = %s ORDER BY stream", (pipeline,)
    ).fetchall()
    return {
        stream: StoredCursor(
            field=field, type=kind, value=value, files=files.get(stream, ()) if field == FILES_FIELD else ()
        )
        for stream, field, kind, value in rows
    }


def require_readable(connection: PgConnection, cursor: StoredCursor, *, stream: str) -> None:
    """Raises ConfigError where the ledger's value is none of its type: somebody has changed it.

    The source would be asked with it, and blamed.
    """
    kind = _TYPES.get(cursor.type)
    if kind is None:
        return
    try:
        with connection.transaction():
            connection.execute(sql.SQL("SELECT CAST(%s AS {})").format(sql.SQL(kind)), (cursor.value,))
    except psycopg.DataError as error:
        raise ConfigError(
            f"the ledger's cursor of stream {stream} is no {cursor.type}: _rapidbyte.cursors was changed by hand",
            code="cursor_damaged",
            hint=f"say how far it is loaded: rapidbyte state set PIPELINE --stream {shlex.quote(stream)} --value VALUE;"
            " or load it anew with --full-refresh",
            stream=stream,
            afterwards="the destination was not touched",
        ) from error


def advance(connection: PgConnection, contract: WriteContract, *, source: str | None) -> None:
    """Moves the stream's cursor to the end of what this load brought; never backwards (E6).

    Where the ledger's cursor is of another column or type, this load was planned with it, and replaces it. After a
    replace the target holds this load alone: the cursor is its end, also where that is less, and none without values.
    """
    bounds = contract.bounds
    if bounds is None:
        return
    if bounds.high is None:
        if contract.write_mode == "replace":
            reset_cursors(connection, pipeline=contract.pipeline, stream=contract.stream)
        return
    loaded_files.record(connection, contract)
    guard = sql.SQL("")
    if bounds.type in _COMPARABLE and contract.write_mode != "replace":
        guard = sql.SQL(
            " WHERE c.field <> excluded.field OR c.type <> excluded.type"
            " OR CASE WHEN c.type = excluded.type THEN c.value::{kind} < excluded.value::{kind} END"
        ).format(kind=sql.SQL(_COMPARABLE[bounds.type]))
    connection.execute(
        sql.SQL(_UPSERT) + guard,
        {
            "pipeline": contract.pipeline,
            "stream": contract.stream,
            "source": source,
            "field": bounds.field,
            "type": bounds.type,
            "value": bounds.high,
            "load_id": contract.load_id,
            "run_id": contract.run_id,
        },
    )


def is_before(connection: PgConnection, one: StoredCursor, other: StoredCursor) -> bool:
    """Whether the first is the lesser, as the server orders their type; False where they cannot be compared."""
    kind = _TYPES.get(one.type)
    if kind is None or (one.type, one.field) != (other.type, other.field):
        return False
    try:
        with connection.transaction():
            row = connection.execute(
                sql.SQL("SELECT CAST(%s AS {0}) < CAST(%s AS {0})").format(sql.SQL(kind)), (one.value, other.value)
            ).fetchone()
    except psycopg.DataError:
        return False
    return bool(row and row[0])


def set_cursor(connection: PgConnection, *, pipeline: str, stream: str, source: str | None, to: StoredCursor) -> None:
    """Sets a cursor by hand, also backwards."""
    connection.execute(
        _UPSERT,
        {
            "pipeline": pipeline,
            "stream": stream,
            "source": source,
            "field": to.field,
            "type": to.type,
            "value": to.value,
            "load_id": None,
            "run_id": None,
        },
    )


def reset_cursors(connection: PgConnection, *, pipeline: str, stream: str | None = None) -> tuple[str, ...]:
    """Forgets a stream's cursor and files, or all of the pipeline's; returns the streams that had a cursor."""
    loaded_files.forget(connection, pipeline=pipeline, stream=stream)
    rows = connection.execute(
        "DELETE FROM _rapidbyte.cursors WHERE pipeline = %s AND stream = coalesce(%s, stream) RETURNING stream",
        (pipeline, stream),
    ).fetchall()
    return tuple(sorted(stream for (stream,) in rows))
