"""What the source says of its tables, views and queries, and what it refuses before a row moves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import psycopg
import pytest
from psycopg import sql

from rapidbyte.errors import ConfigError, PrivilegeError, SourceError
from rapidbyte.model import QualifiedName, Secret
from rapidbyte.sources.postgres import PostgresSource
from rapidbyte.spec import Connection, PostgresSourceSpec, StreamSpec
from tests.postgres.reading import read_all, shapes, source_of

Connect = Callable[..., psycopg.Connection]

HOSTILE = [
    'a"; DROP TABLE victim; --',
    "a'; DROP TABLE victim; --",
    "SELECT",
    "1st",
    " lead and trail ",
    "with.dot",
    "100% {braces} %s",
    "back\\slash",
    "line\nend",
    "Ünïcödé🐘",
    "n" * 63,
    "é" * 31,
    "star*",
    "$1",
]


def problems(dsn: str, *streams: str | StreamSpec, schema: str = "public") -> list[str]:
    """What the source refuses in these streams."""
    with pytest.raises(ConfigError) as error:
        shapes(dsn, *streams, schema=schema)
    return [str(problem) for problem in error.value.problems]


def test_facts_are_the_servers_own(source_db: str, server_version_num: int):
    """Version, encoding, and an identity that tells databases apart."""
    facts = source_of(source_db).facts()
    assert (facts.version_number, facts.encoding) == (server_version_num, "UTF8")
    assert facts.identity


def test_a_server_that_is_not_there_is_a_source_error():
    """Exit 3, with the address and without the password."""
    nowhere = Connection(host="127.0.0.1", port=1, user="u", password=Secret("canary"), database="d")
    with pytest.raises(SourceError) as error:
        PostgresSource(PostgresSourceSpec(connection=nowhere), pipeline="p").facts()
    assert (error.value.code, "127.0.0.1:1/d" in error.value.message) == ("unreachable", True)
    assert "canary" not in f"{error.value.message} {error.value.hint}"


def test_the_shape_of_a_table(source_db: str, connect: Connect):
    """Columns with types and modifiers in order, the key in its own order, sizes, estimates."""
    connect(source_db).execute(
        """
        CREATE SCHEMA app; CREATE TYPE app.mood AS ENUM ('ok', 'sad');
        CREATE TABLE app.t (gone int, b numeric(12,2) NOT NULL, a varchar(20) COLLATE "C", m app.mood, ms app.mood[],
                            c timestamptz(3), d text, PRIMARY KEY (a, b));
        ALTER TABLE app.t DROP gone;
        INSERT INTO app.t SELECT i, i, 'ok', '{}', now(), repeat('x', 1000) FROM generate_series(1, 1000) i;
        ANALYZE app.t
        """
    )
    (shape,) = shapes(source_db, "t", schema="app")
    assert [(c.name, c.type.name, c.type.kind, c.type.built_in, c.nullable) for c in shape.columns] == [
        ("b", "numeric(12,2)", "base", True, False),
        ("a", "character varying(20)", "base", True, False),
        ("m", "app.mood", "enum", False, True),
        ("ms", "app.mood[]", "array", False, True),
        ("c", "timestamp(3) with time zone", "base", True, True),
        ("d", "text", "base", True, True),
    ]
    assert [column.collation for column in shape.columns[:3]] == [
        None,
        QualifiedName(schema="pg_catalog", name="C"),
        None,
    ]
    assert (shape.kind, shape.primary_key, shape.estimated_rows) == ("table", ("a", "b"), 1000)
    assert (shape.relation, shape.leaves) == (
        QualifiedName(schema="app", name="t"),
        (QualifiedName(schema="app", name="t"),),
    )
    assert shape.estimated_bytes is not None
    assert 1_000_000 < shape.estimated_bytes < 2_000_000
    assert {str(definition.name): definition.labels for definition in shape.types} == {
        "app.mood": ("ok", "sad"),
        "app._mood": (),
    }


def test_a_pattern_passes_over_tables_without_columns(source_db: str, connect: Connect):
    """With a warning; named, or alone, such a table is refused."""
    connect(source_db).execute("CREATE TABLE a (); CREATE TABLE b (i int); CREATE TABLE c ()")
    (shape,) = shapes(source_db, "*")
    assert (shape.spec.name, shape.warnings) == (
        "b",
        (
            "pattern '*' matches public.a, which has no columns: it is passed over",
            "pattern '*' matches public.c, which has no columns: it is passed over",
        ),
    )
    for name in ("a", "a*"):
        with pytest.raises(ConfigError, match="it has no columns"):
            shapes(source_db, name)


def test_what_views_queries_and_conditions_read_is_known(source_db: str, connect: Connect):
    """Also what the planner leaves out; not the system's tables."""
    connect(source_db).execute("CREATE TABLE a (i int); CREATE TABLE b (i int); CREATE VIEW v AS SELECT * FROM b")
    found = shapes(
        source_db,
        "a",
        "v",
        StreamSpec(name="q", query="SELECT a.i FROM a WHERE false AND i IN (SELECT oid::int FROM pg_class)"),
        StreamSpec(name="b", where="i IN (SELECT i FROM a)"),
    )
    assert [[str(name) for name in shape.reads] for shape in found] == [
        [],
        ["public.b", "public.v"],
        ["public.a"],
        ["public.a", "public.b"],
    ]


