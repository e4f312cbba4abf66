"""SQLite's declared types in PostgreSQL's, and the check of a column's values: SQLite itself lets any value in.

A value that is not of its column's type is never NULL and never another value: it is a misfit, told by its place.
"""

from __future__ import annotations

import datetime as dt
import json
import math
import re
import uuid
from collections.abc import Callable, Sequence
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any

from rapidbyte.model import ColumnType
from rapidbyte.pg.types import base_name, built_in
from rapidbyte.values import frozen

if TYPE_CHECKING:
    import pyarrow as pa

_DECLARED: tuple[tuple[str, str], ...] = (
    (r"BOOL(EAN)?", "boolean"),
    (r"DATETIME|TIMESTAMP", "timestamp without time zone"),
    (r"DATE", "date"),
    (r"TIME", "time without time zone"),
    (r"UUID|GUID", "uuid"),
    (r"JSONB?", "json"),
    (r".*INT.*", "bigint"),
    (r".*(CHAR|CLOB|TEXT).*", "text"),
    (r".*BLOB.*|BYTEA|BINARY.*|VARBINARY.*", "bytea"),
    (r".*(REAL|FLOA|DOUB).*", "double precision"),
    (r"(NUMERIC|DECIMAL|NUMBER|MONEY)( *\(.*\))?", "numeric"),
)
"""(pattern of the whole declared type, PostgreSQL's); the first that fits counts. The order is SQLite's own, behind
the names for which it has no rule."""

_PRECISION = re.compile(r"\( *(\d+) *(?:, *(\d+) *)?\)")
_DATE = re.compile(r"\d{4}-\d\d-\d\d")
_MOMENT = re.compile(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d(:\d\d(\.\d{1,6})?)?")
_TIME = re.compile(r"\d\d:\d\d(:\d\d(\.\d{1,6})?)?")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,4})?")
_LARGEST_WHOLE = 2**53


class MisfitError(ValueError):
    """A value that is not of its column's type; its text says nothing of the value."""


@frozen
class BadText:
    """A TEXT of SQLite that is not UTF-8."""

    data: bytes


def text_of(value: Any) -> str | None:
    """A value as it is told of a row that is set aside; bytes that are no text are escaped."""
    if isinstance(value, BadText):
        return value.data.decode(errors="backslashreplace")
    if isinstance(value, bytes):
        return f"\\x{value.hex()}"
    return None if value is None else str(value)


@frozen
class Affinity:
    """What one column's values have to be."""

    type: ColumnType
    reason: str


def affinity_of(declared: str) -> Affinity | None:
    """What a declared type means; None where it means nothing: no type, ANY, a word that SQLite has no rule for."""
    word = " ".join(declared.upper().split())
    plain = word.partition("(")[0].strip()
    for pattern, name in _DECLARED:
        if re.fullmatch(pattern, plain) or re.fullmatch(pattern, word):
            return Affinity(type=built_in(name, _typmod(name, word)), reason=f"declared as {declared}")
    return None


def _typmod(name: str, word: str) -> int:
    """Of a numeric that says its precision. SQLite keeps none, so a value beyond it is a misfit of PostgreSQL's."""
    found = _PRECISION.search(word)
    if name != "numeric" or found is None or not 1 <= int(found[1]) <= 1000:
        return -1
    return ((int(found[1]) << 16) | (int(found[2] or 0) & 0x7FF)) + 4


def affinity_of_values(kinds: frozenset[str]) -> Affinity | None:
    """What a column without a type holds, by SQLite's `typeof` of all its values; None where they are of several."""
    found = kinds - {"null"}
    names = {"integer": "bigint", "real": "double precision", "text": "text", "blob": "bytea"}
    if found == frozenset({"integer", "real"}):
        return Affinity(type=built_in("numeric"), reason="no declared type; holds integers and reals")
    if len(found) > 1:
        return None
    kind = next(iter(found), "text")
    return Affinity(type=built_in(names[kind]), reason=f"no declared type; holds {kind if found else 'no value'}")


def arrow_of(kind: ColumnType) -> pa.DataType:
    """The Arrow type in which values of a type are delivered."""
    import pyarrow as pa

    return {
        "smallint": pa.int16(),
        "integer": pa.int32(),
        "bigint": pa.int64(),
        "double precision": pa.float64(),
        "boolean": pa.bool_(),
        "bytea": pa.binary(),
        "date": pa.date32(),
        "timestamp without time zone": pa.timestamp("us"),
        "time without time zone": pa.time64("us"),
        "uuid": pa.binary(16),
    }.get(base_name(kind) or "", pa.string())


