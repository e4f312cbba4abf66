"""`rapidbyte check`: what would keep a run from starting, with the exact GRANT that is missing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from rapidbyte.cli.options import (
    EnvFileOption,
    OutputOption,
    PipelineArgument,
    ResultFormat,
    SetOption,
    StreamOption,
    WorkersOption,
)

if TYPE_CHECKING:
    from rapidbyte.cli.console import Console


def check(
    context: typer.Context,
    pipeline: PipelineArgument,
    stream: StreamOption = None,
    workers: WorkersOption = None,
    override: SetOption = None,
    env_file: EnvFileOption = None,
    output: OutputOption = ResultFormat.auto,
) -> int:
    """Check file, connections, privileges and targets; change nothing."""
    from rapidbyte import wiring
    from rapidbyte.cli.run import load_spec, wants_text
    from rapidbyte.report.document import check_document, document_text
    from rapidbyte.report.overview import check_text
    from rapidbyte.spec import RunOptions

    console: Console = context.obj
    spec = load_spec(pipeline, override, env_file)
    report = wiring.check(spec, options=RunOptions(streams=tuple(stream or ()), workers=workers))
    console.require_print(check_text(report) if wants_text(console, output) else document_text(check_document(report)))
    return next((item.exit_code for item in report.items if not item.ok), 0)
