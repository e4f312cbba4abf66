"""Which row of the source a row of a COPY is. The server counts rows, in CSV lines; people have files."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Generator
from contextlib import contextmanager

import psycopg

from rapidbyte.errors import DataError
from rapidbyte.model import Wire
from rapidbyte.ports import Block, Place


class Sent:
    """The blocks of one COPY, in order; none of their rows is kept."""

    def __init__(self, wire: Wire) -> None:
        self._counts_lines = wire == "arrow-text"
        self._blocks: list[Block] = []
        self._rows: list[int] = [0]
        """Rows before each block, and one more: before the next."""
        self._lines: list[int] = [0]

    def begun(self, block: Block) -> None:
        """A block is about to be encoded."""
        if block.origin is not None:
            self._blocks.append(Block(data=b"", rows=block.rows, size=0, origin=block.origin))
            self._rows.append(self._rows[-1] + block.rows)

    def encoded(self, block: Block, data: bytes) -> None:
        """These are its bytes."""
        if block.origin is not None:
            self._lines.append(self._lines[-1] + (data.count(b"\n") if self._counts_lines else block.rows))

    @property
    def rows_before(self) -> int:
        """Rows of the blocks before the one that was begun last; 0 where nobody knows where they come from."""
        return self._rows[-2] if len(self._rows) > 1 else 0

    def place(self, line: int, *, counted_by_server: bool) -> Place | None:
        """Where this row, or line of the server's count, comes from; None where nobody knows.

        Where values hold line breaks, lines are no rows: then only the file is known.
        """
        before = self._lines if counted_by_server else self._rows
        number = bisect_right(before, line - 1) - 1
        if not 0 <= number < len(before) - 1:
            return None
        block = self._blocks[number]
        if block.origin is None:
            return None
        exact = not counted_by_server or before[number + 1] - before[number] == block.rows
        return block.origin(line - 1 - before[number]) if exact else Place(file=block.origin(0).file)

    @contextmanager
    def located(self) -> Generator[None]:
        """A DataError that leaves this names the file, and its line instead of the COPY's."""
        try:
            yield
        except DataError as error:
            if error.context.line is not None:
                self._locate(error, error.context.line)
            raise

    def _locate(self, error: DataError, line: int) -> None:
        place = self.place(line, counted_by_server=isinstance(error.__cause__, psycopg.Error))
        if place is not None:
            error.found_in(str(place), place.line if place.line is not None else place.row)
