"""The Typer application: global options, and one line a command."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
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


EXIT_CODES = (
    "Exit codes: 0 done, 2 usage or configuration, 3 source, 4 destination, 5 data, 6 schema, 7 cancelled, 8 busy,"
    " 9 a check failed, 70 a defect of ours."
)
"""`EXIT_WORDS` of the report, which is not imported for `--help`."""


def _empty() -> typer.Typer:
    # Rich would be imported for the help, and would read brackets in data as markup; a traceback with locals shows
    # passwords (G5).
    return typer.Typer(
        name="rapidbyte",
        help="Loads data into PostgreSQL with COPY, in parallel, from a YAML file.",
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        pretty_exceptions_show_locals=False,
        epilog=f"The options above may also follow the command. {EXIT_CODES}",
    )


class LogFormatName(StrEnum):
    """How lines on stderr are written."""

    text = "text"
    json = "json"


def _print_version(context: typer.Context, wanted: bool) -> None:
    if wanted:
        context.obj.require_print(f"rapidbyte {__version__}\n")
        raise typer.Exit


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


COMMANDS: tuple[Callable[..., object], ...] = (
    run,
    check,
    plan,
    discover,
    verify,
    runs,
    state,
    rejects,
    gc,
    report,
    init,
    schema,
    demo,
    psql,
    bench,
)
"""In the order of the help."""


def application_of(commands: Iterable[Callable[..., object]]) -> typer.Typer:
    """The global options and these commands."""
    made = _empty()
    made.callback()(take_global_options)
    for command in commands:
        made.command()(command)
    return made


def application_for(arguments: Sequence[str]) -> typer.Typer:
    """What can carry out a command line whose global options come first: where it names a command, no other one.

    Typer takes every command's parameters apart before it looks which one is meant: 7 ms for one, 30 ms for all.
    """
    named = next((word for word in arguments if not word.startswith("-")), None)
    return application_of([command for command in COMMANDS if command.__name__ == named] or COMMANDS)
