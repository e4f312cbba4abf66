"""Cursor values in SQL: the server's text with a cast, the type out of a closed list (G2). Pure."""

from __future__ import annotations

from typing import LiteralString

from psycopg import sql

from rapidbyte.errors import ConfigError
from rapidbyte.partition import CursorRange

_TYPES: dict[str, LiteralString] = {
    "smallint": "pg_catalog.int2",
    "integer": "pg_catalog.int4",
    "bigint": "pg_catalog.int8",
    "numeric": "pg_catalog.numeric",
    "date": "pg_catalog.date",
    "timestamp without time zone": "pg_catalog.timestamp",
    "timestamp with time zone": "pg_catalog.timestamptz",
    "uuid": "pg_catalog.uuid",
    "text": "pg_catalog.text",
    "character varying": "pg_catalog.varchar",
}

NAMES: dict[int, str] = {
    21: "smallint",
    23: "integer",
    20: "bigint",
    1700: "numeric",
    1082: "date",
    1114: "timestamp without time zone",
    1184: "timestamp with time zone",
    2950: "uuid",
    25: "text",
    1043: "character varying",
}
"""What a cursor can be, by the type's oid."""


def type_of(name: str) -> sql.SQL:
    """The type as it stands in a cast. Raises ConfigError for one that is no cursor's, from wherever it comes."""
    if name not in _TYPES:
        raise ConfigError(
            f"{name!r} is no type of a cursor",
            code="cursor_type",
            hint="forget the cursor with `rapidbyte state reset`",
        )
    return sql.SQL(_TYPES[name])


def typed(name: str, value: str) -> sql.Composed:
    """A value as the server reads it. No modifier: none of them changes how values compare."""
    return sql.SQL("{}::{}").format(sql.Literal(value), type_of(name))


def in_range(part: CursorRange) -> sql.Composed:
    """What a row of this part of an increment fulfils. NULL is in no range of values."""
    column = sql.Identifier(part.column)
    if part.high is None:
        return sql.SQL("{} IS NULL").format(column) if part.with_nulls else sql.Composed([sql.SQL("false")])
    above, below = sql.SQL(">=" if part.low_inclusive else ">"), sql.SQL("<=" if part.high_inclusive else "<")
    bounds = [
        sql.SQL("{} {} {}").format(column, comparison, typed(part.type, value))
        for comparison, value in ((above, part.low), (below, part.high))
        if value is not None
    ]
    both = sql.SQL(" AND ").join(bounds)
    return sql.SQL("({} OR {} IS NULL)").format(both, column) if part.with_nulls else both
