"""Replace by swap: the new table has all that hung on the old one."""

from __future__ import annotations

import threading
from collections.abc import Callable

import psycopg
import pytest

from rapidbyte.errors import ConfigError, DataError, DestinationError
from rapidbyte.spec import StreamSpec
from tests.kit.catalog import catalog_of, differences
from tests.postgres.leading import finalize, lead, rows_of, run

SOURCE = "CREATE SCHEMA app; CREATE TABLE app.t (id int PRIMARY KEY, a text, b numeric(10,2), c timestamptz)"

LADEN = """
CREATE SCHEMA raw;
CREATE FUNCTION raw.positive(numeric) RETURNS boolean IMMUTABLE LANGUAGE sql RETURN $1 > 0;
CREATE TABLE raw.t (
  id int CONSTRAINT "the key" PRIMARY KEY,
  a text COLLATE "C" DEFAULT 'x' || lower('Y'),
  b numeric(10,2) NOT NULL CONSTRAINT "b's" CHECK (raw.positive(b)),
  c timestamptz,
  CONSTRAINT late UNIQUE (a, c) DEFERRABLE INITIALLY DEFERRED,
  CONSTRAINT soft UNIQUE (b, id) INCLUDE (c) DEFERRABLE,
  CHECK (id > 0 AND c IS DISTINCT FROM 'infinity')
) WITH (fillfactor = 70, autovacuum_enabled = false, toast.autovacuum_enabled = false);
ALTER TABLE raw.t ADD gone int;
ALTER TABLE raw.t DROP gone;
CREATE INDEX ON raw.t (b);
CREATE UNIQUE INDEX "odd ""name"" USING" ON raw.t USING btree (lower(a) DESC NULLS LAST, id) WHERE b > 1;
CREATE INDEX brinny ON raw.t USING brin (c) WITH (pages_per_range = 8);
CREATE UNIQUE INDEX no_nulls ON raw.t (c, id) NULLS NOT DISTINCT;
CREATE INDEX hashed ON raw.t USING hash (a);
COMMENT ON TABLE raw.t IS 'it''s "here"';
COMMENT ON COLUMN raw.t.a IS 'a column';
COMMENT ON INDEX raw.brinny IS 'an index';
COMMENT ON INDEX raw."the key" IS 'an index with a constraint';
COMMENT ON CONSTRAINT "the key" ON raw.t IS 'a key';
COMMENT ON CONSTRAINT "b's" ON raw.t IS 'a check';
ALTER TABLE raw.t ALTER a SET STATISTICS 7;
ALTER TABLE raw.t ALTER a SET STORAGE EXTERNAL;
ALTER TABLE raw.t ALTER a SET COMPRESSION pglz;
ALTER TABLE raw.t ALTER b SET (n_distinct = -0.5);
INSERT INTO raw.t VALUES (1, 'old', 1, now()), (9, 'gone', 9, now());
"""

NEW = "VALUES (1, 'new', 2.5, timestamptz '2020-01-01'), (2, 'two', 3, NULL)"


