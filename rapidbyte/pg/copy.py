"""libpq's COPY, block by block: rows are moved as the server sent them and never looked at.

psycopg's own `Copy` hands over one row a call and waits after each; here a connection is drained until it gives
nothing, and only then waited for (narrow rows: 1.15 to 1.28 of a `psql | psql` pipe's time instead of 2.6).
Statements are composed (`psycopg.sql`), never text.
"""

from __future__ import annotations

import os
import select
import socket
import struct
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from fcntl import ioctl
from types import TracebackType
from typing import Self

import psycopg
from psycopg import sql
from psycopg.errors import error_from_result
from psycopg.pq import ExecStatus, TransactionStatus
from psycopg.pq.abc import PGresult

from rapidbyte.errors import CancelledError, InternalError
from rapidbyte.pg.failure import stopped
from rapidbyte.pg.large_rows import LARGE_ROW_BYTES, RowShare
from rapidbyte.pg.messages import Stripper
from rapidbyte.pg.session import PgConnection, is_plain

TICK_SECONDS = 0.2
"""How often a wait looks whether it is to stop."""

PIECE_BYTES = 512 * 1024
"""More than this is given to libpq, and handed on, in pieces: it keeps what the kernel does not take at once, and moves
all of that at each call (50 MB in one go took 2.5 s, in pieces 0.1 s)."""

FULL_SOCKET_BYTES = 64 * 1024
"""A connection on which so much waits is a fast one."""

Stop = Callable[[], bool]


