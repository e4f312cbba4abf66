"""Runs that die in the middle, and the same command again: what is loaded is not read twice, what is lost is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

import rapidbyte
from rapidbyte.events import Event, PartitionLoaded, StreamStarted
from rapidbyte.model import Secret
from rapidbyte.result import RunResult
from rapidbyte.spec import (
    Connection,
    DestinationSpec,
    FilesSourceSpec,
    PipelineSpec,
    PostgresSourceSpec,
    Resources,
    StreamSpec,
)

Connect = Callable[..., psycopg.Connection]
Checksum = Callable[[str, str], tuple[int, str, int]]
OTHERS = "CREATE SCHEMA raw; CREATE TABLE raw.rows (id bigint, note text); INSERT INTO raw.rows VALUES (-1, 'other')"
"""A target with rows: the stage is unlogged, and lies in _rapidbyte."""
FILES = 6
ROWS = 500


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Six files of 500 rows each."""
    for number in range(FILES):
        lines = [f"{row},row {row}" for row in range(number * ROWS, (number + 1) * ROWS)]
        (tmp_path / f"part-{number}.csv").write_text("\n".join(["id,note", *lines, ""]))
    return tmp_path


def files(folder: Path, destination: str) -> PipelineSpec:
    """The files as one stream, appended."""
    return PipelineSpec(
        pipeline="files",
        source=FilesSourceSpec(path=str(folder / "part-*.csv")),
        streams=(StreamSpec(name="rows"),),
        destination=DestinationSpec(connection=Connection(dsn=Secret(destination)), schema="raw"),
        resources=Resources(parallelism=1),
    )


def found(connect: Connect, destination: str) -> tuple[int, int]:
    row = connect(destination).execute("SELECT count(*), count(DISTINCT id) FROM raw.rows").fetchone()
    return (row[0], row[1]) if row else (-1, -1)


def stages(connect: Connect, destination: str) -> list[str]:
    rows = (
        connect(destination)
        .execute("SELECT relname FROM pg_class WHERE relname LIKE '\\_rb\\_%' AND relkind = 'r'")
        .fetchall()
    )
    return [name for (name,) in rows]


def terminated(connect: Connect, destination: str, after: int) -> Callable[[Event], None]:
    """An observer that closes the door to new workers when so many partitions are committed."""
    loaded: list[int] = []

    def observe(event: Event) -> None:
        if isinstance(event, PartitionLoaded):
            loaded.append(event.partition)
            if len(loaded) == after:
                connect(destination).execute("ALTER TABLE _rapidbyte.receipts RENAME TO hidden")

    return observe


def partitions(result: RunResult) -> tuple[int, int, int]:
    counts = result.streams[0].partitions
    return (counts.total, counts.loaded, counts.resumed) if counts is not None else (0, 0, 0)


def test_a_load_of_files_goes_on_where_it_stopped(folder: Path, destination_db: str, connect: Connect) -> None:
    """Two partitions are committed when the destination fails: the same command reads the other four."""
    spec = files(folder, destination_db)
    failed = rapidbyte.run(spec, observe=terminated(connect, destination_db, 2))
    assert (failed.status, failed.exit_code, partitions(failed)) == ("failed", 4, (FILES, 2, 0))
    assert any("the same command goes on from there" in warning for warning in failed.warnings)
    assert len(stages(connect, destination_db)) == 1
    connect(destination_db).execute("ALTER TABLE _rapidbyte.hidden RENAME TO receipts")
    read: list[int] = []
    started: list[int] = []

    def observe(event: Event) -> None:
        if isinstance(event, PartitionLoaded):
            read.append(event.partition)
        if isinstance(event, StreamStarted):
            started.append(event.resumed)

    result = rapidbyte.run(spec, observe=observe)
    assert (result.status, partitions(result)) == ("succeeded", (FILES, FILES - 2, 2))
    assert (sorted(read), started) == ([2, 3, 4, 5], [2])
    assert (result.records_read, result.records_written) == (FILES * ROWS, FILES * ROWS)
    assert found(connect, destination_db) == (FILES * ROWS, FILES * ROWS)
    assert stages(connect, destination_db) == []


