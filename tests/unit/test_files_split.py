"""Large text files are read by several workers: every row in exactly one part, or one part and a reason."""

from __future__ import annotations

import csv
import gzip
import io
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rapidbyte.errors import DataError, SourceError
from rapidbyte.partition import FileRange
from rapidbyte.sources.files import split
from rapidbyte.sources.files.delimited import Records
from rapidbyte.sources.files.dialect import Dialect
from rapidbyte.sources.files.paths import ByteRange, stamp
from rapidbyte.spec import StreamSpec
from tests.unit.test_files_source import Folder, plan_of

CSV = Dialect(delimiter=",")


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts of a few bytes, looked for in windows of fewer."""
    monkeypatch.setattr(split, "SMALLEST_PART_BYTES", 8)
    monkeypatch.setattr(split, "WINDOW_BYTES", 7)


FIELDS = st.text(st.sampled_from('ab",\n\r 1'), max_size=6)


@given(st.lists(st.tuples(FIELDS, FIELDS), max_size=30), st.integers(8, 60), st.sampled_from(["\n", "\r\n"]))
def test_every_record_of_csv_is_in_one_part(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]], size: int, end: str
) -> None:
    """With quotes, and line breaks and delimiters within them."""
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator=end, quoting=csv.QUOTE_ALL).writerows([("a", "b"), *rows])
    path = tmp_path_factory.mktemp("csv") / "a.csv"
    path.write_bytes(text.getvalue().encode())
    file = stamp(path)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(split, "SMALLEST_PART_BYTES", 8)
        patched.setattr(split, "WINDOW_BYTES", 7)
        cut = split.cut_lines(file, partition_bytes=size, encoding="utf-8", dialect=CSV)
    assert [part.low for part in cut.parts] == [0, *(part.high for part in cut.parts[:-1])]
    found: list[tuple[str, str]] = []
    for part in cut.parts:
        records = Records(file, CSV, ("a", "b"), (0, 1), block_bytes=1 << 16, max_row_bytes=1 << 20, part=part)
        found += [(row["c0"], row["c1"]) for batch in records for row in batch.to_pylist()]
    assert found == rows


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=50), st.integers(8, 60))
def test_every_line_of_ndjson_is_in_one_part(
    tmp_path_factory: pytest.TempPathFactory, numbers: list[int], size: int
) -> None:
    """Cut after line breaks alone."""
    folder = Folder(tmp_path_factory.mktemp("json"))
    folder.write("a.ndjson", "".join(f'{{"a": {number}}}\n' for number in numbers))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(split, "SMALLEST_PART_BYTES", 8)
        parts = folder.rows("a.ndjson", partition_bytes=size)
    assert [row for part in parts for row in part] == [(number,) for number in numbers]
    assert len(parts) > 1 or len(numbers) * 10 < 3 * size


@pytest.mark.parametrize(
    ("name", "text", "config", "reason"),
    [
        ("a.csv.gz", "a\n" + "1\n" * 99, {}, "gzip is read from its beginning"),
        ("a.csv", "a\n" + "1\n" * 99, {"encoding": "utf-16"}, "a line break cannot be found in the midst of utf-16"),
        ("a.csv", "a\n" + "1\n" * 99, {"escape": "\\"}, "with an `escape` a line break can be part of a field"),
        ("a.csv", "x\na\n" + "1\n" * 99, {"skip": 1}, "lines are skipped at its beginning"),
        ("a.csv", "a,b\n" + '5" disk,1\n' * 9, {}, "its quotes are not paired"),
        ("a.csv", "a,b\r" + "1,2\r" * 99, {}, "no line break lies outside of quotes"),
    ],
)
def test_a_file_that_cannot_be_cut_is_one_part(
    folder: Folder, name: str, text: str, config: dict[str, object], reason: str
) -> None:
    """And it is said why; all of its rows arrive."""
    encoded = text.encode(str(config.get("encoding", "utf-8")))
    path = folder.write(name, gzip.compress(encoded) if name.endswith("gz") else encoded)
    from rapidbyte.sources.files.dialect import choose_dialect
    from rapidbyte.spec import FilesSourceSpec

    file = stamp(path)
    dialect = choose_dialect(FilesSourceSpec(delimiter=",", **config), file)  # type: ignore[arg-type]
    cut = split.cut_lines(file, partition_bytes=8, encoding=dialect.encoding, dialect=dialect)
    assert (len(cut.parts), cut.reason) == (1, reason)
    (rows,) = folder.rows(name, config={"delimiter": ",", **config}, partition_bytes=8)
    assert len(rows) in (9, 99)
    told = folder.shape(name, config={"delimiter": ",", **config}).partitioning
    known = split.obstacle(file, dialect.encoding, dialect)  # what only reading tells, the plan does not
    assert told == ("ranges of lines" if known is None else f"one partition a file: {reason}")


def test_a_misfit_in_a_later_part_is_named_by_its_line_in_the_file(folder: Folder) -> None:
    """Not by its line in the part."""
    lines = ["a,b", *["1,x"] * 40, "oops,x", *["1,x"] * 40]
    folder.write("a.csv", "\n".join(lines) + "\n")
    with pytest.raises(DataError) as raised:
        folder.rows("a.csv", partition_bytes=32, types=(("a", "bigint"),))
    assert raised.value.context.line == 42
    folder.write("a.ndjson", "".join(f'{{"a": {"1" if number != 60 else "x"}}}\n' for number in range(90)))
    file = stamp(folder.path / "a.ndjson")
    cut = split.cut_lines(file, partition_bytes=32, encoding="utf-8", dialect=None)
    from rapidbyte.sources.files.ndjson import JsonPlan
    from rapidbyte.sources.files.ndjson_records import JsonRecords

    plan = JsonPlan(columns=(), is_closed=False, known=frozenset(), flatten=False, encoding="utf-8")
    readers = [JsonRecords(file, plan, block_bytes=64, max_row_bytes=1 << 20, part=part) for part in cut.parts]
    with pytest.raises(DataError) as raised:
        [list(reader.rows(lines)) for reader in readers for lines in reader.blocks()]
    assert raised.value.context.line == 61


def test_a_part_that_ends_within_quotes_is_an_error(folder: Folder) -> None:
    """So a wrong cut cannot go unnoticed."""
    path = folder.write("a.csv", 'a,b\n1,"x\ny"\n')
    records = Records(
        stamp(path), CSV, ("a", "b"), (0, 1), block_bytes=1 << 16, max_row_bytes=1 << 20, part=ByteRange(low=0, high=9)
    )
    with pytest.raises(DataError) as raised:
        list(records)
    assert raised.value.code == "row_malformed"


def test_parts_can_be_named_again(folder: Folder) -> None:
    """A resumed load reads the same bytes of the same file, or begins anew."""
    folder.write("a.csv", "a\n" + "1\n" * 99)
    source = folder.source()
    plan = plan_of(source.describe((StreamSpec(name="s", path="a.csv"),))[0])
    with source.snapshot((plan,)) as snapshot:
        partitions = snapshot.partitions(plan, 40)
        ranges = [part.range for part in partitions]
        assert snapshot.still_has(plan, partitions)
    assert all(isinstance(part, FileRange) and part.fingerprint and part.low_byte is not None for part in ranges)


TABLE = pa.table(
    {"id": list(range(100)), "o": [{"a": i, "b": str(i)} for i in range(100)], "l": [[1, i] for i in range(100)]}
)


def arrow_file(path: Path, *, stream: bool = False, batch: int = 30) -> Path:
    with pa.OSFile(str(path), "wb") as sink:
        opened = pa.ipc.new_stream(sink, TABLE.schema) if stream else pa.ipc.new_file(sink, TABLE.schema)
        with opened as writer:
            writer.write_table(TABLE, max_chunksize=batch)
    return path


@pytest.mark.parametrize("is_stream", [False, True])
def test_arrow_files_and_streams_are_read(folder: Folder, is_stream: bool) -> None:
    """A file's record batches by several workers, a stream by one; types as in Parquet."""
    arrow_file(folder.path / "a.arrow", stream=is_stream)
    shape = folder.shape("a.arrow")
    assert [(column.name, column.type.name) for column in shape.columns] == [
        ("id", "bigint"),
        ("o", "jsonb"),
        ("l", "bigint[]"),
    ]
    parts = folder.rows("a.arrow", partition_bytes=1)
    assert [len(part) for part in parts] == ([100] if is_stream else [30, 30, 30, 10])
    assert [row[0] for part in parts for row in part] == list(range(100))


