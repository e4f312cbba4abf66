"""What a user-defined type consists of, as a value: so that two servers' types can be compared. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from rapidbyte.model import ColumnType, QualifiedName, TypeKind

MAX_DEPTH = 20
"""Types nested deeper than this are not compared."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TypeDefinition:
    """One type of a server. What other types it is made of comes with it."""

    name: QualifiedName
    kind: TypeKind
    labels: tuple[str, ...] = ()
    """An enum's labels, in order."""
    base: ColumnType | None = None
    """A domain's base type, with its modifier; an array's element; a range's subtype."""
    constraints: tuple[str, ...] = ()
    """A domain's, as `pg_get_constraintdef` prints them, and `NOT NULL`; sorted."""
    attributes: tuple[tuple[str, ColumnType], ...] = ()
    """A composite's, in order."""
    extension: str | None = None
    """The extension that made the type."""
    parts: tuple[TypeDefinition, ...] = ()
    """The user-defined types among base and attributes."""


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
