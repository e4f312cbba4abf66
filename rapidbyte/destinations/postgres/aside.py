"""Rows that only the leader can tell to be bad: out of the stage, into `rejects`, in the publishing transaction."""

from __future__ import annotations

from psycopg import sql

from rapidbyte.contract import WriteContract
from rapidbyte.destinations.postgres import ledger
from rapidbyte.model import QualifiedName
from rapidbyte.pg.session import PgConnection
from rapidbyte.values import frozen


@frozen
class Why:
    """What is wrong with such rows."""

    code: str
    sqlstate: str
    message: str


def take(
    connection: PgConnection, contract: WriteContract, places: sql.Composed, stage: QualifiedName, *, why: Why
) -> int:
    """Deletes the rows whose `place` (ctid) the query gives, and stores them where the policy says so; how many."""
    gone = sql.SQL("DELETE FROM {} AS s USING ({}) AS p WHERE s.ctid OPERATOR(pg_catalog.=) p.place").format(
        ledger.identifier(stage), places
    )
    if contract.rejects.action != "dlq":
        return connection.execute(gone).rowcount
    texts = sql.SQL(", ").join(
        sql.SQL("gone.{}::pg_catalog.text AS {}").format(sql.Identifier(column.name), sql.Identifier(column.name))
        for column in contract.columns
    )
    statement = sql.SQL(
        "WITH gone AS ({} RETURNING s.*) INSERT INTO {} (pipeline, stream, run_id, load_id, code, sqlstate, message,"
        " form, row_data) SELECT {}, {}, {}, {}, {}, {}, {}, 'target',"
        " (SELECT pg_catalog.row_to_json(r) FROM (SELECT {}) AS r) FROM gone"
    ).format(
        gone,
        ledger.identifier(ledger.REJECTS),
        *map(
            sql.Literal,
            (
                contract.pipeline,
                contract.stream,
                contract.run_id,
                contract.load_id,
                why.code,
                why.sqlstate,
                why.message,
            ),
        ),
        texts,
    )
    return connection.execute(statement).rowcount
