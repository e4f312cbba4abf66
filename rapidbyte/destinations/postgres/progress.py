"""What keeps an increment from loading too much or too little: its cursor is not known, or its target is gone (E12)."""

from __future__ import annotations

import shlex
from typing import LiteralString

from rapidbyte.cursor import LEAST_VALUES
from rapidbyte.destinations.postgres import ledger, records
from rapidbyte.destinations.postgres.target import TargetFacts
from rapidbyte.errors import ConfigError
from rapidbyte.pg.session import PgConnection
from rapidbyte.plan import StreamPlan

_CURSOR_OF_A_LOAD: LiteralString = """
SELECT FROM _rapidbyte.cursors WHERE pipeline = %s AND stream = %s AND load_id IS NOT NULL
"""
"""One that was set by hand has none: then the target may be new."""


_LAST_PUBLISHED: LiteralString = """
SELECT bounds FROM _rapidbyte.loads
WHERE pipeline = %s AND stream = %s AND target_schema = %s AND target_table = %s AND state = 'published'
ORDER BY ended_at DESC LIMIT 1
"""


def brought_no_value(connection: PgConnection, plan: StreamPlan, *, pipeline: str) -> bool:
    """Whether the stream's last load began at the beginning and found NULL cursors alone: it has set no cursor, and the
    ledger knows why. In a transaction that may read the ledger.
    """
    if (ledger.installed_version(connection) or 0) < ledger.CURSORS_SINCE:
        return False
    row = connection.execute(_LAST_PUBLISHED, (pipeline, plan.name, plan.target.schema, plan.target.name)).fetchone()
    bounds = records.read_bounds(row[0]) if row is not None else None
    return bounds is not None and bounds.with_nulls and (bounds.stored, bounds.high) == (None, None)


def require_known_beginning(plan: StreamPlan, facts: TargetFacts, *, stored: str | None) -> None:
    """Refuses to append a stream from its beginning to a target that has rows (E12).

    They may be the same ones: after `state reset`, where the ledger was lost, or where the stream was loaded as a
    whole before. `stored` is the cursor where the increment would begin. What the leader may not look into may have
    rows, too; where a GRANT is missing for the load itself, that is told elsewhere. Pure. Raises ConfigError.
    """
    if stored is not None or plan.write_mode != "append" or not facts.exists or facts.empty:
        return
    hidden = facts.empty is None
    if hidden and "SELECT" in facts.privileges:
        return
    rows = "whose rows we may not see" if hidden else "which has rows"
    see = f"grant SELECT on {facts.name}, " if hidden else ""
    way = "" if plan.shape.kind == "file" else f", or say how far {facts.name} is loaded: {_set_command(plan)}"
    raise ConfigError(
        f"stream {plan.name} would be appended from its beginning to {facts.name}, {rows}: the ledger does not know how"
        " far it has been loaded, and rows could come twice",
        code="cursor_unknown",
        hint=f"{see}load it anew with --full-refresh{way}",
        stream=plan.name,
        table=str(facts.name),
        afterwards=f"{facts.name} was not touched",
    )


def _set_command(plan: StreamPlan) -> str:
    """How a person says where an increment begins; also that the rows there are none of this stream's."""
    command = f"rapidbyte state set PIPELINE --stream {shlex.quote(plan.name)}"
    if plan.cursor is None or plan.cursor.type not in LEAST_VALUES:
        return f"{command} --value VALUE"
    least = shlex.quote(LEAST_VALUES[plan.cursor.type])
    return f"{command} --value VALUE; --value={least} says that none of its rows is there"


def require_own_target(
    connection: PgConnection, stream: StreamPlan, facts: TargetFacts, stored: str | None, *, pipeline: str
) -> None:
    """Raises ConfigError for an increment into a table that would have to be made: what earlier ones brought would be
    missing.
    """
    if stored is None or facts.exists:
        return
    if connection.execute(_CURSOR_OF_A_LOAD, (pipeline, stream.name)).fetchone() is None:
        return
    raise ConfigError(
        f"stream {stream.name} was loaded up to its cursor, and {stream.target}, which held those rows, does not exist",
        code="target_gone",
        hint="load everything with --full-refresh, or forget the cursor:"
        f" rapidbyte state reset PIPELINE --stream {shlex.quote(stream.name)}",
        stream=stream.name,
        table=str(stream.target),
    )
