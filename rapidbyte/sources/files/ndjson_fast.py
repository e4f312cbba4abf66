"""NDJSON by Arrow's parser, where what it gives is beyond doubt; whatever is in doubt is read line by line instead.

200,000 rows of 7 values (21 MB) take 1.1 s of CPU this way and 5.9 one by one, and other threads go on meanwhile.
But it takes `"1"` for a number in a decimal column, `-0` for 0, NUL for a character, digits beyond a
double's for nothing, and crashes at a line that is `null` (26.0.1). So a block with any of these is not given to it,
and one that it refuses is read again by who can name the line.
"""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING

from rapidbyte.pg.types import base_name
from rapidbyte.sources.files.converters import converter
from rapidbyte.sources.files.ndjson import JsonColumn, JsonPlan
from rapidbyte.values import frozen

if TYPE_CHECKING:
    import pyarrow as pa

_DOUBT = r"\n[^{]|\}\s*null|\\u0000|-0[,} \]\t\r\n]"
"""A line that does not begin like an object, one that is `null` behind an object, NUL, and a zero with a sign. In one
pass, during which other threads go on: ten searches of Python's were a quarter of all CPU of 1,000,000 rows."""

_MANY_DIGITS = re.compile(rb"[0-9][0-9.]{15,}|[eE][+-]?[0-9]{3,}")
"""Numbers that a double might not give back: with 16 digits and more, or with exponents beyond its range."""


@frozen
class Fast:
    """Reads blocks of one stream."""

    plan: JsonPlan
    strings: re.Pattern[bytes] | None
    """Finds a string where a number is due that Arrow would take for one."""
    exact_strings: re.Pattern[bytes] | None
    """The same for all columns that may be read as decimals."""

    @classmethod
    def of(cls, plan: JsonPlan) -> Fast | None:
        """None where a column cannot be read this way at all."""
        if plan.flatten or not plan.columns or not all(_is_plain(column) for column in plan.columns):
            return None
        decimals = [column.name for column in plan.columns if _first_type(column) == "decimal"]
        doubles = [column.name for column in plan.columns if _first_type(column) == "double"]
        strings = _strings_of(decimals)
        return cls(plan=plan, strings=strings, exact_strings=_strings_of([*decimals, *doubles]) if doubles else strings)

    def read(self, data: bytes, lines: int) -> pa.RecordBatch | None:
        """These whole lines, so many of them, as a batch; None where they are to be read one by one."""
        import pyarrow as pa

        if not _is_sound(data):
            return None
        exact = self.exact_strings is not self.strings and _MANY_DIGITS.search(data) is not None
        strings = self.exact_strings if exact else self.strings
        if strings is not None and strings.search(data):
            return None
        try:
            data.decode()
            table = self._parsed(data, exact=exact)
            if table.num_rows != lines:
                return None
            arrays = [_converted(column, table.column(column.name)) for column in self.plan.columns]
        except (pa.ArrowInvalid, UnicodeDecodeError):
            return None
        return pa.RecordBatch.from_arrays(arrays, names=[column.name for column in self.plan.columns])

    def _parsed(self, data: bytes, *, exact: bool) -> pa.Table:
        import pyarrow as pa
        from pyarrow import json as arrow_json

        schema = pa.schema([pa.field(column.name, _parsed_type(column, exact=exact)) for column in self.plan.columns])
        return arrow_json.read_json(
            pa.BufferReader(data),
            read_options=arrow_json.ReadOptions(use_threads=False, block_size=len(data) + 1),
            parse_options=arrow_json.ParseOptions(
                explicit_schema=schema, unexpected_field_behavior="error" if self.plan.is_closed else "ignore"
            ),
        )


def _is_sound(data: bytes) -> bool:
    """Every line begins like an object, and there is nothing that Arrow takes for something else."""
    import pyarrow as pa
    from pyarrow import compute as pc

    if not data.startswith(b"{"):
        return False
    offsets = pa.py_buffer(bytes(8) + len(data).to_bytes(8, sys.byteorder))
    whole = pa.Array.from_buffers(pa.large_binary(), 1, [None, offsets, pa.py_buffer(data)])
    return not pc.match_substring_regex(whole, _DOUBT)[0].as_py()


def _is_plain(column: JsonColumn) -> bool:
    """The column's values have one kind, and lose nothing of their text that its type would keep."""
    if column.kind == "any":
        return False
    if column.kind != "number" or column.reading.check == "inferred":
        return True
    declared = column.reading.type
    base = base_name(declared) or ""
    return base in ("smallint", "integer", "bigint", "real") or (base == "numeric" and declared.typmod >= 0)


def _first_type(column: JsonColumn) -> str:
    """In which of Arrow's types its values are parsed: string, boolean, int64, double, decimal."""
    if column.kind != "number":
        return column.kind
    if column.reading.check == "inferred" and column.reading.arrow in ("int64", "double"):
        return column.reading.arrow
    return "decimal"


def _parsed_type(column: JsonColumn, *, exact: bool) -> pa.DataType:
    import pyarrow as pa

    first = _first_type(column)
    if first == "decimal" or (first == "double" and exact):
        return pa.decimal256(76, 38)
    return {"string": pa.string(), "boolean": pa.bool_(), "int64": pa.int64(), "double": pa.float64()}[first]


def _converted(column: JsonColumn, values: pa.ChunkedArray) -> pa.Array:
    """The parsed values in the column's type. Raises ArrowInvalid where one does not fit."""
    import pyarrow as pa
    from pyarrow import compute as pc

    array = values.combine_chunks()
    first = _first_type(column)
    if first == "string" or (first == "boolean" and column.reading.check == "declared"):
        return converter(column.reading)(pc.cast(array, pa.string()))
    if pa.types.is_decimal256(array.type):
        digits = pc.cast(array, pa.string())
        return converter(column.reading)(pc.utf8_rtrim(pc.utf8_rtrim(digits, "0"), "."))
    if first == "double" and pc.all(pc.is_finite(array)).as_py() is False:
        raise pa.ArrowInvalid("not a number of JSON")
    return array


def _strings_of(names: list[str]) -> re.Pattern[bytes] | None:
    if not names:
        return None
    keys = b"|".join(re.escape(name.encode()) for name in names)
    return re.compile(rb'"(?:' + keys + rb')"\s*:\s*"')
