"""A small benchmark of every mode on a real server: everything is run, and every run's rows are compared."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest

from rapidbyte.bench import tables
from rapidbyte.bench.command import BenchOptions, run_bench, run_verified, save_report
from rapidbyte.bench.contest import BACKSLASH_COPY, ONE_PIPE, Contender
from rapidbyte.bench.ends import Ends
from rapidbyte.bench.figures import BenchReport
from rapidbyte.bench.modes import Field, Mode
from rapidbyte.bench.shapes import TABLES
from rapidbyte.errors import BusyError, CheckError, ConfigError
from rapidbyte.model import Secret
from rapidbyte.pg.session import connect
from rapidbyte.spec import Connection

pytestmark = pytest.mark.slow

ROWS = 2_000


@pytest.fixture
def bench(source_db: str, destination_db: str) -> Callable[..., BenchReport]:
    """bench(mode, profile="small", workers=(2,), ...) -> the report of one iteration over 2,000 rows."""

    def run(
        mode: Mode,
        profile: str = "small",
        *,
        workers: tuple[int, ...] = (2,),
        gate: bool = False,
        save: Path | None = None,
        against: Path | None = None,
        plots: Path | None = None,
    ) -> BenchReport:
        options = BenchOptions(
            profile=profile,
            mode=mode,
            iters=1,
            workers=workers,
            rows=ROWS,
            gate=gate,
            save=save,
            against=against,
            plots=plots,
            dsn=destination_db,
            source_dsn=source_db,
        )
        report = run_bench(options, lambda _line: None)
        save_report(report, options)
        return report

    return run


def test_one_database_for_both_ends_is_refused(source_db: str) -> None:
    """Making room for the first run would drop the source's table."""
    options = BenchOptions(
        profile="small",
        mode=Mode.copy,
        iters=1,
        workers=(1,),
        rows=10,
        gate=False,
        save=None,
        against=None,
        plots=None,
        dsn=source_db,
        source_dsn=source_db,
    )
    with pytest.raises(ConfigError, match="name the same database"):
        run_bench(options, lambda _line: None)


def test_more_workers_than_connections_are_refused(bench: Callable[..., BenchReport]) -> None:
    """Both ends are on one server: two connections a worker."""
    with pytest.raises(ConfigError, match=r"--workers 5000 needs 10000 connections, and the server has \d+ left"):
        bench(Mode.copy, workers=(1, 5000))


def test_table_to_table_is_measured_against_pipes_and_saved_compared_and_drawn(
    bench: Callable[..., BenchReport], tmp_path: Path
) -> None:
    """One pipe and one a worker; the run without rows takes part for the gate."""
    found = bench(Mode.copy, workers=(1, 2), gate=True, save=tmp_path / "now.json", plots=tmp_path / "plots")
    assert [(each.contender, each.role, each.to_floor is None) for each in found.lines] == [
        (ONE_PIPE, "floor", False),
        ("psql | psql, 2 pipes", "floor", False),
        ("rapidbyte, 1 worker", "ours", False),
        ("rapidbyte, 2 workers", "ours", False),
        ("rapidbyte, no rows", "empty", True),
    ]
    assert found.checksum.startswith(f"{ROWS}:")
    assert all(each.peak_rss_mb > 20 for each in found.lines if each.role == "ours")
    assert {each.target: each.verdict for each in found.targets}["small: time against one pipe"] == "not judged"
    assert json.loads((tmp_path / "now.json").read_text())["lines"][2]["contender"] == "rapidbyte, 1 worker"
    names = sorted(path.name for path in (tmp_path / "plots").iterdir())
    assert names == ["copy-small-phases.svg", "copy-small-scaling.svg", "copy-small-throughput.svg"]
    assert all(ElementTree.parse(path) for path in (tmp_path / "plots").iterdir())
    again = bench(Mode.copy, against=tmp_path / "now.json")
    assert [each.contender for each in again.against] == [ONE_PIPE, "psql | psql, 2 pipes", "rapidbyte, 2 workers"]


@pytest.mark.parametrize("profile", ["small", "medium"])
def test_files_of_the_table_arrive_as_the_table(bench: Callable[..., BenchReport], profile: str) -> None:
    r"""CSV, NDJSON and Parquet, numeric and jsonb among the columns; the floor is \copy."""
    found = bench(Mode.files, profile)
    assert [each.contender for each in found.lines] == [
        BACKSLASH_COPY,
        "rapidbyte csv, 2 workers",
        "rapidbyte ndjson, 2 workers",
        "rapidbyte parquet, 2 workers",
    ]
    assert found.floor == BACKSLASH_COPY


def test_a_transform_goes_through_arrow(bench: Callable[..., BenchReport]) -> None:
    """And gives the same rows."""
    found = bench(Mode.transform)
    assert [each.contender for each in found.lines][-1] == "rapidbyte sql, 2 workers"


@pytest.mark.parametrize("profile", ["small", "medium"])
def test_insert_is_what_copy_is_measured_against(bench: Callable[..., BenchReport], profile: str) -> None:
    """By executemany, and many rows a statement."""
    found = bench(Mode.insert, profile)
    assert [each.contender for each in found.lines][-3:] == [
        "INSERT by executemany",
        "INSERT of 1,000 rows",
        "rapidbyte, 2 workers",
    ]


@pytest.mark.parametrize("profile", ["large", "narrow", "columns", "nulls", "wide", "indexed"])
def test_every_other_table_can_be_measured(bench: Callable[..., BenchReport], profile: str) -> None:
    """Rows of every shape arrive as they were."""
    assert bench(Mode.copy, profile).profile == profile


def test_two_benchmarks_do_not_share_a_database(bench: Callable[..., BenchReport], destination_db: str) -> None:
    """The second would drop the first one's target while it is loaded."""
    first = connect(Connection(dsn=Secret(destination_db)), side="destination", application_name="test")
    with first:
        first.autocommit = True
        tables.claim(first)
        with pytest.raises(BusyError, match="another benchmark uses this database"):
            bench(Mode.copy)


def test_a_contender_that_loads_other_rows_is_no_fast_one(source_db: str, destination_db: str, tmp_path: Path) -> None:
    """It ends the benchmark, by its name; so does one that fails, with what it said."""
    ends = Ends(source=Connection(dsn=Secret(source_db)), destination=Connection(dsn=Secret(destination_db)))
    reading = connect(ends.source, side="source", application_name="test")
    writing = connect(ends.destination, side="destination", application_name="test")
    with reading, writing:
        reading.autocommit = writing.autocommit = True
        profile = TABLES["small"]
        tables.make_table(reading, profile, 10)
        field = Field(reading=reading, ends=ends, profile=profile, folder=tmp_path, workers=(1,), with_empty=False)
        columns = tuple(tables.column_types(reading, "small"))
        expected = tables.checksum(reading, "small", columns)
        for command, message in (
            (("true",), "lazy loaded other rows than the source has: 0:0:0 instead of 10:"),
            (("sh", "-c", "echo no luck >&2; exit 3"), "lazy failed: no luck"),
        ):
            lazy = Contender(
                name="lazy",
                role="peer",
                pipes=((command,),),
                environments=({},),
                workers=1,
                makes_table=False,
                target="small",
            )
            with pytest.raises(CheckError) as caught:
                run_verified(field, writing, lazy, columns, expected)
            assert str(caught.value).startswith(message)
