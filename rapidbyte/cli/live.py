"""Live progress on a terminal, and tables on stdout: what rich is needed for. Data is never markup."""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console as Terminal
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from rapidbyte.report.escape import shown
from rapidbyte.report.summary import NUMERIC_HEADINGS, count, counted, narrowed, seconds

if TYPE_CHECKING:
    from collections.abc import Generator

    from rich.console import RenderableType

    from rapidbyte.cli.console import Console
    from rapidbyte.cli.progress import Progress, StreamProgress, Tally
    from rapidbyte.report.summary import Summary, TableView

REFRESH_PER_SECOND = 4
FILE_WIDTH = 1000
"""Columns where stdout is no terminal: a table takes what it needs, and nothing is cut."""

_STYLES = {"succeeded": "green", "failed": "bold red", "cancelled": "yellow", "skipped": "yellow"}


@contextlib.contextmanager
def live_table(console: Console, tally: Tally) -> Generator[None]:
    """Shows the tally on stderr until the block ends, then takes it off the screen."""
    terminal = Terminal(file=sys.stderr, markup=False, highlight=False, emoji=False)

    def write_line(line: str) -> None:
        terminal.print(Text(line), soft_wrap=True)

    live = Live(
        console=terminal,
        get_renderable=lambda: _progress_table(tally.now()),
        refresh_per_second=REFRESH_PER_SECOND,
        transient=True,
        redirect_stdout=False,
        redirect_stderr=False,
    )
    with live, console.speaking_above(write_line):
        yield


def _progress_table(progress: Progress) -> RenderableType:
    table = Table(box=None, show_header=False, pad_edge=False)
    for stream in progress.streams:
        table.add_row(*_progress_row(stream))
    left = f", about {seconds(progress.left_s)} left" if progress.left_s is not None else ""
    active = counted(progress.workers_active, "worker")
    table.caption = Text(f"run {seconds(progress.duration_s)}, {progress.phase}, {active} active{left}")
    table.caption_justify = "left"
    return table


def _progress_row(stream: StreamProgress) -> tuple[RenderableType, ...]:
    speed = f"{stream.mb_per_s:.1f} MB/s" if stream.mb_per_s is not None else ""
    return (
        Text(shown(stream.name), overflow="ellipsis", no_wrap=True),
        ProgressBar(total=1.0, completed=stream.share or 0.0, width=24, pulse=stream.share is None),
        Text("" if stream.share is None else f"{stream.share:4.0%}"),
        Text(f"{count(stream.rows)} rows", justify="right"),
        Text(speed, justify="right"),
        Text(stream.status, style=_STYLES.get(stream.status, "")),
    )


def summary_text(summary: Summary) -> str:
    """The summary as text for stdout: coloured on a terminal unless NO_COLOR is set."""
    width = None if sys.stdout.isatty() else FILE_WIDTH
    terminal = Terminal(file=sys.stdout, width=width, markup=False, highlight=False, emoji=False)
    with terminal.capture() as captured:
        for view in (narrowed(summary.streams, terminal.width), *summary.samples):
            terminal.print(Text(view.title), soft_wrap=True)
            if view.rows:
                terminal.print(_table(view))
        for line in summary.lines:
            terminal.print(Text(line), soft_wrap=True)
    return "".join(f"{line.rstrip()}\n" for line in captured.get().splitlines())


def _table(view: TableView) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in view.headings:
        table.add_column(Text(heading), justify="right" if heading in NUMERIC_HEADINGS else "left", overflow="fold")
    for row in view.rows:
        table.add_row(*(Text(cell, style=_STYLES.get(cell, "") if cell == row[-1] else "") for cell in row))
    return table
