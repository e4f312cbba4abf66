"""What a stream's files hold: columns and their types, rows and row groups. Looks at files, reads none to its end."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rapidbyte.errors import ConfigError, DataError, SourceError
from rapidbyte.model import Column
from rapidbyte.pg.types import parse_type_name
from rapidbyte.plan import StreamShape
from rapidbyte.sources.files.condition import open_sandbox
from rapidbyte.sources.files.delimited import Dialect, Records, choose_dialect, read_header
from rapidbyte.sources.files.infer import Reading, arrow_type, declare, infer
from rapidbyte.sources.files.parquet import ParquetFacts, RowGroup, read_facts, settle
from rapidbyte.sources.files.paths import DataFile, compression_of, format_of
from rapidbyte.sources.files.read import FileColumn, FileTask, declared_values
from rapidbyte.spec import FilesSourceSpec, StreamSpec

if TYPE_CHECKING:
    import pyarrow as pa

BLOCK_BYTES = 1 << 20
"""A block of CSV, and about the size of a batch: 5,000 rows of 200 bytes, which is enough for the encoder. Reading
1,000,000 such rows took 108 MB in all with this size, 70 with a quarter of it, 272 with four times as much."""

SAMPLE_BYTES = 8 << 20
"""So much of a stream's CSV is looked at for its types, in equal shares of its files."""

SAMPLED_FILES = 8
"""So many files of a glob are looked at for types, evenly spread; the headers of all are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Described:
    """A stream as its files are."""

    shape: StreamShape
    task: FileTask
    groups: tuple[tuple[RowGroup, ...], ...] = ()
    """Of each file; empty for CSV."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Contents:
    """What the files of one format hold, before a stream's own wishes."""

    columns: tuple[FileColumn, ...]
    described: tuple[Column, ...]
    schema: pa.Schema
    """Of all columns as they are delivered."""
    rows: int | None
    dialect: Dialect | None = None
    groups: tuple[tuple[RowGroup, ...], ...] = ()


def describe_stream(
    spec: FilesSourceSpec, stream: StreamSpec, files: tuple[DataFile, ...], *, max_row_bytes: int
) -> Described:
    """The stream's shape, and what reading it takes.

    Raises SourceError for files that are broken or unlike each other, ConfigError for what the pipeline says of them
    and is not so, DataError for CSV whose first rows are malformed.
    """
    file_format = format_of(files[0], spec.format)
    for file in files:
        if format_of(file, spec.format) != file_format:
            raise ConfigError("the stream's files are of different formats", code="formats_mixed", hint="set `format`")
        compression_of(file, file_format)
    if file_format == "parquet":
        return _described(stream, files, _parquet(stream, files), max_row_bytes)
    return _described(stream, files, _csv(spec, stream, files, max_row_bytes), max_row_bytes)


def _described(stream: StreamSpec, files: tuple[DataFile, ...], contents: _Contents, max_row_bytes: int) -> Described:
    by_name = {column.name: column for column in contents.described}
    wanted = stream.columns or tuple(by_name)
    _require_known("columns", wanted, by_name)
    _require_known("allow_lossy", stream.allow_lossy, by_name)
    if stream.where is not None:
        with open_sandbox() as sandbox:
            sandbox.check(contents.schema, stream.where)
    shape = StreamShape(
        spec=stream,
        kind="file",
        relation=None,
        columns=tuple(by_name[name] for name in wanted),
        estimated_rows=contents.rows,
        estimated_bytes=sum(file.size for file in files),
        delivers="arrow",
        partitioning="row groups" if contents.dialect is None else "one partition a file",
    )
    task = FileTask(
        files=files,
        columns=contents.columns,
        wanted=wanted,
        dialect=contents.dialect,
        where=stream.where,
        block_bytes=BLOCK_BYTES,
        max_row_bytes=max_row_bytes,
    )
    return Described(shape=shape, task=task, groups=contents.groups)


