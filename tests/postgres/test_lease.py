"""The lease: one run at a time, at once where the last one is dead, and nothing from a run that was taken for dead."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable

import psycopg
import pytest

from rapidbyte.destinations.postgres import lease, leases
from rapidbyte.destinations.postgres.lease import is_pooled
from rapidbyte.destinations.postgres.leases import Holder, Verdict, decide
from rapidbyte.errors import BusyError, ConfigError, FenceError, RapidbyteError
from tests.postgres.leading import finalize, lead, leader_for, open_run, request, rows_of, run

T = "CREATE SCHEMA app; CREATE TABLE app.t (id int PRIMARY KEY);"
LEASE = "SELECT fence, run_id, host, pid FROM _rapidbyte.leases"
EXPIRE = "UPDATE _rapidbyte.leases SET renewed_at = now(), expires_at = now() - interval '1 s'"
SESSIONS = """
SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'rapidbyte %'
"""
TERMINATE_LEASE = """
SELECT pg_terminate_backend(backend_pid, 10000) FROM _rapidbyte.leases
"""


def holder(**changes: object) -> Holder:
    values: dict[str, object] = {
        "fence": 3,
        "run_id": "run-1",
        "host": "there",
        "pid": 1,
        "backend_pid": 2,
        "acquired_at": None,
        "renewed_at": None,
        "expired": False,
        "connected": True,
    }
    return Holder(**{**values, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("run_id", "locked", "connected", "expired", "verdict"),
    [
        (None, True, False, False, "take"),
        (None, False, False, False, "busy"),  # another one is just about to take it
        ("run-1", True, False, False, "take"),  # died
        ("run-1", True, True, False, "busy"),  # took over from a frozen one whose session has ended since
        ("run-1", False, True, False, "busy"),
        ("run-1", False, False, False, "busy"),  # another one is just about to take it
        ("run-1", True, False, True, "take"),
        ("run-1", False, True, True, "take over"),
        ("run-1", False, False, True, "take over"),
        ("run-1", True, True, True, "take over"),
    ],
)
def test_who_may_take_the_lease(
    run_id: str | None, locked: bool, connected: bool, expired: bool, verdict: Verdict
) -> None:
    """Every case of lock, row, backend and expiry."""
    found = holder(run_id=run_id, connected=connected, expired=expired)
    assert decide(found, locked=locked) == verdict


@pytest.mark.parametrize(
    ("backends", "pooled"),
    [((1, 2, 1), False), ((1, 1, 2), True), ((1, 2, 3), True), ((1, 1, 1), True)],
)
def test_a_transaction_pooler_is_told_by_its_backends(backends: tuple[int, int, int], pooled: bool) -> None:
    """Two sessions with one backend, or one session with two (C17)."""
    assert is_pooled(*backends) is pooled


def test_a_second_run_is_told_who_is_at_work(destination_db: str) -> None:
    """Exit 8 at once, with process, host and time; the first one is not disturbed (D1, D2)."""
    run(destination_db, T)
    with lead(destination_db, "t") as first, lead(destination_db, "t") as second:
        contract = first.prepare()
        with pytest.raises(BusyError) as caught:
            open_run(second.leader)
        assert finalize(first.leader, contract, first.fill(contract, "VALUES (1)")).rows == 1
    assert (caught.value.exit_code, caught.value.code) == (8, "pipeline_busy")
    assert "process 7 on here" in caught.value.message
    assert " UTC" in caught.value.message


def test_eight_runs_that_start_together_are_one_run(destination_db: str) -> None:
    """On a fresh database: one gets the lease, seven end with exit 8, none with anything else (P5)."""
    run(destination_db, T)
    barrier, done = threading.Barrier(8), threading.Barrier(8)
    outcomes: list[str] = []

    def work() -> None:
        with leader_for(destination_db) as leader:
            barrier.wait()
            try:
                open_run(leader)
                outcomes.append("taken")
            except BusyError:
                outcomes.append("busy")
            finally:
                done.wait()

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["busy"] * 7 + ["taken"]


def test_the_lease_of_a_closed_run_is_free(destination_db: str) -> None:
    """The next one gets the next fence; sessions and lock are gone."""
    for fence in (1, 2, 3):
        with leader_for(destination_db) as leader:
            assert open_run(leader).fence == fence
    assert rows_of(destination_db, SESSIONS) == [(0,)]


KILLED = """
import os, signal, sys
from tests.postgres.leading import leader_for, open_run
with leader_for(sys.argv[1]) as leader:
    open_run(leader, host="here", pid=os.getpid())
    print("taken", flush=True)
    signal.pause()
