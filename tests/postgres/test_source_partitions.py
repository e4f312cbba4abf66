"""Every row of every kind of relation is read exactly once."""

from __future__ import annotations

from collections.abc import Callable

import psycopg
import pytest

from rapidbyte.partition import CtidRange, Whole
from rapidbyte.spec import StreamSpec
from tests.postgres.reading import opened, read_all, shapes, source_of

Connect = Callable[..., psycopg.Connection]

FILLED = "SELECT i, repeat('x', 100) AS pad FROM generate_series(1, 2000) i"


def numbers(rows: list[str]) -> list[str]:
    """The first column, in the order of numbers."""
    return sorted(
        (row.split("\t")[0] for row in rows), key=lambda text: (text == "\\N", text if text == "\\N" else int(text))
    )


def upto(count: int) -> list[str]:
    return [str(number) for number in range(1, count + 1)]


def test_a_table_is_read_by_heap_blocks(source_db: str, connect: Connect):
    """Many ctid ranges, each row in one; TOAST counts for the size."""
    connect(source_db).execute(f"CREATE TABLE t AS {FILLED}")
    rows, parts = read_all(source_db, "t")
    assert numbers(rows) == upto(2000)
    assert parts > 20


@pytest.mark.parametrize("count", [0, 1])
def test_an_empty_table_and_one_row_are_one_partition(source_db: str, connect: Connect, count: int):
    """There is always a partition, so that there is always a receipt."""
    connect(source_db).execute(f"CREATE TABLE t AS SELECT generate_series(1, {count}) AS i")
    assert read_all(source_db, "t") == (upto(count), 1)


@pytest.mark.parametrize("kind", ["MATERIALIZED VIEW", "TABLE", "UNLOGGED TABLE"])
def test_other_heaps_are_read_by_heap_blocks_too(source_db: str, connect: Connect, kind: str):
    """A materialized view lies in a heap as a table does."""
    connect(source_db).execute(f"CREATE {kind} t AS {FILLED}")
    rows, parts = read_all(source_db, "t")
    assert (numbers(rows), parts > 20) == (upto(2000), True)


