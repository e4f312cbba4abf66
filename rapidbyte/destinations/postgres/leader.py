"""The leader: the only one at the destination that creates, alters, drops, swaps and publishes.

The steps, and which session takes them. What each does is in `prepare`, `outcome` and `finalize`; who may do it, in
`lease`.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager

from rapidbyte.contract import CopyTarget, RejectTarget, WriteContract
from rapidbyte.cursor import CursorBounds, StoredCursor
from rapidbyte.destinations.postgres import cursors, direct, leases, ledger, loads, prepare, privileges, records, runs
from rapidbyte.destinations.postgres.builds import build_ahead
from rapidbyte.destinations.postgres.hooks import check_hooks
from rapidbyte.destinations.postgres.last_run import last_run
from rapidbyte.destinations.postgres.lease import Lease
from rapidbyte.destinations.postgres.leases import HeldRun
from rapidbyte.destinations.postgres.outcome import Publishing
from rapidbyte.destinations.postgres.planning import decide_stream, stage_name, target_name, with_cursor
from rapidbyte.destinations.postgres.prepare import Prepared, worker_role
from rapidbyte.destinations.postgres.progress import brought_no_value, require_known_beginning, require_own_target
from rapidbyte.destinations.postgres.resolve import choose_stream_wire, resolve_types
from rapidbyte.destinations.postgres.sessions import LeaderSession
from rapidbyte.destinations.postgres.statistics import analysed_alongside, with_statistics
from rapidbyte.destinations.postgres.target import TargetFacts
from rapidbyte.destinations.postgres.target_catalog import look_up
from rapidbyte.destinations.postgres.text_checks import is_checked
from rapidbyte.errors import (
    ConfigError,
    DestinationError,
    InternalError,
    PrivilegeError,
    RapidbyteError,
)
from rapidbyte.failpoints import failpoint
from rapidbyte.model import QualifiedName, ServerFacts, session_name
from rapidbyte.partition import Partition
from rapidbyte.pg.conversions import conversion
from rapidbyte.pg.session import OWN_SQL, SESSION, PgConnection, connect, server_facts
from rapidbyte.plan import RunPlan, StreamPlan, StreamShape
from rapidbyte.ports import FinalizeReport, LastRun, Lost, OpenedRun, Publication, Stop, never
from rapidbyte.result import RunResult
from rapidbyte.spec import Connection, PipelineSpec, RunRequest

OLDEST_VERSION = 150000


class PostgresLeader:
    """The leader of one pipeline's loads. Used by one thread at a time; `close` it.

    `worker_connection` is the workers' login; it goes into the contracts. Here it is tried once, and runs nothing.
    Once `stop` is true whatever is under way is cancelled and raises CancelledError, but for a COMMIT that was sent,
    for `discard_stream` and for `close_run`.
    """

    def __init__(
        self, spec: PipelineSpec, *, connection: Connection, worker_connection: Connection, stop: Stop = never
    ) -> None:
        self._spec = spec
        self._connection = connection
        self._worker_connection = worker_connection
        self._session = LeaderSession(connection, spec.pipeline, stop)
        self._lease: Lease | None = None
        self._held: HeldRun | None = None
        self._workers = 1
        """Of the plan that was prepared last: how many sessions may work at a time."""
        self._handed: set[str] = set()
        """Loads whose contracts the engine has: one of this run's that is not among them was prepared unheard."""
        self._planned: dict[QualifiedName, TargetFacts] = {}
        """What the streams were planned by: a look at a table takes nine statements."""
        self._hooks_checked = False

    @property
    def ddl_race_retries(self) -> int:
        """How often setup lost a race with another session's DDL, and was tried again."""
        return self._session.race_retries

    def facts(self) -> ServerFacts:
        """The destination's own word. Raises DestinationError, also for a standby; ConfigError for an old server."""
        with self._session.looking("looking at the server") as connection:
            worker = self._spec.destination.worker
            found = server_facts(connection, role=None if worker is None else worker.user)
            standby = connection.execute("SELECT pg_is_in_recovery()").fetchone()
        if standby and standby[0]:
            raise DestinationError(
                "the destination is a standby: it accepts no writes",
                code="read_only",
                hint="connect to the primary; with several hosts, target_session_attrs=read-write finds it",
            )
        if found.version_number < OLDEST_VERSION:
            raise ConfigError(
                f"the destination is PostgreSQL {found.version}; 15 is the oldest that is supported",
                code="server_too_old",
            )
        if found.encoding != "UTF8":
            raise ConfigError(
                f"the destination's database has encoding {found.encoding}; UTF8 is the only one that holds every text",
                code="database_encoding",
                hint="create a database with ENCODING 'UTF8'",
            )
        return found

    def plan_stream(
        self, order: int, shape: StreamShape, readers: tuple[tuple[QualifiedName, str], ...] = ()
    ) -> StreamPlan:
        """What will happen to a stream. Nothing is changed. Raises ConfigError, SchemaError."""
        target = target_name(shape.spec, shape, self._spec.destination.schema)
        with self._session.looking(f"looking at {target}") as connection:
            facts = self._planned[target] = look_up(connection, target)
            types = resolve_types(connection, shape)
            asks = shape.cursor is not None or (shape.spec.sync_mode == "incremental" and bool(shape.files))
            told = asks and ledger.may_look(connection)
            stored = cursors.stored_cursors(connection, self._spec.pipeline) if told else {}
            begun = told and direct.has_begun(connection, pipeline=self._spec.pipeline, stream=shape.spec.name)
        plan = decide_stream(
            order,
            shape,
            destination=self._spec.destination,
            facts=facts,
            types=types,
            conversion=conversion,
            choose_wire=choose_stream_wire,
            readers=tuple(stream for relation, stream in readers if relation == target),
        )
        plan = with_cursor(plan, stored.get(plan.name))
        if told and plan.cursor is not None and not begun:
            self._require_beginning(plan, facts, stored.get(plan.name))
        return plan

    def _require_beginning(self, plan: StreamPlan, facts: TargetFacts, stored: StoredCursor | None) -> None:
        """Raises ConfigError where an increment would begin at a value that is none, or at the beginning once more."""
        begins = plan.cursor.stored if plan.cursor is not None else None
        with self._session.looking(f"looking at the cursor of {plan.name}") as connection:
            if stored is not None and begins is not None:
                cursors.require_readable(connection, stored, stream=plan.name)
            require_own_target(connection, plan, facts, begins, pipeline=self._spec.pipeline)
            known = brought_no_value(connection, plan, pipeline=self._spec.pipeline)
        if not known:
            require_known_beginning(plan, facts, stored=begins)

    def _check_hooks_once(self, connection: PgConnection, plan: RunPlan) -> None:
        """Of the first plan, which has all streams: a hook may name the target of one that is left out later."""
        destination = self._spec.destination
        if not self._hooks_checked:
            targets = {stream.target for stream in plan.streams}
            check_hooks(connection, destination.hooks, schema=destination.schema, targets=targets)
        self._hooks_checked = True

    def check_privileges(self, plan: RunPlan) -> None:
        """Raises PrivilegeError with the exact GRANT for everything that is missing; ConfigError for what no GRANT
        cures: a worker role that does not exist; DestinationError when the workers' login is refused.
        """
        with self._session.looking("looking at privileges") as connection:
            self._check_hooks_once(connection, plan)
            role = privileges.current_role(connection)
            missing: dict[str, None] = {}
            stages = any(_is_staged_with_us(stream) for stream in plan.streams)
            worker = worker_role(connection, self._spec.destination)
            found = [privileges.ledger_grants(connection, role, stages=stages)]
            for stream in plan.streams:
                facts = self._planned.get(stream.target) or look_up(connection, stream.target)
                found.append(privileges.target_grants(connection, stream, facts, role))
                if worker is not None:
                    found.append(privileges.worker_grants(connection, stream, facts, worker))
            missing.update((statement.as_string(connection), None) for group in found for statement in group)
        if missing:
            raise PrivilegeError(
                f"role {role} lacks {len(missing)} privileges at the destination"
                if len(missing) > 1
                else f"role {role} lacks a privilege at the destination",
                code="privilege_missing",
                hint="; ".join(missing) + ";",
            )
        if worker is not None:
            # Once here, so that a wrong password ends the run now: later a login that fails is tried again (C12).
            name = session_name("worker-0", self._spec.pipeline)
            connect(self._worker_connection, side="destination", application_name=name, stop=self._session.stop).close()

    @property
    def pipeline(self) -> str:
        """The pipeline's name."""
        return self._spec.pipeline

    @property
    def fence(self) -> int | None:
        """The lease's token; None where no run is open."""
        return None if self._held is None else self._held.fence

    def last_run(self) -> LastRun | None:
        """The pipeline's latest run; None where the ledger knows of none. Raises DestinationError, PrivilegeError."""
        with self._session.looking("looking up the last run") as connection:
            return last_run(connection, self._spec.pipeline)

    def open_run(self, request: RunRequest, lost: Lost) -> OpenedRun:
        """The ledger, made or migrated; the lease, taken; the run, recorded. Each committed; may be repeated.

        Raises BusyError when another run lives; ConfigError when the pipeline's name belongs to another source;
        DestinationError, PrivilegeError.
        """
        with self._session.changing("opening the ledger") as connection:
            self._session.ensure_ledger(connection)
        failpoint("lease.before")
        held = self._held = self._held or self._taken(request, lost)
        with self._fenced("opening the run") as connection:
            _require_same_source(connection, held)
            runs.begin_run(connection, request)
            unfinished = loads.unfinished_loads(connection, pipeline=held.pipeline)
            return OpenedRun(
                fence=held.fence,
                cursors=cursors.stored_cursors(connection, held.pipeline),
                unfinished={record.stream: record.load_id for record in reversed(unfinished)},
                published_by_key=loads.published_by_key(connection, pipeline=held.pipeline, run_key=held.run_key),
            )

    def _taken(self, request: RunRequest, lost: Lost) -> HeldRun:
        self._lease = self._lease or Lease(self._connection, request, lost)
        fence = self._lease.take(self._session.open())
        failpoint("lease.taken")
        return HeldRun(
            pipeline=request.pipeline,
            run_id=request.run_id,
            fence=fence,
            run_key=request.key,
            source=request.source_identity,
        )

    def prepare_stream(
        self, plan: RunPlan, stream: StreamPlan, run_id: str, bounds: CursorBounds | None = None
    ) -> WriteContract:
        """Schema, columns, stage, grants, and their record in `loads`: one transaction, committed.

        Or the stage of a dead run's load, with what it has; leftovers that nobody goes on with are dropped. Tried again
        where another session changes the same catalog row: "tuple concurrently updated" (D5).
        Raises DestinationError, PrivilegeError, FenceError; nothing is left behind then. May be repeated: a load that
        an earlier call has committed unheard is the one that is returned.
        """
        return self._session.again_after_races(lambda: self._prepare_stream(plan, stream, run_id, bounds))

    def _prepare_stream(
        self, plan: RunPlan, stream: StreamPlan, run_id: str, bounds: CursorBounds | None
    ) -> WriteContract:
        try:
            with self._fenced(f"preparing {stream.target}") as connection:
                failpoint("ddl.begin")
                ledger.lock(connection, f"schema {stream.target.schema}")
                prepared = prepare.prepare(
                    self._session, connection, self._spec.destination, stream, self._running(), bounds, self._handed
                )
                failpoint("ddl.after_stage")
            failpoint("ddl.committed")
        except RapidbyteError as error:
            raise error.at(stream=stream.name, table=str(stream.target)) from error
        self._handed.add(prepared.load_id)
        self._workers = plan.workers
        return self._contract(plan, stream, prepared, run_id)

    def record_partitions(self, contract: WriteContract, partitions: Sequence[Partition]) -> None:
        """All partitions of a load, by which another run can go on with it; committed."""
        with self._fenced(f"recording the partitions of {contract.stream}") as connection:
            loads.record_partitions(connection, contract.load_id, records.write_partitions(partitions))

    def finalize(self, publications: Sequence[Publication]) -> tuple[FinalizeReport, ...]:
        """Publishes, all in one transaction, once, and renews the targets' statistics.

        Raises with `commit_state` set; may be repeated as `retry` of the error says. A COMMIT whose acknowledgement
        is lost is looked up.
        """
        held = self._running()
        if not self._spec.destination.hooks.before_load:  # these may fail, or change what is to be built
            build_ahead(self._session, self._connection, held, publications, self._workers)
        failpoint("pub.built")
        with analysed_alongside(self._connection, held.pipeline, publications, self._session.stop) as statistics:
            reports = Publishing(
                session=self._session,
                held=held,
                publications=publications,
                publish_timeout_seconds=self._spec.destination.publish_timeout_seconds,
                statistics=statistics,
                hooks=self._spec.destination.hooks,
                schema=self._spec.destination.schema,
            ).carry_out()
        return tuple(
            with_statistics(self._session, each.contract, report, renewed=statistics.renewed(each.contract, report))
            for each, report in zip(publications, reports, strict=True)
        )

    def require_lease(self) -> None:
        """Raises FenceError when another run has taken the lease. A stop does not end it."""
        held = self._running()
        with self._session.changing("asking whether the lease is ours", stop=never) as connection:
            leases.require_fence(connection, pipeline=held.pipeline, fence=held.fence)

    def discard_stream(self, contract: WriteContract) -> None:
        """Drops the stage of a load that will not be published, and says so in the ledger. May be repeated.

        A stop does not end it, but makes it hurry. A run that has lost its lease leaves the stage alone: it is the
        other run's business, which may go on with it.
        """
        held = self._running()
        with self._session.cleaning(f"discarding the stage of {contract.target}") as connection:
            if leases.is_ours(connection, pipeline=held.pipeline, fence=held.fence):
                prepare.discard(connection, contract.load_id)

    def close_run(self, result: RunResult) -> tuple[str, ...]:
        """Records how the run ended, and releases the lease. Warnings: what failed, which the next run copes with."""
        held, warnings = self._held, ()
        if held is not None:
            try:
                with self._session.cleaning("recording how the run ended") as connection:
                    runs.end_run(connection, result)
                    leases.free(connection, held)
            except RapidbyteError as error:
                warnings = (f"the end of the run is not in the ledger: {error.message}",)
        self._let_go()
        return warnings

    def close(self) -> None:
        """Lets go of the lease, and closes the leader's connections. May be repeated."""
        self._let_go()
        self._session.close()

    # --- the run

    def _running(self) -> HeldRun:
        if self._held is None:
            raise InternalError("no run was opened", code="run_not_opened")
        return self._held

    def _let_go(self) -> None:
        self._held = None
        if self._lease is not None:
            self._lease.close()
            self._lease = None

    @contextmanager
    def _fenced(self, doing: str) -> Generator[PgConnection]:
        """A transaction of a run that still has its lease. Raises FenceError."""
        held = self._running()
        with self._session.changing(doing) as connection:
            leases.require_fence(connection, pipeline=held.pipeline, fence=held.fence)
            yield connection

    def _contract(self, plan: RunPlan, stream: StreamPlan, prepared: Prepared, run_id: str) -> WriteContract:
        columns = tuple(column.target for column in stream.columns)
        return WriteContract(
            run_id=run_id,
            load_id=prepared.load_id,
            pipeline=self._spec.pipeline,
            stream=stream.name,
            target=stream.target,
            stage=prepared.stage,
            columns=columns,
            write_mode=stream.write_mode,
            publish=stream.publish,
            primary_key=stream.primary_key,
            merge=stream.merge,
            copy=CopyTarget(
                load_id=prepared.load_id,
                pipeline=self._spec.pipeline,
                stream=stream.name,
                table=stream.target if prepared.stage is None else prepared.stage,
                columns=columns,
                wire=stream.wire,
                receipts=ledger.RECEIPTS,
                session=_copy_session(stream),
                login=self._worker_connection,
                checked=tuple(
                    column.target.name
                    for column in stream.columns
                    if column.conversion == "checked" and is_checked(column.source, column.target.type)
                ),
                rejects=_reject_target(stream, run_id),
            ),
            rejects=stream.rejects,
            flush=plan.flush,
            checkpoint_interval_bytes=plan.checkpoint_interval_bytes,
            replace=stream.replace,
            resume=prepared.resume,
            fence=self._running().fence,
            bounds=prepared.bounds,
            index_definitions=stream.shape.index_definitions if stream.shape.spec.indexes == "source" else (),
        )