def test_all_that_can_be_carried_is_as_before(destination_db: str, make_role: Callable[..., str]) -> None:
    """Indexes, keys, checks, defaults, comments, owner, grants, storage parameters, column settings (D10)."""
    owner, reader, clerk = make_role("NOLOGIN"), make_role("NOLOGIN"), make_role("NOLOGIN")
    run(destination_db, SOURCE)
    run(destination_db, LADEN)
    run(
        destination_db,
        f"GRANT CREATE, USAGE ON SCHEMA raw TO {owner}; ALTER TABLE raw.t OWNER TO {owner};"
        f"GRANT SELECT ON raw.t TO {reader}, PUBLIC; GRANT SELECT, UPDATE ON raw.t TO {clerk} WITH GRANT OPTION;"
        f"REVOKE DELETE ON raw.t FROM {owner}; GRANT UPDATE (a), SELECT (b) ON raw.t TO {reader};"
        f"ALTER DEFAULT PRIVILEGES IN SCHEMA raw GRANT ALL ON TABLES TO {reader}",
    )
    before = catalog_of(destination_db, "raw", "t")
    with lead(destination_db, "t", write_mode="replace") as load:
        plan = load.stream_plan()
        assert (plan.publish, plan.publish_reason[:36]) == ("swap", "all that is attached can be carried ")
        report = load.publish(NEW)
    assert (report.publish, report.rows, report.warnings) == ("swap", 2, ())
    assert differences(before, catalog_of(destination_db, "raw", "t")) == {}
    assert rows_of(destination_db, "SELECT id, a, b::text FROM raw.t ORDER BY id") == [
        (1, "new", "2.50"),
        (2, "two", "3.00"),
    ]
    assert rows_of(destination_db, "SELECT count(*) FROM pg_class WHERE relname LIKE '\\_rb\\_%'") == [(0,)]


def test_plan_prints_the_statements_that_a_swap_runs(destination_db: str) -> None:
    """`plan` lists every statement, with {load} where the load id will be."""
    run(destination_db, SOURCE)
    run(destination_db, "CREATE SCHEMA raw; CREATE TABLE raw.t (id int PRIMARY KEY, a text, b numeric(10,2),"
        " c timestamptz); INSERT INTO raw.t VALUES (1)")  # fmt: skip
    with lead(destination_db, "t", write_mode="replace") as load:
        statements = load.stream_plan().statements
    assert statements[1:] == (
        'CREATE UNIQUE INDEX "_rb_{load}_0" ON "raw"."_rb_{load}" USING btree (id)',
        'ALTER TABLE "raw"."_rb_{load}" ADD CONSTRAINT "_rb_{load}_0" PRIMARY KEY USING INDEX "_rb_{load}_0"',
        'ALTER TABLE "raw"."_rb_{load}" OWNER TO "postgres"',
        'DROP TABLE "raw"."t"',
        'ALTER TABLE "raw"."_rb_{load}" RENAME TO "t"',
        'ALTER TABLE "raw"."t" RENAME CONSTRAINT "_rb_{load}_0" TO "t_pkey"',
    )
    assert statements[0].startswith('CREATE TABLE "raw"."_rb_{load}" (LIKE "raw"."t" INCLUDING DEFAULTS')


def test_duplicates_leave_the_target_as_it_was(destination_db: str) -> None:
    """A unique index that cannot be built fails the load; the old rows stay."""
    run(destination_db, SOURCE)
    run(destination_db, LADEN)
    before = catalog_of(destination_db, "raw", "t")
    with lead(destination_db, "t", write_mode="replace") as load:
        contract = load.prepare()
        receipts = load.fill(contract, "VALUES (1, 'a', 1, now()), (1, 'b', 2, now())")
        with pytest.raises(DataError) as caught:
            finalize(load.leader, contract, receipts)
        load.leader.discard_stream(contract)
    assert (caught.value.context.sqlstate, caught.value.context.commit_state) == ("23505", "before_commit")
    assert "(1)" not in caught.value.message
    assert differences(before, catalog_of(destination_db, "raw", "t")) == {}
    assert rows_of(destination_db, "SELECT id FROM raw.t ORDER BY id") == [(1,), (9,)]


def test_an_empty_replace_empties_the_target(destination_db: str) -> None:
    """No rows are rows too (E9)."""
    run(destination_db, SOURCE)
    run(destination_db, LADEN)
    with lead(destination_db, "t", write_mode="replace") as load:
        report = load.publish("SELECT 1, 'a', 1.0, now() WHERE false")
    assert (report.publish, report.rows) == ("swap", 0)
    assert rows_of(destination_db, "SELECT count(*) FROM raw.t") == [(0,)]


