"""Stream names -> relations: exact names, patterns, exclusions, targets. Pure; the catalog is handed in.

A name is written as the catalog has it, unquoted: case counts, and so do spaces. `schema.table` may be split at any
of its dots, so that a table whose name holds one can be named; where two splits exist the name is refused.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace

from rapidbyte.errors import Problem
from rapidbyte.model import QualifiedName
from rapidbyte.pg.catalog import Relation
from rapidbyte.spec import StreamSpec
from rapidbyte.values import frozen

PATTERN_KINDS = ("table", "partitioned", "foreign")
"""What a pattern matches. Views repeat what tables hold, so they are loaded where they are named."""


@frozen
class Selected:
    """One stream, resolved."""

    spec: StreamSpec
    """With its own name, and its target where the pattern's target has a `*`."""
    relation: Relation | None
    """None for a query."""
    by_pattern: str | None = None
    """The pattern that matched it."""


def is_pattern(name: str) -> bool:
    """Whether a stream's name stands for several tables."""
    return "*" in name


def matcher(pattern: str) -> re.Pattern[str]:
    """The pattern as a regular expression that must match as a whole. `*` stands for any characters, also none."""
    return re.compile(".*".join(map(re.escape, pattern.split("*"))), re.DOTALL)


def candidates(name: str, default_schema: str) -> tuple[QualifiedName, ...]:
    """Every relation that this name can mean: the whole of it in the default schema, and each split at a dot."""
    splits = [index for index, character in enumerate(name) if character == "."]
    found = [QualifiedName(schema=name[:at], name=name[at + 1 :]) for at in splits if name[:at] and name[at + 1 :]]
    return (QualifiedName(schema=default_schema, name=name), *found)


def pattern_parts(pattern: str, default_schema: str) -> QualifiedName:
    """A pattern's schema and table part: it is split at its first dot. Either may hold `*`."""
    schema, dot, name = pattern.partition(".")
    return QualifiedName(schema=schema, name=name) if dot else QualifiedName(schema=default_schema, name=pattern)


def resolve_exact(
    spec: StreamSpec, default_schema: str, known: dict[QualifiedName, Relation], nearby: Iterable[Relation]
) -> Selected | Problem:
    """The one relation of this name. `nearby` are those that a misspelt name may have meant."""
    found = [known[name] for name in candidates(spec.name, default_schema) if name in known]
    if len(found) == 1:
        return Selected(spec=spec, relation=found[0])
    if found:
        both = " and ".join(repr(str(relation.name)) for relation in found)
        return Problem(message=f"stream {spec.name!r} can mean {both}", hint="rename one of them, or use `query`")
    return Problem(
        message=f"the source has no table or view {spec.name!r} (schema {default_schema!r} where none is given)",
        hint=nearest(spec.name, _spellings(nearby, default_schema)),
    )


def _spellings(relations: Iterable[Relation], default_schema: str) -> list[str]:
    return [
        relation.name.name if relation.name.schema == default_schema else str(relation.name) for relation in relations
    ]


def nearest(name: str, known: Sequence[str]) -> str | None:
    """`did you mean x?`, for a name that differs in case or in a few characters."""
    for candidate in known:
        if candidate.casefold() == name.casefold():
            return f"did you mean {candidate!r}? Upper and lower case differ"
    close = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {close[0]!r}?" if close else None


def resolve_pattern(
    spec: StreamSpec, default_schema: str, relations: Iterable[Relation], taken: frozenset[QualifiedName]
) -> tuple[Selected, ...] | Problem:
    """The tables that a pattern matches, in the order of `relations`; at least one.

    Partitions and inheriting tables come with their parent; those that a stream of their own names (`taken`) are
    left to it, and those of `exclude` out. A name in `exclude` is compared with `table` and with `schema.table`.
    """
    parts = pattern_parts(spec.name, default_schema)
    schema, name = matcher(parts.schema), matcher(parts.name)
    excluded = [matcher(pattern) for pattern in spec.exclude]
    matched = [r for r in relations if schema.fullmatch(r.name.schema) and name.fullmatch(r.name.name)]
    tables = [
        relation
        for relation in matched
        if relation.kind in PATTERN_KINDS
        and not relation.is_child
        and relation.name not in taken
        and not any(e.fullmatch(relation.name.name) or e.fullmatch(str(relation.name)) for e in excluded)
    ]
    if not tables:
        return _nothing_matched(spec, matched)
    if len(tables) > 1 and spec.target is not None and "*" not in spec.target:
        return Problem(
            message=f"pattern {spec.name!r} matches {len(tables)} tables, and its target {spec.target!r} is one",
            hint="write a `*` into the target: it stands for the table's name",
        )
    qualified = "." in spec.name
    return tuple(
        Selected(spec=_spec_of(spec, relation.name, qualified=qualified), relation=relation, by_pattern=spec.name)
        for relation in tables
    )


def _nothing_matched(spec: StreamSpec, matched: Sequence[Relation]) -> Problem:
    views = [str(relation.name) for relation in matched if relation.kind not in PATTERN_KINDS]
    hint = f"a pattern matches tables; name views one by one: {', '.join(views[:5])}" if views else None
    return Problem(message=f"pattern {spec.name!r} matches no table of the source", hint=hint)


def _spec_of(spec: StreamSpec, name: QualifiedName, *, qualified: bool) -> StreamSpec:
    """The entry for one of the tables that its pattern matched."""
    target = spec.target.replace("*", name.name) if spec.target is not None else name.name
    return replace(spec, name=str(name) if qualified else name.name, target=target, exclude=())
