"""Values that have no exact form, wherever they are found, are rows that are set aside: with file, row and column."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import psycopg
import pyarrow as pa
import pytest
from pyarrow import feather, parquet

from rapidbyte.rejects import RejectPolicy
from rapidbyte.result import RunResult
from rapidbyte.spec import (
    CastTransform,
    DatabaseFileSpec,
    PipelineSpec,
    Rule,
    SqlTransform,
    StreamSpec,
    Transform,
    ValidateTransform,
)
from tests.postgres.loading import loaded, pipeline, refused

Connect = Callable[..., psycopg.Connection]
DLQ = RejectPolicy(action="dlq")


def rows_of(dsn: str, query: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(dsn) as connection:
        return connection.execute(query).fetchall()  # type: ignore[arg-type]


def rejects(dsn: str, columns: str = "line, column_name, sqlstate, code, form") -> list[tuple[Any, ...]]:
    return rows_of(dsn, f"SELECT {columns} FROM _rapidbyte.rejects ORDER BY file, line, row_data::text")


def totals(result: RunResult) -> tuple[int, int, int]:
    return result.records_read, result.records_written, result.records_rejected


def shop(source: str | Path, destination: str, policy: RejectPolicy = DLQ, **stream: Any) -> PipelineSpec:
    return pipeline(source, destination, StreamSpec(name="orders", **stream), rejects=policy)


MOMENTS = pa.table(
    {
        "id": pa.array(range(1, 2001), pa.int64()),
        "at": pa.array([1_000_000_001 if i in (3, 4, 1500) else i * 1000 for i in range(1, 2001)], pa.timestamp("ns")),
        "n": pa.array(["x" if i == 7 else str(i) for i in range(1, 2001)]),
    }
)
"""Three nanoseconds that PostgreSQL does not have, and a text that is no number."""


@pytest.mark.parametrize("kind", ["parquet", "arrow"])
def test_values_of_parquet_and_arrow_that_do_not_fit_are_set_aside(
    destination_db: str, tmp_path: Path, connect: Connect, kind: str
) -> None:
    """With their rows in the file, also in a later row group, and so are those that the server refuses behind them."""
    path = tmp_path / f"orders.{kind}"
    if kind == "parquet":
        parquet.write_table(MOMENTS, path, row_group_size=700)
    else:
        feather.write_feather(MOMENTS, str(path), compression="uncompressed", chunksize=700)
    connect(destination_db).execute(
        "CREATE SCHEMA raw; CREATE TABLE raw.orders (id bigint CHECK (id <> 1600), at timestamp, n int)"
    )
    result = loaded(shop(path, destination_db, types=(("n", "int"),)))
    assert totals(result) == (2000, 1995, 5)
    assert rows_of(destination_db, "SELECT count(*), sum(id) FROM raw.orders") == [(1995, 2001000 - 3114)]
    assert rejects(destination_db) == [
        (3, "at", "22003", "value_misfit", "source"),
        (4, "at", "22003", "value_misfit", "source"),
        (7, "n", "22P02", "value_misfit", "source"),
        (1500, "at", "22003", "value_misfit", "source"),
        (1600, None, "23514", "constraint_violated", "target"),
    ]
    stored = rows_of(
        destination_db, "SELECT file, message, row_data->>'id', row_data->>'n' FROM _rapidbyte.rejects WHERE line = 7"
    )
    assert stored == [(str(path), "a value of column n is not exactly an integer, which was declared", "7", "x")]
    refused(shop(path, destination_db, RejectPolicy(), types=(("n", "int"),)), 5, "value_misfit")


def test_a_condition_leaves_the_rows_of_parquet_without_numbers(destination_db: str, tmp_path: Path) -> None:
    """What was set aside while reading has them still."""
    parquet.write_table(MOMENTS, tmp_path / "orders.parquet")
    result = loaded(shop(tmp_path / "orders.parquet", destination_db, where="id < 100"))
    assert totals(result)[1:] == (97, 3)
    assert [line for (line,) in rejects(destination_db, "line")] == [3, 4, 1500]


CSV = "id,amount\n1,1.5\n2,x\n3,-3\n4,4\n5,\n2,7\n1,8\n"


def transformed(folder: Path, destination: str, *transforms: Transform) -> RunResult:
    (folder / "orders.csv").write_text(CSV)
    types = (("id", "int"), ("amount", "text"))
    return loaded(shop(folder / "orders.csv", destination, types=types, transforms=transforms))


def test_a_cast_that_a_value_has_no_way_through_sets_the_row_aside(destination_db: str, tmp_path: Path) -> None:
    """With file, line and column, and as it was before."""
    assert totals(transformed(tmp_path, destination_db, CastTransform(types=(("amount", "int"),)))) == (7, 5, 2)
    assert rejects(destination_db, "line, column_name, sqlstate, message, form, row_data") == [
        (2, "amount", "22P02", "the value of column amount is not exactly an integer", "source",
         {"id": "1", "amount": "1.5"}),
        (3, "amount", "22P02", "the value of column amount is not exactly an integer", "source",
         {"id": "2", "amount": "x"}),
    ]  # fmt: skip
    assert rows_of(destination_db, "SELECT sum(amount) FROM raw.orders") == [(16,)]


def test_a_query_about_each_row_sets_those_aside_on_which_it_fails(destination_db: str, tmp_path: Path) -> None:
    """With file and line, and without a value in the message."""
    query = "SELECT id, CAST(amount AS DOUBLE) AS amount FROM input WHERE id < 5"
    assert totals(transformed(tmp_path, destination_db, SqlTransform(query=query))) == (7, 5, 1)
    assert rejects(destination_db, "line, code, message, row_data->>'id'") == [
        (3, "transform_failed", "the sql transform fails on a row: Conversion Error", "2")
    ]
    assert rows_of(destination_db, "SELECT sum(amount) FROM raw.orders") == [(17.5,)]


def test_rules_bear_that_no_row_is_left_to_look_at(destination_db: str, tmp_path: Path) -> None:
    """Because a query before has filtered all of them, or the rule itself fails on each."""
    rule = ValidateTransform(rules=(Rule(kind="assert_expression", expression="CAST(amount AS int) > 0"),))
    nothing = SqlTransform(query="SELECT id, amount FROM input WHERE id > 5")
    assert totals(transformed(tmp_path, destination_db, nothing, rule)) == (7, 0, 0)
    letters = SqlTransform(query="SELECT id, 'x' || id AS amount FROM input")
    assert totals(transformed(tmp_path, destination_db, letters, rule)) == (7, 0, 7)


def test_a_query_about_all_rows_ends_the_load(destination_db: str, tmp_path: Path) -> None:
    """Which row it fails on is not known."""
    (tmp_path / "orders.csv").write_text(CSV)
    query = SqlTransform(query="SELECT id, sum(CAST(amount AS DOUBLE)) AS total FROM input GROUP BY id")
    types = (("id", "int"), ("amount", "text"))
    spec = shop(tmp_path / "orders.csv", destination_db, types=types, transforms=(query,))
    refused(spec, 5, "transform_failed")


def test_rows_that_repeat_a_value_of_the_whole_stream_are_set_aside(destination_db: str, tmp_path: Path) -> None:
    """The first of each stays, NULL is like nothing, and another rule is asked before."""
    rules = ValidateTransform(
        rules=(
            Rule(kind="assert_unique", fields=("id",)),
            Rule(kind="assert_expression", expression="amount <> '7'"),
        )
    )
    assert totals(transformed(tmp_path, destination_db, rules)) == (7, 5, 2)
    assert rejects(destination_db, "line, column_name, code, message, form, row_data") == [
        (7, None, "rule_violated", "assert_expression: amount <> '7'", "target", {"id": "2", "amount": "7"}),
        (8, "id", "rule_violated", "assert_unique: id: an earlier row has the same", "target",
         {"id": "1", "amount": "8"}),
    ]  # fmt: skip


def test_every_rule_that_a_row_violates_is_named(destination_db: str, tmp_path: Path) -> None:
    """The first in order is the reason; the others follow. Of several `assert_unique` as well, over all partitions."""
    (tmp_path / "orders.csv").write_text("id,amount\n1,1\n1,1\n2,\n2,1\n,\n")
    rules = ValidateTransform(
        rules=(
            Rule(kind="assert_not_null", fields=("amount",)),
            Rule(kind="assert_unique", fields=("id",)),
            Rule(kind="assert_unique", fields=("amount",)),
            Rule(kind="assert_not_null", fields=("id",)),
        )
    )
    loaded(shop(tmp_path / "orders.csv", destination_db, transforms=(rules,)))
    assert rejects(destination_db, "line, column_name, message") == [
        (3, "id", ("assert_unique: id: an earlier row has the same;"
         " also assert_unique: amount: an earlier row has the same")),
        (4, "amount", "assert_not_null: amount"),
        (5, "amount", "assert_unique: amount: an earlier row has the same"),
        (6, "amount", "assert_not_null: amount; also assert_not_null: id"),
    ]  # fmt: skip


def test_many_rows_that_repeat_are_found_over_all_partitions(destination_db: str, tmp_path: Path) -> None:
    """30,000 rows of three files, one value in three."""
    for part in range(3):
        rows = "".join(f"{(part * 10_000 + i) % 10_007},{i}\n" for i in range(10_000))
        (tmp_path / f"orders{part}.csv").write_text("id,n\n" + rows)
    unique = ValidateTransform(rules=(Rule(kind="assert_unique", fields=("id",)),))
    policy = RejectPolicy(action="skip", max_rows=None, max_percent=70.0)
    result = loaded(shop(tmp_path / "orders*.csv", destination_db, policy, transforms=(unique,)))
    assert totals(result) == (30_000, 10_007, 19_993)
    assert rows_of(destination_db, "SELECT count(DISTINCT id) FROM raw.orders") == [(10_007,)]


def test_a_rule_that_fails_on_a_row_sets_it_aside(destination_db: str, tmp_path: Path) -> None:
    """A cast within a condition, for instance."""
    rule = ValidateTransform(rules=(Rule(kind="assert_expression", expression="CAST(amount AS DOUBLE) > 0"),))
    assert totals(transformed(tmp_path, destination_db, rule)) == (7, 5, 2)
    assert rejects(destination_db, "line, code") == [(3, "transform_failed"), (4, "rule_violated")]


def test_values_of_a_server_that_cannot_pass_through_transforms_are_set_aside(
    source_db: str, destination_db: str, connect: Connect
) -> None:
    """Infinity, a year before 1, 24:00: each with its column, and the server's own texts (B9, B10)."""
    connect(source_db).execute(
        "CREATE TABLE orders (id int, day date, at time); INSERT INTO orders VALUES (1, '2020-01-01', '10:00'),"
        " (2, 'infinity', '10:00'), (3, '0044-03-15 BC', '10:00'), (4, '2020-01-02', '24:00'), (5, NULL, NULL)"
    )
    rename = SqlTransform(query='SELECT id, day, "at" FROM input')
    assert totals(loaded(shop(source_db, destination_db, transforms=(rename,)))) == (5, 2, 3)
    found = rejects(destination_db, "column_name, sqlstate, code, row_data->>'id', row_data->>'day', row_data->>'at'")
    assert sorted(found, key=lambda row: row[3]) == [
        ("day", "22003", "value_misfit", "2", "infinity", "10:00:00"),
        ("day", "22003", "value_misfit", "3", "0044-03-15 BC", "10:00:00"),
        ("at", "22003", "value_misfit", "4", "2020-01-02", "24:00:00"),
    ]


