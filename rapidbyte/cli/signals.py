"""SIGINT and SIGTERM: the first asks the command to stop, the second leaves at once with exit code 7."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from typing import TYPE_CHECKING, NoReturn

from rapidbyte.errors import CancelledError

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopRequest:
    """What the signals of this process ask for.

    A command that can stop by itself watches `event`, after `take_over`; any other is ended by KeyboardInterrupt,
    which no `except` of ours or of a library mistakes for a failure, and which makes psycopg cancel its statement.

    The signals are read from a pipe by a thread of its own: Python's handlers run in the main thread alone, and one
    that waits for a lock without a timeout sleeps on when the kernel hands the signal to another thread (seen once in
    ten double signals, Python 3.11, Linux).
    """

    def __init__(self) -> None:
        self.event = threading.Event()
        self.signal_name = ""
        self._told: Callable[[str], None] | None = None

    def install(self) -> None:
        """Answers the signals from now on. Once, in the main thread; an ignored signal (nohup) stays ignored."""
        reading, writing = os.pipe()
        os.set_blocking(writing, False)
        signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
        for number in SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._interrupt)
        threading.Thread(target=self._watch, args=(reading,), name="rapidbyte signals", daemon=True).start()

    def retire(self) -> None:
        """The outcome is told: nothing is left to stop, and nothing shall be told of the end of the process."""
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)

    def take_over(self, told: Callable[[str], None]) -> threading.Event:
        """From now on the first signal sets the event that is returned, and is told; nothing is raised."""
        self._told = told
        return self.event

    def error(self) -> CancelledError:
        """The error of a command that was interrupted."""
        return CancelledError(f"stopped by {self.signal_name or 'the keyboard'}", code="cancelled")

    def _interrupt(self, number: int, _frame: FrameType | None) -> None:
        self.signal_name = self.signal_name or signal.Signals(number).name
        if self._told is None:
            raise KeyboardInterrupt

    def _watch(self, reading: int) -> None:
        while True:
            for number in os.read(reading, 64):
                if number in SIGNALS:
                    self._answer(signal.Signals(number).name)

    def _answer(self, name: str) -> None:
        if self.event.is_set():
            _leave()
        self.signal_name = self.signal_name or name
        self.event.set()
        if self._told is not None:
            self._told(f"{name}: stopping; a second one leaves at once")


def _leave() -> NoReturn:
    """Ends the process without another word: threads may be anywhere. The next run recovers as from a crash."""
    with contextlib.suppress(OSError):
        if os.isatty(2):
            os.write(2, b"\x1b[?25h\n")  # live progress had hidden the cursor
    os._exit(CancelledError.exit_code)