def test_min_rows_guards_the_target(destination_db: str) -> None:
    """Fewer rows than `min_rows` are not published."""
    run(destination_db, SOURCE)
    run(destination_db, LADEN)
    spec = StreamSpec(name="t", min_rows=3)
    with lead(destination_db, "t", spec=spec, write_mode="replace") as load, pytest.raises(DataError) as caught:
        load.publish(NEW)
    assert caught.value.code == "too_few_rows"
    assert rows_of(destination_db, "SELECT id FROM raw.t ORDER BY id") == [(1,), (9,)]


ATTACHMENTS = {
    "view": "CREATE VIEW raw.v AS SELECT id FROM raw.t",
    "materialized view": "CREATE MATERIALIZED VIEW raw.m AS SELECT id FROM raw.t",
    "foreign key out": "CREATE TABLE raw.o (id int PRIMARY KEY); INSERT INTO raw.o VALUES (1), (9), (2);"
    "ALTER TABLE raw.t ADD FOREIGN KEY (id) REFERENCES raw.o",
    "foreign key in": "CREATE TABLE raw.o (id int REFERENCES raw.t)",
    "trigger": "CREATE FUNCTION raw.f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';"
    "CREATE TRIGGER g BEFORE INSERT ON raw.t FOR EACH ROW EXECUTE FUNCTION raw.f()",
    "disabled trigger": "CREATE FUNCTION raw.f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';"
    "CREATE TRIGGER g BEFORE INSERT ON raw.t FOR EACH ROW EXECUTE FUNCTION raw.f();"
    "ALTER TABLE raw.t DISABLE TRIGGER g",
    "truncate trigger": "CREATE FUNCTION raw.f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';"
    "CREATE TRIGGER g BEFORE TRUNCATE ON raw.t EXECUTE FUNCTION raw.f()",
    "rule": "CREATE TABLE raw.log (id int); CREATE RULE r AS ON INSERT TO raw.t DO ALSO INSERT INTO raw.log VALUES (1)",
    "policy": "CREATE POLICY p ON raw.t USING (true)",
    "row-level security": "ALTER TABLE raw.t ENABLE ROW LEVEL SECURITY",
    "publication": "CREATE PUBLICATION pub FOR TABLE raw.t",
    "publication of the schema": "CREATE PUBLICATION pub FOR TABLES IN SCHEMA raw",
    "publication of all": "CREATE PUBLICATION pub FOR ALL TABLES",
    "statistics": "CREATE STATISTICS raw.s ON a, b FROM raw.t",
    "identity": "ALTER TABLE raw.t ALTER id ADD GENERATED BY DEFAULT AS IDENTITY",
    "serial": "CREATE SEQUENCE raw.s OWNED BY raw.t.id; ALTER TABLE raw.t ALTER id SET DEFAULT nextval('raw.s')",
    "generated column": "ALTER TABLE raw.t ADD g numeric GENERATED ALWAYS AS (b * 2) STORED",
    "more columns": "ALTER TABLE raw.t ADD more int DEFAULT 5",
    "replica identity": "ALTER TABLE raw.t REPLICA IDENTITY FULL",
    "exclusion constraint": "ALTER TABLE raw.t ADD EXCLUDE USING btree (id WITH =)",
    "function with a body": "CREATE FUNCTION raw.n() RETURNS bigint LANGUAGE sql"
    " BEGIN ATOMIC SELECT count(*) FROM raw.t; END",
    "function of its rows": "CREATE FUNCTION raw.n(raw.t) RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "column of its rows": "CREATE TABLE raw.o (r raw.t, rs raw.t[])",
    "child": "CREATE TABLE raw.o () INHERITS (raw.t); INSERT INTO raw.o VALUES (77, 'child', 7, NULL)",
    "parent": "CREATE TABLE raw.o (id int); ALTER TABLE raw.t INHERIT raw.o",
    "clustered": "ALTER TABLE raw.t CLUSTER ON t_b_idx",
    "unlogged": "ALTER TABLE raw.t SET UNLOGGED",
    "check that is not validated": "ALTER TABLE raw.t ADD CONSTRAINT n CHECK (b < 5) NOT VALID",
    "index statistics": "CREATE INDEX x ON raw.t ((b + 1)); ALTER INDEX raw.x ALTER COLUMN 1 SET STATISTICS 7",
}


