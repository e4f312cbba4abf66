"""Figures are added up from what was measured; the verdict follows the workers' time."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from rapidbyte.contract import PartitionReceipt, WorkerReport
from rapidbyte.engine.shares import shares
from rapidbyte.engine.verdict import Surroundings, verdict, why_no_verdict
from rapidbyte.engine.worker_figures import workers_summary
from rapidbyte.metrics import Laps, ReadTimes, WorkTimes
from rapidbyte.result import Phases

PHASES = Phases(preflight_s=0.1, prepare_s=0.1, load_s=10.0, finalize_s=0.5, cleanup_s=0.0)


def around(**changes: Any) -> Surroundings:
    """Two workers with enough to do on four cores that are not busy."""
    found = Surroundings(workers=2, partitions=20, cores=4, busy_cores=0.3, phases=PHASES)
    return replace(found, **changes)


def report(
    worker: int = 0,
    *,
    started: float = 0.0,
    rows: int = 10,
    times: WorkTimes | None = None,
    read: ReadTimes | None = None,
    blocked: float = 0.0,
) -> WorkerReport:
    spent = times or WorkTimes()
    return WorkerReport(
        receipt=PartitionReceipt(
            load_id="l", stream="s", partition=0, rows=rows, bytes=rows, times=spent, write_blocked_s=blocked
        ),
        worker=worker,
        started_s=started,
        ended_s=started + spent.total_s,
        times=spent,
        read=read or ReadTimes(),
        bytes_read=rows,
    )


@pytest.mark.parametrize(
    ("times", "read", "blocked", "expected"),
    [
        (WorkTimes(wait_source_s=9, write_s=1), ReadTimes(blocked_s=9, busy_s=1), 0.5, "source"),
        (WorkTimes(wait_source_s=9, write_s=1), ReadTimes(blocked_s=1, busy_s=9), 0.5, "client"),
        (WorkTimes(wait_source_s=1, encode_s=8, write_s=1), ReadTimes(blocked_s=1), 0.5, "client"),
        (WorkTimes(wait_source_s=1, write_s=6, commit_s=3), ReadTimes(blocked_s=1), 6.0, "destination"),
        (WorkTimes(wait_source_s=5, write_s=5), ReadTimes(blocked_s=1), 5.0, "balanced"),
    ],
)
def test_the_verdict_names_the_side_that_the_workers_waited_for(
    times: WorkTimes, read: ReadTimes, blocked: float, expected: str
) -> None:
    """Waiting for a reader that is itself busy is the client's; a blocked socket is the destination's."""
    found = verdict([report(times=times, read=read, blocked=blocked)], around())
    assert found is not None
    assert found.bottleneck == expected
    assert found.shares.source + found.shares.client + found.shares.destination == pytest.approx(1)


@pytest.mark.parametrize(
    ("size", "compression", "advises"),
    [(2_000, "pglz", True), (1_999, "pglz", False), (2_000, "lz4", False), (2_000, "", False)],
)
def test_wide_values_that_the_destination_compresses_slowly_are_pointed_at(
    size: int, compression: str, advises: bool
) -> None:
    """By the mean width of the rows, and what the destination says of itself."""
    slow = report(times=WorkTimes(write_s=9, commit_s=1), blocked=9)
    wide = replace(slow, receipt=replace(slow.receipt, rows=1, bytes=size))
    found = verdict([wide], around(toast_compression=compression))
    assert found is not None
    assert ("default_toast_compression = 'lz4'" in found.advice) is advises


@pytest.mark.parametrize(
    ("source_s", "destination_s", "expected"), [(58, 42, "source"), (57, 43, "balanced"), (42, 58, "destination")]
)
def test_a_side_limits_the_run_where_its_share_leads_by_fifteen_in_a_hundred(
    source_s: float, destination_s: float, expected: str
) -> None:
    """By less it is balanced."""
    measured = report(
        times=WorkTimes(wait_source_s=source_s, write_s=destination_s),
        read=ReadTimes(blocked_s=1),
        blocked=destination_s,
    )
    found = verdict([measured], around())
    assert found is not None
    assert found.bottleneck == expected


def test_every_second_of_a_worker_is_one_sides() -> None:
    """A reader's own work is the client's; COMMIT is the destination's, as is what its socket did not take."""
    times = WorkTimes(wait_source_s=10, transform_s=2, encode_s=3, write_s=20, commit_s=5)
    found = shares([report(times=times, read=ReadTimes(blocked_s=3, busy_s=1), blocked=12)])
    assert found is not None
    assert (found.source, found.client, found.destination) == pytest.approx(
        (7.5 / 40, (2.5 + 2 + 3 + 8) / 40, (12 + 5) / 40)
    )


def test_a_source_whose_reader_measured_nothing_was_waited_for() -> None:
    """Its share is the source's, not the client's."""
    found = shares([report(times=WorkTimes(wait_source_s=3, write_s=1))])
    assert found is not None
    assert (found.source, found.client) == (0.75, 0.25)


def test_too_little_to_tell_is_no_verdict_and_a_reason() -> None:
    """Less than half a second of work, and a load of no rows."""
    short = report(times=WorkTimes(wait_source_s=0.1, write_s=0.3, connect_s=9), read=ReadTimes(blocked_s=1))
    assert verdict([short], around()) is None
    assert why_no_verdict([short], has_ended=True) == (
        "the workers had 0.40 s of work, which is too short to tell what limits a load"
    )
    assert verdict([short, short], around()) is not None
    assert why_no_verdict([short, short], has_ended=True) is None
    empty = report(times=WorkTimes(wait_source_s=5, write_s=5), read=ReadTimes(blocked_s=1), rows=0)
    assert (verdict([empty], around()), why_no_verdict([empty], has_ended=True)) == (None, "no row was loaded")


