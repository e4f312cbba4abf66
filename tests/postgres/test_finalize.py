"""Publishing: what stands in the target afterwards, what is refused, and what a lost COMMIT means."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace

import psycopg
import pytest

from rapidbyte.destinations.postgres import outcome
from rapidbyte.errors import CheckError, DataError, DestinationError
from rapidbyte.ports import Publication
from rapidbyte.spec import StreamSpec
from tests.kit.catalog import catalog_of, differences
from tests.postgres.leading import finalize, lead, rows_of, run
from tests.postgres.proxying import proxied

ORDERS = "CREATE SCHEMA app; CREATE TABLE app.orders (id int PRIMARY KEY, note text, price numeric(10,2) NOT NULL);"
TWO = "VALUES (1, 'a', 1.50), (2, NULL, 2.00)"
WAITING = """
SELECT count(*) FROM pg_stat_activity
WHERE application_name = 'rapidbyte leader shop' AND datname = current_database() AND state <> 'idle'
"""

STAGES = """
SELECT n.nspname || '.' || relname FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
WHERE relname LIKE '\\_rb\\_%'
"""


def test_a_missing_target_is_created_with_types_and_key(destination_db: str) -> None:
    """A created target has the stream's columns, types, NOT NULL and primary key."""
    run(destination_db, ORDERS)
    with lead(destination_db, "orders") as load:
        assert (load.stream_plan().publish, load.stream_plan().publish_reason) == (
            "rename",
            "the target does not exist",
        )
        report = load.publish(TWO)
    assert (report.publish, report.rows, report.warnings) == ("rename", 2, ())
    assert rows_of(destination_db, "SELECT id, note, price::text FROM raw.orders ORDER BY id") == [
        (1, "a", "1.50"),
        (2, None, "2.00"),
    ]
    before, after = catalog_of(destination_db, "app", "orders"), catalog_of(destination_db, "raw", "orders")
    for what in ("columns", "constraints", "grants"):
        assert before[what] == after[what]
    assert [row[:2] for row in after["indexes"]] == [
        ("orders_pkey", "CREATE UNIQUE INDEX orders_pkey ON raw.orders USING btree (id)")
    ]
    assert rows_of(destination_db, "SELECT reltuples::int FROM pg_class WHERE oid = 'raw.orders'::regclass") == [(2,)]


@pytest.mark.parametrize("table", ["t", "x" * 63, "é" * 31])
def test_constraints_of_a_created_target_are_named_as_any_others(table: str, destination_db: str) -> None:
    """As the server itself names them for a table of that name, not after the stage."""
    columns = f'id int, "{"y" * 63}" int NOT NULL, "{"ü" * 20}" int NOT NULL, PRIMARY KEY (id)'
    run(destination_db, f'CREATE SCHEMA app; CREATE TABLE app."{table}" ({columns})')
    with lead(destination_db, table) as load:
        load.publish("VALUES (1, 2, 3)")
    before, after = catalog_of(destination_db, "app", table), catalog_of(destination_db, "raw", table)
    assert after["constraints"] == before["constraints"]


def test_a_created_target_has_default_privileges(destination_db: str, make_role: Callable[..., str]) -> None:
    """It is made in its own schema, logged, as any table there."""
    reader = make_role()
    run(
        destination_db,
        ORDERS + f"CREATE SCHEMA raw; ALTER DEFAULT PRIVILEGES IN SCHEMA raw GRANT SELECT ON TABLES TO {reader}",
    )
    with lead(destination_db, "orders") as load:
        load.publish(TWO)
    assert rows_of(destination_db, f"SELECT has_table_privilege('{reader}', 'raw.orders', 'SELECT')") == [(True,)]
    assert rows_of(destination_db, "SELECT relpersistence FROM pg_class WHERE oid = 'raw.orders'::regclass") == [("p",)]


def test_nothing_is_seen_before_the_publish(destination_db: str) -> None:
    """Between prepare and finalize the target does not exist."""
    run(destination_db, ORDERS)
    with lead(destination_db, "orders") as load:
        contract = load.prepare()
        receipts = load.fill(contract, TWO)
        assert rows_of(destination_db, "SELECT to_regclass('raw.orders')") == [(None,)]
        finalize(load.leader, contract, receipts)
    assert rows_of(destination_db, "SELECT count(*) FROM raw.orders") == [(2,)]


