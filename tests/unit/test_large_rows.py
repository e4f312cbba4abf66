"""How much memory large rows may take: who gets room, who waits, and that nobody waits for ever."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor, wait

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rapidbyte.errors import CancelledError, DataError
from rapidbyte.pg.large_rows import LARGE_ROW_BYTES, RowBudget, RowShare, doubled

MB = 1 << 20


def budget(limit_mb: int, *, max_row_mb: int = 1024) -> RowBudget:
    """Room for so many megabytes."""
    return RowBudget(limit_bytes=limit_mb * MB, max_row_bytes=max_row_mb * MB)


def share(of: RowBudget, *, stream: str = "t", stop: bool = True, copies: int = 1) -> RowShare:
    """A reader's; one that stops raises instead of waiting."""
    return of.share(stream, copies=copies, stop=lambda: stop, doing="reading t")


@pytest.mark.parametrize(
    ("row_bytes", "buffer_bytes"),
    [(1, 1 << 14), (1 << 14, 1 << 14), ((1 << 14) + 1, 1 << 15), (50 * MB, 64 * MB), (64 * MB, 64 * MB)],
)
def test_a_buffer_doubles_until_the_row_fits(row_bytes: int, buffer_bytes: int) -> None:
    """libpq's begins with 16 KB."""
    assert doubled(row_bytes) == buffer_bytes


def test_short_rows_are_not_accounted_for() -> None:
    """Nobody is asked for what a process has anyway."""
    one = share(budget(0))
    one.reserve(LARGE_ROW_BYTES)
    one.note(LARGE_ROW_BYTES)
    assert one.held == 0


def test_one_reader_at_a_time_finds_out_how_wide_rows_are() -> None:
    """The second waits although there is room: nobody knows how much the first will need."""
    room = budget(1000)
    first, second = share(room), share(room)
    first.reserve(2 * MB)
    with pytest.raises(CancelledError):
        second.reserve(2 * MB)
    first.note(50 * MB)
    second.reserve(2 * MB)
    assert (first.held, second.held) == (114 * MB, 114 * MB)


def test_who_does_not_fit_waits_until_another_gives_back() -> None:
    """Rows as wide as the widest so far are asked for as a whole."""
    room = budget(160)
    first, second = share(room), share(room)
    first.reserve(2 * MB)
    first.note(50 * MB)
    with pytest.raises(CancelledError):
        second.reserve(2 * MB)
    first.release()
    second.reserve(2 * MB)
    assert second.held == 114 * MB


def test_two_readers_that_hold_room_and_wait_for_more_both_end() -> None:
    """One of them gets it above the limit, since nobody else would ever give any back."""
    room, gave_up = budget(30), threading.Event()
    pair = [room.share("t", copies=1, stop=gave_up.is_set, doing="reading t") for _ in range(2)]
    for each in pair:
        each.reserve(2 * MB)
        each.note(5 * MB)

    def read(own: RowShare) -> None:
        own.reserve(20 * MB)
        own.release()

    with ThreadPoolExecutor(2) as pool:
        readers = [pool.submit(read, each) for each in pair]
        waiting = wait(readers, timeout=30).not_done
        gave_up.set()
    assert not waiting
    assert [each.exception() for each in readers] == [None, None]


def test_a_connection_is_closed_where_its_buffer_has_grown_beyond_eight_megabytes() -> None:
    """Nothing else gives the buffer back."""
    one = share(budget(1000))
    one.note(8 * MB)
    assert not one.grew
    one.note(8 * MB + 1)
    assert one.grew


def test_one_row_alone_may_take_more_than_the_limit() -> None:
    """Else it could never be loaded."""
    one = share(budget(10))
    one.reserve(50 * MB)
    assert one.held == 128 * MB


def test_streams_are_wide_by_themselves() -> None:
    """What one stream's rows need is not asked for another's."""
    room = budget(1000)
    first, second = share(room, stream="wide"), share(room, stream="narrow")
    first.reserve(2 * MB)
    first.note(100 * MB)
    second.reserve(2 * MB)
    assert second.held == 4 * MB


def test_a_row_longer_than_max_memory_is_refused_with_what_to_do() -> None:
    """Before it is taken off the wire, and not by the system's killer."""
    one = share(budget(10, max_row_mb=20))
    with pytest.raises(DataError, match=r"longer than 20 MB, which is resources\.max_memory") as raised:
        one.reserve(21 * MB)
    assert (raised.value.code, raised.value.context.stream) == ("row_too_large", "t")
    assert raised.value.hint == "raise resources.max_memory: such a row takes 3 times its size at most"
    with pytest.raises(DataError, match="longer than 20 MB"):
        one.note(21 * MB)


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.lists(st.integers(2, 60), min_size=1, max_size=4), min_size=2, max_size=4),
    st.integers(1, 200),
)
def test_readers_with_any_rows_all_end(readers: list[list[int]], limit_mb: int) -> None:
    """Whatever the widths: nobody waits for ever, and at most one of them is above the limit."""
    room = budget(limit_mb)
    widest = doubled(max(map(max, readers)) * MB) * 2
    above: list[int] = []
    lock = threading.Lock()
    shares = [share(room, stop=False) for _ in readers]

    def read(own: RowShare, rows: list[int]) -> None:
        for row in rows:
            for taken in range(2, row + 1, 7):
                own.reserve(taken * MB)
                with lock:
                    above.append(sum(each.held for each in shares))
            own.note(row * MB)
        own.release()

    with ThreadPoolExecutor(len(readers)) as pool:
        for done in [pool.submit(read, own, rows) for own, rows in zip(shares, readers, strict=True)]:
            done.result(timeout=60)
    assert all(each.held == 0 for each in shares)
    assert max(above) <= limit_mb * MB + 2 * widest
