"""Streams and each other, between two real databases: `--keep-going`, `publish: together`, `--failed`, `--key`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import psycopg
import pytest

import rapidbyte
from rapidbyte.events import BlockMoved, Event
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


FAMILY = """
CREATE SCHEMA {0};
CREATE TABLE {0}.parents (id int PRIMARY KEY, mail text UNIQUE, own text);
CREATE TABLE {0}.children (id int PRIMARY KEY, parent int NOT NULL REFERENCES {0}.parents {1}, own text);
CREATE TABLE {0}.toys (id int PRIMARY KEY, child int REFERENCES {0}.children {1}, own text);
"""
BEFORE = """
INSERT INTO raw.parents SELECT i, 'mail' || i, 'old' FROM generate_series(1, 20) i;
INSERT INTO raw.children SELECT i, i, 'old' FROM generate_series(1, 20) i;
INSERT INTO raw.toys SELECT i, i, 'old' FROM generate_series(1, 20) i;
"""
NOW = """
ALTER TABLE app.parents DROP own; ALTER TABLE app.children DROP own; ALTER TABLE app.toys DROP own;
INSERT INTO app.parents SELECT i, 'mail' || i FROM generate_series(11, 20) i;  -- 1 to 10 are gone
INSERT INTO app.parents SELECT i + 100, 'mail' || i FROM generate_series(6, 10) i;  -- mails of those that are gone
INSERT INTO app.children SELECT i, 10 + i % 10 + 1 FROM generate_series(1, 5) i;  -- their parents are others now
INSERT INTO app.children SELECT i, i + 100 FROM generate_series(6, 10) i;
INSERT INTO app.toys SELECT i, CASE WHEN i > 10 THEN i - 10 END FROM generate_series(5, 20) i;
"""


@pytest.mark.parametrize("action", ["", "ON DELETE RESTRICT", "ON DELETE CASCADE", "DEFERRABLE INITIALLY DEFERRED"])
@pytest.mark.parametrize("named", [("toys", "children", "parents"), ("parents", "children", "toys")])
def test_together_parents_and_children_are_replaced_in_place(
    named: tuple[str, ...], action: str, source_db: str, destination_db: str, connect: Connect
) -> None:
    """A9: parents that are gone go after their children have found others; columns that no stream brings stay."""
    connect(source_db).execute(FAMILY.format("app", "") + NOW)  # type: ignore[arg-type]
    admin = connect(destination_db)
    admin.execute(FAMILY.format("raw", action) + BEFORE)  # type: ignore[arg-type]
    if "DEFERRED" not in action:  # unique values of parents that wait for their end cannot move
        connect(source_db).execute("UPDATE app.parents SET mail = 'new' || id WHERE id > 100")
    spec = pipeline(source_db, destination_db, *(f"app.{name}" for name in named), together=True)
    streams = tuple(replace(stream, target=stream.name.removeprefix("app.")) for stream in spec.streams)
    for _ in range(2):
        result = rapidbyte.run(replace(spec, streams=streams))
        assert (result.error, [stream.publish for stream in result.streams]) == (None, ["in_place"] * 3)
    for table, columns in (("parents", "id, mail"), ("children", "id, parent"), ("toys", "id, child")):
        rows = f"SELECT {columns} FROM {{}}.{table} ORDER BY 1"
        assert (
            admin.execute(rows.format("raw")).fetchall()  # type: ignore[arg-type]
            == connect(source_db).execute(rows.format("app")).fetchall()  # type: ignore[arg-type]
        )
    assert admin.execute("SELECT count(*) FROM raw.children WHERE own = 'old'").fetchone() == (10,)
    stages = admin.execute("SELECT count(*) FROM pg_class WHERE relname LIKE '\\_rb\\_%'").fetchone()
    assert stages == (0,)


def test_a_foreign_key_that_forbids_a_replace_is_told(source_db: str, destination_db: str, connect: Connect) -> None:
    """A9: exit 5 with the key, the table that refers, and what to do; nothing is changed."""
    connect(source_db).execute("CREATE TABLE parents (id int PRIMARY KEY); CREATE TABLE kids (id int, parent int);"
        "INSERT INTO kids VALUES (1, 7)")  # fmt: skip
    admin = connect(destination_db)
    admin.execute(
        "CREATE SCHEMA raw; CREATE TABLE raw.parents (id int PRIMARY KEY);"
        "CREATE TABLE raw.kids (id int, parent int CONSTRAINT of_parent REFERENCES raw.parents);"
        "INSERT INTO raw.parents VALUES (1); INSERT INTO raw.kids VALUES (1, 1)"
    )
    for stream, words in (
        ("parents", ("rows of raw.kids refer by of_parent to rows of raw.parents", "publish: together")),
        ("kids", ("of_parent of raw.kids refers to rows that are not there", "publish: together")),
    ):
        result = rapidbyte.run(pipeline(source_db, destination_db, stream))
        assert result.error is not None
        assert (result.exit_code, result.error.code, result.error.sqlstate) == (5, "constraint_violated", "23503")
        assert all(word in (result.error.hint or "") for word in words), result.error.hint
    assert admin.execute("SELECT id, parent FROM raw.kids").fetchall() == [(1, 1)]


def test_together_tables_that_refer_to_each_other_are_loaded_where_a_key_waits(
    source_db: str, destination_db: str, connect: Connect
) -> None:
    """A deferred key is checked when every table has its rows, not after the first."""
    connect(source_db).execute(
        "CREATE TABLE a AS SELECT 1 AS id, 2 AS other; CREATE TABLE b AS SELECT 2 AS id, 1 AS other"
    )
    admin = connect(destination_db)
    admin.execute(
        "CREATE SCHEMA raw; CREATE TABLE raw.a (id int PRIMARY KEY, other int);"
        "CREATE TABLE raw.b (id int PRIMARY KEY, other int REFERENCES raw.a DEFERRABLE INITIALLY DEFERRED);"
        "ALTER TABLE raw.a ADD FOREIGN KEY (other) REFERENCES raw.b DEFERRABLE INITIALLY DEFERRED"
    )
    spec = pipeline(source_db, destination_db, "a", "b", write_mode="append", together=True)
    assert rapidbyte.run(spec).error is None
    assert (count(admin, "a"), count(admin, "b")) == (1, 1)


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


def test_a_target_that_goes_in_mid_run_is_not_said_to_be_as_it_was(
    source_db: str, destination_db: str, connect: Connect
) -> None:
    """D14: somebody drops it while its last partition is read: exit 4; the next run makes it anew."""
    source, admin = connect(source_db), connect(destination_db)
    source.execute("CREATE TABLE t AS SELECT 1 AS id")
    admin.execute("CREATE SCHEMA raw; CREATE TABLE raw.t (id int); INSERT INTO raw.t VALUES (7)")
    reached: list[str] = []

    def observe(event: Event) -> None:
        if isinstance(event, BlockMoved) and not reached:
            reached.append(event.stream)
            connect(destination_db).execute("DROP TABLE raw.t")

    spec = pipeline(source_db, destination_db, "t")
    result = rapidbyte.run(spec, observe=observe)
    assert result.error is not None
    assert (result.exit_code, result.error.code) == (4, "target_changed")
    assert result.error.afterwards == "this run has published nothing to raw.t"
    assert rapidbyte.run(spec).error is None
    assert admin.execute("SELECT id FROM raw.t").fetchall() == [(1,)]