@pytest.mark.parametrize("attachment", ATTACHMENTS)
def test_what_cannot_be_carried_stays_because_the_rows_are_replaced_in_place(
    attachment: str, destination_db: str
) -> None:
    """With any of these attached the method is in_place, and everything is as before (D9, D10)."""
    run(destination_db, SOURCE)
    run(destination_db, LADEN)
    run(destination_db, ATTACHMENTS[attachment])
    before = catalog_of(destination_db, "raw", "t")
    with lead(destination_db, "t", write_mode="replace") as load:
        assert load.stream_plan().publish == "in_place", load.stream_plan().publish_reason
        report = load.publish(NEW)
    assert (report.publish, report.rows) == ("in_place", 2)
    assert differences(before, catalog_of(destination_db, "raw", "t")) == {}
    assert rows_of(destination_db, "SELECT id, a, b::text FROM ONLY raw.t ORDER BY id") == [
        (1, "new", "2.50"),
        (2, "two", "3.00"),
    ]
    with (
        lead(destination_db, "t", write_mode="replace", replace_strategy="swap") as load,
        pytest.raises(ConfigError) as caught,
    ):
        load.stream_plan()
    assert caught.value.code == "swap_impossible"


def test_grants_of_others_than_the_owner_stay(destination_db: str, make_role: Callable[..., str]) -> None:
    """A grant that a grantee has passed on has another grantor: such a table is replaced in place."""
    middle, end = make_role(), make_role()
    run(destination_db, SOURCE)
    run(destination_db, LADEN)
    run(destination_db, f"GRANT USAGE ON SCHEMA raw TO {middle}; GRANT SELECT ON raw.t TO {middle}"
        f" WITH GRANT OPTION; SET ROLE {middle};"
        f"GRANT SELECT ON raw.t TO {end}")  # fmt: skip
    before = catalog_of(destination_db, "raw", "t")
    with lead(destination_db, "t", write_mode="replace") as load:
        assert load.publish(NEW).publish == "in_place"
    assert differences(before, catalog_of(destination_db, "raw", "t")) == {}


def test_what_is_attached_while_the_load_is_under_way_stays(destination_db: str) -> None:
    """A view made between prepare and publish turns the swap into in_place, and shows the new rows (D9)."""
    run(destination_db, SOURCE)
    run(destination_db, LADEN)
    with lead(destination_db, "t", write_mode="replace") as load:
        contract = load.prepare()
        assert contract.publish == "swap"
        receipts = load.fill(contract, NEW)
        run(destination_db, "CREATE VIEW raw.v AS SELECT id FROM raw.t")
        report = finalize(load.leader, contract, receipts)
    assert report.publish == "in_place"
    assert rows_of(destination_db, "SELECT id FROM raw.v ORDER BY id") == [(1,), (2,)]
    assert rows_of(destination_db, "SELECT publish, state FROM _rapidbyte.loads") == [("in_place", "published")]
    assert report.warnings[0].startswith("published by in_place instead of swap: ")


def test_a_reader_keeps_the_swap_out_and_not_other_readers(destination_db: str) -> None:
    """With publish_timeout over the swap gives way to in_place, which readers do not keep out (D8)."""
    run(destination_db, SOURCE)
    run(destination_db, LADEN)
    with psycopg.connect(destination_db) as reader:
        reader.execute("SELECT FROM raw.t")
        with lead(destination_db, "t", write_mode="replace", publish_timeout_seconds=0.0) as load:
            report = load.publish(NEW)
        assert report.publish == "in_place"
        assert reader.execute("SELECT count(*) FROM raw.t").fetchone() == (2,)