def test_generated_and_identity_columns_become_plain_in_a_created_target(destination_db: str) -> None:
    """With a warning."""
    run(
        destination_db,
        "CREATE SCHEMA app; CREATE TABLE app.t (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,"
        " twice int GENERATED ALWAYS AS (id * 2) STORED)",
    )
    with lead(destination_db, "t") as load:
        assert load.stream_plan().warnings == (
            "column id is an identity column in the source and becomes a plain column",
            "column twice is generated in the source and becomes a plain column",
        )
        load.publish("VALUES (1, 2)")
    assert rows_of(destination_db, "SELECT * FROM raw.t") == [(1, 2)]
    assert [row[4:7] for row in catalog_of(destination_db, "raw", "t")["columns"]] == [(None, "", "")] * 2


def test_the_sources_indexes_are_copied_where_asked_for(destination_db: str) -> None:
    """`indexes: source`; a name that is taken gives way to one that the server chooses (F9)."""
    run(
        destination_db,
        ORDERS + "CREATE SCHEMA raw; CREATE TABLE raw.taken (); CREATE INDEX taken ON app.orders (note);"
        'CREATE UNIQUE INDEX "Odd; name" ON app.orders (lower(note)) WHERE id > 0',
    )
    definitions = tuple(
        row[0]
        for row in rows_of(
            destination_db,
            "SELECT pg_get_indexdef(indexrelid) FROM pg_index"
            " WHERE indrelid = 'app.orders'::regclass AND NOT indisprimary",
        )
    )
    spec = StreamSpec(name="orders", indexes="source")
    with lead(destination_db, "orders", spec=spec) as load:
        replace(load, shape=replace(load.shape, index_definitions=definitions)).publish(TWO)
    assert [row[1] for row in catalog_of(destination_db, "raw", "orders")["indexes"]] == [
        'CREATE UNIQUE INDEX "Odd; name" ON raw.orders USING btree (lower(note)) WHERE (id > 0)',
        "CREATE INDEX orders_note_idx ON raw.orders USING btree (note)",
        "CREATE UNIQUE INDEX orders_pkey ON raw.orders USING btree (id)",
    ]


def test_an_index_that_cannot_be_built_is_told_before_the_load(destination_db: str) -> None:
    """An operator class that the destination lacks: prepare fails, and leaves nothing behind."""
    run(destination_db, ORDERS)
    definition = "CREATE INDEX i ON app.orders USING gin (note public.gin_trgm_ops)"
    spec = StreamSpec(name="orders", indexes="source")
    with lead(destination_db, "orders", spec=spec) as load, pytest.raises(DestinationError) as caught:
        replace(load, shape=replace(load.shape, index_definitions=(definition,))).prepare()
    assert "gin_trgm_ops" in caught.value.message
    assert rows_of(destination_db, STAGES) == []


def test_a_source_cannot_smuggle_a_second_statement_into_an_index(destination_db: str) -> None:
    """What follows the first statement is refused by the server, and the load fails (G13)."""
    run(destination_db, ORDERS + "CREATE TABLE app.victim ()")
    definition = "CREATE INDEX i ON app.orders USING btree (id); DROP TABLE app.victim"
    spec = StreamSpec(name="orders", indexes="source")
    with lead(destination_db, "orders", spec=spec) as load, pytest.raises(DestinationError):
        replace(load, shape=replace(load.shape, index_definitions=(definition,))).publish(TWO)
    assert rows_of(destination_db, "SELECT count(*) FROM app.victim") == [(0,)]


def test_duplicates_in_the_key_of_a_created_target_publish_nothing(destination_db: str) -> None:
    """The primary key is built after loading; the target does not come to be."""
    run(destination_db, ORDERS)
    with lead(destination_db, "orders") as load:
        contract = load.prepare()
        receipts = load.fill(contract, "VALUES (1, 'a', 1), (1, 'b', 2)")
        with pytest.raises(DataError) as caught:
            finalize(load.leader, contract, receipts)
        load.leader.discard_stream(contract)
        load.leader.discard_stream(contract)
    assert caught.value.context.sqlstate == "23505"
    assert rows_of(destination_db, "SELECT to_regclass('raw.orders')") == [(None,)]
    assert rows_of(destination_db, STAGES) == []
    assert rows_of(destination_db, "SELECT state, row_count FROM _rapidbyte.loads") == [("discarded", None)]


