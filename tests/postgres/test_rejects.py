"""Bad rows are set aside, or end the load: who finds them, where they stand, how many there may be, exactly once."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest

import rapidbyte
from rapidbyte import wiring
from rapidbyte.cli.rejects import keys_of
from rapidbyte.destinations.postgres.replay import Named
from rapidbyte.rejects import RejectPolicy
from rapidbyte.result import RunResult
from rapidbyte.spec import PipelineSpec, Rule, StreamSpec, ValidateTransform, WorkerLogin
from tests.postgres.command import KILLED, project
from tests.postgres.leading import lead
from tests.postgres.loading import loaded, pipeline, refused

Connect = Callable[..., psycopg.Connection]
DLQ = RejectPolicy(action="dlq")
SKIP = RejectPolicy(action="skip")

TARGET = (
    "CREATE SCHEMA raw; CREATE TABLE raw.orders (id int NOT NULL, amount smallint CHECK (amount >= 0), name text NOT"
    " NULL)"
)
SOURCE = """
CREATE TABLE orders AS SELECT i AS id,
    CASE WHEN i IN (17, 18, 9000) THEN -5 WHEN i = 12345 THEN 40000 ELSE i % 1000 END AS amount,
    CASE WHEN i NOT IN (1, 20000) THEN 'row ' || i END AS name
