"""Replace in place: the rows change, the table and all that hangs on it stays; only what differs is written."""

from __future__ import annotations

import psycopg
import pytest

from rapidbyte.errors import DataError, DestinationError
from rapidbyte.spec import StreamSpec
from tests.kit.catalog import catalog_of, differences
from tests.postgres.leading import finalize, lead, rows_of, run

SOURCE = "CREATE SCHEMA app; CREATE TABLE app.t (id int PRIMARY KEY, a text, b numeric);"
TARGET = (
    SOURCE
    + """
CREATE SCHEMA raw;
CREATE TABLE raw.t (id int PRIMARY KEY, a text UNIQUE, b numeric);
INSERT INTO raw.t VALUES (1, 'one', 1), (2, 'two', 2), (3, 'three', 3);
CREATE VIEW raw.v AS SELECT * FROM raw.t;
"""
)
NEW = "VALUES (1, 'one', 1.0), (2, 'two', 2), (4, 'four', 4)"


def test_only_what_differs_is_written(destination_db: str) -> None:
    """Rows that are the same to the byte keep their place; 1 and 1.0 are different bytes."""
    run(destination_db, TARGET)
    before = dict(rows_of(destination_db, "SELECT id, ctid::text FROM raw.t"))
    with lead(destination_db, "t", write_mode="replace") as load:
        assert load.stream_plan().publish_reason == "view raw.v depends on it"
        assert load.publish(NEW).publish == "in_place"
    after = dict(rows_of(destination_db, "SELECT id, ctid::text FROM raw.t"))
    assert rows_of(destination_db, "SELECT id, a, b::text FROM raw.v ORDER BY 1") == [
        (1, "one", "1.0"),
        (2, "two", "2"),
        (4, "four", "4"),
    ]
    assert after[2] == before[2]
    assert after[1] != before[1]


def test_readers_see_the_old_rows_or_the_new_ones_at_every_isolation_level(destination_db: str) -> None:
    """An old snapshot keeps the old rows, also one that first looks afterwards; a new statement sees the new ones."""
    run(destination_db, TARGET)
    with psycopg.connect(destination_db) as repeatable, psycopg.connect(destination_db) as committed:
        repeatable.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        repeatable.execute("SELECT FROM app.t")
        committed.execute("SELECT FROM raw.v")
        with lead(destination_db, "t", write_mode="replace") as load:
            contract = load.prepare()
            receipts = load.fill(contract, NEW)
            assert committed.execute("SELECT array_agg(id ORDER BY id) FROM raw.v").fetchone() == ([1, 2, 3],)
            finalize(load.leader, contract, receipts)
        assert repeatable.execute("SELECT array_agg(id ORDER BY id) FROM raw.t").fetchone() == ([1, 2, 3],)
        assert repeatable.execute("SELECT array_agg(id ORDER BY id) FROM raw.v").fetchone() == ([1, 2, 3],)
        assert committed.execute("SELECT array_agg(id ORDER BY id) FROM raw.v").fetchone() == ([1, 2, 4],)


def test_deletes_cascade_for_rows_that_are_really_gone_alone(destination_db: str) -> None:
    """An inbound foreign key's ON DELETE CASCADE fires for row 3 only (D11)."""
    run(destination_db, TARGET)
    run(
        destination_db,
        "CREATE TABLE raw.child (t int REFERENCES raw.t ON DELETE CASCADE); INSERT INTO raw.child VALUES (1), (2), (3)",
    )
    with lead(destination_db, "t", write_mode="replace") as load:
        load.publish(NEW)
    assert rows_of(destination_db, "SELECT t FROM raw.child ORDER BY 1") == [(1,), (2,)]


def test_a_foreign_key_that_refuses_keeps_the_target_as_it_was(destination_db: str) -> None:
    """A row that is still referenced cannot go: exit 5, the constraint named, no values shown."""
    run(destination_db, TARGET)
    run(destination_db, "CREATE TABLE raw.child (t int REFERENCES raw.t); INSERT INTO raw.child VALUES (3)")
    with lead(destination_db, "t", write_mode="replace") as load, pytest.raises(DataError) as caught:
        load.publish(NEW)
    assert caught.value.context.sqlstate == "23503"
    assert "child_t_fkey" in caught.value.message
    assert rows_of(destination_db, "SELECT id FROM raw.t ORDER BY 1") == [(1,), (2,), (3,)]


