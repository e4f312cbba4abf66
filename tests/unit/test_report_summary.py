"""The summary shows the result's figures and nothing else; what is not known shows as a dash."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest

from rapidbyte.engine.run import execute
from rapidbyte.errors import DataError
from rapidbyte.ports import Block, Runtime
from rapidbyte.report.summary import STREAM_HEADINGS, TableView, byte_size, count, narrowed, seconds, summarize
from rapidbyte.result import RunResult, TimeShares, Verdict, error_info
from rapidbyte.spec import RunOptions
from tests import fakes
from tests.fakes import FakeLeader, FakeSource, Script, pipeline_spec


def result(*names: str, dry_run: bool = False) -> RunResult:
    scripts = {("orders", 0): Script(blocks=(Block(data=b"x" * 2048, rows=1500, size=2048),))}
    runtime = Runtime(
        source=FakeSource(1, scripts),
        leader=FakeLeader(),
        write=fakes.write,
        options=RunOptions(workers=2, dry_run=dry_run),
        observe=lambda event: None,
    )
    return execute(pipeline_spec(*names), runtime, threading.Event())


def test_each_stream_has_its_row_in_pipeline_order() -> None:
    """Name, target, rows, bytes, time, rows/s, publish, wire, status."""
    run = result("orders", "items")
    timed = replace(run, streams=tuple(replace(stream, duration_s=2.0) for stream in run.streams), duration_s=2.5)
    found = summarize(timed)
    assert found.streams.title == "shop: run succeeded in 2.50 s"
    assert found.streams.headings == STREAM_HEADINGS
    assert found.streams.rows == (
        ("orders", "raw.orders", "1,500", "2.0 KB", "2.00 s", "750", "swap", "binary-relay", "succeeded"),
        ("items", "raw.items", "1", "3 B", "2.00 s", "0", "swap", "binary-relay", "succeeded"),
    )


@pytest.mark.parametrize(
    ("width", "gone"),
    [
        (1000, ()),
        (108, ()),
        (107, ("wire",)),
        (90, ("wire", "rows/s")),
        (20, ("wire", "rows/s", "publish", "bytes")),
    ],
)
def test_a_narrow_terminal_is_spared_what_is_least_missed(width: int, gone: tuple[str, ...]) -> None:
    """Stream, target, rows, time and status stay whatever the width."""
    row = (
        "orders_of_a_year",
        "raw.orders",
        "1,500,000",
        "2.0 KB",
        "2.00 s",
        "750",
        "swap",
        "binary-relay",
        "succeeded",
    )
    whole = TableView(title="t", headings=STREAM_HEADINGS, rows=(row,))
    found = narrowed(whole, width)
    assert found.headings == tuple(heading for heading in STREAM_HEADINGS if heading not in gone)
    assert (
        dict(zip(found.headings, found.rows[0], strict=True)).items()
        <= dict(zip(STREAM_HEADINGS, row, strict=True)).items()
    )


def test_under_the_table_are_total_workers_phases_and_the_meaning_of_the_exit_code() -> None:
    """One line each; the verdict only where there is one."""
    run = replace(result("orders"), rows_per_s=600.4, mb_per_s=1.26)
    words = [line.split(":")[0] for line in summarize(run).lines]
    assert [word for word in words if word != "verdict"] == ["total", "workers", "phases", "exit 0"]
    assert summarize(run).lines[0] == "total: 1,500 rows written, 2.0 KB, 600 rows/s, 1.3 MB/s"
    aside = replace(run, records_rejected=4)
    assert summarize(aside).lines[0] == "total: 1,500 rows written, 4 set aside, 2.0 KB, 600 rows/s, 1.3 MB/s"
    assert summarize(run).lines[-1] == "exit 0: done"
    assert ("verdict" in words) is (run.verdict is not None or run.verdict_missing is not None)


def test_beside_an_error_there_is_no_advice() -> None:
    """Neither a verdict nor why there is none, whatever the result has."""
    run = result("orders")
    error = error_info(DataError("a row is too wide", code="x"), show_row_values=False)
    judged = Verdict(bottleneck="source", shares=TimeShares(source=1, client=0, destination=0), advice="Wait.")
    for verdict in (judged, None):
        ended = replace(run, verdict=verdict, verdict_missing=None if verdict else "too short")
        assert [line for line in summarize(ended).lines if line.startswith("verdict")] != []
        failed = replace(ended, status="failed", error=error)
        assert [line for line in summarize(failed).lines if line.startswith("verdict")] == []


def test_what_is_not_known_is_a_dash() -> None:
    """Never a zero."""
    run = result("orders")
    bare = replace(
        run.streams[0], duration_s=None, records_written=None, records_read=None, bytes_written=None, bytes_read=None,
        publish=None, wire=None, status="skipped",
    )  # fmt: skip
    assert summarize(replace(run, streams=(bare,))).streams.rows == (
        ("orders", "raw.orders", "-", "-", "-", "-", "-", "-", "skipped"),
    )


def test_a_dry_run_shows_the_first_rows_and_what_it_is() -> None:
    """NULL is a word; values are escaped and cut."""
    run = result("orders", dry_run=True)
    found = summarize(run)
    assert found.streams.title.startswith("shop: dry run succeeded")
    assert [(view.title, view.headings, view.rows) for view in found.samples] == [
        ("orders: the first 2 rows", ("id",), (("1",), ("NULL",)))
    ]
    sample = run.streams[0].sample
    assert sample is not None
    wild = replace(run.streams[0], sample=replace(sample, rows=(("\x1b[2J",), ("y" * 50,))))
    (view,) = summarize(replace(run, streams=(wild,))).samples
    assert view.rows == (("\\x1b[2J",), ("y" * 37 + "...",))


def test_names_are_escaped_in_the_table() -> None:
    """A stream's name comes from a file or a server (G11)."""
    run = result("orders")
    wild = replace(run.streams[0], name="a\nb", target="\x1b[31m")
    assert summarize(replace(run, streams=(wild,))).streams.rows[0][:2] == ("a\\nb", "\\x1b[31m")


@pytest.mark.parametrize(
    ("value", "expected"),
    [(None, "-"), (0.0, "0.00 s"), (9.994, "9.99 s"), (9.996, "10.0 s"), (59.9, "59.9 s"), (59.96, "1m00s"),
     (185, "3m05s"), (3599.6, "1h00m"), (7380, "2h03m")],
)  # fmt: skip
def test_seconds_read_well_at_every_size(value: float | None, expected: str) -> None:
    """And never as `60.0 s` or `60m`."""
    assert expected == seconds(value)


@pytest.mark.parametrize(
    ("value", "expected"),
    [(None, "-"), (0, "0 B"), (1023, "1023 B"), (1024, "1.0 KB"), (1024**2 - 1, "1.0 MB"), (1536 * 1024, "1.5 MB"),
     (3 * 1024**4, "3.0 TB")],
)  # fmt: skip
def test_sizes_are_in_powers_of_1024(value: int | None, expected: str) -> None:
    """And never as `1024.0 KB`."""
    assert expected == byte_size(value)


def test_counts_have_thousands_separators() -> None:
    """None is not known."""
    assert [count(1234567), count(None), count(0)] == ["1,234,567", "-", "0"]