def test_a_swap_waits_for_a_reader_to_end(destination_db: str) -> None:
    """Within publish_timeout the lock is asked for again and again; other readers pass meanwhile (C7)."""
    run(destination_db, SOURCE)
    run(destination_db, LADEN)
    with psycopg.connect(destination_db) as reader, lead(destination_db, "t", write_mode="replace") as load:
        reader.execute("SELECT FROM raw.t")
        contract = load.prepare()
        receipts = load.fill(contract, NEW)
        done: list[str] = []
        publisher = threading.Thread(target=lambda: done.append(finalize(load.leader, contract, receipts).publish))
        publisher.start()
        assert rows_of(destination_db, "SELECT count(*) FROM raw.t") == [(2,)]
        reader.commit()
        publisher.join(60)
    assert done == ["swap"]


def test_readers_see_the_old_rows_or_the_new_ones(destination_db: str) -> None:
    """Many replaces under readers at work, plain and prepared: never none, never both (D7)."""
    run(destination_db, SOURCE)
    run(destination_db, "CREATE SCHEMA raw; CREATE TABLE raw.t (id int PRIMARY KEY, a text, b numeric(10,2),"
        " c timestamptz); INSERT INTO raw.t SELECT i, '0', 1 FROM generate_series(1, 500) i")  # fmt: skip
    seen: set[tuple[int, int]] = set()
    stop = threading.Event()

    def read(prepare: bool) -> None:
        with psycopg.connect(destination_db, autocommit=True) as reader:
            while not stop.is_set():
                row = reader.execute("SELECT count(*), count(DISTINCT a) FROM raw.t", prepare=prepare).fetchone()
                assert row is not None
                seen.add(row)

    readers = [threading.Thread(target=read, args=(prepare,)) for prepare in (False, True)]
    for reader in readers:
        reader.start()
    with lead(destination_db, "t", write_mode="replace") as load:
        for number in range(1, 6):
            report = load.publish(f"SELECT i, '{number}', 1.0, NULL::timestamptz FROM generate_series(1, 500) i")
            assert report.publish == "swap"
    stop.set()
    for reader in readers:
        reader.join()
    assert seen == {(500, 1)}


@pytest.mark.parametrize(
    "change",
    [
        "DROP TABLE raw.t",
        "ALTER TABLE raw.t RENAME TO u",
        "ALTER TABLE raw.t DROP COLUMN a",
        "ALTER TABLE raw.t RENAME COLUMN a TO z",
        "ALTER TABLE raw.t ALTER b TYPE numeric(12,2)",
        "ALTER TABLE raw.t RENAME TO u; CREATE TABLE raw.t (LIKE raw.u)",
    ],
)
@pytest.mark.parametrize("strategy", ["auto", "in_place"])
def test_a_target_that_was_changed_meanwhile_is_not_published_to(
    change: str, strategy: str, destination_db: str
) -> None:
    """Another table, a column gone or of another type: the load fails, and the stage can be dropped (D14)."""
    run(destination_db, SOURCE)
    run(destination_db, LADEN)
    with lead(destination_db, "t", write_mode="replace", replace_strategy=strategy) as load:
        contract = load.prepare()
        receipts = load.fill(contract, NEW)
        run(destination_db, change)
        with pytest.raises(DestinationError) as caught:
            finalize(load.leader, contract, receipts)
        load.leader.discard_stream(contract)
    assert caught.value.code == "target_changed"
    assert rows_of(destination_db, "SELECT count(*) FROM pg_class WHERE relname LIKE '\\_rb\\_%'") == [(0,)]
    assert rows_of(destination_db, "SELECT state FROM _rapidbyte.loads") == [("discarded",)]


