"""When a run is to stop before its end: a signal, the caller's wish, its deadline, or a lost lease.

Whoever works for the run asks `event`: the engine between its steps, workers at every block, sessions with a server
before each statement and while one is under way.
"""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Self

from rapidbyte.errors import CancelledError, RapidbyteError
from rapidbyte.spec import PipelineSpec, RunOptions


def deadline_seconds(spec: PipelineSpec, options: RunOptions) -> float | None:
    """The file's or the command line's, whichever comes first; None without either. Pure."""
    return min((each for each in (spec.timeout_seconds, options.deadline_seconds) if each is not None), default=None)


class Stopping:
    """The run's stop: `event` is the caller's, and is also set when the deadline has passed. Enter it to start time."""

    def __init__(self, event: threading.Event, timeout_seconds: float | None) -> None:
        self.event = event
        self._timeout_seconds = timeout_seconds
        self._late = False
        self._cause: RapidbyteError | None = None
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

    def stop_for(self, cause: RapidbyteError) -> None:
        """The run is to stop, and `cause` is why. May be called from any thread."""
        self._cause = self._cause or cause
        self.event.set()

    @property
    def cause(self) -> RapidbyteError | None:
        """Why the run is to stop, where somebody gave a reason."""
        return self._cause

    def require_going(self) -> None:
        """Raises CancelledError once the run is to stop; the cause, where it was given one."""
        if self.event.is_set():
            raise self._error()

    def told(self, error: RapidbyteError) -> RapidbyteError:
        """The error of work that stopped because the run is to stop, as the run's own; any other as it is."""
        if not isinstance(error, CancelledError) or not self.event.is_set():
            return error
        mine = self._error()
        mine.context = error.context if self._cause is None else mine.context
        return mine

    def _error(self) -> RapidbyteError:
        if self._cause is not None:
            return self._cause
        if self._late:
            return CancelledError(
                f"the run was stopped at its deadline of {self._timeout_seconds:g} s",
                code="deadline",
                hint="raise the deadline, or load less at once",
            )
        return CancelledError("the run was told to stop", code="cancelled")
