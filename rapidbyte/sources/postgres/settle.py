"""Waiting until all transactions have ended that could still bring a row below an increment's upper bound.

Why this order is right: the bound first, then the list of what is running, then the wait, then the snapshot.

A row below the bound has got its cursor's value before the bound was taken: a clock only advances, and so does a
sequence. Its transaction was running when it got it. So at the time of the list, which is later, it has either ended,
and every later snapshot shows it; or it is on the list, and is waited for. A list from before the bound would miss who
began in between. A snapshot from before the wait's end would not show who has been waited for. Transactions' ids would
not do: a transaction has none until it writes, and may have taken its time or its number long before (writers that
read first: up to 38 % of rows lost); every transaction has a virtual one from its beginning to its end, and holds a
lock on it that everybody may see in `pg_locks`.

Not waited for, because they cannot bring a row to the source's tables:
- sessions of other databases, and those without one (walsenders of physical replication, the launchers), with
  hot-standby feedback or without: it holds back vacuum, not commits;
- autovacuum (the only backends with a database and without a user), and VACUUM by hand, which runs in no transaction
  of anybody else's: both may take hours;
- rapidbyte's own readers, which are READ ONLY: of this run, and of others, whose snapshots live as long as their loads.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import LiteralString

from rapidbyte.errors import SourceError
from rapidbyte.pg.session import PgConnection
from rapidbyte.values import frozen

STATEMENT_START_SECONDS = 0.1
"""now() is the time at which a transaction's first statement arrived; its virtual id is locked a few microseconds
later. The list is made after this pause, for who was in between when the clock was read."""

LONGEST_PAUSE_SECONDS = 0.2
SHOWN = 10
"""Pids that a message names at the most."""

_RUNNING: LiteralString = """
SELECT l.virtualtransaction,
       pg_catalog.format('pid %%s (%%s)', l.pid, coalesce(nullif(a.application_name, ''), a.usename))
FROM pg_catalog.pg_locks l JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid
WHERE l.locktype = 'virtualxid' AND l.mode = 'ExclusiveLock' AND l.granted
  AND l.pid <> pg_catalog.pg_backend_pid()
  AND a.datid = (SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database())
  AND a.usesysid IS NOT NULL
  AND a.application_name NOT LIKE 'rapidbyte reader-%%'
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_stat_progress_vacuum v WHERE v.pid = l.pid)
ORDER BY l.pid
"""

_STILL_RUNNING: LiteralString = """
SELECT l.virtualtransaction FROM pg_catalog.pg_locks l
WHERE l.locktype = 'virtualxid' AND l.mode = 'ExclusiveLock' AND l.virtualtransaction = ANY (%s::text[])
"""

_PREPARED: LiteralString = """
SELECT p.transaction::text || '/' || p.gid, pg_catalog.format('prepared transaction %%L', p.gid)
FROM pg_catalog.pg_prepared_xacts p WHERE p.database = pg_catalog.current_database() ORDER BY p.prepared
"""


@frozen
class Awaited:
    """A transaction that is waited for."""

    key: str
    """Names this transaction and no later one."""
    shown: str


def running(connection: PgConnection) -> tuple[Awaited, ...]:
    """The transactions that run in this database now, but for those that cannot bring a row."""
    return tuple(Awaited(key=key, shown=shown) for key, shown in connection.execute(_RUNNING, ()).fetchall())


def prepared(connection: PgConnection) -> tuple[Awaited, ...]:
    """The transactions of this database that are prepared now."""
    return tuple(Awaited(key=key, shown=shown) for key, shown in connection.execute(_PREPARED, ()).fetchall())


def settle(connection: PgConnection, *, timeout_seconds: float) -> None:
    """Returns when every transaction that runs now has ended. The connection is in a transaction, READ COMMITTED.

    Prepared ones are listed last: a transaction on the list that is prepared meanwhile leaves `pg_locks`, and is among
    them before it does. Raises SourceError that names who has not ended in time.
    """
    until = time.monotonic() + timeout_seconds
    awaited = running(connection)
    _wait(connection, awaited, until=until, timeout_seconds=timeout_seconds, are_prepared=False)
    _wait(connection, prepared(connection), until=until, timeout_seconds=timeout_seconds, are_prepared=True)


def _wait(
    connection: PgConnection,
    awaited: Sequence[Awaited],
    *,
    until: float,
    timeout_seconds: float,
    are_prepared: bool,
) -> None:
    pause = 0.005
    while awaited:
        if are_prepared:
            present = {each.key for each in prepared(connection)}
        else:
            keys = [each.key for each in awaited]
            present = {key for (key,) in connection.execute(_STILL_RUNNING, (keys,)).fetchall()}
        awaited = [each for each in awaited if each.key in present]
        left = until - time.monotonic()
        if awaited and left <= 0:
            raise unsettled(awaited, timeout_seconds)
        if awaited:
            time.sleep(min(pause, left))
            pause = min(pause * 2, LONGEST_PAUSE_SECONDS)


def unsettled(awaited: Sequence[Awaited], timeout_seconds: float) -> SourceError:
    """The error of an increment that cannot be complete."""
    more = f", and {len(awaited) - SHOWN} more" if len(awaited) > SHOWN else ""
    return SourceError(
        f"transactions that may bring rows below the increment's end have not ended within {timeout_seconds:g} s: "
        f"{', '.join(each.shown for each in awaited[:SHOWN])}{more}",
        code="settle_timeout",
        hint="nothing was loaded and the cursor stays: end them, or raise `settle_timeout`, and run again",
    )