def test_an_empty_target_with_nothing_attached_is_replaced_by_the_stage(destination_db: str) -> None:
    """In append, too: nothing is written twice."""
    run(destination_db, ORDERS + "CREATE SCHEMA raw; CREATE TABLE raw.orders (price numeric(10,2), id int, note text)")
    with lead(destination_db, "orders") as load:
        report = load.publish(TWO)
    assert (report.publish, report.warnings) == ("rename", ())
    assert rows_of(destination_db, "SELECT price::text, id, note FROM raw.orders ORDER BY id") == [
        ("1.50", 1, "a"),
        ("2.00", 2, None),
    ]


def test_rows_that_came_into_an_empty_target_meanwhile_stay(destination_db: str) -> None:
    """Rechecked under ACCESS EXCLUSIVE: then the rows are inserted."""
    run(destination_db, ORDERS + "CREATE SCHEMA raw; CREATE TABLE raw.orders (id int, note text, price numeric(10,2))")
    with lead(destination_db, "orders") as load:
        contract = load.prepare()
        assert contract.publish == "rename"
        receipts = load.fill(contract, TWO)
        run(destination_db, "INSERT INTO raw.orders VALUES (7, 'mine', 7)")
        report = finalize(load.leader, contract, receipts)
    assert (report.publish, report.warnings) == (
        "insert",
        ("published by insert instead of rename: the target is no longer empty",),
    )
    assert rows_of(destination_db, "SELECT id FROM raw.orders ORDER BY id") == [(1,), (2,), (7,)]
    assert rows_of(destination_db, STAGES) == []


def test_a_target_that_someone_else_made_meanwhile_is_not_touched(destination_db: str) -> None:
    """It was planned for none: the load fails, exit 4."""
    run(destination_db, ORDERS)
    with lead(destination_db, "orders") as load:
        contract = load.prepare()
        receipts = load.fill(contract, TWO)
        run(destination_db, "CREATE TABLE raw.orders (x int)")
        with pytest.raises(DestinationError) as caught:
            finalize(load.leader, contract, receipts)
    assert caught.value.code == "target_changed"
    assert catalog_of(destination_db, "raw", "orders")["columns"][0][1] == "x"


def test_append_inserts_and_drops_the_stage(destination_db: str) -> None:
    """The stage is unlogged and lies in our own schema."""
    run(destination_db, ORDERS)
    with lead(destination_db, "orders") as load:
        load.publish(TWO)
        before = catalog_of(destination_db, "raw", "orders")
        contract = load.prepare()
        assert rows_of(destination_db, STAGES) == [(f"_rapidbyte._rb_{contract.load_id}",)]
        report = finalize(load.leader, contract, load.fill(contract, "VALUES (3, 'c', 3)"))
    assert (report.publish, report.rows, report.warnings) == ("insert", 1, ())
    assert differences(before, catalog_of(destination_db, "raw", "orders")) == {}
    assert rows_of(destination_db, "SELECT id FROM raw.orders ORDER BY id") == [(1,), (2,), (3,)]
    assert rows_of(destination_db, STAGES) == []
    assert rows_of(destination_db, "SELECT publish, state, row_count FROM _rapidbyte.loads ORDER BY load_id") == [
        ("rename", "published", 2),
        ("insert", "published", 1),
    ]


def test_append_that_violates_a_constraint_changes_nothing(destination_db: str) -> None:
    """Exit 5 with the constraint's name and no values (B14)."""
    run(destination_db, ORDERS)
    with lead(destination_db, "orders") as load:
        load.publish(TWO)
        with pytest.raises(DataError) as caught:
            load.publish("VALUES (9, 'secret', 9), (1, 'again', 3)")
    assert "orders_pkey" in caught.value.message
    assert "(1)" not in caught.value.message
    assert rows_of(destination_db, "SELECT id FROM raw.orders ORDER BY id") == [(1,), (2,)]


