"""Measurements -> the report: medians, ratios to the floor, and whether the machine was too noisy to tell. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rapidbyte.bench.contest import Measurement
from rapidbyte.values import frozen

NOISY = 1.5
"""Slowest over fastest of one contender from which the figures are called noisy."""


@frozen
class Line:
    """One contender's iterations. Seconds, megabytes; rates are of the median."""

    contender: str
    wall_s: float
    wall_min_s: float
    wall_max_s: float
    cpu_s: float
    peak_rss_mb: float
    rows_per_s: float
    mb_per_s: float
    to_floor: float | None
    """Median of the ratios to the one-pipe floor, iteration by iteration; None without a floor."""
    worker_active_s: float | None = None
    worker_wait_s: float | None = None
    bottleneck: str | None = None


@frozen
class BenchReport:
    """What a benchmark found."""

    profile: str
    rows: int
    bytes: int
    """COPY payload of the table, as rapidbyte counted it."""
    iterations: int
    server: str
    cores: int
    checksum: str
    """Of the source; every iteration's destination was found equal."""
    lines: tuple[Line, ...]
    notes: tuple[str, ...]


def line(name: str, runs: Sequence[Measurement], floor: Sequence[Measurement], *, rows: int, size: int) -> Line:
    """One contender's line. `floor` are the one-pipe runs of the same iterations, in the same order."""
    walls = [run.wall_s for run in runs]
    median = statistics.median(walls)
    results = [run.result for run in runs if run.result is not None]
    middle = sorted(runs, key=lambda run: run.wall_s)[len(runs) // 2].result
    return Line(
        contender=name,
        wall_s=median,
        wall_min_s=min(walls),
        wall_max_s=max(walls),
        cpu_s=statistics.median(run.cpu_s for run in runs),
        peak_rss_mb=max(run.peak_rss_mb for run in runs),
        rows_per_s=rows / median,
        mb_per_s=size / 1024 / 1024 / median,
        to_floor=statistics.median(a.wall_s / b.wall_s for a, b in zip(runs, floor, strict=True)) if floor else None,
        worker_active_s=statistics.median(r["workers"]["active_s"] for r in results) if results else None,
        worker_wait_s=statistics.median(r["workers"]["wait_s"] for r in results) if results else None,
        bottleneck=middle["verdict"]["bottleneck"] if middle is not None and middle["verdict"] else None,
    )


def noise_note(lines: Sequence[Line]) -> tuple[str, ...]:
    """A warning where a contender's runs differ too much to tell small differences."""
    return tuple(
        f"noisy: {each.contender} took between {each.wall_min_s:.2f} and {each.wall_max_s:.2f} s"
        for each in lines
        if each.wall_max_s / each.wall_min_s >= NOISY
    )


def to_document(report: BenchReport) -> dict[str, Any]:
    """The report as plain dicts and lists."""
    return {"schema_version": 1, **asdict(report)}


def to_text(report: BenchReport) -> str:
    """The report as a table for people."""
    titles = (
        "",
        "median s",
        "min",
        "max",
        "to floor",
        "rows/s",
        "MB/s",
        "client CPU s",
        "peak MB",
        "active s",
        "wait s",
    )
    rows = [titles, *(_cells(each) for each in report.lines)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(titles))]
    aligned = [[row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])] for row in rows]
    table = "\n".join("  ".join(cells) for cells in aligned)
    head = (
        f"{report.profile}: {report.rows:,} rows, {report.bytes / 1024 / 1024:,.1f} MB on the wire, "
        f"{report.iterations} iterations, interleaved, each verified by checksum\n"
        f"{report.server}, {report.cores} cores\n"
    )
    return "\n".join((head, table, *(("", *report.notes) if report.notes else ())))


def _cells(each: Line) -> tuple[str, ...]:
    def number(value: float | None, form: str) -> str:
        return "-" if value is None else format(value, form)

    return (
        each.contender,
        number(each.wall_s, ".2f"),
        number(each.wall_min_s, ".2f"),
        number(each.wall_max_s, ".2f"),
        number(each.to_floor, ".2f"),
        number(each.rows_per_s, ",.0f"),
        number(each.mb_per_s, ".1f"),
        number(each.cpu_s, ".2f"),
        number(each.peak_rss_mb, ".0f"),
        number(each.worker_active_s, ".2f"),
        number(each.worker_wait_s, ".2f"),
    )
