"""Publishing: the stage's rows become the target's, in the caller's transaction. Called by the leader alone.

    the load is ours and prepared
    the target is the one that was prepared for (D14)
    receipts, stage and the engine's own count agree (an unlogged stage is empty after a crash of the server)
    guards: min_rows, checksum
    apply: rename, swap, in_place, insert
    the ledger says so, the workers' grants are gone

Until the stage is complete with all that it will need, no lock is held on the target.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from functools import partial

import psycopg
from psycopg import sql

from rapidbyte.contract import LoadReceipts, WriteContract
from rapidbyte.destinations.postgres import ddl, ledger, locks, rows, workers
from rapidbyte.destinations.postgres.indexes import source_indexes
from rapidbyte.destinations.postgres.planning import publish_new
from rapidbyte.destinations.postgres.publish import attached, shortened, swap_obstacles
from rapidbyte.destinations.postgres.rows import RowMove
from rapidbyte.destinations.postgres.target import TargetFacts, look_up
from rapidbyte.errors import CheckError, DataError, DestinationError, RapidbyteError
from rapidbyte.failpoints import failpoint
from rapidbyte.model import PublishMethod, QualifiedName
from rapidbyte.pg.checksum import checksum_query
from rapidbyte.pg.failure import translate
from rapidbyte.pg.session import PgConnection
from rapidbyte.ports import FinalizeReport

FALLBACK_SECONDS = 60.0
"""What a swap that did not get its lock has for the weaker lock of in_place."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """How the rows were published in the end."""

    method: PublishMethod
    warnings: tuple[str, ...] = ()


class _NotNowError(Exception):
    """The stage cannot take the target's place; the reason is the message."""


def publish(
    connection: PgConnection,
    contract: WriteContract,
    receipts: LoadReceipts,
    *,
    publish_timeout_seconds: float,
    expected_checksum: str | None,
    checksum: bool,
) -> FinalizeReport:
    """Publishes a load in the transaction that is open, whose search_path is pg_catalog; the caller commits.

    Raises DestinationError, DataError, CheckError, psycopg.Error: then the caller rolls back, and the target is as
    it was.
    """
    deadline = time.monotonic() + publish_timeout_seconds
    stage = _require_prepared(connection, contract)
    failpoint("pub.fence_ok")
    _make_durable(connection)
    locks.limit_waits(connection, publish_timeout_seconds)
    facts = _look_without_lock(connection, contract.target)
    _require_unchanged(contract, facts)
    row_count = _require_complete(connection, contract, receipts, stage)
    _require_min_rows(contract, row_count)
    digest = _compare_checksum(connection, contract, stage, expected_checksum) if checksum else None
    behind = _sequences_behind(connection, contract, facts, stage)
    applied = _apply(connection, contract, facts, stage, row_count, deadline)
    failpoint("pub.inserted")
    connection.execute("SET CONSTRAINTS ALL IMMEDIATE")
    connection.execute("SET LOCAL search_path = pg_catalog")
    ledger.end_load(connection, contract.load_id, state="published", publish=applied.method, row_count=row_count)
    workers.release(connection, contract.load_id)
    failpoint("pub.state")
    return FinalizeReport(
        load_id=contract.load_id,
        publish=applied.method,
        rows=row_count,
        warnings=(*applied.warnings, *behind),
        checksum=digest,
    )


def _make_durable(connection: PgConnection) -> None:
    """A role's `synchronous_commit = off` would let a published load vanish in a crash of the server."""
    connection.execute(
        "SELECT set_config('synchronous_commit', 'on', true) WHERE current_setting('synchronous_commit') = 'off'"
    )


def _look_without_lock(connection: PgConnection, target: QualifiedName) -> TargetFacts:
    """The target, and no lock on it is kept: two publishes that held one would shut each other out."""
    with connection.transaction(force_rollback=True):
        return look_up(connection, target)


def _require_prepared(connection: PgConnection, contract: WriteContract) -> QualifiedName:
    """The stage of a load that is still ours to publish; its row is locked until the transaction ends."""
    record = ledger.load_record(connection, contract.load_id, lock_row=True)
    if record is None or record.state != "prepared" or contract.stage is None:
        state = "unknown to the ledger" if record is None else record.state
        raise DestinationError(
            f"load {contract.load_id} of stream {contract.stream} is {state}: it cannot be published",
            code="load_not_prepared",
            hint="another run has taken it over; run again",
            stream=contract.stream,
        )
    return contract.stage


