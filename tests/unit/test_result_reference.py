"""docs/result.md says what the docstrings of the result say; its example is a document."""

from __future__ import annotations

import json
import re
import types
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from rapidbyte import result
from rapidbyte.config.field_docs import field_docs
from rapidbyte.config.result_reference import result_page
from rapidbyte.config.schema import result_schema

DOCS = Path(__file__).parents[2] / "docs"
EXAMPLE = (DOCS / "result-example.json").read_text(encoding="utf-8")
SCHEMA = result_schema()
OBJECTS: dict[str, dict[str, Any]] = {"RunResult": SCHEMA, **SCHEMA["$defs"]}


def test_the_page_is_up_to_date() -> None:
    """`make docs` writes it."""
    assert result_page(EXAMPLE) == (DOCS / "result.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", list(OBJECTS))
def test_every_key_of_an_object_is_described_and_on_the_page(name: str) -> None:
    """Where a figure comes from, and when it is null, is known to whoever reads it."""
    page = result_page(EXAMPLE)
    for key, value in OBJECTS[name]["properties"].items():
        meaning = value["description"].replace("|", "\\|")
        assert re.search(rf"^\| `{key}` \| .+ \| {re.escape(meaning)} \|$", page, re.MULTILINE), key


def test_what_may_be_null_says_when() -> None:
    """A reader who meets null finds the reason in the description of the key."""
    silent = {
        f"{name}.{key}"
        for name, definition in OBJECTS.items()
        for key, value in definition["properties"].items()
        if {"type": "null"} in value.get("anyOf", ()) and "null" not in value["description"].lower()
    }
    assert silent == set()


def test_renamed_keys_keep_their_own_meaning() -> None:
    """`before` is `from` in the document, and described as itself."""
    docs = field_docs(result)
    for name, fields in {"SchemaChangeResult": ("before", "after"), "CursorResult": ("low", "high")}.items():
        found = [OBJECTS[name]["properties"][key]["description"] for key in ("from", "to")]
        assert found == [docs[name][field] for field in fields]


def test_every_table_row_has_three_cells() -> None:
    """So that the table is one."""
    rows = [line for line in result_page(EXAMPLE).splitlines() if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {4}


def test_an_object_that_stands_at_two_places_is_told_once() -> None:
    """Below both paths."""
    titles = [line for line in result_page(EXAMPLE).splitlines() if line.startswith("## ")]
    assert "## `error`, `streams[].error`" in titles
    assert len(titles) == len(set(titles)) == len(OBJECTS) + 1


def test_the_example_is_a_document_whose_sums_hold() -> None:
    """As the page says of every result: within 2 %."""
    document = json.loads(EXAMPLE)
    assert [error.message for error in Draft202012Validator(SCHEMA).iter_errors(document)] == []
    assert sum(document["phases"].values()) == pytest.approx(document["duration_s"], rel=0.02)
    workers = document["streams"][0]["workers"]
    for worker in workers:
        waiting = worker["wait_s"]["source"] + worker["wait_s"]["queue"]
        lifetime = worker["ended_s"] - worker["started_s"]
        assert worker["connect_s"] + waiting + worker["active_s"] == pytest.approx(lifetime, rel=0.02)
        active = worker["transform_s"] + worker["encode_s"] + worker["write_s"] + worker["commit_s"]
        assert active == pytest.approx(worker["active_s"], rel=0.02)
    assert sum(worker["rows"] for worker in workers) == document["records_written"]


def test_docstrings_belong_to_the_field_above_them(tmp_path: Path) -> None:
    """Not to a field further up, nor to what is no field; several lines keep no indentation."""
    path = tmp_path / "boxes.py"
    path.write_text(
        'class Box:\n    """A box."""\n    silent: int\n    width: int = 3\n    """Metres.\n\n    Outside."""\n'
        '    COUNT = 1\n    """Of all boxes."""\n\n\nnumber: int = 1\n"""Of no class."""\n'
    )
    module = types.ModuleType("boxes")
    module.__file__ = str(path)
    assert field_docs(module) == {"Box": {"width": "Metres.\n\nOutside."}}