def test_files_that_have_changed_are_loaded_anew(folder: Path, destination_db: str, connect: Connect) -> None:
    """One of the loaded files has another row now: nothing of the old stage is used, and it is gone."""
    spec = files(folder, destination_db)
    rapidbyte.run(spec, observe=terminated(connect, destination_db, 2))
    connect(destination_db).execute("ALTER TABLE _rapidbyte.hidden RENAME TO receipts")
    with (folder / "part-0.csv").open("a") as file:
        file.write("99999,new\n")
    result = rapidbyte.run(spec)
    assert (result.status, partitions(result)) == ("succeeded", (FILES, FILES, 0))
    assert found(connect, destination_db) == (FILES * ROWS + 1, FILES * ROWS + 1)
    assert stages(connect, destination_db) == []


def test_a_stage_emptied_between_two_runs_is_not_used(folder: Path, destination_db: str, connect: Connect) -> None:
    """C2: a crash of the server empties an unlogged stage, and the receipts stay: the load begins anew."""
    connect(destination_db).execute(OTHERS)
    spec = files(folder, destination_db)
    rapidbyte.run(spec, observe=terminated(connect, destination_db, 2))
    admin = connect(destination_db)
    admin.execute("ALTER TABLE _rapidbyte.hidden RENAME TO receipts")
    (stage,) = stages(connect, destination_db)
    admin.execute(f'TRUNCATE _rapidbyte."{stage}"')  # type: ignore[arg-type]
    result = rapidbyte.run(spec)
    assert (result.status, partitions(result)) == ("succeeded", (FILES, FILES, 0))
    assert found(connect, destination_db) == (FILES * ROWS + 1, FILES * ROWS + 1)


def test_a_stage_emptied_within_a_run_is_loaded_anew(folder: Path, destination_db: str, connect: Connect) -> None:
    """C2: after its third partition the stage loses what it had; noticed at the publish, repaired, counted."""
    connect(destination_db).execute(OTHERS)
    emptied: list[str] = []

    def observe(event: Event) -> None:
        if isinstance(event, PartitionLoaded) and event.partition == 2 and not emptied:
            emptied.extend(stages(connect, destination_db))
            connect(destination_db).execute(f'TRUNCATE _rapidbyte."{emptied[0]}"')  # type: ignore[arg-type]

    result = rapidbyte.run(files(folder, destination_db), observe=observe)
    assert (result.status, result.attempts) == ("succeeded", 2)
    assert found(connect, destination_db) == (FILES * ROWS + 1, FILES * ROWS + 1)
    assert stages(connect, destination_db) == []


def test_a_snapshot_whose_holder_dies_is_taken_again(
    source_db: str, destination_db: str, connect: Connect, checksum_of: Checksum
) -> None:
    """The holder is terminated after the first partition of the second stream; the first one is not read again."""
    source = connect(source_db)
    for table in ("a", "b"):
        source.execute(
            f"CREATE TABLE {table} AS SELECT i AS id, repeat(md5(i::text), 20) AS note FROM generate_series(1, 5000) i;"
            f"ANALYZE {table}"  # type: ignore[arg-type]
        )
    spec = PipelineSpec(
        pipeline="shop",
        source=PostgresSourceSpec(connection=Connection(dsn=Secret(source_db))),
        streams=(StreamSpec(name="a"), StreamSpec(name="b")),
        destination=DestinationSpec(
            connection=Connection(dsn=Secret(destination_db)), schema="raw", write_mode="append"
        ),
        resources=Resources(parallelism=1, checkpoint_interval_bytes=256 * 1024),
    )
    killed: list[int] = []
    begun: list[str] = []

    def observe(event: Event) -> None:
        if isinstance(event, StreamStarted):
            begun.append(event.stream)
        if isinstance(event, PartitionLoaded) and event.stream == "b" and not killed:
            killed.append(1)
            connect(source_db).execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
                " WHERE application_name = 'rapidbyte reader-0 shop' AND datname = current_database()"
                " AND state = 'idle in transaction'"
            )

    result = rapidbyte.run(spec, observe=observe)
    assert (result.status, result.attempts) == ("succeeded", 2)
    assert begun[-1] == "b"
    for table in ("a", "b"):
        assert checksum_of(destination_db, f"raw.{table}") == checksum_of(source_db, f"public.{table}")
    assert stages(connect, destination_db) == []
