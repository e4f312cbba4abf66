"""Increments whose process is gone in the middle, and the same command again: exact, and nothing is loaded twice."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.postgres.command import KILLED, Connect, Project, postgres, project

Checksum = Callable[[str, str], tuple[int, str, int]]

ORDERS = """
CREATE TABLE orders (id int PRIMARY KEY, amount int, note text, version int NOT NULL);
INSERT INTO orders SELECT i, i, repeat(md5(i::text), 10), i FROM generate_series(1, 1000) i;
"""
MORE = """
INSERT INTO orders SELECT i, i, repeat(md5(i::text), 10), i FROM generate_series(1001, 4000) i;
"""
CHANGED = "UPDATE orders SET amount = -1, version = 4000 + id WHERE id <= 500;"

MODES: dict[str, dict[str, Any]] = {
    "append": {"write_mode": "append"},
    "direct": {"write_mode": "append", "append_strategy": "direct"},
    "upsert": {"write_mode": "upsert", "primary_key": ["id"]},
}


def shop(folder: Path, source: str, destination: str, mode: str) -> Project:
    """Orders by their version, in this mode."""
    stream = {"name": "orders", "sync_mode": "incremental", "cursor_field": "version"}
    return project(folder, postgres(source), destination, stream=stream, **MODES[mode])


@pytest.fixture(params=MODES)
def begun(request: pytest.FixtureRequest, tmp_path: Path, source_db: str, destination_db: str, connect: Connect):
    """A pipeline that has loaded a thousand orders, with three thousand more to come; in upsert some have changed."""
    connect(source_db).execute(ORDERS)
    pipeline = shop(tmp_path, source_db, destination_db, request.param)
    assert pipeline.run().exit_code == 0
    connect(source_db).execute(MORE + (CHANGED if request.param == "upsert" else ""))
    return pipeline, request.param


def cursor(admin: psycopg.Connection) -> str:
    row = admin.execute("SELECT value FROM _rapidbyte.cursors").fetchone()
    return row[0] if row else ""


def leftovers(admin: psycopg.Connection) -> list[str]:
    found = admin.execute("SELECT relname FROM pg_class WHERE relname LIKE '\\_rb\\_%' AND relkind = 'r'").fetchall()
    return [name for (name,) in found]


def kill(pipeline: Project) -> None:
    """The process is gone when its third partition is acknowledged."""
    assert pipeline.run(failpoint="w.commit_acked#3=exit").exit_code == KILLED


def require_exact(
    source: str, destination: str, checksum_of: Checksum, admin: psycopg.Connection, *, last: str
) -> None:
    assert checksum_of(destination, "raw.orders") == checksum_of(source, "public.orders")
    assert cursor(admin) == last
    assert leftovers(admin) == []
    assert admin.execute("SELECT count(*) FROM _rapidbyte.loads WHERE state = 'prepared'").fetchone() == (0,)


def test_goes_on_with_the_partitions_that_are_missing(
    begun: tuple[Project, str], source_db: str, destination_db: str, connect: Connect, checksum_of: Checksum
):
    """What was receipted is not read again, the bounds are those of the dead run, the cursor moves once (E1, E9)."""
    pipeline, mode = begun
    admin = connect(destination_db)
    kill(pipeline)
    assert cursor(admin) == "1000"
    receipted = admin.execute(
        "SELECT count(*), sum(r.rows) FROM _rapidbyte.receipts r JOIN _rapidbyte.loads l USING (load_id)"
        " WHERE l.state = 'prepared'"
    ).fetchone()
    assert receipted is not None
    assert receipted[0] >= 3
    connect(source_db).execute("INSERT INTO orders VALUES (9999, 1, 'late', 9999)")
    again = pipeline.run()
    counts = again.stream["partitions"]
    assert (again.exit_code, counts["resumed"]) == (0, receipted[0])
    assert counts["loaded"] == counts["total"] - counts["resumed"] > 0
    assert cursor(admin) == ("4500" if mode == "upsert" else "4000")
    assert pipeline.run().stream["records_written"] == 1
    require_exact(source_db, destination_db, checksum_of, admin, last="9999")


BETWEEN: dict[tuple[str, str], str] = {
    ("append", "the load's row is lost"): "DELETE FROM _rapidbyte.loads WHERE state = 'prepared'",
    ("upsert", "the receipts are lost"): "DELETE FROM _rapidbyte.receipts r USING _rapidbyte.loads l"
    " WHERE l.load_id = r.load_id AND l.state = 'prepared'",
    ("append", "a receipt is lost"): "DELETE FROM _rapidbyte.receipts r USING _rapidbyte.loads l"
    " WHERE l.load_id = r.load_id AND l.state = 'prepared' AND r.partition ="
    " (SELECT min(partition) FROM _rapidbyte.receipts x WHERE x.load_id = r.load_id)",
    (
        "upsert",
        "the stage is dropped",
    ): "DO $$BEGIN EXECUTE (SELECT format('DROP TABLE %I.%I', stage_schema, stage_table)"
    " FROM _rapidbyte.loads WHERE state = 'prepared'); END$$",
    ("upsert", "a row of the stage is deleted"): "DO $$BEGIN EXECUTE (SELECT format('DELETE FROM %I.%I WHERE id ="
    " (SELECT min(id) FROM %1$I.%2$I)', stage_schema, stage_table) FROM _rapidbyte.loads WHERE state = 'prepared');"
    " END$$",
    (
        "append",
        "the partitions cannot be read",
    ): "UPDATE _rapidbyte.loads SET partitions = '[{}]' WHERE state = 'prepared'",
    ("append", "the target's column is wider"): "ALTER TABLE raw.orders ALTER amount TYPE bigint",
}


@pytest.mark.parametrize(("mode", "between"), BETWEEN)
def test_begins_anew_where_it_cannot_go_on(
    mode: str,
    between: str,
    tmp_path: Path,
    source_db: str,
    destination_db: str,
    connect: Connect,
    checksum_of: Checksum,
):
    """Ledger, stage or target were changed by hand since the crash: nothing of the old stage is used (D14)."""
    source, admin = connect(source_db), connect(destination_db)
    source.execute(ORDERS)
    pipeline = shop(tmp_path, source_db, destination_db, mode)
    assert pipeline.run().exit_code == 0
    source.execute(MORE)
    kill(pipeline)
    (stage,) = leftovers(admin)
    admin.execute(BETWEEN[mode, between])  # type: ignore[arg-type]
    again = pipeline.run()
    assert (again.exit_code, again.stream["partitions"]["resumed"]) == (0, 0)
    if between == "the load's row is lost":  # nothing names the stage any more, and nothing is dropped by its looks
        assert leftovers(admin) == [stage]
        admin.execute(f'DROP TABLE _rapidbyte."{stage}"')  # type: ignore[arg-type]
    if "wider" in between:
        source.execute("ALTER TABLE orders ALTER amount TYPE bigint")
    require_exact(source_db, destination_db, checksum_of, admin, last="4000")


def test_goes_on_beside_what_others_did_to_the_target(
    tmp_path: Path, source_db: str, destination_db: str, connect: Connect
):
    """A column of their own, a row of their own: the stage is what it was, and both stay."""
    source, admin = connect(source_db), connect(destination_db)
    source.execute(ORDERS)
    pipeline = shop(tmp_path, source_db, destination_db, "append")
    pipeline.run()
    source.execute(MORE)
    kill(pipeline)
    admin.execute("ALTER TABLE raw.orders ADD mine int DEFAULT 7; INSERT INTO raw.orders VALUES (0, 0, '', 0, 1)")
    again = pipeline.run()
    assert again.exit_code == 0
    assert again.stream["partitions"]["resumed"] > 0
    found = admin.execute("SELECT count(*), count(DISTINCT id), min(id), sum(mine) FROM raw.orders").fetchone()
    assert found == (4001, 4001, 0, 4000 * 7 + 1)


def test_a_first_direct_increment_goes_on_though_its_target_has_rows(
    tmp_path: Path, source_db: str, destination_db: str, connect: Connect, checksum_of: Checksum
):
    """There is no cursor yet, and the rows in the target are this very load's."""
    connect(source_db).execute(ORDERS)
    admin = connect(destination_db)
    admin.execute(
        "CREATE SCHEMA raw; CREATE TABLE raw.orders (id int PRIMARY KEY, amount int, note text, version int NOT NULL)"
    )
    pipeline = shop(tmp_path, source_db, destination_db, "direct")
    kill(pipeline)
    assert admin.execute("SELECT count(*) > 0 FROM raw.orders").fetchone() == (True,)
    again = pipeline.run()
    assert (again.exit_code, again.stream["publish"]) == (0, "direct")
    assert again.stream["partitions"]["resumed"] >= 3
    require_exact(source_db, destination_db, checksum_of, admin, last="1000")


