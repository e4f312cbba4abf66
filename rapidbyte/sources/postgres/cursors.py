"""What `cursor_field` and `tie_breaker_field` name: columns that the server can order exactly, or faults. Pure."""

from __future__ import annotations

from rapidbyte.cursor import CursorColumn
from rapidbyte.model import Column, ColumnType
from rapidbyte.plan import StreamShape
from rapidbyte.sources.postgres.faults import Fault, fault
from rapidbyte.sources.postgres.names import nearest
from rapidbyte.sources.postgres.typed import NAMES

FULL_PRECISION = 6
"""Digits of a second that a timestamp without a modifier has."""


def cursor_of(shape: StreamShape) -> tuple[CursorColumn | None, tuple[Fault, ...]]:
    """The stream's cursor, without its index; None and what is wrong where it cannot be one (A7)."""
    field, tie_breaker = shape.spec.cursor_field, shape.spec.tie_breaker_field
    if field is None:
        return None, ()
    faults = [
        found
        for key, name in (("cursor_field", field), ("tie_breaker_field", tie_breaker))
        if name is not None and (found := _fault(shape, key, name)) is not None
    ]
    if faults:
        return None, tuple(faults)
    column = _column(shape, field)
    base = base_type(shape, column.type)
    cursor = CursorColumn(
        field=field,
        type=NAMES[base.oid],
        precision=FULL_PRECISION if base.typmod < 0 else min(base.typmod, FULL_PRECISION),
        nullable=column.nullable,
        indexable=shape.kind in ("table", "partitioned", "materialized_view"),
        tie_breaker=tie_breaker,
    )
    return cursor, ()


def _column(shape: StreamShape, name: str) -> Column:
    return next(column for column in shape.columns if column.name == name)


def _fault(shape: StreamShape, key: str, name: str) -> Fault | None:
    known = {column.name: column for column in shape.columns}
    if name not in known:
        return fault(shape.spec, f"there is no column {name!r} (`{key}`)", hint=nearest(name, list(known)))
    if base_type(shape, known[name].type).oid in NAMES:
        return None
    what = f"`{key}` {name!r} is {known[name].type.name}, by which rows cannot be ordered exactly"
    return fault(shape.spec, what, hint="use an integer, numeric, date, timestamp, uuid or text")


def base_type(shape: StreamShape, kind: ColumnType) -> ColumnType:
    """The type itself; of a domain the one below it, and so on."""
    types = {each.oid: each for each in shape.types}
    parts = list(shape.types)
    while parts:
        each = parts.pop()
        types[each.oid] = each
        parts += each.parts
    while kind.kind == "domain" and kind.oid in types and (base := types[kind.oid].base) is not None:
        kind = base
    return kind
