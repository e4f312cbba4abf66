"""The leader: the only one at the destination that creates, alters, drops, swaps and publishes."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace

import psycopg
from psycopg import sql

from rapidbyte.contract import CopyTarget, ResumeFacts, WriteContract
from rapidbyte.cursor import CursorBounds
from rapidbyte.destinations.postgres import ddl, ledger, locks, privileges, workers
from rapidbyte.destinations.postgres.drift import ResolvedType
from rapidbyte.destinations.postgres.encode import choose_wire
from rapidbyte.destinations.postgres.finalize import create_source_indexes, publish
from rapidbyte.destinations.postgres.planning import (
    alterations,
    create_stage,
    decide_stream,
    stage_name,
    target_name,
    unalterable,
)
from rapidbyte.destinations.postgres.target import TargetFacts, look_up
from rapidbyte.errors import ConfigError, DestinationError, PrivilegeError, RapidbyteError
from rapidbyte.failpoints import failpoint
from rapidbyte.model import ColumnType, QualifiedName, ServerFacts, Wire, session_name
from rapidbyte.partition import Partition
from rapidbyte.pg.catalog import column_types, find_type
from rapidbyte.pg.conversions import conversion, relay_wire
from rapidbyte.pg.definition import create_type_statement, difference
from rapidbyte.pg.failure import is_connection_loss, translate
from rapidbyte.pg.session import (
    OWN_SQL,
    SESSION,
    PgConnection,
    begin,
    commit,
    connect,
    rollback,
    server_facts,
    translated,
)
from rapidbyte.plan import ColumnPlan, RunPlan, StreamPlan, StreamShape
from rapidbyte.ports import FinalizeReport, Lost, OpenedRun, Publication, Stop, never
from rapidbyte.result import RunResult
from rapidbyte.spec import Connection, PipelineSpec, RunRequest

OLDEST_VERSION = 150000

RACE_INDEXES = frozenset(
    {"pg_type_typname_nsp_index", "pg_class_relname_nsp_index", "pg_namespace_nspname_index"},
)
"""A duplicate in one of these means that another session created the same name at the same time."""

RACE_TRIES = 5

LOOK_SECONDS = 30.0
"""How long a look at a table waits for whoever has locked it."""

CLEANUP_SECONDS = 5.0
"""How long cleaning up waits for a lock after the run was told to stop, and how long the outcome of a COMMIT is asked
for then."""

LONGEST_CLEANUP = "20s"
"""How long one statement of cleaning up may take after the run was told to stop, whatever it does."""

LOOK_UP_SECONDS = 30.0
"""How long the outcome of a COMMIT is asked for when its acknowledgement was lost; a crash restart takes about 3 s."""


class PostgresLeader:
    """The leader of one pipeline's loads. Used by one thread; `close` it.

    `worker_connection` is the workers' login; it goes into the contracts. Here it is tried once, and runs nothing.
    Once `stop` is true whatever is under way is cancelled and raises CancelledError, but for a COMMIT that was sent
    and for `discard_stream`.
    """

    def __init__(
        self, spec: PipelineSpec, *, connection: Connection, worker_connection: Connection, stop: Stop = never
    ) -> None:
        self._spec = spec
        self._stop = stop
        self._connection = connection
        self._worker_connection = worker_connection
        self._session: PgConnection | None = None
        self._held: set[str] = set()
        self._race_retries = 0

    @property
    def ddl_race_retries(self) -> int:
        """How often setup lost a race with another session's DDL, and was tried again."""
        return self._race_retries

    def facts(self) -> ServerFacts:
        """The destination's own word. Raises DestinationError, also for a standby; ConfigError for an old server."""
        with self._looking("looking at the server") as connection:
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
        with self._looking(f"looking at {target}") as connection:
            facts = look_up(connection, target)
            types = _resolve_types(connection, shape)
        return decide_stream(
            order,
            shape,
            destination=self._spec.destination,
            facts=facts,
            types=types,
            conversion=conversion,
            choose_wire=_choose_wire,
            readers=tuple(stream for relation, stream in readers if relation == target),
        )

    def check_privileges(self, plan: RunPlan) -> None:
        """Raises PrivilegeError with the exact GRANT for everything that is missing; ConfigError for what no GRANT
        cures: a worker role that does not exist; DestinationError when the workers' login is refused.
        """
        with self._looking("looking at privileges") as connection:
            role = privileges.current_role(connection)
            missing: dict[str, None] = {}
            stages = any(_stage_schema(stream) == ledger.SCHEMA for stream in plan.streams)
            worker = self._worker_role(connection)
            found = [privileges.ledger_grants(connection, role, stages=stages)]
            for stream in plan.streams:
                facts = look_up(connection, stream.target)
                found.append(privileges.target_grants(connection, stream, facts, role))
                if worker is not None:
                    found.append(privileges.worker_grants(connection, stream, worker))
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
            connect(self._worker_connection, side="destination", application_name=name, stop=self._stop).close()

    def open_run(self, request: RunRequest, lost: Lost) -> OpenedRun:  # noqa: ARG002
        """The ledger, made or migrated. Raises DestinationError, PrivilegeError."""
        with self._changing("opening the ledger") as connection:
            self._ensure_ledger(connection)
            failpoint("lease.before")
        failpoint("lease.taken")
        return OpenedRun(fence=0)

    def close_run(self, result: RunResult) -> tuple[str, ...]:  # noqa: ARG002
        """Nothing is recorded of a run yet."""
        return ()

    def record_partitions(self, contract: WriteContract, partitions: Sequence[Partition]) -> None:
        """Nothing is recorded of them yet: a load that fails begins anew."""

    def prepare_stream(
        self, plan: RunPlan, stream: StreamPlan, run_id: str, bounds: CursorBounds | None = None
    ) -> WriteContract:
        """Schema, columns, stage, grants, and their record in `loads`: one transaction, committed.

        Raises DestinationError, PrivilegeError; nothing is left behind then.
        """
        load_id = new_load_id()
        stage = stage_name(stream.target, stream.publish, load_id)
        doing = f"preparing {stream.target}"
        try:
            with self._changing(doing) as connection:
                failpoint("ddl.begin")
                ledger.lock(connection, f"schema {stream.target.schema}")
                self._discard_leftovers(connection, stream)
                self._create(connection, stream, stage)
                failpoint("ddl.after_stage")
                self._record(connection, stream, stage, load_id=load_id, run_id=run_id)
                ledger.hold_load(connection, load_id)
            failpoint("ddl.committed")
        except RapidbyteError as error:
            raise error.at(stream=stream.name, table=str(stream.target)) from error
        self._held.add(load_id)
        return replace(self._contract(plan, stream, stage, load_id=load_id, run_id=run_id), bounds=bounds)

    def finalize(self, publications: Sequence[Publication]) -> tuple[FinalizeReport, ...]:
        """Publishes, all in one transaction, once; then renews the targets' statistics.

        Raises with `commit_state` set. A COMMIT whose acknowledgement is lost is looked up.
        """
        doing = f"publishing {', '.join(str(publication.contract.target) for publication in publications)}"
        connection = self._open(self._stop)
        with translated("destination", doing):
            begin(connection, OWN_SQL, mode="ISOLATION LEVEL READ COMMITTED READ WRITE")
            with _rolled_back_by_failure(connection):
                failpoint("pub.begin")
                reports = [self._publish(connection, publication) for publication in publications]
                connection.require_going()
            try:
                failpoint("pub.commit_before")
                commit(connection, sent=lambda: failpoint("pub.commit_sent"))
            except psycopg.Error as error:
                if not is_connection_loss(error):
                    raise
                for publication in publications:
                    self._look_outcome_up(publication.contract, error)
        failpoint("pub.acked")
        for publication in publications:
            self._release(publication.contract.load_id)
        return tuple(
            self._with_statistics(publication.contract, report)
            for publication, report in zip(publications, reports, strict=True)
        )

    def _publish(self, connection: PgConnection, publication: Publication) -> FinalizeReport:
        return publish(
            connection,
            publication.contract,
            publication.receipts,
            publish_timeout_seconds=self._spec.destination.publish_timeout_seconds,
            expected_checksum=publication.expected_checksum,
            checksum=publication.checksum,
        )

    def discard_stream(self, contract: WriteContract) -> None:
        """Drops the stage of a load that will not be published, and says so in the ledger. May be repeated.

        A stop does not end it, but makes it hurry.
        """
        with self._changing(f"discarding the stage of {contract.target}", stop=never) as connection:
            locks.limit_waits(connection, CLEANUP_SECONDS if self._stop() else LOOK_SECONDS)
            if self._stop():
                connection.execute(sql.SQL("SET LOCAL statement_timeout = {}").format(sql.Literal(LONGEST_CLEANUP)))
            _discard(connection, contract.load_id)
        self._release(contract.load_id)

    def close(self) -> None:
        """Closes the leader's connection. May be repeated."""
        if self._session is not None:
            self._session.close()
            self._session = None

    # --- sessions

    def _open(self, stop: Stop) -> PgConnection:
        """The leader's connection, opened again when it was lost. From now on it obeys this stop."""
        if self._session is not None:
            self._session.stop = stop
            if not _alive(self._session):
                self.close()
        if self._session is None:
            self._session = connect(
                self._connection,
                side="destination",
                application_name=session_name("leader", self._spec.pipeline),
                stop=stop,
            )
            self._session.autocommit = True
            with translated("destination", "setting up the leader's session"):
                # Between prepare and finalize the leader waits for the workers, for as long as they need.
                self._session.execute("SET idle_session_timeout = 0")
                for load_id in self._held:
                    ledger.hold_load(self._session, load_id)
        return self._session

    @contextmanager
    def _looking(self, doing: str) -> Generator[PgConnection]:
        """A transaction that reads, and leaves no trace."""
        connection = self._open(self._stop)
        with translated("destination", doing):
            begin(connection, OWN_SQL, mode="ISOLATION LEVEL READ COMMITTED READ ONLY")
            locks.limit_waits(connection, LOOK_SECONDS)
            try:
                yield connection
            finally:
                rollback(connection)

    @contextmanager
    def _changing(self, doing: str, *, stop: Stop | None = None) -> Generator[PgConnection]:
        """A transaction that commits when its block ends well. It ends at the run's stop, or at this one."""
        connection = self._open(stop or self._stop)
        with translated("destination", doing):
            begin(connection, OWN_SQL, mode="ISOLATION LEVEL READ COMMITTED READ WRITE")
            with _rolled_back_by_failure(connection):
                yield connection
                connection.require_going()
            commit(connection)

    def _release(self, load_id: str) -> None:
        """Lets go of a load that has ended. Fails in silence: the session's end does it as well."""
        self._held.discard(load_id)
        if self._session is None or self._session.closed:
            return
        try:
            ledger.release_load(self._session, load_id)
        except psycopg.Error:
            self.close()

    # --- prepare

    def _run_ddl(
        self, connection: PgConnection, statement: sql.Composed, *, settled: Callable[[], bool] | None = None
    ) -> None:
        """Runs a statement in a savepoint; again when another session created the same name at the same time.

        `settled` tells, after such a race, whether the other session has done what was to be done.
        """
        for remaining in reversed(range(RACE_TRIES)):
            try:
                with connection.transaction():
                    connection.execute(statement)
                return
            except psycopg.errors.UniqueViolation as error:
                if error.diag.constraint_name not in RACE_INDEXES or not remaining:
                    raise
                self._race_retries += 1
            if settled is not None and settled():
                return

    def _ensure_ledger(self, connection: PgConnection) -> None:
        if ledger.installed_version(connection) is not None:
            return
        ledger.lock_ledger(connection)
        if ledger.installed_version(connection) is not None:
            return
        self._ensure_schema(connection, ledger.SCHEMA)
        for statement in ledger.bootstrap_statements():
            self._run_ddl(connection, statement)

    def _ensure_schema(self, connection: PgConnection, schema: str) -> None:
        """Looks first: CREATE SCHEMA IF NOT EXISTS needs CREATE on the database even where the schema exists."""
        if not ledger.schema_exists(connection, schema):
            self._run_ddl(
                connection, ddl.create_schema(schema), settled=lambda: ledger.schema_exists(connection, schema)
            )

    def _discard_leftovers(self, connection: PgConnection, stream: StreamPlan) -> None:
        """Drops the stages of this stream's earlier loads whose leaders are gone. One that cannot be dropped stays."""
        for load_id in ledger.unfinished_loads(connection, pipeline=self._spec.pipeline, stream=stream.name):
            if load_id in self._held or not ledger.take_over_load(connection, load_id):
                continue
            try:
                with connection.transaction():
                    connection.execute("SET LOCAL lock_timeout = '2s'")
                    _discard(connection, load_id)
                    connection.execute("SET LOCAL lock_timeout = 0")
            except (psycopg.errors.LockNotAvailable, psycopg.errors.InsufficientPrivilege):
                continue

    def _create(self, connection: PgConnection, stream: StreamPlan, stage: QualifiedName) -> None:
        facts = look_up(connection, stream.target)
        if facts.oid != stream.replace.target_oid:
            raise DestinationError(
                f"{stream.target} was created, dropped or replaced since it was planned for",
                code="target_changed",
                hint="run again",
            )
        self._ensure_schema(connection, stream.target.schema)
        self._alter_target(connection, stream, facts)
        for statement in create_stage(stream, facts, stage):
            self._run_ddl(connection, statement)
        if stream.shape.spec.indexes == "source" and not facts.exists:
            # What cannot be built is told now, on the empty stage, and not after hours of loading.
            with connection.transaction(force_rollback=True):
                create_source_indexes(connection, stage, stream.shape.index_definitions)

    def _alter_target(self, connection: PgConnection, stream: StreamPlan, facts: TargetFacts) -> None:
        statements = alterations(stream, facts)
        deadline = time.monotonic() + self._spec.destination.publish_timeout_seconds
        if statements and not locks.lock_table(connection, facts, "ACCESS EXCLUSIVE", deadline):
            raise locks.refused(facts)
        for statement in statements:
            try:
                self._run_ddl(connection, statement)
            except (psycopg.errors.FeatureNotSupported, psycopg.errors.InvalidTableDefinition) as error:
                raise unalterable(stream, facts, error) from error

    def _worker_role(self, connection: PgConnection) -> str | None:
        """The workers' own role; None where they are the leader. Raises ConfigError when there is none of that name."""
        login = self._spec.destination.worker
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
        self, connection: PgConnection, stream: StreamPlan, stage: QualifiedName, *, load_id: str, run_id: str
    ) -> None:
        worker = self._worker_role(connection)
        granted: tuple[workers.Access, ...] = ()
        if worker is not None:
            types = workers.type_names(connection, tuple(column.target for column in stream.columns))
            granted = workers.grant(connection, worker, workers.needed(stage, types))
        connection.execute(
            ledger.INSERT_LOAD,
            {
                "load_id": load_id,
                "run_id": run_id,
                "pipeline": self._spec.pipeline,
                "stream": stream.name,
                "target_schema": stream.target.schema,
                "target_table": stream.target.name,
                "target_oid": stream.replace.target_oid,
                "stage_schema": stage.schema,
                "stage_table": stage.name,
                "write_mode": stream.write_mode,
                "publish": stream.publish,
                "worker_role": worker,
                "granted": workers.recorded(granted),
            },
        )

    def _contract(
        self, plan: RunPlan, stream: StreamPlan, stage: QualifiedName, *, load_id: str, run_id: str
    ) -> WriteContract:
        columns = tuple(column.target for column in stream.columns)
        return WriteContract(
            run_id=run_id,
            load_id=load_id,
            pipeline=self._spec.pipeline,
            stream=stream.name,
            target=stream.target,
            stage=stage,
            columns=columns,
            write_mode=stream.write_mode,
            publish=stream.publish,
            primary_key=stream.primary_key,
            merge=stream.merge,
            copy=CopyTarget(
                load_id=load_id,
                pipeline=self._spec.pipeline,
                stream=stream.name,
                table=stage,
                columns=columns,
                wire=stream.wire,
                receipts=ledger.RECEIPTS,
                session=_copy_session(stream),
                login=self._worker_connection,
            ),
            flush=plan.flush,
            checkpoint_interval_bytes=plan.checkpoint_interval_bytes,
            replace=stream.replace,
            resume=ResumeFacts(),
            index_definitions=stream.shape.index_definitions if stream.shape.spec.indexes == "source" else (),
        )

    # --- finalize

    def _look_outcome_up(self, contract: WriteContract, lost: psycopg.Error) -> None:
        """Returns if the transaction whose COMMIT was not acknowledged was committed after all."""
        started_s = time.monotonic()
        while True:
            try:
                with self._changing("looking up whether the load was published", stop=never) as connection:
                    locks.limit_waits(connection, CLEANUP_SECONDS)
                    record = ledger.load_record(connection, contract.load_id, lock_row=True)
                break
            except DestinationError as error:
                patience_s = CLEANUP_SECONDS if self._stop() else LOOK_UP_SECONDS
                if time.monotonic() >= started_s + patience_s:
                    raise self._unknown(contract) from error
                time.sleep(0.5)
        if record is not None and record.state == "published":
            return
        raise translate(lost, side="destination", doing=f"publishing {contract.target}").at(
            stream=contract.stream, table=str(contract.target), afterwards=f"{contract.target} is as it was."
        ) from lost

    def _unknown(self, contract: WriteContract) -> DestinationError:
        return DestinationError(
            f"the connection was lost at the COMMIT that publishes {contract.target}, and the server cannot be asked",
            code="commit_unknown",
            hint=f"when it is back, column state of _rapidbyte.loads tells it for load {contract.load_id}",
            stream=contract.stream,
            table=str(contract.target),
            commit_state="after_commit_unknown",
            safe_to_retry=contract.write_mode != "append",
            afterwards=f"{contract.target} is as it was, or holds the whole load; nothing in between.",
        )

    def _with_statistics(self, contract: WriteContract, report: FinalizeReport) -> FinalizeReport:
        """ANALYZE. The load is published: what fails here is a warning."""
        notices: list[str] = []
        try:
            with self._changing(f"analysing {contract.target}") as connection:
                handler = _collector(notices)
                connection.add_notice_handler(handler)
                try:
                    connection.execute("SET LOCAL lock_timeout = '10s'")
                    connection.execute(ddl.analyze(contract.target))
                finally:
                    connection.remove_notice_handler(handler)
        except RapidbyteError as error:
            notices.append(error.message)
        warnings = tuple(f"statistics of {contract.target} were not renewed: {notice}" for notice in notices)
        return FinalizeReport(
            load_id=report.load_id,
            publish=report.publish,
            rows=report.rows,
            schema_changes=report.schema_changes,
            warnings=(*report.warnings, *warnings),
            checksum=report.checksum,
        )


