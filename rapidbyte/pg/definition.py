"""User-defined types: whether two servers' are the same, and the statement that creates one. Pure."""

from __future__ import annotations

from rapidbyte.model import TypeDefinition

MONEY_OIDS = (790, 791)
"""money and money[]."""


def quoted(name: str) -> str:
    """An identifier in double quotes, for statements that are shown and never run."""
    return '"' + name.replace('"', '""') + '"'


def create_type_statement(definition: TypeDefinition) -> str:
    """The statement that creates the type at the other end: a hint for people; it is never run."""
    name = f"{quoted(definition.name.schema)}.{quoted(definition.name.name)}"
    if definition.extension is not None:
        return f"CREATE EXTENSION {quoted(definition.extension)};"
    before = "".join(f"{create_type_statement(part)} " for part in definition.parts)
    if definition.kind == "enum":
        labels = ", ".join("'" + label.replace("'", "''") + "'" for label in definition.labels)
        return f"CREATE TYPE {name} AS ENUM ({labels});"
    base = definition.base.name if definition.base is not None else "?"
    if definition.kind == "domain":
        return before + " ".join([f"CREATE DOMAIN {name} AS {base}", *definition.constraints]) + ";"
    if definition.kind == "composite":
        attributes = ", ".join(f"{quoted(attribute)} {kind.name}" for attribute, kind in definition.attributes)
        return f"{before}CREATE TYPE {name} AS ({attributes});"
    if definition.kind == "range":
        return f"{before}CREATE TYPE {name} AS RANGE (subtype = {base});"
    return before.strip() or f"CREATE TYPE {name};"


def difference(source: TypeDefinition, target: TypeDefinition) -> str | None:
    """What makes these two types different, as a phrase; None where every value of one is the same in the other."""
    if source.kind != target.kind:
        return f"one is of kind {source.kind}, the other of kind {target.kind}"
    if source.extension != target.extension:
        return f"one is of extension {source.extension}, the other of {target.extension}"
    if source.labels != target.labels:
        return f"their labels differ: {', '.join(source.labels)} and {', '.join(target.labels)}"
    if source.constraints != target.constraints:
        return f"their constraints differ: {_listed(source.constraints)} and {_listed(target.constraints)}"
    mine = [(name, kind.name) for name, kind in source.attributes]
    others = [(name, kind.name) for name, kind in target.attributes]
    if mine != others:
        return f"their attributes differ: {_attributes(mine)} and {_attributes(others)}"
    base, other = (each.base.name if each.base is not None else None for each in (source, target))
    if base != other:
        return f"they are made of {base} and {other}"
    return _difference_of_parts(source, target)


def _difference_of_parts(source: TypeDefinition, target: TypeDefinition) -> str | None:
    for mine, other in zip(source.parts, target.parts, strict=False):
        found = difference(mine, other)
        if found is not None:
            return f"{mine.name}, of which they are made, differs: {found}"
    return None if len(source.parts) == len(target.parts) else "they are made of different types"


def _listed(constraints: tuple[str, ...]) -> str:
    return " ".join(constraints) or "none"


def _attributes(attributes: list[tuple[str, str]]) -> str:
    return ", ".join(f"{name} {kind}" for name, kind in attributes)


def holds_money(definition: TypeDefinition) -> bool:
    """Whether money is somewhere in this type."""
    direct = [definition.base, *(kind for _, kind in definition.attributes)]
    if any(kind is not None and kind.oid in MONEY_OIDS for kind in direct):
        return True
    return any(holds_money(part) for part in definition.parts)
