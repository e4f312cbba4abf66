"""The rows of NDJSON files: by Arrow where that is exact, one by one where it is not, or where a line must be named."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from rapidbyte.errors import DataError
from rapidbyte.ports import Stop
from rapidbyte.rejects import Reject, text_json
from rapidbyte.sources.files.aside import Aside
from rapidbyte.sources.files.converters import converter
from rapidbyte.sources.files.infer import all_misfits, first_misfit
from rapidbyte.sources.files.ndjson import (
    JsonColumn,
    JsonKind,
    JsonPlan,
    Malformed,
    members,
    plain_number,
    require_storable,
)
from rapidbyte.sources.files.ndjson_fast import Fast
from rapidbyte.sources.files.ndjson_shapes import Shapes
from rapidbyte.sources.files.paths import ByteRange, DataFile
from rapidbyte.sources.files.text import TextBytes, lines_before, never
from rapidbyte.values import frozen

if TYPE_CHECKING:
    import pyarrow as pa


@frozen
class Lines:
    """Some whole lines of a file."""

    data: bytes
    """UTF-8; the last one ends, too."""
    first: int
    """Number of the first line, from 1 at the beginning of what is read."""
    count: int
    """How many they are."""


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
        aside: Aside | None = None,
    ) -> None:
        self._file = file
        self._aside = aside
        self._records_before = 0
        self._plan = plan
        self._block_bytes = block_bytes
        self._max_row_bytes = max_row_bytes
        self._part = part
        self._stop = stop
        self._shapes = Shapes(plan)
        self._converters = [converter(column.reading) for column in plan.columns]
        self.blocked_s = 0.0
        """Seconds spent waiting for the file system so far."""

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        fast = Fast.of(self._plan)
        for lines in self.blocks():
            batch = fast.read(lines.data, lines.count) if fast is not None else None
            if batch is None and self._aside is not None:
                yield self._sifted(lines, self._aside)
                continue
            if batch is not None:
                self._records_before += batch.num_rows
            yield self._typed(lines) if batch is None else batch

    def blocks(self) -> Iterator[Lines]:
        """The file in whole lines."""
        first, rest = 1, b""
        with TextBytes(self._file, self._plan.encoding, self._stop, part=self._part) as source:
            first += source.lines_dropped
            while piece := source.read(self._block_bytes):
                cut = piece.rfind(b"\n") + 1
                if cut:
                    data, rest = b"".join((rest, memoryview(piece)[:cut])), piece[cut:]
                    count = data.count(b"\n")
                    self.blocked_s = source.blocked_s
                    yield Lines(data=data, first=first, count=count)
                    first += count
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
                yield Lines(data=rest + b"\n", first=first, count=1)

    def all_lines(self) -> Iterator[int]:
        """The line, from 1, on which each row stands, in order. Reads the file again, as far as it is asked."""
        before = lines_before(self._file, self._plan.encoding, self._part)
        with TextBytes(self._file, self._plan.encoding, self._stop, part=self._part) as source:
            dropped = source.lines_dropped
            for number, line in enumerate(io.BufferedReader(source), before + dropped + 1):
                if line.strip():
                    yield number

    def rows(
        self, lines: Lines, *, lenient: bool = False
    ) -> Iterator[tuple[int, Mapping[str, tuple[JsonKind | None, str | None]]]]:
        """(number of the line, members) of each row among these lines. Raises DataError, or passes over what is bad."""
        for number, raw in enumerate(lines.data.split(b"\n"), lines.first):
            if not raw.strip():
                continue
            try:
                yield number, members(raw.decode(), flatten=self._plan.flatten)
            except Malformed as error:
                if lenient:
                    continue
                raise self._error(number, f"{error}", code="row_malformed", sqlstate="22P02") from None
            except UnicodeDecodeError:
                if lenient:
                    continue
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
        rows: list[list[str | None]] = []
        for number, raw in enumerate(lines.data.split(b"\n"), lines.first):
            if raw.strip():
                numbers.append(number)
                rows.append(self._shapes.texts(raw) or self._texts_of(raw, number))
        texts: list[list[str | None]] = [list(values) for values in zip(*rows, strict=True)]
        texts = texts or [[] for _ in self._plan.columns]
        arrays = [
            self._values(*each, numbers) for each in zip(self._plan.columns, self._converters, texts, strict=True)
        ]
        return pa.RecordBatch.from_arrays(arrays, names=[column.name for column in self._plan.columns])

    def _sifted(self, lines: Lines, aside: Aside) -> pa.RecordBatch:
        """These lines, read one by one; those that cannot be are set aside."""
        import pyarrow as pa
        from pyarrow import compute as pc

        raws = [raw for raw in lines.data.split(b"\n") if raw.strip()]
        rows: list[tuple[int, bytes, list[str | None]]] = []
        for record, raw in enumerate(raws, self._records_before):
            try:
                rows.append((record, raw, self._shapes.texts(raw) or self._texts_of(raw, 0)))
            except DataError as error:
                aside.malformed(record, partial(_rejected, self._file, error, raw))
        self._records_before += len(raws)
        columns = list(zip(self._plan.columns, self._converters, strict=True))
        arrays: list[pa.Array | None] = []
        bad: dict[int, JsonColumn] = {}
        for place, (column, convert) in enumerate(columns):
            made = pa.array([texts[place] for _, _, texts in rows], pa.string())
            try:
                arrays.append(convert(made))
            except pa.ArrowInvalid:
                arrays.append(None)
                for row in all_misfits(convert, made):
                    bad.setdefault(row, column)  # the first of several columns is the one that is told
        for row, column in sorted(bad.items()):
            record, raw, _ = rows[row]
            aside.malformed(record, partial(_rejected, self._file, self._misfit(0, column, ""), raw))
        left = [row for row in range(len(rows)) if row not in bad]
        kept = [
            convert(pa.array([rows[row][2][place] for row in left], pa.string()))
            if array is None
            else (pc.take(array, pa.array(left, pa.int64())) if bad else array)
            for place, (array, (_, convert)) in enumerate(zip(arrays, columns, strict=True))
        ]
        return pa.RecordBatch.from_arrays(kept, names=[column.name for column in self._plan.columns])

    def _texts_of(self, raw: bytes, number: int) -> list[str | None]:
        """The values of one line, as texts; its number is 0 where it is looked up later. Raises DataError."""
        (found,) = self.rows(Lines(data=raw, first=number, count=1))
        _, row = found
        if self._plan.is_closed and not self._plan.known.issuperset(row):
            raise self._unknown(number, row)
        return [self._text(number, column, row) for column in self._plan.columns]

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
        reading = column.reading
        return self._error(
            line,
            f"the value of column {column.name} is not exactly {reading.type.phrase}, which {reading.came_about}",
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
        if self._aside is not None and line == 0:
            return DataError(message, **where)
        place = line + lines_before(self._file, self._plan.encoding, self._part)
        return DataError(f"{self._file.path}, line {place}: {message}", line=place, **where)


def _rejected(file: DataFile, error: DataError, raw: bytes, line: int | None) -> Reject:
    """A line that cannot be loaded."""
    return Reject(
        code=error.code,
        message=error.message,
        sqlstate=error.context.sqlstate,
        column=error.context.column,
        file=file.path,
        line=line,
        row=text_json(raw.decode(errors="surrogateescape")),
        form="text",
    )