"""


def test_a_killed_run_is_no_obstacle(destination_db: str) -> None:
    """kill -9: its lease, which would not expire for 30 s, is taken at once (C14)."""
    process = subprocess.Popen([sys.executable, "-c", KILLED, destination_db], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    with process.stdout as output:
        assert output.readline() == "taken\n"
        with leader_for(destination_db) as leader, pytest.raises(BusyError):
            open_run(leader)
        process.kill()
    process.wait()
    with leader_for(destination_db) as leader:
        assert open_run(leader).fence == 2
    assert rows_of(destination_db, "SELECT count(*) FROM _rapidbyte.runs WHERE status = 'lost'") == [(1,)]


@pytest.fixture
def freeze(destination_db: str, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """As if the holder's process had stopped for longer than the lease; its sessions are still there."""
    monkeypatch.setattr(lease, "RENEW_SECONDS", 3600.0)
    return lambda: run(destination_db, EXPIRE)


def test_a_frozen_run_is_taken_over_and_publishes_nothing(destination_db: str, freeze: Callable[[], None]) -> None:
    """Its sessions are ended, its load is given up by the new one, and when it wakes up it ends with exit 8 (D3)."""
    run(destination_db, T)
    with lead(destination_db, "t") as frozen, lead(destination_db, "t") as second:
        contract = frozen.prepare()
        receipts = frozen.fill(contract, "VALUES (1)")
        freeze()
        assert open_run(second.leader).fence == 2
        report = second.publish("VALUES (2)")
        with pytest.raises(FenceError) as caught:
            finalize(frozen.leader, contract, receipts)
        frozen.leader.discard_stream(contract)
    assert report.rows == 1
    assert (caught.value.exit_code, caught.value.context.commit_state) == (8, "before_commit")
    assert rows_of(destination_db, "SELECT id FROM raw.t") == [(2,)]


def test_a_run_can_ask_whether_the_lease_is_its_own(destination_db: str, freeze: Callable[[], None]) -> None:
    """D3: on a new connection where the old one was ended."""
    run(destination_db, T)
    with leader_for(destination_db) as frozen, leader_for(destination_db) as second:
        open_run(frozen)
        frozen.require_lease()
        freeze()
        open_run(second)
        second.require_lease()
        with pytest.raises(FenceError):
            frozen.require_lease()


