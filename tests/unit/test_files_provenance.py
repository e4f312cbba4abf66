"""Columns that say where a row of a file comes from."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rapidbyte.errors import ConfigError
from rapidbyte.partition import Partition
from rapidbyte.sources.files import FilesSource
from rapidbyte.sources.files.provenance import provenance_columns
from rapidbyte.sources.files.read import read_partition
from rapidbyte.spec import FilesSourceSpec, StreamSpec

ALL = ("_file", "_line", "_loaded_at", "_run_id")


def lines_of(folder: Path, name: str, *, part_bytes: int = 1 << 30, **stream: Any) -> list[tuple[Any, ...]]:
    """(id, file, line) of every row, by partition."""
    source = FilesSource(FilesSourceSpec(base_dir=str(folder)))
    spec = StreamSpec(name="s", path=name, metadata=("_file", "_line"), **stream)
    described = source._describe(spec)
    from rapidbyte.sources.files.source import _text_ranges

    found: list[tuple[Any, ...]] = []
    ranges = _text_ranges(described.task, described.task.files[0], part_bytes)
    for index, part in enumerate(ranges):
        with read_partition(described.task, Partition(stream="s", index=index, range=part), lambda: False, 0) as blocks:
            for block in blocks:
                found.extend(zip(*(block.data.column(c).to_pylist() for c in ("id", "_file", "_line")), strict=True))
    return found


def test_lines_of_csv_are_those_on_which_rows_begin(tmp_path: Path) -> None:
    """With line breaks within quotes, empty lines and CR LF between them."""
    (tmp_path / "a.csv").write_bytes(b'\n\nid,note\r\n1,"a\nb"\r\n\n2,x\n3,"\r\n\n"\n4,y')
    assert lines_of(tmp_path, "a.csv") == [
        (1, "a.csv", 4),
        (2, "a.csv", 7),
        (3, "a.csv", 8),
        (4, "a.csv", 11),
    ]


def test_lines_count_from_the_beginning_of_the_file_in_every_part(tmp_path: Path) -> None:
    """A file that several workers read."""
    rows = 40_000
    (tmp_path / "a.csv").write_text("id,note\n" + "".join(f"{i},{'x' * 80}\n" for i in range(rows)))
    found = lines_of(tmp_path, "a.csv", part_bytes=1 << 20)
    assert [(i, line) for i, _, line in found] == [(i, i + 2) for i in range(rows)]


def test_lines_of_ndjson(tmp_path: Path) -> None:
    """Empty lines are counted, and are no rows; compressed files have lines, too."""
    with gzip.open(tmp_path / "a.ndjson.gz", "wb") as file:
        file.write(b'{"id": 1}\n\n{"id": 2}\r\n  \n{"id": 3}')
    assert [(i, line) for i, _, line in lines_of(tmp_path, "a.ndjson.gz")] == [(1, 1), (2, 3), (3, 5)]


def test_a_condition_sees_them_and_keeps_them_with_their_rows(tmp_path: Path) -> None:
    """The line of a row is its own, whatever was left out before it."""
    (tmp_path / "a.csv").write_text("id\n" + "".join(f"{i}\n" for i in range(10)))
    assert lines_of(tmp_path, "a.csv", where="id % 2 = 1 AND _line > 4") == [
        (3, "a.csv", 5),
        (5, "a.csv", 7),
        (7, "a.csv", 9),
        (9, "a.csv", 11),
    ]


def test_none_is_there_unless_it_is_asked_for(tmp_path: Path) -> None:
    """And then they stand behind the file's own columns, with the type and the reason."""
    (tmp_path / "a.csv").write_text("id\n1\n")
    source = FilesSource(FilesSourceSpec(base_dir=str(tmp_path)))
    (plain,) = source.describe((StreamSpec(name="s", path="a.csv"),))
    assert [column.name for column in plain.columns] == ["id"]
    (shape,) = source.describe((StreamSpec(name="s", path="a.csv", columns=("id",), metadata=ALL),))
    assert [(column.name, column.type.name) for column in shape.columns] == [
        ("id", "bigint" if shape.columns[0].type.name == "bigint" else "integer"),
        ("_file", "text"),
        ("_line", "bigint"),
        ("_loaded_at", "timestamp with time zone"),
        ("_run_id", "text"),
    ]
    assert shape.columns[1].reason == "asked for by `metadata`"


def test_what_cannot_be_told_is_refused(tmp_path: Path) -> None:
    """Lines of Parquet; a column of the files' own of that name."""
    pq.write_table(pa.table({"id": [1], "_file": ["x"]}), tmp_path / "a.parquet")
    source = FilesSource(FilesSourceSpec(base_dir=str(tmp_path)))
    with pytest.raises(ConfigError, match="parquet has no lines"):
        source.describe((StreamSpec(name="s", path="a.parquet", metadata=("_line",)),))
    with pytest.raises(ConfigError, match="a column _file of their own"):
        source.describe((StreamSpec(name="s", path="a.parquet", metadata=("_file",)),))
    assert provenance_columns((), ("_file",), "parquet") == ()
