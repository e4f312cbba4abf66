"""A destination that crashes and comes back while a run is at work: a server of these tests' own."""

from __future__ import annotations

import os
import shutil
import signal
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psycopg
import pytest

import rapidbyte
from rapidbyte.pg.embedded import start_embedded, stop_embedded
from rapidbyte.result import RunResult
from tests.kit.server import make_folder, uri
from tests.postgres.leading import rows_of, run
from tests.postgres.loading import pipeline

WAITS = """
SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND application_name LIKE 'rapidbyte leader %'
"""


@pytest.fixture
def crashing() -> Iterator[tuple[Path, str]]:
    """Data folder and DSN of a server that may be killed."""
    folder = make_folder()
    folder.chmod(0o711)
    data = folder / "data"
    address = start_embedded(data)
    try:
        yield data, uri({"host": address.host, "port": str(address.port), "user": address.user})
    finally:
        with suppress(OSError):
            stop_embedded(data)
        shutil.rmtree(folder, ignore_errors=True)


def crash(data: Path) -> None:
    """As `pg_ctl restart -m immediate` does: nothing is written back, everybody is thrown out, the log is replayed."""
    postmaster = int((data / "postmaster.pid").read_text().split()[0])
    os.kill(postmaster, signal.SIGQUIT)
    while (data / "postmaster.pid").exists():
        with suppress(ProcessLookupError, ChildProcessError):
            os.kill(postmaster, 0)
            continue
        (data / "postmaster.pid").unlink(missing_ok=True)
    start_embedded(data)


@pytest.mark.slow
@pytest.mark.parametrize("write_mode", ["append", "replace"])
def test_a_server_that_crashes_under_a_publish_gets_it_once(
    write_mode: str, crashing: tuple[Path, str], source_db: str
) -> None:
    """C3, C2: the publish waits for a lock when it happens; the same run finds the outcome, reloads, publishes once."""
    data, dsn = crashing
    run(source_db, "CREATE TABLE t AS SELECT i, repeat('x', 100) AS v FROM generate_series(1, 10000) i")
    run(
        dsn,
        "CREATE SCHEMA raw; CREATE TABLE raw.t AS SELECT 0 AS i, 'old'::text AS v; CREATE VIEW raw.v AS TABLE raw.t",
    )
    results: list[RunResult] = []
    blocker = psycopg.connect(dsn)
    blocker.execute("LOCK TABLE raw.t IN SHARE MODE")
    loading = threading.Thread(
        target=lambda: results.append(rapidbyte.run(pipeline(source_db, dsn, "t", write_mode=write_mode)))
    )
    loading.start()
    with psycopg.connect(dsn, autocommit=True) as watcher:
        while watcher.execute(WAITS).fetchone() == (0,):
            pass
        crash(data)
    blocker.close()
    loading.join(120)
    assert [(result.status, result.error) for result in results] == [("succeeded", None)]
    assert results[0].retry_count > 0
    old = 1 if write_mode == "append" else 0
    assert rows_of(dsn, "SELECT count(*), count(DISTINCT i) FROM raw.v") == [(10000 + old, 10000 + old)]
    left = "SELECT count(*) FROM pg_class WHERE relname LIKE '\\_rb\\_%'"
    assert rows_of(dsn, left) == [(0,)]
