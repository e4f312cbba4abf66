"""CSV: dialects, headers, records exactly as they were written, and on which line what is wrong."""

from __future__ import annotations

import csv
import gzip
import io
from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rapidbyte.errors import CancelledError, ConfigError, DataError, SourceError
from rapidbyte.sources.files.delimited import Records
from rapidbyte.sources.files.dialect import Dialect, choose_dialect, read_header
from rapidbyte.sources.files.paths import DataFile, find_files
from rapidbyte.spec import FilesSourceSpec

COMMA = Dialect(delimiter=",")


def written(folder: Path, data: bytes | str, name: str = "a.csv") -> DataFile:
    (folder / name).write_bytes(data if isinstance(data, bytes) else data.encode())
    (found,) = find_files(name, str(folder))
    return found


def rows_of(file: DataFile, dialect: Dialect = COMMA, *, block: int = 1 << 20, longest: int = 1 << 20) -> list[tuple]:
    """All rows, each a tuple of texts and None."""
    names = read_header(file, dialect)
    records = Records(file, dialect, names, tuple(range(len(names))), block_bytes=block, max_row_bytes=longest)
    rows = [tuple(row.values()) for batch in records for row in batch.to_pylist()]
    assert len(rows) == records.row_count
    return rows


@pytest.mark.parametrize(
    ("data", "rows"),
    [
        ("a,b\n1,2\n", [("1", "2")]),
        ("a,b\n1,2", [("1", "2")]),
        ("a,b\r\n1,2\r\n3,4\r\n", [("1", "2"), ("3", "4")]),
        ("a,b\r1,2\r3,4", [("1", "2"), ("3", "4")]),
        ("a,b\r\n1,2\n3,4\r\n", [("1", "2"), ("3", "4")]),
        ("\ufeffa,b\n1,2\n", [("1", "2")]),
        ("\n\na,b\n\n1,2\n\n", [("1", "2")]),
        ('a,b\n,""\n', [(None, "")]),
        ('a,b\n1,"x\r\ny\n,""z"""\n', [("1", 'x\r\ny\n,"z"')]),
        ("a,b\n 1 , 2 \n", [(" 1 ", " 2 ")]),
        ("a,b\n\\N,NULL\n", [("\\N", "NULL")]),
        ("a,b\n1,x\0y\n", [("1", "x\0y")]),
        ("a,b\n\\.,1\n", [("\\.", "1")]),
        ("a\n1\n\n3\n", [("1",), (None,), ("3",)]),
        ('a\n""\n', [("",)]),
        ("a,b\n", []),
        ("a,b", []),
        ('a,b\n1,"\n"\n', [("1", "\n")]),
        ('a,b\n1,"x"\n\n\n', [("1", "x")]),
        ('"a\nx",b\n1,2\n', [("1", "2")]),
    ],
)
def test_records_are_as_they_were_written(tmp_path: Path, data: str, rows: list[tuple]) -> None:
    """Line ends, quotes, NULL and the empty text, as in PostgreSQL's csv; no blank is cut."""
    assert rows == rows_of(written(tmp_path, data))


FIELDS = st.one_of(st.none(), st.text(st.sampled_from('a",;\n\r\\é🐘 '), max_size=6))


@given(
    st.lists(st.tuples(FIELDS, FIELDS, FIELDS), max_size=30),
    st.sampled_from(["\n", "\r\n"]),
    st.sampled_from([40, 64, 300]),
    st.sampled_from(",;\t"),
)
@settings(max_examples=80)
def test_what_was_written_is_read_in_blocks_of_any_size(
    tmp_path: Path, rows: list[tuple], line_end: str, block: int, delimiter: str
) -> None:
    """Quoted line breaks, quotes and delimiters across blocks; rows longer than a block are read again."""
    text = io.StringIO(newline="")
    for row in [("x", "y", "z"), *rows]:
        fields = ("" if field is None else '"' + field.replace('"', '""') + '"' for field in row)
        text.write(delimiter.join(fields) + line_end)
    file = written(tmp_path, text.getvalue())
    assert rows == rows_of(file, Dialect(delimiter=delimiter), block=block, longest=1 << 16)


