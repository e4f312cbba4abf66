"""`rapidbyte runs`: the latest runs, and the JSON document of one of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rapidbyte.cli.options import DEFAULT_PIPELINE, EnvFileOption, OutputOption, ResultFormat, SetOption

if TYPE_CHECKING:
    from rapidbyte.cli.console import Console
    from rapidbyte.spec import PipelineSpec


def runs(
    context: typer.Context,
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[show ID] [PIPELINE]",
            help="The pipeline file, ./pipeline.yaml where none is named; `show ID` prints the result of one run.",
        ),
    ] = None,
    number: Annotated[int, typer.Option("-n", metavar="N", min=1, max=10_000, help="How many runs.")] = 20,
    pipeline: Annotated[
        str | None, typer.Option("--pipeline", metavar="NAME", help="Runs of this pipeline, instead of the file's.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Runs of every pipeline of the destination.")] = False,
    override: SetOption = None,
    env_file: EnvFileOption = None,
    output: OutputOption = ResultFormat.auto,
) -> int:
    """List the latest runs from the destination's ledger; `runs show ID` prints the JSON result of one."""
    from rapidbyte import wiring
    from rapidbyte.cli.run import load_spec, wants_text
    from rapidbyte.report.document import document_text
    from rapidbyte.report.ledger import runs_document, runs_text

    console: Console = context.obj
    file, run_id = parse_words(words or [])
    spec = load_spec(file, override, env_file)
    if run_id is not None:
        console.require_print(document_text(_shown_run(spec, run_id)))
        return 0
    with wiring.ledger(spec, named=pipeline) as ledger:
        found = ledger.runs(limit=number, all_pipelines=everything)
    text = wants_text(console, output)
    console.require_print(
        runs_text(found, None if everything else pipeline or spec.pipeline)
        if text
        else document_text(runs_document(found))
    )
    return 0


def parse_words(words: list[str]) -> tuple[Path, str | None]:
    """(pipeline file, run id or None). Raises ConfigError."""
    from rapidbyte.errors import ConfigError

    if words[:1] == ["show"]:
        if len(words) not in (2, 3):
            raise ConfigError("runs show takes the id of a run", code="usage", hint="rapidbyte runs show ID [PIPELINE]")
        return Path(words[2] if len(words) == 3 else DEFAULT_PIPELINE), words[1]
    if len(words) > 1:
        raise ConfigError(
            f"runs takes one pipeline file, not {len(words)} words", code="usage", hint="rapidbyte runs [PIPELINE]"
        )
    return Path(words[0] if words else DEFAULT_PIPELINE), None


def _shown_run(spec: PipelineSpec, run_id: str) -> dict[str, Any]:
    """The run's own document; of one that never told its end, what the ledger knows."""
    from rapidbyte import wiring
    from rapidbyte.errors import ConfigError
    from rapidbyte.report.ledger import run_document

    with wiring.ledger(spec) as ledger:
        found = ledger.run(run_id)
    if found is None:
        raise ConfigError(
            f"the destination's ledger has no run {run_id}",
            code="run_unknown",
            hint="`rapidbyte runs` lists them",
        )
    record, document = found
    return document if document is not None else run_document(record)
