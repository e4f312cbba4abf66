"""Text -> types, and only where nothing is lost on the way.

An inferred type is one that gives every text back as it was: a bigint has no leading zero and no plus sign, a double
precision no exponent, a numeric always as many decimals. So 007, 1e5, +1 and 1.10 beside 1.1 stay text. The same is
asked of every value when it is read: one that the first rows did not foretell is a DataError, never something else.

A declared type asks less: that PostgreSQL itself would read the text as this type, without rounding it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Literal

from rapidbyte.model import ColumnType
from rapidbyte.pg.types import base_name, built_in, length_modifier, numeric_modifier
from rapidbyte.pg.uuids import any_uuids, printed_uuids
from rapidbyte.sources.files.commas import advice, forms_of
from rapidbyte.sources.files.date_formats import written_as
from rapidbyte.values import frozen

if TYPE_CHECKING:
    import pyarrow as pa

Check = Literal["inferred", "declared"]

WIDEST_DECIMAL = 38
"""Digits of Arrow's decimal128."""

MOST_DIGITS = 17
"""Digits that tell every double precision from its neighbours."""

TRUE_TEXTS = ("t", "tr", "tru", "true", "y", "ye", "yes", "on", "1")
FALSE_TEXTS = ("f", "fa", "fal", "fals", "false", "n", "no", "of", "off", "0")
"""What PostgreSQL reads as a boolean, in lower case."""

_HAS_TIME = re.compile(r"%[HIMSTRXc]")
"""Of a date format: it has hours, minutes or seconds."""

_FIRST_DAY = -719162
"""0001-01-01. Arrow reads 0000-01-01 as well, PostgreSQL does not."""


@frozen
class Misfit:
    """The first of the texts that the type would not give back which lasted longest."""

    row: int
    """Its place among the texts, from 0."""
    before: str
    """What the texts before it are, as `whole numbers`; empty where it is the very first."""


@frozen
class Notation:
    """How numbers and times are written in a stream's files, where it is not as in SQL."""

    decimal_comma: bool = False
    """A comma before the decimals; a point is then no part of a number."""
    date_formats: tuple[str, ...] = ()
    """As `%d.%m.%Y` or `%d.%m.%Y %H:%M`: dates and times are written in one of these, or in ISO 8601."""


@frozen
class Reading:
    """How one column's text is read."""

    type: ColumnType
    arrow: str
    """The Arrow type of what is delivered, as pyarrow prints it."""
    check: Check
    reason: str
    """Why this type, for `discover` and `plan`."""
    misfit: Misfit | None = None
    """Of a column that became text: what kept it from another type."""
    decimal_comma: bool = False
    formats: tuple[str, ...] = ()
    """In one of these a date or time is written; in ISO 8601 where there are none."""


SQL_NOTATION = Notation()

Convert = Callable[["pa.Array"], "pa.Array"]
"""Text -> values. Raises ArrowInvalid when one text is not exactly a value. NULL stays NULL."""


def infer(texts: pa.Array, rows: str, notation: Notation = SQL_NOTATION) -> Reading:
    """The first type that gives back every one of these texts; text where there is none.

    `rows` says for the reason which rows they are: `all 16 rows`.
    """
    from pyarrow import compute as pc

    present: pa.Array = pc.drop_null(texts)
    if not len(present):
        return text_reading(f"no value in {rows}")
    for reading in candidates(present, rows, notation):
        if survives(reading, present.slice(0, 1)) and survives(reading, present):
            return reading
    why = why_text(
        is_numbers=is_number_like(present), forms=frozenset() if notation.decimal_comma else forms_of(present)
    )
    misfit = _nearest_misfit(texts, present, rows, notation)
    if misfit is not None and not misfit.before and why == "text":
        misfit = None
    return replace(text_reading(f"{rows}: {why}"), misfit=misfit)


