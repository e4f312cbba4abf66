"""How a relation is split, and the SELECT of each part."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rapidbyte.model import QualifiedName, RelationKind
from rapidbyte.partition import CtidRange, KeyRange, PartitionRange, Whole
from rapidbyte.pg.catalog import Leaf
from rapidbyte.sources.postgres.select import StreamRead, lock_statements, select
from rapidbyte.sources.postgres.split import choose_split
from rapidbyte.sources.postgres.user_sql import without_semicolon

ORDERS = QualifiedName(schema="shop", name="orders")
PART = QualifiedName(schema="shop", name='orders"1')


def read(kind: RelationKind = "table", *, query: str | None = None, where: str | None = None) -> StreamRead:
    """A stream of two columns."""
    return StreamRead(
        stream="s",
        kind=kind,
        relation=None if query is not None else ORDERS,
        query=query,
        where=where,
        columns=("id", 'a"b'),
    )


def leaf(oid: int, *, is_heap: bool = True, may_read: bool = True) -> Leaf:
    """A partition."""
    return Leaf(oid=oid, name=PART, is_heap=is_heap, is_foreign=False, may_read=may_read)


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        (Whole(), 'FROM "shop"."orders" AS "orders"'),
        (Whole(relation=PART), 'FROM ONLY "shop"."orders""1" AS "orders"'),
        (CtidRange(relation=PART, low_block=0, high_block=None), 'FROM ONLY "shop"."orders""1" AS "orders"'),
        (
            CtidRange(relation=ORDERS, low_block=0, high_block=9),
            'FROM ONLY "shop"."orders" AS "orders" WHERE ctid < \'(9,0)\'::pg_catalog.tid',
        ),
        (
            CtidRange(relation=ORDERS, low_block=9, high_block=18),
            (
                'FROM ONLY "shop"."orders" AS "orders" WHERE '
                "ctid >= '(9,0)'::pg_catalog.tid AND ctid < '(18,0)'::pg_catalog.tid"
            ),
        ),
        (
            CtidRange(relation=ORDERS, low_block=18, high_block=None),
            'FROM ONLY "shop"."orders" AS "orders" WHERE ctid >= \'(18,0)\'::pg_catalog.tid',
        ),
        (
            KeyRange(column="id", low=None, high=-5, with_nulls=True),
            'FROM "shop"."orders" AS "orders" WHERE ("id" < \'-5\'::pg_catalog.int8 OR "id" IS NULL)',
        ),
        (
            KeyRange(column="id", low=-5, high=7),
            'FROM "shop"."orders" AS "orders" WHERE "id" >= \'-5\'::pg_catalog.int8 AND "id" < \'7\'::pg_catalog.int8',
        ),
        (KeyRange(column="id", low=None, high=None, with_nulls=True), 'FROM "shop"."orders" AS "orders"'),
    ],
)
def test_the_select_of_a_part(part: PartitionRange, expected: str):
    """Leaves are read with ONLY, under the relation's name; bounds are half-open, and open ones are left out."""
    assert select(read(), part).as_string() == 'SELECT "id", "a""b" ' + expected


def test_a_condition_is_added_in_parentheses_and_on_lines_of_its_own():
    """So that an OR or a comment in it concerns nothing else."""
    statement = select(read(where="a or b -- c"), CtidRange(relation=ORDERS, low_block=1, high_block=None))
    assert statement.as_string().endswith("WHERE ctid >= '(1,0)'::pg_catalog.tid AND (\na or b -- c\n)")


def test_a_query_is_read_as_a_subquery():
    """Its last semicolon is left out."""
    statement = select(read("query", query="select 1; "), KeyRange(column="id", low=1, high=None), limit=3)
    assert statement.as_string() == (
        'SELECT "id", "a""b" FROM (\nselect 1\n) AS "query" WHERE "id" >= \'1\'::pg_catalog.int8 LIMIT 3'
    )


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("select 1;", "select 1"),
        (" select 1 ; \n", "select 1 "),
        ("select ';'", "select ';'"),
        ("select 1;;", "select 1;"),
    ],
)
def test_one_semicolon_at_the_end_is_taken_off(query: str, expected: str):
    """No other one: two statements stay two, for the server to refuse."""
    assert without_semicolon(query) == expected


def test_tables_are_locked_and_the_rest_is_explained():
    """LOCK TABLE refuses materialized views and foreign tables; to explain a query locks what it reads."""
    statements = lock_statements([read(), read("partitioned"), read("materialized_view"), read("query", query="q")])
    assert [statement.as_string() for statement in statements] == [
        'LOCK TABLE "shop"."orders", "shop"."orders" IN ACCESS SHARE MODE',
        'EXPLAIN SELECT "id", "a""b" FROM "shop"."orders" AS "orders"',
        'EXPLAIN SELECT "id", "a""b" FROM (\nq\n) AS "query"',
    ]
    assert lock_statements([replace(read(), may_lock=False)]) == statements[1:2]
    assert lock_statements([]) == ()


@pytest.mark.parametrize(
    ("kind", "leaves", "version", "user", "indexed", "expected"),
    [
        ("table", [leaf(1)], 180000, None, "id", ("ctid", "ctid ranges")),
        ("table", [leaf(1)], 180000, "k", "id", ("ctid", "ctid ranges")),
        ("table", [leaf(1, may_read=False)], 180000, None, None, ("ctid", "ctid ranges")),
        ("table", [leaf(1)], 130000, None, "id", ("key", "ranges of id")),
        ("table", [leaf(1)], 130000, "k", "id", ("key", "ranges of k")),
        (
            "table",
            [leaf(1)],
            130000,
            None,
            None,
            ("whole", "one partition: no indexed integer column, and the server is older than version 14"),
        ),
        ("partitioned", [leaf(2), leaf(3, is_heap=False)], 180000, None, None, ("ctid", "ctid ranges of 2 leaves")),
        ("partitioned", [], 180000, None, None, ("whole", "one partition: no heap")),
        ("partitioned", [leaf(2), leaf(3, may_read=False)], 180000, None, "id", ("key", "ranges of id")),
        (
            "partitioned",
            [leaf(2, may_read=False)],
            180000,
            None,
            None,
            ("whole", "one partition: the role may not read the partitions by themselves"),
        ),
        ("materialized_view", [leaf(1)], 140000, None, None, ("ctid", "ctid ranges")),
        ("view", [], 180000, None, None, ("whole", "one partition: a view")),
        ("view", [], 180000, "k", None, ("key", "ranges of k")),
        ("query", [], 180000, None, None, ("whole", "one partition: a query")),
        ("foreign", [leaf(1, is_heap=False)], 180000, None, None, ("whole", "one partition: a foreign table")),
    ],
)
def test_the_way_a_relation_is_split(
    kind: RelationKind,
    leaves: list[Leaf],
    version: int,
    user: str | None,
    indexed: str | None,
    expected: tuple[str, str],
):
    """Heap blocks first, then an integer key, then all at once."""
    found = choose_split(
        kind=kind, root_oid=1, leaves=leaves, version_number=version, partition_key=user, indexed_key=indexed
    )
    assert (found.method, found.reason) == expected
