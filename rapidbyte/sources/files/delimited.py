"""CSV: its records as text, and on which line a record stands."""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator, Set
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any

from rapidbyte.errors import DataError
from rapidbyte.ports import Stop
from rapidbyte.rejects import Reject, text_json
from rapidbyte.sources.files.aside import Aside
from rapidbyte.sources.files.dialect import Dialect
from rapidbyte.sources.files.infer import first_misfit
from rapidbyte.sources.files.paths import ByteRange, DataFile
from rapidbyte.sources.files.text import TextBytes, lines_before, never, text_lines

if TYPE_CHECKING:
    import pyarrow as pa

BLOCKS_AHEAD = 4
"""So many blocks are read before they are parsed: the parser needs two to give out the first rows."""

LONGER_ROWS = 16
"""A row that is longer than a block is read again with blocks of so many times the size."""


class Records:
    """The records of one CSV file as text, in order, in batches of about `block_bytes`. Iterated once.

    `names` are the file's, all of them. A batch has the `wanted` ones, by their places in the file, in that order; it
    calls them c0, c1, ... by the same places. An unquoted null string is NULL, a quoted field never. A row longer than
    a block is read with longer blocks, up to `max_row_bytes`. Raises DataError, with file and line, for a record that
    is malformed or not in its encoding; with `aside` malformed ones go there, and the columns are binary.
    """

    def __init__(
        self,
        file: DataFile,
        dialect: Dialect,
        names: tuple[str, ...],
        wanted: tuple[int, ...],
        *,
        block_bytes: int,
        max_row_bytes: int,
        part: ByteRange | None = None,
        stop: Stop = never,
        aside: Aside | None = None,
    ) -> None:
        self._file = file
        self._part = part
        self._aside = aside
        self._dialect = dialect
        self._is_later = part is not None and part.low > 0
        self._header_rows = int(dialect.header and not self._is_later)
        self._names = names
        self._width = len(names)
        self._wanted = wanted
        self._blocks = _block_sizes(block_bytes, max(block_bytes, max_row_bytes))
        self._stop = stop
        self.row_count: int = 0
        """Rows delivered so far."""
        self.blocked_s = 0.0
        """Seconds spent waiting for the file system so far."""

    @property
    def is_binary(self) -> bool:
        """The columns are binary: see `texts_of`."""
        return self._aside is not None

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        for block_bytes in self._blocks:
            if (yield from self._with_blocks(block_bytes)):
                return
        raise DataError(
            f"{self._file.path}: a quote is not closed, or a row is longer than {self._blocks[-1]} bytes",
            code="row_too_long",
            sqlstate="22P04",
            line=self.line_of(self.row_count),
            hint="look for a lone quote near that line; longer rows need a larger resources.max_memory",
        )

    def _with_blocks(self, block_bytes: int) -> Generator[pa.RecordBatch, None, bool]:
        """The rows that have not been delivered yet; returns False at a row that is longer than a block."""
        import pyarrow as pa

        known, waited = self.row_count, self.blocked_s
        last_field: Any = None
        held: pa.RecordBatch | None = None
        with self._text() as source:
            try:
                source.allow(BLOCKS_AHEAD)
                for batch in self._reader(source, block_bytes):
                    source.allow(1)
                    self.blocked_s = waited + source.blocked_s
                    again, known = min(known, batch.num_rows), max(0, known - batch.num_rows)
                    last_field = batch.column(f"c{self._width - 1}").slice(max(0, batch.num_rows - 1))
                    if batch.num_rows == again:
                        continue
                    wanted = batch.slice(again).select([f"c{index}" for index in self._wanted])
                    ready, held = (wanted, None) if self._aside is None else (held, wanted)
                    if ready is not None:
                        self.row_count += ready.num_rows
                        yield ready
            except pa.ArrowInvalid as error:
                if "straddl" in str(error):
                    return False
                raise self._translated(str(error)) from error
            last = self._without_open_end(held, _as_texts(last_field), source.tail)
        if last is not None:
            self.row_count += last.num_rows
            yield last
        return True

    def _without_open_end(self, held: pa.RecordBatch | None, last: list[str | None], tail: bytes) -> Any:
        """The batch that was held back for the case that its last row goes on to the file's end within quotes."""
        try:
            self._require_closed_quote(last, tail)
        except DataError:
            if self._aside is None or held is None:
                raise
            fields = [_as_texts(values.slice(held.num_rows - 1)) for values in held.columns]
            text = self._dialect.delimiter.join((field[0] or "") if field else "" for field in fields)
            message = "a quote is not closed, the file ends within the field"
            reject = partial(_malformed, self._file.path, message, text_json(text))
            self._aside.misfit(self.row_count + held.num_rows - 1, reject)
            return held.slice(0, held.num_rows - 1)
        return held

    def _text(self) -> TextBytes:
        dialect = self._dialect
        return TextBytes(self._file, dialect.encoding, self._stop, skip=dialect.skip, part=self._part)

    def _reader(self, source: TextBytes, block_bytes: int) -> pa.RecordBatchReader:
        import pyarrow as pa
        from pyarrow import csv as arrow_csv

        dialect = self._dialect
        names = [f"c{index}" for index in range(self._width)]
        kept = sorted({*self._wanted, self._width - 1})
        return arrow_csv.open_csv(
            pa.PythonFile(source, mode="r"),
            read_options=arrow_csv.ReadOptions(
                use_threads=False,
                block_size=block_bytes,
                column_names=names,
                skip_rows_after_names=self._header_rows,
            ),
            parse_options=arrow_csv.ParseOptions(
                delimiter=dialect.delimiter,
                quote_char=dialect.quote,
                double_quote=dialect.escape is None,
                escape_char=dialect.escape or False,
                newlines_in_values=True,
                # To a file of one column an empty line is a row, as it is to PostgreSQL.
                ignore_empty_lines=self._width > 1,
                invalid_row_handler=None if self._aside is None else self._set_aside,
            ),
            convert_options=arrow_csv.ConvertOptions(
                include_columns=[names[index] for index in kept],
                column_types=dict.fromkeys(names, pa.string() if self._aside is None else pa.binary()),
                null_values=list(dialect.null_strings),
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
            ),
        )

    def _set_aside(self, row: Any) -> str:
        """What Arrow calls for a row with too many fields, or too few."""
        assert self._aside is not None  # noqa: S101 - it is called for no other
        if row.number is None:
            return "error"
        message = miscounted(row.actual_columns, row.expected_columns)
        reject = partial(_malformed, self._file.path, message, text_json(row.text))
        self._aside.malformed(row.number - 1 - self._header_rows, reject)
        return "skip"

    def line_of(self, row: int) -> int | None:
        """The line, from 1, on which a row (from 0) begins; None where it cannot be found. Reads the file again."""
        return self.lines_of({row}).get(row)

    def lines_of(self, rows: Set[int]) -> dict[int, int]:
        """The same of several rows, in one reading; what cannot be found is left out."""
        if not rows:
            return {}
        return {row: line for row, line in enumerate(islice(self.all_lines(), max(rows) + 1)) if row in rows}

    def all_lines(self) -> Iterator[int]:
        """The line, from 1, on which each row begins, in order. Reads the file again, as far as it is asked."""
        dialect, skipped = self._dialect, self._header_rows
        before = lines_before(self._file, dialect.encoding, self._part)
        is_inside = False
        start, records = 0, 0
        for number, line in enumerate(text_lines(self._file, dialect.encoding, self._part, self._stop), before + 1):
            is_empty = not line.strip("\n") and (self._width > 1 or not (records or self._is_later))
            if (number <= dialect.skip and not self._is_later) or (is_empty and not is_inside):
                continue
            start = start if is_inside else number
            quotes = _unescaped(line, dialect).count(dialect.quote)
            is_inside = is_inside != bool(quotes % 2)
            if not is_inside:
                if records >= skipped:
                    yield start
                records += 1
        if is_inside and records >= skipped:
            yield start

    def _translated(self, message: str) -> DataError:
        """What Arrow says about a record that it cannot take, without the record's text."""
        place = re.search(r"Row #(\d+)", message)
        row = int(place[1]) - 1 - self._header_rows if place else None
        line = None if row is None else self.line_of(row)
        where = self._file.path if line is None else f"{self._file.path}, line {line}"
        column = re.search(r"In CSV column #(\d+)", message)
        fields = re.search(r"Expected (\d+) columns, got (\d+)", message)
        if "invalid UTF8" in message:
            return DataError(
                f"{where}: the text is not {self._dialect.encoding}",
                code="encoding_invalid",
                sqlstate="22021",
                line=line,
                hint="set `encoding` in source.config to the one the file has, latin-1 or cp1252 perhaps",
                column=self._names[int(column[1])] if column else None,
            )
        if fields is not None:
            expected, found = fields[1], fields[2]
            return DataError(
                f"{where}: {miscounted(int(found), int(expected))}",
                code="row_malformed",
                sqlstate="22P04",
                line=line,
                row_detail=message.partition(": Expected")[2].partition(": ")[2] or None,
            )
        return DataError(f"{where}: not a record of CSV", code="row_malformed", sqlstate="22P04", line=line)

    def _require_closed_quote(self, last: list[str | None], tail: bytes) -> None:
        """A file that was cut off within quotes looks like one whose last field goes on to the end."""
        if not last or last[-1] is None:
            return
        quote, delimiter = self._dialect.quote, self._dialect.delimiter
        opened = (quote + _escaped(last[-1], self._dialect)).encode()
        edges = (b"", delimiter.encode(), b"\n", b"\r")

        def stands_at_end(text: bytes, field: bytes) -> bool:
            before = len(text) - len(field)
            return text.endswith(field) and text[max(0, before - 1) : before] in edges

        is_closed = stands_at_end(tail.rstrip(b"\r\n"), opened + quote.encode())
        if stands_at_end(tail, opened) and not is_closed:
            line = self.line_of(self.row_count - 1)
            raise DataError(
                f"{self._file.path}, line {line}: a quote is not closed, the file ends within the field",
                code="row_malformed",
                sqlstate="22P04",
                line=line,
                hint="is the file complete?",
            )


