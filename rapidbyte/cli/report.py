"""`rapidbyte report`: the result of a run as one HTML page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rapidbyte.errors import ConfigError

if TYPE_CHECKING:
    from rapidbyte.cli.console import Console

LARGEST_RESULT_BYTES = 200 * 1024 * 1024


def report(
    context: typer.Context,
    result: Annotated[Path, typer.Argument(metavar="RESULT", help="The JSON result of a run.")],
    html: Annotated[Path, typer.Option("--html", metavar="FILE", help="Write the page to this file.")],
) -> int:
    """Draw the result of a run as one HTML page: every worker's timeline, where the time went, the throughput."""
    from rapidbyte.cli.result_file import open_result_file
    from rapidbyte.report.page import report_page

    console: Console = context.obj
    page = report_page(read_result(result))
    place = open_result_file(html)
    try:
        place.write(page)
    except OSError as error:
        raise ConfigError(
            f"the page could not be written to {html}: {error.strerror}", code="page_unwritable"
        ) from error
    console.tell(f"written: {html}")
    return 0


def read_result(path: Path) -> dict[str, Any]:
    """The document of a result's file. Raises ConfigError for a file that is none."""
    import json

    try:
        if path.stat().st_size > LARGEST_RESULT_BYTES:
            raise ConfigError(f"{path} is larger than any result", code="result_invalid")
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}", code="result_unreadable") from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(
            f"{path} is no JSON document", code="result_invalid", hint="`rapidbyte run --result FILE` writes one"
        ) from error
    if not isinstance(document, dict):
        raise ConfigError(f"{path} is no result of a run", code="result_invalid")
    return document  # pyright: ignore[reportUnknownVariableType]  the page looks at every part of it
