"""`rapidbyte rejects`: rows that were set aside: listed, shown, loaded again, and dropped."""

from __future__ import annotations

from collections.abc import Sequence, Set
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from rapidbyte.cli.options import EnvFileOption, OutputOption, PipelineArgument, ResultFormat, SetOption
from rapidbyte.errors import ConfigError, DataError

if TYPE_CHECKING:
    from rapidbyte.destinations.postgres.replay import Named, StreamKeys
    from rapidbyte.destinations.postgres.state import PipelineLedger
    from rapidbyte.spec import PipelineSpec


class RejectsAction(StrEnum):
    """What to do with them."""

    list = "list"
    show = "show"
    replay = "replay"
    drop = "drop"


def rejects(
    context: typer.Context,
    action: Annotated[
        RejectsAction,
        typer.Argument(help="List them, show them with their values, load them again, delete those that are named."),
    ],
    pipeline: PipelineArgument,
    ids: Annotated[list[int] | None, typer.Argument(metavar="[ID]...", help="Only these.")] = None,
    stream: Annotated[str | None, typer.Option("--stream", metavar="NAME", help="Only this stream's.")] = None,
    reason: Annotated[
        str | None,
        typer.Option("--reason", metavar="CODE", help="Only those with this code; `parse`: lines that are no rows."),
    ] = None,
    number: Annotated[int, typer.Option("-n", metavar="N", min=1, max=100_000, help="How many to list.")] = 100,
    override: SetOption = None,
    env_file: EnvFileOption = None,
    output: OutputOption = ResultFormat.auto,
) -> int:
    """List or show the rows that were set aside (on_data_error: dlq), load them again once their cause is gone, or
    drop those that never will be. Exit 5 where a row was neither loaded nor dropped.
    """
    from rapidbyte import wiring
    from rapidbyte.cli.run import load_spec, wants_text
    from rapidbyte.destinations.postgres.replay import Named

    spec = load_spec(pipeline, override, env_file)
    named = Named(stream=stream, ids=tuple(ids) if ids else None, reason=reason)
    if action is RejectsAction.drop:
        _require_named(named)
    text = wants_text(context.obj, output)
    with wiring.ledger(spec) as ledger:
        if named.ids:
            known = {each.reject_id for each in ledger.rejects(named, limit=len(named.ids))}
            _require_known(named.ids, known)
        told, code = _answered(ledger, action, named, spec, number, as_text=text)
    done = {
        RejectsAction.drop: "the rows are dropped; `rapidbyte rejects list` shows what is left",
        RejectsAction.replay: "what was loaded stays; `rapidbyte rejects list` shows what is left",
    }
    context.obj.require_print(told, afterwards=done.get(action, "nothing was changed"))
    return code


def _answered(
    ledger: PipelineLedger, action: RejectsAction, named: Named, spec: PipelineSpec, number: int, *, as_text: bool
) -> tuple[str, int]:
    """What is printed, and the exit code."""
    from rapidbyte.report.document import document_text
    from rapidbyte.report.rejects import (
        drop_document,
        drop_text,
        rejects_document,
        rejects_text,
        replay_document,
        replay_text,
    )

    if action is RejectsAction.replay:
        done = ledger.replay(keys_of(spec), named)
        told = replay_text(done) if as_text else document_text(replay_document(done, spec.pipeline))
        return told, 0 if all(each.outcome == "loaded" for each in done) else DataError.exit_code
    if action is RejectsAction.drop:
        _require_there(ledger, named, {stream.name for stream in spec.streams})
        dropped = ledger.drop(named)
        told = drop_text(dropped) if as_text else document_text(drop_document(dropped, spec.pipeline))
        return told, 0 if all(each.outcome == "dropped" for each in dropped) else DataError.exit_code
    most = max(number, len(named.ids or ()))
    found = ledger.rejects(named, limit=most + 1)
    shown, has_more = found[:most], len(found) > most
    shows = action is RejectsAction.show
    if as_text:
        chosen = named.stream is not None or named.reason is not None
        return rejects_text(shown, shows_rows=shows, has_more=has_more, chosen=chosen), 0
    return document_text(rejects_document(shown, spec.pipeline, shows_rows=shows, has_more=has_more)), 0


def _require_named(named: Named) -> None:
    """Raises ConfigError for a drop of whatever there is."""
    if named.ids is None and named.stream is None and named.reason is None:
        raise ConfigError(
            "rejects drop deletes what is named, and nothing is",
            code="usage",
            hint="rapidbyte rejects drop PIPELINE ID..., or --reason CODE, or --stream NAME",
            afterwards="nothing was changed",
        )


def _require_known(ids: Sequence[int], known: Set[int]) -> None:
    unknown = [str(each) for each in ids if each not in known]
    if unknown:
        raise ConfigError(
            f"no row of this pipeline was set aside under {', '.join(unknown)}",
            code="reject_unknown",
            hint="`rapidbyte rejects list PIPELINE` has the numbers",
            afterwards="nothing was changed",
        )


def _require_there(ledger: PipelineLedger, named: Named, streams: Set[str]) -> None:
    """Raises ConfigError for a code, or a stream that is none of the pipeline's, that no row has: a misspelt one."""
    from rapidbyte.destinations.postgres.replay import PARSE

    is_known = named.reason in (None, PARSE) and (named.stream is None or named.stream in streams)
    if is_known or ledger.rejects(named, limit=1):
        return
    found = ledger.rejects()
    of_stream = "" if named.stream is None else f" of stream {named.stream}"
    with_code = "" if named.reason is None else f" with the code {named.reason}"
    there = sorted({each.stream if named.reason in (None, PARSE) else each.code for each in found})
    raise ConfigError(
        f"no row{of_stream or ' of this pipeline'} was set aside{with_code}",
        code="reject_unknown",
        hint=f"there are: {', '.join(there)}" if there else "no row of it is set aside",
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
