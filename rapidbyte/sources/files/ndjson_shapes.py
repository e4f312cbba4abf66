"""Lines of NDJSON that are built like others before them, read without looking at each member by itself.

A file's lines mostly have the same keys in the same order. Once one was read member by member, a regular expression
reads the plain values of the next at a time, and the scanner of JSON only what is nested; both refuse what the reader
of members refuses, and a line that they refuse is left to it. 60,000 rows of 22 values, two of them nested (86 MB),
took a third of the time that they take one by one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

from rapidbyte.sources.files.ndjson import (
    SCAN,
    JsonColumn,
    JsonPlan,
    Malformed,
    members,
    plain_number,
    require_storable,
)

MOST_SHAPES = 4
"""So many are kept: of the lines that have none of them each costs a microsecond or two more."""

_SPACE = r"[ \t\r]*"
_VALUES = {
    "string": r'(?:"([^"\\\x00-\x1f]*)"|null)',
    "number": r"(?:(-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)|null)",
    "boolean": r"(?:(true|false)|null)",
}
"""A value of each kind, as JSON has it; without escapes."""

Texts = list[str | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Piece:
    """Members with plain values, and behind them perhaps the key of one that is nested."""

    pattern: re.Pattern[str]
    places: tuple[int, ...]
    """Which of the plan's columns they are."""
    nested: int | None
    """The column of the value that follows."""


class Shapes:
    """What the lines of one stream are built like, as far as it is known. Used by one thread."""

    def __init__(self, plan: JsonPlan) -> None:
        self._plan = plan
        self._places = {column.name: place for place, column in enumerate(plan.columns)}
        self._numbers = tuple(
            place
            for place, column in enumerate(plan.columns)
            if column.kind == "number" and column.reading.check == "inferred"
        )
        self._known: list[tuple[_Piece, ...]] = []

    def texts(self, raw: bytes) -> Texts | None:
        """The texts of a line's values by the plan's columns; None where it is to be read member by member."""
        try:
            line = raw.decode()
        except UnicodeDecodeError:
            return None
        for index, shape in enumerate(self._known):
            found = self._read(line, shape)
            if found is not None:
                if index:
                    self._known.insert(0, self._known.pop(index))
                return found
        if len(self._known) < MOST_SHAPES and not self._plan.flatten:
            self._learn(line)
        return None

    def _read(self, line: str, shape: Sequence[_Piece]) -> Texts | None:
        texts: Texts = [None] * len(self._places)
        end = 0
        try:
            for piece in shape:
                match = piece.pattern.match(line, end)
                if match is None:
                    return None
                for place, text in zip(piece.places, match.groups(), strict=True):
                    texts[place] = text
                end = match.end()
                if piece.nested is not None:
                    texts[piece.nested], end = _nested(line, end)
        except (Malformed, json.JSONDecodeError, StopIteration, RecursionError, IndexError):
            return None
        for place in self._numbers:
            text = texts[place]
            texts[place] = None if text is None else plain_number(text)
        return texts

    def _learn(self, line: str) -> None:
        """Keeps the shape of this line, where it has one."""
        try:
            names = tuple(members(line))
        except Malformed:
            return
        columns = self._plan.columns
        if names and all(name in self._places and _is_plain_key(name) for name in names):
            self._known.append(_shape([(columns[self._places[name]], self._places[name]) for name in names]))


def _nested(line: str, place: int) -> tuple[str | None, int]:
    """The text of the value that begins here, and where it ends. Raises what the scanner does, Malformed."""
    value, end = SCAN(line, place)
    if line[place] == "n" and value is None:
        return None, end
    if line[place] not in "{[":
        raise Malformed("not nested")
    text = line[place:end]
    if "\\" in text or not text.isascii():
        require_storable(text, is_json=True)
    return text, end


def _is_plain_key(name: str) -> bool:
    return name.isprintable() and '"' not in name and "\\" not in name


def _shape(columns: Sequence[tuple[JsonColumn, int]]) -> tuple[_Piece, ...]:
    pieces: list[_Piece] = []
    pattern, places = rf"{_SPACE}\{{{_SPACE}", list[int]()
    for number, (column, place) in enumerate(columns):
        pattern += rf"{_SPACE},{_SPACE}" if number else ""
        pattern += f'"{re.escape(column.name)}"{_SPACE}:{_SPACE}'
        if column.kind == "any":
            pieces.append(_Piece(pattern=re.compile(pattern), places=tuple(places), nested=place))
            pattern, places = "", []
        else:
            pattern += _VALUES[column.kind]
            places.append(place)
    end = re.compile(rf"{pattern}{_SPACE}\}}{_SPACE}\Z")
    return (*pieces, _Piece(pattern=end, places=tuple(places), nested=None))