def test_append_to_a_partitioned_target(destination_db: str) -> None:
    """Rows find their partitions; without one for a row nothing is published (B20)."""
    run(
        destination_db,
        ORDERS + "CREATE SCHEMA raw; CREATE TABLE raw.orders (id int, note text, price numeric(10,2))"
        " PARTITION BY RANGE (id); CREATE TABLE raw.low PARTITION OF raw.orders FOR VALUES FROM (0) TO (10)",
    )
    with lead(destination_db, "orders") as load:
        assert load.publish(TWO).publish == "insert"
        with pytest.raises(DataError) as caught:
            load.publish("VALUES (3, 'c', 3), (70, 'd', 4)")
    assert caught.value.context.sqlstate == "23514"
    assert rows_of(destination_db, "SELECT id FROM raw.low ORDER BY id") == [(1,), (2,)]


def test_append_to_identity_and_generated_columns(destination_db: str) -> None:
    """The source's values go in; an identity column that the stream lacks counts on; sequences stay."""
    run(
        destination_db,
        ORDERS + "CREATE SCHEMA raw; CREATE TABLE raw.orders (n int GENERATED ALWAYS AS IDENTITY,"
        " id int GENERATED ALWAYS AS (7) STORED, note text, price numeric(10,2))",
    )
    with lead(destination_db, "orders") as load:
        assert load.stream_plan().warnings == ("column id is generated in the target: the server computes its values",)
        load.publish("VALUES ('a', 1.0), ('b', 2.0)")
    assert rows_of(destination_db, "SELECT n, id, note FROM raw.orders ORDER BY n") == [(1, 7, "a"), (2, 7, "b")]


def test_append_warns_of_a_sequence_that_is_behind(destination_db: str) -> None:
    """The next INSERT of an application would fail with 23505 (B18)."""
    run(
        destination_db,
        ORDERS + "CREATE SCHEMA raw; CREATE TABLE raw.orders (id serial PRIMARY KEY, note text, price numeric(10,2));"
        "INSERT INTO raw.orders VALUES (DEFAULT, 'x', 1)",
    )
    with lead(destination_db, "orders") as load:
        report = load.publish("VALUES (50, 'a', 1.0)")
    assert [warning.partition(", and ")[0] for warning in report.warnings] == ["column id: values up to 50 were loaded"]


def test_append_through_a_trigger_that_swallows_rows_fails(destination_db: str) -> None:
    """2 rows sent, none kept (B19)."""
    run(
        destination_db,
        ORDERS + "CREATE SCHEMA raw; CREATE TABLE raw.orders (LIKE app.orders);"
        "CREATE FUNCTION raw.f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';"
        "CREATE TRIGGER g BEFORE INSERT ON raw.orders FOR EACH ROW EXECUTE FUNCTION raw.f()",
    )
    with lead(destination_db, "orders") as load, pytest.raises(DataError) as caught:
        load.publish(TWO)
    assert (caught.value.code, caught.value.message) == ("rows_dropped", "raw.orders: 0 of 2 rows were inserted")


@pytest.mark.parametrize("publication", ["FOR ALL TABLES", "FOR TABLES IN SCHEMA raw"])
def test_where_a_publication_covers_the_schema_no_logged_stage_is_made(publication: str, destination_db: str) -> None:
    """Its subscribers have no such table, and would stop: the target is created and filled in one transaction."""
    run(destination_db, ORDERS + f"CREATE SCHEMA raw; CREATE PUBLICATION pub {publication}")
    with lead(destination_db, "orders", write_mode="replace") as load:
        contract = load.prepare()
        assert (contract.publish, contract.stage.schema) == ("insert", "_rapidbyte")
        assert rows_of(destination_db, "SELECT relpersistence FROM pg_class WHERE relname LIKE '\\_rb\\_%'") == [("u",)]
        assert finalize(load.leader, contract, load.fill(contract, TWO)).publish == "insert"
        assert load.publish("VALUES (3, 'c', 3)").publish == "in_place"
    assert rows_of(destination_db, "SELECT id FROM raw.orders") == [(3,)]
    assert [row[1] for row in catalog_of(destination_db, "raw", "orders")["constraints"]].count("p") == 1


def test_an_unlogged_stage_that_a_crash_has_emptied_is_noticed(destination_db: str) -> None:
    """Receipts survive a crash of the server, an unlogged stage does not: the counts differ (C2)."""
    run(destination_db, ORDERS)
    with lead(destination_db, "orders") as load:
        load.publish(TWO)
        contract = load.prepare()
        receipts = load.fill(contract, "VALUES (3, 'c', 3)")
        run(destination_db, f'TRUNCATE _rapidbyte."{contract.stage.name}"')
        with pytest.raises(DestinationError) as caught:
            finalize(load.leader, contract, receipts)
    assert caught.value.code == "stage_emptied"
    assert rows_of(destination_db, "SELECT count(*) FROM raw.orders") == [(2,)]