def from_database(kind: Any, path: Path, destination: str, policy: RejectPolicy = DLQ) -> PipelineSpec:
    spec = pipeline("unused", destination, StreamSpec(name="orders"), rejects=policy)
    return replace(spec, source=DatabaseFileSpec(kind=kind, path=str(path)))


def test_values_of_sqlite_that_are_none_of_their_columns_types_are_set_aside(
    destination_db: str, tmp_path: Path, connect: Connect
) -> None:
    """With the row id, as SQLite holds them; what the server refuses has its row id, too."""
    path = tmp_path / "shop.db"
    with sqlite3.connect(path) as made:
        made.execute("CREATE TABLE orders (id INTEGER PRIMARY KEY, amount INTEGER, name TEXT, day DATE)")
        made.executemany(
            "INSERT INTO orders VALUES (?, ?, ?, ?)",
            [(1, 5, "a", "2020-01-01"), (2, "many", "b", "2020-01-01"), (3, 5, b"\xff", None), (4, 5, "d", "soon"),
             (5, 2.5, "e", "later"), (60, -1, "f", None), (70, 9, "g", "2020-01-02")],
        )  # fmt: skip
        made.execute("UPDATE orders SET name = CAST(x'ff61' AS TEXT) WHERE id = 3")
    made.close()
    connect(destination_db).execute(
        "CREATE SCHEMA raw; CREATE TABLE raw.orders (id bigint, amount bigint CHECK (amount > 0), name text, day date)"
    )
    assert totals(loaded(from_database("sqlite", path, destination_db))) == (7, 2, 5)
    assert rejects(destination_db, "file, line, column_name, sqlstate, row_data->>'amount'") == [
        (str(path), 2, "amount", "22P02", "many"),
        (str(path), 3, "name", "22P02", "5"),
        (str(path), 4, "day", "22P02", "5"),
        (str(path), 5, "amount", "22P02", "2.5"),
        (str(path), 60, None, "23514", "-1"),
    ]
    assert rows_of(destination_db, "SELECT message FROM _rapidbyte.rejects WHERE line = 2") == [
        ("the column holds a text, which is no bigint",)
    ]
    refused(from_database("sqlite", path, destination_db, RejectPolicy()), 5, "value_misfit")


def test_nanoseconds_of_duckdb_are_set_aside(destination_db: str, tmp_path: Path) -> None:
    """They have no row id; the row has its values."""
    path = tmp_path / "shop.duckdb"
    with duckdb.connect(str(path)) as made:
        made.execute(
            "CREATE TABLE orders AS SELECT i AS id, make_timestamp_ns(i * 1000 + (i = 3)::INT) AS at"
            " FROM range(1, 6) t(i)"
        )
    assert totals(loaded(from_database("duckdb", path, destination_db))) == (5, 4, 1)
    assert rejects(destination_db, "column_name, sqlstate, row_data->>'id'") == [("at", "22003", "3")]
