"""CSV's records as values of the stream's types; what is none ends the load, or is set aside."""

from __future__ import annotations

from collections.abc import Generator
from functools import partial
from typing import TYPE_CHECKING

from rapidbyte.errors import DataError, SourceError
from rapidbyte.ports import Stop
from rapidbyte.rejects import Reject, columns_json
from rapidbyte.sources.files.aside import Aside
from rapidbyte.sources.files.commas import hint_for
from rapidbyte.sources.files.converters import converter
from rapidbyte.sources.files.delimited import Records, texts_of
from rapidbyte.sources.files.dialect import Dialect, read_header
from rapidbyte.sources.files.infer import all_misfits, first_misfit
from rapidbyte.sources.files.paths import ByteRange, DataFile
from rapidbyte.sources.files.readings import Reading
from rapidbyte.sources.files.task import FileTask

if TYPE_CHECKING:
    import pyarrow as pa


def open_records(
    task: FileTask,
    file: DataFile,
    dialect: Dialect,
    part: ByteRange | None,
    stop: Stop,
    aside: Aside | None = None,
) -> Records:
    """What reads this part of a file. Raises SourceError where its header is not the one that was looked at."""
    names = read_header(file, dialect)
    if sorted(names) != sorted(column.name for column in task.columns):
        raise SourceError(f"{file.path} has other columns than before", code="file_changed")
    return Records(
        file,
        dialect,
        names,
        tuple(names.index(column.name) for column in task.needed),
        block_bytes=task.block_bytes,
        max_row_bytes=task.max_row_bytes,
        part=part,
        stop=stop,
        aside=aside,
    )


def sifted_records(task: FileTask, file: DataFile, records: Records, aside: Aside) -> Generator[pa.RecordBatch]:
    """As `typed_records`; rows with a value that does not fit, or is no text, are set aside."""
    import pyarrow as pa
    from pyarrow import compute as pc

    columns = task.needed
    readings = [column.reading for column in columns if column.reading is not None]
    converters = [converter(reading) for reading in readings]
    names = [column.name for column in columns]
    for raw in records:
        before = records.row_count - raw.num_rows
        texts, undecoded = texts_of(raw)
        for row, place in undecoded.items():
            aside.misfit(before + row, partial(_undecoded, task, file, names[place], _raw_texts(names, raw, row)))
        rows = [row for row in range(raw.num_rows) if row not in undecoded]
        arrays: list[pa.Array | None] = []
        bad: dict[int, tuple[str, Reading]] = {}
        for name, reading, convert, values in zip(names, readings, converters, texts.columns, strict=True):
            try:
                arrays.append(convert(values))
            except pa.ArrowInvalid:
                arrays.append(None)
                for place in all_misfits(convert, values):
                    bad.setdefault(place, (name, reading))  # the first of several columns is the one that is told
        for place, (name, reading) in sorted(bad.items()):
            values_of = {each: column[place].as_py() for each, column in zip(names, texts.columns, strict=True)}
            aside.misfit(before + rows[place], partial(_misfitting, file, name, reading, values_of))
        left = pa.array([place for place in range(texts.num_rows) if place not in bad], pa.int64()) if bad else None
        made = [
            convert(values if left is None else pc.take(values, left))
            if array is None
            else (array if left is None else pc.take(array, left))
            for array, convert, values in zip(arrays, converters, texts.columns, strict=True)
        ]
        yield pa.RecordBatch.from_arrays(made, names=names)


def _raw_texts(names: list[str], batch: pa.RecordBatch, row: int) -> dict[str, str | None]:
    found = zip(names, (values[row].as_py() for values in batch.columns), strict=True)
    return {name: None if value is None else value.decode(errors="surrogateescape") for name, value in found}


def _undecoded(task: FileTask, file: DataFile, column: str, values: dict[str, str | None], line: int | None) -> Reject:
    encoding = task.encoding if task.dialect is None else task.dialect.encoding
    return Reject(
        code="encoding_invalid",
        message=f"the text is not {encoding}",
        sqlstate="22021",
        column=column,
        file=file.path,
        line=line,
        row=columns_json(values),
        form="source",
    )


def _misfitting(
    file: DataFile, column: str, reading: Reading, values: dict[str, str | None], line: int | None
) -> Reject:
    return Reject(
        code="value_misfit",
        message=f"the value is not exactly {reading.type.phrase}, which {reading.came_about}",
        sqlstate="22P02",
        column=column,
        file=file.path,
        line=line,
        row=columns_json(values),
        form="source",
    )


def typed_records(task: FileTask, file: DataFile, records: Records) -> Generator[pa.RecordBatch]:
    """CSV's text as values. The first value that does not fit is a DataError with its line and column."""
    import pyarrow as pa

    columns = task.needed
    readings = [column.reading for column in columns if column.reading is not None]
    converters = [converter(reading) for reading in readings]
    for batch in records:
        before = records.row_count - batch.num_rows
        arrays: list[pa.Array] = []
        for column, reading, convert, texts in zip(columns, readings, converters, batch.columns, strict=True):
            try:
                arrays.append(convert(texts))
            except pa.ArrowInvalid as error:
                place = first_misfit(convert, texts)
                line = records.line_of(before + place)
                raise _misfit(file, line, column.name, reading, texts[place].as_py()) from error
        yield pa.RecordBatch.from_arrays(arrays, names=[column.name for column in columns])


def _misfit(file: DataFile, line: int | None, column: str, reading: Reading, value: str) -> DataError:
    where = file.path if line is None else f"{file.path}, line {line}"
    return DataError(
        f"{where}: the value of column {column} is not exactly {reading.type.phrase}, which {reading.came_about}",
        code="value_misfit",
        sqlstate="22P02",
        column=column,
        line=line,
        hint=hint_for(value, type_name=reading.type.name, decimal_comma=reading.decimal_comma)
        or f"types: {{{column}: text}} in the stream loads it as it is",
        row_detail=f"{column}: {value}",
    )
