"""A connection whose statements end when the run is to stop. psycopg is asked nothing else than it is asked anyway.

psycopg waits for an answer in steps of 0.1 s, and lets whoever waits look around in between. So the thread that has
sent the statement is the one that cancels it: no other thread touches the connection, and no cancel can hit a later
statement, a ROLLBACK or a COMMIT.
"""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Any, TypeVar

import psycopg
from psycopg.abc import PQGen
from psycopg.pq import TransactionStatus
from psycopg.rows import TupleRow

from rapidbyte.errors import CancelledError
from rapidbyte.pg.failure import stopped
from rapidbyte.ports import Stop, never

CANCEL_EVERY_SECONDS = 0.3
"""A cancel that came too early for the server, or got lost, is sent again."""

CANCEL_REQUEST_SECONDS = 2.0
"""How long one request to cancel may take: it has a connection of its own."""

PATIENCE_SECONDS = 10.0
"""After so many seconds of cancelling in vain the session is left: the server is gone, or deaf."""

_T = TypeVar("_T")


class StoppableConnection(psycopg.Connection[TupleRow]):
    """`stop` is asked before each statement, and every 0.1 s while one is under way.

    Once it is true the statement is cancelled at the server, and CancelledError is raised. From then on `stop` is
    `never`: what follows is the way out, a ROLLBACK for instance. Who uses the connection again sets it again.
    """

    stop: Stop = staticmethod(never)

    def wait(self, gen: PQGen[_T], *args: Any, **kwargs: Any) -> _T:
        """As psycopg waits, but watched. Raises CancelledError."""
        if self.stop is never:
            return super().wait(gen, *args, **kwargs)
        # A transaction that has failed can only be rolled back: nothing is gained by keeping that from the server.
        if self.pgconn.transaction_status != TransactionStatus.INERROR:
            self.require_going()
        watched = _Watched(self)
        try:
            return super().wait(watched.over(gen), *args, **kwargs)
        except psycopg.errors.QueryCanceled as error:
            if not watched.cancelled:
                raise
            self.stop = never
            raise stopped("it waited for the server") from error

    def require_going(self) -> None:
        """Raises CancelledError once it is to stop."""
        if self.stop():
            self.stop = never
            raise stopped("it was about to ask the server")


class _Watched:
    """One wait for the server."""

    def __init__(self, connection: StoppableConnection) -> None:
        self._connection = connection
        self._first_s: float | None = None
        self._next_s = 0.0

    @property
    def cancelled(self) -> bool:
        """The server was asked to cancel the statement."""
        return self._first_s is not None

    def over(self, gen: PQGen[_T]) -> PQGen[_T]:
        """The same generator; between two of its steps, when nothing has arrived, the stop is asked."""
        try:
            state = next(gen)
            while True:
                ready = yield state
                if not ready and self._connection.stop():
                    self._cancel()
                state = gen.send(ready)
        except StopIteration as end:
            return end.value

    def _cancel(self) -> None:
        now = time.monotonic()
        if self._first_s is None:
            self._first_s = now
        if now - self._first_s > PATIENCE_SECONDS:
            self._connection.close()
            raise CancelledError("the server did not answer when it was asked to cancel", code="stopped")
        if now >= self._next_s:
            with suppress(psycopg.Error):  # it is sent again
                self._connection.cancel_safe(timeout=CANCEL_REQUEST_SECONDS)
            self._next_s = time.monotonic() + CANCEL_EVERY_SECONDS
