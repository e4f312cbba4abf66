"""Arrow's arrays -> arrays of the types that are written, a column at a time. ArrowInvalid: a value does not fit.

For binary what pgpq writes as the target's type, for text what the server reads as it. Nothing is rounded or cut.
"""

from __future__ import annotations

import binascii
from collections.abc import Callable
from typing import TYPE_CHECKING

from rapidbyte.destinations.postgres.addresses import inet_bytes
from rapidbyte.destinations.postgres.wire import family_of
from rapidbyte.errors import InternalError
from rapidbyte.model import Column, ColumnType
from rapidbyte.pg.types import base_name, element_type
from rapidbyte.pg.uuids import any_uuids

if TYPE_CHECKING:
    import pyarrow as pa

_FIRST_DAY, _LAST_DAY = -2440588, 2145042905
"""PostgreSQL's dates, 4714-11-24 BC to 5874897-12-31, as days since 1970. The two ends of int32 would be infinity."""

_FIRST_MICROSECOND = -210866803200000000
"""PostgreSQL's first timestamp, 4714-11-24 BC. Its last one lies beyond int64."""

_TEXT_DAYS = (-719162, 2932896)
"""0001-01-01 to 9999-12-31: what Arrow prints the way PostgreSQL reads it."""

_TEXT_MICROSECONDS = (_TEXT_DAYS[0] * 86_400_000_000, (_TEXT_DAYS[1] + 1) * 86_400_000_000 - 1)

Prepare = Callable[["pa.Array"], "pa.Array"]


def binary_step(column: Column, arrow: pa.DataType) -> Prepare:
    """How this column's arrays become ones that pgpq writes as the target's type."""
    import pyarrow as pa

    element = element_type(column.type)
    if element is not None and not pa.types.is_null(arrow):
        return _cast(pa.list_(_binary_type(element, arrow.value_type)))
    if base_name(column.type) == "inet" and not pa.types.is_null(arrow):
        as_text = _cast(pa.string())
        return lambda texts: inet_bytes(as_text(texts))
    if base_name(column.type) == "uuid" and family_of(str(arrow)) == "text":
        as_text = _cast(pa.string())
        return lambda texts: any_uuids(as_text(texts))
    target = _binary_type(column.type, arrow)
    return _checked_time(target) if pa.types.is_temporal(target) else _cast(target)


def _binary_type(target: ColumnType, arrow: pa.DataType) -> pa.DataType:
    """The Arrow type that pgpq writes in the binary form of `target`."""
    import pyarrow as pa

    family = family_of(str(arrow))
    base = base_name(target) or ""
    if family in ("null", "text"):
        return pa.string()
    if family == "decimal":
        return pa.decimal128(arrow.precision, arrow.scale)
    fixed: dict[str, pa.DataType] = {
        "boolean": pa.bool_(),
        "smallint": pa.int16(),
        "integer": pa.int32(),
        "bigint": pa.int64(),
        "numeric": pa.decimal128(20, 0),
        "real": pa.float32(),
        "double precision": pa.float64(),
        "uuid": pa.binary(16),
        "bytea": pa.binary(),
        "date": pa.date32(),
        "time without time zone": pa.time64("us"),
        "timestamp without time zone": pa.timestamp("us"),
        "timestamp with time zone": pa.timestamp("us", "UTC"),
        "interval": pa.duration("us"),
    }
    if base not in fixed:
        raise InternalError(f"{arrow} has no binary form of {target.name}", code="wire_mismatched")
    return fixed[base]


def text_step(column: Column, arrow: pa.DataType) -> Prepare:
    """How this column's arrays become ones whose CSV form the server reads as the target's type."""
    import pyarrow as pa

    family = family_of(str(arrow)) or ""
    if family.startswith("list of "):
        element = element_type(column.type) or column.type
        return _array_literals(_element_text(element, arrow.value_type), arrow)
    if family in ("bytes", "16 bytes"):
        return _hex("" if base_name(column.type) == "uuid" else "\\x")
    if family == "duration":
        return _microseconds
    if family in ("null", "text"):
        return _cast(pa.string())
    if family == "date":
        return _checked_time(pa.date32(), as_text=True)
    if family in ("timestamp", "timestamptz"):
        zone = "UTC" if family == "timestamptz" else None
        moments = _checked_time(pa.timestamp("us", zone), as_text=True)
        return _utc_texts(moments) if zone else moments
    return _as_it_is