def test_rows_in_big_values_are_spread_by_their_bytes(source_db: str, connect: Connect):
    """TOAST counts for the size: as many partitions as all the bytes ask for."""
    connect(source_db).execute(
        "CREATE TABLE t (i int, pad char(500), v text);"
        "ALTER TABLE t ALTER v SET STORAGE EXTERNAL, ALTER pad SET STORAGE PLAIN;"
        "INSERT INTO t SELECT i, '', repeat(md5(i::text), 300) FROM generate_series(1, 600) i"
    )
    (shape,) = shapes(source_db, "t")
    assert shape.estimated_bytes is not None
    assert shape.estimated_bytes > 600 * 9600
    with opened(source_db, shape) as source:
        assert len(source.partitions(partition_bytes=shape.estimated_bytes // 3)) == 3
        assert numbers(source.rows(partition_bytes=shape.estimated_bytes // 3)) == upto(600)


def test_a_partitioned_table_is_read_leaf_by_leaf(source_db: str, connect: Connect):
    """Nested partitions, an empty one, the default one, names that need quotes."""
    connect(source_db).execute(
        f"""
        CREATE TABLE t (i int, pad text) PARTITION BY RANGE (i);
        CREATE TABLE "t low" PARTITION OF t FOR VALUES FROM (0) TO (500) PARTITION BY LIST (i);
        CREATE TABLE "t.1" PARTITION OF "t low" FOR VALUES IN (1);
        CREATE TABLE "t""2" PARTITION OF "t low" DEFAULT;
        CREATE TABLE t_empty PARTITION OF t FOR VALUES FROM (5000) TO (6000);
        CREATE TABLE t_rest PARTITION OF t DEFAULT;
        INSERT INTO t {FILLED}
        """
    )
    (shape,) = shapes(source_db, "t")
    assert [leaf.name for leaf in shape.leaves] == ['t"2', "t.1", "t_empty", "t_rest"]
    rows, parts = read_all(source_db, "t")
    assert (numbers(rows), parts > 20) == (upto(2000), True)


def test_a_partitioned_table_without_partitions_is_empty(source_db: str, connect: Connect):
    """One partition of no rows."""
    connect(source_db).execute("CREATE TABLE t (i int) PARTITION BY RANGE (i)")
    assert read_all(source_db, "t") == ([], 1)


def test_an_inherited_table_is_read_with_its_children_once(source_db: str, connect: Connect):
    """Parent and children each with ONLY; a child of two parents once; other columns and their order do not matter."""
    connect(source_db).execute(
        """
        CREATE TABLE t (i int, v text);
        CREATE TABLE b (extra int, i int, v text);
        ALTER TABLE b INHERIT t;
        CREATE TABLE c () INHERITS (t, b);
        INSERT INTO t SELECT i, 't' FROM generate_series(1, 10) i;
        INSERT INTO b SELECT 0, i, 'b' FROM generate_series(11, 20) i;
        INSERT INTO c (i, v, extra) SELECT i, 'c', 1 FROM generate_series(21, 30) i
        """
    )
    rows, parts = read_all(source_db, "t")
    assert (numbers(rows), parts) == (upto(30), 3)
    assert [row.split("\t")[1] for row in read_all(source_db, "b")[0] if row.split("\t")[1] == "11"] == ["11"]


def test_leaves_that_may_not_be_read_are_read_through_their_parent(
    make_database: Callable[..., str], make_role: Callable[..., str], connect: Connect
):
    """A role with SELECT on the parent alone gets all rows, in one partition, or by an indexed key."""
    role = make_role()
    dsn = make_database()
    connect(dsn).execute(
        f"""
        CREATE TABLE t (i int, pad text) PARTITION BY RANGE (i);
        CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (0) TO (1000);
        CREATE TABLE t2 PARTITION OF t DEFAULT;
        INSERT INTO t {FILLED};
        GRANT SELECT ON t TO {role}
        """
    )
    own = dsn.replace("//postgres", f"//{role}")
    assert [shape.partitioning for shape in shapes(own, "t")] == [
        "one partition: the role may not read the partitions by themselves"
    ]
    assert [numbers(read_all(own, "t")[0]), read_all(own, "t")[1]] == [upto(2000), 1]
    connect(dsn).execute("CREATE INDEX ON t (i)")
    rows, parts = read_all(own, "t")
    assert (numbers(rows), parts > 20) == (upto(2000), True)


@pytest.mark.parametrize("kind", ["view", "query"])
def test_a_key_splits_what_has_no_heap(source_db: str, connect: Connect, kind: str):
    """NULL keys, negative ones, the least and the greatest bigint: each row in one range."""
    connect(source_db).execute(
        """
        CREATE TABLE t AS SELECT k, repeat('x', 100) AS pad FROM unnest(ARRAY[NULL, NULL, -9223372036854775808,
          9223372036854775807, -1, 0, 1, -100, 100]::bigint[]) k
          UNION ALL SELECT i, 'y' FROM generate_series(-200, 200) i;
        CREATE VIEW v AS SELECT * FROM t;
        """
    )
    stream = StreamSpec(name="v", partition_key="k", query="SELECT * FROM t" if kind == "query" else None)
    (shape,) = shapes(source_db, stream)
    with opened(source_db, shape) as source:
        rows, parts = source.rows(partition_bytes=500), len(source.partitions(partition_bytes=500))
    expected = connect(source_db).execute("SELECT coalesce(k::text, '\\N') FROM t").fetchall()
    assert numbers(rows) == numbers([row[0] for row in expected])
    assert parts > 10


@pytest.mark.parametrize("count", [0, 3])
def test_a_view_whose_keys_are_all_null_is_one_range(source_db: str, connect: Connect, count: int):
    """And so is an empty one."""
    connect(source_db).execute(f"CREATE VIEW v AS SELECT NULL::int AS k FROM generate_series(1, {count})")
    (shape,) = shapes(source_db, StreamSpec(name="v", partition_key="k"))
    with opened(source_db, shape) as source:
        assert (source.rows(partition_bytes=1), len(source.partitions(partition_bytes=1))) == (["\\N"] * count, 1)


def test_a_table_may_grow_and_shrink_while_it_is_read(source_db: str, connect: Connect):
    """What is committed after the snapshot is not seen; what was there is, also when it is deleted and vacuumed."""
    session = connect(source_db)
    session.execute(f"CREATE TABLE t AS {FILLED}")
    (shape,) = shapes(source_db, "t")
    with opened(source_db, shape) as source:
        parts = source.partitions()
        rows = source.lines(parts[0])
        for part in parts[1:]:
            session.execute("INSERT INTO t SELECT i + 100000, repeat('z', 100) FROM generate_series(1, 50) i")
            session.execute("DELETE FROM t WHERE i % 3 = 0 OR i > 100000 AND i % 2 = 0")
            session.execute("VACUUM t")
            session.execute("UPDATE t SET pad = 'new' WHERE i % 5 = 0")
            rows += source.lines(part)
    assert numbers(rows) == upto(2000)
    assert {row.split("\t")[1] for row in rows} == {"x" * 100}


def test_rows_that_come_before_the_snapshot_are_in_it(source_db: str, connect: Connect):
    """Also when they came after the stream was described, and made the table bigger: the last range is open."""
    session = connect(source_db)
    session.execute("CREATE TABLE t AS SELECT 1 AS i, 'x'::text AS pad")
    (shape,) = shapes(source_db, "t")
    session.execute(f"INSERT INTO t {FILLED} OFFSET 1")
    with opened(source_db, shape) as source:
        parts = source.partitions()
        session.execute("INSERT INTO t SELECT 0, repeat('y', 7000) FROM generate_series(1, 100)")
        assert numbers([row for part in parts for row in source.lines(part)]) == upto(2000)


def test_columns_are_read_in_the_order_asked_for_with_a_condition(source_db: str, connect: Connect):
    """`columns` and `where` together, by ctid ranges; the condition's OR stays its own."""
    connect(source_db).execute(f"CREATE TABLE t AS SELECT i AS a, i * 2 AS b, pad FROM ({FILLED}) s")
    rows, parts = read_all(
        source_db, StreamSpec(name="t", columns=("b", "a"), where="a <= 2 OR t.a > 1999 -- only these")
    )
    assert (rows, parts > 20) == (["2\t1", "4\t2", "4000\t2000"], True)


def test_generated_and_identity_columns_are_read_as_plain_ones(source_db: str, connect: Connect):
    """Their values are the source's; the shape says what they were."""
    connect(source_db).execute(
        "CREATE TABLE t (id int GENERATED ALWAYS AS IDENTITY, a int, b int GENERATED ALWAYS AS (a * 2) STORED);"
        "INSERT INTO t (a) VALUES (10), (20)"
    )
    (shape,) = shapes(source_db, "t")
    assert [(column.name, column.identity, column.generated) for column in shape.columns] == [
        ("id", True, False),
        ("a", False, False),
        ("b", False, True),
    ]
    assert read_all(source_db, "t")[0] == ["1\t10\t20", "2\t20\t40"]


def test_virtual_generated_columns_are_read(source_db: str, connect: Connect, server_version_num: int):
    """They are computed by the SELECT; version 18 has them."""
    if server_version_num < 180000:
        pytest.skip("virtual generated columns came with version 18")
    connect(source_db).execute("CREATE TABLE t (a int, b int GENERATED ALWAYS AS (a * 2) VIRTUAL)")
    connect(source_db).execute("INSERT INTO t VALUES (10)")
    assert read_all(source_db, "t")[0] == ["10\t20"]


def test_a_foreign_table_is_one_partition_with_a_warning(source_db: str, connect: Connect):
    """No snapshot covers another server's rows."""
    session = connect(source_db)
    if session.execute("SELECT FROM pg_available_extensions WHERE name = 'file_fdw'").fetchone() is None:
        pytest.skip("file_fdw is not there")
    session.execute(
        "CREATE EXTENSION file_fdw; CREATE SERVER files FOREIGN DATA WRAPPER file_fdw;"
        "CREATE FOREIGN TABLE f (i int) SERVER files OPTIONS (program 'seq 1 5');"
        "CREATE TABLE t (i int) PARTITION BY RANGE (i);"
        "CREATE FOREIGN TABLE t1 PARTITION OF t FOR VALUES FROM (0) TO (100) SERVER files OPTIONS (program 'seq 1 5');"
        "CREATE TABLE t2 PARTITION OF t DEFAULT; INSERT INTO t2 VALUES (200)"
    )
    (shape,) = shapes(source_db, "f")
    assert shape.warnings == ("public.f is a foreign table: the snapshot does not cover its rows",)
    assert read_all(source_db, "f") == (upto(5), 1)
    (mixed,) = shapes(source_db, "t")
    assert mixed.warnings == ("public.t1 is a foreign table: the snapshot does not cover its rows",)
    with opened(source_db, mixed) as source:
        assert [type(part.range) for part in source.partitions()] == [Whole, CtidRange]
        assert numbers(source.rows()) == [*upto(5), "200"]


@pytest.mark.parametrize("wire", ["binary-relay", "text-relay"])
def test_row_counts_are_exact_on_both_wires(source_db: str, connect: Connect, wire: str):
    """Also with a block for every row, and for no rows: the binary trailer is a message, and no row."""
    connect(source_db).execute(f"CREATE TABLE t AS {FILLED}; CREATE TABLE e (i int)")
    for block_bytes in (1, 1000, 10_000_000):
        for shape in shapes(source_db, "t", "e"):
            with opened(source_db, shape, wire=wire, block_bytes=block_bytes) as source:  # type: ignore[arg-type]
                for part in source.partitions():
                    source.data(part)


def test_streams_of_one_run_see_one_moment(source_db: str, connect: Connect):
    """Two tables that change together are read as they were together."""
    session = connect(source_db)
    session.execute("CREATE TABLE a AS SELECT 1 AS i; CREATE TABLE b AS SELECT 1 AS i")
    first, second = shapes(source_db, "a", "b")
    with opened(source_db, first, second) as source:
        rows = source.rows(0)
        session.execute("BEGIN; UPDATE a SET i = 2; UPDATE b SET i = 2; COMMIT")
        assert (rows, source.rows(1)) == (["1"], ["1"])
    assert source_of(source_db).facts().encoding == "UTF8"
