"""Whether to try again, and after how long. Pure but for the dice."""

from __future__ import annotations

import random
from dataclasses import dataclass

from rapidbyte.errors import RapidbyteError


@dataclass(frozen=True, slots=True, kw_only=True)
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
    if error.retry == "never" or policy.max_retries == 0:
        return None
    if error.retry == "transaction" and failures > policy.max_retries:
        return None
    pause = min(policy.longest_pause_s, 0.1 * 2 ** min(failures, 10))
    pause *= 0.5 + 0.5 * (random.random() if dice is None else dice)  # noqa: S311 - jitter, no secret
    if error.retry == "connection" and failing_s + pause > policy.connection_seconds:
        return None
    return pause
