"""What `check` and `plan` have in common: their options, and a look at both ends that changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from rapidbyte.cli.options import (
    DEFAULT_PIPELINE,
    DefaultPipelineArgument,
    EnvFileOption,
    OutputOption,
    ResultFormat,
    SetOption,
    ShowRowValuesOption,
    StreamOption,
    WorkersOption,
)
from rapidbyte.values import frozen

if TYPE_CHECKING:
    from rapidbyte.cli.console import Console
    from rapidbyte.spec import PipelineSpec, RunOptions


@frozen
class Question:
    """What the command line asks for."""

    console: Console
    spec: PipelineSpec
    options: RunOptions
    as_text: bool


def looking(answer: Callable[[Question], int]) -> Callable[..., int]:
    """The command of this name that loads the pipeline file, then answers. Its docstring is the command's help."""

    def command(
        context: typer.Context,
        pipeline: DefaultPipelineArgument = Path(DEFAULT_PIPELINE),
        stream: StreamOption = None,
        workers: WorkersOption = None,
        override: SetOption = None,
        env_file: EnvFileOption = None,
        output: OutputOption = ResultFormat.auto,
        show_row_values: ShowRowValuesOption = False,
    ) -> int:
        from rapidbyte.cli.run import load_spec, wants_text
        from rapidbyte.spec import RunOptions

        console: Console = context.obj
        options = RunOptions(streams=tuple(stream or ()), workers=workers, show_row_values=show_row_values)
        spec = load_spec(pipeline, override, env_file)
        return answer(
            Question(console=console, spec=spec, options=options, as_text=wants_text(console, output)),
        )

    command.__name__, command.__doc__ = answer.__name__, answer.__doc__
    return command
