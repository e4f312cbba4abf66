"""The leader's connection: looks, changes, and DDL that may lose a race. Opened again when it was lost."""

from __future__ import annotations

import select
import time
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from typing import TypeVar

import psycopg
from psycopg import sql

from rapidbyte.destinations.postgres import ddl, ledger, locks
from rapidbyte.errors import DestinationError
from rapidbyte.model import session_name
from rapidbyte.pg.session import (
    OWN_SQL,
    PgConnection,
    begin,
    commit,
    connect,
    rollback,
    translated,
)
from rapidbyte.ports import Stop, never
from rapidbyte.spec import Connection

RACE_INDEXES = frozenset(
    {"pg_type_typname_nsp_index", "pg_class_relname_nsp_index", "pg_namespace_nspname_index"},
)
"""A duplicate in one of these means that another session created the same name at the same time."""

RACE_TRIES = 5
LOST_RACES = frozenset({"XX000", "23505", "40001", "40P01"})
"""SQLSTATEs of a transaction that another session's DDL got in the way of; not of a lock that was not to be had."""

T = TypeVar("T")

LOOK_SECONDS = 30
"""How long a look at a table waits for whoever has locked it."""

CLEANUP_SECONDS = 5.0
"""How long cleaning up waits for a lock after the run was told to stop, and how long the outcome of a COMMIT is asked
for then."""

LONGEST_CLEANUP = "20s"
"""How long one statement of cleaning up may take after the run was told to stop, whatever it does."""

FRESH_SECONDS = 2.0
"""For so long after a transaction began a silent connection is taken for alive. What cuts connections without a word
(NAT, a balancer) does so after minutes without traffic."""

READ_ONLY = "ISOLATION LEVEL READ COMMITTED READ ONLY"
READ_WRITE = "ISOLATION LEVEL READ COMMITTED READ WRITE"


