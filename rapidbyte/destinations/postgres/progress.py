"""What keeps an increment from loading too much or too little: its cursor was forgotten, or its target is gone."""

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


_CURSOR_OF_A_LOAD: LiteralString = """
SELECT FROM _rapidbyte.cursors WHERE pipeline = %s AND stream = %s AND load_id IS NOT NULL
"""
"""One that was set by hand has none: then the target may be new."""


def require_known_progress(
    connection: PgConnection, stream: StreamPlan, facts: TargetFacts, bounds: CursorBounds | None, *, pipeline: str
) -> None:
    """Raises ConfigError for an append from the beginning to a target that has what earlier increments brought.

    Also for an increment into a table that would have to be made: what earlier ones brought would be missing (E12).
    """
    if bounds is not None and bounds.stored is not None and not facts.exists:
        _require_own_cursor(connection, stream, pipeline=pipeline)
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


def _require_own_cursor(connection: PgConnection, stream: StreamPlan, *, pipeline: str) -> None:
    if connection.execute(_CURSOR_OF_A_LOAD, (pipeline, stream.name)).fetchone() is None:
        return
    raise ConfigError(
        f"stream {stream.name} was loaded up to its cursor, and {stream.target}, which held those rows, does not exist",
        code="target_gone",
        hint="load everything with --full-refresh, or forget the cursor with `rapidbyte state reset`",
        stream=stream.name,
        table=str(stream.target),
    )
