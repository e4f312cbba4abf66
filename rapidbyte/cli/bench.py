"""`rapidbyte bench`: parses its options and hands over to the measuring."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rapidbyte.cli.options import OutputOption, ResultFormat
from rapidbyte.errors import CheckError, ConfigError

if TYPE_CHECKING:
    from rapidbyte.bench.figures import TargetResult
    from rapidbyte.cli.console import Console


class BenchProfile(StrEnum):
    """What the rows look like: three profiles, and further shapes for the record."""

    small = "small"
    medium = "medium"
    large = "large"
    narrow = "narrow"
    columns = "columns"
    nulls = "nulls"
    wide = "wide"
    indexed = "indexed"


class BenchMode(StrEnum):
    """What is measured. The words of `rapidbyte.bench.modes.Mode`, which is not imported for `--help`."""

    copy = "copy"
    insert = "insert"
    transform = "transform"
    files = "files"


def bench(
    context: typer.Context,
    profile: Annotated[
        BenchProfile, typer.Option("--profile", help="What the rows look like; narrow and what follows are extras.")
    ] = BenchProfile.small,
    mode: Annotated[
        BenchMode, typer.Option("--mode", help="Table to table, by INSERT, through a SQL transform, from files.")
    ] = BenchMode.copy,
    iters: Annotated[int, typer.Option("--iters", metavar="N", min=1, help="Measured iterations.")] = 3,
    workers: Annotated[str, typer.Option("--workers", metavar="LIST", help="Numbers of workers, as 1,2,4.")] = "2",
    rows: Annotated[
        int | None, typer.Option("--rows", metavar="N", min=1, help="Rows, instead of the profile's.")
    ] = None,
    gate: Annotated[
        bool, typer.Option("--gate", help="Judge the targets; exit 9 where one that can be judged here is missed.")
    ] = False,
    save: Annotated[Path | None, typer.Option("--save", metavar="FILE", help="Also write the report here.")] = None,
    against: Annotated[
        Path | None, typer.Option("--against", metavar="FILE", help="Compare with this earlier report.")
    ] = None,
    plots: Annotated[
        Path | None, typer.Option("--plots", metavar="DIR", help="Draw throughput, phases and scaling as SVG files.")
    ] = None,
    dsn: Annotated[
        str | None, typer.Option("--dsn", metavar="DSN", help="Destination; default: the embedded server.")
    ] = None,
    source_dsn: Annotated[
        str | None, typer.Option("--source-dsn", metavar="DSN", help="Source; default: a second database beside it.")
    ] = None,
    output: OutputOption = ResultFormat.auto,
) -> int:
    """Generate data, load it, verify it by checksum, and measure."""
    from rapidbyte.bench.command import BenchOptions, run_bench, save_report
    from rapidbyte.bench.document import to_document, to_text
    from rapidbyte.bench.modes import Mode
    from rapidbyte.bench.targets import missed
    from rapidbyte.cli.run import wants_text
    from rapidbyte.report.document import document_text

    console: Console = context.obj
    options = BenchOptions(
        profile=profile.value,
        mode=Mode(mode.value),
        iters=iters,
        workers=parse_workers(workers),
        rows=rows,
        gate=gate,
        save=save,
        against=against,
        plots=plots,
        dsn=dsn,
        source_dsn=source_dsn,
    )
    report = run_bench(options, console.tell)
    try:
        console.require_print(to_text(report) if wants_text(console, output) else document_text(to_document(report)))
    finally:  # what took minutes to measure is saved whatever becomes of stdout
        save_report(report, options)
    return _judged(missed(report.targets), console)


def _judged(failed: Sequence[TargetResult], console: Console) -> int:
    """Tells every target that is missed; the exit code."""
    for each in failed:
        console.tell(f"missed: {each.target}: {each.found:.2f}, wanted {each.limit:g}", level="error")
    return CheckError.exit_code if failed else 0


def parse_workers(text: str) -> tuple[int, ...]:
    """`1,2,4` as numbers. Raises ConfigError for anything that is not a list of whole numbers from 1."""
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdigit() and len(part) <= 6 and int(part) > 0 for part in parts):
        raise ConfigError(
            f"--workers takes numbers such as 1,2,4, not {text!r}",
            code="usage",
            hint="each at least 1",
            afterwards="nothing was started",
        )
    return tuple(dict.fromkeys(int(part) for part in parts))
