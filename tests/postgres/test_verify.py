"""`verify` between two real databases: equal is equal, and every kind of difference is found and named."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, LiteralString

import psycopg
import pytest
from psycopg import sql

from rapidbyte import wiring
from rapidbyte.engine.verification import StreamComparison, VerifyReport
from rapidbyte.errors import CancelledError, ConfigError, PrivilegeError
from rapidbyte.model import Secret
from rapidbyte.spec import (
    Connection,
    DestinationSpec,
    FilesSourceSpec,
    PipelineSpec,
    PostgresSourceSpec,
    Resources,
    RunOptions,
    StreamSpec,
    WorkerLogin,
)
from tests.postgres.test_run import no_session_is_left

Connect = Callable[..., psycopg.Connection]


def spec(source: str, destination: str, *streams: StreamSpec, **settings: Any) -> PipelineSpec:
    """A pipeline between two databases, replaced into schema raw."""
    asked: dict[str, Any] = {"write_mode": "replace", **settings}
    return PipelineSpec(
        pipeline="shop",
        source=PostgresSourceSpec(connection=Connection(dsn=Secret(source))),
        streams=streams,
        destination=DestinationSpec(connection=Connection(dsn=Secret(destination)), schema="raw", **asked),
        resources=Resources(parallelism=2),
    )


def loaded(pipeline: PipelineSpec) -> PipelineSpec:
    """The pipeline, run once."""
    result = wiring.run(pipeline)
    assert result.status == "succeeded", result.error
    return pipeline


def only(report: VerifyReport) -> StreamComparison:
    (stream,) = report.streams
    return stream


def named(stream: StreamComparison) -> list[tuple[str, tuple[str | None, ...]]]:
    return [(each.kind, each.key) for each in stream.keys]


@pytest.fixture
def orders(source_db: str, connect: Connect) -> psycopg.Connection:
    """A source with a table of 10,000 rows of several types."""
    admin = connect(source_db)
    admin.execute(
        "CREATE TABLE orders (id integer PRIMARY KEY, note text, amount float8, price numeric(12,2), doc jsonb,"
        " at timestamptz, ok boolean);"
        "INSERT INTO orders SELECT i, md5(i::text), i / 7.0, i / 3.0, jsonb_build_object('a', i),"
        " '2024-01-01 UTC'::timestamptz + i * interval '1 s', i % 2 = 0 FROM generate_series(1, 10000) i;"
        "ANALYZE orders"
    )
    return admin


def test_what_was_loaded_is_equal(orders: psycopg.Connection, source_db: str, destination_db: str) -> None:
    """100,000 rows in 50 ranges of the key, and nothing is said to differ."""
    orders.execute("INSERT INTO orders SELECT i FROM generate_series(10001, 100000) i; ANALYZE orders")
    found = wiring.verify(loaded(spec(source_db, destination_db, StreamSpec(name="orders"))))
    stream = only(found)
    assert (found.equal, stream.source_rows, stream.destination_rows) == (True, 100000, 100000)
    assert (stream.cut.by, stream.cut.key, stream.cut.count) == ("key_range", ("id",), 50)
    assert (stream.pieces, stream.keys, dict(stream.counts)) == ((), (), {"missing": 0, "extra": 0, "different": 0})


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("DELETE FROM raw.orders WHERE id = 777", ("missing", ("777",))),
        ("INSERT INTO raw.orders (id) VALUES (10001)", ("extra", ("10001",))),
        ("INSERT INTO raw.orders (id) VALUES (-5)", ("extra", ("-5",))),
        ("UPDATE raw.orders SET note = note || ' ' WHERE id = 5000", ("different", ("5000",))),
        ("UPDATE raw.orders SET note = '' WHERE id = 5000", ("different", ("5000",))),
        ("UPDATE raw.orders SET note = NULL WHERE id = 5000", ("different", ("5000",))),
        ("UPDATE raw.orders SET amount = amount + 1e-11 WHERE id = 3", ("different", ("3",))),
        ("UPDATE raw.orders SET price = price + 0.01 WHERE id = 4", ("different", ("4",))),
        ("UPDATE raw.orders SET doc = doc || '{\"b\": null}' WHERE id = 5", ("different", ("5",))),
        ("UPDATE raw.orders SET at = at + interval '1 us' WHERE id = 6", ("different", ("6",))),
        ("UPDATE raw.orders SET ok = NOT ok WHERE id = 10000", ("different", ("10000",))),
    ],
)
def test_one_row_among_10000_is_found(
    orders: psycopg.Connection,
    source_db: str,
    destination_db: str,
    connect: Connect,
    change: LiteralString,
    expected: tuple[str, tuple[str]],
) -> None:
    """Missing, extra, or different in a single column of any type: named by its key, in the one range it lies in."""
    pipeline = loaded(spec(source_db, destination_db, StreamSpec(name="orders")))
    connect(destination_db).execute(change)
    stream = only(wiring.verify(pipeline))
    assert not stream.equal
    assert named(stream) == [expected]
    assert (stream.piece_count, stream.counts_complete) == (1, True)


def test_many_differences_are_counted_and_the_first_are_named(
    orders: psycopg.Connection, source_db: str, destination_db: str, connect: Connect
) -> None:
    """20 keys are shown, all are counted, in the key's own order."""
    pipeline = loaded(spec(source_db, destination_db, StreamSpec(name="orders")))
    connect(destination_db).execute(
        "DELETE FROM raw.orders WHERE id % 100 = 0; UPDATE raw.orders SET ok = NULL WHERE id % 100 = 1"
    )
    stream = only(wiring.verify(pipeline))
    assert dict(stream.counts) == {"missing": 100, "extra": 0, "different": 100}
    assert (len(stream.keys), len(stream.pieces), stream.piece_count) == (20, 5, 5)
    assert named(stream)[:3] == [("different", ("1",)), ("missing", ("100",)), ("different", ("101",))]