def test_a_key_that_is_not_read_as_a_whole_is_no_key(source_db: str, connect: Connect):
    """With `columns`, the rest of it names no row."""
    connect(source_db).execute("CREATE TABLE t (a int, b int, c int, PRIMARY KEY (a, b))")
    assert shapes(source_db, StreamSpec(name="t", columns=("c", "a")))[0].primary_key == ()
    assert shapes(source_db, StreamSpec(name="t", columns=("b", "c", "a")))[0].primary_key == ("a", "b")


def test_sizes_of_a_partitioned_table_are_those_of_its_leaves(source_db: str, connect: Connect):
    """And its rows as well; a leaf that was never analysed makes them unknown."""
    session = connect(source_db)
    session.execute("CREATE TABLE p (i int PRIMARY KEY) PARTITION BY RANGE (i)")
    session.execute("CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (1001)")
    session.execute("INSERT INTO p SELECT generate_series(1, 1000)")
    session.execute("ANALYZE p1")
    (shape,) = shapes(source_db, "p")
    assert (shape.kind, shape.estimated_rows, shape.primary_key) == ("partitioned", 1000, ("i",))
    assert shape.estimated_bytes is not None
    assert shape.estimated_bytes > 30_000
    session.execute("CREATE TABLE p2 PARTITION OF p DEFAULT; INSERT INTO p VALUES (2000)")
    assert shapes(source_db, "p")[0].estimated_rows is None


def test_estimates_of_views_queries_and_conditions_are_the_planners(source_db: str, connect: Connect):
    """A condition makes rows fewer; the bytes of a table are those that are read."""
    session = connect(source_db)
    session.execute("CREATE TABLE t AS SELECT i, repeat('x', 100) AS pad FROM generate_series(1, 1000) i")
    session.execute("ANALYZE t; CREATE VIEW v AS SELECT * FROM t")
    whole, some, view, query = shapes(
        source_db,
        "t",
        StreamSpec(name="t ", query="SELECT * FROM t", where="i <= 100"),
        "v",
        StreamSpec(name="q", query="SELECT i FROM t"),
    )
    filtered = shapes(source_db, StreamSpec(name="t", where="i <= 100"))[0]
    assert [shape.estimated_rows for shape in (whole, view, query)] == [1000, 1000, 1000]
    assert [some.estimated_rows, filtered.estimated_rows] == [100, 100]
    assert filtered.estimated_bytes == whole.estimated_bytes
    assert query.estimated_bytes == 4000


def test_the_shape_of_a_query(source_db: str, connect: Connect):
    """Its result's columns, with the modifiers that the server knows; the order is that of `columns`."""
    connect(source_db).execute("CREATE TABLE t (a int NOT NULL, b numeric(5,1), m money)")
    query = StreamSpec(
        name="q", query="SELECT a, b, a || 'x' AS c, NULL AS n, m FROM t;", columns=("c", "b", "a", "n", "m")
    )
    (shape,) = shapes(source_db, query)
    assert [(c.name, c.type.name, c.nullable, c.money) for c in shape.columns] == [
        ("c", "text", True, False),
        ("b", "numeric(5,1)", True, False),
        ("a", "integer", True, False),
        ("n", "text", True, False),
        ("m", "money", True, True),
    ]
    assert (shape.kind, shape.relation, shape.leaves, shape.partitioning) == (
        "query",
        None,
        (),
        "one partition: a query",
    )


