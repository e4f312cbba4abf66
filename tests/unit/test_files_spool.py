"""Standard input: read once, to its end, in bounded memory; and what it cannot be."""

from __future__ import annotations

import gzip
import os
import subprocess
import threading
from pathlib import Path

import pyarrow as pa
import pytest

from rapidbyte.errors import CancelledError, ConfigError, SourceError
from rapidbyte.partition import Partition, can_be_named_again
from rapidbyte.sources.files import FilesSource
from rapidbyte.sources.files.read import read_partition
from rapidbyte.sources.files.source import _text_ranges
from rapidbyte.sources.files.spool import Spool
from rapidbyte.spec import FileFormat, FilesSourceSpec, StreamSpec

CSV = b'id,note\n1,a\n2,\n3,"x\ny"\n'


def piped(data: bytes) -> int:
    """A pipe's reading end that has these bytes, and then ends."""
    reading, writing = os.pipe()

    def write() -> None:
        with os.fdopen(writing, "wb") as file:
            file.write(data)

    threading.Thread(target=write, daemon=True).start()
    return reading


def read_input(fd: int, file_format: FileFormat | None = "csv") -> list[dict[str, object]]:
    source = FilesSource(FilesSourceSpec(format=file_format))
    source._spool = Spool(lambda: False, input_fd=fd)
    found = source._describe(StreamSpec(name="s", path="-"))
    again = source._describe(StreamSpec(name="s", path="-"))
    assert again.task.files == found.task.files
    (part,) = _text_ranges(found.task, found.task.files[0], 1)
    assert not can_be_named_again(part)
    rows: list[dict[str, object]] = []
    with read_partition(found.task, Partition(stream="s", index=0, range=part), lambda: False, 0) as blocks:
        for block in blocks:
            assert isinstance(block.data, pa.RecordBatch)
            rows.extend(block.data.to_pylist())
    return rows


@pytest.mark.parametrize(
    "packed", [lambda data: data, gzip.compress, lambda data: pa.compress(data, "zstd", asbytes=True)]
)
def test_a_pipe_is_read_as_a_file_is(packed) -> None:
    """Also compressed: that is seen at its first bytes. One partition, which no later run can name."""
    rows = read_input(piped(packed(CSV)))
    assert [(row["id"], row["note"]) for row in rows] == [(1, "a"), (2, None), (3, "x\ny")]


def test_a_file_behind_standard_input_is_not_copied(tmp_path: Path) -> None:
    """`rapidbyte run pipeline.yaml < FILE`."""
    (tmp_path / "a.csv").write_bytes(CSV)
    with (tmp_path / "a.csv").open("rb") as file:
        spool = Spool(lambda: False, input_fd=file.fileno())
        found = spool.standard_input()
    assert (found.path, found.spool, found.size) == ("standard input", str(tmp_path / "a.csv"), len(CSV))


def test_a_file_that_was_read_in_part_goes_on_where_it_is(tmp_path: Path) -> None:
    """`{ read -r first; rapidbyte run pipeline.yaml; } < FILE`."""
    (tmp_path / "a.csv").write_bytes(b"a comment\n" + CSV)
    with (tmp_path / "a.csv").open("rb", buffering=0) as file:
        file.seek(10)
        assert len(read_input(file.fileno())) == 3


def test_ndjson_from_a_pipe() -> None:
    """The format is told, since there is no name."""
    assert read_input(piped(b'{"id": 1}\n{"id": 2}\n'), "ndjson") == [{"id": 1}, {"id": 2}]
    with pytest.raises(ConfigError, match="standard input: the name does not tell the format"):
        read_input(piped(CSV), None)


def test_nothing_to_read_is_an_error() -> None:
    """An empty pipe, a closed one, a terminal."""
    with pytest.raises(SourceError, match="standard input is empty"):
        read_input(piped(b""))
    with pytest.raises(SourceError, match="standard input cannot be read"):
        read_input(987)
    leader, follower = os.openpty()
    try:
        with pytest.raises(SourceError, match="standard input is a terminal"):
            read_input(follower)
    finally:
        os.close(leader)
        os.close(follower)


def test_a_stop_ends_the_waiting_for_a_pipe() -> None:
    """Nobody writes, nobody closes it."""
    reading, writing = os.pipe()
    asked = iter([False, False, True])
    try:
        with pytest.raises(CancelledError):
            Spool(lambda: next(asked), input_fd=reading).standard_input()
    finally:
        os.close(reading)
        os.close(writing)


def test_a_cut_off_gzip_is_an_error() -> None:
    """And not a short file (B10)."""
    with pytest.raises(SourceError, match="standard input cannot be read to its end"):
        read_input(piped(gzip.compress(CSV * 1000)[:-20]))


def test_the_copy_is_gone_afterwards(tmp_path: Path) -> None:
    """With the process, or with the source."""
    code = (
        "import os, sys; from rapidbyte.sources.files.spool import Spool;"
        "print(Spool(lambda: False).standard_input().spool)"
    )
    done = subprocess.run(
        [os.sys.executable, "-c", code], input=CSV, capture_output=True, env={**os.environ, "TMPDIR": str(tmp_path)}
    )
    assert done.stdout.decode().strip().startswith(str(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_discover_names_standard_input_as_a_pipeline_does() -> None:
    """What it prints can be pasted."""
    source = FilesSource(FilesSourceSpec(path="-", format="csv"))
    source._spool = Spool(lambda: False, input_fd=piped(CSV))
    (shape,) = source.discover()
    assert (shape.spec.name, shape.spec.path) == ("standard input", "-")
