"""Measurements -> the report: medians, ratios to the floor, and whether the machine was too noisy to tell. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

from rapidbyte.bench.contest import FLOORS, Contender, Measurement, Role
from rapidbyte.values import frozen

NOISY = 1.5
"""Slowest over fastest of one contender from which the figures are called noisy."""

PHASES = ("start_s", "preflight_s", "prepare_s", "load_s", "finalize_s", "cleanup_s")
"""Of a run, in order. `start_s` is what the process took beside its run: start, imports, exit."""


@frozen
class Line:
    """One contender's iterations. Seconds, megabytes; rates are of the median."""

    contender: str
    role: Role
    workers: int
    walls_s: tuple[float, ...]
    """Every iteration, in order."""
    wall_s: float
    wall_min_s: float
    wall_max_s: float
    cpu_s: float
    peak_rss_mb: float
    rows_per_s: float
    mb_per_s: float
    to_floor: float | None
    """Median of the ratios to the floor, iteration by iteration; None without a floor."""
    to_floor_min: float | None = None
    to_floor_max: float | None = None
    efficiency: float | None = None
    """Floor / this one: 1 is as fast as the floor."""
    worker_active_s: float | None = None
    worker_wait_s: float | None = None
    bottleneck: str | None = None
    advice: str | None = None
    phases: Mapping[str, float] | None = None
    """Median seconds of each of `PHASES`; None for others than rapidbyte."""
    ddl_race_retries: int | None = None
    """Over all iterations."""


@frozen
class TargetResult:
    """One target, and whether it was met."""

    target: str
    source: str
    """Where it comes from."""
    limit: float
    found: float | None
    verdict: str
    """met, missed, or not judged."""
    reason: str | None
    """Why it was not judged."""


@frozen
class Change:
    """One contender beside its line in an earlier report."""

    contender: str
    before_s: float
    now_s: float
    ratio: float
    """Now / before: of the ratios to the floor where both reports have one, else of the seconds."""
    least: float
    most: float
    """Bounds of the ratio over all iterations of both."""
    verdict: str
    """faster, slower, or within noise."""


@frozen
class BenchReport:
    """What a benchmark found."""

    mode: str
    profile: str
    rows: int
    bytes: int
    """COPY payload of the table, as rapidbyte counted it."""
    iterations: int
    server: str
    cores: int
    checksum: str
    """Of the source; every iteration's destination was found equal."""
    floor: str | None
    """Name of the contender that the ratios are to."""
    lines: tuple[Line, ...]
    targets: tuple[TargetResult, ...] = ()
    against: tuple[Change, ...] = ()
    notes: tuple[str, ...] = ()


def counted(number: int, noun: str) -> str:
    """`1 row`, `2 rows`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def line(
    contender: Contender, runs: Sequence[Measurement], floor: Sequence[Measurement], *, rows: int, size: int
) -> Line:
    """One contender's line. `floor` are the floor's runs of the same iterations, in the same order."""
    walls = [run.wall_s for run in runs]
    median = statistics.median(walls)
    results = [run.result for run in runs if run.result is not None]
    middle = sorted(runs, key=lambda run: run.wall_s)[len(runs) // 2].result
    verdict = middle["verdict"] if middle is not None else None
    loaded = 0 if contender.role == "empty" else rows
    ratios = [a.wall_s / b.wall_s for a, b in zip(runs, floor, strict=True)] if floor and loaded else []
    to_floor = statistics.median(ratios) if ratios else None
    return Line(
        contender=contender.name,
        role=contender.role,
        workers=contender.workers,
        walls_s=tuple(walls),
        wall_s=median,
        wall_min_s=min(walls),
        wall_max_s=max(walls),
        cpu_s=statistics.median(run.cpu_s for run in runs),
        peak_rss_mb=max(run.peak_rss_mb for run in runs),
        rows_per_s=loaded / median,
        mb_per_s=size / 1024 / 1024 / median if loaded else 0.0,
        to_floor=to_floor,
        to_floor_min=min(ratios, default=None),
        to_floor_max=max(ratios, default=None),
        efficiency=None if to_floor is None else 1 / to_floor,
        worker_active_s=statistics.median(r["workers"]["active_s"] for r in results) if results else None,
        worker_wait_s=statistics.median(r["workers"]["wait_s"] for r in results) if results else None,
        bottleneck=verdict["bottleneck"] if verdict else None,
        advice=verdict["advice"] if verdict else None,
        phases=_phases(runs),
        ddl_race_retries=sum(int(r["ddl_race_retries"]) for r in results) if results else None,
    )


def _phases(runs: Sequence[Measurement]) -> Mapping[str, float] | None:
    """Medians of each phase. They need not add up to the median of the whole."""
    times = [
        {"start_s": max(0.0, run.wall_s - run.result["duration_s"]), **run.result["phases"]}
        for run in runs
        if run.result is not None
    ]
    if not times:
        return None
    return {phase: statistics.median(float(each[phase]) for each in times) for phase in PHASES}


def floor_of(names: Sequence[str]) -> str | None:
    """The floor among these contenders."""
    return next((name for name in names if name in FLOORS), None)


def noise_note(lines: Sequence[Line]) -> tuple[str, ...]:
    """A warning where a contender's runs differ too much to tell small differences."""
    return tuple(
        f"noisy: {each.contender} took between {each.wall_min_s:.2f} and {each.wall_max_s:.2f} s"
        for each in lines
        if is_noisy(each)
    )


def is_noisy(each: Line) -> bool:
    """Whether its own runs differ by half."""
    return each.wall_max_s / each.wall_min_s >= NOISY
