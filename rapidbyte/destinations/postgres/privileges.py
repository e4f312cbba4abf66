"""What the leader and the workers lack at the destination, as the GRANTs that would give it. Looks, never creates.

`IF NOT EXISTS` needs CREATE even where the object exists, so everything is looked up first (G12).
"""

from __future__ import annotations

from collections.abc import Collection
from typing import LiteralString

from psycopg import sql

from rapidbyte.destinations.postgres import ddl, ledger, workers
from rapidbyte.destinations.postgres.planning import PLACEHOLDER, alterations, stage_name
from rapidbyte.destinations.postgres.target import TargetFacts
from rapidbyte.model import QualifiedName
from rapidbyte.pg.session import PgConnection
from rapidbyte.plan import StreamPlan

Grants = tuple[sql.Composed, ...]

_LEDGER: tuple[tuple[QualifiedName, tuple[LiteralString, ...]], ...] = (
    (ledger.LEDGER, ("SELECT",)),
    (ledger.LEASES, ("SELECT", "INSERT", "UPDATE")),
    (ledger.RUNS, ("SELECT", "INSERT", "UPDATE")),
    (ledger.LOADS, ("SELECT", "INSERT", "UPDATE")),
    (ledger.RECEIPTS, ("SELECT", "INSERT", "DELETE")),
    (ledger.CURSORS, ("SELECT", "INSERT", "UPDATE", "DELETE")),
    (ledger.FILES, ("SELECT", "INSERT", "UPDATE", "DELETE")),
    (ledger.REJECTS, ("SELECT", "INSERT", "UPDATE", "DELETE")),
)
"""What a leader needs of the ledger's tables."""

_NEEDED: dict[str, tuple[LiteralString, ...]] = {
    "insert": ("INSERT",),
    "direct": ("INSERT",),
    "merge": ("SELECT", "INSERT", "UPDATE"),
    "in_place": ("SELECT", "INSERT", "UPDATE", "DELETE"),
}
"""What a publish method needs of a target that exists."""


def current_role(connection: PgConnection) -> str:
    """The leader's role."""
    row = connection.execute("SELECT current_user::text").fetchone()
    return str(row[0]) if row else ""


def _schema_grants(connection: PgConnection, schema: str, role: str, *, create: bool) -> Grants:
    found = connection.execute(
        "SELECT n.oid IS NOT NULL, has_schema_privilege(n.oid, 'USAGE'), has_schema_privilege(n.oid, 'CREATE'),"
        " has_database_privilege(current_database(), 'CREATE'), current_database()::text"
        " FROM (SELECT %s::text AS name) AS w LEFT JOIN pg_namespace n ON n.nspname = w.name",
        (schema,),
    ).fetchall()
    exists, may_use, may_create, may_create_schema, database = found[0]
    if not exists:
        return () if may_create_schema else (_grant("CREATE", "DATABASE", sql.Identifier(database), role),)
    missing: list[sql.Composed] = []
    if not may_use:
        missing.append(_grant("USAGE", "SCHEMA", sql.Identifier(schema), role))
    if create and not may_create:
        missing.append(_grant("CREATE", "SCHEMA", sql.Identifier(schema), role))
    return tuple(missing)


def _grant(privileges: LiteralString, what: LiteralString, name: sql.Identifier, role: str) -> sql.Composed:
    return ddl.grant(privileges, sql.SQL("{} {}").format(sql.SQL(what), name), role)


def ledger_grants(connection: PgConnection, role: str, *, stages: bool) -> Grants:
    """What the leader lacks of the ledger; `stages` where a stage will be made in its schema."""
    found = connection.execute(
        "SELECT c.relname, ARRAY(SELECT p FROM unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) AS p"
        " WHERE has_table_privilege(c.oid, p)) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE n.nspname = %s AND c.relkind = 'r'",
        (ledger.SCHEMA,),
    ).fetchall()
    tables: dict[str, list[str]] = dict(found)
    installed = ledger.LEDGER.name in tables
    missing = list(_schema_grants(connection, ledger.SCHEMA, role, create=stages or not installed))
    for table, privileges in _LEDGER if installed else ():
        if table.name in tables:
            missing += _lacks(privileges, tables[table.name], table, role)
    if installed and not missing:
        missing += _migration_grants(connection, role)
    return tuple(missing)


def _migration_grants(connection: PgConnection, role: str) -> Grants:
    """What a role that does not own an older ledger lacks to migrate it: to be a member of its owner."""
    if ledger.installed_version(connection) == ledger.VERSION:
        return ()
    rows = connection.execute(
        "SELECT DISTINCT pg_get_userbyid(relowner)::text FROM pg_class c"
        " JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = %s AND c.relname = ANY (%s)"
        " AND NOT pg_has_role(relowner, 'USAGE') ORDER BY 1",
        (ledger.SCHEMA, [table.name for table in ledger.TABLES]),
    ).fetchall()
    return tuple(sql.SQL("GRANT {} TO {}").format(sql.Identifier(owner), sql.Identifier(role)) for (owner,) in rows)


def _lacks(needed: tuple[LiteralString, ...], has: Collection[str], table: QualifiedName, role: str) -> Grants:
    lacks: list[LiteralString] = [privilege for privilege in needed if privilege not in has]
    return (ddl.grant(", ".join(lacks), sql.SQL("TABLE {}").format(ledger.identifier(table)), role),) if lacks else ()


