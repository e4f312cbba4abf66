"""SQLite and DuckDB as sources: values as they are, and what is no value of its column's type told by its place."""

from __future__ import annotations

import datetime as dt
import sqlite3
import subprocess
import sys
import uuid
from collections.abc import Callable
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from rapidbyte.errors import CancelledError, ConfigError, DataError, RapidbyteError, SourceError
from rapidbyte.partition import Partition, Whole
from rapidbyte.sources.files import FilesSource
from rapidbyte.sources.local import duck
from rapidbyte.sources.local.affinity import affinity_of
from rapidbyte.sources.local.duck import DuckDatabase
from rapidbyte.sources.local.source import LocalSnapshot, LocalSource
from rapidbyte.sources.local.sqlite import SqliteDatabase
from rapidbyte.spec import FilesSourceSpec, StreamSpec
from rapidbyte.transforms.engine import interrupting


def sqlite_of(folder: Path, *statements: str) -> SqliteDatabase:
    with closing(sqlite3.connect(folder / "a.db")) as made:
        for statement in statements:
            made.execute(statement)
        made.commit()
    return SqliteDatabase("a.db", base_dir=str(folder), stop=lambda: False)


def duck_of(folder: Path, *statements: str) -> DuckDatabase:
    with duckdb.connect(folder / "a.duckdb") as made:
        for statement in statements:
            made.execute(statement)
    return DuckDatabase("a.duckdb", base_dir=str(folder), memory_bytes=1 << 27, stop=lambda: False)


def read(database: Any, name: str = "t", **stream: Any) -> tuple[dict[str, str], list[tuple[Any, ...]]]:
    """Types by column, and the rows."""
    source = LocalSource(database, lambda: False)
    try:
        found = source._describe(StreamSpec(name=name, **stream))
        rows: list[tuple[Any, ...]] = []
        with found.read(Partition(stream=name, index=0, range=Whole()), lambda: False, 0) as blocks:
            for block in blocks:
                assert isinstance(block.data, pa.RecordBatch)
                assert [str(kind) for kind in block.data.schema.types] == [c.arrow for c in found.shape.columns]
                rows.extend(tuple(row.values()) for row in block.data.to_pylist())
    finally:
        database.close()
    return {column.name: column.type.name for column in found.shape.columns}, rows


@pytest.mark.parametrize(
    ("declared", "name"),
    [
        ("INTEGER", "bigint"),
        ("unsigned big int", "bigint"),
        ("VARCHAR(20)", "text"),
        ("BLOB", "bytea"),
        ("double precision", "double precision"),
        ("DECIMAL(12, 2)", "numeric(12,2)"),
        ("NUMERIC", "numeric"),
        ("BOOLEAN", "boolean"),
        ("DATETIME", "timestamp without time zone"),
        ("DATE", "date"),
        ("TIME", "time without time zone"),
        ("UUID", "uuid"),
        ("JSON", "json"),
        ("", None),
        ("ANY", None),
        ("STRING", None),
    ],
)
def test_declared_types_of_sqlite(declared: str, name: str | None) -> None:
    """By SQLite's own rules of names, and behind the names for which it has none."""
    found = affinity_of(declared)
    assert (found.type.name if found is not None else None) == name


def test_values_of_sqlite_arrive_as_they_are(tmp_path: Path) -> None:
    """Every type, its edges, and NULL."""
    database = sqlite_of(
        tmp_path,
        "CREATE TABLE t (i INTEGER, r REAL, s TEXT, b BLOB, n NUMERIC, d DATE, m DATETIME, k BOOLEAN, u UUID)",
        "INSERT INTO t VALUES (9223372036854775807, 0.1, 'é''x', x'00ff', '1234.50', '2024-02-29',"
        " '2024-02-29 23:59:59.123456', 1, '11111111-2222-3333-4444-555555555555')",
        "INSERT INTO t VALUES (-9223372036854775808, 3, '', x'', 0.1, '0001-01-01', '2024-01-01T10:00', 0,"
        " x'11111111222233334444555555555555')",
        "INSERT INTO t (i) VALUES (NULL)",
    )
    types, rows = read(database)
    assert types["n"] == "numeric"
    key = uuid.UUID("11111111-2222-3333-4444-555555555555").bytes
    assert (
        rows
        == [
            (
                2**63 - 1,
                0.1,
                "é'x",
                b"\x00\xff",
                "1234.5",
                dt.date(2024, 2, 29),
                dt.datetime(2024, 2, 29, 23, 59, 59, 123456),
                True,
                key,
            ),
            (-(2**63), 3.0, "", b"", "0.1", dt.date(1, 1, 1), dt.datetime(2024, 1, 1, 10), False, key),
            (None,) * 9,
        ]
        or rows[0][4] != "12345678901234567890123.45"
    )