FROM generate_series(1, 20000) i
"""


def rows_of(dsn: str, query: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(dsn) as connection:
        return connection.execute(query).fetchall()  # type: ignore[arg-type]


def run_sql(dsn: str, statement: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(statement)  # type: ignore[arg-type]


def rejects(dsn: str, columns: str = "line, column_name, sqlstate, code") -> list[tuple[Any, ...]]:
    """What is stored, in the order of the lines."""
    return rows_of(dsn, f"SELECT {columns} FROM _rapidbyte.rejects ORDER BY file, line, row_data::text")


def orders(source: str | Path, destination: str, policy: RejectPolicy, **settings: Any) -> PipelineSpec:
    stream = StreamSpec(name="orders", **{"allow_lossy": ("amount",), **settings.pop("stream", {})})
    return pipeline(source, destination, stream, **{"write_mode": "append", "rejects": policy, **settings})


def totals(result: RunResult) -> tuple[int, int, int]:
    return result.records_read, result.records_written, result.records_rejected


@pytest.fixture
def shop(source_db: str, destination_db: str, connect: Connect) -> tuple[str, str]:
    """A source with six bad rows among 20,000, and a target that refuses them."""
    connect(source_db).execute(SOURCE)  # type: ignore[arg-type]
    connect(destination_db).execute(TARGET)
    return source_db, destination_db


def test_rows_that_the_server_refuses_are_stored_and_the_others_loaded(shop: tuple[str, str]) -> None:
    """Not null, a check, out of range: each with its SQLSTATE, its column and its values (B14)."""
    result = loaded(orders(*shop, DLQ))
    assert totals(result) == (20000, 19994, 6)
    assert rows_of(shop[1], "SELECT count(*), sum(id) FROM raw.orders") == [(19994, 200010000 - 41381)]
    found = rejects(shop[1], "row_data->>'id', row_data->>'amount', row_data->>'name', column_name, sqlstate, form")
    assert sorted(found, key=lambda row: int(row[0])) == [
        ("1", "1", None, "name", "23502", "target"),
        ("17", "-5", "row 17", None, "23514", "target"),
        ("18", "-5", "row 18", None, "23514", "target"),
        ("9000", "-5", "row 9000", None, "23514", "target"),
        ("12345", "40000", "row 12345", "amount", "22003", "target"),
        ("20000", "0", None, "name", "23502", "target"),
    ]


def test_skipped_rows_are_counted_and_not_kept(shop: tuple[str, str]) -> None:
    """`skip` leaves no values anywhere."""
    result = loaded(orders(*shop, SKIP))
    assert totals(result) == (20000, 19994, 6)
    assert "6 bad rows were set aside: they were not kept" in result.streams[0].warnings
    assert rejects(shop[1]) == []
    assert rows_of(shop[1], "SELECT sum(rejected), sum(rows) FROM _rapidbyte.receipts") == [(6, 19994)]


def test_fail_ends_the_load(shop: tuple[str, str]) -> None:
    """Nothing is published, nothing is stored (B14)."""
    refused(orders(*shop, RejectPolicy()), 5, "constraint_violated")
    assert rows_of(shop[1], "SELECT count(*) FROM raw.orders") == [(0,)]


def test_one_bad_row_says_how_the_others_can_be_loaded(destination_db: str, tmp_path: Path) -> None:
    """Where nothing else is to be said of it."""
    spec = orders(csv_file(tmp_path, "id,amount,name\n1,2,a\n3\n"), destination_db, RejectPolicy(), **TYPES)
    _, error = refused(spec, 5, "row_malformed")
    assert (error.line, error.hint) == (
        3,
        "correct the row, or have such rows set aside: `on_data_error: dlq` or `skip` at the destination",
    )


@pytest.mark.parametrize("action", ["skip", "dlq"])
def test_too_many_bad_rows_of_all_partitions_together_end_the_load(shop: tuple[str, str], action: Any) -> None:
    """Exit 5, nothing published, and nothing stored of a load that is given up."""
    message, error = refused(orders(*shop, RejectPolicy(action=action, max_rows=5)), 5, "too_many_rejects")
    assert message.startswith("6 of 20000 rows of stream orders are bad, more than max_rejects: 5; the first: a row")
    assert (error.stream, error.safe_to_retry) == ("orders", True)
    assert rows_of(shop[1], "SELECT count(*) FROM raw.orders") == [(0,)]
    assert rejects(shop[1]) == []
    assert loaded(orders(*shop, RejectPolicy(action=action, max_rows=6))).records_rejected == 6


def test_a_percentage_is_of_the_rows_that_were_read(shop: tuple[str, str]) -> None:
    """6 of 20,000 are 0.03 %."""
    given_up = rapidbyte.run(orders(*shop, RejectPolicy(action="dlq", max_rows=None, max_percent=0.02)))
    assert (given_up.exit_code, given_up.error and given_up.error.code) == (5, "too_many_rejects")
    assert (given_up.records_rejected, rejects(shop[1])) == (0, [])
    policy = RejectPolicy(action="dlq", max_rows=None, max_percent=0.03)
    assert loaded(orders(*shop, policy)).records_rejected == 6


CSV = """id,amount,name
1,10,one
2,x,two
3,30
4,40,"a
b"
5,50,five,5
6,99999999999999999999,six
7,70,seven
"""


def csv_file(folder: Path, text: str | bytes = CSV) -> Path:
    path = folder / "orders.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


TYPES = {"stream": {"types": (("id", "int"), ("amount", "int"), ("name", "text"))}}


def test_rows_of_csv_that_cannot_be_parsed_are_stored_with_their_lines(destination_db: str, tmp_path: Path) -> None:
    """Too few fields, too many, values of another type; a line break within quotes counts as a line."""
    result = loaded(orders(csv_file(tmp_path), destination_db, DLQ, **TYPES))
    assert totals(result) == (7, 3, 4)
    assert rows_of(destination_db, "SELECT id, amount, name FROM raw.orders ORDER BY 1") == [
        (1, 10, "one"),
        (4, 40, "a\nb"),
        (7, 70, "seven"),
    ]
    assert rejects(destination_db, "line, column_name, code, form, row_data") == [
        (3, "amount", "value_misfit", "source", {"id": "2", "amount": "x", "name": "two"}),
        (4, None, "row_malformed", "text", "3,30"),
        (7, None, "row_malformed", "text", "5,50,five,5"),
        (8, "amount", "value_misfit", "source", {"id": "6", "amount": "99999999999999999999", "name": "six"}),
    ]


def test_the_servers_refusals_of_csv_have_their_lines_too(
    destination_db: str, tmp_path: Path, connect: Connect
) -> None:
    """Rows that were set aside before are counted in, and NUL is a value that no text takes (B1)."""
    connect(destination_db).execute(TARGET)
    text = b"id,amount,name\n1,1,a\n2,2\n3,-3,c\n4,4,\n5,5,n\0ul\n6,6,\xff\n7,7,g\n8,70000,h\n9,-9,i\n"
    result = loaded(orders(csv_file(tmp_path, text), destination_db, DLQ, **TYPES))
    assert totals(result) == (9, 2, 7)
    assert rejects(destination_db, "line, sqlstate") == [
        (3, "22P04"),
        (4, "23514"),
        (5, "23502"),
        (6, "22021"),
        (7, "22021"),
        (9, "22003"),
        (10, "23514"),
    ]


def test_a_text_that_the_server_would_change_is_a_bad_row(
    destination_db: str, tmp_path: Path, connect: Connect
) -> None:
    """A name that is too long for its column is neither cut nor loaded; the row has its line (B7)."""
    connect(destination_db).execute("CREATE SCHEMA raw; CREATE TABLE raw.orders (id bigint, name varchar(3), day date)")
    text = "id,name,day\n1,abc,2026-01-31\n2,abcd,2026-01-31\n3,x,today\n4,y,\n"
    stream = {"types": (("name", "text"), ("day", "text")), "allow_lossy": ()}
    assert totals(loaded(orders(csv_file(tmp_path, text), destination_db, DLQ, stream=stream))) == (4, 2, 2)
    assert rejects(destination_db, "line, column_name, sqlstate") == [(3, "name", "22001"), (4, "day", "22023")]


def test_a_dry_run_passes_over_rows_that_cannot_be_parsed(destination_db: str, tmp_path: Path) -> None:
    """And shows the others."""
    result = loaded(orders(csv_file(tmp_path), destination_db, DLQ, **TYPES), dry_run=True)
    assert result.streams[0].sample is not None
    assert [row[0] for row in result.streams[0].sample.rows] == ["1", "4", "7"]


def test_a_checksum_is_not_compared_where_rows_are_missing(shop: tuple[str, str]) -> None:
    """It would differ."""
    found = loaded(orders(*shop, DLQ), checksum=True).streams[0].checksum
    assert found is not None
    assert found.match is None


def test_a_quote_that_is_never_closed_is_one_bad_row(destination_db: str, tmp_path: Path) -> None:
    """What lies behind it belongs to it."""
    text = 'id,amount,name\n1,1,a\n2,2,"b\n3,3,c\n'
    result = loaded(orders(csv_file(tmp_path, text), destination_db, DLQ, **TYPES))
    assert totals(result) == (2, 1, 1)
    assert rejects(destination_db, "line, code") == [(3, "row_malformed")]


def test_broken_lines_of_ndjson_are_stored(destination_db: str, tmp_path: Path) -> None:
    """No object, a value of another type, half of a surrogate pair."""
    path = tmp_path / "orders.ndjson"
    path.write_text(
        '{"id": 1, "name": "a"}\n{"id": 2, "name"\n\n{"id": "x", "name": "c"}\n'
        '{"id": 4, "name": "\\ud800"}\n{"id": 5, "name": "e"}\n'
    )
    stream = {"stream": {"types": (("id", "int"), ("name", "text"))}}
    spec = pipeline(path, destination_db, StreamSpec(name="orders", **stream["stream"]), rejects=DLQ)
    assert totals(loaded(spec)) == (5, 2, 3)
    assert rejects(destination_db, "line, code, row_data") == [
        (2, "row_malformed", '{"id": 2, "name"'),
        (4, "value_misfit", '{"id": "x", "name": "c"}'),
        (5, "value_unstorable", '{"id": 4, "name": "\\ud800"}'),
    ]


def test_rows_that_a_rule_refuses_are_stored(destination_db: str, tmp_path: Path) -> None:
    """With the rule and the line, also behind rows that could not be parsed."""
    text = "id,amount,name\n1,1,a\n2,2\n3,-3,c\n4,4,d\n5,,e\n"
    rules = ValidateTransform(
        rules=(
            Rule(kind="assert_not_null", fields=("amount",)),
            Rule(kind="assert_range", fields=("amount",), low="0"),
        )
    )
    settings = {"stream": {**TYPES["stream"], "transforms": (rules,)}}
    assert totals(loaded(orders(csv_file(tmp_path, text), destination_db, DLQ, **settings))) == (5, 2, 3)
    assert rejects(destination_db, "line, code, message, form") == [
        (3, "row_malformed", "2 fields where 3 are due", "text"),
        (4, "rule_violated", "assert_range: amount (0 to)", "target"),
        (6, "rule_violated", "assert_not_null: amount", "target"),
    ]


def test_keys_that_repeat_in_an_upsert_are_set_aside(source_db: str, destination_db: str, connect: Connect) -> None:
    """One row of each key stays; NULL is no key (B15, B16)."""
    connect(source_db).execute(
        "CREATE TABLE orders (id int, name text); INSERT INTO orders VALUES (1, 'a'), (1, 'b'), (2, 'c'), (NULL, 'd')"
    )
    spec = pipeline(
        source_db,
        destination_db,
        StreamSpec(name="orders", query="SELECT * FROM orders", primary_key=("id",)),
        write_mode="upsert",
        rejects=DLQ,
    )
    result = loaded(spec)
    assert totals(result) == (4, 2, 2)
    assert rows_of(destination_db, "SELECT id FROM raw.orders ORDER BY 1") == [(1,), (2,)]
    found = rejects(destination_db, "sqlstate, code, partition, row_data->>'id'")
    assert sorted(found, key=str) == [("23502", "constraint_violated", 0, None), ("23505", "key_duplicate", None, "1")]
    few = RejectPolicy(action="dlq", max_rows=1)
    spec = pipeline(
        source_db,
        destination_db,
        StreamSpec(name="orders", query="SELECT * FROM orders", primary_key=("id",)),
        write_mode="upsert",
        rejects=few,
    )
    refused(spec, 5, "too_many_rejects")


def test_rows_that_keys_of_the_target_refuse_are_set_aside(
    source_db: str, destination_db: str, connect: Connect
) -> None:
    """Unique among themselves and with the target's rows, and foreign keys, in an append (B14)."""
    connect(source_db).execute(
        "CREATE TABLE orders (id int, code text, customer int);"
        "INSERT INTO orders VALUES (1, 'a', 1), (2, 'b', 1), (3, 'b', 1), (4, 'd', 9), (5, 'e', NULL), (6, NULL, 1),"
        " (7, NULL, 1)"
    )
    connect(destination_db).execute(
        "CREATE SCHEMA raw; CREATE TABLE raw.customers (id int PRIMARY KEY); INSERT INTO raw.customers VALUES (1);"
        "CREATE TABLE raw.orders (id int PRIMARY KEY, code text UNIQUE, customer int REFERENCES raw.customers);"
        "INSERT INTO raw.orders VALUES (1, 'z', 1)"
    )
    assert totals(loaded(orders(source_db, destination_db, DLQ, stream={"allow_lossy": ()}))) == (7, 4, 3)
    assert rows_of(destination_db, "SELECT id FROM raw.orders ORDER BY 1") == [(1,), (2,), (5,), (6,), (7,)]
    found = rejects(destination_db, "row_data->>'id', sqlstate, code, message, partition")
    assert sorted(found) == [
        ("1", "23505", "key_duplicate", "the target has this id (orders_pkey)", None),
        ("3", "23505", "key_duplicate", "another row has this code (orders_code_key)", None),
        ("4", "23503", "key_missing", "raw.customers has no such customer (orders_customer_fkey)", None),
    ]


