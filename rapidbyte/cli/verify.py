"""`rapidbyte verify`: source and destination compared, row by row."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer

from rapidbyte.cli.options import (
    EnvFileOption,
    OutputOption,
    PipelineArgument,
    ResultFormat,
    SetOption,
    StreamOption,
    parse_deadline,
)

if TYPE_CHECKING:
    from rapidbyte.cli.console import Console


def verify(
    context: typer.Context,
    pipeline: PipelineArgument,
    stream: StreamOption = None,
    override: SetOption = None,
    env_file: EnvFileOption = None,
    output: OutputOption = ResultFormat.auto,
    deadline: Annotated[
        str | None, typer.Option("--deadline", metavar="DURATION", help="Give up after 90s, 30m, 2h.")
    ] = None,
) -> int:
    """Compare source and destination row by row, by checksums computed on the servers; exit 9 where they differ."""
    from rapidbyte import wiring
    from rapidbyte.cli.run import load_spec, wants_text
    from rapidbyte.errors import CancelledError, CheckError
    from rapidbyte.report.document import document_text
    from rapidbyte.report.verification import verify_document, verify_text
    from rapidbyte.spec import RunOptions

    console: Console = context.obj
    spec = load_spec(pipeline, override, env_file)
    seconds = parse_deadline(deadline)
    end_s = None if seconds is None else time.monotonic() + seconds

    def is_over() -> bool:
        return end_s is not None and time.monotonic() >= end_s

    try:
        report = wiring.verify(spec, options=RunOptions(streams=tuple(stream or ())), stop=is_over)
    except CancelledError as error:
        if not is_over():
            raise
        raise CancelledError(
            f"the comparison did not end within {deadline}", code="deadline", afterwards="nothing was changed"
        ) from error
    text = wants_text(console, output)
    console.require_print(verify_text(report) if text else document_text(verify_document(report)))
    return 0 if report.equal else CheckError.exit_code
