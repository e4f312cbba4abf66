"""Source and destination in one database: the snapshot's own locks must not stand in a publish's way (A10)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg
import pytest

import rapidbyte
from rapidbyte import wiring
from rapidbyte.result import RunResult
from rapidbyte.spec import StreamSpec
from tests.postgres.test_run import spec

Connect = Callable[..., psycopg.Connection]

TABLES = """
CREATE SCHEMA raw;
CREATE TABLE raw.x (id int PRIMARY KEY, v text);
CREATE TABLE raw.y (id int PRIMARY KEY, v text);
CREATE TABLE raw.z (id int PRIMARY KEY, v text);
CREATE TABLE raw.x2 AS SELECT 2 AS id, 'y'::text AS v;
CREATE VIEW raw.view_of_y AS SELECT * FROM (SELECT * FROM raw.y) AS t;
INSERT INTO raw.x VALUES (1, 'x'); INSERT INTO raw.y VALUES (2, 'y'); INSERT INTO raw.z VALUES (3, 'z');
CREATE FUNCTION raw.of_y() RETURNS TABLE (id int, v text) LANGUAGE plpgsql AS
    'BEGIN RETURN QUERY EXECUTE ''SELECT y.id, y.v FROM raw.y''; END';
"""


def load(dsn: str, *streams: StreamSpec, **settings: Any) -> RunResult:
    """Runs the streams within one database."""
    return rapidbyte.run(spec(dsn, dsn, *streams, **settings))


def rows(dsn: str, table: str, connect: Connect) -> list[tuple[Any, ...]]:
    return connect(dsn).execute(f"SELECT id, v FROM raw.{table} ORDER BY 1").fetchall()  # type: ignore[arg-type]


X_TO_Y = StreamSpec(name="raw.x", target="y")
Y_TO_Z = StreamSpec(name="raw.y", target="z")
READERS = [
    Y_TO_Z,
    StreamSpec(name="q", query="SELECT * FROM raw.y", target="z"),
    StreamSpec(name="p", query="SELECT id, v FROM raw.x WHERE true OR EXISTS (SELECT FROM raw.y)", target="z"),
    StreamSpec(name="raw.x2", target="z", where="id IN (SELECT id FROM raw.y)"),
    StreamSpec(name="raw.view_of_y", target="z"),
]


@pytest.mark.parametrize("reader", READERS, ids=["table", "query", "pruned", "where", "view"])
def test_a_target_that_another_stream_reads_is_replaced_in_place(
    reader: StreamSpec, source_db: str, connect: Connect
) -> None:
    """Decided by the plan, which says why; every stream reads what was there before the run."""
    connect(source_db).execute(TABLES)
    planned = wiring.plan(spec(source_db, source_db, X_TO_Y, reader))
    assert [stream.publish for stream in planned.streams] == ["in_place", "swap"]
    expected = f"stream {reader.name} of the same run reads it"
    assert planned.streams[0].publish_reason.split("; ")[0] == expected
    result = load(source_db, X_TO_Y, reader)
    assert (result.status, [stream.publish for stream in result.streams]) == ("succeeded", ["in_place", "swap"])
    assert rows(source_db, "y", connect) == [(1, "x")]
    assert [row[1] for row in rows(source_db, "z", connect)] == ["x" if reader.name == "p" else "y"]


def test_a_swap_that_was_insisted_on_is_refused_by_name(source_db: str, connect: Connect) -> None:
    """Exit 2: it would wait for the run's own end."""
    connect(source_db).execute(TABLES)
    result = load(source_db, X_TO_Y, Y_TO_Z, replace_strategy="swap")
    assert (result.exit_code, result.status) == (2, "failed")
    assert result.error is not None
    assert "swap is impossible for raw.y: stream raw.y of the same run reads it" in result.error.message
    assert rows(source_db, "y", connect) == [(2, "y")]


def test_a_table_that_only_a_function_reads_is_noticed_at_once(source_db: str, connect: Connect) -> None:
    """No text names it; the lock of the run's own reader is recognised, and not waited for."""
    connect(source_db).execute(TABLES + "DROP VIEW raw.view_of_y")
    result = load(source_db, StreamSpec(name="f", query="SELECT * FROM raw.of_y()", target="z"), X_TO_Y)
    assert (result.status, [stream.publish for stream in result.streams]) == ("succeeded", ["swap", "in_place"])
    assert "published by in_place instead of swap: a stream of this run reads it" in result.streams[1].warnings
    assert rows(source_db, "y", connect) == [(1, "x")]


def test_a_query_may_add_to_the_table_that_it_reads_and_not_replace_it(source_db: str, connect: Connect) -> None:
    """Its snapshot is older than the load; a replace would lose its own source."""
    connect(source_db).execute(TABLES)
    own = StreamSpec(name="q", query="SELECT id + 10 AS id, v FROM raw.y", target="y")
    refused = load(source_db, own)
    assert (refused.exit_code, refused.error and refused.error.message) == (
        2,
        "stream q would write the table it reads, raw.y",
    )
    connect(source_db).execute("ALTER TABLE raw.y DROP CONSTRAINT y_pkey")
    assert load(source_db, own, write_mode="append").status == "succeeded"
    assert rows(source_db, "y", connect) == [(2, "y"), (12, "y")]
