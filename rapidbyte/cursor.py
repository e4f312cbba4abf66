"""Cursors: how far an incremental stream has come, and from where to where an increment goes. Values only.

A cursor's value is the source server's own text, from the moment it is read until it is compared again; it never
becomes a number or a time of Python's (E5). Only the source compares values, since only it knows their collation and
precision (B26). So nothing here orders anything.

The interval of an increment depends on the type. Date and time cursors go from `low`, inclusive, to `high`, exclusive:
`high` is a time of the source's clock, and rows of that very moment may still come. Other cursors go from `low`,
exclusive, to `high`, inclusive: `high` is a value that was there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Literal

from rapidbyte.errors import ConfigError
from rapidbyte.values import frozen

NullCursor = Literal["fail", "skip", "always"]
"""Rows whose cursor is NULL make the load fail, are left out, or are read with every increment."""

TIME_TYPES: frozenset[str] = frozenset({"date", "timestamp without time zone", "timestamp with time zone"})
NUMBER_TYPES: frozenset[str] = frozenset({"smallint", "integer", "bigint", "numeric"})
CURSOR_TYPES: frozenset[str] = TIME_TYPES | NUMBER_TYPES | {"uuid", "text", "character varying"}
"""What a cursor can be, as `format_type` prints it without a modifier. A domain counts as its base type."""

LEAST_VALUES: Mapping[str, str] = {
    "smallint": "-32768",
    "integer": "-2147483648",
    "bigint": "-9223372036854775808",
    "numeric": "-1e100",
    "date": "0001-01-01",
    "timestamp without time zone": "0001-01-01",
    "timestamp with time zone": "0001-01-01 00:00:00+00",
    "uuid": "00000000-0000-0000-0000-000000000000",
    "text": "",
    "character varying": "",
}
"""By CURSOR_TYPES: what `rapidbyte state set` takes for "nothing is loaded yet"; real values lie behind it."""

_SAME_ORDER: tuple[frozenset[str], ...] = (NUMBER_TYPES, frozenset({"text", "character varying"}))
"""Types among which a column may change without its cursor's value meaning another place."""


@frozen
class CursorLag:
    """How far below the stored cursor an increment begins."""

    seconds: float | None = None
    """For date and time cursors; None where a bare number is too big for a duration."""
    count: int | None = None
    """For numbers; None where a unit was given. A bare number is both."""


@frozen
class CursorColumn:
    """A stream's cursor as the source's catalog has it."""

    field: str
    type: str
    """One of CURSOR_TYPES: the base type, where the column is of a domain."""
    precision: int = 6
    """Digits of a second that the column keeps; means something for timestamps only."""
    nullable: bool = True
    index: str | None = None
    """An index that leads with this column, and can be used for ranges of it."""
    indexable: bool = True
    """The rows lie in a table: an index could be made. False for views and queries."""
    tie_breaker: str | None = None

    @property
    def is_time(self) -> bool:
        """Its bounds are times of the source's clock."""
        return self.type in TIME_TYPES


@frozen
class FileMark:
    """A file as it was loaded: what tells it from a later one."""

    path: str
    """Relative to the pipeline file's folder where it lies below it, else absolute; or an address."""
    size: int
    stamp: str
    """Cheap to ask for: size and time, or a store's ETag. Equal stamps: the same file."""
    digest: str
    """Of the content. Equal digests of one path: the same file, whatever its time."""


FILES_FIELD = "<files>"
"""What stands for a column in the cursor of an incremental stream of files; no column is called so."""


def files_value(files: tuple[FileMark, ...]) -> str:
    """The cursor of a stream of which these files are loaded: their number, and what tells them from others. Pure."""
    marks = sorted(f"{len(mark.path)}:{mark.path}{mark.digest}" for mark in files)
    return f"{len(files)} files, {hashlib.sha256(''.join(marks).encode()).hexdigest()[:16]}"


@frozen
class StoredCursor:
    """How far a stream has been published, as the ledger keeps it."""

    field: str
    type: str
    """The field's type, without a modifier: one of CURSOR_TYPES."""
    value: str
    """The source server's text."""
    files: tuple[FileMark, ...] = ()
    """Of a stream of files: all that are loaded, by path. `field` is FILES_FIELD then."""


