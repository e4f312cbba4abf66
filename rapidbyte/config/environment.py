"""`${NAME}` in scalar values: where the values come from, and how they are put in.

Only inside scalar values, after parsing, so that a value can never become YAML. The first source that knows a name
wins: the file of `--env-file`, the environment, and, where no `--env-file` was given, `.env` beside the pipeline.
They serve `${NAME}` alone: libpq's own PG* variables come from the real environment.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping as Environment
from dataclasses import replace
from pathlib import Path

from rapidbyte.config.document import (
    MAX_BYTES,
    MAX_FAULTS,
    Listing,
    Mapping,
    Node,
    Place,
    Scalar,
    Unusable,
    printable,
    read_text,
)
from rapidbyte.errors import ConfigError, Problem

_REFERENCE = re.compile(r"\$(?:(?P<dollar>\$)|\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?P<default>:-[^{}]*)?\}|(?P<bad>\{))")
_LINE = re.compile(
    r"""[ \t]*(?:export[ \t]+)?(?P<name>[A-Za-z_][A-Za-z0-9_]*)[ \t]*=[ \t]*
        (?:'(?P<single>[^']*)'|"(?P<double>(?:\\.|[^"\\])*)"|(?P<bare>(?!['"])[^\r\n]*?))
        [ \t]*(?:(?:(?<=\s)|(?<=['"=]))\#[^\r\n]*)?(?:\r?\n|\Z)""",
    re.VERBOSE | re.DOTALL,
)
_BLANK = re.compile(r"[ \t]*(?:\#[^\r\n]*)?(?:\r?\n|\Z)")
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r"}


def read_env_file(path: Path) -> dict[str, str]:
    """The variables of a `.env` file: NAME=value lines, quotes and `export` allowed, nothing is expanded.

    Raises ConfigError with the place of the first line that is none; a value is never quoted.
    """
    text = read_text(path, what="the environment file")
    values: dict[str, str] = {}
    at = 0
    while at < len(text):
        if blank := _BLANK.match(text, at):
            at = blank.end()
            continue
        found = _LINE.match(text, at)
        if found is None:
            line = text.count("\n", 0, at) + 1
            problem = Problem(message="not a NAME=value line", file=printable(str(path)), line=line, column=1)
            raise ConfigError(f"1 problem in {problem.file}\n  {problem}", problems=(problem,))
        values[found["name"]] = _value(found)
        at = found.end()
    return values


def _value(found: re.Match[str]) -> str:
    if found["double"] is not None:
        return re.sub(r"\\(.)", lambda match: _ESCAPES.get(match[1], match[1]), found["double"], flags=re.DOTALL)
    return found["single"] if found["single"] is not None else found["bare"].strip()


class Variables:
    """Looks names up, reading `.env` only when the environment does not have one.

    `named` are the values of `--env-file`, which win over the environment; `beside` is the `.env` beside the pipeline,
    where there is one and no `--env-file` was given.
    """

    def __init__(
        self,
        *,
        environment: Environment[str, str],
        named: Environment[str, str] | None = None,
        beside: Path | None = None,
    ) -> None:
        self._environment = environment
        self._named = named or {}
        self._beside = beside
        self._fallback: Environment[str, str] | None = None

    def knows(self, name: str) -> bool:
        """Whether it is set, if only to nothing."""
        return name in self._environment or name in self._named

    def get(self, name: str) -> str:
        """The value; empty where the name is unset or empty. Raises ConfigError when `.env` cannot be read."""
        value = self._named.get(name) or self._environment.get(name)
        if value or self._beside is None:
            return value or ""
        if self._fallback is None:
            self._fallback = read_env_file(self._beside)
        return self._fallback.get(name, "")


def find_variables(
    pipeline: Path, environment: Environment[str, str] | None, env_file: str | os.PathLike[str] | None
) -> Variables:
    """Where `${NAME}` is looked up for this pipeline. Raises ConfigError when `--env-file` cannot be read."""
    real = os.environ if environment is None else environment
    if env_file is not None:
        return Variables(environment=real, named=read_env_file(Path(env_file)))
    beside = pipeline.parent / ".env"
    return Variables(environment=real, beside=beside if beside.is_file() else None)


class Substitution:
    """Replaces the references of a tree; collects the names that have no value. Used once."""

    def __init__(self, variables: Variables) -> None:
        self._variables = variables
        self._missing: dict[str, list[Place]] = {}
        self._problems: list[Problem] = []
        self._room = MAX_BYTES
        """How much text variables may still add; a document may name a large one very often."""

    def apply(self, root: Mapping) -> Mapping:
        """The tree with every `${NAME}` replaced; a value that lacks one becomes unusable."""
        return replace(root, entries=tuple((key, self._node(value)) for key, value in root.entries))

    def _node(self, node: Node) -> Node:
        match node:
            case Scalar():
                return self._scalar(node) if "$" in node.text else node
            case Listing():
                return replace(node, items=tuple(self._node(item) for item in node.items))
            case Mapping():
                return self.apply(node)
            case Unusable():
                return node

    def problems(self) -> tuple[Problem, ...]:
        """One problem for each name without a value, at its first place, and one for each malformed reference."""
        return (*self._problems, *(self._problem(name, places) for name, places in self._missing.items()))

    def _problem(self, name: str, places: list[Place]) -> Problem:
        first = places[0]
        is_empty = self._variables.knows(name)
        more = f", used {len(places)} times" if len(places) > 1 else ""
        return Problem(
            message=f"the environment variable {name} is {'empty' if is_empty else 'not set'}{more}",
            file=first.file,
            line=first.line,
            column=first.column,
            hint=f"set it, or write ${{{name}:-default}}",
        )

    def _scalar(self, scalar: Scalar) -> Scalar | Unusable:
        parts: list[str] = []
        at, complete = 0, True
        for found in _REFERENCE.finditer(scalar.text):
            if found["bad"]:
                hint = "write ${NAME} or ${NAME:-default}, and $$ for a dollar"
                self._tell(scalar.place, "`${` does not begin a reference to a variable", hint)
                return Unusable(place=scalar.place)
            value = self._resolve(found, scalar)
            self._room -= len(value or "")
            if self._room < 0:
                self._tell(scalar.place, "the variables' values are larger than 1 MiB together")
                return Unusable(place=scalar.place)
            complete = complete and value is not None
            parts += [scalar.text[at : found.start()], value or ""]
            at = found.end()
        if not complete:
            return Unusable(place=scalar.place)
        text = "".join(parts) + scalar.text[at:]
        origin = scalar.origin if scalar.origin == "set" or text == scalar.text else "environment"
        return replace(scalar, text=text, origin=origin, flow=self._flow(scalar.flow))

    def _flow(self, node: Listing | Mapping | None) -> Listing | Mapping | None:
        changed = None if node is None else self._node(node)
        return changed if isinstance(changed, Listing | Mapping) else None

    def _resolve(self, found: re.Match[str], scalar: Scalar) -> str | None:
        if found["dollar"]:
            return "$"
        value = self._variables.get(found["name"])
        if not value and found["default"] is not None:
            return found["default"][2:]
        if not value:
            places = self._missing.setdefault(found["name"], [])
            if scalar.origin == "file" or scalar.place not in places:
                places.append(scalar.place)
            return None
        return value

    def _tell(self, place: Place, message: str, hint: str | None = None) -> None:
        if len(self._problems) < MAX_FAULTS:
            problem = Problem(message=message, file=place.file, line=place.line, column=place.column, hint=hint)
            self._problems.append(problem)
