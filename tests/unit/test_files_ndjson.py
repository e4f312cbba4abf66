"""NDJSON: every value as it stands in the file, or an error that names the line."""

from __future__ import annotations

import gzip
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rapidbyte.errors import DataError, SourceError
from rapidbyte.sources.files import FilesSource
from rapidbyte.sources.files.ndjson import Malformed, members, plain_number
from rapidbyte.sources.files.ndjson_records import JsonRecords
from rapidbyte.sources.files.paths import stamp
from rapidbyte.sources.files.read import json_plan
from rapidbyte.spec import FilesSourceSpec, StreamSpec
from tests.unit.test_files_source import Folder


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def types_of(folder: Folder, *lines: str, **stream: Any) -> dict[str, str]:
    folder.write("a.ndjson", "\n".join(lines) + "\n")
    return {column.name: column.type.name for column in folder.shape("a.ndjson", **stream).columns}


def read(folder: Folder, path: str, **stream: Any) -> list[dict[str, Any]]:
    names = [column.name for column in folder.shape(path, **stream).columns]
    return [dict(zip(names, row, strict=True)) for part in folder.rows(path, **stream) for row in part]


def rows_of(folder: Folder, *lines: str, **stream: Any) -> list[dict[str, Any]]:
    folder.write("a.ndjson", "\n".join(lines) + "\n")
    return read(folder, "a.ndjson", **stream)


def error_of(folder: Folder, *lines: str, **stream: Any) -> DataError:
    with pytest.raises(DataError) as raised:
        rows_of(folder, *lines, **stream)
    return raised.value


def test_types_come_from_the_values(folder: Folder) -> None:
    """Numbers, booleans and strings by what they hold; objects, arrays and mixtures are jsonb."""
    line = json.dumps(
        {
            "n": 1,
            "x": 1.5,
            "b": True,
            "d": "2024-02-29",
            "t": "2024-02-29T10:00:00Z",
            "s": "x",
            "zip": "007",
            "digits": "12",
            "o": {"a": 1},
            "l": [1],
            "nothing": None,
        }
    )
    assert types_of(folder, line) == {
        "n": "bigint",
        "x": "double precision",
        "b": "boolean",
        "d": "date",
        "t": "timestamp with time zone",
        "s": "text",
        "zip": "text",
        "digits": "text",
        "o": "jsonb",
        "l": "jsonb",
        "nothing": "text",
    }


@pytest.mark.parametrize(
    ("number", "type_name"),
    [
        ("9223372036854775807", "bigint"),
        ("9223372036854775808", "numeric"),
        ("0.1234567890123456789", "numeric"),
        ("1e400", "numeric"),
        ("1e-400", "numeric"),
        ("-0", "double precision"),
        ("1.50", "double precision"),
        ("1e2", "bigint"),
        ("0.30000000000000004", "double precision"),
    ],
)
def test_numbers_keep_their_value(folder: Folder, number: str, type_name: str) -> None:
    """What a bigint or a double would change is a numeric, delivered as the text that it is (B2, B24)."""
    assert types_of(folder, f'{{"n": {number}}}') == {"n": type_name}
    (row,) = rows_of(folder, f'{{"n": {number}}}')
    value = row["n"]
    assert Decimal(repr(value) if isinstance(value, float) else value) == Decimal(number)


def test_minus_zero_keeps_its_sign(folder: Folder) -> None:
    """It is a double's, not the integer 0 (B25)."""
    (row,) = rows_of(folder, '{"n": -0}')
    assert str(row["n"]) == "-0.0"


