"""The same data in every format and source arrives equal."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import duckdb
import pytest

from tests.postgres.command import Connect, Project

Checksum = Callable[[str, str], tuple[int, str, int]]

ROWS = """
SELECT i::bigint AS id, (i % 3 = 0) AS flag, (i - 500)::smallint AS small, i * 1000003 AS whole,
       ((i * 7919 % 100000) / 100)::decimal(12,2) AS price, sqrt(i) * 1e10 AS real_one,
       'text ' || i || ' é"'' ,;' AS words,
       CASE WHEN i % 7 = 0 THEN NULL WHEN i % 7 = 1 THEN '' ELSE repeat('x', i::int % 50) END AS maybe,
       DATE '1970-01-01' + (i * 37)::int AS day, TIMESTAMP '2000-01-01 00:00:00.123456' + to_hours(i::int) AS moment,
       TIMESTAMPTZ '2000-01-01 00:00:00+00' + to_minutes(i::int) AS instant,
       printf('%08x-0000-4000-8000-%012x', i, i)::uuid AS key
FROM range(1, 1001) t(i)
"""
TYPES = {
    "id": "bigint",
    "flag": "boolean",
    "small": "smallint",
    "whole": "bigint",
    "price": "numeric(12,2)",
    "real_one": "double precision",
    "words": "text",
    "maybe": "text",
    "day": "date",
    "moment": "timestamp",
    "instant": "timestamptz",
    "key": "uuid",
}


def pipeline(folder: Path, destination: str, name: str, source: dict[str, Any], stream: dict[str, Any]) -> Project:
    document = {
        "version": "1.0",
        "pipeline": name,
        "source": {**source, "streams": [{"name": name, **stream}]},
        "destination": {"use": "postgres", "config": {"dsn": destination, "schema": "raw"}, "write_mode": "replace"},
        "resources": {"parallelism": 2},
    }
    return Project(folder=folder, document=document)


def text_rows() -> tuple[list[str], list[tuple[Any, ...]]]:
    """As texts, except for what JSON has types for."""
    with duckdb.connect() as made:
        made.execute("SET TimeZone = 'UTC'")
        found = made.execute(
            f"SELECT * REPLACE (day::text AS day, moment::text AS moment, instant::text AS instant, key::text AS key,"
            f" price::text AS price) FROM ({ROWS})"
        )
        return [column[0] for column in found.description], found.fetchall()


@pytest.fixture
def written(tmp_path: Path) -> Path:
    names, rows = text_rows()
    with (tmp_path / "a.csv").open("w", newline="") as file:
        file.write(",".join(names) + "\n")
        for row in rows:
            texts = [
                None if value is None else repr(value) if isinstance(value, float) else str(value) for value in row
            ]
            file.write(",".join("" if t is None else '"' + t.replace('"', '""') + '"' for t in texts) + "\n")
    with (tmp_path / "a.ndjson").open("w") as file:
        for row in rows:
            file.write(json.dumps(dict(zip(names, row, strict=True))) + "\n")
    with duckdb.connect(tmp_path / "a.duckdb") as made:
        made.execute("SET TimeZone = 'UTC'")
        made.execute(f"CREATE TABLE a AS {ROWS}")
        made.execute(f"COPY a TO '{tmp_path / 'a.parquet'}' (FORMAT parquet, ROW_GROUP_SIZE 200)")
    with closing(sqlite3.connect(tmp_path / "a.db")) as made:
        kinds = {"timestamp": "TEXT", "timestamptz": "TEXT", "bigint": "INTEGER", "smallint": "INTEGER"}
        made.execute(f"CREATE TABLE a ({', '.join(f'{n} {kinds.get(TYPES[n], TYPES[n])}' for n in names)})")
        made.executemany(f"INSERT INTO a VALUES ({', '.join('?' * len(names))})", rows)
        made.commit()
    return tmp_path


def test_every_format_and_source_brings_the_same_rows(
    written: Path, destination_db: str, connect: Connect, checksum_of: Checksum
) -> None:
    """CSV, NDJSON, Parquet, DuckDB, a query over files, SQLite: one table's definition, one checksum (B1)."""
    files = {"use": "files", "config": {}}
    typed = {"types": TYPES}
    runs = {
        "from_csv": (files, {"path": "a.csv", **typed}),
        "from_ndjson": (files, {"path": "a.ndjson", **typed}),
        "from_parquet": (files, {"path": "a.parquet"}),
        "from_query": (files, {"query": "SELECT * FROM 'a.parquet'"}),
        "from_duckdb": ({"use": "duckdb", "config": {"path": "a.duckdb"}}, {"query": "SELECT * FROM a"}),
        "from_sqlite": ({"use": "sqlite", "config": {"path": "a.db"}}, {"query": "SELECT * FROM a", **typed}),
    }
    admin = connect(destination_db)
    admin.execute("CREATE SCHEMA raw")
    found: dict[str, Any] = {}
    for name, (source, stream) in runs.items():
        columns = ", ".join(f"{column} {kind}" for column, kind in TYPES.items())
        admin.execute(f"CREATE TABLE raw.{name} ({columns})")  # type: ignore[arg-type]
        ended = pipeline(written, destination_db, name, source, stream).run()
        assert ended.exit_code == 0, f"{name}: {ended.stderr}"
        found[name] = checksum_of(destination_db, f"raw.{name}")
    assert found["from_csv"][0] == 1000
    assert set(found.values()) == {found["from_csv"]}, found


def test_tables_of_databases_that_are_files_are_made_and_loaded(
    written: Path, destination_db: str, connect: Connect
) -> None:
    """Without a word of types; a value that is no value of its column's type loads nothing, exit 5."""
    for use, path in (("sqlite", "a.db"), ("duckdb", "a.duckdb")):
        ended = pipeline(written, destination_db, "a", {"use": use, "config": {"path": path}}, {}).run()
        assert ended.exit_code == 0, ended.stderr
        assert ended.stream["records_written"] == 1000
    with closing(sqlite3.connect(written / "a.db")) as made:
        made.execute("UPDATE a SET whole = 'many' WHERE id = 77")
        made.commit()
    ended = pipeline(written, destination_db, "a", {"use": "sqlite", "config": {"path": "a.db"}}, {}).run()
    assert (ended.exit_code, ended.document["error"]["code"]) == (5, "value_misfit")
    assert "a, rowid 77: column whole holds a text" in ended.document["error"]["message"]
    assert "many" not in ended.stderr
    assert connect(destination_db).execute("SELECT count(*) FROM raw.a").fetchone() == (1000,)
