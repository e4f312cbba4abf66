"""Files that are not what they should be: a clear error, or rows that are right; never rows that are not."""

from __future__ import annotations

import gzip
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rapidbyte.errors import RapidbyteError
from rapidbyte.partition import FileRange
from rapidbyte.sources.files import FilesSource
from rapidbyte.sources.files.read import open_batches
from rapidbyte.spec import FilesSourceSpec, StreamSpec

MEMORY = 16 << 20


def rows_of(folder: Path, path: Any, **spec: Any) -> list[tuple[Any, ...]]:
    source = FilesSource(FilesSourceSpec(base_dir=str(folder), **spec), max_memory_bytes=MEMORY)
    found = source._describe(StreamSpec(name="s", path=path))
    rows: list[tuple[Any, ...]] = []
    for file in found.task.files:
        with open_batches(found.task, file, FileRange(path=file.path), lambda: False) as (batches, _):
            for batch in batches:
                rows.extend(tuple(row.values()) for row in batch.to_pylist())
    return rows


def lying_parquet() -> bytes:
    """Its footer says 1001 rows, and there are 1000."""
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"a": range(1000)}), sink)
    data = sink.getvalue().to_pybytes()
    return data.replace(b"\xd0\x0f", b"\xd2\x0f")


BAD: dict[str, tuple[str, bytes, int, str, str]] = {
    "truncated gzip": ("a.csv.gz", gzip.compress(b"id,x\n" + b"1,2\n" * 9999)[:-30], 3, "file_corrupt", "to its end"),
    "truncated gzip of NDJSON": ("a.ndjson.gz", gzip.compress(b'{"a": 1}\n' * 9999)[:-9], 3, "file_corrupt", "its end"),
    "truncated zstd": (
        "a.csv.zst",
        pa.compress(b"id,x\n" + b"1,2\n" * 9999, "zstd", asbytes=True)[:-9],
        3,
        "file_corrupt",
        "",
    ),
    "no gzip at all": ("a.csv.gz", b"id,x\n1,2\n", 3, "file_corrupt", ""),
    "empty": ("a.csv", b"", 3, "file_empty", "is empty"),
    "empty lines": ("a.csv", b"\n\r\n", 3, "file_empty", "nothing but empty lines"),
    "two columns of one name": ("a.csv", b"id,id\n1,2\n", 3, "header_invalid", "'id' more than once"),
    "a column without a name": ("a.csv", b"id,,x\n1,2,3\n", 3, "header_invalid", "no name for column 2"),
    "NUL in a name": ("a.csv", b"i\0d,x\n1,2\n", 3, "header_invalid", "holds a NUL character"),
    "too few fields": ("a.csv", b"id,x\n1,2\n1\n", 5, "row_malformed", "line 3: 1 field where 2 are due"),
    "too many fields": ("a.csv", b"id,x\n1,2\n1,2,3\n", 5, "row_malformed", "line 3: 3 fields where 2 are due"),
    "a quote that is not closed": ("a.csv", b'id,x\n1,"2\n3,4\n', 5, "row_malformed", "line 2: a quote is not closed"),
    "Parquet of no bytes": ("a.parquet", b"", 3, "file_empty", "is empty"),
    "Parquet without a footer": ("a.parquet", b"PAR1PAR1", 3, "file_corrupt", "cannot be read"),
    "a footer with other rows": ("a.parquet", lying_parquet(), 3, "file_corrupt", "a.parquet"),
    "UTF-16 by its mark": ("a.csv", "id,x\n1,é\n".encode("utf-16"), 5, "encoding_invalid", "is that of utf-16"),
    "Latin-1": ("a.csv", "id,x\n1,é\n".encode("latin-1"), 5, "encoding_invalid", "line 2: the text is not utf-8"),
    "a field beyond the memory": (
        "a.csv",
        b'id,x\n1,"' + b"y" * (2 * MEMORY) + b'"\n',
        5,
        "row_too_long",
        "longer than",
    ),
    "a line of NDJSON beyond it": ("a.ndjson", b'{"a": "' + b"y" * (2 * MEMORY) + b'"}\n', 5, "row_too_long", "line 1"),
    "a million columns": ("a.csv", b",".join(b"c%d" % i for i in range(10**6)) + b"\n", 3, "header_invalid", "1000000"),
    "a name without an end": ("a.csv", b"x" * 10**6 + b"\n1\n", 3, "header_invalid", "cannot be read"),
}


@pytest.mark.parametrize(("name", "data", "exit_code", "code", "told"), BAD.values(), ids=BAD)
def test_a_bad_file_is_an_error_that_names_it(
    tmp_path: Path, name: str, data: bytes, exit_code: int, code: str, told: str
) -> None:
    """Whose fault it is, and where (B1, B10, B15)."""
    (tmp_path / name).write_bytes(data)
    with pytest.raises(RapidbyteError) as raised:
        rows_of(tmp_path, name)
    assert (raised.value.exit_code, raised.value.code) == (exit_code, code)
    assert name in raised.value.message
    assert told in raised.value.message


@pytest.mark.parametrize(
    ("data", "spec"),
    [
        ("﻿id,x\n1,é\n".encode(), {}),
        ("id,x\n1,é\n".encode("utf-16"), {"encoding": "utf-16"}),
        ("id,x\n1,é\n".encode("latin-1"), {"encoding": "latin-1"}),
        (b"id,x\r\n1,\xc3\xa9", {}),
    ],
    ids=["byte order mark", "utf-16 that is told", "latin-1 that is told", "CR LF and no last line break"],
)
def test_what_is_unusual_and_right_is_read(tmp_path: Path, data: bytes, spec: dict[str, Any]) -> None:
    """The same row each time."""
    (tmp_path / "a.csv").write_bytes(data)
    assert rows_of(tmp_path, "a.csv", **spec) == [(1, "é")]


