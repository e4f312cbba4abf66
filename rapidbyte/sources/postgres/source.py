"""`ports.Source` of a PostgreSQL server: what it is, what it has, and one consistent view of it."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import replace
from typing import LiteralString

from rapidbyte.cursor import CursorBounds, StoredCursor
from rapidbyte.errors import ConfigError, InternalError
from rapidbyte.model import ServerFacts, session_name
from rapidbyte.pg.session import OWN_SQL, PgConnection, begin, connect, rollback, server_facts, translated
from rapidbyte.plan import StreamPlan, StreamShape
from rapidbyte.ports import Stop, never
from rapidbyte.sources.postgres.blocking import bounded_locks
from rapidbyte.sources.postgres.bounds import take_bounds
from rapidbyte.sources.postgres.compare import SourceRows, open_source_rows
from rapidbyte.sources.postgres.cursor_value import cursor_of, printed_value
from rapidbyte.sources.postgres.describe import SourceCatalog
from rapidbyte.sources.postgres.snapshot import PostgresSnapshot, hold_snapshot
from rapidbyte.spec import PostgresSourceSpec, StreamSpec

OLDEST_VERSION = 130000
"""Older servers are refused: nobody mends them, and nothing of ours was tried on them."""


class PostgresSource:
    """A PostgreSQL server, version 13 or later, read in read-only transactions. Connects when it is asked something.

    Once `stop` is true whatever its server is asked is cancelled, and raises CancelledError.
    """

    def __init__(
        self, spec: PostgresSourceSpec, *, pipeline: str, settle_seconds: float = 30.0, stop: Stop = never
    ) -> None:
        self._spec = spec
        self._pipeline = pipeline
        self._settle_seconds = settle_seconds
        self._stop = stop
        self._path: str | None = None

    def facts(self) -> ServerFacts:
        """The server's own word. Raises SourceError where it cannot be reached, ConfigError where it is too old."""
        with self._looking("asking the server who it is") as connection:
            facts = server_facts(connection)
        if facts.version_number < OLDEST_VERSION:
            raise ConfigError(
                f"the source is PostgreSQL {facts.version}; 13 is the oldest that can be read",
                code="source_too_old",
            )
        return facts

    def describe(self, streams: tuple[StreamSpec, ...]) -> tuple[StreamShape, ...]:
        """One shape a stream, patterns resolved, in order. Raises ConfigError, PrivilegeError with every fault."""
        with self._looking("looking its tables up") as connection:
            return self._catalog(connection).describe(streams)

    def discover(self) -> tuple[StreamShape, ...]:
        """Every table, view and foreign table outside of the system's schemas."""
        with self._looking("looking its tables up") as connection:
            return self._catalog(connection).discover()

    def bounds(
        self, streams: tuple[StreamPlan, ...], stored: Mapping[str, StoredCursor]
    ) -> tuple[CursorBounds | None, ...]:
        """The increments' bounds, once every transaction has ended that could still bring a row within them."""
        return take_bounds(self._look_for_bounds, streams, stored, settle_seconds=self._settle_seconds)

    @contextmanager
    def _look_for_bounds(self, doing: str, *, user_sql: bool = False) -> Generator[PgConnection]:
        with self._looking(doing, isolation="ISOLATION LEVEL READ COMMITTED READ ONLY") as connection:
            if user_sql:
                path = self._user_path(connection)
                connection.execute("SELECT pg_catalog.set_config('search_path', %s, true)", (path,))
            yield connection

    def snapshot(self, streams: tuple[StreamPlan, ...]) -> AbstractContextManager[PostgresSnapshot]:
        """Locks what the streams read, then fixes what is seen, until it is left."""
        return hold_snapshot(
            self._spec.connection,
            pipeline=self._pipeline,
            search_path=self._known_path(),
            streams=streams,
            stop=self._stop,
        )

    def cursor_at(self, stream: StreamSpec, value: str) -> StoredCursor:
        """The stream's cursor at a value that a person gives, as the server prints it. Raises ConfigError."""
        (shape,) = self.describe((stream,))
        cursor = cursor_of(shape)
        with self._looking(f"reading the value of {cursor.field}") as connection:
            return replace(cursor, value=printed_value(connection, shape, cursor, value))

    def rows(self, shapes: tuple[StreamShape, ...]) -> AbstractContextManager[SourceRows]:
        """The streams' rows in one snapshot, to be compared with the destination's."""
        return open_source_rows(
            self._spec.connection,
            pipeline=self._pipeline,
            search_path=self._known_path(),
            shapes=shapes,
            stop=self._stop,
        )

    def _catalog(self, connection: PgConnection) -> SourceCatalog:
        path = self._user_path(connection)
        return SourceCatalog(connection, schema=self._spec.schema, user_path=path)

    @contextmanager
    def _looking(
        self, doing: str, isolation: LiteralString = "ISOLATION LEVEL REPEATABLE READ READ ONLY"
    ) -> Generator[PgConnection]:
        """A connection in a read-only transaction that is rolled back."""
        name = session_name("reader-0", self._pipeline)
        connection = connect(self._spec.connection, side="source", application_name=name, stop=self._stop)
        with closing(connection), translated("source", doing):
            begin(connection, OWN_SQL, mode=isolation)
            with bounded_locks(connection, doing):
                yield connection
            rollback(connection)

    def _known_path(self) -> str:
        """The search_path by which the streams were described."""
        if self._path is None:
            with self._looking("asking for the search_path") as connection:
                return self._user_path(connection)
        return self._path

    def _user_path(self, connection: PgConnection) -> str:
        """The role's own search_path, the source's schema before it: as people's SQL expects it."""
        row = connection.execute(
            "SELECT pg_catalog.quote_ident(%s), s.reset_val FROM pg_catalog.pg_settings s WHERE s.name = 'search_path'",
            (self._spec.schema,),
        ).fetchone()
        if row is None:
            raise InternalError("the server has no search_path", code="facts_missing")
        self._path = ", ".join(part for part in row if part)
        return self._path
