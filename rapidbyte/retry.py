"""Whether to try again, and after how long; and the loop that does it."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from rapidbyte.errors import CancelledError, RapidbyteError
from rapidbyte.values import frozen

T = TypeVar("T")
Noted = Callable[[RapidbyteError, int], None]
"""Called before each retry with the failure and the number of tries so far."""


@frozen
class RetryPolicy:
    """How long a partition or a publish is tried again. Seconds.

    A refused transaction (serialization, deadlock, lock) is repeated `max_retries` times. A lost connection is
    repeated until `connection_seconds` have passed since the first loss: a crash restart of a small server refuses
    everybody for about 4 s, a failover takes longer.
    """

    max_retries: int = 3
    connection_seconds: float = 60.0
    longest_pause_s: float = 5.0


def pause_before_retry(
    error: RapidbyteError, policy: RetryPolicy, *, failures: int, failing_s: float, dice: float | None = None
) -> float | None:
    """Seconds to wait before the next try; None when there is to be none.

    `failures` counts the tries that failed, this one included; `failing_s` is the time since the first of them.
    Pauses double from 0.1 s, and each is drawn from its upper half, so that workers do not come back together.
    """
    if error.retry == "never" or policy.max_retries == 0 or error.context.commit_state != "before_commit":
        return None
    if error.retry == "transaction" and failures > policy.max_retries:
        return None
    pause = min(policy.longest_pause_s, 0.1 * 2 ** min(failures, 10))
    pause *= 0.5 + 0.5 * (random.random() if dice is None else dice)  # noqa: S311 - jitter, no secret
    if error.retry == "connection" and failing_s + pause > policy.connection_seconds:
        return None
    return pause


def repeat(attempt: Callable[[int], T], policy: RetryPolicy, *, stop: Callable[[], bool], noted: Noted) -> T:
    """What `attempt` returns, which is called with 1, 2, ... until it raises nothing or may not be tried again.

    Raises its last error, or CancelledError once `stop` says so before a try; `context.attempts` counts the tries.
    """
    failures, failed_first_s = 0, 0.0
    while True:
        if stop():
            raise CancelledError("it had not begun", code="stopped", attempts=max(1, failures))
        try:
            return attempt(failures + 1)
        except RapidbyteError as error:
            failures += 1
            error.context = replace(error.context, attempts=failures)
            failed_first_s = failed_first_s or time.monotonic()
            failing_s = time.monotonic() - failed_first_s
            pause = pause_before_retry(error, policy, failures=failures, failing_s=failing_s)
            if pause is None:
                raise
            noted(error, failures)
        _rest(pause, stop)


def _rest(seconds: float, stop: Callable[[], bool]) -> None:
    """Sleeps, but not past a stop."""
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0 and not stop():
        time.sleep(min(left, 0.1))
