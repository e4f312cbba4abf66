"""A YAML text -> a tree of values that know where they stand. Strict: what a reader could misread is refused.

The tree is built from the parser's events, so that a hostile text is refused before anything grows: no anchors, no
aliases, no tags, no merge keys, no duplicate keys, one document, 1 MiB, 50 levels. Nothing is converted here: a
scalar stays the text that was written, and whether it was quoted.
"""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import yaml
from yaml.reader import Reader

from rapidbyte.errors import ConfigError, Problem
from rapidbyte.values import field, frozen

MAX_BYTES = 1024 * 1024
MAX_DEPTH = 50
MAX_VALUES = 50_000
"""Keys and values together. A text of 1 MiB may hold ten times as many, which takes seconds to judge."""
MAX_FAULTS = 100
"""A text with more structural faults than this is not read to its end."""

Origin = Literal["file", "environment", "set"]

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_OTHER_READERS_NUMBER = re.compile(r"[-+]?(0o[0-7]+|[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+)\Z")
_REFERENCE = re.compile(r"\$\$|\$\{[A-Za-z_][A-Za-z0-9_]*(?::-[^{}\r\n]*)?\}")
_SYNTAX = "{}[],:# "
_MASKS = "".join(chr(0x10FF00 + position) for position in range(len(_SYNTAX)))
_MEANINGS = {
    "bool": "a boolean",
    "int": "a number",
    "float": "a number",
    "timestamp": "a date",
    "null": "an empty value",
}


@frozen
class Place:
    """Where something stands. Lines and columns count from 1; `--set` has neither."""

    file: str
    line: int | None = None
    column: int | None = None


@frozen
class Scalar:
    """One value as it was written. Its repr hides the text, which may be a secret."""

    text: str = field(repr=False)
    """After substitution of `${NAME}`."""
    written: str = field(repr=False)
    """Before: what may be shown to people."""
    plain: bool
    """Without quotes, so that YAML would guess its type."""
    place: Place
    origin: Origin = "file"
    flow: Listing | Mapping | None = None
    """What the text of a `--set` is where a list or a mapping is due: `[a, b]`, `{a: b}`."""


@frozen
class Listing:
    """A YAML sequence."""

    items: tuple[Node, ...]
    place: Place


@frozen
class Mapping:
    """A YAML mapping, in the order of the text; keys are unique."""

    entries: tuple[tuple[Scalar, Node], ...]
    place: Place

    def get(self, key: str) -> Node | None:
        """The value of a key; None where it is missing."""
        return next((node for name, node in self.entries if name.text == key), None)


@frozen
class Unusable:
    """A value about which a problem has been told already: nothing more is said about it."""

    place: Place


Node = Scalar | Listing | Mapping | Unusable


def flow_in(text: str, place: Place) -> Listing | Mapping | None:
    """The list or mapping that a text of one line is; None for any other text. All of it stands at this place."""
    if not text.strip().startswith(("[", "{")):
        return None
    tree, problems = read_document(text, place.file)
    if problems or not isinstance(tree, Listing | Mapping):
        return None
    moved = _moved(tree, place)
    return moved if isinstance(moved, Listing | Mapping) else None


def _moved(node: Node, place: Place) -> Node:
    match node:
        case Listing():
            return Listing(items=tuple(_moved(item, place) for item in node.items), place=place)
        case Mapping():
            entries = tuple((replace(key, place=place), _moved(value, place)) for key, value in node.entries)
            return Mapping(entries=entries, place=place)
        case _:
            return replace(node, place=place)


def plain(node: Node) -> Any:
    """The node as dicts and lists of scalars."""
    match node:
        case Mapping():
            return {key.text: plain(value) for key, value in node.entries}
        case Listing():
            return [plain(item) for item in node.items]
        case _:
            return node


def quoted(text: str) -> str:
    """The text as a double-quoted YAML scalar."""
    return json.dumps(text, ensure_ascii=False)


def shown(text: str) -> str:
    """The text as it may be printed on a terminal: at most 60 characters, control characters as escapes."""
    return printable(text if len(text) <= 60 else text[:57] + "...")


