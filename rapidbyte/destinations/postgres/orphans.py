"""Stages that no ledger knows of: it was dropped, or restored from a copy that is older than they are. Looks only.

A name proves nothing, so that such a table is never dropped by us: a person is told, with the statement.
"""

from __future__ import annotations

from typing import LiteralString

from psycopg import sql

from rapidbyte.destinations.postgres import ledger
from rapidbyte.model import QualifiedName
from rapidbyte.pg.session import PgConnection

_NAMED_LIKE_STAGES: LiteralString = """
SELECT n.nspname, c.relname, substr(c.relname, 5)
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p') AND c.relname ~ '^_rb_[0-9a-f]{26}$' ORDER BY 1, 2
"""


def unknown_stages(connection: PgConnection) -> tuple[QualifiedName, ...]:
    """Tables of this database that are named as stages are, and of whose loads the ledger has no row, in order.

    A stage and its row are committed together: that of a run that is just being prepared is not seen.
    """
    found = connection.execute(_NAMED_LIKE_STAGES).fetchall()
    known: set[str] = set()
    if found and ledger.installed_version(connection) is not None:
        ids = [load_id for *_, load_id in found]
        rows = connection.execute(
            "SELECT load_id FROM _rapidbyte.loads WHERE load_id = ANY(%s) AND state = 'prepared'", (ids,)
        ).fetchall()
        known = {load_id for (load_id,) in rows}
    return tuple(QualifiedName(schema=schema, name=name) for schema, name, load_id in found if load_id not in known)


def drop_statement(table: QualifiedName) -> str:
    """What drops it, for a person to run."""
    return sql.SQL("DROP TABLE {};").format(sql.Identifier(table.schema, table.name)).as_string(None)
