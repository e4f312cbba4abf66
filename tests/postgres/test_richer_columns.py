"""Texts of files into richer columns of a table that is there: as PostgreSQL reads them, or refused with their line."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

import rapidbyte
from rapidbyte.spec import StreamSpec
from tests.postgres.leading import rows_of, run
from tests.postgres.loading import loaded, pipeline, refused

GOOD = {
    "timestamptz": ["2026-01-31 12:00:00+01", "2026-01-31T12:00:00.123456Z", "2026-01-31 12:00-05:30"],
    "timestamptz(0)": ["2026-01-31 12:00:00+01", "2026-01-31 12:00:00.000Z"],
    "timestamp": ["2026-01-31 12:00:00", "2026-01-31", "2026-01-31T23:59:59.999999"],
    "timestamp(3)": ["2026-01-31 12:00:00.123", "2026-01-31 12:00:00.123000"],
    "date": ["2026-01-31", "0001-01-01"],
    "numeric(6,2)": ["1.5", "-9999.99", "0", "+1.50000", "NaN", ".5"],
    "numeric(3,0)": ["1", "-999", "7.0"],
    "varchar(3)": ["abc", "\u00e4\u00f6\u00fc", "a  ", ""],
    "jsonb": ['{"a": [1, null]}', "7", '"x"'],
    "uuid": ["00000000-0000-0000-0000-000000000001"],
}
BAD = {
    "timestamptz": [
        "2026-01-31 12:00:00",
        "2026-01-31 12:00:00.1234567Z",
        "today",
        "01/02/2026 00:00+00",
        "2026-02-30 1",
    ],
    "timestamptz(0)": ["2026-01-31 12:00:00.5Z"],
    "timestamp": ["2026-01-31 12:00:00+01", "2026-01-31 12:00:00.1234567", "now", "2026-02-30"],
    "timestamp(3)": ["2026-01-31 12:00:00.1234"],
    "date": ["2026-01-31 12:00:00", "01/02/2026", "today", "2026-02-30", "infinity"],
    "numeric(6,2)": ["1.005", "10000", "1e2", "x", ""],
    "numeric(3,0)": ["1.5", "1000"],
    "varchar(3)": ["abcd", "abc ", "\u00e4\u00f6\u00fc\u00e4"],
    "jsonb": ["{", "", "nope"],
    "uuid": ["0000"],
}


TYPE = "SELECT atttypid, atttypmod FROM pg_attribute WHERE attrelid = 'raw.t'::regclass AND attname = 'c'"


def write(path: Path, values: list[str]) -> None:
    with path.open("w", newline="") as file:
        csv.writer(file, quoting=csv.QUOTE_ALL).writerows([["c"], *([value] for value in values)])


def stream(**changes: object) -> StreamSpec:
    return StreamSpec(name="t", types=(("c", "text"),), **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", GOOD)
def test_a_text_of_a_file_is_read_as_postgresql_reads_it(kind: str, destination_db: str, tmp_path: Path) -> None:
    """F7: the target's type decides; no value differs from what a cast of the text gives."""
    write(tmp_path / "t.csv", GOOD[kind])
    run(destination_db, f"CREATE SCHEMA raw; CREATE TABLE raw.t (c {kind})")
    before = rows_of(destination_db, TYPE)
    loaded(pipeline(tmp_path / "t.csv", destination_db, stream(), write_mode="append"))
    quoted = ", ".join("('" + value.replace("'", "''") + f"'::text::{kind})" for value in GOOD[kind])
    found = rows_of(destination_db, "SELECT c::text FROM raw.t ORDER BY 1")
    assert found == rows_of(destination_db, f"SELECT v::text FROM (VALUES {quoted}) AS w (v) ORDER BY 1")
    assert rows_of(destination_db, TYPE) == before


@pytest.mark.parametrize(("kind", "value"), [(kind, value) for kind, values in BAD.items() for value in values])
def test_a_text_that_would_change_is_refused_with_its_line(
    kind: str, value: str, destination_db: str, tmp_path: Path
) -> None:
    """F7, B12: exit 5, column and line of the file, the value itself in row_detail alone; nothing is loaded."""
    write(tmp_path / "t.csv", [*GOOD[kind][:2], value])
    run(destination_db, f"CREATE SCHEMA raw; CREATE TABLE raw.t (c {kind})")
    spec = pipeline(tmp_path / "t.csv", destination_db, stream(), write_mode="append")
    result = rapidbyte.run(spec)
    assert result.error is not None, "it was loaded"
    assert (result.exit_code, result.error.category, result.error.column) == (5, "data", "c"), result.error
    assert result.error.line == len(["header", *GOOD[kind][:2], value])
    assert rows_of(destination_db, "SELECT count(*) FROM raw.t") == [(0,)]


def test_what_is_allowed_to_change_is_not_looked_at(destination_db: str, tmp_path: Path) -> None:
    """`allow_lossy` leaves it to the server, which rounds, and `lossy_columns` says so."""
    write(tmp_path / "t.csv", ["1.005", "1e2"])
    run(destination_db, "CREATE SCHEMA raw; CREATE TABLE raw.t (c numeric(6,2))")
    spec = pipeline(tmp_path / "t.csv", destination_db, stream(allow_lossy=("c",)), write_mode="append")
    assert loaded(spec).streams[0].lossy_columns == ("c",)
    assert rows_of(destination_db, "SELECT c::text FROM raw.t ORDER BY c") == [("1.01",), ("100.00",)]


def inferred(target: str) -> StreamSpec:
    return StreamSpec(name="t", target=target)


def test_decimals_of_a_file_go_into_a_column_with_room_for_them(destination_db: str, tmp_path: Path) -> None:
    """Inferred ones, with two decimals: into numeric(6,2) and (9,3); into (6,1) they would be rounded: exit 2."""
    write(tmp_path / "t.csv", ["1.25", "-3.50"])
    for number, (kind, code) in enumerate([("numeric(6,2)", 0), ("numeric(9,3)", 0), ("numeric(6,1)", 2)]):
        run(destination_db, f"CREATE SCHEMA IF NOT EXISTS raw; CREATE TABLE raw.t{number} (c {kind})")
        spec = pipeline(
            tmp_path / "t.csv",
            destination_db,
            StreamSpec(name="t", target=f"t{number}"),
            write_mode="append",
        )
        if code:
            refused(spec, code, "columns_refused")
        else:
            loaded(spec)
            assert rows_of(destination_db, f"SELECT sum(c)::float FROM raw.t{number}") == [(-2.25,)]
    write(tmp_path / "t.csv", ["99999.25"])
    refused(
        pipeline(tmp_path / "t.csv", destination_db, inferred("t0"), write_mode="append"),
        5,
        "value_does_not_fit",
    )
