"""Parquet: its types in PostgreSQL's, its row groups in ranges, its rows in batches."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

from rapidbyte.errors import SourceError
from rapidbyte.model import ColumnType
from rapidbyte.pg.types import base_name, built_in
from rapidbyte.sources.files.opening import OpenFile, open_file
from rapidbyte.sources.files.paths import DataFile
from rapidbyte.sources.files.readings import WIDEST_DECIMAL
from rapidbyte.values import frozen

if TYPE_CHECKING:
    import pyarrow as pa

    from rapidbyte.sources.files.condition import Sandbox

BUFFER_BYTES = 256 * 1024
"""A column's pages are read in pieces of this size: with whole column chunks in memory a file of one row group took
257 MB where this takes 207 (1,000,000 rows, 15 columns)."""

PROBE_ROWS = 64
"""So many rows tell how wide a row is; then batches have as many rows as fit their bytes."""

MAX_ROWS = 1 << 16
"""Rows of a batch, however narrow."""

Way = Literal["cast", "json", "interval"]


@frozen
class Settled:
    """What becomes of one Arrow type."""

    type: ColumnType
    arrow: pa.DataType
    """The type that is delivered."""
    way: Way = "cast"
    reason: str | None = None


@frozen
class RowGroup:
    """One row group of a file."""

    rows: int
    size: int
    """Compressed bytes."""


@frozen
class ParquetFacts:
    """What a file's footer says."""

    schema: pa.Schema
    groups: tuple[RowGroup, ...]
    intervals: tuple[str, ...]
    """Columns that Arrow takes for 12 bytes."""
    old_timestamps: tuple[str, ...]
    """Columns of type INT96, which Arrow reads to the microsecond here."""

    @property
    def rows(self) -> int:
        """Rows of the whole file."""
        return sum(group.rows for group in self.groups)


@contextmanager
def _opened(file: DataFile) -> Generator[tuple[Any, OpenFile]]:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        with (
            open_file(file) as on_disk,
            parquet.ParquetFile(
                on_disk,
                buffer_size=BUFFER_BYTES,
                pre_buffer=False,
                # As nanoseconds the years after 2262 would wrap.
                coerce_int96_timestamp_unit="us",
                arrow_extensions_enabled=True,
                page_checksum_verification=True,
            ) as opened,
        ):
            yield opened, on_disk
    except (pa.ArrowInvalid, OSError) as error:
        if "magic bytes" in str(error):
            raise SourceError(
                f"{file.path} is not a Parquet file", code="file_format", hint="is it complete? is `format` right?"
            ) from error
        raise SourceError(f"{file.path} cannot be read: {error}", code="file_corrupt") from error


def read_facts(file: DataFile) -> ParquetFacts:
    """The footer. Raises SourceError where there is none, or where two columns have one name."""
    with _opened(file) as (opened, _):
        metadata, schema = opened.metadata, opened.schema_arrow
        leaves = [opened.schema.column(index) for index in range(metadata.num_columns)]
        groups = tuple(_group(metadata.row_group(index)) for index in range(metadata.num_row_groups))
    require_names(file, schema.names)
    return ParquetFacts(
        schema=schema,
        groups=groups,
        intervals=tuple(leaf.path for leaf in leaves if leaf.converted_type == "INTERVAL"),
        old_timestamps=tuple(leaf.path for leaf in leaves if leaf.physical_type == "INT96"),
    )


def require_names(file: DataFile, names: Sequence[str]) -> None:
    """Raises SourceError unless every column has a name of its own."""
    twice = sorted(name for name, count in Counter(names).items() if count > 1)
    if twice or not names or "" in names:
        what = f"has {', '.join(map(repr, twice))} more than once" if twice else "lacks the name of a column"
        raise SourceError(f"the schema of {file.path} {what}", code="header_invalid")


def _group(group: Any) -> RowGroup:
    sizes = [group.column(index).total_compressed_size for index in range(group.num_columns)]
    return RowGroup(rows=group.num_rows, size=sum(sizes))


