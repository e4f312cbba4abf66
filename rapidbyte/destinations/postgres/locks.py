"""Locks on a target, asked for in short tries between which others pass (D8).

A request for ACCESS EXCLUSIVE that waits blocks everybody behind it: for 4.7 s where a reader of 5 s was at work,
for 0.2 s in tries of 200 ms.

The server ends its own VACUUM or ANALYZE of a table for somebody who has waited `deadlock_timeout` for it (1 s), which
such tries never do. So after the first that failed the lock that only these hold is waited for by itself: nobody who
reads or writes rows is kept out by that.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import LiteralString

import psycopg
from psycopg import sql

from rapidbyte.destinations.postgres.ledger import identifier
from rapidbyte.destinations.postgres.target import TargetFacts
from rapidbyte.errors import DestinationError
from rapidbyte.pg.session import PgConnection

TRY_MILLISECONDS = 200
"""How long one try waits, and so blocks others at the most."""

CONFLICTS_WITH_MAINTENANCE = frozenset({"ACCESS EXCLUSIVE", "SHARE ROW EXCLUSIVE"})
"""Modes that wait for a VACUUM or ANALYZE, which has the table in SHARE UPDATE EXCLUSIVE."""

PAUSE_SECONDS = (0.1, 0.4)
"""Between two tries, chosen at random."""


def held_by_reader(connection: PgConnection, facts: TargetFacts, pipeline: str) -> bool:
    """Whether a reader of this pipeline, in this database, has locked the table: it keeps the lock to the run's end.

    Only roles that may see the readers' names learn it.
    """
    row = connection.execute(
        "SELECT EXISTS (SELECT FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid"
        " WHERE l.relation = %s AND l.granted AND a.datname = current_database()"
        " AND starts_with(a.application_name, 'rapidbyte reader-')"
        " AND a.application_name = left(split_part(a.application_name, ' ', 1) || ' '"
        " || split_part(a.application_name, ' ', 2) || ' ' || %s, 63))",
        (facts.oid, pipeline),
    ).fetchone()
    return bool(row and row[0])


def _never() -> bool:
    return False


def lock_table(
    connection: PgConnection,
    facts: TargetFacts,
    mode: LiteralString,
    deadline: float,
    *,
    give_up: Callable[[], bool] = _never,
) -> bool:
    """Takes a lock on a table until the transaction ends; False when `deadline` (time.monotonic) has passed.

    Also where `give_up` says, after a try, that waiting will not help.
    Raises DestinationError when the table is gone.
    """
    only = sql.SQL("" if facts.kind == "p" else "ONLY ")
    statement = sql.SQL("LOCK TABLE {}{} IN {} MODE").format(only, identifier(facts.name), sql.SQL(mode))
    maintained = False
    while True:
        try:
            with connection.transaction():
                if maintained:
                    _end_maintenance(connection, only, facts)
                connection.execute(sql.SQL("SET LOCAL lock_timeout = {}").format(sql.Literal(TRY_MILLISECONDS)))
                connection.execute(statement)
        except (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected):
            if time.monotonic() >= deadline or give_up():
                return False
            maintained = mode in CONFLICTS_WITH_MAINTENANCE
            time.sleep(random.uniform(*PAUSE_SECONDS))  # noqa: S311 - no secret depends on it
        except psycopg.errors.UndefinedTable:
            raise DestinationError(
                f"{facts.name} was dropped or renamed while the load was under way",
                code="target_changed",
                hint="run again",
                table=str(facts.name),
            ) from None
        else:
            return True


def _end_maintenance(connection: PgConnection, only: sql.SQL, facts: TargetFacts) -> None:
    """Waits for an autovacuum of the table for as long as it takes the server to end it."""
    connection.execute(
        "SELECT set_config('lock_timeout', (setting::int + 1000)::text, true)"
        " FROM pg_settings WHERE name = 'deadlock_timeout'"
    )
    connection.execute(sql.SQL("LOCK TABLE {}{} IN SHARE UPDATE EXCLUSIVE MODE").format(only, identifier(facts.name)))


def refused(facts: TargetFacts) -> DestinationError:
    """The error of a lock that was not to be had in time."""
    return DestinationError(
        f"the lock on {facts.name} was not to be had within publish_timeout",
        code="lock_not_available",
        hint="other sessions hold locks on the table: see pg_locks",
        table=str(facts.name),
        afterwards=f"{facts.name} is as it was.",
    )


def limit_waits(connection: PgConnection, seconds: float) -> None:
    """From now on no statement of this transaction waits longer than this for any lock."""
    milliseconds = max(1, min(int(seconds * 1000), 2_147_483_647))
    connection.execute(sql.SQL("SET LOCAL lock_timeout = {}").format(sql.Literal(milliseconds)))