@pytest.mark.parametrize("line_end", ["\r\n", "\n"])
def test_a_quoted_line_break_may_stand_anywhere(tmp_path: Path, line_end: str) -> None:
    """Also with its CR at the end of a block: Arrow would leave out the LF that begins the next one."""
    for length in range(1, 40):
        text = line_end.join(["a,b", "x" * length + ',"a\r\nb"', '"\r","\n"'])
        assert rows_of(written(tmp_path, text), block=32) == [("x" * length, "a\r\nb"), ("\r", "\n")]


@given(st.lists(st.tuples(st.integers(), st.text('abc,"\n', max_size=9)), min_size=1, max_size=60), st.data())
@settings(max_examples=60)
def test_the_line_of_a_row_is_where_it_begins(tmp_path: Path, rows: list[tuple], data: st.DataObject) -> None:
    """Counted through quoted line breaks, empty lines and skipped ones."""
    text = io.StringIO(newline="")
    text.write('junk "\n\n')
    writer = csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\n")
    lines: list[int] = []
    for row in [("a", "b"), *rows]:
        text.write("\n" * data.draw(st.integers(0, 2)))
        lines.append(text.getvalue().count("\n") + 1)
        writer.writerow(row)
    dialect = Dialect(delimiter=",", skip=1)
    file = written(tmp_path, text.getvalue())
    records = Records(file, dialect, ("a", "b"), (0, 1), block_bytes=1 << 20, max_row_bytes=1 << 20)
    assert lines[1:] == [records.line_of(index) for index in range(len(rows))]
    assert records.line_of(len(rows)) is None


@pytest.mark.parametrize(
    ("data", "line", "code"),
    [
        ("a,b\n1,2\n3\n4,5\n", 3, "row_malformed"),
        ("a,b\n1,2\n3,4,5\n", 3, "row_malformed"),
        ("a,b\n1,2,\n", 2, "row_malformed"),
        ('a,b\n\n1,"x\ny"\n3\n', 5, "row_malformed"),
        ('a,b\n1,"2\n3,4\n', 2, "row_malformed"),
        ('a,b\n1,"2', 2, "row_malformed"),
        ('a,b\n1,"2""\n', 2, "row_malformed"),
        ("a,b\n1,2\n3,4\r\n5,\"x", 4, "row_malformed"),
        (b"a,b\n1,2\n3,\xff\n", 3, "encoding_invalid"),
        (b"a,b\n1,\xed\xa0\x80\n", 2, "encoding_invalid"),
    ],
)  # fmt: skip
def test_a_malformed_record_is_a_data_error_with_its_line(
    tmp_path: Path, data: bytes | str, line: int, code: str
) -> None:
    """Never a NULL, never a row less. The record's text is not in the message."""
    with pytest.raises(DataError) as raised:
        rows_of(written(tmp_path, data))
    assert (line, code, 5) == (raised.value.context.line, raised.value.code, raised.value.exit_code)
    assert f"a.csv, line {line}" in raised.value.message


@pytest.mark.slow
def test_no_row_is_lost_after_millions(tmp_path: Path) -> None:
    """Malformed rows right after 8,000,004 bytes: DuckDB 2.0 takes this place for the end of the file."""
    file = written(tmp_path, b"a,b\n" + b"1,2\n" * 2_000_000 + b"5\n7,8\n")
    records = Records(file, COMMA, ("a", "b"), (0, 1), block_bytes=1 << 20, max_row_bytes=1 << 20)
    with pytest.raises(DataError) as raised:
        list(records)
    assert raised.value.context.line == 2_000_002