def _require_unchanged(contract: WriteContract, facts: TargetFacts) -> None:
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


def _require_complete(
    connection: PgConnection, contract: WriteContract, receipts: LoadReceipts, stage: QualifiedName
) -> int:
    """Rows of the load, on which engine, receipts and stage agree."""
    partitions, receipted = ledger.receipts_total(connection, contract.load_id)
    staged = _count(connection, rows.count(ledger.identifier(stage)))
    if (partitions, receipted, staged) == (receipts.planned, receipts.rows, receipts.rows):
        return staged
    raise DestinationError(
        f"load {contract.load_id} is incomplete: {receipts.rows} rows in {receipts.planned} partitions were loaded,"
        f" {receipted} in {partitions} are receipted, {staged} are in the stage",
        code="stage_incomplete",
        hint="a crash of the server empties an unlogged stage: run again",
        table=str(contract.target),
        stream=contract.stream,
        afterwards=f"{contract.target} is as it was.",
    )


def _require_min_rows(contract: WriteContract, row_count: int) -> None:
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


def _compare_checksum(
    connection: PgConnection, contract: WriteContract, stage: QualifiedName, expected: str | None
) -> str:
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


def _count(connection: PgConnection, query: sql.Composed) -> int:
    row = connection.execute(query).fetchone()
    return int(row[0]) if row else 0


def _apply(
    connection: PgConnection,
    contract: WriteContract,
    facts: TargetFacts,
    stage: QualifiedName,
    row_count: int,
    deadline: float,
) -> Applied:
    if not facts.exists:
        _publish_new(connection, contract, stage, row_count)
        return Applied(method=contract.publish)
    move = _move(contract, facts, stage)
    if contract.publish not in ("rename", "swap"):
        return _write_rows(connection, contract, facts, move, row_count, deadline, contract.publish)
    try:
        with connection.transaction():
            _take_place(connection, contract, facts, stage, deadline)
        return Applied(method=contract.publish)
    except _NotNowError as reason:
        method: PublishMethod = "insert" if contract.write_mode == "append" else "in_place"
        # The time for one lock may have run out; the weaker one has a time of its own.
        deadline = max(deadline, time.monotonic() + FALLBACK_SECONDS)
        applied = _write_rows(connection, contract, facts, move, row_count, deadline, method)
        note = f"published by {method} instead of {contract.publish}: {reason}"
        return replace(applied, warnings=(note, *applied.warnings))


def _publish_new(connection: PgConnection, contract: WriteContract, stage: QualifiedName, row_count: int) -> None:
    """The target did not exist: the stage becomes it, or it is created and filled at once."""
    workers.release_stage(connection, contract.load_id)
    if contract.publish == "rename":
        statements = publish_new(contract.target, stage, contract.primary_key)
        _run(connection, statements)
    else:
        _run(connection, (ddl.create_table(contract.target, contract.columns),))
        move = RowMove(stage=stage, target=contract.target, partitioned=False, columns=contract.columns)
        _insert(connection, contract, move, row_count)
        _run(connection, (ddl.drop_table(stage),))
        if contract.primary_key:
            _run(connection, (ddl.add_primary_key(contract.target, contract.primary_key),))
    create_source_indexes(connection, contract.target, contract.index_definitions)


def create_source_indexes(connection: PgConnection, table: QualifiedName, definitions: tuple[str, ...]) -> None:
    """Builds the source's indexes, by their names where these are free."""
    for index in source_indexes(definitions):
        taken = connection.execute(
            "SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
            " WHERE n.nspname = %s AND c.relname = %s",
            (table.schema, index.name),
        ).fetchone()
        statement = ddl.create_index(
            table, None if taken is not None else index.name, unique=index.unique, tail=index.tail
        )
        # binary=True takes the extended protocol, in which a text is one statement: it came from another server.
        connection.execute(statement, binary=True)


def _run(connection: PgConnection, statements: ddl.Statements) -> None:
    for statement in statements:
        connection.execute(statement)


