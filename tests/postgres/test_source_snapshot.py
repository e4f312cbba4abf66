"""The snapshot: what nobody can change while it is held, and what happens when it, or a reader, dies."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Callable

import psycopg
import pytest
from psycopg import sql

from rapidbyte.errors import CancelledError, RapidbyteError, SourceError
from rapidbyte.sources.postgres import reader
from rapidbyte.spec import StreamSpec
from tests.postgres.reading import Open, never, opened, shapes

Connect = Callable[..., psycopg.Connection]

FILLED = "SELECT i, repeat('x', 100) AS pad FROM generate_series(1, 2000) i"
REWRITES = [
    "TRUNCATE t",
    "ALTER TABLE t ALTER i TYPE bigint",
    "VACUUM FULL t",
    "CLUSTER t USING t_i",
    "DROP TABLE t CASCADE",
    "ALTER TABLE t RENAME TO u",
]


def backends(session: psycopg.Connection, name: str = "rapidbyte reader-%") -> list[int]:
    """The processes of our sessions in this database."""
    query = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE %s"
    return [row[0] for row in session.execute(query, (name,)).fetchall()]


def refused(session: psycopg.Connection, statement: str) -> bool:
    """Whether a statement has to wait for a lock."""
    session.execute("SET lock_timeout = '100ms'")
    try:
        session.execute(statement)  # type: ignore[arg-type]
    except psycopg.errors.LockNotAvailable:
        return True
    return False


@pytest.mark.parametrize("statement", REWRITES)
def test_a_table_cannot_be_rewritten_before_the_last_read(source_db: str, connect: Connect, statement: str):
    """It has to wait, and goes on when the snapshot is left; a snapshot alone would not protect the rows."""
    session = connect(source_db)
    session.execute(f"CREATE TABLE t AS {FILLED}")
    session.execute("CREATE INDEX t_i ON t (i)")
    (shape,) = shapes(source_db, "t")
    with opened(source_db, shape) as source:
        first, *rest = source.partitions()
        rows = source.lines(first)
        assert refused(session, statement)
        rows += [line for part in rest for line in source.lines(part)]
    assert len(rows) == 2000
    assert not refused(session, statement)


@pytest.mark.parametrize(
    ("stream", "statement"),
    [
        (StreamSpec(name="v"), "TRUNCATE t"),
        (StreamSpec(name="q", query="SELECT * FROM v"), "TRUNCATE t"),
        (StreamSpec(name="q", query="SELECT * FROM v WHERE i IN (SELECT j FROM o)"), "TRUNCATE o"),
        (StreamSpec(name="m"), "REFRESH MATERIALIZED VIEW m"),
        (StreamSpec(name="t", where="i IN (SELECT j FROM o)"), "TRUNCATE t"),
        (StreamSpec(name="p"), "TRUNCATE p1"),
        (StreamSpec(name="p"), "ALTER TABLE p DETACH PARTITION p1"),
    ],
)
def test_what_a_stream_reads_from_is_locked(source_db: str, connect: Connect, stream: StreamSpec, statement: str):
    """The tables behind views and queries, materialized views, partitions."""
    session = connect(source_db)
    session.execute(
        f"""
        CREATE TABLE t AS {FILLED}; CREATE VIEW v AS SELECT * FROM t; CREATE TABLE o AS SELECT 1 AS j;
        CREATE MATERIALIZED VIEW m AS SELECT * FROM t;
        CREATE TABLE p (i int) PARTITION BY RANGE (i); CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (9)
        """
    )
    (shape,) = shapes(source_db, stream)
    with opened(source_db, shape):
        assert refused(session, statement)
    assert not refused(session, statement)


def test_readers_go_on_past_somebody_who_waits_for_the_table(source_db: str, connect: Connect):
    """A TRUNCATE that waits would stop a new lock, and wait for us for ever: a worker's session keeps its locks."""
    session = connect(source_db)
    session.execute(f"CREATE TABLE t AS {FILLED}; CREATE TABLE later AS {FILLED}")
    with opened(source_db, *shapes(source_db, "t", "later")) as source:
        first, *rest = source.partitions()
        rows = source.lines(first)
        waiting = threading.Thread(target=connect(source_db).execute, args=("TRUNCATE t, later",))
        waiting.start()
        wait_for(session, "SELECT FROM pg_locks WHERE NOT granted")
        rows += [line for part in rest for line in source.lines(part)]
        assert (len(rows), len(source.rows(1))) == (2000, 2000)
    waiting.join()
    assert session.execute("SELECT count(*) FROM t").fetchone() == (0,)


