"""Values that loaders lose, cut, round or take for others: whole runs, compared by the server's text and bytes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import rapidbyte
from rapidbyte.events import Event, StreamStarted
from rapidbyte.spec import FilesSourceSpec, PipelineSpec, StreamSpec
from tests.postgres.leading import rows_of, run
from tests.postgres.loading import loaded, pipeline, refused

Connect = Callable[..., psycopg.Connection]
Checksum = Callable[[str, str], tuple[int, str, int]]

WIRES = {"binary-relay": "integer", "text-relay": "tsquery"}
"""A further column of this type makes the rows travel so."""


def same_rows(source: str, destination: str, columns: str) -> bool:
    """Whether `t` arrived: each value by its text in exact settings, in the order of the column `i`."""
    query = f"SELECT {columns} FROM {{}}t ORDER BY i"
    return rows_of(source, query.format("")) == rows_of(destination, query.format("raw."))


NASTY = [
    "''", "NULL", "'NULL'", "'\\N'", "'\\\\N'", "'\\.'", "E'a\\tb'", "E'a\\nb'", "E'a\\r\\nb'", "E'\\\\'", "'\"'",
    "','", "';'", "E'\\b\\f\\v'", "' '", "'  x  '", "'null'", "E'\\\\t'", "E'\\u0001'", "E'\\U0001F418'", "'\\x41'",
]  # fmt: skip
"""Texts that text formats take for something else, as SQL."""


@pytest.mark.parametrize("wire", WIRES)
def test_texts_that_formats_take_for_something_else_arrive(source_db: str, destination_db: str, wire: str) -> None:
    """B10, B11: nothing and no value; \\N, tabs, line ends, backslashes, quotes, delimiters; as text and as json."""
    rows = ", ".join(f"({number}, {text}, to_json({text}::text))" for number, text in enumerate(NASTY))
    run(
        source_db,
        "CREATE TABLE t (i int, v text, j json); "
        f"INSERT INTO t VALUES {rows}; ALTER TABLE t ADD extra {WIRES[wire]}; UPDATE t SET extra = '1' WHERE i % 2 = 0",
    )
    assert loaded(pipeline(source_db, destination_db, "t")).streams[0].wire == wire
    assert same_rows(source_db, destination_db, "i, v, v IS NULL, j::text, extra::text")
    assert rows_of(destination_db, "SELECT count(*) FILTER (WHERE v = ''), count(v) FROM raw.t") == [(1, 20)]


def test_an_empty_text_and_no_value_stay_two_things_in_a_file(tmp_path: Path, destination_db: str) -> None:
    """B10, B11: quoted and unquoted; \\N, tabs, line ends, quotes and delimiters between quotes."""
    (tmp_path / "t.csv").write_bytes(b'i,v\n1,""\n2,\n3,"\\N"\n4,"NULL"\n5,"a\tb\nc"\n6,"say ""x"", y"\n7,\\N\n8,\\\n')
    loaded(pipeline(tmp_path / "t.csv", destination_db, "t"))
    found = rows_of(destination_db, "SELECT v FROM raw.t ORDER BY i")
    assert found == [("",), (None,), ("\\N",), ("NULL",), ("a\tb\nc",), ('say "x", y',), ("\\N",), ("\\",)]


def bad_parquet(folder: Path, value: bytes) -> Path:
    """A file whose one text is no text."""
    array = pa.array([b"ok", value]).cast(pa.binary())
    text = pa.Array.from_buffers(pa.string(), 2, array.buffers())
    pq.write_table(pa.table({"v": text}), folder / "t.parquet")
    return folder / "t.parquet"


@pytest.mark.parametrize("value", [b"\xed\xa0\x80", b"\xff", b"\xc0\x80"])
def test_half_a_character_is_an_error_of_the_data(tmp_path: Path, destination_db: str, value: bytes) -> None:
    """B2, B3: a lone surrogate, and other bytes that are no UTF-8: told as such, not as a defect; nothing is there."""
    (tmp_path / "t.csv").write_bytes(b"i,v\n1,ok\n2," + value + b"\n")
    for path in (tmp_path / "t.csv", bad_parquet(tmp_path, value)):
        result = rapidbyte.run(pipeline(path, destination_db, "t"))
        assert result.error is not None
        assert result.exit_code in (3, 5), result.error
        assert "utf-8" in result.error.message.lower().replace("utf8", "utf-8"), result.error
    assert rows_of(destination_db, "SELECT to_regclass('raw.t') IS NULL") == [(True,)]


def test_numbers_that_are_none_stay_so(source_db: str, destination_db: str) -> None:
    """B6: NaN and both infinities, of numeric and of floats, on both wires."""
    special = "SELECT * FROM unnest('{NaN,Infinity,-Infinity,0,-0.000,1e-30}'::numeric[]) WITH ORDINALITY n (n, i)"
    run(
        source_db,
        f"CREATE TABLE t AS SELECT i, n, n::float8 AS d, n::float4 AS f FROM ({special}) x;"
        "CREATE VIEW text_too AS SELECT *, NULL::tsquery AS q FROM t",
    )
    loaded(pipeline(source_db, destination_db, "t"))
    assert same_rows(source_db, destination_db, "i, n::text, d::text, f::text")
    loaded(pipeline(source_db, destination_db, StreamSpec(name="text_too", target="t")))
    assert same_rows(source_db, destination_db, "i, n::text, d::text, f::text")


def test_an_infinite_number_does_not_become_a_great_one(source_db: str, destination_db: str) -> None:
    """B6: where the target's type has no infinity the row is refused, 22003, although the column may lose digits."""
    run(source_db, "CREATE TABLE t AS SELECT 'Infinity'::numeric AS n")
    run(destination_db, "CREATE SCHEMA raw; CREATE TABLE raw.t (n numeric(10, 2)); INSERT INTO raw.t VALUES (1)")
    _, error = refused(
        pipeline(source_db, destination_db, StreamSpec(name="t", allow_lossy=("n",))), 5, "value_does_not_fit"
    )
    assert (error.sqlstate, error.column) == ("22003", "n")
    assert rows_of(destination_db, "TABLE raw.t") == rows_of(destination_db, "SELECT 1.00")


