"""Upsert: the stage is merged by key, once, under one lock; what is not carried, and what did not change, stays."""

from __future__ import annotations

import threading
from collections.abc import Callable

import psycopg
import pytest

from rapidbyte.errors import ConfigError, DataError, PrivilegeError
from rapidbyte.spec import StreamSpec
from tests.kit.catalog import catalog_of, differences
from tests.postgres.leading import finalize, lead, rows_of, run

SOURCE = "CREATE SCHEMA app; CREATE TABLE app.t (id int, a text, b numeric, at timestamptz);"
TARGET = (
    SOURCE
    + """
CREATE SCHEMA raw;
CREATE TABLE raw.t (id int, a text, b numeric, at timestamptz, mine text DEFAULT 'new', twice int GENERATED ALWAYS
    AS (id * 2) STORED);
INSERT INTO raw.t VALUES (1, 'one', 1, NULL, 'kept'), (2, 'two', 2, NULL, 'kept'), (3, 'three', 3, NULL, 'kept');
"""
)
BY_ID = StreamSpec(name="t", write_mode="upsert", primary_key=("id",))
BY_TIME = StreamSpec(name="t", write_mode="upsert", primary_key=("id",), cursor_field="at", tie_breaker_field="b")
NEW = "VALUES (1, 'one', 1.0, NULL::timestamptz), (2, 'two', 2, NULL), (4, 'four', 4, NULL)"
ALL = "SELECT id, a, b::text, mine, twice FROM raw.t ORDER BY id, a"


def test_known_keys_are_updated_where_they_differ_and_others_are_added(destination_db: str) -> None:
    """Without any unique index; what did not change to the byte is not written; 3 stays, its key is not in the load."""
    run(destination_db, TARGET)
    before = dict(rows_of(destination_db, "SELECT id, ctid::text FROM raw.t"))
    with lead(destination_db, "t", spec=BY_ID) as load:
        plan = load.stream_plan()
        assert (plan.publish, plan.publish_reason, plan.primary_key) == (
            "merge",
            "upsert into an existing table",
            ("id",),
        )
        report = load.publish(NEW)
    assert (report.publish, report.rows, report.warnings) == ("merge", 3, ())
    assert rows_of(destination_db, ALL) == [
        (1, "one", "1.0", "kept", 2),
        (2, "two", "2", "kept", 4),
        (3, "three", "3", "kept", 6),
        (4, "four", "4", "new", 8),
    ]
    after = dict(rows_of(destination_db, "SELECT id, ctid::text FROM raw.t"))
    assert (after[2], after[3], after[1] == before[1]) == (before[2], before[3], False)
    assert rows_of(destination_db, "SELECT count(*) FROM pg_class WHERE relname LIKE '\\_rb\\_%'") == [(0,)]


def test_the_same_load_again_changes_nothing(destination_db: str) -> None:
    """Not a row is written."""
    run(destination_db, TARGET)
    for _ in range(2):
        with lead(destination_db, "t", spec=BY_ID) as load:
            load.publish(NEW)
        places = rows_of(destination_db, "SELECT id, ctid::text, xmin::text FROM raw.t ORDER BY 1")
    with lead(destination_db, "t", spec=BY_ID) as load:
        load.publish(NEW)
    assert rows_of(destination_db, "SELECT id, ctid::text, xmin::text FROM raw.t ORDER BY 1") == places


def test_a_missing_target_is_created_with_its_key(destination_db: str) -> None:
    """One row a key all the same; the second load merges into it."""
    run(destination_db, SOURCE)
    with lead(destination_db, "t", spec=BY_TIME) as load:
        report = load.publish(
            "VALUES (1, 'old', 1, '2020-01-01'::timestamptz), (1, 'new', 1, '2021-01-01'), (2, 'x', 1, NULL)"
        )
    assert (report.publish, report.rows) == ("rename", 2)
    assert report.warnings == ("1 row of stream t repeated the key id: the greatest at, b counted",)
    key = "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = 'raw.t'::regclass AND contype = 'p'"
    assert rows_of(destination_db, key) == [("PRIMARY KEY (id)",)]
    with lead(destination_db, "t", spec=BY_TIME) as load:
        assert load.publish("VALUES (2, 'y', 1, NULL::timestamptz)").publish == "merge"
    assert rows_of(destination_db, "SELECT id, a FROM raw.t ORDER BY 1") == [(1, "new"), (2, "y")]


