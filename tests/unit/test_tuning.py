"""How many workers `auto` begins with, how large partitions are, and when one more is taken: tables of cases."""

from __future__ import annotations

import threading
from dataclasses import replace
from types import SimpleNamespace

import pytest

from rapidbyte.contract import PartitionReceipt, WorkerReport
from rapidbyte.engine.pool import Crew
from rapidbyte.engine.tuner import Tuner
from rapidbyte.metrics import MachineLoad, ReadTimes, WorkTimes
from rapidbyte.tuning import Choice, Facts, Window, choose, next_step, partition_bytes

MB = 1 << 20
GB = 1 << 30


def facts(
    cores: int = 4, *, room: int = 90, total: int | None = 10 * GB, row: int | None = 200, large: int = 160 * MB
) -> Facts:
    """Four cores, enough connections, a large table with small rows."""
    return Facts(
        cores=cores,
        room=room,
        room_reason="the source's free connections",
        total_bytes=total,
        row_bytes=row,
        large_rows_bytes=large,
    )


@pytest.mark.parametrize(
    ("known", "workers", "limit", "reason"),
    [
        (facts(1), 2, 4, "auto: 1 cores"),
        (facts(2), 2, 8, "auto: 2 cores"),
        (facts(4), 4, 16, "auto: 4 cores"),
        (facts(64), 8, 16, "auto: 64 cores"),
        (facts(64, total=None, row=None), 8, 16, "auto: 64 cores"),
        (facts(64, total=30 * MB), 4, 4, "auto: no more for 30.0 MB"),
        (facts(64, total=2048), 2, 2, "auto: no more for 2.0 KB"),
        (facts(64, row=20 * MB), 2, 2, "auto: no more rows of 20.0 MB fit into max_memory"),
        (facts(64, row=500 * MB), 1, 1, "auto: no more rows of 500.0 MB fit into max_memory"),
        (facts(64, row=MB, large=3 * MB), 8, 16, "auto: 64 cores"),
        (facts(64, row=MB + 1, large=6 * MB + 6), 2, 2, "auto: no more rows of 1.0 MB fit into max_memory"),
        (facts(64, room=3), 3, 3, "as many as fit into the source's free connections"),
        (facts(64, room=20), 8, 10, "auto: 64 cores"),
    ],
)
def test_workers_follow_from_cores_data_memory_and_connections(
    known: Facts, workers: int, limit: int, reason: str
) -> None:
    """The least of them counts, and is the reason; half of the free connections are left to others."""
    assert choose(known) == Choice(mode="auto", workers=workers, limit=limit, reason=reason)


@pytest.mark.parametrize(
    ("table", "largest", "workers", "limit", "size"),
    [
        (None, 64 * MB, 2, 2, 64 * MB),
        (10 * GB, 64 * MB, 2, 8, 64 * MB),
        (80 * MB, 64 * MB, 2, 2, 10 * MB),
        (320 * MB, 64 * MB, 2, 2, 40 * MB),
        (320 * MB, 64 * MB, 2, 8, 10 * MB),
        (200 * MB, 64 * MB, 2, 8, 8 * MB),
        (8 * MB, 64 * MB, 2, 8, MB),
        (0, 64 * MB, 2, 2, 1),
        (80 * MB, 4 * MB, 2, 8, 4 * MB),
    ],
)
def test_partitions_are_several_a_worker(table: int | None, largest: int, workers: int, limit: int, size: int) -> None:
    """Never above what the checkpoint interval allows; smaller where workers may be added, but not under 8 MB."""
    assert partition_bytes(table, largest=largest, workers=workers, limit=limit) == size


IDLE = Window(
    workers=2, partitions=2, waiting=9, elapsed_s=1.0, worked_s=2.0, bytes=100 * MB,
    source=0.7, destination=0.2, machine=0.4,
)  # fmt: skip


@pytest.mark.parametrize(
    ("window", "before", "adds", "ends", "reason"),
    [
        (IDLE, None, True, False, "the workers waited 70% of their time for the source, and the destination was busy"),
        (IDLE, replace(IDLE, bytes=60 * MB), True, False, "the workers waited 70%"),
        (IDLE, replace(IDLE, bytes=98 * MB), False, True, "the last one changed the rate by +2%"),
        (IDLE, replace(IDLE, bytes=125 * MB), False, True, "the last one changed the rate by -20%"),
        (IDLE, replace(IDLE, bytes=95 * MB), True, False, "the workers waited 70%"),
        (IDLE, replace(IDLE, bytes=96 * MB), False, True, "the last one changed the rate by +4%"),
        (replace(IDLE, destination=0.5), None, False, False, "the destination was busy for 50%"),
        (replace(IDLE, destination=0.49), None, True, False, "the workers waited 70%"),
        (replace(IDLE, machine=0.9), None, False, False, "this machine's cores were busy for 90%"),
        (replace(IDLE, machine=0.89), None, True, False, "the workers waited 70%"),
        (replace(IDLE, destination=0.6), None, False, False, "the destination was busy for 60%"),
        (replace(IDLE, machine=0.95), None, False, False, "this machine's cores were busy for 95%"),
        (replace(IDLE, waiting=0), None, False, True, "every partition is taken up"),
        (replace(IDLE, workers=8, partitions=8), None, False, True, "8 are as many as may be"),
    ],
)
def test_a_worker_is_added_while_the_destination_is_idle(
    window: Window, before: Window | None, adds: bool, ends: bool, reason: str
) -> None:
    """And none where it is not, where the last one brought nothing, or where there is nothing left to do."""
    step = next_step(window, before, limit=8)
    assert step is not None
    assert (step.adds, step.ends) == (adds, ends)
    assert step.reason.startswith(reason)


