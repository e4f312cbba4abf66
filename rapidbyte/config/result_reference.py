"""docs/result.md, generated from the result's JSON Schema, whose descriptions are `rapidbyte.result`'s docstrings."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rapidbyte.config.schema import result_schema

_HEAD = """\
<!-- Generated: make docs. The meanings are the docstrings in rapidbyte/result.py. -->

# The run result

One JSON document for each run, also for one that failed, was cancelled or never started. It is on stdout where stdout
is no terminal or with `--output json`; `--result FILE` writes it to a file as well. `rapidbyte schema result` prints
its JSON Schema; `rapidbyte.run()` returns the same as a `RunResult`, and `rapidbyte.result.to_document` makes the
document of it.

- `exit_code` is the one of the process: [exit-codes.md](exit-codes.md).
- Names that end in `_s` are seconds, in `_mb` MiB (1024 x 1024 bytes); `bytes` are bytes. Ranges of time count from
  the run's start.
- **A figure that is not known is null, never 0.** Every key is there always, except `streams[].sample`.
- Sums that hold within 2 %, also where the run failed:
  `preflight_s + prepare_s + load_s + finalize_s + cleanup_s` = `duration_s`; for each worker of a stream
  `connect_s + wait_s.source + wait_s.queue + active_s` = `ended_s - started_s`, its lifetime. `active_s` is the sum of
  what was measured, never what is left of the lifetime.
- Workers and timeline tell of the partitions that were committed. A try that failed is in `wait_s.queue` of the
  partition's worker, once a later one was committed.
- Values of rows are masked. `row_detail` has them with `--show-row-values`, `sample` in a dry run.
"""
_EXAMPLE = """
## An example

A real run, shortened: figures are rounded, the statement is cut, and six of the eight entries of the timeline are left
out.

```json
{example}```
"""


def result_page(example: str) -> str:
    """The whole page; `example` is the text of a document."""
    schema = result_schema()
    sections = (_section(title, definition) for title, definition in _objects(schema))
    return "".join([_HEAD, *sections, _EXAMPLE.replace("{example}", example)])


def _objects(schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """(title, definition) of every object: once each, below all the paths at which it stands."""
    yield "The document", schema
    paths: dict[str, list[str]] = {}
    for path, name in _places("", schema, schema["$defs"]):
        paths.setdefault(name, []).append(path)
    for name, found in paths.items():
        yield ", ".join(f"`{path}`" for path in sorted(found, key=len)), schema["$defs"][name]


def _places(prefix: str, definition: dict[str, Any], definitions: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """(path, name) of every object below a definition; what it holds comes after it."""
    for key, value in definition["properties"].items():
        name = _object_in(value)
        if name is not None:
            path = f"{prefix}{key}[]" if "items" in value else f"{prefix}{key}"
            yield path, name
            yield from _places(f"{path}.", definitions[name], definitions)


def _object_in(value: dict[str, Any]) -> str | None:
    """Name of the object that a property is, may be, or has a list of."""
    parts = [value, value.get("items", {}), *value.get("anyOf", ())]
    return next((part["$ref"].rpartition("/")[2] for part in parts if "$ref" in part), None)


def _section(title: str, definition: dict[str, Any]) -> str:
    rows = "".join(
        f"| `{key}` | {_type(value, optional=key not in definition['required'])} | {_cell(value['description'])} |\n"
        for key, value in definition["properties"].items()
    )
    return f"\n## {title}\n\n{definition['description']}\n\n| field | type | meaning |\n|---|---|---|\n{rows}"


def _type(value: dict[str, Any], *, optional: bool = False) -> str:
    """What JSON holds there, in words. Of an optional key, absence is a value."""
    if "anyOf" in value:
        return " or ".join(_type(part) for part in value["anyOf"]).replace("true or false or", "true, false or")
    if "const" in value:
        return f"`{value['const']}`"
    if "enum" in value:
        return ", ".join(f"`{word}`" for word in value["enum"])
    if "$ref" in value:
        return "object, or absent" if optional else "object"
    words = {"string": "text", "boolean": "true or false", "array": "list", "null": "null"}
    word = words.get(value["type"], str(value["type"]))
    return f"{word} of {_plural(value['items'])}" if "items" in value else word


def _plural(value: dict[str, Any]) -> str:
    if "items" in value:
        return f"lists of {_plural(value['items'])}"
    return {"object": "objects", "text": "texts", "text or null": "texts or null"}[_type(value)]


def _cell(text: str) -> str:
    """Text that stays within its cell."""
    return text.replace("|", "\\|").replace("\n", " ")
