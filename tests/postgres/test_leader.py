"""The leader before the load: what it sees, decides, refuses, and makes."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Callable

import psycopg
import pytest
from psycopg import sql

from rapidbyte.errors import ConfigError, DestinationError, SchemaError
from rapidbyte.plan import SchemaChange
from rapidbyte.spec import SchemaPolicy, StreamSpec
from tests.kit.catalog import catalog_of
from tests.postgres.leading import finalize, lead, leader_for, open_run, rows_of, run

T = "CREATE SCHEMA app; CREATE TABLE app.t (id int PRIMARY KEY, a text NOT NULL, b numeric(10,2));"
STAGES = "SELECT relname FROM pg_class WHERE relname LIKE '\\_rb\\_%'"


def test_facts_tell_version_and_encoding(destination_db: str, server_version_num: int) -> None:
    """And the database's identity, which tells two databases of one server apart."""
    with leader_for(destination_db) as leader:
        facts = leader.facts()
    assert (facts.version_number, facts.encoding) == (server_version_num, "UTF8")
    assert facts.identity


def test_a_database_that_cannot_hold_every_text_is_refused(make_database: Callable[..., str]) -> None:
    """Exit 2."""
    database = make_database("ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C'")
    with leader_for(database) as leader, pytest.raises(ConfigError) as caught:
        leader.facts()
    assert caught.value.code == "database_encoding"


def test_an_unreachable_destination_fails_at_the_first_look(destination_db: str) -> None:
    """Exit 4, with the reason."""
    with leader_for(destination_db + "&dbname=nowhere") as leader, pytest.raises(DestinationError) as caught:
        leader.facts()
    assert caught.value.code == "database_missing"


def test_planning_changes_nothing(destination_db: str, server_log) -> None:
    """Neither schema nor ledger; and no statement but SELECT and the transactions around it reaches the server."""
    run(destination_db, T)
    server_log.watch(destination_db)
    with lead(destination_db, "t", write_mode="replace") as load:
        plan = load.plan()
        load.leader.check_privileges(plan)
    assert rows_of(destination_db, "SELECT nspname FROM pg_namespace WHERE nspname IN ('raw', '_rapidbyte')") == []
    statements = server_log.statements(destination_db, "rapidbyte leader shop")
    assert {statement.split()[0] for _, statement in statements} == {"BEGIN", "SET", "SELECT", "ROLLBACK"}


def test_plan_of_a_missing_target_lists_the_statements(destination_db: str) -> None:
    """In order, with {load} for the load id."""
    run(destination_db, T)
    with lead(destination_db, "t") as load:
        plan = load.stream_plan()
    assert plan.statements == (
        'CREATE SCHEMA "raw"',
        (
            'CREATE TABLE "raw"."_rb_{load}" (\n  "id" integer CONSTRAINT "t_id_not_null" NOT NULL,\n'
            '  "a" text CONSTRAINT "t_a_not_null" NOT NULL,\n  "b" numeric(10,2)\n)'
        ),
        'ALTER TABLE "raw"."_rb_{load}" RENAME TO "t"',
        'ALTER TABLE "raw"."t" ADD PRIMARY KEY ("id")',
    )
    assert plan.schema_changes == (
        SchemaChange(
            kind="create_table",
            after="raw.t",
            statement='CREATE TABLE "raw"."t" (\n  "id" integer NOT NULL,\n  "a" text NOT NULL,\n'
            '  "b" numeric(10,2)\n)',
        ),
    )
    assert (plan.wire, plan.primary_key) == ("binary-relay", ("id",))


def test_the_contract_is_complete_and_pickles(destination_db: str) -> None:
    """What a worker needs is there, committed, before it starts."""
    run(destination_db, T)
    with lead(destination_db, "t") as load:
        contract = load.prepare()
        assert pickle.loads(pickle.dumps(contract)) == contract
        target = contract.copy.require_complete()
        assert str(target.table) == f"raw._rb_{contract.load_id}"
        assert [column.name for column in target.columns] == ["id", "a", "b"]
        assert rows_of(destination_db, STAGES) == [(target.table.name,)]
        assert rows_of(
            destination_db,
            "SELECT load_id, pipeline, stream, target_schema, target_table, stage_schema, stage_table,"
            " write_mode, publish, state FROM _rapidbyte.loads",
        ) == [
            (
                contract.load_id,
                "shop",
                *("t", "raw", "t"),
                *("raw", target.table.name),
                *("append", "rename", "prepared"),
            )
        ]


