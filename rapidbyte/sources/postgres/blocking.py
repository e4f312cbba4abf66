"""Locks at the source: how long is waited for one, and who had it."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

import psycopg
from psycopg import sql

from rapidbyte.errors import SourceError
from rapidbyte.pg.session import PgConnection, rollback

LOCK_SECONDS = 30.0
"""How long a look-up, and the snapshot's holder, wait for a table that somebody else has for himself."""

_EXCLUSIVE = """
SELECT pg_catalog.format('%I.%I is locked by pid %s (%s)', n.nspname, c.relname, l.pid,
                         coalesce(nullif(a.application_name, ''), a.usename, a.backend_type, 'a prepared transaction'))
FROM pg_catalog.pg_locks l JOIN pg_catalog.pg_class c ON c.oid = l.relation
     JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
     LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid
WHERE l.mode = 'AccessExclusiveLock' AND c.relkind IN ('r', 'p', 'm', 'v', 'f')
  AND l.database = (SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database())
ORDER BY l.granted DESC, n.nspname, c.relname LIMIT 3
"""
"""Only ACCESS EXCLUSIVE keeps a reader out, also where it is only waited for. `pg_locks` is readable by all."""


@contextmanager
def bounded_locks(connection: PgConnection, doing: str) -> Generator[None]:
    """Inside, a statement of this transaction waits `LOCK_SECONDS` for a lock at the most; afterwards, for ever.

    Raises SourceError that names the tables and who has them; the transaction is rolled back then.
    """
    connection.execute(sql.SQL("SET LOCAL lock_timeout = {}").format(sql.Literal(int(LOCK_SECONDS * 1000))))
    try:
        yield
    except psycopg.errors.LockNotAvailable as error:
        rollback(connection)
        found = [row[0] for row in connection.execute(_EXCLUSIVE).fetchall()]
        what = f": {'; '.join(found)}" if found else ""
        raise SourceError(
            f"a lock was not to be had within {LOCK_SECONDS:g} s while {doing}{what}",
            code="lock_not_available",
            hint="another session has a table of this run for itself, or waits to; run again when it has ended",
            sqlstate=error.sqlstate,
        ) from error
    connection.execute("SET LOCAL lock_timeout = 0")