@pytest.mark.parametrize("turn", [1, -1])
def test_the_greatest_cursor_and_tie_breaker_win(turn: int, destination_db: str) -> None:
    """In whichever order the rows came; NULL is the least (B15)."""
    run(destination_db, TARGET)
    rows = [
        "(1, 'late', 1, '2021-01-01')",
        "(1, 'early', 9, '2020-01-01')",
        "(1, 'none', 9, NULL)",
        "(2, 'tie low', 1.5, '2020-01-01')",
        "(2, 'tie high', 12, '2020-01-01')",
        "(2, 'tie none', NULL, '2020-01-01')",
        "(5, 'only', 1, NULL)",
    ]
    with lead(destination_db, "t", spec=BY_TIME) as load:
        values = ", ".join(["(0, '', 0::numeric, NULL::timestamptz)", *rows[::turn]])
        report = load.publish(f"SELECT * FROM (VALUES {values}) v WHERE column1 > 0")
    assert report.rows == 3
    assert rows_of(destination_db, "SELECT id, a FROM raw.t WHERE id <> 3 ORDER BY id") == [
        (1, "late"),
        (2, "tie high"),
        (5, "only"),
    ]


TWICE = """VALUES (7, 'secret-a', 1, NULL::timestamptz), (7, 'secret-b', 1, NULL),
(8, 'c', 1, NULL), (8, 'd', 1, NULL), (8, 'e', 1, NULL)"""


@pytest.mark.parametrize("spec", [BY_ID, BY_TIME])
def test_repeated_keys_without_a_greater_cursor_are_refused(spec: StreamSpec, destination_db: str) -> None:
    """Exit 5 with the count; the keys are row values, shown on demand alone. Nothing is changed (B15, G6)."""
    run(destination_db, TARGET)
    before = rows_of(destination_db, ALL)
    with lead(destination_db, "t", spec=spec) as load, pytest.raises(DataError) as caught:
        load.publish(TWICE)
    tie = ", with equal at, b," if spec.cursor_field else ""
    assert (caught.value.message, caught.value.code) == (f"stream t: 3 rows repeat{tie} the key id", "key_duplicate")
    assert (caught.value.exit_code, caught.value.context.row_detail) == (5, "keys: (7), (8)")
    assert rows_of(destination_db, ALL) == before


def test_any_of_the_rows_of_a_key_is_taken_where_that_is_asked_for(destination_db: str) -> None:
    """`on_duplicate_key: any`: one of them, with a warning that counts the others."""
    run(destination_db, TARGET)
    spec = StreamSpec(name="t", write_mode="upsert", primary_key=("id",), on_duplicate_key="any")
    with lead(destination_db, "t", spec=spec) as load:
        report = load.publish(TWICE)
    assert (report.rows, report.warnings) == (
        2,
        ("3 rows of stream t repeated the key id: any of them was taken",),
    )
    assert rows_of(destination_db, "SELECT id, count(*) FROM raw.t WHERE id > 6 GROUP BY 1 ORDER BY 1") == [
        (7, 1),
        (8, 1),
    ]


def test_null_in_the_key_is_refused_with_the_count(destination_db: str) -> None:
    """Exit 5: it equals nothing, and would be added again by every load (B16)."""
    run(destination_db, TARGET)
    with lead(destination_db, "t", spec=BY_ID) as load, pytest.raises(DataError) as caught:
        load.publish("VALUES (NULL::int, 'x', 1, NULL::timestamptz), (1, 'y', 1, NULL), (NULL, 'z', 1, NULL)")
    assert (caught.value.message, caught.value.code) == ("stream t: 2 rows have NULL in the key id", "key_null")
    assert rows_of(destination_db, "SELECT count(*) FROM raw.t WHERE a IN ('x', 'y', 'z')") == [(0,)]


def test_the_key_is_the_streams_else_the_destinations_else_the_sources(destination_db: str) -> None:
    """And refused where none of them has one (A6)."""
    run(destination_db, TARGET)
    bare = StreamSpec(name="t", write_mode="upsert")
    with lead(destination_db, "t", spec=bare) as load, pytest.raises(ConfigError) as caught:
        load.stream_plan()
    assert (caught.value.code, caught.value.exit_code) == ("key_unusable", 2)
    with lead(destination_db, "t", spec=bare, primary_key=("a",)) as load:
        assert load.stream_plan().primary_key == ("a",)
    with lead(destination_db, "t", spec=BY_ID, primary_key=("a",)) as load:
        assert load.stream_plan().primary_key == ("id",)
    run(destination_db, "ALTER TABLE app.t ADD PRIMARY KEY (b, id)")
    with lead(destination_db, "t", spec=bare) as load:
        assert (load.stream_plan().primary_key, load.stream_plan().replace.key) == (("b", "id"), ("b", "id"))
    with lead(destination_db, "t", spec=bare, columns=("id", "a")) as load:
        assert load.shape.primary_key == ("b", "id")


