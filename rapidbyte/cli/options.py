"""Options that several commands share, and what turns their texts into values."""

from __future__ import annotations

import re
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from rapidbyte.errors import ConfigError


class ResultFormat(StrEnum):
    """How a command prints its result."""

    auto = "auto"
    """Text on a terminal, JSON elsewhere."""
    json = "json"
    text = "text"


PipelineArgument = Annotated[Path, typer.Argument(metavar="PIPELINE", help="The pipeline file (YAML).")]
DEFAULT_PIPELINE = "pipeline.yaml"
"""In the current folder, where no file is named."""

DefaultPipelineArgument = Annotated[
    Path,
    typer.Argument(
        metavar="[PIPELINE]", help="The pipeline file (YAML), ./pipeline.yaml where none is named.", show_default=False
    ),
]
StreamOption = Annotated[
    list[str] | None, typer.Option("--stream", metavar="NAME", help="Only this stream; may be repeated.")
]
WorkersOption = Annotated[
    int | None, typer.Option("--workers", metavar="N", min=1, help="Number of workers, instead of the file's.")
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="PATH=VALUE", help="Replaces one value of the file; may be repeated."),
]
EnvFileOption = Annotated[
    Path | None, typer.Option("--env-file", metavar="FILE", help="NAME=value lines for ${NAME}, instead of .env.")
]
OutputOption = Annotated[
    ResultFormat,
    typer.Option("--output", help="Format of stdout: auto is text on a terminal and JSON elsewhere."),
]
ShowRowValuesOption = Annotated[
    bool, typer.Option("--show-row-values", help="Show the values of rows, in errors and in reasons.")
]


DeadlineOption = Annotated[
    str | None,
    typer.Option(
        "--deadline", metavar="DURATION", help="Stop the run after 90s, 30m, 2h; the least of this and the file's."
    ),
]


def parse_deadline(text: str | None) -> float | None:
    """Seconds, from `90s`, `30m`, `2h`; a bare number is seconds. Raises ConfigError."""
    if text is None:
        return None
    from rapidbyte.config.scalars import LONGEST_SECONDS, seconds_of

    seconds = seconds_of(text)
    if seconds is None or not 0 < seconds <= LONGEST_SECONDS:
        raise ConfigError(
            "--deadline takes a duration, more than 0 and at most 576h", code="usage", hint="for example --deadline 30m"
        )
    return seconds


KeepGoingOption = Annotated[bool, typer.Option("--keep-going", help="A stream that fails does not end the others.")]
FailedOption = Annotated[
    bool, typer.Option("--failed", help="Only the streams that did not succeed in the pipeline's last run.")
]
KeyOption = Annotated[
    str | None,
    typer.Option("--key", metavar="KEY", help="Idempotence key: what is published under it is not loaded again."),
]
FullRefreshOption = Annotated[
    bool, typer.Option("--full-refresh", help="Ignore stored cursors, and replace what is there.")
]
EventsOption = Annotated[
    Path | None, typer.Option("--events", metavar="FILE", help="Write what happens to this file, as JSON lines.")
]


def parse_overrides(texts: list[str] | None) -> list[tuple[str, str]]:
    """`path=value` texts as pairs, in order. Raises ConfigError for a text without `=` or without a path."""
    pairs: list[tuple[str, str]] = []
    for number, text in enumerate(texts or [], start=1):
        path, sign, value = text.partition("=")
        if not sign or not path.strip():
            # The text itself is not repeated: it may be a password.
            raise ConfigError(
                f"--set takes PATH=VALUE; number {number} has no {'path' if sign else '='}",
                code="usage",
                hint="for example --set destination.config.schema=raw",
            )
        pairs.append((path.strip(), value))
    return pairs


KEY = re.compile(r"[A-Za-z0-9_.:-]{1,200}")


def parse_key(text: str | None) -> str | None:
    """An idempotence key. Raises ConfigError for one with other characters, or too long."""
    if text is not None and KEY.fullmatch(text) is None:
        raise ConfigError(
            "--key takes 1 to 200 letters, digits, and the characters _ . : -",
            code="usage",
            hint="a scheduler's run id, for example",
        )
    return text
