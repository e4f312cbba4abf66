"""A report beside an earlier one."""

from __future__ import annotations

import json

import pytest

from rapidbyte.bench.against import changes, check_comparable, circumstances, read_baseline, verdict
from rapidbyte.bench.contest import BACKSLASH_COPY, ONE_PIPE
from rapidbyte.bench.document import to_document
from rapidbyte.errors import ConfigError
from tests.kit.bench_reports import report

OURS = "rapidbyte, 2 workers"


def test_ratios_to_the_floor_are_compared_where_both_have_one() -> None:
    """A machine that is twice as slow by now is no regression; the floor itself is compared in seconds."""
    before = to_document(report({ONE_PIPE: (1.0, 1.0, 1.0), OURS: (2.0, 2.1, 2.2)}))
    now = report({ONE_PIPE: (2.0, 2.0, 2.0), OURS: (4.0, 4.2, 4.4)})
    floor, ours = changes(now, before)
    assert (floor.ratio, floor.verdict) == (2.0, "slower")
    assert (ours.before_s, ours.now_s, ours.ratio, ours.verdict) == (2.1, 4.2, 1.0, "within noise")


def test_without_a_floor_seconds_are_compared() -> None:
    """And contenders that are in one report alone are left out."""
    before = to_document(report({OURS: (4.0, 4.0), "rapidbyte, 4 workers": (1.0, 1.0)}))
    found = changes(report({OURS: (2.0, 3.0), "rapidbyte, 1 worker": (9.0, 9.0)}), before)
    assert [(each.contender, each.ratio, each.least, each.most, each.verdict) for each in found] == [
        (OURS, 0.625, 0.5, 0.75, "faster")
    ]


def test_seconds_are_compared_where_the_floors_differ() -> None:
    """A ratio to one says nothing of a ratio to another."""
    before = to_document(report({BACKSLASH_COPY: (1.0,), OURS: (2.0,)}))
    (found,) = changes(report({ONE_PIPE: (2.0,), OURS: (2.0,)}), before)
    assert (found.contender, found.ratio) == (OURS, 1.0)


def test_the_fastest_of_one_is_put_beside_the_slowest_of_the_other() -> None:
    """So that runs which overlap are within noise."""
    before = to_document(report({OURS: (4.0, 5.0)}))
    (found,) = changes(report({OURS: (2.0, 4.5)}), before)
    assert (found.least, found.most, found.verdict) == (0.4, 1.125, "within noise")


@pytest.mark.parametrize(
    ("ratio", "least", "most", "expected"),
    [
        (1.5, 1.2, 1.9, "slower"),
        (1.5, 0.9, 1.9, "within noise"),
        (1.02, 1.01, 1.03, "within noise"),
        (0.5, 0.4, 0.9, "faster"),
        (0.5, 0.4, 1.1, "within noise"),
        (0.98, 0.97, 0.99, "within noise"),
    ],
)
def test_a_change_counts_where_no_iteration_of_one_passes_for_the_other(
    ratio: float, least: float, most: float, expected: str
) -> None:
    """And from three in a hundred."""
    assert verdict(ratio, least, most) == expected


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"schema_version": 1, "lines": [], "mode": "copy"}'])
def test_a_file_that_is_no_report_is_refused(text: str) -> None:
    """Those of version 1, too."""
    with pytest.raises(ConfigError, match="is no report"):
        read_baseline(text, "old.json")


@pytest.mark.parametrize(
    "damage",
    [
        {"lines": 1},
        {"lines": [1]},
        {"lines": [{}]},
        {"wall_s": None},
        {"wall_min_s": 0},
        {"wall_max_s": "1"},
        {"to_floor": None},
        {"to_floor_max": 0.0},
        {"contender": 7},
    ],
)
def test_a_report_that_is_damaged_is_refused_before_anything_is_measured(damage: dict[str, object]) -> None:
    """Whatever a comparison would stumble over after minutes."""
    sound = to_document(report({ONE_PIPE: (1.0, 1.0), OURS: (2.0, 2.1)}))
    assert read_baseline(json.dumps(sound), "old.json")["mode"] == sound["mode"]
    broken = {**sound, **damage} if "lines" in damage else {**sound, "lines": [{**sound["lines"][1], **damage}]}
    with pytest.raises(ConfigError, match=r"is no report .* or it is damaged"):
        read_baseline(json.dumps(broken), "old.json")


def test_reports_of_other_work_are_not_compared() -> None:
    """Mode, profile and rows must be the same; server and cores are told."""
    found = report({OURS: (2.0,)}, cores=4)
    baseline = read_baseline(json.dumps(to_document(report({OURS: (2.0,)}))), "old.json")
    check_comparable(baseline, mode="copy", profile="small", rows=1_000_000)
    for mode, profile, rows in (("files", "small", 1_000_000), ("copy", "large", 1_000_000), ("copy", "small", 2)):
        with pytest.raises(ConfigError, match="the earlier report is of mode copy, profile small, 1000000 rows"):
            check_comparable(baseline, mode=mode, profile=profile, rows=rows)
    assert circumstances(found, baseline) == ("the earlier report was made with cores 2, this one with 4",)
