"""Whole runs between two real databases, through `rapidbyte.run`."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from jsonschema import Draft202012Validator

import rapidbyte
from rapidbyte.config.schema import result_schema
from rapidbyte.events import BlockMoved, Event, StreamStarted
from rapidbyte.model import Secret
from rapidbyte.result import RunResult, to_document
from rapidbyte.spec import (
    Connection,
    DestinationSpec,
    PipelineSpec,
    PostgresSourceSpec,
    Resources,
    RunOptions,
    StreamSpec,
)

Connect = Callable[..., psycopg.Connection]
Checksum = Callable[[str, str], tuple[int, str, int]]


def spec(source: str, destination: str, *streams: StreamSpec | str, **settings: Any) -> PipelineSpec:
    """A pipeline between two databases, its streams replaced into schema raw."""
    return PipelineSpec(
        pipeline="shop",
        source=PostgresSourceSpec(connection=Connection(dsn=Secret(source))),
        streams=tuple(StreamSpec(name=stream) if isinstance(stream, str) else stream for stream in streams),
        destination=DestinationSpec(
            connection=Connection(dsn=Secret(destination)), schema="raw", **{"write_mode": "replace", **settings}
        ),
        resources=Resources(parallelism=2, checkpoint_interval_bytes=256 * 1024),
    )


@pytest.fixture
def filled(source_db: str, connect: Connect) -> str:
    """A source with a table of 20,000 rows of about 130 bytes."""
    connect(source_db).execute(
        "CREATE TABLE orders AS SELECT i AS id, repeat(md5(i::text), 3) AS note, i % 7 AS kind"
        " FROM generate_series(1, 20000) i; ANALYZE orders"
    )
    return source_db


def no_session_is_left(admin: psycopg.Connection) -> bool:
    """Whether every session of ours in this database ends by itself; a busy server needs a moment to notice."""
    for _ in range(200):
        found = admin.execute(
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE application_name LIKE 'rapidbyte %' AND datname = current_database()"
        ).fetchone()
        if found == (0,):
            return True
        time.sleep(0.05)
    return False


def totals(result: RunResult) -> float:
    phases = result.phases
    return phases.preflight_s + phases.prepare_s + phases.load_s + phases.finalize_s + phases.cleanup_s


def test_rows_arrive_and_every_figure_adds_up(filled: str, destination_db: str, checksum_of: Checksum) -> None:
    """Phases make the duration, a worker's parts its lifetime, streams the totals; the document fits its schema."""
    result = rapidbyte.run(spec(filled, destination_db, "orders"), options=RunOptions(checksum=True))
    assert result.status == "succeeded"
    assert checksum_of(destination_db, "raw.orders") == checksum_of(filled, "public.orders")
    assert totals(result) == pytest.approx(result.duration_s, rel=0.02)
    stream = result.streams[0]
    for worker in stream.workers:
        lifetime = worker.ended_s - worker.started_s
        measured = worker.connect_s + worker.wait_s.source + worker.wait_s.queue + worker.active_s
        assert measured == pytest.approx(lifetime, rel=0.02, abs=0.002)
        parts = worker.transform_s + worker.encode_s + worker.write_s + worker.commit_s
        assert worker.active_s == pytest.approx(parts)
    assert stream.partitions is not None
    assert len(stream.timeline) == stream.partitions.total >= 8
    assert sum(entry.rows for entry in stream.timeline) == result.records_written == 20000
    assert sum(entry.bytes for entry in stream.timeline) == result.bytes_written == result.bytes_read
    assert stream.checksum is not None
    assert stream.checksum.match is True
    assert (stream.commit_state, stream.publish, stream.wire) == ("after_commit_confirmed", "rename", "binary-relay")
    Draft202012Validator(result_schema()).validate(to_document(result))


def test_a_failed_run_is_a_result_that_fits_the_schema(source_db: str, destination_db: str, connect: Connect) -> None:
    """A division by zero in a late row: exit 3, nothing is left, the document is whole."""
    connect(source_db).execute("CREATE VIEW late AS SELECT i, 1 / (5000 - i) AS x FROM generate_series(1, 6000) i")
    result = rapidbyte.run(spec(source_db, destination_db, "late"))
    assert (result.status, result.exit_code) == ("failed", 3)
    assert result.error is not None
    assert (result.error.sqlstate, result.error.stream, result.error.commit_state) == ("22012", "late", "before_commit")
    assert result.error.afterwards == "raw.late was not created"
    document = to_document(result)
    Draft202012Validator(result_schema()).validate(document)
    left = connect(destination_db).execute(
        "SELECT count(*) FROM pg_class WHERE relname LIKE '\\_rb\\_%' OR relname = 'late'"
    )
    assert left.fetchone() == (0,)


