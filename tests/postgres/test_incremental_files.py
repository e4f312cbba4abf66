"""Increments of files: each file once, whatever happens in between."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.postgres.command import KILLED, Connect, Project, project

FILES = {"use": "files", "config": {"path": "in/*.csv"}}
STREAM = {"name": "orders", "sync_mode": "incremental"}


def shop(folder: Path, destination: str, **settings: Any) -> Project:
    (folder / "in").mkdir(exist_ok=True)
    return project(folder, FILES, destination, stream=STREAM, **settings)


def put(folder: Path, name: str, low: int, high: int, note: str = "x") -> Path:
    """A file of the orders `low` to `high - 1`."""
    path = folder / "in" / name
    path.write_text("id,note\n" + "".join(f"{i},{note}\n" for i in range(low, high)))
    return path


def ids(admin: psycopg.Connection) -> list[int]:
    return [i for (i,) in admin.execute("SELECT id FROM raw.orders ORDER BY 1").fetchall()]


def known(admin: psycopg.Connection) -> list[str]:
    return [path for (path,) in admin.execute("SELECT path FROM _rapidbyte.files ORDER BY 1").fetchall()]


@pytest.mark.parametrize("settings", [{"write_mode": "append"}, {"write_mode": "upsert", "primary_key": ["id"]}])
def test_each_file_is_loaded_once(
    tmp_path: Path, destination_db: str, connect: Connect, settings: dict[str, Any]
) -> None:
    """A new one comes with the next run, also beside old ones; a run without new ones changes nothing (E8)."""
    pipeline = shop(tmp_path, destination_db, **settings)
    admin = connect(destination_db)
    put(tmp_path, "a.csv", 0, 100)
    first = pipeline.run()
    assert (first.exit_code, first.stream["records_written"]) == (0, 100)
    put(tmp_path, "b.csv", 100, 150)
    second = pipeline.run()
    assert (second.exit_code, second.stream["records_written"]) == (0, 50)
    before = admin.execute("SELECT array_agg(ctid ORDER BY ctid) FROM raw.orders").fetchone()
    third = pipeline.run()
    assert (third.exit_code, third.stream["records_written"], third.stream["status"]) == (0, 0, "succeeded")
    assert admin.execute("SELECT array_agg(ctid ORDER BY ctid) FROM raw.orders").fetchone() == before
    assert ids(admin) == list(range(150))
    assert known(admin) == ["in/a.csv", "in/b.csv"]


@pytest.mark.parametrize(
    ("first", "later", "code", "way_out", "altered"),
    [
        ("1.25", ("1.5", "10.125"), "columns_refused", '`types: {x: "numeric"}`', None),
        ("1.25", ("3",), "columns_refused", '`types: {x: "numeric"}`', None),
        ("1", ("2.5", "3.75"), "columns_refused", "alter the target's column to numeric", "numeric"),
        ("1", ("2.50",), "value_does_not_fit", "x is bigint in the target", "numeric"),
        ("0.5\n2,0.25", ("12345678901234567890.5",), "columns_refused", "alter the target's column", "numeric"),
    ],
)
def test_later_numbers_that_the_first_file_did_not_foresee_are_refused_with_the_way_out(
    tmp_path: Path,
    destination_db: str,
    connect: Connect,
    first: str,
    later: tuple[str, ...],
    code: str,
    way_out: str,
    altered: str | None,
) -> None:
    """Nothing is rounded; done as the hint says, the file arrives with every digit (B1)."""
    admin = connect(destination_db)
    pipeline = shop(tmp_path, destination_db)
    (tmp_path / "in" / "a.csv").write_text(f"id,x\n1,{first}\n")
    assert pipeline.run().exit_code == 0
    (tmp_path / "in" / "b.csv").write_text("id,x\n" + "".join(f"{i},{x}\n" for i, x in enumerate(later, 5)))
    refused = pipeline.run().document["error"]
    assert (refused["code"], way_out in refused["hint"]) == (code, True)
    if altered is not None:
        admin.execute(f"ALTER TABLE raw.orders ALTER COLUMN x TYPE {altered}")
    declared = {**STREAM, "types": {"x": "numeric"}}
    mended = project(tmp_path, FILES, destination_db, stream=declared).run()
    assert mended.exit_code == 0
    assert [x for (x,) in admin.execute("SELECT x::text FROM raw.orders WHERE id >= 5 ORDER BY id")] == list(later)


def test_a_value_that_does_not_fit_a_new_table_is_told_where_its_type_is_said(
    tmp_path: Path, destination_db: str
) -> None:
    """By `types`: there is no target whose column could be altered, and none is left behind (B1)."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.csv").write_text("id,x\n1,08:00:2b:01:02:03\n2,no address\n")
    error = (
        project(tmp_path, FILES, destination_db, stream={"name": "orders", "types": {"x": "macaddr"}})
        .run()
        .document["error"]
    )
    assert (error["code"], error["column"], error["afterwards"]) == (
        "value_does_not_fit",
        "x",
        "raw.orders was not created",
    )
    assert error["hint"] == (
        "x is read as macaddr: correct the row, give it another type by `types` in the stream, or have such rows set"
        " aside: `on_data_error: dlq` or `skip` at the destination"
    )


