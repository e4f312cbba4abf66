"""What a benchmark must show, as values with their reasons, and which of it this machine can tell. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence

from rapidbyte.bench.figures import BenchReport, Line, TargetResult, is_noisy
from rapidbyte.values import frozen

FEWEST_ITERATIONS = 3
"""With fewer a ratio is an anecdote."""

CORES_PER_WORKER = 4
"""A worker, its reading and its writing server process, and what the server does behind them: fewer cores saturate
before workers can scale."""


PIPES_SHARE = 0.9
"""Of what several pipes gain over one: workers that gain less than that have missed, also where pipes gain little."""


@frozen
class Finding:
    """What was found for a target: the figure that counts, and the most favourable iteration's."""

    value: float
    best: float
    noisy: bool


@frozen
class Target:
    """One claim about a report. `find` gives a finding, or why there is none."""

    name: str
    source: str
    """Why this number."""
    limit: float
    at_least: bool = False
    """Whether the figure must reach the limit; else it must not exceed it."""
    at_profile_rows: bool = True
    """Whether it is a claim about the profile's own number of rows."""
    find: Callable[[BenchReport], Finding | str]


def judge(report: BenchReport, profile_rows: int) -> tuple[TargetResult, ...]:
    """Every target of this mode and profile: met, missed, or not judged and why."""
    return tuple(_result(target, report, profile_rows) for target in targets_of(report.mode, report.profile))


def missed(results: Sequence[TargetResult]) -> tuple[TargetResult, ...]:
    """Those that were judged and not met."""
    return tuple(result for result in results if result.verdict == "missed")


def _result(target: Target, report: BenchReport, profile_rows: int) -> TargetResult:
    found = _findable(target, report, profile_rows)
    verdict, reason = ("not judged", found) if isinstance(found, str) else _verdict(target, found)
    return TargetResult(
        target=target.name,
        source=target.source,
        limit=target.limit,
        found=None if isinstance(found, str) else found.value,
        verdict=verdict,
        reason=reason,
    )


def _findable(target: Target, report: BenchReport, profile_rows: int) -> Finding | str:
    if target.at_profile_rows and report.rows != profile_rows:
        return f"it is about {profile_rows:,} rows, and these were {report.rows:,}"
    if target.at_profile_rows and report.iterations < FEWEST_ITERATIONS:
        return f"fewer than {FEWEST_ITERATIONS} iterations tell nothing"
    return target.find(report)


def _verdict(target: Target, found: Finding) -> tuple[str, str | None]:
    """Missed where the median misses, unless the runs differ so much that the best of them would have met it."""

    def meets(value: float) -> bool:
        return value >= target.limit if target.at_least else value <= target.limit

    if meets(found.value):
        return "met", None
    if found.noisy and meets(found.best):
        return "not judged", f"too noisy: {found.value:.2f} in the middle, {found.best:.2f} at best"
    return "missed", None


def targets_of(mode: str, profile: str) -> tuple[Target, ...]:
    """All that is wanted of a mode with a profile, also what no single machine can tell."""
    ratios = tuple(
        Target(name=name, source=source, limit=limit, find=_to_floor(contender))
        for where, name, contender, limit, source in _RATIOS
        if where == (mode, profile)
    )
    gains = tuple(
        Target(
            name=f"{profile}: several workers against one",
            source="wide rows keep one connection from saturating the server",
            limit=limit,
            at_least=True,
            find=_gain(limit),
        )
        for where, limit in ((("copy", "medium"), 1.20), (("copy", "large"), 1.10))
        if where == (mode, profile)
    )
    cpu = (_CLIENT_CPU,) if (mode, profile) == ("copy", "small") else ()
    copying = (_EMPTY_RUN, _SCALING) if mode == "copy" else ()
    rivals = (_FILE_RIVALS,) if mode == "files" else ()
    return (*ratios, *gains, *cpu, *copying, *rivals, _MEMORY, _MEMORY_GROWTH, _RACES)


_FLOOR_REASON = "two psql's saturate two cores with almost no client CPU; "

_RATIOS = (
    (("copy", "small"), "small: time against one pipe", "rapidbyte, 2 workers", 1.10,
     _FLOOR_REASON + "a tenth is left for start, ledger and statistics"),
    (("copy", "medium"), "medium: time against one pipe", "rapidbyte, 2 workers", 1.00,
     _FLOOR_REASON + "two workers must win back what start and ledger take"),
    (("copy", "large"), "large: time against one pipe", "rapidbyte, 2 workers", 0.85,
     _FLOOR_REASON + "two pipes took 0.72 to 0.77 of one on wide rows"),
    (("copy", "narrow"), "narrow: time against one pipe", "rapidbyte, 2 workers", 1.20,
     _FLOOR_REASON + "narrow rows cost the client most, row by row"),
    (("files", "small"), "CSV: time against psql's \\copy", "rapidbyte csv, 2 workers", 0.80,
     "\\copy parses with one connection; two workers share a file"),
)  # fmt: skip


