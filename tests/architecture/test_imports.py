"""import-linter's contracts hold, and each is seen to turn red."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
WRITER = "destinations/postgres/writer.py"

LAYERS = "Imports go down the list only; every module has its room"
LAW = "A worker's COPY cannot reach what changes tables"

BREAKS: list[tuple[str, str, str]] = [
    (LAYERS, "errors.py", "from rapidbyte import model\n"),
    (LAYERS, "utils.py", ""),
    (LAYERS, "sources/postgres/__init__.py", "from rapidbyte.destinations import postgres\n"),
    (LAYERS, "report/__init__.py", "from rapidbyte import bench\n"),
    (LAYERS, "engine/run.py", "from rapidbyte import wiring\n"),
    (LAW, WRITER, "from rapidbyte.destinations.postgres import ddl\n"),
    (LAW, WRITER, "def f():\n    import rapidbyte.destinations.postgres.leader\n"),
    (LAW, "destinations/postgres/encode.py", "from rapidbyte.destinations.postgres.finalize import *\n"),
    ("The engine knows ports only", "engine/worker.py", "from rapidbyte.destinations.postgres import writer\n"),
    ("psycopg has one address", "engine/run.py", "import psycopg\n"),
    ("pydantic and yaml live in config", "cli/run.py", "import yaml\n"),
    ("typer and rich live in cli", "wiring.py", "import rich\n"),
]


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    """import-linter on the package in this folder, under this project's contracts."""
    return subprocess.run(
        [str(Path(sys.executable).with_name("lint-imports")), "--config", str(ROOT / "pyproject.toml"), "--no-cache"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


def test_every_contract_is_kept():
    """lint-imports is green."""
    done = lint(ROOT)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(("contract", "path", "addition"), BREAKS)
def test_a_broken_contract_turns_red(tmp_path, contract, path, addition):
    """One forbidden import or one stray module breaks the contract of that name."""
    package = tmp_path / "rapidbyte"
    shutil.copytree(ROOT / "rapidbyte", package, ignore=shutil.ignore_patterns("__pycache__", "demo"))
    file = package / path
    file.write_text((file.read_text() if file.exists() else "") + addition)
    done = lint(tmp_path)
    assert done.returncode == 1
    assert f"{contract} BROKEN" in done.stdout or path.removesuffix(".py") in done.stdout


def test_every_contract_was_seen_to_fail():
    """No contract without a case that breaks it."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    assert {contract for contract, _, _ in BREAKS} == {contract["name"] for contract in contracts}
