"""Incremental pipelines through the command line: stopped while they wait, loaded anew, started twice."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.postgres.command import PATIENCE_SECONDS, Connect, Project, ended, postgres, project

Checksum = Callable[[str, str], tuple[int, str, int]]


@pytest.fixture
def shop(tmp_path: Path, source_db: str, destination_db: str, connect: Connect) -> Project:
    """A thousand orders, appended by their number."""
    connect(source_db).execute(
        "CREATE TABLE orders (id int PRIMARY KEY, note text);"
        "INSERT INTO orders SELECT i, md5(i::text) FROM generate_series(1, 1000) i"
    )
    stream = {"name": "orders", "sync_mode": "incremental", "cursor_field": "id"}
    return project(
        tmp_path / "one",
        postgres(source_db),
        destination_db,
        stream=stream,
        write_mode="append",
        settle_timeout="10m",
    )


def until(found: Callable[[], bool]) -> None:
    """Looks until it is so."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not found():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.05)


def test_ctrl_c_ends_the_wait_for_open_transactions(
    shop: Project, source_db: str, destination_db: str, connect: Connect
):
    """Exit 7 long before settle_timeout (10 min); no target, no load, no cursor; the lease is free (E3, C15)."""
    writer, admin = connect(source_db), connect(destination_db)
    writer.autocommit = False
    writer.execute("INSERT INTO orders VALUES (1001, 'late')")
    process = shop.start("run", "pipeline.yaml")
    until(lambda: admin.execute("SELECT to_regclass('_rapidbyte.runs')").fetchone() != (None,))
    until(lambda: admin.execute("SELECT count(*) FROM _rapidbyte.runs").fetchone() == (1,))
    process.send_signal(signal.SIGINT)
    stopped = ended(process)
    assert (stopped.exit_code, stopped.document["status"]) == (7, "cancelled")
    assert admin.execute(
        "SELECT to_regclass('raw.orders'), (SELECT count(*) FROM _rapidbyte.loads),"
        " (SELECT count(*) FROM _rapidbyte.cursors)"
    ).fetchone() == (None, 0, 0)
    writer.commit()
    assert shop.run().stream["records_written"] == 1001


def test_full_refresh_replaces_and_goes_on_from_there(
    shop: Project, source_db: str, destination_db: str, connect: Connect, checksum_of: Checksum
):
    """Rows that were deleted in the source go, and the next run is an increment again."""
    assert shop.run().exit_code == 0
    source = connect(source_db)
    source.execute("DELETE FROM orders WHERE id <= 500; UPDATE orders SET note = 'new' WHERE id = 501")
    assert shop.run().stream["records_written"] == 0
    anew = shop.run("--full-refresh")
    assert (anew.exit_code, anew.stream["write_mode"], anew.stream["records_written"]) == (0, "replace", 500)
    assert checksum_of(destination_db, "raw.orders") == checksum_of(source_db, "public.orders")
    source.execute("INSERT INTO orders VALUES (1001, 'more')")
    assert shop.run().stream["records_written"] == 1
    assert checksum_of(destination_db, "raw.orders") == checksum_of(source_db, "public.orders")


def test_a_second_run_from_another_folder_is_busy(
    shop: Project, source_db: str, destination_db: str, checksum_of: Checksum
):
    """The first one has its lease and stands still: exit 8, with its run id; nothing is loaded twice (D1)."""
    first = shop.start("run", "pipeline.yaml", failpoint="lease.taken=stop")
    until(lambda: (shop.folder / "reached").exists())
    other = replace(shop, folder=shop.folder.parent / "two")
    second = other.run()
    assert (second.exit_code, second.document["error"]["category"]) == (8, "busy")
    (shop.folder / "go").touch()
    one = ended(first)
    assert one.exit_code == 0
    assert one.document["run_id"] in second.document["error"]["message"]
    assert other.run().stream["records_written"] == 0
    assert checksum_of(destination_db, "raw.orders") == checksum_of(source_db, "public.orders")


def test_runs_that_start_together_load_everything_once(
    shop: Project, source_db: str, destination_db: str, checksum_of: Checksum
):
    """From four folders: whoever is first loads, the others are busy or find nothing new (D1)."""
    places = [replace(shop, folder=shop.folder.parent / f"copy-{number}") for number in range(4)]
    runs = [ended(process) for process in [place.start("run", "pipeline.yaml") for place in places]]
    assert {run.exit_code for run in runs} <= {0, 8}
    assert sum(run.document["records_written"] for run in runs) == 1000
    assert checksum_of(destination_db, "raw.orders") == checksum_of(source_db, "public.orders")
