"""A hot standby as source and as destination: what can be read, what is refused, what recovery takes away."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

import rapidbyte
from rapidbyte.events import Event, StreamStarted
from rapidbyte.pg.embedded import embedded_bin_dir, start_embedded, stop_embedded
from tests.kit.server import Server, make_folder, uri
from tests.postgres.leading import rows_of, run
from tests.postgres.loading import loaded, pipeline, refused

SETTINGS = """
max_standby_streaming_delay = 0
max_standby_archive_delay = 0
logging_collector = off
log_destination = 'stderr'
"""
"""What recovery wants to remove it removes at once, whoever reads it."""


@pytest.fixture(scope="module")
def standby(server: Server) -> Iterator[Server]:
    """A standby of the throwaway server, streaming."""
    if "RAPIDBYTE_TEST_DSN" in os.environ:
        pytest.skip("a standby is made of the embedded server alone")
    folder = make_folder()
    data = folder / "data"
    owner = (Path(server.parameters["host"]) / "PG_VERSION").stat()
    folder.chmod(0o711)
    base = [embedded_bin_dir() / "pg_basebackup", "-D", data, "-R", "-c", "fast", "-d", server.admin_dsn]
    subprocess.run(base, check=True, capture_output=True, timeout=120)
    with (data / "postgresql.conf").open("a") as file:
        file.write(SETTINGS)
    for name in ("postmaster.pid", ".s.PGSQL.5432", ".s.PGSQL.5432.lock"):
        (data / name).unlink(missing_ok=True)
    for path in (data, *data.rglob("*")):
        os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)
    address = start_embedded(data)
    try:
        parameters = {"host": address.host, "port": str(address.port), "user": address.user, "dbname": "postgres"}
        yield Server(parameters=parameters, log=None)
    finally:
        stop_embedded(data)
        shutil.rmtree(folder, ignore_errors=True)


def replayed(standby: Server, dsn: str) -> str:
    """The same database on the standby, which has by now all that is committed here."""
    (position,) = rows_of(dsn, "SELECT pg_current_wal_insert_lsn()::text")[0]
    run(dsn, "SELECT pg_switch_wal()")
    with psycopg.connect(standby.admin_dsn, autocommit=True) as watcher:
        while watcher.execute("SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn", [position]).fetchone() != (True,):
            time.sleep(0.01)
    return uri({**standby.parameters, "dbname": str(conninfo_to_dict(dsn)["dbname"])})


def test_a_standby_can_be_read(
    standby: Server, source_db: str, destination_db: str, checksum_of: Callable[..., object]
) -> None:
    """C18: several workers in one snapshot of it, as of any server."""
    run(source_db, "CREATE TABLE t AS SELECT i, repeat('x', 100) AS v FROM generate_series(1, 20000) i")
    result = loaded(pipeline(replayed(standby, source_db), destination_db, "t"), checksum=True)
    assert result.streams[0].partitions is not None
    assert result.streams[0].partitions.total > 1
    assert checksum_of(destination_db, "raw.t") == checksum_of(source_db, "public.t")


def test_a_standby_takes_no_rows(standby: Server, source_db: str, destination_db: str) -> None:
    """C13: found before anything is read, exit 4, and the hint says how to reach the primary."""
    run(source_db, "CREATE TABLE t AS SELECT 1 AS i")
    _, error = refused(pipeline(source_db, replayed(standby, destination_db), "t"), 4, "read_only")
    assert "target_session_attrs=read-write" in (error.hint or "")


def test_rows_that_recovery_removes_fail_the_read_or_are_read_again(
    standby: Server, source_db: str, destination_db: str
) -> None:
    """C18: "conflict with recovery" while the snapshot is held: never a table that lacks rows and passes for whole."""
    run(source_db, "CREATE TABLE t AS SELECT i, repeat('x', 500) AS v FROM generate_series(1, 50000) i")
    run(destination_db, "CREATE SCHEMA raw; CREATE TABLE raw.t AS SELECT 7 AS i, 'old'::text AS v")
    there = replayed(standby, source_db)
    removed: list[bool] = []

    def remove(event: Event) -> None:
        if isinstance(event, StreamStarted) and not removed:
            run(source_db, "DELETE FROM t WHERE i % 2 = 0")
            run(source_db, "VACUUM t")
            replayed(standby, source_db)
            removed.append(True)

    result = rapidbyte.run(pipeline(there, destination_db, "t"), observe=remove)
    conflicts = "SELECT sum(confl_snapshot + confl_lock) FROM pg_stat_database_conflicts"
    assert rows_of(standby.admin_dsn, conflicts)[0][0] > 0  # type: ignore[operator]
    found = rows_of(destination_db, "SELECT count(*), min(i) FROM raw.t")
    assert (result.exit_code, found) in [(0, [(25000, 1)]), (3, [(1, 7)])], result.error