def test_a_receipt_that_the_engine_does_not_know_of_is_noticed(destination_db: str) -> None:
    """Engine, receipts and stage must agree on partitions and rows."""
    run(destination_db, ORDERS)
    with lead(destination_db, "orders") as load:
        contract = load.prepare()
        receipts = load.fill(contract, TWO)
        run(destination_db, "INSERT INTO _rapidbyte.receipts SELECT load_id, 1, pipeline, stream, 0, 0, 0"
            " FROM _rapidbyte.receipts")  # fmt: skip
        with pytest.raises(DestinationError) as caught:
            finalize(load.leader, contract, receipts)
    assert caught.value.code == "stage_incomplete"


def test_a_load_is_published_once(destination_db: str) -> None:
    """A second finalize of the same load is refused, and so is that of a discarded one."""
    run(destination_db, ORDERS)
    with lead(destination_db, "orders") as load:
        contract = load.prepare()
        receipts = load.fill(contract, TWO)
        finalize(load.leader, contract, receipts)
        with pytest.raises(DestinationError) as caught:
            finalize(load.leader, contract, receipts)
        load.leader.discard_stream(contract)
    assert caught.value.code == "load_not_prepared"
    assert rows_of(destination_db, "SELECT state FROM _rapidbyte.loads") == [("published",)]
    assert rows_of(destination_db, "SELECT count(*) FROM raw.orders") == [(2,)]


def test_a_checksum_that_differs_publishes_nothing(destination_db: str) -> None:
    """Exit 9; one that agrees is reported."""
    run(destination_db, ORDERS)
    with lead(destination_db, "orders") as load:
        contract = load.prepare()
        whole = Publication(contract=contract, receipts=load.fill(contract, TWO), checksum=True)
        with pytest.raises(CheckError) as caught:
            load.leader.finalize((replace(whole, expected_checksum="2:0:0"),))
        assert rows_of(destination_db, "SELECT to_regclass('raw.orders')") == [(None,)]
        (report,) = load.leader.finalize((whole,))
    assert caught.value.exit_code == 9
    assert report.checksum is not None
    assert report.checksum.startswith("2:")


def test_statistics_that_cannot_be_renewed_are_a_warning(destination_db: str, make_role: Callable[..., str]) -> None:
    """ANALYZE belongs to the owner; the load is published all the same."""
    role = make_role()
    run(
        destination_db,
        ORDERS + "CREATE SCHEMA raw; CREATE TABLE raw.orders (LIKE app.orders); CREATE SCHEMA _rapidbyte;"
        f"GRANT USAGE, CREATE ON SCHEMA _rapidbyte TO {role}; GRANT USAGE ON SCHEMA raw, app TO {role};"
        f"GRANT INSERT ON raw.orders TO {role}",
    )
    dsn = destination_db.replace("postgres@", f"{role}@", 1)
    with lead(dsn, "orders", source=destination_db) as load:
        load = replace(load, dsn=destination_db)
        report = load.publish(TWO)
    assert report.publish == "insert"
    assert len(report.warnings) == 1
    assert report.warnings[0].startswith("statistics of raw.orders were not renewed: ")


MANY = "SELECT i, 'x', 1.50 FROM generate_series(1, 100000) i"


def test_a_large_stage_is_analysed_while_its_rows_are_counted(destination_db: str, server_log) -> None:
    """The target is published with its statistics: nobody plans a query without them."""
    run(destination_db, ORDERS)
    server_log.watch(destination_db)
    with lead(destination_db, "orders") as load:
        contract = load.prepare()
        report = finalize(load.leader, contract, load.fill(contract, MANY))
    analysed = [text for _, text in server_log.statements(destination_db, "rapidbyte leader") if "ANALYZE" in text]
    assert report.publish == "rename"
    assert len(analysed) == 1
    assert contract.stage is not None
    assert contract.stage.name in analysed[0]
    assert rows_of(destination_db, "SELECT reltuples FROM pg_class WHERE oid = 'raw.orders'::regclass") == [(100000.0,)]


