"""What constraints of the target refuse when a load is published is set aside before: unique, excluded, foreign."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from rapidbyte.rejects import RejectPolicy
from rapidbyte.result import RunResult
from rapidbyte.spec import StreamSpec
from tests.postgres.loading import loaded, pipeline, refused

Connect = Callable[..., psycopg.Connection]
DLQ = RejectPolicy(action="dlq")


def rows_of(dsn: str, query: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(dsn) as connection:
        return connection.execute(query).fetchall()  # type: ignore[arg-type]


def set_aside(dsn: str) -> list[tuple[Any, ...]]:
    return sorted(
        rows_of(dsn, "SELECT (row_data->>'id')::int, sqlstate, code, message, partition FROM _rapidbyte.rejects")
    )


def totals(result: RunResult) -> tuple[int, int, int]:
    return result.records_read, result.records_written, result.records_rejected


def ids(dsn: str, table: str = "raw.orders") -> list[int]:
    return [number for (number,) in rows_of(dsn, f"SELECT id FROM {table} ORDER BY 1")]


def test_an_upsert_sets_aside_what_has_another_rows_unique_value(
    source_db: str, destination_db: str, connect: Connect
) -> None:
    """Unless that row is in the load and gives its value up; what depends on a row that is set aside goes with it."""
    connect(source_db).execute(
        "CREATE TABLE orders (id int PRIMARY KEY, email text);"
        # 1 and 2 swap; 3 takes 4's, which is not in the load; 5 takes 3's old one; 6 and 7 share one
        " INSERT INTO orders VALUES (1, 'two'), (2, 'one'), (3, 'four'), (5, 'three'), (6, 'six'), (7, 'six')"
    )
    connect(destination_db).execute(
        "CREATE SCHEMA raw; CREATE TABLE raw.orders (id int PRIMARY KEY, email text CONSTRAINT mail UNIQUE);"
        " INSERT INTO raw.orders VALUES (1, 'one'), (2, 'two'), (3, 'three'), (4, 'four')"
    )
    spec = pipeline(source_db, destination_db, "orders", write_mode="upsert", rejects=DLQ)
    assert totals(loaded(spec)) == (6, 3, 3)
    assert rows_of(destination_db, "SELECT id, email FROM raw.orders ORDER BY 1") == [
        (1, "two"), (2, "one"), (3, "three"), (4, "four"), (6, "six")
    ]  # fmt: skip
    assert set_aside(destination_db) == [
        (3, "23505", "key_duplicate", "a row of the target with another key has this email (mail)", None),
        (5, "23505", "key_duplicate", "a row of the target with another key has this email (mail)", None),
        (7, "23505", "key_duplicate", "another row has this email (mail)", None),
    ]
    plain = pipeline(source_db, destination_db, "orders", write_mode="upsert", name="plain")
    refused(plain, 5, "constraint_violated")


def test_unique_indexes_over_expressions_and_parts_of_the_rows(
    source_db: str, destination_db: str, connect: Connect
) -> None:
    """In an append, among themselves and with the target's rows; NULLS NOT DISTINCT as well."""
    connect(source_db).execute(
        "CREATE TABLE orders (id int, email text, live boolean, code int); INSERT INTO orders VALUES"
        " (1, 'A@x', true, 1), (2, 'a@X', true, 2), (3, 'a@x', false, 3), (4, 'OLD@x', true, 4), (5, NULL, true, 5),"
        " (6, NULL, true, 6), (7, 'n', true, NULL), (8, 'm', true, NULL)"
    )
    connect(destination_db).execute(
        "CREATE SCHEMA raw; CREATE TABLE raw.orders (id int, email text, live boolean, code int UNIQUE NULLS NOT"
        " DISTINCT); CREATE UNIQUE INDEX mail ON raw.orders (lower(email)) WHERE live;"
        " INSERT INTO raw.orders VALUES (100, 'old@x', true, 100), (101, 'n', false, 101)"
    )
    assert totals(loaded(pipeline(source_db, destination_db, "orders", write_mode="append", rejects=DLQ))) == (8, 5, 3)
    assert ids(destination_db) == [1, 3, 5, 6, 7, 100, 101]
    assert set_aside(destination_db) == [
        (2, "23505", "key_duplicate", "another row has this lower(email) (mail)", None),
        (4, "23505", "key_duplicate", "the target has this lower(email) (mail)", None),
        (8, "23505", "key_duplicate", "another row has this code (orders_code_key)", None),
    ]


