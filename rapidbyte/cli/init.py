"""`rapidbyte init`: writes a commented pipeline.yaml to start from."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rapidbyte.errors import ConfigError

if TYPE_CHECKING:
    from rapidbyte.cli.console import Console

FILE_NAME = "pipeline.yaml"


def init(
    context: typer.Context,
    origin: Annotated[
        str, typer.Option("--from", metavar="DSN-or-path", help="Where rows come from: a DSN, or files.")
    ] = "postgresql://user@localhost/source",
    goal: Annotated[
        str, typer.Option("--to", metavar="DSN", help="Where rows go: a DSN, or embedded.")
    ] = "postgresql://user@localhost/warehouse",
    force: Annotated[bool, typer.Option("--force", help=f"Overwrite {FILE_NAME}.")] = False,
) -> int:
    """Write a commented pipeline.yaml into the current folder."""
    from rapidbyte.config import starter

    console: Console = context.obj
    path = Path(FILE_NAME)
    written = starter(origin, goal)
    write_new(path, written.text, force=force)
    console.require_print(f"{path}\n", afterwards=f"{path} was written")
    if written.variables:
        console.tell(
            f"set {' and '.join(written.variables)}, which {path} reads, in the environment or in a file .env "
            f"beside it, as {written.variables[0]}=...; {path} itself holds no password"
        )
    console.tell(f"next: rapidbyte check {path}, rapidbyte plan {path}, rapidbyte run {path}")
    return 0


def write_new(path: Path, text: str, *, force: bool) -> None:
    """Writes the file with mode 0600, since a DSN may hold a password; never through a symbolic link.

    Raises ConfigError where the file exists and `force` is not given, or where it cannot be written.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | (os.O_TRUNC if force else os.O_EXCL)
    try:
        with os.fdopen(os.open(path, flags, 0o600), "w", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError as error:
        raise ConfigError(
            f"{path} exists", code="file_exists", hint="--force overwrites it", afterwards="it was not touched"
        ) from error
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}", code="file_unwritable") from error
