"""From where to where an increment goes. The server computes and compares every value (B26, E5).

The upper bounds of all streams first, then the wait (`settle`), then what only the complete increment tells: whether it
has rows at all, NULL cursors, rows that must wait. Each step has a transaction of its own, so that no lock on the
tables is held while others are waited for: they might need one to end.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import LiteralString, Protocol

from psycopg import sql

from rapidbyte.cursor import CursorBounds, CursorPlan, StoredCursor, require_same_cursor
from rapidbyte.errors import DataError
from rapidbyte.partition import cursor_ranges
from rapidbyte.pg.session import PgConnection
from rapidbyte.plan import StreamPlan
from rapidbyte.sources.postgres.select import StreamRead, relation_of, stream_read
from rapidbyte.sources.postgres.settle import STATEMENT_START_SECONDS, settle
from rapidbyte.sources.postgres.typed import in_range, type_of, typed
from rapidbyte.sources.postgres.user_sql import condition
from rapidbyte.values import frozen

UNIT_SECONDS: tuple[LiteralString, ...] = ("1", "0.1", "0.01", "0.001", "0.0001", "0.00001", "0.000001")
"""The step of a timestamp by its precision."""

LEAST: dict[str, str] = {"smallint": "-32768", "integer": "-2147483648", "bigint": "-9223372036854775808"}

_ZONE = sql.SQL("(SELECT z.reset_val FROM pg_catalog.pg_settings z WHERE z.name = 'TimeZone')")
"""The zone that sessions of this database begin with: what now() is turned with into a value without a zone. Our own
sessions set another, which is why it is not simply asked for."""


STANDBY = (
    "the source is a standby, which does not know the primary's running transactions: rows that commit late can be "
    "missed; read from the primary, or use `cursor_lag` with upsert"
)


class Looking(Protocol):
    """Opens a read-only transaction; a stream's name asks for the search_path of the user's SQL."""

    def __call__(self, doing: str, *, user_sql: bool = False) -> AbstractContextManager[PgConnection]:
        """`doing` completes "while ..."."""
        ...


@frozen
class Increment:
    """One incremental stream, on its way to its bounds."""

    read: StreamRead
    plan: CursorPlan

    @property
    def column(self) -> sql.Identifier:
        """The cursor's."""
        return sql.Identifier(self.plan.field)

    def rows(self, *wanted: sql.Composable) -> sql.Composed:
        """`FROM ... WHERE ...` for the stream's rows that fulfil these conditions."""
        where = [*wanted, *([condition(self.read.where)] if self.read.where is not None else [])]
        found = sql.SQL(" FROM {}").format(relation_of(self.read))
        return found + sql.SQL(" WHERE {}").format(sql.SQL(" AND ").join(where)) if where else found


def take_bounds(
    looking: Looking, streams: Sequence[StreamPlan], stored: Mapping[str, StoredCursor], *, settle_seconds: float
) -> tuple[CursorBounds | None, ...]:
    """The bounds of these streams, in order; None for those that are read as a whole. See `ports.Source.bounds`."""
    increments = {
        stream.name: Increment(read=stream_read(stream), plan=_planned(stream.cursor, stored.get(stream.name), stream))
        for stream in streams
        if stream.cursor is not None
    }
    if not increments:
        return tuple(None for _ in streams)
    taken: dict[str, CursorBounds] = {}
    for name, each in increments.items():
        doing = f"asking for the end of {name}'s increment"
        with looking(doing, user_sql=each.read.runs_user_sql) as connection:
            taken[name] = _ends(connection, each)
    with looking("waiting for running transactions") as connection:
        warnings = _standby_warnings(connection)
        time.sleep(max(pause_seconds(each.plan) for each in increments.values()))
        settle(connection, timeout_seconds=settle_seconds)
    for name, each in increments.items():
        with looking(f"looking at {name}'s increment", user_sql=each.read.runs_user_sql) as connection:
            taken[name] = _complete(connection, each, replace(taken[name], warnings=warnings))
    return tuple(taken.get(stream.name) for stream in streams)


def _planned(plan: CursorPlan, stored: StoredCursor | None, stream: StreamPlan) -> CursorPlan:
    """The plan with what the ledger says now: another run may have ended since it was made."""
    if stored is not None:
        require_same_cursor(plan.column, stored, stream=stream.name)
    return replace(plan, stored=stored.value if stored is not None else None)


