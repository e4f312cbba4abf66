"""COPY messages that go from one socket to the other as they are: the same rows, and every way to fail."""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress

import psycopg
import pytest
from psycopg import sql

from rapidbyte.errors import CancelledError
from rapidbyte.model import Secret
from rapidbyte.pg.copy import CopyIn, CopyOut
from rapidbyte.pg.message_reader import MessagesOut
from rapidbyte.pg.messages import Frames
from rapidbyte.pg.session import PgConnection, is_plain
from rapidbyte.pg.session import connect as open_session
from rapidbyte.spec import Connection
from tests.postgres.proxying import Proxy, hang_up, proxied

Connect = Callable[..., psycopg.Connection]

SHAPES = {
    "no row": "SELECT 1 AS a WHERE false",
    "one row": "SELECT 1 AS a",
    "equal rows": "SELECT i AS a, i * 2 AS b FROM generate_series(1, 5000) AS i",
    "rows with NULLs": "SELECT i AS a, nullif(i % 3, 0) AS b FROM generate_series(1, 5000) AS i",
    "text": "SELECT repeat('x', i % 300) AS a FROM generate_series(1, 5000) AS i",
    "no column": "SELECT FROM generate_series(1, 1000)",
    "rows larger than a block": "SELECT i AS a, repeat(md5(i::text), 3000) AS b FROM generate_series(1, 9) AS i",
    "one row larger than the socket's buffers": "SELECT repeat('0123456789abcdef', 500000) AS a",
    "large and small rows": "SELECT repeat('x', CASE WHEN i % 50 = 0 THEN 70000 ELSE i % 9 END) AS a"
    " FROM generate_series(1, 500) AS i",
}


def never() -> bool:
    return False


@pytest.fixture
def reading(source_db: str) -> Iterator[PgConnection]:
    yield from session(source_db)


@pytest.fixture
def writing(destination_db: str) -> Iterator[PgConnection]:
    yield from session(destination_db)


def session(dsn: str) -> Iterator[PgConnection]:
    connection = open_session(Connection(dsn=Secret(dsn)), side="source", application_name="forwarding")
    with closing(connection):
        connection.autocommit = False
        yield connection


def out(connection: PgConnection, query: str, *, form: str = "binary", block_bytes: int = 20_000) -> MessagesOut:
    statement = sql.SQL("COPY ({}) TO STDOUT (FORMAT {})").format(sql.SQL(query), sql.SQL(form))  # type: ignore[arg-type]
    return MessagesOut(connection, statement, block_bytes=block_bytes, stop=never, doing="testing")


def into(connection: PgConnection, form: str = "binary") -> CopyIn:
    statement = sql.SQL("COPY t FROM STDIN (FORMAT {})").format(sql.SQL(form))  # type: ignore[arg-type]
    return CopyIn(connection, statement, stop=never, doing="testing")


def forward(copy: CopyIn, frames: Frames) -> None:
    copy.forward(frames.data, missing_bytes=frames.missing_bytes)


@pytest.mark.parametrize("plain", [True, False], ids=["plain", "encrypted destination"])
@pytest.mark.parametrize("form", ["binary", "text"])
@pytest.mark.parametrize("shape", SHAPES)
def test_rows_arrive_as_they_were(
    reading: PgConnection, writing: PgConnection, shape: str, form: str, *, plain: bool
) -> None:
    """Every shape of row, in blocks that cut it anywhere; where the destination is encrypted the heads come off."""
    assert is_plain(reading)
    query = SHAPES[shape]
    writing.execute(f"CREATE TABLE t AS {query} LIMIT 0")
    messages = out(reading, query, form=form)
    rows = size = 0
    with into(writing, form) as copy:
        copy._is_plain = plain  # as it is found out on the connection
        for frames in messages:
            assert len(frames.data) <= 20_000
            rows, size = rows + frames.rows, size + frames.size
            forward(copy, frames)
        written = copy.finish()
    trailer = form == "binary"
    assert messages.row_count == written == rows - trailer
    blocks = list(CopyOut(reading, messages._statement, block_bytes=20_000, stop=never, doing="testing"))
    assert sum(len(block) for block, _ in blocks) == size
    expected = reading.execute(f"SELECT t::text FROM ({query}) AS t ORDER BY 1").fetchall()
    assert expected == writing.execute("SELECT t::text FROM t ORDER BY 1").fetchall()


