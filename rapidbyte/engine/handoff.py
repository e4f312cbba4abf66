"""The hand-over from reading to writing: a queue that is bounded in bytes, not in blocks."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator

from rapidbyte.errors import CancelledError, InternalError
from rapidbyte.ports import Block


class Handoff:
    """Blocks of one partition, put by the thread that reads and taken by the thread that writes.

    At most `max_bytes` are under way, or one block that is larger by itself: its `put` returns when the taker is back
    for the next, and `finish` when the taker has gone, so that no large row is read while another one is worked on.
    Ends in one of three ways: `finish` (the source has delivered all of it), `fail` (the source's error is raised
    where blocks are taken), `close` (the taker has gone; the next `put` raises CancelledError).
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._blocks: deque[Block] = deque()
        self._size = 0
        self._puts = self._asked = 0
        self._large = False
        self._rows: int | None = None
        self._failure: BaseException | None = None
        self._closed = False
        self._changed = threading.Condition()

    def put(self, block: Block) -> None:
        """Hands a block over; waits while there is no room for it."""
        with self._changed:
            while self._blocks and self._size + block.size > self._max_bytes and not self._closed:
                self._changed.wait()
            if self._closed:
                raise CancelledError("the writer has ended", code="stopped")
            self._blocks.append(block)
            self._puts += 1
            self._size += block.size
            self._changed.notify_all()
            if block.size > self._max_bytes:
                self._large = True
                del block
                while self._asked <= self._puts and not self._closed:
                    self._changed.wait()

    def finish(self, row_count: int) -> None:
        """The source has delivered everything: `row_count` rows, by its own count."""
        with self._changed:
            self._rows = row_count
            self._changed.notify_all()
            while self._large and not self._closed:
                self._changed.wait()

    def fail(self, failure: BaseException) -> None:
        """The source has failed. Its blocks so far are not handed out any more."""
        with self._changed:
            self._failure = failure
            self._blocks.clear()
            self._changed.notify_all()

    def close(self) -> None:
        """Nobody takes blocks any more. May be repeated."""
        with self._changed:
            self._closed = True
            self._blocks.clear()
            self._changed.notify_all()

    def __iter__(self) -> Iterator[Block]:
        while (block := self._take()) is not None:
            yield block
            del block  # it may be large, and the next one may take its time

    def _take(self) -> Block | None:
        """The next block; None once the source has said that there are no more."""
        with self._changed:
            self._asked += 1
            self._changed.notify_all()
            while not self._blocks and self._failure is None and self._rows is None:
                self._changed.wait()
            if self._failure is not None:
                raise self._failure
            if not self._blocks:
                return None
            block = self._blocks.popleft()
            self._size -= block.size
            self._changed.notify_all()
            return block

    @property
    def row_count(self) -> int:
        """Rows by the source's own count. Raises InternalError before its end."""
        if self._rows is None:
            raise InternalError("the row count was asked for before the source's end", code="row_count_early")
        return self._rows
