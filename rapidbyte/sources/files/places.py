"""Where rows of a partition stand in their file: its line or row. The file is read again to find out."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence

from rapidbyte.partition import FileRange
from rapidbyte.ports import Place, never
from rapidbyte.sources.files import arrow_ipc
from rapidbyte.sources.files.aside import Aside
from rapidbyte.sources.files.csv_values import open_records
from rapidbyte.sources.files.group_values import facts_of
from rapidbyte.sources.files.paths import ByteRange, DataFile
from rapidbyte.sources.files.task import FileTask
from rapidbyte.sources.files.text import lines_before, text_lines


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
        return Place(file=file.path, line=open_records(task, file, task.dialect, span, never).line_of(row))
    lines = enumerate(text_lines(file, task.encoding, span), lines_before(file, task.encoding, span) + 1)
    filled = (number for number, line in lines if line.strip())
    return Place(file=file.path, line=next(itertools.islice(filled, row, None), None))


def rows_before(task: FileTask, file: DataFile, part: FileRange) -> int:
    """Rows of a file of Parquet or Arrow that stand before this part. Of Arrow it reads them."""
    if task.format == "arrow":
        return arrow_ipc.rows_before(file, part.low_group or 0)
    groups = facts_of(file, task.format, flatten=task.flatten).groups
    return sum(group.rows for group in groups[: part.low_group or 0])


def group_place(task: FileTask, file: DataFile, before: Callable[[], int], aside: Aside, row: int) -> Place:
    """As `place_of`, of rows that are counted without those that were set aside."""
    return Place(file=file.path, row=None if task.where is not None else before() + aside.record_of(row) + 1)


def group_rows(before: Callable[[], int], records: Sequence[int]) -> dict[int, int]:
    """Their rows in the file, from 1."""
    return {record: before() + record + 1 for record in records}


def record_starts(task: FileTask, file: DataFile, part: FileRange) -> Iterator[tuple[int, int]]:
    """(record, line on which it begins) of a part of a text file, in order. Reads it again."""
    span = None if part.low_byte is None else ByteRange(low=part.low_byte, high=part.high_byte)
    if task.dialect is not None:
        return enumerate(open_records(task, file, task.dialect, span, never).all_lines())
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
