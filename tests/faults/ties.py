"""P7: increments of rows with equal cursors, across all bounds of partitions and blocks, with kills between (E3)."""

from __future__ import annotations

import random
import signal

import psycopg

from tests.faults import oracle
from tests.faults.dataset import PIPELINE_SCHEMA
from tests.faults.lane import Lane, connect
from tests.faults.late import TABLE, start_increment
from tests.faults.oracle import sum_of
from tests.faults.sweep import Outcome

SIZES = (1, 2, 3, 999, 1000, 1001, 4096, 5000)
"""How many rows have the same cursor."""
KILL_WITHIN_SECONDS = 1.0


def tied_increments(lane: Lane, cursor: str, write_mode: str, increments: int, seed: int) -> Outcome:
    """So many increments; each run is killed at some moment and run again, and then the target has the source's rows.

    A time goes on where the last one of the increment before stood, a number with the next: what may be equal across
    a bound is what the documentation allows.
    """
    outcome = Outcome()
    dice = random.Random(f"{seed} {cursor} {write_mode}")
    name = f"ties_{seed}_{cursor}_{write_mode}"
    source = lane.create_database(name)
    try:
        lane.sql(source, TABLE)
        with lane.cell("append") as place, connect(source) as writer:
            number = 0
            for turn in range(increments):
                sizes = [dice.choice(SIZES) for _ in range(dice.randint(1, 3))]
                for size in sizes:
                    _insert(writer, turn, size)
                for killed in (True, False):
                    attempt = start_increment(lane, place.folder, source, place.dsn, cursor, write_mode, number)
                    number += 1
                    if killed and not attempt.ended(dice.uniform(0, KILL_WITHIN_SECONDS)):
                        attempt.signal(signal.SIGKILL)
                    attempt.wait()
                    outcome.problems += oracle.output_problems(attempt)
                    if not killed and attempt.exit_code != 0:
                        outcome.problems.append(f"exit code {attempt.exit_code}: {attempt.stderr[-400:]}")
                outcome.problems += oracle.quiet([place.dsn, source])
                with connect(place.dsn) as has:
                    wanted, found = sum_of(writer, "public.notes"), sum_of(has, f"{PIPELINE_SCHEMA}.notes")
                if wanted != found:
                    outcome.problems.append(f"after {turn + 1} increments {found.rows} rows of {wanted.rows}: {sizes}")
            outcome.attempts = number
    finally:
        lane.drop_database(name)
    return outcome


def _insert(writer: psycopg.Connection, turn: int, size: int) -> None:
    """Rows with one number, and, as they are of one statement, with one time."""
    writer.execute(
        "WITH next AS MATERIALIZED (SELECT nextval('public.notes_version_seq') AS version)"
        " INSERT INTO public.notes (version, happened, writer)"
        " SELECT version, statement_timestamp(), %s FROM next, generate_series(1, %s)",
        [turn, size],
    )
