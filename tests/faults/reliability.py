"""RELIABILITY.md, from the results of the protocol: python -m tests.faults.reliability SOAK.json [MUTANTS.json]."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from rapidbyte.failpoints import FAILPOINTS
from tests.faults.results import PARTS
from tests.faults.spawn import ROOT

PAGE = ROOT / "RELIABILITY.md"

ORACLE = """After every attempt and at the end all of this is compared with a model; where any of it is wrong,
the cell has failed:

1. the rows of every target, by an order-free checksum over the server's text of each row: never by a count alone;
2. the cursor;
3. the number of published loads in the ledger: one for each load that was asked for;
4. what is left: no stage, no held lease, no unfinished load, no session of ours, no lock;
5. the catalog: the target is the relation that it should be, with its grants, indexes, constraints, views, policies,
   triggers, comments, statistics and sequences; rows that refer to it are there;
6. what the broken run said: its exit code, and in its JSON the commit state of every stream; no traceback, no password;
7. what a reader saw all the while: the old rows or the new ones.
"""

OTHERS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    (
        "Airbyte",
        'a cursor without a tie-breaker "may lead to data loss"; 21 of 60 rows',
        ("airbytehq/airbyte/issues/15427", "airbytehq/airbyte/issues/10782"),
    ),
    ("Airbyte", "every other sync of a full refresh has 0 rows", ("airbytehq/airbyte/issues/42468",)),
    (
        "dlt",
        "duplicates after connection errors, after a failed state update",
        ("dlt-hub/dlt/issues/2837", "dlt-hub/dlt/issues/4052"),
    ),
    (
        "dlt",
        'concurrent pipelines share a staging dataset: "silently duplicates or drops rows"',
        ("dlt-hub/dlt/issues/4297",),
    ),
    ("dlt", "an empty increment truncated the destination", ("dlt-hub/dlt/issues/3998",)),
    ("pgcopydb", "a COPY that died was taken for complete", ("dimitri/pgcopydb/issues/201",)),
    ("pgcopydb", "duplicate rows on resume", ("dimitri/pgcopydb/pull/990",)),
    ("pgloader", "exit code 0 after errors", ("dimitri/pgloader/issues/634",)),
    ("sling", "a stage began with a row of NULLs", ("slingdata-io/sling-cli/issues/726",)),
    ("bruin", "a full refresh rewrote a table as empty, and reported PASS", ("bruin-data/bruin/issues/2181",)),
    ("kafka-connect-jdbc", "rows of late commits are lost", ("confluentinc/kafka-connect-jdbc/issues/172",)),
)
"""Tool, what its users have met, threads on GitHub."""


def page(results: dict[str, Any], mutants: dict[str, Any] | None) -> str:
    """The whole page. Pure."""
    cells = sum(part["cells"] for part in results["parts"].values())
    failing = sum(len(part["failing"]) for part in results["parts"].values())
    blocks = [
        "# Reliability",
        "<!-- Generated: python -m tests.faults.reliability, by `make soak` -->",
        f"{cells:,} cells, {failing} failing. {_what(results)}",
        (
            "A cell breaks one run, or several, in one way, runs the same command again until it is done, and compares."
            " [tests/faults](tests/faults) holds the code, docs/development/failpoints.md the failpoints."
        ),
        "## Counts",
        _counts(results),
        _bound(results),
        "## Failing cells",
        _failing(results),
        "## What is compared",
        ORACLE.strip(),
        "## Failpoints",
        f"{len(results['fired'])} of {len(FAILPOINTS)} fired; in a whole sweep one that fires in no cell is a failure.",
        _failpoints(results),
        "## Can the tests fail?",
        _mutants(mutants),
        "## What others have met",
        "Reports of other tools' users, for comparison of the kind of fault, not of its frequency.",
        _others(),
    ]
    return "\n\n".join(block for block in blocks if block) + "\n"


def _what(results: dict[str, Any]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in results["versions"].items())
    kind = "The full counts" if results["full"] else "The slice of every commit"
    return (
        f"{kind}; begun {results['started_at']}, {results['seconds'] / 60:.0f} min, seed {results['seed']}; {versions}."
    )


def _counts(results: dict[str, Any]) -> str:
    lines = ["| part | what | cells | runs | failing |", "|---|---|--:|--:|--:|"]
    for name, part in sorted(results["parts"].items()):
        lines.append(f"| {name} | {PARTS[name]} | {part['cells']:,} | {part['attempts']:,} | {len(part['failing'])} |")
        lines += [f"| | {kind} | {count:,} | | |" for kind, count in sorted(part["kinds"].items())]
    return "\n".join(lines)


def _bound(results: dict[str, Any]) -> str:
    """The rule of three, where nothing failed."""
    kills = results["parts"].get("P2")
    if not kills or kills["failing"] or not kills["cells"]:
        return ""
    return (
        f"No failure in {kills['cells']:,} random kills: with 95 % confidence a kill does harm in fewer than"
        f" {300 / kills['cells']:.2g} % of cases (rule of three)."
    )


def _failing(results: dict[str, Any]) -> str:
    found = [
        f"- {name}: `{json.dumps(cell['cell'], default=str)}`: {'; '.join(cell['problems'])}"
        for name, part in sorted(results["parts"].items())
        for cell in part["failing"]
    ] + [f"- failpoint {point} fired in no cell" for point in results["unfired"]]
    return "\n".join(found) or "None."


def _failpoints(results: dict[str, Any]) -> str:
    lines = ["| failpoint | where | cells in which it fired |", "|---|---|--:|"]
    return "\n".join(
        lines + [f"| `{name}` | {what} | {results['fired'].get(name, 0):,} |" for name, what in FAILPOINTS.items()]
    )


def _mutants(mutants: dict[str, Any] | None) -> str:
    if not mutants or not mutants["mutants"]:
        return "`make mutants` has not been run with these results."
    verdicts = mutants["mutants"]
    killed = sum(verdict["killed"] for verdict in verdicts.values())
    lines = [
        f"{killed} of {len(verdicts)} seeded defects were found (`make mutants`, {mutants['started_at']}).",
        "",
        "| defect | hazard | found by |",
        "|---|---|---|",
    ]
    for name, verdict in verdicts.items():
        said = " ".join(verdict["found"].split())[:110].replace("|", "\\|") or "**survived**"
        lines.append(f"| {name} | {verdict['hazard']} | {said} |")
    return "\n".join(lines)


def _others() -> str:
    lines = ["| tool | what was met | where |", "|---|---|---|"]
    for tool, what, threads in OTHERS:
        links = ", ".join(f"[#{thread.rpartition('/')[2]}](https://github.com/{thread})" for thread in threads)
        lines.append(f"| {tool} | {what} | {links} |")
    return "\n".join(lines)


def main() -> int:
    soak = json.loads(Path(sys.argv[1]).read_text())
    other = Path(sys.argv[2]) if len(sys.argv) > 2 else Path(sys.argv[1]).with_name("mutants.json")
    PAGE.write_text(page(soak, json.loads(other.read_text()) if other.exists() else None))
    print(f"wrote {PAGE}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
