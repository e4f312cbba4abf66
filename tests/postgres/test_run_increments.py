"""Whole runs of incremental streams between two real databases, through `rapidbyte.run`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import rapidbyte
from rapidbyte import wiring
from rapidbyte.cursor import CursorLag
from rapidbyte.model import Secret
from rapidbyte.result import RunResult, StreamResult
from rapidbyte.spec import (
    Connection,
    DestinationSpec,
    PipelineSpec,
    PostgresSourceSpec,
    Resources,
    RunOptions,
    StreamSpec,
)
from tests.postgres.increments import by

Connect = Callable[..., Any]

DELETES = "deletes in the source are not seen by increments of {}"


def pipeline(source: str, destination: str, *streams: StreamSpec, **settings: Any) -> PipelineSpec:
    return PipelineSpec(
        pipeline="shop",
        source=PostgresSourceSpec(connection=Connection(dsn=Secret(source))),
        streams=streams,
        destination=DestinationSpec(connection=Connection(dsn=Secret(destination)), schema="raw", **settings),
        resources=Resources(parallelism=2, checkpoint_interval_bytes=256 * 1024),
    )


def run(spec: PipelineSpec, **options: Any) -> tuple[RunResult, StreamResult]:
    result = rapidbyte.run(spec, options=RunOptions(**options))
    assert result.error is None, result.error
    return result, result.streams[0]


@pytest.fixture
def orders(source_db: str, connect: Connect) -> str:
    """Two thousand orders with numbers and times."""
    connect(source_db).execute(
        "CREATE TABLE orders (id int PRIMARY KEY, amount int, updated_at timestamptz NOT NULL DEFAULT now());"
        "INSERT INTO orders SELECT i, i, now() - interval '1 h' + i * interval '1 s' FROM generate_series(1, 2000) i;"
        "CREATE INDEX ON orders (updated_at)"
    )
    return source_db


def test_appends_what_is_new(orders: str, destination_db: str, connect: Connect):
    """Run after run exactly the rows since the last; the result says from where to where, and what it cannot see."""
    spec = pipeline(orders, destination_db, by("id", "orders"), write_mode="append")
    result, stream = run(spec, checksum=True)
    assert (stream.records_written, stream.publish, result.exit_code) == (2000, "rename", 0)
    assert stream.cursor is not None
    assert (stream.cursor.field, stream.cursor.low, stream.cursor.high) == ("id", None, "2000")
    assert DELETES.format("id") in stream.warnings
    assert stream.safe_to_retry
    connect(orders).execute("INSERT INTO orders SELECT i, i FROM generate_series(2001, 2010) i")
    _, stream = run(spec, checksum=True)
    assert (stream.records_written, stream.publish) == (10, "insert")
    assert stream.cursor is not None
    assert (stream.cursor.low, stream.cursor.high) == ("2000", "2010")
    assert stream.checksum is not None
    assert stream.checksum.match is True
    found = connect(destination_db).execute("SELECT count(*), count(DISTINCT id), sum(amount) FROM raw.orders")
    assert found.fetchone() == (2010, 2010, sum(range(2011)))


def test_upserts_what_has_changed(orders: str, destination_db: str, connect: Connect):
    """By time: new rows come, changed ones replace their old versions, a lag reads again without doubling."""
    stream_spec = by("updated_at", "orders", primary_key=("id",), tie_breaker_field="id")
    lagging = by(
        "updated_at", "orders", primary_key=("id",), tie_breaker_field="id", cursor_lag=CursorLag(seconds=7200.0)
    )
    run(pipeline(orders, destination_db, stream_spec, write_mode="upsert"))
    session = connect(orders)
    session.execute("UPDATE orders SET amount = -1, updated_at = now() WHERE id <= 5")
    session.execute("INSERT INTO orders VALUES (3000, 1)")
    _, stream = run(pipeline(orders, destination_db, stream_spec, write_mode="upsert"))
    assert (stream.publish, stream.partitions and stream.partitions.total) == ("merge", 1)
    compared = connect(destination_db)
    assert (
        compared.execute("SELECT count(*), sum(amount) FROM raw.orders").fetchone()
        == session.execute("SELECT count(*), sum(amount) FROM orders").fetchone()
    )
    _, again = run(pipeline(orders, destination_db, lagging, write_mode="upsert"))
    assert again.records_read == 2001
    assert compared.execute("SELECT count(*) FROM raw.orders").fetchone() == (2001,)


def test_nothing_new_changes_nothing(orders: str, destination_db: str, connect: Connect):
    """The target's file, its statistics, the cursor: as before; zero rows, exit 0 (E8)."""
    spec = pipeline(orders, destination_db, by("id", "orders"), write_mode="append")
    run(spec)
    looking = connect(destination_db)
    state = (
        "SELECT c.relfilenode, c.xmin::text, (SELECT array_agg(x::text) FROM _rapidbyte.cursors x),"
        " (SELECT count(*) FROM _rapidbyte.loads) FROM pg_class c WHERE c.oid = 'raw.orders'::regclass"
    )
    before = looking.execute(state).fetchone()
    result, stream = run(spec)
    assert (stream.records_read, stream.records_written, result.exit_code) == (0, 0, 0)
    assert stream.cursor is not None
    assert (stream.cursor.low, stream.cursor.high) == ("2000", "2000")
    assert looking.execute(state).fetchone() == before


def test_a_full_refresh_replaces_once_and_increments_go_on_from_it(orders: str, destination_db: str, connect: Connect):
    """It ignores the cursor, and moves it."""
    spec = pipeline(orders, destination_db, by("id", "orders"), write_mode="append")
    run(spec)
    session = connect(orders)
    session.execute("DELETE FROM orders WHERE id <= 1000; INSERT INTO orders VALUES (2001, 1)")
    _, stream = run(spec, full_refresh=True)
    assert (stream.records_written, stream.write_mode) == (1001, "replace")
    session.execute("INSERT INTO orders VALUES (2002, 1)")
    _, stream = run(spec)
    assert stream.records_written == 1
    assert connect(destination_db).execute("SELECT count(*), max(id) FROM raw.orders").fetchone() == (1002, 2002)


def test_a_plan_shows_the_cursor(orders: str, destination_db: str):
    """Where it will begin, by which index."""
    spec = pipeline(orders, destination_db, by("id", "orders"), write_mode="append")
    (planned,) = wiring.plan(spec).streams
    assert planned.cursor is not None
    assert (planned.cursor.stored, planned.cursor.column.index) == (None, "orders_pkey")
    run(spec)
    (planned,) = wiring.plan(spec).streams
    assert planned.cursor is not None
    assert planned.cursor.stored == "2000"