def test_a_prepare_that_fails_leaves_nothing_behind(destination_db: str) -> None:
    """One transaction: no schema, no stage, no load."""
    run(destination_db, T)
    with lead(destination_db, "t") as load:
        plan = load.plan()
        run(destination_db, "CREATE SCHEMA raw; CREATE TABLE raw.t (x int)")
        open_run(load.leader)
        with pytest.raises(DestinationError) as caught:
            load.leader.prepare_stream(plan, plan.streams[0], "run-1")
    assert (caught.value.code, caught.value.context.stream) == ("target_changed", "t")
    assert rows_of(destination_db, "SELECT FROM _rapidbyte.loads") == []


def test_new_columns_are_added_before_the_load(destination_db: str) -> None:
    """F1: nullable, since the rows that are there have no value."""
    run(destination_db, T + "CREATE SCHEMA raw; CREATE TABLE raw.t (id int PRIMARY KEY); INSERT INTO raw.t VALUES (1)")
    with lead(destination_db, "t") as load:
        plan = load.stream_plan()
        assert [(change.kind, change.column, change.statement) for change in plan.schema_changes] == [
            ("add_column", "a", 'ALTER TABLE "raw"."t" ADD COLUMN "a" text'),
            ("add_column", "b", 'ALTER TABLE "raw"."t" ADD COLUMN "b" numeric(10,2)'),
        ]
        load.publish("VALUES (2, 'x', 1.00)")
    assert rows_of(destination_db, "SELECT id, a, b::text FROM raw.t ORDER BY id") == [
        (1, None, None),
        (2, "x", "1.00"),
    ]


def test_new_columns_come_with_a_swap(destination_db: str) -> None:
    """The stage is made after the column was added."""
    run(destination_db, T + "CREATE SCHEMA raw; CREATE TABLE raw.t (id int PRIMARY KEY); INSERT INTO raw.t VALUES (1)")
    with lead(destination_db, "t", write_mode="replace") as load:
        report = load.publish("VALUES (2, 'x', 1.00)")
    assert (report.publish, report.warnings) == ("swap", ())
    assert rows_of(destination_db, "SELECT * FROM raw.t")[0][:2] == (2, "x")


def test_a_policy_refuses_before_anything_is_made(destination_db: str) -> None:
    """Exit 6."""
    run(destination_db, T + "CREATE SCHEMA raw; CREATE TABLE raw.t (id int)")
    policy = SchemaPolicy(new_column="fail")
    with lead(destination_db, "t", schema_policy=policy) as load, pytest.raises(SchemaError) as caught:
        load.stream_plan()
    assert caught.value.exit_code == 6
    assert "column a is new" in caught.value.message


def test_a_lossy_pair_is_refused_at_plan_time(destination_db: str) -> None:
    """Naming the column, both types, and what permits it; permitted, it is listed."""
    run(destination_db, T + "CREATE SCHEMA raw; CREATE TABLE raw.t (id int, a text, b numeric(4,1))")
    with lead(destination_db, "t") as load, pytest.raises(ConfigError) as caught:
        load.stream_plan()
    for part in ("column b", "numeric(10,2)", "numeric(4,1)"):
        assert part in caught.value.message
    assert caught.value.hint == "change one of the types, or permit it with allow_lossy: [b]"
    with lead(destination_db, "t", spec=StreamSpec(name="t", allow_lossy=("b",))) as load:
        plan = load.stream_plan()
    assert (plan.lossy_columns, plan.wire) == (("b",), "text-relay")


TYPES = """
CREATE SCHEMA app;
CREATE TYPE app."Mood; x" AS ENUM ('sad', 'it''s ok');
CREATE DOMAIN app.positive AS numeric(10,2) NOT NULL CHECK (VALUE > 0);
CREATE TYPE app.pair AS (a int, m app."Mood; x");
CREATE COLLATION app.german (locale = 'C');
"""