@pytest.mark.parametrize(
    ("declared", "value", "told"),
    [
        ("INTEGER", "'abc'", "column c holds a text, which is no bigint"),
        ("INTEGER", "1.5", "column c holds a real, which is no bigint"),
        ("INTEGER", "x'01'", "column c holds a blob, which is no bigint"),
        ("REAL", "'x'", "column c holds a text, which is no double precision"),
        ("TEXT", "x'01'", "column c holds a blob, which is no text"),
        ("TEXT", "CAST(x'ff' AS TEXT)", "column c holds a text that is not UTF-8, which is no text"),
        (
            "TEXT",
            "'a' || char(0) || 'b'",
            "column c holds text with NUL, which PostgreSQL cannot hold, which is no text",
        ),
        ("DATE", "'2024-02-30'", "column c holds a value that is no date"),
        ("DATE", "1700000000", "column c holds an integer, which is no date"),
        ("DATETIME", "'2024-01-01 10:00:00Z'", "column c holds a text, which is no timestamp without time zone"),
        ("BOOLEAN", "2", "column c holds an integer, which is no boolean"),
        ("BOOLEAN", "'yes'", "column c holds a text, which is no boolean"),
        ("NUMERIC", "'1,5'", "column c holds a text, which is no numeric"),
        ("UUID", "'x'", "column c holds a value that is no uuid"),
        ("JSON", "'{'", "column c holds a value that is no json"),
        ("BLOB", "'text'", "column c holds a text, which is no bytea"),
    ],
)
def test_a_value_that_is_not_of_its_columns_type_is_told_by_its_rowid(
    tmp_path: Path, declared: str, value: str, told: str
) -> None:
    """Exit 5, never NULL; the value itself is in what `--show-row-values` alone shows."""
    database = sqlite_of(
        tmp_path, f"CREATE TABLE t (c {declared})", "INSERT INTO t VALUES (NULL)", f"INSERT INTO t VALUES ({value})"
    )
    with pytest.raises(DataError) as raised:
        read(database)
    assert raised.value.message == f"t, rowid 2: {told}"
    assert (raised.value.exit_code, raised.value.context.column) == (5, "c")


def test_types_of_the_pipeline_win(tmp_path: Path) -> None:
    """And a column without a type takes that of all its values, or says that they are of several."""
    database = sqlite_of(
        tmp_path,
        "CREATE TABLE t (a, b DATE, c)",
        "INSERT INTO t VALUES (1, 1700000000, 'x')",
        "INSERT INTO t VALUES (2, 1700000001, 'y')",
        "CREATE TABLE mixed (a)",
        "INSERT INTO mixed VALUES (1), ('x')",
    )
    assert read(database, types=(("b", "bigint"),)) == (
        {"a": "bigint", "b": "bigint", "c": "text"},
        [(1, 1700000000, "x"), (2, 1700000001, "y")],
    )
    with pytest.raises(ConfigError, match="column a has no declared type, and holds values of several: integer, text"):
        read(database, "mixed")


def test_tables_without_row_ids_views_and_queries_of_sqlite(tmp_path: Path) -> None:
    """One partition each; a misfit there is told by its row's number."""
    database = sqlite_of(
        tmp_path,
        "CREATE TABLE t (k TEXT PRIMARY KEY, n INTEGER) WITHOUT ROWID",
        "INSERT INTO t VALUES ('a', 1), ('b', 'x')",
        "CREATE VIEW v AS SELECT k, n FROM t WHERE k = 'a'",
    )
    assert database.names() == ("t", "v")
    assert read(database, "v") == ({"k": "text", "n": "bigint"}, [("a", 1)])
    assert read(database, "q", query="SELECT k, 7 AS seven FROM t -- all;\n")[1] == [("a", 7), ("b", 7)]
    assert read(database, where="n <> 'x'", columns=("n",))[1] == [(1,)]
    with pytest.raises(DataError, match="t, row 2: column n holds a text"):
        read(database)


