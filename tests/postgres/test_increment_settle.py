"""Rows that commit late are not lost: what an increment waits for, and whom it names when it waits in vain (E4)."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest

from rapidbyte.errors import SourceError
from tests.kit.server import SANE, unique_name
from tests.postgres.increments import Increments, by

Connect = Callable[..., Any]

WRITERS = 5
TURNS = 8
"""Transactions of each writer."""

SEED = 1

TABLE = """
CREATE TABLE t (writer text, id bigint DEFAULT nextval('ids'), started timestamptz DEFAULT now(),
                clocked timestamptz DEFAULT clock_timestamp(), local timestamp(3) DEFAULT now())
"""


def write(dsn: str, number: int, seed: int) -> None:
    """Transactions of up to a second that take numbers and times early, read first, insert several times."""
    chance = random.Random(f"{seed}/{number}")
    with psycopg.connect(dsn, autocommit=True, options=SANE) as connection:
        session: Any = connection
        for turn in range(TURNS):
            if chance.random() < 0.3:
                session.execute("INSERT INTO t (writer) VALUES (%s)", (f"{number}/{turn} alone",))
                continue
            session.execute("BEGIN")
            if chance.random() < 0.5:
                session.execute("SELECT count(*) FROM pg_class")
            row = session.execute("SELECT nextval('ids'), now()::text, clock_timestamp()::text").fetchone()
            assert row is not None
            early: tuple[object, ...] = row
            for step in range(chance.randint(1, 4)):
                session.execute("SELECT pg_sleep(%s)", (chance.random() / 4,))
                if step == 0:
                    session.execute(
                        "INSERT INTO t (writer, id, started, clocked) VALUES (%s, %s, %s, %s)",
                        (f"{number}/{turn} early", *early),
                    )
                else:
                    session.execute("INSERT INTO t (writer) VALUES (%s)", (f"{number}/{turn} step {step}",))
            prepared = unique_name("rb_gid")
            session.execute(f"PREPARE TRANSACTION '{prepared}'" if chance.random() < 0.2 else "COMMIT")
            if session.execute("SELECT FROM pg_prepared_xacts WHERE gid = %s", (prepared,)).fetchone() is not None:
                session.execute("SELECT pg_sleep(%s)", (chance.random() / 4,))
                session.execute(f"COMMIT PREPARED '{prepared}'")


@pytest.mark.parametrize("field", ["id", "started", "clocked", "local"])
def test_nothing_is_lost_and_nothing_comes_twice_under_hostile_writers(source_db: str, connect: Connect, field: str):
    """Increments one after the other while writers commit late: together they are the table, row by row (E4)."""
    session = connect(source_db)
    session.execute("CREATE SEQUENCE ids; " + TABLE)
    stream = Increments(source_db, by(field, columns=("writer", "id", "started", "clocked", "local")))
    taken: Counter[str] = Counter()
    with ThreadPoolExecutor(WRITERS) as pool:
        writers = [pool.submit(write, source_db, number, SEED) for number in range(WRITERS)]
        increments = 0
        while not all(writer.done() for writer in writers):
            taken.update(stream.take())
            increments += 1
        for writer in writers:
            writer.result()
    taken.update(stream.take())
    with session.cursor().copy("COPY (SELECT writer, id, started, clocked, local FROM t) TO STDOUT") as copy:
        table = Counter(b"".join(bytes(block) for block in copy).decode().splitlines())
    assert increments > 1
    assert taken - table == Counter()
    assert table - taken == Counter()


class Late:
    """A transaction that has taken a number, and commits when it is told."""

    def __init__(self, session: Any) -> None:
        self.session = session
        session.execute("BEGIN")
        session.execute("INSERT INTO t DEFAULT VALUES")


@pytest.fixture
def numbered(source_db: str, connect: Connect) -> str:
    """A table of numbers that a sequence gives."""
    connect(source_db).execute("CREATE TABLE t (id serial)")
    return source_db


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as executor:
        yield executor


def wait_until_waiting(session: Any, query: str = "%virtualtransaction = ANY%") -> None:
    """Returns once an increment's session is between two looks at `pg_locks`, or at what `query` is like."""
    asked = (
        "SELECT FROM pg_stat_activity WHERE application_name = 'rapidbyte reader-0 test' "
        "AND datname = current_database() AND query LIKE %s"
    )
    until = time.monotonic() + 20
    while session.execute(asked, (query,)).fetchone() is None:
        assert time.monotonic() < until, "no increment waits"


