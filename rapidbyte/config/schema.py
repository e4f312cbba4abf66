"""The JSON Schemas of the pipeline file and of the run's result."""

from __future__ import annotations

from typing import Any, cast

from pydantic import Field, TypeAdapter

from rapidbyte import result
from rapidbyte.config.field_docs import field_docs
from rapidbyte.config.models import PipelineKeys
from rapidbyte.config.source_keys import DatabaseFileSource, FilesSource, PostgresSource
from rapidbyte.result import CursorResult, RunResult, SchemaChangeResult, StreamResult

DIALECT = "https://json-schema.org/draft/2020-12/schema"

_RENAMED: dict[str, dict[str, str]] = {
    SchemaChangeResult.__name__: {"before": "from", "after": "to"},
    CursorResult.__name__: {"low": "from", "high": "to"},
}
"""Keys that `to_document` renames, as Python does not allow `from` for a field."""


class _AnyPipeline(PipelineKeys, frozen=True):
    """A pipeline file: what to load, from where to where."""

    source: PostgresSource | FilesSource | DatabaseFileSource = Field(description="Where rows come from.")


def pipeline_schema() -> dict[str, Any]:
    """JSON Schema of a pipeline file, as an editor reads it: before `${NAME}` is replaced."""
    schema = _AnyPipeline.model_json_schema(by_alias=True)
    return {"$schema": DIALECT, **_without_null(schema), "title": "rapidbyte pipeline"}


def _without_null(schema: Any) -> Any:
    """The schema without `null`, as a key without a value is refused, and without made-up titles."""
    if isinstance(schema, list):
        return [_without_null(part) for part in cast("list[Any]", schema) if part != {"type": "null"}]
    if not isinstance(schema, dict):
        return schema
    parts = cast("dict[str, Any]", schema).items()
    inner = {key: _without_null(part) for key, part in parts if not (key == "title" and isinstance(part, str))}
    if "default" in inner and inner["default"] is None:
        del inner["default"]
    only = inner.get("anyOf", ())
    return {**{key: part for key, part in inner.items() if key != "anyOf"}, **only[0]} if len(only) == 1 else inner


def result_schema() -> dict[str, Any]:
    """JSON Schema of the document that a run prints. Every key is there always, except `sample`."""
    schema = TypeAdapter(RunResult).json_schema(mode="serialization")
    docs = field_docs(result)
    definitions = cast("dict[str, dict[str, Any]]", schema["$defs"])
    for name, definition in definitions.items():
        _describe(definition, docs[name])
        _close(definition, _RENAMED.get(name, {}), optional="sample" if name == StreamResult.__name__ else None)
    stream = definitions[StreamResult.__name__]["properties"]
    stream["sample"] = _without_null(stream["sample"])
    version = {"const": result.SCHEMA_VERSION, "description": docs[RunResult.__name__]["schema_version"]}
    _describe(schema, docs[RunResult.__name__])
    del schema["properties"]["schema_version"]
    schema["properties"] = {"schema_version": version, **schema["properties"]}
    _close(schema, {}, optional=None)
    return {"$schema": DIALECT, **schema, "title": "rapidbyte run result"}


def _describe(definition: dict[str, Any], docs: dict[str, str]) -> None:
    """Each key's docstring as its description, by the field's own name: before keys are renamed."""
    for key, text in docs.items():
        definition["properties"][key]["description"] = text


def _close(definition: dict[str, Any], renamed: dict[str, str], *, optional: str | None) -> None:
    """Renames keys, makes all but one required, and allows no others."""
    properties = {renamed.get(key, key): value for key, value in definition["properties"].items()}
    for value in properties.values():
        value.pop("title", None)
        value.pop("default", None)
    definition["properties"] = properties
    definition["required"] = [key for key in properties if key != optional]
    definition["additionalProperties"] = False