def test_exclusion_constraints(source_db: str, destination_db: str, connect: Connect) -> None:
    """The first of those that exclude each other stays, also where a third would have excluded both."""
    connect(source_db).execute(
        "CREATE TABLE orders (id int, span int4range, note text); INSERT INTO orders VALUES (1, '[1,10)', 'a'),"
        " (2, '[5,15)', 'b'), (3, '[12,20)', 'c'), (4, '[100,110)', 'd'), (5, NULL, 'e'), (6, '[30,31)', 'f'),"
        " (7, '[40,50)', 'g'), (8, '[45,55)', 'h')"
    )
    connect(destination_db).execute(
        "CREATE SCHEMA raw; CREATE TABLE raw.orders (id int, span int4range, note text,"
        " CONSTRAINT apart EXCLUDE USING gist (span WITH &&) WHERE (note <> 'f') DEFERRABLE);"
        " INSERT INTO raw.orders VALUES (99, '[105,200)', 'z'), (98, '[30,40)', 'y')"
    )
    assert totals(loaded(pipeline(source_db, destination_db, "orders", write_mode="append", rejects=DLQ))) == (8, 5, 3)
    assert ids(destination_db) == [1, 3, 5, 6, 7, 98, 99]
    assert set_aside(destination_db) == [
        (2, "23P01", "row_excluded", "another row excludes this span (apart)", None),
        (4, "23P01", "row_excluded", "the target excludes this span (apart)", None),
        (8, "23P01", "row_excluded", "another row excludes this span (apart)", None),
    ]
    assert rows_of(destination_db, "SELECT relname FROM pg_class WHERE relname LIKE '\\_rb\\_%'") == []


def test_a_replace_clashes_with_nothing_that_it_takes_away(
    source_db: str, destination_db: str, connect: Connect
) -> None:
    """Also where rows are replaced in the table that stays, with unique values that move between them."""
    connect(source_db).execute(
        "CREATE TABLE orders (id int, email text); INSERT INTO orders VALUES (1, 'two'), (3, 'one'), (4, 'four')"
    )
    connect(destination_db).execute(
        "CREATE SCHEMA raw; CREATE TABLE raw.orders (id int PRIMARY KEY, email text UNIQUE);"
        " INSERT INTO raw.orders VALUES (1, 'one'), (2, 'two'); CREATE VIEW raw.mails AS SELECT email FROM raw.orders"
    )
    result = loaded(pipeline(source_db, destination_db, "orders", write_mode="replace", rejects=DLQ))
    assert (totals(result), result.streams[0].publish) == ((3, 3, 0), "in_place")
    assert rows_of(destination_db, "SELECT id, email FROM raw.orders ORDER BY 1") == [
        (1, "two"), (3, "one"), (4, "four")
    ]  # fmt: skip


def test_rows_clash_with_those_of_partitions_and_not_with_those_that_inherit(
    source_db: str, destination_db: str, connect: Connect
) -> None:
    """A unique index of a partitioned table is about all of its rows; one of a parent about its own."""
    connect(source_db).execute("CREATE TABLE orders (id int); INSERT INTO orders VALUES (1), (2), (3)")
    connect(destination_db).execute(
        "CREATE SCHEMA raw; CREATE TABLE raw.orders (id int PRIMARY KEY) PARTITION BY LIST (id);"
        " CREATE TABLE raw.part PARTITION OF raw.orders DEFAULT; INSERT INTO raw.orders VALUES (2);"
        " CREATE SCHEMA other; CREATE TABLE other.orders (id int PRIMARY KEY);"
        " CREATE TABLE other.child () INHERITS (other.orders); INSERT INTO other.child VALUES (2)"
    )
    parts = pipeline(source_db, destination_db, "orders", write_mode="append", rejects=DLQ)
    assert totals(loaded(parts)) == (3, 2, 1)
    assert [(number, code) for number, _, code, *_ in set_aside(destination_db)] == [(2, "key_duplicate")]
    other = StreamSpec(name="orders", target="other.orders")
    heirs = pipeline(source_db, destination_db, other, write_mode="append", rejects=DLQ, name="heirs")
    assert totals(loaded(heirs)) == (3, 3, 0)
    assert ids(destination_db, "other.orders") == [1, 2, 2, 3]


