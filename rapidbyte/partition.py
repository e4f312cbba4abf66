"""Partitions: the one unit of reading, COPY, commit, receipt, retry, resume and distribution.

The interval rule lives here and nowhere else: every range is half-open, `low <= x < high`; a bound
that is None is open. Every row of a stream is in exactly one partition of the list that
`ctid_ranges`, `key_ranges` return: the first range has no low bound, the last no high bound, and
NULL keys are the business of exactly one partition. The ranges of an increment are half-open between
them, too; at their outer ends they are as its bounds say.
"""

from __future__ import annotations

from collections.abc import Sequence

from rapidbyte.cursor import CursorBounds
from rapidbyte.model import QualifiedName
from rapidbyte.values import frozen


@frozen
class Whole:
    """The whole stream: a view, a query, a small table."""

    relation: QualifiedName | None = None
    """The leaf to read, for a partitioned or inherited parent; None for the stream's own relation."""


@frozen
class CtidRange:
    """Heap blocks `low_block <= block < high_block` of one leaf; read with `FROM ONLY`."""

    relation: QualifiedName
    low_block: int
    high_block: int | None
    """None on the last range: blocks that were added after the size was asked are in it."""


@frozen
class KeyRange:
    """Rows with `low <= key < high` of an integer key."""

    column: str
    low: int | None
    high: int | None
    with_nulls: bool = False
    """This partition also holds the rows whose key is NULL. True for exactly one of a stream."""


@frozen
class FileRange:
    """One file, or a half-open range of its row groups (Parquet), record batches (Arrow) or bytes (text)."""

    path: str
    low_group: int | None = None
    high_group: int | None = None
    low_byte: int | None = None
    """Where a line begins."""
    high_byte: int | None = None
    """None: the file's end."""
    fingerprint: str | None = None
    """Tells the file from a later one of the same name."""


@frozen
class CursorRange:
    """Part of an increment: rows by the value of its cursor. Later runs can name it again, and find the same rows.

    Bounds are the source server's text, which the source alone compares.
    """

    column: str
    type: str
    """One of `cursor.CURSOR_TYPES`."""
    low: str | None
    """None: from the beginning."""
    low_inclusive: bool
    high: str | None
    """None: no value at all, NULLs only."""
    high_inclusive: bool
    with_nulls: bool = False
    """Rows whose cursor is NULL are here, too. True for one of an increment at the most."""


PartitionRange = Whole | CtidRange | KeyRange | FileRange | CursorRange


@frozen
class Partition:
    """Part of a stream. `index` counts from 0 within the stream and is the receipt's key."""

    stream: str
    index: int
    range: PartitionRange


def can_be_named_again(part: PartitionRange) -> bool:
    """Whether the range holds the same rows in a later run, so that a load can be resumed. Heap blocks do not."""
    return isinstance(part, CursorRange) or (isinstance(part, FileRange) and part.fingerprint is not None)


def ctid_ranges(relation: QualifiedName, *, blocks: int, blocks_per_range: int) -> tuple[CtidRange, ...]:
    """Ranges of `blocks_per_range` heap blocks that cover the leaf, the last one open: at least one range.

    Every block number from 0 upwards is in exactly one of them, also those that the leaf has not got yet. The last
    range has the remainder, so that it is never a sliver: it holds up to one and a half ranges.
    """
    step = max(1, blocks_per_range)
    count = max(1, (blocks + step // 2) // step)
    bounds = [index * step for index in range(count)]
    return tuple(
        CtidRange(relation=relation, low_block=low, high_block=high)
        for low, high in zip(bounds, [*bounds[1:], None], strict=True)
    )


def key_ranges(column: str, *, minimum: int | None, maximum: int | None, count: int) -> tuple[KeyRange, ...]:
    """`count` ranges of equal width between two keys, fewer where there are fewer keys: at least one range.

    Every integer is in exactly one of them, also beyond `minimum` and `maximum`; NULL keys are in the first. Both are
    None where the stream has no key that is not NULL.
    """
    if minimum is None or maximum is None:
        return (KeyRange(column=column, low=None, high=None, with_nulls=True),)
    span = maximum - minimum + 1
    count = max(1, min(count, span))
    inner = [minimum + span * index // count for index in range(1, count)]
    return tuple(
        KeyRange(column=column, low=low, high=high, with_nulls=low is None)
        for low, high in zip([None, *inner], [*inner, None], strict=True)
    )


def cursor_ranges(bounds: CursorBounds, inner: Sequence[str]) -> tuple[CursorRange, ...]:
    """An increment, parted at these values: at least one range; NULLs, where they belong to it, are in the first.

    `inner` are distinct values in the server's order, each of them in the increment and the least value not among
    them. A value belongs to the range that begins with it, so rows with equal cursors are never parted (E3).
    """
    lows = [(bounds.low, bounds.low_inclusive), *((value, True) for value in inner)]
    highs = [*((value, False) for value in inner), (bounds.high, bounds.high_inclusive)]
    return tuple(
        CursorRange(
            column=bounds.field,
            type=bounds.type,
            low=low,
            low_inclusive=low_inclusive,
            high=high,
            high_inclusive=high_inclusive,
            with_nulls=bounds.with_nulls and place == 0,
        )
        for place, ((low, low_inclusive), (high, high_inclusive)) in enumerate(zip(lows, highs, strict=True))
    )
