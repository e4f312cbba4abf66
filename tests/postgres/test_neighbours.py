"""Other sessions that work at the target: who grants, indexes, vacuums, replicates or hides rows while we load."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

import rapidbyte
from rapidbyte.result import RunResult
from rapidbyte.retry import RetryPolicy, repeat
from rapidbyte.spec import WorkerLogin
from tests.kit.catalog import catalog_of
from tests.postgres.leading import Lead, finalize, lead, rows_of, run
from tests.postgres.loading import loaded, pipeline, refused

SOURCE = "CREATE SCHEMA app; CREATE TABLE app.t (id int PRIMARY KEY, a text); CREATE SCHEMA raw;"
TARGET = SOURCE + "CREATE TABLE raw.t (id int PRIMARY KEY, a text); INSERT INTO raw.t VALUES (1, 'old'), (9, 'old');"
NEW = "SELECT i, 'new' FROM generate_series(1, 500) i"
WAITS = """
SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'
       AND application_name LIKE 'rapidbyte leader %'
"""


@contextmanager
def publishing(load: Lead, rows: str = NEW) -> Iterator[list[str]]:
    """A publish, tried again as the engine does it, in a thread; the list holds its method once this is left."""
    contract = load.prepare()
    receipts = load.fill(contract, rows)
    done: list[str] = []

    def publish() -> None:
        report = repeat(
            lambda _: finalize(load.leader, contract, receipts),
            RetryPolicy(),
            stop=lambda: False,
            noted=lambda *_: None,
        )
        done.append(report.publish)

    publisher = threading.Thread(target=publish)
    publisher.start()
    try:
        yield done
    finally:
        publisher.join(60)


def await_waiting(dsn: str) -> None:
    """Returns once the leader has been seen waiting for a lock."""
    with psycopg.connect(dsn, autocommit=True) as watcher:
        while watcher.execute(WAITS).fetchone() == (0,):
            pass


def test_a_grant_that_is_committed_meanwhile_is_kept(destination_db: str, make_role: Callable[..., str]) -> None:
    """D5: the publish waits for it, or loses to it and is tried again; the new rows have the grant."""
    role = make_role("NOLOGIN")
    run(destination_db, TARGET)
    with lead(destination_db, "t", write_mode="replace") as load, psycopg.connect(destination_db) as other:
        other.execute(sql.SQL("GRANT UPDATE ON raw.t TO {}").format(sql.Identifier(role)))
        with publishing(load) as done:
            await_waiting(destination_db)
            other.commit()
    assert len(done) == 1
    assert role in {grant[1] for grant in catalog_of(destination_db, "raw", "t")["grants"]}
    assert rows_of(destination_db, "SELECT count(*) FROM raw.t") == [(500,)]


@pytest.mark.parametrize(
    "statement",
    [
        "GRANT USAGE ON SCHEMA _rapidbyte TO {}",
        "GRANT SELECT ON _rapidbyte.receipts TO {}",
    ],
)
def test_two_grants_on_one_thing_do_not_fail_a_run(
    source_db: str, destination_db: str, make_role: Callable[..., str], statement: str
) -> None:
    """D5: "tuple concurrently updated", where another session grants what the leader grants: tried again."""
    worker, role = make_role(), make_role("NOLOGIN")
    run(source_db, "CREATE TABLE t AS SELECT 1 AS i")
    spec = pipeline(source_db, destination_db, "t", worker=WorkerLogin(user=worker))
    loaded(spec)
    results: list[RunResult] = []
    with psycopg.connect(destination_db) as other:
        other.execute(sql.SQL(statement).format(sql.Identifier(role)))  # type: ignore[arg-type]
        second = threading.Thread(target=lambda: results.append(rapidbyte.run(spec)))
        second.start()
        await_waiting(destination_db)
        other.commit()
        second.join(60)
    assert [(result.status, result.error) for result in results] == [("succeeded", None)]


@pytest.mark.parametrize("mode", ["SHARE UPDATE EXCLUSIVE", "SHARE"])
@pytest.mark.parametrize(("write_mode", "strategy"), [("append", "auto"), ("replace", "in_place"), ("replace", "swap")])
def test_a_publish_waits_for_maintenance_of_the_target(
    destination_db: str, mode: str, write_mode: str, strategy: str
) -> None:
    """D13: VACUUM, ANALYZE (the first lock) and CREATE INDEX (the second) end before; then the rows are there."""
    run(destination_db, TARGET + "DELETE FROM raw.t")
    run(destination_db, "INSERT INTO raw.t VALUES (1000, 'old')")
    with (
        lead(destination_db, "t", write_mode=write_mode, replace_strategy=strategy) as load,
        psycopg.connect(destination_db) as other,
    ):
        other.execute(f"LOCK TABLE raw.t IN {mode} MODE")  # type: ignore[arg-type]
        free = (write_mode, mode) == ("append", "SHARE UPDATE EXCLUSIVE")
        with publishing(load) as done:
            if not free:
                await_waiting(destination_db)
                assert done == []
                other.commit()
    assert len(done) == 1
    rows = 500 + (write_mode == "append")
    assert rows_of(destination_db, "SELECT count(*) FROM raw.t") == [(rows,)]


@pytest.mark.parametrize(("write_mode", "method"), [("append", "insert"), ("replace", "swap"), ("upsert", "merge")])
def test_the_planner_knows_the_new_rows(source_db: str, destination_db: str, write_mode: str, method: str) -> None:
    """D13: ANALYZE comes after the publish, so that no plan is made for an empty table."""
    run(
        source_db,
        "CREATE TABLE t AS SELECT i AS id FROM generate_series(1, 3000) i; ALTER TABLE t ADD PRIMARY KEY (id)",
    )
    run(destination_db, "CREATE SCHEMA raw; CREATE TABLE raw.t (id int) WITH (autovacuum_enabled = off);"
        "INSERT INTO raw.t VALUES (0); ANALYZE raw.t")  # fmt: skip
    result = loaded(pipeline(source_db, destination_db, "t", write_mode=write_mode))
    assert result.streams[0].publish == method
    counted = "SELECT reltuples::int = (SELECT count(*) FROM raw.t) FROM pg_class WHERE oid = 'raw.t'::regclass"
    assert rows_of(destination_db, counted) == [(True,)]
    assert rows_of(destination_db, "SELECT count(*) FROM pg_stats WHERE schemaname = 'raw'") == [(1,)]


@pytest.mark.parametrize("write_mode", ["append", "replace", "upsert"])
def test_rows_are_not_written_past_a_policy(
    source_db: str, destination_db: str, make_role: Callable[..., str], write_mode: str
) -> None:
    """D12: a role under the target's policies would see some rows only: exit 2, with what permits it, before COPY."""
    role = make_role()
    run(source_db, "CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1), (2)")
    run(
        destination_db,
        "CREATE SCHEMA raw; CREATE TABLE raw.t (id int PRIMARY KEY); INSERT INTO raw.t VALUES (9);"
        "ALTER TABLE raw.t ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON raw.t USING (id < 5);"
        f"GRANT ALL ON SCHEMA raw TO {role}; GRANT ALL ON raw.t TO {role};"
        f"DO $$ BEGIN EXECUTE format('GRANT CREATE ON DATABASE %I TO {role}', current_database()); END $$",
    )
    spec = pipeline(source_db, make_conninfo(destination_db, user=role), "t", write_mode=write_mode)
    message, error = refused(spec, 2, "privilege_missing")
    assert "BYPASSRLS" in f"{message} {error.hint}"
    assert rows_of(destination_db, "TABLE raw.t") == [(9,)]
    run(destination_db, f"ALTER ROLE {role} BYPASSRLS")
    loaded(spec)
    expected = {"append": [(1,), (2,), (9,)], "replace": [(1,), (2,)], "upsert": [(1,), (2,), (9,)]}
    assert rows_of(destination_db, "SELECT id FROM raw.t ORDER BY id") == expected[write_mode]


