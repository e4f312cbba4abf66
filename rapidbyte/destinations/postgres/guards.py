"""What must hold before a load is published: it is ours, complete, as it was planned. Reads only.

Each check raises; then the caller rolls back, and the target is as it was.
"""

from __future__ import annotations

from psycopg import sql

from rapidbyte.contract import LoadReceipts, WriteContract
from rapidbyte.destinations.postgres import ledger, loads, rows
from rapidbyte.destinations.postgres.target import TargetFacts
from rapidbyte.errors import CheckError, DataError, DestinationError
from rapidbyte.model import QualifiedName
from rapidbyte.pg.checksum import checksum_query
from rapidbyte.pg.session import PgConnection
from rapidbyte.rejects import first_of, too_many


def require_prepared(connection: PgConnection, contract: WriteContract) -> None:
    """The load is still ours to publish; its row is locked until the transaction ends."""
    record = loads.load_record(connection, contract.load_id, lock_row=True)
    if record is None or record.state != "prepared":
        state = "unknown to the ledger" if record is None else record.state
        raise DestinationError(
            f"load {contract.load_id} of stream {contract.stream} is {state}: it cannot be published",
            code="load_not_prepared",
            hint="another run has taken it over; run again",
            stream=contract.stream,
        )


def require_unchanged(contract: WriteContract, facts: TargetFacts) -> None:
    """The target is still the relation that was prepared for, with the columns that are loaded (D14)."""
    changed: list[str] = []
    if facts.oid != contract.replace.target_oid:
        was, now = contract.replace.target_exists, facts.exists
        changed.append("it is another table now" if was and now else "it is gone" if was else "it exists now")
    elif facts.exists:
        for column in contract.columns:
            found = facts.column(column.name)
            if found is None:
                changed.append(f"column {column.name} is gone")
            elif (found.column.type, found.column.generated) != (column.type, False):
                changed.append(f"column {column.name} is {found.column.type.name} now")
    if changed:
        raise DestinationError(
            f"{contract.target} was changed while the load was under way: {'; '.join(changed)}",
            code="target_changed",
            hint="run again",
            table=str(contract.target),
            stream=contract.stream,
        )


def require_complete(
    connection: PgConnection, contract: WriteContract, receipts: LoadReceipts, stage: QualifiedName
) -> int:
    """Rows of the load, on which engine, receipts and stage agree."""
    partitions, receipted = loads.receipts_total(connection, contract.load_id)
    staged = count(connection, rows.count(ledger.identifier(stage)))
    if (partitions, receipted, staged) == (receipts.planned, receipts.rows, receipts.rows):
        return staged
    # Partitions that were loaded after a crash of the server are there, those before it are not.
    emptied = staged < receipted and (partitions, receipted) == (receipts.planned, receipts.rows)
    raise DestinationError(
        f"load {contract.load_id} is incomplete: {receipts.rows} rows in {receipts.planned} partitions were loaded,"
        f" {receipted} in {partitions} are receipted, {staged} are in the stage",
        code="stage_emptied" if emptied else "stage_incomplete",
        hint="a crash of the server empties an unlogged stage: run again",
        table=str(contract.target),
        stream=contract.stream,
        afterwards=f"{contract.target} is as it was.",
    )


def require_receipted(connection: PgConnection, contract: WriteContract, receipts: LoadReceipts) -> int:
    """Rows of a direct load, on which engine and receipts agree: what landed did so together with its receipt."""
    partitions, receipted = loads.receipts_total(connection, contract.load_id)
    if (partitions, receipted) == (receipts.planned, receipts.rows):
        return receipted
    raise DestinationError(
        f"load {contract.load_id} is incomplete: {receipts.rows} rows in {receipts.planned} partitions were loaded,"
        f" {receipted} in {partitions} are receipted",
        code="receipts_missing",
        hint="was the ledger changed by hand?",
        table=str(contract.target),
        stream=contract.stream,
        safe_to_retry=False,
    )


def require_min_rows(contract: WriteContract, row_count: int) -> None:
    """Refuses a load with fewer rows than the stream's `min_rows` (E9)."""
    minimum = contract.replace.min_rows
    if minimum is not None and row_count < minimum:
        raise DataError(
            f"stream {contract.stream} has {row_count} rows, fewer than min_rows: {minimum}",
            code="too_few_rows",
            hint="look at the source, or lower min_rows",
            table=str(contract.target),
            stream=contract.stream,
            afterwards=f"{contract.target} is as it was.",
        )


