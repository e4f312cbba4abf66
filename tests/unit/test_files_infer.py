"""Text -> types: an inferred type gives back every text, a declared one reads what PostgreSQL would."""

from __future__ import annotations

import datetime as dt
import math
import re
import uuid
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rapidbyte.pg.types import parse_type_name
from rapidbyte.sources.files.commas import hint_for
from rapidbyte.sources.files.converters import converter
from rapidbyte.sources.files.infer import all_misfits, infer
from rapidbyte.sources.files.inference import Inference
from rapidbyte.sources.files.readings import Notation, Reading, declare

UTC = dt.UTC
NAIVE, ZONED = "timestamp without time zone", "timestamp with time zone"
UUID = "d0e396cd-efea-458a-9ba8-c685a204d0b4"


def texts(*values: str | None) -> pa.Array:
    return pa.array(values, pa.string())


@pytest.mark.parametrize(
    ("values", "name", "delivered"),
    [
        (["1", "-20", "0", None], "bigint", [1, -20, 0, None]),
        (["9223372036854775807", "-9223372036854775808"], "bigint", [2**63 - 1, -(2**63)]),
        (["1.10", "-2.00", None], "numeric", [Decimal("1.10"), Decimal("-2.00"), None]),
        (["1.5", "2", "-0.25", None], "double precision", [1.5, 2.0, -0.25, None]),
        (["1.0", "2.25"], "double precision", [1.0, 2.25]),
        (["12345678901234567890.5"], "numeric", [Decimal("12345678901234567890.5")]),
        (["48.053808600000004", "1"], "double precision", [48.053808600000004, 1.0]),
        (["0.0000001", "12.25"], "double precision", [1e-7, 12.25]),
        (["true", "false", None], "boolean", [True, False, None]),
        (["TRUE", "FALSE"], "boolean", [True, False]),
        (["2013-01-31", "0001-01-01", None], "date", [dt.date(2013, 1, 31), dt.date(1, 1, 1), None]),
        (["2013-01-31 10:00:00", "2013-01-31T10:00"], NAIVE, [dt.datetime(2013, 1, 31, 10)] * 2),
        (["2013-01-31T10:00:00.25Z"], ZONED, [dt.datetime(2013, 1, 31, 10, 0, 0, 250000, UTC)]),
        (["2013-01-31 10:00:00+02"], ZONED, [dt.datetime(2013, 1, 31, 8, tzinfo=UTC)]),
        ([UUID, None], "uuid", [uuid.UUID(UUID).bytes, None]),
    ],
)  # fmt: skip
def test_a_type_that_gives_every_text_back_is_inferred(values: list[str], name: str, delivered: list[Any]) -> None:
    """The type, and the values as they are delivered in it."""
    reading = infer(texts(*values), "all rows")
    assert name == reading.type.name
    converted = converter(reading)(texts(*values))
    assert (delivered, reading.arrow) == (converted.to_pylist(), str(converted.type))


@pytest.mark.parametrize(
    "values",
    [
        ["00123", "00456"],
        ["1", "007"],
        ["1e5", "2e3"],
        ["+1", "2"],
        ["0x1F"],
        ["1_000"],
        [" 1"],
        ["1."],
        [".5"],
        ["1.1", "1.10"],
        ["1", "1.0", "1.50"],
        ["0.1234567890123456789", "1"],
        ["9223372036854775808"],
        ["1,5"],
        ["NaN", "1.5"],
        ["inf"],
        ["true", "1"],
        ["yes", "no"],
        ["t", ""],
        ["2013-1-31"],
        ["31/01/2013"],
        ["2013-02-30"],
        ["0000-01-01"],
        ["2013-01-31", "infinity"],
        ["2013-01-31", "2013-01-31 10:00:00"],
        ["2013-01-31 10:00:00.1234567"],
        ["2013-01-31 10:00:00", "2013-01-31 10:00:00Z"],
        ["2013-01-31 24:00:00"],
        ["10:00:00"],
        ["D0E396CD-EFEA-458A-9BA8-C685A204D0B4"],
        ["d0e396cdefea458a9ba8c685a204d0b4"],
        ["d0e396cd-efea-458a-9ba8-c685a204d0bg"],
        ["d0e396cd-efea-458a-9ba8c-685a204d0b4"],
        ["1", ""],
        [None, None],
        [],
        ["x"],
    ],
)
def test_what_would_change_stays_text(values: list[str | None]) -> None:
    """Leading zeros, signs, exponents, uneven decimals, other calendars' dates: text, exactly as it is."""
    reading = infer(texts(*values), "all rows")
    assert (reading.type.name, reading.arrow) == ("text", "string")
    assert converter(reading)(texts(*values)).to_pylist() == values