def test_user_defined_types_are_those_of_the_destination(source_db: str, destination_db: str) -> None:
    """Enum, domain, composite, arrays of them, a collation: looked up there by name, never taken from the source."""
    run(destination_db, "CREATE TYPE shift AS (a int);" + TYPES)
    run(
        source_db,
        TYPES + 'CREATE TABLE app.t (m app."Mood; x"[], p app.positive, q app.pair, g text COLLATE app.german)',
    )
    with lead(destination_db, "t", source=source_db) as load:
        plan = load.stream_plan()
        assert [column.conversion for column in plan.columns] == ["identical"] * 4
        assert plan.wire == "text-relay"
        load.publish("""SELECT ARRAY['it''s ok']::app."Mood; x"[], 1.5, (1, 'sad')::app.pair, 'x'""")
    assert [row[2:4] for row in catalog_of(destination_db, "raw", "t")["columns"]] == [
        ('app."Mood; x"[]', False),
        ("app.positive", False),
        ("app.pair", False),
        ("text", False),
    ]
    assert catalog_of(destination_db, "raw", "t")["columns"][3][11] == "app.german"


def test_missing_types_are_refused_with_what_creates_them(source_db: str, destination_db: str) -> None:
    """Exit 2, with CREATE TYPE as the hint, which works (B21)."""
    run(source_db, TYPES + 'CREATE TABLE app.t (m app."Mood; x", g text COLLATE app.german)')
    with lead(destination_db, "t", source=source_db) as load:
        with pytest.raises(ConfigError) as caught:
            load.stream_plan()
        assert [problem.hint for problem in caught.value.problems] == [
            """run there: CREATE TYPE "app"."Mood; x" AS ENUM ('sad', 'it''s ok');""",
            "create that collation there",
        ]
        run(destination_db, "CREATE SCHEMA app; CREATE COLLATION app.german (locale = 'C');")
        run(destination_db, str(caught.value.hint).removeprefix("run there: "))
        assert load.stream_plan().publish == "rename"


def test_types_of_one_name_that_differ_are_refused(source_db: str, destination_db: str) -> None:
    """For a column that is created, and for one that is there."""
    run(source_db, "CREATE SCHEMA app; CREATE TYPE app.mood AS ENUM ('sad', 'ok'); CREATE TABLE app.t (m app.mood)")
    run(destination_db, "CREATE SCHEMA app; CREATE TYPE app.mood AS ENUM ('sad')")
    for table in ("", "CREATE SCHEMA raw; CREATE TABLE raw.t (m app.mood, n int)"):
        run(destination_db, table or "SELECT")
        with lead(destination_db, "t", source=source_db) as load, pytest.raises(ConfigError) as caught:
            load.stream_plan()
        assert "app.mood" in caught.value.message


@pytest.mark.parametrize(
    "kind", ["VIEW raw.t AS SELECT 1 AS id", "MATERIALIZED VIEW raw.t AS SELECT 1 AS id", "SEQUENCE raw.t"]
)
def test_a_target_that_is_no_table_is_refused(kind: str, destination_db: str) -> None:
    """A view, a materialized view, a sequence: exit 2."""
    run(destination_db, T + f"CREATE SCHEMA raw; CREATE {kind}")
    with lead(destination_db, "t") as load, pytest.raises(ConfigError) as caught:
        load.stream_plan()
    assert caught.value.code == "target_kind"


HOSTILE = [
    'a"; drop table victim; --',
    "a'; drop table victim; --",
    "{load}",
    "%s %(a)s %",
    "select",
    "user",
    "Ünïcödé 🚀",
    "x" * 63,
    "é" * 31,
    "1st",
    "with.dot",
    " space ",
    "line\nbreak",
    "back\\slash",
    "$$",
    "_rb_stage",
    "::int",
]


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("mode", ["append", "replace"])
def test_hostile_names_are_names(name: str, mode: str, destination_db: str) -> None:
    """As schema, table, column, key and constraint; loaded twice: created, then inserted into or swapped (F8, G1)."""
    quoted = sql.Identifier(name)
    with psycopg.connect(destination_db, autocommit=True) as connection:
        connection.execute("CREATE TABLE public.victim ()")
        connection.execute("CREATE SCHEMA app")
        connection.execute(sql.SQL("CREATE TABLE app.{} ({} text PRIMARY KEY, b int)").format(quoted, quoted))
    with lead(destination_db, name, write_mode=mode, into=name) as load:
        assert load.publish("VALUES ('one', 1)").publish == "rename"
        second = load.publish("VALUES ('two', 2)")
        assert second.publish == ("insert" if mode == "append" else "swap")
    with psycopg.connect(destination_db) as connection:
        found = connection.execute(sql.SQL("SELECT {} FROM {} ORDER BY 1").format(quoted, sql.Identifier(name, name)))
        assert found.fetchall() == ([("one",), ("two",)] if mode == "append" else [("two",)])
        assert connection.execute("SELECT count(*) FROM public.victim").fetchone() == (0,)


