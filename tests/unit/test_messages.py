"""CopyData messages: where one ends and the next begins, however they are cut."""

from __future__ import annotations

import itertools
import struct

from hypothesis import given
from hypothesis import strategies as st

from rapidbyte.pg.messages import Stripper, walk

ROWS = st.lists(st.one_of(st.binary(max_size=40), st.just(b"12345678")), max_size=40)
"""Some as long as their neighbours, as rows of numbers are."""


def message(row: bytes, kind: bytes = b"d") -> bytes:
    return kind + struct.pack(">I", len(row) + 4) + row


@given(rows=ROWS, seen=st.integers(min_value=0), other=st.sampled_from([b"", b"c", b"E", b"N"]))
def test_a_walk_finds_every_message_of_which_the_head_is_there(rows: list[bytes], seen: int, other: bytes) -> None:
    """Rows begun, the last boundary, where the last row ends, and the first message that is no row."""
    data = b"".join(map(message, rows)) + (message(b"rest", other) if other else b"")
    end = seen % (len(data) + 1)
    starts, position = [0], 0
    for row in rows:
        position += len(message(row))
        starts.append(position)
    begun = [start for start in starts[:-1] if start + 5 <= end]

    found = walk(bytearray(data[:end].ljust(len(data), b"d")), 0, end)

    assert len(begun) == found.rows
    assert (starts[len(begun)] if begun else 0) == found.position
    is_there = other and starts[-1] + 5 <= end
    assert (other[0] if is_there else None) == found.other
    if found.position > end:
        assert begun[-1] == found.boundary
    else:
        assert found.position == found.boundary


@given(rows=ROWS, cuts=st.lists(st.integers(min_value=0, max_value=2000)))
def test_heads_are_taken_off_wherever_the_blocks_are_cut(rows: list[bytes], cuts: list[int]) -> None:
    """What is left is the rows, in order (a head itself is never cut)."""
    data = b"".join(map(message, rows))
    heads = {place for row_end in ends(rows) for place in range(row_end + 1, row_end + 5)} | {1, 2, 3, 4}
    places = sorted({0, len(data), *(cut for cut in cuts if cut < len(data) and cut not in heads)})
    stripper = Stripper()
    stripped = [stripper.strip(data[a:b]) for a, b in itertools.pairwise(places)]
    assert b"".join(rows) == b"".join(stripped)


def ends(rows: list[bytes]) -> list[int]:
    found, position = [], 0
    for row in rows:
        position += len(message(row))
        found.append(position)
    return found
