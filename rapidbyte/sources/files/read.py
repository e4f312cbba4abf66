"""One partition of a stream of files, read: batches of the types that the stream's columns say."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import cache, partial
from typing import TYPE_CHECKING

from rapidbyte.errors import CancelledError, InternalError
from rapidbyte.metrics import ReadTimes
from rapidbyte.partition import FileRange, Partition
from rapidbyte.ports import Block, Place, Stop
from rapidbyte.sources.files.arrow_ipc import Batches
from rapidbyte.sources.files.aside import Aside
from rapidbyte.sources.files.condition import Sandbox, open_sandbox
from rapidbyte.sources.files.csv_values import open_records, sifted_records, typed_records
from rapidbyte.sources.files.delimited import Records
from rapidbyte.sources.files.group_values import typed_groups
from rapidbyte.sources.files.ndjson import JsonColumn, JsonPlan
from rapidbyte.sources.files.ndjson_records import JsonRecords
from rapidbyte.sources.files.opening import require_unchanged
from rapidbyte.sources.files.parquet import Groups
from rapidbyte.sources.files.paths import ByteRange, DataFile, relative
from rapidbyte.sources.files.places import Places, group_place, group_rows, place_of, record_lines, rows_before
from rapidbyte.sources.files.provenance import Provenance
from rapidbyte.sources.files.task import FileTask

if TYPE_CHECKING:
    import pyarrow as pa


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
            place = partial(group_place, task, file, before, aside)
            lines = partial(group_rows, before)
        at_once = task.tells_at_once
        yield FileBlocks(batches, rows, stop, task.block_bytes, place, aside, lines, tells_at_once=at_once)


def _shifted(place: Callable[[int], Place], first: int, row: int) -> Place:
    return place(first + row)


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
        return typed_groups(task, file, part, sandbox, aside)
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
    records = open_records(task, file, task.dialect, span, stop, aside)
    typed = typed_records(task, file, records) if aside is None else sifted_records(task, file, records, aside)
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
