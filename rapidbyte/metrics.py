"""Where the time went: laps that are measured where they happen, and the process's CPU over the run."""

from __future__ import annotations

import os
import resource
import sys
import threading
import time
from types import TracebackType
from typing import Literal, Self

import psutil

from rapidbyte.values import frozen

Activity = Literal["connect", "wait_source", "wait_queue", "transform", "encode", "write", "commit"]


@frozen
class WorkTimes:
    """Seconds one worker spent on each activity; they add up to the time it was observed."""

    connect_s: float = 0.0
    """Opening the connection and closing it."""
    wait_source_s: float = 0.0
    """The worker could have written, and the source had delivered nothing."""
    wait_queue_s: float = 0.0
    """Between partitions: taking one up, putting it down, none to be had, waiting to try one again."""
    transform_s: float = 0.0
    encode_s: float = 0.0
    write_s: float = 0.0
    """Handing bytes to the destination, and waiting for it to take them."""
    commit_s: float = 0.0
    """End of COPY, receipt and COMMIT."""

    @property
    def active_s(self) -> float:
        """Transform + encode + write + commit."""
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


@frozen
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

    def book(self, activity: Activity, seconds: float) -> None:
        """Books so many seconds of those since the last lap, measured where they were spent, as `activity`."""
        self._seconds[activity] = self._seconds.get(activity, 0.0) + seconds
        self._last += seconds

    def skip(self) -> None:
        """Books nothing for what has passed since the last lap: it was measured elsewhere."""
        self._last = time.monotonic()

    def times(self) -> WorkTimes:
        """The laps so far."""
        return WorkTimes(**{f"{name}_s": seconds for name, seconds in self._seconds.items()})


@frozen
class CpuTimes:
    """CPU seconds of this process and its children since the meter was entered, and their peak memory."""

    user_s: float
    system_s: float
    peak_rss_bytes: int
    samples: int
    elapsed_s: float
    cores: int


def available_cores() -> int:
    """Cores this process may run on: its affinity, not the machine's count."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _cpu_of(process: psutil.Process) -> tuple[float, float]:
    """User and system seconds of a process, its ended children, and its living descendants."""
    times = process.cpu_times()
    user, system = times.user + times.children_user, times.system + times.children_system
    for child in process.children(recursive=True):
        try:
            spent = child.cpu_times()
        except psutil.NoSuchProcess:
            continue  # it has just ended: its parent's figures have it now
        user, system = user + spent.user, system + spent.system
    return user, system


def _rss_of_children(process: psutil.Process) -> int:
    total = 0
    for child in process.children(recursive=True):
        try:
            total += child.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return total


class MachineLoad:
    """How busy the cores are that this process may use, whoever uses them."""

    def __init__(self) -> None:
        self._last = self._read()

    def _read(self) -> tuple[float, float]:
        allowed = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
        cores = [times for core, times in enumerate(psutil.cpu_times(percpu=True)) if not allowed or core in allowed]
        idle = sum(times.idle + getattr(times, "iowait", 0.0) for times in cores)
        # Linux counts guests' time in user's as well.
        total = sum(sum(times) - getattr(times, "guest", 0.0) - getattr(times, "guest_nice", 0.0) for times in cores)
        return idle, total

    def busy(self) -> float:
        """Share since it was asked last; 0 where no time has passed."""
        idle, total = self._read()
        (idle_before, total_before), self._last = self._last, (idle, total)
        passed = total - total_before
        return max(0.0, 1.0 - (idle - idle_before) / passed) if passed > 0 else 0.0


class CpuMeter:
    """Measures while it is entered. A thread of its own samples memory; CPU comes from the kernel's counters."""

    SAMPLE_SECONDS = 0.25
    """Asking for our own memory costs 0.03 ms of CPU (psutil 7.2, Linux)."""

    SAMPLES_A_CENSUS = 8
    """Looking for children costs 6 ms with 160 processes on the machine, since all of them are asked for their parents:
    every 2 s it is 0.3 % of a core; at every sample it was 2.3 %."""

    def __init__(self) -> None:
        self._process = psutil.Process()
        self._stop = threading.Event()
        self._peak = 0
        self._children_bytes = 0
        self._samples = 0
        self._thread = threading.Thread(target=self._sample, name="cpu-meter", daemon=True)

    def __enter__(self) -> Self:
        self._started = time.monotonic()
        self._user, self._system = _cpu_of(self._process)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def _sample(self) -> None:
        while True:
            if self._samples % self.SAMPLES_A_CENSUS == 0:
                self._children_bytes = _rss_of_children(self._process)
            self._peak = max(self._peak, self._process.memory_info().rss + self._children_bytes)
            self._samples += 1
            if self._stop.wait(self.SAMPLE_SECONDS):
                return

    def read(self) -> CpuTimes:
        """The figures so far; may be asked while entered and afterwards."""
        user, system = _cpu_of(self._process)
        own_peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
        return CpuTimes(
            user_s=user - self._user,
            system_s=system - self._system,
            peak_rss_bytes=max(self._peak, own_peak),
            samples=self._samples,
            elapsed_s=time.monotonic() - self._started,
            cores=available_cores(),
        )
