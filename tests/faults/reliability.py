"""RELIABILITY.md, from results of the protocol: python -m tests.faults.reliability [SOAK.json ...].

Without names those in tests/faults/results are taken: soak*.json, slice*.json, and mutants.json for the seeded defects.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rapidbyte.failpoints import FAILPOINTS
from tests.faults.dataset import MODES
from tests.faults.results import PARTS
from tests.faults.spawn import ROOT

PAGE = ROOT / "RELIABILITY.md"
RESULTS = ROOT / "tests" / "faults" / "results"
NOT_RUN = Path(__file__).with_name("not_run.md")
OTHERS = Path(__file__).with_name("others.md")
"""What no run can say is written by hand."""
TOLD = " (each is told below, with what it was)"
LONGEST = 300
"""Characters of what was wrong with a cell; the results have all of them."""

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


def page(runs: Sequence[dict[str, Any]], mutants: dict[str, Any] | None) -> str:
    """The whole page; of the same results and texts the same."""
    parts = [part for run in runs for part in run["parts"].values()]
    cells = sum(part["cells"] for part in parts)
    failing = sum(len(part["failing"]) for part in parts)
    fired = _fired(runs)
    blocks = [
        "# Reliability",
        "<!-- Generated: python -m tests.faults.reliability, by `make soak` -->",
        (
            f"{cells:,} cells, {failing} failing{TOLD if failing else ''};"
            f" {sum(part['attempts'] for part in parts):,} runs of rapidbyte. A cell"
            " breaks one run, or several, in one way, runs the same command again until it is done, and compares."
            " [tests/faults](tests/faults) holds the code, [failpoints](docs/development/failpoints.md) says where runs"
            " can be broken. `make faults` runs a slice, `make soak` all of it."
        ),
        "## Runs",
        _runs(runs),
        "## Counts",
        _counts(runs),
        _bound(runs),
        "## Failing cells",
        _failing(runs),
        "## What was not run",
        _unfinished(runs),
        NOT_RUN.read_text().strip(),
        "## What is compared",
        ORACLE.strip(),
        "## Failpoints",
        f"{len(fired)} of {len(FAILPOINTS)} fired; one that fires in no cell of a whole run fails it.",
        _failpoints(fired),
        "## Can the tests fail?",
        _mutants(mutants),
        OTHERS.read_text().strip(),
    ]
    return "\n\n".join(block for block in blocks if block) + "\n"


def _runs(runs: Sequence[dict[str, Any]]) -> str:
    lines = ["| begun | what | minutes | seed | cells | failing | with |", "|---|---|--:|--:|--:|--:|---|"]
    for run in runs:
        versions = ", ".join(f"{name} {version}" for name, version in run["versions"].items())
        what = "all counts" if run["full"] else "the slice"
        if run["minutes"] is not None:
            what += f", as far as {run['minutes']:g} minutes went"
            if run["seconds"] < 60 * run["minutes"] and any(p["cells"] < p["planned"] for p in run["parts"].values()):
                what += "; stopped before"
        parts = run["parts"].values()
        cells, failing = sum(part["cells"] for part in parts), sum(len(part["failing"]) for part in parts)
        lines.append(
            f"| {run['started_at']} | {what} | {run['seconds'] / 60:.0f} | {run['seed']} | {cells:,} | {failing}"
            f" | {versions} |"
        )
    return "\n".join(lines)


def _kind(kind: str) -> str:
    """Without its mode."""
    for mode in MODES:
        kind = kind.removesuffix(f", {mode}")
    return kind


def _counts(runs: Sequence[dict[str, Any]]) -> str:
    lines = ["| part | what | cells | runs | readings | failing |", "|---|---|--:|--:|--:|--:|"]
    for name in PARTS:
        found = [run["parts"][name] for run in runs if name in run["parts"]]
        if not found:
            continue
        cells, attempts, reads = (sum(part[what] for part in found) for what in ("cells", "attempts", "reads"))
        failing = sum(len(part["failing"]) for part in found)
        lines.append(f"| {name} | {PARTS[name]} | {cells:,} | {attempts:,} | {reads:,} | {failing} |")
        kinds: Counter[str] = Counter()
        for part in found:
            for kind, count in part["kinds"].items():
                kinds[_kind(kind)] += count
        lines += [f"| | {kind} | {count:,} | | | |" for kind, count in sorted(kinds.items())]
    return "\n".join(lines)


def _bound(runs: Sequence[dict[str, Any]]) -> str:
    """The rule of three, where nothing failed."""
    kills = [run["parts"]["P2"] for run in runs if "P2" in run["parts"]]
    cells = sum(part["cells"] for part in kills)
    if not cells or any(part["failing"] for part in kills):
        return ""
    return (
        f"No failure in {cells:,} kills, crashes and freezes, most of them at random moments: with 95 % confidence one"
        f" does harm in fewer than {min(100.0, 300 / cells):.2g} % of cases (rule of three)."
    )


def _failing(runs: Sequence[dict[str, Any]]) -> str:
    found = [
        f"- {name}: `{json.dumps(cell['cell'], default=str)}`: {_short('; '.join(cell['problems']))}"
        + (f" **{cell['verdict']}**" if "verdict" in cell else "")
        for run in runs
        for name, part in sorted(run["parts"].items())
        for cell in part["failing"]
    ] + [f"- seed {run['seed']}: failpoint {point} fired in no cell" for run in runs for point in run["unfired"]]
    return "\n".join(found) or "None."


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= LONGEST else text[:LONGEST] + "..."


def _unfinished(runs: Sequence[dict[str, Any]]) -> str:
    """How much of all counts was reached, where all were meant; and what this machine could not do."""
    lines: list[str] = []
    for run in runs:
        if run["full"]:
            short = [
                f"{part['cells']:,} of {part['planned']:,} of {name}"
                for name, part in sorted(run["parts"].items())
                if part["cells"] < part["planned"]
            ]
            if short:
                reached = f"Seed {run['seed']} reached, in an order of chance, {', '.join(short)}"
                lines.append(f"- **The rest of the counts.** {reached}.")
    skipped: Counter[str] = Counter()
    for run in runs:
        for part in run["parts"].values():
            skipped.update(part["skipped"])
    return "\n".join(lines + [f"- {count} cells: {reason}." for reason, count in sorted(skipped.items())])


def _fired(runs: Sequence[dict[str, Any]]) -> Counter[str]:
    fired: Counter[str] = Counter()
    for run in runs:
        fired.update(run["fired"])
    return fired


def _failpoints(fired: Counter[str]) -> str:
    lines = ["| failpoint | where | cells in which it fired |", "|---|---|--:|"]
    return "\n".join(lines + [f"| `{name}` | {what} | {fired[name]:,} |" for name, what in FAILPOINTS.items()])


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


def read(paths: Sequence[Path] = ()) -> tuple[list[dict[str, Any]], dict[str, Any] | None]:
    """Results in the order in which they were begun, and those of the seeded defects."""
    runs = [
        json.loads(path.read_text()) for path in paths or [*RESULTS.glob("soak*.json"), *RESULTS.glob("slice*.json")]
    ]
    mutants = RESULTS / "mutants.json"
    return (
        sorted(runs, key=lambda run: (run["started_at"], run["seed"])),
        json.loads(mutants.read_text()) if mutants.exists() else None,
    )


def main() -> int:
    runs, mutants = read([Path(name) for name in sys.argv[1:]])
    PAGE.write_text(page(runs, mutants))
    print(f"wrote {PAGE}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
