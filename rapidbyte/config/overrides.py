"""`--set path=value`: one value of the document replaced or added, before it is checked like the file."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from rapidbyte.config.document import MAX_DEPTH, Listing, Mapping, Node, Place, Scalar, Unusable, flow_in, shown
from rapidbyte.errors import Problem

_STEP = re.compile(r"(?P<key>[^.\[\]]+)|\[(?P<index>[0-9]{1,6})\]")


class _WrongPath(Exception):
    """The path leads nowhere; the message says why."""


def apply_overrides(root: Mapping, overrides: Sequence[tuple[str, str]]) -> tuple[Mapping, tuple[Problem, ...]]:
    """The document with each value set, in the order given, and a problem for each path that leads nowhere.

    A path is made of keys and of positions from 0, as `source.streams[0].where`; a stream may be named instead of
    counted, as `source.streams.orders.where`.
    """
    problems: list[Problem] = []
    for path, value in overrides:
        place = Place(file=f"--set {shown(path)}")
        scalar = Scalar(text=value, written=value, plain=True, place=place, origin="set", flow=flow_in(value, place))
        try:
            _check_length(path)
            changed = _with(root, path, scalar)
        except _WrongPath as error:
            hint = "write it as destination.config.schema or source.streams[0].where"
            problems.append(Problem(message=str(error), path=path, file=place.file, hint=hint))
        else:
            root = changed if isinstance(changed, Mapping) else root
    return root, tuple(problems)


def _check_length(path: str) -> None:
    if not path:
        raise _WrongPath("the path is empty")
    if path.count(".") + path.count("[") > MAX_DEPTH:
        raise _WrongPath(f"the path has more than {MAX_DEPTH} steps")


def _with(node: Node | None, path: str, value: Scalar) -> Node:
    """The node with the value at the path below it; missing mappings are made."""
    if not path:
        return value
    if isinstance(node, Listing):
        index, rest = _position(node, path)
        items = (*node.items[:index], _with(node.items[index], rest, value), *node.items[index + 1 :])
        return replace(node, items=items)
    if isinstance(node, Scalar | Unusable):
        raise _WrongPath("the path goes on below a value that is no mapping")
    key, rest = _key(path)
    old = node or Mapping(entries=(), place=value.place)
    changed = _with(old.get(key), rest, value)
    if old.get(key) is None:
        name = Scalar(text=key, written=key, plain=False, place=value.place, origin="set")
        return replace(old, entries=(*old.entries, (name, changed)))
    return replace(old, entries=tuple((k, changed if k.text == key else v) for k, v in old.entries))


def _key(path: str) -> tuple[str, str]:
    found = _STEP.match(path)
    if found is None or found["key"] is None:
        raise _WrongPath("the path is not made of keys and [positions]")
    return found["key"], _after(path, found.end())


def _position(listing: Listing, path: str) -> tuple[int, str]:
    """Which item the path means, and what is left of the path."""
    found = _STEP.match(path)
    if found is not None and found["index"] is not None:
        index = int(found["index"])
        if index >= len(listing.items):
            raise _WrongPath(f"there is no [{index}]: the list has {len(listing.items)} entries, counted from 0")
        return index, _after(path, found.end())
    named = [(name, index) for index, item in enumerate(listing.items) if (name := _name(item)) is not None]
    fitting = [(name, i) for name, i in named if path == name or path.startswith((f"{name}.", f"{name}["))]
    if not fitting:
        raise _WrongPath("the path names no entry of the list")
    name, index = max(fitting, key=lambda entry: len(entry[0]))
    return index, _after(path, len(name))


def _name(item: Node) -> str | None:
    name = item.get("name") if isinstance(item, Mapping) else None
    return name.text if isinstance(name, Scalar) else None


def _after(path: str, end: int) -> str:
    """What follows a step, its dot removed."""
    rest = path[end:]
    if not rest or rest.startswith("["):
        return rest
    if rest.startswith(".") and len(rest) > 1:
        return rest[1:]
    raise _WrongPath("the path is not made of keys and [positions]")