def require_any_row(
    contract: WriteContract, receipts: LoadReceipts, row_count: int, at_publish: int, *, had_rows: bool
) -> None:
    """Refuses a replace that would empty its target because all that is left of the stream is bad (E9).

    `had_rows` is of before this publish, and before what others in its transaction deleted. With a `min_rows`, be it
    0, the pipeline has said how few rows are enough.
    """
    rejected = receipts.rejected + at_publish
    empties = contract.write_mode == "replace" and had_rows
    if not empties or row_count or not rejected or contract.replace.min_rows is not None:
        return
    rows = "1 bad row is" if rejected == 1 else f"{rejected} bad rows are"
    first = first_of(receipt.first_reject for receipt in receipts.receipts)
    raise DataError(
        f"{rows} set aside, and stream {contract.stream} has no others: to replace {contract.target} would empty it"
        + ("" if first is None else f"; the first: {first}"),
        code="all_rows_rejected",
        hint="mend the rows; where an empty table is what you want, set `min_rows: 0` for the stream",
        table=str(contract.target),
        stream=contract.stream,
        afterwards=f"{contract.target} is as it was.",
    )


def require_few_rejects(contract: WriteContract, receipts: LoadReceipts, at_publish: int) -> None:
    """Refuses a load of which more rows were set aside than `max_rejects`, those of the publish among them."""
    error = too_many(
        contract.rejects,
        stream=contract.stream,
        rejected=receipts.rejected + at_publish,
        read=receipts.rows + receipts.rejected,
        first="a row whose key another row has, or is NULL" if at_publish else None,
    )
    if at_publish and error is not None:
        raise error.at(table=str(contract.target), afterwards=f"{contract.target} is as it was.")


def compare_checksum(
    connection: PgConnection, contract: WriteContract, stage: QualifiedName, expected: str | None
) -> str:
    """The stage's checksum. Raises CheckError where it is not the source's."""
    query = checksum_query(ledger.identifier(stage), [column.name for column in contract.columns])
    row = connection.execute(query).fetchone()
    found = str(row[0]) if row else ""
    if expected is not None and found != expected:
        raise CheckError(
            f"the rows of stream {contract.stream} are not those of the source: checksum {found}, not {expected}",
            code="checksum_mismatch",
            hint="nothing was published; please report this",
            table=str(contract.target),
            stream=contract.stream,
            afterwards=f"{contract.target} is as it was.",
        )
    return found


def count(connection: PgConnection, query: sql.Composed) -> int:
    """The one number that a query gives."""
    row = connection.execute(query).fetchone()
    return int(row[0]) if row else 0


def sequences_behind(
    connection: PgConnection, contract: WriteContract, facts: TargetFacts, stage: QualifiedName
) -> tuple[str, ...]:
    """Warnings where loaded values have passed a column's sequence, which the next default would repeat (B18)."""
    found: list[str] = []
    carried = {column.name for column in contract.columns}
    for column in facts.columns:
        if column.sequence is None or column.name not in carried:
            continue
        last = _last_value(connection, column.sequence)
        greatest = connection.execute(rows.greatest(ledger.identifier(stage), column.name)).fetchone()
        if last is not None and greatest and greatest[0] is not None and greatest[0] > last:
            found.append(
                f"column {column.name}: values up to {greatest[0]} were loaded, and sequence {column.sequence} stands"
                f" at {last}: an INSERT that takes its default may fail; setval() moves it"
            )
    return tuple(found)


def _last_value(connection: PgConnection, sequence: QualifiedName) -> int | None:
    """Where a sequence stands: 0 before its first value; None where we may not look."""
    row = connection.execute(
        "SELECT CASE WHEN has_sequence_privilege(c.oid, 'SELECT, USAGE')"
        " THEN coalesce(pg_sequence_last_value(c.oid), 0) END"
        " FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = %s AND c.relname = %s",
        (sequence.schema, sequence.name),
    ).fetchone()
    return row[0] if row else None
