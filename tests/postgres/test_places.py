"""What the server refuses of a file is told with the file's name and line, not with the COPY's."""

from __future__ import annotations

from pathlib import Path

import pytest

import rapidbyte
from tests.postgres.leading import run

PIPELINE = """
version: "1.0"
pipeline: places
source: {{use: files, config: {{path: "{folder}"}}, streams: [{{name: t, path: "{folder}/*.csv"}}]}}
destination: {{use: postgres, config: {{dsn: "{dsn}"}}, write_mode: append}}
resources: {{parallelism: 1}}
"""


def failed(folder: Path, dsn: str) -> tuple[str, int | None]:
    """Message and line of the run's error, which is one of the data."""
    (folder / "p.yaml").write_text(PIPELINE.format(folder=folder, dsn=dsn))
    result = rapidbyte.run(folder / "p.yaml")
    assert result.error is not None
    assert result.exit_code == 5
    return result.error.message, result.error.line


@pytest.mark.parametrize("number", [1, 2, 777, 20_000])
@pytest.mark.parametrize("check", ["integer", "integer CHECK (amount >= 0)"])
def test_a_bad_row_has_the_files_line(tmp_path: Path, destination_db: str, number: int, check: str) -> None:
    """The header counts, other files do not; a type and a CHECK alike."""
    run(destination_db, f"CREATE TABLE t (id integer, amount {check}, note text)")
    bad = "oops" if check == "integer" else "-1"
    rows = [f"{i},{bad if i == number else i},n{i}" for i in range(1, 20_001)]
    (tmp_path / "a.csv").write_text("id,amount,note\n1,1,x\n")
    (tmp_path / "b.csv").write_text("\n".join(["id,amount,note", *rows]) + "\n")
    message, line = failed(tmp_path, destination_db)
    assert message.startswith(f"{tmp_path}/b.csv, line {number + 1}: ")
    assert line == number + 1


@pytest.mark.parametrize(("bad", "place", "line"), [("oops", "a.csv", None), ("-1", "a.csv, line 100", 100)])
def test_where_values_hold_line_breaks_the_file_is_told(
    tmp_path: Path, destination_db: str, bad: str, place: str, line: int | None
) -> None:
    """The server counts lines of CSV, of which a row has two here: a line would be another row's. In binary, rows."""
    run(destination_db, "CREATE TABLE t (id integer, amount integer CHECK (amount >= 0), note text)")
    rows = [f'{i},{bad if i == 50 else i},"a\nb"' for i in range(1, 101)]
    (tmp_path / "a.csv").write_text("\n".join(["id,amount,note", *rows]) + "\n")
    message, found = failed(tmp_path, destination_db)
    assert message.startswith(f"{tmp_path}/{place}: ")
    assert found == line
