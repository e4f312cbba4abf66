"""What keeps an increment from loading too much or too little: its cursor is not known, or its target is gone (E12)."""

from __future__ import annotations

from typing import LiteralString

from rapidbyte.cursor import CursorBounds
from rapidbyte.destinations.postgres.target import TargetFacts
from rapidbyte.errors import ConfigError
from rapidbyte.pg.session import PgConnection
from rapidbyte.plan import StreamPlan

_CURSOR_OF_A_LOAD: LiteralString = """
SELECT FROM _rapidbyte.cursors WHERE pipeline = %s AND stream = %s AND load_id IS NOT NULL
"""
"""One that was set by hand has none: then the target may be new."""


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
    way = "" if plan.shape.kind == "file" else f", or say with `rapidbyte state set` how far {facts.name} is loaded"
    raise ConfigError(
        f"stream {plan.name} would be appended from its beginning to {facts.name}, {rows}: the ledger does not know how"
        " far it has been loaded, and rows could come twice",
        code="cursor_unknown",
        hint=f"{see}load it anew with --full-refresh{way}",
        stream=plan.name,
        table=str(facts.name),
        afterwards=f"{facts.name} was not touched",
    )


def require_own_target(
    connection: PgConnection, stream: StreamPlan, facts: TargetFacts, bounds: CursorBounds | None, *, pipeline: str
) -> None:
    """Raises ConfigError for an increment into a table that would have to be made: what earlier ones brought would be
    missing.
    """
    if bounds is None or bounds.stored is None or facts.exists:
        return
    if connection.execute(_CURSOR_OF_A_LOAD, (pipeline, stream.name)).fetchone() is None:
        return
    raise ConfigError(
        f"stream {stream.name} was loaded up to its cursor, and {stream.target}, which held those rows, does not exist",
        code="target_gone",
        hint="load everything with --full-refresh, or forget the cursor with `rapidbyte state reset`",
        stream=stream.name,
        table=str(stream.target),
    )
