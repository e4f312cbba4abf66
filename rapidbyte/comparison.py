"""What `verify` asks of each end: rows cut into pieces, a checksum of each piece, and the rows of those that differ.

Both ends cut in the same way and print every value alike, so that equal rows give equal checksums on any two servers.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, NamedTuple, Protocol

from rapidbyte.cursor import StoredCursor
from rapidbyte.model import ColumnType
from rapidbyte.values import frozen

CutKind = Literal["key_range", "key_hash", "row_hash"]

NULL_KEYS = -1
"""Index of the piece that holds the rows whose key is NULL, where pieces are ranges."""


@frozen
class ComparedColumn:
    """A column that is compared: it has the same name at both ends."""

    name: str
    read_as: ColumnType | None = None
    """The target's type, in which the source's value is printed. None: both print it alike."""


@frozen
class Cut:
    """How rows are cut into pieces: by ranges of an integer key, else by a hash of the key or of the whole row."""

    by: CutKind
    key: tuple[str, ...]
    """Columns that name a row; empty where it is cut by `row_hash`."""
    count: int
    """Number of pieces. A power of two where a hash decides."""
    thresholds: tuple[int, ...] = ()
    """Of ranges: piece i holds `thresholds[i - 1] <= key < thresholds[i]`; the outer ones are open."""

    def piece_of(self, order: int, *, null_key: bool) -> int:
        """The piece of a row with this `RowImage.order`; the servers compute the same."""
        if self.by != "key_range":
            return order & (self.count - 1)
        return NULL_KEYS if null_key else bisect_right(self.thresholds, order)


@frozen
class Digest:
    """A piece at one end."""

    rows: int
    checksum: str
    """`count:sum:sum`."""


NO_ROWS = Digest(rows=0, checksum="0:0:0")


class RowImage(NamedTuple):
    """Equal rows of one end. A tuple, because there are many of them."""

    order: int
    """The integer key, else a hash: what both ends sort by first."""
    identity: str
    """The key as ASCII text; empty where there is no key."""
    pending: bool
    """The row is not to be loaded yet: its cursor lies beyond the loaded one."""
    first: int
    second: int
    """Two hashes of the row."""
    rows: int
    """How many are like this."""
    key: tuple[str | None, ...]
    """The key's values as the server prints them."""


@frozen
class LedgerFacts:
    """What the ledger says of a stream and its target."""

    cursor: StoredCursor | None
    """Up to which value the stream is loaded; None for a full refresh."""
    published_rows: int | None
    """Rows of all loads that filled the target since it was new or replaced; None where that cannot be told."""


class RowEnd(Protocol):
    """One end's rows of one stream, in one snapshot."""

    def key_bounds(self) -> tuple[int | None, int | None]:
        """The least and the greatest value of the key, which is one integer column."""
        ...

    def digests(self, cut: Cut) -> Mapping[int, Digest]:
        """Every piece that has rows, by its index."""
        ...

    def rows(self, cut: Cut, pieces: Sequence[int]) -> Iterator[RowImage]:
        """The rows of these pieces, sorted; fetched a few thousand at a time."""
        ...

    def cancel(self) -> None:
        """Ends what the server is doing for this end. From any thread; may be repeated."""
        ...
