"""`verify`: source and destination compared row by row, through checksums that both servers compute.

First both ends compute a checksum of every piece; then the rows of the pieces that differ are read, as hashes, sorted
alike at both ends, and merged. Memory does not grow with the tables.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor

from rapidbyte.comparison import NO_ROWS, Cut, Digest, RowEnd, RowImage
from rapidbyte.engine.verification import (
    SHOWN,
    ComparisonPlan,
    DifferenceKind,
    DifferentKey,
    DifferentPiece,
    StreamComparison,
    choose_cut,
)
from rapidbyte.values import frozen

EXAMINED_ROWS = 1_000_000
"""Once this many have been looked at and `SHOWN` keys are known, the rest is not looked at."""


def compare(plan: ComparisonPlan, source: RowEnd, destination: RowEnd) -> StreamComparison:
    """Compares one stream. Both ends work at the same time; whatever ends this early ends their statements too."""
    with ThreadPoolExecutor(2, thread_name_prefix="rapidbyte verify") as threads, _Cancelled(source, destination):
        bounds = _both_bounds(plan, source, destination)
        cut = choose_cut(plan, bounds)
        there = threads.submit(destination.digests, cut)
        here = threads.submit(source.digests, cut)
        found, wanted = there.result(), here.result()
        return _examined(plan, cut, wanted, found, source, destination)


class _Cancelled:
    """Ends both ends' statements where its block does not end well, before the threads are waited for."""

    def __init__(self, *ends: RowEnd) -> None:
        self._ends = ends

    def __enter__(self) -> None:
        return

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            for end in self._ends:
                end.cancel()


def _both_bounds(plan: ComparisonPlan, source: RowEnd, destination: RowEnd) -> tuple[int | None, int | None]:
    """The least and the greatest key of both ends together."""
    if not plan.integer_key:
        return None, None
    ends = (source.key_bounds(), destination.key_bounds())
    lows = [low for low, _ in ends if low is not None]
    highs = [high for _, high in ends if high is not None]
    return min(lows, default=None), max(highs, default=None)


def _examined(
    plan: ComparisonPlan,
    cut: Cut,
    wanted: Mapping[int, Digest],
    found: Mapping[int, Digest],
    source: RowEnd,
    destination: RowEnd,
) -> StreamComparison:
    """What the rows of the pieces that differ say."""
    suspects = [
        DifferentPiece(piece=piece, source=wanted.get(piece, NO_ROWS), destination=found.get(piece, NO_ROWS))
        for piece in sorted({*wanted, *found})
        if wanted.get(piece, NO_ROWS) != found.get(piece, NO_ROWS)
    ]
    source_rows = sum(digest.rows for digest in wanted.values())
    destination_rows = sum(digest.rows for digest in found.values())
    tally = Tally(plan, cut)
    if suspects:
        pieces = [suspect.piece for suspect in suspects]
        for rows in merged(source.rows(cut, pieces), destination.rows(cut, pieces)):
            tally.take(rows)
            if tally.knows_enough:
                break
    # A piece whose rows are all explained (older versions, rows to come) does not differ. Where the looking ended
    # early, nothing explains the rest.
    guilty = [piece for piece in suspects if piece.piece in tally.pieces or tally.knows_enough]
    unexplained = 0
    if plan.may_hold_more and plan.published_rows is not None:
        unexplained = max(0, destination_rows - plan.published_rows)
    return StreamComparison(
        plan=plan,
        cut=cut,
        source_rows=source_rows,
        destination_rows=destination_rows,
        pieces=tuple(guilty[:SHOWN]),
        piece_count=len(guilty),
        keys=tuple(tally.keys),
        counts=tally.counts,
        counts_complete=not tally.knows_enough,
        pending=tally.pending,
        unexplained_rows=unexplained,
    )


@frozen
class KeyRows:
    """What both ends have of one key: numbers of rows that are alike, and of those that only one end has."""

    order: int
    identity: str
    key: tuple[str | None, ...]
    same: int
    source_only: int
    destination_only: int
    pending: bool
    """The source has a row of this key that is not to be loaded yet."""


class Tally:
    """What was found so far, in memory that does not grow with the tables."""

    def __init__(self, plan: ComparisonPlan, cut: Cut) -> None:
        self._plan = plan
        self._cut = cut
        self._examined = 0
        self.counts: dict[DifferenceKind, int] = {"missing": 0, "extra": 0, "different": 0}
        self.keys: list[DifferentKey] = []
        self.pieces: set[int] = set()
        self.pending = 0

    @property
    def knows_enough(self) -> bool:
        """Keys enough to be shown, and rows enough looked at."""
        return self._examined >= EXAMINED_ROWS and sum(self.counts.values()) >= SHOWN

    def take(self, rows: KeyRows) -> None:
        """Adds what one key's rows mean."""
        self._examined += rows.same + rows.source_only + rows.destination_only
        kind = judged(rows, self._plan)
        if kind is None:
            self.pending += bool(rows.pending and rows.destination_only)
            return
        named = bool(self._plan.key)
        self.counts[kind] += 1 if named else rows.source_only + rows.destination_only
        if named and len(self.keys) < SHOWN:
            self.keys.append(DifferentKey(kind=kind, key=rows.key))
        null_key = self._cut.by == "key_range" and rows.key == (None,)
        self.pieces.add(self._cut.piece_of(rows.order, null_key=null_key))


def judged(rows: KeyRows, plan: ComparisonPlan) -> DifferenceKind | None:
    """Whether a key's rows differ, and how; None where the difference is to be expected. Pure."""
    if plan.may_hold_more:
        if not rows.source_only:
            return None
        return "different" if rows.destination_only and not rows.same else "missing"
    if rows.source_only:
        return "different" if rows.destination_only else "missing"
    return "extra" if rows.destination_only and not rows.pending else None


def merged(source: Iterator[RowImage], destination: Iterator[RowImage]) -> Iterator[KeyRows]:
    """The rows of both ends, key by key, in their common order; each is read once, nothing is kept. Pure."""
    here, there = next(source, None), next(destination, None)
    while here is not None or there is not None:
        first = min(row[:2] for row in (here, there) if row is not None)
        key = next(row.key for row in (here, there) if row is not None and row[:2] == first)
        same = source_only = destination_only = 0
        pending = False
        while (here is not None and here[:2] == first) or (there is not None and there[:2] == first):
            ours = here[:5] if here is not None and here[:2] == first else None
            theirs = there[:5] if there is not None and there[:2] == first else None
            if here is not None and there is not None and ours == theirs:
                same += min(here.rows, there.rows)
                source_only += max(0, here.rows - there.rows)
                destination_only += max(0, there.rows - here.rows)
                here, there = next(source, None), next(destination, None)
            elif here is not None and ours is not None and (theirs is None or ours < theirs):
                pending = pending or here.pending
                source_only += 0 if here.pending else here.rows
                here = next(source, None)
            elif there is not None:
                destination_only += there.rows
                there = next(destination, None)
        yield KeyRows(
            order=first[0],
            identity=first[1],
            key=key,
            same=same,
            source_only=source_only,
            destination_only=destination_only,
            pending=pending,
        )
