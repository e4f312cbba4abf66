"""Reports of benchmarks that were never run."""

from __future__ import annotations

from typing import Any

from rapidbyte.bench.contest import BACKSLASH_COPY, ONE_PIPE, Contender, Measurement, Role
from rapidbyte.bench.figures import BenchReport, floor_of, line


def contender(name: str, role: Role = "ours", workers: int = 1) -> Contender:
    """One that runs nothing."""
    return Contender(name=name, role=role, pipes=(), environments=(), workers=workers, makes_table=True, target="small")


def run(name: str, wall_s: float, *, cpu_s: float = 0.5, rss: float = 60.0, own: bool = True) -> Measurement:
    """One iteration. Of `wall_s`, the run itself took all but 0.5 s."""
    result: dict[str, Any] = {
        "duration_s": wall_s - 0.5,
        "ddl_race_retries": 0,
        "workers": {"active_s": 1.0, "wait_s": 0.25},
        "verdict": {"bottleneck": "source", "advice": "Give the source more cores."},
        "phases": {
            "preflight_s": 0.1,
            "prepare_s": 0.1,
            "load_s": wall_s - 1.0,
            "finalize_s": 0.2,
            "cleanup_s": 0.1,
        },
    }
    return Measurement(contender=name, wall_s=wall_s, cpu_s=cpu_s, peak_rss_mb=rss, result=result if own else None)


def report(
    walls: dict[str, tuple[float, ...]],
    *,
    mode: str = "copy",
    profile: str = "small",
    rows: int = 1_000_000,
    cores: int = 2,
    cpu_s: float = 0.5,
    rss: float = 60.0,
) -> BenchReport:
    """A report of contenders by name; those called like a floor are floors, `no rows` is the empty run."""
    runs = {
        name: [run(name, wall, cpu_s=cpu_s, rss=rss, own=_role(name) != "floor") for wall in times]
        for name, times in walls.items()
    }
    floor = floor_of(list(runs))
    lines = tuple(
        line(contender(name, _role(name), _workers(name)), found, runs[floor] if floor else (), rows=rows, size=2**20)
        for name, found in runs.items()
    )
    return BenchReport(
        mode=mode,
        profile=profile,
        rows=rows,
        bytes=2**20,
        iterations=len(next(iter(walls.values()))),
        server="PostgreSQL 18.4",
        cores=cores,
        checksum="1:2:3",
        floor=floor,
        lines=lines,
    )


def _role(name: str) -> Role:
    if name in (ONE_PIPE, BACKSLASH_COPY) or name.startswith("psql"):
        return "floor"
    return "empty" if name.endswith("no rows") else "ours"


def _workers(name: str) -> int:
    return next((int(word) for word in name.split() if word.isdigit()), 1)