@pytest.mark.parametrize(
    ("source", "value", "target"),
    [
        ("numeric", "1.005", "numeric(10,2)"),
        ("numeric(20,17)", "6.9e-17", "numeric(20,6)"),
        ("timestamp", "2024-01-02 03:04:05.678901", "timestamp(3)"),
        ("timestamp", "2024-01-02 03:04:05", "date"),
        ("timestamp", "2024-03-31 02:30", "timestamptz"),
        ("timestamptz", "2024-01-02 03:04:05+02", "timestamp"),
        ("bigint", "9007199254740993", "float8"),
        ("json", '{"b": 1, "a": 2, "a": 3}', "jsonb"),
    ],
)
def test_what_would_be_rounded_or_guessed_is_refused_by_the_plan(
    source_db: str, destination_db: str, source: str, value: str, target: str
) -> None:
    """B7, B12, B24: fewer digits, half a time, a zone that a session would supply, an object's order: exit 2."""
    run(source_db, f"CREATE TABLE t (i int, v {source}); INSERT INTO t VALUES (1, '{value}')")
    run(destination_db, f"CREATE SCHEMA raw; CREATE TABLE raw.t (i int, v {target})")
    message, _ = refused(pipeline(source_db, destination_db, "t"), 2, "columns_refused")
    assert "column v: " in message
    assert rows_of(destination_db, "SELECT count(*) FROM raw.t") == [(0,)]
    allowed = loaded(pipeline(source_db, destination_db, StreamSpec(name="t", allow_lossy=("v",))))
    assert allowed.streams[0].lossy_columns == ("v",)


def test_the_defaults_of_roles_do_not_move_a_time(
    source_db: str, destination_db: str, make_role: Callable[..., str], connect: Connect
) -> None:
    """B12: zones, orders of dates and styles of intervals that roles and databases of both ends set."""
    admin = connect(source_db)
    admin.execute(
        "CREATE TABLE t (i int, z timestamptz, n timestamp, d date, v interval, extra tsquery);"
        "INSERT INTO t VALUES (1, '2024-03-31 02:30+00', '2024-03-31 02:30', '2024-02-01', '1 mon -1 day 02:03:04'),"
        " (2, '2024-10-27 00:30+00', '0044-03-15 BC', '5000-01-02', '-1 year')"
    )
    for dsn, zone, style in (
        (source_db, "Pacific/Chatham", "german"),
        (destination_db, "America/St_Johns", "sql, ymd"),
    ):
        name = connect(dsn).info.dbname
        admin.execute(
            f"ALTER DATABASE {name} SET timezone = '{zone}'; ALTER DATABASE {name} SET datestyle = '{style}';"  # type: ignore[arg-type]
            f"ALTER DATABASE {name} SET intervalstyle = 'iso_8601'"
        )
    loaded(pipeline(source_db, destination_db, "t"))
    seconds = "i, extract(epoch FROM z), extract(epoch FROM n), d - DATE '2000-01-01', v::text"
    query = f"SELECT {seconds} FROM {{}}t ORDER BY i"
    sane = [
        connect(dsn).execute(query.format(schema)).fetchall()  # type: ignore[arg-type]
        for dsn, schema in ((source_db, ""), (destination_db, "raw."))
    ]
    assert sane[0] == sane[1]