def test_a_direct_load_does_not_go_on_beside_rows_that_were_changed(
    tmp_path: Path, source_db: str, destination_db: str, connect: Connect, checksum_of: Checksum
):
    """What it landed is not what it was: exit 2, nothing is loaded, and `gc --undo` clears the way."""
    connect(source_db).execute(ORDERS)
    pipeline = shop(tmp_path, source_db, destination_db, "direct")
    pipeline.run()
    connect(source_db).execute(MORE)
    kill(pipeline)
    admin = connect(destination_db)
    admin.execute("DELETE FROM raw.orders WHERE id = (SELECT max(id) FROM raw.orders)")
    before = checksum_of(destination_db, "raw.orders")
    refused = pipeline.run()
    assert (refused.exit_code, refused.document["error"]["code"]) == (2, "direct_load_unfinished")
    assert "rapidbyte gc --undo" in refused.document["error"]["hint"]
    assert checksum_of(destination_db, "raw.orders") == before
    assert pipeline.did("gc", "pipeline.yaml", "--undo").exit_code == 0
    assert admin.execute("SELECT count(*), max(id) FROM raw.orders").fetchone() == (1000, 1000)
    assert pipeline.run().exit_code == 0
    require_exact(source_db, destination_db, checksum_of, admin, last="4000")