def test_money_is_found_inside_other_types(source_db: str, connect: Connect):
    """In arrays, domains and composites: their text depends on lc_monetary as well."""
    connect(source_db).execute(
        "CREATE DOMAIN price AS money; CREATE TYPE item AS (n int, p price);"
        "CREATE TABLE t (i int, m money[], p price, l item, ls item[])"
    )
    (shape,) = shapes(source_db, "t")
    assert [(column.name, column.money) for column in shape.columns] == [
        ("i", False),
        ("m", True),
        ("p", True),
        ("l", True),
        ("ls", True),
    ]


def test_indexes_are_told_where_they_are_asked_for(source_db: str, connect: Connect):
    """Not the primary key's, and none that needs a column which is not read, be it in an expression or a condition."""
    connect(source_db).execute(
        """
        CREATE TABLE t (a int PRIMARY KEY, b text, c int, EXCLUDE USING gist (int4range(a, c) WITH &&));
        CREATE UNIQUE INDEX t_b ON t (b); CREATE INDEX t_low ON t (lower(b)); CREATE INDEX t_c ON t (c);
        CREATE INDEX t_part ON t (a) WHERE c > 0; CREATE INDEX t_inc ON t (a) INCLUDE (c)
        """
    )
    (shape,) = shapes(source_db, StreamSpec(name="t", columns=("a", "b"), indexes="source"))
    assert shape.index_definitions == (
        "CREATE UNIQUE INDEX t_b ON public.t USING btree (b)",
        "CREATE INDEX t_low ON public.t USING btree (lower(b))",
    )
    assert shapes(source_db, "t")[0].index_definitions == ()


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_are_names_and_nothing_else(source_db: str, connect: Connect, name: str):
    """As schema, table, column, partition and partition key (F8, G1)."""
    session = connect(source_db)
    session.execute("CREATE TABLE victim AS SELECT 1 AS i")
    identifier = sql.Identifier(name)
    session.execute(
        sql.SQL(
            "CREATE SCHEMA {0}; CREATE TABLE {0}.{0} ({0} int) PARTITION BY RANGE ({0});"
            "CREATE TABLE {0}.part PARTITION OF {0}.{0} DEFAULT;"
            "INSERT INTO {0}.{0} SELECT generate_series(1, 3); CREATE VIEW {0}.v AS SELECT * FROM {0}.{0}"
        ).format(identifier)
    )
    assert read_all(source_db, name, schema=name)[0] == ["1", "2", "3"]
    assert read_all(source_db, f"{name}.{name}")[0] == ["1", "2", "3"]
    keyed = StreamSpec(name="v", partition_key=name, columns=(name,), where=f"{identifier.as_string()} > 1")
    assert read_all(source_db, keyed, schema=name)[0] == ["2", "3"]
    assert {shape.columns[0].name for shape in source_of(source_db, name).discover()} == {"i", name}
    assert session.execute("SELECT i FROM victim").fetchone() == (1,)


INJECTIONS = [
    "SELECT 1 AS a; DROP TABLE victim",
    "SELECT 1 AS a; SELECT 2 AS a",
    "SELECT 1 AS a) TO STDOUT; DROP TABLE victim; COPY (SELECT 1",
    "SELECT 1 AS a) AS q; DROP TABLE victim; SELECT * FROM (SELECT 1",
    "DROP TABLE victim",
    "DELETE FROM victim RETURNING *",
    "WITH gone AS (DELETE FROM victim RETURNING *) SELECT * FROM gone",
    "SELECT i INTO stolen FROM victim",
    "COPY victim TO '/tmp/stolen'",
    "COPY victim TO PROGRAM 'touch /tmp/stolen'",
    "DO $$ BEGIN DROP TABLE victim; END $$",
    "SELECT $1::int AS a",
    "SELECT 1 AS a /* ",
    "SELECT 'a",
    "SELECT 1 AS a, 2 AS a",
    "SELECT 1, 2",
    "SELECT ROW(1, 2) AS r",
    "SELECT no_such_column FROM victim",
    "SELECT * FROM no_such_table",
    "SELECT 'x'::int AS a",
    "",
    "-- nothing",
    "SET row_security = on",
    "COMMIT",
    "EXPLAIN SELECT 1",
]


