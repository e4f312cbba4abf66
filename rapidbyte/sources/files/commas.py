"""Numbers that are written with commas: what a column of text looks like, and what to do about it. Pure.

Nothing is guessed from it: 1,234 is a thousand and more to some, and less than two to others. It is told, as a hint.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

LOOKED_AT = 1000
"""Texts of a batch that are looked at, at most."""

_FORMS = {
    "decimal comma": r"[+-]?\d+(,\d+)?",
    "points between thousands": r"[+-]?(\d{1,3}(\.\d{3})+|\d+)(,\d+)?",
    "commas between thousands": r"[+-]?(\d{1,3}(,\d{3})+|\d+)(\.\d+)?",
}
FORMS = frozenset(_FORMS)

_REPLACE = "`replace` in a sql transform makes numbers of them"
_DECIMAL = "`decimal_comma: true` in source.config reads them"


def forms_of(texts: pa.Array) -> frozenset[str]:
    """The forms that the first of these texts have in common, none of them NULL; any comma-less number has all."""
    from pyarrow import compute as pc

    looked = texts.slice(0, LOOKED_AT)
    return frozenset(
        name for name, pattern in _FORMS.items() if pc.all(pc.match_substring_regex(looked, f"^(?:{pattern})$")).as_py()
    )


def advice(forms: frozenset[str]) -> str | None:
    """What a text column is whose texts all have these forms, as a phrase with the way out; None where it is no
    column of numbers.
    """
    if {"decimal comma", "commas between thousands"} <= forms:
        return f"numbers with a comma: if it stands before decimals, {_DECIMAL}; if between thousands, {_REPLACE}"
    if "decimal comma" in forms:
        return f"numbers with a comma before their decimals: {_DECIMAL}"
    if "points between thousands" in forms:
        return f"numbers with points between thousands, which `decimal_comma` does not read: {_REPLACE}"
    if "commas between thousands" in forms:
        return f"numbers with commas between thousands: {_REPLACE}"
    return None


_NUMBERS = ("smallint", "integer", "bigint", "numeric", "real", "double precision")


def hint_for(value: str | None, *, type_name: str, decimal_comma: bool) -> str | None:
    """What to do about a value that is no number of a numeric column only because of its commas; else None."""
    if value is None or not type_name.startswith(_NUMBERS) or "," not in value:
        return None
    if re.fullmatch(_FORMS["decimal comma"], value) and not decimal_comma:
        return "`decimal_comma: true` in source.config reads numbers with a comma before their decimals"
    if any(re.fullmatch(pattern, value) for pattern in _FORMS.values()):
        return "load the column as text with `types`, and take out what stands between thousands with `replace` in a"
        " sql transform"
    return None
