"""An increment in ranges of its cursor: every row in exactly one, ties together, the index used."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from rapidbyte.partition import CursorRange, Partition
from rapidbyte.sources.postgres import increment
from rapidbyte.sources.postgres.select import select, stream_read
from tests.postgres.increments import Increments, by
from tests.postgres.reading import Open, run_plan

Connect = Callable[..., Any]


def ids(rows: list[str]) -> list[int]:
    return sorted(int(row.split("\t")[0]) for row in rows)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("bigint", "i * 7"),
        ("numeric", "i / 3.0"),
        ("timestamptz", "now() - i * interval '1 s'"),
        ("timestamp(0)", "now() - interval '9 h' - i * interval '1 s'"),
        ("date", "current_date - 2 - i"),
        ("uuid", "lpad(i::text, 32, '0')::uuid"),
        ("text", "chr(65 + i % 26) || i"),
        ("amount", "i"),
    ],
)
@pytest.mark.parametrize("indexed", [True, False])
def test_every_row_is_in_exactly_one_range(source_db: str, connect: Connect, kind: str, value: str, indexed: bool):
    """Whatever the type is, also in a text's own collation; without an index there are few ranges."""
    session = connect(source_db)
    collate = ' COLLATE "C"' if kind == "text" else ""
    session.execute("CREATE DOMAIN amount AS int CHECK (value > 0)")
    session.execute(f"CREATE TABLE t (id int, pad text, c {kind}{collate})")
    session.execute(f"INSERT INTO t SELECT i, repeat('x', 100), ({value})::{kind} FROM generate_series(1, 2000) i")
    session.execute("INSERT INTO t VALUES (2001), (2002)")
    if indexed:
        session.execute("CREATE INDEX ON t (c)")
    stream = Increments(source_db, by("c", columns=("id", "pad", "c")), nulls="always")
    parts = stream.parts()
    assert ids([row for _, rows in parts for row in rows]) == list(range(1, 2003))
    assert len(parts) > 20 if indexed else len(parts) == increment.MOST_SCANS
    sizes = [len(rows) for _, rows in parts]
    assert max(sizes) < 4 * 2000 / len(parts)
    assert sum(part.range.with_nulls for part, _ in parts if isinstance(part.range, CursorRange)) == 1


def test_rows_with_equal_cursors_are_in_one_range(source_db: str, connect: Connect):
    """5,000 of them, more than a range should have: not parted, and none comes again (E3)."""
    session = connect(source_db)
    session.execute("CREATE TABLE t AS SELECT i AS id, 50 + (i > 5100)::int * i AS c FROM generate_series(1, 6000) i")
    session.execute("UPDATE t SET c = id WHERE id <= 49; CREATE INDEX ON t (c)")
    stream = Increments(source_db, by("c"))
    parts = [(part, rows) for part, rows in stream.parts() if any(row.endswith("\t50") for row in rows)]
    assert len(parts) == 1
    assert sum(row.endswith("\t50") for row in parts[0][1]) == 5051
    assert stream.take() == []


def test_a_small_increment_is_one_range(source_db: str, connect: Connect):
    """Of a big table, too; only its own rows are in it."""
    session = connect(source_db)
    session.execute("CREATE TABLE t AS SELECT i AS id, repeat('x', 100) AS pad FROM generate_series(1, 5000) i")
    session.execute("CREATE UNIQUE INDEX ON t (id)")
    stream = Increments(source_db, by("id"))
    assert len(stream.parts()) > 20
    session.execute("INSERT INTO t SELECT i, 'y' FROM generate_series(5001, 5020) i")
    ((_, rows),) = stream.parts()
    assert ids(rows) == list(range(5001, 5021))


def test_a_big_table_is_sampled(source_db: str, connect: Connect, monkeypatch: pytest.MonkeyPatch):
    """Its ranges are even enough, and complete."""
    monkeypatch.setattr(increment, "SAMPLE_BLOCKS", 20)
    session = connect(source_db)
    session.execute("CREATE TABLE t AS SELECT i AS id, repeat('x', 100) AS pad FROM generate_series(1, 8000) i")
    session.execute("CREATE UNIQUE INDEX ON t (id)")
    parts = Increments(source_db, by("id")).parts(partition_bytes=80_000)
    assert ids([row for _, rows in parts for row in rows]) == list(range(1, 8001))
    assert 6 < len(parts) < 30


@pytest.mark.parametrize("kind", ["view", "query"])
def test_views_and_queries_are_parted_by_the_planner_s_estimate(source_db: str, connect: Connect, kind: str):
    """With functions that only the role's search_path finds."""
    session = connect(source_db)
    session.execute(
        """
        CREATE TABLE t AS SELECT i AS id, repeat('x', 100) AS pad FROM generate_series(1, 3000) i;
        ANALYZE t;
        CREATE FUNCTION one() RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 1';
        CREATE VIEW v AS SELECT * FROM t WHERE id > one()
        """
    )
    spec = by("id", "v", query="SELECT * FROM t WHERE id > one()" if kind == "query" else None)
    parts = Increments(source_db, spec).parts()
    assert ids([row for _, rows in parts for row in rows]) == list(range(2, 3001))
    assert len(parts) > 3


def test_a_range_is_read_by_the_cursor_s_index(source_db: str, connect: Connect):
    """Where there is one, and the range is a small part of the table."""
    session = connect(source_db)
    session.execute("CREATE TABLE t AS SELECT i AS id, repeat('x', 100) AS pad FROM generate_series(1, 20000) i")
    session.execute("CREATE INDEX by_id ON t (id); ANALYZE t")
    plan = Increments(source_db, by("id")).plan()
    part = CursorRange(column="id", type="integer", low="100", low_inclusive=True, high="200", high_inclusive=False)
    explain = f"EXPLAIN (FORMAT JSON) {select(stream_read(plan), part).as_string()}"
    (found,) = session.execute(explain).fetchone()
    assert '"Index Name": "by_id"' in json.dumps(found)


def test_a_later_run_finds_the_same_rows_in_a_range(source_db: str, connect: Connect):
    """Although rows were added meanwhile: what makes an increment resumable."""
    session = connect(source_db)
    session.execute("CREATE TABLE t AS SELECT i AS id, repeat('x', 100) AS pad FROM generate_series(1, 2000) i")
    session.execute("CREATE INDEX ON t (id)")
    stream = Increments(source_db, by("id"))
    before = stream.parts()
    session.execute("INSERT INTO t SELECT i, repeat('x', 100) FROM generate_series(2001, 4000) i")
    session.execute("VACUUM FULL t")
    plan = stream.plan()
    with stream.source.snapshot((plan,)) as snapshot:
        read = Open(snapshot=snapshot, plan=run_plan(source_db, (plan,)))
        for part, rows in before:
            again = Partition(stream="t", index=part.index, range=part.range)
            assert sorted(read.lines(again)) == sorted(rows)