def _ends(connection: PgConnection, each: Increment) -> CursorBounds:
    """Low and high, before anything has been waited for."""
    plan = each.plan
    low = _one(connection, lagged(plan)) if plan.stored is not None else None
    found = _one(
        connection, clock_end(each) if plan.is_time else greatest_value(each, low, version=_version(connection))
    )
    if found is not None and plan.stored is not None:
        found = _one(connection, not_below(plan.type, found, plan.stored))
    elif found is None and low != plan.stored:
        found = plan.stored  # nothing new; what the lag asks for is read again
    return CursorBounds(
        field=plan.field,
        type=plan.type,
        low=low,
        low_inclusive=plan.is_time,
        high=found,
        high_inclusive=not plan.is_time,
        stored=plan.stored,
    )


def _one(connection: PgConnection, statement: sql.Composed) -> str | None:
    row = connection.execute(statement).fetchone()
    return None if row is None else row[0]


def _version(connection: PgConnection) -> int:
    return connection.info.server_version


def lagged(plan: CursorPlan) -> sql.Composed:
    """The stored cursor less the lag: NULL where that is below every value of the type."""
    value = typed(plan.type, plan.stored or "")
    if plan.lag_seconds is not None:
        less = sql.SQL("{} - pg_catalog.make_interval(secs => {})").format(value, sql.Literal(plan.lag_seconds))
    elif plan.lag_count is not None:
        number = typed("numeric", plan.stored or "")
        less = sql.SQL("{} - {}").format(number, typed("numeric", str(plan.lag_count)))
        if plan.type in LEAST:
            less = sql.SQL("CASE WHEN {less} >= {least} THEN {less} END").format(
                less=less, least=typed("numeric", LEAST[plan.type])
            )
    else:
        less = value
    return sql.SQL("SELECT (({})::{})::pg_catalog.text").format(less, type_of(plan.type))


def not_below(name: str, value: str, stored: str) -> sql.Composed:
    """The greater of the two: a bound never moves backwards (E6)."""
    return sql.SQL("SELECT (GREATEST({}, {}))::pg_catalog.text").format(typed(name, value), typed(name, stored))


def clock(plan: CursorPlan) -> sql.Composed:
    """The source's clock in the column's type, truncated to its unit: a cast rounds, also upwards."""
    now = sql.SQL("pg_catalog.clock_timestamp()")
    has_zone = plan.type == "timestamp with time zone"
    local = now if has_zone else sql.SQL("pg_catalog.timezone({}, {})").format(_ZONE, now)
    if plan.type == "date":
        return sql.SQL("(SELECT ({})::pg_catalog.date)").format(local)
    return sql.SQL(
        "(SELECT CASE WHEN r.rounded > r.exact THEN r.rounded - {step} ELSE r.rounded END"
        " FROM (SELECT c.exact, c.exact::{kind}({precision}) AS rounded FROM (SELECT {now} AS exact) c) r)"
    ).format(
        step=step(plan),
        kind=type_of(plan.type),
        precision=sql.Literal(plan.column.precision),
        now=local,
    )


def step(plan: CursorPlan) -> sql.Composed:
    """The distance of two neighbouring values of a timestamp's column."""
    return sql.SQL("pg_catalog.make_interval(secs => {})").format(sql.SQL(UNIT_SECONDS[plan.column.precision]))


def pause_seconds(plan: CursorPlan) -> float:
    """How long after the end was taken the running transactions are listed.

    None that begins after the pause may take a value below the end. Where that is right after the greatest value,
    others may still take the same value until the column's unit has passed.
    """
    if not plan.is_time:
        return 0.0
    if plan.type == "timestamp without time zone":
        return max(STATEMENT_START_SECONDS, float(UNIT_SECONDS[plan.column.precision]))
    return STATEMENT_START_SECONDS


def clock_end(each: Increment) -> sql.Composed:
    """The end, exclusive, of an increment by date or time.

    Where the column has no zone, nobody knows in which one its writers live. If theirs is behind the server's, the
    server's clock lies in their future; so there the end is right after the greatest value, where that is earlier.
    """
    plan = each.plan
    if plan.type != "timestamp without time zone":
        return sql.SQL("SELECT {}::pg_catalog.text").format(clock(plan))
    greatest = sql.SQL("(SELECT {column} + {step}{rows} ORDER BY {column} DESC LIMIT 1)").format(
        column=each.column,
        step=step(plan),
        rows=each.rows(
            sql.SQL("{} < n.now").format(each.column),
            sql.SQL("{} > '-infinity'::pg_catalog.timestamp").format(each.column),
        ),
    )
    return sql.SQL("SELECT (LEAST(n.now, {}))::pg_catalog.text FROM (SELECT {} AS now) n").format(greatest, clock(plan))