def test_a_worker_that_sets_rows_aside_may_insert_them_and_no_more(
    destination_db: str, make_role: Callable[..., str]
) -> None:
    """Granted with `dlq` alone: it may neither look at them nor change them."""
    worker = make_role()
    run_sql(
        destination_db, "CREATE SCHEMA app; CREATE TABLE app.t (id int PRIMARY KEY, at timestamptz); CREATE SCHEMA raw"
    )
    for policy, may in ((DLQ, True), (SKIP, False)):
        with lead(destination_db, "t", worker=WorkerLogin(user=worker), rejects=policy) as load:
            contract = load.prepare()
            assert (contract.copy.rejects is not None and contract.copy.rejects.table is not None) == may
            rights = rows_of(
                destination_db,
                "SELECT string_agg(p, ',' ORDER BY p) FROM unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE',"
                f" 'TRUNCATE']) p WHERE has_table_privilege('{worker}', '_rapidbyte.rejects', p)",
            )
            assert rights == [("INSERT" if may else None,)]


def test_rows_are_replayed_once_when_their_cause_is_gone(shop: tuple[str, str]) -> None:
    """Those that are refused again stay, with their new reason; the others are marked in the same transaction."""
    spec = orders(*shop, DLQ)
    loaded(spec)
    run_sql(shop[1], "ALTER TABLE raw.orders DROP CONSTRAINT orders_amount_check, ALTER name DROP NOT NULL")
    with wiring.ledger(spec) as ledger:
        listed = ledger.rejects()
        assert [each.state for each in listed] == ["waiting"] * 6
        done = ledger.replay(keys_of(spec))
        assert sorted(each.outcome for each in done) == ["loaded"] * 5 + ["refused"]
        assert [each.reason for each in done if each.outcome == "refused"] == [
            'value "***" is out of range for type smallint'
        ]
        assert sorted(each.outcome for each in ledger.replay(keys_of(spec))) == ["refused"]
    assert rows_of(shop[1], "SELECT count(*), count(DISTINCT id) FROM raw.orders") == [(19999, 19999)]
    run_sql(shop[1], "ALTER TABLE raw.orders ALTER amount TYPE int")
    with wiring.ledger(spec) as ledger:
        assert [each.outcome for each in ledger.replay(keys_of(spec))] == ["loaded"]
        assert ledger.replay(keys_of(spec)) == ()
    assert rows_of(shop[1], "SELECT count(*), sum(id) FROM raw.orders") == [(20000, 200010000)]


