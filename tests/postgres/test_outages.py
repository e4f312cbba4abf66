"""Servers that refuse, do not answer or are too old; clocks that lie; threads that fail: whole runs."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

import rapidbyte
from rapidbyte.destinations.postgres import leader
from rapidbyte.model import ServerFacts
from rapidbyte.pg.session import server_facts
from rapidbyte.result import RunResult
from rapidbyte.sources.postgres import source as postgres_source
from rapidbyte.spec import PipelineSpec, PostgresSourceSpec
from tests.kit.server import ServerLog
from tests.postgres.leading import rows_of, run
from tests.postgres.loading import loaded, pipeline, refused

Connect = Callable[..., psycopg.Connection]
ENDS = [("source", 3), ("destination", 4)]


def at(end: str, wrong: str, right: str, stream: str = "t") -> PipelineSpec:
    """A pipeline that has `wrong` at one end."""
    return pipeline(wrong, right, stream) if end == "source" else pipeline(right, wrong, stream)


@pytest.mark.parametrize(("end", "exit_code"), ENDS)
def test_a_wrong_password_is_told_at_once(
    end: str, exit_code: int, source_db: str, make_role: Callable[..., str], server_log: ServerLog
) -> None:
    """C12: psycopg gives no SQLSTATE for it; the preflight tries once, and nothing is tried again."""
    run(source_db, "CREATE TABLE t AS SELECT 1 AS i")
    role = make_role(password="right")
    wrong = make_conninfo(source_db, user=role, password="wr0ng-secret")
    message, error = refused(at(end, wrong, source_db), exit_code, "login_refused")
    assert "wr0ng-secret" not in f"{message} {error}"
    tries = [entry for entry in server_log.entries(source_db) if entry.user == role and entry.severity == "FATAL"]
    assert [entry.sqlstate for entry in tries] == ["28P01"]


@pytest.mark.parametrize(("end", "exit_code"), ENDS)
@pytest.mark.parametrize("wrong", [{"dbname": "no_such_db"}, {"user": "no_such_role"}])
def test_what_does_not_exist_is_told_at_once(end: str, exit_code: int, wrong: dict[str, str], source_db: str) -> None:
    """C12: a database, a role; exit 3 or 4 by the end that it concerns, before anything is made."""
    run(source_db, "CREATE TABLE t AS SELECT 1 AS i")
    message, _ = refused(at(end, make_conninfo(source_db, **wrong), source_db), exit_code, "database_missing")
    assert end in message
    assert rows_of(source_db, "SELECT to_regnamespace('raw') IS NULL") == [(True,)]


@pytest.mark.parametrize(("end", "exit_code"), ENDS)
def test_a_server_without_tls_is_not_spoken_to_in_plain_text(end: str, exit_code: int, source_db: str) -> None:
    """C12: one that refuses TLS where `sslmode: require` asks for it; told as such, and no password went over."""
    heard: list[bytes] = []
    with listener(heard, answer=b"N") as port:
        wrong = f"postgresql://u:s3cret@127.0.0.1:{port}/db?sslmode=require"
        refused(at(end, wrong, source_db), exit_code, "tls_failed")
    assert heard
    assert not any(b"s3cret" in data or b"user" in data for data in heard)


@contextmanager
def listener(heard: list[bytes], answer: bytes | None) -> Iterator[int]:
    """The port of somebody who takes connections and says `answer` to the first words, or nothing at all."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                kept.append(connection)
                if answer is not None:
                    heard.append(connection.recv(1000))
                    connection.sendall(answer)

        kept: list[socket.socket] = []
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            server.shutdown(socket.SHUT_RDWR)
            for connection in kept:
                connection.close()
            thread.join(10)


@pytest.mark.parametrize(("end", "exit_code"), ENDS)
def test_a_server_that_does_not_answer_is_not_waited_for_for_ever(end: str, exit_code: int, source_db: str) -> None:
    """C19: it takes the connection and is silent; `connect_timeout`, 10 s where none is given, ends it."""
    with listener([], answer=None) as port:
        dsn = f"postgresql://u@127.0.0.1:{port}/db?sslmode=disable&connect_timeout=2"
        refused(at(end, dsn, source_db), exit_code, "connect_timeout")
    assert isinstance((spec := pipeline("", "", "t")).source, PostgresSourceSpec)
    assert spec.source.connection.connect_timeout_seconds == 10


