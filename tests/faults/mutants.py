"""P9: seeded defects. Each is put into a copy of the package, and the protocol must find it; else the proof is empty.

python -m tests.faults.mutants [--only NAME,...] [--results FILE]: exit code 1 when one survives, or when the source has
changed so that one cannot be put in any more.
"""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.faults import cuts, kills, late, refusals, results, rounds, sweep
from tests.faults.cells import Blow, Cell
from tests.faults.lane import Lane, open_lane
from tests.faults.proxy import Cut
from tests.faults.spawn import ROOT, Forks
from tests.faults.sweep import Outcome

Check = Callable[[Lane], Outcome]
PG = "destinations/postgres/"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """One defect, and the cells of the protocol that are due to find it."""

    name: str
    hazard: str
    changes: tuple[tuple[str, str, str], ...]
    """(module, text that is there exactly once, text instead)."""
    checks: tuple[Check, ...]


class Outdated(Exception):
    """The source has changed: the mutant must be written anew."""


def struck(mode: str, point: str, action: str = "exit", occurrence: int = 1, workers: int = 4) -> Check:
    """A cell of P1."""
    blow = Blow(point=point, action=action, occurrence=occurrence)
    return lambda lane: sweep.run_cell(lane, Cell(mode=mode, workers=workers, first=blow))


def unanswered(mode: str, who: str, after: bytes) -> Check:
    """A cell of P3: the answer to a COMMIT is lost."""
    return lambda lane: cuts.cut_run(lane, mode, "destination", Cut(commit_of=who, after=after))


def crashed(mode: str, point: str) -> Check:
    """A cell of P2: the destination crashes."""
    return lambda lane: kills.crash_at(lane, mode, point)


def late_rows(cursor: str, seed: int) -> Check:
    """A cell of P7."""
    return lambda lane: late.late_commits(lane, cursor, "append", 6.0, seed)


def refused(mode: str, name: str) -> Check:
    """A cell of P4."""
    (refusal,) = (each for each in refusals.REFUSALS if each.name == name)
    return lambda lane: refusals.refused(lane, mode, refusal)


