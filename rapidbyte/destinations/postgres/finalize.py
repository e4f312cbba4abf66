"""Publishing: the stage's rows become the target's, in the caller's transaction. Called by the leader alone.

    the load is ours and prepared
    the target is the one that was prepared for (D14)
    receipts, stage and the engine's own count agree (an unlogged stage is empty after a crash of the server)
    guards: min_rows, checksum
    an upsert has one row of each key
    apply: rename, swap, in_place, insert, merge
    the ledger says so, the workers' grants are gone

Until the stage is complete with all that it will need, no lock is held on the target.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import psycopg

from rapidbyte.contract import LoadReceipts, WriteContract
from rapidbyte.destinations.postgres import conflicts, ddl, loads, locks, merge, workers
from rapidbyte.destinations.postgres.builds import is_free, settle_built
from rapidbyte.destinations.postgres.guards import (
    compare_checksum,
    require_any_row,
    require_complete,
    require_few_rejects,
    require_min_rows,
    require_prepared,
    require_receipted,
    require_unchanged,
    sequences_behind,
)
from rapidbyte.destinations.postgres.indexes import source_indexes
from rapidbyte.destinations.postgres.publish import attached, shortened, swap_obstacles
from rapidbyte.destinations.postgres.rewrite import Applied, Together, insert_rows, row_move, write_rows
from rapidbyte.destinations.postgres.rows import RowMove
from rapidbyte.destinations.postgres.stage_indexes import StageIndex, copied_indexes, key_index, wanted
from rapidbyte.destinations.postgres.statistics import StageStatistics
from rapidbyte.destinations.postgres.target import TargetFacts
from rapidbyte.destinations.postgres.target_catalog import look_up
from rapidbyte.failpoints import failpoint
from rapidbyte.model import PublishMethod, QualifiedName
from rapidbyte.pg.failure import translate
from rapidbyte.pg.session import PgConnection
from rapidbyte.ports import FinalizeReport

FALLBACK_SHARE, FALLBACK_SECONDS = 0.25, 60.0
"""How much of publish_timeout is kept for the weaker lock of in_place, in case a swap does not get its own: a share,
and no more than so many seconds. Readers do not keep in_place out; a writer who stays keeps out both."""


class _NotNowError(Exception):
    """The stage cannot take the target's place; the reason is the message."""

    waited_s = 0.0
    """How long the lock was asked for in vain."""


def publish(
    connection: PgConnection,
    contract: WriteContract,
    receipts: LoadReceipts,
    *,
    publish_timeout_seconds: float,
    expected_checksum: str | None,
    checksum: bool,
    statistics: StageStatistics,
    together: Together | None = None,
) -> FinalizeReport:
    """Publishes a load in the transaction that is open, whose search_path is pg_catalog; the caller commits.

    With `together` there are other loads in the transaction: the caller carries out what is left for later, the last
    first, when all are published, and only then has deferred constraints checked.
    Raises DestinationError, DataError, CheckError, psycopg.Error: then the caller rolls back, and the target is as
    it was.
    """
    deadline = time.monotonic() + publish_timeout_seconds
    require_prepared(connection, contract)
    failpoint("pub.fence_ok")
    _make_durable(connection)
    if contract.stage is None:
        return _settle_direct(connection, contract, receipts, checksum=checksum)
    stage = contract.stage
    locks.limit_waits(connection, publish_timeout_seconds)
    facts = _look_without_lock(connection, contract.target)
    # From here on only waiting counts: rows are counted and indexes are built for as long as that takes.
    patience_s = max(0.0, deadline - time.monotonic())
    locks.limit_waits(connection, patience_s)
    require_unchanged(contract, facts)
    row_count = require_complete(connection, contract, receipts, stage)
    require_min_rows(contract, row_count)
    digest = compare_checksum(connection, contract, stage, expected_checksum) if checksum else None
    behind = sequences_behind(connection, contract, facts, stage)
    statistics.settle(stage)
    settled = merge.settle_keys(connection, contract, stage, row_count, target_exists=facts.exists)
    refused = conflicts.set_aside(connection, contract, facts, stage, together=together)
    rejected = settled.rejected + refused
    row_count = settled.rows - refused
    require_few_rejects(contract, receipts, rejected)
    had_rows = facts.exists and (not facts.empty or (together is not None and contract.target in together.had_rows))
    require_any_row(contract, receipts, row_count, rejected, had_rows=had_rows)
    applied = _apply(connection, contract, facts, stage, row_count, patience_s, together)
    failpoint("pub.inserted")
    if together is None:
        connection.execute("SET CONSTRAINTS ALL IMMEDIATE")
    connection.execute("SET LOCAL search_path = pg_catalog")
    loads.end_load(connection, contract.load_id, state="published", publish=applied.method, row_count=row_count)
    workers.release(connection, contract.load_id)
    failpoint("pub.state")
    return FinalizeReport(
        load_id=contract.load_id,
        publish=applied.method,
        rows=row_count,
        warnings=(*settled.warnings, *applied.warnings, *behind),
        checksum=digest,
        rejected=rejected,
    )