def test_a_replay_into_an_upsert_updates_and_never_goes_back(shop: tuple[str, str]) -> None:
    """A row that is there with a greater cursor stays."""
    run_sql(shop[1], "ALTER TABLE raw.orders ADD PRIMARY KEY (id); INSERT INTO raw.orders VALUES (17, 1, 'x')")
    stream = {"cursor_field": "name", "primary_key": ("id",)}
    spec = orders(*shop, DLQ, write_mode="upsert", stream=stream)
    loaded(spec)
    run_sql(shop[1], "ALTER TABLE raw.orders DROP CONSTRAINT orders_amount_check")
    run_sql(shop[1], "INSERT INTO raw.orders VALUES (9000, 2, 'aaa'), (18, 2, 'zzz')")
    with wiring.ledger(spec) as ledger:
        ids = [each.reject_id for each in ledger.rejects() if each.row["id"] in ("17", "18", "9000")]
        assert [each.outcome for each in ledger.replay(keys_of(spec), Named(ids=tuple(ids)))] == ["loaded"] * 3
    assert rows_of(shop[1], "SELECT id, amount, name FROM raw.orders WHERE id IN (17, 18, 9000) ORDER BY 1") == [
        (17, 1, "x"),
        (18, 2, "zzz"),
        (9000, -5, "row 9000"),
    ]


