"""Starts the command: as users do, or forked from a warm interpreter, which saves its start."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
RUN_SECONDS = 180.0
"""A run that has not ended by then hangs: it is killed, and the cell has failed."""


@dataclass(slots=True)
class Attempt:
    """One run of the command, under way or ended."""

    folder: Path
    pid: int = 0
    exit_code: int | None = None
    """Negative: the signal that ended it. None: it is still running."""
    hung: bool = False
    seconds: float = 0.0
    _ended: threading.Event = field(default_factory=threading.Event)
    _process: subprocess.Popen | None = None

    @property
    def stdout(self) -> str:
        return _text(self.folder / "stdout")

    @property
    def stderr(self) -> str:
        return _text(self.folder / "stderr")

    @property
    def fired(self) -> list[str]:
        """Lines of failpoints that fired: `w.receipt#2=exit`."""
        return _text(self.folder / "fired").split()

    @property
    def document(self) -> dict[str, Any] | None:
        """The JSON on stdout; None where there is none."""
        try:
            return json.loads(self.stdout)
        except ValueError:
            return None

    def signal(self, number: int, *, group: bool = True) -> None:
        """Sends a signal to the run."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, number) if group else os.kill(self.pid, number)

    def ended(self, seconds: float) -> bool:
        """Whether it has ended, within this time."""
        if self._process is not None:
            try:
                self.exit_code = self._process.wait(seconds)
            except subprocess.TimeoutExpired:
                return False
            return True
        return self._ended.wait(seconds)

    def wait(self, seconds: float = RUN_SECONDS) -> int:
        """Waits for its end; returns the exit code. One that hangs is killed."""
        if not self.ended(seconds):
            self.hung = True
            self.signal(signal.SIGCONT)
            self.signal(signal.SIGKILL)
            assert self.ended(20), "a killed run did not end"
        assert self.exit_code is not None
        return self.exit_code

    def wait_reached(self, seconds: float = RUN_SECONDS) -> bool:
        """Whether the failpoint with action `stop` was reached before the run ended."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if (self.folder / "reached").exists():
                return True
            if self.ended(0.003):
                return (self.folder / "reached").exists()
        return False

    def let_go(self) -> None:
        """The run may leave its failpoint."""
        (self.folder / "go").touch()


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except FileNotFoundError:
        return ""


def environment(folder: Path, failpoints: str = "", package: Path = ROOT, **more: str) -> dict[str, str]:
    """A small one of its own; nothing of the developer's."""
    found = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "TMPDIR": str(folder),
        "LANG": "C.UTF-8",
        "PYTHONPATH": str(package),
        "NO_COLOR": "1",
        **more,
    }
    if failpoints:
        found.update(RAPIDBYTE_FAILPOINT=failpoints, RAPIDBYTE_FAILPOINT_DIR=str(folder))
    return found


class Processes:
    """`python -m rapidbyte`, as users call it."""

    def __init__(self, package: Path = ROOT) -> None:
        self._package = package

    def start(self, folder: Path, arguments: list[str], failpoints: str = "", **more: str) -> Attempt:
        attempt = Attempt(folder)
        with (folder / "stdout").open("wb") as out, (folder / "stderr").open("wb") as err:
            attempt._process = subprocess.Popen(
                [sys.executable, "-m", "rapidbyte", *arguments],
                cwd=folder,
                env=environment(folder, failpoints, self._package, **more),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )
        attempt.pid = attempt._process.pid
        return attempt

    def close(self) -> None:
        pass


class Forks:
    """Runs forked from one warm interpreter. Used by any thread."""

    def __init__(self, package: Path = ROOT) -> None:
        self._package = package
        self._lock = threading.Lock()
        self._started: dict[int, threading.Event] = {}
        self._attempts: dict[int, Attempt] = {}
        self._numbers = 0
        self._server = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("warm.py"))],
            cwd="/",
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(package), "HOME": "/nonexistent", "LANG": "C.UTF-8"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert self._server.stdout is not None
        assert self._server.stdout.readline() == "ready\n", "the warm interpreter did not start"
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        assert self._server.stdout is not None
        for line in self._server.stdout:
            what, number, value = line.split()
            attempt = self._attempts[int(number)]
            if what == "started":
                attempt.pid = int(value)
                self._started[int(number)].set()
            else:
                attempt.exit_code = int(value)
                attempt._ended.set()

    def start(self, folder: Path, arguments: list[str], failpoints: str = "", **more: str) -> Attempt:
        attempt = Attempt(folder)
        with self._lock:
            self._numbers += 1
            number = self._numbers
            self._attempts[number] = attempt
            started = self._started[number] = threading.Event()
            request = {
                "number": number,
                "folder": str(folder),
                "arguments": arguments,
                "environment": environment(folder, failpoints, self._package, **more),
                "stdout": str(folder / "stdout"),
                "stderr": str(folder / "stderr"),
            }
            assert self._server.stdin is not None
            self._server.stdin.write(json.dumps(request) + "\n")
            self._server.stdin.flush()
        assert started.wait(60), "the warm interpreter does not answer"
        return attempt

    def close(self) -> None:
        assert self._server.stdin is not None
        self._server.stdin.close()
        self._server.wait(30)