def test_a_frozen_run_learns_of_it_from_its_heartbeat(destination_db: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run is told once, with the error that it ends with."""
    monkeypatch.setattr(lease, "RENEW_SECONDS", 0.05)
    told: list[RapidbyteError] = []
    heard = threading.Event()

    def lost(error: RapidbyteError) -> None:
        told.append(error)
        heard.set()

    with leader_for(destination_db) as frozen:
        frozen.open_run(request(), lost)
        run(destination_db, "UPDATE _rapidbyte.leases SET fence = fence + 1, run_id = 'run-9', host = 'far', pid = 9")
        assert heard.wait(30)
    assert [type(error) for error in told] == [FenceError]
    assert "by run run-9 (process 9 on far)" in told[0].message


def test_a_frozen_publish_is_not_overtaken(destination_db: str, freeze: Callable[[], None]) -> None:
    """While a transaction that has checked its fence is open and cannot be ended, nobody raises the fence."""
    run(destination_db, T)
    with lead(destination_db, "t") as frozen, psycopg.connect(destination_db) as publishing:
        frozen.prepare()
        fence = frozen.leader.fence
        assert fence is not None
        leases.require_fence(publishing, pipeline="shop", fence=fence)
        freeze()
        with leader_for(destination_db) as second, pytest.raises(BusyError):
            open_run(second)
        publishing.commit()
        with leader_for(destination_db) as second:
            assert open_run(second).fence == fence + 1


def test_a_publish_may_take_longer_than_the_lease(destination_db: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The heartbeat renews the row that the publishing transaction keeps."""
    monkeypatch.setattr(lease, "RENEW_SECONDS", 0.05)
    run(destination_db, T)
    with lead(destination_db, "t") as load, psycopg.connect(destination_db) as publishing:
        load.prepare()
        fence = load.leader.fence
        assert fence is not None
        leases.require_fence(publishing, pipeline="shop", fence=fence)
        (before,) = rows_of(destination_db, "SELECT renewed_at::text FROM _rapidbyte.leases")
        while rows_of(destination_db, "SELECT renewed_at::text FROM _rapidbyte.leases") == [before]:
            pass


def test_a_lost_lease_connection_is_taken_again(destination_db: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The fence is still ours: the run goes on, and another one is still kept out."""
    monkeypatch.setattr(lease, "RENEW_SECONDS", 0.05)
    monkeypatch.setattr(lease, "RECONNECT_SECONDS", 0.01)
    run(destination_db, T)
    with lead(destination_db, "t") as load:
        contract = load.prepare()
        (before,) = rows_of(destination_db, "SELECT backend_pid FROM _rapidbyte.leases")
        run(destination_db, TERMINATE_LEASE)
        while rows_of(destination_db, "SELECT backend_pid FROM _rapidbyte.leases") == [before]:
            pass
        held = "SELECT count(*) FROM pg_locks l, _rapidbyte.leases WHERE l.pid = backend_pid AND locktype = 'advisory'"
        while rows_of(destination_db, held) == [(0,)]:
            pass
        with leader_for(destination_db) as second, pytest.raises(BusyError):
            open_run(second)
        assert finalize(load.leader, contract, load.fill(contract, "VALUES (1)")).rows == 1
    assert rows_of(destination_db, "SELECT fence FROM _rapidbyte.leases") == [(1,)]


def test_a_run_whose_lease_was_taken_while_it_was_cut_off_publishes_nothing(destination_db: str) -> None:
    """Without its connection the lock is free, and another run takes it; the first one's worker may go on, in vain."""
    run(destination_db, T)
    with lead(destination_db, "t") as cut, lead(destination_db, "t") as second:
        contract = cut.prepare()
        run(destination_db, TERMINATE_LEASE)
        open_run(second.leader)
        receipts = cut.fill(contract, "VALUES (1)")
        with pytest.raises(FenceError):
            finalize(cut.leader, contract, receipts)
        assert second.publish("VALUES (2)").rows == 1
    assert rows_of(destination_db, "SELECT id FROM raw.t") == [(2,)]


def test_a_crash_of_the_whole_client_leaves_nothing_that_waits(destination_db: str) -> None:
    """All backends of a run are gone: the next run is not kept waiting by its row."""
    run(destination_db, T)
    with lead(destination_db, "t") as dead:
        dead.prepare()
        run(
            destination_db,
            "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity"
            " WHERE datname = current_database() AND application_name = 'rapidbyte leader shop'",
        )
        with lead(destination_db, "t") as load:
            assert load.publish("VALUES (2)").rows == 1


def test_pipelines_do_not_disturb_each_other(destination_db: str) -> None:
    """A lease is a pipeline's."""
    with leader_for(destination_db) as one, leader_for(destination_db, pipeline="other") as two:
        assert (open_run(one).fence, open_run(two).fence) == (1, 1)
    assert rows_of(destination_db, "SELECT pipeline, fence FROM _rapidbyte.leases ORDER BY 1") == [
        ("other", 1),
        ("shop", 1),
    ]


def test_a_run_needs_no_power_over_other_roles(
    destination_db: str, make_role: Callable[..., str], freeze: Callable[[], None]
) -> None:
    """A role that may not end the frozen run's sessions takes the lease by its row alone, and keeps it."""
    role = make_role()
    run(destination_db, T)
    with lead(destination_db, "t") as frozen:
        contract = frozen.prepare()
        receipts = frozen.fill(contract, "VALUES (1)")
        freeze()
        run(destination_db, f"GRANT USAGE ON SCHEMA _rapidbyte TO {role};"
            f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA _rapidbyte TO {role}")  # fmt: skip
        with leader_for(destination_db.replace("postgres@", f"{role}@", 1)) as second:
            assert open_run(second).fence == 2
            with leader_for(destination_db) as third, pytest.raises(BusyError):
                open_run(third)
            with pytest.raises(FenceError):
                finalize(frozen.leader, contract, receipts)


# --- the source


def test_a_pipeline_keeps_to_its_source(destination_db: str) -> None:
    """What was published from one database is not continued from another: exit 2 (E13)."""
    run(destination_db, T)
    with lead(destination_db, "t") as load:
        open_run(load.leader, source_identity="7/1")
        load.publish("VALUES (1)")
    with leader_for(destination_db) as leader:
        with pytest.raises(ConfigError) as caught:
            open_run(leader, source_identity="7/2")
        leader.close()
        assert open_run(leader, source_identity=None).fence == 3
    with leader_for(destination_db) as leader:
        assert open_run(leader, source_identity="7/1").fence == 4
    assert (caught.value.exit_code, caught.value.code) == (2, "source_changed")
    assert caught.value.hint is not None
    assert "rapidbyte state reset" in caught.value.hint


def test_a_source_that_was_never_loaded_binds_nothing(destination_db: str) -> None:
    """A run that failed has not tied the pipeline's name to its source."""
    run(destination_db, T)
    with lead(destination_db, "t") as load:
        open_run(load.leader, source_identity="7/1")
        load.prepare()
    with leader_for(destination_db) as leader:
        assert open_run(leader, source_identity="7/2").fence == 2