def test_a_stage_that_somebody_drops_is_told_as_such(filled: str, destination_db: str, connect: Connect) -> None:
    """Not as a target that does not exist; the target keeps its rows."""
    admin = connect(destination_db)
    admin.execute("CREATE SCHEMA raw; CREATE TABLE raw.orders AS SELECT 0 AS id, '' AS note, 0 AS kind")

    def drop(event: Event) -> None:
        if isinstance(event, StreamStarted):
            stage = "SELECT relnamespace::regnamespace || '.' || relname FROM pg_class WHERE relname LIKE '\\_rb\\_%'"
            for (name,) in admin.execute(stage).fetchall():
                admin.execute(f"DROP TABLE {name}")  # type: ignore[arg-type]

    result = rapidbyte.run(spec(filled, destination_db, "orders"), observe=drop)
    assert (result.status, result.exit_code) == ("failed", 4)
    assert result.error is not None
    assert result.error.code == "stage_gone"
    assert result.error.message == "the stage of raw.orders is gone: somebody dropped it while it was being loaded"
    assert result.error.afterwards == "raw.orders is as it was before"
    assert admin.execute("SELECT count(*) FROM raw.orders").fetchone() == (1,)


def test_two_bad_partitions_give_the_same_error_every_time(filled: str, destination_db: str, connect: Connect) -> None:
    """Rows 15,000 and 19,999 violate the target's check: the lower one's partition is reported, ten times in ten."""
    connect(destination_db).execute(
        "CREATE SCHEMA raw; CREATE TABLE raw.orders (id int CHECK (id NOT IN (15000, 19999)), note text, kind int);"
        "CREATE VIEW raw.v AS TABLE raw.orders"
    )
    found = set()
    for _ in range(10):
        error = rapidbyte.run(spec(filled, destination_db, "orders")).error
        assert error is not None
        found.add((error.code, error.sqlstate, error.partition, error.line, error.table))
    assert len(found) == 1
    assert next(iter(found))[:2] == ("constraint_violated", "23514")


def test_a_cancelled_run_leaves_the_old_table_and_no_backend(
    filled: str, destination_db: str, connect: Connect
) -> None:
    """The stop is asked for at the first block: exit 7, rows as before, all sessions gone."""
    admin = connect(destination_db)
    admin.execute("CREATE SCHEMA raw; CREATE TABLE raw.orders AS SELECT 1 AS id, 'x' AS note, 1 AS kind")
    stop = threading.Event()

    def observe(event: Event) -> None:
        if isinstance(event, BlockMoved):
            stop.set()

    result = rapidbyte.run(spec(filled, destination_db, "orders"), observe=observe, stop=stop)
    assert (result.status, result.exit_code) == ("cancelled", 7)
    assert admin.execute("SELECT * FROM raw.orders").fetchall() == [(1, "x", 1)]
    assert no_session_is_left(admin)


def test_the_servers_log_shows_who_ran_what(
    filled: str, destination_db: str, server_log: Any, connect: Connect
) -> None:
    """Only the leader creates, alters, drops; workers look for a receipt, COPY, insert it."""
    connect(destination_db).execute(
        "CREATE SCHEMA raw; CREATE TABLE raw.orders (id int PRIMARY KEY, note text, kind int)"
    )
    server_log.watch(destination_db)
    assert rapidbyte.run(spec(filled, destination_db, "orders")).status == "succeeded"
    by_name: dict[str, set[str]] = {}
    for name, statement in server_log.statements(destination_db, "rapidbyte"):
        # A statement that begins on a new line has its first word in the log's next line.
        parts = statement.split("; ")  # BEGIN and its settings are one message
        by_name.setdefault(name, set()).update(part.split()[0].upper() for part in parts if part.split())
    workers = {name: words for name, words in by_name.items() if name.startswith("rapidbyte worker-")}
    assert set(workers) == {"rapidbyte worker-0 shop", "rapidbyte worker-1 shop"}
    for words in workers.values():
        assert words == {"BEGIN", "SET", "SELECT", "COPY", "INSERT", "COMMIT"}
    assert {"CREATE", "DROP"} <= by_name["rapidbyte leader shop"]


def test_streams_of_one_run_see_one_snapshot(source_db: str, destination_db: str, connect: Connect) -> None:
    """D16: a transfer between two tables, committed while the first is read, is seen in neither."""
    admin = connect(source_db)
    admin.execute(
        "CREATE TABLE a AS SELECT i AS id, 10 AS amount FROM generate_series(1, 20000) i;"
        "CREATE TABLE b AS SELECT i AS id, 10 AS amount FROM generate_series(1, 20000) i"
    )

    def observe(event: Event) -> None:
        if isinstance(event, BlockMoved) and event.stream == "a":
            admin.execute("BEGIN; UPDATE a SET amount = amount - 1; UPDATE b SET amount = amount + 1; COMMIT")

    assert rapidbyte.run(spec(source_db, destination_db, "a", "b"), observe=observe).status == "succeeded"
    loaded = connect(destination_db)
    for table in ("a", "b"):
        assert loaded.execute(f"SELECT sum(amount), count(*) FROM raw.{table}").fetchone() == (200000, 20000)  # type: ignore[arg-type]


def test_append_never_deletes(filled: str, destination_db: str, connect: Connect) -> None:
    """E16: whatever a run does, the rows that were there stay; two appends are twice the rows."""
    pipeline = spec(filled, destination_db, "orders", write_mode="append")
    for times in (1, 2, 3):
        assert rapidbyte.run(pipeline).status == "succeeded"
        count = connect(destination_db).execute("SELECT count(*) FROM raw.orders").fetchone()
        assert count == (20000 * times,)
