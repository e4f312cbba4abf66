"""The byte-bounded hand-over between reading and writing."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rapidbyte.engine.handoff import Handoff
from rapidbyte.errors import CancelledError, InternalError, SourceError
from rapidbyte.ports import Block


def block(data: bytes) -> Block:
    return Block(data=data, rows=1, size=len(data))


@given(st.lists(st.binary(max_size=40), max_size=30), st.integers(1, 60))
def test_all_blocks_arrive_in_order_and_within_the_bound(data: list[bytes], bound: int) -> None:
    """Whatever the sizes, what is taken is what was put, and never more than the bound is under way."""
    handoff = Handoff(bound)
    under_way: list[int] = []

    def put() -> None:
        for item in data:
            handoff.put(block(item))
            under_way.append(handoff._size)
        handoff.finish(len(data))

    with ThreadPoolExecutor(1) as pool:
        putting = pool.submit(put)
        taken = [item.data for item in handoff]
        handoff.close()
        putting.result()
    assert taken == data
    assert handoff.row_count == len(data)
    assert max(under_way, default=0) <= max(bound, max(map(len, data), default=0))


def test_a_full_handoff_makes_the_reader_wait_until_something_is_taken() -> None:
    """The second block is only accepted once the first has been taken."""
    handoff = Handoff(4)
    accepted = threading.Event()

    def put() -> None:
        handoff.put(block(b"1234"))
        handoff.put(block(b"5678"))
        accepted.set()
        handoff.finish(2)

    with ThreadPoolExecutor(1) as pool:
        putting = pool.submit(put)
        assert not accepted.wait(0.05)
        assert [item.data for item in handoff] == [b"1234", b"5678"]
        putting.result()
    assert accepted.is_set()


def test_a_failure_of_the_source_is_raised_and_never_an_end() -> None:
    """Blocks that were under way are dropped, and taking raises the source's own error."""
    handoff = Handoff(100)
    handoff.put(block(b"1"))
    failure = SourceError("gone", code="connection_lost")
    handoff.fail(failure)
    with pytest.raises(SourceError) as raised:
        list(handoff)
    assert raised.value is failure


def test_the_row_count_is_not_to_be_had_before_the_end() -> None:
    """A writer cannot take a part for the whole."""
    handoff = Handoff(100)
    handoff.put(block(b"1"))
    with pytest.raises(InternalError):
        _ = handoff.row_count


def test_a_reader_whose_writer_has_gone_is_told_so() -> None:
    """`close` wakes a waiting reader, so that it cannot be left behind."""
    handoff = Handoff(1)
    handoff.put(block(b"1"))
    with ThreadPoolExecutor(1) as pool:
        putting = pool.submit(handoff.put, block(b"2"))
        handoff.close()
        with pytest.raises(CancelledError):
            putting.result()


def test_a_block_above_the_bound_is_alone_until_it_has_been_worked_on() -> None:
    """Its reader goes on when the taker is back for the next, and ends when the taker has gone (B27)."""
    handoff = Handoff(4)
    after_put, after_finish = threading.Event(), threading.Event()

    def put() -> None:
        handoff.put(block(b"12345"))
        after_put.set()
        handoff.finish(1)
        after_finish.set()

    with ThreadPoolExecutor(1) as pool:
        putting = pool.submit(put)
        taking = iter(handoff)
        assert next(taking).data == b"12345"
        assert not after_put.wait(0.05)
        assert next(taking, None) is None
        assert after_put.wait(5)
        assert not after_finish.wait(0.05)
        handoff.close()
        putting.result()
