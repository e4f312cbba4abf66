"""Rows that are set aside: what is told of each, how many there may be, and when there are too many. Pure.

A row is bad where the reader cannot parse it, a `validate` rule refuses it, or the server does. Who finds one makes a
`Reject` of it; the writer stores it in the transaction of its partition, or counts it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Literal

from rapidbyte.errors import DataError
from rapidbyte.values import frozen

OnDataError = Literal["fail", "skip", "dlq"]
"""A bad row ends the load; is left out and counted; is left out, counted and stored."""

RejectForm = Literal["target", "source", "text"]
"""What a stored row is: the target's columns, the source's before the transforms, or a line that could not be parsed.
The first two are objects of texts, as PostgreSQL reads them."""

LONGEST_TEXT = 64 * 1024
"""So much is stored of a line that could not be parsed, in characters."""

NOT_A_ROWS_FAULT = frozenset({"22P04"})
"""Class 22, and yet not about a row: the bytes of the COPY itself."""


@frozen
class RejectPolicy:
    """`on_data_error` and `max_rejects`. Of a whole stream, whoever finds the rows."""

    action: OnDataError = "fail"
    max_rows: int | None = 1000
    """None where a share is given."""
    max_percent: float | None = None
    """Of the rows that the source delivered."""

    @property
    def sets_aside(self) -> bool:
        """A bad row does not end the load."""
        return self.action != "fail"

    @property
    def limit(self) -> str:
        """As the pipeline file has it: `1000`, `0.5%`."""
        return f"{self.max_percent:g}%" if self.max_percent is not None else str(self.max_rows)

    def allows(self, rejected: int, *, read: int) -> bool:
        """Whether so many of so many rows may be set aside."""
        if self.max_percent is not None:
            return rejected * 100 <= self.max_percent * read
        return self.max_rows is None or rejected <= self.max_rows


@frozen
class Reject:
    """One row that was set aside, and why. `message` has no value of it; `row` has all."""

    code: str
    message: str
    sqlstate: str | None = None
    column: str | None = None
    file: str | None = None
    line: int | None = None
    """Of the file, from 1; where it has no lines, the row."""
    row: str
    """JSON."""
    form: RejectForm

    @property
    def phrase(self) -> str:
        """Where and why, without a value."""
        place = self.file or "a row"
        if self.line is not None:
            place += f", {line_word(self.file)} {self.line}"
        column = f", column {self.column}" if self.column is not None else ""
        state = f" [{self.sqlstate}]" if self.sqlstate is not None else ""
        return f"{place}{column}: {self.message}{state}"


_WITHOUT_LINES = (".parquet", ".pq", ".arrow", ".arrows", ".feather", ".ipc", ".db", ".sqlite", ".sqlite3")


def line_word(file: str | None) -> str:
    """What a number of a file counts, by its name: `line`, or `row`."""
    return "row" if file is not None and file.lower().endswith(_WITHOUT_LINES) else "line"


def is_about_a_row(sqlstate: str | None) -> bool:
    """Whether an error of the server's is about one row of those that were sent: classes 22 and 23."""
    return sqlstate is not None and sqlstate[:2] in ("22", "23") and sqlstate not in NOT_A_ROWS_FAULT


def columns_json(values: Mapping[str, str | None]) -> str:
    """A row by its columns. ASCII: what is no text of PostgreSQL's is escaped."""
    return json.dumps(dict(values))


def text_json(text: str) -> str:
    """A line that could not be parsed, no more of it than is of use."""
    return json.dumps(text[:LONGEST_TEXT])


def too_many(
    policy: RejectPolicy, *, stream: str, rejected: int, read: int | None, first: str | None
) -> DataError | None:
    """The error of a stream of which too many rows were set aside; None where they are not.

    `read` is None while the stream is still being read: then a share is not judged.
    """
    if (
        policy.allows(rejected, read=read)
        if read is not None
        else policy.max_rows is None or rejected <= policy.max_rows
    ):
        return None
    told = f"; the first: {first}" if first is not None else ""
    count = f"{rejected} of {read} rows of stream {stream} are bad, more than max_rejects: {policy.limit}"
    if read is None:
        count = f"more rows of stream {stream} are bad than max_rejects: {policy.limit}"
    return DataError(
        f"{count}{told}",
        code="too_many_rejects",
        hint="mend the rows, or raise max_rejects; nothing of this load is published",
        stream=stream,
    )


def first_of(phrases: Iterable[str | None]) -> str | None:
    """The first that is known."""
    return next((phrase for phrase in phrases if phrase is not None), None)
