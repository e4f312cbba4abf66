"""The docstrings under the fields of a module's dataclasses, read off its source: at run time there are none."""

from __future__ import annotations

import ast
import inspect
from types import ModuleType


def field_docs(module: ModuleType) -> dict[str, dict[str, str]]:
    """Class name -> field -> docstring, for every class of the module. A field without one is left out."""
    classes = (node for node in ast.parse(inspect.getsource(module)).body if isinstance(node, ast.ClassDef))
    return {node.name: _of_class(node) for node in classes}


def _of_class(node: ast.ClassDef) -> dict[str, str]:
    """A docstring belongs to the annotated name right above it."""
    found: dict[str, str] = {}
    for field, text in zip(node.body, node.body[1:], strict=False):
        if not (isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)):
            continue
        if isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant) and isinstance(text.value.value, str):
            found[field.target.id] = inspect.cleandoc(text.value.value)
    return found
