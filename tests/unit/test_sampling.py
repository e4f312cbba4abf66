"""How thoroughly a loaded table is analysed."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rapidbyte.destinations.postgres.sampling import AnalysedTable, Sample, sample
from rapidbyte.model import PublishMethod

FRESH = AnalysedTable(
    columns=("id", "note"),
    target=100,
    autovacuum=True,
    computed=False,
    postponed=False,
    rows=-1.0,
    unseen=0,
    threshold=50.0,
    scale=0.1,
)
KNOWN = replace(FRESH, rows=1_000_000.0)
WHOLE = Sample(target=100)
METHODS: tuple[PublishMethod, ...] = ("rename", "swap", "in_place", "insert", "merge", "direct")


@pytest.mark.parametrize(
    ("loaded", "expected"),
    [
        (0, WHOLE),
        (3_000, WHOLE),
        (3_001, Sample(target=10, columns=("id", "note"))),
        (1_000_000, Sample(target=16, columns=("id", "note"))),
        (5_999_999, Sample(target=99, columns=("id", "note"))),
        (6_000_000, WHOLE),
    ],
)
@pytest.mark.parametrize("publish", ["rename", "swap"])
def test_a_new_table_is_sampled_by_what_was_loaded(publish: PublishMethod, loaded: int, expected: Sample) -> None:
    """Half a percent of the rows, 3,000 at least, and no more than the server would take."""
    assert expected == sample(FRESH, loaded, publish)


@pytest.mark.parametrize("publish", METHODS)
def test_where_autovacuum_does_not_come_all_of_it_is_done(publish: PublishMethod) -> None:
    """Nobody else would."""
    assert sample(replace(KNOWN, autovacuum=False), 5, publish) == WHOLE


@pytest.mark.parametrize("publish", METHODS)
def test_an_index_of_an_expression_needs_all_columns(publish: PublishMethod) -> None:
    """The server looks at expressions only when no column is named."""
    assert sample(replace(KNOWN, computed=True), 500_000, publish) == WHOLE


@pytest.mark.parametrize("publish", ["insert", "merge", "direct"])
def test_a_small_part_of_a_known_table_is_left_to_the_servers_count(publish: PublishMethod) -> None:
    """Up to what brings autovacuum; rows that were not seen before count."""
    assert sample(KNOWN, 100_050, publish) is None
    assert sample(KNOWN, 100_051, publish) is not None
    assert sample(replace(KNOWN, unseen=100_000), 51, publish) is not None
    assert sample(FRESH, 5, publish) == WHOLE


@pytest.mark.parametrize("loaded", [0, 5, 20_000, 500_000])
def test_a_replace_in_place_is_always_analysed_fully(loaded: int) -> None:
    """It deletes rows beside those that it loads, and nobody knows how many."""
    assert sample(KNOWN, loaded, "in_place") == WHOLE


@pytest.mark.parametrize(
    ("publish", "expected"),
    [
        ("insert", Sample(target=10, columns=("id", "note"))),
        ("direct", Sample(target=10, columns=("id", "note"))),
        ("merge", WHOLE),
    ],
)
def test_a_small_sample_replaces_a_large_one_only_where_autovacuum_will_come(
    publish: PublishMethod, expected: Sample
) -> None:
    """A merge may write no row at all, and what is not seen may be the load itself, told twice.

    ANALYZE finds the new number of rows, by which the next look of autovacuum decides: just above a tenth of the old
    number is less than a tenth of the new one.
    """
    assert expected == sample(KNOWN, 200_000, publish)
    assert expected == sample(replace(KNOWN, unseen=200_000), 10_000, publish)
    assert sample(replace(KNOWN, unseen=60_000), 60_000, publish) == WHOLE
    assert sample(KNOWN, 105_000, publish) == WHOLE


@pytest.mark.parametrize("publish", ["rename", "swap"])
@pytest.mark.parametrize("asked", [{"threshold": 1e9}, {"scale": 1.0}, {"scale": 0.9}])
def test_a_new_table_that_autovacuum_would_pass_over_is_analysed_fully(
    publish: PublishMethod, asked: dict[str, float]
) -> None:
    """Its storage parameters, or the server's settings, may say so."""
    assert sample(replace(FRESH, **asked), 200_000, publish) == WHOLE  # type: ignore[arg-type]


@given(
    loaded=st.integers(0, 10**10),
    rows=st.floats(-1, 1e10),
    unseen=st.integers(0, 10**10),
    target=st.integers(1, 10_000),
    scale=st.floats(0, 2),
    publish=st.sampled_from(METHODS),
)
def test_a_sample_is_never_greater_than_the_servers_own(
    loaded: int, rows: float, unseen: int, target: int, scale: float, publish: PublishMethod
) -> None:
    """And a smaller one always names the columns, and leaves enough changed rows: autovacuum comes."""
    table = replace(FRESH, rows=rows, unseen=unseen, target=target, scale=scale)
    chosen = sample(table, loaded, publish)
    if chosen is None:
        assert rows > 0
        assert unseen + loaded <= table.due(rows)
        return
    assert chosen.target <= target
    assert bool(chosen.columns) == (chosen.target < target)
    if chosen.columns:
        after = loaded if publish in ("rename", "swap") else max(rows, 0) + loaded
        assert max(unseen, loaded) > 50 + scale * after
