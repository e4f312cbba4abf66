"""Where the time went: laps that are measured where they happen, and the process's CPU over the run."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Literal

Activity = Literal["connect", "wait_source", "wait_queue", "transform", "encode", "write", "commit"]


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkTimes:
    """Seconds one worker spent on each activity; they add up to the time it was observed."""

    connect_s: float = 0.0
    wait_source_s: float = 0.0
    """The worker could have written, and the source had delivered nothing."""
    wait_queue_s: float = 0.0
    """Between partitions: taking one up, putting it down, none to be had."""
    transform_s: float = 0.0
    encode_s: float = 0.0
    write_s: float = 0.0
    """Handing bytes to the destination, and waiting for it to take them."""
    commit_s: float = 0.0
    """End of COPY, receipt and COMMIT."""

    @property
    def active_s(self) -> float:
        """transform + encode + write + commit."""
        return self.transform_s + self.encode_s + self.write_s + self.commit_s

    @property
    def total_s(self) -> float:
        """Everything: the worker's lifetime as far as it was observed."""
        return self.connect_s + self.wait_source_s + self.wait_queue_s + self.active_s

    def plus(self, other: WorkTimes) -> WorkTimes:
        """Field by field."""
        return WorkTimes(
            connect_s=self.connect_s + other.connect_s,
            wait_source_s=self.wait_source_s + other.wait_source_s,
            wait_queue_s=self.wait_queue_s + other.wait_queue_s,
            transform_s=self.transform_s + other.transform_s,
            encode_s=self.encode_s + other.encode_s,
            write_s=self.write_s + other.write_s,
            commit_s=self.commit_s + other.commit_s,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadTimes:
    """Seconds of the thread that reads: how much of it was waiting for the source's server."""

    blocked_s: float = 0.0
    """Nothing had arrived from the source."""
    busy_s: float = 0.0
    """Taking rows off the wire, decoding."""


class Laps:
    """One clock; each lap books the time since the last one under a name. Not shared between threads."""

    __slots__ = ("_last", "_seconds", "started_at")

    def __init__(self) -> None:
        self._seconds: dict[Activity, float] = {}
        self._last = self.started_at = time.monotonic()

    def lap(self, activity: Activity) -> None:
        """Books what has passed since the last lap as `activity`."""
        now = time.monotonic()
        self._seconds[activity] = self._seconds.get(activity, 0.0) + now - self._last
        self._last = now

    def times(self) -> WorkTimes:
        """The laps so far."""
        return WorkTimes(**{f"{name}_s": seconds for name, seconds in self._seconds.items()})