def test_a_row_longer_than_any_block_is_refused_with_its_line(tmp_path: Path) -> None:
    """A lone quote looks like that; nothing is cut."""
    file = written(tmp_path, 'a,b\n1,2\n3,"' + "x" * 5000 + '"\n')
    assert rows_of(file, block=256, longest=1 << 16)[1] == ("3", "x" * 5000)
    with pytest.raises(DataError) as raised:
        rows_of(file, block=256, longest=1024)
    assert (raised.value.context.line, raised.value.code) == (3, "row_too_long")


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
def test_compressed_files_are_read_to_their_end_or_not_at_all(tmp_path: Path, compression: str) -> None:
    """Cut off, or with a wrong checksum: an error, though every row before is there."""
    ending = {"gzip": "gz", "zstd": "zst"}[compression]
    plain = b"a,b\n" + b"".join(b"%d,%d\n" % (i, i * 7919) for i in range(50_000))
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, compression) as output:
        output.write(plain)
    packed = sink.getvalue().to_pybytes()
    assert len(rows_of(written(tmp_path, packed, f"a.csv.{ending}"))) == 50_000
    for broken in (packed[: len(packed) // 2], packed[:-3], plain):
        with pytest.raises(SourceError) as raised:
            rows_of(written(tmp_path, broken, f"b.csv.{ending}"))
        assert raised.value.code == "file_corrupt"


def test_a_gzip_file_of_several_members_is_one_text(tmp_path: Path) -> None:
    """As gunzip has it."""
    data = gzip.compress(b"a,b\n1,2\n") + gzip.compress(b"3,4\n")
    assert rows_of(written(tmp_path, data, "a.csv.gz")) == [("1", "2"), ("3", "4")]


def test_a_wrong_checksum_is_an_error(tmp_path: Path) -> None:
    """gzip's CRC is checked; DuckDB 2.0 does not look at it."""
    data = bytearray(gzip.compress(b"a,b\n1,2\n"))
    data[-6] ^= 0xFF
    with pytest.raises(SourceError) as raised:
        rows_of(written(tmp_path, bytes(data), "a.csv.gz"))
    assert raised.value.code == "file_corrupt"


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "utf-16", "utf-16-le", "utf-8-sig", "shift_jis", "UTF8"])
def test_other_encodings_are_read(tmp_path: Path, encoding: str) -> None:
    """Whatever Python can decode."""
    text = "a,b\n1,é\n" if encoding != "shift_jis" else "a,b\n1,表\n"
    file = written(tmp_path, text.encode(encoding))
    dialect = choose_dialect(FilesSourceSpec(encoding=encoding), file)
    assert rows_of(file, dialect) == [("1", text[-2])]


def test_characters_cut_in_two_by_a_block_are_whole(tmp_path: Path) -> None:
    """A block ends anywhere."""
    rows = [(str(i), "é🐘") for i in range(500)]
    file = written(tmp_path, "a,b\n".encode("utf-16") + "".join(f"{a},{b}\n" for a, b in rows).encode("utf-16-le"))
    assert rows_of(file, choose_dialect(FilesSourceSpec(encoding="utf-16"), file), block=61) == rows


@pytest.mark.parametrize("data", [b"a,b\n1,\x81\n", b"a,b\n1,2\n\x81"])
def test_text_in_another_encoding_is_a_data_error(tmp_path: Path, data: bytes) -> None:
    """cp1252 has no 0x81."""
    with pytest.raises(DataError) as raised:
        rows_of(written(tmp_path, data), Dialect(delimiter=",", encoding="cp1252"))
    assert (raised.value.code, raised.value.context.sqlstate) == ("encoding_invalid", "22021")


@pytest.mark.parametrize(
    ("spec", "name", "header", "expected"),
    [
        (FilesSourceSpec(), "a.csv", "a,b;c\n", ","),
        (FilesSourceSpec(), "a.csv", "a;b;c\n", ";"),
        (FilesSourceSpec(), "a.csv", "a\tb\n", "\t"),
        (FilesSourceSpec(), "a.csv", "a|b|c,d\n", "|"),
        (FilesSourceSpec(), "a.csv", '"a,b",c;d;e\n', ";"),
        (FilesSourceSpec(), "a.csv", "a\n", ","),
        (FilesSourceSpec(), "a.tsv", "a,b,c\n", "\t"),
        (FilesSourceSpec(delimiter="#"), "a.tsv", "a,b,c\n", "#"),
        (FilesSourceSpec(skip=2), "a.csv", ",,,,\n,,,\na;b\n", ";"),
    ],
)
def test_the_delimiter_is_what_parts_the_header(
    tmp_path: Path, spec: FilesSourceSpec, name: str, header: str, expected: str
) -> None:
    """The one that gives the most names; the name .tsv and the configuration come first."""
    assert choose_dialect(spec, written(tmp_path, header, name)).delimiter == expected