def test_what_a_server_says_between_rows_is_passed_over(reading: PgConnection) -> None:
    """Notices and changed parameters come between the messages of a COPY; the rows around them are whole."""
    reading.execute("""
        CREATE FUNCTION pg_temp.chatty(n int) RETURNS int LANGUAGE plpgsql AS $$ BEGIN
            RAISE NOTICE 'row % %', n, repeat('x', 40000);
            PERFORM set_config('application_name', 'row ' || n, false);
            RETURN n;
        END $$
    """)
    messages = out(reading, "SELECT pg_temp.chatty(i) FROM generate_series(1, 200) AS i", form="text")
    data = b"".join(frames.data for frames in messages)
    assert [b"%d\n" % n for n in range(1, 201)] == [part[1:] for part in data.split(b"d\0\0\0")[1:]]
    assert messages.row_count == 200
    assert reading.execute("SELECT 1").fetchone() == (1,)


@pytest.mark.parametrize("row", [0, 1, 4000])
def test_a_failure_of_the_server_is_raised_and_is_no_end(reading: PgConnection, row: int) -> None:
    """At the statement, before the first row, among the rows: the session can go on after a rollback."""
    query = f"SELECT 1 / (i - {row}) FROM generate_series(1, 5000) AS i" if row else "SELECT no_such_column"
    messages = out(reading, query)
    with pytest.raises(psycopg.errors.DivisionByZero if row else psycopg.errors.UndefinedColumn):
        list(messages)
    assert messages.row_count is None
    reading.rollback()
    assert reading.execute("SELECT 1").fetchone() == (1,)


def test_a_session_that_is_ended_among_the_rows_is_told(
    reading: PgConnection, connect: Connect, source_db: str
) -> None:
    """The server's own word, not a short COPY."""
    messages = out(reading, "SELECT i, repeat('x', 1000) FROM generate_series(1, 1000000) AS i")
    with pytest.raises(psycopg.OperationalError, match=r"terminat|closed"):  # noqa: PT012 - it fails somewhere on the way
        for number, _ in enumerate(messages):
            if number == 3:
                with connect(source_db) as other:
                    other.execute("SELECT pg_terminate_backend(%s)", (reading.info.backend_pid,))
    assert messages.row_count is None


class Cutting(Proxy):
    """Ends the connection `beyond` bytes behind the first row that comes by."""

    beyond = 0

    def _down(self, client: socket.socket, server: socket.socket, lost: threading.Event) -> None:
        with suppress(OSError):
            while data := server.recv(65536):
                row = re.search(rb"row-[0-9]{7}\n", data)
                client.sendall(data[: row.end() + self.beyond] if row else data)
                if row:
                    break
        hang_up(client, server)


@pytest.mark.parametrize("beyond", [0, 1, 4, 5, 9])
def test_a_connection_that_breaks_within_a_message_is_told(source_db: str, beyond: int) -> None:
    """Between two rows, within a head, behind a head, within a row: an error, no end, and no waiting for ever."""
    gives_up = time.monotonic() + 60
    with proxied(source_db, Cutting) as proxy:
        proxy.beyond = beyond
        for reading in session(proxy.dsn):
            messages = MessagesOut(
                reading,
                sql.SQL(
                    "COPY (SELECT 'row-' || to_char(i, 'FM0000000') FROM generate_series(1, 9) AS i) TO STDOUT"
                ).format(),
                block_bytes=20_000,
                stop=lambda: time.monotonic() > gives_up,
                doing="testing",
            )
            with pytest.raises(psycopg.OperationalError, match="closed"):
                list(messages)
            assert messages.row_count is None


def test_a_second_statement_is_refused(reading: PgConnection) -> None:
    """A user's query is one statement (G2)."""
    with pytest.raises(psycopg.errors.SyntaxError):
        list(out(reading, "SELECT 1) TO STDOUT; CREATE TABLE pwned (a int); COPY (SELECT 1"))


def test_it_stops_among_the_rows(reading: PgConnection) -> None:
    """Told to stop it raises, at the next block."""
    stop = threading.Event()
    messages = MessagesOut(
        reading,
        sql.SQL("COPY (SELECT repeat('x', 1000) FROM generate_series(1, 100000)) TO STDOUT").format(),
        block_bytes=20_000,
        stop=stop.is_set,
        doing="testing",
    )
    with pytest.raises(CancelledError):  # noqa: PT012 - it fails somewhere on the way
        for number, _ in enumerate(messages):
            assert number == 0
            stop.set()