def new_load_id() -> str:
    """A name for a load: 26 hexadecimal digits; no decision rests on the first 12, which are milliseconds."""
    return f"{time.time_ns() // 1_000_000:012x}{secrets.token_hex(7)}"


def _copy_session(stream: StreamPlan) -> tuple[tuple[str, str], ...]:
    """A CHECK of the target or of a domain may call a function that needs the role's own search_path."""
    own_types = any(not column.target.type.built_in for column in stream.columns)
    return SESSION if stream.replace.target_exists or own_types else OWN_SQL


def _stage_schema(stream: StreamPlan) -> str:
    return stage_name(stream.target, stream.publish, "").schema


def _alive(connection: PgConnection) -> bool:
    if connection.closed:
        return False
    try:
        connection.execute("SELECT 1")
    except psycopg.OperationalError:
        return False
    return True


def _collector(notices: list[str]) -> Callable[[psycopg.errors.Diagnostic], None]:
    def collect(notice: psycopg.errors.Diagnostic) -> None:
        if notice.severity_nonlocalized == "WARNING":
            notices.append(notice.message_primary or "")

    return collect


def _discard(connection: PgConnection, load_id: str) -> None:
    """Drops the stage that the ledger names for a prepared load, and marks the load as discarded."""
    record = ledger.load_record(connection, load_id, lock_row=True)
    if record is None or record.state != "prepared":
        return
    if record.stage is not None:
        connection.execute(ddl.drop_table(record.stage, if_exists=True))
    ledger.end_load(connection, load_id, state="discarded")
    workers.release(connection, load_id)


