"""The lease: at most one run loads a pipeline, and a run that was taken for dead can publish nothing.

A row with a fencing token, and a session advisory lock on a connection of its own. The lock tells at once that its
holder is gone: a rerun after a kill does not wait. The row tells who holds it, and when a holder that gives no sign of
life may be taken for frozen. The token, raised by every run that takes the lease, is compared in each transaction by
which a run changes anything. Only the server's clock decides.
"""

from __future__ import annotations

import os
import threading
import time
from contextlib import ExitStack, suppress

import psycopg

from rapidbyte.destinations.postgres.leases import (
    EXPIRES_SECONDS,
    LOOK,
    RENEW,
    TAKE,
    TERMINATE,
    HeldRun,
    Holder,
    busy,
    decide,
    free,
    require_fence,
)
from rapidbyte.destinations.postgres.sessions import end_backend, rolled_back_by_failure
from rapidbyte.errors import DestinationError, FenceError, RapidbyteError
from rapidbyte.model import IDENTIFIER_BYTES, session_name
from rapidbyte.pg.session import (
    OWN_SQL,
    PgConnection,
    apply_to_session,
    begin,
    commit,
    connect,
    rollback,
    translated,
)
from rapidbyte.ports import Lost
from rapidbyte.spec import Connection, RunRequest

RENEW_SECONDS = 5.0
"""Between two signs of life."""

RECONNECT_SECONDS = 0.5
"""Between two tries to get a lost connection back."""

DYING_SECONDS, LIVING_SECONDS = 2.0, 0.3
"""How long a lock that is held is asked for again: where its holder's process is gone, the server has yet to notice;
else the holder may just be leaving."""

TAKEOVER_SECONDS = 5.0
"""How long a takeover waits for the backends that it has ended."""

_SETTINGS = (
    *OWN_SQL,
    ("default_transaction_read_only", "off"),
    ("default_transaction_isolation", "read committed"),
    ("synchronous_commit", "on"),
    ("idle_session_timeout", "0"),
    # A statement of the lease is short, or it waits for a lock that nobody holds for long.
    ("lock_timeout", "4s"),
    ("statement_timeout", "20s"),
)
"""Of the lease's session, whatever the role's own are."""


