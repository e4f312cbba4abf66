"""What a stream's files hold: columns and their types, rows and row groups. Looks at files, reads none to its end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rapidbyte.errors import ConfigError, DataError
from rapidbyte.model import Column
from rapidbyte.plan import StreamShape
from rapidbyte.sources.files.condition import open_sandbox
from rapidbyte.sources.files.contents import (
    BLOCK_BYTES,
    Contents,
    declared_types,
    require_known,
    require_same_names,
    unlike,
)
from rapidbyte.sources.files.date_formats import check_formats
from rapidbyte.sources.files.dialect import choose_dialect, read_header
from rapidbyte.sources.files.group_values import declared_values, facts_of
from rapidbyte.sources.files.infer import infer
from rapidbyte.sources.files.ndjson_columns import describe_json
from rapidbyte.sources.files.parquet import ParquetFacts, RowGroup, settle
from rapidbyte.sources.files.paths import DataFile, compression_of, format_of, relative
from rapidbyte.sources.files.provenance import provenance_columns, provenance_fields
from rapidbyte.sources.files.readings import Notation, Reading, arrow_type
from rapidbyte.sources.files.sample import infer_from_all, reasons_of, take_sample
from rapidbyte.sources.files.split import obstacle
from rapidbyte.sources.files.task import FileColumn, FileTask
from rapidbyte.spec import FileFormat, FilesSourceSpec, StreamSpec
from rapidbyte.values import frozen

if TYPE_CHECKING:
    import pyarrow as pa


_PARTITIONING: dict[FileFormat, str] = {
    "csv": "ranges of lines",
    "ndjson": "ranges of lines",
    "parquet": "row groups",
    "arrow": "record batches",
}


@frozen
class Described:
    """A stream as its files are."""

    shape: StreamShape
    task: FileTask
    groups: tuple[tuple[RowGroup, ...], ...] = ()
    """Of each file; empty for CSV."""


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
    if file_format == "csv":
        contents = _csv(spec, stream, files, max_row_bytes)
    elif file_format == "ndjson":
        contents = describe_json(spec, stream, files, max_row_bytes)
    else:
        contents = _parquet(stream, files, file_format)
    return _described(spec, stream, files, contents, max_row_bytes)


def _described(
    spec: FilesSourceSpec, stream: StreamSpec, files: tuple[DataFile, ...], contents: Contents, max_row_bytes: int
) -> Described:
    import pyarrow as pa

    by_name = {column.name: column for column in contents.described}
    wanted = stream.columns or tuple(by_name)
    require_known("columns", wanted, by_name)
    require_known("allow_lossy", stream.allow_lossy, by_name)
    added = provenance_columns(stream.metadata, tuple(by_name), contents.format)
    wanted, by_name = (*wanted, *stream.metadata), by_name | {column.name: column for column in added}
    if stream.where is not None:
        schema = pa.schema([*contents.schema, *provenance_fields(stream.metadata)])
        with open_sandbox() as sandbox:
            sandbox.check(schema, stream.where)
    shape = StreamShape(
        spec=stream,
        kind="file",
        relation=None,
        columns=tuple(by_name[name] for name in wanted),
        estimated_rows=contents.rows,
        estimated_bytes=sum(file.size for file in files),
        delivers="arrow",
        partitioning=_partitioning(files, contents),
        files=tuple((relative(file.path, spec.base_dir), file.fingerprint) for file in files),
    )
    task = FileTask(
        files=files,
        columns=contents.columns,
        wanted=wanted,
        format=contents.format,
        dialect=contents.dialect,
        encoding=contents.encoding,
        flatten=stream.flatten,
        metadata=stream.metadata,
        base_dir=spec.base_dir,
        is_closed=not stream.columns,
        where=stream.where,
        block_bytes=BLOCK_BYTES,
        max_row_bytes=max_row_bytes,
        sets_aside=spec.sets_aside,
    )
    return Described(shape=shape, task=task, groups=contents.groups)


def _partitioning(files: tuple[DataFile, ...], contents: Contents) -> str:
    """How the files are cut, or why one of them cannot be, for the plan."""
    how = _PARTITIONING[contents.format]
    if contents.format not in ("csv", "ndjson"):
        return how
    encoding = contents.encoding if contents.dialect is None else contents.dialect.encoding
    for file in files:
        reason = obstacle(file, encoding, contents.dialect)
        if reason is not None:
            return f"one partition a file: {reason}" if len(files) == 1 else f"{how}; {file.path} as one: {reason}"
    return how


def _csv(spec: FilesSourceSpec, stream: StreamSpec, files: tuple[DataFile, ...], max_row_bytes: int) -> Contents:
    import pyarrow as pa

    dialect = choose_dialect(spec, files[0])
    names = read_header(files[0], dialect)
    for file in files[1:]:
        require_same_names(files[0], names, file, read_header(file, dialect))
    notation = Notation(decimal_comma=spec.decimal_comma, date_formats=check_formats(spec.date_formats))
    declared = declared_types(stream, names, notation)
    sample = take_sample(files, dialect, names, max_row_bytes, sets_aside=spec.sets_aside)
    inferred: dict[str, Reading] = {}
    if stream.infers_fully and not sample.is_whole:
        inferred = infer_from_all(files, dialect, names, max_row_bytes, notation, sets_aside=spec.sets_aside)
    readings = {
        name: declared.get(name) or inferred.get(name) or infer(sample.texts[name], sample.phrase, notation)
        for name in names
    }
    reasons = reasons_of(readings, sample, shows_values=spec.shows_values)
    return Contents(
        columns=tuple(FileColumn(name=name, reading=reading) for name, reading in readings.items()),
        described=tuple(
            Column(name=name, type=reading.type, arrow=reading.arrow, reason=reasons[name])
            for name, reading in readings.items()
        ),
        schema=pa.schema([pa.field(name, arrow_type(reading.arrow)) for name, reading in readings.items()]),
        rows=sample.estimated_rows,
        format="csv",
        dialect=dialect,
    )


def _parquet(stream: StreamSpec, files: tuple[DataFile, ...], file_format: FileFormat) -> Contents:
    """Of Parquet and Arrow files: what they say of themselves."""
    import pyarrow as pa

    facts = tuple(facts_of(file, file_format, flatten=stream.flatten) for file in files)
    names: tuple[str, ...] = tuple(facts[0].schema.names)
    for file, found in zip(files[1:], facts[1:], strict=True):
        _require_same_schema(files[0], facts[0], file, found)
    declared = declared_types(stream, names)
    columns = tuple(
        FileColumn(name=name, reading=declared.get(name), lossy=name in stream.allow_lossy) for name in names
    )
    delivered = {column.name: _delivered(facts[0], column) for column in columns}
    return Contents(
        columns=columns,
        described=tuple(_parquet_column(facts, column, delivered[column.name]) for column in columns),
        schema=pa.schema([pa.field(name, arrow) for name, arrow in delivered.items()]),
        rows=sum(found.rows for found in facts) if file_format == "parquet" else None,
        format=file_format,
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


def _require_same_schema(first: DataFile, facts: ParquetFacts, file: DataFile, others: ParquetFacts) -> None:
    require_same_names(first, tuple(facts.schema.names), file, tuple(others.schema.names))
    for field in facts.schema:
        found, due = settle(others, field.name), settle(facts, field.name)
        if found != due:
            raise unlike(first, file, f"has {field.name} as {found.type.name}, not as {due.type.name}")
