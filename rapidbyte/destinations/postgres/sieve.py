"""A worker's COPY where bad rows are set aside: slice by slice, each under a savepoint.

When the server refuses a slice, the error's context names the row (`COPY t, line 7, column c`); where it names none,
the slice is halved until one row is left. The rows before the bad one are sent again by themselves, those behind it
with the next slice: so a bad row costs what lies before it in its slice. Slices are large until one is refused, small
after it, and grow slowly.

It sends COPY, savepoints, and one INSERT for what is set aside. Nothing here decides how many bad rows are too many.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import sql

from rapidbyte.contract import CopyTarget, RejectTarget
from rapidbyte.destinations.postgres.encode import Encoder, first_refused, texts_of
from rapidbyte.destinations.postgres.text_checks import TextChecks
from rapidbyte.errors import DataError
from rapidbyte.metrics import Laps
from rapidbyte.model import QualifiedName, Wire
from rapidbyte.partition import Partition
from rapidbyte.pg.copy import CopyIn
from rapidbyte.pg.failure import code_and_hint, copy_place, masked
from rapidbyte.pg.session import PgConnection
from rapidbyte.ports import Block, Place, Stop
from rapidbyte.rejects import Reject, columns_json, is_about_a_row, too_many
from rapidbyte.values import frozen

if TYPE_CHECKING:
    from rapidbyte.destinations.postgres.encode import Rows

LARGEST_SLICE_BYTES, SMALLEST_SLICE_BYTES, STEP_BYTES = 4 << 20, 192 << 10, 64 << 10
"""What is kept, so that it can be sent again; and by how much slices grow after each that was taken."""

_ESCAPED = re.compile(r"\\(.?)", re.DOTALL)
_ESCAPES = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
"""Of COPY's text format; any other escaped character is itself."""


@frozen
class Piece:
    """Whole rows of one block, in order."""

    data: Rows
    """Lines of COPY's text format, or a batch."""
    rows: int
    size: int
    origin: Callable[[int], Place] | None
    first: int = 0
    """Place of its first row within the block, which is what `origin` counts by."""

    def part(self, low: int, high: int) -> Piece:
        """The rows `low <= row < high`."""
        if isinstance(self.data, bytes):
            lines = self.data.split(b"\n", high)
            data: Rows = b"".join(line + b"\n" for line in lines[low:high])
            size = len(data)
        else:
            data = self.data.slice(low, high - low)
            size = self.size * (high - low) // max(1, self.rows)
        return replace(self, data=data, rows=high - low, size=size, first=self.first + low)

    def place(self) -> Place | None:
        """Where its first row comes from."""
        return None if self.origin is None else self.origin(self.first)


@frozen
class Refusal:
    """Why some rows were not taken."""

    row: int | None
    """Which of them is bad, from 0; None where nobody says."""
    code: str
    message: str
    sqlstate: str | None
    column: str | None


@frozen
class Sifted:
    """What became of a partition."""

    rows: int
    """That were copied."""
    bytes: int
    blocked_s: float
    refused: int
    """Rows that arrived, and were not copied."""
    rejected: int
    """These, and those that were set aside before they arrived."""
    first_reject: str | None


def total(pieces: Sequence[Piece]) -> int:
    """Rows of all of them."""
    return sum(piece.rows for piece in pieces)


def cut(pieces: Sequence[Piece], row: int) -> tuple[list[Piece], list[Piece]]:
    """The rows before `row`, and from it on. Pure."""
    before: list[Piece] = []
    behind: list[Piece] = []
    for piece in pieces:
        inside = min(max(row, 0), piece.rows)
        row -= piece.rows
        if inside:
            before.append(piece if inside == piece.rows else piece.part(0, inside))
        if inside < piece.rows:
            behind.append(piece if not inside else piece.part(inside, piece.rows))
    return before, behind


def text_values(line: bytes, columns: Sequence[str]) -> dict[str, str | None]:
    """A line of COPY's text format by its columns; NULL is None. Pure."""
    found: dict[str, str | None] = {}
    start, end = 0, len(line) - line.endswith(b"\n")
    for column in columns:
        stop = line.find(b"\t", start, end)
        found[column] = _unescaped(line[start : stop if stop >= 0 else end].decode(errors="surrogateescape"))
        if stop < 0:
            break
        start = stop + 1
    return found


def _unescaped(field: str) -> str | None:
    if field == "\\N":
        return None
    if "\\" not in field:
        return field
    return _ESCAPED.sub(lambda escaped: _ESCAPES.get(escaped[1], escaped[1]), field)