def _nearest_misfit(texts: pa.Array, present: pa.Array, rows: str, notation: Notation) -> Misfit | None:
    """What ended the longest beginning that has a type of its own."""
    from pyarrow import compute as pc

    reached, phrase = 0, ""
    for reading in candidates(present, rows, notation):
        if not survives(reading, present.slice(0, 1)):
            continue
        if (found := first_misfit(converter(reading), present)) > reached:
            reached, phrase = found, reading.reason.removeprefix(f"{rows}: ")
    places = pc.indices_nonzero(pc.is_valid(texts))
    return Misfit(row=places[reached].as_py(), before=phrase)


def first_misfit(convert: Convert, texts: pa.Array) -> int:
    """Which of the texts is the first that does not fit, by halving; one of them must not."""
    low, high = 0, len(texts)
    while high - low > 1:
        middle = (low + high) // 2
        if _converts(convert, texts.slice(low, middle - low)):
            low = middle
        else:
            high = middle
    return low


def all_misfits(convert: Convert, texts: pa.Array) -> list[int]:
    """Which of the texts do not fit, in order; what fails is halved until one is left."""
    found: list[int] = []
    waiting = [(0, len(texts))]
    while waiting:
        low, high = waiting.pop()
        if low == high or _converts(convert, texts.slice(low, high - low)):
            continue
        if high - low == 1:
            found.append(low)
        else:
            middle = (low + high) // 2
            waiting += [(middle, high), (low, middle)]
    return found


def text_reading(reason: str) -> Reading:
    """Text, as it is."""
    return _reading("text", "string", reason)


def _reading(name: str, arrow: str, reason: str) -> Reading:
    return Reading(type=built_in(name), arrow=arrow, check="inferred", reason=reason)


def candidates(texts: pa.Array, rows: str, notation: Notation = SQL_NOTATION) -> Iterator[Reading]:
    """Types that these texts may be of, none of them NULL; the first that gives all of them back is the one."""
    comma = notation.decimal_comma
    yield _reading("bigint", "int64", f"{rows}: whole numbers")
    decimals = _common_decimals(texts, "," if comma else ".")
    if decimals:
        arrow = f"decimal128({WIDEST_DECIMAL}, {decimals})"
        reason = f"{rows}: numbers with {decimals} decimals{' after a comma' if comma else ''}"
        yield replace(_reading("numeric", arrow, reason), decimal_comma=comma)
    reason = f"{rows}: numbers that a double precision gives back{', with a comma' if comma else ''}"
    yield replace(_reading("double precision", "double", reason), decimal_comma=comma)
    yield _reading("boolean", "bool", f"{rows}: true and false")
    for pattern in notation.date_formats:
        is_date = not _HAS_TIME.search(pattern)
        name, arrow = ("date", "date32[day]") if is_date else ("timestamp without time zone", "timestamp[us]")
        yield replace(_reading(name, arrow, f"{rows}: written as {pattern}"), formats=(pattern,))
    yield _reading("date", "date32[day]", f"{rows}: ISO dates")
    yield _reading("timestamp without time zone", "timestamp[us]", f"{rows}: ISO timestamps without a zone")
    yield _reading("timestamp with time zone", "timestamp[us, tz=UTC]", f"{rows}: ISO timestamps with a zone")
    yield _reading("uuid", "fixed_size_binary[16]", f"{rows}: UUIDs")


def survives(reading: Reading, texts: pa.Array) -> bool:
    """Whether the type gives back every one of these texts, none of them NULL."""
    from pyarrow import compute as pc

    is_moment = reading.arrow.startswith("timestamp") and not reading.formats and len(texts)
    # Arrow takes a date for its midnight.
    if is_moment and pc.min(pc.binary_length(texts)).as_py() < len("2013-01-01 10:00"):
        return False
    return _converts(converter(reading), texts)


def _converts(convert: Convert, texts: pa.Array) -> bool:
    import pyarrow as pa

    try:
        convert(texts)
    except pa.ArrowInvalid:
        return False
    return True


def _common_decimals(texts: pa.Array, point: str = ".") -> int | None:
    """How many decimals every text has; None where they differ, 0 where there is no point."""
    from pyarrow import compute as pc

    places = pc.find_substring(texts, point)
    after = pc.subtract(pc.subtract(pc.binary_length(texts), places), 1)
    found = pc.min_max(after).as_py()
    has_points = pc.min(places).as_py() > 0
    return found["min"] if has_points and found["min"] == found["max"] < WIDEST_DECIMAL else None


