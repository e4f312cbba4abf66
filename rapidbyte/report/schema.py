"""The JSON Schema of the result, read off the dataclasses of `rapidbyte.result` and their field docstrings."""

from __future__ import annotations

import ast
import inspect
import types
from dataclasses import fields, is_dataclass
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from rapidbyte import result

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_RENAMED = {
    result.SchemaChangeResult: {"before": "from", "after": "to"},
    result.CursorResult: {"low": "from", "high": "to"},
}
"""Keys that Python cannot have as names, as `to_document` writes them."""
_OPTIONAL = {result.StreamResult: frozenset({"sample"})}
_PRIMITIVES: dict[Any, dict[str, Any]] = {
    str: {"type": "string"},
    int: {"type": "integer"},
    float: {"type": "number"},
    bool: {"type": "boolean"},
    types.NoneType: {"type": "null"},
}


def result_schema() -> dict[str, Any]:
    """What `to_document` gives, key by key; nothing else is allowed."""
    definitions: dict[str, Any] = {}
    root = _object(result.RunResult, definitions)
    root["properties"]["schema_version"] = {"const": result.SCHEMA_VERSION}
    return {
        "$schema": _DIALECT,
        "title": "The result of a rapidbyte run",
        **root,
        "$defs": dict(sorted(definitions.items())),
    }


def _object(kind: type, definitions: dict[str, Any]) -> dict[str, Any]:
    hints = get_type_hints(kind)
    renamed = _RENAMED.get(kind, {})
    optional = _OPTIONAL.get(kind, frozenset[str]())
    notes = _field_notes(kind)
    properties: dict[str, Any] = {}
    for field in fields(kind):
        described = {"description": notes[field.name]} if field.name in notes else {}
        properties[renamed.get(field.name, field.name)] = {**_typed(hints[field.name], definitions), **described}
    return {
        "description": inspect.cleandoc(kind.__doc__ or "").replace("\n", " "),
        "type": "object",
        "properties": properties,
        "required": [name for name in properties if name not in optional],
        "additionalProperties": False,
    }


def _typed(hint: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    if hint in _PRIMITIVES:
        return dict(_PRIMITIVES[hint])
    if isinstance(hint, type) and is_dataclass(hint):
        return _reference(hint, definitions)
    origin, parts = get_origin(hint), get_args(hint)
    if origin is Literal:
        return {"enum": list(parts)}
    if origin is tuple:
        return {"type": "array", "items": _typed(parts[0], definitions)}
    if origin in (types.UnionType, Union):
        return {"anyOf": [_typed(part, definitions) for part in parts]}
    raise TypeError(f"no JSON Schema for {hint!r}")


def _reference(kind: type, definitions: dict[str, Any]) -> dict[str, Any]:
    if kind.__name__ not in definitions:
        definitions[kind.__name__] = {}
        definitions[kind.__name__] = _object(kind, definitions)
    return {"$ref": f"#/$defs/{kind.__name__}"}


def _field_notes(kind: type) -> dict[str, str]:
    """The string under a field, which Python throws away: field name -> text."""
    body = ast.parse(inspect.getsource(kind)).body[0]
    if not isinstance(body, ast.ClassDef):
        return {}
    notes: dict[str, str] = {}
    for field, note in zip(body.body, body.body[1:], strict=False):
        match field, note:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                notes[name] = inspect.cleandoc(text).replace("\n", " ")
            case _:
                pass
    return notes
