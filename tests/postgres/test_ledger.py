"""The ledger's versions, and what the commands see and change in it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psycopg
import pytest

import rapidbyte
from rapidbyte.cursor import StoredCursor
from rapidbyte.destinations.postgres import ledger
from rapidbyte.destinations.postgres.state import PipelineLedger
from rapidbyte.errors import BusyError, ConfigError, DestinationError, PrivilegeError, RapidbyteError
from rapidbyte.model import Secret
from rapidbyte.spec import Connection, DestinationSpec, PipelineSpec, PostgresSourceSpec, StreamSpec
from tests.kit.catalog import catalog_of
from tests.postgres.leading import lead, leader_for, open_run, request, rows_of, run
from tests.postgres.test_resume import begin, bounds, publish_with

T = "CREATE SCHEMA app; CREATE TABLE app.t (id int PRIMARY KEY, at timestamptz); CREATE SCHEMA raw;"
TARGET = T + "CREATE TABLE raw.t (id int PRIMARY KEY, at timestamptz);"

VERSION_1 = """
CREATE SCHEMA _rapidbyte;
CREATE TABLE _rapidbyte.ledger (
    version integer PRIMARY KEY,
    installed_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp()
);
CREATE TABLE _rapidbyte.loads (
    load_id text PRIMARY KEY,
    run_id text NOT NULL,
    pipeline text NOT NULL,
    stream text NOT NULL,
    target_schema text NOT NULL,
    target_table text NOT NULL,
    target_oid oid,
    stage_schema text,
    stage_table text,
    write_mode text NOT NULL,
    publish text NOT NULL,
    state text NOT NULL DEFAULT 'prepared' CHECK (state IN ('prepared', 'published', 'discarded')),
    row_count bigint,
    worker_role text,
    granted jsonb NOT NULL DEFAULT '[]',
    prepared_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    ended_at timestamptz
);
CREATE INDEX loads_unfinished ON _rapidbyte.loads (pipeline, stream) WHERE state = 'prepared';
CREATE TABLE _rapidbyte.receipts (
    load_id text NOT NULL,
    partition integer NOT NULL,
    pipeline text NOT NULL,
    stream text NOT NULL,
    worker integer NOT NULL,
    rows bigint NOT NULL,
    bytes bigint NOT NULL,
    committed_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    PRIMARY KEY (load_id, partition)
);
INSERT INTO _rapidbyte.ledger (version) VALUES (1);
INSERT INTO _rapidbyte.loads (load_id, run_id, pipeline, stream, target_schema, target_table, stage_schema,
                              stage_table, write_mode, publish, state, row_count)
VALUES ('a', 'run-a', 'shop', 't', 'raw', 't', 'raw', '_rb_a', 'append', 'insert', 'published', 7),
       ('b', 'run-b', 'shop', 't', 'raw', 't', '_rapidbyte', '_rb_b', 'append', 'insert', 'prepared', NULL);
