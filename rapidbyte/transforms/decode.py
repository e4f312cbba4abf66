"""COPY's CSV -> Arrow: rows of PostgreSQL on their way into transforms.

A type has an Arrow form here only where that is exact; everything else stays the server's text, under its own type,
which the destination reads back as it was written. Values that the Arrow form lacks (infinity, BC, NaN in a numeric)
are a DataError, never another value.
"""

from __future__ import annotations

from binascii import unhexlify
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from rapidbyte.errors import DataError
from rapidbyte.model import Column, ColumnType
from rapidbyte.pg.large_rows import LARGE_ROW_BYTES
from rapidbyte.pg.types import base_name, numeric_modifier
from rapidbyte.transforms.types import ARROW_NAMES, arrow_type, schema_of, times_of

if TYPE_CHECKING:
    import pyarrow as pa

_ARROW = {**ARROW_NAMES, "uuid": "fixed_size_binary[16]", "bytea": "binary"}


def arrow_columns(columns: tuple[Column, ...]) -> tuple[Column, ...]:
    """A relation's columns with the Arrow types in which `decoded` delivers them."""
    return tuple(replace(column, arrow=_arrow_of(column.type)) for column in columns)


def _arrow_of(kind: ColumnType) -> str:
    base = base_name(kind) or ""
    if base == "numeric":
        found = numeric_modifier(kind.typmod)
        fits = found is not None and 0 <= found[1] <= found[0] <= 38
        return f"decimal128({found[0]}, {found[1]})" if fits and found is not None else "string"
    return _ARROW.get(base, "string") if kind.built_in else "string"


def decoded(data: bytes, columns: tuple[Column, ...]) -> pa.RecordBatch:
    """Whole rows of CSV, every value in quotes, NULL without. Raises DataError for a value without an Arrow form."""
    return typed(as_texts(data, columns), columns)


def as_texts(data: bytes, columns: tuple[Column, ...]) -> pa.RecordBatch:
    """The same rows as the server's texts."""
    import pyarrow as pa
    from pyarrow import csv

    if len(data) > LARGE_ROW_BYTES:
        # Arrow's own allocator keeps what large rows took; the system's gives it back (375 MB without, 266 with it).
        pa.set_memory_pool(pa.system_memory_pool())
    names = [f"c{place}" for place in range(len(columns))]
    table = csv.read_csv(
        pa.py_buffer(data),
        read_options=csv.ReadOptions(column_names=names, block_size=max(1024, 2 * len(data)), use_threads=False),
        parse_options=csv.ParseOptions(newlines_in_values=True, ignore_empty_lines=False),
        convert_options=csv.ConvertOptions(
            column_types=dict.fromkeys(names, pa.string()),
            null_values=[""],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
            check_utf8=True,
        ),
    )
    texts = [texts.chunk(0) if texts.num_chunks == 1 else texts.combine_chunks() for texts in table.columns]
    return pa.RecordBatch.from_arrays(texts, names=[column.name for column in columns])


def typed(texts: pa.RecordBatch, columns: tuple[Column, ...]) -> pa.RecordBatch:
    """The rows in their Arrow types. Raises DataError for a value that has no such form."""
    import pyarrow as pa

    arrays = [_values(values, column) for values, column in zip(texts.columns, columns, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=schema_of(columns))


def _values(texts: pa.Array, column: Column) -> pa.Array:
    import pyarrow as pa

    target = arrow_type(column.arrow or "string")
    try:
        return _converter(column, target)(texts)
    except (pa.ArrowInvalid, ValueError) as error:
        raise DataError(
            f"a value of column {column.name} cannot pass through transforms: {column.type.name} is carried as "
            f"{column.arrow}, which has no infinity, no NaN among decimals and no years before 1",
            code="value_misfit",
            sqlstate="22003",
            column=column.name,
            hint="cast the column to text in a `query`, or leave it out with `columns`",
            row_detail=str(error),
        ) from error


def _converter(column: Column, target: pa.DataType) -> Callable[[pa.Array], pa.Array]:
    import pyarrow as pa
    from pyarrow import compute as pc

    if pa.types.is_string(target):
        return lambda texts: texts
    if pa.types.is_boolean(target):
        return lambda texts: pc.equal(texts, "t")
    if pa.types.is_floating(target):
        return lambda texts: pc.cast(_float_words(texts), target)
    if pa.types.is_timestamp(target):
        return _timestamps(target)
    if pa.types.is_time(target):
        return times_of
    if base_name(column.type) == "uuid":
        return lambda texts: pc.cast(_bytes(pc.replace_substring(texts, "-", "")), target)
    if base_name(column.type) == "bytea":
        return _of_bytea
    return lambda texts: pc.cast(texts, target)


def _float_words(texts: pa.Array) -> pa.Array:
    """PostgreSQL's words for what is no number in Arrow's spelling."""
    from pyarrow import compute as pc

    return pc.replace_substring(texts, "Infinity", "inf")


def _timestamps(target: pa.DataType) -> Callable[[pa.Array], pa.Array]:
    import pyarrow as pa
    from pyarrow import compute as pc

    def convert(texts: pa.Array) -> pa.Array:
        if target.tz is None:
            return pc.cast(texts, target)
        found = pc.ends_with(texts, "+00")
        if pc.any(pc.invert(found)).as_py():
            raise pa.ArrowInvalid("a time that is not in UTC")
        return pc.cast(pc.cast(pc.replace_substring_regex(texts, r"\+00$", ""), pa.timestamp("us")), target)

    return convert


def _of_bytea(texts: pa.Array) -> pa.Array:
    """Bytes from the digits that the server prints; of large values without a copy of the digits."""
    import pyarrow as pa
    from pyarrow import compute as pc

    if texts.nbytes <= LARGE_ROW_BYTES * len(texts):
        return _bytes(pc.utf8_slice_codeunits(texts, 2))
    digits = memoryview(texts.buffers()[2])
    ends = memoryview(texts.buffers()[1]).cast("i")[texts.offset : texts.offset + len(texts) + 1]
    found = [
        unhexlify(digits[start + 2 : end]) if valid else None
        for start, end, valid in zip(ends, ends[1:], pc.is_valid(texts).to_pylist(), strict=False)
    ]
    if len(found) > 1 or found[0] is None:
        return pa.array(found, pa.binary())
    offsets = pa.array([0, len(found[0])], pa.int32()).buffers()[1]
    return pa.Array.from_buffers(pa.binary(), 1, [None, offsets, pa.py_buffer(found[0])])


def _bytes(digits: pa.Array) -> pa.Array:
    """Bytes from hexadecimal digits, all of a block in one go. Raises ValueError for anything else."""
    import pyarrow as pa
    from pyarrow import compute as pc

    text = pc.fill_null(digits, "")
    lengths = pc.divide(pc.cast(pc.binary_length(text), pa.int32()), pa.scalar(2, pa.int32()))
    ends = pc.cumulative_sum(lengths)
    offsets = pa.concat_arrays([pa.array([0], pa.int32()), ends])
    joined = pc.binary_join(pa.ListArray.from_arrays(pa.array([0, len(text)], pa.int32()), text), "")
    data = bytes.fromhex(joined[0].as_py()) if len(text) else b""
    whole = pa.Array.from_buffers(pa.binary(), len(text), [None, offsets.buffers()[1], pa.py_buffer(data)])
    return pc.if_else(pc.is_valid(digits), whole, None)