def texts_of(batch: pa.RecordBatch) -> tuple[pa.RecordBatch, dict[int, int]]:
    """A batch of binary columns as text; and of the rows that are no UTF-8, which are not in it, the column's place."""
    import pyarrow as pa
    from pyarrow import compute as pc

    bad: dict[int, int] = {}
    while True:
        left = [row for row in range(batch.num_rows) if row not in bad] if bad else None
        kept = batch if left is None else batch.take(pa.array(left, pa.int64()))
        arrays: list[pa.Array] = []
        for place, values in enumerate(kept.columns):
            try:
                arrays.append(pc.cast(values, pa.string()))
            except pa.ArrowInvalid:
                row = first_misfit(lambda some: pc.cast(some, pa.string()), values)
                bad[row if left is None else left[row]] = place
                break
        else:
            return pa.RecordBatch.from_arrays(arrays, names=batch.schema.names), bad


def miscounted(found: int, due: int) -> str:
    """What is wrong with a record of so many fields."""
    return f"{found} field{'' if found == 1 else 's'} where {due} {'is' if due == 1 else 'are'} due"


def _malformed(path: str, message: str, row: str, line: int | None) -> Reject:
    """A record that has not the fields that are due."""
    return Reject(code="row_malformed", message=message, sqlstate="22P04", file=path, line=line, row=row, form="text")


def _as_texts(values: Any) -> list[str | None]:
    """The texts of an array of strings, or of binary values; nothing for None."""
    found: list[Any] = [] if values is None else values.to_pylist()
    return [each.decode(errors="replace") if isinstance(each, bytes) else each for each in found]


def _block_sizes(first: int, longest: int) -> tuple[int, ...]:
    sizes = [first]
    while sizes[-1] < longest:
        sizes.append(min(longest, sizes[-1] * LONGER_ROWS))
    return tuple(sizes)


def _unescaped(line: str, dialect: Dialect) -> str:
    """The line without its escaped quotes; doubled ones may stay, being even in number."""
    if dialect.escape is None:
        return line
    return line.replace(dialect.escape * 2, "").replace(dialect.escape + dialect.quote, "")


def _escaped(field: str, dialect: Dialect) -> str:
    """The field as it stands between quotes."""
    if dialect.escape is None:
        return field.replace(dialect.quote, dialect.quote * 2)
    return field.replace(dialect.escape, dialect.escape * 2).replace(dialect.quote, dialect.escape + dialect.quote)