class CopySocket:
    """The connection's socket: waits for it, and knows how long it waited; entered, it also reads and writes.

    What is read and written past libpq is for whoever knows what libpq would have made of it.
    """

    __slots__ = ("_duplicate", "_poll", "_registered", "blocked_s", "doing", "stop")

    def __init__(self, connection: PgConnection, stop: Stop, doing: str) -> None:
        self._duplicate: socket.socket | None = None
        self._poll = select.poll()
        self._registered = connection.pgconn.socket
        self.blocked_s = 0.0
        self.stop = stop
        self.doing = doing

    def wait(self, events: int) -> int:
        """Sleeps until the socket is ready for one of `events`; raises CancelledError when told to stop."""
        self._poll.register(self._registered, events)
        started = time.monotonic()
        while not (ready := self._poll.poll(int(TICK_SECONDS * 1000))):
            if self.stop():
                raise stopped(self.doing)
        self.blocked_s += time.monotonic() - started
        return ready[0][1]

    def has_input(self) -> bool:
        """True when something can be read now."""
        self._poll.register(self._registered, select.POLLIN)
        return bool(self._poll.poll(0))

    def arrived(self) -> int:
        """Bytes that could be read now."""
        (count,) = struct.unpack("i", ioctl(self._registered, termios.FIONREAD, bytes(4)))
        return count

    def nap(self, seconds: float) -> None:
        """Lets more arrive."""
        time.sleep(seconds)
        self.blocked_s += seconds

    def is_closed(self) -> bool:
        """True when the peer sends nothing any more."""
        self._poll.register(self._registered, getattr(select, "POLLRDHUP", 0))
        return bool(self._poll.poll(0))

    def __enter__(self) -> Self:
        self._duplicate = socket.socket(fileno=os.dup(self._registered))
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if self._duplicate is not None:
            self._duplicate.close()
            self._duplicate = None

    @property
    def _entered(self) -> socket.socket:
        if self._duplicate is None:
            raise InternalError("the socket was not entered", code="socket_not_entered")
        return self._duplicate

    def peek_into(self, room: memoryview) -> int | None:
        """Copies what waits on the socket, as far as there is room; it stays there.

        None where nothing has arrived, 0 where nothing will: the peer has gone, and libpq knows why.
        """
        try:
            return self._entered.recv_into(room, 0, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return None
        except OSError:
            return 0

    def take_into(self, room: memoryview) -> None:
        """Takes as much off the socket as there is room. Raises psycopg.OperationalError where it ends before."""
        while room:
            try:
                taken = self._entered.recv_into(room, 0, socket.MSG_DONTWAIT)
            except BlockingIOError:
                self.wait(select.POLLIN)
                continue
            except OSError as error:
                raise psycopg.OperationalError(f"the connection was lost: {error}") from error
            if not taken:
                raise psycopg.OperationalError("server closed the connection unexpectedly")
            room = room[taken:]

    def send(self, data: memoryview) -> int | None:
        """Sends what the kernel takes now; how much. None where the connection is lost, and libpq knows why."""
        try:
            return self._entered.send(data, socket.MSG_DONTWAIT | getattr(socket, "MSG_NOSIGNAL", 0))
        except BlockingIOError:
            return 0
        except OSError:
            return None


def _fetch_result(connection: PgConnection, wire: CopySocket) -> PGresult | None:
    """The next result of the statement under way; None after the last."""
    pgconn = connection.pgconn
    while pgconn.flush():
        if wire.wait(select.POLLIN | select.POLLOUT) & select.POLLIN:
            pgconn.consume_input()
    while pgconn.is_busy():
        wire.wait(select.POLLIN)
        pgconn.consume_input()
    return pgconn.get_result()


def _fail(connection: PgConnection, result: PGresult) -> psycopg.Error:
    return error_from_result(result, encoding=connection.info.encoding)


def send_query(connection: PgConnection, statement: sql.Composed, wire: CopySocket) -> None:
    """Sends a statement; returns when the kernel has it.

    It may hold a user's SQL: this protocol runs one statement and no more. (Not for COPY IN: there libpq would wait for
    ever after an error of the server, for the Sync that nobody has sent.)
    """
    connection.pgconn.send_query_params(statement.as_bytes(connection), None)
    while connection.pgconn.flush():
        wire.wait(select.POLLOUT)


def _begin_copy(connection: PgConnection, statement: sql.Composed, wire: CopySocket, expected: ExecStatus) -> None:
    if expected == ExecStatus.COPY_OUT:
        send_query(connection, statement, wire)
    else:
        connection.pgconn.send_query(statement.as_bytes(connection))
    result = _fetch_result(connection, wire)
    if result is None or result.status != expected:
        raise _fail(connection, result) if result is not None else psycopg.OperationalError("no answer to COPY")


def end_copy(connection: PgConnection, wire: CopySocket) -> int:
    """Rows of the command's tag. Reads all results, raises the first error."""
    rows, failure = 0, None
    while (result := _fetch_result(connection, wire)) is not None:
        if result.status == ExecStatus.COMMAND_OK:
            rows = result.command_tuples or 0
        else:
            failure = failure or _fail(connection, result)
    if failure is not None:
        raise failure
    return rows


class CopyOut:
    """The blocks of one `COPY ... TO STDOUT`, in order, each of about `block_bytes`.

    Iterate once; afterwards `row_count` is the server's own count. On a failure of the server psycopg.Error is
    raised: a failure is never an end. The transaction stays open. Room for large rows comes from `share`, where there
    is one; with `cuts_rows` such a row is handed on in pieces, which takes one copy less of it.
    """

    def __init__(
        self,
        connection: PgConnection,
        statement: sql.Composed,
        *,
        block_bytes: int,
        stop: Stop,
        doing: str,
        share: RowShare | None = None,
        cuts_rows: bool = False,
    ) -> None:
        self._connection = connection
        self._statement = statement
        self._block_bytes = block_bytes
        self._socket = CopySocket(connection, stop, doing)
        self._share = share
        self._cuts_rows = cuts_rows
        self._rows: int | None = None

    @property
    def blocked_s(self) -> float:
        """Seconds in which nothing had arrived."""
        return self._socket.blocked_s

    @property
    def row_count(self) -> int | None:
        """Rows the server says it sent; None before the end."""
        return self._rows

    def __iter__(self) -> Iterator[tuple[bytes, int]]:
        """Pairs of bytes and the number of messages in them (binary: rows, and one header and trailer)."""
        _begin_copy(self._connection, self._statement, self._socket, ExecStatus.COPY_OUT)
        pgconn, limit = self._connection.pgconn, self._block_bytes
        get, consume, wait, stop = pgconn.get_copy_data, pgconn.consume_input, self._socket.wait, self._socket.stop
        # Bytes are appended at once: thousands of rows kept in a list are thousands of new objects, and every 700 of
        # those make Python look for cycles (0.45 s of CPU per million rows).
        block, messages = bytearray(), 0
        seen = -1
        while True:
            length, data = get(1)
            if length == 0:
                if messages == seen:  # nothing since the last wait: a row of many packets
                    length, data = self._await_row()
                else:
                    seen = messages
                    wait(select.POLLIN)
                    consume()
                    length, data = get(1)
                    if length == 0:
                        continue
                if length > LARGE_ROW_BYTES:
                    if self._share is not None:
                        self._share.note(length)
                    if messages:
                        yield bytes(block), messages
                    block, messages, seen = bytearray(), 0, -1
                    pieces = self._pieces(data)
                    del data
                    yield from pieces
                    del pieces
                    continue
            if length < 0:
                break
            block += data
            messages += 1
            if len(block) >= limit:
                if stop():
                    raise stopped(self._socket.doing)
                if self._share is not None:
                    self._share.note(length)  # a server nearby may have sent a large row within two waits
                yield bytes(block), messages
                block, messages = bytearray(), 0
        if stop():
            raise stopped(self._socket.doing)
        if messages:
            yield bytes(block), messages
        self._rows = end_copy(self._connection, self._socket)

    def _await_row(self) -> tuple[int, memoryview]:
        """The message that is under way, or the end. Room is asked for before more of a large one is taken."""
        pgconn, taken = self._connection.pgconn, 0
        while True:
            self._socket.wait(select.POLLIN)
            arrived = self._socket.arrived()
            # libpq reads on while a server nearby fills the socket again: it may be much more than is there now.
            more = taken and arrived >= FULL_SOCKET_BYTES
            taken += arrived
            if self._share is not None:
                self._share.reserve(max(taken, LARGE_ROW_BYTES + 1) if more else taken)
            pgconn.consume_input()
            length, data = pgconn.get_copy_data(1)
            if length:
                return length, data

    def _pieces(self, row: memoryview) -> Iterator[tuple[bytes, int]]:
        """A large row, which counts with its last piece. Nothing of it is left here when it has been handed on."""
        if not self._cuts_rows:
            whole = bytes(row)
            del row  # libpq's copy; whoever takes ours works on it while the next row arrives
            yield whole, 1
            return
        for start in range(0, len(row), PIECE_BYTES):
            yield bytes(row[start : start + PIECE_BYTES]), int(start + PIECE_BYTES >= len(row))


class CopyIn:
    """One `COPY ... FROM STDIN`: entered when the server is ready, then `write` any number of times, then `finish`.

    Left by an exception it tells the server to drop the rows, and the exception wins over what the server answers.
    """

    def __init__(self, connection: PgConnection, statement: sql.Composed, *, stop: Stop, doing: str) -> None:
        self._connection = connection
        self._statement = statement
        self._socket = CopySocket(connection, stop, doing)
        self._answered = False
        self._is_plain = is_plain(connection)
        self._stripper = Stripper()
        self._is_cut = False
        """What was sent last ends in the middle of a message."""

    @property
    def blocked_s(self) -> float:
        """Seconds in which the server took nothing."""
        return self._socket.blocked_s

    def __enter__(self) -> Self:
        _begin_copy(self._connection, self._statement, self._socket, ExecStatus.COPY_IN)
        self._socket.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.__exit__(kind, error, trace)
        if kind is None or self._connection.pgconn.transaction_status != TransactionStatus.ACTIVE:
            return
        if self._is_cut:
            self._connection.close()  # the server would take whatever follows for the rest of a row
            return
        with suppress(psycopg.Error, CancelledError):  # the exception that is under way is the one to be told
            self._abort()

    def write(self, data: bytes) -> None:
        """Hands a block over; returns when the kernel has taken it.

        The server's error is raised here when it is seen in time, else in `finish`.
        """
        if len(data) <= PIECE_BYTES:
            self._write(data)
            return
        whole = memoryview(data)
        for start in range(0, len(whole), PIECE_BYTES):
            self._write(whole[start : start + PIECE_BYTES])

    def _write(self, data: bytes | memoryview) -> None:
        pgconn, wire = self._connection.pgconn, self._socket
        pgconn.put_copy_data(data)
        while pgconn.flush():
            if wire.wait(select.POLLIN | select.POLLOUT) & select.POLLIN:
                self._take_answer()
        if wire.has_input():
            self._take_answer()

    def forward(self, data: bytes, *, missing_bytes: int) -> None:
        """Hands messages over as another server sent them, past libpq where the connection is plain.

        `missing_bytes` of the last one come with the next call.
        """
        if not self._is_plain:
            self.write(self._stripper.strip(data))
            return
        wire, left = self._socket, memoryview(data)
        self._is_cut = True
        while left:
            sent = wire.send(left)
            if sent is None:
                self._connection.pgconn.consume_input()
                self.finish()
            elif sent:
                left = left[sent:]
            elif wire.wait(select.POLLIN | select.POLLOUT) & select.POLLIN:
                self._take_answer()
        self._is_cut = missing_bytes > 0
        if wire.has_input():
            self._take_answer()

    def _take_answer(self) -> None:
        """Takes what the server says in mid-COPY off the socket: notices, or the error that has ended the COPY.

        libpq keeps an error to itself until the COPY is ended, and a long one would be sent to its end in vain; so the
        first answer is looked at before libpq has it: an ErrorResponse begins with an E. Not under TLS.
        """
        pgconn = self._connection.pgconn
        if not self._answered and not pgconn.ssl_in_use and self._first_byte() == b"E":
            self.finish()
        self._answered = True
        pgconn.consume_input()

    def _first_byte(self) -> bytes:
        first = bytearray(1)
        found = self._socket.peek_into(memoryview(first))
        return bytes(first[:found]) if found else b""

    def finish(self) -> int:
        """Ends the COPY; returns the server's row count. Raises the server's error."""
        self._connection.pgconn.put_copy_end()
        return end_copy(self._connection, self._socket)

    def _abort(self) -> None:
        """Ends the COPY as failed; returns when the server has let go of the rows."""
        self._connection.pgconn.put_copy_end(b"rapidbyte stops this COPY")
        while _fetch_result(self._connection, self._socket) is not None:
            pass
