"""Increments without a cursor in the ledger: appended only where no row can come twice (E12)."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import replace

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

import rapidbyte
from rapidbyte import wiring
from rapidbyte.errors import ConfigError
from rapidbyte.result import RunResult
from rapidbyte.spec import RunOptions, StreamSpec
from tests.postgres.increments import by
from tests.postgres.test_run_increments import pipeline

Connect = Callable[..., psycopg.Connection]


@pytest.fixture
def orders(source_db: str, connect: Connect) -> str:
    """A hundred orders."""
    connect(source_db).execute(
        "CREATE TABLE orders (id int PRIMARY KEY, amount int); INSERT INTO orders SELECT i, i FROM"
        " generate_series(1, 100) i"
    )
    return source_db


def run(source: str, destination: str, mode: str = "append", **options: bool) -> RunResult:
    spec = pipeline(source, destination, by("id", "orders"), write_mode=mode, primary_key=("id",))
    return rapidbyte.run(spec, options=RunOptions(**options))


def rows(connect: Connect, destination: str) -> tuple[int, int]:
    row = connect(destination).execute("SELECT count(*), count(DISTINCT id) FROM raw.orders").fetchone()
    return (row[0], row[1]) if row else (-1, -1)


FORGET = {
    "the state is reset": "DELETE FROM _rapidbyte.cursors",
    "the ledger is lost": "DROP SCHEMA _rapidbyte CASCADE",
}


@pytest.mark.parametrize("how", FORGET)
def test_an_append_is_refused_where_the_cursor_is_gone(how: str, orders: str, destination_db: str, connect: Connect):
    """Exit 2 before anything is changed; upsert and --full-refresh are the ways out, and lead on."""
    assert run(orders, destination_db).exit_code == 0
    admin = connect(destination_db)
    admin.execute(FORGET[how])  # type: ignore[arg-type]
    refused = run(orders, destination_db)
    assert refused.error is not None
    assert (refused.exit_code, refused.error.code, refused.error.stream) == (2, "cursor_unknown", "orders")
    assert "--full-refresh" in (refused.error.hint or "")
    assert "rapidbyte state set" in (refused.error.hint or "")
    assert rows(connect, destination_db) == (100, 100)
    assert run(orders, destination_db, "upsert").exit_code == 0
    admin.execute(FORGET[how])  # type: ignore[arg-type]
    assert run(orders, destination_db, full_refresh=True).exit_code == 0
    connect(orders).execute("INSERT INTO orders VALUES (101, 1)")
    assert run(orders, destination_db).records_written == 1
    assert rows(connect, destination_db) == (101, 101)


def test_a_stream_that_was_loaded_as_a_whole_is_not_appended_to_itself(
    orders: str, destination_db: str, connect: Connect
):
    """Its sync_mode was changed in the file: the first increment would bring everything again."""
    whole = pipeline(orders, destination_db, StreamSpec(name="orders"), write_mode="append")
    assert rapidbyte.run(whole).exit_code == 0
    assert run(orders, destination_db).exit_code == 2
    assert rows(connect, destination_db) == (100, 100)


def test_a_first_increment_goes_into_an_empty_table_and_not_beside_rows(
    orders: str, destination_db: str, connect: Connect
):
    """Whoever made the rows: they may be the same. `plan` says so, too."""
    admin = connect(destination_db)
    admin.execute("CREATE SCHEMA raw; CREATE TABLE raw.orders (id int, amount int); INSERT INTO raw.orders VALUES (1)")
    assert run(orders, destination_db).exit_code == 2
    with pytest.raises(ConfigError, match="rows could come twice"):
        wiring.plan(pipeline(orders, destination_db, by("id", "orders"), write_mode="append"))
    assert admin.execute("SELECT to_regclass('_rapidbyte.loads')").fetchone() == (None,)
    admin.execute("DELETE FROM raw.orders")
    assert run(orders, destination_db).exit_code == 0
    assert rows(connect, destination_db) == (100, 100)


LEAST = {
    "smallint": "i",
    "int": "i",
    "bigint": "i",
    "numeric": "i",
    "date": "date '2026-01-01' - i",
    "timestamp": "timestamp '2026-01-01' - i * interval '1 y'",
    "timestamptz": "timestamptz '2026-01-01 00:00+00' - i * interval '1 y'",
    "uuid": "lpad(i::text, 32, '0')::uuid",
    "text": "i::text",
    "varchar": "i::text",
}


@pytest.mark.parametrize("kind", LEAST)
def test_who_says_that_the_rows_are_others_gets_all_his_own(
    kind: str, source_db: str, destination_db: str, connect: Connect
):
    """E12: the message has the command, with a value that lies before all of the cursor's type."""
    connect(source_db).execute(f"CREATE TABLE t AS SELECT ({LEAST[kind]})::{kind} AS c FROM generate_series(1, 9) i")
    admin = connect(destination_db)
    admin.execute(f"CREATE SCHEMA raw; CREATE TABLE raw.t (c {kind}); INSERT INTO raw.t VALUES (NULL)")  # type: ignore[arg-type]
    spec = pipeline(source_db, destination_db, by("c", "t"), write_mode="append")
    refused = rapidbyte.run(spec)
    assert refused.error is not None
    hint = refused.error.hint or ""
    assert "rapidbyte state set PIPELINE --stream t --value" in hint
    (value,) = shlex.split(hint.partition("--value=")[2].partition(" says ")[0])
    with wiring.ledger(spec) as ledger:
        ledger.set_cursor("t", wiring.cursor_at(spec, "t", value))
    for count in (9, 0):
        again = rapidbyte.run(spec)
        assert (again.error, again.records_written) == (None, count)
    assert admin.execute("SELECT count(*), count(DISTINCT c) FROM raw.t").fetchone() == (10, 9)


