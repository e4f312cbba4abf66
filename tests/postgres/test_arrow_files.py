"""A file, read and encoded, is in the table what the server's own COPY makes of it."""

from __future__ import annotations

import csv
import datetime as dt
import io
import json
from collections.abc import Iterator
from pathlib import Path

import duckdb
import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from psycopg import sql

from rapidbyte.contract import ReplaceFacts
from rapidbyte.decisions import make_plan
from rapidbyte.destinations.postgres.encode import Encoder
from rapidbyte.destinations.postgres.wire import choose_wire
from rapidbyte.model import QualifiedName, ServerFacts
from rapidbyte.plan import StreamPlan, StreamShape
from rapidbyte.sources.files import FilesSource
from rapidbyte.spec import FilesSourceSpec, Resources, RunOptions, StreamSpec

OPTIONS = {"arrow-binary": sql.SQL("FORMAT binary"), "arrow-text": sql.SQL("FORMAT csv, ENCODING 'UTF8'")}


@pytest.fixture
def connection(destination_db: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(destination_db, autocommit=True) as opened:
        opened.execute("SET timezone = 'UTC'")
        opened.execute("SET intervalstyle = 'postgres'")
        opened.execute("SET datestyle = 'ISO'")
        opened.execute("SET bytea_output = 'hex'")
        yield opened


def load(connection: psycopg.Connection, path: Path, **stream: object) -> tuple[StreamShape, str]:
    """Creates table `loaded` with the stream's columns and copies the file into it."""
    source = FilesSource(FilesSourceSpec())
    (shape,) = source.describe((StreamSpec(name="s", path=str(path), **stream),))  # type: ignore[arg-type]
    wire = choose_wire([(column, column) for column in shape.columns])
    names = sql.SQL(", ").join(sql.Identifier(column.name) for column in shape.columns)
    types = [sql.SQL("{} {}").format(sql.Identifier(c.name), sql.SQL(c.type.name)) for c in shape.columns]
    connection.execute("DROP TABLE IF EXISTS loaded")
    connection.execute(sql.SQL("CREATE TABLE loaded ({})").format(sql.SQL(", ").join(types)))
    target = QualifiedName(schema="public", name="loaded")
    plan = StreamPlan(
        order=0,
        shape=shape,
        target=target,
        write_mode="append",
        publish="rename",
        publish_reason="",
        wire=wire,
        columns=(),
        primary_key=(),
        replace=ReplaceFacts(target_exists=False),
        statements=(),
    )
    run = make_plan(
        pipeline="p",
        streams=(plan,),
        resources=Resources(),
        options=RunOptions(),
        source=None,
        destination=ServerFacts(version="18.0", version_number=180000),
        cores=2,
    )
    statement = sql.SQL("COPY loaded ({}) FROM STDIN ({})").format(names, OPTIONS[wire])
    with source.snapshot((plan,)) as snapshot, connection.cursor() as cursor:
        for partition in snapshot.partitions(plan, 1000):
            encoder = Encoder(shape.columns, wire)
            with cursor.copy(statement) as copy:
                with snapshot.reader(plan, run)(partition, lambda: False, 0) as blocks:
                    for block in blocks:
                        copy.write(encoder.encode(block.data))
                copy.write(encoder.finish())
            assert blocks.row_count == cursor.rowcount
    return shape, wire


def rows(connection: psycopg.Connection, table: str) -> list[tuple[str]]:
    return connection.execute(
        sql.SQL("SELECT whole::text FROM {} AS whole ORDER BY 1").format(sql.Identifier(table))
    ).fetchall()


TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8)
KINDS = st.sampled_from(
    [
        st.integers(-(2**63), 2**63 - 1).map(str),
        st.sampled_from(["007", "1e5", "+1", "1.10", "1.1", "NaN", "-0"]),
        st.decimals(-1000, 1000, places=2).map(str),
        st.floats(allow_nan=False, allow_infinity=False).map(repr),
        st.booleans().map(lambda value: str(value).lower()),
        st.dates().map(str),
        st.datetimes().map(str),
        st.datetimes().map(lambda value: f"{value.isoformat()}Z"),
        st.uuids().map(str),
        TEXTS,
    ]
)


@given(st.data())
@settings(max_examples=60)
def test_a_csv_file_is_loaded_as_the_servers_own_copy_loads_it(
    connection: psycopg.Connection, tmp_path: Path, data: st.DataObject
) -> None:
    """Into the types that were inferred: the same rows; and as text they are what the file holds."""
    kinds = data.draw(st.lists(KINDS, min_size=1, max_size=4))
    records = data.draw(st.lists(st.tuples(*(st.one_of(st.none(), kind) for kind in kinds)), min_size=1, max_size=12))
    text = io.StringIO(newline="")
    writer = csv.writer(text, quoting=csv.QUOTE_ALL)
    writer.writerow([f"name {index}" for index in range(len(kinds))])
    for record in records:
        fields = ("" if field is None else '"' + field.replace('"', '""') + '"' for field in record)
        text.write(",".join(fields) + "\n")
    path = tmp_path / "a.csv"
    path.write_bytes(text.getvalue().replace("\r\n", "\n", 1).encode())
    load(connection, path)
    connection.execute("DROP TABLE IF EXISTS copied")
    connection.execute("CREATE TABLE copied (LIKE loaded)")
    with connection.cursor().copy("COPY copied FROM STDIN (FORMAT csv, HEADER)") as copy:
        copy.write(path.read_bytes())
    assert rows(connection, "copied") == rows(connection, "loaded")