def test_the_options_of_the_dialect_are_obeyed(tmp_path: Path) -> None:
    """Quote, escape, NULL texts, no header, lines to skip."""
    spec = FilesSourceSpec(quote="'", escape="\\", null_strings=("NA", "-"), header=False, skip=1)
    file = written(tmp_path, "skipped, 'line\n1,'it\\'s',NA\n-,,'NA'\n")
    dialect = choose_dialect(spec, file)
    assert rows_of(file, dialect) == [("1", "it's", None), (None, "", "NA")]
    assert read_header(file, dialect) == ("column1", "column2", "column3")


@pytest.mark.parametrize("spec", [{"delimiter": "é"}, {"delimiter": "\n"}, {"quote": ""}, {"encoding": "klingon"}])
def test_a_dialect_that_cannot_be_is_a_config_error(tmp_path: Path, spec: dict[str, str]) -> None:
    """Before anything is read."""
    with pytest.raises(ConfigError):
        choose_dialect(FilesSourceSpec(**spec), written(tmp_path, "a,b\n"))


@pytest.mark.parametrize("header", ["a,,c", "a,b,a", "a, ,c", "1,2,3", "2013-01-01,12.5", "\n\n", ",", "x,1"])
def test_a_header_that_is_none_is_a_source_error(tmp_path: Path, header: str) -> None:
    """Empty names, double names, the first row in its place."""
    with pytest.raises(SourceError) as raised:
        read_header(written(tmp_path, header + "\n"), COMMA)
    assert "a.csv" in raised.value.message


def test_names_may_be_numbers_when_the_configuration_says_header(tmp_path: Path) -> None:
    """Years as names."""
    file = written(tmp_path, "2013,2014\n1,2\n")
    dialect = choose_dialect(FilesSourceSpec(header=True), file)
    assert read_header(file, dialect) == ("2013", "2014")


@pytest.mark.parametrize("data", [b"\x1f\x8b\x08\x00junk", b"PAR1junk", b"\x28\xb5\x2f\xfdjunk"])
def test_what_is_no_text_is_told_by_its_first_bytes(tmp_path: Path, data: bytes) -> None:
    """The hint says what to do."""
    with pytest.raises(SourceError) as raised:
        choose_dialect(FilesSourceSpec(), written(tmp_path, data))
    assert raised.value.hint is not None


def test_reading_stops_when_told(tmp_path: Path) -> None:
    """At the next block."""
    file = written(tmp_path, b"a,b\n" + b"1,2\n" * 100_000)
    answers = iter([False] * 5)
    records = Records(
        file, COMMA, ("a", "b"), (0,), block_bytes=1024, max_row_bytes=1024, stop=lambda: next(answers, True)
    )
    with pytest.raises(CancelledError):
        list(records)
    assert records.row_count < 100_000


def test_reading_may_be_left_at_any_time(tmp_path: Path) -> None:
    """The thread that reads ahead ends with it."""
    file = written(tmp_path, b"a,b\n" + b"1,2\n" * 1_000_000)
    batches = iter(Records(file, COMMA, ("a", "b"), (0, 1), block_bytes=4096, max_row_bytes=4096))
    assert next(batches).num_rows > 0
    batches.close()  # type: ignore[attr-defined]


def test_long_stretches_without_rows_do_not_stop_the_reading(tmp_path: Path) -> None:
    """Empty lines make no batch, so nobody takes one that would let the next block be read."""
    assert rows_of(written(tmp_path, "a,b\n1,2\n" + "\n" * 3000 + "3,4\n"), block=256) == [("1", "2"), ("3", "4")]


@given(st.binary(max_size=80))
@settings(max_examples=100)
def test_any_bytes_give_rows_or_an_error_of_ours(tmp_path: Path, data: bytes) -> None:
    """No other exception leaves this room."""
    file = written(tmp_path, b"a,b\n" + data)
    with suppress(DataError, SourceError):
        rows_of(file, block=32, longest=128)
