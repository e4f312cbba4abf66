"""Which failures are tried again, how often, and that nothing is loaded twice by it."""

from __future__ import annotations

import threading

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg import errors as server_errors

from rapidbyte.engine.pool import thread_pool
from rapidbyte.engine.worker import PartitionJob, run_partition
from rapidbyte.errors import CancelledError, DestinationError, RetryKind, SourceError
from rapidbyte.partition import Partition, Whole
from rapidbyte.pg.failure import retry_kind
from rapidbyte.ports import Stop
from rapidbyte.retry import RetryPolicy, pause_before_retry
from tests import fakes
from tests.fakes import Script, copy_target


def failure(retry: RetryKind) -> DestinationError:
    return DestinationError("no", code="x", retry=retry)


@pytest.mark.parametrize(
    ("sqlstate", "kind"),
    [
        ("40001", "transaction"),
        ("40P01", "transaction"),
        ("55P03", "transaction"),
        ("08006", "connection"),
        ("57P01", "connection"),
        ("57P03", "connection"),
        ("53300", "connection"),
        *((state, "never") for state in ("22003", "23505", "28P01", "3D000", "42P01", "0A000", "54000", "57014")),
        *((state, "never") for state in ("25P03", "25006", "53100", "53200", "53400", "58030", "P0001", "XX000")),
    ],
)
def test_the_sqlstate_says_whether_to_try_again(sqlstate: str, kind: str) -> None:
    """The table of the guarantees; what is not named is permanent."""
    assert retry_kind(server_errors.lookup(sqlstate)("x")) == kind


def test_a_connection_that_broke_without_a_sqlstate_is_tried_again() -> None:
    """C1: a backend killed in mid-COPY."""
    assert retry_kind(psycopg.OperationalError("server closed the connection unexpectedly")) == "connection"
    assert retry_kind(psycopg.ProgrammingError("x")) == "never"


@given(st.integers(1, 50), st.floats(0, 1), st.integers(0, 5))
def test_pauses_grow_are_bounded_and_end(failures: int, dice: float, retries: int) -> None:
    """E18: a transaction exactly `max_retries` times; a connection until its time is over."""
    policy = RetryPolicy(max_retries=retries)
    pause = pause_before_retry(failure("transaction"), policy, failures=failures, failing_s=0, dice=dice)
    assert (pause is not None) == (failures <= retries)
    assert pause is None or 0.1 <= pause <= policy.longest_pause_s
    assert pause_before_retry(failure("never"), policy, failures=1, failing_s=0, dice=dice) is None
    assert pause_before_retry(failure("connection"), policy, failures=failures, failing_s=60, dice=dice) is None


@pytest.mark.parametrize("retry", ["transaction", "connection"])
def test_what_may_have_been_committed_is_not_tried_again(retry: RetryKind) -> None:
    """A COMMIT whose answer is lost is looked up; a second try could load the rows twice."""
    error = DestinationError("no", code="x", retry=retry, commit_state="after_commit_unknown")
    assert pause_before_retry(error, RetryPolicy(), failures=1, failing_s=0) is None


def job(script: Script, policy: RetryPolicy, tries: list[int]) -> PartitionJob:
    def count(stop: Stop) -> None:
        tries.append(1)
        if script.before is not None:
            script.before(stop)

    counted = Script(blocks=script.blocks, failure=script.failure, before=count)
    return PartitionJob(
        order=0,
        read=fakes.reader({("orders", 0): counted}),
        write=fakes.write,
        target=copy_target(),
        partition=Partition(stream="orders", index=0, range=Whole()),
        max_inflight_bytes=1000,
        retry=policy,
    )


def test_a_partition_is_tried_exactly_as_often_as_the_policy_says() -> None:
    """A first try and two more; the last error is told, with its place."""
    tries: list[int] = []
    cut = SourceError("cut", code="x", retry="transaction")
    with pytest.raises(SourceError) as raised:
        run_partition(job(Script(failure=cut), RetryPolicy(max_retries=2, longest_pause_s=0), tries), lambda: False)
    assert len(tries) == 3
    assert (raised.value.context.partition, raised.value.context.stream) == (0, "orders")


def test_a_try_that_succeeds_is_counted_and_its_time_is_measured() -> None:
    """Twice it cannot be read, then it can: three attempts, one receipt."""
    left = [SourceError("1", code="x", retry="connection"), SourceError("2", code="x", retry="connection")]

    def fail_twice(stop: Stop) -> None:
        if left:
            raise left.pop()

    with thread_pool(1) as executor:
        tries: list[int] = []
        policy = RetryPolicy(longest_pause_s=0.01)
        report = executor.submit(run_partition, job(Script(before=fail_twice), policy, tries), lambda: False).result()
    assert (report.attempts, report.receipt.rows, len(tries)) == (3, 1, 3)
    assert report.times.total_s == pytest.approx(report.ended_s - report.started_s, rel=0.02, abs=0.002)


def test_a_permanent_failure_is_not_tried_again() -> None:
    """Once: a timeout would fire again, a full disk stays full; which ones are, the table above says (C6)."""
    tries: list[int] = []
    with pytest.raises(SourceError):
        run_partition(job(Script(failure=SourceError("x", code="x")), RetryPolicy(), tries), lambda: False)
    assert len(tries) == 1


def test_a_stop_ends_the_waiting_for_another_try() -> None:
    """The pause would be 5 s."""
    stop = threading.Event()
    lost = SourceError("x", code="x", retry="connection")

    def set_stop(asked: Stop) -> None:
        stop.set()

    with pytest.raises((SourceError, CancelledError)):
        run_partition(job(Script(failure=lost, before=set_stop), RetryPolicy(), []), stop.is_set)
