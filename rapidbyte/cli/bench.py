"""`rapidbyte bench`: parses its options and hands over to the measuring."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rapidbyte.cli.options import OutputOption, ResultFormat
from rapidbyte.errors import ConfigError

if TYPE_CHECKING:
    from rapidbyte.cli.console import Console


class BenchProfile(StrEnum):
    """What the rows look like."""

    small = "small"
    medium = "medium"
    large = "large"


def bench(
    context: typer.Context,
    profile: Annotated[BenchProfile, typer.Option("--profile", help="What the rows look like.")] = BenchProfile.small,
    iters: Annotated[int, typer.Option("--iters", metavar="N", min=1, help="Measured iterations.")] = 3,
    workers: Annotated[str, typer.Option("--workers", metavar="LIST", help="Numbers of workers, as 1,2,4.")] = "2",
    rows: Annotated[
        int | None, typer.Option("--rows", metavar="N", min=1, help="Rows, instead of the profile's.")
    ] = None,
    save: Annotated[Path | None, typer.Option("--save", metavar="FILE", help="Also write the report here.")] = None,
    dsn: Annotated[
        str | None, typer.Option("--dsn", metavar="DSN", help="Destination; default: the embedded server.")
    ] = None,
    source_dsn: Annotated[
        str | None, typer.Option("--source-dsn", metavar="DSN", help="Source; default: a second database beside it.")
    ] = None,
    output: OutputOption = ResultFormat.auto,
) -> int:
    """Generate data, load it, verify it by checksum, and measure."""
    from rapidbyte.bench.command import run_bench
    from rapidbyte.cli.run import wants_text

    console: Console = context.obj
    report = run_bench(
        profile=profile.value,
        iters=iters,
        workers=parse_workers(workers),
        rows=rows,
        save=save,
        dsn=dsn,
        source_dsn=source_dsn,
        output="text" if wants_text(console, output) else "json",
    )
    console.require_print(report)
    return 0


def parse_workers(text: str) -> tuple[int, ...]:
    """`1,2,4` as numbers. Raises ConfigError for anything that is not a list of whole numbers from 1."""
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdigit() and int(part) > 0 for part in parts):
        raise ConfigError(f"--workers takes numbers such as 1,2,4, not {text!r}", code="usage", hint="each at least 1")
    return tuple(int(part) for part in parts)
