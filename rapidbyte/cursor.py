"""Cursors of incremental streams: what was loaded last, and from where to where a load goes.

Values are the server's own text, never a Python number or date: they are compared and ordered by a server (E5, B26).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

NullCursor = Literal["fail", "skip", "always"]


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredCursor:
    """How far a stream has been published, as the ledger keeps it."""

    field: str
    type: str
    """The field's type, as the source prints it."""
    value: str
    """The server's text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CursorPlan:
    """How an incremental stream goes on."""

    field: str
    tie_breaker: str | None = None
    """Orders rows with equal cursors within a load."""
    type: str
    stored: str | None = None
    """Where the last published load ended; None before the first."""
    lag_seconds: float | None = None
    nulls: NullCursor = "fail"


@dataclass(frozen=True, slots=True, kw_only=True)
class CursorBounds:
    """Which rows a load takes. Fixed when the load is prepared; a resume uses exactly these."""

    field: str
    type: str
    low: str | None
    """None: from the beginning."""
    low_inclusive: bool
    high: str | None
    """None: there is nothing to load."""
    high_inclusive: bool
    with_nulls: bool = False
    """Rows whose cursor is NULL belong to the load."""
