"""What the workers' own role is granted for a load, and what is taken back after it. Run by the leader.

A grant that others made, default privileges among them, is neither made again nor revoked. What several loads share
(schemas, types, the receipts) is revoked with the last of them. All of it happens under the ledger's lock, because
two sessions that change one object's grants at once make one of them fail ("tuple concurrently updated", D5).
"""

from __future__ import annotations

from typing import Any, Literal, LiteralString

from psycopg import sql
from psycopg.types.json import Jsonb

from rapidbyte.destinations.postgres import ddl, ledger
from rapidbyte.model import Column, QualifiedName
from rapidbyte.pg.session import PgConnection
from rapidbyte.values import frozen

AccessKind = Literal["stage", "target", "sequence", "receipts", "rejects", "schema", "type"]

_PRIVILEGES: dict[AccessKind, tuple[LiteralString, LiteralString]] = {
    "stage": ("INSERT", "TABLE"),
    "target": ("INSERT", "TABLE"),
    "sequence": ("USAGE", "SEQUENCE"),
    "receipts": ("SELECT, INSERT", "TABLE"),
    "rejects": ("INSERT", "TABLE"),
    "schema": ("USAGE", "SCHEMA"),
    "type": ("USAGE", "TYPE"),
}


@frozen
class Access:
    """One thing that workers must be allowed to use."""

    kind: AccessKind
    schema: str
    name: str | None = None
    """None for a schema."""

    @property
    def privileges(self) -> LiteralString:
        """As GRANT names them."""
        return _PRIVILEGES[self.kind][0]

    @property
    def thing(self) -> sql.Composed:
        """As GRANT names it: `TABLE "s"."t"`."""
        parts = (self.schema,) if self.name is None else (self.schema, self.name)
        return sql.SQL("{} {}").format(sql.SQL(_PRIVILEGES[self.kind][1]), sql.Identifier(*parts))


_LACKING: LiteralString = """
SELECT w.place,
       CASE w.kind
         WHEN 'schema' THEN has_schema_privilege(%(role)s::name, w.schema, 'USAGE')
         WHEN 'type' THEN has_type_privilege(%(role)s::name, t.oid, 'USAGE')
         WHEN 'stage' THEN has_table_privilege(%(role)s::name, c.oid, 'INSERT')
         WHEN 'target' THEN has_table_privilege(%(role)s::name, c.oid, 'INSERT')
         WHEN 'rejects' THEN has_table_privilege(%(role)s::name, c.oid, 'INSERT')
         WHEN 'sequence' THEN has_sequence_privilege(%(role)s::name, c.oid, 'USAGE')
         ELSE has_table_privilege(%(role)s::name, c.oid, 'SELECT')
              AND has_table_privilege(%(role)s::name, c.oid, 'INSERT') END
FROM unnest(%(kinds)s::text[], %(schemas)s::text[], %(names)s::text[])
       WITH ORDINALITY AS w (kind, schema, name, place)
     JOIN pg_namespace n ON n.nspname = w.schema
     LEFT JOIN pg_class c ON w.kind IN ('stage', 'target', 'sequence', 'receipts', 'rejects') AND c.relnamespace = n.oid
                         AND c.relname = w.name
     LEFT JOIN pg_type t ON w.kind = 'type' AND t.typnamespace = n.oid AND t.typname = w.name
WHERE w.kind = 'schema' OR c.oid IS NOT NULL OR t.oid IS NOT NULL
ORDER BY w.place
"""


def needed(stage: QualifiedName, types: tuple[QualifiedName, ...], *, rejects: bool = False) -> tuple[Access, ...]:
    """Everything that a COPY into the stage and its receipt take; and, with `rejects`, rows that are set aside."""
    schemas = dict.fromkeys([ledger.SCHEMA, stage.schema, *(name.schema for name in types)])
    return (
        Access(kind="stage", schema=stage.schema, name=stage.name),
        Access(kind="receipts", schema=ledger.RECEIPTS.schema, name=ledger.RECEIPTS.name),
        *((Access(kind="rejects", schema=ledger.REJECTS.schema, name=ledger.REJECTS.name),) if rejects else ()),
        *(Access(kind="schema", schema=schema) for schema in schemas if schema != "pg_catalog"),
        *(Access(kind="type", schema=name.schema, name=name.name) for name in types),
    )


def needed_direct(
    target: QualifiedName,
    sequences: tuple[QualifiedName, ...],
    types: tuple[QualifiedName, ...],
    *,
    rejects: bool = False,
) -> tuple[Access, ...]:
    """Everything that a COPY straight into the target takes; `sequences` are those of defaults that it sets off."""
    return (
        Access(kind="target", schema=target.schema, name=target.name),
        *(Access(kind="sequence", schema=name.schema, name=name.name) for name in sequences),
        *(access for access in needed(target, types, rejects=rejects) if access.kind != "stage"),
    )


