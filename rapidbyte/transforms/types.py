"""Types on their way: the Arrow type of a column by its name, DuckDB's types in Arrow's and PostgreSQL's.

A column always has one of the Arrow types that the sources deliver, whatever step it comes from: DuckDB's own ones are
turned into these at once. docs/transforms.md has the table.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from rapidbyte.errors import ConfigError
from rapidbyte.model import Column, ColumnType
from rapidbyte.pg.types import base_name, built_in
from rapidbyte.values import frozen

if TYPE_CHECKING:
    import pyarrow as pa

INFINITE = 2**63 - 1
"""Microseconds by which DuckDB means infinity; to Arrow and pgpq they are a moment of the year 294247."""

BOOLEANS = frozenset({"bool", "extension<arrow.bool8>", "extension<arrow.bool8[int8]>"})
"""How DuckDB's booleans arrive."""

ARROW_NAMES = {
    "boolean": "bool",
    "smallint": "int16",
    "integer": "int32",
    "bigint": "int64",
    "real": "float",
    "double precision": "double",
    "date": "date32[day]",
    "time without time zone": "time64[us]",
    "timestamp without time zone": "timestamp[us]",
    "timestamp with time zone": "timestamp[us, tz=UTC]",
}
"""PostgreSQL's numbers and times in Arrow's types."""

_DECIMAL = re.compile(r"decimal128\((\d+), (-?\d+)\)")
_LIST = re.compile(r"list<\w+: ([^<>]+)(?: not null)?>")

CUT_BY_LENGTH = frozenset({"name", "character", "character varying", '"char"'})
"""Types whose input cuts text that is too long, or the spaces at its end."""


def arrow_type(name: str) -> pa.DataType:
    """The Arrow type that a Column names. Raises ConfigError for one that no source delivers."""
    import pyarrow as pa

    if decimal := _DECIMAL.fullmatch(name):
        return pa.decimal128(int(decimal[1]), int(decimal[2]))
    if element := _LIST.fullmatch(name):
        return pa.list_(arrow_type(element[1]))
    known: list[pa.DataType] = [
        *(pa.string(), pa.bool_(), pa.int16(), pa.int32(), pa.int64(), pa.float32(), pa.float64(), pa.binary()),
        *(pa.date32(), pa.time64("us"), pa.timestamp("us"), pa.timestamp("us", "UTC"), pa.binary(16)),
        pa.duration("us"),
    ]
    found = {str(each): each for each in known}.get(name)
    if found is None:
        raise ConfigError(f"transforms cannot take values that arrive as {name}", code="type_unsupported")
    return found


def schema_of(columns: tuple[Column, ...]) -> pa.Schema:
    """The batches' schema."""
    import pyarrow as pa

    return pa.schema([pa.field(column.name, arrow_type(column.arrow or "")) for column in columns])


def for_duckdb(column: Column, values: pa.Array) -> pa.Array:
    """The values so that DuckDB takes a uuid for a UUID, and JSON for JSON."""
    import pyarrow as pa

    wanted = duckdb_form(column)
    return values if wanted == values.type else pa.ExtensionArray.from_storage(wanted, values)


def duckdb_form(column: Column) -> pa.DataType:
    """The Arrow type in which a column is handed to DuckDB."""
    import pyarrow as pa

    arrow, base = arrow_type(column.arrow or ""), base_name(column.type)
    if base == "uuid" and arrow == pa.binary(16):
        return pa.uuid()
    return pa.json_() if base in ("json", "jsonb") and arrow == pa.string() else arrow


def require_takeable(columns: tuple[Column, ...], what: str, stream: str) -> None:
    """Raises ConfigError for columns that DuckDB cannot tell apart, or would take for something else."""
    seen: dict[str, str] = {}
    for column in columns:
        other = seen.setdefault(column.name.lower(), column.name)
        if other != column.name:
            raise ConfigError(
                f"{what}: DuckDB does not tell columns {other} and {column.name} apart",
                code="columns_alike",
                hint="rename one of them before",
                stream=stream,
                column=column.name,
            )
        if "list<" in (column.arrow or "") and "fixed_size_binary" in (column.arrow or ""):
            raise ConfigError(
                f"{what}: column {column.name} is {column.type.name}, which DuckDB would take for bytes",
                code="type_unsupported",
                hint="drop it before",
                stream=stream,
                column=column.name,
            )


@frozen
class Made:
    """What becomes of a column that DuckDB has made."""

    type: ColumnType
    arrow: str
    wrap: str = "{}"
    """SQL around the column, where Arrow has no exact form of its type."""


_PLAIN: dict[str, tuple[str, str]] = {
    "BOOLEAN": ("boolean", "bool"),
    "TINYINT": ("smallint", "int16"),
    "SMALLINT": ("smallint", "int16"),
    "INTEGER": ("integer", "int32"),
    "BIGINT": ("bigint", "int64"),
    "FLOAT": ("real", "float"),
    "DOUBLE": ("double precision", "double"),
    "VARCHAR": ("text", "string"),
    "BLOB": ("bytea", "binary"),
    "DATE": ("date", "date32[day]"),
    "TIME": ("time without time zone", "time64[us]"),
    "TIMESTAMP": ("timestamp without time zone", "timestamp[us]"),
    "TIMESTAMP_S": ("timestamp without time zone", "timestamp[us]"),
    "TIMESTAMP_MS": ("timestamp without time zone", "timestamp[us]"),
    "TIMESTAMP_NS": ("timestamp without time zone", "timestamp[us]"),
    "TIMESTAMP WITH TIME ZONE": ("timestamp with time zone", "timestamp[us, tz=UTC]"),
    "UTINYINT": ("smallint", "int16"),
    "USMALLINT": ("integer", "int32"),
    "UINTEGER": ("bigint", "int64"),
    "UUID": ("uuid", "fixed_size_binary[16]"),
    "JSON": ("jsonb", "string"),
}

