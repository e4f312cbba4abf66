"""Named places where a test can make a run fail. Off unless RAPIDBYTE_FAILPOINT is set; no configuration can set it.

RAPIDBYTE_FAILPOINT is `name[#occurrence]=action`, several with commas between; occurrences count from 1, which is the
default; `*` means each. Actions:

    raise       FailpointError, which is a defect of ours to everybody: exit code 70
    fail        DestinationError, which is never tried again: exit code 4
    exit        the process is gone at once, as by kill -9: exit code 137
    stop        waits until the test has done what it wants to do to this process or to its sessions
    note        goes on

RAPIDBYTE_FAILPOINT_DIR is a folder in which every failpoint that fires adds its line to `fired`, and in which `stop`
makes a file `reached` and waits for a file `go`. docs/development/failpoints.md tells how the tests use them.
"""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Final, Literal, get_args

from rapidbyte.errors import ConfigError, DestinationError
from rapidbyte.values import frozen

FAILPOINTS: Final[dict[str, str]] = {
    "cfg.parsed": "the pipeline file is read, nothing is connected",
    "pre.connected": "both servers have answered",
    "lease.before": "the ledger is there, the lease is not yet ours",
    "lease.taken": "the lease is ours, and committed",
    "ddl.begin": "the transaction that prepares a stream has begun",
    "ddl.after_stage": "the stage is made, and not committed",
    "ddl.committed": "the stage and its record in the ledger are committed",
    "snap.exported": "the source's snapshot is taken, no partition is read",
    "w.connected": "a worker is connected, and has asked nothing",
    "w.copy_begin": "a worker's COPY has begun",
    "w.copy_mid": "a worker has sent the first block",
    "w.copy_end": "a worker has sent everything, the server has not said how many rows",
    "w.receipt": "the partition's receipt is inserted",
    "w.commit_before": "a worker is about to send COMMIT",
    "w.commit_sent": "a worker has sent COMMIT, and has no answer",
    "w.commit_acked": "a worker's COMMIT is acknowledged",
    "join.all_done": "all partitions of a stream are committed",
    "pub.built": "indexes of large stages are built and committed, nothing is published",
    "pub.begin": "the transaction that publishes has begun",
    "pub.fence_ok": "the lease and the load are still ours",
    "pub.deleted": "what is to go from the target is gone, uncommitted",
    "pub.inserted": "the target has its new rows, uncommitted",
    "pub.state": "cursor and ledger say that the load is published, uncommitted",
    "pub.commit_before": "the leader is about to send COMMIT",
    "pub.commit_sent": "the leader has sent COMMIT, and has no answer",
    "pub.acked": "the leader's COMMIT is acknowledged",
    "cleanup.mid": "everything is published or given up, the leader is still connected",
    "result.before_write": "the run has ended, nobody has been told",
}
"""Every failpoint of the package, in the order in which a run passes them."""

Action = Literal["raise", "fail", "exit", "stop", "note"]

WAIT_SECONDS = 120.0
"""How long `stop` waits for the test; then the process ends with exit code 99."""


class FailpointError(Exception):
    """What `raise` raises: nothing of ours expects it."""


@frozen
class Trigger:
    """What shall happen, and at which passing."""

    name: str
    occurrence: int | None
    """From 1; None: at each."""
    action: Action


class _Armed:
    """What is armed in this process, and how often each failpoint was passed. Threads pass them, too."""

    def __init__(self, text: str, folder: str | None) -> None:
        self._triggers = parse(text)
        self._folder = Path(folder) if folder else None
        self._passed: Counter[str] = Counter()
        self._lock = threading.Lock()

    def reach(self, name: str) -> None:
        """Counts the passing, and does what it triggers."""
        with self._lock:
            self._passed[name] += 1
            passing = self._passed[name]
        for trigger in self._triggers:
            if trigger.name in (name, "*") and trigger.occurrence in (None, passing):
                self._note(name, passing, trigger.action)
                self._act(name, trigger.action)

    def _note(self, name: str, passing: int, action: Action) -> None:
        if self._folder is not None:
            line = f"{name}#{passing}={action}\n".encode()
            descriptor = os.open(self._folder / "fired", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            try:
                os.write(descriptor, line)
            finally:
                os.close(descriptor)

    def _act(self, name: str, action: Action) -> None:
        match action:
            case "raise":
                raise FailpointError(name)
            case "fail":
                raise DestinationError(f"failpoint {name}", code="failpoint", safe_to_retry=True)
            case "exit":
                os._exit(137)
            case "stop":
                self._wait()
            case "note":
                pass

    def _wait(self) -> None:
        """Says that it is here, and waits to be let go. The test may also end the process meanwhile."""
        if self._folder is None:
            raise ConfigError("RAPIDBYTE_FAILPOINT: `stop` needs RAPIDBYTE_FAILPOINT_DIR", code="failpoint_unknown")
        until = time.monotonic() + WAIT_SECONDS
        (self._folder / "reached").touch()
        while not (self._folder / "go").exists():
            if time.monotonic() > until:
                os._exit(99)
            time.sleep(0.002)


def parse(text: str) -> tuple[Trigger, ...]:
    """The triggers of RAPIDBYTE_FAILPOINT. Pure. Raises ConfigError for a name or an action that there is not."""
    return tuple(_trigger(part.strip()) for part in text.split(",") if part.strip())


def _trigger(part: str) -> Trigger:
    place, _, action = part.partition("=")
    name, _, occurrence = place.partition("#")
    if name not in FAILPOINTS and name != "*":
        raise ConfigError(f"RAPIDBYTE_FAILPOINT: there is no failpoint {name!r}", code="failpoint_unknown")
    if occurrence not in ("", "*") and not (occurrence.isdecimal() and int(occurrence) > 0):
        raise ConfigError(f"RAPIDBYTE_FAILPOINT: {occurrence!r} is no occurrence", code="failpoint_unknown")
    for known in get_args(Action):
        if action == known:
            number = None if occurrence == "*" or name == "*" else int(occurrence or 1)
            return Trigger(name=name, occurrence=number, action=known)
    raise ConfigError(f"RAPIDBYTE_FAILPOINT: there is no action {action!r}", code="failpoint_unknown")


class _Switch:
    """Whether failpoints are on in this process. What the environment says is read at the first that is passed."""

    def __init__(self) -> None:
        self.on = bool(os.environ.get("RAPIDBYTE_FAILPOINT"))
        self._armed: _Armed | None = None
        self._lock = threading.Lock()

    def reach(self, name: str) -> None:
        """Does what the environment asks for at this place."""
        with self._lock:
            if self._armed is None:
                self.on = False  # when it cannot be read, that is told once
                self._armed = _Armed(os.environ["RAPIDBYTE_FAILPOINT"], os.environ.get("RAPIDBYTE_FAILPOINT_DIR"))
                self.on = True
        self._armed.reach(name)


_switch = _Switch()


def failpoint(name: str) -> None:
    """Nothing, unless RAPIDBYTE_FAILPOINT was set when this process started: then what it says about this name.

    Raises ConfigError when it cannot be read, at whichever failpoint comes first.
    """
    if _switch.on:
        _switch.reach(name)


def arm_from_environment() -> None:
    """Looks at the environment again: for tests that start runs by forking a process that has imported everything."""
    _switch.__init__()