def test_decimals_with_an_exponent_are_read_as_what_the_target_holds(
    tmp_path: Path, destination_db: str, connect: Connect
) -> None:
    """They are text for the file, and exact numbers for the server (B1)."""
    pipeline = shop(tmp_path, destination_db)
    (tmp_path / "in" / "a.csv").write_text("id,x\n1,1.25\n")
    assert pipeline.run().exit_code == 0
    (tmp_path / "in" / "b.csv").write_text("id,x\n2,1.5\n3,10.125\n4,1e3\n")
    assert pipeline.run().exit_code == 0
    found = connect(destination_db).execute("SELECT x::text FROM raw.orders ORDER BY id").fetchall()
    assert [x for (x,) in found] == ["1.25", "1.5", "10.125", "1000"]


def test_a_file_that_was_touched_is_the_same_one(tmp_path: Path, destination_db: str, connect: Connect) -> None:
    """Its time is another, its content is not."""
    pipeline = shop(tmp_path, destination_db)
    path = put(tmp_path, "a.csv", 0, 10)
    pipeline.run()
    os.utime(path, (1, 1))
    again = pipeline.run()
    assert (again.exit_code, again.stream["records_written"]) == (0, 0)
    assert ids(connect(destination_db)) == list(range(10))


def test_a_changed_file_is_refused_in_an_append(tmp_path: Path, destination_db: str, connect: Connect) -> None:
    """Its rows are there already, as far as they are the same; nothing of the other new files is loaded either."""
    pipeline = shop(tmp_path, destination_db)
    put(tmp_path, "a.csv", 0, 10)
    pipeline.run()
    put(tmp_path, "a.csv", 0, 12)
    put(tmp_path, "b.csv", 20, 30)
    again = pipeline.run()
    assert (again.exit_code, again.document["error"]["code"]) == (3, "file_changed_after_load")
    assert "in/a.csv: changed since it was loaded" in again.document["error"]["message"]
    assert ids(connect(destination_db)) == list(range(10))
    assert pipeline.run("--full-refresh").exit_code == 0
    assert ids(connect(destination_db)) == [*range(12), *range(20, 30)]
    assert pipeline.run().stream["records_written"] == 0


def test_a_changed_file_is_loaded_whole_in_an_upsert(tmp_path: Path, destination_db: str, connect: Connect) -> None:
    """Equal keys are overwritten; the ledger has the file as it is now."""
    pipeline = shop(tmp_path, destination_db, write_mode="upsert", primary_key=["id"])
    put(tmp_path, "a.csv", 0, 10)
    pipeline.run()
    put(tmp_path, "a.csv", 5, 12, note="y")
    assert pipeline.run().stream["records_written"] == 7
    admin = connect(destination_db)
    assert admin.execute("SELECT count(*), count(*) FILTER (WHERE note = 'y') FROM raw.orders").fetchone() == (12, 7)
    assert pipeline.run().stream["records_written"] == 0
    assert known(admin) == ["in/a.csv"]


