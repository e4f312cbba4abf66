"""`rapidbyte rejects`: rows that were set aside: listed, shown, and loaded again."""

from __future__ import annotations

from collections.abc import Sequence, Set
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from rapidbyte.cli.options import EnvFileOption, OutputOption, PipelineArgument, ResultFormat, SetOption
from rapidbyte.errors import ConfigError

if TYPE_CHECKING:
    from rapidbyte.cli.console import Console
    from rapidbyte.destinations.postgres.replay import StreamKeys
    from rapidbyte.spec import PipelineSpec


class RejectsAction(StrEnum):
    """What to do with them."""

    list = "list"
    show = "show"
    replay = "replay"


def rejects(
    context: typer.Context,
    action: Annotated[RejectsAction, typer.Argument(help="List them, show them with their values, load them again.")],
    pipeline: PipelineArgument,
    ids: Annotated[list[int] | None, typer.Argument(metavar="[ID]...", help="Only these.")] = None,
    stream: Annotated[str | None, typer.Option("--stream", metavar="NAME", help="Only this stream's.")] = None,
    number: Annotated[int, typer.Option("-n", metavar="N", min=1, max=100_000, help="How many to list.")] = 100,
    override: SetOption = None,
    env_file: EnvFileOption = None,
    output: OutputOption = ResultFormat.auto,
) -> int:
    """List or show the rows that were set aside (on_data_error: dlq), or load them again once their cause is gone."""
    from rapidbyte import wiring
    from rapidbyte.cli.run import load_spec, wants_text
    from rapidbyte.report.document import document_text
    from rapidbyte.report.rejects import rejects_document, rejects_text, replay_document, replay_text

    console: Console = context.obj
    spec = load_spec(pipeline, override, env_file)
    text = wants_text(console, output)
    with wiring.ledger(spec) as ledger:
        if ids:
            known = {each.reject_id for each in ledger.rejects(stream=stream, ids=ids, limit=len(ids))}
            _require_known(ids, known)
        if action is RejectsAction.replay:
            done = ledger.replay(keys_of(spec), stream=stream, ids=ids or None)
            console.require_print(replay_text(done) if text else document_text(replay_document(done, spec.pipeline)))
            return 0 if all(each.outcome == "loaded" for each in done) else 5
        found = ledger.rejects(stream=stream, ids=ids or None, limit=number)
    shows = action is RejectsAction.show
    document = rejects_document(found, spec.pipeline, shows_rows=shows)
    console.require_print(rejects_text(found, shows_rows=shows) if text else document_text(document))
    return 0


def _require_known(ids: Sequence[int], known: Set[int]) -> None:
    unknown = [str(each) for each in ids if each not in known]
    if unknown:
        raise ConfigError(
            f"no row of this pipeline was set aside under {', '.join(unknown)}",
            code="reject_unknown",
            hint="`rapidbyte rejects list PIPELINE` has the numbers",
            afterwards="nothing was changed",
        )


def keys_of(spec: PipelineSpec) -> dict[str, StreamKeys]:
    """How each stream's rows find their place, as the pipeline file has it."""
    from rapidbyte.destinations.postgres.replay import StreamKeys

    return {
        stream.name: StreamKeys(
            primary_key=stream.primary_key or spec.destination.primary_key,
            order=tuple(name for name in (stream.cursor_field, stream.tie_breaker_field) if name is not None),
            transformed=bool(stream.transforms),
        )
        for stream in spec.streams
    }
