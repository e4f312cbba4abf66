"""Rows that the target's own keys would refuse, set aside before it is written to: the unique ones, and foreign ones.

Only where bad rows are set aside. What others write between this look and the publish is still refused then, and ends
the load.
"""

from __future__ import annotations

from typing import Any, LiteralString

from psycopg import sql

from rapidbyte.contract import WriteContract
from rapidbyte.destinations.postgres import clashes, ddl
from rapidbyte.destinations.postgres.aside import Why, take
from rapidbyte.destinations.postgres.ledger import identifier
from rapidbyte.destinations.postgres.rewrite import Together
from rapidbyte.destinations.postgres.rows import RowMove
from rapidbyte.destinations.postgres.target import TargetFacts
from rapidbyte.model import QualifiedName
from rapidbyte.pg.session import PgConnection
from rapidbyte.values import frozen

_FOREIGN_KEYS: LiteralString = """
SELECT c.conname, n.nspname, r.relname,
       ARRAY(SELECT a.attname::text FROM unnest(c.conkey) WITH ORDINALITY AS k (number, place)
             JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = k.number ORDER BY k.place),
       ARRAY(SELECT a.attname::text FROM unnest(c.confkey) WITH ORDINALITY AS k (number, place)
             JOIN pg_attribute a ON a.attrelid = c.confrelid AND a.attnum = k.number ORDER BY k.place),
       ARRAY(SELECT ARRAY[pn.nspname::text, p.oprname::text]
             FROM unnest(c.conpfeqop) WITH ORDINALITY AS k (operator, place)
             JOIN pg_operator p ON p.oid = k.operator JOIN pg_namespace pn ON pn.oid = p.oprnamespace ORDER BY k.place)
FROM pg_constraint c JOIN pg_class r ON r.oid = c.confrelid JOIN pg_namespace n ON n.oid = r.relnamespace
WHERE c.conrelid = %s AND c.contype = 'f' AND c.conparentid = 0
      AND has_table_privilege(c.confrelid, 'SELECT') AND has_schema_privilege(n.oid, 'USAGE')
      AND coalesce(to_jsonb(c)->>'conenforced', 'true') = 'true'
      AND coalesce(to_jsonb(c)->>'conperiod', 'false') = 'false'
ORDER BY c.conname
"""


@frozen
class ForeignKey:
    """A foreign key of the target's, to a table that the leader may read."""

    name: str
    parent: QualifiedName
    own: tuple[str, ...]
    referenced: tuple[str, ...]
    operators: tuple[tuple[str, str], ...]
    """(schema, name), each between a referenced column and its own."""

    @property
    def why(self) -> Why:
        """What is wrong with a row whose parent is not there."""
        message = f"{self.parent} has no such {', '.join(self.own)} ({self.name})"
        return Why(code="key_missing", sqlstate="23503", message=message)


def set_aside(
    connection: PgConnection,
    contract: WriteContract,
    facts: TargetFacts,
    stage: QualifiedName,
    *,
    together: Together | None,
) -> int:
    """Takes such rows out of the stage; how many. The search_path is pg_catalog.

    `together` with other streams parents are published before their children; of a circle the first one's keys are
    not looked at.
    """
    if not contract.rejects.sets_aside or not facts.exists:
        return 0
    uniques = clashes.uniques_of(connection, contract, facts)
    keys = _foreign_keys(connection, contract, facts)
    found = sum(clashes.take_among_themselves(connection, contract, stage, unique) for unique in uniques)
    for key in keys:
        if key.parent != contract.target and not (together is not None and together.awaits(key.parent)):
            pending = None if together is None else together.pending.get(key.parent)
            found += take(connection, contract, _orphans(stage, key, pending), stage, why=key.why)
    own = [key for key in keys if key.parent == contract.target]
    while True:
        # A row that goes may have been another one's parent, or what would have changed a row of the target.
        taken = sum(clashes.take_clashing(connection, contract, facts, stage, unique) for unique in uniques)
        taken += sum(take(connection, contract, _own_orphans(contract, stage, key), stage, why=key.why) for key in own)
        found += taken
        if not taken or (not own and contract.write_mode != "upsert"):
            return found


def _foreign_keys(connection: PgConnection, contract: WriteContract, facts: TargetFacts) -> tuple[ForeignKey, ...]:
    carried = {column.name for column in contract.columns}
    found = (_foreign_key(row) for row in connection.execute(_FOREIGN_KEYS, (facts.oid,)).fetchall())
    return tuple(key for key in found if carried.issuperset(key.own))


def _foreign_key(row: tuple[Any, ...]) -> ForeignKey:
    name, schema, table, own, referenced, operators = row
    return ForeignKey(
        name=name,
        parent=QualifiedName(schema=schema, name=table),
        own=tuple(own),
        referenced=tuple(referenced),
        operators=tuple((space, operator) for space, operator in operators),
    )


def _present(key: ForeignKey) -> sql.Composed:
    """A key with a NULL refers to nothing."""
    return sql.SQL(" AND ").join(sql.SQL("s.{} IS NOT NULL").format(sql.Identifier(name)) for name in key.own)


def _refers(key: ForeignKey) -> sql.Composed:
    """`t` is the row that `s` refers to."""
    return sql.SQL(" AND ").join(
        sql.SQL("t.{} OPERATOR({}.{}) s.{}").format(
            sql.Identifier(there), sql.Identifier(space), ddl.printed(operator), sql.Identifier(here)
        )
        for there, (space, operator), here in zip(key.referenced, key.operators, key.own, strict=True)
    )


def _orphans(stage: QualifiedName, key: ForeignKey, pending: RowMove | None) -> sql.Composed:
    """Places of the stage's rows whose parent is not there, or, by what is `pending`, will not be."""
    stays = sql.SQL("")
    if pending is not None:
        same = sql.SQL(" AND ").join(
            sql.SQL("k.{} OPERATOR(pg_catalog.=) t.{}").format(sql.Identifier(name), sql.Identifier(name))
            for name in pending.key
        )
        stays = sql.SQL(" AND EXISTS (SELECT FROM {} AS k WHERE {})").format(pending.source, same)
    return sql.SQL(
        "SELECT s.ctid AS place FROM {} AS s WHERE {} AND NOT EXISTS (SELECT FROM {} AS t WHERE {}{})"
    ).format(identifier(stage), _present(key), identifier(key.parent), _refers(key), stays)


def _own_orphans(contract: WriteContract, stage: QualifiedName, key: ForeignKey) -> sql.Composed:
    """Places of the stage's rows whose parent is neither among them nor, unless it is replaced, in the target."""
    where = [identifier(stage)] if contract.write_mode == "replace" else [identifier(stage), identifier(key.parent)]
    missing = sql.SQL(" AND ").join(
        sql.SQL("NOT EXISTS (SELECT FROM {} AS t WHERE {})").format(table, _refers(key)) for table in where
    )
    return sql.SQL("SELECT s.ctid AS place FROM {} AS s WHERE {} AND {}").format(
        identifier(stage), _present(key), missing
    )
