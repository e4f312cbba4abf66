"""One row a key: what becomes of NULLs and repeated keys in the stage of an upsert. In the publishing transaction.

A stage that many workers have filled has no order of the source's, so nothing is decided by which row came last:
the greatest (cursor, tie-breaker) counts, and where there is none, or two rows share it, the load fails unless
`on_duplicate_key: any` (B15, B16).
"""

from __future__ import annotations

from rapidbyte.contract import MergeFacts, WriteContract
from rapidbyte.destinations.postgres import aside, rows
from rapidbyte.destinations.postgres.aside import Why
from rapidbyte.destinations.postgres.guards import count
from rapidbyte.destinations.postgres.rows import RowMove
from rapidbyte.errors import DataError
from rapidbyte.model import QualifiedName
from rapidbyte.pg.session import PgConnection
from rapidbyte.values import frozen

EXAMPLES = 3
"""Keys that an error shows with `--show-row-values`."""


@frozen
class Settled:
    """A stage with one row a key."""

    rows: int
    rejected: int = 0
    """Rows that were set aside."""
    warnings: tuple[str, ...] = ()


def settle_keys(
    connection: PgConnection, contract: WriteContract, stage: QualifiedName, row_count: int, *, target_exists: bool
) -> Settled:
    """Leaves one row of each key in the stage; nothing to do but in an upsert. Raises DataError.

    Where bad rows are set aside, those are whose key is NULL or another row's; also where the key is one that a target
    is created with.
    """
    if contract.merge is None:
        if not contract.rejects.sets_aside or target_exists or not contract.primary_key:
            return Settled(rows=row_count)
        rejected = _set_aside(connection, contract, stage, count_repeated=True)
        return Settled(rows=row_count - rejected, rejected=rejected)
    key = contract.primary_key
    relation = RowMove(stage=stage, target=contract.target, partitioned=False, columns=contract.columns).source
    rejected = 0
    nulls = count(connection, rows.count_null_keys(relation, key))
    if nulls and contract.rejects.sets_aside:
        rejected = _set_aside(connection, contract, stage, count_repeated=False)
    elif nulls:
        raise _refused(contract, "key_null", f"{nulls} rows have NULL in")
    dropped = 0
    repeated = count(connection, rows.count_duplicate_keys(relation, key))
    if repeated and contract.merge.order:
        dropped = connection.execute(rows.delete_outranked(relation, key, contract.merge.order)).rowcount
        repeated = count(connection, rows.count_duplicate_keys(relation, key))
    if repeated and contract.merge.on_duplicate_key == "any":
        dropped += connection.execute(rows.delete_repeated(relation, key)).rowcount
    elif repeated and contract.rejects.sets_aside:
        rejected += _set_aside(connection, contract, stage, count_repeated=True)
    elif repeated:
        examples = connection.execute(rows.repeated_keys(relation, key, EXAMPLES)).fetchall()
        tie = f", with equal {', '.join(contract.merge.order)}," if contract.merge.order else ""
        raise _refused(
            contract, "key_duplicate", f"{repeated} rows repeat{tie}", keys=", ".join(shown for (shown,) in examples)
        )
    return Settled(
        rows=row_count - dropped - rejected,
        rejected=rejected,
        warnings=_warnings(contract, contract.merge, dropped),
    )


def _set_aside(connection: PgConnection, contract: WriteContract, stage: QualifiedName, *, count_repeated: bool) -> int:
    """Takes the rows whose key is NULL, and with `count_repeated` all but one of each key, out of the stage."""
    relation = RowMove(stage=stage, target=contract.target, partitioned=False, columns=contract.columns).source
    named = ", ".join(contract.primary_key)
    found = aside.take(
        connection,
        contract,
        rows.null_keys(relation, contract.primary_key),
        stage,
        why=Why(code="key_null", sqlstate="23502", message=f"the key {named} is NULL"),
    )
    if count_repeated:
        found += aside.take(
            connection,
            contract,
            rows.repeated_rows(relation, contract.primary_key),
            stage,
            why=Why(code="key_duplicate", sqlstate="23505", message=f"another row has this key {named}"),
        )
    return found


def _warnings(contract: WriteContract, merge: MergeFacts, dropped: int) -> tuple[str, ...]:
    if not dropped:
        return ()
    winner = f"the greatest {', '.join(merge.order)} counted" if merge.order else "any of them was taken"
    key = ", ".join(contract.primary_key)
    return (f"{_counted(dropped)} of stream {contract.stream} repeated the key {key}: {winner}",)


def _counted(dropped: int) -> str:
    return f"{dropped} row" + ("" if dropped == 1 else "s")


def _refused(contract: WriteContract, code: str, what: str, *, keys: str | None = None) -> DataError:
    return DataError(
        f"stream {contract.stream}: {what} the key {', '.join(contract.primary_key)}",
        code=code,
        hint="give the stream another `primary_key`, a `cursor_field` that tells which row counts, or"
        " `on_duplicate_key: any`"
        if code == "key_duplicate"
        else "give the stream another `primary_key`, or leave such rows out with `where`",
        table=str(contract.target),
        stream=contract.stream,
        row_detail=None if keys is None else f"keys: {keys}",
        afterwards=f"{contract.target} is as it was.",
    )
