"""One partition of a stream of files, read: batches of the types that the stream's columns say."""

from __future__ import annotations

import datetime as dt
import itertools
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import cache, partial
from typing import TYPE_CHECKING

from rapidbyte.errors import CancelledError, DataError, InternalError, SourceError
from rapidbyte.metrics import ReadTimes
from rapidbyte.partition import FileRange, Partition
from rapidbyte.ports import Block, Place, Stop, never
from rapidbyte.rejects import Reject, columns_json
from rapidbyte.sources.files import arrow_ipc
from rapidbyte.sources.files.arrow_ipc import Batches
from rapidbyte.sources.files.aside import Aside
from rapidbyte.sources.files.commas import hint_for
from rapidbyte.sources.files.condition import Sandbox, open_sandbox
from rapidbyte.sources.files.converters import converter
from rapidbyte.sources.files.delimited import Dialect, Records, read_header, texts_of
from rapidbyte.sources.files.infer import all_misfits, first_misfit
from rapidbyte.sources.files.ndjson import JsonColumn, JsonKind, JsonPlan
from rapidbyte.sources.files.ndjson_records import JsonRecords
from rapidbyte.sources.files.nested import flat_batch, flat_fields, flat_schema
from rapidbyte.sources.files.opening import require_unchanged
from rapidbyte.sources.files.parquet import Groups, ParquetFacts, Settled, deliver, read_facts, require_names, settle
from rapidbyte.sources.files.paths import ByteRange, DataFile, relative
from rapidbyte.sources.files.provenance import Provenance
from rapidbyte.sources.files.readings import Reading, arrow_type
from rapidbyte.sources.files.text import lines_before, text_lines
from rapidbyte.spec import FileFormat
from rapidbyte.transforms.misfits import misfits, misfitting, texts_of_row, without
from rapidbyte.values import frozen

if TYPE_CHECKING:
    import pyarrow as pa


@frozen
class FileColumn:
    """One column of the files."""

    name: str
    reading: Reading | None = None
    """How its text becomes values: always in CSV and NDJSON; elsewhere where the pipeline declares a type."""
    kind: JsonKind | None = None
    """What its values are in NDJSON."""
    lossy: bool = False
    """The pipeline allows that values change."""


@frozen
class FileTask:
    """All that reading one stream's partitions needs. Picklable."""

    files: tuple[DataFile, ...]
    columns: tuple[FileColumn, ...]
    """All columns of the files."""
    wanted: tuple[str, ...]
    """Those that are delivered, in this order."""
    format: FileFormat
    dialect: Dialect | None = None
    """Of CSV."""
    encoding: str = "utf-8"
    """Of NDJSON."""
    flatten: bool = False
    metadata: tuple[str, ...] = ()
    """Columns that say where a row comes from; they are among the `wanted`."""
    base_dir: str = "."
    run_id: str | None = None
    loaded_at: dt.datetime | None = None
    is_closed: bool = False
    """All columns are wanted: a key of NDJSON that is none of them is an error."""
    where: str | None
    block_bytes: int
    max_row_bytes: int
    tells_at_once: bool = False
    """What is set aside of a batch is told before the batch: somebody may stop reading early."""
    sets_aside: bool = False
    """Rows that cannot be parsed, or have a value that does not fit, do not end the load."""

    @property
    def is_text(self) -> bool:
        """The files are CSV or NDJSON: they can be cut between lines."""
        return self.format in ("csv", "ndjson")

    @property
    def needed(self) -> tuple[FileColumn, ...]:
        """What must be read: what is delivered, and everything that a condition may look at."""
        return tuple(column for column in self.columns if self.where is not None or column.name in self.wanted)


Rows = Records | JsonRecords | Groups | Batches