BAD_LINES = [
    ('{"n": 1, "n": 2, "s": "x"}', "row_malformed", None),
    ('{"n": 2, "s": "x", "o": {"a": 1, "a": 2}}', "row_malformed", None),
    ('{"n": 2, "s": "\\u0000"}', "value_unstorable", "s"),
    ('{"n": 2, "s": "\\ud800"}', "value_unstorable", "s"),
    ('{"n": 2, "s": "x", "o": {"a": ["\\u0000"]}}', "value_unstorable", "o"),
    ('{"n": 2, "s": "x", "o": {"\\udfff": 1}}', "value_unstorable", "o"),
    ('{"n": 9223372036854775808, "s": "x"}', "value_misfit", "n"),
    ('{"n": 1.5, "s": "x"}', "value_misfit", "n"),
    ('{"n": -0, "s": "x"}', "value_misfit", "n"),
    ('{"n": 1e400, "s": "x"}', "value_misfit", "n"),
    ('{"n": "2", "s": "x"}', "value_misfit", "n"),
    ('{"n": NaN, "s": "x"}', "row_malformed", None),
    ('{"n": 01, "s": "x"}', "row_malformed", None),
    ('{"n": 2, "s": "x"', "row_malformed", None),
    ('{"n": 2, "s": "x"} {"n": 3}', "row_malformed", None),
    ('{"n": 2, "s": "x"} null', "row_malformed", None),
    ("null", "row_malformed", None),
    ("[1]", "row_malformed", None),
    ('{"n": 2, "s": "a\tb"}', "row_malformed", None),
    ('{"n": 2, "s": 5}', "value_misfit", "s"),
    ('{"new": 1}', "column_unforeseen", "new"),
    ('{"o": ' + "[" * 100_000 + "]" * 100_000 + "}", "row_malformed", None),
]


@pytest.mark.parametrize(
    ("nested", "line", "code", "column"),
    [(nested, *bad) for nested in (True, False) for bad in BAD_LINES if nested or '"o"' not in bad[0]],
)
def test_what_json_parsers_pass_over_is_named_by_line(
    folder: Folder, monkeypatch: pytest.MonkeyPatch, nested: bool, line: str, code: str, column: str | None
) -> None:
    """Also beyond the rows that were looked at, and whichever way the lines are read (B1, B2, B24)."""
    monkeypatch.setattr("rapidbyte.sources.files.ndjson_columns.SAMPLE_BYTES", 64)
    monkeypatch.setattr("rapidbyte.sources.files.ndjson_columns.BLOCK_BYTES", 32)
    first = '{"n": 1, "s": "a", "o": {"a": 1}}' if nested else '{"n": 1, "s": "a"}'
    error = error_of(folder, *[first] * 10, line)
    assert (error.code, error.context.line, error.context.column) == (code, 11, column)
    assert "a.ndjson, line 11" in error.message


@pytest.mark.parametrize("word", ["NaN", "Infinity", "-Infinity"])
def test_a_word_that_is_no_number_of_json_is_named_by_line(
    folder: Folder, monkeypatch: pytest.MonkeyPatch, word: str
) -> None:
    """In a column of doubles, where Arrow's parser takes it for one."""
    monkeypatch.setattr("rapidbyte.sources.files.ndjson_columns.SAMPLE_BYTES", 64)
    monkeypatch.setattr("rapidbyte.sources.files.ndjson_columns.BLOCK_BYTES", 32)
    first = ['{"d": 1.5}', '{"d": 2.25}'] * 10
    assert types_of(folder, *first) == {"d": "double precision"}
    error = error_of(folder, *first, f'{{"d": {word}}}')
    assert (error.code, error.context.line) == ("row_malformed", 21)


def test_text_that_is_not_in_its_encoding_is_named_by_line(folder: Folder) -> None:
    """Not replaced, and not taken as it is (B3)."""
    folder.write("a.ndjson", b'{"s": "x"}\n{"s": "\xff"}\n')
    with pytest.raises(DataError) as raised:
        read(folder, "a.ndjson")
    assert (raised.value.code, raised.value.context.line) == ("encoding_invalid", 2)


def test_nested_values_are_their_own_text(folder: Folder) -> None:
    """Character by character, digits and order of keys; a mixture keeps strings apart from numbers."""
    assert rows_of(folder, '{"o": {"b": 1.10, "a": 123456789012345678901234567890}}', '{"o": "1"}', '{"o": 1}') == [
        {"o": '{"b": 1.10, "a": 123456789012345678901234567890}'},
        {"o": '"1"'},
        {"o": "1"},
    ]


def test_flattened_members_are_columns(folder: Folder) -> None:
    """Named by their path; arrays stay JSON; two members of one name are refused."""
    assert rows_of(folder, '{"a": {"b": 1, "c": {"d": "x"}}, "e": [1]}', '{"a": null}', flatten=True) == [
        {"a_b": 1, "a_c_d": "x", "e": "[1]", "a": None},
        {"a_b": None, "a_c_d": None, "e": None, "a": None},
    ]
    assert error_of(folder, '{"a": {"b": 1}, "a_b": 2}', flatten=True).code == "row_malformed"