def test_a_deferred_foreign_key_refuses_before_the_commit(destination_db: str) -> None:
    """Deferred constraints are checked before COMMIT, so that a COMMIT fails only with the connection."""
    run(destination_db, TARGET)
    run(
        destination_db,
        "CREATE TABLE raw.child (t int REFERENCES raw.t DEFERRABLE INITIALLY DEFERRED);"
        "INSERT INTO raw.child VALUES (3)",
    )
    with lead(destination_db, "t", write_mode="replace") as load, pytest.raises(DataError) as caught:
        load.publish(NEW)
    assert (caught.value.context.sqlstate, caught.value.context.commit_state) == ("23503", "before_commit")
    assert rows_of(destination_db, "SELECT count(*) FROM raw.t") == [(3,)]


def test_unique_values_may_move_between_rows(destination_db: str) -> None:
    """'one' and 'two' change places, which an UPDATE cannot do (23505)."""
    run(destination_db, TARGET)
    with lead(destination_db, "t", write_mode="replace") as load:
        load.publish("VALUES (1, 'two', 1), (2, 'one', 2), (3, 'three', 3)")
    assert rows_of(destination_db, "SELECT id, a FROM raw.t ORDER BY id") == [(1, "two"), (2, "one"), (3, "three")]


def test_unique_values_that_move_are_refused_where_foreign_keys_point_here(destination_db: str) -> None:
    """Deleting would set the foreign key off: exit 5, nothing changed."""
    run(destination_db, TARGET)
    run(
        destination_db,
        "CREATE TABLE raw.child (t int REFERENCES raw.t ON DELETE CASCADE); INSERT INTO raw.child VALUES (1)",
    )
    with lead(destination_db, "t", write_mode="replace") as load, pytest.raises(DataError) as caught:
        load.publish("VALUES (1, 'two', 1), (2, 'one', 2)")
    assert caught.value.context.sqlstate == "23505"
    assert rows_of(destination_db, "SELECT count(*) FROM raw.child") == [(1,)]


RANGES = """
CREATE SCHEMA app; CREATE TABLE app.t (id int PRIMARY KEY, r int4range);
CREATE SCHEMA raw; CREATE TABLE raw.t (id int PRIMARY KEY, r int4range, EXCLUDE USING gist (r WITH &&));
INSERT INTO raw.t VALUES (1, '[1,5)'), (2, '[5,9)');
"""


def test_values_that_exclude_each_other_may_move_between_rows(destination_db: str) -> None:
    """23P01 in the update is resolved like 23505: what changed is deleted and inserted."""
    run(destination_db, RANGES)
    with lead(destination_db, "t", write_mode="replace") as load:
        load.publish("VALUES (1, int4range(5, 9)), (2, int4range(1, 5))")
    assert rows_of(destination_db, "SELECT id, r::text FROM raw.t ORDER BY 1") == [(1, "[5,9)"), (2, "[1,5)")]


def test_rows_that_exclude_each_other_are_refused_with_a_hint(destination_db: str) -> None:
    """The load's own rows overlap."""
    run(destination_db, RANGES)
    with lead(destination_db, "t", write_mode="replace") as load, pytest.raises(DataError) as caught:
        load.publish("VALUES (1, int4range(1, 5)), (2, int4range(3, 6))")
    assert (caught.value.context.sqlstate, caught.value.context.table) == ("23P01", "raw.t")
    assert caught.value.hint is not None
    assert rows_of(destination_db, "SELECT count(*) FROM raw.t WHERE r <> '[3,6)'") == [(2,)]


def test_columns_that_are_not_carried_keep_their_values_where_the_key_stays(destination_db: str) -> None:
    """Also where values move, and a new row gets the column's default."""
    run(destination_db, TARGET)
    run(destination_db, "ALTER TABLE raw.t ADD own text DEFAULT 'new'; UPDATE raw.t SET own = 'mine ' || id")
    with lead(destination_db, "t", write_mode="replace") as load:
        load.publish("VALUES (1, 'two', 1), (2, 'one', 22), (4, 'four', 4)")
    assert rows_of(destination_db, "SELECT id, a, b::text, own FROM raw.t ORDER BY id") == [
        (1, "two", "1", "mine 1"),
        (2, "one", "22", "mine 2"),
        (4, "four", "4", "new"),
    ]