def _choose_wire(shape: StreamShape, columns: tuple[ColumnPlan, ...]) -> Wire:
    if shape.delivers == "arrow":
        return choose_wire(columns)
    return relay_wire((column.source.type, column.target.type) for column in columns)


def _resolve_types(connection: PgConnection, shape: StreamShape) -> dict[str, ResolvedType]:
    """Every column's type as the destination knows it. Nothing that the source has printed becomes SQL."""
    built_in = [column.type for column in shape.columns if column.type.built_in]
    found = column_types(connection, [(kind.oid, kind.typmod) for kind in built_in])
    own = {(kind.oid, kind.typmod): kind for kind in found}
    collations = _known_collations(connection, shape)
    resolved: dict[str, ResolvedType] = {}
    for column in shape.columns:
        known = column.collation is None or column.collation in collations
        if column.type.built_in:
            kind = own.get((column.type.oid, column.type.typmod))
            resolved[column.name] = ResolvedType(type=kind, collation_known=known)
        else:
            resolved[column.name] = _resolve_user_type(connection, shape, column.type, collation_known=known)
    return resolved


def _resolve_user_type(
    connection: PgConnection, shape: StreamShape, kind: ColumnType, *, collation_known: bool
) -> ResolvedType:
    source = next((definition for definition in shape.types if definition.oid == kind.oid), None)
    if source is None:
        return ResolvedType(type=None, collation_known=collation_known)
    own = find_type(connection, source.name.schema, source.name.name)
    if own is None:
        remedy = f"run there: {create_type_statement(source)}"
        return ResolvedType(type=None, remedy=remedy, collation_known=collation_known)
    found = column_types(connection, [(own.oid, kind.typmod)])
    return ResolvedType(type=found[0], difference=difference(source, own), collation_known=collation_known)


def _known_collations(connection: PgConnection, shape: StreamShape) -> set[QualifiedName]:
    wanted = [column.collation for column in shape.columns if column.collation is not None]
    if not wanted:
        return set()
    rows = connection.execute(
        "SELECT n.nspname, c.collname FROM pg_collation c JOIN pg_namespace n ON n.oid = c.collnamespace"
        " JOIN unnest(%s::text[], %s::text[]) AS w (schema, name) ON w.schema = n.nspname AND w.name = c.collname",
        ([name.schema for name in wanted], [name.name for name in wanted]),
    ).fetchall()
    return {QualifiedName(schema=schema, name=name) for schema, name in rows}


@contextmanager
def _rolled_back_by_failure(connection: PgConnection) -> Generator[None]:
    """Left by an exception, the transaction is rolled back; left otherwise, it is still open."""
    with ExitStack() as undo:
        undo.callback(rollback, connection)
        yield
        undo.pop_all()
