"""Tables, modes and keys that change between two runs of one pipeline: told, refused, or followed by policy."""

from __future__ import annotations

import pytest

from rapidbyte.result import RunResult
from rapidbyte.spec import SchemaPolicy, StreamSpec
from tests.postgres.leading import rows_of, run
from tests.postgres.loading import loaded, pipeline, refused

TABLE = "CREATE TABLE t (id int PRIMARY KEY, a text, b int); INSERT INTO t VALUES (1, 'one', 10), (2, 'two', 20)"


def changes(result: RunResult) -> list[tuple[str, str]]:
    """What the result tells of the first stream's columns."""
    return [(change.kind, change.column) for change in result.streams[0].schema_changes]


def test_modes_may_change_from_run_to_run(source_db: str, destination_db: str) -> None:
    """A8: each run does what its mode says to the rows that are there, whichever mode brought them."""
    run(source_db, TABLE)
    for mode, method, rows in (
        ("append", "rename", 2),
        ("append", "insert", 4),
        ("replace", "swap", 2),
        ("upsert", "merge", 2),
        ("append", "insert", 4),
        ("replace", "swap", 2),
    ):
        result = loaded(pipeline(source_db, destination_db, "t", write_mode=mode))
        assert result.streams[0].publish == method
        assert rows_of(destination_db, "SELECT count(*), count(DISTINCT id) FROM raw.t") == [(rows, 2)]
        run(destination_db, "ALTER TABLE raw.t DROP CONSTRAINT IF EXISTS t_pkey")


@pytest.mark.parametrize("key", [("a",), ("id", "a"), ("b",)])
def test_another_key_finds_its_rows_by_itself(source_db: str, destination_db: str, key: tuple[str, ...]) -> None:
    """A8: no unique index of the old key is in the way, and none of the new one is asked for."""
    run(source_db, TABLE)
    loaded(pipeline(source_db, destination_db, "t", write_mode="upsert", primary_key=("id",)))
    run(source_db, "UPDATE t SET b = b + 1 WHERE id = 1")
    run(destination_db, "ALTER TABLE raw.t DROP CONSTRAINT t_pkey")
    loaded(pipeline(source_db, destination_db, "t", write_mode="upsert", primary_key=key))
    expected = [(1, "one", 11), (2, "two", 20)]
    found = rows_of(destination_db, "SELECT * FROM raw.t ORDER BY b")
    assert found == (expected if "b" not in key else sorted([*expected, (1, "one", 10)], key=lambda row: row[2]))


def test_a_replace_of_a_part_says_how_few_rows_may_be_left(source_db: str, destination_db: str) -> None:
    """A15: replace leaves what the stream selects; `min_rows` keeps a window that is empty from emptying the target."""
    run(source_db, TABLE)
    loaded(pipeline(source_db, destination_db, "t"))
    window = StreamSpec(name="t", where="b > 1000", min_rows=1)
    refused(pipeline(source_db, destination_db, window), 5, "too_few_rows")
    assert rows_of(destination_db, "SELECT id FROM raw.t ORDER BY id") == [(1,), (2,)]


def test_a_column_that_is_gone_keeps_what_it_held(source_db: str, destination_db: str) -> None:
    """F2: new rows have NULL there, old ones keep their values, and the result says so; `fail` refuses, exit 6."""
    run(source_db, TABLE)
    loaded(pipeline(source_db, destination_db, "t"))
    run(source_db, "ALTER TABLE t DROP a; INSERT INTO t VALUES (3, 30)")
    policy = SchemaPolicy(removed_column="fail")
    message, _ = refused(pipeline(source_db, destination_db, "t", schema_policy=policy), 6, "schema_drift")
    assert "does not carry the target's column a" in message
    result = loaded(pipeline(source_db, destination_db, "t", write_mode="upsert"))
    assert changes(result) == [("missing_column", "a")]
    rows = [(1, "one", 10), (2, "two", 20), (3, None, 30)]
    assert rows_of(destination_db, "SELECT id, a, b FROM raw.t ORDER BY id") == rows


@pytest.mark.parametrize("mode", ["append", "replace", "upsert"])
def test_columns_find_their_places_by_name(source_db: str, destination_db: str, mode: str) -> None:
    """F4: in another order, of the same type, so that a COPY by position would mix them up."""
    run(source_db, "CREATE TABLE t (id int PRIMARY KEY, a text, b text); INSERT INTO t VALUES (1, 'of a', 'of b')")
    run(destination_db, "CREATE SCHEMA raw; CREATE TABLE raw.t (b text, gone int, id int PRIMARY KEY, a text);"
        "ALTER TABLE raw.t DROP gone")  # fmt: skip
    loaded(pipeline(source_db, destination_db, "t", write_mode=mode))
    assert rows_of(destination_db, "SELECT id, a, b FROM raw.t") == [(1, "of a", "of b")]
    run(source_db, "ALTER TABLE t ADD c text; UPDATE t SET c = 'of c'; ALTER TABLE t DROP b; ALTER TABLE t ADD b text")
    reordered = StreamSpec(name="t", columns=("b", "c", "id", "a"))
    run(source_db, "UPDATE t SET b = 'of b', id = 2")
    loaded(pipeline(source_db, destination_db, reordered, write_mode=mode))
    assert rows_of(destination_db, "SELECT a, b, c FROM raw.t WHERE id = 2") == [("of a", "of b", "of c")]


def test_a_renamed_column_is_one_that_goes_and_one_that_comes(source_db: str, destination_db: str) -> None:
    """F5: nobody guesses. A frozen schema refuses it, exit 6, and names both; else both are there and are told."""
    run(source_db, TABLE)
    loaded(pipeline(source_db, destination_db, "t"))
    run(source_db, "ALTER TABLE t RENAME a TO z")
    for policy in (SchemaPolicy(new_column="fail"), SchemaPolicy(removed_column="fail")):
        refused(pipeline(source_db, destination_db, "t", schema_policy=policy), 6, "schema_drift")
    both = SchemaPolicy(new_column="fail", removed_column="fail")
    message, _ = refused(pipeline(source_db, destination_db, "t", schema_policy=both), 6, "schema_drift")
    assert "column z is new" in message
    assert "column a" in message
    result = loaded(pipeline(source_db, destination_db, "t", write_mode="upsert"))
    assert sorted(changes(result)) == [("add_column", "z"), ("missing_column", "a")]
    rows = [("one", "one"), ("two", "two")]
    assert rows_of(destination_db, "SELECT a, z FROM raw.t ORDER BY id") == rows
