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
    from rapidbyte.config.schema import pipeline_schema, result_schema
    from rapidbyte.report.document import document_text

    console: Console = context.obj
    describe = pipeline_schema if name is SchemaName.pipeline else result_schema
    console.require_print(document_text(describe()))
    return 0
