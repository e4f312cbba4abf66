"""Parents before children, whatever the pipeline's order."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rapidbyte.destinations.postgres.order import parents_first
from rapidbyte.model import QualifiedName

A, B, C, D = (QualifiedName(schema="raw", name=name) for name in "abcd")


def test_parents_come_first_and_the_order_is_otherwise_the_pipelines() -> None:
    """a references c, c references d; b is free and stays where it can."""
    assert parents_first((A, B, C, D), {(A, C), (C, D)}) == (1, 3, 2, 0)
    assert parents_first((A, B), ()) == (0, 1)


def test_a_circle_is_broken_at_its_first_table() -> None:
    """Nothing can be right without deferrable keys; it ends."""
    assert parents_first((A, B, C), {(A, B), (B, A)}) == (2, 0, 1)


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), max_size=12))
def test_without_a_circle_no_child_comes_before_its_parent(pairs: list[tuple[int, int]]) -> None:
    """Keys that point to a lower number only have no circle."""
    tables = [QualifiedName(schema="raw", name=str(number)) for number in range(7)]
    keys = {(tables[max(pair)], tables[min(pair)]) for pair in pairs if pair[0] != pair[1]}
    shuffled = list(reversed(tables))
    order = parents_first(shuffled, keys)
    assert sorted(order) == list(range(7))
    place = {shuffled[position]: index for index, position in enumerate(order)}
    assert all(place[parent] < place[child] for child, parent in keys)
