"""YAML -> PipelineSpec, every problem at once. The only room that knows YAML and pydantic.

load            the steps, in order
document        text -> tree with places; anchors, tags, duplicates, bombs refused
overrides       --set
environment     ${NAME}, .env
scalars         one value: text, number, size, duration, name
models          every key there is
rules           what does not go together
problems        findings -> problems with file:line:column and a suggestion
conversion      models -> PipelineSpec
schema          JSON Schemas of the file and of the result
reference       docs/pipeline.md
starter         the file that `rapidbyte init` writes
"""

from __future__ import annotations

from rapidbyte.config.loading import load
from rapidbyte.config.starter import starter

__all__ = ["load", "starter"]
