"""One row a key: what becomes of NULLs and repeated keys in the stage of an upsert. In the publishing transaction.

A stage that many workers have filled has no order of the source's, so nothing is decided by which row came last:
the greatest (cursor, tie-breaker) counts, and where there is none, or two rows share it, the load fails unless
`on_duplicate_key: any` (B15, B16).
"""

from __future__ import annotations

from dataclasses import dataclass

from rapidbyte.contract import MergeFacts, WriteContract
from rapidbyte.destinations.postgres import rows
from rapidbyte.destinations.postgres.guards import count
from rapidbyte.destinations.postgres.rows import RowMove
from rapidbyte.errors import DataError
from rapidbyte.model import QualifiedName
from rapidbyte.pg.session import PgConnection

EXAMPLES = 3
"""Keys that an error shows with `--show-row-values`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """A stage with one row a key."""

    rows: int
    warnings: tuple[str, ...] = ()


def settle_keys(connection: PgConnection, contract: WriteContract, stage: QualifiedName, row_count: int) -> Settled:
    """Leaves one row of each key in the stage; nothing to do but in an upsert. Raises DataError."""
    if contract.merge is None:
        return Settled(rows=row_count)
    key = contract.primary_key
    relation = RowMove(stage=stage, target=contract.target, partitioned=False, columns=contract.columns).source
    nulls = count(connection, rows.count_null_keys(relation, key))
    if nulls:
        raise _refused(contract, "key_null", f"{nulls} rows have NULL in")
    dropped = 0
    repeated = count(connection, rows.count_duplicate_keys(relation, key))
    if repeated and contract.merge.order:
        dropped = connection.execute(rows.delete_outranked(relation, key, contract.merge.order)).rowcount
        repeated = count(connection, rows.count_duplicate_keys(relation, key))
    if repeated and contract.merge.on_duplicate_key == "any":
        dropped += connection.execute(rows.delete_repeated(relation, key)).rowcount
    elif repeated:
        examples = connection.execute(rows.repeated_keys(relation, key, EXAMPLES)).fetchall()
        tie = f", with equal {', '.join(contract.merge.order)}," if contract.merge.order else ""
        raise _refused(
            contract, "key_duplicate", f"{repeated} rows repeat{tie}", keys=", ".join(shown for (shown,) in examples)
        )
    return Settled(rows=row_count - dropped, warnings=_warnings(contract, contract.merge, dropped))


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
