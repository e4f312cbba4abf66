"""Writes the stage's rows into a target that stays: insert, in_place, merge. In the leader's publishing transaction.

What triggers, rules or policies keep away is noticed: the rows are counted.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import partial

import psycopg

from rapidbyte.contract import WriteContract
from rapidbyte.destinations.postgres import ddl, locks, rows
from rapidbyte.destinations.postgres.guards import count, require_unchanged
from rapidbyte.destinations.postgres.rows import RowMove
from rapidbyte.destinations.postgres.target import TargetFacts
from rapidbyte.destinations.postgres.target_catalog import look_up
from rapidbyte.errors import DataError, RapidbyteError
from rapidbyte.failpoints import failpoint
from rapidbyte.model import PublishMethod, QualifiedName
from rapidbyte.pg.failure import translate
from rapidbyte.pg.session import PgConnection
from rapidbyte.values import field, frozen

KEY_VIOLATIONS = (psycopg.errors.ForeignKeyViolation, psycopg.errors.RestrictViolation)
"""23503, and since PostgreSQL 18 23001 for ON DELETE RESTRICT."""


@frozen
class Together:
    """What the loads that are published in one transaction know of each other."""

    acting: frozenset[QualifiedName] = frozenset()
    """Targets of which a deleted row would change rows of another one: their deletes wait."""
    later: list[Callable[[], None]] = field(default_factory=list[Callable[[], None]])
    """Steps that wait until every target has its new rows: deletes that rows of others still forbid."""
    pending: dict[QualifiedName, RowMove] = field(default_factory=dict[QualifiedName, RowMove])
    """Targets of which such deletes take all rows whose key the stage does not have."""
    waiting: set[QualifiedName] = field(default_factory=set[QualifiedName])
    """Targets that do not have their new rows yet."""
    had_rows: set[QualifiedName] = field(default_factory=set[QualifiedName])
    """Targets that had rows before anything was deleted."""

    def awaits(self, target: QualifiedName) -> bool:
        """Which rows this target will have is not to be seen yet."""
        return target in self.waiting


@frozen
class Applied:
    """How the rows were published in the end."""

    method: PublishMethod
    warnings: tuple[str, ...] = ()


def row_move(contract: WriteContract, facts: TargetFacts, stage: QualifiedName) -> RowMove:
    """What is moved, and what the target's columns are to it."""
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


def write_rows(
    connection: PgConnection,
    contract: WriteContract,
    facts: TargetFacts,
    move: RowMove,
    row_count: int,
    deadline: float,
    method: PublishMethod,
    together: Together | None = None,
) -> Applied:
    """Writes the stage's rows into the target that is there, under a lock, and drops the stage.

    With `together` a replace whose gone rows are still referred to leaves their deletion and what follows for later.
    """
    mode = "ROW EXCLUSIVE" if method == "insert" else "SHARE ROW EXCLUSIVE"
    if not locks.lock_table(connection, facts, mode, deadline):
        raise locks.refused(facts)
    facts = look_up(connection, contract.target)
    require_unchanged(contract, facts)
    warnings = _firing(facts, method)
    # Triggers, checks and defaults of the target may need the role's own search_path.
    connection.execute("SET LOCAL search_path TO DEFAULT")
    ended = True
    with _told_of_keys(contract):
        if method == "insert":
            insert_rows(connection, contract, move, row_count)
        elif method == "merge":
            merge_rows(connection, contract, move, facts)
        else:
            found, ended = replace_rows(connection, contract, move, facts, row_count, together)
            warnings += found
    if ended:
        connection.execute(ddl.drop_table(move.stage))
    return Applied(method=method, warnings=warnings)


@contextmanager
def _told_of_keys(contract: WriteContract) -> Generator[None]:
    """A foreign key that forbids a row is told with what to do about it."""
    try:
        yield
    except KEY_VIOLATIONS as error:
        found = translate(error, side="destination", doing=f"publishing {contract.target}")
        found.hint = _key_hint(contract.target, error)
        raise found.at(stream=contract.stream, afterwards=f"{contract.target} is as it was.") from error


def _key_hint(target: QualifiedName, error: psycopg.Error) -> str:
    """Which key it is, whose, and in which order it can be satisfied."""
    holder = f"{error.diag.schema_name}.{error.diag.table_name}"
    key = error.diag.constraint_name
    if holder == str(target):
        return (
            f"{key} of {holder} refers to rows that are not there: load the table that it refers to first, or both with"
            " `publish: together`"
        )
    return (
        f"rows of {holder} refer by {key} to rows of {target} that are gone from the source: load {holder} too, with"
        f" `publish: together`, delete its rows first, or give {key} an ON DELETE action"
    )