def test_a_replicated_table_is_changed_row_by_row(source_db: str, destination_db: str) -> None:
    """D17: its subscribers get the rows that changed; no TRUNCATE, which they would get too, and no other table."""
    run(source_db, "CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1), (2)")
    run(destination_db, "CREATE SCHEMA raw; CREATE TABLE raw.t (id int PRIMARY KEY); INSERT INTO raw.t VALUES (2), (9);"
        "CREATE PUBLICATION p FOR TABLE raw.t")  # fmt: skip
    slot = f"slot_{psycopg.conninfo.conninfo_to_dict(destination_db)['dbname']}"
    try:
        run(destination_db, f"SELECT pg_create_logical_replication_slot('{slot}', 'pgoutput')")
        assert loaded(pipeline(source_db, destination_db, "t")).streams[0].publish == "in_place"
        kinds = rows_of(
            destination_db,
            "SELECT chr(get_byte(data, 0)) FROM pg_logical_slot_get_binary_changes"
            f"('{slot}', NULL, NULL, 'proto_version', '1', 'publication_names', 'p')",
        )
        assert [kind for (kind,) in kinds if kind in "IUDT"] == ["D", "I"]
    finally:
        run(destination_db, f"SELECT pg_drop_replication_slot('{slot}')")


@pytest.mark.parametrize(("write_mode", "method"), [("replace", "in_place"), ("upsert", "merge")])
def test_a_replicated_table_without_an_identity_is_refused_before_the_load(
    source_db: str, destination_db: str, write_mode: str, method: str
) -> None:
    """D17: its publication takes no UPDATE or DELETE: exit 2 with what gives it one, and not after hours of COPY."""
    run(source_db, "CREATE TABLE t (id int PRIMARY KEY, a int); INSERT INTO t VALUES (1, 1), (2, 2)")
    run(destination_db, "CREATE SCHEMA raw; CREATE TABLE raw.t (id int, a int);"
        "INSERT INTO raw.t VALUES (2, 0), (9, 0); CREATE PUBLICATION p FOR TABLE raw.t")  # fmt: skip
    spec = pipeline(source_db, destination_db, "t", write_mode=write_mode)
    message, error = refused(spec, 2, "replica_identity_missing")
    assert "publication p" in message
    assert "REPLICA IDENTITY" in (error.hint or "")
    run(destination_db, "ALTER TABLE raw.t REPLICA IDENTITY FULL")
    assert loaded(spec).streams[0].publish == method