def wait_for(session: psycopg.Connection, query: str) -> None:
    """Returns when the query has a row."""
    while session.execute(query).fetchone() is None:  # type: ignore[arg-type]
        pass


def test_a_reader_that_comes_too_late_says_so(source_db: str, connect: Connect, monkeypatch: pytest.MonkeyPatch):
    """Its first lock would wait behind somebody who waits for the snapshot: an error, not a run that hangs."""
    monkeypatch.setattr(reader, "LOCK_SECONDS", 0.2)
    session = connect(source_db)
    session.execute(f"CREATE TABLE t AS {FILLED}")
    (shape,) = shapes(source_db, "t")
    with opened(source_db, shape) as source:
        waiting = threading.Thread(target=connect(source_db).execute, args=("TRUNCATE t",))
        waiting.start()
        wait_for(session, "SELECT FROM pg_locks WHERE NOT granted")
        with pytest.raises(SourceError) as error:
            source.lines(source.partitions()[0])
    waiting.join()
    assert error.value.code == "lock_not_available"


def test_the_holder_waits_for_a_table_that_is_being_rewritten(
    source_db: str, connect: Connect, monkeypatch: pytest.MonkeyPatch
):
    """Not for ever; and when it is rewritten, the new rows are those that are read."""
    monkeypatch.setattr("rapidbyte.sources.postgres.blocking.LOCK_SECONDS", 0.2)
    session = connect(source_db)
    session.execute(f"CREATE TABLE t AS {FILLED}")
    (shape,) = shapes(source_db, "t")
    session.execute("BEGIN; TRUNCATE t; INSERT INTO t VALUES (7, 'new')")
    with pytest.raises(SourceError) as error, opened(source_db, shape):
        pass
    assert error.value.code == "lock_not_available"
    session.execute("COMMIT")
    with opened(source_db, shape) as source:
        assert source.rows() == ["7\tnew"]


def test_a_partition_that_came_after_the_description_is_read(source_db: str, connect: Connect):
    """What counts is what hangs on the table when it is locked."""
    session = connect(source_db)
    session.execute("CREATE TABLE p (i int) PARTITION BY RANGE (i)")
    session.execute("CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (9); INSERT INTO p VALUES (1)")
    (shape,) = shapes(source_db, "p")
    session.execute("CREATE TABLE p2 PARTITION OF p FOR VALUES FROM (10) TO (19); INSERT INTO p VALUES (11)")
    with opened(source_db, shape) as source:
        session.execute("CREATE TABLE p3 AS SELECT 21 AS i; ALTER TABLE p ATTACH PARTITION p3 DEFAULT")
        assert source.rows() == ["1", "11"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("ALTER TABLE t ALTER i TYPE bigint", "public.t: column i has changed since the plan was made"),
        ("ALTER TABLE t DROP pad", "public.t: column pad has changed since the plan was made"),
        ("ALTER TABLE t RENAME i TO j", "public.t: column i has changed since the plan was made"),
        ("DROP TABLE t", "public.t existed a moment ago and does no more"),
    ],
)
def test_a_table_that_changed_since_the_plan_is_refused(source_db: str, connect: Connect, change: str, said: str):
    """Between describing and locking anything may happen; nothing is read then (F6)."""
    session = connect(source_db)
    session.execute(f"CREATE TABLE t AS {FILLED}")
    (shape,) = shapes(source_db, "t")
    session.execute(change)  # type: ignore[arg-type]
    with pytest.raises(SourceError) as error, opened(source_db, shape):
        pass
    assert (error.value.code, error.value.message) == ("source_changed", said)


def test_a_reader_that_is_killed_raises_and_never_ends(source_db: str, connect: Connect):
    """A lost connection is a failure, and no end of data (C1, C5)."""
    session = connect(source_db)
    session.execute("CREATE TABLE t AS SELECT i, repeat('x', 1000) AS pad FROM generate_series(1, 100000) i")
    (shape,) = shapes(source_db, "t")
    with opened(source_db, shape) as source:
        read = source.snapshot.reader(source.plan.streams[0], source.plan)
        part = source.partitions(partition_bytes=10**12)[0]
        rows = 0
        with pytest.raises(SourceError) as error, read(part, never, 3) as blocks:  # noqa: PT012 - it must raise there
            for block in blocks:
                if rows == 0:
                    (pid,) = backends(session, "rapidbyte reader-3 test")
                    session.execute("SELECT pg_terminate_backend(%s)", (pid,))
                rows += block.rows
            pytest.fail("the blocks ended as if all rows were there")
    assert rows < 100000
    assert error.value.exit_code == 3
    assert error.value.message.startswith("the connection to the source was lost while reading public.t")
    assert error.value.code == "connection_lost"