def test_what_a_failed_run_committed_is_judged_where_it_was_much() -> None:
    """Five seconds of work instead of a half; a publish that failed is no reason to advise on publishing."""
    little = report(times=WorkTimes(wait_source_s=4.8, write_s=0.1), read=ReadTimes(blocked_s=1))
    assert verdict([little], around()) is not None
    assert verdict([little], around(has_ended=False)) is None
    assert why_no_verdict([little], has_ended=False) == (
        "the run did not end well, and the partitions it committed were 4.90 s of work, which is too short to tell what"
        " limits a load"
    )
    published = replace(PHASES, finalize_s=PHASES.load_s + 1)
    advice = [verdict([little, little], around(has_ended=ended, phases=published)) for ended in (True, False)]
    assert [each is not None and each.advice.startswith("Publishing took") for each in advice] == [True, False]


def test_nothing_measured_is_no_verdict() -> None:
    """Not known is None, never 0."""
    assert verdict([], around()) is None
    assert shares([report()]) is None
    summary = workers_summary([], 2)
    assert (summary.count, summary.active_ratio, summary.rows_skew_ratio, summary.rows_min) == (2, None, None, None)


def test_skew_is_least_over_most_and_gaps_between_partitions_are_waiting() -> None:
    """Worker 0 has 30 rows in two partitions with a gap of 2 s, worker 1 has 15."""
    first = report(0, rows=10, started=0, times=WorkTimes(write_s=1))
    second = report(0, rows=20, started=3, times=WorkTimes(write_s=2))
    other = report(1, rows=15, started=0, times=WorkTimes(write_s=1.5))
    summary = workers_summary([second, other, first], 2)
    assert (summary.rows_min, summary.rows_max, summary.rows_skew_ratio) == (15, 30, 0.5)
    assert summary.active_s == pytest.approx(4.5)
    assert summary.wait_s == pytest.approx(2.0)
    assert summary.active_skew_ratio == pytest.approx(0.5)


def test_laps_cover_the_time_that_was_observed_but_for_what_was_skipped() -> None:
    """Every moment is booked once: the sum of the laps is the clock's own span."""
    laps = Laps()
    laps.lap("connect")
    laps.lap("write")
    laps.skip()
    laps.lap("write")
    times = laps.times()
    assert times.total_s == pytest.approx(times.connect_s + times.write_s)
    assert times.total_s <= laps._last - laps.started_at


SLOW_SOURCE = report(times=WorkTimes(wait_source_s=9, write_s=1), read=ReadTimes(blocked_s=1))
SLOW_TRANSFORM = report(times=WorkTimes(wait_source_s=1, transform_s=8, write_s=1), read=ReadTimes(blocked_s=1))
SLOW_ENCODER = report(times=WorkTimes(wait_source_s=1, encode_s=8, write_s=1), read=ReadTimes(blocked_s=1))
SLOW_READER = report(times=WorkTimes(wait_source_s=9, encode_s=1), read=ReadTimes(busy_s=1))
SLOW_NETWORK = report(times=WorkTimes(write_s=9, commit_s=1), blocked=9)
SLOW_COMMIT = report(times=WorkTimes(write_s=2, commit_s=8), blocked=2)
HALF_COMMIT = report(times=WorkTimes(write_s=4, commit_s=5), blocked=4)
NOBODY = report(times=WorkTimes(wait_source_s=5, write_s=5), read=ReadTimes(blocked_s=1), blocked=5)


@pytest.mark.parametrize(
    ("measured", "surroundings", "advice"),
    [
        (SLOW_SOURCE, around(), "more workers than 2 help while both servers have idle cores; else read fewer columns"),
        (SLOW_SOURCE, around(partitions=1), "only 1 of 2 workers had a part of it to read; a `partition_key`"),
        (SLOW_SOURCE, around(partitions=2), "with 2 partitions, more than 2 workers would have nothing to do"),
        (SLOW_SOURCE, around(from_server=False), "look at the disk or the network they come over"),
        (SLOW_SOURCE, around(busy_cores=0.95), "its 4 cores busy, so more workers would not help"),
        (SLOW_TRANSFORM, around(), "most of it in transforms: simplify them; more workers than 2 help"),
        (SLOW_TRANSFORM, around(busy_cores=0.9), "most of it in transforms, and its 4 cores are busy: simplify them."),
        (SLOW_ENCODER, around(), "most of it in encoding rows: give it faster cores"),
        (SLOW_READER, around(), "most of it in reading rows: give it faster cores"),
        (HALF_COMMIT, around(), "a larger `checkpoint_interval_bytes` commits less often"),
        (SLOW_NETWORK, around(), "look at its CPU, disk and WAL, and at the network to it; more workers rarely help"),
        (SLOW_NETWORK, around(direct=True), "and at indexes and triggers of the target"),
        (SLOW_COMMIT, around(), "a larger `checkpoint_interval_bytes` commits less often"),
        (NOBODY, around(), "No side waits for another: more workers than 2 help"),
        (SLOW_SOURCE, around(phases=replace(PHASES, finalize_s=10.1)), "Publishing took 10.1 s and loading 10.0 s"),
        (SLOW_SOURCE, around(phases=replace(PHASES, finalize_s=30.0)), "Publishing took 30.0 s and loading 10.0 s"),
    ],
)
def test_the_advice_fits_what_was_measured(measured: WorkerReport, surroundings: Surroundings, advice: str) -> None:
    """More workers are only advised where they would have something to do, and cores to do it on."""
    found = verdict([measured], surroundings)
    assert found is not None
    assert advice in found.advice