class Sieve:
    """One partition on its way into one transaction. Used once, by one thread."""

    def __init__(
        self,
        connection: PgConnection,
        target: CopyTarget,
        rejects: RejectTarget,
        partition: Partition,
        statement: sql.Composed,
        laps: Laps,
        *,
        stop: Stop,
        doing: str,
    ) -> None:
        self._connection = connection
        self._target = target
        self._rejects = rejects
        self._partition = partition
        self._statement = statement
        self._laps = laps
        self._stop = stop
        self._doing = doing
        self._slice_bytes = LARGEST_SLICE_BYTES
        self._rows = self._bytes = self._refused = self._rejected = 0
        self._blocked_s = 0.0
        self._first: str | None = None

    def sift(self, following: Callable[[], Block | None]) -> Sifted:
        """Copies every row that can be, and sets the others aside. Raises DataError once those are too many,
        psycopg.Error for what is no row's fault, and what `following` raises.

        Of a block nothing is kept once its rows are settled: they may be large.
        """
        held: list[Piece] = []
        block = following()
        while block is not None:
            self._set_aside(block.rejects)
            if block.rows:
                held.append(Piece(data=block.data, rows=block.rows, size=block.size, origin=block.origin))
            del block
            while held and sum(piece.size for piece in held) >= self._slice_bytes:
                held = self._advanced(held)
            block = following()
        while held:
            held = self._advanced(held)
        return Sifted(
            rows=self._rows,
            bytes=self._bytes,
            blocked_s=self._blocked_s,
            refused=self._refused,
            rejected=self._rejected,
            first_reject=self._first,
        )

    def _sliced(self, held: list[Piece]) -> tuple[list[Piece], list[Piece]]:
        """As much of what is held as one slice takes, and the rest. A row is never cut."""
        size = max(1, sum(piece.size for piece in held))
        count = total(held)
        rows = max(1, count * self._slice_bytes // size)
        return (held, []) if rows >= count else cut(held, rows)

    def _advanced(self, held: list[Piece]) -> list[Piece]:
        """Settles a slice of what is held, or its beginning; returns what is to be sent still."""
        slice_, rest = self._sliced(held)
        left = self._settled(slice_)
        if left:
            self._slice_bytes = max(SMALLEST_SLICE_BYTES, min(self._slice_bytes, 1 << 20) // 4)
        else:
            self._slice_bytes = min(LARGEST_SLICE_BYTES, self._slice_bytes + STEP_BYTES)
        return [*left, *rest]

    def _settled(self, pieces: list[Piece]) -> list[Piece]:
        """Copies these rows, or sets the first bad one aside with all before it copied; returns those behind it."""
        count = total(pieces)
        refusal = self._copied(pieces) if count else None
        if refusal is None:
            return []
        if count == 1:
            self._refuse(pieces, refusal)
            return []
        if refusal.row is None or refusal.row >= count:
            first, second = cut(pieces, count // 2)
            return [*self._settled(first), *second]
        before, behind = cut(pieces, refusal.row)
        while before:
            before = self._settled(before)
        bad, rest = cut(behind, 1)
        self._refuse(bad, refusal)
        return rest

    def _copied(self, pieces: Sequence[Piece]) -> Refusal | None:
        """Sends these rows; None once the server has taken all of them."""
        sent = self._encoded(pieces)
        self._laps.lap("encode")
        if isinstance(sent, Refusal):
            return sent
        self._connection.execute("SAVEPOINT rapidbyte")
        try:
            with CopyIn(self._connection, self._statement, stop=self._stop, doing=self._doing) as copy:
                for data in sent:
                    copy.write(data)
                rows = copy.finish()
        except psycopg.Error as error:
            refusal = self._refusal(error, sent, pieces)
            if refusal is None:
                raise
            self._connection.execute("ROLLBACK TO SAVEPOINT rapidbyte")
            return refusal
        finally:
            self._laps.lap("write")
        self._connection.execute("RELEASE SAVEPOINT rapidbyte")
        self._rows += rows
        self._bytes += sum(map(len, sent))
        self._blocked_s += copy.blocked_s
        self._laps.lap("write")
        return None

    def _encoded(self, pieces: Sequence[Piece]) -> list[bytes] | Refusal:
        """The bytes of a COPY of these rows alone; a refusal where a value does not fit its column."""
        columns = self._target.columns
        encoder = Encoder(columns, self._target.wire)
        sent: list[bytes] = []
        before = 0
        for piece in pieces:
            try:
                self._check(piece)
                sent.append(encoder.encode(piece.data))
            except DataError as error:
                told = error.context.line
                bad = told - 1 if told is not None else first_refused(columns, self._target.wire, piece.data)
                return Refusal(
                    row=before + bad,
                    code=error.code,
                    message=error.message,
                    sqlstate=error.context.sqlstate,
                    column=error.context.column,
                )
            before += piece.rows
        return [*sent, encoder.finish()]

    def _check(self, piece: Piece) -> None:
        """Raises DataError, with the row within the piece, for a text that the server would change in silence."""
        if self._target.checked and not isinstance(piece.data, bytes):
            TextChecks(self._target.columns, self._target.checked).require(piece.data)

    def _refusal(self, error: psycopg.Error, sent: list[bytes], pieces: Sequence[Piece]) -> Refusal | None:
        """What the server says of these rows; None where it is no row's fault."""
        state = error.sqlstate
        if not is_about_a_row(state):
            return None
        place = copy_place(error.diag.context)
        known = place.line is not None and _lines_are_rows(self._target.wire, sent, total(pieces))
        return Refusal(
            row=place.line - 1 if known and place.line is not None else None,
            code=code_and_hint(state)[0],
            message=self._message(error),
            sqlstate=state,
            column=error.diag.column_name or place.column,
        )

    def _message(self, error: psycopg.Error) -> str:
        """The server's sentence, without a value and without the name of the stage."""
        text = " ".join((error.diag.message_primary or str(error)).split())
        return masked(text, error.sqlstate).replace(f'relation "{self._target.table.name}"', "the table")

    def _refuse(self, bad: Sequence[Piece], refusal: Refusal) -> None:
        """Sets aside the one row that these pieces are."""
        (piece,) = bad
        place = piece.place()
        self._refused += 1
        self._set_aside(
            (
                Reject(
                    code=refusal.code,
                    message=refusal.message,
                    sqlstate=refusal.sqlstate,
                    column=refusal.column,
                    file=None if place is None else place.file,
                    line=None if place is None else place.line if place.line is not None else place.row,
                    row=self._values(piece),
                    form="target",
                ),
            )
        )

    def _values(self, piece: Piece) -> str:
        """The row of this piece, as it is stored; nothing where nobody keeps it: it may be large."""
        if self._rejects.table is None:
            return "{}"
        columns = self._target.columns
        if isinstance(piece.data, bytes):
            return columns_json(text_values(piece.data, [column.name for column in columns]))
        return columns_json(texts_of(columns, piece.data))

    def _set_aside(self, rejects: Sequence[Reject]) -> None:
        """Counts them, and stores them where that was asked for. Raises DataError once they are too many."""
        if not rejects:
            return
        self._rejected += len(rejects)
        self._first = self._first or rejects[0].phrase
        policy, stream = self._rejects.policy, self._target.stream
        error = too_many(policy, stream=stream, rejected=self._rejected, read=None, first=self._first)
        if error is not None:
            raise error
        if self._rejects.table is not None:
            self._connection.execute(_insert(self._rejects.table), self._stored(rejects))
        self._laps.lap("write")

    def _stored(self, rejects: Sequence[Reject]) -> tuple[Any, ...]:
        """What all of them have in common, then each of their fields as a list."""
        return (
            self._target.pipeline,
            self._target.stream,
            self._rejects.run_id,
            self._target.load_id,
            self._partition.index,
            [reject.file for reject in rejects],
            [reject.line for reject in rejects],
            [reject.column for reject in rejects],
            [reject.code for reject in rejects],
            [reject.sqlstate for reject in rejects],
            [reject.message for reject in rejects],
            [reject.form for reject in rejects],
            [reject.row for reject in rejects],
        )


def _insert(table: QualifiedName) -> sql.Composed:
    """Rows that are set aside, in order. (The server numbers them: a worker may not even look at them.)"""
    return sql.SQL(
        "INSERT INTO {} (pipeline, stream, run_id, load_id, partition, file, line, column_name, code, sqlstate,"
        " message, form, row_data) SELECT %s::pg_catalog.text, %s::pg_catalog.text, %s::pg_catalog.text,"
        " %s::pg_catalog.text, %s::pg_catalog.int4, u.* FROM ROWS FROM (pg_catalog.unnest(%s::pg_catalog.text[]),"
        " pg_catalog.unnest(%s::pg_catalog.int8[]), {}, pg_catalog.unnest(%s::pg_catalog.json[])) AS u"
    ).format(
        sql.Identifier(table.schema, table.name),
        sql.SQL(", ").join([sql.SQL("pg_catalog.unnest(%s::pg_catalog.text[])")] * 5),
    )


def _lines_are_rows(wire: Wire, sent: Sequence[bytes], rows: int) -> bool:
    """Whether the line that the server counts is the row: in CSV it counts line breaks within quotes, too."""
    return wire != "arrow-text" or sum(data.count(b"\n") for data in sent) == rows
