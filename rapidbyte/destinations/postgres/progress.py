"""What keeps an increment from appending what is there: its cursor was forgotten, its target was not emptied."""

from __future__ import annotations

from typing import LiteralString

from rapidbyte.cursor import CursorBounds
from rapidbyte.destinations.postgres.target import TargetFacts
from rapidbyte.errors import ConfigError
from rapidbyte.pg.session import PgConnection
from rapidbyte.plan import StreamPlan

_HAS_BEEN_LOADED: LiteralString = """
SELECT FROM _rapidbyte.loads
WHERE pipeline = %s AND stream = %s AND target_schema = %s AND target_table = %s AND state = 'published'
      AND row_count > 0 AND bounds ->> 'high' IS NOT NULL
LIMIT 1
"""


def require_known_progress(
    connection: PgConnection, stream: StreamPlan, facts: TargetFacts, bounds: CursorBounds | None, *, pipeline: str
) -> None:
    """Raises ConfigError for an append from the beginning to a target that has what earlier increments brought."""
    if bounds is None or bounds.stored is not None or stream.write_mode != "append":
        return
    if not facts.exists or facts.empty:
        return
    target = stream.target
    found = connection.execute(_HAS_BEEN_LOADED, (pipeline, stream.name, target.schema, target.name)).fetchone()
    if found is None:
        return
    raise ConfigError(
        f"the cursor of stream {stream.name} was forgotten, and {target} is not empty: to append from the beginning"
        " would load its rows twice",
        code="cursor_forgotten",
        hint="give the cursor back with `rapidbyte state set`, load with --full-refresh, or empty the table",
        stream=stream.name,
        table=str(target),
    )
