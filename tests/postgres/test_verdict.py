"""What limits a run, told by the run itself: each side is made slow in turn, by real means."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import rapidbyte
from rapidbyte.metrics import MachineLoad
from rapidbyte.result import RunResult
from rapidbyte.spec import RunOptions
from tests.postgres.command import Connect, Project, postgres, project
from tests.postgres.throttling import throttled

MB = 1 << 20
pytestmark = pytest.mark.slow

TABLE = "CREATE TABLE t AS SELECT i AS id, repeat(md5(i::text), 30) AS body FROM generate_series(1, %s) i"
"""About 1 KB a row."""


def ran(made: Project, **options: Any) -> RunResult:
    """The run of a project, in this process."""
    import yaml

    made.folder.mkdir(exist_ok=True)
    path = made.folder / "pipeline.yaml"
    path.write_text(yaml.safe_dump(made.document))
    result = rapidbyte.run(path, options=RunOptions(**options))
    assert result.status == "succeeded", result.error
    return result


def sized(made: Project, parallelism: int | str, interval: str) -> Project:
    """The project with these workers and partitions."""
    made.document["resources"] = {"parallelism": parallelism, "checkpoint_interval_bytes": interval}
    return made


def test_a_source_behind_a_slow_network_is_the_bottleneck(
    tmp_path: Path, source_db: str, destination_db: str, connect: Connect
) -> None:
    """Its share leads; there are more partitions than workers, so more workers may be worth a try."""
    connect(source_db).execute(TABLE % 6000)
    with throttled(source_db, down=3 * MB) as slow:
        made = project(tmp_path / "p", postgres(slow), destination_db, stream={"name": "t"})
        found = ran(sized(made, 2, "500kb")).verdict
    assert found is not None
    assert found.bottleneck == "source", found
    assert found.shares.source > 0.6
    assert "more workers than 2 help while both servers have idle cores" in found.advice


def test_a_slow_query_in_one_part_is_the_bottleneck_that_more_workers_do_not_help(
    tmp_path: Path, source_db: str, destination_db: str
) -> None:
    """The server computes, and only one of two workers has something to read."""
    query = "SELECT i AS id, pg_sleep(0.002)::text AS slept FROM generate_series(1, 800) i"
    made = project(tmp_path / "p", postgres(source_db), destination_db, stream={"name": "q", "query": query})
    found = ran(sized(made, 2, "500kb")).verdict
    assert found is not None
    assert found.bottleneck == "source", found
    assert "only 1 of 2 workers had a part of it to read; a `partition_key`" in found.advice


def test_a_destination_behind_a_slow_network_is_the_bottleneck(
    tmp_path: Path, source_db: str, destination_db: str, connect: Connect
) -> None:
    """The workers wait for its socket; more of them would wait with them."""
    connect(source_db).execute(TABLE % 6000)
    with throttled(destination_db, up=3 * MB) as slow:
        made = project(tmp_path / "p", postgres(source_db), slow, stream={"name": "t"})
        found = ran(sized(made, 2, "500kb")).verdict
    assert found is not None
    assert found.bottleneck == "destination", found
    assert found.shares.destination > 0.6
    assert all(share >= 0 for share in (found.shares.source, found.shares.client, found.shares.destination))
    assert found.advice.startswith("The destination takes more slowly than the source delivers")


def test_a_heavy_transform_makes_this_process_the_bottleneck(
    tmp_path: Path, source_db: str, destination_db: str, connect: Connect
) -> None:
    """And the advice names the transforms."""
    connect(source_db).execute(TABLE % 4000)
    heavy = "SELECT id, list_sum(list_transform(range(40000), lambda x: (x * id) % 7)) AS total FROM input"
    made = project(tmp_path / "p", postgres(source_db), destination_db, stream={"name": "t"})
    made.document["transforms"] = [{"use": "sql", "config": {"query": heavy}}]
    found = ran(sized(made, 2, "500kb")).verdict
    assert found is not None
    assert found.bottleneck == "client", found
    assert "most of it in transforms" in found.advice


def test_workers_are_added_where_each_connection_to_the_source_is_slow(
    tmp_path: Path, source_db: str, destination_db: str, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every row arrives once, by more workers than the run began with, and the result says when and why."""
    monkeypatch.setattr(MachineLoad, "busy", lambda _load: 0.2)  # whatever else happens on this machine
    connect(source_db).execute(TABLE % 40000)
    with throttled(source_db, down=2 * MB, together=False) as slow:
        made = project(tmp_path / "p", postgres(slow), destination_db, stream={"name": "t"})
        result = ran(sized(made, "auto", "1mb"))
    assert result.tuning is not None
    assert (result.tuning.mode, result.tuning.workers_started) == ("auto", 2)
    assert result.tuning.adjustments[0].workers == 3, result.tuning
    assert "for the source, and the destination was busy" in result.tuning.adjustments[0].reason
    assert result.workers.count == result.tuning.adjustments[-1].workers > 2
    assert len({entry.worker for entry in result.streams[0].timeline}) == result.workers.count
    assert connect(destination_db).execute("SELECT count(*), count(DISTINCT id) FROM raw.t").fetchone() == (
        40000,
        40000,
    )


def test_no_worker_is_added_where_the_destination_is_slow(
    tmp_path: Path, source_db: str, destination_db: str, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It stays at what it began with."""
    monkeypatch.setattr(MachineLoad, "busy", lambda _load: 0.2)
    connect(source_db).execute(TABLE % 12000)
    with throttled(destination_db, up=3 * MB) as slow:
        made = project(tmp_path / "p", postgres(source_db), slow, stream={"name": "t"})
        result = ran(sized(made, "auto", "500kb"))
    assert result.tuning is not None
    assert (result.workers.count, result.tuning.adjustments) == (2, ())


def test_a_number_of_workers_that_was_asked_for_stays(
    tmp_path: Path, source_db: str, destination_db: str, connect: Connect
) -> None:
    """However much the destination waits."""
    connect(source_db).execute(TABLE % 6000)
    with throttled(source_db, down=1 * MB, together=False) as slow:
        made = project(tmp_path / "p", postgres(slow), destination_db, stream={"name": "t"})
        result = ran(sized(made, 3, "500kb"))
    assert result.tuning is not None
    assert (result.tuning.mode, result.tuning.reason) == ("explicit", "as asked for")
    assert (result.workers.count, result.tuning.adjustments) == (3, ())
