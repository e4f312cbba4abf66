"""Parquet's and Arrow's row groups as values of the stream's types; what is none ends the load, or is set aside."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from rapidbyte.errors import DataError
from rapidbyte.partition import FileRange
from rapidbyte.ports import Place
from rapidbyte.rejects import Reject
from rapidbyte.sources.files import arrow_ipc
from rapidbyte.sources.files.arrow_ipc import Batches
from rapidbyte.sources.files.aside import Aside
from rapidbyte.sources.files.condition import Sandbox
from rapidbyte.sources.files.converters import converter
from rapidbyte.sources.files.nested import flat_batch, flat_fields, flat_schema
from rapidbyte.sources.files.parquet import Groups, ParquetFacts, Settled, deliver, read_facts, require_names, settle
from rapidbyte.sources.files.paths import DataFile
from rapidbyte.sources.files.readings import Reading, arrow_type
from rapidbyte.sources.files.task import FileColumn, FileTask
from rapidbyte.spec import FileFormat
from rapidbyte.transforms.misfits import misfits, misfitting, texts_of_row, without

if TYPE_CHECKING:
    import pyarrow as pa


def facts_of(file: DataFile, file_format: FileFormat, *, flatten: bool) -> ParquetFacts:
    """What a Parquet or Arrow file says of itself; with `flatten` its structs as columns. Raises SourceError."""
    facts = read_facts(file) if file_format == "parquet" else arrow_ipc.read_facts(file)
    if not flatten:
        return facts
    schema = flat_schema(facts.schema)
    require_names(file, schema.names)
    return replace(
        facts,
        schema=schema,
        intervals=tuple(path.replace(".", "_") for path in facts.intervals),
        old_timestamps=tuple(path.replace(".", "_") for path in facts.old_timestamps),
    )


def typed_groups(
    task: FileTask, file: DataFile, part: FileRange, sandbox: Sandbox, aside: Aside | None
) -> tuple[Groups | Batches, Generator[pa.RecordBatch]]:
    """Parquet's and Arrow's values in the types that are delivered; with `aside` rows with others are set aside."""
    import pyarrow as pa

    facts = facts_of(file, task.format, flatten=task.flatten)
    columns = task.needed
    steps = [settle(facts, column.name) for column in columns]
    high = len(facts.groups) if part.high_group is None else part.high_group
    names = [column.name for column in columns]
    stored = _stored_names(file, task, names)
    low = part.low_group or 0
    if task.format == "arrow":
        groups = Batches(file, stored, low, high)
    else:
        groups = Groups(file, stored, low, high, block_bytes=task.block_bytes)

    def converted(batch: pa.RecordBatch) -> pa.RecordBatch:
        arrays = [
            _delivered(file, column, settled, values, sandbox)
            for column, settled, values in zip(columns, steps, batch.columns, strict=True)
        ]
        return pa.RecordBatch.from_arrays(arrays, names=names)

    def typed() -> Generator[pa.RecordBatch]:
        before = 0
        for found in groups:
            batch = flat_batch(found).select(names) if task.flatten else found
            if aside is None:
                yield converted(batch)
                continue
            yield _sifted_batch(file, batch, converted, aside, before)
            before += batch.num_rows

    return groups, typed()


def _sifted_batch(
    file: DataFile,
    batch: pa.RecordBatch,
    converted: Callable[[pa.RecordBatch], pa.RecordBatch],
    aside: Aside,
    before: int,
) -> pa.RecordBatch:
    """The rows whose values all fit; the others are set aside. `before` rows of the part stand before the batch."""
    try:
        return converted(batch)
    except DataError:
        bad = misfits(converted, batch)
    for row, error in bad.items():
        aside.misfit(before + row, partial(_misfitting_row, file, texts_of_row(batch, row), error))
    return converted(without(batch, list(bad))[0])


def _misfitting_row(file: DataFile, values: dict[str, str | None], error: DataError, line: int | None) -> Reject:
    return misfitting(values, error, Place(file=file.path, row=line))


def _stored_names(file: DataFile, task: FileTask, names: list[str]) -> list[str]:
    """The file's own columns that hold these."""
    if not task.flatten:
        return names
    schema = facts_of(file, task.format, flatten=False).schema
    return [field.name for field in schema if any(flat.name in names for flat in flat_fields(field))]


def _delivered(file: DataFile, column: FileColumn, settled: Settled, values: pa.Array, sandbox: Sandbox) -> pa.Array:
    import pyarrow as pa

    try:
        ready = deliver(values, settled, sandbox, lossy=column.lossy)
        return ready if column.reading is None else declared_values(ready, column.reading)
    except pa.ArrowInvalid as error:
        raise DataError(
            f"{file.path}: a value of column {column.name} {_misfit_of(column)}",
            code="value_misfit",
            sqlstate="22003" if column.reading is None else "22P02",
            column=column.name,
            hint=f"allow_lossy: [{column.name}] in the stream cuts off what does not fit, as nanoseconds"
            if column.reading is None
            else f"types: {{{column.name}: text}} in the stream loads it as it is",
            row_detail=str(error),
        ) from error


def _misfit_of(column: FileColumn) -> str:
    if column.reading is None:
        return "does not fit its type without loss"
    return f"is not exactly {column.reading.type.phrase}, which was declared"


def declared_values(values: pa.Array, reading: Reading) -> pa.Array:
    """Parquet's values in a declared type: text is read as CSV's is, others are cast where nothing is lost.

    Raises ArrowInvalid for a value that does not fit, ArrowNotImplementedError where there is no such cast.
    """
    import pyarrow as pa
    from pyarrow import compute as pc

    if pa.types.is_string(values.type):
        return converter(reading)(values)
    return pc.cast(values, arrow_type(reading.arrow))