class LeaderSession:
    """One connection named `rapidbyte leader <pipeline>`, used by one thread; `close` it.

    Once `stop` is true whatever is under way is cancelled and raises CancelledError, but for a COMMIT that was sent.
    """

    def __init__(self, connection: Connection, pipeline: str, stop: Stop = never) -> None:
        self.stop = stop
        self._login = connection
        self._name = session_name("leader", pipeline)
        self._connection: PgConnection | None = None
        self._backend: int | None = None
        """Of the connection that is, or was: libpq forgets it when the connection is lost."""
        self._used_s = 0.0
        self.race_retries = 0
        """How often setup lost a race with another session's DDL, and was tried again."""

    def open(self, stop: Stop | None = None) -> PgConnection:
        """The connection, opened again when it was lost. From now on it obeys the run's stop, or this one.

        The lost one's backend may not know yet: it is ended, so that it holds no lock any more. One that is carrying
        out a COMMIT carries it out.
        """
        stop = stop or self.stop
        if self._connection is not None:
            self._connection.stop = stop
            if self._connection.closed or not (self._is_fresh() or _alive(self._connection)):
                self.close()
        if self._connection is None:
            self._connection = connect(self._login, side="destination", application_name=self._name, stop=stop)
            self._connection.autocommit = True
            with translated("destination", "setting up the leader's session"):
                # Between prepare and finalize the leader waits for the workers, for as long as they need.
                self._connection.execute("SET idle_session_timeout = 0")
                end_backend(self._connection, self._backend, self._name)
            self._backend = self._connection.info.backend_pid
        self._used_s = time.monotonic()
        return self._connection

    def _is_fresh(self) -> bool:
        """Used a moment ago, and quiet since: then the server is not asked whether it is there."""
        connection = self._connection
        return connection is not None and time.monotonic() - self._used_s < FRESH_SECONDS and _is_quiet(connection)

    @property
    def in_use(self) -> PgConnection | None:
        """The connection as it is; None where there is none."""
        return self._connection

    @contextmanager
    def looking(self, doing: str) -> Generator[PgConnection]:
        """A transaction that reads, and leaves no trace."""
        connection = self.open()
        with translated("destination", doing):
            begin(connection, (*OWN_SQL, ("lock_timeout", f"{LOOK_SECONDS}s")), mode=READ_ONLY)
            try:
                yield connection
            finally:
                rollback(connection)

    @contextmanager
    def changing(self, doing: str, *, stop: Stop | None = None) -> Generator[PgConnection]:
        """A transaction that commits when its block ends well. It ends at the run's stop, or at this one."""
        connection = self.open(stop)
        with translated("destination", doing):
            begin(connection, OWN_SQL, mode=READ_WRITE)
            with rolled_back_by_failure(connection):
                yield connection
                connection.require_going()
            commit(connection)

    @contextmanager
    def cleaning(self, doing: str) -> Generator[PgConnection]:
        """A transaction that a stop does not end, but makes hurry."""
        with self.changing(doing, stop=never) as connection:
            locks.limit_waits(connection, CLEANUP_SECONDS if self.stop() else LOOK_SECONDS)
            if self.stop():
                connection.execute(sql.SQL("SET LOCAL statement_timeout = {}").format(sql.Literal(LONGEST_CLEANUP)))
            yield connection

    def run_ddl(
        self, connection: PgConnection, statement: sql.Composed, *, settled: Callable[[], bool] | None = None
    ) -> None:
        """Runs a statement in a savepoint; again when another session created the same name at the same time.

        `settled` tells, after such a race, whether the other session has done what was to be done.
        """
        for remaining in reversed(range(RACE_TRIES)):
            try:
                with connection.transaction():
                    connection.execute(statement)
                return
            except psycopg.errors.UniqueViolation as error:
                if error.diag.constraint_name not in RACE_INDEXES or not remaining:
                    raise
                self.race_retries += 1
            if settled is not None and settled():
                return

    def again_after_races(self, attempt: Callable[[], T]) -> T:
        """What `attempt`, one whole transaction, returns; tried again where another session's DDL got in its way.

        Both had changed one row of a catalog, as two GRANTs on one table do: "tuple concurrently updated" (D5).
        """
        for _ in range(RACE_TRIES - 1):
            try:
                return attempt()
            except DestinationError as error:
                if error.retry != "transaction" or error.context.sqlstate not in LOST_RACES:
                    raise
                self.race_retries += 1
        return attempt()

    def ensure_schema(self, connection: PgConnection, schema: str) -> None:
        """Looks first: CREATE SCHEMA IF NOT EXISTS needs CREATE on the database even where the schema exists."""
        if not ledger.schema_exists(connection, schema):
            self.run_ddl(
                connection, ddl.create_schema(schema), settled=lambda: ledger.schema_exists(connection, schema)
            )

    def ensure_ledger(self, connection: PgConnection) -> None:
        """The ledger is there, and of our version: made or migrated, by one session at a time."""
        if ledger.installed_version(connection) == ledger.VERSION:
            return
        ledger.lock_ledger(connection)
        version = ledger.installed_version(connection)
        if version == ledger.VERSION:
            return
        self.ensure_schema(connection, ledger.SCHEMA)
        statements = ledger.bootstrap_statements() if version is None else ledger.migration_statements(version)
        for statement in statements:
            self.run_ddl(connection, statement)

    def close(self) -> None:
        """Closes the connection. May be repeated."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def end_backend(connection: PgConnection, pid: int | None, name: str) -> None:
    """Ends the backend of a connection of ours that was lost, by its application_name; waits for its end, 5 s at most.

    It may not know yet that its client is gone, and holds its locks. One that carries out a COMMIT carries it out.
    """
    if pid is None or pid == connection.info.backend_pid:
        return
    connection.execute(
        "SELECT pg_catalog.pg_terminate_backend(pid, 5000) FROM pg_catalog.pg_stat_activity"
        " WHERE pid = %s AND application_name = pg_catalog.left(%s, 63) AND usename = current_user"
        " AND datname = pg_catalog.current_database()",
        (pid, name),
    )


def _is_quiet(connection: PgConnection) -> bool:
    """Nothing has come unasked: neither the server's last word nor the end of the stream."""
    arrived = select.poll()
    arrived.register(connection.pgconn.socket, select.POLLIN)
    return not arrived.poll(0)


def _alive(connection: PgConnection) -> bool:
    try:
        connection.execute("SELECT 1")
    except psycopg.OperationalError:
        return False
    return True


@contextmanager
def rolled_back_by_failure(connection: PgConnection) -> Generator[None]:
    """Left by an exception, the transaction is rolled back; left otherwise, it is still open."""
    with ExitStack() as undo:
        undo.callback(rollback, connection)
        yield
        undo.pop_all()
