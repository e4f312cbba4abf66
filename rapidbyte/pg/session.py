"""The one door to psycopg: connect, begin, translate. Every transaction sets its own settings locally.

A connection is used by one thread, closed by who opened it, and never crosses a fork.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, LiteralString

import psycopg
from psycopg import generators, sql
from psycopg.errors import error_from_result
from psycopg.pq import ExecStatus

from rapidbyte.errors import InternalError
from rapidbyte.model import ServerFacts, session_name
from rapidbyte.pg import conninfo
from rapidbyte.pg.failure import Side, connect_failure, translate
from rapidbyte.pg.stoppable import StoppableConnection
from rapidbyte.ports import Stop, never
from rapidbyte.spec import Connection

PgConnection = StoppableConnection

EXACT_TEXT: tuple[tuple[str, str], ...] = (
    ("client_encoding", "UTF8"),
    ("TimeZone", "UTC"),
    ("DateStyle", "ISO"),
    ("IntervalStyle", "postgres"),
    ("extra_float_digits", "1"),
    ("bytea_output", "hex"),
    ("xmloption", "content"),
)
"""With these every value's text is exact and the same on every server, whatever the role's defaults are (B12)."""

TIMEOUTS_OFF: tuple[tuple[str, str], ...] = (
    ("statement_timeout", "0"),
    ("lock_timeout", "0"),
    ("idle_in_transaction_session_timeout", "0"),
)
"""A role's or database's timeouts are for people at a prompt; a load has its own bounds."""

TIMEOUTS_OFF_FROM_17: tuple[tuple[str, str], ...] = (("transaction_timeout", "0"),)
"""What older servers do not know; `begin` adds it."""

COMPLETE_ROWS: tuple[tuple[str, str], ...] = (("row_security", "off"),)
"""A policy makes a query fail instead of leaving rows out in silence (250 of 1,000 rows came, without an error)."""

SESSION: tuple[tuple[str, str], ...] = EXACT_TEXT + TIMEOUTS_OFF + COMPLETE_ROWS
"""What every transaction of ours sets."""

OWN_SQL: tuple[tuple[str, str], ...] = (*SESSION, ("search_path", "pg_catalog"))
"""For our own statements, which qualify every name (F11)."""


def connect(connection: Connection, *, side: Side, application_name: str, stop: Stop = never) -> PgConnection:
    """An open connection, not in a transaction; autocommit is off. The caller closes it.

    Its statements end when `stop` is true, until the first `commit` or `rollback`; then `stop` may be set again. To
    connect takes `connect_timeout` for each address at most, and is not cut short.
    Raises SourceError or DestinationError, by `side`; ConfigError when the DSN cannot be read; CancelledError.
    """
    parameters = conninfo.parameters(connection)
    parameters["application_name"] = application_name
    parameters["client_encoding"] = "UTF8"
    # prepare_threshold None: named prepared statements do not survive a transaction pooler (C17).
    try:
        opened = PgConnection.connect("", prepare_threshold=None, **parameters)  # type: ignore[arg-type]
    except psycopg.Error as error:
        raise connect_failure(error, side=side, where=conninfo.describe(connection)) from error
    opened.stop = stop
    return opened


@contextmanager
def translated(side: Side, doing: str) -> Generator[None]:
    """Inside, psycopg's errors become ours; `doing` completes "while ..."."""
    try:
        yield
    except psycopg.Error as error:
        raise translate(error, side=side, doing=doing) from error


def begin(connection: PgConnection, settings: Sequence[tuple[str, str]], *, mode: LiteralString | None = None) -> None:
    """Begins a transaction with these settings made local to it.

    `mode` is appended to BEGIN: `ISOLATION LEVEL REPEATABLE READ READ ONLY`. psycopg's implicit BEGIN is avoided,
    so that the mode is the transaction's from its first statement. All of it is one message: a run begins a dozen
    transactions before its first row.
    """
    connection.autocommit = True
    newer = TIMEOUTS_OFF_FROM_17 if connection.info.server_version >= 170000 else ()
    began = sql.SQL("BEGIN {}").format(sql.SQL(mode)) if mode else sql.SQL("BEGIN")
    connection.execute(sql.SQL("; ").join([began, *_assignments("SET LOCAL", (*settings, *newer))]))


def apply_settings(connection: PgConnection, settings: Sequence[tuple[str, str]]) -> None:
    """Makes settings local to the transaction that is open, in one statement, without taking a snapshot of it.

    SET LOCAL, not set_config: a SELECT would fix the snapshot of a REPEATABLE READ transaction.
    """
    connection.execute(sql.SQL("; ").join(_assignments("SET LOCAL", settings)))


def apply_to_session(connection: PgConnection, settings: Sequence[tuple[str, str]]) -> None:
    """Sets these until the session ends, in one statement. For a session that no transaction pooler shares."""
    newer = TIMEOUTS_OFF_FROM_17 if connection.info.server_version >= 170000 else ()
    connection.execute(sql.SQL("; ").join(_assignments("SET", (*newer, *settings))))


def _assignments(command: LiteralString, settings: Sequence[tuple[str, str]]) -> list[sql.Composed]:
    return [
        sql.SQL("{} {} = {}").format(sql.SQL(command), sql.Identifier(name), sql.Literal(value))
        if name != "search_path"
        else sql.SQL("{} search_path = {}").format(
            sql.SQL(command), sql.SQL(", ").join(map(sql.Identifier, value.split(", ")))
        )
        for name, value in settings
    ]