def test_comments_on_not_null_constraints_are_carried(destination_db: str, server_version_num: int) -> None:
    """From version 18 they have names, given or not."""
    if server_version_num < 180000:
        pytest.skip("NOT NULL constraints have no names")
    run(destination_db, SOURCE)
    run(
        destination_db,
        "CREATE SCHEMA raw; CREATE TABLE raw.t (id int, a text CONSTRAINT must NOT NULL, b numeric(10,2) NOT NULL,"
        " c timestamptz); COMMENT ON CONSTRAINT must ON raw.t IS 'it''s needed';"
        " COMMENT ON CONSTRAINT t_b_not_null ON raw.t IS 'this one too'; INSERT INTO raw.t VALUES (1, 'a', 1)",
    )
    before = catalog_of(destination_db, "raw", "t")
    with lead(destination_db, "t", write_mode="replace") as load:
        assert load.publish(NEW).publish == "swap"
    assert differences(before, catalog_of(destination_db, "raw", "t")) == {}


def test_an_index_that_cannot_be_built_is_told_by_its_own_name(destination_db: str) -> None:
    """Not by the name that it has on the stage for the time being."""
    run(destination_db, SOURCE)
    run(
        destination_db,
        "CREATE SCHEMA raw; CREATE TABLE raw.t (id int, a text, b numeric(10,2), c timestamptz);"
        " CREATE UNIQUE INDEX one_b ON raw.t (b); ALTER TABLE raw.t ADD CONSTRAINT one_a UNIQUE (a);"
        " INSERT INTO raw.t VALUES (1, 'a', 1)",
    )
    for rows, name in (
        ("VALUES (1, 'x', 1, now()), (2, 'x', 2, now())", "one_a"),
        ("VALUES (1, 'x', 1, now()), (2, 'y', 1, now())", "one_b"),
    ):
        with lead(destination_db, "t", write_mode="replace") as load, pytest.raises(DataError) as caught:
            load.publish(rows)
        assert f'could not create unique index "{name}"' in caught.value.message
        assert (caught.value.context.table, "_rb_" in caught.value.message) == ("raw.t", False)


def test_an_autovacuum_of_the_target_is_ended_and_not_waited_for(destination_db: str, server_dsn: str) -> None:
    """The server ends its own VACUUM for who has waited deadlock_timeout, which no try of 200 ms has (D8)."""
    run(destination_db, SOURCE)
    run(
        destination_db,
        "CREATE SCHEMA raw; CREATE TABLE raw.t (id int PRIMARY KEY, a text, b numeric(10,2), c timestamptz)",
    )
    run(
        destination_db,
        "ALTER TABLE raw.t SET (autovacuum_vacuum_threshold = 0, autovacuum_vacuum_scale_factor = 0,"
        " autovacuum_vacuum_cost_delay = 100, autovacuum_vacuum_cost_limit = 1)",
    )
    run(destination_db, "INSERT INTO raw.t SELECT i, 'old', 1 FROM generate_series(1, 100000) i; DELETE FROM raw.t")
    with psycopg.connect(server_dsn, autocommit=True) as watcher:
        watcher.execute("ALTER SYSTEM SET autovacuum_naptime = 1")
        watcher.execute("SELECT pg_reload_conf()")
        try:
            while watcher.execute(AUTOVACUUM).fetchone() is None:
                watcher.execute("SELECT pg_sleep(0.05)")
            with lead(destination_db, "t", write_mode="replace", publish_timeout_seconds=20.0) as load:
                report = load.publish(NEW)
        finally:
            watcher.execute("ALTER SYSTEM RESET autovacuum_naptime")
            watcher.execute("SELECT pg_reload_conf()")
    assert report.publish == "swap"
    assert rows_of(destination_db, "SELECT a FROM raw.t ORDER BY id") == [("new",), ("two",)]


AUTOVACUUM = (
    "SELECT FROM pg_stat_activity a JOIN pg_locks l ON l.pid = a.pid AND l.granted"
    " WHERE a.backend_type = 'autovacuum worker' AND a.query LIKE '%raw.t%'"
    " AND l.mode = 'ShareUpdateExclusiveLock'"
)
