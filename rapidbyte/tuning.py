"""How many workers a run begins with, how large its partitions are, and when it takes one more. Pure.

`resources.parallelism: auto` is decided twice: before the run from what is known (`choose`), and while it runs from
what was measured (`next_step`). A number that somebody names is obeyed, and never changed.
"""

from __future__ import annotations

from typing import Literal

from rapidbyte.values import frozen

MEGABYTE = 1024 * 1024

FEWEST, MOST_AT_FIRST, MOST = 2, 8, 16
"""Workers of `auto`. Two overlap one's COMMIT with the other's COPY on a single core."""

WORKERS_A_CORE = 4
"""`auto` goes no further on this machine's cores: servers elsewhere may have more of them."""

BYTES_A_WORKER = 8 * MEGABYTE
"""A worker for less costs more in connections than it saves."""

LARGE_ROW_BYTES = MEGABYTE
"""Rows of this size on average share what `max_memory` leaves for large rows."""

COPIES_OF_A_LARGE_ROW = 3

TELLING_SECONDS = 1.0
"""Worker time that a step is decided from, at the least."""

BUSY_DESTINATION = 0.5
"""Share of the workers' time. Beyond it another worker mostly waits with the others."""

BUSY_MACHINE = 0.9
"""Share of this machine's cores, whoever uses them."""

WORTH_WHILE = 1.05
"""What one more worker must have brought, so that another one is tried."""


@frozen
class Facts:
    """What `choose` knows."""

    cores: int
    """Of this machine, for this process."""
    room: int
    """Workers for which both servers have connections."""
    room_reason: str
    total_bytes: int | None
    """All streams together, on disk; None where one of them cannot tell."""
    row_bytes: int | None
    """Of the stream with the widest rows, on average."""
    large_rows_bytes: int
    """Memory that rows above a megabyte share."""


@frozen
class Choice:
    """The workers a run begins with, and why."""

    mode: Literal["auto", "explicit"]
    workers: int
    limit: int
    """How many it may come to have."""
    reason: str


def choose(facts: Facts) -> Choice:
    """`auto`: by this machine's cores, unless data, memory or connections are good for fewer."""
    start = max(FEWEST, min(MOST_AT_FIRST, facts.cores))
    spared = facts.room // 2  # who comes later must not be refused: connections may be taken meanwhile
    limit = max(start, min(MOST, WORKERS_A_CORE * facts.cores, spared))
    bounds = [(start, limit, f"auto: {facts.cores} cores")]
    if facts.total_bytes is not None:
        due = max(FEWEST, -(-facts.total_bytes // BYTES_A_WORKER))
        bounds.append((due, due, f"auto: no more for {_size(facts.total_bytes)}"))
    if facts.row_bytes is not None and facts.row_bytes > LARGE_ROW_BYTES:
        fit = max(1, facts.large_rows_bytes // (COPIES_OF_A_LARGE_ROW * facts.row_bytes))
        bounds.append((fit, fit, f"auto: no more rows of {_size(facts.row_bytes)} fit into max_memory"))
    bounds.append((facts.room, facts.room, f"as many as fit into {facts.room_reason}"))
    workers, _, reason = min(bounds, key=lambda bound: bound[0])
    return Choice(mode="auto", workers=workers, limit=max(workers, min(bound[1] for bound in bounds)), reason=reason)


def partition_bytes(table_bytes: int | None, *, largest: int, workers: int, limit: int) -> int:
    """Size of a partition: the least of `largest` and the table over four times the workers.

    One worker that ends late then costs a quarter of its share at the most. Where more workers may come they are
    smaller, but not under 8 MB for that.
    """
    if table_bytes is None:
        return largest
    share = -(-table_bytes // (4 * workers))
    smaller = max(BYTES_A_WORKER, -(-table_bytes // (4 * limit)))
    return max(1, min(largest, share, smaller if limit > workers else share))


@frozen
class Window:
    """What was measured since the last step."""

    workers: int
    partitions: int
    """That have ended."""
    waiting: int
    """Partitions that nobody has taken up."""
    elapsed_s: float
    worked_s: float
    """Of all workers together."""
    bytes: int
    source: float
    """Share of the workers' time in which the source had delivered nothing."""
    destination: float
    """Share of the workers' time in which the destination took nothing, or committed."""
    machine: float
    """Share of this machine's cores that were busy, by whomever."""

    @property
    def rate(self) -> float:
        """Bytes a second."""
        return self.bytes / self.elapsed_s if self.elapsed_s > 0 else 0.0


@frozen
class Step:
    """What follows from a window."""

    adds: bool
    reason: str
    ends: bool = False
    """No further step is looked for."""


def next_step(window: Window, before: Window | None, *, limit: int) -> Step | None:
    """Whether one more worker is taken; None while nothing can be told. `before` is what the last one was added to."""
    if window.partitions < window.workers or window.worked_s < TELLING_SECONDS:
        return None
    if before is not None and window.rate < WORTH_WHILE * before.rate:
        gain = window.rate / before.rate - 1 if before.rate else 0.0
        return Step(adds=False, reason=f"the last one changed the rate by {gain:+.0%}: no more are added", ends=True)
    if window.workers >= limit:
        return Step(adds=False, reason=f"{limit} are as many as may be", ends=True)
    if not window.waiting:
        return Step(adds=False, reason="every partition is taken up", ends=True)
    if window.destination >= BUSY_DESTINATION:
        return Step(adds=False, reason=f"the destination was busy for {window.destination:.0%} of the workers' time")
    if window.machine >= BUSY_MACHINE:
        return Step(adds=False, reason=f"this machine's cores were busy for {window.machine:.0%} of the time")
    return Step(
        adds=True,
        reason=f"the workers waited {window.source:.0%} of their time for the source, and the destination was busy for "
        f"{window.destination:.0%} of it",
    )


def _size(count: int) -> str:
    return f"{count / MEGABYTE:.1f} MB" if count >= MEGABYTE else f"{count / 1024:.1f} KB"
