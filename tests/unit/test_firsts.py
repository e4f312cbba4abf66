"""`assert_unique` where bad rows are set aside: of rows with equal values the first of the stream is kept."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rapidbyte.model import Column
from rapidbyte.pg.types import parse_type_name
from rapidbyte.ports import Place, never
from rapidbyte.rejects import Reject
from rapidbyte.transforms.engine import Database, open_database
from rapidbyte.transforms.firsts import Firsts
from rapidbyte.transforms.flow import Batch

Row = tuple[int | None, str | None]

COLUMNS = (
    Column(name="a", type=parse_type_name("bigint"), arrow="int64"),
    Column(name="b", type=parse_type_name("text"), arrow="string"),
)
ONE_AT_A_TIME, ALL_AT_ONCE = 1, 1 << 30
"""Bytes after which rows are looked at: after each batch, at the end."""


@pytest.fixture(scope="module")
def database() -> Database:
    with open_database() as opened:
        yield opened


def sifted(
    database: Database, rows: Sequence[Row], unique: tuple[tuple[str, ...], ...], *, batch: int, hold_bytes: int
) -> tuple[list[Row], list[Reject]]:
    """What is kept, and what is set aside."""
    for table in ("fresh", "keys", "bad"):
        database.connection.execute(f"DROP TABLE IF EXISTS {table}")
    aside: list[Reject] = []
    batches = (
        Batch(
            rows=pa.record_batch(
                {
                    "a": pa.array([a for a, _ in rows[low : low + batch]], pa.int64()),
                    "b": pa.array([b for _, b in rows[low : low + batch]], pa.string()),
                }
            ),
            origin=lambda row, low=low: Place(file="f.csv", line=low + row + 2),
        )
        for low in range(0, len(rows), batch)
    )
    firsts = Firsts(database, COLUMNS, unique, never, hold_bytes=hold_bytes)
    kept = [row for each in firsts.of(batches, aside.append) for row in each.rows.to_pylist()]
    return [(row["a"], row["b"]) for row in kept], aside


ROWS = st.lists(st.tuples(st.sampled_from([None, 1, 2, 3]), st.sampled_from([None, "x", "y"])), max_size=12)


@settings(deadline=None, max_examples=15)
@given(rows=ROWS, batch=st.integers(1, 5), hold_bytes=st.sampled_from([ONE_AT_A_TIME, 40, ALL_AT_ONCE]))
def test_the_first_row_of_each_value_is_kept_however_many_are_looked_at(
    database: Database, rows: list[Row], batch: int, hold_bytes: int
) -> None:
    """NULL is like nothing, in either of the columns that are taken together; the others are named by their lines."""
    seen: set[Row] = set()
    kept, lines = [], []
    for number, row in enumerate(rows):
        if row in seen:
            lines.append(number + 2)
            continue
        kept.append(row)
        if None not in row:
            seen.add(row)
    found, aside = sifted(database, rows, (("a", "b"),), batch=batch, hold_bytes=hold_bytes)
    assert kept == found
    assert lines == [each.line for each in aside]


@settings(deadline=None, max_examples=15)
@given(rows=ROWS)
def test_a_row_that_one_rule_refuses_is_no_first_of_another(database: Database, rows: list[Row]) -> None:
    """Row by row: what is set aside holds no value against those that come later."""
    seen: set[tuple[int, object]] = set()
    kept: list[Row] = []
    rules: list[str] = []
    for row in rows:
        own = [(place, value) for place, value in enumerate(row) if value is not None]
        repeated = [place for place, value in own if (place, value) in seen]
        if repeated:
            rules.append("ab"[repeated[0]])
            continue
        kept.append(row)
        seen |= set(own)
    found, aside = sifted(database, rows, (("a",), ("b",)), batch=1, hold_bytes=ONE_AT_A_TIME)
    assert kept == found
    assert rules == [each.column for each in aside]


def test_rows_are_looked_at_before_all_of_them_have_come(database: Database) -> None:
    """As soon as the bytes to hold are there: a stream of any length takes no more memory."""
    for table in ("fresh", "keys", "bad"):
        database.connection.execute(f"DROP TABLE IF EXISTS {table}")
    taken = 0

    def batches():
        nonlocal taken
        for number in range(10):
            taken += 1
            yield Batch(rows=pa.record_batch({"a": pa.array([number], pa.int64()), "b": pa.array(["x"])}))

    firsts = Firsts(database, COLUMNS, (("a",),), never, hold_bytes=ONE_AT_A_TIME)
    assert next(firsts.of(batches(), lambda _reject: None)).rows.num_rows == 1
    assert taken == 1


def test_a_row_that_repeats_is_told_with_its_rule_and_its_values(database: Database) -> None:
    """Of a rule about several columns no column is named."""
    _, (single,) = sifted(database, [(1, "x"), (1, None)], (("a",),), batch=2, hold_bytes=ALL_AT_ONCE)
    assert (single.code, single.message, single.column) == (
        "rule_violated",
        "assert_unique: a: an earlier row has the same",
        "a",
    )
    assert (single.file, single.line, json.loads(single.row)) == ("f.csv", 3, {"a": "1", "b": None})
    _, (double,) = sifted(database, [(1, "x"), (1, "x")], (("a", "b"),), batch=1, hold_bytes=ALL_AT_ONCE)
    assert (double.message, double.column) == ("assert_unique: a, b: an earlier row has the same", None)
