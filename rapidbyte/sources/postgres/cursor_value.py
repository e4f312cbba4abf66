"""A cursor's value that a person gives, read and printed by the source's server."""

from __future__ import annotations

import psycopg
from psycopg import sql

from rapidbyte.cursor import StoredCursor
from rapidbyte.errors import ConfigError
from rapidbyte.pg.session import PgConnection
from rapidbyte.plan import StreamShape
from rapidbyte.sources.postgres.typed import typed


def cursor_of(shape: StreamShape) -> StoredCursor:
    """The stream's cursor without a value. Raises ConfigError for a stream that has none."""
    if shape.cursor is None:
        raise ConfigError(
            f"stream {shape.spec.name} has no cursor",
            code="no_cursor",
            hint="only streams with `sync_mode: incremental` have one",
            stream=shape.spec.name,
        )
    return StoredCursor(field=shape.cursor.field, type=shape.cursor.type, value="")


def printed_value(connection: PgConnection, shape: StreamShape, cursor: StoredCursor, value: str) -> str:
    """The value as this server prints it. Raises ConfigError where it is none of the cursor's type."""
    statement = sql.SQL("SELECT CAST({} AS pg_catalog.text)").format(typed(cursor.type, value))
    try:
        row = connection.execute(statement).fetchone()
    except psycopg.DataError as error:
        raise ConfigError(
            f"this is no value of {cursor.field}, which is {cursor.type}",
            code="cursor_value",
            hint="give it as the source prints it",
            stream=shape.spec.name,
            column=cursor.field,
            afterwards="nothing was changed",
        ) from error
    return "" if row is None else str(row[0])