@pytest.mark.parametrize(
    ("rows", "code"),
    [("VALUES (1, 'a', 1), (NULL, 'b', 2)", "key_null"), ("VALUES (1, 'a', 1), (1, 'b', 2)", "key_duplicate")],
)
def test_a_key_that_is_none_is_refused(rows: str, code: str, destination_db: str) -> None:
    """NULL or the same key twice: exit 5 with the count, nothing changed."""
    run(destination_db, TARGET + "ALTER TABLE raw.t DROP CONSTRAINT t_pkey; ALTER TABLE raw.t ALTER id DROP NOT NULL")
    spec = StreamSpec(name="t", primary_key=("id",))
    with lead(destination_db, "t", spec=spec, write_mode="replace") as load, pytest.raises(DataError) as caught:
        load.publish(rows)
    assert caught.value.code == code
    assert " 1 rows " in caught.value.message
    assert rows_of(destination_db, "SELECT id FROM raw.t ORDER BY 1") == [(1,), (2,), (3,)]


def test_without_a_key_all_rows_are_written_again(destination_db: str) -> None:
    """DELETE and INSERT; rows that are there twice stay twice."""
    run(destination_db, TARGET + "ALTER TABLE raw.t DROP CONSTRAINT t_pkey, DROP CONSTRAINT t_a_key")
    with lead(destination_db, "t", write_mode="replace") as load:
        report = load.publish("VALUES (1, 'one', 1), (1, 'one', 1)")
    assert (report.rows, report.warnings) == (2, ())
    assert rows_of(destination_db, "SELECT id, a FROM raw.t") == [(1, "one"), (1, "one")]


def test_a_key_that_the_target_breaks_is_not_used(destination_db: str) -> None:
    """Rows that share a key in the target are replaced, with a warning."""
    run(destination_db, TARGET + "ALTER TABLE raw.t DROP CONSTRAINT t_pkey, DROP CONSTRAINT t_a_key;"
        "INSERT INTO raw.t VALUES (1, 'again', 1)")  # fmt: skip
    spec = StreamSpec(name="t", primary_key=("id",))
    with lead(destination_db, "t", spec=spec, write_mode="replace") as load:
        report = load.publish(NEW)
    assert report.warnings == ("the key id is not unique in raw.t: all its rows were written again",)
    assert rows_of(destination_db, "SELECT id FROM raw.t ORDER BY id") == [(1,), (2,), (4,)]


def test_an_empty_replace_deletes_every_row(destination_db: str) -> None:
    """Provided that the read succeeded, which the engine sees to."""
    run(destination_db, TARGET)
    with lead(destination_db, "t", write_mode="replace") as load:
        assert load.publish("SELECT 1, 'a', 1 WHERE false").rows == 0
    assert rows_of(destination_db, "SELECT count(*) FROM raw.t") == [(0,)]


TRIGGER = """
CREATE TABLE raw.log (what text);
CREATE FUNCTION raw.note() RETURNS trigger LANGUAGE plpgsql AS
  'BEGIN INSERT INTO log VALUES (TG_OP); RETURN coalesce(NEW, OLD); END';
CREATE TRIGGER "note it" AFTER INSERT OR UPDATE OR DELETE ON raw.t FOR EACH ROW EXECUTE FUNCTION raw.note();
"""


def test_triggers_fire_with_the_roles_search_path_and_are_named(destination_db: str) -> None:
    """The trigger's unqualified `log` is found as in any session of this role; `warnings` names the trigger."""
    run(destination_db, TARGET + TRIGGER)
    name = rows_of(destination_db, "SELECT current_database()")[0][0]
    run(destination_db, f'ALTER DATABASE "{name}" SET search_path = raw')
    with lead(destination_db, "t", write_mode="replace") as load:
        assert load.stream_plan().warnings == ("triggers of raw.t will fire: note it",)
        report = load.publish("VALUES (1, 'ONE', 1), (2, 'two', 2), (4, 'four', 4)")
    assert report.warnings == ("in_place fires the triggers of raw.t: note it",)
    assert rows_of(destination_db, "SELECT what FROM raw.log ORDER BY 1") == [("DELETE",), ("INSERT",), ("UPDATE",)]


