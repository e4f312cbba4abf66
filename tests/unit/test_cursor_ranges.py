"""The ranges of an increment: every value in exactly one of them, and what SQL they become."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rapidbyte.cursor import CursorBounds
from rapidbyte.errors import ConfigError
from rapidbyte.partition import CursorRange, cursor_ranges
from rapidbyte.sources.postgres.increment import MOST_SCANS, ranges_due
from rapidbyte.sources.postgres.typed import in_range, typed


def holds(part: CursorRange, value: int | None) -> bool:
    """What the server decides, for integers."""
    if value is None or part.high is None:
        return part.with_nulls and value is None
    above = part.low is None or value > int(part.low) or (part.low_inclusive and value == int(part.low))
    return above and (value < int(part.high) or (part.high_inclusive and value == int(part.high)))


@given(st.data())
def test_every_value_of_an_increment_is_in_exactly_one_range(data: st.DataObject):
    """Whatever the ends are, wherever it is parted; no other value is in any; NULLs are in one, or in none."""
    is_time = data.draw(st.booleans())
    low = data.draw(st.none() | st.integers(-20, 20))
    least = -30 if low is None else low
    high = data.draw(st.integers(least, 40))
    bounds = CursorBounds(
        field="c",
        type="bigint",
        low=None if low is None else str(low),
        low_inclusive=is_time,
        high=str(high),
        high_inclusive=not is_time,
        with_nulls=data.draw(st.booleans()),
    )
    (whole,) = cursor_ranges(bounds, ())
    values = [value for value in range(-60, 60) if holds(whole, value)]
    inner = sorted(data.draw(st.sets(st.sampled_from(values)))) if values else []
    parts = cursor_ranges(bounds, [str(value) for value in inner])
    assert len(parts) == len(inner) + 1
    for value in range(-60, 60):
        assert sum(holds(part, value) for part in parts) == (value in values)
    assert sum(holds(part, None) for part in parts) == bounds.with_nulls


@pytest.mark.parametrize(
    ("size", "has_index", "expected"),
    [(0, True, 1), (1, True, 1), (100, True, 1), (101, True, 2), (1000, True, 10), (10**9, True, 10**7)],
)
def test_an_increment_is_parted_by_its_size(size: int, has_index: bool, expected: int):
    """A small one is one range."""
    assert ranges_due(size, 100, has_index=has_index) == expected


def test_without_an_index_there_are_few_ranges():
    """Each of them reads the whole table."""
    assert ranges_due(10**9, 100, has_index=False) == MOST_SCANS


def part(**changes: object) -> CursorRange:
    values = {"column": 'a"b', "type": "integer", "low": "1", "low_inclusive": False, "high": "9"}
    return CursorRange(**{**values, "high_inclusive": True, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("given_part", "expected"),
    [
        (part(), """"a""b" > '1'::pg_catalog.int4 AND "a""b" <= '9'::pg_catalog.int4"""),
        (part(low=None, high_inclusive=False), """"a""b" < '9'::pg_catalog.int4"""),
        (part(low_inclusive=True), """"a""b" >= '1'::pg_catalog.int4 AND "a""b" <= '9'::pg_catalog.int4"""),
        (part(low=None), """"a""b" <= '9'::pg_catalog.int4"""),
        (part(low=None, with_nulls=True), """("a""b" <= '9'::pg_catalog.int4 OR "a""b" IS NULL)"""),
        (part(high=None, with_nulls=True), """"a""b" IS NULL"""),
        (part(high=None), "false"),
        (part(type="text", low=None, high="it's \\"), """"a""b" <= ' E'it''s \\\\'::pg_catalog.text"""),
    ],
)  # fmt: skip
def test_a_range_is_a_condition(given_part: CursorRange, expected: str):
    """The server's text with a cast; nothing of it is SQL (G2)."""
    assert in_range(given_part).as_string().replace("  E'", " ' E'") == expected


def test_a_type_that_is_no_cursor_s_never_becomes_sql():
    """Wherever it comes from: a ledger that somebody edited (G2)."""
    with pytest.raises(ConfigError) as raised:
        typed("int); drop table victim; --", "1")
    assert raised.value.code == "cursor_type"
