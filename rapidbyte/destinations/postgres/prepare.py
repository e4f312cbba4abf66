"""Before the load: target, stage and grants, and their record in `loads`; or the stage of a dead run's load again.

Everything here happens in the caller's transaction, which holds the lease's row and an advisory lock on the schema.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Collection
from contextlib import suppress

import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb

from rapidbyte.contract import ResumeFacts
from rapidbyte.cursor import CursorBounds
from rapidbyte.destinations.postgres import ddl, direct, ledger, loads, locks, privileges, records, rows, workers
from rapidbyte.destinations.postgres.finalize import create_source_indexes
from rapidbyte.destinations.postgres.leases import HeldRun
from rapidbyte.destinations.postgres.loads import LoadRecord
from rapidbyte.destinations.postgres.planning import alterations, create_stage, stage_name, unalterable
from rapidbyte.destinations.postgres.progress import brought_no_value, require_known_beginning, require_own_target
from rapidbyte.destinations.postgres.sessions import LeaderSession
from rapidbyte.destinations.postgres.target import TargetFacts
from rapidbyte.destinations.postgres.target_catalog import look_up
from rapidbyte.errors import ConfigError, DestinationError
from rapidbyte.model import QualifiedName
from rapidbyte.pg.session import PgConnection
from rapidbyte.plan import StreamPlan
from rapidbyte.spec import DestinationSpec
from rapidbyte.values import frozen

LEFTOVER_SECONDS = 2.0
"""How long dropping a dead run's stage waits for whoever looks at it; another run tries again."""


@frozen
class Prepared:
    """A load whose stage is there."""

    load_id: str
    stage: QualifiedName | None
    """None for a direct load."""
    bounds: CursorBounds | None
    resume: ResumeFacts


def prepare(
    session: LeaderSession,
    connection: PgConnection,
    destination: DestinationSpec,
    stream: StreamPlan,
    held: HeldRun,
    bounds: CursorBounds | None,
    handed: Collection[str] = (),
) -> Prepared:
    """Goes on with the last load of a dead run where that can be done, and begins one otherwise.

    `handed` are the loads of this run that its workers know of. Another one of it was prepared, and the acknowledgement
    of that COMMIT was lost: it is the one.
    """
    unfinished = loads.unfinished_loads(connection, pipeline=held.pipeline, stream=stream.name)
    own = [record for record in unfinished if record.run_id == held.run_id]
    unheard = next((record for record in own if record.load_id not in handed), None)
    if unheard is not None:
        return _as_recorded(connection, unheard)
    worker = worker_role(connection, destination)
    signature = records.signature(stream, source=held.source, worker=worker)
    facts = look_up(connection, stream.target)
    _require_as_planned(stream, facts)
    require_own_target(connection, stream, facts, None if bounds is None else bounds.stored, pipeline=held.pipeline)
    left = [record for record in unfinished if record not in own]
    found = None
    for record in left:
        found = found or _continued(connection, record, signature, bounds)
        if found is None or found.load_id != record.load_id:
            dropped = drop_leftover(connection, record.load_id)
            if not dropped and record.publish == "direct":
                raise _still_written(stream)
    direct.require_none_unfinished(
        connection, pipeline=held.pipeline, stream=stream.name, but=None if found is None else found.load_id
    )
    if found is not None:
        loads.adopt_load(connection, found.load_id, run_id=held.run_id, fence=held.fence, run_key=held.run_key)
        return found
    if bounds is not None and not brought_no_value(connection, stream, pipeline=held.pipeline):
        require_known_beginning(stream, facts, stored=bounds.stored)
    load_id = new_load_id()
    stage = stage_name(stream.target, stream.publish, load_id)
    _create(session, connection, destination, stream, stage, facts)
    _record(connection, stream, stage, held, load_id=load_id, worker=worker, signature=signature, bounds=bounds)
    return Prepared(load_id=load_id, stage=stage, bounds=bounds, resume=ResumeFacts())


def new_load_id() -> str:
    """A name for a load: 26 hexadecimal digits; no decision rests on the first 12, which are milliseconds."""
    return f"{time.time_ns() // 1_000_000:012x}{secrets.token_hex(7)}"


def _require_as_planned(stream: StreamPlan, facts: TargetFacts) -> None:
    if facts.oid != stream.replace.target_oid:
        raise DestinationError(
            f"{stream.target} was created, dropped or replaced since it was planned for",
            code="target_changed",
            hint="run again",
        )


# --- loads of dead runs


def _continued(
    connection: PgConnection, record: LoadRecord, signature: str, bounds: CursorBounds | None
) -> Prepared | None:
    """The load, if what it lacks can be loaded into its stage: partitions that can be named again, the same rows."""
    partitions = records.read_partitions(record.stream, record.partitions)
    stored = records.read_bounds(record.bounds)
    if record.signature != signature or partitions is None:
        return None
    if (bounds is None) != (stored is None) or (
        bounds is not None and stored is not None and (bounds.stored, bounds.field) != (stored.stored, stored.field)
    ):
        return None
    receipts = loads.receipts_of(connection, record.load_id)
    whole = direct.is_whole if record.publish == "direct" else _stage_is_whole
    if not receipts or not whole(connection, record):
        return None
    return _as_recorded(connection, record)


def _as_recorded(connection: PgConnection, record: LoadRecord) -> Prepared:
    """The load as the ledger tells it, with what it has; nothing where it has just begun."""
    bounds = records.read_bounds(record.bounds)
    partitions = records.read_partitions(record.stream, record.partitions)
    resume = ResumeFacts()
    if partitions is not None:
        receipts = loads.receipts_of(connection, record.load_id)
        resume = ResumeFacts(receipts=receipts, partitions=partitions, bounds=bounds)
    return Prepared(load_id=record.load_id, stage=record.stage, bounds=bounds, resume=resume)