def _csv(spec: FilesSourceSpec, stream: StreamSpec, files: tuple[DataFile, ...], max_row_bytes: int) -> _Contents:
    import pyarrow as pa

    dialect = choose_dialect(spec, files[0])
    names = read_header(files[0], dialect)
    for file in files[1:]:
        _require_same_names(files[0], names, file, read_header(file, dialect))
    declared = _declared_types(stream, names)
    sample = _sample(files, dialect, names, max_row_bytes)
    readings = {name: declared.get(name) or infer(sample.texts[name], sample.phrase) for name in names}
    reasons = _reasons(readings, sample, shows_values=spec.shows_values)
    return _Contents(
        columns=tuple(FileColumn(name=name, reading=reading) for name, reading in readings.items()),
        described=tuple(
            Column(name=name, type=reading.type, arrow=reading.arrow, reason=reasons[name])
            for name, reading in readings.items()
        ),
        schema=pa.schema([pa.field(name, arrow_type(reading.arrow)) for name, reading in readings.items()]),
        rows=sample.estimated_rows,
        dialect=dialect,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sample:
    """The first rows of CSV files."""

    texts: dict[str, pa.Array]
    parts: tuple[tuple[DataFile, Records, int], ...]
    """The files in which they stand, and how many of them in each."""
    is_whole: bool
    """They are all rows of all files."""
    files_bytes: int | None
    """Of all files; None where some are compressed."""

    @property
    def rows(self) -> int:
        """How many."""
        return len(next(iter(self.texts.values())))

    @property
    def phrase(self) -> str:
        """Which rows they are."""
        return f"all {self.rows} rows" if self.is_whole else f"{self.rows} rows looked at"

    @property
    def estimated_rows(self) -> int | None:
        """Of all files together, from the length of these rows."""
        if self.is_whole:
            return self.rows
        return None if self.files_bytes is None else self.rows * self.files_bytes // max(1, self._text_bytes)

    @property
    def _text_bytes(self) -> int:
        """Of these rows in their files, quotes aside."""
        from pyarrow import compute as pc

        lengths = [pc.sum(pc.binary_length(texts)).as_py() or 0 for texts in self.texts.values()]
        return sum(lengths) + self.rows * len(self.texts)

    def places(self, rows: Set[int]) -> dict[int, str]:
        """File and line of each of these rows, as `a.csv, line 3`. Reads the files again as far as needed."""
        found: dict[int, str] = {}
        before = 0
        for file, records, count in self.parts:
            lines = records.lines_of({row - before for row in rows if before <= row < before + count})
            found |= {before + row: f"{file.name}, line {line}" for row, line in lines.items()}
            before += count
        return found


def _reasons(readings: dict[str, Reading], sample: _Sample, *, shows_values: bool) -> dict[str, str]:
    """Why each column has its type; for one that became text also what kept it from another."""
    misfits = {name: reading.misfit for name, reading in readings.items() if reading.misfit is not None}
    places = sample.places({misfit.row for misfit in misfits.values()}) if misfits else {}
    reasons = {name: reading.reason for name, reading in readings.items()}
    for name, misfit in misfits.items():
        if (place := places.get(misfit.row)) is not None:
            value = f": {sample.texts[name][misfit.row].as_py()}" if shows_values else ""
            where = f"{misfit.before} before {place}" if misfit.before else f"the first is in {place}"
            reasons[name] += f"; {where}{value}"
    return reasons


def _sample(files: tuple[DataFile, ...], dialect: Dialect, names: tuple[str, ...], max_row_bytes: int) -> _Sample:
    """The first rows of some of the files, as text."""
    import pyarrow as pa

    chosen = files[:: -(-len(files) // SAMPLED_FILES)]
    batches: list[pa.RecordBatch] = []
    parts: list[tuple[DataFile, Records, int]] = []
    is_whole = len(chosen) == len(files)
    for file in chosen:
        everything = tuple(range(len(names)))
        own = read_header(file, dialect) if dialect.header else names
        records = Records(file, dialect, own, everything, block_bytes=BLOCK_BYTES, max_row_bytes=max_row_bytes)
        is_whole &= _take(records, [own.index(name) for name in names], batches, SAMPLE_BYTES // len(chosen))
        parts.append((file, records, sum(batch.num_rows for batch in batches) - sum(count for _, _, count in parts)))
    texts = {
        name: pa.concat_arrays([pa.nulls(0, pa.string()), *(batch.column(index) for batch in batches)])
        for index, name in enumerate(names)
    }
    compressed = any(compression_of(file, "csv") for file in files)
    files_bytes = None if compressed else sum(file.size for file in files)
    return _Sample(texts=texts, parts=tuple(parts), is_whole=is_whole, files_bytes=files_bytes)


def _take(records: Records, order: list[int], batches: list[pa.RecordBatch], size: int) -> bool:
    """Adds batches, their columns in this order, until they have `size` bytes. True when these are all."""
    for batch in records:
        batches.append(batch.select(order))
        size -= batch.nbytes
        if size <= 0:
            return False
    return True


def _parquet(stream: StreamSpec, files: tuple[DataFile, ...]) -> _Contents:
    import pyarrow as pa

    facts = tuple(read_facts(file) for file in files)
    names: tuple[str, ...] = tuple(facts[0].schema.names)
    for file, found in zip(files[1:], facts[1:], strict=True):
        _require_same_schema(files[0], facts[0], file, found)
    declared = _declared_types(stream, names)
    columns = tuple(
        FileColumn(name=name, reading=declared.get(name), lossy=name in stream.allow_lossy) for name in names
    )
    delivered = {column.name: _delivered(facts[0], column) for column in columns}
    return _Contents(
        columns=columns,
        described=tuple(_parquet_column(facts, column, delivered[column.name]) for column in columns),
        schema=pa.schema([pa.field(name, arrow) for name, arrow in delivered.items()]),
        rows=sum(found.rows for found in facts),
        groups=tuple(found.groups for found in facts),
    )


def _delivered(facts: ParquetFacts, column: FileColumn) -> pa.DataType:
    """The Arrow type in which a column is delivered. Raises ConfigError where it cannot be."""
    import pyarrow as pa

    settled = settle(facts, column.name)
    if settled.way == "json":
        _require_json(facts.schema.field(column.name))
    if column.reading is None:
        return settled.arrow
    try:
        return declared_values(pa.nulls(0, settled.arrow), column.reading).type
    except pa.ArrowNotImplementedError as error:
        raise ConfigError(
            f"column {column.name} is {settled.type.name} in the file; there is no way to {column.reading.type.name}",
            code="type_unsupported",
            column=column.name,
        ) from error


def _require_json(field: pa.Field) -> None:
    """Raises ConfigError for a nested type that DuckDB does not know."""
    import pyarrow as pa

    with open_sandbox() as sandbox:
        try:
            sandbox.json(pa.nulls(1, field.type))
        except DataError as error:
            raise ConfigError(
                f"column {field.name}: {field.type} cannot be loaded",
                code="type_unsupported",
                hint="leave it out with `columns`",
                column=field.name,
            ) from error


def _parquet_column(facts: tuple[ParquetFacts, ...], column: FileColumn, arrow: pa.DataType) -> Column:
    settled = settle(facts[0], column.name)
    declared = column.reading
    return Column(
        name=column.name,
        type=settled.type if declared is None else declared.type,
        nullable=any(found.schema.field(column.name).nullable for found in facts),
        arrow=str(arrow),
        reason=settled.reason if declared is None else declared.reason,
    )


def _require_known(key: str, names: tuple[str, ...], known: dict[str, Any]) -> None:
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ConfigError(
            f"{key}: the files have no column {', '.join(unknown)}",
            code="column_unknown",
            hint=f"they have: {', '.join(known)}",
        )


def _declared_types(stream: StreamSpec, names: tuple[str, ...]) -> dict[str, Reading]:
    _require_known("types", tuple(name for name, _ in stream.types), dict.fromkeys(names))
    readings: dict[str, Reading] = {}
    for name, text in stream.types:
        try:
            readings[name] = declare(parse_type_name(text))
        except ConfigError as error:
            raise error.at(column=name) from None
    return readings


def _require_same_names(first: DataFile, names: tuple[str, ...], file: DataFile, others: tuple[str, ...]) -> None:
    missing = [name for name in names if name not in others]
    added = [name for name in others if name not in names]
    if missing:
        raise _unlike(first, file, f"has no column {', '.join(missing)}")
    if added:
        raise _unlike(first, file, f"has a column {', '.join(added)}")


def _require_same_schema(first: DataFile, facts: ParquetFacts, file: DataFile, others: ParquetFacts) -> None:
    _require_same_names(first, tuple(facts.schema.names), file, tuple(others.schema.names))
    for field in facts.schema:
        found, due = settle(others, field.name), settle(facts, field.name)
        if found != due:
            raise _unlike(first, file, f"has {field.name} as {found.type.name}, not as {due.type.name}")


def _unlike(first: DataFile, file: DataFile, what: str) -> SourceError:
    return SourceError(
        f"{file.path} {what}, unlike {first.name}",
        code="schemas_differ",
        hint="the files of one stream have the same columns; make a stream of each kind",
    )