class FileBlocks:
    """The blocks of one partition, in order. Iterated once, by one thread."""

    def __init__(
        self,
        batches: Iterator[pa.RecordBatch],
        rows: Rows,
        stop: Stop,
        block_bytes: int,
        place: Callable[[int], Place],
        aside: Aside | None = None,
        lines: Callable[[Sequence[int]], dict[int, int]] = lambda _: {},
        *,
        tells_at_once: bool = False,
    ) -> None:
        self._tells_at_once = tells_at_once
        self._batches = batches
        self._place = place
        self._source = rows
        self._stop = stop
        self._block_bytes = block_bytes
        self._seconds = 0.0
        self._rows = 0
        self._is_complete = False
        self._aside = aside
        self._lines = lines

    def __iter__(self) -> Iterator[Block]:
        while (batch := self._timed()) is not None:
            if self._aside is not None and (self._tells_at_once or self._aside.is_full):
                yield self._rejects()
            for piece in (batch,) if self._tells_at_once else pieces(batch, self._block_bytes):
                if self._stop():
                    raise CancelledError("reading was stopped", code="stopped")
                origin = partial(_shifted, self._place, self._rows)
                self._rows += piece.num_rows
                yield Block(data=piece, rows=piece.num_rows, size=piece.nbytes, origin=origin)
        if self._aside is not None:
            yield self._rejects()
        self._is_complete = True

    def _rejects(self) -> Block:
        """What was set aside, as a block without rows."""
        found = () if self._aside is None else self._aside.take(self._lines)
        return Block(data=b"", rows=0, size=sum(len(reject.row) for reject in found), rejects=found)

    def _timed(self) -> pa.RecordBatch | None:
        started = time.monotonic()
        try:
            return next(self._batches, None)
        finally:
            self._seconds += time.monotonic() - started

    @property
    def row_count(self) -> int:
        """Rows handed on. Raises InternalError before the end."""
        if not self._is_complete:
            raise InternalError("the row count was asked for before the file's end", code="row_count_early")
        return self._rows

    @property
    def times(self) -> ReadTimes:
        """Blocked is waiting for the file system, busy the rest: decompressing, parsing, converting."""
        blocked = min(self._source.blocked_s, self._seconds)
        return ReadTimes(blocked_s=blocked, busy_s=self._seconds - blocked)


