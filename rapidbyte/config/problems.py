"""pydantic's findings -> problems in our words, each with its place in the file."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from typing import Any, get_args

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from rapidbyte.config.document import Listing, Mapping, Node, Place, Scalar, Unusable, shown
from rapidbyte.config.models import DatabaseFilePipeline, FilesPipeline, Pipeline, PostgresPipeline
from rapidbyte.config.section import Section
from rapidbyte.errors import ConfigError, Problem
from rapidbyte.values import frozen

MOST_SHOWN = 100
"""Problems after this many are counted, not told."""

Path = tuple[str | int, ...]

_SYNONYMS = {
    "columns": ("select", "fields"),
    "database": ("dbname", "db"),
    "dsn": ("url", "uri", "connection", "connection_string", "conninfo"),
    "max_memory": ("memory",),
    "name": ("table", "stream", "tabel"),
    "parallelism": ("workers", "threads"),
    "password": ("pass", "passwd", "pw"),
    "path": ("file", "files"),
    "primary_key": ("pk", "keys", "unique_key", "merge_key"),
    "query": ("sql",),
    "sslmode": ("ssl_mode", "ssl", "tls"),
    "streams": ("tables",),
    "target": ("destination_table", "target_table", "into"),
    "use": ("type", "connector", "kind"),
    "user": ("username", "role"),
    "where": ("filter", "condition"),
    "write_mode": ("mode",),
}


@frozen
class Finding:
    """Something wrong at a path of the document, before its place is known."""

    path: Path
    message: str
    hint: str | None = None
    at_key: bool = False
    """Point at the key instead of its value."""
    is_missing: bool = False
    """The path names a key that has to be there."""
    meant: str | None = None
    """The key of the same mapping that this unknown one probably stands for."""


class Index:
    """The document as plain dicts and lists for pydantic, and where each of its parts stands. Walks it once."""

    def __init__(self, root: Mapping) -> None:
        self.root = root
        self._nodes: dict[Path, Node] = {}
        self._keys: dict[Path, Place] = {}
        self.data: dict[str, Any] = self._plain(root, ())

    def _plain(self, node: Node, path: Path) -> Any:
        self._nodes[path] = node
        match node:
            case Mapping():
                return {key.text: self._entry(key, value, (*path, key.text)) for key, value in node.entries}
            case Listing():
                return [self._plain(item, (*path, index)) for index, item in enumerate(node.items)]
            case Scalar() | Unusable():
                return node

    def _entry(self, key: Scalar, value: Node, path: Path) -> Any:
        self._keys[path] = key.place
        return self._plain(value, path)

    def node(self, path: Path) -> Node | None:
        """What stands at a path; None where nothing does."""
        return self._nodes.get(path)

    def text(self, path: Path) -> str | None:
        """The text of the scalar at a path; None where there is none."""
        node = self._nodes.get(path)
        return node.text if isinstance(node, Scalar) else None

    def problem(self, finding: Finding) -> Problem:
        """The finding with its place: that of the nearest part of the document that exists."""
        path = finding.path
        while path and path not in self._nodes:
            path = path[:-1]
        place, key = self._nodes[path].place, self._keys.get(path)
        is_block = key is not None and key.file == place.file and key.line != place.line
        if key is not None and (finding.at_key or is_block):
            place = key  # of a block, the key is what people look for
        return Problem(
            message=finding.message,
            path=dotted(finding.path),
            file=place.file,
            line=place.line,
            column=place.column,
            hint=finding.hint,
        )


def dotted(path: Path) -> str:
    """A path as people write it: `source.streams[2].name`."""
    parts = [f"[{part}]" if isinstance(part, int) else f".{shown(part)}" for part in path]
    return "".join(parts).removeprefix(".")


def section_in(annotation: Any) -> type[Section] | None:
    """The model that a field's annotation holds, in whatever list, union or Annotated."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation
    return next((found for part in get_args(annotation) if (found := section_in(part)) is not None), None)


def keys_of(model: type[Section]) -> dict[str, Any]:
    """The keys of a mapping, as YAML spells them, with their fields."""
    return {info.alias or name: info for name, info in model.model_fields.items()}


def _model_at(model: type[Section], path: Path) -> type[Section] | None:
    found: type[Section] | None = model
    for part in path:
        if isinstance(part, int) or found is None:
            continue
        info = keys_of(found).get(part)
        found = None if info is None else section_in(info.annotation)
    return found


def sections(model: type[Section], path: str = "") -> Iterator[tuple[str, type[Section]]]:
    """Every mapping of the file with its path, the outer ones first."""
    yield path, model
    for key, info in keys_of(model).items():
        inner = section_in(info.annotation)
        if inner is not None:
            yield from sections(inner, f"{path}.{key}".removeprefix("."))


def findings_of(error: ValidationError, model: type[Pipeline], index: Index) -> list[Finding]:
    """What pydantic found, without what follows from a problem that has been told already."""
    found: list[Finding] = []
    for detail in error.errors(include_url=False, include_input=False):
        path: Path = tuple(detail["loc"])
        if detail["type"] != "unusable" and not isinstance(index.node(path), Unusable):
            found.append(_finding(detail, path, model, index, with_hint=len(found) < MOST_SHOWN))
    meant = {(*finding.path[:-1], finding.meant) for finding in found if finding.meant is not None}
    return [finding for finding in found if not (finding.is_missing and finding.path in meant)]