@pytest.mark.parametrize("window", [replace(IDLE, partitions=1), replace(IDLE, worked_s=0.5)])
def test_too_little_measured_is_no_step(window: Window) -> None:
    """A partition of each worker at least, and a second of their time."""
    assert next_step(window, None, limit=8) is None


def report(*, source_s: float, blocked_s: float) -> WorkerReport:
    """A partition whose worker waited for one side or the other."""
    return WorkerReport(
        receipt=PartitionReceipt(load_id="l", stream="s", partition=0, rows=1, bytes=MB, write_blocked_s=blocked_s),
        worker=0,
        started_s=0.0,
        ended_s=1.0,
        times=WorkTimes(wait_source_s=source_s, write_s=blocked_s),
        read=ReadTimes(blocked_s=1.0),
        bytes_read=MB,
    )


def auto(workers: int, limit: int) -> Choice:
    return Choice(mode="auto", workers=workers, limit=limit, reason="auto")


def test_a_crew_that_grows_gives_its_new_worker_what_waits() -> None:
    """A job that waited behind a busy worker is done while that one is still busy."""
    begun, release, done = threading.Event(), threading.Event(), threading.Event()
    with Crew(1, limit=3) as crew:
        crew.submit(lambda: (begun.set(), release.wait(30)))
        crew.submit(done.set)
        assert begun.wait(30)
        assert (crew.waiting, done.is_set()) == (1, False)
        crew.grow()
        assert done.wait(30)
        release.set()


@pytest.mark.parametrize(
    ("choice", "waited", "workers"),
    [
        (auto(1, 3), report(source_s=2.0, blocked_s=0.1), 2),
        (auto(1, 3), report(source_s=0.1, blocked_s=2.0), 1),
        (Choice(mode="explicit", workers=1, limit=1, reason="as asked for"), report(source_s=2.0, blocked_s=0.1), 1),
    ],
)
def test_a_run_takes_one_more_worker_when_the_destination_was_idle(
    choice: Choice, waited: WorkerReport, workers: int
) -> None:
    """By what its own workers measured; a number that was asked for stays."""
    release = threading.Event()
    tuner = Tuner(choice, machine=lambda: 0.1)
    with tuner.crew() as crew:
        for _ in range(5):
            crew.submit(release.wait, 30)
        tuner.note(waited)
        release.set()
    assert tuner.workers == workers
    assert [each.workers for each in tuner.adjustments] == ([workers] if workers > 1 else [])


def test_no_more_workers_are_taken_once_one_has_brought_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rate before and after is compared, each of its own time; that the search is over is told, once."""
    now = [0.0]
    monkeypatch.setattr("rapidbyte.engine.tuner.time", SimpleNamespace(monotonic=lambda: now[0]))
    release = threading.Event()
    idle = report(source_s=2.0, blocked_s=0.1)
    tuner = Tuner(auto(1, 4), machine=lambda: 0.1)
    with tuner.crew() as crew:
        for _ in range(8):
            crew.submit(release.wait, 30)
        now[0] = 1.0
        tuner.note(idle)
        assert tuner.workers == 2
        now[0] = 2.0
        for _ in range(2):
            tuner.note(replace(idle, bytes_read=MB // 2))
        now[0] = 3.0
        for _ in range(4):
            tuner.note(replace(idle, bytes_read=9 * MB))
        release.set()
    assert [(each.at_s, each.workers) for each in tuner.adjustments] == [(1.0, 2), (2.0, 2)]
    assert tuner.adjustments[1].reason == "the last one changed the rate by +0%: no more are added"


def test_the_next_round_has_the_workers_that_the_run_has_come_to_have() -> None:
    """A run that reads again, in another snapshot, does not begin to look for their number anew."""
    tuner = Tuner(auto(1, 2), machine=lambda: 0.1)
    release = threading.Event()
    with tuner.crew() as crew:
        for _ in range(3):
            crew.submit(release.wait, 30)
        tuner.note(report(source_s=2.0, blocked_s=0.1))
        release.set()
    together = threading.Barrier(2)
    with tuner.crew() as crew:
        waited = [crew.submit(together.wait, 30) for _ in range(2)]
        assert sorted(each.result() for each in waited) == [0, 1]


def test_the_machine_is_busy_for_a_share_of_its_cores() -> None:
    """Between nothing and all of them, whatever happens on it."""
    load = MachineLoad()
    assert 0.0 <= load.busy() <= 1.0