def test_a_snapshot_whose_holder_is_killed_is_lost(source_db: str, connect: Connect):
    """`require_alive` says so, and so does a reader that would join it; rows read before do not count then."""
    session = connect(source_db)
    session.execute(f"CREATE TABLE t AS {FILLED}")
    (shape,) = shapes(source_db, "t")
    with opened(source_db, shape) as source:
        parts = source.partitions()
        source.snapshot.require_alive()
        (pid,) = backends(session)
        session.execute("SELECT pg_terminate_backend(%s, 5000)", (pid,))
        with pytest.raises(SourceError) as read:
            source.lines(parts[0])
        with pytest.raises(SourceError) as held:
            source.snapshot.require_alive()
    assert (read.value.code, held.value.code) == ("snapshot_lost", "snapshot_lost")


def test_a_stop_ends_the_servers_work_too(source_db: str, connect: Connect):
    """Within a block; the session is gone when the reader is left, and the snapshot still stands."""
    session = connect(source_db)
    session.execute("CREATE TABLE t AS SELECT i, repeat('x', 1000) AS pad FROM generate_series(1, 50000) i")
    (shape,) = shapes(source_db, "t")
    with opened(source_db, shape) as source:
        read = source.snapshot.reader(source.plan.streams[0], source.plan)
        part = source.partitions(partition_bytes=10**12)[0]
        seen: list[int] = []
        with pytest.raises(CancelledError), read(part, lambda: len(seen) > 0, 3) as blocks:
            seen.extend(block.rows for block in blocks)
        wait_until_gone(session, "rapidbyte reader-3 test")
        source.snapshot.require_alive()
    assert sum(seen) < 50000


def test_a_stop_is_heard_while_nothing_arrives(source_db: str, connect: Connect):
    """A query that computes for ever is cancelled on the server, which would not notice that nobody listens."""
    (shape,) = shapes(source_db, StreamSpec(name="q", query="SELECT pg_sleep(600)::text AS s"))
    with opened(source_db, shape) as source:
        read = source.snapshot.reader(source.plan.streams[0], source.plan)
        with pytest.raises(CancelledError), read(source.partitions()[0], lambda: True, 3) as blocks:
            list(blocks)
        wait_until_gone(connect(source_db), "rapidbyte reader-3 test")


def wait_until_gone(session: psycopg.Connection, name: str) -> None:
    """Returns when no session has this name."""
    while backends(session, name):
        pass


def test_a_reader_that_is_left_early_leaves_nothing_behind(source_db: str, connect: Connect):
    """Whoever stops asking for blocks, for a reason of his own, closes the session."""
    session = connect(source_db)
    session.execute("CREATE TABLE t AS SELECT i, repeat('x', 1000) AS pad FROM generate_series(1, 50000) i")
    (shape,) = shapes(source_db, "t")
    with opened(source_db, shape) as source:
        read = source.snapshot.reader(source.plan.streams[0], source.plan)
        part = source.partitions(partition_bytes=10**12)[0]
        with read(part, never, 3) as blocks:
            next(iter(blocks))
        wait_until_gone(session, "rapidbyte reader-3 test")


def test_all_sessions_are_closed_with_the_snapshot(source_db: str, connect: Connect):
    """Those of the workers and the holder's, after success and after failure."""
    session = connect(source_db)
    session.execute(f"CREATE TABLE t AS {FILLED}")
    (shape,) = shapes(source_db, "t")

    def fail(source: Open) -> None:
        source.lines(source.partitions()[0], worker=1)
        source.lines(source.partitions()[1], worker=2)
        assert len(backends(session)) == 3
        raise CancelledError("enough", code="stopped")

    with pytest.raises(CancelledError), opened(source_db, shape) as source:
        fail(source)
    wait_until_gone(session, "rapidbyte %")