@pytest.mark.parametrize("query", INJECTIONS)
def test_a_query_that_is_no_query_is_refused(source_db: str, connect: Connect, query: str):
    """Before anything is run; nothing of it has happened (G3)."""
    session = connect(source_db)
    session.execute("CREATE TABLE victim AS SELECT 1 AS i")
    found = problems(source_db, StreamSpec(name="q", query=query))
    assert [each.startswith("stream 'q': ") for each in found] == [True] * len(found)
    assert session.execute("SELECT i FROM victim").fetchall() == [(1,)]


@pytest.mark.parametrize(
    ("query", "what"),
    [
        ("DELETE FROM victim RETURNING i", "this is a DELETE"),
        ("-- a\n/* b */ insert into victim VALUES (2) RETURNING i", "this is an INSERT"),
        ("WITH x AS (DELETE FROM victim RETURNING i) SELECT * FROM x", "this WITH does more"),
        ("EXPLAIN SELECT 1", "this is an EXPLAIN"),
    ],
)
def test_a_statement_that_is_no_query_is_told_by_its_name(source_db: str, connect: Connect, query: str, what: str):
    """Instead of the syntax error of a statement that the user has not written."""
    session = connect(source_db)
    session.execute("CREATE TABLE victim AS SELECT 1 AS i")
    (found,) = problems(source_db, StreamSpec(name="q", query=query))
    said = "stream 'q': `query` is refused by the server: a query must be one SELECT, VALUES, TABLE or WITH that reads"
    assert found == f"{said}, and {what} [42601]"
    assert session.execute("SELECT i FROM victim").fetchall() == [(1,)]


CONDITIONS = [
    "true) OR (true",
    "true; DROP TABLE victim",
    "true UNION SELECT i FROM victim",
    "true) UNION SELECT i FROM victim WHERE (true",
    "true ORDER BY i",
    "true LIMIT 1",
    "true /*",
    "i = $1",
    "i",
    "'a",
    "count(*) > 1",
    "no_such_column",
    "i = 'x'",
    "",
    "-- nothing",
    "(DELETE FROM victim RETURNING true)",
    "true) TO STDOUT; DROP TABLE victim; COPY (SELECT 1 WHERE (true",
    "SELECT true",
]


@pytest.mark.parametrize("where", CONDITIONS)
@pytest.mark.parametrize("query", [None, "SELECT * FROM victim"])
def test_a_condition_that_is_no_condition_is_refused(source_db: str, connect: Connect, where: str, query: str | None):
    """Also one that is balanced as a whole, and would step out of its parentheses."""
    session = connect(source_db)
    session.execute("CREATE TABLE victim AS SELECT 1 AS i")
    (found,) = problems(source_db, StreamSpec(name="victim", where=where, query=query))
    assert found.startswith("stream 'victim': `where` is refused by the server: ")
    assert session.execute("SELECT i FROM victim").fetchall() == [(1,)]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("SELECT 1 AS a;", ["1"]),
        ("SELECT 1 AS a -- comment", ["1"]),
        ("/* c */ SELECT ';' AS a", [";"]),
        ("VALUES (1), (2)", ["1", "2"]),
        ("TABLE t", ["1"]),
        (
            "WITH RECURSIVE n AS (SELECT 1 AS a UNION ALL SELECT a + 1 FROM n WHERE a < 3) SELECT * FROM n",
            ["1", "2", "3"],
        ),
        ("SELECT a FROM t ORDER BY a LIMIT 1", ["1"]),
        ("SELECT '100%' AS a", ["100%"]),
        ("SELECT '{}' AS a", ["{}"]),
    ],
)
def test_queries_of_all_kinds_are_read(source_db: str, connect: Connect, query: str, expected: list[str]):
    """What people write: a semicolon, comments, WITH, VALUES, ORDER BY, characters that other layers could take."""
    connect(source_db).execute("CREATE TABLE t AS SELECT 1 AS a")
    assert read_all(source_db, StreamSpec(name="q", query=query))[0] == expected


def test_a_query_cannot_write_through_a_function(source_db: str, connect: Connect):
    """The reader's transaction is read-only: the server refuses, and the run fails."""
    session = connect(source_db)
    session.execute(
        "CREATE TABLE victim AS SELECT 1 AS i; CREATE FUNCTION wipe() RETURNS int LANGUAGE plpgsql AS"
        " $$ BEGIN DELETE FROM victim; RETURN 1; END $$"
    )
    with pytest.raises(SourceError) as error:
        read_all(source_db, StreamSpec(name="q", query="SELECT wipe() AS a"))
    assert error.value.context.sqlstate == "25006"
    assert session.execute("SELECT i FROM victim").fetchall() == [(1,)]


