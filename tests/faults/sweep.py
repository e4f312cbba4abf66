"""P1: a run is broken at a failpoint, broken again, and run to its end; everything is compared after each attempt."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import psycopg

from tests.faults import oracle
from tests.faults.cells import Blow, Cell, Passings
from tests.faults.lane import TABLES, Lane, Place, connect, published
from tests.faults.proxy import Cut, Proxy
from tests.faults.reader import Reader
from tests.faults.spawn import Attempt

MOST_ATTEMPTS = 3
LAST = "the last run"


@dataclass(slots=True)
class Outcome:
    """How a cell ended."""

    problems: list[str] = field(default_factory=list)
    fired: list[str] = field(default_factory=list)
    """Names of failpoints that fired."""
    evidence: list[dict[str, object]] = field(default_factory=list)
    reads: int = 0
    attempts: int = 0
    skipped: str = ""
    """Why it cannot be carried out on this machine; then nothing has been."""


def passings_of(lane: Lane, mode: str, workers: int) -> dict[str, int]:
    """How often an undisturbed run passes each failpoint."""
    with lane.cell(mode) as place:
        attempt = place.start(workers=workers, failpoints="*=note")
        assert attempt.wait() == 0, f"{mode}, undisturbed: {attempt.stderr}"
        return dict(Counter(line.split("#")[0] for line in attempt.fired))


def learn(lanes: Sequence[Lane], modes: tuple[str, ...], workers: tuple[int, ...]) -> Passings:
    """Of every mode and number of workers, on all lanes at once."""
    pairs = [(mode, count) for mode in modes for count in workers]

    def of_lane(number: int) -> Passings:
        return {(mode, count): passings_of(lanes[number], mode, count) for mode, count in pairs[number :: len(lanes)]}

    found: Passings = {}
    with ThreadPoolExecutor(len(lanes)) as pool:
        for part in pool.map(of_lane, range(len(lanes))):
            found.update(part)
    return found


def run_cell(lane: Lane, cell: Cell) -> Outcome:
    """Breaks and mends one destination. Every problem found is a sentence."""
    outcome = Outcome()
    with lane.cell(cell.mode) as place:
        with Reader(place) as reader:
            _run_attempts(place, cell, outcome)
        outcome.problems += reader.problems()
        outcome.reads = reader.reads
        outcome.attempts = len(place.attempts)
        if outcome.problems:
            outcome.evidence = place.evidence()
    return outcome


def _run_attempts(place: Place, cell: Cell, outcome: Outcome) -> None:
    blows: list[Blow | None] = [cell.first]
    if cell.second is not None:
        blows.append(cell.second)
    blows.append(None)
    for number, blow in enumerate(blows):
        if is_finished(place):
            break  # without a key, running it again is another load
        attempt, seen = run_once(place, cell.workers, blow)
        outcome.problems += [f"run {number + 1}: {problem}" for problem in seen]
        outcome.fired += [line.split("#")[0] for line in attempt.fired]
    outcome.problems += end_problems(place)


def run_once(place: Place, workers: int, blow: Blow | None, *, source: str | None = None) -> tuple[Attempt, list[str]]:
    """One run with one blow; what was wrong with it, and with the rows afterwards."""
    with connect(place.dsn) as connection:
        before = published(connection)
    failpoints = blow.text if blow else ""
    if blow is not None and blow.action == "reset":
        attempt = _reset(place, workers, blow, source)
    else:
        attempt = place.start(workers=workers, failpoints=failpoints, source=source)
        if blow is not None and blow.action in ("stop", "terminate"):
            strike(place, attempt, blow)
        attempt.wait()
    return attempt, attempt_problems(place, attempt, before, blow.action if blow else None)


def _reset(place: Place, workers: int, blow: Blow, source: str | None) -> Attempt:
    """A run whose network resets the connections that a failpoint is about while it stands there."""
    parameters = place.lane.server.parameters
    with Proxy(host=parameters["host"], port=parameters["port"], cut=Cut()) as proxy:
        attempt = place.start(
            workers=workers,
            failpoints=blow.text,
            source=proxy.through(source or place.lane.source(place.mode)),
            destination=proxy.through(place.dsn),
        )
        if attempt.wait_reached():
            proxy.reset(sessions_at(blow.point).removesuffix("%"))
            attempt.let_go()
        attempt.wait()
    return attempt


def attempt_problems(place: Place, attempt: Attempt, before: dict[str, int], action: str | None) -> list[str]:
    """What one ended run did and said, against what is there now."""
    problems = oracle.quiet([place.dsn])
    with connect(place.dsn) as connection:
        after = published(connection)
    problems += oracle.exit_problems(attempt, action)
    problems += oracle.output_problems(attempt)
    problems += oracle.claim_problems(attempt, before, after)
    return problems + oracle.state_problems(place, _since_template(place, after))


def end_problems(place: Place) -> list[str]:
    """After the last run everything is published once, and nothing is left over."""
    with connect(place.dsn) as connection:
        publishes = _since_template(place, published(connection))
    problems = [
        f"stream {stream} was published {times} times"
        for stream, times in publishes.items()
        if not _right(place, times)
    ]
    problems += oracle.leftover_problems(place)
    problems += oracle.cursor_problems(place)
    return problems + oracle.catalog_problems(place, publishes)


def _right(place: Place, times: int) -> bool:
    """A replace may be published again by each run; what adds rows may not, unless it is a new load by rule."""
    return times == 1 if place.mode.exactly_once else times >= 1


def is_finished(place: Place) -> bool:
    """An append without a key that is published in all its streams: another run would be another load."""
    if place.mode.result != "added" or place.mode.exactly_once:
        return False
    with connect(place.dsn) as connection:
        return all(_since_template(place, published(connection)).values())


def _since_template(place: Place, found: dict[str, int]) -> dict[str, int]:
    return {table: found[table] - place.template.loads[table] for table in TABLES}


def strike(place: Place, attempt: Attempt, blow: Blow) -> None:
    """Waits until the run stands at its failpoint, then kills it, or ends its sessions and lets it go on."""
    if not attempt.wait_reached():
        return
    if blow.action == "stop":
        attempt.signal(signal.SIGKILL)
        return
    terminate(place, sessions_at(blow.point))
    attempt.let_go()


def sessions_at(point: str) -> str:
    """The application_name of the sessions that a failpoint's code is about."""
    if point.startswith("w."):
        return "rapidbyte worker-%"
    return "rapidbyte reader-%" if point.startswith("snap.") else "rapidbyte leader%"


def terminate(place: Place, name: str) -> int:
    """Ends sessions at both ends, as an administrator would; returns how many."""
    count = 0
    for dsn in (place.dsn, place.lane.source(place.mode)):
        with psycopg.connect(dsn, autocommit=True) as connection:
            row = connection.execute(
                "SELECT count(pg_terminate_backend(pid, 2000)) FROM pg_stat_activity"
                " WHERE application_name LIKE %s AND datname = current_database()",
                [name],
            ).fetchone()
            count += row[0] if row else 0
    return count