def _finding(detail: ErrorDetails, path: Path, model: type[Pipeline], index: Index, *, with_hint: bool) -> Finding:
    context: dict[str, Any] = detail.get("ctx", {})
    match detail["type"]:
        case "rapidbyte":
            return Finding(path=path, message=context["message"], hint=context["hint"])
        case "missing":
            message, hint = f"`{path[-1]}` is missing", _hint_for_missing(path)
            return Finding(path=path, message=message, hint=hint, is_missing=True)
        case "extra_forbidden":
            return _unknown_key(model, path, with_hint=with_hint)
        case "literal_error":
            return _unknown_word(path, context["expected"], index)
        case _:
            return _no_mapping(path, index)


def _hint_for_missing(path: Path) -> str | None:
    hints = {"version": 'begin the file with version: "1.0"', "name": "write `- name: orders`"}
    return hints.get(str(path[-1]))


def _no_mapping(path: Path, index: Index) -> Finding:
    node = index.node(path)
    if isinstance(node, Scalar) and node.plain and node.text in ("", "~", "null", "Null", "NULL"):
        return Finding(path=path, message="there is no value here", hint="give it a value, or remove the key")
    if isinstance(node, Scalar) and node.origin == "set":
        hint = "write it as '{key: value}', in quotes, for the shell's sake"
        return Finding(path=path, message="keys with values are due here", hint=hint)
    hint = "write `- name: orders`" if path[:2] == ("source", "streams") and len(path) == 3 else None
    return Finding(path=path, message="keys with values are due here", hint=hint)


def _unknown_word(path: Path, expected: str, index: Index) -> Finding:
    words = [word.strip("'") for word in expected.replace(" or ", ", ").split(", ")]
    known = [word for word in words if not word.startswith(("source-", "dest-", "transform-"))]
    node = index.node(path)
    written = shown(node.written) if isinstance(node, Scalar) else "it"
    if path[-1:] == ("use",) and path[0] != "transforms":
        what = "destination" if path[0] == "destination" else "source"
        known = ["postgres"] if what == "destination" else ["postgres", "files"]
        return Finding(path=path, message=f"`{written}` is no {what}", hint=f"use {' or '.join(known)}")
    near = difflib.get_close_matches(written, known, n=1)
    return Finding(
        path=path,
        message=f"`{written}` is not one of {', '.join(known)}",
        hint=f"did you mean `{near[0]}`?" if near else None,
    )


def _unknown_key(model: type[Pipeline], path: Path, *, with_hint: bool) -> Finding:
    key, here = str(path[-1]), _model_at(model, path[:-1])
    message = f"unknown key `{shown(key)}`"
    if not with_hint:
        return Finding(path=path, message=message, at_key=True)
    known = list(keys_of(here)) if here is not None else []
    meant = nearest_key(key, known)
    hint = f"did you mean `{meant}`?" if meant else _where_it_belongs(model, path, key, known)
    return Finding(path=path, message=message, hint=hint, at_key=True, meant=meant)


def nearest_key(key: str, known: list[str]) -> str | None:
    """The key that was probably meant: a synonym, or one that is spelt nearly so."""
    spelled = key.lower().replace("-", "_")
    synonym = next((name for name, others in _SYNONYMS.items() if spelled in others and name in known), None)
    near = [synonym] if synonym else difflib.get_close_matches(spelled, known, n=1)
    return near[0] if near else None


def _where_it_belongs(model: type[Pipeline], path: Path, key: str, known: list[str]) -> str | None:
    others = {"postgres": PostgresPipeline, "files": FilesPipeline, "sqlite": DatabaseFilePipeline}
    for use, other in others.items():
        if other is not model and (twin := _model_at(other, path[:-1])) is not None and key in keys_of(twin):
            return f"it belongs to use: {use}"
    inside = dotted(path[:-1])
    places = [place for place, section in sections(model) if key in keys_of(section)]
    if places:
        nearest = min(places, key=lambda place: not place.startswith(inside))
        return f"it belongs under `{nearest}`" if nearest else "it belongs at the top of the file, beside `source`"
    return f"known keys: {', '.join(known)}" if known else None


def config_error(file: str, problems: Iterable[Problem]) -> ConfigError:
    """All of them in one error, in the order of the file, those of `--set` last."""
    ordered = sorted(problems, key=lambda p: (p.line is None, p.line or 0, p.column or 0))
    lines = [f"  {problem}" for problem in ordered[:MOST_SHOWN]]
    if len(ordered) > MOST_SHOWN:
        lines.append(f"  and {len(ordered) - MOST_SHOWN} more")
    count = "1 problem" if len(ordered) == 1 else f"{len(ordered)} problems"
    return ConfigError("\n".join([f"{count} in {file}", *lines]), problems=tuple(ordered))