def group_ranges(groups: Sequence[RowGroup], partition_bytes: int) -> tuple[tuple[int, int], ...]:
    """Half-open ranges of row groups of about `partition_bytes`, that cover all of them, each once. At least one."""
    ranges: list[tuple[int, int]] = []
    low, size = 0, 0
    for high, group in enumerate(groups, 1):
        size += group.size
        if size >= partition_bytes:
            ranges.append((low, high))
            low, size = high, 0
    if low < len(groups) or not ranges:
        ranges.append((low, len(groups)))
    return tuple(ranges)


class Groups:
    """The rows of the row groups `low <= group < high`, in order, with these columns, in batches of about a block.

    Iterated once. Raises SourceError when there are other rows than the footer says.
    """

    def __init__(self, file: DataFile, names: Sequence[str], low: int, high: int, *, block_bytes: int) -> None:
        self._file = file
        self._names = list(names)
        self._groups = list(range(low, high))
        self._block_bytes = block_bytes
        self.blocked_s = 0.0
        """Seconds spent waiting for the file system so far."""

    def __iter__(self) -> Generator[pa.RecordBatch]:
        with _opened(self._file) as (opened, on_disk):
            expected = sum(opened.metadata.row_group(index).num_rows for index in self._groups)
            found = 0
            for batch in self._batches(opened, self._rows_of_a_block(opened)):
                self.blocked_s = on_disk.seconds
                found += batch.num_rows
                yield batch.select(self._names)
        if found != expected:
            raise SourceError(
                f"{self._file.path}: {found} rows where the footer says {expected}",
                code="file_corrupt",
                hint="is it complete?",
            )

    def _batches(self, opened: Any, rows: int) -> Any:
        return opened.iter_batches(batch_size=rows, row_groups=self._groups, columns=self._names, use_threads=False)

    def _rows_of_a_block(self, opened: Any) -> int:
        """By the width of the first rows."""
        probe = next(self._batches(opened, PROBE_ROWS), None)
        width = max(1, probe.nbytes // probe.num_rows) if probe is not None and probe.num_rows else 1
        return max(1, min(MAX_ROWS, self._block_bytes // width))


def settle(facts: ParquetFacts, name: str) -> Settled:
    """What a file's column becomes."""
    import pyarrow as pa

    if name in facts.intervals:
        return Settled(type=built_in("interval"), arrow=pa.string(), way="interval", reason="INTERVAL")
    found = _settled(facts.schema.field(name).type)
    if name in facts.old_timestamps:
        return Settled(type=found.type, arrow=found.arrow, reason="INT96, read to the microsecond")
    return found


def _settled(arrow: pa.DataType) -> Settled:
    import pyarrow as pa
    from pyarrow import types

    if isinstance(arrow, pa.BaseExtensionType):
        return _settled_extension(arrow)
    if types.is_dictionary(arrow):
        return _settled(arrow.value_type)
    if types.is_list(arrow) or types.is_large_list(arrow) or types.is_fixed_size_list(arrow):
        return _settled_list(arrow)
    if types.is_decimal(arrow):
        return _settled_decimal(arrow)
    if types.is_timestamp(arrow):
        zoned = arrow.tz is not None
        name = "timestamp with time zone" if zoned else "timestamp without time zone"
        return Settled(type=built_in(name), arrow=pa.timestamp("us", "UTC" if zoned else None))
    for kinds, name, delivered in _plain_types():
        if any(is_kind(arrow) for is_kind in kinds):
            return Settled(type=built_in(name), arrow=delivered)
    return Settled(type=built_in("jsonb"), arrow=pa.string(), way="json", reason=f"{arrow} as JSON")


def _plain_types() -> Sequence[tuple[tuple[Any, ...], str, pa.DataType]]:
    """(tests of an Arrow type, PostgreSQL type, the Arrow type that is delivered); the first that is true counts."""
    import pyarrow as pa
    from pyarrow import types

    return (
        ((types.is_boolean,), "boolean", pa.bool_()),
        ((types.is_int8, types.is_uint8, types.is_int16), "smallint", pa.int16()),
        ((types.is_uint16, types.is_int32), "integer", pa.int32()),
        ((types.is_uint32, types.is_int64), "bigint", pa.int64()),
        ((types.is_uint64,), "numeric", pa.decimal128(20, 0)),
        ((types.is_float16, types.is_float32), "real", pa.float32()),
        ((types.is_float64,), "double precision", pa.float64()),
        ((types.is_string, types.is_large_string, types.is_string_view, types.is_null), "text", pa.string()),
        ((types.is_binary, types.is_large_binary, types.is_binary_view), "bytea", pa.binary()),
        ((types.is_fixed_size_binary,), "bytea", pa.binary()),
        ((types.is_date,), "date", pa.date32()),
        ((types.is_time,), "time without time zone", pa.time64("us")),
        ((types.is_duration,), "interval", pa.duration("us")),
    )


def _settled_extension(arrow: Any) -> Settled:
    import pyarrow as pa

    if arrow.extension_name == "arrow.uuid":
        return Settled(type=built_in("uuid"), arrow=pa.binary(16))
    stored = _settled(arrow.storage_type)
    if arrow.extension_name == "arrow.json":
        return Settled(type=built_in("json"), arrow=stored.arrow)
    return Settled(type=stored.type, arrow=stored.arrow, way=stored.way, reason=f"stored form of {arrow}")


def _settled_decimal(arrow: pa.DataType) -> Settled:
    """A numeric of the same precision and scale; with more digits than a decimal128 has as text, which is exact too."""
    import pyarrow as pa

    precision, scale = arrow.precision, arrow.scale
    typmod = ((precision << 16) | (scale & 0x7FF)) + 4
    fits = precision <= WIDEST_DECIMAL
    return Settled(type=built_in("numeric", typmod), arrow=pa.decimal128(precision, scale) if fits else pa.string())


def _settled_list(arrow: pa.DataType) -> Settled:
    """An array where the elements are plain; JSON where they are nested, for an array of arrays must be rectangular."""
    import pyarrow as pa

    element = _settled(arrow.value_type)
    delivered = pa.list_(element.arrow)
    is_plain = element.way == "cast" and element.type.kind != "array"
    if is_plain and _is_castable(arrow, delivered):
        return Settled(type=built_in(_array_name(element.type), element.type.typmod), arrow=delivered)
    return Settled(type=built_in("jsonb"), arrow=pa.string(), way="json", reason=f"{arrow} as JSON")


def _array_name(element: ColumnType) -> str:
    return f"{base_name(element)}[]"


def _is_castable(arrow: pa.DataType, delivered: pa.DataType) -> bool:
    import pyarrow as pa
    from pyarrow import compute as pc

    try:
        pc.cast(pa.nulls(1, arrow), delivered)
    except pa.ArrowNotImplementedError:
        return False
    return True


def deliver(values: pa.Array, settled: Settled, sandbox: Sandbox, *, lossy: bool) -> pa.Array:
    """The column's values in the type that is delivered. With `lossy`, what does not fit is cut off.

    Raises ArrowInvalid where a value would lose something, as nanoseconds.
    """
    import pyarrow as pa
    from pyarrow import compute as pc

    if settled.way == "json":
        return sandbox.json(values)
    if settled.way == "interval":
        return _interval_texts(values)
    if isinstance(values.type, pa.BaseExtensionType):
        values = values.storage
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    # Compared as text: to pyarrow two lists are equal whose elements have different names.
    return values if str(values.type) == str(settled.arrow) else pc.cast(values, settled.arrow, safe=not lossy)


def _interval_texts(values: pa.Array) -> pa.Array:
    """Parquet's INTERVAL, months, days and milliseconds as little-endian integers, as a text that `interval` reads."""
    import pyarrow as pa
    from pyarrow import compute as pc

    count = len(values)
    numbers = pa.Array.from_buffers(pa.uint32(), 3 * count, [None, values.buffers()[1]], offset=3 * values.offset)
    parts: list[Any] = [pc.take(numbers, pa.array(range(place, 3 * count, 3), pa.int64())) for place in range(3)]
    words = ("months", "days", "milliseconds")
    texts = [
        pc.binary_join_element_wise(pc.cast(part, pa.string()), word, " ")
        for part, word in zip(parts, words, strict=True)
    ]
    return pc.if_else(pc.is_valid(values), pc.binary_join_element_wise(*texts, " "), None)