def is_number_like(texts: pa.Array) -> bool:
    """All of them are digits with a point, a sign, an exponent."""
    return _all_match(texts, r"[+-]?[\d.]+([eE][+-]?\d+)?")


def why_text(*, is_numbers: bool, forms: frozenset[str] = frozenset()) -> str:
    """Why a column is text, as a phrase; `forms` are those with commas that its texts have in common."""
    if is_numbers:
        return "numbers that would change: leading zeros, plus signs, exponents, uneven decimals, or too many digits"
    return advice(forms) or "text"


def converter(reading: Reading) -> Convert:
    """What turns this column's text into its values, whole or with an error."""
    if reading.decimal_comma:
        return _with_comma(converter(replace(reading, decimal_comma=False)))
    if reading.formats:
        return written_as(reading.formats, arrow_type(reading.arrow), converter(replace(reading, formats=())))
    if reading.check == "declared":
        return _declared(reading.type)
    if reading.arrow.startswith("decimal128"):
        return _as_written(reading.arrow)
    return {
        "string": _text,
        "int64": _as_written("int64"),
        "double": _double,
        "bool": _boolean,
        "date32[day]": _date,
        "timestamp[us]": _timestamp(None),
        "timestamp[us, tz=UTC]": _timestamp("UTC"),
        "fixed_size_binary[16]": printed_uuids,
    }[reading.arrow]


def arrow_type(name: str) -> pa.DataType:
    """The Arrow type that a Reading names."""
    import pyarrow as pa

    decimal = re.fullmatch(r"decimal128\((\d+), (\d+)\)", name)
    if decimal:
        return pa.decimal128(int(decimal[1]), int(decimal[2]))
    known: list[pa.DataType] = [
        *(pa.string(), pa.bool_(), pa.int16(), pa.int32(), pa.int64(), pa.float32(), pa.float64()),
        *(pa.date32(), pa.time64("us"), pa.timestamp("us"), pa.timestamp("us", "UTC"), pa.binary(16)),
    ]
    return {str(found): found for found in known}[name]


def declare(declared: ColumnType, notation: Notation = SQL_NOTATION) -> Reading:
    """How text is read as a type that the pipeline declares."""
    base = base_name(declared) or ""
    is_time = base == "date" or base.startswith("timestamp")
    return Reading(
        type=declared,
        arrow=_declared_arrow(declared),
        check="declared",
        reason="declared by the pipeline",
        decimal_comma=notation.decimal_comma and base in ("numeric", "real", "double precision"),
        formats=notation.date_formats if is_time else (),
    )


_DECLARED = {
    "smallint": "int16",
    "integer": "int32",
    "bigint": "int64",
    "real": "float",
    "double precision": "double",
    "boolean": "bool",
    "date": "date32[day]",
    "time without time zone": "time64[us]",
    "timestamp without time zone": "timestamp[us]",
    "timestamp with time zone": "timestamp[us, tz=UTC]",
    "uuid": "fixed_size_binary[16]",
}
"""Declared types that are read here. Text is delivered for all others, for the server to read."""


def _declared_arrow(declared: ColumnType) -> str:
    base = base_name(declared) or ""
    fits = _decimal_modifier(declared)
    return f"decimal128({fits[0]}, {fits[1]})" if base == "numeric" and fits else _DECLARED.get(base, "string")


def _decimal_modifier(declared: ColumnType) -> tuple[int, int] | None:
    """(precision, scale) where a decimal128 has room for them."""
    found = numeric_modifier(declared.typmod)
    return found if found is not None and 0 <= found[1] <= found[0] <= WIDEST_DECIMAL else None