BOUNDS = "SELECT count(*), max(array_length(histogram_bounds, 1)) FROM pg_stats WHERE schemaname = 'raw'"
DONE_OR_LEFT = """
SELECT pg_stat_get_autoanalyze_count(oid) > 0, pg_stat_get_mod_since_analyze(oid)
FROM pg_class WHERE oid = 'raw.orders'::regclass
"""


def test_a_large_table_is_sampled_and_autovacuum_keeps_its_work(destination_db: str) -> None:
    """Each column has statistics at once; the count of changed rows, by which the server comes by itself, stays."""
    run(destination_db, ORDERS)
    with lead(destination_db, "orders") as load:
        assert load.publish(MANY).publish == "rename"
    seen = rows_of(destination_db, BOUNDS)
    ((came, left),) = rows_of(destination_db, DONE_OR_LEFT)
    assert came or (seen, left) == ([(3, 11)], 100_000)


def test_a_large_table_that_autovacuum_leaves_alone_is_analysed_fully(destination_db: str) -> None:
    """Nobody else would do it. The stage takes the table's parameters only when it takes its place."""
    run(destination_db, ORDERS + "CREATE SCHEMA raw; CREATE TABLE raw.orders (LIKE app.orders)")
    run(destination_db, "ALTER TABLE raw.orders SET (autovacuum_enabled = off)")
    with lead(destination_db, "orders", write_mode="replace") as load:
        assert load.publish(MANY).publish == "swap"
    assert rows_of(destination_db, BOUNDS) == [(3, 101)]
    assert rows_of(destination_db, DONE_OR_LEFT) == [(False, 0)]


@pytest.mark.parametrize("option", ["autovacuum_analyze_threshold = 1000000000", "autovacuum_analyze_scale_factor = 1"])
def test_a_table_that_autovacuum_would_pass_over_is_analysed_fully(option: str, destination_db: str) -> None:
    """By the storage parameters of the table whose place the stage takes."""
    run(destination_db, ORDERS + f"CREATE SCHEMA raw; CREATE TABLE raw.orders (LIKE app.orders) WITH ({option})")
    with lead(destination_db, "orders", write_mode="replace") as load:
        assert load.publish(MANY).publish == "swap"
    assert rows_of(destination_db, BOUNDS) == [(3, 101)]


def test_columns_keep_their_own_target_in_a_swap(destination_db: str) -> None:
    """They get it with the publish, so a large stage is analysed after it."""
    run(destination_db, ORDERS + "CREATE SCHEMA raw; CREATE TABLE raw.orders (LIKE app.orders)")
    run(destination_db, "ALTER TABLE raw.orders ALTER id SET STATISTICS 500; INSERT INTO raw.orders VALUES (1, 'a', 1)")
    with lead(destination_db, "orders", write_mode="replace") as load:
        assert load.publish(MANY).publish == "swap"
    assert rows_of(destination_db, BOUNDS) == [(3, 501)]


@pytest.mark.parametrize("key", ["", ", PRIMARY KEY (id)"])
def test_a_replace_in_place_by_fewer_rows_is_analysed(key: str, destination_db: str) -> None:
    """D13: what it deleted counts, too; no query is planned for the old rows."""
    run(
        destination_db,
        ORDERS + f"CREATE SCHEMA raw; CREATE TABLE raw.orders (id int, note text, price numeric(10,2){key})",
    )
    run(destination_db, "INSERT INTO raw.orders SELECT i, 'y', 2 FROM generate_series(1, 20000) i")
    run(destination_db, "CREATE VIEW raw.seen AS TABLE raw.orders")
    run(destination_db, "ANALYZE raw.orders")
    with lead(destination_db, "orders", write_mode="replace") as load:
        assert load.publish("SELECT i, 'x', 1.50 FROM generate_series(1, 500) i").publish == "in_place"
    assert rows_of(destination_db, "SELECT reltuples FROM pg_class WHERE oid = 'raw.orders'::regclass") == [(500.0,)]
    common = "SELECT most_common_vals::text FROM pg_stats WHERE schemaname = 'raw' AND attname = 'note'"
    assert rows_of(destination_db, common) == [("{x}",)]


