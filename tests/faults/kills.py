"""P2: SIGKILL at random moments: of the run, of one backend, of the server. Frozen runs that thaw too late."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import statistics
import time
from collections.abc import Callable

import psycopg

from tests.faults import oracle
from tests.faults.lane import Lane, Place, connect, published, stop_server
from tests.faults.reader import Reader
from tests.faults.spawn import Attempt, Processes
from tests.faults.sweep import Outcome, attempt_problems, end_problems, is_finished, run_once

WORKERS = 2
BACK_SECONDS = 40.0


def median_seconds(lane: Lane, mode: str, *, runs: int, as_users_do: bool = False) -> float:
    """Of so many undisturbed runs."""
    taken: list[float] = []
    launcher = Processes(lane.package) if as_users_do else lane.launcher
    for _ in range(runs):
        with lane.cell(mode) as place:
            started = time.monotonic()
            assert place.start(workers=WORKERS, launcher=launcher).wait() == 0
            taken.append(time.monotonic() - started)
    return statistics.median(taken)


def kill_run(lane: Lane, mode: str, after_s: float, *, as_users_do: bool) -> Outcome:
    """The whole process group is killed at that moment; the next run does what is left."""

    def blow(place: Place, attempt: Attempt) -> None:
        if not attempt.ended(after_s):
            attempt.signal(signal.SIGKILL)

    return _broken(lane, mode, blow, Processes(lane.package) if as_users_do else None)


def kill_backend(lane: Lane, mode: str, after_s: float, seed: int) -> Outcome:
    """One of the run's backends is killed at that moment: the server recovers, and empties what is unlogged."""

    dice = random.Random(f"{seed} {after_s}")

    def blow(place: Place, attempt: Attempt) -> None:
        if attempt.ended(after_s):
            return
        with psycopg.connect(place.dsn, autocommit=True) as connection:
            pids = connection.execute(
                "SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'rapidbyte%' ORDER BY pid"
            ).fetchall()
        if pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(dice.choice(pids)[0], signal.SIGKILL)

    return _broken(lane, mode, blow, elsewhere=dice.random() < 0.5)


def crash_at(lane: Lane, mode: str, point: str) -> Outcome:
    """The destination crashes while the run stands at this failpoint; the source stays up. The run goes on."""

    def blow(place: Place, attempt: Attempt) -> None:
        if not attempt.wait_reached():
            return
        connection = psycopg.connect(place.dsn, autocommit=True)
        os.kill(connection.info.backend_pid, signal.SIGKILL)
        with contextlib.suppress(psycopg.OperationalError):
            connection.execute("SELECT 1")
        connection.close()
        wait_back(place)
        attempt.let_go()

    return _broken(lane, mode, blow, elsewhere=True, failpoints=f"{point}=stop")


def stop_at_once(lane: Lane, mode: str, after_s: float, number: int = signal.SIGQUIT) -> Outcome:
    """The server is stopped as `pg_ctl stop -m immediate` does, or by SIGKILL, at that moment, and started again."""

    def blow(place: Place, attempt: Attempt) -> None:
        if attempt.ended(after_s):
            return
        pid = stop_server(lane, number)
        until = time.monotonic() + BACK_SECONDS
        while os.path.exists(f"/proc/{pid}") and time.monotonic() < until:  # noqa: PTH110
            time.sleep(0.02)
        _start_again(lane)

    return _broken(lane, mode, blow, elsewhere=True)


def _start_again(lane: Lane) -> None:
    """Backends of a server that was killed notice it when they next wait, and hold its memory until then."""
    from rapidbyte.errors import DestinationError
    from rapidbyte.pg.embedded import start_embedded

    until = time.monotonic() + BACK_SECONDS
    while True:
        try:
            start_embedded(lane.folder / "data")
            return
        except DestinationError:
            if time.monotonic() > until:
                raise
            time.sleep(0.2)


FENCED = 8


def freeze(lane: Lane, mode: str, point: str) -> Outcome:
    """A run is frozen past its lease (D3), another does the work; thawed, the first finds itself fenced."""
    outcome = Outcome()
    with lane.cell(mode) as place:
        with Reader(place) as reader:
            first = place.start(workers=WORKERS, failpoints=f"{point}=stop")
            if not first.wait_reached():
                return Outcome(problems=[f"{point} was not reached: {first.stderr[-600:]}"])
            first.signal(signal.SIGSTOP)
            with connect(place.dsn) as connection:  # as if its time had passed
                connection.execute("UPDATE _rapidbyte.leases SET expires_at = clock_timestamp() - interval '1 s'")
                before = published(connection)
            _, problems = run_once(place, WORKERS, None)
            outcome.problems += [f"run 2: {problem}" for problem in problems if not problem.startswith("sessions are")]
            with connect(place.dsn) as connection:
                after = published(connection)
            first.let_go()
            first.signal(signal.SIGCONT)
            first.wait()
            if first.exit_code != FENCED:
                outcome.problems.append(f"the thawed run: exit code {first.exit_code}, not 8: {first.stderr[-600:]}")
            outcome.problems += [f"run 1: {each}" for each in attempt_problems(place, first, after, "signal")]
            if published_by(place) != after or before == after:
                outcome.problems.append(f"published before {before}, by the second {after}, then {published_by(place)}")
            if not is_finished(place):  # a stage that the frozen run had locked is dropped by the next
                outcome.problems += [f"run 3: {each}" for each in run_once(place, WORKERS, None)[1]]
            outcome.problems += end_problems(place)
        outcome.problems += reader.problems()
        outcome.fired = [line.split("#")[0] for line in first.fired]
        outcome.reads, outcome.attempts = reader.reads, len(place.attempts)
        if outcome.problems:
            outcome.evidence = place.evidence()
    return outcome