def test_a_users_sql_sees_the_sources_schema_and_the_roles_path(
    make_database: Callable[..., str], make_role: Callable[..., str], connect: Connect
):
    """The source's schema first; our own statements see neither (F11)."""
    role, dsn = make_role(), make_database()
    connect(dsn).execute(
        f"""
        CREATE SCHEMA app; CREATE SCHEMA lib; GRANT USAGE ON SCHEMA app, lib TO {role};
        CREATE TABLE app.t AS SELECT 'app' AS a; CREATE TABLE lib.t AS SELECT 'lib' AS a;
        CREATE FUNCTION lib.shout(text) RETURNS text LANGUAGE sql AS 'SELECT upper($1)';
        CREATE TABLE lib.pg_class (a int);
        GRANT SELECT ON ALL TABLES IN SCHEMA app, lib TO {role};
        ALTER ROLE {role} SET search_path = lib, "no such", public
        """
    )
    own = dsn.replace("//postgres", f"//{role}")
    assert read_all(own, StreamSpec(name="q", query="SELECT shout(a) AS a FROM t"), schema="app")[0] == ["APP"]
    assert read_all(own, StreamSpec(name="t", where="shout(a) = 'APP'"), schema="app")[0] == ["app"]
    assert read_all(own, StreamSpec(name="q", query="SELECT shout(a) AS a FROM t"), schema="lib")[0] == ["LIB"]


def test_missing_privileges_are_told_all_at_once(
    make_database: Callable[..., str], make_role: Callable[..., str], connect: Connect
):
    """The exact GRANT for each, that makes it work; one column is enough where one is read."""
    role, dsn = make_role(), make_database()
    session = connect(dsn)
    session.execute(
        f"""
        CREATE SCHEMA app; CREATE TABLE app.t (a int, b int); CREATE TABLE u (a int, b int); CREATE TABLE p (a int);
        CREATE TABLE r (a int); GRANT SELECT ON r TO {role}; ALTER TABLE r ENABLE ROW LEVEL SECURITY;
        GRANT SELECT (a) ON u TO {role}; CREATE VIEW v AS SELECT * FROM u; INSERT INTO u VALUES (1, 2)
        """
    )
    own = dsn.replace("//postgres", f"//{role}")
    streams = ["app.t", "u", "r", "v"]
    with pytest.raises(PrivilegeError) as error:
        shapes(own, *streams)
    grants = error.value.hint or ""
    assert grants.split(" G") == [
        f'GRANT USAGE ON SCHEMA "app" TO "{role}";',
        f'RANT SELECT ON "app"."t" TO "{role}";',
        f'RANT SELECT ("b") ON "public"."u" TO "{role}"; ALTER ROLE "{role}" BYPASSRLS;',
        f'RANT SELECT ON "public"."v" TO "{role}";',
    ]
    assert (error.value.exit_code, len(error.value.problems)) == (2, 5)
    assert read_all(own, StreamSpec(name="u", columns=("a",)))[0] == ["1"]
    session.execute(grants)  # type: ignore[arg-type]
    assert [shape.spec.name for shape in shapes(own, *streams)] == streams


def test_a_query_over_tables_that_may_not_be_read_is_refused(
    make_database: Callable[..., str], make_role: Callable[..., str], connect: Connect
):
    """When it is explained, before anything is read."""
    role, dsn = make_role(), make_database()
    connect(dsn).execute("CREATE TABLE t AS SELECT 1 AS a")
    with pytest.raises(PrivilegeError) as error:
        shapes(dsn.replace("//postgres", f"//{role}"), StreamSpec(name="q", query="SELECT * FROM t"))
    assert "permission denied for table t" in error.value.message


def test_every_fault_is_told_at_once(source_db: str, connect: Connect):
    """Names, columns, keys, conditions, queries of several streams in one go, each with its stream."""
    connect(source_db).execute("CREATE TABLE orders (id int, amount int, note text)")
    found = problems(
        source_db,
        "ordrs",
        "sales.*",
        StreamSpec(name="orders", columns=("amout",), partition_key="note"),
        StreamSpec(name="q", query="SELEC 1"),
    )
    assert found == [
        "the source has no table or view 'ordrs' (schema 'public' where none is given) (did you mean 'orders'?)",
        "pattern 'sales.*' matches no table of the source",
        "stream 'orders': there is no column 'amout' (did you mean 'amount'?)",
        "stream 'orders': `partition_key` 'note' is no integer, it is text",
        "stream 'q': `query` is refused by the server: syntax error at or near \"SELEC\" [42601]",
    ]