def test_few_rows_more_leave_the_statistics_of_a_large_table(destination_db: str, server_log) -> None:
    """D13: where it has them; the server counts the rows, and analyses the table when a tenth has changed."""
    run(destination_db, ORDERS + "CREATE SCHEMA raw; CREATE TABLE raw.orders (LIKE app.orders)")
    run(destination_db, "INSERT INTO raw.orders SELECT i, 'y', 2 FROM generate_series(1, 1000) i")
    run(destination_db, "ANALYZE raw.orders")
    server_log.watch(destination_db)
    with lead(destination_db, "orders", write_mode="append") as load:
        assert load.publish(TWO).publish == "insert"
    said = [text for _, text in server_log.statements(destination_db, "rapidbyte leader") if "ANALYZE" in text]
    assert said == []
    assert rows_of(destination_db, "SELECT reltuples FROM pg_class WHERE oid = 'raw.orders'::regclass") == [(1000.0,)]


def test_an_index_of_an_expression_gets_its_statistics_after_the_swap(destination_db: str) -> None:
    """The stage was analysed before the index was built."""
    run(destination_db, ORDERS + "CREATE SCHEMA raw; CREATE TABLE raw.orders (LIKE app.orders)")
    run(destination_db, "INSERT INTO raw.orders VALUES (1, 'a', 1); CREATE INDEX odd ON raw.orders ((id % 7))")
    with lead(destination_db, "orders", write_mode="replace") as load:
        assert load.publish(MANY).publish == "swap"
    assert rows_of(destination_db, "SELECT n_distinct FROM pg_stats WHERE tablename = 'odd'") == [(7.0,)]


def test_a_large_stage_without_a_connection_more_is_analysed_afterwards(
    destination_db: str, make_role: Callable[..., str]
) -> None:
    """A role that may connect as often as the leader needs to load, and not once more."""
    role = make_role("LOGIN SUPERUSER")
    run(destination_db, ORDERS)
    dsn = destination_db.replace("postgres@", f"{role}@", 1)
    with lead(dsn, "orders", source=destination_db) as load:
        contract = load.prepare()
        receipts = load.fill(contract, MANY)
        run(destination_db, f"ALTER ROLE {role} NOSUPERUSER CONNECTION LIMIT 1")
        report = finalize(load.leader, contract, receipts)
        run(destination_db, f"ALTER ROLE {role} SUPERUSER CONNECTION LIMIT -1")
    assert report.warnings == ()
    assert rows_of(destination_db, "SELECT reltuples FROM pg_class WHERE oid = 'raw.orders'::regclass") == [(100000.0,)]


def test_a_roles_own_settings_do_not_matter(destination_db: str, make_role: Callable[..., str]) -> None:
    """Timeouts, isolation, read-only, search_path, row security and durability are the transaction's own (F11)."""
    role = make_role("LOGIN SUPERUSER")
    for setting in (
        "statement_timeout = '1s'",
        "lock_timeout = '1ms'",
        "idle_session_timeout = '300ms'",
        "idle_in_transaction_session_timeout = '300ms'",
        "default_transaction_isolation = 'serializable'",
        "default_transaction_read_only = on",
        "search_path = raw, app, pg_catalog",
        "synchronous_commit = off",
        "row_security = on",
        "quote_all_identifiers = on",
        "standard_conforming_strings = off",
        "TimeZone = 'Asia/Kathmandu'",
    ):
        run(destination_db, f"ALTER ROLE {role} SET {setting}")
    run(destination_db, ORDERS + "CREATE INDEX ON app.orders (note); CREATE SCHEMA raw")
    run(
        destination_db,
        "CREATE TABLE raw.orders (LIKE app.orders INCLUDING ALL); INSERT INTO raw.orders VALUES (9, '', 9)",
    )
    run(destination_db, r"COMMENT ON TABLE raw.orders IS 'back\slash and ''quote'")
    before = catalog_of(destination_db, "raw", "orders")
    dsn = destination_db.replace("postgres@", f"{role}@", 1)
    with lead(dsn, "orders", source=destination_db, write_mode="replace") as load:
        load = replace(load, dsn=destination_db)
        contract = load.prepare()
        receipts = load.fill(contract, TWO)
        session = load.leader._session.in_use
        time.sleep(0.5)  # longer than idle_session_timeout
        assert finalize(load.leader, contract, receipts).publish == "swap"
        assert load.leader._session.in_use is session
        assert differences(before, catalog_of(destination_db, "raw", "orders")) == {}
        run(destination_db, "CREATE VIEW raw.v AS SELECT id FROM raw.orders")
        assert load.publish(TWO).publish == "in_place"