@pytest.mark.parametrize("is_stream", [False, True])
def test_a_truncated_arrow_file_is_a_source_error(folder: Folder, is_stream: bool) -> None:
    """Also one that was cut between two record batches; and one that is no Arrow at all."""
    whole = arrow_file(folder.path / "a.arrow", stream=is_stream).read_bytes()
    for cut in (whole[:-8], whole[:-300], whole[:100], b"not arrow at all", b"\0"):
        folder.write("b.arrow", cut)
        with pytest.raises(SourceError) as raised:
            folder.rows("b.arrow")
        assert raised.value.code == "file_corrupt"


@pytest.mark.parametrize("name", ["a.arrow", "a.parquet"])
def test_structs_become_columns_where_asked(folder: Folder, name: str) -> None:
    """At every depth; NULL where the struct is; two columns of one name are refused."""
    table = pa.table({"id": [1, 2], "o": [{"a": 5, "p": {"q": "x"}}, None]})
    if name.endswith("parquet"):
        folder.parquet(name, table)
    else:
        with pa.ipc.new_file(str(folder.path / name), table.schema) as writer:
            writer.write_table(table)
    shape = folder.shape(name, flatten=True)
    assert [column.name for column in shape.columns] == ["id", "o_a", "o_p_q"]
    assert folder.rows(name, flatten=True) == [[(1, 5, "x"), (2, None, None)]]
    assert folder.rows(name, flatten=True, columns=("o_p_q",)) == [[("x",), (None,)]]
    folder.parquet("b.parquet", pa.table({"o_a": [1], "o": [{"a": 1}]}))
    with pytest.raises(SourceError) as raised:
        folder.shape("b.parquet", flatten=True)
    assert raised.value.code == "header_invalid"
