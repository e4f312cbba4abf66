"""YAML -> PipelineSpec, every problem at once. The only room that knows YAML and pydantic.

load, loading   the steps, in order
document        text -> tree with places; anchors, tags, duplicates, bombs refused
overrides       --set
environment     ${NAME}, .env
scalars         one value: text, number, size, duration, name
section         what every mapping is
models          every key there is: those within `source`, `destination` and `transforms` in source_keys,
                destination_keys and transform_keys, what both ends share in connection_keys and confinement_keys
rules           what does not go together; cursor_rules, transform_rules
problems        findings -> problems with file:line:column and a suggestion
conversion      models -> PipelineSpec; transform_conversion
schema          JSON Schemas of the file and of the result; field_docs: the docstrings under fields
reference       docs/pipeline.md; result_reference: docs/result.md
starter         the file that `rapidbyte init` writes
"""

from __future__ import annotations

from rapidbyte.config.loading import load
from rapidbyte.config.starter import starter

__all__ = ["load", "starter"]