@pytest.mark.parametrize(
    ("table", "change", "expected"),
    [
        (
            "k text PRIMARY KEY, v integer); INSERT INTO odd SELECT 'ä ''\"' || i, i FROM generate_series(1, 5000) i",
            "UPDATE raw.odd SET v = 0 WHERE k = 'ä ''\"17'",
            [("different", ("ä '\"17",))],
        ),
        (
            "a int, b text, PRIMARY KEY (a, b)); INSERT INTO odd SELECT i % 9, i FROM generate_series(1, 99) i",
            "DELETE FROM raw.odd WHERE b = '18'",
            [("missing", ("0", "18"))],
        ),
        (
            "k int8 PRIMARY KEY, v text); INSERT INTO odd VALUES (9223372036854775807), (-9223372036854775808)",
            "UPDATE raw.odd SET v = 'x' WHERE k > 0",
            [("different", ("9223372036854775807",))],
        ),
        (
            "k uuid PRIMARY KEY, v int); INSERT INTO odd SELECT md5(i::text)::uuid, i FROM generate_series(1, 5000) i",
            "DELETE FROM raw.odd WHERE v = 9",
            [("missing", ("45c48cce-2e2d-7fbd-ea1a-fc51c7c6ad26",))],
        ),
    ],
)
def test_keys_of_every_kind_name_their_rows(
    source_db: str,
    destination_db: str,
    connect: Connect,
    table: LiteralString,
    change: LiteralString,
    expected: list[tuple[str, tuple[str, ...]]],
) -> None:
    """Text with quotes, two columns, both ends of bigint, uuid (F4)."""
    connect(source_db).execute(f"CREATE TABLE odd ({table}")
    pipeline = loaded(spec(source_db, destination_db, StreamSpec(name="odd")))
    assert wiring.verify(pipeline).equal
    connect(destination_db).execute(change)
    assert named(only(wiring.verify(pipeline))) == expected


