"""The tables of the other tools: what is said of each, and where they go."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


def load(name: str) -> ModuleType:
    """A module of bench/peers, which is no package."""
    spec = importlib.util.spec_from_file_location(f"peers_{name}", ROOT / "bench" / "peers" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


markdown = load("markdown")


def peer(name: str, wall_s: float, **more: Any) -> dict[str, Any]:
    """One that was measured."""
    return {
        "name": name,
        "status": "measured",
        "wall_s": wall_s,
        "wall_min_s": wall_s,
        "wall_max_s": wall_s,
        "rows_per_s": 1_000 / wall_s,
        "cpu_s": 0.5,
        "peak_rss_mb": 60.0,
        "to_floor": wall_s / 2,
        "values": "equal",
        "losses": [],
        "added": [],
        **more,
    }


def report(*peers: dict[str, Any]) -> dict[str, Any]:
    """A report of these."""
    return {
        "work": "table",
        "profile": "small",
        "rows": 1_000,
        "iterations": 3,
        "server": "PostgreSQL 15.18",
        "cores": 2,
        "date": "2026-11-23",
        "note": "Other work ran beside it.",
        "versions": {"duckdb": "1.5.5"},
        "command": "bench/peers/run --dsn DSN",
        "peers": list(peers),
    }


def test_the_fastest_comes_first_and_what_is_missing_or_failed_is_said() -> None:
    """Names of commands with a bar do not break the table."""
    missing = {"name": "sling", "status": "missing", "needs": "sling"}
    failed = {"name": "dlt", "status": "failed", "why": "no\n luck"}
    lines = markdown.to_markdown(report(peer("psql | psql", 2.0), missing, failed, peer("rapidbyte", 1.0))).splitlines()
    assert [line.split(" | ")[0] for line in lines[4:6]] == ["| **rapidbyte**", "| psql \\| psql"]
    assert "Missing here: sling (sling)." in lines
    assert "Failed: dlt: no luck" in lines
    assert "Other work ran beside it." in lines[0]
    assert len({line.replace("\\|", "").count("|") for line in lines[2:6]}) == 1


def test_types_that_were_lost_are_listed_once_with_their_number() -> None:
    """And columns that were added, and values that differ."""
    lossy = peer(
        "x",
        1.0,
        values="differ",
        added=["_loaded_at"],
        losses=[{"column": name, "source": "uuid", "target": "bytea"} for name in ("a", "b")],
    )
    assert markdown.losses(lossy) == "uuid became bytea (2); values of other columns differ; adds _loaded_at"
    assert markdown.losses(peer("x", 1.0)) == "all kept"


@pytest.mark.parametrize("short", [True, False])
def test_tables_replace_what_is_between_the_markers_and_nothing_else(*, short: bool) -> None:
    """As often as they are written; a document without markers is refused."""
    before = f"# Title\n\n{markdown.BEGIN}\nold\n{markdown.END}\n\n## Next\n"
    once = markdown.insert(before, [report(peer("psql", 2.0))], short=short)
    assert once.startswith(f"# Title\n\n{markdown.BEGIN}\n**small")
    assert once.endswith(f"{markdown.END}\n\n## Next\n")
    assert "old" not in once
    assert markdown.insert(once, [report(peer("psql", 2.0))], short=short) == once
    with pytest.raises(ValueError, match="there are no markers"):
        markdown.insert("# Title\n", [], short=short)


@pytest.mark.parametrize("name", ["PERF_ANALYSIS.md", "README.md"])
def test_the_documents_have_the_markers(name: str) -> None:
    """Once, in this order."""
    text = (ROOT / name).read_text()
    assert text.count(markdown.BEGIN) == text.count(markdown.END) == 1
    assert text.index(markdown.BEGIN) < text.index(markdown.END)