@pytest.mark.parametrize(("target", "sqlstate"), [("varchar(3)", "22001"), ("char(3)", "22001")])
def test_a_text_that_is_too_long_is_never_cut(source_db: str, destination_db: str, target: str, sqlstate: str) -> None:
    """B13: refused by the plan; and where the column may lose something, by the server, with the column's name."""
    run(source_db, "CREATE TABLE t AS SELECT 'abcdef'::text AS v")
    run(destination_db, f"CREATE SCHEMA raw; CREATE TABLE raw.t (v {target})")
    assert rapidbyte.run(pipeline(source_db, destination_db, "t")).exit_code in (2, 6)
    permitted = pipeline(source_db, destination_db, StreamSpec(name="t", allow_lossy=("v",)))
    _, error = refused(permitted, 5, "value_does_not_fit")
    assert (error.sqlstate, error.column) == (sqlstate, "v")
    assert rows_of(destination_db, "SELECT count(*) FROM raw.t") == [(0,)]


def test_json_keeps_every_byte_and_jsonb_every_value(source_db: str, destination_db: str) -> None:
    """B24: keys' order, equal keys, blanks, and numbers that no float holds; on both wires."""
    document = '{"b": 1,  "a": 2, "a": 3, "n": 1e400, "z": 1.0, "u": "\\u00fc"}'
    run(
        source_db,
        "CREATE TABLE t (i int, j json, b jsonb); "
        f"INSERT INTO t VALUES (1, '{document}', '{document}'), (2, '  [1.10 ]', '[1.10, 1e-400]');"
        "CREATE VIEW text_too AS SELECT *, NULL::tsquery AS q FROM t",
    )
    loaded(pipeline(source_db, destination_db, "t"))
    assert rows_of(destination_db, "SELECT j::text FROM raw.t WHERE i = 1") == [(document,)]
    assert same_rows(source_db, destination_db, "i, j::text, b::text")
    result = loaded(pipeline(source_db, destination_db, StreamSpec(name="text_too", target="t")), checksum=True)
    assert same_rows(source_db, destination_db, "i, j::text, b::text")
    checked = result.streams[0].checksum
    assert checked is not None
    assert checked.match


@pytest.mark.parametrize("wire", WIRES)
def test_floats_keep_every_bit(source_db: str, destination_db: str, wire: str) -> None:
    """B25: shortest texts, -0, the least and the greatest, under a role whose own texts would lose digits."""
    values = "0.1,-0,5e-324,2.2250738585072014e-308,1.7976931348623157e308,0.30000000000000004,NaN,-Infinity"
    run(
        source_db,
        "CREATE TABLE t AS SELECT i, d, d::numeric::text AS shown, (1 / 3.0 + i)::float4 AS f"
        f" FROM unnest('{{{values}}}'::float8[]) WITH ORDINALITY v (d, i) WHERE d <> '-Infinity';"
        f"ALTER TABLE t ADD extra {WIRES[wire]}",
    )
    assert loaded(pipeline(source_db, destination_db, "t")).streams[0].wire == wire
    assert same_rows(source_db, destination_db, "i, float8send(d), float4send(f)")


def test_floats_of_a_file_keep_every_bit(tmp_path: Path, destination_db: str) -> None:
    """B25: those of Parquet are bits; those of CSV are the nearest to their text, and -0 keeps its sign."""
    values = [0.1, -0.0, 5e-324, 1.7976931348623157e308, 0.30000000000000004]
    pq.write_table(pa.table({"d": values, "f": pa.array([0.1] * 5, pa.float32())}), tmp_path / "p.parquet")
    (tmp_path / "c.csv").write_text("d\n" + "\n".join(map(repr, values)) + "\n")
    loaded(pipeline(tmp_path / "p.parquet", destination_db, "p"))
    declared = StreamSpec(name="c", types=(("d", "double precision"),))
    loaded(pipeline(tmp_path / "c.csv", destination_db, declared))
    bits = rows_of(destination_db, "SELECT float8send(v) FROM unnest('{0.1,-0,5e-324}'::float8[]) v ORDER BY v, 1")
    for table in ("p", "c"):
        found = f"SELECT float8send(d) FROM raw.{table} WHERE d < 0.2 ORDER BY d, 1"
        assert rows_of(destination_db, found) == bits
    assert rows_of(destination_db, "SELECT DISTINCT float4send(f) = float4send(0.1::float4) FROM raw.p") == [(True,)]