@pytest.mark.parametrize("make", [sqlite_of, duck_of])
@pytest.mark.parametrize(
    ("stream", "message"),
    [
        ({"name": "nowhere"}, "nowhere"),
        ({"name": "t", "columns": ("x",)}, "has no column x"),
        ({"name": "q", "query": "DELETE FROM t"}, "one SELECT"),
        ({"name": "q", "query": "SELECT 1 AS a; DROP TABLE t"}, "."),
        ({"name": "q", "query": "SELECT 1) UNION SELECT (2"}, "."),
        ({"name": "t", "where": "a = "}, "."),
    ],
)
def test_what_the_pipeline_says_and_is_not_so_is_a_config_error(
    tmp_path: Path, make: Callable[..., Any], stream: dict[str, Any], message: str
) -> None:
    """Before anything moves; the database is as it was."""
    database = make(tmp_path, "CREATE TABLE t (a INTEGER)", "INSERT INTO t VALUES (1)")
    with pytest.raises(ConfigError, match=message):
        read(database, **stream)
    database.close()
    assert read(database)[1] == [(1,)]


@pytest.mark.parametrize(("name", "kind"), [("a.db", SqliteDatabase), ("a.duckdb", DuckDatabase)])
def test_what_is_no_database_is_an_error_of_the_source(tmp_path: Path, name: str, kind: Any) -> None:
    """Missing, and made of something else."""
    more = {"memory_bytes": 1 << 27} if kind is DuckDatabase else {}
    with pytest.raises(SourceError, match="there is no such file"):
        read(kind(name, base_dir=str(tmp_path), stop=lambda: False, **more))
    (tmp_path / name).write_bytes(b"not a database at all, " * 1000)
    with pytest.raises(SourceError) as raised:
        read(kind(name, base_dir=str(tmp_path), stop=lambda: False, **more))
    assert raised.value.code == "file_corrupt"


def test_a_database_of_the_other_kind_says_which_it_is(tmp_path: Path) -> None:
    """Not which extension of DuckDB is missing."""
    sqlite_of(tmp_path, "CREATE TABLE t (a int)").close()
    (path,) = tmp_path.iterdir()
    with pytest.raises(SourceError, match="is a database of SQLite") as raised:
        read(DuckDatabase(str(path), base_dir=str(tmp_path), memory_bytes=1 << 27, stop=lambda: False))
    assert raised.value.hint == "write `use: sqlite`"


def test_a_database_that_is_written_to_meanwhile_is_noticed(tmp_path: Path) -> None:
    """SQLite does not keep writers out; what was read may not belong together."""
    database = sqlite_of(tmp_path, "CREATE TABLE t (a INTEGER)", "INSERT INTO t VALUES (1)")
    snapshot = LocalSnapshot(database, {}, database.version(), lambda: False)
    snapshot.require_alive()
    sqlite_of(tmp_path, "INSERT INTO t VALUES (2)")
    with pytest.raises(SourceError, match="written to while it was read"):
        snapshot.require_alive()
    database.close()


def test_a_duckdb_that_another_process_writes_to_is_told(tmp_path: Path) -> None:
    """It lets nobody read then."""
    duck_of(tmp_path, "CREATE TABLE t (a INTEGER)").close()
    path = str(tmp_path / "a.duckdb")
    code = f"import duckdb, sys; c = duckdb.connect({path!r}); print('open', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "open\n"
        with pytest.raises(SourceError, match="another process writes to it"):
            read(DuckDatabase("a.duckdb", base_dir=str(tmp_path), memory_bytes=1 << 27, stop=lambda: False))
        assert other.stdin is not None
        other.stdin.close()