INSERT INTO _rapidbyte.receipts (load_id, partition, pipeline, stream, worker, rows, bytes)
VALUES ('a', 0, 'shop', 't', 0, 7, 70), ('b', 0, 'shop', 't', 0, 1, 10);
CREATE UNLOGGED TABLE _rapidbyte._rb_b (id int);
"""
"""As version 1 made it, with a load that was published and one whose run died."""


def shape_of_ledger(dsn: str) -> dict[str, object]:
    """All that hangs on its tables."""
    return {table.name: catalog_of(dsn, table.schema, table.name) for table in ledger.TABLES}


def test_a_ledger_of_version_1_is_migrated_by_one_of_two_leaders_at_once(
    destination_db: str, make_database: Callable[..., str]
) -> None:
    """Rows survive, nobody fails, and the result is what a fresh ledger is."""
    run(destination_db, TARGET + VERSION_1)
    barrier = threading.Barrier(2)
    failures: list[RapidbyteError] = []

    def work(pipeline: str) -> None:
        try:
            with leader_for(destination_db, pipeline=pipeline) as leader:
                barrier.wait()
                open_run(leader)
        except RapidbyteError as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(name,)) for name in ("one", "two")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert rows_of(destination_db, "SELECT version FROM _rapidbyte.ledger ORDER BY 1") == [(1,), (ledger.VERSION,)]
    assert rows_of(destination_db, "SELECT load_id, state, row_count, fence FROM _rapidbyte.loads ORDER BY 1") == [
        ("a", "published", 7, 0),
        ("b", "prepared", None, 0),
    ]
    fresh = make_database()
    with leader_for(fresh) as leader:
        open_run(leader)
    assert shape_of_ledger(destination_db) == shape_of_ledger(fresh)


def test_what_version_1_left_behind_is_dropped(destination_db: str) -> None:
    """Its loads have no signature: nobody goes on with them."""
    run(destination_db, TARGET + VERSION_1)
    with lead(destination_db, "t") as load:
        load.publish("SELECT 1, NULL::timestamptz")
    assert rows_of(destination_db, "SELECT load_id, state FROM _rapidbyte.loads WHERE load_id IN ('a', 'b')"
        " ORDER BY 1") == [("a", "published"), ("b", "discarded")]  # fmt: skip
    assert rows_of(destination_db, "SELECT to_regclass('_rapidbyte._rb_b')") == [(None,)]


def test_only_the_owner_migrates(destination_db: str, make_role: Callable[..., str]) -> None:
    """Another role is told so by the preflight, with the GRANT that helps."""
    role = make_role()
    run(destination_db, TARGET + VERSION_1)
    run(destination_db, f"GRANT USAGE, CREATE ON SCHEMA _rapidbyte TO {role}; GRANT USAGE ON SCHEMA app, raw TO {role};"
        f"GRANT ALL ON ALL TABLES IN SCHEMA _rapidbyte, raw TO {role}")  # fmt: skip
    with lead(destination_db.replace("postgres@", f"{role}@", 1), "t", source=destination_db) as load:
        with pytest.raises(PrivilegeError) as caught:
            load.leader.check_privileges(load.plan())
        with pytest.raises(PrivilegeError):
            open_run(load.leader)
    assert caught.value.hint == f'GRANT "postgres" TO "{role}";'
    assert rows_of(destination_db, "SELECT max(version) FROM _rapidbyte.ledger") == [(1,)]


def test_a_newer_ledger_is_refused(destination_db: str) -> None:
    """By a run, and by a look."""
    with leader_for(destination_db) as leader:
        open_run(leader)
    run(destination_db, "INSERT INTO _rapidbyte.ledger (version) VALUES (99)")
    for refused in (lambda leader: open_run(leader), lambda leader: leader.facts() and state_of(destination_db)):
        with leader_for(destination_db) as leader, pytest.raises(DestinationError) as caught:
            refused(leader)
        assert (caught.value.code, caught.value.exit_code) == ("ledger_newer", 4)


# --- runs


def pipeline(source: str, destination: str, *names: str) -> PipelineSpec:
    return PipelineSpec(
        pipeline="shop",
        source=PostgresSourceSpec(connection=Connection(dsn=Secret(source)), schema="app"),
        streams=tuple(StreamSpec(name=name) for name in names),
        destination=DestinationSpec(connection=Connection(dsn=Secret(destination)), schema="raw"),
    )


@contextmanager
def opened(dsn: str) -> Iterator[PipelineLedger]:
    found = PipelineLedger(Connection(dsn=Secret(dsn)), request())
    try:
        yield found
    finally:
        found.close()


def state_of(dsn: str) -> object:
    with opened(dsn) as found:
        return found.state()


def test_a_run_is_recorded_with_its_result(source_db: str, destination_db: str) -> None:
    """Who, when, how it ended, and the document; the lease is free afterwards."""
    run(source_db, T + "INSERT INTO app.t SELECT generate_series(1, 5)")
    result = rapidbyte.run(pipeline(source_db, destination_db, "t"))
    with opened(destination_db) as found:
        (record,) = found.runs()
        shown = found.run(result.run_id)
        state = found.state()
        assert found.run("nobody") is None
    assert (record.run_id, record.status, record.exit_code) == (result.run_id, "succeeded", 0)
    assert record.streams == (("t", "succeeded"),)
    assert shown is not None
    assert shown[1] is not None
    assert shown[1]["records_written"] == 5
    assert state.lease is not None
    assert (state.lease.fence, state.lease.run_id, state.unfinished) == (1, None, ())


def test_a_run_that_failed_is_recorded_without_row_values(source_db: str, destination_db: str) -> None:
    """G6: the ledger's readers are others than the terminal's."""
    run(source_db, T + "INSERT INTO app.t SELECT generate_series(1, 5)")
    run(destination_db, "CREATE SCHEMA raw; CREATE TABLE raw.t (id int CHECK (id < 4), at timestamptz)")
    result = rapidbyte.run(pipeline(source_db, destination_db, "t"))
    assert result.exit_code == 5
    with opened(destination_db) as found:
        shown = found.run(result.run_id)
    assert shown is not None
    assert (shown[0].status, shown[0].exit_code, shown[0].streams) == ("failed", 5, (("t", "failed"),))
    assert shown[1] is not None
    assert shown[1]["error"]["row_detail"] is None


def test_two_copies_of_a_pipeline_are_one_run(source_db: str, destination_db: str) -> None:
    """The second ends with exit 8, and has touched nothing (D1)."""
    run(source_db, T + "INSERT INTO app.t SELECT generate_series(1, 5)")
    with lead(destination_db, "t", source=source_db) as living:
        open_run(living.leader)
        result = rapidbyte.run(pipeline(source_db, destination_db, "t"))
    assert (result.status, result.exit_code) == ("failed", 8)
    assert result.error is not None
    assert result.error.code == "pipeline_busy"
    assert rows_of(destination_db, "SELECT to_regclass('raw.t')") == [(None,)]
    assert rapidbyte.run(pipeline(source_db, destination_db, "t")).exit_code == 0


# --- state and gc


def test_looking_makes_no_ledger(destination_db: str) -> None:
    """Nothing was ever loaded: nothing is there, and nothing is made."""
    with opened(destination_db) as found:
        state = found.state()
        assert (state.lease, state.cursors, state.unfinished, found.runs()) == (None, (), (), ())
    assert rows_of(destination_db, "SELECT to_regnamespace('_rapidbyte')") == [(None,)]


def test_a_cursor_is_set_and_reset(destination_db: str) -> None:
    """Also backwards; what was loaded from the old one is given up."""
    run(destination_db, TARGET)
    with lead(destination_db, "t") as load:
        publish_with(load, bounds("7"))
    with lead(destination_db, "t") as dead:
        begin(dead, bounds("9", low="7"))
    with opened(destination_db) as found:
        found.set_cursor("t", StoredCursor(field="id", type="bigint", value="3"))
        (cursor,) = found.state().cursors
        assert (cursor.cursor.value, cursor.run_id, found.state().unfinished) == ("3", None, ())
        assert found.reset() == ("t",)
        assert (found.state().cursors, found.reset()) == ((), ())
        with pytest.raises(ConfigError):
            found.set_cursor("t", StoredCursor(field="id", type="int); drop table raw.t; --", value="3"))
    with leader_for(destination_db) as leader:
        assert open_run(leader).cursors == {}


def test_a_reset_lets_another_source_in(destination_db: str) -> None:
    """E13's way out."""
    run(destination_db, TARGET)
    with lead(destination_db, "t") as load:
        open_run(load.leader, source_identity="7/1")
        publish_with(load, bounds("7"))
    with opened(destination_db) as found:
        found.reset()
    with leader_for(destination_db) as leader:
        assert open_run(leader, source_identity="7/2").cursors == {}