def test_a_reader_pickles_and_reads_elsewhere(source_db: str, connect: Connect):
    """The function that comes out of a pickle opens its own session in the same snapshot."""
    session = connect(source_db)
    session.execute("CREATE TABLE t AS SELECT 1 AS i")
    (shape,) = shapes(source_db, "t")
    with opened(source_db, shape) as source:
        session.execute("UPDATE t SET i = 2")
        read = pickle.loads(pickle.dumps(source.snapshot.reader(source.plan.streams[0], source.plan)))
        with read(source.partitions()[0], never, 0) as blocks:
            assert b"".join(block.data for block in blocks) == b"1\n"
        read.args[1].close()


def test_the_checksum_is_of_the_snapshots_rows(source_db: str, connect: Connect):
    """Order-free, and of the columns and rows that the stream has."""
    session = connect(source_db)
    session.execute("CREATE TABLE t AS SELECT i, i % 3 AS k FROM generate_series(1, 100) i")
    session.execute("CREATE TABLE u AS SELECT k, i FROM t ORDER BY k DESC, i")
    streams = [
        "t",
        StreamSpec(name="u", columns=("i", "k")),
        StreamSpec(name="t2", query="SELECT * FROM t", where="i < 9"),
    ]
    with opened(source_db, *shapes(source_db, *streams)) as source:
        session.execute("UPDATE t SET i = i + 1")
        first, second, part = (source.snapshot.checksum(stream) for stream in source.plan.streams)
        assert first is not None
        assert first == second
        assert first.startswith("100:")
        assert part is not None
        assert part.startswith("8:")
    (shape,) = shapes(source_db, "t")
    with opened(source_db, shape) as source:
        assert source.snapshot.checksum(source.plan.streams[0]) != first


def test_the_sample_is_the_first_rows_as_the_server_prints_them(source_db: str, connect: Connect):
    """NULL is None; nothing passes through Python's types."""
    connect(source_db).execute(
        "CREATE TABLE t (d timestamp, c char(3), n numeric(6,3)); INSERT INTO t VALUES"
        " ('infinity', 'a', 1), ('0044-03-15 BC', NULL, 'NaN'), (NULL, NULL, NULL)"
    )
    (shape,) = shapes(source_db, "t")
    with opened(source_db, shape) as source:
        found = source.snapshot.sample(source.plan.streams[0], 2).rows
    assert found == (("infinity", "a  ", "1.000"), ("0044-03-15 00:00:00 BC", None, "NaN"))


def test_a_policy_that_comes_later_fails_the_read(
    make_database: Callable[..., str], make_role: Callable[..., str], connect: Connect
):
    """It never leaves rows out: `row_security` is off, so that the server refuses."""
    role, dsn = make_role(), make_database()
    session = connect(dsn)
    session.execute(f"CREATE TABLE t AS {FILLED}; GRANT SELECT ON t TO {role}")
    own = dsn.replace("//postgres", f"//{role}")
    (shape,) = shapes(own, "t")
    session.execute("CREATE POLICY half ON t USING (i % 2 = 0); ALTER TABLE t ENABLE ROW LEVEL SECURITY")
    with opened(own, shape) as source, pytest.raises(RapidbyteError) as error:
        source.rows()
    assert (error.value.code, error.value.context.sqlstate) == ("privilege_missing", "42501")


def test_a_database_without_an_encoding_is_read_as_utf8(make_database: Callable[..., str], connect: Connect):
    """SQL_ASCII: valid UTF-8 comes through on both wires; other bytes are an error that says how to find them (B3)."""
    dsn = make_database("ENCODING 'SQL_ASCII' LOCALE 'C'")
    session = connect(dsn, client_encoding="SQL_ASCII")
    session.execute(b"CREATE TABLE t AS SELECT 'gr\xc3\xbc\xc3\x9fe'::text AS v")
    (shape,) = shapes(dsn, "t")
    for wire in ("text-relay", "binary-relay"):
        with opened(dsn, shape, wire=wire) as source:
            assert "grüße".encode() in source.data(source.partitions()[0])
    session.execute(sql.SQL("INSERT INTO t VALUES (E'\\xff')"))
    for wire in ("text-relay", "binary-relay"):
        with opened(dsn, shape, wire=wire) as source, pytest.raises(SourceError) as error:
            source.data(source.partitions()[0])
        assert error.value.context.sqlstate == "22021"
        assert (error.value.hint or "").startswith("the server does not say which column holds it: ")
    assert session.execute("SELECT ctid FROM t WHERE v ~ '[^[:ascii:]]'").fetchall() == [(b"(0,1)",), (b"(0,2)",)]
