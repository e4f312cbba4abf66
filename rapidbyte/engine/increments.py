"""Incremental streams: their bounds before anything is prepared, and what becomes of those without new rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rapidbyte.cursor import CursorBounds, StoredCursor
from rapidbyte.engine.jobs import Work
from rapidbyte.engine.outcome import StreamOutcome
from rapidbyte.errors import RapidbyteError
from rapidbyte.events import StreamFinished
from rapidbyte.plan import StreamPlan

Bounds = Mapping[str, CursorBounds | RapidbyteError]
"""By the name of an incremental stream: from where to where it goes, or why that could not be told."""


def bounds_of(work: Work, streams: Sequence[StreamPlan], cursors: Mapping[str, StoredCursor]) -> Bounds:
    """The bounds of the incremental streams among these. `--full-refresh` begins at the beginning.

    Raises RapidbyteError; where streams are isolated, one that has no bounds has failed by itself.
    """
    incremental = tuple(stream for stream in streams if stream.is_incremental)
    if not incremental:
        return {}
    stored: Mapping[str, StoredCursor] = {} if work.runtime.options.full_refresh else cursors
    try:
        return _taken(work, incremental, stored)
    except RapidbyteError as error:
        if not work.isolated:
            raise
        if len(incremental) == 1:
            return {incremental[0].name: error}
    found: dict[str, CursorBounds | RapidbyteError] = {}
    for stream in incremental:
        work.stopping.require_going()
        try:
            found.update(_taken(work, (stream,), stored))
        except RapidbyteError as error:
            found[stream.name] = error
    return found


def _taken(work: Work, streams: tuple[StreamPlan, ...], stored: Mapping[str, StoredCursor]) -> dict[str, CursorBounds]:
    taken = work.again(lambda: work.runtime.source.bounds(streams, stored))
    return {stream.name: bounds for stream, bounds in zip(streams, taken, strict=True) if bounds is not None}


def nothing_new(work: Work, stream: StreamPlan, bounds: CursorBounds) -> StreamOutcome:
    """An increment without rows: no stage, no publish; the target and the cursor stay as they are (E8)."""
    work.runtime.observe(StreamFinished(stream=stream.name, status="succeeded", rows=0))
    return StreamOutcome(spec=stream.shape.spec, plan=stream, status="succeeded", bounds=bounds)
