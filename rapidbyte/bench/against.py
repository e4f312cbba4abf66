"""A report beside an earlier one: what is faster, slower, or not to be told from noise. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, cast

from rapidbyte.bench.document import SCHEMA_VERSION
from rapidbyte.bench.figures import BenchReport, Change, Line
from rapidbyte.errors import ConfigError

LEAST_CHANGE = 0.03
"""Changes below three in a hundred are called noise however still the machine was."""


def read_baseline(text: str, name: str) -> Mapping[str, Any]:
    """The document that `--save` wrote. Raises ConfigError for anything else."""
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    document: dict[str, Any] = cast("dict[str, Any]", found) if isinstance(found, dict) else {}
    if document.get("schema_version") != SCHEMA_VERSION or not _is_report(document):
        raise ConfigError(
            f"{name} is no report of this version of rapidbyte bench, or it is damaged",
            code="baseline_invalid",
            hint="write it with rapidbyte bench --save FILE",
            afterwards="nothing was started",
        )
    return document


def _is_report(document: Mapping[str, Any]) -> bool:
    """Whether all is there that a comparison looks at, and of its kind."""
    lines = document.get("lines")
    return (
        isinstance(lines, list)
        and {"mode", "profile", "rows", "floor"} <= document.keys()
        and all(_is_line(each) for each in cast("list[Any]", lines))
    )


def _is_line(found: Any) -> bool:
    if not isinstance(found, dict):
        return False
    line = cast("dict[str, Any]", found)
    shares = [line.get(name, "missing") for name in ("to_floor_min", "to_floor", "to_floor_max")]
    return (
        isinstance(line.get("contender"), str)
        and all(_is_positive(line.get(name)) for name in ("wall_min_s", "wall_s", "wall_max_s"))
        and (shares == [None] * 3 or all(map(_is_positive, shares)))
    )


def _is_positive(found: Any) -> bool:
    return isinstance(found, int | float) and not isinstance(found, bool) and 0 < found < float("inf")


def check_comparable(baseline: Mapping[str, Any], *, mode: str, profile: str, rows: int) -> None:
    """Raises ConfigError where the earlier report measured something else."""
    then = (baseline["mode"], baseline["profile"], baseline["rows"])
    if then != (mode, profile, rows):
        raise ConfigError(
            f"the earlier report is of mode {then[0]}, profile {then[1]}, {then[2]} rows",
            code="baseline_differs",
            hint="compare with a report of the same --mode, --profile and --rows",
            afterwards="nothing was started",
        )


def changes(report: BenchReport, baseline: Mapping[str, Any]) -> tuple[Change, ...]:
    """One for each contender that is in both, in this report's order."""
    earlier = {str(each["contender"]): each for each in baseline["lines"]}
    both = report.floor is not None and report.floor == baseline["floor"]
    return tuple(
        _change(each, earlier[each.contender], to_floor=both and each.contender != report.floor)
        for each in report.lines
        if each.contender in earlier
    )


def _change(now: Line, then: Mapping[str, Any], *, to_floor: bool) -> Change:
    """Of ratios to the floor where there are any: those know of a machine that has become slower."""
    use_floor = to_floor and now.to_floor is not None and then["to_floor"] is not None
    a = (
        (now.to_floor_min, now.to_floor, now.to_floor_max)
        if use_floor
        else (now.wall_min_s, now.wall_s, now.wall_max_s)
    )
    names = ("to_floor_min", "to_floor", "to_floor_max") if use_floor else ("wall_min_s", "wall_s", "wall_max_s")
    low, middle, high = (float(value or 0.0) for value in a)
    then_low, then_middle, then_high = (float(then[name]) for name in names)
    ratio, least, most = middle / then_middle, low / then_high, high / then_low
    return Change(
        contender=now.contender,
        before_s=float(then["wall_s"]),
        now_s=now.wall_s,
        ratio=ratio,
        least=least,
        most=most,
        verdict=verdict(ratio, least, most),
    )


def verdict(ratio: float, least: float, most: float) -> str:
    """Faster or slower only where no iteration of one would pass for one of the other."""
    if least > 1.0 and ratio >= 1 + LEAST_CHANGE:
        return "slower"
    if most < 1.0 and ratio <= 1 - LEAST_CHANGE:
        return "faster"
    return "within noise"


def circumstances(report: BenchReport, baseline: Mapping[str, Any]) -> tuple[str, ...]:
    """Notes where the earlier report was made elsewhere."""
    now = {"server": report.server, "cores": report.cores}
    return tuple(
        f"the earlier report was made with {name} {baseline.get(name)}, this one with {value}"
        for name, value in now.items()
        if baseline.get(name) != value
    )