def _settle_direct(
    connection: PgConnection, contract: WriteContract, receipts: LoadReceipts, *, checksum: bool
) -> FinalizeReport:
    """The rows are in the target: what is left is to see that they are all there, and to say so."""
    require_unchanged(contract, _look_without_lock(connection, contract.target))
    row_count = require_receipted(connection, contract, receipts)
    loads.end_load(connection, contract.load_id, state="published", publish=contract.publish, row_count=row_count)
    workers.release(connection, contract.load_id)
    failpoint("pub.state")
    note = f"no checksum: {contract.target} was loaded directly, without a stage that could be compared before it shows"
    return FinalizeReport(
        load_id=contract.load_id, publish=contract.publish, rows=row_count, warnings=(note,) if checksum else ()
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


def _apply(
    connection: PgConnection,
    contract: WriteContract,
    facts: TargetFacts,
    stage: QualifiedName,
    row_count: int,
    patience_s: float,
    together: Together | None,
) -> Applied:
    if not facts.exists:
        _publish_new(connection, contract, facts, stage, row_count)
        return Applied(method=contract.publish)
    move = row_move(contract, facts, stage)
    if contract.publish not in ("rename", "swap"):
        deadline = time.monotonic() + patience_s
        return write_rows(connection, contract, facts, move, row_count, deadline, contract.publish, together)
    try:
        with connection.transaction():
            _take_place(connection, contract, facts, stage, patience_s - _kept_seconds(patience_s))
        return Applied(method=contract.publish)
    except _NotNowError as refusal:
        method: PublishMethod = "insert" if contract.write_mode == "append" else "in_place"
        applied = write_rows(
            connection, contract, facts, move, row_count, time.monotonic() + patience_s - refusal.waited_s, method
        )
        note = f"published by {method} instead of {contract.publish}: {refusal}"
        return replace(applied, warnings=(note, *applied.warnings))


def _kept_seconds(patience_s: float) -> float:
    """What is kept of the time for waiting, for another lock. Pure."""
    return min(FALLBACK_SECONDS, FALLBACK_SHARE * patience_s)


def _publish_new(
    connection: PgConnection, contract: WriteContract, facts: TargetFacts, stage: QualifiedName, row_count: int
) -> None:
    """The target did not exist: the stage becomes it, or it is created and filled at once."""
    workers.release_stage(connection, contract.load_id)
    if contract.publish == "rename":
        built = settle_built(connection, stage, wanted(contract, facts))
        _run(connection, (ddl.rename_table(stage, contract.target.name),))
        _add_primary_key(connection, contract, key_index(contract, stage), built)
        _copy_indexes(connection, contract, copied_indexes(contract, stage), built)
        return
    _run(connection, (ddl.create_table(contract.target, contract.columns),))
    move = RowMove(stage=stage, target=contract.target, partitioned=False, columns=contract.columns)
    insert_rows(connection, contract, move, row_count)
    _run(connection, (ddl.drop_table(stage),))
    if contract.primary_key:
        _run(connection, (ddl.add_primary_key(contract.target, contract.primary_key),))
    create_source_indexes(connection, contract.target, contract.index_definitions)


def _add_primary_key(
    connection: PgConnection, contract: WriteContract, indexes: Sequence[StageIndex], built: frozenset[str]
) -> None:
    """Makes a built index the key's; builds it where there is none, and where the server has to choose the name."""
    target = contract.target
    for index in indexes:
        name = index.becomes or ""
        if index.name in built and is_free(connection, target.schema, name):
            _run(connection, (ddl.comment_on_index(target, index.name, None),))
            _run(connection, (ddl.primary_key_using(target, index.name, name),))
            continue
        if index.name in built:
            _run(connection, (ddl.drop_index(target, index.name),))
        _run(connection, (ddl.add_primary_key(target, contract.primary_key),))


def _copy_indexes(
    connection: PgConnection, contract: WriteContract, indexes: Sequence[StageIndex], built: frozenset[str]
) -> None:
    """Gives the target the source's indexes, those that are built and the others."""
    target = contract.target
    for index, definition in zip(indexes, contract.index_definitions, strict=True):
        name = index.becomes or ""
        if index.name in built and _is_free_for_index(connection, target.schema, name):
            _run(connection, (ddl.comment_on_index(target, index.name, None),))
            _run(connection, (ddl.rename_index(target.schema, index.name, name),))
            continue
        if index.name in built:
            _run(connection, (ddl.drop_index(target, index.name),))
        create_source_indexes(connection, target, (definition,))


def _is_free_for_index(connection: PgConnection, schema: str, name: str) -> bool:
    """No relation has this name; constraints' names are no obstacle."""
    found = connection.execute(
        "SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = %s AND c.relname = %s",
        (schema, name),
    )
    return found.fetchone() is None


def create_source_indexes(connection: PgConnection, table: QualifiedName, definitions: tuple[str, ...]) -> None:
    """Builds the source's indexes, by their names where these are free."""
    for index in source_indexes(definitions):
        name = index.name if _is_free_for_index(connection, table.schema, index.name) else None
        statement = ddl.create_index(table, name, unique=index.unique, tail=index.tail)
        # binary=True takes the extended protocol, in which a text is one statement: it came from another server.
        connection.execute(statement, binary=True)


def _run(connection: PgConnection, statements: ddl.Statements) -> None:
    for statement in statements:
        connection.execute(statement)


def _take_place(
    connection: PgConnection, contract: WriteContract, facts: TargetFacts, stage: QualifiedName, patience_s: float
) -> None:
    """The stage gets all that hangs on the target, then its name. Raises _NotNowError."""
    obstacles = swap_obstacles(facts, frozenset(column.name for column in contract.columns))
    if obstacles:
        raise _NotNowError(shortened(obstacles))
    _attach(connection, facts, stage, settle_built(connection, stage, wanted(contract, facts)))
    _run(connection, ddl.carry_grants(stage, facts, look_up(connection, stage).grants))
    ours = partial(locks.held_by_reader, connection, facts, contract.pipeline)
    asked_s = time.monotonic()
    if not locks.lock_table(connection, facts, "ACCESS EXCLUSIVE", asked_s + patience_s, give_up=ours):
        why = "a stream of this run reads it" if ours() else "its lock was not to be had in its part of publish_timeout"
        refusal = _NotNowError(why)
        refusal.waited_s = time.monotonic() - asked_s
        raise refusal
    now = look_up(connection, contract.target)
    if replace(now, empty=facts.empty) != facts:
        raise _NotNowError("what hangs on the target changed meanwhile")
    if contract.publish == "rename" and (not now.empty or attached(now)):
        raise _NotNowError("the target is no longer empty")
    _run(connection, ddl.exchange(stage, facts))


def _attach(connection: PgConnection, facts: TargetFacts, stage: QualifiedName, built: frozenset[str]) -> None:
    """Gives the stage what hangs on the target. An index that cannot be built is told by the name it has there."""
    try:
        _run(connection, ddl.attach(stage, facts, built))
    except psycopg.Error as error:
        temporary = {ddl.temporary_index_name(stage, number): index for number, index in enumerate(facts.indexes)}
        index = temporary.get(error.diag.constraint_name or "")
        if index is None:
            raise
        found = translate(error, side="destination", doing=f"building the indexes of {facts.name}")
        found.message = found.message.replace(error.diag.constraint_name or "", index.constraint_name or index.name)
        found.context = replace(found.context, table=str(facts.name))
        raise found.at(afterwards=f"{facts.name} is as it was.") from error
