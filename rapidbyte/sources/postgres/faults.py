"""Faults of a pipeline's entries, collected until all of them are known. What a role lacks comes with its GRANT."""

from __future__ import annotations

from collections.abc import Sequence

from rapidbyte.errors import ConfigError, PrivilegeError, Problem
from rapidbyte.model import Column
from rapidbyte.pg.catalog import CatalogColumn, Relation
from rapidbyte.pg.definition import quoted
from rapidbyte.sources.postgres.names import nearest
from rapidbyte.spec import StreamSpec
from rapidbyte.values import frozen

INTEGER_OIDS = (20, 21, 23)
"""bigint, smallint, integer: what a partition key can be."""


@frozen
class Fault:
    """One thing that is wrong with an entry; `grant` is the statement that helps where a privilege is missing."""

    problem: Problem
    grant: str | None = None


def fault(spec: StreamSpec, what: str, *, hint: str | None = None, grant: str | None = None) -> Fault:
    """A fault of one stream: `stream 'orders': ...`."""
    return Fault(problem=Problem(message=f"stream {spec.name!r}: {what}", hint=hint or grant), grant=grant)


def refuse(faults: Sequence[Fault]) -> None:
    """Raises one error of all faults: PrivilegeError where nothing but privileges are missing, else ConfigError."""
    if not faults:
        return
    problems = tuple(found.problem for found in faults)
    grants = list(dict.fromkeys(found.grant for found in faults if found.grant is not None))
    message = "; ".join(problem.message for problem in problems)
    if all(found.grant is not None for found in faults):
        raise PrivilegeError(message, code="privilege_missing", hint=" ".join(grants), problems=problems)
    hints = "; ".join(dict.fromkeys(problem.hint for problem in problems if problem.hint))
    raise ConfigError(message, code="stream_invalid", hint=hints or None, problems=problems)


def projection(spec: StreamSpec, known: Sequence[CatalogColumn]) -> tuple[tuple[CatalogColumn, ...], tuple[Fault, ...]]:
    """The columns that the stream reads, in the order of `columns` or else the relation's, and what is wrong."""
    names = [column.column.name for column in known]
    faults = [
        fault(spec, f"the result has several columns {name!r}", hint="name each of them: `... AS name`")
        for name in dict.fromkeys(name for name in names if names.count(name) > 1)
    ]
    by_name = {column.column.name: column for column in known}
    for name in dict.fromkeys(spec.columns):
        if name not in by_name:
            faults.append(fault(spec, f"there is no column {name!r}", hint=nearest(name, names)))
        elif spec.columns.count(name) > 1:
            faults.append(fault(spec, f"column {name!r} is listed twice in `columns`"))
    wanted = spec.columns or tuple(names)
    chosen = tuple(by_name[name] for name in dict.fromkeys(wanted) if name in by_name)
    if not names:
        faults.append(fault(spec, "it has no columns"))
    faults += [
        fault(spec, f"no table can hold column {column.column.name!r} of type {column.column.type.name}")
        for column in chosen
        if column.column.type.kind == "pseudo"
    ]
    return chosen, tuple(faults)


def key_faults(spec: StreamSpec, known: Sequence[Column]) -> tuple[Fault, ...]:
    """What is wrong with the stream's `partition_key`."""
    if spec.partition_key is None:
        return ()
    types = {column.name: column.type for column in known}
    if spec.partition_key not in types:
        what = f"there is no column {spec.partition_key!r} (`partition_key`)"
        return (fault(spec, what, hint=nearest(spec.partition_key, list(types))),)
    if types[spec.partition_key].oid not in INTEGER_OIDS:
        shown = types[spec.partition_key].name
        return (fault(spec, f"`partition_key` {spec.partition_key!r} is no integer, it is {shown}"),)
    return ()


def privilege_faults(
    spec: StreamSpec, relation: Relation, columns: Sequence[CatalogColumn], role: str
) -> tuple[Fault, ...]:
    """What the role lacks to read all rows of these columns, with the statements that give it."""
    name = f"{quoted(relation.name.schema)}.{quoted(relation.name.name)}"
    who = quoted(role)
    faults: list[Fault] = []
    if not relation.may_use_schema:
        grant = f"GRANT USAGE ON SCHEMA {quoted(relation.name.schema)} TO {who};"
        faults.append(fault(spec, f"role {role!r} may not use schema {relation.name.schema!r}", grant=grant))
    denied = [column.column.name for column in columns if not column.may_select]
    if denied and not relation.may_select:
        some = len(denied) < len(columns)
        listed = " (" + ", ".join(map(quoted, denied)) + ")" if some else ""
        what = f"column {', '.join(map(repr, denied))} of {relation.name}" if some else str(relation.name)
        grant = f"GRANT SELECT{listed} ON {name} TO {who};"
        faults.append(fault(spec, f"role {role!r} may not read {what}", grant=grant))
    if relation.hides_rows:
        what = f"row-level security of {relation.name} hides rows from role {role!r}"
        faults.append(fault(spec, what, grant=f"ALTER ROLE {who} BYPASSRLS;"))
    return tuple(faults)
