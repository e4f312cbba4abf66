"""Text -> values of one type, exactly or with an error.

Of an inferred type each value gives its text back as it was: a bigint has no leading zero and no plus sign, a double
precision no exponent, a numeric always as many decimals. Of a declared one PostgreSQL would read it the same.
"""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from rapidbyte.model import ColumnType
from rapidbyte.pg.types import base_name, length_modifier, numeric_modifier
from rapidbyte.pg.uuids import any_uuids, printed_uuids
from rapidbyte.sources.files.date_formats import Convert, written_as
from rapidbyte.sources.files.readings import DECLARED, Reading, arrow_type, decimal_modifier

if TYPE_CHECKING:
    import pyarrow as pa

MOST_DIGITS = 17
"""Digits that tell every double precision from its neighbours."""

TRUE_TEXTS = ("t", "tr", "tru", "true", "y", "ye", "yes", "on", "1")

FALSE_TEXTS = ("f", "fa", "fal", "fals", "false", "n", "no", "of", "off", "0")
"""What PostgreSQL reads as a boolean, in lower case."""

_FIRST_DAY = -719162
"""0001-01-01. Arrow reads 0000-01-01 as well, PostgreSQL does not."""


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


def _declared(declared: ColumnType) -> Convert:
    base = base_name(declared) or ""
    if base in ("smallint", "integer", "bigint"):
        return _declared_whole(DECLARED[base])
    if base in ("real", "double precision"):
        return _declared_float(DECLARED[base])
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
    fits = decimal_modifier(declared)
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