def _element_text(element: ColumnType, arrow: pa.DataType) -> Prepare:
    """The texts of an array's elements."""
    import pyarrow as pa

    step = text_step(Column(name="", type=element), arrow)
    return lambda values: step(values).cast(pa.string())


def _as_it_is(array: pa.Array) -> pa.Array:
    return array


def _cast(target: pa.DataType) -> Prepare:
    """A cast that refuses to lose anything."""
    import pyarrow as pa
    from pyarrow import compute as pc

    def cast(array: pa.Array) -> pa.Array:
        stored = array.storage if isinstance(array.type, pa.BaseExtensionType) else array
        return stored if stored.type == target else pc.cast(stored, target)

    return cast


def _checked_time(target: pa.DataType, *, as_text: bool = False) -> Prepare:
    """A cast to whole days or microseconds within what PostgreSQL has, or within what both print alike.

    Without the check the outermost integers would become infinity, or wrap.
    """
    import pyarrow as pa
    from pyarrow import compute as pc

    cast = _cast(target)
    if pa.types.is_date(target):
        low, high = _TEXT_DAYS if as_text else (_FIRST_DAY, _LAST_DAY)
        integer = pa.int32()
    elif pa.types.is_timestamp(target):
        low, high = _TEXT_MICROSECONDS if as_text else (_FIRST_MICROSECOND, 2**63 - 1)
        integer = pa.int64()
    else:
        return cast

    def checked(array: pa.Array) -> pa.Array:
        ready = cast(array)
        found = pc.min_max(pc.cast(ready, integer)).as_py()
        if found["min"] is not None and (found["min"] < low or found["max"] > high):
            raise pa.ArrowInvalid(f"{target} out of range")
        return ready

    return checked


def _utc_texts(moments: Prepare) -> Prepare:
    """Moments as texts: Arrow prints one with a zone in 2.1 microseconds, one without in 0.1."""
    import pyarrow as pa
    from pyarrow import compute as pc

    def render(array: pa.Array) -> pa.Array:
        ready = pc.cast(moments(array), pa.timestamp("us"))
        return pc.binary_join_element_wise(pc.cast(ready, pa.string()), "Z", "")

    return render


def _hex(prefix: str) -> Prepare:
    """Bytes as hexadecimal text, all of a batch in one go."""
    import pyarrow as pa
    from pyarrow import compute as pc

    to_binary = _cast(pa.binary())

    def render(array: pa.Array) -> pa.Array:
        binary = to_binary(array)
        count, (_, places, data) = len(binary), binary.buffers()
        if not count:
            return pa.nulls(0, pa.string())
        offsets = pa.Array.from_buffers(pa.int32(), count + 1, [None, places], offset=binary.offset)
        first, last = offsets[0], offsets[count]
        digits = pa.py_buffer(binascii.hexlify(memoryview(data or b"")[first.as_py() : last.as_py()]))
        # int32 throughout: a Python number would make the offsets int64, and the buffer another one than is read.
        doubled = pc.multiply(pc.subtract(offsets, first), pa.scalar(2, pa.int32()))
        text = pa.StringArray.from_buffers(count, doubled.buffers()[1], digits)
        text = pc.binary_join_element_wise(prefix, text, "") if prefix else text
        return pc.if_else(pc.is_valid(binary), text, None)

    return render


def _microseconds(array: pa.Array) -> pa.Array:
    """Durations as a text that `interval` reads."""
    import pyarrow as pa
    from pyarrow import compute as pc

    count = pc.cast(pc.cast(array, pa.duration("us")), pa.int64())
    return pc.binary_join_element_wise(pc.cast(count, pa.string()), "microseconds", " ")


def _array_literals(element: Prepare, arrow: pa.DataType) -> Prepare:
    """Lists as array literals, with every element in quotes but NULL."""
    import pyarrow as pa
    from pyarrow import compute as pc

    as_list = _cast(pa.list_(arrow.value_type))

    def render(array: pa.Array) -> pa.Array:
        lists = as_list(array)
        text = pc.replace_substring(element(lists.values), "\\", "\\\\")
        quoted = pc.binary_join_element_wise("", pc.replace_substring(text, '"', '\\"'), "", '"')
        elements = pc.fill_null(quoted, "NULL")
        joined = pc.binary_join(pa.ListArray.from_arrays(lists.offsets, elements), ",")
        return pc.if_else(pc.is_valid(lists), pc.binary_join_element_wise("{", joined, "}", ""), None)

    return render
