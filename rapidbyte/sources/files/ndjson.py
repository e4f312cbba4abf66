"""NDJSON: one object a line; its members as the raw text that stands in the file, and in which line a row stands.

Numbers are never made into floats on the way: a column's values are its members' own texts, from which a type is
inferred, and read, as from CSV's. What JSON parsers are silent about is refused here, with its line: a key that comes
twice at any depth, half of a surrogate pair, NUL, `NaN`, a line that is not one object.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Literal

from rapidbyte.errors import DataError
from rapidbyte.ports import Stop
from rapidbyte.sources.files.infer import Reading, converter, first_misfit
from rapidbyte.sources.files.paths import ByteRange, DataFile
from rapidbyte.sources.files.text import TextBytes, lines_before, never

if TYPE_CHECKING:
    import pyarrow as pa

JsonKind = Literal["number", "string", "boolean", "any"]
"""What the values of a column are. `any`: objects, arrays, or a mixture; delivered as JSON."""

GREATEST_EXPONENT = 400
"""Beyond a double precision's; numbers with more zeros are not written out."""

_SPACE = re.compile(r"[ \t\r\n]*")
_PLAIN_KEY = re.compile(r'"([^"\\\x00-\x1f]*)"[ \t\r\n]*:[ \t\r\n]*')
_COLON = re.compile(r"[ \t\r\n]*:[ \t\r\n]*")
_NEXT = re.compile(r"[ \t\r\n]*([,}])[ \t\r\n]*")
_HALF = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True, kw_only=True)
class JsonColumn:
    """One key of the objects, and how its values are read."""

    name: str
    kind: JsonKind
    reading: Reading


@dataclass(frozen=True, slots=True, kw_only=True)
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
_SCAN: Callable[[str, int], tuple[Any, int]] = _DECODER.scan_once
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
            value, end = _SCAN(line, place)
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
    key, place = _SCAN(line, place)
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Lines:
    """Some whole lines of a file."""

    data: bytes
    """UTF-8; the last one ends, too."""
    first: int
    """Number of the first line, from 1 at the beginning of what is read."""


