"""`rapidbyte plan`: what a run would do, without doing it."""

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


def plan(
    context: typer.Context,
    pipeline: PipelineArgument,
    stream: StreamOption = None,
    workers: WorkersOption = None,
    override: SetOption = None,
    env_file: EnvFileOption = None,
    output: OutputOption = ResultFormat.auto,
) -> int:
    """Show what a run would do: statements, publish method and why, wire format, partitions, workers."""
    from rapidbyte import wiring
    from rapidbyte.cli.run import load_spec, wants_text
    from rapidbyte.report.document import document_text, plan_document
    from rapidbyte.report.overview import plan_text
    from rapidbyte.spec import RunOptions

    console: Console = context.obj
    spec = load_spec(pipeline, override, env_file)
    found = wiring.plan(spec, options=RunOptions(streams=tuple(stream or ()), workers=workers))
    console.require_print(plan_text(found) if wants_text(console, output) else document_text(plan_document(found)))
    return 0
