"""Direct loads: workers write into the target itself; what has landed when one fails stays, and is told."""

from __future__ import annotations

from collections.abc import Callable

import psycopg

import rapidbyte
from rapidbyte.destinations.postgres import direct
from rapidbyte.model import Secret
from rapidbyte.result import RunResult
from rapidbyte.spec import RunOptions, WorkerLogin
from tests.postgres.test_run import spec

Connect = Callable[..., psycopg.Connection]

SOURCE = """
CREATE TABLE orders AS SELECT i AS id, repeat(md5(i::text), 3) AS note FROM generate_series(1, 20000) i; ANALYZE orders
"""
TARGET = """
CREATE SCHEMA raw;
CREATE TABLE raw.orders (mine serial, id int, note text CHECK (note <> 'bad'), at int DEFAULT 7);
CREATE INDEX ON raw.orders (id);
INSERT INTO raw.orders (id, note) VALUES (0, 'ours');
"""


def load(source: str, destination: str, **settings: object) -> RunResult:
    """Appends orders straight into raw.orders."""
    return rapidbyte.run(spec(source, destination, "orders", write_mode="append", append_strategy="direct", **settings))


def undo(admin: psycopg.Connection) -> int:
    """As `gc --undo` does: rows removed of all loads."""
    loads = admin.execute("SELECT load_id FROM _rapidbyte.loads").fetchall()
    return sum(direct.undo(admin, load_id) for (load_id,) in loads)  # type: ignore[arg-type]


def test_partitions_land_in_the_target_without_a_stage(source_db: str, destination_db: str, connect: Connect) -> None:
    """Receipts beside the rows; defaults and sequences of what is not carried; statistics; the ledger says direct."""
    connect(source_db).execute(SOURCE)
    admin = connect(destination_db)
    admin.execute(TARGET)
    result = load(source_db, destination_db)
    stream = result.streams[0]
    assert (result.status, stream.publish, stream.publish_reason) == ("succeeded", "direct", "append_strategy: direct")
    assert (stream.records_written, stream.commit_state, stream.safe_to_retry) == (
        20000,
        "after_commit_confirmed",
        False,
    )
    assert "raw.orders shows partitions as they land, also those of a run that fails later" in stream.warnings
    found = admin.execute("SELECT count(*), count(DISTINCT mine), count(DISTINCT id), sum(at) FROM raw.orders")
    assert found.fetchone() == (20001, 20001, 20001, 140007)
    assert admin.execute("SELECT reltuples::int FROM pg_class WHERE relname = 'orders'").fetchone() == (20001,)
    assert admin.execute("SELECT state, publish, row_count, stage_table FROM _rapidbyte.loads").fetchall() == [
        ("published", "direct", 20000, None)
    ]


def test_workers_of_their_own_login_get_what_they_need_and_lose_it(
    source_db: str, destination_db: str, make_role: Callable[..., str], connect: Connect
) -> None:
    """INSERT on the target and USAGE of the sequence that fills its defaults, until the load is published (G12)."""
    connect(source_db).execute(SOURCE)
    admin = connect(destination_db)
    admin.execute(TARGET)
    worker = make_role("LOGIN", password="hunter2")
    result = load(source_db, destination_db, worker=WorkerLogin(user=worker, password=Secret("hunter2")))
    assert result.status == "succeeded", result.error
    left = admin.execute(
        "SELECT has_table_privilege(%(w)s, 'raw.orders', 'INSERT'), has_schema_privilege(%(w)s, 'raw', 'USAGE'),"
        " has_sequence_privilege(%(w)s, 'raw.orders_mine_seq', 'USAGE')",
        {"w": worker},
    )
    assert left.fetchone() == (False, False, False)


def test_what_landed_before_a_failure_stays_and_is_told(source_db: str, destination_db: str, connect: Connect) -> None:
    """Not safe to retry; the next run is refused with what landed and the way back to the table as it was."""
    source, admin = connect(source_db), connect(destination_db)
    source.execute(SOURCE)
    source.execute("UPDATE orders SET note = 'bad' WHERE id = 20000")
    admin.execute(TARGET)
    result = load(source_db, destination_db)
    stream = result.streams[0]
    landed = admin.execute("SELECT count(*) - 1 FROM raw.orders").fetchone()
    assert (result.status, result.exit_code, stream.safe_to_retry) == ("failed", 5, False)
    assert landed == (stream.records_written,)
    assert stream.records_written
    assert stream.commit_state == "after_commit_confirmed"
    assert stream.error is not None
    assert stream.error.afterwards == (
        "partitions that had landed in raw.orders stay there, beside the rows that it had before"
    )
    again = load(source_db, destination_db)
    assert (again.exit_code, again.error and again.error.code) == (2, "direct_load_unfinished")
    assert again.error is not None
    assert f"{stream.records_written} rows in" in again.error.message
    assert admin.execute("SELECT count(*) - 1 FROM raw.orders").fetchone() == landed
    admin.execute("UPDATE raw.orders SET at = 8 WHERE id = 0")
    assert again.error.hint == "remove them with `rapidbyte gc --undo`, then load again"
    assert undo(admin) == stream.records_written
    assert admin.execute("SELECT id, note, at FROM raw.orders").fetchall() == [(0, "ours", 8)]
    source.execute("UPDATE orders SET note = 'good' WHERE id = 20000")
    assert load(source_db, destination_db).status == "succeeded"


