"""The gate: targets are met, missed, or not judged and why."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rapidbyte.bench.contest import BACKSLASH_COPY, ONE_PIPE
from rapidbyte.bench.figures import BenchReport
from rapidbyte.bench.targets import judge, missed, targets_of
from tests.kit.bench_reports import report

TWO = "rapidbyte, 2 workers"


def verdicts(found: BenchReport, profile_rows: int = 1_000_000) -> dict[str, str]:
    """Verdict by target."""
    return {each.target: each.verdict for each in judge(found, profile_rows)}


@pytest.mark.parametrize(
    ("mode", "profile", "floor", "ours", "limit"),
    [
        ("copy", "small", ONE_PIPE, TWO, 1.10),
        ("copy", "medium", ONE_PIPE, TWO, 1.00),
        ("copy", "large", ONE_PIPE, TWO, 0.85),
        ("copy", "narrow", ONE_PIPE, TWO, 1.20),
        ("files", "small", BACKSLASH_COPY, "rapidbyte csv, 2 workers", 0.80),
    ],
)
def test_the_time_against_the_floor_is_judged_for_each_profile(
    mode: str, profile: str, floor: str, ours: str, limit: float
) -> None:
    """Met at the limit, missed above it."""
    at, above = (
        report({floor: (10.0,) * 3, ours: (10 * limit + more,) * 3}, mode=mode, profile=profile) for more in (0.0, 0.2)
    )
    assert judge(at, 1_000_000)[0].verdict == "met"
    result = judge(above, 1_000_000)[0]
    assert (result.verdict, result.limit, round(result.found or 0, 2)) == ("missed", limit, round(limit + 0.02, 2))
    assert result in missed(judge(above, 1_000_000))


def test_a_miss_that_the_best_iteration_would_not_be_is_noise_where_the_machine_is_noisy() -> None:
    """A quiet machine's median counts."""
    noisy = report({ONE_PIPE: (10.0, 10.0, 10.0), TWO: (10.0, 12.0, 16.0)})
    quiet = report({ONE_PIPE: (10.0, 10.0, 10.0), TWO: (10.9, 11.5, 12.0)})
    hopeless = report({ONE_PIPE: (10.0, 10.0, 10.0), TWO: (20.0, 21.0, 31.0)})
    assert [judge(each, 1_000_000)[0].verdict for each in (noisy, quiet, hopeless)] == [
        "not judged",
        "missed",
        "missed",
    ]
    assert judge(noisy, 1_000_000)[0].reason == "too noisy: 1.20 in the middle, 1.00 at best"
    floor = report({ONE_PIPE: (8.0, 10.0, 12.0), TWO: (12.0, 12.0, 12.0)})
    assert judge(floor, 1_000_000)[0].verdict == "not judged"


def test_other_rows_fewer_iterations_and_no_floor_are_not_judged() -> None:
    """Each says why."""
    fewer = report({ONE_PIPE: (1.0,) * 3, TWO: (9.0,) * 3}, rows=2_000)
    once = report({ONE_PIPE: (1.0,), TWO: (9.0,)})
    alone = report({TWO: (9.0,) * 3})
    single = report({ONE_PIPE: (1.0,) * 3, "rapidbyte, 1 worker": (9.0,) * 3})
    assert [judge(each, 1_000_000)[0].reason for each in (fewer, once, alone, single)] == [
        "it is about 1,000,000 rows, and these were 2,000",
        "fewer than 3 iterations tell nothing",
        "there was no floor to compare with",
        "rapidbyte, 2 workers did not take part",
    ]


def test_several_workers_must_gain_over_one() -> None:
    """The best number of them; 20 % for medium, 10 % for large."""
    walls = {
        ONE_PIPE: (9.0,) * 3,
        "rapidbyte, 1 worker": (6.0,) * 3,
        TWO: (5.2,) * 3,
        "rapidbyte, 4 workers": (5.0,) * 3,
    }
    name = "medium: several workers against one"
    assert verdicts(report(walls, profile="medium"))[name] == "met"
    assert verdicts(report({**walls, "rapidbyte, 4 workers": (5.1,) * 3}, profile="medium"))[name] == "missed"
    assert verdicts(report(walls, profile="large"))["large: several workers against one"] == "met"
    assert verdicts(report({TWO: (5.0,) * 3}, profile="medium"))[name] == "not judged"