def test_a_number_that_was_taken_early_is_waited_for(numbered: str, connect: Connect, pool: ThreadPoolExecutor):
    """The greater number is committed before the smaller one: both are in the increment."""
    late = Late(connect(numbered))
    session = connect(numbered)
    session.execute("INSERT INTO t DEFAULT VALUES")
    stream = Increments(numbered, by("id"))
    taking = pool.submit(stream.take)
    wait_until_waiting(session)
    session.execute("INSERT INTO t DEFAULT VALUES")
    late.session.execute("COMMIT")
    assert taking.result() == ["1", "2"]
    assert stream.take() == ["3"]


def test_a_transaction_that_is_prepared_meanwhile_is_waited_for(
    numbered: str, connect: Connect, pool: ThreadPoolExecutor
):
    """It leaves `pg_locks` without having ended."""
    late = Late(connect(numbered))
    session = connect(numbered)
    session.execute("INSERT INTO t DEFAULT VALUES")
    stream = Increments(numbered, by("id"))
    taking = pool.submit(stream.take)
    wait_until_waiting(session)
    name = unique_name("rb_gid")
    late.session.execute(f"PREPARE TRANSACTION '{name}'")
    wait_until_waiting(session, "%pg_prepared_xacts%")
    late.session.execute(f"COMMIT PREPARED '{name}'")
    assert taking.result() == ["1", "2"]


def test_who_does_not_end_in_time_is_named(numbered: str, connect: Connect):
    """Nothing is loaded then: exit 3, with the pids, or with the prepared transactions' names."""
    late = Late(connect(numbered, application_name="a slow one"))
    connect(numbered).execute("INSERT INTO t DEFAULT VALUES")
    stream = Increments(numbered, by("id"), settle_seconds=0.2)
    with pytest.raises(SourceError) as raised:
        stream.bounds()
    assert (raised.value.code, raised.value.exit_code) == ("settle_timeout", 3)
    assert raised.value.message == (
        "transactions that may bring rows below the increment's end have not ended within 0.2 s: "
        f"pid {late.session.info.backend_pid} (a slow one)"
    )
    name = unique_name("rb_gid")
    late.session.execute(f"PREPARE TRANSACTION '{name}'")
    with pytest.raises(SourceError) as raised:
        stream.bounds()
    assert raised.value.message.endswith(f"within 0.2 s: prepared transaction '{name}'")
    late.session.execute(f"ROLLBACK PREPARED '{name}'")
    assert stream.take() == ["2"]


def test_who_cannot_bring_a_row_is_not_waited_for(
    numbered: str, connect: Connect, make_database: Callable[..., str], make_role: Callable[..., str]
):
    """Transactions of other databases, rapidbyte's own readers; a role without rights sees as much as it needs."""
    elsewhere = connect(make_database())
    elsewhere.execute("BEGIN")
    elsewhere.execute("SELECT 1")
    reader = connect(numbered, application_name="rapidbyte reader-3 another pipeline")
    reader.execute("BEGIN READ ONLY")
    reader.execute("SELECT 1")
    role = make_role()
    connect(numbered).execute(f"INSERT INTO t DEFAULT VALUES; GRANT SELECT ON t TO {role}")
    stream = Increments(numbered.replace("//postgres", f"//{role}"), by("id"), settle_seconds=0.2)
    assert stream.take() == ["1"]
    writer = connect(numbered)
    writer.execute("BEGIN")
    writer.execute("SELECT 1")
    with pytest.raises(SourceError) as raised:
        stream.take()
    assert f"pid {writer.info.backend_pid} " in raised.value.message


def test_no_lock_is_held_while_others_are_waited_for(numbered: str, connect: Connect, pool: ThreadPoolExecutor):
    """A transaction that needs the table for itself to end can have it."""
    late = Late(connect(numbered))
    stream = Increments(numbered, by("id"))
    session = connect(numbered)
    taking = pool.submit(stream.take)
    wait_until_waiting(session)
    late.session.execute("SET lock_timeout = '10s'; ALTER TABLE t ADD COLUMN more int; COMMIT")
    assert taking.result() == []


def test_an_empty_table_needs_no_cursor(numbered: str):
    """And keeps having none."""
    stream = Increments(numbered, by("id"))
    assert (stream.bounds().is_empty, stream.bounds().warnings) == (True, ())