def test_an_unfinished_load_is_undone_once(source_db: str, destination_db: str, connect: Connect) -> None:
    """`undo` takes the rows of the load and no others; a load that is published is left alone."""
    source, admin = connect(source_db), connect(destination_db)
    source.execute(SOURCE)
    admin.execute(TARGET)
    assert load(source_db, destination_db).status == "succeeded"
    source.execute("UPDATE orders SET note = 'bad' WHERE id = 20000")
    landed = load(source_db, destination_db).records_written
    loads = admin.execute("SELECT load_id FROM _rapidbyte.loads ORDER BY prepared_at").fetchall()
    removed = [direct.undo(admin, load_id) for (load_id,) in [*loads, *loads]]  # type: ignore[arg-type]
    assert (removed, landed > 0) == ([0, landed, 0, 0], True)
    assert admin.execute("SELECT count(*) FROM raw.orders").fetchone() == (20001,)


def test_a_checksum_is_not_to_be_had_and_that_is_told(source_db: str, destination_db: str, connect: Connect) -> None:
    """There is no stage that could be compared before it shows: null, and a warning."""
    connect(source_db).execute(SOURCE)
    connect(destination_db).execute(TARGET)
    asked = spec(source_db, destination_db, "orders", write_mode="append", append_strategy="direct")
    stream = rapidbyte.run(asked, options=RunOptions(checksum=True)).streams[0]
    assert (stream.status, stream.checksum) == ("succeeded", None)
    assert any(warning.startswith("no checksum: raw.orders was loaded directly") for warning in stream.warnings)


def test_a_trigger_that_drops_rows_fails_the_partition(source_db: str, destination_db: str, connect: Connect) -> None:
    """B19: COPY's count is compared with the rows that were sent; nothing of that partition stays."""
    connect(source_db).execute(SOURCE)
    admin = connect(destination_db)
    admin.execute(
        TARGET + "CREATE FUNCTION raw.no() RETURNS trigger LANGUAGE plpgsql AS"
        " 'BEGIN IF NEW.id % 100 = 0 THEN RETURN NULL; END IF; RETURN NEW; END';"
        "CREATE TRIGGER no BEFORE INSERT ON raw.orders FOR EACH ROW EXECUTE FUNCTION raw.no()"
    )
    result = load(source_db, destination_db)
    assert (result.exit_code, result.error and result.error.code) == (5, "rows_dropped")
    assert admin.execute("SELECT count(*) FROM raw.orders").fetchone() == (1,)


def test_a_target_that_does_not_exist_is_renamed_to(source_db: str, destination_db: str, connect: Connect) -> None:
    """It costs nothing there, and is seen at once."""
    connect(source_db).execute(SOURCE)
    assert load(source_db, destination_db).streams[0].publish == "rename"
    assert load(source_db, destination_db).streams[0].publish == "direct"
    count = connect(destination_db).execute("SELECT count(*) FROM raw.orders")
    assert count.fetchone() == (40000,)


def test_nothing_is_added_to_a_load_that_another_run_has_ended(
    source_db: str, destination_db: str, connect: Connect
) -> None:
    """A worker of a run that was thought dead comes back: its rows would be in the target twice (D3)."""
    connect(source_db).execute(SOURCE)
    admin = connect(destination_db)
    admin.execute(TARGET)
    admin.execute(
        "CREATE FUNCTION raw.ended() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " UPDATE _rapidbyte.loads SET state = 'discarded'; RETURN NULL; END $$;"
        "CREATE TRIGGER ended AFTER INSERT ON raw.orders FOR EACH STATEMENT EXECUTE FUNCTION raw.ended()"
    )
    asked = spec(source_db, destination_db, "orders", write_mode="append", append_strategy="direct")
    result = rapidbyte.run(asked, options=RunOptions(workers=1))
    assert (result.exit_code, result.error and result.error.code) == (8, "load_ended")
    landed = admin.execute("SELECT count(*) = (SELECT rows + 1 FROM _rapidbyte.receipts) FROM raw.orders").fetchone()
    assert landed == (True,)