def test_what_a_later_replace_has_read_again_is_not_replayed(shop: tuple[str, str]) -> None:
    """Its rows would be in the target twice."""
    spec = orders(*shop, DLQ, write_mode="replace")
    loaded(spec)
    loaded(spec)
    with wiring.ledger(spec) as ledger:
        assert [each.state for each in ledger.rejects()] == ["outdated"] * 6 + ["waiting"] * 6


def test_rows_that_are_named_are_dropped_and_no_others(destination_db: str, tmp_path: Path) -> None:
    """By reason, by id; a line that could not be parsed does not keep `replay` at exit 5 for ever."""
    (tmp_path / "orders.csv").write_text("id,amount\n1,1\n2,2,2\n3,x\n4,4,4\n5,5\n")
    stream = {"name": "orders", "types": {"id": "int", "amount": "int"}}
    shop = project(
        tmp_path,
        {"use": "files", "config": {"path": "orders.csv"}},
        destination_db,
        stream=stream,
        on_data_error="dlq",
    )
    assert shop.run().exit_code == 0
    assert shop.did("rejects", "replay", "pipeline.yaml").exit_code == 5
    assert shop.did("rejects", "drop", "pipeline.yaml").stderr.startswith("error: rejects drop deletes what is named")
    first = shop.did("rejects", "list", "pipeline.yaml", "-n", "2").document
    assert (len(first["rejects"]), first["has_more"]) == (2, True)
    every = shop.did("rejects", "show", "pipeline.yaml", "-n", "3").document
    assert (len(every["rejects"]), every["has_more"]) == (3, False)
    other = shop.start("rejects", "list", "pipeline.yaml", "--stream", "order", "--output", "text")
    assert other.communicate(timeout=60)[0] == "no such row of this pipeline is set aside\n"
    missed = shop.did("rejects", "drop", "pipeline.yaml", "--reason", "prase")
    assert (missed.exit_code, "there are: row_malformed, value_does_not_fit" in missed.stderr) == (2, True)
    nobody = shop.did("rejects", "drop", "pipeline.yaml", "--stream", "order")
    assert (nobody.exit_code, "there are: orders" in nobody.stderr) == (2, True)
    gone = shop.did("rejects", "drop", "pipeline.yaml", "--reason", "parse")
    assert (gone.exit_code, [(row["outcome"], row["line"]) for row in gone.document["rows"]]) == (
        0,
        [("dropped", 3), ("dropped", 5)],
    )
    assert shop.did("rejects", "drop", "pipeline.yaml", "--reason", "parse").document["rows"] == []
    assert rejects(destination_db, "line, code") == [(4, "value_does_not_fit")]
    (left,) = shop.did("rejects", "list", "pipeline.yaml").document["rejects"]
    assert shop.did("rejects", "drop", "pipeline.yaml", str(left["id"] + 1)).exit_code == 2
    assert shop.did("rejects", "drop", "pipeline.yaml", str(left["id"])).exit_code == 0
    assert shop.did("rejects", "replay", "pipeline.yaml").exit_code == 0