def test_the_sweep_drops_what_dead_runs_left(destination_db: str) -> None:
    """By the ledger, not by name; what somebody looks at stays recorded; receipts of ended loads go (E17)."""
    run(destination_db, TARGET + "CREATE TABLE raw._rb_mine ()")
    with lead(destination_db, "t") as load:
        load.publish("SELECT 1, NULL::timestamptz")
    with lead(destination_db, "t") as dead:
        left = begin(dead)
    with psycopg.connect(destination_db) as reader, opened(destination_db) as found:
        reader.execute(f'SELECT FROM _rapidbyte."{left.copy.table.name}"')  # type: ignore[arg-type]
        first = found.sweep()
        reader.commit()
        second = found.sweep()
    assert (first.dropped, first.kept, first.receipts) == ((), (left.stage,), 1)
    assert (second.dropped, second.kept, second.receipts) == ((left.stage,), (), 0)
    assert rows_of(destination_db, "SELECT relname FROM pg_class WHERE relname LIKE '\\_rb\\_%'") == [("_rb_mine",)]


def test_nothing_is_changed_under_a_living_run(destination_db: str) -> None:
    """Setting, resetting and sweeping wait for nobody: exit 8."""
    run(destination_db, TARGET)
    with lead(destination_db, "t") as living:
        contract = living.prepare()
        with opened(destination_db) as found:
            for change in (
                found.sweep,
                found.reset,
                lambda: found.set_cursor("t", StoredCursor(field="id", type="bigint", value="3")),
            ):
                with pytest.raises(BusyError):
                    change()
            assert [load.load_id for load in found.state().unfinished] == [contract.load_id]