MUTANTS: tuple[Mutant, ...] = (
    Mutant(
        name="drop the load's receipt",
        hazard="E1",
        changes=(
            (
                PG + "finalize.py",
                '    loads.end_load(connection, contract.load_id, state="published", publish=applied',
                '    loads.end_load(connection, contract.load_id, state="prepared", publish=applied',
            ),
        ),
        checks=(struck("replace-swap", "pub.acked"),),
    ),
    Mutant(
        name="drop the check for a partition's receipt",
        hazard="E15",
        changes=(
            (
                PG + "writer.py",
                "    if row is None:\n        _require_open(",
                "    if row or not row:\n        _require_open(",
            ),
        ),
        checks=(unanswered("append", "rapidbyte worker", b"receipts"),),
    ),
    Mutant(
        name="drop the fence check",
        hazard="D3",
        changes=(
            (
                PG + "leases.py",
                "    if row is not None and row[0] == fence:\n        return\n",
                "    if row is not None:\n        return\n",
            ),
        ),
        checks=(lambda lane: kills.freeze(lane, "replace-swap", "join.all_done"),),
    ),
    Mutant(
        name="let an ended load take rows",
        hazard="D3",
        changes=((PG + "writer.py", "        _require_open(connection, target)\n", "        _ = _require_open\n"),),
        checks=tuple((lambda lane: kills.freeze(lane, "incremental-direct", "w.copy_mid")) for _ in range(3)),
    ),
    Mutant(
        name="do not wait for running transactions",
        hazard="E4",
        changes=(
            (
                "sources/postgres/bounds.py",
                "        settle(connection, timeout_seconds=settle_seconds)\n",
                "        assert settle and settle_seconds\n",
            ),
        ),
        checks=tuple(late_rows(cursor, seed) for seed in (1, 2, 3) for cursor in late.CURSORS),
    ),
    Mutant(
        name="< instead of <= at the bound",
        hazard="E3",
        changes=(
            (
                "sources/postgres/bounds.py",
                "        high_inclusive=not plan.is_time,\n",
                "        high_inclusive=False,\n",
            ),
        ),
        checks=(struck("incremental-append", "pub.acked"),),
    ),
    Mutant(
        name="skip the count of an unlogged stage",
        hazard="C2",
        changes=(
            (
                PG + "guards.py",
                "    if (partitions, receipted, staged) == (receipts.planned, receipts.rows, receipts.rows):\n",
                "    if (partitions, receipted) == (receipts.planned, receipts.rows):\n",
            ),
        ),
        checks=(crashed("replace-in-place", "join.all_done"), crashed("append", "join.all_done")),
    ),
    Mutant(
        name="TRUNCATE instead of DELETE",
        hazard="D11",
        changes=(
            (
                PG + "rows.py",
                'sql.SQL("DELETE FROM {} AS t WHERE NOT EXISTS (SELECT FROM {} AS s WHERE {})").format(',
                'sql.SQL("TRUNCATE {} CASCADE -- {} {}").format(',
            ),
        ),
        checks=(struck("replace-in-place", "pub.acked"),),
    ),
    Mutant(
        name="publish in several transactions",
        hazard="D7",
        changes=(
            (
                PG + "rewrite.py",
                '    failpoint("pub.deleted")\n    _update_changed(',
                (
                    '    connection.execute("COMMIT")\n    connection.execute("BEGIN")\n'
                    '    failpoint("pub.deleted")\n    _update_changed('
                ),
            ),
        ),
        checks=(struck("replace-in-place", "pub.deleted"),),
    ),
    Mutant(
        name="write the ledger after COMMIT",
        hazard="E1",
        changes=(
            (
                PG + "finalize.py",
                '    failpoint("pub.inserted")\n',
                '    connection.execute("COMMIT")\n    connection.execute("BEGIN")\n    failpoint("pub.inserted")\n',
            ),
        ),
        checks=(struck("append", "pub.inserted"),),
    ),
    Mutant(
        name="one name for every stage",
        hazard="D6",
        changes=(
            (PG + "planning.py", 'name=f"_rb_{load_id}"', 'name=f"_rb_{target.name}"[:40] if load_id else "_rb_"'),
        ),
        checks=tuple((lambda lane: rounds.one_target(lane, 4)) for _ in range(3)),
    ),
    Mutant(
        name="no advisory lock in setup",
        hazard="D4",
        changes=(
            (
                PG + "ledger.py",
                (
                    '        "SELECT pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtextextended(%s, 0))",'
                    ' (f"rapidbyte {what}",)\n'
                ),
                '        "SELECT %s::text", (f"rapidbyte {what}",)\n',
            ),
        ),
        checks=tuple((lambda lane: rounds.fresh_schema(lane, 8)) for _ in range(6)),
    ),
    Mutant(
        name="no lock_timeout",
        hazard="D8",
        changes=(
            (
                PG + "locks.py",
                'sql.SQL("SET LOCAL lock_timeout = {}").format(sql.Literal(TRY_MILLISECONDS))',
                'sql.SQL("SET LOCAL lock_timeout = {}").format(sql.Literal(0))',
            ),
        ),
        checks=(refused("append", "a lock that is not given"),),
    ),
    Mutant(
        name="swallow a worker's failure",
        hazard="C16",
        changes=(
            (
                "engine/pool.py",
                "        return tuple(_outcome(future, stream) for future in self._ended(stream))\n",
                "        return self.committed(stream)\n",
            ),
            ("engine/loading.py", "planned=self._partitions[load.name]", "planned=len(reports)"),
            ("contract.py", "        if found != list(range(self.planned)) or any(", "        if any("),
        ),
        checks=(struck("replace-in-place", "w.copy_mid", "fail", 3),),
    ),
    Mutant(
        name="exit 0 on failure",
        hazard="C5",
        changes=(("cli/run.py", "        return result.exit_code\n", "        return 0\n"),),
        checks=(struck("append", "pub.state", "fail"),),
    ),
    Mutant(
        name="the DSN in an error",
        hazard="G4",
        changes=(
            (
                "pg/conninfo.py",
                '    return f"{host}:{port}/{database}"\n',
                '    return f"{found} {host}:{port}/{database}"\n',
            ),
        ),
        checks=(refused("append", "no database"),),
    ),
    Mutant(
        name="an unquoted identifier",
        hazard="G1",
        changes=(
            (
                PG + "writer.py",
                'sql.SQL(", ").join(sql.Identifier(column.name) for column in target.columns)',
                'sql.SQL(", ").join(sql.SQL(column.name) for column in target.columns)',
            ),
        ),
        checks=(struck("append", "w.connected"),),
    ),
)