def delete_early(connection: PgConnection, contract: WriteContract, deadline: float) -> bool:
    """Deletes what a replace in place takes from its target, where that is allowed already; else nothing. Whether
    the target had rows.

    Before the parents of its rows are touched: children first. May be repeated, and `write_rows` does so.
    """
    stage = contract.stage
    facts = look_up(connection, contract.target)
    if contract.publish != "in_place" or stage is None or facts.oid != contract.replace.target_oid:
        return not facts.empty
    move = row_move(contract, facts, stage)
    if move.key and not facts.has_unique_key(move.key):
        return not facts.empty
    if not locks.lock_table(connection, facts, "SHARE ROW EXCLUSIVE", deadline):
        raise locks.refused(facts)
    connection.execute("SET LOCAL search_path TO DEFAULT")
    if move.key:
        connection.execute(ddl.analyze(move.stage))
    _may_delete(connection, move)
    connection.execute("SET LOCAL search_path = pg_catalog")
    return not facts.empty


def _may_delete(connection: PgConnection, move: RowMove) -> bool:
    """Deletes what is gone, everything where there is no key; False, and nothing, where a foreign key forbids it."""
    try:
        with connection.transaction():
            connection.execute(rows.delete_gone(move) if move.key else rows.delete_all(move))
    except KEY_VIOLATIONS:
        return False
    return True


def _firing(facts: TargetFacts, method: PublishMethod) -> tuple[str, ...]:
    found: list[str] = []
    if facts.triggers:
        found.append(f"{method} fires the triggers of {facts.name}: {', '.join(facts.triggers)}")
    if facts.rules:
        found.append(f"{method} is subject to the rules of {facts.name}: {', '.join(facts.rules)}")
    return tuple(found)


def insert_rows(connection: PgConnection, contract: WriteContract, move: RowMove, row_count: int) -> None:
    """Adds all of the stage's rows. Raises DataError where fewer arrive."""
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
    connection: PgConnection,
    contract: WriteContract,
    move: RowMove,
    facts: TargetFacts,
    row_count: int,
    together: Together | None = None,
) -> tuple[tuple[str, ...], bool]:
    """Makes the target's rows those of the stage. Returns warnings, and whether that is done: else the rest is
    for later.

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
        if not _write_differences(connection, contract, move, facts, together) and together is not None:
            together.later.append(partial(_delete_late, connection, contract, move, row_count))
            together.pending[contract.target] = move
            return tuple(warnings), False
    else:
        connection.execute(rows.delete_all(move))
        failpoint("pub.deleted")
        connection.execute(rows.insert_all(move))
    _require_held(connection, contract, move, row_count)
    return tuple(warnings), True


def _delete_late(connection: PgConnection, contract: WriteContract, move: RowMove, row_count: int) -> None:
    """What is gone, now that no row of another target of the transaction refers to it; then the stage."""
    connection.execute("SET LOCAL search_path TO DEFAULT")
    with _told_of_keys(contract):
        connection.execute(rows.delete_gone(move))
    _require_held(connection, contract, move, row_count)
    connection.execute(ddl.drop_table(move.stage))
    connection.execute("SET LOCAL search_path = pg_catalog")


def _require_held(connection: PgConnection, contract: WriteContract, move: RowMove, row_count: int) -> None:
    held = count(connection, rows.count(move.relation))
    if held != row_count:
        raise _swallowed(contract, "left in the table after the replace", held, row_count)


def merge_rows(connection: PgConnection, contract: WriteContract, move: RowMove, facts: TargetFacts) -> None:
    """Updates the rows whose key is known and whose bytes differ, and adds the others. One row of the stage a key.

    No unique index is needed. What the stream does not carry keeps its value, or takes its default.
    """
    connection.execute(ddl.analyze(move.stage))
    expected = count(connection, rows.count_new(move)) if facts.triggers or facts.rules else None
    _update_changed(connection, contract, move, facts)
    inserted = connection.execute(rows.insert_new(move)).rowcount
    if expected is not None and inserted != expected:
        raise _swallowed(contract, "inserted", inserted, expected)


def _require_usable_key(connection: PgConnection, contract: WriteContract, move: RowMove) -> None:
    nulls = count(connection, rows.count_null_keys(move.source, move.key))
    twice = count(connection, rows.count_duplicate_keys(move.source, move.key)) if not nulls else 0
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
        count(connection, rows.count_null_keys(move.relation, move.key))
        or count(connection, rows.count_duplicate_keys(move.relation, move.key))
    )


def _write_differences(
    connection: PgConnection,
    contract: WriteContract,
    move: RowMove,
    facts: TargetFacts,
    together: Together | None,
) -> bool:
    """Deletes first, so that a unique value may move to a new row; False where the deletes have to wait."""
    deleted = True
    if together is None:
        connection.execute(rows.delete_gone(move))
    else:
        deleted = contract.target not in together.acting and _may_delete(connection, move)
    failpoint("pub.deleted")
    _update_changed(connection, contract, move, facts)
    connection.execute(rows.insert_new(move))
    return deleted


def _update_changed(connection: PgConnection, contract: WriteContract, move: RowMove, facts: TargetFacts) -> None:
    watched = bool(facts.triggers or facts.rules)
    expected = count(connection, rows.count_changed(move)) if watched else None
    written = _update(connection, move, facts)
    if expected is not None and written != expected:
        raise _swallowed(contract, "updated", written, expected)


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