def _declared(declared: ColumnType) -> Convert:
    base = base_name(declared) or ""
    if base in ("smallint", "integer", "bigint"):
        return _declared_whole(_DECLARED[base])
    if base in ("real", "double precision"):
        return _declared_float(_DECLARED[base])
    if base == "numeric":
        return _declared_numeric(declared)
    if base in ("character", "character varying"):
        return _declared_length(length_modifier(declared.typmod))
    if base.startswith("timestamp"):
        return _whole_seconds(_timestamp("UTC" if base.endswith("with time zone") else None), declared.typmod)
    if base == "time without time zone":
        return _whole_seconds(_time, declared.typmod)
    return {"boolean": _declared_boolean, "date": _date, "uuid": any_uuids}.get(base, _text)


def _require(is_right: Any) -> None:
    """Raises ArrowInvalid unless all of these booleans are true; NULL is as good as true."""
    import pyarrow as pa
    from pyarrow import compute as pc

    if pc.all(is_right).as_py() is False:
        raise pa.ArrowInvalid("a text is not a value of this type")


def _all_match(texts: pa.Array, pattern: str) -> bool:
    from pyarrow import compute as pc

    return pc.all(pc.match_substring_regex(texts, f"^(?:{pattern})$")).as_py() is not False


def _text(texts: pa.Array) -> pa.Array:
    return texts


def _with_comma(convert: Convert) -> Convert:
    """The same for numbers with a comma before their decimals, and no point."""
    from pyarrow import compute as pc

    def converted(texts: pa.Array) -> pa.Array:
        _require(pc.invert(pc.match_substring(texts, ".")))
        return convert(pc.replace_substring(texts, ",", "."))

    return converted


def _as_written(arrow: str) -> Convert:
    """Numbers whose own text is the one that was read."""
    from pyarrow import compute as pc

    target = arrow_type(arrow)

    def convert(texts: pa.Array) -> pa.Array:
        numbers = pc.cast(texts, target)
        _require(pc.equal(pc.cast(numbers, texts.type), texts))
        return numbers

    return convert


def _double(texts: pa.Array) -> pa.Array:
    """Numbers in plain notation whose shortest text is the one that was read, with or without a final `.0`."""
    import pyarrow as pa
    from pyarrow import compute as pc

    numbers = pc.cast(texts, pa.float64())
    _require(pc.is_finite(numbers))
    printed = pc.cast(numbers, pa.string())
    differs = pc.not_equal(printed, texts)
    if pc.any(differs).as_py():
        _require_given_back(pc.filter(texts, differs), pc.filter(printed, differs))
    return numbers


def _require_given_back(texts: pa.Array, printed: pa.Array) -> None:
    """Raises ArrowInvalid unless each of these texts, none of which is as Arrow prints the number, is kept by it."""
    import pyarrow as pa
    from pyarrow import compute as pc

    others = pc.filter(texts, pc.not_equal(pc.binary_join_element_wise(printed, ".0", ""), texts))
    _require(pc.match_substring_regex(others, r"^-?(0|[1-9]\d*)(\.\d*[1-9])?$"))
    # Arrow prints 0.0000001 as 1e-7, and R writes 17 digits where fewer would do: these are looked at one by one.
    if not all(_is_given_back(text) for text in others.to_pylist()):
        raise pa.ArrowInvalid("a double precision does not hold all digits")


def _is_given_back(text: str) -> bool:
    """A double precision, printed with as many digits as the text has, is the text again."""
    digits = len(text.strip("-0.").replace(".", "")) or 1
    return digits <= MOST_DIGITS and Decimal(f"{float(text):.{digits - 1}e}") == Decimal(text)


def _boolean(texts: pa.Array) -> pa.Array:
    return _spelled(texts, ("true", "True", "TRUE", "t"), ("false", "False", "FALSE", "f"))


def _declared_boolean(texts: pa.Array) -> pa.Array:
    from pyarrow import compute as pc

    return _spelled(pc.ascii_lower(pc.ascii_trim_whitespace(texts)), TRUE_TEXTS, FALSE_TEXTS)


def _spelled(texts: pa.Array, true_texts: tuple[str, ...], false_texts: tuple[str, ...]) -> pa.Array:
    import pyarrow as pa
    from pyarrow import compute as pc

    places = pc.index_in(texts, value_set=pa.array([*true_texts, *false_texts]))
    _require(pc.equal(pc.is_null(places), pc.is_null(texts)))
    return pc.less(places, len(true_texts))