def put_in(mutant: Mutant, folder: Path) -> Path:
    """A copy of the package with the defect; returns the folder that goes onto PYTHONPATH. Raises Outdated."""
    package = folder / "rapidbyte"
    shutil.copytree(ROOT / "rapidbyte", package, ignore=shutil.ignore_patterns("__pycache__", "demo"))
    for module, old, new in mutant.changes:
        path = package / module
        text = path.read_text() if path.exists() else ""
        if text.count(old) != 1:
            raise Outdated(f"{mutant.name}: {text.count(old)} times in {module}: {old!r}")
        path.write_text(text.replace(old, new))
    return folder


def hunt(lane: Lane, mutant: Mutant) -> dict[str, Any]:
    """Runs the mutant's checks until one finds it."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory(dir=lane.folder) as folder:
        usual = lane.launcher
        package = put_in(mutant, Path(folder))
        package.chmod(0o755)
        lane.launcher, lane.package = Forks(package), package
        try:
            for check in mutant.checks:
                outcome = check(lane)
                if outcome.problems:
                    found = outcome.problems[0]
                    break
            else:
                found = ""
        finally:
            lane.launcher.close()
            lane.launcher, lane.package = usual, ROOT
    return {
        "killed": bool(found),
        "found": found[:300],
        "hazard": mutant.hazard,
        "seconds": round(time.monotonic() - started, 1),
    }


def sane(lane: Lane, mutants: Sequence[Mutant]) -> list[str]:
    """The checks find nothing in the package as it is: what a mutant is found by must be the mutant's."""
    problems: list[str] = []
    for mutant in mutants:
        for check in mutant.checks[:1]:
            problems += [f"{mutant.name}: {problem}" for problem in check(lane).problems]
    return problems


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.mutants")
    parser.add_argument("--only", default="", type=lambda text: [name for name in text.split(",") if name])
    parser.add_argument("--results", type=Path, default=Path("tests/faults/results/mutants.json"))
    arguments = parser.parse_args()
    chosen = [mutant for mutant in MUTANTS if not arguments.only or mutant.name in arguments.only]
    with tempfile.TemporaryDirectory() as folder:
        for number, mutant in enumerate(chosen):
            put_in(mutant, Path(folder) / str(number))
    found = results.Results(seed=0, full=False)
    with open_lane() as lane, open_lane() as spare:
        lane.elsewhere = spare.server
        wrong = sane(lane, chosen)
        for problem in wrong:
            print(f"FAILED without a mutant: {problem}", flush=True)
        for mutant in chosen:
            found.mutants[mutant.name] = verdict = hunt(lane, mutant)
            print(f"{'killed  ' if verdict['killed'] else 'SURVIVED'} {mutant.name}: {verdict['found']}", flush=True)
    killed = sum(verdict["killed"] for verdict in found.mutants.values())
    print(f"{killed} of {len(chosen)} mutants killed")
    results.write(found, arguments.results)
    return 0 if killed == len(chosen) and not wrong else 1


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the servers are stopped
    sys.exit(main())