def test_a_publication_of_everything_is_told(destination_db: str) -> None:
    """It publishes the ledger too."""
    run(destination_db, ORDERS + "CREATE PUBLICATION pub FOR ALL TABLES")
    with lead(destination_db, "orders") as load:
        (warning,) = load.stream_plan().warnings
    assert warning.startswith("publication pub publishes every table, those of schema _rapidbyte too: ")


# --- a COMMIT whose acknowledgement is lost


def test_a_commit_whose_answer_is_lost_is_looked_up_and_found_published(destination_db: str) -> None:
    """The rows are there once, the report is that of a publish (C4)."""
    run(destination_db, ORDERS)
    with proxied(destination_db) as proxy, lead(proxy.dsn, "orders") as load:
        contract = load.prepare()
        receipts = load.fill(contract, TWO)
        proxy.armed = "after"
        report = finalize(load.leader, contract, receipts)
        assert proxy.armed is None
    assert (report.publish, report.rows) == ("rename", 2)
    assert rows_of(destination_db, "SELECT count(*) FROM raw.orders") == [(2,)]


def test_a_commit_that_never_arrived_is_looked_up_and_may_be_repeated(destination_db: str) -> None:
    """Nothing is published, the engine is told to try again, and the second time it is published (C4)."""
    run(destination_db, ORDERS)
    with proxied(destination_db) as proxy, lead(proxy.dsn, "orders") as load:
        contract = load.prepare()
        receipts = load.fill(contract, TWO)
        proxy.armed = "before"
        with pytest.raises(DestinationError) as caught:
            finalize(load.leader, contract, receipts)
        assert rows_of(destination_db, "SELECT to_regclass('raw.orders')") == [(None,)]
        assert finalize(load.leader, contract, receipts).rows == 2
    context = caught.value.context
    assert (caught.value.retry, context.commit_state, context.safe_to_retry) == ("connection", "before_commit", True)
    assert rows_of(destination_db, "SELECT count(*) FROM raw.orders") == [(2,)]
    assert rows_of(destination_db, STAGES) == []


@pytest.mark.parametrize(("mode", "safe"), [("append", False), ("replace", True)])
def test_where_the_server_cannot_be_asked_the_outcome_is_unknown(
    mode: str, safe: bool, destination_db: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An append must not simply be run again; a replace may."""
    monkeypatch.setattr(outcome, "LOOK_UP_SECONDS", 0.2)
    run(destination_db, ORDERS)
    with proxied(destination_db) as proxy, lead(proxy.dsn, "orders", write_mode=mode) as load:
        contract = load.prepare()
        receipts = load.fill(contract, TWO)
        proxy.armed = "unreachable"
        with pytest.raises(DestinationError) as caught:
            finalize(load.leader, contract, receipts)
    context = caught.value.context
    assert (caught.value.code, context.commit_state, context.safe_to_retry) == (
        "commit_unknown",
        "after_commit_unknown",
        safe,
    )


def test_a_backend_that_dies_while_publishing_leaves_the_target_as_it_was(destination_db: str) -> None:
    """The next attempt opens a new connection, and publishes once (C1)."""
    run(destination_db, ORDERS)
    with lead(destination_db, "orders") as load:
        load.publish(TWO)
        contract = load.prepare()
        receipts = load.fill(contract, "VALUES (3, 'c', 3)")
        with psycopg.connect(destination_db) as blocker:
            blocker.execute("LOCK TABLE raw.orders")
            failures: list[DestinationError] = []

            def publish() -> None:
                with pytest.raises(DestinationError) as caught:
                    finalize(load.leader, contract, receipts)
                failures.append(caught.value)

            publisher = threading.Thread(target=publish)
            publisher.start()
            while not blocker.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE application_name = 'rapidbyte leader shop' AND datname = current_database()"
                " AND (wait_event_type = 'Lock' OR query LIKE '%lock_timeout%')"
            ).fetchall():
                blocker.execute("SELECT pg_stat_clear_snapshot()")
            publisher.join(60)
        assert [(each.retry, each.context.commit_state) for each in failures] == [("connection", "before_commit")]
        assert finalize(load.leader, contract, receipts).rows == 1
    assert rows_of(destination_db, "SELECT count(*) FROM raw.orders") == [(3,)]
