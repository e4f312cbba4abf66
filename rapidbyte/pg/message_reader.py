"""COPY as the messages it travels in: read off the socket many at a time, and sent on without being taken apart.

What a server sends in `COPY ... TO STDOUT` is, byte for byte, what another takes in `COPY ... FROM STDIN`: CopyData
messages, each a `d`, its length and a row. libpq hands them over one a call: 0.95 s of CPU per million rows of 190
bytes, where this takes 0.6; and 1.15 s for two million of 62 bytes, where this takes 0.7. A row is never held as a
whole, so that memory does not depend on how wide rows are.

libpq must not see any of these messages, or it would look for the end of a row; it throws away those of a COPY that it
has not been told of. So the statement is sent by libpq, what is before the rows and the rows themselves are read here,
and the rest is libpq's again: CopyDone and the command's tag, or the server's error. A message is looked at
(MSG_PEEK) before it is taken, so that nothing of the rest is ever taken.

This needs a connection without encryption (`session.is_plain`).
"""

from __future__ import annotations

import select
from collections.abc import Iterator

from psycopg import sql

from rapidbyte.pg.copy import CopySocket, Stop, end_copy, send_query
from rapidbyte.pg.failure import stopped
from rapidbyte.pg.messages import HEAD_BYTES, Frames, walk
from rapidbyte.pg.session import PgConnection

_BEFORE_ROWS = frozenset(b"12nTH")
"""Parse and bind complete, what the statement returns, and the start of the COPY."""
_ANY_TIME = frozenset(b"NSA")
"""Notices, changed parameters, notifications: a server may send them between any two messages. They are passed over."""

NAP_BYTES, NAP_SECONDS = 32 * 1024, 0.0005
"""After less than this had arrived, so long is waited for more: 1,400 looks at the socket for 190 MB instead of
20,000, a quarter of the CPU."""


class MessagesOut:
    """The rows of one `COPY ... TO STDOUT` as messages, in blocks of at most `block_bytes`.

    Iterate once; afterwards `row_count` is the server's own count. On a failure of the server psycopg.Error is
    raised: a failure is never an end. The transaction stays open. The connection must be plain.
    """

    def __init__(
        self, connection: PgConnection, statement: sql.Composed, *, block_bytes: int, stop: Stop, doing: str
    ) -> None:
        self._connection = connection
        self._statement = statement
        self._block_bytes = block_bytes
        self._socket = CopySocket(connection, stop, doing)
        self._rows: int | None = None
        self._began = False

    @property
    def blocked_s(self) -> float:
        """Seconds in which nothing had arrived."""
        return self._socket.blocked_s

    @property
    def row_count(self) -> int | None:
        """Rows the server says it sent; None before the end."""
        return self._rows

    def __iter__(self) -> Iterator[Frames]:
        """The messages (binary: rows, and one trailer). A block ends where a message ends.

        But for a message that is larger than a block: it comes in pieces, and counts with its first.
        """
        send_query(self._connection, self._statement, self._socket)
        with self._socket:
            yield from self._blocks()
        if self._socket.stop():
            raise stopped(self._socket.doing)
        self._rows = end_copy(self._connection, self._socket)

    def _blocks(self) -> Iterator[Frames]:
        wire, size = self._socket, self._block_bytes
        full = size * 3 // 4
        block = bytearray(size)
        room = memoryview(block)
        filled = rows = missing = 0  # `missing`: bytes of the last message that are still to come
        while True:
            end = filled + self._look(room[filled:], least=1 if missing else HEAD_BYTES)
            if end == filled:
                break
            found = walk(block, filled + missing, end)
            taken, begun = min(found.position, end), found.rows
            if begun and found.position > end and found.boundary >= full:
                # The last row is not here as a whole: it waits where it is, there is enough to hand over.
                taken, begun = found.boundary, begun - 1
            missing = max(0, found.position - taken) if taken == end else 0
            wire.take_into(room[filled:taken])
            filled, rows = taken, rows + begun
            if filled == size or (filled >= full and not missing):
                yield self._handed_over(room[:filled], rows, missing)
                filled = rows = 0
            if found.other is not None and not self._passes_over(found.other):
                break
        if filled:
            yield self._handed_over(room[:filled], rows, missing)

    def _handed_over(self, data: memoryview, rows: int, missing: int) -> Frames:
        if self._socket.stop():
            raise stopped(self._socket.doing)
        self._began = True
        return Frames(data=bytes(data), rows=rows, size=len(data) - rows * HEAD_BYTES, missing_bytes=missing)

    def _look(self, room: memoryview, *, least: int) -> int:
        """How many bytes wait, once there are `least`; they are copied to `room`, and stay. 0: no more will come."""
        wire = self._socket
        while (found := wire.peek_into(room)) is None:
            wire.wait(select.POLLIN)
        if 0 < found < min(NAP_BYTES, len(room)):
            wire.nap(NAP_SECONDS)
            found = wire.peek_into(room) or found
        while 0 < found < least:
            if wire.is_closed():
                return 0
            if wire.stop():
                raise stopped(wire.doing)
            wire.nap(10 * NAP_SECONDS)
            found = wire.peek_into(room) or found
        return found

    def _passes_over(self, kind: int) -> bool:
        """Takes a message that is no row off the socket; False for one that libpq is to have: the end, an error."""
        if kind not in (_ANY_TIME if self._began else _ANY_TIME | _BEFORE_ROWS):
            return False
        head = bytearray(HEAD_BYTES)
        self._socket.take_into(memoryview(head))
        left = int.from_bytes(head[1:], "big") - 4
        while left:
            part = memoryview(bytearray(min(left, NAP_BYTES)))
            self._socket.take_into(part)
            left -= len(part)
        return True