def _to_floor(contender: str) -> Callable[[BenchReport], Finding | str]:
    def find(report: BenchReport) -> Finding | str:
        ours = _line(report, contender)
        floor = _line(report, report.floor)
        if floor is None:
            return "there was no floor to compare with"
        if ours is None or ours.to_floor is None or ours.to_floor_min is None:
            return f"{contender} did not take part"
        return Finding(value=ours.to_floor, best=ours.to_floor_min, noisy=is_noisy(ours) or is_noisy(floor))

    return find


def _line(report: BenchReport, contender: str | None) -> Line | None:
    return next((each for each in report.lines if each.contender == contender), None)


def _ours(report: BenchReport) -> list[Line]:
    return [each for each in report.lines if each.role == "ours"]


def _gain(limit: float) -> Callable[[BenchReport], Finding | str]:
    """The best number of workers over one, in the same iterations."""

    def find(report: BenchReport) -> Finding | str:
        single = next((each for each in _ours(report) if each.workers == 1), None)
        several = [each for each in _ours(report) if each.workers > 1]
        if single is None or not several:
            return "it takes --workers 1 and another number"
        gained, best = max(((_times(single, each), each) for each in several), key=lambda pair: pair[0])
        pipes = max((_times(one, more) for one, more in _pipes(report)), default=limit)
        if PIPES_SHARE * pipes <= gained < limit and pipes < limit:
            return f"{gained:.2f} times as fast, but several psql pipes are only {pipes:.2f} times as fast as one here"
        ratios = [one / more for one, more in zip(single.walls_s, best.walls_s, strict=True)]
        return Finding(value=gained, best=max(ratios), noisy=is_noisy(single) or is_noisy(best))

    return find


def _times(one: Line, more: Line) -> float:
    """How many times as fast `more` is, in the middle of the iterations."""
    return statistics.median(a / b for a, b in zip(one.walls_s, more.walls_s, strict=True))


def _pipes(report: BenchReport) -> list[tuple[Line, Line]]:
    """One pipe of psql, and each number of them that took part."""
    floor = _line(report, report.floor)
    return [(floor, each) for each in report.lines if floor is not None and each.role == "floor" and each is not floor]


def _client_cpu(report: BenchReport) -> Finding | str:
    ours = _line(report, "rapidbyte, 2 workers")
    if ours is None:
        return "rapidbyte, 2 workers did not take part"
    seconds = ours.cpu_s / report.rows * 1_000_000
    return Finding(value=seconds, best=seconds, noisy=False)


def _memory(report: BenchReport) -> Finding | str:
    peak = max((each.peak_rss_mb for each in _ours(report)), default=0.0)
    return Finding(value=peak, best=peak, noisy=False) if peak else "no run was long enough to be looked at"


def _races(report: BenchReport) -> Finding | str:
    retries = float(sum(each.ddl_race_retries or 0 for each in _ours(report)))
    return Finding(value=retries, best=retries, noisy=False)


def _empty_run(report: BenchReport) -> Finding | str:
    line = next((each for each in report.lines if each.role == "empty"), None)
    if line is None:
        return "no run without rows took part: --gate adds it"
    return Finding(value=line.wall_s, best=line.wall_min_s, noisy=is_noisy(line))


def _scaling(report: BenchReport) -> Finding | str:
    able = [each for each in _ours(report) if 1 < each.workers <= report.cores // CORES_PER_WORKER]
    single = next((each for each in _ours(report) if each.workers == 1), None)
    if single is None or not able:
        return (
            f"it takes {CORES_PER_WORKER} cores a worker and --workers 1 and others; "
            f"here servers and client share {report.cores}"
        )
    shares = [single.wall_s / each.wall_s / each.workers for each in able]
    return Finding(value=min(shares), best=max(shares), noisy=any(map(is_noisy, (single, *able))))


def _elsewhere(reason: str) -> Callable[[BenchReport], Finding | str]:
    return lambda _report: reason


_CLIENT_CPU = Target(
    name="small: client CPU seconds per million rows",
    source="two psql's take as much; start-up is two thirds of ours, reading the rest",
    limit=0.7,
    find=_client_cpu,
)
_EMPTY_RUN = Target(
    name="a run without rows, s",
    source="process start, preflight, lease, prepare, publish and result; what a schedule of small loads pays",
    limit=0.6,
    at_profile_rows=False,
    find=_empty_run,
)
_SCALING = Target(
    name="scaling over workers, share of linear",
    source="partitions share nothing but the server",
    limit=0.8,
    at_least=True,
    find=_scaling,
)
_FILE_RIVALS = Target(
    name="CSV, NDJSON and Parquet: time against DuckDB's extension",
    source="the fastest of the other tools on files",
    limit=1.0,
    at_profile_rows=False,
    find=_elsewhere("other tools are measured by bench/peers/run"),
)
_MEMORY = Target(
    name="peak memory, MB",
    source="a load must fit beside what else runs on a small machine",
    limit=150,
    at_profile_rows=False,
    find=_memory,
)
_MEMORY_GROWTH = Target(
    name="peak memory, times that of a small table",
    source="memory is bounded by settings, not by the table",
    limit=1.1,
    at_profile_rows=False,
    find=_elsewhere("one run has one size of table: run it with --rows of a tenth and compare with --against"),
)
_RACES = Target(
    name="retries of DDL races",
    source="one leader does the DDL",
    limit=0,
    at_profile_rows=False,
    find=_races,
)