def test_what_duckdb_writes_as_parquet_arrives(connection: psycopg.Connection, tmp_path: Path) -> None:
    """Types that only other writers have: UUID, JSON, INTERVAL, wide integers, enums, timestamps of all units."""
    path = tmp_path / "a.parquet"
    duckdb.sql(
        """COPY (SELECT uuid '0d0e396c-efea-458a-9ba8-c685a204d0b4' AS u, json '{"a":  1}' AS j,
        interval '1 year 2 days 3.5 seconds' AS i, 255::utinyint AS b, 18446744073709551615::ubigint AS ub,
        'x'::enum('x', 'y') AS e, timestamp_ns '2013-01-01 00:00:00.000001' AS ns, timestamp_s '2013-01-01' AS s,
        timestamptz '2013-01-01 10:00:00+02' AS tz, time '10:00:00.5' AS t, '\\xAB'::blob AS bl,
        [1, NULL]::integer[] AS l, {'a': [1.5], 'b': date '2013-01-01'} AS st, map {'k': 1} AS m,
        1.10::decimal(9,2) AS d, date '2013-01-01' AS dt, 'NaN'::float AS f, NULL::integer AS n
        UNION ALL SELECT NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
        NULL, NULL, NULL) TO '"""
        + str(path)
        + "' (FORMAT parquet)"
    )
    shape, wire = load(connection, path)
    assert wire == "arrow-text"  # the interval is told in words
    types = {column.name: column.type.name for column in shape.columns}
    assert types == {
        "u": "uuid", "j": "json", "i": "interval", "b": "smallint", "ub": "numeric", "e": "text",
        "ns": "timestamp without time zone", "s": "timestamp without time zone", "tz": "timestamp with time zone",
        "t": "time without time zone", "bl": "bytea", "l": "integer[]", "st": "jsonb", "m": "jsonb",
        "d": "numeric(9,2)", "dt": "date", "f": "real", "n": "integer",
    }  # fmt: skip
    expected = (
        '(0d0e396c-efea-458a-9ba8-c685a204d0b4,"{""a"":  1}","1 year 2 days 00:00:03.5",255,'
        '18446744073709551615,x,"2013-01-01 00:00:00.000001","2013-01-01 00:00:00","2013-01-01 08:00:00+00",'
        '10:00:00.5,"\\\\xab","{1,NULL}","{""a"": [1.5], ""b"": ""2013-01-01""}","{""k"": 1}",'
        "1.10,2013-01-01,NaN,)"
    )
    assert rows(connection, "loaded") == [("(,,,,,,,,,,,,,,,,,)",), (expected,)]


def test_declared_types_are_read_by_the_server(connection: psycopg.Connection, tmp_path: Path) -> None:
    """What is no type of Arrow's goes as text: its own input function decides."""
    path = tmp_path / "a.csv"
    path.write_text('ip,at,tags,price\n10.0.0.1/8,1 mon,"{a,NULL}",1.5\n,,,\n')
    types = (("ip", "inet"), ("at", "interval"), ("tags", "text[]"), ("price", "numeric(12,2)"))
    _, wire = load(connection, path, types=types)
    assert wire == "arrow-text"
    assert rows(connection, "loaded") == [("(,,,)",), ('(10.0.0.1/8,"1 mon","{a,NULL}",1.50)',)]


def test_the_same_rows_arrive_equal_from_every_format(connection: psycopg.Connection, tmp_path: Path) -> None:
    """CSV, NDJSON, Parquet and Arrow: types and values, as the server prints them (B10, B25)."""
    rows = [
        {"id": 1, "x": 1.5, "b": True, "d": dt.date(2024, 2, 29), "s": 'a,\n"q"'},
        {"id": -(2**63), "x": 5e-324, "b": False, "d": dt.date(1, 1, 1), "s": ""},
        {"id": None, "x": None, "b": None, "d": None, "s": None},
    ]
    table = pa.Table.from_pylist(rows)
    pq.write_table(table, tmp_path / "a.parquet")
    with pa.ipc.new_file(str(tmp_path / "a.arrow"), table.schema) as writer:
        writer.write_table(table)
    (tmp_path / "a.ndjson").write_text("".join(json.dumps(row, default=str) + "\n" for row in rows))
    text = io.StringIO(newline="")
    text.write("id,x,b,d,s\n")
    for row in rows:
        fields = ("" if value is None else '"' + str(value).replace('"', '""') + '"' for value in row.values())
        text.write(",".join(fields) + "\n")
    (tmp_path / "a.csv").write_text(text.getvalue(), newline="")
    found = {}
    for name in ("a.csv", "a.ndjson", "a.parquet", "a.arrow"):
        shape, _ = load(connection, tmp_path / name)
        printed = connection.execute("SELECT l::text FROM loaded l ORDER BY id").fetchall()
        found[name] = ([column.type.name for column in shape.columns], printed)
    assert found == dict.fromkeys(found, found["a.parquet"])
    assert found["a.csv"][0] == ["bigint", "double precision", "boolean", "date", "text"]
