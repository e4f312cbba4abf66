"""The report as JSON and as a table for people. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rapidbyte.bench.figures import PHASES, BenchReport, Change, Line, TargetResult, counted

SCHEMA_VERSION = 2
"""Version 1 had one mode, and neither iterations nor phases."""


def to_document(report: BenchReport) -> dict[str, Any]:
    """The report as plain dicts and lists."""
    return {"schema_version": SCHEMA_VERSION, **asdict(report)}


def to_text(report: BenchReport) -> str:
    """The report as tables for people: times, phases, targets, changes."""
    head = (
        f"{report.mode}, {report.profile}: {counted(report.rows, 'row')}, {report.bytes / 1024 / 1024:,.1f} MB of COPY,"
        f" {counted(report.iterations, 'iteration')}, interleaved, each verified by checksum\n"
        f"{report.server}, {report.cores} cores\n"
    )
    parts = [head, table(_TITLES, [_cells(each) for each in report.lines])]
    timed = [each for each in report.lines if each.phases is not None]
    if timed:
        titles = ("phases, s", *(phase.removesuffix("_s") for phase in PHASES), "verdict")
        parts += ["", table(titles, [_phase_cells(each) for each in timed])]
    if report.targets:
        titles = ("target", "limit", "found", "")
        parts += ["", table(titles, [_target_cells(each) for each in report.targets])]
    if report.against:
        titles = ("against the earlier report", "before s", "now s", "ratio", "from", "to", "")
        parts += ["", table(titles, [_change_cells(each) for each in report.against])]
    return "\n".join((*parts, *(("", *report.notes) if report.notes else ()), ""))


def table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns side by side; figures to the right, the first column and a last one without a title to the left."""
    lines = [tuple(titles), *map(tuple, rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(titles))]
    lefts = {0} if titles[-1] else {0, len(titles) - 1}
    aligned = [
        [
            cell.ljust(width) if i in lefts else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        for line in lines
    ]
    return "\n".join("  ".join(cells).rstrip() for cells in aligned)


_TITLES = (
    "",
    "median s",
    "min",
    "max",
    "to floor",
    "efficiency",
    "rows/s",
    "MB/s",
    "client CPU s",
    "peak MB",
    "active s",
    "wait s",
)


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def _cells(each: Line) -> tuple[str, ...]:
    loads = each.rows_per_s > 0
    return (
        each.contender,
        _number(each.wall_s, ".2f"),
        _number(each.wall_min_s, ".2f"),
        _number(each.wall_max_s, ".2f"),
        _number(each.to_floor, ".2f"),
        _number(each.efficiency, ".0%"),
        _number(each.rows_per_s if loads else None, ",.0f"),
        _number(each.mb_per_s if loads else None, ".1f"),
        _number(each.cpu_s, ".2f"),
        _number(each.peak_rss_mb or None, ".0f"),
        _number(each.worker_active_s, ".2f"),
        _number(each.worker_wait_s, ".2f"),
    )


def _phase_cells(each: Line) -> tuple[str, ...]:
    phases = each.phases or {}
    return (each.contender, *(_number(phases.get(phase), ".2f") for phase in PHASES), each.bottleneck or "-")


def _target_cells(each: TargetResult) -> tuple[str, ...]:
    said = f"{each.verdict}: {each.reason}" if each.reason else each.verdict
    return (each.target, f"{each.limit:g}", _number(each.found, ".2f"), said)


def _change_cells(each: Change) -> tuple[str, ...]:
    return (
        each.contender,
        f"{each.before_s:.2f}",
        f"{each.now_s:.2f}",
        f"{each.ratio:.2f}",
        f"{each.least:.2f}",
        f"{each.most:.2f}",
        each.verdict,
    )