def test_it_stops_while_nothing_comes(reading: PgConnection, connect: Connect, source_db: str) -> None:
    """A server that waits for a lock sends nothing, not even the start of the COPY."""
    with connect(source_db) as holder:
        holder.execute("SELECT pg_advisory_lock(7)")
        stop = threading.Event()
        threading.Timer(0.5, stop.set).start()
        messages = MessagesOut(
            reading,
            sql.SQL("COPY (SELECT pg_advisory_xact_lock(7)) TO STDOUT").format(),
            block_bytes=20_000,
            stop=stop.is_set,
            doing="testing",
        )
        with pytest.raises(CancelledError):
            list(messages)


@pytest.mark.parametrize("row", [1, 3000, 5000])
def test_a_row_that_the_destination_refuses_is_told(reading: PgConnection, writing: PgConnection, row: int) -> None:
    """By its line, whether it is seen while rows are sent or at the end; nothing stays (B1)."""
    writing.execute(f"CREATE TABLE t (a int CHECK (a <> {row}), b int)")  # type: ignore[arg-type]
    writing.commit()
    with pytest.raises(psycopg.errors.CheckViolation) as caught, into(writing) as copy:  # noqa: PT012 - it fails somewhere on the way
        for frames in out(reading, SHAPES["equal rows"], block_bytes=4096):
            forward(copy, frames)
        copy.finish()
    assert f"line {row}" in (caught.value.diag.context or "")


def test_a_copy_given_up_between_rows_leaves_nothing(reading: PgConnection, writing: PgConnection) -> None:
    """The server is told, and has let go of the rows when the block is left: the session goes on."""
    writing.execute("CREATE TABLE t (a int, b int)")
    writing.commit()
    with pytest.raises(RuntimeError), into(writing) as copy:  # noqa: PT012 - it fails somewhere on the way
        for frames in out(reading, SHAPES["equal rows"], block_bytes=4096):
            assert frames.missing_bytes == 0
            forward(copy, frames)
            raise RuntimeError
    writing.rollback()
    assert writing.execute("SELECT count(*) FROM t").fetchone() == (0,)


def test_a_copy_given_up_within_a_row_leaves_nothing(
    reading: PgConnection, writing: PgConnection, destination_db: str
) -> None:
    """Whatever were sent now would be taken for the rest of the row: the session is closed."""
    writing.execute("CREATE TABLE t (a text)")
    writing.commit()
    with pytest.raises(RuntimeError), into(writing) as copy:  # noqa: PT012 - it fails somewhere on the way
        for frames in out(reading, SHAPES["one row larger than the socket's buffers"]):
            assert frames.missing_bytes > 0
            forward(copy, frames)
            raise RuntimeError
    assert writing.closed
    with psycopg.connect(destination_db) as other:
        assert other.execute("SELECT count(*) FROM t").fetchone() == (0,)


def test_a_destination_that_is_ended_among_the_rows_is_told(
    reading: PgConnection, writing: PgConnection, destination_db: str
) -> None:
    """The server's own word, not a broken pipe."""
    writing.execute("CREATE TABLE t (a int, b text)")
    writing.commit()
    query = "SELECT i AS a, repeat('x', 1000) AS b FROM generate_series(1, 100000) AS i"
    with pytest.raises(psycopg.OperationalError, match=r"terminat|closed"), into(writing) as copy:  # noqa: PT012 - it fails somewhere on the way
        for number, frames in enumerate(out(reading, query)):
            if number == 3:
                with psycopg.connect(destination_db, autocommit=True) as other:
                    other.execute("SELECT pg_terminate_backend(%s)", (writing.info.backend_pid,))
            forward(copy, frames)
        copy.finish()


@pytest.mark.parametrize(("gss", "plain"), [("disable", True), ("prefer", False)])
def test_only_what_is_known_to_be_without_encryption_is_plain(source_db: str, gss: str, *, plain: bool) -> None:
    """Over TCP, where libpq may have agreed on encryption, messages stay libpq's."""
    with proxied(source_db) as proxy:
        dsn = proxy.dsn.replace("gssencmode=disable", f"gssencmode={gss}")
        for connection in session(dsn):
            assert is_plain(connection) is plain
