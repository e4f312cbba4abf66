"""In which order several targets are published in one transaction: parents before children, but for deletes."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from rapidbyte.model import QualifiedName
from rapidbyte.pg.session import PgConnection

Reference = tuple[QualifiedName, QualifiedName]
"""(child, parent): a foreign key of the first points to the second."""


def references_among(connection: PgConnection, tables: Sequence[QualifiedName]) -> frozenset[Reference]:
    """The foreign keys between these tables, as far as they exist."""
    rows = connection.execute(
        "SELECT cn.nspname, c.relname, pn.nspname, p.relname FROM pg_catalog.pg_constraint f"
        " JOIN pg_catalog.pg_class c ON c.oid = f.conrelid JOIN pg_catalog.pg_namespace cn ON cn.oid = c.relnamespace"
        " JOIN pg_catalog.pg_class p ON p.oid = f.confrelid JOIN pg_catalog.pg_namespace pn ON pn.oid = p.relnamespace"
        " WHERE f.contype = 'f' AND f.conrelid <> f.confrelid"
    ).fetchall()
    wanted = set(tables)
    found = (
        (QualifiedName(schema=cs, name=child), QualifiedName(schema=ps, name=parent)) for cs, child, ps, parent in rows
    )
    return frozenset(pair for pair in found if wanted.issuperset(pair))


def acting_parents(connection: PgConnection, tables: Sequence[QualifiedName]) -> frozenset[QualifiedName]:
    """Those of these tables whose deleted rows would change or take rows of another one: ON DELETE CASCADE, SET NULL.

    Their rows go last, when no row that stays refers to them.
    """
    rows = connection.execute(
        "SELECT DISTINCT pn.nspname, p.relname FROM pg_catalog.pg_constraint f"
        " JOIN pg_catalog.pg_class p ON p.oid = f.confrelid JOIN pg_catalog.pg_namespace pn ON pn.oid = p.relnamespace"
        " WHERE f.contype = 'f' AND f.confdeltype NOT IN ('a', 'r')"
    ).fetchall()
    return frozenset(QualifiedName(schema=schema, name=name) for schema, name in rows).intersection(tables)


def parents_first(tables: Sequence[QualifiedName], references: Collection[Reference]) -> tuple[int, ...]:
    """Positions of the tables, each behind those that it references, otherwise as given. Pure.

    Of tables that reference each other in a circle the first one given comes first: its key must be deferrable.
    """
    left = list(range(len(tables)))
    ordered: list[int] = []
    while left:
        waiting = {tables[place] for place in left}
        free = (p for p in left if not any(child == tables[p] and parent in waiting for child, parent in references))
        taken = next(free, left[0])
        left.remove(taken)
        ordered.append(taken)
    return tuple(ordered)