@frozen
class CursorPlan:
    """How an incremental stream is read."""

    field: str
    tie_breaker: str | None
    type: str
    stored: str | None
    """Where the next increment begins, as the server's text, without the lag; None: at the beginning."""
    lag_seconds: float | None = None
    lag_count: int | None = None
    nulls: NullCursor = "fail"
    column: CursorColumn

    @property
    def is_time(self) -> bool:
        """Its bounds are times of the source's clock."""
        return self.type in TIME_TYPES


@frozen
class CursorBounds:
    """From where to where an increment goes, decided once, kept in the ledger with the load."""

    field: str
    type: str
    low: str | None
    """None: from the beginning."""
    low_inclusive: bool
    high: str | None
    """What the cursor will be once the increment is published. None: no value is to be loaded, the cursor stays."""
    high_inclusive: bool
    with_nulls: bool = False
    """Rows whose cursor is NULL belong to it."""
    stored: str | None = None
    """The cursor before this increment: `low` without the lag."""
    files: tuple[FileMark, ...] = ()
    """Of a stream of files: those that are to be loaded. `field` is FILES_FIELD then, `high` a `files_value`."""
    warnings: tuple[str, ...] = ()

    @property
    def is_empty(self) -> bool:
        """There is nothing to load: no stage, no publish, and the cursor stays (E8)."""
        return not self.with_nulls and self.high is None


def plan_cursor(
    column: CursorColumn, *, stored: StoredCursor | None, lag: CursorLag | None, nulls: NullCursor, stream: str
) -> CursorPlan:
    """How the stream will be read. Raises ConfigError for a lag of another kind, or a value of another cursor."""
    if stored is not None:
        require_same_cursor(column, stored, stream=stream)
    seconds, count = _lag_of(column, lag, stream=stream)
    return CursorPlan(
        field=column.field,
        tie_breaker=column.tie_breaker,
        type=column.type,
        stored=stored.value if stored is not None else None,
        lag_seconds=seconds,
        lag_count=count,
        nulls=nulls,
        column=column,
    )


def require_same_cursor(column: CursorColumn, stored: StoredCursor, *, stream: str) -> None:
    """Raises ConfigError where the ledger's value is of another column, or of a type with another order."""
    same_type = stored.type == column.type or any({stored.type, column.type} <= group for group in _SAME_ORDER)
    if stored.field == column.field and same_type:
        return
    raise ConfigError(
        f"stream {stream!r} was loaded up to a value of {stored.field} ({stored.type}), "
        f"and its cursor is {column.field} ({column.type}) now",
        code="cursor_changed",
        hint="run it once with --full-refresh, or `rapidbyte state set` the new cursor's value",
        stream=stream,
        column=column.field,
    )


def _lag_of(column: CursorColumn, lag: CursorLag | None, *, stream: str) -> tuple[float | None, int | None]:
    if lag is None:
        return None, None
    if column.is_time and lag.seconds is not None:
        return lag.seconds, None
    if column.type in NUMBER_TYPES and lag.count is not None:
        return None, lag.count
    wanted = "a duration, as 10m" if column.is_time else "a whole number, as 1000"
    raise ConfigError(
        f"stream {stream!r}: `cursor_lag` does not fit its cursor {column.field}, which is {column.type}",
        code="cursor_lag",
        hint=f"write {wanted}" if column.type in TIME_TYPES | NUMBER_TYPES else "numbers, dates and times can have one",
        stream=stream,
        column=column.field,
    )


def plan_warnings(plan: CursorPlan) -> tuple[str, ...]:
    """What a reader of the plan should know of this cursor."""
    found = [f"deletes in the source are not seen by increments of {plan.field}"]
    if plan.column.indexable and plan.column.index is None:
        found.append(f"no index on {plan.field}: each increment scans the table")
    if plan.type in ("uuid", "text", "character varying"):
        found.append(f"rows that come with a {plan.field} below the stored cursor are not seen: it must only grow")
    if plan.nulls == "skip" and plan.column.nullable:
        found.append(f"rows whose {plan.field} is NULL are left out")
    return tuple(found)