def test_the_reason_says_what_was_seen() -> None:
    """For `discover`: which rows, and why; no values."""
    assert infer(texts("1"), "all 16 rows").reason == "all 16 rows: whole numbers"
    assert infer(texts("00501"), "10 rows looked at").reason == (
        "10 rows looked at: numbers that would change: leading zeros, plus signs, exponents, uneven decimals, or too"
        " many digits"
    )
    assert infer(texts(None), "all 1 rows").reason == "no value in all 1 rows"


NUMBERS = st.one_of(
    st.integers(-(10**20), 10**20).map(str),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.decimals(allow_nan=False, allow_infinity=False, places=3).map(str),
    st.text("0123456789+-.eExn_ ", max_size=6),
)


@given(st.lists(st.one_of(st.none(), NUMBERS), max_size=6))
def test_no_number_is_read_as_another(values: list[str | None]) -> None:
    """Whatever type is inferred: equal values came from texts of equal numbers, and nothing became NULL."""
    reading = infer(texts(*values), "all rows")
    converted = converter(reading)(texts(*values)).to_pylist()
    for text, value in zip(values, converted, strict=True):
        assert (text is None) == (value is None)
        if text is not None and reading.type.name in ("bigint", "numeric"):
            assert text == str(value)
        if text is not None and reading.type.name == "double precision":
            assert float(text) == value
            assert not text.startswith(("+", "00", "-00", "."))


@given(st.lists(st.uuids().map(str), max_size=5), st.sets(st.integers(0, 4)), st.integers(0, 4))
def test_uuids_are_packed_at_their_places(values: list[str], nulls: set[int], start: int) -> None:
    """NULLs between them, and slices of a batch, change nothing."""
    holed = [None if index in nulls else value for index, value in enumerate(values)]
    for check in ("inferred", "declared"):
        reading = Reading(type=parse_type_name("uuid"), arrow="fixed_size_binary[16]", check=check, reason="")
        converted = converter(reading)(texts(*holed).slice(start)).to_pylist()
        assert [None if value is None else uuid.UUID(value).bytes for value in holed[start:]] == converted