_AS_TEXT: dict[str, str] = {
    "UHUGEINT": "numeric",
    "BIGNUM": "numeric",
    "BIT": "bit varying",
    "INTERVAL": "interval",
    "TIME WITH TIME ZONE": "time with time zone",
    '"NULL"': "text",
    "NULL": "text",
}
"""Types of which PostgreSQL reads DuckDB's text exactly."""

_WIDE = {"HUGEINT": 38, "UBIGINT": 20}
"""Whole numbers that travel as a decimal of so many digits."""

_ELEMENTS = frozenset(
    {
        *("BOOLEAN", "SMALLINT", "INTEGER", "BIGINT", "FLOAT", "DOUBLE", "VARCHAR", "BLOB"),
        *("DATE", "TIME", "TIMESTAMP", "TIMESTAMP WITH TIME ZONE"),
    }
)
_NO_WAY = ("GEOMETRY", "VARIANT", "LAMBDA", "AGGREGATE_STATE", "TIMESTAMP_NS WITH")


def made(name: str) -> Made | None:
    """What becomes of a DuckDB type, by the name DuckDB prints; None where there is no way."""
    if name in _PLAIN:
        kind, arrow = _PLAIN[name]
        return Made(type=built_in(kind), arrow=arrow)
    if name in _AS_TEXT:
        return Made(type=built_in(_AS_TEXT[name]), arrow="string", wrap="CAST({} AS VARCHAR)")
    if name in _WIDE:
        digits = _WIDE[name]
        wrap = f"CAST({{}} AS DECIMAL({digits}, 0))"
        return Made(type=built_in("numeric", _modifier(digits, 0)), arrow=f"decimal128({digits}, 0)", wrap=wrap)
    if decimal := re.fullmatch(r"DECIMAL\((\d+), ?(\d+)\)", name):
        digits, scale = int(decimal[1]), int(decimal[2])
        return Made(type=built_in("numeric", _modifier(digits, scale)), arrow=f"decimal128({digits}, {scale})")
    if name.startswith(_NO_WAY):
        return None
    if name.startswith("ENUM(") and name.endswith(")"):
        return Made(type=built_in("text"), arrow="string", wrap="CAST({} AS VARCHAR)")
    return _made_list(name) or Made(type=built_in("jsonb"), arrow="string", wrap="CAST(to_json({}) AS JSON)")


def _made_list(name: str) -> Made | None:
    """An array where the elements are plain; None for everything else, which becomes JSON."""
    if not name.endswith("[]") or "(" in name.replace("DECIMAL(", "").replace("ENUM(", ""):
        return None
    inner = name.removesuffix("[]")
    if inner == "UUID":
        return Made(type=built_in("uuid[]"), arrow="list<item: string>", wrap="CAST({} AS VARCHAR[])")
    element = made(inner) if inner in _ELEMENTS or inner.startswith("DECIMAL(") else None
    if element is None:
        return None
    array = built_in(f"{base_name(element.type)}[]", element.type.typmod)
    return Made(type=array, arrow=f"list<item: {element.arrow}>")


def _modifier(digits: int, scale: int) -> int:
    return ((digits << 16) | (scale & 0x7FF)) + 4


def keeps_type(before: Column, found: Made, *, same: bool) -> bool:
    """Whether a column that a query delivers under its old name keeps its old PostgreSQL type.

    `same` says that DuckDB's type is what it was. The server must read any text as that type exactly, or refuse it:
    so not where a modifier could round, or a length cut.
    """
    kind = before.type
    return same and before.arrow == found.arrow and kind.typmod == -1 and base_name(kind) not in CUT_BY_LENGTH


def times_of(texts: pa.Array) -> pa.Array:
    """Times of day from their text. Raises ArrowInvalid for any other; Arrow has no such cast."""
    import pyarrow as pa
    from pyarrow import compute as pc

    moments = pc.cast(pc.binary_join_element_wise("1970-01-01", texts, " "), pa.timestamp("us"))
    return pc.cast(pc.cast(moments, pa.int64()), pa.time64("us"))


def delivered(values: Any, target: pa.DataType) -> pa.Array:
    """An array of DuckDB's in the type that was planned. Raises ArrowInvalid for a value that has no exact form."""
    import pyarrow as pa
    from pyarrow import compute as pc

    stored = values.storage if isinstance(values.type, pa.BaseExtensionType) else values
    ready = stored if str(stored.type) == str(target) else pc.cast(stored, target)
    if pa.types.is_timestamp(target):
        found = pc.min_max(pc.cast(ready, pa.int64())).as_py()
        if found["max"] == INFINITE or (found["min"] is not None and found["min"] <= -INFINITE):
            raise pa.ArrowInvalid("an infinite timestamp")
    return ready


def as_column(name: str, found: Made, before: Column | None) -> Column:
    """The column as the next step, or the destination, gets it."""
    if before is not None:
        return replace(before, nullable=True, generated=False, identity=False, reason=None)
    return Column(name=name, type=found.type, arrow=found.arrow)
