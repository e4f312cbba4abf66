"""`rapidbyte discover`: the streams of a source, with columns, keys and estimates."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from rapidbyte.cli.options import EnvFileOption, PipelineArgument, SetOption, ShowRowValuesOption

if TYPE_CHECKING:
    from rapidbyte.cli.console import Console


class DiscoverFormat(StrEnum):
    """How the streams are printed."""

    auto = "auto"
    json = "json"
    yaml = "yaml"
    """The `streams:` block, indented as it stands below `source:`."""
    text = "text"


def discover(
    context: typer.Context,
    pipeline: PipelineArgument,
    override: SetOption = None,
    env_file: EnvFileOption = None,
    output: Annotated[
        DiscoverFormat,
        typer.Option(
            "--output",
            help="auto is text on a terminal and JSON elsewhere; yaml is the streams: block, ready to paste.",
        ),
    ] = DiscoverFormat.auto,
    show_row_values: ShowRowValuesOption = False,
) -> int:
    """List the streams of the source, with columns, keys and estimates."""
    from rapidbyte import wiring
    from rapidbyte.cli.run import load_spec
    from rapidbyte.report.document import document_text, streams_document
    from rapidbyte.report.overview import streams_text, streams_yaml
    from rapidbyte.spec import RunOptions

    console: Console = context.obj
    options = RunOptions(show_row_values=show_row_values)
    shapes = wiring.discover(load_spec(pipeline, override, env_file), options=options)
    if output is DiscoverFormat.auto:
        output = DiscoverFormat.text if console.stdout_is_terminal else DiscoverFormat.json
    if output is DiscoverFormat.yaml:
        text = streams_yaml(shapes)
    elif output is DiscoverFormat.text:
        text = streams_text(shapes)
    else:
        text = document_text(streams_document(shapes))
    console.require_print(text)
    return 0
