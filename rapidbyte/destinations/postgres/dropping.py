"""Rows that were set aside: deleted, as a person has named them. Run by the leader, with the lease."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from rapidbyte.destinations.postgres.replay import StoredReject
from rapidbyte.pg.session import PgConnection
from rapidbyte.values import frozen


@frozen
class Dropped:
    """What became of one row that was to be dropped."""

    reject: StoredReject
    """As it was."""
    outcome: Literal["dropped", "left"]
    reason: str | None = None
    """Why it was left."""


def drop(connection: PgConnection, rejects: Sequence[StoredReject]) -> tuple[Dropped, ...]:
    """Deletes these rows in the transaction that is open, and says of each what became of it. Raises psycopg.Error."""
    found = tuple(_decided(each) for each in rejects)
    gone = [each.reject.reject_id for each in found if each.outcome == "dropped"]
    connection.execute("DELETE FROM _rapidbyte.rejects WHERE reject_id = ANY (%s)", (gone,))
    return found


def _decided(reject: StoredReject) -> Dropped:
    """A load that is not published yet keeps its own: receipts count them, and `max_rejects` does. Pure."""
    if reject.state == "unfinished":
        return Dropped(reject=reject, outcome="left", reason="the load that it was left out of is not published")
    return Dropped(reject=reject, outcome="dropped")