def delivered(values: Sequence[Any], kind: ColumnType) -> pa.Array:
    """The values in their type. Raises MisfitError, with the place of the first that is not of it in `args[1]`."""
    import pyarrow as pa

    convert = _CONVERT.get(base_name(kind) or "", _text)
    found: list[Any] = []
    for place, value in enumerate(values):
        try:
            found.append(None if value is None else convert(value))
        except (MisfitError, ValueError, InvalidOperation, OverflowError) as error:
            raise MisfitError(str(error) if isinstance(error, MisfitError) else "", place) from None
    return pa.array(found, arrow_of(kind))


def misfits_of(values: Sequence[Any], kind: ColumnType) -> list[tuple[int, str]]:
    """The places of all values that are not of the type, in order, and what each is."""
    found: list[tuple[int, str]] = []
    for place, value in enumerate(values):
        try:
            delivered((value,), kind)
        except MisfitError as error:
            found.append((place, str(error.args[0])))
    return found


def _whole(low: int, high: int) -> Callable[[Any], int]:
    def convert(value: Any) -> int:
        if type(value) is not int or not low <= value <= high:
            raise MisfitError(_kind(value))
        return value

    return convert


def _real(value: Any) -> float:
    if type(value) is float:
        return value
    if type(value) is int and abs(value) <= _LARGEST_WHOLE:
        return float(value)
    raise MisfitError(_kind(value))


def _numeric(value: Any) -> str:
    """A real as the shortest text that is the same real again."""
    if type(value) is int:
        return str(value)
    if type(value) is float and math.isfinite(value):
        return f"{Decimal(repr(value)):f}"
    if type(value) is str and _NUMBER.fullmatch(value):
        return value
    raise MisfitError(_kind(value))


def _boolean(value: Any) -> bool:
    if type(value) is int and value in (0, 1):
        return bool(value)
    words = {"true": True, "t": True, "1": True, "false": False, "f": False, "0": False}
    if type(value) is str and value.lower() in words:
        return words[value.lower()]
    raise MisfitError(_kind(value))


def _text(value: Any) -> str:
    if type(value) is not str:
        raise MisfitError(_kind(value))
    if "\0" in value:
        raise MisfitError("text with NUL, which PostgreSQL cannot hold")
    return value


def _json(value: Any) -> str:
    text = _text(value)
    json.loads(text, parse_constant=_no_constant)
    return text


def _no_constant(word: str) -> Any:
    raise MisfitError(word)


def _bytes(value: Any) -> bytes:
    if type(value) is not bytes:
        raise MisfitError(_kind(value))
    return value


def _date(value: Any) -> dt.date:
    if type(value) is not str or not _DATE.fullmatch(value):
        raise MisfitError(_kind(value))
    return dt.date.fromisoformat(value)


def _moment(value: Any) -> dt.datetime:
    if type(value) is not str or not (_MOMENT.fullmatch(value) or _DATE.fullmatch(value)):
        raise MisfitError(_kind(value))
    return dt.datetime.fromisoformat(value)


def _time(value: Any) -> dt.time:
    if type(value) is not str or not _TIME.fullmatch(value):
        raise MisfitError(_kind(value))
    return dt.time.fromisoformat(value)


def _uuid(value: Any) -> bytes:
    if type(value) is bytes and len(value) == 16:
        return value
    if type(value) is not str:
        raise MisfitError(_kind(value))
    return uuid.UUID(value).bytes


def _kind(value: Any) -> str:
    """What SQLite calls the value's type."""
    names: dict[Any, str] = {
        int: "an integer",
        float: "a real",
        str: "a text",
        bytes: "a blob",
        BadText: "a text that is not UTF-8",
    }
    return names.get(type(value), "a value")


_CONVERT: dict[str, Callable[[Any], Any]] = {
    "smallint": _whole(-(2**15), 2**15 - 1),
    "integer": _whole(-(2**31), 2**31 - 1),
    "bigint": _whole(-(2**63), 2**63 - 1),
    "double precision": _real,
    "numeric": _numeric,
    "boolean": _boolean,
    "bytea": _bytes,
    "date": _date,
    "timestamp without time zone": _moment,
    "time without time zone": _time,
    "uuid": _uuid,
    "json": _json,
    "jsonb": _json,
}
"""By PostgreSQL's type; texts of any other are PostgreSQL's to read."""