def _stage_is_whole(connection: PgConnection, record: LoadRecord) -> bool:
    """Whether the stage holds what the receipts say. A crash of the server empties an unlogged one (C2)."""
    stage = record.stage
    if stage is None or not look_up(connection, stage).exists:
        return False
    held = connection.execute(rows.count(ledger.identifier(stage))).fetchone()
    return bool(held and held[0] == loads.receipts_total(connection, record.load_id)[1])


def drop_leftover(connection: PgConnection, load_id: str) -> bool:
    """Drops the stage of a load that nobody goes on with. False: it cannot be dropped now, and stays recorded."""
    try:
        with connection.transaction():
            locks.limit_waits(connection, LEFTOVER_SECONDS)
            discard(connection, load_id)
            connection.execute("SET LOCAL lock_timeout = 0")
    except (psycopg.errors.LockNotAvailable, psycopg.errors.InsufficientPrivilege):
        return False
    return True


def _still_written(stream: StreamPlan) -> DestinationError:
    return DestinationError(
        f"workers of an earlier run still write into {stream.target}",
        code="direct_load_held",
        hint="end that run, or its sessions on the server; then run again",
        stream=stream.name,
        table=str(stream.target),
    )


def discard(connection: PgConnection, load_id: str) -> None:
    """Drops the stage that the ledger names for a prepared load, and its receipts; marks the load as discarded."""
    record = loads.load_record(connection, load_id, lock_row=True)
    if record is None or record.state != "prepared":
        return
    if record.publish == "direct":
        direct.keep_writers_out(connection, load_id)
    if direct.has_landed(connection, record):
        return
    if record.stage is not None:
        connection.execute(ddl.drop_table(record.stage, if_exists=True))
    _delete_receipts(connection, load_id)
    loads.end_load(connection, load_id, state="discarded")
    workers.release(connection, load_id)


def _delete_receipts(connection: PgConnection, load_id: str) -> None:
    """Not where somebody has the table for himself: then they go with the stream's next publish."""
    with suppress(psycopg.errors.LockNotAvailable), connection.transaction():
        connection.execute("LOCK TABLE _rapidbyte.receipts IN ROW EXCLUSIVE MODE NOWAIT")
        loads.delete_receipts(connection, load_id)


# --- a load that begins


def _create(
    session: LeaderSession,
    connection: PgConnection,
    destination: DestinationSpec,
    stream: StreamPlan,
    stage: QualifiedName | None,
    facts: TargetFacts,
) -> None:
    session.ensure_schema(connection, stream.target.schema)
    _alter_target(session, connection, destination, stream, facts)
    if stage is None:
        return
    for statement in create_stage(stream, facts, stage):
        session.run_ddl(connection, statement)
    if stream.shape.spec.indexes == "source" and not facts.exists:
        # What cannot be built is told now, on the empty stage, and not after hours of loading.
        with connection.transaction(force_rollback=True):
            create_source_indexes(connection, stage, stream.shape.index_definitions)


def _alter_target(
    session: LeaderSession,
    connection: PgConnection,
    destination: DestinationSpec,
    stream: StreamPlan,
    facts: TargetFacts,
) -> None:
    statements = alterations(stream, facts)
    deadline = time.monotonic() + destination.publish_timeout_seconds
    if statements and not locks.lock_table(connection, facts, "ACCESS EXCLUSIVE", deadline):
        raise locks.refused(facts)
    for statement in statements:
        try:
            session.run_ddl(connection, statement)
        except (psycopg.errors.FeatureNotSupported, psycopg.errors.InvalidTableDefinition) as error:
            raise unalterable(stream, facts, error) from error


def worker_role(connection: PgConnection, destination: DestinationSpec) -> str | None:
    """The workers' own role; None where they are the leader. Raises ConfigError when there is none of that name."""
    login = destination.worker
    if login is None or login.user == privileges.current_role(connection):
        return None
    if connection.execute("SELECT FROM pg_roles WHERE rolname = %s", (login.user,)).fetchone() is None:
        raise ConfigError(
            f"the worker role {login.user} does not exist at the destination",
            code="worker_role_missing",
            hint=sql.SQL("CREATE ROLE {} LOGIN PASSWORD '...';").format(sql.Identifier(login.user)).as_string(None),
        )
    return login.user


def _record(
    connection: PgConnection,
    stream: StreamPlan,
    stage: QualifiedName | None,
    held: HeldRun,
    *,
    load_id: str,
    worker: str | None,
    signature: str,
    bounds: CursorBounds | None,
) -> None:
    granted: tuple[workers.Access, ...] = ()
    if worker is not None:
        types = workers.type_names(connection, tuple(column.target for column in stream.columns))
        granted = workers.grant(
            connection, worker, privileges.worker_needs(stream, look_up(connection, stream.target), stage, types)
        )
    document = records.write_bounds(bounds)
    connection.execute(
        loads.INSERT_LOAD,
        {
            "load_id": load_id,
            "run_id": held.run_id,
            "pipeline": held.pipeline,
            "stream": stream.name,
            "target_schema": stream.target.schema,
            "target_table": stream.target.name,
            "target_oid": stream.replace.target_oid,
            "stage_schema": None if stage is None else stage.schema,
            "stage_table": None if stage is None else stage.name,
            "write_mode": stream.write_mode,
            "publish": stream.publish,
            "worker_role": worker,
            "granted": workers.recorded(granted),
            "fence": held.fence,
            "run_key": held.run_key,
            "source": held.source,
            "signature": signature,
            "bounds": None if document is None else Jsonb(document),
        },
    )
