"""What a run of the protocol found, as one JSON document."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import rapidbyte
from tests.faults.spawn import ROOT

PARTS: dict[str, str] = {
    "P1": "failpoints x actions x occurrences x modes x workers; the second run is broken too",
    "P2": "SIGKILL at random moments: of the run, of one backend, of the server; runs frozen past their lease",
    "P3": "a TCP proxy cuts at byte offsets, and the answer to COMMIT",
    "P4": "what servers refuse; the exit codes",
    "P5": "runs of one pipeline at once, many pipelines into one schema, readers during replaces",
    "P7": "late commits and ties of incremental loads",
    "P9": "seeded defects of rapidbyte that the parts above must find",
}


@dataclass(slots=True)
class PartResult:
    """One part of the protocol."""

    part: str
    planned: int = 0
    """Cells that the full counts have, or the slice; fewer are carried out when the time is up."""
    cells: int = 0
    attempts: int = 0
    reads: int = 0
    seconds: float = 0.0
    kinds: dict[str, int] = field(default_factory=dict)
    """Cells by kind."""
    failing: list[dict[str, Any]] = field(default_factory=list)
    skipped: dict[str, int] = field(default_factory=dict)
    """Cells that cannot be carried out here, by reason."""


@dataclass(slots=True)
class Results:
    """All parts, and with what they were made."""

    seed: int
    full: bool
    minutes: float | None = None
    """After which no cell was begun."""
    started_at: str = field(default_factory=lambda: f"{datetime.now(UTC):%Y-%m-%d %H:%M}Z")
    seconds: float = 0.0
    versions: dict[str, str] = field(default_factory=dict)
    parts: dict[str, PartResult] = field(default_factory=dict)
    fired: dict[str, int] = field(default_factory=dict)
    """Cells in which each failpoint fired."""
    unfired: list[str] = field(default_factory=list)
    mutants: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def failed(self) -> bool:
        return bool(self.unfired) or any(part.failing for part in self.parts.values())


def versions(server: str) -> dict[str, str]:
    """Of everything that took part."""
    return {
        "rapidbyte": rapidbyte.__version__,
        "PostgreSQL": server,
        "Python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "processors": str(os.cpu_count()),
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 1024**3:.0f} GiB",
        **_commit(),
    }


def _commit() -> dict[str, str]:
    """Of the source, where git knows it; with + when files have been changed since."""
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty=+", "--exclude=*"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return {}
    return {"commit": found.stdout.strip()} if found.returncode == 0 else {}


def write(results: Results, path: Path) -> None:
    """As JSON, for RELIABILITY.md and for people."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".part")
    unfinished.write_text(json.dumps(_plain(results), indent=1, default=str) + "\n")
    unfinished.replace(path)


def _plain(value: Any) -> Any:
    if hasattr(value, "__slots__") and hasattr(value, "__dataclass_fields__"):
        return {name: _plain(getattr(value, name)) for name in value.__dataclass_fields__}
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value
