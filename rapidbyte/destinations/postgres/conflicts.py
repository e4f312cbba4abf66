"""Rows that the target's own keys would refuse, set aside before it is written to: the unique ones, and foreign ones.

Only where bad rows are set aside. What others write between this look and the publish is still refused then, and ends
the load. Exclusion constraints, unique indexes over expressions or parts of a table are not looked at.
"""

from __future__ import annotations

from typing import LiteralString

from psycopg import sql

from rapidbyte.contract import WriteContract
from rapidbyte.destinations.postgres import rows
from rapidbyte.destinations.postgres.aside import Why, take
from rapidbyte.destinations.postgres.ledger import identifier
from rapidbyte.destinations.postgres.target import TargetFacts
from rapidbyte.model import QualifiedName
from rapidbyte.pg.session import PgConnection

_FOREIGN_KEYS: LiteralString = """
SELECT c.conname, n.nspname, r.relname,
       ARRAY(SELECT a.attname::text FROM unnest(c.conkey) WITH ORDINALITY AS k (number, place)
             JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = k.number ORDER BY k.place),
       ARRAY(SELECT a.attname::text FROM unnest(c.confkey) WITH ORDINALITY AS k (number, place)
             JOIN pg_attribute a ON a.attrelid = c.confrelid AND a.attnum = k.number ORDER BY k.place)
FROM pg_constraint c JOIN pg_class r ON r.oid = c.confrelid JOIN pg_namespace n ON n.oid = r.relnamespace
WHERE c.conrelid = %s AND c.contype = 'f' AND c.conparentid = 0 AND c.confrelid <> c.conrelid
      AND has_table_privilege(c.confrelid, 'SELECT') AND has_schema_privilege(n.oid, 'USAGE')
ORDER BY c.conname
"""


def set_aside(
    connection: PgConnection, contract: WriteContract, facts: TargetFacts, stage: QualifiedName, *, together: bool
) -> int:
    """Takes such rows out of the stage; how many. The search_path is pg_catalog.

    `together` with other streams, whose rows may be those that foreign keys refer to, these are not looked at.
    """
    if not contract.rejects.sets_aside or not facts.exists:
        return 0
    unique = _unique(connection, contract, facts, stage)
    return unique if together else unique + _foreign(connection, contract, facts, stage)


def _unique(connection: PgConnection, contract: WriteContract, facts: TargetFacts, stage: QualifiedName) -> int:
    carried = {column.name for column in contract.columns}
    found = 0
    for index in facts.indexes:
        if not index.unique or not index.key or not carried.issuperset(index.key):
            continue
        named = f"{', '.join(index.key)} ({index.constraint_name or index.name})"
        if contract.write_mode == "append":
            why = Why(code="key_duplicate", sqlstate="23505", message=f"the target has this {named}")
            found += take(connection, contract, _there(stage, facts.name, index.key, index.key), stage, why=why)
        why = Why(code="key_duplicate", sqlstate="23505", message=f"another row has this {named}")
        found += take(connection, contract, rows.repeated_rows(identifier(stage), index.key), stage, why=why)
    return found


def _foreign(connection: PgConnection, contract: WriteContract, facts: TargetFacts, stage: QualifiedName) -> int:
    carried = {column.name for column in contract.columns}
    found = 0
    for name, schema, table, own, referenced in connection.execute(_FOREIGN_KEYS, (facts.oid,)).fetchall():
        if carried.issuperset(own):
            parent = QualifiedName(schema=schema, name=table)
            why = Why(code="key_missing", sqlstate="23503", message=f"{parent} has no such {', '.join(own)} ({name})")
            missing = _there(stage, parent, tuple(own), tuple(referenced), negated=True)
            found += take(connection, contract, missing, stage, why=why)
    return found


def _there(
    stage: QualifiedName, table: QualifiedName, own: tuple[str, ...], other: tuple[str, ...], *, negated: bool = False
) -> sql.Composed:
    """Places of the stage's rows whose key the table has, or has not; a key with a NULL is none."""
    present = sql.SQL(" AND ").join(sql.SQL("s.{} IS NOT NULL").format(sql.Identifier(name)) for name in own)
    matches = sql.SQL(" AND ").join(
        sql.SQL("t.{} = s.{}").format(sql.Identifier(there), sql.Identifier(here))
        for here, there in zip(own, other, strict=True)
    )
    return sql.SQL("SELECT s.ctid AS place FROM {} AS s WHERE {} AND {} (SELECT FROM {} AS t WHERE {})").format(
        identifier(stage),
        present,
        sql.SQL("NOT EXISTS" if negated else "EXISTS"),
        identifier(table),
        matches,
    )