@pytest.mark.parametrize("name", ["x" * 64, "é" * 32, "a\x00b", ""])
@pytest.mark.parametrize("slot", ["table", "schema"])
def test_names_that_the_server_would_cut_are_refused(name: str, slot: str, destination_db: str) -> None:
    """63 bytes, not characters; no NUL, which would cut the name in silence (F7, F10)."""
    run(destination_db, T)
    target = name if slot == "table" else f"{name}.t"
    spec = StreamSpec(name="t", target=target)
    with lead(destination_db, "t", spec=spec) as load, pytest.raises(ConfigError) as caught:
        load.stream_plan()
    assert caught.value.code == "target_name"


@pytest.mark.parametrize("target", ["_rapidbyte.t", "pg_catalog.t"])
def test_reserved_schemas_are_refused(target: str, destination_db: str) -> None:
    """The ledger's and the server's."""
    run(destination_db, T)
    with lead(destination_db, "t", spec=StreamSpec(name="t", target=target)) as load, pytest.raises(ConfigError):
        load.stream_plan()


@pytest.mark.parametrize(
    ("spec", "changes"),
    [
        (StreamSpec(name="t", sync_mode="cdc"), {}),
        (StreamSpec(name="t"), {"schema_policy": SchemaPolicy(type_change="null")}),
    ],
)
def test_what_is_not_built_yet_is_refused(spec: StreamSpec, changes: dict[str, object], destination_db: str) -> None:
    """With a clear word, exit 2."""
    run(destination_db, T)
    with lead(destination_db, "t", spec=spec, **changes) as load, pytest.raises(ConfigError) as caught:
        load.stream_plan()
    assert caught.value.code == "not_supported_yet"


def test_a_key_that_the_stream_lacks_is_refused(destination_db: str) -> None:
    """A6."""
    run(destination_db, T)
    spec = StreamSpec(name="t", primary_key=("nope",))
    with lead(destination_db, "t", spec=spec) as load, pytest.raises(ConfigError) as caught:
        load.stream_plan()
    assert caught.value.code == "key_column_missing"


@pytest.mark.parametrize("ledger", ["fresh", "there"])
def test_eight_leaders_prepare_into_one_fresh_schema_at_once(ledger: str, destination_db: str) -> None:
    """All succeed, and none has to try twice (D4), whether or not the ledger is fresh too."""
    run(
        destination_db, "CREATE SCHEMA app;" + "".join(f"CREATE TABLE app.t{i} (id int PRIMARY KEY);" for i in range(8))
    )
    if ledger == "there":
        run(destination_db, "CREATE TABLE app.first (id int PRIMARY KEY)")
        with lead(destination_db, "first", into="elsewhere") as load:
            load.publish("VALUES (1)")
    barrier = threading.Barrier(8)
    outcomes: list[tuple[str, int]] = []

    def work(number: int) -> None:
        with lead(destination_db, f"t{number}", pipeline=f"shop{number}") as load:
            plan = load.plan()
            barrier.wait()
            open_run(load.leader)
            contract = load.leader.prepare_stream(plan, plan.streams[0], "run-1")
            report = finalize(load.leader, contract, load.fill(contract, "VALUES (1)"))
            outcomes.append((report.publish, load.leader.ddl_race_retries))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes == [("rename", 0)] * 8
    assert rows_of(destination_db, "SELECT count(*) FROM _rapidbyte.loads WHERE state = 'published'") == [
        (8 + (ledger == "there"),)
    ]