def test_workers_are_not_judged_where_pipes_gain_as_little() -> None:
    """One pipe keeps the machine's cores busy: it cannot show what more workers bring. What is reached is met."""
    pipes = {ONE_PIPE: (6.0,) * 3, "psql | psql, 2 pipes": (5.1,) * 3}
    walls = {**pipes, "rapidbyte, 1 worker": (6.0,) * 3, TWO: (5.2,) * 3}
    name = "medium: several workers against one"
    results = {each.target: each for each in judge(report(walls, profile="medium"), 1_000_000)}
    assert (results[name].verdict, results[name].reason) == (
        "not judged",
        "1.15 times as fast, but several psql pipes are only 1.18 times as fast as one here",
    )
    assert verdicts(report({**walls, TWO: (5.0,) * 3}, profile="medium"))[name] == "met"
    assert verdicts(report({**walls, TWO: (5.7,) * 3}, profile="medium"))[name] == "missed"
    scaled = {**walls, "psql | psql, 2 pipes": (5.0,) * 3}
    assert verdicts(report(scaled, profile="medium"))[name] == "missed"


def test_memory_and_the_run_without_rows_are_judged_at_any_size() -> None:
    """150 MB over the worst line; 0.6 s; no retries."""
    walls = {TWO: (5.0,), "rapidbyte, no rows": (0.61,)}
    found = verdicts(report(walls, rows=2_000, rss=151.0))
    assert (found["peak memory, MB"], found["a run without rows, s"], found["retries of DDL races"]) == (
        "missed",
        "missed",
        "met",
    )
    assert verdicts(report({TWO: (5.0,)}))["a run without rows, s"] == "not judged"
    mild = report({TWO: (5.0,), "rapidbyte, 4 workers": (5.0,)}, rss=100.0)
    for worst in (0, 1):
        lines = tuple(
            replace(each, peak_rss_mb=151.0) if place == worst else each for place, each in enumerate(mild.lines)
        )
        assert verdicts(replace(mild, lines=lines))["peak memory, MB"] == "missed"
    raced = report(walls)
    raced = replace(raced, lines=tuple(replace(each, ddl_race_retries=1) for each in raced.lines))
    assert verdicts(raced)["retries of DDL races"] == "missed"


def test_scaling_is_judged_where_there_are_cores_for_it() -> None:
    """Four cores a worker; on fewer the server's cores are the limit."""
    walls = {"rapidbyte, 1 worker": (8.0,) * 3, TWO: (5.5,) * 3}
    name = "scaling over workers, share of linear"
    assert [verdicts(report(walls, cores=cores))[name] for cores in (2, 7, 8)] == ["not judged", "not judged", "missed"]
    assert verdicts(report({**walls, TWO: (4.5,) * 3}, cores=8))[name] == "met"
    more = {**walls, TWO: (4.5,) * 3, "rapidbyte, 4 workers": (4.0,) * 3}
    assert [verdicts(report(more, cores=cores))[name] for cores in (8, 16)] == ["met", "missed"]


def test_client_cpu_is_counted_per_million_rows() -> None:
    """Of two workers, with small."""
    name = "small: client CPU seconds per million rows"
    assert [verdicts(report({TWO: (5.0,) * 3}, cpu_s=cpu))[name] for cpu in (0.7, 0.71)] == ["met", "missed"]


def test_every_target_has_a_reason_and_what_no_run_can_tell_is_said() -> None:
    """Also where nothing can be missed."""
    for mode, profile in (("copy", "small"), ("copy", "large"), ("files", "small"), ("transform", "wide")):
        assert all(target.source and target.limit >= 0 for target in targets_of(mode, profile))
    found = verdicts(report({BACKSLASH_COPY: (1.0,) * 3, "rapidbyte csv, 2 workers": (1.0,) * 3}, mode="files"))
    assert found["CSV, NDJSON and Parquet: time against DuckDB's extension"] == "not judged"
    assert found["peak memory, times that of a small table"] == "not judged"
