"""How an incremental stream will be read, and what the ledger keeps of it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rapidbyte.cursor import (
    CursorBounds,
    CursorColumn,
    CursorLag,
    StoredCursor,
    plan_cursor,
    plan_warnings,
)
from rapidbyte.errors import ConfigError

AT = CursorColumn(field="at", type="timestamp with time zone", index="t_at_idx", tie_breaker="id")
ID = CursorColumn(field="id", type="bigint")
CODE = CursorColumn(field="code", type="text", indexable=False)
BOUNDS = CursorBounds(
    field="id", type="bigint", low="1", low_inclusive=False, high="9", high_inclusive=True, with_nulls=False, stored="3"
)


def test_a_plan_begins_at_the_stored_value() -> None:
    """Which stays the text that it is (E5)."""
    stored = StoredCursor(field="at", type="timestamp with time zone", value="2026-01-01 00:00:00.000001+00")
    plan = plan_cursor(AT, stored=stored, lag=CursorLag(seconds=60.0), nulls="skip", stream="s")
    assert (plan.stored, plan.lag_seconds, plan.lag_count) == ("2026-01-01 00:00:00.000001+00", 60.0, None)
    assert (plan.field, plan.tie_breaker, plan.is_time, plan.nulls) == ("at", "id", True, "skip")


@pytest.mark.parametrize(
    ("column", "lag", "expected"),
    [
        (AT, None, (None, None)),
        (AT, CursorLag(seconds=5.0, count=5), (5.0, None)),
        (ID, CursorLag(seconds=5.0, count=5), (None, 5)),
        (AT, CursorLag(count=5000000000), "write a duration, as 10m"),
        (ID, CursorLag(seconds=5.0), "write a whole number, as 1000"),
        (CODE, CursorLag(seconds=5.0, count=5), "numbers, dates and times can have one"),
    ],
)
def test_a_lag_is_in_the_cursor_s_unit(column: CursorColumn, lag: CursorLag | None, expected: object) -> None:
    """Seconds for times, a count for numbers, none for anything else."""
    if isinstance(expected, str):
        with pytest.raises(ConfigError) as raised:
            plan_cursor(column, stored=None, lag=lag, nulls="fail", stream="s")
        assert raised.value.hint == expected
        return
    plan = plan_cursor(column, stored=None, lag=lag, nulls="fail", stream="s")
    assert (plan.lag_seconds, plan.lag_count) == expected


@pytest.mark.parametrize(
    ("column", "stored", "is_same"),
    [
        (ID, StoredCursor(field="id", type="bigint", value="1"), True),
        (ID, StoredCursor(field="id", type="smallint", value="1"), True),
        (CODE, StoredCursor(field="code", type="character varying", value="1"), True),
        (ID, StoredCursor(field="id", type="text", value="1"), False),
        (ID, StoredCursor(field="nr", type="bigint", value="1"), False),
        (AT, StoredCursor(field="at", type="timestamp without time zone", value="2026-01-01"), False),
        (AT, StoredCursor(field="at", type="date", value="2026-01-01"), False),
    ],
)
def test_another_cursor_s_value_is_refused(column: CursorColumn, stored: StoredCursor, is_same: bool) -> None:
    """A widened integer means the same place; another column, or a time without its zone, does not (F6)."""
    if is_same:
        assert plan_cursor(column, stored=stored, lag=None, nulls="fail", stream="s").stored == stored.value
        return
    with pytest.raises(ConfigError) as raised:
        plan_cursor(column, stored=stored, lag=None, nulls="fail", stream="s")
    assert raised.value.code == "cursor_changed"


def test_the_plan_tells_what_a_cursor_costs_and_misses() -> None:
    """Deletes, the scan without an index, values that may come below the cursor, NULLs that are left out (E7)."""
    deletes = "deletes in the source are not seen by increments of {}"
    plan = plan_cursor(AT, stored=None, lag=None, nulls="fail", stream="s")
    assert plan_warnings(plan) == (deletes.format("at"),)
    plan = plan_cursor(ID, stored=None, lag=None, nulls="skip", stream="s")
    assert plan_warnings(plan) == (
        deletes.format("id"),
        "no index on id: each increment scans the table",
        "rows whose id is NULL are left out",
    )
    plan = plan_cursor(CODE, stored=None, lag=None, nulls="fail", stream="s")
    assert plan_warnings(plan) == (
        deletes.format("code"),
        "rows that come with a code below the stored cursor are not seen: it must only grow",
    )


@pytest.mark.parametrize(
    ("bounds", "is_empty"),
    [
        (BOUNDS, False),
        (replace(BOUNDS, high=None), True),
        (replace(BOUNDS, high=None, with_nulls=True), False),
    ],
)
def test_an_increment_without_rows_is_empty(bounds: CursorBounds, is_empty: bool) -> None:
    """Unless rows whose cursor is NULL belong to it (E8)."""
    assert bounds.is_empty == is_empty
