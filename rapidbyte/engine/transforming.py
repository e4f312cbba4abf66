"""A partition's blocks on their way through the transforms, in the worker's thread, and what that costs."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace

from rapidbyte.errors import InternalError
from rapidbyte.ports import Block, BlockStream, Stop, TransformPartition


class Transformed:
    """The blocks as the writer sees them: transformed, each with the seconds that this took. Iterated once.

    What the source says of its rows is compared with the rows that the transforms were given; `row_count` are those
    that came out.
    """

    def __init__(self, blocks: BlockStream, transform: TransformPartition, stop: Stop) -> None:
        self._blocks = blocks
        self._transform = transform
        self._stop = stop
        self._waiting_s = 0.0
        self._taken = 0
        self._rows: int | None = None

    def __iter__(self) -> Iterator[Block]:
        rows = 0
        transformed = self._transform(self._arriving(), self._stop)
        while True:
            started, waited = time.monotonic(), self._waiting_s
            block = next(transformed, None)
            spent = max(0.0, time.monotonic() - started - (self._waiting_s - waited))
            if block is None:
                break
            rows += block.rows
            block = replace(block, transform_s=spent)
            yield block
            del block  # it may be large, and the next one comes beside it
        self._require_all_taken()
        self._rows = rows
        yield Block(data=b"", rows=0, size=0, transform_s=spent)  # what was spent after the last row

    def _arriving(self) -> Iterator[Block]:
        """The source's blocks; the time they take to arrive is none of the transforms'."""
        blocks = iter(self._blocks)
        while True:
            started = time.monotonic()
            block = next(blocks, None)
            self._waiting_s += time.monotonic() - started
            if block is None:
                return
            self._taken += block.rows
            yield block
            del block

    def _require_all_taken(self) -> None:
        if self._taken != self._blocks.row_count:
            raise InternalError(
                f"the transforms were given {self._taken} of the source's {self._blocks.row_count} rows",
                code="rows_untransformed",
            )

    @property
    def row_count(self) -> int:
        """Rows that came out. Raises InternalError before the end."""
        if self._rows is None:
            raise InternalError("the row count was asked for before the transforms' end", code="row_count_early")
        return self._rows