class JsonRecords:
    """The rows of one NDJSON file, or of a range of its bytes, in batches of about `block_bytes`, typed. Iterated once.

    Empty lines are no rows. Raises DataError, with file and line, for a line that is malformed, a value that does not
    fit its column, and a key that is not known where the plan is closed.
    """

    def __init__(
        self,
        file: DataFile,
        plan: JsonPlan,
        *,
        block_bytes: int,
        max_row_bytes: int,
        part: ByteRange | None = None,
        stop: Stop = never,
    ) -> None:
        self._file = file
        self._plan = plan
        self._block_bytes = block_bytes
        self._max_row_bytes = max_row_bytes
        self._part = part
        self._stop = stop
        self._converters = [converter(column.reading) for column in plan.columns]
        self.blocked_s = 0.0
        """Seconds spent waiting for the file system so far."""

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        from rapidbyte.sources.files.ndjson_fast import Fast

        fast = Fast.of(self._plan)
        for lines in self.blocks():
            batch = fast.read(lines.data) if fast is not None else None
            yield self._typed(lines) if batch is None else batch

    def blocks(self) -> Iterator[Lines]:
        """The file in whole lines."""
        first, rest = 1, b""
        with TextBytes(self._file, self._plan.encoding, self._stop, part=self._part) as source:
            first += source.lines_dropped
            while piece := source.read(self._block_bytes):
                cut = piece.rfind(b"\n") + 1
                if cut:
                    data, rest = rest + piece[:cut], piece[cut:]
                    self.blocked_s = source.blocked_s
                    yield Lines(data=data, first=first)
                    first += data.count(b"\n")
                    continue
                rest += piece
                if len(rest) > self._max_row_bytes:
                    raise self._error(
                        first,
                        f"a line is longer than {self._max_row_bytes} bytes",
                        code="row_too_long",
                        hint="is it NDJSON, one object a line? longer lines need a larger resources.max_memory",
                    )
            if rest.strip():
                yield Lines(data=rest + b"\n", first=first)

    def rows(self, lines: Lines) -> Iterator[tuple[int, Mapping[str, tuple[JsonKind | None, str | None]]]]:
        """(number of the line, members) of each row among these lines. Raises DataError."""
        for number, raw in enumerate(lines.data.split(b"\n"), lines.first):
            if not raw.strip():
                continue
            try:
                yield number, members(raw.decode(), flatten=self._plan.flatten)
            except Malformed as error:
                raise self._error(number, f"{error}", code="row_malformed", sqlstate="22P02") from None
            except UnicodeDecodeError:
                raise self._error(
                    number,
                    f"the text is not {self._plan.encoding}",
                    code="encoding_invalid",
                    sqlstate="22021",
                    hint="set `encoding` in source.config to the one the file has, latin-1 or cp1252 perhaps",
                ) from None

    def _typed(self, lines: Lines) -> pa.RecordBatch:
        """These lines, read one by one."""
        import pyarrow as pa

        numbers: list[int] = []
        texts: list[list[str | None]] = [[] for _ in self._plan.columns]
        for number, row in self.rows(lines):
            numbers.append(number)
            if self._plan.is_closed and not self._plan.known.issuperset(row):
                raise self._unknown(number, row)
            for column, values in zip(self._plan.columns, texts, strict=True):
                values.append(self._text(number, column, row))
        arrays = [
            self._values(*each, numbers) for each in zip(self._plan.columns, self._converters, texts, strict=True)
        ]
        return pa.RecordBatch.from_arrays(arrays, names=[column.name for column in self._plan.columns])

    def _text(
        self, number: int, column: JsonColumn, row: Mapping[str, tuple[JsonKind | None, str | None]]
    ) -> str | None:
        kind, text = row.get(column.name, (None, None))
        if text is None or kind is None:
            return None
        as_json = column.kind == "any"
        if kind != column.kind and not as_json and not (column.reading.check == "declared" and kind != "any"):
            raise self._misfit(number, column, text)
        try:
            if "\0" in text or "\\" in text or not text.isascii():
                require_storable(text, is_json=kind == "any")
        except Malformed as error:
            raise self._error(
                number, f"column {column.name}: {error}", code="value_unstorable", sqlstate="22021", column=column.name
            ) from None
        if kind == "number" and column.reading.check == "inferred":
            return plain_number(text)
        return json.dumps(text, ensure_ascii=False) if as_json and kind == "string" else text

    def _values(
        self, column: JsonColumn, convert: Callable[[pa.Array], pa.Array], texts: list[str | None], numbers: list[int]
    ) -> pa.Array:
        import pyarrow as pa

        made = pa.array(texts, pa.string())
        try:
            return convert(made)
        except pa.ArrowInvalid:
            place = first_misfit(convert, made)
            raise self._misfit(numbers[place], column, texts[place] or "") from None

    def _misfit(self, line: int, column: JsonColumn, value: str) -> DataError:
        found = "was declared" if column.reading.check == "declared" else "was inferred from the first rows"
        return self._error(
            line,
            f"the value of column {column.name} is not exactly a {column.reading.type.name}, which {found}",
            code="value_misfit",
            sqlstate="22P02",
            column=column.name,
            hint=f"`infer: full` looks at all rows; types: {{{column.name}: text}} in the stream loads it as it is",
            row_detail=f"{column.name}: {value}",
        )

    def _unknown(self, line: int, row: Iterable[str]) -> DataError:
        name = next(name for name in row if name not in self._plan.known)
        return self._error(
            line,
            f"key {name!r} is in none of the rows that were looked at for columns",
            code="column_unforeseen",
            sqlstate="22P04",
            column=name,
            hint="`infer: full` in the stream looks at all rows; `columns` loads those that are named, and no others",
        )

    def _error(self, line: int, message: str, **where: Any) -> DataError:
        place = line + lines_before(self._file, self._plan.encoding, self._part)
        return DataError(f"{self._file.path}, line {place}: {message}", line=place, **where)