def test_null_keys_are_compared_too(source_db: str, destination_db: str, connect: Connect) -> None:
    """A key that the file names may hold NULLs and duplicates: no row escapes the comparison."""
    connect(source_db).execute(
        "CREATE TABLE loose (id integer, v text);"
        "INSERT INTO loose SELECT nullif(i % 100, 0), i::text FROM generate_series(1, 1000) i"
    )
    pipeline = loaded(spec(source_db, destination_db, StreamSpec(name="loose")))
    pipeline = replace(pipeline, streams=(StreamSpec(name="loose", primary_key=("id",)),))
    assert wiring.verify(pipeline).equal
    admin = connect(destination_db)
    admin.execute("DELETE FROM raw.loose WHERE v = '200'; UPDATE raw.loose SET v = 'x' WHERE v = '107'")
    stream = only(wiring.verify(pipeline))
    assert sorted(named(stream), key=str) == [("different", ("7",)), ("missing", (None,))]


def test_rows_without_a_key_are_counted(source_db: str, destination_db: str, connect: Connect) -> None:
    """A row that is there twice instead of once is seen, and cannot be named."""
    connect(source_db).execute("CREATE TABLE bare AS SELECT i % 5 AS a, 'x' AS b FROM generate_series(1, 10) i")
    pipeline = loaded(spec(source_db, destination_db, StreamSpec(name="bare")))
    assert only(wiring.verify(pipeline)).cut.by == "row_hash"
    connect(destination_db).execute(
        "INSERT INTO raw.bare VALUES (0, 'x'), (7, 'x');"
        "DELETE FROM raw.bare WHERE ctid = (SELECT max(ctid) FROM raw.bare WHERE a = 1)"
    )
    stream = only(wiring.verify(pipeline))
    assert (dict(stream.counts), stream.keys) == ({"missing": 1, "extra": 2, "different": 0}, ())
    assert not stream.equal


def test_hostile_names_are_compared(source_db: str, destination_db: str, connect: Connect) -> None:
    """Quotes, a percent sign and spaces in table, columns and key (F4)."""
    connect(source_db).execute(
        'CREATE TABLE "a ""b%s" ("k "" %" integer PRIMARY KEY, "select" text, "{x}" integer);'
        'INSERT INTO "a ""b%s" SELECT i, i::text, i FROM generate_series(1, 100) i'
    )
    pipeline = loaded(spec(source_db, destination_db, StreamSpec(name='a "b%s')))
    assert wiring.verify(pipeline).equal
    connect(destination_db).execute('UPDATE raw."a ""b%s" SET "{x}" = 0 WHERE "k "" %" = 5')
    assert named(only(wiring.verify(pipeline))) == [("different", ("5",))]


def test_columns_where_and_query_are_honoured(orders: psycopg.Connection, source_db: str, destination_db: str) -> None:
    """What the stream does not select is no difference."""
    streams = (
        StreamSpec(name="orders", columns=("id", "note"), where="id % 2 = 0 -- even", target="even"),
        StreamSpec(name="sums", query="SELECT id % 10 AS id, sum(price) AS total FROM orders GROUP BY 1;"),
    )
    report = wiring.verify(loaded(spec(source_db, destination_db, *streams)))
    assert [(each.equal, each.source_rows) for each in report.streams] == [(True, 5000), (True, 10)]


def test_columns_that_the_stream_does_not_carry_are_no_difference(
    orders: psycopg.Connection, source_db: str, destination_db: str, connect: Connect
) -> None:
    """The target has one of its own; a target that generates a column is not compared in it."""
    pipeline = loaded(spec(source_db, destination_db, StreamSpec(name="orders", columns=("id", "note"))))
    connect(destination_db).execute("ALTER TABLE raw.orders ADD loaded_at timestamptz DEFAULT now()")
    assert wiring.verify(pipeline).equal
    admin = connect(destination_db)
    admin.execute(
        "ALTER TABLE raw.orders DROP note; ALTER TABLE raw.orders ADD note text GENERATED ALWAYS AS ('x') STORED"
    )
    stream = only(wiring.verify(pipeline))
    assert [(each.column, each.reason) for each in stream.plan.not_compared] == [("note", "the target generates it")]


