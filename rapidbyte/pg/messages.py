"""CopyData messages: where one ends and the next begins. Pure.

Each is a `d`, four bytes of length, and a row (in the first also the header of binary COPY, in the last its trailer).
"""

from __future__ import annotations

import struct

from rapidbyte.values import frozen

HEAD_BYTES = 5
"""Of a message: its kind, and its length without the kind."""

_ROW = ord("d")

_head = struct.Struct(">BI").unpack_from


@frozen
class Frames:
    """Messages of one COPY, in order."""

    data: bytes
    rows: int
    """Messages that begin here."""
    size: int
    """Bytes without the heads."""
    missing_bytes: int = 0
    """Bytes of the last message that come next: it is larger than a block."""


@frozen
class Walked:
    """How far a walk over messages has come. Positions in the buffer."""

    boundary: int
    """Where the last message that is here begins, or the first one that is no row."""
    position: int
    """Where the last message ends, which may be behind the end of the buffer's data."""
    rows: int
    """Messages with a row of which the head was seen."""
    other: int | None
    """Kind of the message at `position`, where it is none with a row."""


def walk(buffer: bytearray, start: int, end: int) -> Walked:
    """Walks over CopyData messages from `start`, where one begins, to `end`, where the data end."""
    boundary = position = start
    rows = 0
    if start >= end:
        return Walked(boundary=start, position=start, rows=0, other=None)
    stride = _equal_stride(buffer, start, end)
    if stride:
        rows = _equal_heads(buffer, start, end, stride)
        position = start + rows * stride
        boundary = position - stride
    last = end - HEAD_BYTES
    while position <= last:
        kind, length = _head(buffer, position)
        if kind != _ROW:
            return Walked(boundary=position, position=position, rows=rows, other=kind)
        boundary = position
        position += length + 1
        rows += 1
    if position <= end:
        boundary = position
    return Walked(boundary=boundary, position=position, rows=rows, other=None)


def _equal_stride(buffer: bytearray, start: int, end: int) -> int:
    """Length of the first message with its kind, where the second is as long; else 0."""
    if end - start < HEAD_BYTES:
        return 0
    kind, length = _head(buffer, start)
    following = start + length + 1
    if kind != _ROW or following > end - HEAD_BYTES or _head(buffer, following) != (kind, length):
        return 0
    return length + 1


def _equal_heads(buffer: bytearray, start: int, end: int, stride: int) -> int:
    """How many messages from `start` on have the same head, each `stride` after the other. The heads are in the buffer.

    Rows of numbers without NULLs are all as long; these are counted without a loop.
    """
    count = (end - start - HEAD_BYTES) // stride + 1
    for place in range(HEAD_BYTES):
        column = buffer[start + place : end : stride][:count]
        count = len(column) - len(column.lstrip(column[:1]))
    return count


class Stripper:
    """Takes the heads off the messages of one COPY, block by block, in order."""

    def __init__(self) -> None:
        self._missing = 0

    def strip(self, data: bytes) -> bytes:
        """The rows without what is around them."""
        position = self._missing
        parts = [data[:position]]
        while position < len(data):
            _, length = _head(data, position)
            parts.append(data[position + HEAD_BYTES : position + length + 1])
            position += length + 1
        self._missing = position - len(data)
        return b"".join(parts)