def test_a_row_that_nobody_sent_is_noticed(source_db: str, destination_db: str, connect: Connect) -> None:
    """B23: a row of nothing but NULLs in the stage; the load fails, and the target keeps its rows."""
    run(source_db, "CREATE TABLE t AS SELECT i FROM generate_series(1, 1000) i")
    admin = connect(destination_db)
    admin.execute("CREATE SCHEMA raw; CREATE TABLE raw.t AS SELECT 7 AS i")

    def add(event: Event) -> None:
        if isinstance(event, StreamStarted):
            stage = "SELECT stage_schema, stage_table FROM _rapidbyte.loads WHERE state = 'prepared'"
            for schema, table in admin.execute(stage).fetchall():
                admin.execute(f"INSERT INTO {schema}.{table} VALUES (NULL)")  # type: ignore[arg-type]

    result = rapidbyte.run(pipeline(source_db, destination_db, "t"), observe=add)
    assert result.error is not None
    assert (result.exit_code, result.streams[0].commit_state) == (4, "before_commit"), result.error
    assert rows_of(destination_db, "TABLE raw.t") == [(7,)]


def test_rows_of_nothing_but_nulls_are_rows(source_db: str, destination_db: str, tmp_path: Path) -> None:
    """B23: each is counted and copied; none is added or left out, from a table or from a file."""
    run(source_db, "CREATE TABLE t AS SELECT NULL::int AS a, NULL::text AS b FROM generate_series(1, 3)")
    loaded(pipeline(source_db, destination_db, "t"))
    (tmp_path / "c.csv").write_text("a,b\n,\n1,x\n,\n")
    loaded(pipeline(tmp_path / "c.csv", destination_db, "c"))
    for table, nulls in (("t", 3), ("c", 2)):
        found = f"SELECT count(*) FILTER (WHERE r IS NULL), count(*) FROM raw.{table} r"
        assert rows_of(destination_db, found) == [(nulls, nulls + (table == "c"))]


def test_more_columns_than_a_table_can_have_are_refused_by_the_plan(tmp_path: Path, destination_db: str) -> None:
    """B22: 54011 is not waited for; exit 2, nothing is made."""
    pq.write_table(pa.table({f"c{number}": [1] for number in range(1601)}), tmp_path / "t.parquet")
    message, _ = refused(pipeline(tmp_path / "t.parquet", destination_db, "t"), 2, "too_many_columns")
    assert "1600" in message
    assert rows_of(destination_db, "SELECT to_regnamespace('raw') IS NULL") == [(True,)]


def test_a_row_that_no_page_holds_is_an_error_with_its_line(tmp_path: Path, destination_db: str) -> None:
    """B22: 1,600 columns are allowed, a row of 1,600 texts that cannot be moved out of line is not: exit 4."""
    row = {f"c{number}": ["x" * 40] for number in range(1600)}
    pq.write_table(pa.table(row), tmp_path / "t.parquet")
    result = rapidbyte.run(pipeline(tmp_path / "t.parquet", destination_db, "t"))
    assert result.error is not None
    assert (result.exit_code, result.error.code, result.error.sqlstate) == (4, "server_limit", "54000"), result.error
    assert result.error.line is not None
    assert rows_of(destination_db, "SELECT to_regclass('raw.t') IS NULL") == [(True,)]


def test_a_large_object_stays_where_it_is(source_db: str, destination_db: str, connect: Connect) -> None:
    """B27: the column that points at it is copied as the number that it is, as docs/limits.md says."""
    admin = connect(source_db)
    admin.execute("CREATE TABLE t AS SELECT lo_from_bytea(0, '\\x00ff') AS o")
    loaded(pipeline(source_db, destination_db, "t"))
    assert rows_of(destination_db, "TABLE raw.t") == rows_of(source_db, "TABLE t")
    assert rows_of(destination_db, "SELECT count(*) FROM pg_largeobject_metadata") == [(0,)]