def test_a_column_that_the_target_lacks_is_a_difference(
    orders: psycopg.Connection, source_db: str, destination_db: str, connect: Connect
) -> None:
    """Unless the schema policy ignores new columns."""
    pipeline = loaded(spec(source_db, destination_db, StreamSpec(name="orders")))
    connect(source_db).execute("ALTER TABLE orders ADD more text DEFAULT 'x'")
    assert not wiring.verify(pipeline).equal
    policy = replace(pipeline.destination.schema_policy, new_column="ignore")
    assert wiring.verify(replace(pipeline, destination=replace(pipeline.destination, schema_policy=policy))).equal


@pytest.mark.parametrize(
    ("source_type", "value", "target_type", "is_equal"),
    [
        ("integer", "5", "bigint", True),
        ("integer", "5", "text", True),
        ("boolean", "true", "text", True),
        ("integer", "5", "numeric(10,2)", True),
        ("numeric(6,1)", "1.5", "numeric(10,3)", True),
        ("text", "'0042'", "integer", True),
        ("text", "'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'", "uuid", True),
        ("date", "'2024-02-03'", "timestamp", True),
        ("char(3)", "'ab'", "char(7)", True),
        ("text[]", "'{01,2}'", "integer[]", True),
        ("jsonb", '\'{"b": 1, "a": 2}\'', "json", True),
        ("timestamptz(0)", "'2024-02-03 04:05:06+07'", "timestamptz", True),
        ("inet", "'10.0.0.0/8'", "cidr", True),
    ],
)
def test_types_that_differ_are_compared_in_a_common_text(
    source_db: str,
    destination_db: str,
    connect: Connect,
    source_type: LiteralString,
    value: LiteralString,
    target_type: LiteralString,
    is_equal: bool,
) -> None:
    """The target's type is printed at both ends, where the way there is exact (B12)."""
    connect(source_db).execute(
        f"CREATE TABLE t (id integer PRIMARY KEY, v {source_type}); INSERT INTO t VALUES (1, {value}), (2, NULL)"
    )
    connect(destination_db).execute(
        f"CREATE SCHEMA raw; CREATE TABLE raw.t (id bigint PRIMARY KEY, v {target_type}, w text)"
    )
    pipeline = loaded(spec(source_db, destination_db, StreamSpec(name="t")))
    stream = only(wiring.verify(pipeline))
    assert (stream.equal, stream.plan.not_compared) == (is_equal, ())
    connect(destination_db).execute("UPDATE raw.t SET v = NULL WHERE id = 1")
    assert named(only(wiring.verify(pipeline))) == [("different", ("1",))]


def test_a_lossy_column_is_reported_as_not_compared(source_db: str, destination_db: str, connect: Connect) -> None:
    """Its text is not the same at both ends, so its difference would say nothing."""
    connect(source_db).execute("CREATE TABLE t (id integer PRIMARY KEY, v float8); INSERT INTO t VALUES (1, 0.1)")
    connect(destination_db).execute("CREATE SCHEMA raw; CREATE TABLE raw.t (id integer PRIMARY KEY, v real, w text)")
    pipeline = loaded(spec(source_db, destination_db, StreamSpec(name="t", allow_lossy=("v",))))
    stream = only(wiring.verify(pipeline))
    assert stream.equal
    assert [each.column for each in stream.plan.not_compared] == ["v"]