def freeze_at(lane: Lane, mode: str, after_s: float) -> Outcome:
    """A run is frozen past its lease at any moment; whatever it had done by then, another does the work once."""
    outcome = Outcome()
    with lane.cell(mode) as place:
        with Reader(place) as reader:
            first = place.start(workers=WORKERS)
            frozen = not first.ended(after_s)
            if frozen:
                first.signal(signal.SIGSTOP)
                held = _expire(place)
                _, problems = run_once(place, WORKERS, None)
                outcome.problems += [f"run 2: {each}" for each in problems if not each.startswith("sessions are")]
                after = published_by(place)
                first.signal(signal.SIGCONT)
                first.wait()
                if held and published_by(place) != after:
                    outcome.problems.append(f"the thawed run published: {after}, then {published_by(place)}")
            outcome.problems += _thawed(place, first, held=frozen and held)
            if not is_finished(place):
                outcome.problems += [f"run 3: {each}" for each in run_once(place, WORKERS, None)[1]]
            outcome.problems += end_problems(place)
        outcome.problems += reader.problems()
        outcome.reads, outcome.attempts = reader.reads, len(place.attempts)
        if outcome.problems:
            outcome.evidence = place.evidence()
    return outcome


def _expire(place: Place) -> bool:
    """As if the time of every lease had passed; whether there was one that was held."""
    with connect(place.dsn) as connection:
        if connection.execute("SELECT to_regclass('_rapidbyte.leases') IS NULL").fetchone() == (True,):
            return False
        statement = (
            "UPDATE _rapidbyte.leases SET expires_at = clock_timestamp() - interval '1 s'"
            " WHERE expires_at > clock_timestamp()"
        )
        return connection.execute(statement).rowcount > 0


def _thawed(place: Place, first: Attempt, *, held: bool) -> list[str]:
    """What a run may end with: 0 if it had done its work, else 8. Without a lease: as it may be.

    One that had none when it was frozen goes on with targets that another has made, filled or replaced meanwhile.
    """
    problems = oracle.quiet([place.dsn]) + oracle.output_problems(first) + oracle.exit_problems(first, "signal")
    if first.exit_code not in ((0, FENCED) if held else (0, FENCED, 4, 5)):
        problems.append(f"exit code {first.exit_code}: {first.stderr[-600:]}")
    return [f"the thawed run: {problem}" for problem in problems]


def published_by(place: Place) -> dict[str, int]:
    """Published loads as the ledger has them now."""
    with connect(place.dsn) as connection:
        return published(connection)


Blowing = Callable[[Place, Attempt], None]


def _broken(
    lane: Lane,
    mode: str,
    blow: Blowing,
    launcher: Processes | None = None,
    *,
    elsewhere: bool = False,
    failpoints: str = "",
) -> Outcome:
    """A run that is struck, and the run after it. `elsewhere`: the source is on a server that stays up."""
    outcome = Outcome()
    with lane.cell(mode) as place:
        with Reader(place) as reader:
            with connect(place.dsn) as connection:
                before = published(connection)
            source = lane.source_elsewhere(place.mode) if elsewhere else None
            attempt = place.start(workers=WORKERS, launcher=launcher, source=source, failpoints=failpoints)
            blow(place, attempt)
            attempt.wait(120)
            wait_back(place)
            problems = attempt_problems(place, attempt, before, "signal")
            outcome.problems += [f"run 1: {problem}" for problem in problems]
            outcome.fired += [line.split("#")[0] for line in attempt.fired]
            if not is_finished(place):
                _, problems = run_once(place, WORKERS, None, source=source)
                outcome.problems += [f"run 2: {problem}" for problem in problems]
            outcome.problems += end_problems(place)
        outcome.problems += reader.problems()
        outcome.reads, outcome.attempts = reader.reads, len(place.attempts)
        if outcome.problems:
            outcome.evidence = place.evidence()
    return outcome


def wait_back(place: Place) -> None:
    """Until the server answers again."""
    until = time.monotonic() + BACK_SECONDS
    while True:
        try:
            with psycopg.connect(place.dsn):
                return
        except psycopg.OperationalError:
            if time.monotonic() > until:
                raise
            time.sleep(0.05)