@pytest.mark.parametrize(
    ("name", "values", "delivered"),
    [
        ("int", ["007", "+7", " 7 ", "-0", None], [7, 7, 7, 0, None]),
        ("smallint", ["32767"], [32767]),
        ("numeric(12,2)", ["1.5", "+1", ".5", "1.500"], [Decimal(v) for v in ("1.50", "1.00", "0.50", "1.50")]),
        ("numeric", ["1e-400", "NaN", "1.10"], ["1e-400", "NaN", "1.10"]),
        ("numeric(40,1)", [" 1.50"], ["1.50"]),
        ("double precision", ["1e5", "+1.10", "-Infinity", "1e-310"], [1e5, 1.1, -math.inf, 1e-310]),
        ("real", ["0.1", "inf"], [0.10000000149011612, math.inf]),
        ("boolean", ["yes", "F", "1", "off", " TRUE "], [True, False, True, False, True]),
        ("date", ["2013-01-31"], [dt.date(2013, 1, 31)]),
        ("time", ["10:00", "23:59:59.999999"], [dt.time(10), dt.time(23, 59, 59, 999999)]),
        ("timestamp", ["2013-01-31"], [dt.datetime(2013, 1, 31)]),
        ("timestamp(3)", ["2013-01-31 10:00:00.123"], [dt.datetime(2013, 1, 31, 10, 0, 0, 123000)]),
        ("timestamptz", ["2013-01-31T10:00:00+02:00"], [dt.datetime(2013, 1, 31, 8, tzinfo=UTC)]),
        ("uuid", ["{D0E396CD-efea458a9ba8-c685a204d0b4}"], [uuid.UUID(UUID).bytes]),
        ("text", ["00123", "é"], ["00123", "é"]),
        ("varchar(2)", ["éé", ""], ["éé", ""]),
        ("jsonb", ['{"a": 1}'], ['{"a": 1}']),
        ("inet", ["10.0.0.1/8"], ["10.0.0.1/8"]),
        ("int[]", ["{1,2}"], ["{1,2}"]),
    ],
)  # fmt: skip
def test_a_declared_type_reads_what_postgresql_reads(name: str, values: list[str], delivered: list[Any]) -> None:
    """Signs, blanks, exponents as PostgreSQL takes them; what only the server can read is handed on as text."""
    reading = declare(parse_type_name(name))
    converted = converter(reading)(texts(*values))
    assert (delivered, reading.arrow) == (converted.to_pylist(), str(converted.type))
    assert converter(reading)(texts()).to_pylist() == []
    assert converter(reading)(texts(None)).to_pylist() == [None]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("int", "7.5"),
        ("int", "1e2"),
        ("int", "2147483648"),
        ("int", ""),
        ("smallint", "32768"),
        ("numeric(12,2)", "1.005"),
        ("numeric(3,2)", "10.00"),
        ("numeric(12,2)", "1e2"),
        ("numeric(40,1)", "1.05"),
        ("numeric(5,-2)", "1.5"),
        ("double precision", "1e400"),
        ("double precision", "1e-400"),
        ("double precision", "x"),
        ("real", "1e39"),
        ("boolean", "maybe"),
        ("boolean", "o"),
        ("date", "2013-01-31 10:00:00"),
        ("date", "1/2/2013"),
        ("time", "24:00:01"),
        ("time(0)", "10:00:00.5"),
        ("timestamp", "2013-01-31T10:00:00Z"),
        ("timestamp(3)", "2013-01-31 10:00:00.1234"),
        ("timestamptz", "2013-01-31 10:00:00"),
        ("uuid", "d0e396cd"),
        ("varchar(2)", "a  "),
        ("char(1)", "ab"),
    ],
)
def test_a_declared_type_refuses_what_it_would_have_to_round(name: str, text: str) -> None:
    """Also where PostgreSQL's own COPY would round, cut blanks, or guess a zone."""
    with pytest.raises(pa.ArrowInvalid):
        converter(declare(parse_type_name(name)))(texts(None, text))


@pytest.mark.parametrize(
    ("values", "told"),
    [
        (["1,50", "2", "-3,25"], "a comma before their decimals: `decimal_comma: true` in source.config"),
        (["1.234,50", "12,00"], "points between thousands, which `decimal_comma` does not read: `replace`"),
        (["1,234.50", "12.00"], "commas between thousands: `replace` in a sql transform"),
        (["1,234", "12"], "if it stands before decimals, `decimal_comma: true` .* if between thousands, `replace`"),
        (["1,50", "x"], "text$"),
        (["1,2,3"], "text$"),
    ],
)
def test_numbers_with_commas_are_text_with_advice(values: list[str], told: str) -> None:
    """Nothing is guessed; also where every row is looked at. With `decimal_comma` the advice was followed already."""
    found = infer(texts(*values, None), "all rows")
    assert (found.type.name, re.search(told, found.reason) is not None) == ("text", True), found.reason
    whole = Inference()
    for value in values:
        whole.add(texts(value))
    assert whole.found_or_text("all rows").reason == found.reason
    again = infer(texts(*values), "all rows", Notation(decimal_comma=True))
    assert "decimal_comma" not in again.reason


@pytest.mark.parametrize(
    ("value", "type_name", "told"),
    [
        ("3,14", "numeric(10,2)", "`decimal_comma: true` in source.config"),
        ("1.234,56", "numeric", "load the column as text"),
        ("3,14", "text", None),
        ("x,y", "numeric", None),
        (None, "numeric", None),
    ],
)
def test_a_value_with_a_comma_is_told_with_the_way_out(value: str | None, type_name: str, told: str | None) -> None:
    """The hint of a declared number that does not fit."""
    hint = hint_for(value, type_name=type_name, decimal_comma=False)
    assert hint is None if told is None else hint is not None and hint.startswith(told)


@given(values=st.lists(st.sampled_from(["1", "-20", "x", "", "1.5", None]), max_size=40))
def test_every_text_that_does_not_fit_is_found(values: list[str | None]) -> None:
    """In order, and no other: as if each were looked at by itself."""
    convert = converter(declare(parse_type_name("bigint")))

    def fits(value: str | None) -> bool:
        try:
            convert(texts(value))
        except pa.ArrowInvalid:
            return False
        return True

    assert [place for place, value in enumerate(values) if not fits(value)] == all_misfits(convert, texts(*values))
