"""P5: runs of one pipeline at once, many pipelines into one fresh schema, many into one table."""

from __future__ import annotations

import yaml

from tests.faults import oracle
from tests.faults.dataset import PIPELINE_SCHEMA, pipeline
from tests.faults.lane import TABLES, Lane, Place, connect, published
from tests.faults.oracle import sum_of
from tests.faults.reader import Reader
from tests.faults.sweep import Outcome, end_problems, run_once

BUSY = 8
OVERTAKEN = "was created, dropped or replaced since it was planned for"
"""What a run says that planned before another had published, and got the lease after it."""


def same_pipeline(lane: Lane, mode: str, count: int) -> Outcome:
    """So many runs of one pipeline, started together: one or more load, one after the other; the rest is busy."""
    outcome = Outcome()
    with lane.cell(mode) as place:
        with Reader(place, publishes=count + 2) as reader:
            attempts = [place.start(workers=1) for _ in range(count)]
            codes = [attempt.wait() for attempt in attempts]
            outcome.problems += oracle.quiet([place.dsn])
            overtaken = sum(attempt.exit_code == 4 and OVERTAKEN in attempt.stderr for attempt in attempts)
            if 0 not in codes or codes.count(0) + codes.count(BUSY) + overtaken < count:
                outcome.problems.append(f"exit codes {codes}")
            if place.mode.result != "added" or place.mode.exactly_once:
                _, problems = run_once(place, 1, None)
                outcome.problems += problems
            outcome.problems += _consistent(place, codes)
        outcome.problems += reader.problems()
        outcome.reads, outcome.attempts = reader.reads, len(place.attempts)
        if outcome.problems:
            outcome.evidence = place.evidence()
    return outcome


def _consistent(place: Place, codes: list[int]) -> list[str]:
    """Rows as often as the ledger says, and the ledger as often as runs said that they succeeded."""
    with connect(place.dsn) as connection:
        found = published(connection)
    publishes = {table: found[table] - place.template.loads[table] for table in TABLES}
    problems = oracle.state_problems(place, publishes) + end_problems(place)
    if place.mode.result == "added" and not place.mode.exactly_once and set(publishes.values()) != {codes.count(0)}:
        problems.append(f"{codes.count(0)} runs succeeded, and the ledger has {publishes}")
    return problems


def fresh_schema(lane: Lane, count: int) -> Outcome:
    """So many pipelines, started together, into a database without a ledger and without their schema (D4)."""
    outcome = Outcome()
    with lane.cell("append") as place:
        attempts = []
        for number in range(count):
            folder = place.folder / f"p{number}"
            folder.mkdir()
            document = pipeline(place.mode, f"faults {number}".replace(" ", "_"), lane.source(place.mode), place.dsn)
            document["destination"]["config"]["schema"] = PIPELINE_SCHEMA
            document["source"]["streams"] = [{"name": "events", "target": f"events_{number}"}]
            (folder / "pipeline.yaml").write_text(yaml.safe_dump(document))
            attempts.append(lane.launcher.start(folder, ["run", "pipeline.yaml", "--output", "json", "--workers", "1"]))
        codes = [attempt.wait() for attempt in attempts]
        outcome.attempts = count
        if set(codes) != {0}:
            outcome.problems.append(f"exit codes {codes}")
            outcome.evidence = [{"exit": a.exit_code, "stderr": a.stderr[-800:]} for a in attempts if a.exit_code]
        races = [(attempt.document or {}).get("ddl_race_retries") for attempt in attempts]
        if any(races):
            outcome.problems.append(f"races in setup, which the lock is there to prevent: {races}")
        with connect(place.dsn) as connection:
            sums = [sum_of(connection, f"{PIPELINE_SCHEMA}.events_{number}") for number in range(count)]
            if set(sums) != {place.template.expected.source["events"]}:
                outcome.problems.append(f"tables hold {[found.rows for found in sums]} rows")
    return outcome


def one_target(lane: Lane, count: int) -> Outcome:
    """So many pipelines append to one table at the same time: each adds its rows, once (D6)."""
    outcome = Outcome(attempts=count)
    with lane.cell("append") as place:
        attempts = []
        for number in range(count):
            folder = place.folder / f"p{number}"
            folder.mkdir()
            document = pipeline(place.mode, f"faults_{number}", lane.source(place.mode), place.dsn)
            document["source"]["streams"] = [{"name": "orders"}]
            (folder / "pipeline.yaml").write_text(yaml.safe_dump(document))
            attempts.append(lane.launcher.start(folder, ["run", "pipeline.yaml", "--output", "json", "--workers", "2"]))
        codes = [attempt.wait() for attempt in attempts]
        if set(codes) != {0}:
            outcome.problems.append(f"exit codes {codes}")
            outcome.evidence = [{"exit": a.exit_code, "stderr": a.stderr[-800:]} for a in attempts if a.exit_code]
        with connect(place.dsn) as connection:
            found = sum_of(connection, "raw.orders")
        wanted = place.template.expected.after("orders", count)
        if found != wanted:
            outcome.problems.append(f"raw.orders has {found.rows} rows; the model has {wanted.rows}")
        outcome.problems += oracle.leftover_problems(place)
    return outcome
