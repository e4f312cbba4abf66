"""Peak memory of processes that run, read from the operating system while they do."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

SAMPLE_SECONDS = 0.05
"""Between two looks at the processes that are known: a tenth of a millisecond each."""

CHILDREN_SECONDS = 0.5
"""Between two looks for their children, which cost milliseconds."""


class PeakMemory:
    """Watches processes and all their descendants until it is left; then `peak_mb` is known.

    Not `ru_maxrss`: for a process that was started by a larger one it is the larger one's (the kernel keeps the
    high-water mark of the memory that exec replaced), so that psql would seem to need what Python does.
    """

    def __init__(self, pids: Sequence[int]) -> None:
        self._roots = tuple(pids)
        self._pids: set[int] = set(pids)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="peak memory", daemon=True)
        self.peak_mb = 0.0
        """Megabytes: the largest sum over the processes at one moment, or the largest of one alone."""

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        looks = 0
        every = round(CHILDREN_SECONDS / SAMPLE_SECONDS)
        while not self._over.wait(SAMPLE_SECONDS):
            looks += 1
            if looks % every == 0:
                self._find_children()
            sizes = [size for pid in self._pids if (size := resident_mb(pid)) is not None]
            if sizes:
                self.peak_mb = max(self.peak_mb, sum(now for now, _ in sizes), *(peak for _, peak in sizes))

    def _find_children(self) -> None:
        for pid in self._roots:
            # A process that has ended meanwhile has no children any more.
            with contextlib.suppress(psutil.Error):
                self._pids |= {child.pid for child in psutil.Process(pid).children(recursive=True)}


def resident_mb(pid: int) -> tuple[float, float] | None:
    """(now, highest so far) of one process in MB; None where it has ended. Without /proc the second is the first."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return _resident_without_proc(pid)
    except ProcessLookupError:
        return None
    sizes = {name: value for name, _, value in (line.partition(":") for line in status.splitlines())}
    if "VmRSS" not in sizes or "VmHWM" not in sizes:
        return None
    return int(sizes["VmRSS"].split()[0]) / 1024, int(sizes["VmHWM"].split()[0]) / 1024


def _resident_without_proc(pid: int) -> tuple[float, float] | None:
    try:
        size = psutil.Process(pid).memory_info().rss / 1024 / 1024
    except psutil.Error:
        return None
    return size, size