def type_names(connection: PgConnection, columns: tuple[Column, ...]) -> tuple[QualifiedName, ...]:
    """The types of these columns that are not built in, by their names in the catalog; an array's is its element's."""
    oids = sorted({column.type.oid for column in columns if not column.type.built_in})
    rows = connection.execute(
        "SELECT DISTINCT n.nspname, t.typname FROM pg_type c"
        " JOIN pg_type t ON t.oid = coalesce((SELECT e.oid FROM pg_type e WHERE e.typarray = c.oid), c.oid)"
        " JOIN pg_namespace n ON n.oid = t.typnamespace WHERE c.oid = ANY (%s::oid[]) ORDER BY 1, 2",
        (oids,),
    ).fetchall()
    return tuple(QualifiedName(schema=schema, name=name) for schema, name in rows)


def lacking(connection: PgConnection, role: str, wanted: tuple[Access, ...]) -> tuple[Access, ...]:
    """Those of the accesses that the role does not have yet. What does not exist is left out."""
    rows = connection.execute(
        _LACKING,
        {
            "role": role,
            "kinds": [access.kind for access in wanted],
            "schemas": [access.schema for access in wanted],
            "names": [access.name for access in wanted],
        },
    ).fetchall()
    places: list[int] = [place for place, has in rows if not has]
    return tuple(wanted[place - 1] for place in places)


def grant(connection: PgConnection, role: str, wanted: tuple[Access, ...]) -> tuple[Access, ...]:
    """Grants what the role lacks; returns what was granted. Takes the ledger's lock."""
    ledger.lock_ledger(connection)
    missing = lacking(connection, role, wanted)
    for access in missing:
        connection.execute(ddl.grant(access.privileges, access.thing, role))
    return missing


def recorded(accesses: tuple[Access, ...]) -> Jsonb:
    """As `loads.granted` keeps them."""
    return Jsonb([[access.kind, access.schema, access.name] for access in accesses])


def _read(document: list[list[Any]]) -> tuple[Access, ...]:
    return tuple(Access(kind=kind, schema=schema, name=name) for kind, schema, name in document)


def release(connection: PgConnection, load_id: str) -> None:
    """Revokes what no other load needs any more, but the stage's grants. Takes the ledger's lock."""
    row = connection.execute(
        "SELECT worker_role FROM _rapidbyte.loads JOIN pg_roles ON rolname = worker_role WHERE load_id = %s", (load_id,)
    ).fetchone()
    role = row[0] if row else None
    if role is None:
        return
    ledger.lock_ledger(connection)
    rows = connection.execute(
        "SELECT load_id, granted, state FROM _rapidbyte.loads"
        " WHERE worker_role = %s AND (state = 'prepared' OR granted <> '[]')",
        (role,),
    ).fetchall()
    others = any(state == "prepared" and other != load_id for other, _, state in rows)
    taken_back: dict[Access, None] = {}
    for _, document, _ in rows:
        for access in _read(document):
            if access.kind != "stage" and not others:
                taken_back[access] = None
    held = set(taken_back) - set(lacking(connection, role, tuple(taken_back)))
    for access in (access for access in taken_back if access in held and _exists(connection, access)):
        connection.execute(ddl.revoke(access.privileges, access.thing, role))
    if not others:
        connection.execute("UPDATE _rapidbyte.loads SET granted = '[]' WHERE worker_role = %s", (role,))


def release_stage(connection: PgConnection, load_id: str) -> None:
    """Revokes what was granted on the stage for this load. The stage is the load's own: no lock is needed."""
    row = connection.execute(
        "SELECT worker_role, granted FROM _rapidbyte.loads JOIN pg_roles ON rolname = worker_role WHERE load_id = %s",
        (load_id,),
    ).fetchone()
    for access in _read(row[1]) if row else ():
        if row and access.kind == "stage":
            connection.execute(ddl.revoke(access.privileges, access.thing, row[0]))


def _exists(connection: PgConnection, access: Access) -> bool:
    return bool(
        connection.execute(
            "SELECT FROM pg_namespace n WHERE n.nspname = %(schema)s AND ("
            " %(name)s::text IS NULL"
            " OR EXISTS (SELECT FROM pg_class c WHERE c.relnamespace = n.oid AND c.relname = %(name)s)"
            " OR EXISTS (SELECT FROM pg_type t WHERE t.typnamespace = n.oid AND t.typname = %(name)s))",
            {"schema": access.schema, "name": access.name},
        ).fetchall()
    )