def test_deferred_triggers_fire_with_the_roles_search_path(destination_db: str) -> None:
    """They fire before the COMMIT, while it is in force."""
    run(destination_db, TARGET + TRIGGER)
    run(
        destination_db,
        'DROP TRIGGER "note it" ON raw.t; CREATE CONSTRAINT TRIGGER late AFTER INSERT ON raw.t DEFERRABLE'
        " INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION raw.note()",
    )
    name = rows_of(destination_db, "SELECT current_database()")[0][0]
    run(destination_db, f'ALTER DATABASE "{name}" SET search_path = raw')
    with lead(destination_db, "t", write_mode="replace") as load:
        load.publish(NEW)
    assert rows_of(destination_db, "SELECT what FROM raw.log") == [("INSERT",)]


@pytest.mark.parametrize("operation", ["INSERT", "UPDATE", "DELETE"])
def test_a_trigger_that_swallows_rows_is_noticed(operation: str, destination_db: str) -> None:
    """One row less written than there should be fails the load, and the target is as it was (B19)."""
    run(
        destination_db,
        TARGET + "CREATE FUNCTION raw.f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';"
        f"CREATE TRIGGER g BEFORE {operation} ON raw.t FOR EACH ROW EXECUTE FUNCTION raw.f()",
    )
    with lead(destination_db, "t", write_mode="replace") as load, pytest.raises(DataError) as caught:
        load.publish("VALUES (1, 'ONE', 1), (2, 'two', 2), (4, 'four', 4)")
    assert caught.value.code == "rows_dropped"
    assert rows_of(destination_db, "SELECT id, a FROM raw.t ORDER BY id") == [(1, "one"), (2, "two"), (3, "three")]


def test_a_rule_that_swallows_rows_is_noticed(destination_db: str) -> None:
    """DO INSTEAD NOTHING keeps rows away without an error."""
    run(destination_db, TARGET + "CREATE RULE r AS ON INSERT TO raw.t DO INSTEAD NOTHING")
    with lead(destination_db, "t", write_mode="replace") as load, pytest.raises(DataError) as caught:
        load.publish(NEW)
    assert caught.value.code == "rows_dropped"


def test_generated_columns_are_computed_and_identity_values_are_those_of_the_source(destination_db: str) -> None:
    """Neither is an obstacle (B17, B18); the sequence is left alone, and a warning says that it is behind."""
    run(
        destination_db,
        "CREATE SCHEMA app;"
        "CREATE TABLE app.t (id int PRIMARY KEY, a text, twice int GENERATED ALWAYS AS (id * 2) STORED);"
        "CREATE SCHEMA raw; CREATE TABLE raw.t (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, a text,"
        " twice int GENERATED ALWAYS AS (id * 2) STORED); INSERT INTO raw.t (a) VALUES ('x'), ('y')",
    )
    before = catalog_of(destination_db, "raw", "t")
    with lead(destination_db, "t", write_mode="replace") as load:
        report = load.publish("VALUES (1, 'ONE'), (70, 'seventy')")
    assert rows_of(destination_db, "SELECT * FROM raw.t ORDER BY id") == [(1, "ONE", 2), (70, "seventy", 140)]
    (warning,) = report.warnings
    assert warning == (
        "column id: values up to 70 were loaded, and sequence raw.t_id_seq stands at 2:"
        " an INSERT that takes its default may fail; setval() moves it"
    )
    assert differences(before, catalog_of(destination_db, "raw", "t")) == {}


