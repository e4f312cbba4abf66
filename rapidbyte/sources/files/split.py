"""Where a large text file may be cut, so that several workers read it: after a line break that ends a row.

In NDJSON every line break does. In CSV one may stand within quotes; so quotes are counted from the file's beginning,
and a cut is made where their number is even. Whoever reads a part sees whether it ends within quotes: if it does not,
the next one begins with a row, and so on from the first, so a wrong cut cannot go unnoticed.
"""

from __future__ import annotations

from collections.abc import Iterator

from rapidbyte.errors import SourceError
from rapidbyte.sources.files.dialect import Dialect
from rapidbyte.sources.files.opening import open_file
from rapidbyte.sources.files.paths import ByteRange, DataFile, compression_of
from rapidbyte.values import frozen

WINDOW_BYTES = 1 << 20
"""A file is looked through in pieces of this size."""

SMALLEST_PART_BYTES = 1 << 20
"""A part is not smaller: opening a file and a connection for less is no gain."""

_ONE_BYTE = ("utf-8", "ascii", "iso8859", "cp125", "koi8", "mac-")
"""Encodings in which a byte that looks like a line break or a quote is one."""


@frozen
class Cut:
    """A file in parts, which cover it, each byte once. At least one."""

    parts: tuple[ByteRange, ...]
    reason: str | None = None
    """Why there is but one; None where it was small, or was cut."""


def cut_lines(file: DataFile, *, partition_bytes: int, encoding: str, dialect: Dialect | None) -> Cut:
    """A text file in parts of about `partition_bytes`; NDJSON has no dialect. Raises SourceError."""
    whole = (ByteRange(low=0, high=None),)
    size = max(partition_bytes, SMALLEST_PART_BYTES)
    if file.size < 2 * size:
        return Cut(parts=whole)
    reason = obstacle(file, encoding, dialect)
    if reason is not None:
        return Cut(parts=whole, reason=reason)
    try:
        cuts = list(_row_ends(file, size) if dialect is None else _unquoted_ends(file, size, dialect.quote.encode()))
    except OSError as error:
        raise SourceError(f"{file.path}: {error.strerror}", code="file_unreadable") from error
    if cuts and cuts[-1] < 0:
        return Cut(parts=whole, reason="its quotes are not paired")
    bounds = [0, *cuts]
    parts = tuple(ByteRange(low=low, high=high) for low, high in zip(bounds, [*cuts, None], strict=True))
    return Cut(parts=parts, reason=None if cuts else "no line break lies outside of quotes")


def obstacle(file: DataFile, encoding: str, dialect: Dialect | None) -> str | None:
    """What keeps the file from being cut, whatever is in it; None where nothing does, or where it is small."""
    if file.size < 2 * SMALLEST_PART_BYTES:
        return None
    compression = compression_of(file, "csv")
    if compression is not None:
        return f"{compression} is read from its beginning"
    if not encoding.startswith(_ONE_BYTE):
        return f"a line break cannot be found in the midst of {encoding}"
    if dialect is not None and dialect.escape is not None:
        return "with an `escape` a line break can be part of a field"
    if dialect is not None and dialect.skip:
        return "lines are skipped at its beginning"
    return None


def _row_ends(file: DataFile, size: int) -> Iterator[int]:
    """The first line break after each `size` bytes."""
    with open_file(file) as source:
        place = size
        while place < file.size:
            source.seek(place)
            while (piece := source.read(WINDOW_BYTES)) and b"\n" not in piece:
                place += len(piece)
            end = place + piece.find(b"\n") + 1
            if not piece or end >= file.size:
                return
            yield end
            place = max(end, place) + size


def _unquoted_ends(file: DataFile, size: int, quote: bytes) -> Iterator[int]:
    """The same, outside of quotes; at last -1 where quotes are odd in number."""
    due, place, quotes = size, 0, 0
    with open_file(file) as source:
        while piece := source.read(WINDOW_BYTES):
            done = 0
            counted = quote in piece  # looking for the first is ten times faster than counting all
            while place + len(piece) > due:
                feed = piece.find(b"\n", max(done, due - place - 1))
                if feed < 0:
                    due = place + len(piece)
                    break
                quotes += piece.count(quote, done, feed) if counted else 0
                done = feed + 1
                if quotes % 2 == 0 and place + done < file.size:
                    yield place + done
                    due = place + done + size
                else:
                    due = place + done
            quotes += piece.count(quote, done) if counted else 0
            place += len(piece)
    if quotes % 2:
        yield -1