def printable(text: str) -> str:
    """The text with control characters as escapes, so that it cannot steer a terminal."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def misreading(text: str) -> str | None:
    """What YAML 1.1 takes a plain scalar for, when it is no string: `a boolean`, `a date`; None for a string."""
    resolvers: Any = yaml.SafeLoader.yaml_implicit_resolvers
    for tag, pattern in resolvers.get(text[:1], []):
        kind = str(tag).rpartition(":")[2]
        if kind in _MEANINGS and pattern.match(text):
            return "a base 60 number" if kind in ("int", "float") and ":" in text else _MEANINGS[kind]
    return "a number" if _OTHER_READERS_NUMBER.match(text) else None


def read_text(path: str | os.PathLike[str], *, what: str) -> str:
    """A UTF-8 file of at most 1 MiB, without a byte order mark. Raises ConfigError that says what is the matter."""
    name = printable(os.fspath(path))
    try:
        with Path(path).open("rb") as stream:
            if stat.S_ISDIR(os.fstat(stream.fileno()).st_mode):
                raise IsADirectoryError
            data = stream.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        hint = "give the path of a YAML file" if isinstance(error, IsADirectoryError) else None
        raise ConfigError(
            f"{what} {name} cannot be read: {_reason(error)}", code="config_unreadable", hint=hint
        ) from None
    if len(data) > MAX_BYTES:
        raise _refusal(Problem(message=f"{what} is larger than 1 MiB", file=name))
    return _decoded(data, name)


def _reason(error: OSError | ValueError) -> str:
    if isinstance(error, FileNotFoundError):
        return "there is no such file"
    if isinstance(error, IsADirectoryError):
        return "it is a folder"
    if isinstance(error, PermissionError):
        return "permission denied"
    return (error.strerror or "it cannot be opened") if isinstance(error, OSError) else "the path is not valid"


def _decoded(data: bytes, name: str) -> str:
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise _refusal(Problem(message="the file is UTF-16", file=name, line=1, column=1, hint="save it as UTF-8"))
    if data.startswith(b"\xef\xbb\xbf"):
        message = "the file begins with a byte order mark"
        raise _refusal(Problem(message=message, file=name, line=1, column=1, hint="save it as UTF-8 without BOM"))
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line, column = _position(data[: error.start].decode("utf-8"))
    raise _refusal(
        Problem(message="the file is not UTF-8 here", file=name, line=line, column=column, hint="save it as UTF-8")
    )


def _position(before: str) -> tuple[int, int]:
    """Line and column, from 1, of the character that follows this text."""
    return before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1


def _refusal(problem: Problem) -> ConfigError:
    return ConfigError(f"1 problem in {problem.file}\n  {problem}", problems=(problem,))


def read_document(text: str, file: str) -> tuple[Node | None, tuple[Problem, ...]]:
    """The tree of the one document in the text, and everything that is wrong with its structure.

    The tree is None where the text cannot be read to its end.
    """
    control = _not_yaml(text)
    if control is not None:
        line, column = _position(text[:control])
        what = "a byte order mark" if text[control] == "\ufeff" else f"a control character ({shown(text[control])})"
        return None, (Problem(message=f"{what} is not allowed here", file=file, line=line, column=column),)
    reader = _Reader(text, file)
    return reader.document(), tuple(reader.problems)


def _not_yaml(text: str) -> int | None:
    """Where the first character stands that YAML does not allow, or that is a byte order mark; None without any.

    By the character class that PyYAML has compiled already (9 ms of every start); it takes U+FEFF.
    """
    control = Reader.NON_PRINTABLE.search(text)
    places = (text.find("\ufeff"), control.start() if control is not None else -1)
    return min((place for place in places if place >= 0), default=None)


def _masked(text: str) -> str:
    """The text with what YAML would take for syntax inside of `${NAME}` replaced, so that `{dsn: ${DSN}}` parses.

    One character stands for one, so that places stay; `_Reader` puts them back. A text that holds such characters
    of its own is left as it is.
    """
    if any(mask in text for mask in _MASKS):
        return text
    table = str.maketrans(_SYNTAX, _MASKS)
    return _REFERENCE.sub(lambda found: found.group().translate(table), text)


class _Stop(Exception):
    """The text is not worth reading on; the reason is among the problems."""


class _Reader:
    """Builds the tree from one text's events. Used once."""

    def __init__(self, text: str, file: str) -> None:
        self._text = text
        self._file = file
        masked = _masked(text)
        self._events: Iterator[Any] = yaml.parse(masked, Loader=_LOADER)
        self._unmask = str.maketrans(_MASKS, _SYNTAX) if masked != text else {}
        self._count = 0
        self.problems: list[Problem] = []

    def document(self) -> Node | None:
        """The whole document; None when it breaks off."""
        try:
            next(self._events)  # the stream's start
            if isinstance(next(self._events), yaml.StreamEndEvent):
                self._tell(Place(file=self._file, line=1, column=1), "the file is empty")
                return None
            root = self._node(next(self._events), depth=1)
            next(self._events)  # the document's end
            follower = next(self._events)
            if isinstance(follower, yaml.DocumentStartEvent):
                self._tell(self._place(follower), "a second document begins here", "keep one document in the file")
                return None
        except yaml.YAMLError as error:
            self._tell_syntax(error)
            return None
        except _Stop:
            return None
        return root

    def _node(self, event: Any, depth: int) -> Node:
        place = self._place(event)
        self._count += 1
        if self._count > MAX_VALUES:
            self._tell(place, f"the document holds more than {MAX_VALUES} keys and values")
            raise _Stop
        usable = self._judge(event, place)
        if isinstance(event, yaml.AliasEvent):
            return Unusable(place=place)
        if isinstance(event, yaml.ScalarEvent):
            text = str(event.value).translate(self._unmask)
            plain = not event.style
            return Scalar(text=text, written=text, plain=plain, place=place) if usable else Unusable(place=place)
        if depth > MAX_DEPTH:
            self._tell(place, f"the document is nested deeper than {MAX_DEPTH} levels")
            raise _Stop
        return (
            self._listing(place, depth) if isinstance(event, yaml.SequenceStartEvent) else self._mapping(place, depth)
        )

    def _listing(self, place: Place, depth: int) -> Listing:
        items: list[Node] = []
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            items.append(self._node(event, depth + 1))
        return Listing(items=tuple(items), place=place)

    def _mapping(self, place: Place, depth: int) -> Mapping:
        entries: list[tuple[Scalar, Node]] = []
        seen: dict[str, Place] = {}
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            key = self._node(event, depth + 1)
            value = self._node(next(self._events), depth + 1)
            if isinstance(key, Scalar) and self._is_usable(key, seen):
                seen[key.text] = key.place
                entries.append((key, value))
            elif isinstance(key, Listing | Mapping):
                self._tell(key.place, "a key must be a word, not a list or a mapping")
        return Mapping(entries=tuple(entries), place=place)

    def _is_usable(self, key: Scalar, seen: dict[str, Place]) -> bool:
        """Whether the key can be kept; tells why not."""
        if key.plain and key.text == "<<":
            self._tell(key.place, "merge keys (<<) are not allowed", "write the keys out")
        elif key.plain and (meaning := misreading(key.text)):
            self._tell(key.place, f"the key would be read as {meaning}", f"write {quoted(key.text)}")
        elif key.text in seen:
            first = seen[key.text].line
            self._tell(key.place, f"the key `{shown(key.text)}` is given twice", f"it was given first in line {first}")
        else:
            return True
        return False

    def _judge(self, event: Any, place: Place) -> bool:
        """Whether the event is free of anchors and tags. Their names are not quoted: they may be part of a secret."""
        if isinstance(event, yaml.AliasEvent):
            self._tell(place, "aliases (*) are not allowed", "write the value out, or put it in quotes")
            return False
        if event.anchor is not None:
            self._tell(place, "anchors (&) are not allowed", "remove it, or put the value in quotes")
            return False
        if event.tag is not None:
            self._tell(place, "tags (!) are not allowed", "remove it, or put the value in quotes")
            return False
        return True

    def _place(self, event: Any) -> Place:
        mark = event.start_mark
        return Place(file=self._file, line=mark.line + 1, column=mark.column + 1)

    def _tell(self, place: Place, message: str, hint: str | None = None) -> None:
        self.problems.append(Problem(message=message, file=place.file, line=place.line, column=place.column, hint=hint))
        if len(self.problems) >= MAX_FAULTS:
            raise _Stop

    def _tell_syntax(self, error: yaml.YAMLError) -> None:
        """Where the text stops being YAML. The parser's snippet of the text is left out: it may hold a secret."""
        mark: Any = getattr(error, "problem_mark", None)
        if mark is None:
            self.problems.append(Problem(message="the file is not YAML", file=self._file))
            return
        message, hint = f"not YAML: {getattr(error, 'problem', None) or 'it cannot be parsed'}", None
        if self._character(mark.line, mark.column) == "\t":
            message, hint = "a tab is used for indentation", "indent with spaces"
        self.problems.append(
            Problem(message=message, file=self._file, line=mark.line + 1, column=mark.column + 1, hint=hint)
        )

    def _character(self, line: int, column: int) -> str:
        lines = self._text.split("\n")
        return lines[line][column : column + 1] if line < len(lines) else ""