def test_large_values_arrive_whole_in_blocks(source_db: str, destination_db: str, checksum_of: Checksum) -> None:
    """B27: values of some megabytes, which TOAST holds, far above a block; random, so that none is compressed."""
    run(
        source_db,
        "CREATE TABLE t AS SELECT i, (SELECT string_agg(sha512((i * n)::text::bytea), '') FROM"
        " generate_series(1, 65536) n) AS v FROM generate_series(1, 5) i",
    )
    result = loaded(pipeline(source_db, destination_db, "t"))
    assert result.bytes_written > 5 * 4 * 1024 * 1024
    assert checksum_of(destination_db, "raw.t") == checksum_of(source_db, "public.t")


def tabbed(spec: PipelineSpec) -> PipelineSpec:
    """With a source whose fields are parted by tabs."""
    assert isinstance(spec.source, FilesSourceSpec)
    return replace(spec, source=replace(spec.source, delimiter="\t", null_strings=("\\N",)))


def test_a_file_that_names_its_nothing_keeps_empty_texts(tmp_path: Path, destination_db: str) -> None:
    """B10: with `null_strings` an empty field is an empty text, and the text NULL one of four letters."""
    (tmp_path / "t.csv").write_text("i\tv\n1\t\n2\t\\N\n3\tNULL\n")
    loaded(tabbed(pipeline(tmp_path / "t.csv", destination_db, "t")))
    assert rows_of(destination_db, "SELECT v FROM raw.t ORDER BY i") == [("",), (None,), ("NULL",)]


def test_a_nul_within_a_text_is_refused_with_its_column(tmp_path: Path, destination_db: str) -> None:
    """B1: from CSV and Parquet, as text and within jsonb; never stripped, and nothing is published."""
    (tmp_path / "t.csv").write_bytes(b"i,v\n1,ok\n2,a\x00b\n")
    pq.write_table(pa.table({"i": [1, 2], "v": ["ok", "a\x00b"]}), tmp_path / "t.parquet")
    for name in ("t.csv", "t.parquet"):
        _, error = refused(pipeline(tmp_path / name, destination_db, "t"), 5, "value_does_not_fit")
        assert (error.sqlstate, error.line is not None) == ("22021", True), error
    (tmp_path / "j.csv").write_text('i,v\n1,"{""a"": ""\\u0000""}"\n')
    declared = StreamSpec(name="j", types=(("v", "jsonb"),))
    _, error = refused(pipeline(tmp_path / "j.csv", destination_db, declared), 5, "value_does_not_fit")
    assert (error.sqlstate, error.column) == ("22P05", "v")
    gone = "SELECT to_regclass('raw.t') IS NULL, to_regclass('raw.j') IS NULL"
    assert rows_of(destination_db, gone) == [(True, True)]


FAR = [
    ("timestamp", "infinity"), ("timestamp", "-infinity"), ("timestamptz", "infinity"), ("timestamptz", "-infinity"),
    ("date", "infinity"), ("date", "-infinity"), ("date", "4713-01-01 BC"), ("date", "5874897-12-31"),
    ("timestamp", "294276-12-31 23:59:59.999999"), ("timestamp", "4713-01-01 00:00:00 BC"),
    ("timestamptz", "15000-01-01 00:00:00+00"), ("time", "24:00:00"), ("timetz", "24:00:00+15:59"),
    ("daterange", "[-infinity,infinity]"), ("tstzrange", "(,infinity)"), ("interval", "-178000000 years"),
]  # fmt: skip


@pytest.mark.parametrize("wire", WIRES)
def test_times_that_no_python_has_arrive(source_db: str, destination_db: str, wire: str) -> None:
    """B4, B5: infinite, before Christ, far beyond 9999, the 24th hour; a month stays a month. -infinity comes first."""
    columns = ", ".join(f"c{number} {kind}" for number, (kind, _) in enumerate(FAR))
    values = ", ".join(f"'{value}'" for _, value in FAR)
    run(
        source_db,
        f"CREATE TABLE t (i int, {columns}, m interval, extra {WIRES[wire]});"
        f"INSERT INTO t VALUES (1, {values}, '1 mon'), (2, {values}, '1 year -1 mon 30 days')",
    )
    assert loaded(pipeline(source_db, destination_db, "t")).streams[0].wire == wire
    shown = ", ".join(f"c{number}::text" for number in range(len(FAR)))
    assert same_rows(source_db, destination_db, f"i, {shown}, m::text, interval_send(m)")
    assert rows_of(destination_db, "SELECT isfinite(c0), isfinite(c1), c4::text FROM raw.t LIMIT 1")[0][:2] == (
        False,
        False,
    )
