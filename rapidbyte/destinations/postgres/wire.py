"""Which wire record batches take: binary where each column has its target's own binary form, else text. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable

from rapidbyte.errors import ConfigError
from rapidbyte.model import Column, ColumnType, Wire
from rapidbyte.pg.types import base_name, element_type
from rapidbyte.plan import ColumnPlan

_FAMILIES = (
    (r"bool", "bool"),
    (r"u?int(8|16|32|64)", "int"),
    (r"halffloat|float", "float"),
    (r"double", "double"),
    (r"decimal(32|64|128)\(.*\)", "decimal"),
    (r"decimal256\(.*\)", "wide decimal"),
    (r"(large_)?string|string_view", "text"),
    (r"extension<arrow\.json.*>", "text"),
    (r"extension<arrow\.uuid>|fixed_size_binary\[16\]", "16 bytes"),
    (r"(large_)?binary|binary_view|fixed_size_binary\[\d+\]", "bytes"),
    (r"date(32|64)\[.*\]", "date"),
    (r"time(32|64)\[.*\]", "time"),
    (r"timestamp\[\w+\]", "timestamp"),
    (r"timestamp\[\w+, tz=.*\]", "timestamptz"),
    (r"duration\[.*\]", "duration"),
    (r"null", "null"),
)
_LIST = re.compile(r"(?:large_list|list|fixed_size_list)<[^:<>]+: (?P<element>[^<>]*(?:<arrow\.\w+>)?)>(?:\[\d+\])?")

_BINARY = frozenset(
    {
        ("bool", "boolean"),
        ("int", "smallint"),
        ("int", "integer"),
        ("int", "bigint"),
        ("int", "numeric"),
        ("int", "double precision"),
        ("float", "real"),
        ("float", "double precision"),
        ("double", "double precision"),
        ("decimal", "numeric"),
        ("text", "text"),
        ("text", "character varying"),
        ("text", "character"),
        ("text", "json"),
        ("text", "jsonb"),
        ("text", "inet"),
        ("text", "uuid"),
        ("16 bytes", "uuid"),
        ("16 bytes", "bytea"),
        ("bytes", "bytea"),
        ("date", "date"),
        ("time", "time without time zone"),
        ("timestamp", "timestamp without time zone"),
        ("timestamptz", "timestamp with time zone"),
        ("duration", "interval"),
    }
)
"""(family of Arrow types, PostgreSQL type): pairs that pgpq writes in the target's own binary form."""

_BINARY_ELEMENTS = frozenset(
    {
        ("bool", "boolean"),
        ("int", "smallint"),
        ("int", "integer"),
        ("int", "bigint"),
        ("int", "numeric"),
        ("float", "real"),
        ("double", "double precision"),
        ("decimal", "numeric"),
        ("text", "text"),
        ("bytes", "bytea"),
        ("date", "date"),
        ("time", "time without time zone"),
        ("timestamp", "timestamp without time zone"),
        ("duration", "interval"),
    }
)
"""The same for the elements of an array, whose header names the element's OID: pgpq knows no others than these."""


def choose_wire(columns: Iterable[ColumnPlan | tuple[Column, Column]]) -> Wire:
    """`arrow-binary` if every column can be written in its target's binary form, else `arrow-text`. Pure.

    Takes (source, target) pairs; whether a pair may be converted at all is not decided here. Raises ConfigError for an
    Arrow type that neither wire can carry.
    """
    ways = {_way_of(*_pair(column)) for column in columns}
    return "arrow-binary" if ways <= {"binary"} else "arrow-text"


def _pair(column: ColumnPlan | tuple[Column, Column]) -> tuple[Column, Column]:
    return (column.source, column.target) if isinstance(column, ColumnPlan) else column


def _way_of(source: Column, target: Column) -> str:
    arrow = source.arrow or ""
    family = family_of(arrow)
    if family is not None:
        return "binary" if is_binary(family, target.type) else "text"
    raise ConfigError(
        f"column {source.name} arrives as {arrow or 'an unknown type'}, which COPY cannot carry",
        code="type_unsupported",
        hint="leave it out with `columns`",
        column=source.name,
    )


def family_of(arrow: str) -> str | None:
    """The family of an Arrow type, given as pyarrow prints it; `list of int` for lists. None where there is none."""
    for pattern, family in _FAMILIES:
        if re.fullmatch(pattern, arrow):
            return family
    match = _LIST.fullmatch(arrow)
    element = family_of(match["element"]) if match else None
    return None if element is None else f"list of {element}"


def is_binary(family: str, target: ColumnType) -> bool:
    """True if values of this family can be written in the target's own binary form."""
    if family == "null":
        return True
    if target.kind == "enum":  # its binary form is its label
        return family == "text"
    element = element_type(target)
    if element is None:
        return (family, base_name(target)) in _BINARY
    return family.startswith("list of ") and (_element(family), base_name(element)) in _BINARY_ELEMENTS


def _element(family: str) -> str:
    inner = family.removeprefix("list of ")
    return "bytes" if inner == "16 bytes" else inner