def pieces(batch: pa.RecordBatch, block_bytes: int) -> Iterator[pa.RecordBatch]:
    """The batch in slices of about `block_bytes` at most; nothing for one without rows."""
    count = min(batch.num_rows, -(-batch.nbytes // block_bytes))
    step = -(-batch.num_rows // count) if count else 1
    for start in range(0, batch.num_rows, step):
        yield batch.slice(start, step)


@contextmanager
def read_partition(task: FileTask, partition: Partition, stop: Stop, worker: int) -> Generator[FileBlocks]:  # noqa: ARG001
    """Opens the partition's file; closes it when left. A `ReadPartition` once `task` is bound.

    Raises SourceError for a file that changes or breaks off, DataError for a value or record that does not fit,
    CancelledError when `stop` says so.
    """
    part = partition.range
    if not isinstance(part, FileRange):
        raise InternalError(f"partition {partition.index} is no part of a file", code="partition_kind")
    file = next((file for file in task.files if file.path == part.path), None)
    if file is None:
        raise InternalError(f"partition {partition.index} is of a file of another stream", code="partition_kind")
    aside = Aside() if task.sets_aside else None
    with open_batches(task, file, part, stop, aside) as (batches, rows):
        if aside is None:
            yield FileBlocks(batches, rows, stop, task.block_bytes, partial(place_of, task, file, part))
            return
        if task.is_text:
            place = Places(task, file, part, aside).place_of
            lines = partial(record_lines, task, file, part)
        else:
            before = cache(partial(rows_before, task, file, part))
            place = partial(_group_place, task, file, before, aside)
            lines = partial(_group_rows, before)
        at_once = task.tells_at_once
        yield FileBlocks(batches, rows, stop, task.block_bytes, place, aside, lines, tells_at_once=at_once)


def _shifted(place: Callable[[int], Place], first: int, row: int) -> Place:
    return place(first + row)


def place_of(task: FileTask, file: DataFile, part: FileRange, row: int) -> Place:
    """Where a row of a partition (from 0) stands in its file. Reads the file again, as far as the row.

    Where a condition has left rows out, nobody knows which one it is.
    """
    if task.where is not None:
        return Place(file=file.path)
    if not task.is_text:
        return Place(file=file.path, row=rows_before(task, file, part) + row + 1)
    span = None if part.low_byte is None else ByteRange(low=part.low_byte, high=part.high_byte)
    if task.dialect is not None:
        return Place(file=file.path, line=_records(task, file, task.dialect, span, never).line_of(row))
    lines = enumerate(text_lines(file, task.encoding, span), lines_before(file, task.encoding, span) + 1)
    filled = (number for number, line in lines if line.strip())
    return Place(file=file.path, line=next(itertools.islice(filled, row, None), None))


def rows_before(task: FileTask, file: DataFile, part: FileRange) -> int:
    """Rows of a file of Parquet or Arrow that stand before this part. Of Arrow it reads them."""
    if task.format == "arrow":
        return arrow_ipc.rows_before(file, part.low_group or 0)
    groups = facts_of(file, task.format, flatten=task.flatten).groups
    return sum(group.rows for group in groups[: part.low_group or 0])


def _group_place(task: FileTask, file: DataFile, before: Callable[[], int], aside: Aside, row: int) -> Place:
    """As `place_of`, of rows that are counted without those that were set aside."""
    return Place(file=file.path, row=None if task.where is not None else before() + aside.record_of(row) + 1)


def _group_rows(before: Callable[[], int], records: Sequence[int]) -> dict[int, int]:
    """Their rows in the file, from 1."""
    return {record: before() + record + 1 for record in records}


def record_starts(task: FileTask, file: DataFile, part: FileRange) -> Iterator[tuple[int, int]]:
    """(record, line on which it begins) of a part of a text file, in order. Reads it again."""
    span = None if part.low_byte is None else ByteRange(low=part.low_byte, high=part.high_byte)
    if task.dialect is not None:
        return enumerate(_records(task, file, task.dialect, span, never).all_lines())
    lines = enumerate(text_lines(file, task.encoding, span), lines_before(file, task.encoding, span) + 1)
    return enumerate(number for number, line in lines if line.strip())


def record_lines(task: FileTask, file: DataFile, part: FileRange, records: Sequence[int]) -> dict[int, int]:
    """The lines of some records, in one reading."""
    wanted, found = set(records), dict[int, int]()
    for record, line in record_starts(task, file, part):
        if record in wanted:
            found[record] = line
            if len(found) == len(wanted):
                break
    return found


class Places:
    """Where delivered rows stand, asked for in ascending order: one reading for all of them. Used by one thread."""

    def __init__(self, task: FileTask, file: DataFile, part: FileRange, aside: Aside) -> None:
        self._task = task
        self._file = file
        self._part = part
        self._aside = aside
        self._starts: Iterator[tuple[int, int]] = iter(())
        self._latest = (-1, 0)
        self._begun = False

    def place_of(self, row: int) -> Place:
        """As `place_of`, of rows that are counted without those that were set aside."""
        if self._task.where is not None:
            return Place(file=self._file.path)
        wanted = self._aside.record_of(row)
        if not self._begun or wanted < self._latest[0]:
            self._starts, self._begun, self._latest = record_starts(self._task, self._file, self._part), True, (-1, 0)
        while self._latest[0] < wanted:
            following = next(self._starts, None)
            if following is None:
                return Place(file=self._file.path)
            self._latest = following
        return Place(file=self._file.path, line=self._latest[1])


@contextmanager
def open_batches(
    task: FileTask, file: DataFile, part: FileRange, stop: Stop, aside: Aside | None = None
) -> Generator[tuple[Iterator[pa.RecordBatch], Rows]]:
    """The wanted columns of the rows that meet the condition, in batches, and what reads them from the file.

    Raises what `read_partition` does.
    """
    require_unchanged(file)
    with open_sandbox() as sandbox:
        rows, typed = _opened(task, file, part, sandbox, stop, aside)
        labelled = _labelled(task, file, rows, typed, aside)
        with closing(typed), closing(_selected(task, file, labelled, sandbox)) as batches:
            yield batches, rows


def _opened(
    task: FileTask, file: DataFile, part: FileRange, sandbox: Sandbox, stop: Stop, aside: Aside | None
) -> tuple[Rows, Generator[pa.RecordBatch]]:
    """What reads this part of the file, and its batches."""
    if not task.is_text:
        return _typed_groups(task, file, part, sandbox, aside)
    span = None if part.low_byte is None else ByteRange(low=part.low_byte, high=part.high_byte)
    if task.dialect is None:
        found = JsonRecords(
            file,
            json_plan(task),
            block_bytes=task.block_bytes,
            max_row_bytes=task.max_row_bytes,
            part=span,
            stop=stop,
            aside=aside,
        )
        return found, (batch for batch in found)
    records = _records(task, file, task.dialect, span, stop, aside)
    typed = _typed_records(task, file, records) if aside is None else _sifted_records(task, file, records, aside)
    return records, typed


def json_plan(task: FileTask) -> JsonPlan:
    """What is read of NDJSON files."""
    return JsonPlan(
        columns=tuple(
            JsonColumn(name=column.name, kind=column.kind or "any", reading=column.reading)
            for column in task.needed
            if column.reading is not None
        ),
        is_closed=task.is_closed,
        known=frozenset(column.name for column in task.columns),
        flatten=task.flatten,
        encoding=task.encoding,
    )


def _labelled(
    task: FileTask, file: DataFile, rows: Rows, batches: Iterator[pa.RecordBatch], aside: Aside | None
) -> Iterator[pa.RecordBatch]:
    """The batches, with the columns that say where their rows come from."""
    if not task.metadata:
        yield from batches
        return
    known = Provenance(
        names=task.metadata,
        file=relative(file.path, task.base_dir),
        loaded_at=task.loaded_at,
        run_id=task.run_id,
    )
    with closing(_lines_of(rows, aside)) as lines:
        for batch in batches:
            yield known.added(batch, lines)


def _lines_of(rows: Rows, aside: Aside | None) -> Generator[int]:
    """The line of each row; opens the file when the first is asked for. None where there are no lines."""
    if isinstance(rows, Records | JsonRecords):
        yield from rows.all_lines() if aside is None else aside.kept(rows.all_lines())


def _selected(
    task: FileTask, file: DataFile, batches: Iterator[pa.RecordBatch], sandbox: Sandbox
) -> Generator[pa.RecordBatch]:
    for batch in batches:
        kept = batch if task.where is None else sandbox.filtered(batch, task.where)
        yield kept.select(list(task.wanted))
    require_unchanged(file)


def _records(
    task: FileTask,
    file: DataFile,
    dialect: Dialect,
    part: ByteRange | None,
    stop: Stop,
    aside: Aside | None = None,
) -> Records:
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


def _sifted_records(task: FileTask, file: DataFile, records: Records, aside: Aside) -> Generator[pa.RecordBatch]:
    """As `_typed_records`; rows with a value that does not fit, or is no text, are set aside."""
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
    found = "was declared" if reading.check == "declared" else "was inferred from the first rows"
    return Reject(
        code="value_misfit",
        message=f"the value is not exactly {reading.type.phrase}, which {found}",
        sqlstate="22P02",
        column=column,
        file=file.path,
        line=line,
        row=columns_json(values),
        form="source",
    )


def _typed_records(task: FileTask, file: DataFile, records: Records) -> Generator[pa.RecordBatch]:
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
    found = "was declared" if reading.check == "declared" else "was inferred from the first rows"
    where = file.path if line is None else f"{file.path}, line {line}"
    return DataError(
        f"{where}: the value of column {column} is not exactly {reading.type.phrase}, which {found}",
        code="value_misfit",
        sqlstate="22P02",
        column=column,
        line=line,
        hint=hint_for(value, type_name=reading.type.name, decimal_comma=reading.decimal_comma)
        or f"types: {{{column}: text}} in the stream loads it as it is",
        row_detail=f"{column}: {value}",
    )


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


def _typed_groups(
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
