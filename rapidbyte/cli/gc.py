"""`rapidbyte gc`: what dead runs left behind is dropped, as the ledger names it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from rapidbyte.cli.options import EnvFileOption, OutputOption, PipelineArgument, ResultFormat, SetOption

if TYPE_CHECKING:
    from rapidbyte.cli.console import Console


def gc(
    context: typer.Context,
    pipeline: PipelineArgument,
    undo: Annotated[bool, typer.Option("--undo", help="Also the rows that a failed direct load has landed.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be dropped; drop nothing.")] = False,
    override: SetOption = None,
    env_file: EnvFileOption = None,
    output: OutputOption = ResultFormat.auto,
) -> int:
    """Drop the stages and receipts that dead runs left behind; never those of a run that is under way (exit 8)."""
    from dataclasses import replace

    from rapidbyte import wiring
    from rapidbyte.cli.run import load_spec, wants_text
    from rapidbyte.report.document import document_text
    from rapidbyte.report.ledger import sweep_document, sweep_text

    console: Console = context.obj
    spec = load_spec(pipeline, override, env_file)
    with wiring.ledger(spec) as ledger:
        # Where nothing was ever loaded there is no ledger, and none is made to find that out.
        looks = dry_run or ledger.state().lease is None
        found = ledger.leftovers() if looks else ledger.sweep(undo=undo)
        found = replace(found, orphans=ledger.orphans())
    if wants_text(console, output):
        console.require_print(sweep_text(found, dry_run=dry_run))
    else:
        console.require_print(document_text(sweep_document(found, spec.pipeline, dry_run=dry_run)))
    return 0