@pytest.mark.parametrize(
    ("source", "key", "message"),
    [
        ("id int, j json", "j", "cannot be upserted by j: its type json has no equality"),
        ("id int, twice int", "twice", "does not load twice, of its key"),
        ("id int, p point", "p", "cannot be upserted by p: its type point has no equality"),
    ],
)
def test_a_key_that_cannot_be_compared_is_refused_before_anything_is_loaded(
    source: str, key: str, message: str, destination_db: str
) -> None:
    """A6, exit 2."""
    run(destination_db, f"CREATE SCHEMA app; CREATE TABLE app.t ({source}); CREATE SCHEMA raw;")
    run(destination_db, "CREATE TABLE raw.t (id int, j json, p point, twice int GENERATED ALWAYS AS (id * 2) STORED)")
    spec = StreamSpec(name="t", write_mode="upsert", primary_key=(key,))
    with lead(destination_db, "t", spec=spec) as load, pytest.raises(ConfigError, match=message) as caught:
        load.stream_plan()
    assert caught.value.exit_code == 2


def test_all_that_hangs_on_the_target_stays_and_triggers_fire(destination_db: str) -> None:
    """Views, foreign keys, comments; the result names the trigger; its ON DELETE does not fire."""
    run(destination_db, TARGET)
    run(
        destination_db,
        "ALTER TABLE raw.t ADD PRIMARY KEY (id); CREATE VIEW raw.v AS SELECT * FROM raw.t;"
        "CREATE TABLE raw.child (t int REFERENCES raw.t ON DELETE CASCADE); INSERT INTO raw.child VALUES (1), (2);"
        "CREATE TABLE raw.log (what text); COMMENT ON COLUMN raw.t.a IS 'it';"
        "CREATE FUNCTION raw.note() RETURNS trigger LANGUAGE plpgsql AS"
        " 'BEGIN INSERT INTO raw.log VALUES (TG_OP || NEW.id); RETURN NEW; END';"
        "CREATE TRIGGER noted BEFORE INSERT OR UPDATE ON raw.t FOR EACH ROW EXECUTE FUNCTION raw.note()",
    )
    before = catalog_of(destination_db, "raw", "t")
    with lead(destination_db, "t", spec=BY_ID) as load:
        report = load.publish(NEW)
    assert report.warnings == ("merge fires the triggers of raw.t: noted",)
    assert differences(before, catalog_of(destination_db, "raw", "t")) == {}
    assert rows_of(destination_db, "SELECT what FROM raw.log ORDER BY 1") == [("INSERT4",), ("UPDATE1",)]
    assert rows_of(destination_db, "SELECT count(*) FROM raw.child") == [(2,)]


@pytest.mark.parametrize("operation", ["INSERT", "UPDATE"])
def test_a_trigger_that_swallows_rows_is_noticed(operation: str, destination_db: str) -> None:
    """B19."""
    run(destination_db, TARGET)
    run(
        destination_db,
        "CREATE FUNCTION raw.no() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';"
        f"CREATE TRIGGER no BEFORE {operation} ON raw.t FOR EACH ROW EXECUTE FUNCTION raw.no()",
    )
    before = rows_of(destination_db, ALL)
    with lead(destination_db, "t", spec=BY_ID) as load, pytest.raises(DataError) as caught:
        load.publish(NEW)
    assert caught.value.code == "rows_dropped"
    assert rows_of(destination_db, ALL) == before


def test_identity_values_are_the_sources_and_partitioned_targets_are_merged(destination_db: str) -> None:
    """OVERRIDING SYSTEM VALUE; a row may move to another partition."""
    run(destination_db, SOURCE)
    run(
        destination_db,
        "CREATE SCHEMA raw; CREATE TABLE raw.t (id int GENERATED ALWAYS AS IDENTITY, a text, b numeric, at timestamptz)"
        " PARTITION BY LIST (a); CREATE TABLE raw.one PARTITION OF raw.t FOR VALUES IN ('one');"
        " CREATE TABLE raw.rest PARTITION OF raw.t DEFAULT; INSERT INTO raw.t (a, b) VALUES ('one', 1), ('two', 2)",
    )
    with lead(destination_db, "t", spec=BY_ID) as load:
        load.publish("VALUES (1, 'other', 1, NULL::timestamptz), (9, 'one', 9, NULL)")
    assert rows_of(destination_db, "SELECT tableoid::regclass::text, id, a FROM raw.t ORDER BY 2") == [
        ("raw.rest", 1, "other"),
        ("raw.rest", 2, "two"),
        ("raw.one", 9, "one"),
    ]