class Lease:
    """A run's hold on its pipeline. `take` it, again where that failed; `close` it. Between them a thread of its own
    renews it.

    `lost` is called from that thread, at most once, when another run has taken over.
    """

    def __init__(self, login: Connection, request: RunRequest, lost: Lost) -> None:
        self._login = login
        self._request = request
        self._lost = lost
        self._name = session_name("leader", request.pipeline).encode()[:IDENTIFIER_BYTES].decode(errors="ignore")
        self._connection: PgConnection | None = None
        self._backend: int | None = None
        """Of the connection that is, or was."""
        self._locked = False
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        self.fence = 0

    def take(self, other: PgConnection) -> int:
        """The fence, once the lease is ours and renews itself. Raises BusyError, DestinationError.

        `other` is another session of ours, by which a transaction pooler between us and the server is noticed.
        """
        with ExitStack() as undo, translated("destination", "taking the pipeline's lease"):
            undo.callback(self._disconnect)
            connection = self._connect()
            require_own_backend(connection, other)
            self._insert_row(connection)
            self.fence = self._acquire(connection)
            undo.pop_all()
        self._thread = threading.Thread(target=self._renew_until_closed, name="lease", daemon=True)
        self._thread.start()
        return self.fence

    def close(self) -> None:
        """Renews no more, and lets go of the lock. May be repeated."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        if self._connection is not None and not self._connection.closed and self.fence:
            held = HeldRun(pipeline=self._request.pipeline, run_id=self._request.run_id, fence=self.fence)
            # A pooler may keep the backend when we have gone. What fails here the next run copes with.
            with suppress(psycopg.Error):
                free(self._connection, held)
                self._connection.execute("SELECT pg_advisory_unlock_all()")
        self._disconnect()

    # --- taking

    def _connect(self) -> PgConnection:
        connection = connect(self._login, side="destination", application_name=self._name)
        connection.autocommit = True
        self._connection = connection
        # A session of its own, that no transaction pooler shares: settings may be the session's.
        apply_to_session(connection, _SETTINGS)
        end_backend(connection, self._backend, self._name)
        self._backend = connection.info.backend_pid
        return connection

    def _insert_row(self, connection: PgConnection) -> None:
        connection.execute(
            "INSERT INTO _rapidbyte.leases (pipeline, fence) VALUES (%s, 0) ON CONFLICT DO NOTHING",
            (self._request.pipeline,),
        )

    def _acquire(self, connection: PgConnection) -> int:
        started_s = time.monotonic()
        while True:
            self._try_lock(connection)
            holder = self._look(connection)
            verdict = decide(holder, locked=self._locked)
            if verdict != "busy" or time.monotonic() - started_s >= self._patience_s(holder):
                break
            time.sleep(0.05)
        if verdict == "busy":
            raise busy(self._request.pipeline, holder)
        if verdict == "take over":
            self._end_frozen(connection, holder)
        return self._raise_fence(connection)

    def _patience_s(self, holder: Holder) -> float:
        here = holder.host == self._request.host and holder.pid is not None
        return DYING_SECONDS if here and not _is_running(holder.pid or 0) else LIVING_SECONDS

    def _try_lock(self, connection: PgConnection) -> None:
        if not self._locked:
            row = connection.execute(
                "SELECT pg_try_advisory_lock(hashtextextended(%s, 0))", (f"rapidbyte lease {self._request.pipeline}",)
            ).fetchone()
            self._locked = bool(row and row[0])

    def _look(self, connection: PgConnection) -> Holder:
        row = connection.execute(LOOK, {"pipeline": self._request.pipeline, "name": self._name}).fetchone()
        if row is None:
            raise DestinationError(
                f"the lease of pipeline {self._request.pipeline} has vanished from the ledger",
                code="ledger_damaged",
                hint="run again",
            )
        fence, run_id, host, pid, backend_pid, acquired_at, renewed_at, expired, connected = row
        return Holder(
            fence=fence,
            run_id=run_id,
            host=host,
            pid=pid,
            backend_pid=backend_pid,
            acquired_at=acquired_at,
            renewed_at=renewed_at,
            expired=expired,
            connected=connected,
        )

    def _end_frozen(self, connection: PgConnection, holder: Holder) -> None:
        """Ends the sessions of a run that gave no sign of life, where we may: its lock and its transactions go, too."""
        pipeline = self._request.pipeline
        worker = session_name("worker-[0-9]+", _quoted_for_regex(pipeline))
        connection.execute(
            TERMINATE,
            {"pipeline": pipeline, "fence": holder.fence, "leader": self._name, "worker": f"^{worker}$"},
        )
        deadline = time.monotonic() + TAKEOVER_SECONDS
        while not self._locked and time.monotonic() < deadline:
            self._try_lock(connection)
            time.sleep(0.05)

    def _raise_fence(self, connection: PgConnection) -> int:
        """The new fence. Looks again with the row locked: whoever was faster has it."""
        pipeline = self._request.pipeline
        try:
            begin(connection, OWN_SQL)
            with rolled_back_by_failure(connection):
                connection.execute("SET LOCAL lock_timeout = '5s'")
                connection.execute("SELECT FROM _rapidbyte.leases WHERE pipeline = %s FOR UPDATE", (pipeline,))
                holder = self._look(connection)
                if decide(holder, locked=self._locked) == "busy":
                    raise busy(pipeline, holder)
                fence = self._write_row(connection)
            commit(connection)
        except psycopg.errors.LockNotAvailable as error:
            # A publish of the frozen run holds the row, and its session could not be ended.
            raise busy(pipeline, self._look(connection)) from error
        return fence

    def _write_row(self, connection: PgConnection) -> int:
        request = self._request
        row = connection.execute(
            TAKE,
            {
                "pipeline": request.pipeline,
                "run_id": request.run_id,
                "host": request.host,
                "pid": request.pid,
                "seconds": EXPIRES_SECONDS,
            },
        ).fetchone()
        return int(row[0]) if row else 0

    # --- holding

    def _renew_until_closed(self) -> None:
        """The heartbeat. Whatever fails is tried again; only a higher fence ends it."""
        pause_s = RENEW_SECONDS
        while not self._ended.wait(pause_s):
            pause_s = RENEW_SECONDS
            try:
                if not self._renew():
                    return
            except (psycopg.Error, RapidbyteError):
                if self._connection is None or self._connection.closed:
                    self._disconnect()
                    pause_s = RECONNECT_SECONDS

    def _renew(self) -> bool:
        """One sign of life; False once the lease is another's."""
        connection = self._connection or self._connect()
        request = self._request
        renewed = connection.execute(
            RENEW,
            {
                "pipeline": request.pipeline,
                "fence": self.fence,
                "run_id": request.run_id,
                "seconds": EXPIRES_SECONDS,
            },
        ).rowcount
        if renewed:
            self._try_lock(connection)
            return True
        try:
            require_fence(connection, pipeline=request.pipeline, fence=self.fence)
        except FenceError as error:
            self._lost(error)
        return False

    def _disconnect(self) -> None:
        self._locked = False
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def require_own_backend(one: PgConnection, other: PgConnection) -> None:
    """Raises DestinationError when a transaction pooler is between us and the server (C17).

    It lends a backend to a session for one transaction. So two sessions that live at the same time have the same
    backend one after the other, or one session has several.
    """
    found = (_backend(one), _backend_in_transaction(other), _backend(one))
    if not is_pooled(*found):
        return
    raise DestinationError(
        "the destination is reached through a pooler that lends a connection for one transaction only",
        code="transaction_pooling",
        hint="give the leader a direct connection, or one that is pooled by session",
    )


def is_pooled(first: int, others: int, second: int) -> bool:
    """Whether these backends of one session before, another session during, and the first after a transaction tell of
    a transaction pooler.
    """
    return first == others or first != second


def _backend(connection: PgConnection) -> int:
    row = connection.execute("SELECT pg_catalog.pg_backend_pid()").fetchone()
    return int(row[0]) if row else 0


def _backend_in_transaction(connection: PgConnection) -> int:
    begin(connection, ())
    try:
        return _backend(connection)
    finally:
        rollback(connection)


def _is_running(pid: int) -> bool:
    """Whether a process of this host is there."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _quoted_for_regex(text: str) -> str:
    """The text as a pattern of PostgreSQL that matches itself."""
    return "".join(character if character.isalnum() else f"\\{character}" for character in text)
