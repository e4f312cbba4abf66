"""The Typer application: global options, and one line a command."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from rapidbyte import __version__
from rapidbyte.cli.bench import bench
from rapidbyte.cli.check import check
from rapidbyte.cli.demo import demo
from rapidbyte.cli.discover import discover
from rapidbyte.cli.gc import gc
from rapidbyte.cli.init import init
from rapidbyte.cli.plan import plan
from rapidbyte.cli.psql import psql
from rapidbyte.cli.rejects import rejects
from rapidbyte.cli.report import report
from rapidbyte.cli.run import run
from rapidbyte.cli.runs import runs
from rapidbyte.cli.schema import schema
from rapidbyte.cli.state import state
from rapidbyte.cli.verify import verify

if TYPE_CHECKING:
    from rapidbyte.cli.console import Console

# Rich would be imported for the help, and would read brackets in data as markup; a traceback with locals shows
# passwords (G5).
application = typer.Typer(
    name="rapidbyte",
    help="Loads data into PostgreSQL with COPY, in parallel, from a YAML file.",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    pretty_exceptions_show_locals=False,
    epilog="The options above may also follow the command.",
)


class LogFormatName(StrEnum):
    """How lines on stderr are written."""

    text = "text"
    json = "json"


def _print_version(context: typer.Context, wanted: bool) -> None:
    if wanted:
        context.obj.require_print(f"rapidbyte {__version__}\n")
        raise typer.Exit


@application.callback()
def take_global_options(
    context: typer.Context,
    quiet: Annotated[bool, typer.Option("--quiet", help="Only errors on stderr.")] = False,
    verbose: Annotated[
        int, typer.Option("-v", "--verbose", count=True, help="More on stderr: phases; -vv: partitions as well.")
    ] = 0,
    log_format: Annotated[
        LogFormatName, typer.Option("--log-format", help="Lines on stderr as text, or one JSON object each.")
    ] = LogFormatName.text,
    version: Annotated[  # noqa: ARG001  eager: its callback has ended the command
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Hands the global options to the console."""
    console: Console = context.obj
    console.configure(quiet=quiet, verbosity=verbose, log_format=log_format.value)


for _command in (run, check, plan, discover, verify, runs, state, rejects, gc, report, init, schema, demo, psql, bench):
    application.command()(_command)