def test_unique_values_may_move_between_rows(destination_db: str) -> None:
    """Resolved by deleting and inserting the rows that changed."""
    run(destination_db, TARGET + "ALTER TABLE raw.t ADD UNIQUE (a)")
    with lead(destination_db, "t", spec=BY_ID) as load:
        load.publish("VALUES (1, 'two', 1, NULL::timestamptz), (2, 'one', 2, NULL)")
    assert rows_of(destination_db, ALL)[:2] == [(1, "two", "1", "kept", 2), (2, "one", "2", "kept", 4)]


def test_a_target_that_repeats_a_key_has_all_its_rows_updated(destination_db: str) -> None:
    """Nothing is added for a key that is there; a NULL there equals nothing."""
    run(destination_db, TARGET + "INSERT INTO raw.t VALUES (1, 'again'), (NULL, 'nobody')")
    with lead(destination_db, "t", spec=BY_ID) as load:
        load.publish("VALUES (1, 'both', 0, NULL::timestamptz)")
    assert rows_of(destination_db, "SELECT id, a FROM raw.t WHERE id = 1 OR id IS NULL ORDER BY 1, 2") == [
        (1, "both"),
        (1, "both"),
        (None, "nobody"),
    ]


def test_an_empty_load_changes_nothing(destination_db: str) -> None:
    """E8."""
    run(destination_db, TARGET)
    before = rows_of(destination_db, "SELECT *, ctid FROM raw.t ORDER BY id")
    with lead(destination_db, "t", spec=BY_ID) as load:
        report = load.publish("SELECT 1, '', 1, now() WHERE false")
    assert (report.publish, report.rows) == ("merge", 0)
    assert rows_of(destination_db, "SELECT *, ctid FROM raw.t ORDER BY id") == before


def test_writers_wait_while_readers_pass_and_see_old_or_new(destination_db: str) -> None:
    """SHARE ROW EXCLUSIVE: a writer's row is not lost, a reader is not held up."""
    run(destination_db, TARGET)
    with psycopg.connect(destination_db) as writer, psycopg.connect(destination_db, autocommit=True) as reader:
        writer.execute("INSERT INTO raw.t (id, a) VALUES (4, 'the writer''s')")
        with lead(destination_db, "t", spec=BY_ID) as load:
            contract = load.prepare()
            receipts = load.fill(contract, NEW)
            done = threading.Thread(target=finalize, args=(load.leader, contract, receipts))
            done.start()
            assert reader.execute("SELECT array_agg(id ORDER BY id) FROM raw.t").fetchone() == ([1, 2, 3],)
            writer.commit()
            done.join()
        assert reader.execute("SELECT array_agg(id ORDER BY id) FROM raw.t").fetchone() == ([1, 2, 3, 4],)
    assert rows_of(destination_db, "SELECT a FROM raw.t WHERE id = 4") == [("four",)]


def test_what_a_merge_needs_is_asked_for_by_name(destination_db: str, make_role: Callable[..., str]) -> None:
    """SELECT, INSERT and UPDATE, and not DELETE (G12)."""
    role = make_role()
    run(destination_db, TARGET)
    run(
        destination_db,
        f"GRANT USAGE ON SCHEMA raw TO {role}; GRANT CREATE ON DATABASE {database(destination_db)} TO {role}",
    )
    with lead(destination_db, "t", spec=BY_ID) as load:
        plan = load.plan()
    as_role = destination_db.replace("postgres@", f"{role}@")
    with lead(as_role, "t", source=destination_db, spec=BY_ID) as load, pytest.raises(PrivilegeError) as caught:
        load.leader.check_privileges(plan)
    assert caught.value.hint == f'GRANT SELECT, INSERT, UPDATE ON TABLE "raw"."t" TO "{role}";'


def database(dsn: str) -> str:
    """Its name."""
    return psycopg.conninfo.conninfo_to_dict(dsn)["dbname"]


def test_a_hostile_operator_in_the_search_path_is_not_called(destination_db: str) -> None:
    """Every operator is qualified (F11)."""
    run(destination_db, TARGET)
    run(
        destination_db,
        "CREATE SCHEMA evil; CREATE FUNCTION evil.eq(int, int) RETURNS boolean LANGUAGE plpgsql AS"
        " 'BEGIN RAISE ''called''; END'; CREATE OPERATOR evil.= (FUNCTION = evil.eq, LEFTARG = int, RIGHTARG = int);"
        f" ALTER DATABASE {database(destination_db)} SET search_path = evil, pg_catalog, public",
    )
    with lead(destination_db, "t", spec=BY_ID) as load:
        assert load.publish(NEW).publish == "merge"
