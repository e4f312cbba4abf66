"""`rapidbyte schema`: the JSON Schema of the pipeline file, of the result."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rapidbyte.cli.console import Console


class SchemaName(StrEnum):
    """What has a schema."""

    pipeline = "pipeline"
    result = "result"


def schema(
    context: typer.Context,
    name: Annotated[SchemaName, typer.Argument(help="The pipeline file, or the result of a run.")],
) -> int:
    """Print the JSON Schema of the pipeline file or of the result."""
    from rapidbyte.report.document import document_text

    console: Console = context.obj
    if name is SchemaName.pipeline:
        from rapidbyte.config import json_schema

        document = json_schema()
    else:
        from rapidbyte.report.schema import result_schema

        document = result_schema()
    console.require_print(document_text(document))
    return 0