def test_missing_keys_and_null_are_null(folder: Folder) -> None:
    """Empty lines are no rows."""
    assert rows_of(folder, "", '{"a": 1}', "", '{"a": null}', "{}", "  ") == [{"a": 1}, {"a": None}, {"a": None}]


def test_a_late_key_is_found_by_looking_at_all_rows(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """`infer: full`; `columns` loads the known ones without it."""
    monkeypatch.setattr("rapidbyte.sources.files.ndjson_columns.SAMPLE_BYTES", 64)
    monkeypatch.setattr("rapidbyte.sources.files.ndjson_columns.BLOCK_BYTES", 32)
    lines = [*['{"a": 1}'] * 20, '{"a": 1.5, "b": "x"}']
    assert error_of(folder, *lines).code == "column_unforeseen"
    assert types_of(folder, *lines, infers_fully=True) == {"a": "double precision", "b": "text"}
    assert rows_of(folder, *lines, infers_fully=True)[-1] == {"a": 1.5, "b": "x"}
    assert error_of(folder, *lines, columns=("a",)).code == "value_misfit"


def test_declared_types_win(folder: Folder) -> None:
    """Over what the values look like."""
    line = '{"n": 1.10, "s": "12", "o": 1}'
    declared = (("n", "numeric(12,2)"), ("s", "integer"), ("o", "jsonb"))
    assert types_of(folder, line, types=declared) == {"n": "numeric(12,2)", "s": "integer", "o": "jsonb"}
    assert rows_of(folder, line, types=declared) == [{"n": Decimal("1.10"), "s": 12, "o": "1"}]
    assert error_of(folder, '{"n": 1.105}', types=(("n", "numeric(12,2)"),)).code == "value_misfit"


@pytest.mark.parametrize("name", ["a.jsonl.gz", "a.ndjson.zst", "a.json"])
def test_compressed_files_are_read(folder: Folder, name: str) -> None:
    """By their names, with a byte order mark or without."""
    data = "\ufeff".encode() + b'{"a": 1}\r\n{"a": 2}'
    packed = gzip.compress(data) if name.endswith("gz") else pa.compress(data, "zstd", asbytes=True)
    folder.write(name, data if name.endswith("json") else packed)
    assert read(folder, name) == [{"a": 1}, {"a": 2}]


def test_a_truncated_gzip_is_a_source_error(folder: Folder) -> None:
    """Never a short file."""
    folder.write("a.ndjson.gz", gzip.compress(b"".join(b'{"a": %d}\n' % (i * 7919) for i in range(9999)))[:-9])
    with pytest.raises(SourceError) as raised:
        read(folder, "a.ndjson.gz")
    assert raised.value.code == "file_corrupt"


def test_a_file_without_rows_is_a_source_error(folder: Folder) -> None:
    """It has no columns."""
    for text in ("\n\n", "{}\n"):
        folder.write("a.ndjson", text)
        with pytest.raises(SourceError) as raised:
            read(folder, "a.ndjson")
        assert raised.value.code == "file_empty"


def test_a_line_beyond_the_memory_is_refused(folder: Folder) -> None:
    """By its number; a pretty-printed document has no rows, either."""
    folder.write("a.ndjson", '{"a": 1}\n{"a": "' + "x" * (9 << 20) + '"}\n')
    with pytest.raises(DataError) as raised:
        FilesSource(FilesSourceSpec(base_dir=str(folder.path)), max_memory_bytes=64 << 20).describe(
            (StreamSpec(name="s", path="a.ndjson"),)
        )
    assert (raised.value.code, raised.value.context.line) == ("row_too_long", 2)
    folder.write("b.json", '[\n {"a": 1}\n]\n')
    with pytest.raises(DataError) as raised:
        read(folder, "b.json")
    assert raised.value.context.line == 1


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)


