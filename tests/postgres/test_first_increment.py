"""Increments without a cursor in the ledger: appended only where no row can come twice (E12)."""

from __future__ import annotations

from collections.abc import Callable

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
