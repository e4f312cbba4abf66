"""P7: an incremental source whose writers commit late: not one of their rows may be lost, or come twice."""

from __future__ import annotations

import random
import threading
import time
from pathlib import Path

import yaml

from tests.faults import oracle
from tests.faults.dataset import MODES, PIPELINE_SCHEMA, pipeline
from tests.faults.lane import PIPELINE, Lane, Place, connect
from tests.faults.oracle import sum_of
from tests.faults.spawn import Attempt
from tests.faults.sweep import Outcome

SETTLE_SECONDS = 20
CURSORS = ("version", "happened")
TABLE = "CREATE TABLE public.notes (id bigserial PRIMARY KEY, version bigserial, happened timestamptz, writer integer)"


def late_commits(lane: Lane, cursor: str, write_mode: str, seconds: float, seed: int) -> Outcome:
    """Writers for so many seconds, and runs all the while; after a last run the target has the source's rows."""
    outcome = Outcome()
    source = lane.create_database(f"late_{seed}_{cursor}_{write_mode}")
    try:
        lane.sql(source, TABLE)
        with lane.cell("append") as place:
            stop = threading.Event()
            writers = [
                threading.Thread(target=_write, args=(source, number, seed, stop), daemon=True) for number in range(3)
            ]
            for writer in writers:
                writer.start()
            until = time.monotonic() + seconds
            attempts: list[Attempt] = []

            def run_increment(place: Place = place, attempts: list[Attempt] = attempts) -> Attempt:
                attempt = start_increment(lane, place.folder, source, place.dsn, cursor, write_mode, len(attempts))
                attempt.wait()
                return attempt

            while time.monotonic() < until:
                attempts.append(run_increment())
            stop.set()
            for writer in writers:
                writer.join(30)
            attempts.append(run_increment())
            outcome.attempts = len(attempts)
            outcome.problems += [
                f"run {number + 1}: exit code {attempt.exit_code}: {attempt.stderr[-400:]}"
                for number, attempt in enumerate(attempts)
                if attempt.exit_code != 0
            ]
            with connect(source) as had, connect(place.dsn) as has:
                wanted, found = sum_of(had, "public.notes"), sum_of(has, f"{PIPELINE_SCHEMA}.notes")
            if wanted != found:
                outcome.problems.append(f"{found.rows} rows of {wanted.rows} arrived")
            if wanted.rows < 10:
                outcome.problems.append(f"the writers wrote {wanted.rows} rows only")
            outcome.problems += oracle.quiet([place.dsn, source])
    finally:
        lane.drop_database(f"late_{seed}_{cursor}_{write_mode}")
    return outcome


def start_increment(
    lane: Lane, where: Path, source: str, destination: str, cursor: str, write_mode: str, number: int
) -> Attempt:
    """Starts the next increment of `notes`, in a folder of its own."""
    folder = where / f"late{number}"
    folder.mkdir()
    document = pipeline(MODES["append"], PIPELINE, source, destination)
    document["source"]["streams"] = [
        {"name": "notes", "sync_mode": "incremental", "cursor_field": cursor, "tie_breaker_field": "id"}
    ]
    document["destination"].update(write_mode=write_mode, settle_timeout=f"{SETTLE_SECONDS}s")
    document["destination"]["config"]["schema"] = PIPELINE_SCHEMA
    (folder / "pipeline.yaml").write_text(yaml.safe_dump(document))
    return lane.launcher.start(folder, ["run", "pipeline.yaml", "--output", "json", "--workers", "2"])


def _write(source: str, number: int, seed: int, stop: threading.Event) -> None:
    """Hostile: takes its values early, reads first, inserts several times, commits late, or never."""
    dice = random.Random(seed * 10 + number)
    with connect(source) as connection:
        while not stop.is_set():
            connection.execute("BEGIN")
            if dice.random() < 0.5:
                connection.execute("SELECT count(*) FROM public.notes")
            if dice.random() < 0.5:
                connection.execute("SELECT nextval('public.notes_version_seq') AS early")
                value = "currval('public.notes_version_seq')"
            else:
                value = "nextval('public.notes_version_seq')"
            time.sleep(dice.uniform(0, 0.15))
            for _ in range(dice.randint(1, 3)):
                connection.execute(
                    f"INSERT INTO public.notes (version, happened, writer) VALUES ({value},"  # type: ignore[arg-type]
                    f" {dice.choice(('now()', 'clock_timestamp()'))}, {number})"
                )
                value = "nextval('public.notes_version_seq')"
                time.sleep(dice.uniform(0, 0.1))
            time.sleep(dice.choice((0.0, 0.05, dice.uniform(0, 1.0))))
            connection.execute("COMMIT" if dice.random() < 0.9 else "ROLLBACK")
