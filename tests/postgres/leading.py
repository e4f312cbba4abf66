"""What the leader's tests share: a pipeline's spec, a stream's shape, a stage filled without workers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import psycopg
from psycopg import sql

from rapidbyte.contract import LoadReceipts, PartitionReceipt, WriteContract
from rapidbyte.decisions import make_plan
from rapidbyte.destinations.postgres.leader import PostgresLeader
from rapidbyte.model import Column, QualifiedName, Secret
from rapidbyte.pg.catalog import columns_of, describe_types, primary_keys
from rapidbyte.pg.session import OWN_SQL, begin, rollback
from rapidbyte.pg.session import connect as open_session
from rapidbyte.plan import RunPlan, StreamPlan, StreamShape
from rapidbyte.ports import FinalizeReport, OpenedRun, Publication
from rapidbyte.spec import (
    Connection,
    DestinationSpec,
    PipelineSpec,
    PostgresSourceSpec,
    Resources,
    RunOptions,
    RunRequest,
    StreamSpec,
)
from tests.kit.server import unique_name


def shape_of(dsn: str, spec: StreamSpec, schema: str, table: str, columns: Sequence[str] = ()) -> StreamShape:
    """The shape of a table, as the PostgreSQL source would tell it."""
    session = open_session(Connection(dsn=Secret(dsn)), side="source", application_name="test")
    try:
        begin(session, OWN_SQL)
        row = session.execute(
            "SELECT c.oid FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
            " WHERE (n.nspname, c.relname) = (%s, %s)",
            (schema, table),
        ).fetchone()
        assert row is not None, f"{schema}.{table}"
        found: tuple[Column, ...] = tuple(known.column for known in columns_of(session, [row[0]])[row[0]])
        chosen = tuple(column for column in found if not columns or column.name in columns)
        types = describe_types(session, {column.type.oid for column in chosen if not column.type.built_in})
        key = primary_keys(session, [row[0]]).get(row[0], ())
        rollback(session)
    finally:
        session.close()
    name = QualifiedName(schema=schema, name=table)
    return StreamShape(
        spec=spec,
        kind="table",
        relation=name,
        columns=chosen,
        primary_key=key,
        leaves=(name,),
        types=tuple(types.values()),
    )


@dataclass(frozen=True, kw_only=True)
class Lead:
    """A leader of one stream, and what it needs for its steps."""

    leader: PostgresLeader
    shape: StreamShape
    dsn: str
    workers: int = 1

    def plan(self) -> RunPlan:
        """Look and decide."""
        return make_plan(
            pipeline="shop",
            streams=(self.leader.plan_stream(0, self.shape),),
            resources=Resources(),
            options=RunOptions(workers=self.workers),
            source=None,
            destination=self.leader.facts(),
            cores=2,
        )

    def stream_plan(self) -> StreamPlan:
        """The stream's part of it."""
        return self.plan().streams[0]

    def prepare(self) -> WriteContract:
        """Plan, check privileges, prepare."""
        plan = self.plan()
        self.leader.check_privileges(plan)
        if self.leader.fence is None:
            open_run(self.leader)
        return self.leader.prepare_stream(plan, plan.streams[0], "run-1")

    def fill(self, contract: WriteContract, rows: str) -> LoadReceipts:
        """Fills the stage as one worker would: `rows` is a query that gives the stage's columns."""
        return fill(self.dsn, contract, rows)

    def publish(self, rows: str) -> FinalizeReport:
        """Everything: prepare, fill, finalize."""
        contract = self.prepare()
        receipts = self.fill(contract, rows)
        return finalize(self.leader, contract, receipts)


def finalize(leader: PostgresLeader, contract: WriteContract, receipts: LoadReceipts) -> FinalizeReport:
    """Without a checksum."""
    return leader.finalize((Publication(contract=contract, receipts=receipts),))[0]


def request(pipeline: str = "shop", **changes: object) -> RunRequest:
    """A run of a process that cannot be on this host, by a name of its own."""
    basis = RunRequest(run_id=unique_name("run"), pipeline=pipeline, streams=(), host="here", pid=7, tool_version="1")
    return replace(basis, **changes)  # type: ignore[arg-type]


def open_run(leader: PostgresLeader, **changes: object) -> OpenedRun:
    """Takes the lease, and does not listen when it is lost."""
    return leader.open_run(request(leader.pipeline, **changes), lambda error: None)


def fill(dsn: str, contract: WriteContract, rows: str) -> LoadReceipts:
    """Rows and receipt of partition 0, in one transaction."""
    with psycopg.connect(dsn) as connection:
        stage = contract.copy.table
        count = connection.execute(
            sql.SQL("INSERT INTO {} ({}) {}").format(
                sql.Identifier(stage.schema, stage.name),
                sql.SQL(", ").join(sql.Identifier(column.name) for column in contract.columns),
                sql.SQL(rows),  # type: ignore[arg-type]
            )
        ).rowcount
        connection.execute(
            "INSERT INTO _rapidbyte.receipts (load_id, partition, pipeline, stream, worker, rows, bytes)"
            " VALUES (%s, 0, 'shop', %s, 0, %s, 0)",
            (contract.load_id, contract.stream, count),
        )
    receipt = PartitionReceipt(load_id=contract.load_id, stream=contract.stream, partition=0, rows=count, bytes=0)
    return LoadReceipts(load_id=contract.load_id, stream=contract.stream, planned=1, receipts=(receipt,))


def pipeline_spec(
    dsn: str,
    destination: DestinationSpec | None = None,
    pipeline: str = "shop",
    max_retries: int = 3,
    **changes: object,
) -> PipelineSpec:
    """A pipeline that loads into schema raw."""
    basis = destination or DestinationSpec(connection=Connection(dsn=Secret(dsn)), schema="raw")
    return PipelineSpec(
        pipeline=pipeline,
        source=PostgresSourceSpec(connection=Connection(dsn=Secret(dsn))),
        streams=(),
        resources=Resources(max_retries=max_retries),
        destination=replace(basis, connection=Connection(dsn=Secret(dsn)), **changes),  # type: ignore[arg-type]
    )


@contextmanager
def leader_for(dsn: str, **changes: object) -> Iterator[PostgresLeader]:
    """A leader on this database; `changes` go into the destination's spec."""
    spec = pipeline_spec(dsn, **changes)
    login = Connection(dsn=Secret(dsn), login=spec.destination.worker)
    leader = PostgresLeader(spec, connection=Connection(dsn=Secret(dsn)), worker_connection=login)
    try:
        yield leader
    finally:
        leader.close()


@contextmanager
def lead(
    destination: str,
    table: str,
    *,
    source: str | None = None,
    columns: Sequence[str] = (),
    into: str = "raw",
    spec: StreamSpec | None = None,
    **changes: object,
) -> Iterator[Lead]:
    """A leader for stream `table`, which the source has in schema `app`, by default in the same database."""
    shape = shape_of(source or destination, spec or StreamSpec(name=table), "app", table, columns)
    with leader_for(destination, schema=into, **changes) as leader:
        yield Lead(leader=leader, shape=shape, dsn=destination)


def rows_of(dsn: str, query: str) -> list[tuple[object, ...]]:
    """All rows of a query."""
    with psycopg.connect(dsn) as connection:
        return connection.execute(query).fetchall()  # type: ignore[arg-type]


def run(dsn: str, statements: str) -> None:
    """Runs statements as the superuser."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(statements)  # type: ignore[arg-type]
