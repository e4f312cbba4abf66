"""`--events FILE`: what happens in a run, one JSON object a line, while it happens. docs/events.md has every field."""

from __future__ import annotations

import json
import os
import stat
import threading
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from rapidbyte.errors import ConfigError
from rapidbyte.events import (
    BlockMoved,
    Event,
    Notice,
    PartitionLoaded,
    PhaseStarted,
    Retried,
    RunFinished,
    RunStarted,
    StreamFinished,
    StreamStarted,
)
from rapidbyte.report.escape import masked

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

NAMES: dict[type[Event], str] = {
    RunStarted: "run_started",
    PhaseStarted: "phase_started",
    StreamStarted: "stream_started",
    PartitionLoaded: "partition_loaded",
    Retried: "retried",
    StreamFinished: "stream_finished",
    RunFinished: "run_finished",
    Notice: "notice",
}
"""The value of `event`. Blocks are not told: there are thousands a second."""


class EventsFile:
    """The file, open. `write` is called by any thread; every line is in the kernel's hands when it returns.

    A file that takes nothing any more is told once, by `tell`, and the run goes on without it.
    """

    def __init__(self, path: Path, descriptor: int, tell: Callable[[str], None]) -> None:
        self._path = path
        self._descriptor: int | None = descriptor
        self._tell = tell
        self._lock = threading.Lock()

    def write(self, event: Event) -> None:
        """One line for an event that has a name; whole, or none of it."""
        if isinstance(event, BlockMoved):
            return
        line = event_line(event, datetime.now(UTC)).encode()
        with self._lock:
            if self._descriptor is None:
                return
            try:
                _write_whole(self._descriptor, line)
            except OSError as error:
                os.close(self._descriptor)
                self._descriptor = None
                self._tell(f"events are no longer written to {self._path}: {error.strerror}; the run goes on")

    def close(self) -> None:
        """Closes it. May be repeated."""
        with self._lock:
            if self._descriptor is not None:
                os.close(self._descriptor)
                self._descriptor = None


def event_line(event: Event, moment: datetime) -> str:
    """`{"event": ..., "at": ..., the event's own fields}` and a line feed; ASCII, without secrets."""
    at = moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    document: dict[str, Any] = masked({"event": NAMES[type(event)], "at": at, **asdict(event)})
    return json.dumps(document) + "\n"


def open_events_file(path: Path, tell: Callable[[str], None]) -> EventsFile:
    """A new, empty file of mode 0600 under that name; one that was there is emptied.

    Raises ConfigError where it cannot be written, or the name is a link, a folder, a pipe or a device.
    """
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
        descriptor = os.open(path, flags, 0o600)
    except (OSError, ValueError) as error:
        raise _unwritable(path, getattr(error, "strerror", None) or str(error)) from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise _unwritable(path, "it is not a regular file")
    os.fchmod(descriptor, 0o600)
    os.ftruncate(descriptor, 0)
    return EventsFile(path, descriptor, tell)


def _write_whole(descriptor: int, line: bytes) -> None:
    """All of the line. Raises OSError; then nothing of it is in the file, as far as that can be undone."""
    before = os.fstat(descriptor).st_size
    rest = memoryview(line)
    try:
        while rest:
            rest = rest[os.write(descriptor, rest) :]
    except OSError:
        os.ftruncate(descriptor, before)
        raise


def _unwritable(path: Path, why: str) -> ConfigError:
    return ConfigError(
        f"events cannot be written to {path}: {why}",
        code="events_unwritable",
        hint="nothing was started; give --events the name of a file in a folder that you may write",
    )
