"""Texts -> the type that gives all of them back, and only where nothing is lost on the way.

So 007, 1e5, +1 and 1.10 beside 1.1 stay text. The same is asked of every value when it is read: one that the first
rows did not foretell is a DataError, never something else.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from rapidbyte.pg.types import built_in
from rapidbyte.sources.files.commas import advice, forms_of
from rapidbyte.sources.files.converters import converter
from rapidbyte.sources.files.date_formats import Convert
from rapidbyte.sources.files.readings import SQL_NOTATION, WIDEST_DECIMAL, Misfit, Notation, Reading

if TYPE_CHECKING:
    import pyarrow as pa

_HAS_TIME = re.compile(r"%[HIMSTRXc]")
"""Of a date format: it has hours, minutes or seconds."""


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


def _all_match(texts: pa.Array, pattern: str) -> bool:
    from pyarrow import compute as pc

    return pc.all(pc.match_substring_regex(texts, f"^(?:{pattern})$")).as_py() is not False


def why_text(*, is_numbers: bool, forms: frozenset[str] = frozenset()) -> str:
    """Why a column is text, as a phrase; `forms` are those with commas that its texts have in common."""
    if is_numbers:
        return "numbers that would change: leading zeros, plus signs, exponents, uneven decimals, or too many digits"
    return advice(forms) or "text"
