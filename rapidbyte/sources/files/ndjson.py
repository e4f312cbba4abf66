"""NDJSON: one object a line; its members as the raw text that stands in the file, and in which line a row stands.

Numbers are never made into floats on the way: a column's values are its members' own texts, from which a type is
inferred, and read, as from CSV's. What JSON parsers are silent about is refused here, with its line: a key that comes
twice at any depth, half of a surrogate pair, NUL, `NaN`, a line that is not one object.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any, Literal

from rapidbyte.sources.files.readings import Reading
from rapidbyte.values import frozen

JsonKind = Literal["number", "string", "boolean", "any"]
"""What the values of a column are. `any`: objects, arrays, or a mixture; delivered as JSON."""

GREATEST_EXPONENT = 400
"""Beyond a double precision's; numbers with more zeros are not written out."""

_SPACE = re.compile(r"[ \t\r\n]*")
_PLAIN_KEY = re.compile(r'"([^"\\\x00-\x1f]*)"[ \t\r\n]*:[ \t\r\n]*')
_COLON = re.compile(r"[ \t\r\n]*:[ \t\r\n]*")
_NEXT = re.compile(r"[ \t\r\n]*([,}])[ \t\r\n]*")
_HALF = re.compile("[\ud800-\udfff]")


@frozen
class JsonColumn:
    """One key of the objects, and how its values are read."""

    name: str
    kind: JsonKind
    reading: Reading


@frozen
class JsonPlan:
    """What is read of a stream's NDJSON files."""

    columns: tuple[JsonColumn, ...]
    """Those that are delivered, in this order."""
    is_closed: bool
    """A key that is none of `known` is an error; else what is not delivered is passed over."""
    known: frozenset[str]
    flatten: bool
    encoding: str


class Malformed(ValueError):
    """A line that is not one JSON object as it should be; the text says why, without a value."""


def _strict(pairs: list[tuple[str, Any]]) -> None:
    """Refuses a key that comes twice in an object."""
    keys = {key for key, _ in pairs}
    if len(keys) < len(pairs):
        raise Malformed("a key comes twice in one object")


def _no_constant(name: str) -> None:
    raise Malformed(f"{name} is no JSON")


_DECODER: Any = json.JSONDecoder(
    object_pairs_hook=_strict, parse_float=str, parse_int=str, parse_constant=_no_constant, strict=True
)
SCAN: Callable[[str, int], tuple[Any, int]] = _DECODER.scan_once
"""One value that begins here, and where it ends; numbers as they are written."""


def members(line: str, *, flatten: bool = False) -> dict[str, tuple[JsonKind | None, str | None]]:
    """The members of the one object on this line: (kind, text); (None, None) for null.

    A string's text is what it says, everything else's is its own JSON, character by character. With `flatten` the
    members of an object within are members called `outer_inner`. Raises Malformed.
    """
    try:
        found: dict[str, tuple[JsonKind | None, str | None]] = {}
        end = _object(line, _SPACE.match(line, 0).end(), found, "", flatten)  # type: ignore[union-attr]
        if _SPACE.match(line, end).end() != len(line):  # type: ignore[union-attr]
            raise Malformed("something follows the object")
    except (json.JSONDecodeError, StopIteration, IndexError):
        raise Malformed("not a JSON object") from None
    except RecursionError:
        raise Malformed("nested too deeply") from None
    return found


def _object(
    line: str, place: int, found: dict[str, tuple[JsonKind | None, str | None]], prefix: str, flatten: bool
) -> int:
    """Adds an object's members; returns where it ends."""
    if line[place] != "{":
        raise Malformed("not a JSON object")
    after = _SPACE.match(line, place + 1)
    place = after.end() if after is not None else place
    if line[place] == "}":
        return place + 1
    while True:
        key, place = _key(line, place)
        name = prefix + key
        if flatten and line[place] == "{":
            place = _object(line, place, found, f"{name}_", flatten)
        else:
            value, end = SCAN(line, place)
            if name in found:
                raise Malformed(f"key {name!r} comes twice")
            found[name] = _member(value, line, place, end)
            place = end
        mark = _NEXT.match(line, place)
        if mark is None:
            raise Malformed("not a JSON object")
        place = mark.end()
        if mark[1] == "}":
            return place


def _key(line: str, place: int) -> tuple[str, int]:
    """A member's key, and where its value begins."""
    plain = _PLAIN_KEY.match(line, place)
    if plain is not None:
        return plain[1], plain.end()
    if line[place] != '"':
        raise Malformed("not a JSON object")
    key, place = SCAN(line, place)
    colon = _COLON.match(line, place)
    if colon is None:
        raise Malformed("not a JSON object")
    return key, colon.end()


def _member(value: Any, line: str, start: int, end: int) -> tuple[JsonKind | None, str | None]:
    first = line[start]
    if first == '"':
        return "string", value
    if first == "n":
        return None, None
    return ("any" if first in "{[" else "boolean" if first in "tf" else "number"), line[start:end]


def plain_number(text: str) -> str:
    """The same number without an exponent, and without zeros at its end: JSON does not tell 1.50 and 15e-1 apart."""
    if "e" not in text and "E" not in text and not text.endswith("0"):
        return text
    number = Decimal(text)
    if not number.is_finite() or abs(number.adjusted()) > GREATEST_EXPONENT:
        return text
    plain = f"{number:f}"
    return plain.rstrip("0").rstrip(".") if "." in plain else plain


def require_storable(text: str, *, is_json: bool) -> None:
    """Raises Malformed for what no text of PostgreSQL's holds: NUL, and half of a surrogate pair."""
    if is_json:
        _require_storable_json(json.loads(text, parse_int=str, parse_float=str))
    elif "\0" in text:
        raise Malformed("a text holds the character NUL")
    elif _HALF.search(text):
        raise Malformed("a text holds half of a surrogate pair")


def _require_storable_json(value: Any) -> None:
    if isinstance(value, str):
        require_storable(value, is_json=False)
    elif isinstance(value, dict):
        for key, member in value.items():  # pyright: ignore[reportUnknownVariableType]
            _require_storable_json(key)
            _require_storable_json(member)
    elif isinstance(value, list):
        for member in value:  # pyright: ignore[reportUnknownVariableType]
            _require_storable_json(member)