def test_a_copy_under_another_name_is_told(tmp_path: Path, destination_db: str) -> None:
    """It is loaded: two files may well be equal."""
    pipeline = shop(tmp_path, destination_db)
    put(tmp_path, "a.csv", 0, 10)
    pipeline.run()
    put(tmp_path, "b.csv", 0, 10)
    again = pipeline.run()
    assert again.stream["records_written"] == 10
    assert "in/b.csv is loaded as a new file, and has the same content as in/a.csv" in str(again.stream["warnings"])


@pytest.mark.parametrize("place", ["w.commit_acked#3", "join.all_done", "pub.state", "pub.commit_before", "pub.acked"])
@pytest.mark.parametrize("write", ["staged", "direct"])
def test_a_run_that_was_killed_loads_each_file_once(
    tmp_path: Path, destination_db: str, connect: Connect, place: str, write: str
) -> None:
    """Files and rows are published together; what had its receipt is not read again (E1, E9)."""
    pipeline = shop(tmp_path, destination_db, append_strategy=write)
    admin = connect(destination_db)
    put(tmp_path, "a.csv", 0, 10)
    assert pipeline.run().exit_code == 0
    put(tmp_path, "b.csv", 10, 20)
    put(tmp_path, "c.csv", 20, 30)
    put(tmp_path, "d.csv", 30, 40)
    assert pipeline.run(failpoint=f"{place}=exit").exit_code == KILLED
    assert known(admin) == (["in/a.csv", "in/b.csv", "in/c.csv", "in/d.csv"] if place == "pub.acked" else ["in/a.csv"])
    again = pipeline.run()
    assert again.exit_code == 0, again.stderr
    assert ids(admin) == list(range(40))
    assert known(admin) == ["in/a.csv", "in/b.csv", "in/c.csv", "in/d.csv"]
    assert pipeline.run().stream["records_written"] == 0


def test_files_that_came_after_a_crash_are_the_next_runs(tmp_path: Path, destination_db: str, connect: Connect) -> None:
    """A load that goes on has the files that it was begun with."""
    pipeline = shop(tmp_path, destination_db)
    put(tmp_path, "a.csv", 0, 10)
    put(tmp_path, "b.csv", 10, 20)
    assert pipeline.run(failpoint="join.all_done=exit").exit_code == KILLED
    put(tmp_path, "c.csv", 20, 30)
    assert pipeline.run().stream["partitions"]["resumed"] == 2
    assert ids(connect(destination_db)) == list(range(20))
    assert pipeline.run().stream["records_written"] == 10
    assert ids(connect(destination_db)) == list(range(30))


def test_a_file_that_changed_after_a_crash_is_loaded_as_it_is(
    tmp_path: Path, destination_db: str, connect: Connect
) -> None:
    """The dead run's load begins anew, with what is there now."""
    pipeline = shop(tmp_path, destination_db)
    put(tmp_path, "a.csv", 0, 10)
    assert pipeline.run(failpoint="join.all_done=exit").exit_code == KILLED
    put(tmp_path, "a.csv", 100, 120)
    again = pipeline.run()
    assert again.exit_code == 0, again.stderr
    assert ids(connect(destination_db)) == list(range(100, 120))


def test_state_shows_and_forgets_the_files(tmp_path: Path, destination_db: str, connect: Connect) -> None:
    """After a reset an append to a target with rows is refused (E12)."""
    pipeline = shop(tmp_path, destination_db)
    put(tmp_path, "a.csv", 0, 10)
    pipeline.run()
    (shown,) = pipeline.did("state", "show", "pipeline.yaml", "--output", "json").document["cursors"]
    assert shown["value"].startswith("1 files, ")
    assert [each["path"] for each in shown["files"]] == ["in/a.csv"]
    assert pipeline.did("state", "reset", "pipeline.yaml", "--yes").exit_code == 0
    assert known(connect(destination_db)) == []
    again = pipeline.run()
    assert (again.exit_code, again.document["error"]["code"]) == (2, "cursor_unknown")
    assert ids(connect(destination_db)) == list(range(10))


