"""P3: the network is cut at a byte, or between a COMMIT and its answer; then everything is run again."""

from __future__ import annotations

import random
from typing import Literal

from tests.faults.lane import Lane, Place, connect, published
from tests.faults.proxy import Cut, Proxy
from tests.faults.reader import Reader
from tests.faults.sweep import Outcome, attempt_problems, end_problems, is_finished, run_once

Side = Literal["source", "destination"]
WORKERS = 2
SLOW_SECONDS = 300.0
PUBLISHING = b"UPDATE _rapidbyte.loads SET state"
"""What the leader's session has sent when its next COMMIT is the one that publishes."""


def measure(lane: Lane, mode: str, side: Side) -> dict[str, int]:
    """Bytes up and down of an undisturbed run."""
    with lane.cell(mode) as place, _proxy(place, Cut()) as proxy:
        attempt = place.start(workers=WORKERS, **_through(place, proxy, side))
        assert attempt.wait() == 0, attempt.stderr
        return dict(proxy.counts)


def offsets(dice: random.Random, total: int, count: int) -> list[int]:
    """So many places between the first byte and the last, one in each stretch of equal length."""
    return [int((number + dice.random()) * total / count) for number in range(count)]


def cut_run(lane: Lane, mode: str, side: Side, cut: Cut) -> Outcome:
    """A run that is cut; run again without the proxy, until it is done."""
    outcome = Outcome()
    with lane.cell(mode) as place:
        with Reader(place) as reader:
            with connect(place.dsn) as connection:
                before = published(connection)
            with _proxy(place, cut) as proxy:
                attempt = place.start(workers=WORKERS, **_through(place, proxy, side))
                attempt.wait()
            outcome.problems += [f"run 1: {problem}" for problem in attempt_problems(place, attempt, before, "signal")]
            if cut.commit_of is not None:
                if not proxy.happened:
                    outcome.problems.append("the COMMIT to be cut was not seen")
                if attempt.exit_code != 0:
                    outcome.problems.append(f"a lost answer to COMMIT is looked up; exit code {attempt.exit_code}")
            if not is_finished(place):
                _, problems = run_once(place, WORKERS, None)
                outcome.problems += [f"run 2: {problem}" for problem in problems]
            outcome.problems += end_problems(place)
        outcome.problems += reader.problems()
        outcome.reads, outcome.attempts = reader.reads, len(place.attempts)
        if outcome.problems:
            outcome.evidence = place.evidence()
    return outcome


SLOW = Cut(delay_s=0.02, stall_s=3.0)
"""Each piece takes its turn of 20 ms in either direction, and now and then nothing passes for three seconds."""


def slow_run(lane: Lane, mode: str) -> Outcome:
    """A run over a slow network to both ends succeeds at once: nothing takes slowness for an end."""
    outcome = Outcome()
    with lane.cell(mode) as place:
        with Reader(place) as reader:
            with connect(place.dsn) as connection:
                before = published(connection)
            with _proxy(place, SLOW) as proxy:
                ends = {**_through(place, proxy, "source"), **_through(place, proxy, "destination")}
                attempt = place.start(workers=WORKERS, **ends)
                attempt.wait(SLOW_SECONDS)
            if attempt.exit_code != 0 or (attempt.document or {}).get("retry_count"):
                outcome.problems.append(
                    f"exit code {attempt.exit_code}, {(attempt.document or {}).get('retry_count')} retries"
                )
            outcome.problems += attempt_problems(place, attempt, before, None) + end_problems(place)
        outcome.problems += reader.problems()
        outcome.reads, outcome.attempts = reader.reads, len(place.attempts)
        if outcome.problems:
            outcome.evidence = place.evidence()
    return outcome


def _proxy(place: Place, cut: Cut) -> Proxy:
    parameters = place.lane.server.parameters
    return Proxy(host=parameters["host"], port=parameters["port"], cut=cut)


def _through(place: Place, proxy: Proxy, side: Side) -> dict[str, str]:
    if side == "destination":
        return {"destination": proxy.through(place.dsn)}
    return {"source": proxy.through(place.lane.source(place.mode))}
