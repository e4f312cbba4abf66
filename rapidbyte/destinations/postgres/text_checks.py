"""Texts of files that a richer column of the target reads: only what PostgreSQL's own input takes for what it says.

The server parses each value, and refuses what is none. What it would change in silence is refused here before it is
sent: it rounds to a numeric's scale and a timestamp's digits, drops the offset for a timestamp without a zone and
supplies one for a timestamp with a zone, drops the time for a date, guesses the order of 01/02/2020, takes `today` for
a date, and cuts spaces off for varchar(n).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rapidbyte.errors import DataError
from rapidbyte.model import Column, ColumnType
from rapidbyte.pg.types import base_name, length_modifier, numeric_modifier

if TYPE_CHECKING:
    import pyarrow as pa

_TEXTS = ("string", "large_string", "string_view")
_DAY = r"\d{4}-\d{2}-\d{2}"
_OFFSET = r"(Z|[+-]\d{2}(:?\d{2})?)"
FINEST = 6
"""Digits of a second where the type names none."""


def is_checked(source: Column, target: ColumnType) -> bool:
    """Whether a text of a file can be read as this type, each value being looked at first. Pure."""
    if source.arrow not in _TEXTS:
        return False
    return base_name(target) == "jsonb" or pattern_of(target) is not None or _room(target) is not None


def decimals_fit(source: Column, target: ColumnType) -> bool:
    """Whether a decimal of a file has no more decimals than a numeric with a scale keeps. Pure."""
    decimal = re.fullmatch(r"decimal\d+\(\d+, (?P<scale>-?\d+)\)", source.arrow or "")
    room = numeric_modifier(target.typmod) if base_name(target) == "numeric" else None
    return decimal is not None and room is not None and int(decimal["scale"]) <= room[1]


def pattern_of(target: ColumnType) -> str | None:
    """What a value must match so that the server changes nothing of it; None where a pattern cannot tell. RE2."""
    base = base_name(target) or ""
    if base == "date":
        return f"^{_DAY}$"
    if base in ("timestamp without time zone", "timestamp with time zone"):
        digits = FINEST if target.typmod < 0 else target.typmod
        fraction = rf"(\.\d{{1,{digits}}}0*)?" if digits else r"(\.0+)?"
        time = rf"[ T]\d{{2}}:\d{{2}}(:\d{{2}}{fraction})?"
        return f"^{_DAY}({time})?$" if base == "timestamp without time zone" else f"^{_DAY}{time} ?{_OFFSET}$"
    found = numeric_modifier(target.typmod) if base == "numeric" else None
    if found is not None and found[1] >= 0:
        return rf"^([+-]?\d*(\.\d{{0,{found[1]}}}0*)?|NaN)$"
    return None


def _room(target: ColumnType) -> int | None:
    return length_modifier(target.typmod) if base_name(target) == "character varying" else None


class TextChecks:
    """The checks of one partition's blocks, in order. One thread."""

    def __init__(self, columns: Sequence[Column], checked: Sequence[str]) -> None:
        self._columns = [(place, column) for place, column in enumerate(columns) if column.name in checked]
        self._rows = 0

    def require(self, batch: pa.RecordBatch) -> None:
        """Raises DataError with column and row for the first value that the server would not take for what it says."""
        for place, column in self._columns:
            bad = _first_bad(batch.columns[place], column.type)
            if bad is not None:
                raise DataError(
                    f"a value of column {column.name} cannot be read as {column.type.name} without a change",
                    code="value_does_not_fit",
                    hint=_HINTS.get(base_name(column.type) or ""),
                    sqlstate="22001" if _room(column.type) is not None else "22023",
                    column=column.name,
                    line=self._rows + bad + 1,
                    row_detail=f"{column.name}: {batch.columns[place][bad].as_py()!r}",
                )
        self._rows += batch.num_rows


_HINTS = {
    "date": "dates are read as 2026-01-31; `date_formats` says how else they are written",
    "timestamp with time zone": "times are read as 2026-01-31 12:00:00+00, with an offset and no more digits than the"
    " column has; `types` says what they are without one",
    "timestamp without time zone": "times are read as 2026-01-31 12:00:00, without an offset and with no more digits"
    " than the column has",
    "numeric": "the column has fewer decimals than the value; allow_lossy rounds",
    "character varying": "the column is too short for the value",
}


def _first_bad(array: pa.Array, target: ColumnType) -> int | None:
    """The place of the first value that does not fit; None where all do. NULL fits."""
    import pyarrow as pa
    from pyarrow import compute as pc

    texts = array if array.type == pa.string() else array.cast(pa.string())
    room, pattern = _room(target), pattern_of(target)
    if room is not None:
        good = pc.less_equal(pc.utf8_length(texts), room)
    elif pattern is not None:
        good = pc.match_substring_regex(texts, pattern)
    else:
        return None
    bad = pc.index(good, False).as_py()
    return None if bad < 0 else int(bad)
