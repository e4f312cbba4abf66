"""What a run makes of a ledger that is damaged, older than the target, younger than it, or gone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

import rapidbyte
from rapidbyte.spec import PipelineSpec, StreamSpec
from tests.kit.server import Server
from tests.postgres.leading import rows_of, run
from tests.postgres.loading import loaded, pipeline, refused

ROWS = "SELECT array_agg(id ORDER BY id) FROM raw.t"


def increments(source: str, destination: str, mode: str = "append") -> PipelineSpec:
    """An incremental stream by its id."""
    stream = StreamSpec(name="t", sync_mode="incremental", cursor_field="id", primary_key=("id",))
    return pipeline(source, destination, stream, write_mode=mode)


def fill(source: str, low: int, high: int) -> None:
    """Rows of these ids."""
    run(source, f"INSERT INTO t SELECT generate_series({low}, {high})")


@pytest.fixture
def source(source_db: str) -> str:
    """A table of three rows."""
    run(source_db, "CREATE TABLE t (id int PRIMARY KEY)")
    fill(source_db, 1, 3)
    return source_db


DAMAGE = [
    "DELETE FROM _rapidbyte.ledger",
    "DROP TABLE _rapidbyte.ledger",
    "UPDATE _rapidbyte.ledger SET version = 9999",
    "UPDATE _rapidbyte.ledger SET version = -1",
    "UPDATE _rapidbyte.cursors SET value = 'no number'",
    "UPDATE _rapidbyte.cursors SET value = ''",
    "UPDATE _rapidbyte.cursors SET value = E'\\u0001'",
    "UPDATE _rapidbyte.cursors SET type = 'no type'",
    "UPDATE _rapidbyte.cursors SET field = 'other'",
    "DROP TABLE _rapidbyte.cursors",
    "DROP TABLE _rapidbyte.loads",
    "ALTER TABLE _rapidbyte.cursors DROP COLUMN value",
    "ALTER TABLE _rapidbyte.loads DROP COLUMN state",
]


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("mode", ["append", "upsert"])
def test_a_damaged_ledger_is_never_taken_for_a_first_run(
    damage: str, mode: str, source: str, destination_db: str
) -> None:
    """E11: the run is refused with an error of its own, and the target is as it was; nothing is loaded again."""
    loaded(increments(source, destination_db, mode))
    fill(source, 4, 4)
    run(destination_db, damage)
    result = rapidbyte.run(increments(source, destination_db, mode))
    assert result.error is not None, damage
    assert result.exit_code in (2, 4, 6), result.error
    assert rows_of(destination_db, ROWS) == [([1, 2, 3],)]


@pytest.mark.parametrize("value", ["no number", "", "99999999999", "2026-01-01"])
def test_a_damaged_cursor_is_the_ledger_s_fault(value: str, source: str, destination_db: str) -> None:
    """E11: exit 2 before the source is asked; `state set` repairs it, and so does a full refresh."""
    loaded(increments(source, destination_db))
    run(destination_db, f"UPDATE _rapidbyte.cursors SET value = '{value}'")
    fill(source, 4, 4)
    message, error = refused(increments(source, destination_db), 2, "cursor_damaged")
    assert "_rapidbyte.cursors" in message
    assert "rapidbyte state set PIPELINE --stream t --value VALUE" in (error.hint or "")
    assert rows_of(destination_db, ROWS) == [([1, 2, 3],)]
    assert rows_of(destination_db, "SELECT count(*) FROM _rapidbyte.runs") == [(1,)]
    loaded(increments(source, destination_db), full_refresh=True)
    assert rows_of(destination_db, ROWS) == [([1, 2, 3, 4],)]
    assert rows_of(destination_db, "SELECT value FROM _rapidbyte.cursors") == [("4",)]


def test_no_state_is_kept_in_a_file(
    source: str, destination_db: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """E11: so none can be truncated, filled with NULs, locked or left behind; two folders see one state."""
    for folder in ("home", "work", "elsewhere"):
        (tmp_path / folder).mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path / "work")
    assert loaded(increments(source, destination_db)).records_written == 3
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert loaded(increments(source, destination_db)).records_written == 0
    assert [path for path in tmp_path.rglob("*") if not path.is_dir()] == []


def test_a_target_whose_cursor_is_gone_is_not_appended_to(source: str, destination_db: str) -> None:
    """E12: all rows would come again: exit 2; an upsert may begin at the beginning, its keys are there already."""
    loaded(increments(source, destination_db))
    run(destination_db, "DELETE FROM _rapidbyte.cursors; ALTER TABLE raw.t DROP CONSTRAINT t_pkey")
    refused(increments(source, destination_db), 2, "cursor_unknown")
    assert rows_of(destination_db, ROWS) == [([1, 2, 3],)]
    fill(source, 4, 4)
    loaded(increments(source, destination_db, "upsert"))
    assert rows_of(destination_db, ROWS) == [([1, 2, 3, 4],)]


@pytest.mark.parametrize("mode", ["append", "upsert"])
def test_a_cursor_whose_target_is_gone_does_not_leave_a_hole(mode: str, source: str, destination_db: str) -> None:
    """E12: rows below the cursor would never come again: exit 2; a full refresh brings all, and goes on from there."""
    loaded(increments(source, destination_db, mode))
    run(destination_db, "DROP TABLE raw.t")
    refused(increments(source, destination_db, mode), 2, "target_gone")
    fill(source, 4, 4)
    refused(increments(source, destination_db, mode), 2, "target_gone")
    assert rows_of(destination_db, "SELECT to_regclass('raw.t') IS NULL") == [(True,)]
    loaded(increments(source, destination_db, mode), full_refresh=True)
    fill(source, 5, 5)
    loaded(increments(source, destination_db, mode))
    assert rows_of(destination_db, ROWS) == [([1, 2, 3, 4, 5],)]


def test_a_cursor_that_was_set_by_hand_may_have_no_target(source: str, destination_db: str) -> None:
    """E12: who begins in the middle says so beforehand; the table is made."""
    loaded(increments(source, destination_db))
    run(destination_db, "UPDATE _rapidbyte.cursors SET load_id = NULL, value = '2'; DROP TABLE raw.t")
    loaded(increments(source, destination_db))
    assert rows_of(destination_db, ROWS) == [([3],)]


def copied(server: Server, admin: psycopg.Connection, dsn: str, name: str) -> str:
    """A copy of a database: a backup, or what is restored from one."""
    database = str(conninfo_to_dict(dsn)["dbname"])
    admin.execute(
        sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY file_copy").format(
            sql.Identifier(name), sql.Identifier(database)
        )
    )
    return server.dsn(name)


@pytest.mark.parametrize("mode", ["append", "upsert"])
def test_a_restored_destination_goes_on_where_its_rows_end(
    mode: str,
    source: str,
    destination_db: str,
    server: Server,
    server_dsn: str,
    connect: Callable[..., psycopg.Connection],
) -> None:
    """E14: the ledger goes back with the rows, since it lies beside them: none is lost, none comes twice."""
    loaded(increments(source, destination_db, mode))
    backup = f"{conninfo_to_dict(destination_db)['dbname']}_backup"
    admin = connect(server_dsn)
    try:
        restored = copied(server, admin, destination_db, backup)
        fill(source, 4, 6)
        loaded(increments(source, destination_db, mode))
        fill(source, 7, 8)
        assert loaded(increments(source, restored, mode)).records_written == 5
        assert rows_of(restored, ROWS) == [([1, 2, 3, 4, 5, 6, 7, 8],)]
    finally:
        admin.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(backup)))
