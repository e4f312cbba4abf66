"""Rows of text files that are set aside while reading: kept until the next block takes them along.

Rows count from 0 in three ways: as records of the file or the part of it that is read, as rows that could be parsed,
and as rows that are delivered. `record_of` goes from the last to the first.
"""

from __future__ import annotations

import threading
from bisect import insort
from collections.abc import Callable, Iterable, Iterator, Sequence

from rapidbyte.rejects import Reject

WAITING = 1000
"""So many wait at the most until their lines are looked up: that takes one more reading of the part."""


class Aside:
    """What is set aside of one part of a file. Its reader's thread adds, the writer's asks where rows stand."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._malformed: list[int] = []
        self._misfits: list[int] = []
        self._waiting: list[tuple[int, Callable[[int | None], Reject]]] = []
        self._seen: set[int] = set()
        self._left_out: set[int] = set()

    def malformed(self, record: int, reject: Callable[[int | None], Reject]) -> None:
        """A record that could not be parsed; `reject` is given its line. One that was told before is passed over."""
        with self._lock:
            if record not in self._seen:
                self._seen.add(record)
                insort(self._malformed, record)
                self._waiting.append((record, reject))

    def misfit(self, row: int, reject: Callable[[int | None], Reject]) -> None:
        """A row that could be parsed, counted among those, of which a value does not fit."""
        with self._lock:
            insort(self._misfits, row)
            self._left_out.add(row)
            self._waiting.append((shifted(row, self._malformed), reject))

    @property
    def is_full(self) -> bool:
        """So many wait that they should be taken."""
        return len(self._waiting) >= WAITING

    def take(self, lines: Callable[[Sequence[int]], dict[int, int]]) -> tuple[Reject, ...]:
        """All that wait, in the file's order; `lines` gives the lines of records."""
        with self._lock:
            waiting, self._waiting = sorted(self._waiting, key=lambda each: each[0]), []
        if not waiting:
            return ()
        found = lines([record for record, _ in waiting])
        return tuple(reject(found.get(record)) for record, reject in waiting)

    def kept(self, lines: Iterable[int]) -> Iterator[int]:
        """Of the lines of all records those of the rows that are delivered; not ahead of their delivery."""
        rows = 0
        for record, line in enumerate(lines):
            if record in self._seen:
                continue
            rows += 1
            if rows - 1 not in self._left_out:
                yield line

    def record_of(self, row: int) -> int:
        """The record that a delivered row is."""
        with self._lock:
            return shifted(shifted(row, self._misfits), self._malformed)


def shifted(row: int, left_out: Sequence[int]) -> int:
    """The place of the row that is the `row`-th of those that are not left out; `left_out` is sorted. Pure."""
    for place in left_out:
        if place > row:
            break
        row += 1
    return row
