"""Files that a query joins with: `tables` of a sql transform."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pyarrow as pa
import pytest
from pyarrow import parquet

import rapidbyte
from rapidbyte import config, wiring
from rapidbyte.errors import ConfigError, RapidbyteError
from rapidbyte.result import RunResult

Connect = Callable[..., psycopg.Connection]


def pipeline(folder: Path, dsn: str, query: str, tables: str, more: str = "") -> Path:
    """Orders from CSV, joined."""
    path = folder / "pipeline.yaml"
    path.write_text(
        f"""
version: "1.0"
pipeline: joined
source: {{use: files, config: {{path: orders.csv}}, streams: [{{name: orders}}]}}
transforms:
  - use: sql
    config:
      query: "{query}"
      tables: {{{tables}}}
{more}
destination: {{use: postgres, config: {{dsn: "{dsn}", schema: raw}}, write_mode: replace}}
"""
    )
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "orders.csv").write_text("id,country,amount\n1,de,1.50\n2,fr,2\n3,xx,3\n4,,4\n")
    (tmp_path / "ref").mkdir()
    (tmp_path / "ref" / "countries.csv").write_text("code,name,zip\nde,Germany,01\nfr,France,02\n")
    rates = pa.table({"code": ["de", "fr"], "rate": [2, 3], "no": [b"\0" * 16] * 2})
    parquet.write_table(rates, tmp_path / "ref" / "rates.parquet")
    return tmp_path


def rows(dsn: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(dsn) as connection:
        return connection.execute("SELECT * FROM raw.orders ORDER BY 1").fetchall()


def loaded(path: Path) -> RunResult:
    result = rapidbyte.run(path)
    assert result.error is None, result.error
    return result


def test_a_query_joins_files_of_any_format(folder: Path, destination_db: str) -> None:
    """Paths begin in the pipeline file's folder; types are the files' own, leading zeros stay."""
    path = pipeline(
        folder,
        destination_db,
        "select o.id, c.name, c.zip, cast(o.amount as decimal(9,2)) * r.rate as paid from input o"
        " left join countries c on c.code = o.country"
        " left join rates r using (code)",
        "countries: ref/countries.csv, rates: ref/rates.parquet",
    )
    loaded(path)
    assert [tuple(map(str, row)) for row in rows(destination_db)] == [
        ("1", "Germany", "01", "3.00"),
        ("2", "France", "02", "6.00"),
        ("3", "None", "None", "None"),
        ("4", "None", "None", "None"),
    ]
    (stream,) = wiring.plan(path).streams
    assert "it looks into countries, rates" in stream.shape.transforms[0]


def test_the_input_may_be_read_twice_beside_a_file(folder: Path, destination_db: str) -> None:
    """No row is lost where the query's plan, or what the table holds, reads it more than once."""
    query = (
        "with o as (select * from orders) select a.id, count(*) as n from o a join o b on a.country = b.country"
        " where a.country in (select code from countries) group by a.id"
    )
    loaded(pipeline(folder, destination_db, query, "countries: ref/countries.csv"))
    assert rows(destination_db) == [(1, 1), (2, 1)]


def test_large_inputs_and_files_are_joined_in_bounded_memory(folder: Path, destination_db: str) -> None:
    """300,000 rows with 100,000, in 64 MB."""
    (folder / "orders.csv").write_text("id,code\n" + "".join(f"{i},c{i % 100_000}\n" for i in range(300_000)))
    (folder / "ref" / "codes.ndjson").write_text("".join(f'{{"code": "c{i}", "v": {i}}}\n' for i in range(100_000)))
    query = "select id, v from input join codes using (code)"
    loaded(pipeline(folder, destination_db, query, "codes: ref/codes.ndjson", "resources: {max_memory: 64mb}"))
    with psycopg.connect(destination_db) as connection:
        found = connection.execute("SELECT count(*), count(*) FILTER (WHERE id % 100000 = v) FROM raw.orders")
        assert found.fetchall() == [(300_000, 300_000)]


def test_the_sandbox_is_as_shut_as_without_files(folder: Path, destination_db: str) -> None:
    """The query sees the tables, and no file beside them."""
    query = "select * from input, read_csv('ref/countries.csv')"
    with pytest.raises(ConfigError) as refused:
        wiring.plan(pipeline(folder, destination_db, query, "countries: ref/countries.csv"))
    assert refused.value.code == "query_invalid"


@pytest.mark.parametrize(
    ("text", "code", "phrase"),
    [
        (None, "file_not_found", "sql: table countries: "),
        ("code,name\nde\n", "row_malformed", "sql: table countries: "),
    ],
)
def test_a_file_that_is_missing_or_broken_is_told(
    folder: Path, destination_db: str, text: str | None, code: str, phrase: str
) -> None:
    """By the table's name, when it is planned."""
    countries = folder / "ref" / "countries.csv"
    countries.unlink() if text is None else countries.write_text(text)
    query = "select id, name from input join countries on code = country"
    with pytest.raises(RapidbyteError) as refused:
        wiring.plan(pipeline(folder, destination_db, query, "countries: ref/countries.csv"))
    assert refused.value.code == code
    assert refused.value.message.startswith(phrase)


@pytest.mark.parametrize(
    ("tables", "phrase"),
    [
        ("input: ref/countries.csv", "`input` is what the query's input is called"),
        ("Orders: ref/countries.csv", "`Orders` is what the query's input is called"),
        ("c: '-'", "the path of a file is due here"),
    ],
)
def test_names_and_paths_are_checked(folder: Path, destination_db: str, tables: str, phrase: str) -> None:
    """Before anything is looked at."""
    with pytest.raises(ConfigError) as refused:
        config.load(pipeline(folder, destination_db, "select 1 as x", tables))
    assert phrase in str(refused.value)