@given(st.dictionaries(st.text(min_size=1, max_size=3), VALUES, max_size=4), st.sampled_from([None, 1]))
def test_members_are_what_json_says(row: dict[str, Any], indent: int | None) -> None:
    """Strings by what they say, all else by a text that is the same value."""
    line = json.dumps(row, ensure_ascii=indent is None, separators=(",", ":") if indent else None)
    for name, (kind, text) in members(line).items():
        assert row[name] == (None if text is None else text if kind == "string" else json.loads(text))
    assert list(members(line)) == list(row)


@given(st.text(alphabet='{}[]":,0123456789.eE+-tfn\\u rasl', max_size=40))
def test_members_and_json_agree_on_what_is_an_object(line: str) -> None:
    """A line is refused by both or by neither, but for keys that come twice."""
    try:
        expected = json.loads(line, parse_constant=lambda _: pytest.skip("no JSON"))
    except ValueError:
        expected = None
    if isinstance(expected, dict):
        members(line)
    else:
        with pytest.raises(Malformed):
            members(line)


@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**30), max_value=10**30))
def test_a_plain_number_is_the_same_number(number: Decimal) -> None:
    """Without exponent, and without zeros at its end."""
    plain = plain_number(str(number))
    assert Decimal(plain) == number
    assert "e" not in plain.lower()


NUMBERS = st.one_of(
    st.integers(-(2**70), 2**70).map(str),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.decimals(allow_nan=False, allow_infinity=False, places=25, min_value=-1000, max_value=1000).map(str),
    st.sampled_from(["-0", "-0.0", "1e400", "1e-400", "5e-324", "1.7976931348623157e308", "1E+2", "1.0"]),
)


@given(st.lists(NUMBERS, min_size=1, max_size=5), st.sampled_from(["1", "1.5", "12345678901234567890"]))
def test_every_number_is_exact_or_refused(
    tmp_path_factory: pytest.TempPathFactory, numbers: list[str], first: str
) -> None:
    """Whichever type the first row has led to, and whichever parser reads the rest."""
    folder = Folder(tmp_path_factory.mktemp("numbers"))
    folder.write("a.ndjson", f'{{"n": {first}}}\n')
    source = folder.source()
    source.describe((StreamSpec(name="s", path="a.ndjson"),))
    text = "".join(f'{{"n": {number}}}\n' for number in [first, *numbers])
    task = source._described["s"].task
    file = stamp(folder.write("a.ndjson", text))
    records = JsonRecords(file, json_plan(task), block_bytes=1 << 16, max_row_bytes=1 << 20)
    found: list[Any] | None
    try:
        found = [value for batch in records for value in batch.column("n").to_pylist()]
    except DataError as error:
        found, code = None, error.code
    else:
        code = ""
    assert (found is None) == (code == "value_misfit")
    assert found is None or all(map(_is_the_same, found, [first, *numbers]))


def _is_the_same(value: Any, text: str) -> bool:
    """A double that, printed with as many digits as the text has, is the text again: R writes 17 where 16 would do."""
    if not isinstance(value, float):
        return Decimal(value) == Decimal(text)
    digits = len("".join(map(str, Decimal(text).as_tuple().digits)).rstrip("0")) or 1  # zeros at the end tell nothing
    return digits <= 17 and Decimal(f"{value:.{digits - 1}e}") == Decimal(text)


def test_seventeen_digits_that_a_double_gives_back_are_a_double(tmp_path: Path) -> None:
    """3.6028797018963969E-9, of which 16 digits would do; one digit more is refused."""
    folder = Folder(tmp_path)
    folder.write("a.ndjson", '{"n": 1.5}\n')
    source = folder.source()
    source.describe((StreamSpec(name="s", path="a.ndjson"),))
    plan = json_plan(source._described["s"].task)
    file = stamp(folder.write("a.ndjson", '{"n": 1.5}\n{"n": 3.6028797018963969E-9}\n'))
    (batch,) = JsonRecords(file, plan, block_bytes=1 << 16, max_row_bytes=1 << 20)
    assert batch.column("n").to_pylist() == [1.5, 3.6028797018963969e-9]
    file = stamp(folder.write("a.ndjson", '{"n": 1.5}\n{"n": 3.60287970189639691E-9}\n'))
    with pytest.raises(DataError):
        list(JsonRecords(file, plan, block_bytes=1 << 16, max_row_bytes=1 << 20))