def test_an_append_may_hold_rows_of_earlier_loads(
    orders: psycopg.Connection, source_db: str, destination_db: str, connect: Connect
) -> None:
    """Twice loaded is no difference; a row that no load brought is, and so is one that is missing altogether."""
    stream = StreamSpec(name="orders", columns=("id", "note"), where="id <= 5000")
    connect(destination_db).execute("CREATE SCHEMA raw; CREATE TABLE raw.orders (id integer, note text)")
    pipeline = loaded(loaded(spec(source_db, destination_db, stream, write_mode="append")))
    connect(source_db).execute("DELETE FROM orders WHERE id = 8")
    found = only(wiring.verify(pipeline))
    assert (found.equal, found.source_rows, found.destination_rows) == (True, 4999, 10000)
    admin = connect(destination_db)
    admin.execute("DELETE FROM raw.orders WHERE id = 9; UPDATE raw.orders SET note = 'x' WHERE id = 10")
    found = only(wiring.verify(pipeline))
    assert (found.equal, named(found)) == (False, [("missing", ("9",)), ("different", ("10",))])
    admin.execute("INSERT INTO raw.orders SELECT 20000 + i, 'x' FROM generate_series(1, 3) i")
    assert only(wiring.verify(pipeline)).unexplained_rows == 1


def with_cursor(admin: psycopg.Connection, field: str, kind: str, value: str) -> None:
    """A ledger in which stream orders is loaded up to a value."""
    admin.execute(
        "CREATE TABLE IF NOT EXISTS _rapidbyte.cursors (pipeline text, stream text, source text, field text,"
        " type text, value text, load_id text, run_id text, updated_at timestamptz DEFAULT now(),"
        " PRIMARY KEY (pipeline, stream))"
    )
    admin.execute(
        "INSERT INTO _rapidbyte.cursors (pipeline, stream, field, type, value) VALUES ('shop', 'orders', %s, %s, %s)"
        " ON CONFLICT (pipeline, stream) DO UPDATE SET field = excluded.field, value = excluded.value,"
        " type = excluded.type",
        (field, kind, value),
    )


def incremental(pipeline: PipelineSpec, field: str, mode: Any = "upsert") -> PipelineSpec:
    (stream,) = pipeline.streams
    return replace(
        pipeline,
        streams=(replace(stream, sync_mode="incremental", cursor_field=field, write_mode=mode, primary_key=("id",)),),
    )


def test_an_incremental_stream_is_compared_up_to_its_cursor(
    orders: psycopg.Connection, source_db: str, destination_db: str, connect: Connect
) -> None:
    """Rows beyond it, and older versions of rows that have changed since, are no difference (E1)."""
    pipeline = incremental(loaded(spec(source_db, destination_db, StreamSpec(name="orders"))), "at")
    admin = connect(destination_db)
    with_cursor(admin, "at", "timestamp with time zone", "2025-01-01 00:00:00+00")
    source = connect(source_db)
    source.execute("INSERT INTO orders (id, at) VALUES (10001, '2025-01-01 UTC')")
    source.execute("UPDATE orders SET note = 'new', at = '2025-06-01 UTC' WHERE id IN (5, 6, 7)")
    found = only(wiring.verify(pipeline))
    assert (found.equal, found.source_rows, found.destination_rows, found.pending) == (True, 9997, 10000, 3)
    source.execute("UPDATE orders SET note = 'late' WHERE id = 8; DELETE FROM orders WHERE id = 9")
    admin.execute("DELETE FROM raw.orders WHERE id = 10")
    found = only(wiring.verify(pipeline))
    assert (named(found), found.equal) == ([("different", ("8",)), ("extra", ("9",)), ("missing", ("10",))], False)


