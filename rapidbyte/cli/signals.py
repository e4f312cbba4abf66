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
    """

    def __init__(self) -> None:
        self.event = threading.Event()
        self.signal_name = ""
        self._told: Callable[[str], None] | None = None

    def install(self) -> None:
        """Answers the signals from now on. Main thread only; a signal that is ignored (nohup) stays ignored."""
        if threading.current_thread() is not threading.main_thread():
            return
        for number in SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._answer)

    def take_over(self, told: Callable[[str], None]) -> threading.Event:
        """From now on the first signal sets the event that is returned, and is told; nothing is raised."""
        self._told = told
        return self.event

    def error(self) -> CancelledError:
        """The error of a command that was interrupted."""
        return CancelledError(
            f"stopped by {self.signal_name or 'the keyboard'}",
            code="cancelled",
        )

    def _answer(self, number: int, _frame: FrameType | None) -> None:
        if self.event.is_set():
            _leave()
        self.signal_name = signal.Signals(number).name
        self.event.set()
        if self._told is None:
            raise KeyboardInterrupt
        self._told(f"{self.signal_name}: stopping; a second one leaves at once")


def _leave() -> NoReturn:
    """Ends the process without another word: threads may be anywhere. The next run recovers as from a crash."""
    with contextlib.suppress(OSError):
        if os.isatty(2):
            os.write(2, b"\x1b[?25h\n")  # live progress had hidden the cursor
    os._exit(CancelledError.exit_code)
