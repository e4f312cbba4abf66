"""`rapidbyte state`: how far a pipeline is loaded, as the ledger knows it; set or forgotten on request."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from rapidbyte.cli.options import EnvFileOption, OutputOption, PipelineArgument, ResultFormat, SetOption

if TYPE_CHECKING:
    from rapidbyte.cli.console import Console
    from rapidbyte.spec import PipelineSpec


class StateAction(StrEnum):
    """What to do with the state."""

    show = "show"
    set = "set"
    reset = "reset"


def state(
    context: typer.Context,
    action: Annotated[StateAction, typer.Argument(help="Show it, set one cursor, or forget cursors.")],
    pipeline: PipelineArgument,
    stream: Annotated[str | None, typer.Option("--stream", metavar="NAME", help="Only this stream.")] = None,
    value: Annotated[
        str | None, typer.Option("--value", metavar="VALUE", help="For set: where the next increment begins.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="For reset: do not ask.")] = False,
    override: SetOption = None,
    env_file: EnvFileOption = None,
    output: OutputOption = ResultFormat.auto,
) -> int:
    """Show the cursors and unfinished loads of a pipeline, set a cursor, or forget them; targets are not touched."""
    from rapidbyte import wiring
    from rapidbyte.cli.run import load_spec, wants_text
    from rapidbyte.report.document import document_text
    from rapidbyte.report.ledger import state_document, state_text

    console: Console = context.obj
    spec = load_spec(pipeline, override, env_file)
    if action is StateAction.set:
        set_value(console, spec, stream, value)
    elif action is StateAction.reset:
        confirm_reset(console, spec, stream, yes=yes)
    with wiring.ledger(spec) as ledger:
        if action is StateAction.reset:
            forgotten = ledger.reset(stream)
            console.tell(f"forgotten: {', '.join(forgotten) or 'there was no cursor'}")
        found = ledger.state()
    text = wants_text(console, output)
    console.require_print(state_text(found, stream) if text else document_text(state_document(found, stream)))
    return 0


def set_value(console: Console, spec: PipelineSpec, stream: str | None, value: str | None) -> None:
    """Sets a stream's cursor, as the source reads the value. Raises RapidbyteError."""
    from rapidbyte import wiring
    from rapidbyte.errors import ConfigError

    if stream is None or value is None:
        raise ConfigError(
            "state set takes a stream and a value",
            code="usage",
            hint="rapidbyte state set PIPELINE --stream NAME --value VALUE",
        )
    cursor = wiring.cursor_at(spec, stream, value)
    with wiring.ledger(spec) as ledger:
        backwards = ledger.set_cursor(stream, cursor)
    if backwards:
        console.warn(
            f"the cursor of {stream} has moved backwards: the next increment loads rows again that are loaded already;"
            " an upsert writes them once, an append has them twice"
        )


def confirm_reset(console: Console, spec: PipelineSpec, stream: str | None, *, yes: bool) -> None:
    """Asks before anything is forgotten. Raises ConfigError where nobody can be asked."""
    import sys

    from rapidbyte.errors import ConfigError

    what = f"stream {stream}" if stream is not None else "every stream"
    if stream is not None and stream not in {each.name for each in spec.streams}:
        console.warn(f"the pipeline file has no stream {stream}; what the ledger has of it is forgotten all the same")
    if yes:
        return
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise ConfigError(
            f"state reset forgets how far {what} of {spec.pipeline} is loaded",
            code="confirmation_needed",
            hint="give --yes to do it",
            afterwards="nothing was changed",
        )
    if not typer.confirm(f"Forget how far {what} of pipeline {spec.pipeline} is loaded?", err=True):
        raise ConfigError("nothing was forgotten", code="declined", afterwards="nothing was changed")
