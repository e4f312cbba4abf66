"""How much memory rows that are larger than a block may take, all readers of a run together.

libpq hands out a row when it has the whole of it, in a buffer that doubles until the row fits and never shrinks while
the connection lives. So a reader asks for room before it takes more of a large row off the wire. Nobody knows how long
a row will be; but once one has been read, the others of its stream are expected to be as wide, and who expects
that asks for all of it at once. A row that is wider than any before is read by one reader at a time.

Nothing can wait for ever: where every reader that holds room waits for more, one of them gets it, above the limit. So
the bound is the limit, or what the widest row needs by itself where that is more; rows whose widths differ much can
add the two.
"""

from __future__ import annotations

import ctypes
import threading
from collections import defaultdict

from rapidbyte.errors import DataError
from rapidbyte.pg.failure import stopped
from rapidbyte.ports import Stop

LARGE_ROW_BYTES = 1 << 20
"""Shorter rows are not accounted for: those of a few workers are lost in what a process takes anyway."""

KEPT_BUFFER_BYTES = 8 << 20
"""A session whose buffer has grown beyond this is closed after its partition: nothing else gives the buffer back."""

TICK_SECONDS = 0.1

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
"""Of glibc's malloc.h."""


class RowBudget:
    """The room of one run. Shared by the readers' threads."""

    def __init__(self, *, limit_bytes: int, max_row_bytes: int) -> None:
        self._limit = limit_bytes
        self._max_row = max_row_bytes
        self._shares: list[RowShare] = []
        self._widest: defaultdict[str, int] = defaultdict(int)
        self._explorer: RowShare | None = None
        self._changed = threading.Condition()
        self._returns = False

    def share(self, stream: str, *, copies: int, stop: Stop, doing: str) -> RowShare:
        """What one reader of a partition takes; `copies` of a row are in memory beside libpq's. Release it."""
        return RowShare(self, stream, copies=copies, stop=stop, doing=doing)

    def reserve(self, share: RowShare, row_bytes: int) -> None:
        """Room for a row of which so much has come; waits for it. Raises DataError, CancelledError."""
        self._require_short(share, row_bytes)
        with self._changed:
            if not self._returns:
                return_large_memory()
                self._returns = True
            try:
                while not self._granted(share, row_bytes):
                    share.waits = True
                    self._changed.notify_all()  # who waits may be what another one waits for
                    self._changed.wait(TICK_SECONDS)
                    if share.stop():
                        raise stopped(share.doing)
            finally:
                share.waits = False

    def _granted(self, share: RowShare, row_bytes: int) -> bool:
        """Books the room where it can be had now."""
        widest = self._widest[share.stream]
        need = share.cost(widest if row_bytes <= widest else doubled(row_bytes))
        if need <= share.held:
            return True
        explores = row_bytes > widest
        if explores and self._explorer not in (None, share):
            return False
        others = [other for other in self._shares if other is not share]
        fits = sum(other.held for other in others) + need <= self._limit
        if not fits and not all(other.waits for other in others):
            return False
        if explores:
            self._explorer = share
        if share not in self._shares:
            self._shares.append(share)
        share.held = need
        return True

    def note(self, share: RowShare, row_bytes: int) -> None:
        """A row is there as a whole, and was so long. Raises DataError."""
        self._require_short(share, row_bytes)
        with self._changed:
            self._widest[share.stream] = max(self._widest[share.stream], row_bytes)
            share.held = max(share.held, share.cost(row_bytes))
            if share not in self._shares:
                self._shares.append(share)
            self._leave(share)

    def release(self, share: RowShare) -> None:
        """The share holds nothing any more."""
        with self._changed:
            share.held = 0
            if share in self._shares:
                self._shares.remove(share)
            self._leave(share)

    def _require_short(self, share: RowShare, row_bytes: int) -> None:
        if row_bytes > self._max_row:
            raise DataError(
                f"a row of {share.stream} is longer than {self._max_row >> 20} MB, which is resources.max_memory",
                code="row_too_large",
                hint=f"raise resources.max_memory: such a row takes {share.copies + 2} times its size at most",
                stream=share.stream,
            )

    def _leave(self, share: RowShare) -> None:
        if self._explorer is share:
            self._explorer = None
        self._changed.notify_all()


class RowShare:
    """One reader's part of the room. `held` and `waits` are the budget's."""

    __slots__ = ("_budget", "copies", "doing", "held", "stop", "stream", "waits")

    def __init__(self, budget: RowBudget, stream: str, *, copies: int, stop: Stop, doing: str) -> None:
        self._budget = budget
        self.stream = stream
        self.copies = copies
        self.stop = stop
        self.doing = doing
        self.held = 0
        self.waits = False

    def cost(self, row_bytes: int) -> int:
        """Bytes that a row takes: libpq's buffer, and the copies on its way."""
        return doubled(row_bytes) + self.copies * row_bytes

    def reserve(self, row_bytes: int) -> None:
        """Called before more of a row is taken off the wire than this."""
        if row_bytes > LARGE_ROW_BYTES:
            self._budget.reserve(self, row_bytes)

    def note(self, row_bytes: int) -> None:
        """Called when a row is there."""
        if row_bytes > LARGE_ROW_BYTES:
            self._budget.note(self, row_bytes)

    @property
    def grew(self) -> bool:
        """The connection's buffer is so large that the connection had better be closed."""
        return self.held > self.cost(KEPT_BUFFER_BYTES)

    def release(self) -> None:
        """Gives everything back."""
        self._budget.release(self)


def return_large_memory() -> None:
    """Has glibc give back at once what large rows took. By itself it comes to keep up to 64 MB a thread for later.

    Only for runs that meet such rows: others are the faster for not asking the kernel again.
    """
    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt"):
        library.mallopt(_M_MMAP_THRESHOLD, LARGE_ROW_BYTES)
        library.mallopt(_M_TRIM_THRESHOLD, KEPT_BUFFER_BYTES)


def doubled(row_bytes: int) -> int:
    """The size of a buffer that was doubled until the row fitted."""
    return 1 << max(14, (row_bytes - 1).bit_length())