def test_null_cursors_alone_do_not_stop_the_next_increment(source_db: str, destination_db: str, connect: Connect):
    """E6: `always` brings them each time, as it says, also in the first increments; with values the cursor begins."""
    source, admin = connect(source_db), connect(destination_db)
    source.execute("CREATE TABLE t (c int); INSERT INTO t VALUES (NULL), (NULL)")
    stream = replace(by("c", "t"), null_cursor="always")
    spec = pipeline(source_db, destination_db, stream, write_mode="append")
    for rows_now in (2, 4):
        assert rapidbyte.run(spec).error is None
        assert admin.execute("SELECT count(*) FROM raw.t").fetchone() == (rows_now,)
    source.execute("INSERT INTO t VALUES (7)")
    assert rapidbyte.run(spec).error is None
    assert rapidbyte.run(spec).error is None
    assert admin.execute("SELECT count(*), count(c) FROM raw.t").fetchone() == (9, 1)
    assert admin.execute("SELECT value FROM _rapidbyte.cursors").fetchone() == ("7",)
    admin.execute("DELETE FROM _rapidbyte.cursors")
    refused = rapidbyte.run(spec)
    assert (refused.exit_code, refused.error.code if refused.error else None) == (2, "cursor_unknown")


@pytest.mark.parametrize("nulls", ["skip", "always"])
def test_a_full_refresh_of_a_source_that_began_anew_takes_the_cursor_back(
    nulls: str, source_db: str, destination_db: str, connect: Connect
):
    """E6: TRUNCATE ... RESTART IDENTITY at the source: with the old cursor its new rows would never come."""
    source, admin = connect(source_db), connect(destination_db)
    source.execute("CREATE TABLE t (c int); INSERT INTO t SELECT generate_series(1, 1000)")
    stream = replace(by("c", "t"), null_cursor=nulls)
    spec = pipeline(source_db, destination_db, stream, write_mode="append")
    assert rapidbyte.run(spec).error is None
    source.execute("TRUNCATE t")
    assert rapidbyte.run(spec, options=RunOptions(full_refresh=True)).error is None
    assert admin.execute("SELECT count(*) FROM _rapidbyte.cursors").fetchone() == (0,)
    source.execute("INSERT INTO t VALUES (1), (NULL)")
    assert rapidbyte.run(spec).error is None
    source.execute("TRUNCATE t; INSERT INTO t VALUES (1), (2)")
    assert rapidbyte.run(spec).records_written == 1
    assert rapidbyte.run(spec, options=RunOptions(full_refresh=True)).records_written == 2
    assert admin.execute("SELECT array_agg(c ORDER BY c) FROM raw.t").fetchone() == ([1, 2],)


def test_a_table_that_cannot_be_looked_into_may_have_rows(
    orders: str, destination_db: str, make_role: Callable[..., str], connect: Connect
):
    """INSERT is enough for an append, not for knowing that it is the first."""
    role = make_role("LOGIN")
    admin = connect(destination_db)
    admin.execute(
        f"CREATE SCHEMA raw; CREATE TABLE raw.orders (id int, amount int); GRANT USAGE ON SCHEMA raw TO {role};"
        f"GRANT INSERT ON raw.orders TO {role}; CREATE SCHEMA _rapidbyte AUTHORIZATION {role}"  # type: ignore[arg-type]
    )
    loader = make_conninfo(destination_db, user=role)
    refused = run(orders, loader)
    assert refused.error is not None
    assert (refused.exit_code, refused.error.code) == (2, "cursor_unknown")
    assert "grant SELECT on raw.orders" in (refused.error.hint or "")
    admin.execute(f"GRANT SELECT ON raw.orders TO {role}")  # type: ignore[arg-type]
    assert run(orders, loader).exit_code == 0


def test_a_ledger_that_cannot_be_read_is_told_by_the_grant(
    orders: str, destination_db: str, make_role: Callable[..., str], connect: Connect
):
    """Not as a cursor that is unknown, nor as a failure of the destination (G12)."""
    assert run(orders, destination_db).exit_code == 0
    role = make_role("LOGIN")
    connect(destination_db).execute(
        f"GRANT USAGE ON SCHEMA raw TO {role}; GRANT SELECT, INSERT ON raw.orders TO {role}"  # type: ignore[arg-type]
    )
    refused = run(orders, make_conninfo(destination_db, user=role))
    assert refused.error is not None
    assert (refused.exit_code, refused.error.code) == (2, "privilege_missing")
    assert f'GRANT USAGE ON SCHEMA "_rapidbyte" TO "{role}"' in (refused.error.hint or "")
