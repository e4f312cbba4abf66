"""Streams and each other, between two real databases: `--keep-going`, `publish: together`, `--failed`, `--key`."""

from __future__ import annotations

from collections.abc import Callable

import psycopg
import pytest

import rapidbyte
from rapidbyte.model import Secret
from rapidbyte.result import RunResult
from rapidbyte.spec import (
    Connection,
    DestinationSpec,
    PipelineSpec,
    PostgresSourceSpec,
    Resources,
    RunOptions,
    StreamSpec,
    WriteMode,
)

Connect = Callable[..., psycopg.Connection]

FAILS = StreamSpec(name="fails", query="SELECT 1 / (id - 900) AS id FROM a")


@pytest.fixture
def filled(source_db: str, connect: Connect) -> str:
    """A source with tables a and b of 1,000 rows."""
    connect(source_db).execute(
        "CREATE TABLE a AS SELECT i AS id FROM generate_series(1, 1000) i;"
        "CREATE TABLE b AS SELECT i AS id FROM generate_series(1, 1000) i; ANALYZE a; ANALYZE b"
    )
    return source_db


def pipeline(
    source: str, destination: str, *streams: StreamSpec | str, write_mode: WriteMode = "replace", together: bool = False
) -> PipelineSpec:
    return PipelineSpec(
        pipeline="shop",
        source=PostgresSourceSpec(connection=Connection(dsn=Secret(source))),
        streams=tuple(StreamSpec(name=stream) if isinstance(stream, str) else stream for stream in streams),
        destination=DestinationSpec(
            connection=Connection(dsn=Secret(destination)),
            schema="raw",
            write_mode=write_mode,
            publish_together=together,
        ),
        resources=Resources(parallelism=2),
    )


def statuses(result: RunResult) -> list[tuple[str, str, str]]:
    return [(stream.name, stream.status, stream.commit_state) for stream in result.streams]


def tables(admin: psycopg.Connection) -> list[str]:
    found = admin.execute("SELECT relname FROM pg_class WHERE relnamespace = 'raw'::regnamespace AND relkind = 'r'")
    return sorted(name for (name,) in found)


def count(admin: psycopg.Connection, table: str) -> int:
    row = admin.execute(f"SELECT count(*) FROM raw.{table}").fetchone()  # type: ignore[arg-type]
    return row[0] if row else -1


def test_a_failing_stream_leaves_the_others_published(filled: str, destination_db: str, connect: Connect) -> None:
    """E10: the row that cannot be read ends its stream alone; its stage is gone; later only it is loaded again."""
    spec = pipeline(filled, destination_db, "a", FAILS, "b")
    admin = connect(destination_db)
    result = rapidbyte.run(spec, options=RunOptions(keep_going=True))
    assert statuses(result) == [
        ("a", "succeeded", "after_commit_confirmed"),
        ("fails", "failed", "before_commit"),
        ("b", "succeeded", "after_commit_confirmed"),
    ]
    assert (result.status, result.exit_code) == ("partial", 3)
    assert tables(admin) == ["a", "b"]
    connect(filled).execute("DELETE FROM a WHERE id = 900")
    again = rapidbyte.run(spec, options=RunOptions(failed=True))
    assert statuses(again) == [("fails", "succeeded", "after_commit_confirmed")]
    assert tables(admin) == ["a", "b", "fails"]
    nothing = rapidbyte.run(spec, options=RunOptions(failed=True))
    assert (nothing.exit_code, nothing.streams) == (0, ())


def test_without_keep_going_what_follows_is_skipped(filled: str, destination_db: str, connect: Connect) -> None:
    """And --failed loads it, with what failed."""
    spec = pipeline(filled, destination_db, "a", FAILS, "b")
    result = rapidbyte.run(spec)
    assert [status for _, status, _ in statuses(result)] == ["succeeded", "failed", "skipped"]
    assert tables(connect(destination_db)) == ["a"]
    again = rapidbyte.run(spec, options=RunOptions(failed=True))
    assert [(name, status) for name, status, _ in statuses(again)] == [("fails", "failed"), ("b", "skipped")]