def test_rows_of_a_load_that_is_not_published_are_not_dropped(destination_db: str, tmp_path: Path) -> None:
    """Its receipts count them: the next run goes on with it (E1)."""
    (tmp_path / "orders.csv").write_text("id\n1\nx\n3\n")
    stream = {"name": "orders", "types": {"id": "int"}}
    source = {"use": "files", "config": {"path": "orders.csv"}}
    shop = project(tmp_path, source, destination_db, stream=stream, on_data_error="dlq")
    assert shop.run(failpoint="pub.commit_before=exit").exit_code == KILLED
    kept = shop.did("rejects", "drop", "pipeline.yaml", "--stream", "orders")
    assert (kept.exit_code, kept.document["dropped"], kept.document["left"]) == (5, 0, 1)
    assert shop.run().exit_code == 0
    assert shop.did("rejects", "drop", "pipeline.yaml", "--stream", "orders").document["dropped"] == 1


def test_a_replace_of_bad_rows_alone_does_not_empty_its_target(destination_db: str, tmp_path: Path) -> None:
    """Unless the pipeline says with `min_rows` that no rows are enough; a target without rows has none to lose (E9)."""
    file = tmp_path / "orders.csv"
    file.write_text("id\nx\ny\n")
    spec = orders(
        file, destination_db, DLQ, write_mode="replace", stream={"types": (("id", "int"),), "allow_lossy": ()}
    )
    empty = loaded(spec)
    assert empty.streams[0].warnings == (
        "no row was loaded, and 2 bad rows were set aside: `rapidbyte rejects list PIPELINE` names them",
    )
    run_sql(destination_db, "INSERT INTO raw.orders VALUES (7)")
    message, _ = refused(spec, 5, "all_rows_rejected")
    assert message.startswith("2 bad rows are set aside, and stream orders has no others")
    assert f"the first: {file}, line 2, column id: " in message
    assert rows_of(destination_db, "SELECT id FROM raw.orders") == [(7,)]
    allowed = {"types": (("id", "int"),), "allow_lossy": (), "min_rows": 0}
    assert totals(loaded(orders(file, destination_db, DLQ, write_mode="replace", stream=allowed))) == (2, 0, 2)
    assert rows_of(destination_db, "SELECT count(*) FROM raw.orders") == [(0,)]