def _date(texts: pa.Array) -> pa.Array:
    import pyarrow as pa
    from pyarrow import compute as pc

    dates = pc.cast(texts, pa.date32())
    _require(pc.greater_equal(pc.cast(dates, pa.int32()), _FIRST_DAY))
    return dates


def _timestamp(zone: str | None) -> Convert:
    """ISO 8601; with a zone each text has one of its own, without one none may have."""
    import pyarrow as pa
    from pyarrow import compute as pc

    def convert(texts: pa.Array) -> pa.Array:
        moments = pc.cast(texts, pa.timestamp("us", zone))
        _require(pc.greater_equal(pc.cast(moments, pa.int64()), _FIRST_DAY * 86_400_000_000))
        return moments

    return convert


def _time(texts: pa.Array) -> pa.Array:
    import pyarrow as pa
    from pyarrow import compute as pc

    moments = pc.cast(pc.binary_join_element_wise("1970-01-01", texts, " "), pa.timestamp("us"))
    return pc.cast(pc.cast(moments, pa.int64()), pa.time64("us"))


def _whole_seconds(convert: Convert, digits: int) -> Convert:
    """The same, for a type with so many digits after the second, beyond which the server would round."""
    import pyarrow as pa
    from pyarrow import compute as pc

    step = 10 ** (6 - digits) if digits >= 0 else 1

    def checked(texts: pa.Array) -> pa.Array:
        values = convert(texts)
        numbers = pc.cast(values, pa.int64())
        _require(pc.equal(pc.multiply(pc.divide(numbers, step), step), numbers))
        return values

    return checked


def _declared_whole(arrow: str) -> Convert:
    from pyarrow import compute as pc

    target = arrow_type(arrow)

    def convert(texts: pa.Array) -> pa.Array:
        trimmed = pc.ascii_trim_whitespace(texts)
        _require(pc.match_substring_regex(trimmed, r"^[+-]?\d+$"))
        return pc.cast(pc.utf8_ltrim(trimmed, "+"), target)

    return convert


def _declared_float(arrow: str) -> Convert:
    """Nearest numbers, as PostgreSQL reads them; what is too great or too small for any is an error, as it is there."""
    from pyarrow import compute as pc

    target = arrow_type(arrow)

    def convert(texts: pa.Array) -> pa.Array:
        trimmed = pc.ascii_trim_whitespace(texts)
        numbers = pc.cast(trimmed, target)
        is_word = pc.match_substring_regex(trimmed, r"(?i)^([+-]?inf(inity)?|nan)$")
        _require(pc.or_(pc.is_finite(numbers), is_word))
        is_digit = pc.match_substring_regex(trimmed, r"^[^eE]*[1-9]")
        _require(pc.invert(pc.and_(pc.equal(numbers, 0), is_digit)))
        return numbers

    return convert


def _declared_numeric(declared: ColumnType) -> Convert:
    """Numbers that the declared scale holds without rounding; all are the server's to read where it has none."""
    from pyarrow import compute as pc

    modifier = numeric_modifier(declared.typmod)
    if modifier is None:
        return _text
    decimals = max(0, modifier[1])
    pattern = rf"^[+-]?(\d+(\.\d{{0,{decimals}}}0*)?|\.\d{{1,{decimals}}}0*)$" if decimals else r"^[+-]?\d+(\.0*)?$"
    fits = _decimal_modifier(declared)
    target = arrow_type(f"decimal128({fits[0]}, {fits[1]})") if fits else None

    def convert(texts: pa.Array) -> pa.Array:
        trimmed = pc.ascii_trim_whitespace(texts)
        _require(pc.match_substring_regex(trimmed, pattern))
        return pc.cast(trimmed, target) if target is not None else trimmed

    return convert


def _declared_length(length: int | None) -> Convert:
    """Text of so many characters at most: longer ones of blanks alone would be cut without an error."""
    from pyarrow import compute as pc

    def convert(texts: pa.Array) -> pa.Array:
        if length is not None:
            _require(pc.less_equal(pc.utf8_length(texts), length))
        return texts

    return convert