@pytest.mark.parametrize(
    ("end", "module", "number", "code"),
    [
        ("source", postgres_source, 120022, "source_too_old"),
        ("destination", leader, 140019, "server_too_old"),
    ],
)
def test_a_server_that_is_too_old_is_refused(
    end: str, module: Any, number: int, code: str, source_db: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """C20: exit 2, with its version; not a missing function in the middle of a load."""

    def older(*arguments: Any, **named: Any) -> ServerFacts:
        return replace(server_facts(*arguments, **named), version="old", version_number=number)

    run(source_db, "CREATE TABLE t AS SELECT 1 AS i")
    monkeypatch.setattr(module, "server_facts", older)
    message, _ = refused(pipeline(source_db, source_db, "t"), 2, code)
    assert message.startswith(f"the {end} is PostgreSQL old; ")
    assert rows_of(source_db, "SELECT to_regnamespace('_rapidbyte') IS NULL") == [(True,)]


def test_an_extension_that_is_absent_is_named_by_the_plan(source_db: str, destination_db: str) -> None:
    """C20: its type would be missing at the destination: exit 2, CREATE EXTENSION in the hint, nothing made."""
    run(source_db, "CREATE TABLE t (i int)")
    available = "SELECT name FROM pg_available_extensions WHERE name IN ('hstore', 'citext', 'ltree', 'vector') LIMIT 1"
    found = rows_of(source_db, available)
    if not found:
        pytest.skip("the server has no extension with a type")
    name = str(found[0][0])
    run(source_db, f"CREATE EXTENSION {name}; ALTER TABLE t ADD v {name}")
    _, error = refused(pipeline(source_db, destination_db, "t"), 2, "columns_refused")
    assert f'CREATE EXTENSION "{name}"' in (error.hint or "") or f"CREATE EXTENSION {name}" in (error.hint or "")
    assert rows_of(destination_db, "SELECT to_regnamespace('raw') IS NULL") == [(True,)]


LYING_CLOCK = """
import datetime, random, sys, time
from pathlib import Path

dice = random.Random(7)
true_time = time.time
time.time = lambda: true_time() + dice.uniform(-1e9, 1e9)


class Lying(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return datetime.datetime.fromtimestamp(time.time(), tz)


datetime.datetime = Lying
import rapidbyte
from rapidbyte.config import load

for _ in range(2):
    result = rapidbyte.run(load(Path(sys.argv[1])))
    print(result.status, result.records_written, result.error)
"""


def test_no_decision_hangs_on_the_clock_of_the_tool_s_host(source_db: str, destination_db: str, tmp_path: Any) -> None:
    """C22: jumps of decades between any two looks, a zone of its own: same rows, cursor, lease; the servers' time."""
    run(source_db, "CREATE TABLE t AS SELECT i, clock_timestamp() - interval '1 h' AS at FROM generate_series(1, 9) i")
    (tmp_path / "p.yaml").write_text(
        f"""
version: "1.0"
pipeline: shop
source:
  use: postgres
  config: {{dsn: "{source_db}"}}
  streams: [{{name: t, sync_mode: incremental, cursor_field: at}}]
destination:
  use: postgres
  config: {{dsn: "{destination_db}", schema: raw}}
  write_mode: append
"""
    )
    done = subprocess.run(
        [sys.executable, "-c", LYING_CLOCK, str(tmp_path / "p.yaml")],
        env={**os.environ, "TZ": "Pacific/Kiritimati"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.stdout.splitlines() == ["succeeded 9 None", "succeeded 0 None"], done.stderr[-2000:]
    assert rows_of(destination_db, "SELECT count(*) FROM raw.t") == [(9,)]
    recorded = "SELECT bool_and(abs(extract(epoch FROM now() - {})) < 600) FROM _rapidbyte.{}"
    for column, table in (("prepared_at", "loads"), ("committed_at", "receipts"), ("updated_at", "cursors")):
        assert rows_of(destination_db, recorded.format(column, table)) == [(True,)]


def test_a_thread_that_fails_ends_the_others_and_publishes_nothing(
    source_db: str, destination_db: str, connect: Connect
) -> None:
    """C16: a worker's error, by a trigger of the stage's kind, in one of four; all threads and sessions are gone."""
    run(source_db, "CREATE TABLE t AS SELECT i, repeat('x', 200) AS v FROM generate_series(1, 30000) i")
    run(destination_db, "CREATE SCHEMA raw; CREATE TABLE raw.t (i int CHECK (i <> 29999), v text);"
        "INSERT INTO raw.t VALUES (1, 'old')")  # fmt: skip
    before = threading.active_count()
    spec = pipeline(source_db, destination_db, "t")
    spec = replace(spec, resources=replace(spec.resources, parallelism=4))
    _, error = refused(spec, 5, "constraint_violated")
    assert error.partition is not None
    assert rows_of(destination_db, "SELECT * FROM raw.t") == [(1, "old")]
    assert threading.active_count() == before
    for dsn in (source_db, destination_db):
        sessions = (
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        admin = connect(dsn)
        while admin.execute(f"{sessions} AND application_name LIKE 'rapidbyte %'").fetchone() != (0,):  # type: ignore[arg-type]
            pass


@pytest.mark.parametrize("sqlstate", ["40001", "40P01"])
def test_a_publish_that_lost_to_another_transaction_is_tried_again(
    sqlstate: str, source_db: str, destination_db: str
) -> None:
    """C9: a deadlock or a serialization failure, by a trigger that fails once; the rows are there once."""
    run(source_db, "CREATE TABLE t AS SELECT i FROM generate_series(1, 100) i")
    run(
        destination_db,
        "CREATE SCHEMA raw; CREATE TABLE raw.t (i int); CREATE SEQUENCE raw.tries;"
        "CREATE FUNCTION raw.lose() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        f" IF nextval('raw.tries') = 1 THEN RAISE 'lost' USING ERRCODE = '{sqlstate}'; END IF; RETURN NULL; END $$;"
        "CREATE TRIGGER lose AFTER INSERT ON raw.t FOR EACH STATEMENT EXECUTE FUNCTION raw.lose()",
    )
    assert loaded(pipeline(source_db, destination_db, "t", write_mode="append")).retry_count == 1
    assert rows_of(destination_db, "SELECT count(*) FROM raw.t") == [(100,)]


def test_a_transaction_that_locks_in_the_other_order_ends_and_so_does_the_run(
    source_db: str, destination_db: str, connect: Connect
) -> None:
    """C9: `publish: together` has one table and waits for the other; who has that one asks for the first."""
    tables = (
        "CREATE TABLE {0}a (i int); CREATE TABLE {0}b (i int); INSERT INTO {0}a VALUES (1); INSERT INTO {0}b VALUES (1)"
    )
    run(source_db, tables.format(""))
    run(destination_db, "CREATE SCHEMA raw;" + tables.format("raw."))
    other, watcher = connect(destination_db), connect(destination_db)
    other.execute("BEGIN; LOCK TABLE raw.b")
    results: list[RunResult] = []
    spec = pipeline(source_db, destination_db, "a", "b", write_mode="append", publish_together=True)
    run_of = threading.Thread(target=lambda: results.append(rapidbyte.run(spec)))
    run_of.start()
    waits = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'raw.b'::regclass"
    while watcher.execute(waits).fetchone() == (0,):
        pass
    with suppress(psycopg.errors.DeadlockDetected):
        other.execute("LOCK TABLE raw.a")
    other.execute("ROLLBACK")
    run_of.join(120)
    assert [(result.status, result.error) for result in results] == [("succeeded", None)]
    for table in ("a", "b"):
        assert rows_of(destination_db, f"SELECT count(*) FROM raw.{table}") == [(2,)]


@pytest.mark.parametrize(
    ("sqlstate", "code", "word"),
    [("53100", "disk_full", "space"), ("53400", "configuration_limit", ""), ("53200", "server_out_of_resources", "")],
)
def test_a_server_that_has_no_room_is_not_asked_again(
    sqlstate: str, code: str, word: str, source_db: str, destination_db: str
) -> None:
    """C10: exit 4 after one try, and our own stage, which takes room, is dropped; the rows from before stay."""
    run(source_db, "CREATE TABLE t AS SELECT i FROM generate_series(1, 100) i")
    run(
        destination_db,
        "CREATE SCHEMA raw; CREATE TABLE raw.t (i int); INSERT INTO raw.t VALUES (0); CREATE SEQUENCE raw.tries;"
        "CREATE FUNCTION raw.full() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM nextval('raw.tries');"
        f" RAISE 'no room' USING ERRCODE = '{sqlstate}'; END $$;"
        "CREATE TRIGGER full_up AFTER INSERT ON raw.t FOR EACH STATEMENT EXECUTE FUNCTION raw.full()",
    )
    _, error = refused(pipeline(source_db, destination_db, "t", write_mode="append"), 4, code)
    assert word in (error.hint or "")
    assert rows_of(destination_db, "SELECT last_value, is_called FROM raw.tries") == [(1, True)]
    assert rows_of(destination_db, "TABLE raw.t") == [(0,)]
    left = "SELECT count(*) FROM pg_class WHERE relname LIKE '\\_rb\\_%'"
    assert rows_of(destination_db, left) == [(0,)]