def ask_together(
    connection: PgConnection, queries: Sequence[LiteralString], parameters: Mapping[str, object]
) -> list[list[tuple[Any, ...]]]:
    """The rows of each query, in order, in one round trip: they travel in one message, with the values in their text.

    psycopg's pipeline mode would do the same, but a stop that comes while it is on leaves it on, and the ROLLBACK that
    should follow is refused.
    """
    cursor = psycopg.ClientCursor(connection)
    cursor.execute(sql.SQL("; ").join(map(sql.SQL, queries)), parameters)
    found = [cursor.fetchall()]
    while cursor.nextset():
        found.append(cursor.fetchall())
    return found


def commit(connection: PgConnection, *, sent: Callable[[], None] | None = None) -> None:
    """COMMIT of a transaction that `begin` began. Its answer is awaited, whatever happens.

    `sent` is called when it is on its way and nobody knows its end.
    """
    connection.stop = never
    pgconn = connection.pgconn
    pgconn.send_query(b"COMMIT")
    connection.wait(generators.send(pgconn))
    if sent is not None:
        sent()
    for result in connection.wait(generators.fetch_many(pgconn)):
        if result.status != ExecStatus.COMMAND_OK:
            raise error_from_result(result, encoding=connection.info.encoding)


def rollback(connection: PgConnection) -> None:
    """ROLLBACK of a transaction that `begin` began; nothing when the connection is gone. A stop does not end it."""
    connection.stop = never
    if not connection.closed:
        connection.execute("ROLLBACK")


_CONNECTIONS: LiteralString = """
SELECT limits.what, limits.free FROM (WITH sessions AS (
  SELECT a.datid, a.usesysid FROM pg_catalog.pg_stat_activity a
  WHERE a.usesysid IS NOT NULL AND coalesce(a.backend_type, 'client backend') = 'client backend'
        AND a.pid IS DISTINCT FROM (SELECT min(b.pid) FROM pg_catalog.pg_stat_activity b
                                    WHERE b.application_name = pg_catalog.left(%(other)s, 63)
                                          AND b.pid <> pg_catalog.pg_backend_pid())
)
SELECT '' AS what, current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
           - coalesce(current_setting('reserved_connections', true), '0')::int - (SELECT count(*) FROM sessions) AS free
UNION ALL
SELECT 'connection limit of database ' || d.datname,
       d.datconnlimit - (SELECT count(*) FROM sessions s WHERE s.datid = d.oid)
FROM pg_catalog.pg_database d
WHERE d.datname = pg_catalog.current_database() AND d.datconnlimit >= 0
      AND EXISTS (SELECT FROM pg_catalog.pg_roles r WHERE r.rolname = %(role)s AND NOT r.rolsuper)
UNION ALL
SELECT 'connection limit of role ' || r.rolname,
       r.rolconnlimit - (SELECT count(*) FROM sessions s WHERE s.usesysid = r.oid)
FROM pg_catalog.pg_roles r WHERE r.rolname = %(role)s AND r.rolconnlimit >= 0 AND NOT r.rolsuper) limits
"""


def is_plain(connection: PgConnection) -> bool:
    """Whether the socket carries PostgreSQL's protocol as it is: neither TLS nor, as far as can be known, GSS."""
    pgconn = connection.pgconn
    with socket.socket(fileno=os.dup(pgconn.socket)) as wire:
        if wire.family == socket.AF_UNIX:
            return True
    return not pgconn.ssl_in_use and any(
        option.keyword == b"gssencmode" and option.val == b"disable" for option in pgconn.info
    )


def _other_look(connection: PgConnection) -> str:
    """What the look at the other end calls itself: one run looks at both at the same time. Empty: there is none."""
    words = (connection.info.parameter_status("application_name") or "").split(" ", 2)
    others = {"leader": "reader-0", "reader-0": "leader"}
    return session_name(others[words[1]], words[2]) if len(words) == 3 and words[1] in others else ""


def server_facts(connection: PgConnection, *, role: str | None = None, loads: bool = False) -> ServerFacts:
    """The server's own word: version, encoding, identity, connections left.

    `role` is the one that will open many connections, where it is not the session's own. Superusers have no limits
    of their own (A12). Of other roles' sessions pg_stat_activity tells ordinary roles no type: they are counted.

    Every session that is there is counted, this one too, but for the run's look at the other end: on one server it may
    be there or not, and the number of workers shall not hang on that. With `loads` the run is beyond looking, and what
    bears that name is counted as well.
    """
    row = connection.execute(
        """
        SELECT current_setting('server_version'), current_setting('server_version_num')::int,
               current_setting('server_encoding'), current_setting('lc_monetary'),
               d.oid::text,
               has_function_privilege('pg_catalog.pg_control_system()', 'EXECUTE'),
               (SELECT pg_catalog.pg_postmaster_start_time()::text), current_setting('port'),
               coalesce(current_setting('default_toast_compression', true), '')
        FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database()
        """
    ).fetchone()
    if row is None:
        raise InternalError("the current database is not in pg_database", code="facts_missing")
    version, number, encoding, monetary, database, may_identify, started, port, compression = row
    if may_identify:
        found = connection.execute("SELECT system_identifier::text FROM pg_catalog.pg_control_system()").fetchone()
        system = found[0] if found else ""
    else:
        system = f"{started}/{port}"
    who = {"role": role or connection.info.user, "other": "" if loads else _other_look(connection)}
    limits: list[tuple[str, int]] = connection.execute(_CONNECTIONS, who).fetchall()
    limit, left = min(limits, key=lambda found: (found[1], found[0]))
    return ServerFacts(
        version=version,
        version_number=number,
        encoding=encoding,
        lc_monetary=monetary,
        identity=f"{system}/{database}",
        connections_left=max(0, left),
        connections_limit=limit,
        is_plain=is_plain(connection),
        toast_compression=compression,
    )
