"""Partitions: every row is in exactly one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rapidbyte.model import QualifiedName
from rapidbyte.partition import CtidRange, KeyRange, ctid_ranges, key_ranges

ORDERS = QualifiedName(schema="shop", name="orders")
MIN_INT8, MAX_INT8 = -(2**63), 2**63 - 1
INT8 = st.integers(MIN_INT8, MAX_INT8)


def holds(part: CtidRange | KeyRange, value: int) -> bool:
    """Whether the half-open range has this block or key."""
    low, high = (part.low_block, part.high_block) if isinstance(part, CtidRange) else (part.low, part.high)
    return (low is None or low <= value) and (high is None or value < high)


@given(blocks=st.integers(0, 5000), step=st.integers(-1, 600), block=st.integers(0, 2**32 - 2))
def test_every_block_is_in_exactly_one_range(blocks: int, step: int, block: int):
    """Also blocks that the table has not got yet, and with a step that makes no sense."""
    ranges = ctid_ranges(ORDERS, blocks=blocks, blocks_per_range=step)
    assert sum(holds(part, block) for part in ranges) == 1


@given(blocks=st.integers(0, 5000), step=st.integers(1, 600))
def test_ranges_have_the_size_asked_for_and_the_last_is_no_sliver(blocks: int, step: int):
    """All but the last are of `step` blocks, the last is of half to one and a half of it."""
    *inner, last = ctid_ranges(ORDERS, blocks=blocks, blocks_per_range=step)
    assert {part.high_block - part.low_block for part in inner if part.high_block is not None} <= {step}
    assert blocks - last.low_block < 1.5 * step
    assert not inner or blocks - last.low_block >= step // 2


@pytest.mark.parametrize(
    ("blocks", "step", "bounds"),
    [
        (0, 10, [(0, None)]),
        (1, 10, [(0, None)]),
        (14, 10, [(0, None)]),
        (15, 10, [(0, 10), (10, None)]),
        (30, 10, [(0, 10), (10, 20), (20, None)]),
        (3, 0, [(0, 1), (1, 2), (2, None)]),
    ],
)
def test_block_bounds(blocks: int, step: int, bounds: list[tuple[int, int | None]]):
    """The last range is always open; at least one block goes into each."""
    found = ctid_ranges(ORDERS, blocks=blocks, blocks_per_range=step)
    assert [(part.low_block, part.high_block) for part in found] == bounds
    assert {part.relation for part in found} == {ORDERS}


@given(one=INT8, other=INT8, count=st.integers(-1, 200), key=INT8)
def test_every_key_is_in_exactly_one_range(one: int, other: int, count: int, key: int):
    """Also keys beyond the bounds that were looked up, which may have been inserted since."""
    ranges = key_ranges("id", minimum=min(one, other), maximum=max(one, other), count=count)
    assert sum(holds(part, key) for part in ranges) == 1


@given(one=INT8, other=INT8, count=st.integers(1, 200))
def test_null_keys_are_the_business_of_exactly_one_range(one: int, other: int, count: int):
    """The first one's."""
    ranges = key_ranges("id", minimum=min(one, other), maximum=max(one, other), count=count)
    assert [part.with_nulls for part in ranges] == [True] + [False] * (len(ranges) - 1)


@given(one=INT8, other=INT8, count=st.integers(1, 200))
def test_key_ranges_are_of_equal_width_and_none_is_empty(one: int, other: int, count: int):
    """Widths differ by one at most; there are never more ranges than keys."""
    low, high = min(one, other), max(one, other)
    ranges = key_ranges("id", minimum=low, maximum=high, count=count)
    starts = [low if part.low is None else part.low for part in ranges]
    widths = [end - start for start, end in zip(starts, [*starts[1:], high + 1], strict=True)]
    assert min(widths) >= 1
    assert max(widths) - min(widths) <= 1
    assert len(ranges) == min(count, high - low + 1)


@pytest.mark.parametrize(
    ("minimum", "maximum", "count", "bounds"),
    [
        (None, None, 8, [(None, None)]),
        (5, 5, 8, [(None, None)]),
        (1, 10, 1, [(None, None)]),
        (1, 10, 2, [(None, 6), (6, None)]),
        (-10, -1, 2, [(None, -5), (-5, None)]),
        (-1, 1, 8, [(None, 0), (0, 1), (1, None)]),
        (MIN_INT8, MAX_INT8, 2, [(None, 0), (0, None)]),
    ],
)
def test_key_bounds(minimum: int | None, maximum: int | None, count: int, bounds: list[tuple[int | None, int | None]]):
    """First and last range are open; negative keys and the whole of bigint are no exception."""
    found = key_ranges("id", minimum=minimum, maximum=maximum, count=count)
    assert [(part.low, part.high) for part in found] == bounds