def test_leaders_prepare_one_schema_one_after_the_other(destination_db: str) -> None:
    """The second waits for an advisory lock, and finds what the first has made: no race at all."""
    run(destination_db, T)
    with psycopg.connect(destination_db) as first, lead(destination_db, "t") as load:
        plan = load.plan()
        open_run(load.leader)
        first.execute("SELECT pg_advisory_xact_lock(hashtextextended('rapidbyte schema raw', 0))")
        first.execute("CREATE SCHEMA raw")
        preparing = threading.Thread(target=load.leader.prepare_stream, args=(plan, plan.streams[0], "run-1"))
        preparing.start()
        waiting = (
            "SELECT wait_event FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
            " AND application_name = 'rapidbyte leader shop' AND datname = current_database()"
        )
        while not (found := rows_of(destination_db, waiting)):
            pass
        first.commit()
        preparing.join()
        assert (found, load.leader.ddl_race_retries) == ([("advisory",)], 0)


def test_a_lost_race_is_tried_again_and_counted(destination_db: str) -> None:
    """23505 on a catalog index: another session creates the schema at the same time."""
    run(destination_db, T)
    with psycopg.connect(destination_db) as rival, lead(destination_db, "t") as load:
        plan = load.plan()
        open_run(load.leader)
        rival.execute("CREATE SCHEMA raw")
        preparing = threading.Thread(target=load.leader.prepare_stream, args=(plan, plan.streams[0], "run-1"))
        preparing.start()
        waiting = (
            "SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
            " AND application_name = 'rapidbyte leader shop' AND datname = current_database()"
        )
        while not rows_of(destination_db, waiting):
            pass
        rival.commit()
        preparing.join()
        assert load.leader.ddl_race_retries == 1
    assert rows_of(destination_db, "SELECT state FROM _rapidbyte.loads") == [("prepared",)]


def test_the_stage_of_a_dead_run_is_dropped_by_the_next(destination_db: str) -> None:
    """The one that the ledger names, when its run is dead; another pipeline's is left alone (E17)."""
    run(destination_db, T + "CREATE SCHEMA raw; CREATE TABLE raw._rb_mine ()")
    with lead(destination_db, "t") as dead:
        left = dead.prepare()
    with lead(destination_db, "t", pipeline="other") as living:
        held = living.prepare()
        with lead(destination_db, "t") as load:
            mine = load.prepare()
            assert rows_of(destination_db, "SELECT load_id, state FROM _rapidbyte.loads ORDER BY prepared_at") == [
                (left.load_id, "discarded"),
                (held.load_id, "prepared"),
                (mine.load_id, "prepared"),
            ]
            assert sorted(rows_of(destination_db, STAGES)) == sorted(
                [("_rb_mine",), (held.copy.table.name,), (mine.copy.table.name,)]
            )


def test_a_newer_ledger_is_left_alone(destination_db: str) -> None:
    """A ledger that a newer version has made is not touched."""
    run(destination_db, T)
    with lead(destination_db, "t") as load:
        load.publish("VALUES (1, 'a', 1)")
        run(destination_db, "UPDATE _rapidbyte.ledger SET version = 99")
        with pytest.raises(DestinationError) as caught:
            open_run(load.leader)
    assert caught.value.code == "ledger_newer"


def test_the_ledger_explains_itself(destination_db: str) -> None:
    """Every table and column has a comment, and PUBLIC has nothing."""
    run(destination_db, T)
    with lead(destination_db, "t") as load:
        load.prepare()
    assert rows_of(
        destination_db,
        "SELECT c.relname, a.attname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid"
        " WHERE c.relnamespace = '_rapidbyte'::regnamespace AND c.relkind = 'r' AND a.attnum > 0"
        " AND c.relname !~ '^_rb_'"
        " AND (col_description(c.oid, a.attnum) IS NULL OR obj_description(c.oid, 'pg_class') IS NULL)",
    ) == []  # fmt: skip
    assert rows_of(
        destination_db,
        "SELECT relname FROM pg_class c, aclexplode(relacl) x WHERE relnamespace = '_rapidbyte'::regnamespace"
        " AND x.grantee = 0",
    ) == []  # fmt: skip
