"""When a run is to stop before its end: a signal, the caller's wish, or its deadline."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Self

from rapidbyte.errors import CancelledError, RapidbyteError


class Stopping:
    """The run's stop: `event` is the caller's, and is also set when the deadline has passed. Enter it to start time."""

    def __init__(self, event: threading.Event, timeout_seconds: float | None) -> None:
        self.event = event
        self._timeout_seconds = timeout_seconds
        self._late = False
        self._timer = threading.Timer(timeout_seconds, self._pass_deadline) if timeout_seconds is not None else None

    def __enter__(self) -> Self:
        if self._timer is not None:
            self._timer.daemon = True
            self._timer.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer.join()

    def _pass_deadline(self) -> None:
        self._late = True
        self.event.set()

    def require_going(self) -> None:
        """Raises CancelledError once the run is to stop."""
        if self.event.is_set():
            raise self._error()

    def told(self, error: RapidbyteError) -> RapidbyteError:
        """The error of work that stopped because the run is to stop, as the run's own; any other as it is."""
        if not isinstance(error, CancelledError) or not self.event.is_set():
            return error
        mine = self._error()
        mine.context = error.context
        return mine

    def _error(self) -> CancelledError:
        if self._late:
            return CancelledError(
                f"the run was stopped at its deadline of {self._timeout_seconds:g} s",
                code="deadline",
                hint="raise the deadline, or load less at once",
            )
        return CancelledError("the run was told to stop", code="cancelled")