def test_streams_that_do_not_exist_or_do_not_fit_are_isolated(
    filled: str, destination_db: str, connect: Connect
) -> None:
    """A table that is missing at the source, and a target with another type: the third is published."""
    admin = connect(destination_db)
    admin.execute("CREATE SCHEMA raw; CREATE TABLE raw.a (id point)")
    spec = pipeline(filled, destination_db, "missing", "a", "b")
    result = rapidbyte.run(spec, options=RunOptions(keep_going=True))
    assert [(name, status) for name, status, _ in statuses(result)] == [
        ("missing", "failed"),
        ("a", "failed"),
        ("b", "succeeded"),
    ]
    assert result.exit_code == 2
    assert count(admin, "b") == 1000
    assert rapidbyte.run(spec).exit_code == 2


def test_together_all_or_none(filled: str, destination_db: str, connect: Connect) -> None:
    """`publish: together`: a failure of the last stream publishes none; then all of them in one transaction."""
    admin = connect(destination_db)
    failed = rapidbyte.run(pipeline(filled, destination_db, "a", "b", FAILS, together=True))
    assert (failed.status, failed.exit_code) == ("failed", 3)
    assert tables(admin) == []
    result = rapidbyte.run(pipeline(filled, destination_db, "a", "b", together=True))
    assert result.status == "succeeded"
    same = admin.execute("SELECT count(DISTINCT xmin::text) FROM _rapidbyte.loads WHERE state = 'published'").fetchone()
    assert same == (1,)
    assert (count(admin, "a"), count(admin, "b")) == (1000, 1000)


def test_together_children_come_after_their_parents(filled: str, destination_db: str, connect: Connect) -> None:
    """The pipeline names the child first; its foreign key is satisfied all the same."""
    admin = connect(destination_db)
    admin.execute(
        "CREATE SCHEMA raw; CREATE TABLE raw.b (id integer PRIMARY KEY);"
        "CREATE TABLE raw.a (id integer REFERENCES raw.b)"
    )
    spec = pipeline(filled, destination_db, "a", "b", write_mode="append", together=True)
    result = rapidbyte.run(spec)
    assert (result.status, result.error) == ("succeeded", None)
    assert [stream.name for stream in result.streams] == ["a", "b"]
    assert [stream.records_written for stream in result.streams] == [1000, 1000]


def test_a_key_loads_an_append_once(filled: str, destination_db: str, connect: Connect) -> None:
    """Run again under the same key: reported as done, nothing appended; another key appends."""
    spec = pipeline(filled, destination_db, "a", "b", write_mode="append")
    admin = connect(destination_db)
    first = rapidbyte.run(spec, options=RunOptions(key="2026-01-31"))
    again = rapidbyte.run(spec, options=RunOptions(key="2026-01-31"))
    assert [stream.records_written for stream in again.streams] == [0, 0]
    assert again.streams[0].warnings == (
        f"it was published by run {first.run_id} under the same key: nothing was loaded again",
    )
    assert count(admin, "a") == 1000
    assert rapidbyte.run(spec, options=RunOptions(key="2026-02-01")).status == "succeeded"
    assert count(admin, "a") == 2000


def test_a_key_finishes_what_failed_under_it(filled: str, destination_db: str, connect: Connect) -> None:
    """a is published under the key, the second stream is not: the same command loads the second one alone."""
    spec = pipeline(filled, destination_db, "a", FAILS, write_mode="append")
    admin = connect(destination_db)
    assert rapidbyte.run(spec, options=RunOptions(key="K")).status == "partial"
    connect(filled).execute("DELETE FROM a WHERE id = 900")
    again = rapidbyte.run(spec, options=RunOptions(key="K"))
    assert [stream.records_written for stream in again.streams] == [0, 999]
    assert (count(admin, "a"), count(admin, "fails")) == (1000, 999)


def test_a_full_refresh_replaces_an_append(filled: str, destination_db: str, connect: Connect) -> None:
    """Twice appended, then refreshed: the source's rows once."""
    spec = pipeline(filled, destination_db, "a", write_mode="append")
    admin = connect(destination_db)
    for _ in range(2):
        assert rapidbyte.run(spec).status == "succeeded"
    assert count(admin, "a") == 2000
    result = rapidbyte.run(spec, options=RunOptions(full_refresh=True))
    assert (result.status, result.streams[0].write_mode) == ("succeeded", "replace")
    assert count(admin, "a") == 1000