def test_an_identity_column_beside_the_key_is_replaced_too(destination_db: str) -> None:
    """No UPDATE may set a GENERATED ALWAYS column: such rows are deleted and inserted."""
    run(
        destination_db,
        "CREATE SCHEMA app; CREATE TABLE app.t (id int PRIMARY KEY, n int); CREATE SCHEMA raw;"
        "CREATE TABLE raw.t (id int PRIMARY KEY, n int GENERATED ALWAYS AS IDENTITY, own int DEFAULT 7);"
        "INSERT INTO raw.t (id, own) VALUES (1, 8), (2, 9)",
    )
    with lead(destination_db, "t", write_mode="replace") as load:
        load.publish("VALUES (1, 100), (2, 2), (3, 3)")
    assert rows_of(destination_db, "SELECT * FROM raw.t ORDER BY id") == [(1, 100, 8), (2, 2, 9), (3, 3, 7)]


def test_a_partitioned_target_is_replaced_as_a_whole(destination_db: str) -> None:
    """Rows go to their partitions, and may move between them."""
    run(
        destination_db,
        SOURCE + "CREATE SCHEMA raw; CREATE TABLE raw.t (id int, a text, b numeric, PRIMARY KEY (id, a))"
        " PARTITION BY LIST (a); CREATE TABLE raw.t1 PARTITION OF raw.t FOR VALUES IN ('one');"
        "CREATE TABLE raw.t2 PARTITION OF raw.t DEFAULT; INSERT INTO raw.t VALUES (1, 'one', 1), (2, 'two', 2)",
    )
    spec = StreamSpec(name="t", primary_key=("id",))
    before = catalog_of(destination_db, "raw", "t")
    with lead(destination_db, "t", spec=spec, write_mode="replace") as load:
        assert load.publish("VALUES (1, 'two', 1), (2, 'one', 2)").publish == "in_place"
    assert rows_of(destination_db, "SELECT tableoid::regclass::text, id FROM raw.t ORDER BY 1") == [
        ("raw.t1", 2),
        ("raw.t2", 1),
    ]
    assert differences(before, catalog_of(destination_db, "raw", "t")) == {}


def test_rows_of_inheriting_tables_are_left_alone(destination_db: str) -> None:
    """The target is the table itself."""
    run(destination_db, TARGET + "CREATE TABLE raw.o () INHERITS (raw.t); INSERT INTO raw.o VALUES (3, 'child', 7)")
    with lead(destination_db, "t", write_mode="replace") as load:
        load.publish(NEW)
    assert rows_of(destination_db, "SELECT id, a FROM raw.o") == [(3, "child")]
    assert rows_of(destination_db, "SELECT id FROM ONLY raw.t ORDER BY 1") == [(1,), (2,), (4,)]


def test_writers_wait_while_readers_pass(destination_db: str) -> None:
    """The publish takes SHARE ROW EXCLUSIVE: a writer that is at work keeps it out until publish_timeout (D15)."""
    run(destination_db, TARGET)
    with psycopg.connect(destination_db) as writer:
        writer.execute("UPDATE raw.t SET b = 5 WHERE id = 1")
        with (
            lead(destination_db, "t", write_mode="replace", publish_timeout_seconds=0.0) as load,
            pytest.raises(DestinationError) as caught,
        ):
            load.publish(NEW)
        writer.rollback()
    assert caught.value.code == "lock_not_available"
    assert rows_of(destination_db, "SELECT id FROM raw.t ORDER BY 1") == [(1,), (2,), (3,)]


def test_a_hostile_operator_in_the_search_path_is_not_called(destination_db: str) -> None:
    """Our statements name pg_catalog's operators, whatever stands before it in the role's search_path (F11)."""
    run(
        destination_db,
        TARGET + "CREATE FUNCTION raw.never(int, int) RETURNS boolean LANGUAGE sql AS 'SELECT false';"
        "CREATE OPERATOR raw.= (LEFTARG = int, RIGHTARG = int, FUNCTION = raw.never)",
    )
    name = rows_of(destination_db, "SELECT current_database()")[0][0]
    before = rows_of(destination_db, "SELECT ctid::text FROM raw.t WHERE id OPERATOR(pg_catalog.=) 2")
    run(destination_db, f'ALTER DATABASE "{name}" SET search_path = raw, pg_catalog')
    with lead(destination_db, "t", write_mode="replace") as load:
        load.publish(NEW)
    assert rows_of(destination_db, "SELECT ctid::text FROM raw.t WHERE id OPERATOR(pg_catalog.=) 2") == before
