"""A cursor's value that a person gives, read and printed by the source's server."""

from __future__ import annotations

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


def printed_value(connection: PgConnection, type_name: str, value: str) -> str:
    """The value as this server prints it. Raises psycopg.Error where it is none of this type."""
    statement = sql.SQL("SELECT CAST({} AS pg_catalog.text)").format(typed(type_name, value))
    row = connection.execute(statement).fetchone()
    return "" if row is None else str(row[0])