def _reject_target(stream: StreamPlan, run_id: str) -> RejectTarget | None:
    if not stream.rejects.sets_aside:
        return None
    return RejectTarget(
        policy=stream.rejects, run_id=run_id, table=ledger.REJECTS if stream.rejects.action == "dlq" else None
    )


def _copy_session(stream: StreamPlan) -> tuple[tuple[str, str], ...]:
    """A CHECK of the target or of a domain may call a function that needs the role's own search_path."""
    own_types = any(not column.target.type.built_in for column in stream.columns)
    return SESSION if stream.replace.target_exists or own_types else OWN_SQL


def _is_staged_with_us(stream: StreamPlan) -> bool:
    stage = stage_name(stream.target, stream.publish, "")
    return stage is not None and stage.schema == ledger.SCHEMA


def _require_same_source(connection: PgConnection, held: HeldRun) -> None:
    """Raises ConfigError when what this pipeline has published came from another source (E13)."""
    known = loads.known_source(connection, held.pipeline)
    if known is None or held.source is None or known == held.source:
        return
    raise ConfigError(
        f"pipeline {held.pipeline} has been loaded from another source database (it was {known}, this is"
        f" {held.source}): cursors and loads of the one mean nothing in the other",
        code="source_changed",
        hint="give this pipeline another name, or forget the other source with `rapidbyte state reset`",
        afterwards="the destination was not touched",
    )
