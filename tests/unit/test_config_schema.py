"""The JSON Schemas agree with what `load` takes and with what a run prints."""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from typing import Any, Literal

import jsonschema
import pytest
import yaml

from rapidbyte import result
from rapidbyte.config.schema import pipeline_schema, result_schema
from tests.unit.test_config_loading import BASE, FILES, RUST

PIPELINE = pipeline_schema()
RESULT = result_schema()


def problems(schema: dict[str, Any], document: Any) -> list[str]:
    return [error.message for error in jsonschema.Draft202012Validator(schema).iter_errors(document)]


def test_both_are_draft_2020_12() -> None:
    """They are valid schemas of the dialect that they name."""
    for schema in (PIPELINE, RESULT):
        assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
        jsonschema.Draft202012Validator.check_schema(schema)


@pytest.mark.parametrize("text", [BASE, FILES, RUST.replace("pin_parallelism", "parallelism")])
def test_good_pipelines_fit(text: str) -> None:
    """What loads is valid in an editor."""
    assert problems(PIPELINE, yaml.safe_load(text)) == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("    - name: orders", "    - nmae: orders"),
        ('version: "1.0"', "version: 1.0"),
        ("  write_mode: append", "  write_mode: apend"),
        ("    schema: raw", "    schema: no"),
        ("    host: localhost\n    schema: raw", "    port: http"),
        ("pipeline: shop", "pipeline: a b"),
        ("pipeline: shop", "pipeline: shop\nresources: {max_memory: lots}"),
        ("pipeline: shop", "pipeline: shop\nresources:"),
    ],
)
def test_bad_pipelines_do_not_fit(old: str, new: str) -> None:
    """An editor underlines what `load` would refuse."""
    assert problems(PIPELINE, yaml.safe_load(BASE.replace(old, new))) != []


def test_every_key_is_described() -> None:
    """An editor can say what each key means."""
    for name, definition in PIPELINE["$defs"].items():
        for key, value in definition["properties"].items():
            assert "description" in value or "$ref" in value, f"{name}.{key}"


def example(kind: Any, *, empty: bool) -> Any:
    """A value of a field's type: the emptiest or the fullest there is."""
    origin, parts = typing.get_origin(kind), typing.get_args(kind)
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        hints = typing.get_type_hints(kind)
        return kind(**{field.name: example(hints[field.name], empty=empty) for field in dataclasses.fields(kind)})
    if origin is Literal:
        return parts[0]
    if origin is tuple:
        return () if empty else (example(parts[0], empty=empty),)
    if origin in (types.UnionType, typing.Union):
        chosen = next(part for part in parts if (part is types.NoneType) == empty)
        return example(chosen, empty=empty)
    return {str: "x", int: 1, float: 1.5, bool: True, types.NoneType: None}[kind]


@pytest.mark.parametrize("empty", [True, False], ids=["empty", "full"])
def test_a_result_fits(empty: bool) -> None:
    """The document of the emptiest and of the fullest result is valid; the renamed keys are in it."""
    run = dataclasses.replace(example(result.RunResult, empty=empty), schema_version=1)
    if empty:
        run = dataclasses.replace(run, streams=(example(result.StreamResult, empty=True),))
    document = json.loads(json.dumps(result.to_document(run)))  # as JSON gives it back: lists, not tuples
    assert problems(RESULT, document) == []
    stream = document["streams"][0]
    assert ("sample" in stream) is not empty
    if not empty:
        assert set(stream["schema_changes"][0]) == {"kind", "column", "from", "to", "statement"}
        assert set(stream["cursor"]) == {"field", "from", "to"}


@pytest.mark.parametrize("key", ["run_id", "phases", "schema_version", "error"])
def test_a_result_without_a_key_does_not_fit(key: str) -> None:
    """Every key is there always."""
    run = dataclasses.replace(example(result.RunResult, empty=True), schema_version=1)
    document = json.loads(json.dumps(result.to_document(run)))
    del document[key]
    assert problems(RESULT, document) == [f"'{key}' is a required property"]


def test_a_sample_is_there_or_not() -> None:
    """It is left out of a run that is no dry run, never null."""
    run = dataclasses.replace(example(result.RunResult, empty=False), schema_version=1)
    document = json.loads(json.dumps(result.to_document(run)))
    document["streams"][0]["sample"] = None
    assert len(problems(RESULT, document)) == 1


def test_a_result_with_another_key_does_not_fit() -> None:
    """Nothing is printed that the schema does not know."""
    run = dataclasses.replace(example(result.RunResult, empty=True), schema_version=1)
    document = json.loads(json.dumps(result.to_document(run)))
    document["before"] = 1
    assert len(problems(RESULT, document)) == 1