def test_a_number_cursor_is_inclusive_and_null_cursors_follow_the_stream(
    orders: psycopg.Connection, source_db: str, destination_db: str, connect: Connect
) -> None:
    """`id <= value` is loaded; rows whose cursor is NULL are, where they are read with every increment (E2)."""
    source = connect(source_db)
    source.execute("ALTER TABLE orders ADD n bigint; UPDATE orders SET n = nullif(id, 3)")
    pipeline = incremental(loaded(spec(source_db, destination_db, StreamSpec(name="orders"))), "n")
    admin = connect(destination_db)
    with_cursor(admin, "n", "bigint", "10000")
    (stream,) = pipeline.streams
    assert named(only(wiring.verify(pipeline))) == []
    always = replace(pipeline, streams=(replace(stream, null_cursor="always"),))
    assert only(wiring.verify(always)).source_rows == 10000
    admin.execute("DELETE FROM raw.orders WHERE id IN (3, 10000)")
    assert named(only(wiring.verify(always))) == [("missing", ("3",)), ("missing", ("10000",))]
    assert named(only(wiring.verify(pipeline))) == [("missing", ("10000",))]


def test_a_target_that_does_not_exist_differs(orders: psycopg.Connection, source_db: str, destination_db: str) -> None:
    """There is nothing to compare with, and that is said."""
    report = wiring.verify(spec(source_db, destination_db, StreamSpec(name="orders")))
    assert (report.equal, only(report).plan.target_exists) == (False, False)


def test_nothing_is_written_and_no_session_stays(
    orders: psycopg.Connection, source_db: str, destination_db: str, connect: Connect, make_role: Callable[..., str]
) -> None:
    """A role that may only read is enough; without SELECT the GRANT is named."""
    pipeline = loaded(spec(source_db, destination_db, StreamSpec(name="orders")))
    role = make_role("LOGIN")
    admin = connect(destination_db)
    admin.execute(sql.SQL("GRANT USAGE ON SCHEMA raw TO {}").format(sql.Identifier(role)))
    connection = Connection(dsn=Secret(destination_db), login=WorkerLogin(user=role))
    poor = replace(pipeline, destination=replace(pipeline.destination, connection=connection))
    with pytest.raises(PrivilegeError) as caught:
        wiring.verify(poor)
    assert caught.value.hint == f'GRANT SELECT ON "raw"."orders" TO "{role}";'
    admin.execute(sql.SQL("GRANT SELECT ON raw.orders TO {}").format(sql.Identifier(role)))
    assert wiring.verify(poor).equal
    with_cursor(admin, "id", "integer", "5")
    with pytest.raises(PrivilegeError, match="the ledger"):
        wiring.verify(incremental(poor, "id"))


def test_files_are_refused(destination_db: str) -> None:
    """There is no server at that end to compute checksums."""
    pipeline = replace(
        spec("x", destination_db, StreamSpec(name="f", path="f.csv")), source=FilesSourceSpec(path="f.csv")
    )
    with pytest.raises(ConfigError, match="two servers"):
        wiring.verify(pipeline)


def test_one_stream_alone(orders: psycopg.Connection, source_db: str, destination_db: str, connect: Connect) -> None:
    """`--stream` leaves the others out."""
    connect(source_db).execute("CREATE TABLE other AS SELECT 1 AS a")
    pipeline = loaded(spec(source_db, destination_db, StreamSpec(name="orders"), StreamSpec(name="other")))
    connect(destination_db).execute("DELETE FROM raw.orders")
    assert wiring.verify(pipeline, options=RunOptions(streams=("other",))).equal
    assert not wiring.verify(pipeline).equal


def test_a_comparison_stops_when_it_is_told_to(
    orders: psycopg.Connection, source_db: str, destination_db: str, connect: Connect
) -> None:
    """Its statements are cancelled at both servers, and no session stays (C12)."""
    slow = "SELECT id, note FROM orders WHERE id = 1 OR pg_sleep(0.001) IS NOT NULL"
    pipeline = loaded(spec(source_db, destination_db, StreamSpec(name="orders")))
    pipeline = replace(pipeline, streams=(StreamSpec(name="orders", query=slow),))
    asked = iter(range(1_000_000))
    admin = connect(source_db)

    def after_a_while() -> bool:
        return next(asked) > 40

    with pytest.raises(CancelledError):
        wiring.verify(pipeline, stop=after_a_while)
    assert no_session_is_left(admin)