def test_patterns_select_tables(source_db: str, connect: Connect):
    """Tables and parents, without partitions, children, views, exclusions and what has an entry of its own."""
    connect(source_db).execute(
        """
        CREATE SCHEMA sales; CREATE TABLE sales.a (i int); CREATE TABLE sales.b (i int);
        CREATE TABLE sales.b_tmp (i int);
        CREATE TABLE sales.p (i int) PARTITION BY RANGE (i); CREATE TABLE sales.p1 PARTITION OF sales.p DEFAULT;
        CREATE TABLE sales.kid () INHERITS (sales.b); CREATE VIEW sales.v AS SELECT 1 AS i;
        CREATE MATERIALIZED VIEW sales.m AS SELECT 1 AS i; CREATE TABLE orders (i int); CREATE TABLE ordinals (i int)
        """
    )
    entry = StreamSpec(name="sales.*", exclude=("*_tmp",), target="raw_*")
    found = shapes(source_db, "ord*", StreamSpec(name="sales.a", where="i > 0"), entry, "sales.m")
    assert [(shape.spec.name, shape.spec.target, shape.spec.where) for shape in found] == [
        ("orders", "orders", None),
        ("ordinals", "ordinals", None),
        ("sales.a", None, "i > 0"),
        ("sales.b", "raw_b", None),
        ("sales.p", "raw_p", None),
        ("sales.m", None, None),
    ]
    assert [shape.spec.name for shape in shapes(source_db, "*.b*")] == ["sales.b", "sales.b_tmp"]
    assert problems(source_db, "orders", StreamSpec(name="orders", target="x")) == [
        "stream 'orders': two entries or patterns select it: use `exclude`"
    ]


def test_discover_lists_everything_that_could_be_read(
    make_database: Callable[..., str], make_role: Callable[..., str], connect: Connect
):
    """Outside of the system's schemas and the ledger's; what the role lacks is told with it."""
    role, dsn = make_role(), make_database()
    connect(dsn).execute(
        f"""
        CREATE SCHEMA app; CREATE SCHEMA _rapidbyte; CREATE TABLE _rapidbyte.loads (i int);
        CREATE TABLE app.t (i int PRIMARY KEY); CREATE VIEW app.v AS SELECT * FROM app.t;
        CREATE MATERIALIZED VIEW m AS SELECT 1 AS i; CREATE TABLE p (i int) PARTITION BY RANGE (i);
        CREATE TABLE p1 PARTITION OF p DEFAULT; CREATE TEMPORARY TABLE temp (i int); GRANT SELECT ON m, p TO {role}
        """
    )
    found = source_of(dsn, "app").discover()
    assert [(shape.spec.name, shape.kind, shape.primary_key, shape.warnings) for shape in found] == [
        ("t", "table", ("i",), ()),
        ("v", "view", (), ()),
        ("public.m", "materialized_view", (), ()),
        ("public.p", "partitioned", (), ()),
    ]
    limited = source_of(dsn.replace("//postgres", f"//{role}")).discover()
    assert [(shape.spec.name, len(shape.warnings)) for shape in limited] == [
        ("app.t", 2),
        ("app.v", 2),
        ("m", 0),
        ("p", 0),
    ]


def test_describing_changes_and_runs_nothing(source_db: str, connect: Connect):
    """Read-only, rolled back, and a query is not executed: a sequence stays where it was."""
    session = connect(source_db)
    session.execute("CREATE SEQUENCE s")
    shapes(source_db, StreamSpec(name="q", query="SELECT pg_sleep(600)::text AS a"))
    shapes(source_db, StreamSpec(name="q", query="SELECT nextval('s')"))
    assert session.execute("SELECT is_called FROM s").fetchone() == (False,)


def test_the_specs_entry_comes_back_unchanged(source_db: str, connect: Connect):
    """What the leader needs of it travels with the shape."""
    connect(source_db).execute("CREATE TABLE t (i int)")
    spec = StreamSpec(name="t", write_mode="replace", primary_key=("i",), min_rows=3, target="x.y")
    assert shapes(source_db, spec)[0].spec == spec
    assert shapes(source_db, replace(spec, name="public.t"))[0].relation == QualifiedName(schema="public", name="t")