def _take_place(
    connection: PgConnection, contract: WriteContract, facts: TargetFacts, stage: QualifiedName, deadline: float
) -> None:
    """The stage gets all that hangs on the target, then its name. Raises _NotNowError."""
    obstacles = swap_obstacles(facts, frozenset(column.name for column in contract.columns))
    if obstacles:
        raise _NotNowError(shortened(obstacles))
    _attach(connection, facts, stage)
    _run(connection, ddl.carry_grants(stage, facts, look_up(connection, stage).grants))
    ours = partial(locks.held_by_reader, connection, facts, contract.pipeline)
    if not locks.lock_table(connection, facts, "ACCESS EXCLUSIVE", deadline, give_up=ours):
        why = "a stream of this run reads it" if ours() else "its lock was not to be had within publish_timeout"
        raise _NotNowError(why)
    now = look_up(connection, contract.target)
    if replace(now, empty=facts.empty) != facts:
        raise _NotNowError("what hangs on the target changed meanwhile")
    if contract.publish == "rename" and (not now.empty or attached(now)):
        raise _NotNowError("the target is no longer empty")
    _run(connection, ddl.exchange(stage, facts))


def _attach(connection: PgConnection, facts: TargetFacts, stage: QualifiedName) -> None:
    """Gives the stage what hangs on the target. An index that cannot be built is told by the name it has there."""
    try:
        _run(connection, ddl.attach(stage, facts))
    except psycopg.Error as error:
        temporary = {ddl.temporary_index_name(stage, number): index for number, index in enumerate(facts.indexes)}
        index = temporary.get(error.diag.constraint_name or "")
        if index is None:
            raise
        found = translate(error, side="destination", doing=f"building the indexes of {facts.name}")
        found.message = found.message.replace(error.diag.constraint_name or "", index.constraint_name or index.name)
        found.context = replace(found.context, table=str(facts.name))
        raise found.at(afterwards=f"{facts.name} is as it was.") from error


def _move(contract: WriteContract, facts: TargetFacts, stage: QualifiedName) -> RowMove:
    carried = {column.name for column in contract.columns}
    return RowMove(
        stage=stage,
        target=contract.target,
        partitioned=facts.kind == "p",
        columns=contract.columns,
        key=contract.replace.key,
        uncarried=tuple(
            column.column for column in facts.columns if column.name not in carried and not column.column.generated
        ),
        identity=any(column.column.identity for column in facts.columns),
        fixed=tuple(column.name for column in facts.columns if column.identity_always and column.name in carried),
    )


def _write_rows(
    connection: PgConnection,
    contract: WriteContract,
    facts: TargetFacts,
    move: RowMove,
    row_count: int,
    deadline: float,
    method: PublishMethod,
) -> Applied:
    """Writes the stage's rows into the target that is there, under a lock, and drops the stage."""
    mode = "ROW EXCLUSIVE" if method == "insert" else "SHARE ROW EXCLUSIVE"
    if not locks.lock_table(connection, facts, mode, deadline):
        raise locks.refused(facts)
    facts = look_up(connection, contract.target)
    _require_unchanged(contract, facts)
    warnings = _firing(facts, method)
    # Triggers, checks and defaults of the target may need the role's own search_path.
    connection.execute("SET LOCAL search_path TO DEFAULT")
    if method == "insert":
        _insert(connection, contract, move, row_count)
    else:
        warnings += replace_rows(connection, contract, move, facts, row_count)
    connection.execute(ddl.drop_table(move.stage))
    return Applied(method=method, warnings=warnings)


def _firing(facts: TargetFacts, method: PublishMethod) -> tuple[str, ...]:
    found: list[str] = []
    if facts.triggers:
        found.append(f"{method} fires the triggers of {facts.name}: {', '.join(facts.triggers)}")
    if facts.rules:
        found.append(f"{method} is subject to the rules of {facts.name}: {', '.join(facts.rules)}")
    return tuple(found)


def _insert(connection: PgConnection, contract: WriteContract, move: RowMove, row_count: int) -> None:
    written = connection.execute(rows.insert_all(move)).rowcount
    if written != row_count:
        raise _swallowed(contract, "inserted", written, row_count)