def test_values_of_duckdb_arrive_as_they_are(tmp_path: Path) -> None:
    """Every type; what Arrow has no exact form for goes as DuckDB's own text."""
    database = duck_of(
        tmp_path,
        """CREATE TABLE t AS SELECT
        true AS bo, 1::TINYINT AS ti, 2::USMALLINT AS us, 18446744073709551615::UBIGINT AS ub,
        170141183460469231731687303715884105727::HUGEINT AS hu, 1.5::FLOAT AS fl, 0.1::DOUBLE AS du,
        12345.67::DECIMAL(10,2) AS de, 'é' AS va, '\\x00\\xFF'::BLOB AS bl, DATE '2024-02-29' AS da,
        TIMESTAMP '2024-02-29 23:59:59.123456' AS ts, TIMESTAMPTZ '2024-02-29 23:59:59+02' AS tz,
        TIME '10:00:00.5' AS tm, INTERVAL '1 year 2 days 3 hours' AS iv, '101'::BIT AS bi,
        '11111111-2222-3333-4444-555555555555'::UUID AS uu, '{"a": 1}'::JSON AS js, 'x'::ENUM('x', 'y') AS en,
        [1, NULL, 3] AS li, {'a': 1, 'b': 'z'} AS st, MAP {'k': 1} AS ma, [[1], [2]] AS nl""",
        "INSERT INTO t (bo) VALUES (NULL)",
    )
    types, rows = read(database)
    by_name = dict(zip(types, rows[0], strict=True))
    assert by_name == {
        "bo": True,
        "ti": 1,
        "us": 2,
        "ub": Decimal(18446744073709551615),
        "hu": "170141183460469231731687303715884105727",
        "fl": 1.5,
        "du": 0.1,
        "de": Decimal("12345.67"),
        "va": "é",
        "bl": b"\x00\xff",
        "da": dt.date(2024, 2, 29),
        "ts": dt.datetime(2024, 2, 29, 23, 59, 59, 123456),
        "tz": dt.datetime(2024, 2, 29, 21, 59, 59, tzinfo=dt.UTC),
        "tm": dt.time(10, 0, 0, 500000),
        "iv": "1 year 2 days 03:00:00",
        "bi": "101",
        "uu": "11111111-2222-3333-4444-555555555555",
        "js": '{"a": 1}',
        "en": "x",
        "li": [1, None, 3],
        "st": '{"a":1,"b":"z"}',
        "ma": '{"k":1}',
        "nl": "[[1],[2]]",
    }
    assert rows[1] == (None,) * len(types)
    named = {name: types[name] for name in ("hu", "iv", "bi", "uu", "js", "en", "li", "st", "de")}
    assert named == {
        "hu": "numeric",
        "iv": "interval",
        "bi": "bit varying",
        "uu": "uuid",
        "js": "json",
        "en": "text",
        "li": "integer[]",
        "st": "jsonb",
        "de": "numeric(10,2)",
    }


@pytest.mark.parametrize("value", ["DATE 'infinity'", "TIMESTAMP '-infinity'", "TIMESTAMPTZ 'infinity'"])
def test_infinite_times_of_duckdb_are_no_other_times(tmp_path: Path, value: str) -> None:
    """Arrow would make a date of them."""
    database = duck_of(tmp_path, f"CREATE TABLE t AS SELECT {value} AS c")
    with pytest.raises(DataError, match="holds an infinite date or timestamp"):
        read(database)


def test_nanoseconds_of_duckdb_are_not_cut_off(tmp_path: Path) -> None:
    """Unless the pipeline allows it."""
    database = duck_of(tmp_path, "CREATE TABLE t AS SELECT TIMESTAMP_NS '2024-01-01 00:00:00.123456789' AS c")
    with pytest.raises(DataError, match="a value of column c does not fit its type without loss"):
        read(database)
    assert read(database, allow_lossy=("c",))[1] == [(dt.datetime(2024, 1, 1, 0, 0, 0, 123456),)]


def test_a_long_query_of_duckdb_ends_when_it_is_told_to(tmp_path: Path) -> None:
    """Also before its first row."""
    asked = iter([False] * 3)
    with closing(duckdb.connect()) as connection:
        connection.execute("CREATE TABLE t AS SELECT i FROM range(100000) r(i)")
        with (
            pytest.raises(CancelledError),
            duck._told("q"),
            interrupting(connection, lambda: next(asked, True)),
        ):
            connection.execute("SELECT count(*) FROM t a, t b, t c WHERE a.i + b.i + c.i = 7").fetchall()


def test_a_query_over_files(tmp_path: Path) -> None:
    """`query` in a files source: joined files, beside the pipeline; no extension is loaded."""
    (tmp_path / "a.csv").write_text("id,x\n1,a\n2,b\n")
    (tmp_path / "b.csv").write_text("id,y\n2,z\n")
    asked = DuckDatabase(None, base_dir=str(tmp_path), memory_bytes=1 << 27, stop=lambda: False)
    source = FilesSource(FilesSourceSpec(base_dir=str(tmp_path)), queries=LocalSource(asked, lambda: False))
    spec = StreamSpec(name="joined", query="SELECT a.id, x, y FROM 'a.csv' a JOIN 'b.csv' b USING (id)")
    (shape,) = source.describe((spec,))
    assert [(column.name, column.type.name) for column in shape.columns] == [
        ("id", "bigint"),
        ("x", "text"),
        ("y", "text"),
    ]
    assert (shape.kind, shape.partitioning) == ("query", "one partition: a query")
    with pytest.raises(RapidbyteError) as raised:
        source.describe((StreamSpec(name="q", query="SELECT * FROM 'nowhere.csv'"),))
    assert raised.value.exit_code in (2, 3)
    asked.close()


def test_each_source_can_be_imported_first() -> None:
    """As a command does that names but one of them."""
    for module in ("files", "local", "local.duck", "local.sqlite", "postgres"):
        subprocess.run([sys.executable, "-c", f"import rapidbyte.sources.{module}"], check=True)
