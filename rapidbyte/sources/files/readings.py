"""How a column's text is read: as which type, why, and in which notation.

A declared type asks less than an inferred one: that PostgreSQL itself would read the text as this type, without
rounding it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal

from rapidbyte.model import ColumnType
from rapidbyte.pg.types import base_name, numeric_modifier
from rapidbyte.values import frozen

if TYPE_CHECKING:
    import pyarrow as pa

WIDEST_DECIMAL = 38
"""Digits of Arrow's decimal128."""

Check = Literal["inferred", "declared"]


@frozen
class Misfit:
    """The first of the texts that the type would not give back which lasted longest."""

    row: int
    """Its place among the texts, from 0."""
    before: str
    """What the texts before it are, as `whole numbers`; empty where it is the very first."""


@frozen
class Notation:
    """How numbers and times are written in a stream's files, where it is not as in SQL."""

    decimal_comma: bool = False
    """A comma before the decimals; a point is then no part of a number."""
    date_formats: tuple[str, ...] = ()
    """As `%d.%m.%Y` or `%d.%m.%Y %H:%M`: dates and times are written in one of these, or in ISO 8601."""


@frozen
class Reading:
    """How one column's text is read."""

    type: ColumnType
    arrow: str
    """The Arrow type of what is delivered, as pyarrow prints it."""
    check: Check
    reason: str
    """Why this type, for `discover` and `plan`."""
    misfit: Misfit | None = None
    """Of a column that became text: what kept it from another type."""
    decimal_comma: bool = False
    formats: tuple[str, ...] = ()
    """In one of these a date or time is written; in ISO 8601 where there are none."""

    @property
    def came_about(self) -> str:
        """How the type did, as a phrase for who has a value that is none."""
        return "was declared" if self.check == "declared" else "was inferred from the first rows"


SQL_NOTATION = Notation()


def arrow_type(name: str) -> pa.DataType:
    """The Arrow type that a Reading names."""
    import pyarrow as pa

    decimal = re.fullmatch(r"decimal128\((\d+), (\d+)\)", name)
    if decimal:
        return pa.decimal128(int(decimal[1]), int(decimal[2]))
    known: list[pa.DataType] = [
        *(pa.string(), pa.bool_(), pa.int16(), pa.int32(), pa.int64(), pa.float32(), pa.float64()),
        *(pa.date32(), pa.time64("us"), pa.timestamp("us"), pa.timestamp("us", "UTC"), pa.binary(16)),
    ]
    return {str(found): found for found in known}[name]


def declare(declared: ColumnType, notation: Notation = SQL_NOTATION) -> Reading:
    """How text is read as a type that the pipeline declares."""
    base = base_name(declared) or ""
    is_time = base == "date" or base.startswith("timestamp")
    return Reading(
        type=declared,
        arrow=_declared_arrow(declared),
        check="declared",
        reason="declared by the pipeline",
        decimal_comma=notation.decimal_comma and base in ("numeric", "real", "double precision"),
        formats=notation.date_formats if is_time else (),
    )


DECLARED = {
    "smallint": "int16",
    "integer": "int32",
    "bigint": "int64",
    "real": "float",
    "double precision": "double",
    "boolean": "bool",
    "date": "date32[day]",
    "time without time zone": "time64[us]",
    "timestamp without time zone": "timestamp[us]",
    "timestamp with time zone": "timestamp[us, tz=UTC]",
    "uuid": "fixed_size_binary[16]",
}
"""Declared types that are read here. Text is delivered for all others, for the server to read."""


def _declared_arrow(declared: ColumnType) -> str:
    base = base_name(declared) or ""
    fits = decimal_modifier(declared)
    return f"decimal128({fits[0]}, {fits[1]})" if base == "numeric" and fits else DECLARED.get(base, "string")


def decimal_modifier(declared: ColumnType) -> tuple[int, int] | None:
    """(precision, scale) where a decimal128 has room for them."""
    found = numeric_modifier(declared.typmod)
    return found if found is not None and 0 <= found[1] <= found[0] <= WIDEST_DECIMAL else None