def finite(column: sql.Identifier, *, version: int) -> list[sql.Composed]:
    """What a numeric that can be a bound fulfils: NaN and infinity are greater than all that will ever come (E6)."""
    if version < 140000:
        return [sql.SQL("{} < 'NaN'::pg_catalog.numeric").format(column)]
    return [
        sql.SQL("{} < 'Infinity'::pg_catalog.numeric").format(column),
        sql.SQL("{} > '-Infinity'::pg_catalog.numeric").format(column),
    ]


def greatest_value(each: Increment, low: str | None, *, version: int) -> sql.Composed:
    """The end, inclusive, of an increment by anything else. Not max(), which uuid does not have before version 18."""
    column = each.column
    above = sql.SQL("{} IS NOT NULL").format(column)
    if low is not None:
        above = sql.SQL("{} > {}").format(column, typed(each.plan.type, low))
    wanted = [above, *(finite(column, version=version) if each.plan.type == "numeric" else [])]
    # In a subquery: beside `c::text`, which is called c as well, ORDER BY c would order by the text.
    return sql.SQL(
        "SELECT g.value::pg_catalog.text FROM (SELECT {column} AS value{rows} ORDER BY {column} DESC LIMIT 1) g"
    ).format(column=column, rows=each.rows(*wanted))


def _complete(connection: PgConnection, each: Increment, bounds: CursorBounds) -> CursorBounds:
    """The bounds, after the wait: empty where no row lies within them, with NULLs and warnings where there are any."""
    plan, warnings = each.plan, list(bounds.warnings)
    part = cursor_ranges(bounds, ())[0]
    has_values = part.high is not None and _exists(connection, each.rows(in_range(part)))
    has_nulls = plan.column.nullable and _exists(connection, each.rows(sql.SQL("{} IS NULL").format(each.column)))
    if has_nulls and plan.nulls == "fail":
        raise DataError(
            f"stream {each.read.stream!r} has rows whose cursor {plan.field} is NULL: no increment would bring them",
            code="null_cursor",
            hint="`null_cursor: skip` leaves them out, `always` reads them with every increment",
            stream=each.read.stream,
            column=plan.field,
        )
    if has_nulls and plan.nulls == "skip":
        warnings.append(f"rows whose {plan.field} is NULL are left out")
    beyond = _beyond(plan, version=_version(connection))
    if beyond is not None and _exists(connection, each.rows(beyond[0])):
        warnings.append(beyond[1])
    return replace(
        bounds,
        high=bounds.high if has_values else None,
        with_nulls=has_nulls and plan.nulls == "always",
        warnings=tuple(warnings),
    )


def _exists(connection: PgConnection, rows: sql.Composed) -> bool:
    row = connection.execute(sql.SQL("SELECT EXISTS (SELECT{})").format(rows)).fetchone()
    return row is not None and bool(row[0])


def _beyond(plan: CursorPlan, *, version: int) -> tuple[sql.Composed, str] | None:
    """Rows that wait, and not only for the next increment: the condition, and the warning."""
    column = sql.Identifier(plan.field)
    if plan.type == "date":
        later = sql.SQL("{} > {}").format(column, clock(plan))
        return later, f"rows whose {plan.field} lies in the future wait until it has passed"
    if plan.is_time:
        later = sql.SQL("{} > {} + {}").format(column, clock(plan), step(plan))
        return later, f"rows whose {plan.field} lies in the future wait until it has passed"
    if plan.type == "numeric":
        least = "NaN" if version < 140000 else "Infinity"
        endless = sql.SQL("{} >= {}").format(column, typed("numeric", least))
        return endless, f"rows whose {plan.field} is infinite or NaN are not loaded: nothing can come after them"
    return None


def _standby_warnings(connection: PgConnection) -> tuple[str, ...]:
    row = connection.execute("SELECT pg_catalog.pg_is_in_recovery()").fetchone()
    if row is None or not row[0]:
        return ()
    return (STANDBY,)