def test_a_ledger_of_version_2_gets_the_table(tmp_path: Path, destination_db: str, connect: Connect) -> None:
    """Its cursors are known before it is migrated, too."""
    pipeline = shop(tmp_path, destination_db)
    put(tmp_path, "a.csv", 0, 10)
    pipeline.run()
    connect(destination_db).execute(
        "DROP TABLE _rapidbyte.files, _rapidbyte.rejects; DELETE FROM _rapidbyte.cursors;"
        "ALTER TABLE _rapidbyte.receipts DROP COLUMN rejected;"
        "UPDATE _rapidbyte.ledger SET version = 2; TRUNCATE raw.orders"
    )
    assert pipeline.did("state", "show", "pipeline.yaml", "--output", "json").document["cursors"] == []
    assert pipeline.run().exit_code == 0
    assert known(connect(destination_db)) == ["in/a.csv"]


def test_rows_say_where_they_come_from(tmp_path: Path, destination_db: str, connect: Connect) -> None:
    """File, line, time and run, as the ledger has them."""
    pipeline = shop(tmp_path, destination_db)
    pipeline.document["source"]["streams"][0]["metadata"] = ["_file", "_line", "_loaded_at", "_run_id"]
    put(tmp_path, "a.csv", 0, 3)
    first = pipeline.run()
    put(tmp_path, "b.csv", 3, 4)
    second = pipeline.run()
    runs = [each.document["run_id"] for each in (first, second)]
    admin = connect(destination_db)
    assert admin.execute("SELECT id, _file, _line, _run_id FROM raw.orders ORDER BY id").fetchall() == [
        (0, "in/a.csv", 2, runs[0]),
        (1, "in/a.csv", 3, runs[0]),
        (2, "in/a.csv", 4, runs[0]),
        (3, "in/b.csv", 2, runs[1]),
    ]
    between = "SELECT bool_and(_loaded_at BETWEEN now() - interval '10 min' AND now()) FROM raw.orders"
    assert admin.execute(between).fetchone() == (True,)


def text_of(pipeline: Project, *arguments: str) -> str:
    return pipeline.start(*arguments).communicate(timeout=60)[0]


def test_what_a_killed_run_left_is_told(tmp_path: Path, destination_db: str) -> None:
    """`runs` says that its process is gone, `gc --dry-run` that a load could be gone on with, `plan` what is new."""
    pipeline = shop(tmp_path, destination_db)
    put(tmp_path, "a.csv", 0, 10)
    assert "no run of pipeline shop is recorded" in text_of(pipeline, "runs", "--output", "text")
    assert "1 file, 1 of them new or changed" in text_of(pipeline, "plan", "--output", "text")
    assert pipeline.run().exit_code == 0
    put(tmp_path, "b.csv", 10, 20)
    assert "2 files, 1 of them new or changed" in text_of(pipeline, "plan", "--output", "text")
    assert pipeline.run(failpoint="join.all_done=exit").exit_code == KILLED
    (latest, first) = text_of(pipeline, "runs", "--output", "text").splitlines()
    assert "lost" in latest
    assert latest.endswith("1 stream; its process is gone: run it again")
    assert first.endswith("exit  0  1 stream")
    told = text_of(pipeline, "gc", "pipeline.yaml", "--dry-run", "--output", "text")
    assert "orders: the next run could go on with load" in told
    assert "which holds 10 rows in 1 partition; gc gives it up" in told
    assert pipeline.run().exit_code == 0
    assert "orders: 2 files loaded; the last by name is in/b.csv" in text_of(
        pipeline, "state", "show", "pipeline.yaml", "--output", "text"
    )