@pytest.mark.parametrize("mode", ["append", "replace", "upsert"])
def test_keys_of_a_table_to_itself(source_db: str, destination_db: str, connect: Connect, mode: Any) -> None:
    """A row whose parent is set aside goes too; a parent may come later in the load, or be in the target."""
    connect(source_db).execute(
        "CREATE TABLE orders (id int PRIMARY KEY, parent int); INSERT INTO orders VALUES (1, 2), (2, NULL), (3, 77),"
        " (4, 3), (5, 4), (6, 6), (7, 90)"
    )
    connect(destination_db).execute(
        "CREATE SCHEMA raw; CREATE TABLE raw.orders (id int PRIMARY KEY, parent int REFERENCES raw.orders);"
        " INSERT INTO raw.orders VALUES (90, NULL)"
    )
    keeps = mode != "replace"
    result = loaded(pipeline(source_db, destination_db, "orders", write_mode=mode, rejects=DLQ))
    assert totals(result) == ((7, 4, 3) if keeps else (7, 3, 4))
    assert ids(destination_db) == ([1, 2, 6, 7, 90] if keeps else [1, 2, 6])
    assert {(state, code) for _, state, code, *_ in set_aside(destination_db)} == {("23503", "key_missing")}


@pytest.mark.parametrize("mode", ["append", "replace"])
def test_foreign_keys_of_streams_that_are_published_together(
    source_db: str, destination_db: str, connect: Connect, mode: Any
) -> None:
    """A child's parent may be in the same load; one that is set aside, or gone from the source, is none."""
    connect(source_db).execute(
        "CREATE TABLE orders (id int PRIMARY KEY, customer int); CREATE TABLE customers (id int PRIMARY KEY, age int);"
        "INSERT INTO customers VALUES (1, 30), (2, -5); INSERT INTO orders VALUES (1, 1), (2, 2), (3, 3), (4, NULL)"
    )
    connect(destination_db).execute(
        "CREATE SCHEMA raw; CREATE TABLE raw.customers (id int PRIMARY KEY, age int CHECK (age > 0));"
        "CREATE TABLE raw.orders (id int PRIMARY KEY, customer int REFERENCES raw.customers);"
        "INSERT INTO raw.customers VALUES (3, 40); INSERT INTO raw.orders VALUES (70, 3)"
    )
    streams = (StreamSpec(name="orders"), StreamSpec(name="customers"))
    spec = pipeline(source_db, destination_db, *streams, write_mode=mode, rejects=DLQ, publish_together=True)
    assert loaded(spec).records_rejected == (2 if mode == "append" else 3)
    assert ids(destination_db) == ([1, 3, 4, 70] if mode == "append" else [1, 4])
    assert ids(destination_db, "raw.customers") == ([1, 3] if mode == "append" else [1])
    found = [(number, state) for number, state, *_ in set_aside(destination_db)]
    assert found == ([(2, "23503"), (2, "23514")] if mode == "append" else [(2, "23503"), (2, "23514"), (3, "23503")])


def test_bad_rows_alone_do_not_empty_a_table_that_is_published_together(
    source_db: str, destination_db: str, connect: Connect
) -> None:
    """Although its old rows are deleted before those of its parents, in the same transaction (E9)."""
    connect(source_db).execute(
        "CREATE TABLE orders (id int PRIMARY KEY, customer int); CREATE TABLE customers (id int PRIMARY KEY, age int);"
        "INSERT INTO customers VALUES (1, 30); INSERT INTO orders VALUES (1, 77), (2, 78)"
    )
    connect(destination_db).execute(
        "CREATE SCHEMA raw; CREATE TABLE raw.customers (id int PRIMARY KEY, age int);"
        "CREATE TABLE raw.orders (id int PRIMARY KEY, customer int REFERENCES raw.customers);"
        "INSERT INTO raw.customers VALUES (3, 40); INSERT INTO raw.orders VALUES (70, 3)"
    )
    streams = (StreamSpec(name="orders"), StreamSpec(name="customers"))
    spec = pipeline(source_db, destination_db, *streams, write_mode="replace", rejects=DLQ, publish_together=True)
    refused(spec, 5, "all_rows_rejected")
    assert (ids(destination_db), ids(destination_db, "raw.customers")) == ([70], [3])