def _swallowed(contract: WriteContract, what: str, written: int, expected: int) -> DataError:
    """A trigger, rule or policy keeps rows away without an error (B19)."""
    return DataError(
        f"{contract.target}: {written} of {expected} rows were {what}",
        code="rows_dropped",
        hint="does a trigger or rule on the table drop rows?",
        table=str(contract.target),
        stream=contract.stream,
        afterwards=f"{contract.target} is as it was.",
    )


def replace_rows(
    connection: PgConnection, contract: WriteContract, move: RowMove, facts: TargetFacts, row_count: int
) -> tuple[str, ...]:
    """Makes the target's rows those of the stage. Returns warnings.

    With a key only what differs is written, so that foreign keys which point here act on rows that are really gone.
    """
    warnings: list[str] = []
    keyed = bool(move.key)
    if keyed:
        _require_usable_key(connection, contract, move)
        if not facts.has_unique_key(move.key) and _holds_bad_keys(connection, move):
            keyed = False
            warnings.append(
                f"the key {', '.join(move.key)} is not unique in {facts.name}: all its rows were written again"
            )
    if keyed:
        # Nobody has looked at the stage yet; without figures the planner may join it row by row.
        connection.execute(ddl.analyze(move.stage))
        _write_differences(connection, contract, move, facts)
    else:
        connection.execute(rows.delete_all(move))
        failpoint("pub.deleted")
        connection.execute(rows.insert_all(move))
    held = _count(connection, rows.count(move.relation))
    if held != row_count:
        raise _swallowed(contract, "left in the table after the replace", held, row_count)
    return tuple(warnings)


def _require_usable_key(connection: PgConnection, contract: WriteContract, move: RowMove) -> None:
    nulls = _count(connection, rows.count_null_keys(move.source, move.key))
    twice = _count(connection, rows.count_duplicate_keys(move.source, move.key)) if not nulls else 0
    if nulls or twice:
        what = f"{nulls} rows have NULL in" if nulls else f"{twice} rows repeat"
        raise DataError(
            f"stream {contract.stream}: {what} the key {', '.join(move.key)}",
            code="key_null" if nulls else "key_duplicate",
            hint="give the stream another `primary_key`",
            table=str(contract.target),
            stream=contract.stream,
            afterwards=f"{contract.target} is as it was.",
        )


def _holds_bad_keys(connection: PgConnection, move: RowMove) -> bool:
    return bool(
        _count(connection, rows.count_null_keys(move.relation, move.key))
        or _count(connection, rows.count_duplicate_keys(move.relation, move.key))
    )


def _write_differences(connection: PgConnection, contract: WriteContract, move: RowMove, facts: TargetFacts) -> None:
    connection.execute(rows.delete_gone(move))
    failpoint("pub.deleted")
    watched = bool(facts.triggers or facts.rules)
    expected = _count(connection, rows.count_changed(move)) if watched else None
    written = _update(connection, move, facts)
    if expected is not None and written != expected:
        raise _swallowed(contract, "updated", written, expected)
    connection.execute(rows.insert_new(move))


def _update(connection: PgConnection, move: RowMove, facts: TargetFacts) -> int:
    """Updates the rows that differ; deletes and inserts them where an UPDATE cannot do it."""
    if set(move.fixed) - set(move.key):
        return connection.execute(rows.rewrite_changed(move)).rowcount
    if not move.updatable:
        return 0
    try:
        with connection.transaction():
            return connection.execute(rows.update_changed(move)).rowcount
    except (psycopg.errors.UniqueViolation, psycopg.errors.ExclusionViolation) as error:
        # A unique value has moved between rows. Deleting would set off what other tables' keys say about it.
        if facts.inbound_keys:
            raise _moved(facts, error) from error
        return connection.execute(rows.rewrite_changed(move)).rowcount


def _moved(facts: TargetFacts, error: psycopg.Error) -> RapidbyteError:
    found = translate(error, side="destination", doing=f"updating {facts.name}")
    found.hint = (
        f"a value of {error.diag.constraint_name} has moved from one row to another, and {facts.inbound_keys[0]} points"
        " here, so the rows cannot be deleted and inserted: drop that key for the load, or make the constraint"
        " deferrable and deferred"
    )
    return found


def _sequences_behind(
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