def target_grants(connection: PgConnection, plan: StreamPlan, facts: TargetFacts, role: str) -> Grants:
    """What the leader lacks of a stream's target and its schema."""
    beside = plan.publish in ("rename", "swap") or not facts.exists
    missing = list(_schema_grants(connection, plan.target.schema, role, create=beside))
    if facts.exists:
        missing += _lacks(_NEEDED.get(plan.publish, ()), facts.privileges, plan.target, role)
        if alterations(plan, facts) and not facts.owned:
            missing.append(sql.SQL("GRANT {} TO {}").format(sql.Identifier(facts.owner), sql.Identifier(role)))
        if facts.row_security:
            missing.append(sql.SQL("ALTER ROLE {} BYPASSRLS").format(sql.Identifier(role)))
        if plan.publish in _NEEDED:
            missing += _sequence_grants(connection, plan, facts, role)
    missing += _type_grants(connection, plan, role)
    return tuple(missing)


def default_sequences(plan: StreamPlan, facts: TargetFacts) -> tuple[QualifiedName, ...]:
    """Sequences from which columns that the stream does not carry take their defaults."""
    carried = {column.target.name for column in plan.columns}
    return tuple(name for column in facts.columns if column.name not in carried for name in column.default_sequences)


def _sequence_grants(connection: PgConnection, plan: StreamPlan, facts: TargetFacts, role: str) -> Grants:
    """Sequences from which columns that the stream does not carry take their defaults."""
    sequences = default_sequences(plan, facts)
    rows = connection.execute(
        "SELECT n.nspname, c.relname FROM unnest(%s::text[], %s::text[]) AS w (schema, name)"
        " JOIN pg_namespace n ON n.nspname = w.schema JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = w.name"
        " WHERE NOT has_sequence_privilege(c.oid, 'USAGE, UPDATE')",
        ([name.schema for name in sequences], [name.name for name in sequences]),
    ).fetchall()
    return tuple(_grant("USAGE", "SEQUENCE", sql.Identifier(schema, name), role) for schema, name in rows)


def _type_grants(connection: PgConnection, plan: StreamPlan, role: str) -> Grants:
    types = workers.type_names(connection, tuple(column.target for column in plan.columns))
    wanted = [workers.Access(kind="type", schema=name.schema, name=name.name) for name in types]
    schemas = {name.schema for name in types} - {"pg_catalog"}
    wanted += [workers.Access(kind="schema", schema=schema) for schema in sorted(schemas)]
    return tuple(
        ddl.grant(access.privileges, access.thing, role) for access in workers.lacking(connection, role, tuple(wanted))
    )


_GRANTABLE: LiteralString = """
SELECT CASE %(kind)s
         WHEN 'schema' THEN (SELECT has_schema_privilege(n.oid, 'USAGE WITH GRANT OPTION')
                             FROM pg_namespace n WHERE n.nspname = %(schema)s)
         WHEN 'type' THEN (SELECT has_type_privilege(t.oid, 'USAGE WITH GRANT OPTION')
                           FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace
                           WHERE n.nspname = %(schema)s AND t.typname = %(name)s)
         WHEN 'rejects' THEN (SELECT has_table_privilege(c.oid, 'INSERT WITH GRANT OPTION')
                              FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                              WHERE n.nspname = %(schema)s AND c.relname = %(name)s)
         WHEN 'target' THEN (SELECT has_table_privilege(c.oid, 'INSERT WITH GRANT OPTION')
                             FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                             WHERE n.nspname = %(schema)s AND c.relname = %(name)s)
         WHEN 'sequence' THEN (SELECT has_sequence_privilege(c.oid, 'USAGE WITH GRANT OPTION')
                               FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                               WHERE n.nspname = %(schema)s AND c.relname = %(name)s)
         ELSE (SELECT has_table_privilege(c.oid, 'SELECT WITH GRANT OPTION')
                  AND has_table_privilege(c.oid, 'INSERT WITH GRANT OPTION')
               FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
               WHERE n.nspname = %(schema)s AND c.relname = %(name)s) END
"""


def worker_needs(
    plan: StreamPlan, facts: TargetFacts, stage: QualifiedName | None, types: tuple[QualifiedName, ...]
) -> tuple[workers.Access, ...]:
    """What a worker's role must be allowed: its COPY goes into the stage, or into the target itself."""
    rejects = plan.rejects.action == "dlq"
    if stage is not None:
        return workers.needed(stage, types, rejects=rejects)
    return workers.needed_direct(plan.target, default_sequences(plan, facts), types, rejects=rejects)


def worker_grants(connection: PgConnection, plan: StreamPlan, facts: TargetFacts, worker: str) -> Grants:
    """What the workers' role lacks and the leader cannot grant itself. What does not exist yet will be the leader's."""
    types = workers.type_names(connection, tuple(column.target for column in plan.columns))
    stage = stage_name(plan.target, plan.publish, PLACEHOLDER)
    wanted = worker_needs(plan, facts, stage, types)
    missing: list[sql.Composed] = []
    for access in workers.lacking(connection, worker, wanted):
        grantable = connection.execute(
            _GRANTABLE, {"kind": access.kind, "schema": access.schema, "name": access.name}
        ).fetchone()
        if grantable is not None and grantable[0] is False:
            missing.append(ddl.grant(access.privileges, access.thing, worker))
    return tuple(missing)