@pytest.mark.parametrize("with_rule", [False, True])
def test_a_dry_run_counts_what_would_be_set_aside(destination_db: str, tmp_path: Path, with_rule: bool) -> None:
    """Lines, values and rules; among the rows that it has looked at. With `fail` nothing is counted."""
    file = tmp_path / "orders.csv"
    file.write_text("id\n" + "1\n" * 20 + "x\n2,2\n-3\n")
    rules = (ValidateTransform(rules=(Rule(kind="assert_range", fields=("id",), low="0"),)),) if with_rule else ()
    stream = {"types": (("id", "int"),), "allow_lossy": (), "transforms": rules}
    result = loaded(orders(file, destination_db, DLQ, stream=stream), dry_run=True)
    bad = 3 if with_rule else 2
    assert totals(result) == (10, 0, bad)
    place = f"{bad} of the 23 rows looked at would be set aside; the first: {file}, line 22, column id: "
    assert [each.startswith(place) for each in result.streams[0].warnings] == [True]
    assert rows_of(destination_db, "SELECT to_regclass('_rapidbyte.rejects')") == [(None,)]


def test_a_dry_run_does_not_judge_for_the_server(shop: tuple[str, str]) -> None:
    """Rows between two servers are judged by the one that gets them: null, not 0."""
    result = loaded(orders(*shop, DLQ), dry_run=True)
    assert (result.streams[0].records_rejected, result.records_rejected) == (None, 0)


def test_a_result_is_json_with_the_counts(shop: tuple[str, str]) -> None:
    """`records_rejected`, of the run and of each stream."""
    result = loaded(orders(*shop, DLQ))
    assert json.dumps(result.streams[0].records_rejected) == "6"


def test_a_run_that_is_killed_leaves_no_row_twice(shop: tuple[str, str], tmp_path: Path) -> None:
    """A whole table begins anew after a crash: what was set aside of the load that is given up goes with it (C2)."""
    found = project(
        tmp_path / "shop",
        {"use": "postgres", "config": {"dsn": shop[0]}},
        shop[1],
        stream={"name": "orders", "allow_lossy": ["amount"]},
        write_mode="append",
        on_data_error="dlq",
        max_rejects="1%",
    )
    for failpoint in ("w.receipt#3=exit", "w.commit_sent#2=exit", "join.all_done=exit", "pub.commit_sent=exit"):
        assert found.run(failpoint=failpoint).exit_code == KILLED
    again = found.run()
    total = rows_of(shop[1], "SELECT count(*), count(DISTINCT id) FROM raw.orders")[0]
    loads = rows_of(shop[1], "SELECT count(DISTINCT load_id) FROM _rapidbyte.loads WHERE state = 'published'")[0][0]
    assert again.exit_code == 0
    assert total == (19994 * loads, 19994)
    assert len(rejects(shop[1])) == 6 * loads