def test_a_header_without_rows_is_a_stream_without_rows(tmp_path: Path) -> None:
    """`min_rows` guards a replace against it."""
    (tmp_path / "a.csv").write_bytes(b"id,x\n")
    assert rows_of(tmp_path, "a.csv") == []


@pytest.mark.parametrize(
    "others", [b"id,y\n1,2\n", b"id\n1\n", b"id,x,z\n1,2,3\n"], ids=["another name", "one fewer", "one more"]
)
def test_a_glob_of_different_columns_is_refused(tmp_path: Path, others: bytes) -> None:
    """With both files' names (B13)."""
    (tmp_path / "a.csv").write_bytes(b"id,x\n1,2\n")
    (tmp_path / "b.csv").write_bytes(others)
    with pytest.raises(RapidbyteError, match=r"b\.csv has .*unlike a\.csv") as raised:
        rows_of(tmp_path, "*.csv")
    assert (raised.value.exit_code, raised.value.code) == (3, "schemas_differ")


@pytest.mark.parametrize("change", [lambda p: p.write_bytes(b"id\n7\n"), lambda p: p.write_bytes(b"id\n1\n2\n")])
def test_a_file_that_changes_while_it_is_read_is_an_error(tmp_path: Path, change: Callable[[Path], object]) -> None:
    """Replaced, or appended to (B12)."""
    path = tmp_path / "a.csv"
    path.write_bytes(b"id\n1\n")
    source = FilesSource(FilesSourceSpec(base_dir=str(tmp_path)))
    task = source._describe(StreamSpec(name="s", path="a.csv")).task
    (file,) = task.files
    with open_batches(task, file, FileRange(path=file.path), lambda: False) as (batches, _):
        next(batches)
        change(path)
        with pytest.raises(RapidbyteError, match="has changed since it was looked at"):
            list(batches)


def test_links_that_lead_in_circles_bring_no_row_twice(tmp_path: Path) -> None:
    """A link to the folder itself, to a file that is there already, and to nothing."""
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.csv").write_bytes(b"id\n1\n")
    (folder / "loop").symlink_to(".")
    assert rows_of(tmp_path, "in/**/*.csv") == rows_of(tmp_path, "in/**") == rows_of(tmp_path, "in") == [(1,)]
    (folder / "b.csv").symlink_to("a.csv")
    assert rows_of(tmp_path, "in/*.csv") == [(1,)]
    (folder / "self.csv").symlink_to("self.csv")
    with pytest.raises(RapidbyteError, match=r"self\.csv") as raised:
        rows_of(tmp_path, "in/*.csv")
    assert raised.value.exit_code == 3


def test_a_path_may_lead_anywhere_and_is_told_in_full(tmp_path: Path) -> None:
    """Who writes the pipeline file decides what is read; what is missing is named."""
    (tmp_path / "below").mkdir()
    (tmp_path / "a.csv").write_bytes(b"id\n1\n")
    assert rows_of(tmp_path / "below", "../a.csv") == [(1,)]
    for path in ("../nowhere.csv", "nothing-*.csv"):
        with pytest.raises(RapidbyteError, match=path.strip(".").replace("*", r"\*")) as raised:
            rows_of(tmp_path / "below", path)
        assert raised.value.code == "file_not_found"
    os.mkfifo(tmp_path / "pipe.csv")
    with pytest.raises(RapidbyteError, match="not a plain file"):
        rows_of(tmp_path, "pipe.csv")


@pytest.mark.parametrize("path", ["in", "in/**", "in/*.csv", "in/**/*.csv", "*/*.csv"])
def test_a_pattern_does_not_lead_out_of_its_folder(tmp_path: Path, path: str) -> None:
    """By a link to a file or a folder elsewhere, unless that is asked for; a path of its own may."""
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "b.csv").write_bytes(b"id\n2\n")
    folder = tmp_path / "here" / "in"
    folder.mkdir(parents=True)
    (folder / "a.csv").write_bytes(b"id\n1\n")
    link = folder / "link" if "/**/" in path else folder / "b.csv"
    link.symlink_to(tmp_path / "secret" if "/**/" in path else tmp_path / "secret" / "b.csv")
    with pytest.raises(RapidbyteError, match="leads out of") as raised:
        rows_of(tmp_path / "here", path)
    assert (raised.value.exit_code, raised.value.code) == (3, "path_escapes")
    assert rows_of(tmp_path / "here", path, follows_links=True) == [(1,), (2,)]
    assert rows_of(tmp_path / "here", str(link / "b.csv" if link.is_dir() else link)) == [(2,)]


def test_links_within_a_folder_are_followed(tmp_path: Path) -> None:
    """And the folder itself may be a link, as where another system keeps its newest files behind one."""
    (tmp_path / "v1").mkdir()
    (tmp_path / "v1" / "a.csv").write_bytes(b"id\n1\n")
    (tmp_path / "v1" / "latest.csv").symlink_to("a.csv")
    (tmp_path / "current").symlink_to("v1")
    assert rows_of(tmp_path, "current/*.csv") == rows_of(tmp_path, "current") == [(1,)]


def test_the_pipeline_files_folder_may_be_called_like_a_pattern(tmp_path: Path) -> None:
    """`[` and `*` in it are characters."""
    folder = tmp_path / "a[1]*"
    folder.mkdir()
    (folder / "a.csv").write_bytes(b"id\n1\n")
    assert rows_of(folder, "*.csv") == rows_of(folder, "a.csv") == [(1,)]
