"""Indexes of a stage, built by several sessions of the leader at once, before the transaction that publishes it.

The stage is full, committed and ours alone: CREATE INDEX keeps writers out, and not other builds. Each index is
committed by itself, so a run that dies leaves whole ones, which go with their stage, or are used by the run that goes
on with it. Nothing here has to succeed: what is missing is built by the publish, in whose transaction the error of an
index that cannot be built is told.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import LiteralString

from psycopg import sql

from rapidbyte.contract import WriteContract
from rapidbyte.destinations.postgres import ddl, leases, locks
from rapidbyte.destinations.postgres.leases import HeldRun
from rapidbyte.destinations.postgres.publish import swap_obstacles
from rapidbyte.destinations.postgres.sampling import BECOMES_TARGET
from rapidbyte.destinations.postgres.sessions import LeaderSession
from rapidbyte.destinations.postgres.stage_indexes import (
    StageIndex,
    costliest_first,
    gain_by_sessions,
    helpers_for,
    helpers_of_one,
    may_lose_rows,
    sessions_for,
    wanted,
)
from rapidbyte.destinations.postgres.statistics import WORTH_A_SESSION_ROWS
from rapidbyte.destinations.postgres.target import TargetFacts
from rapidbyte.destinations.postgres.target_catalog import look_up
from rapidbyte.errors import RapidbyteError
from rapidbyte.model import QualifiedName
from rapidbyte.pg.session import PgConnection, server_facts
from rapidbyte.ports import Publication
from rapidbyte.spec import Connection
from rapidbyte.values import frozen

LOOK_SECONDS = 1.0
"""How long the look at a target waits for whoever has locked it; the publish has more patience."""

LEAST_BYTES = 64 << 20
"""PostgreSQL's own default of maintenance_work_mem."""

_MARKS: LiteralString = """
SELECT c.relname, pg_catalog.obj_description(c.oid, 'pg_class')
FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
WHERE i.indrelid = pg_catalog.to_regclass(%s)
"""

_HELPERS: LiteralString = """
SELECT pg_catalog.current_setting('max_parallel_maintenance_workers')::int,
       pg_catalog.pg_size_bytes(pg_catalog.current_setting('maintenance_work_mem'))
"""

_SIZE: LiteralString = """
SELECT coalesce(pg_catalog.pg_relation_size(c.oid), 0)
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = %s AND c.relname = %s
"""

_TAKEN: LiteralString = """
SELECT FROM pg_catalog.pg_namespace n
WHERE n.nspname = %(schema)s
  AND (EXISTS (SELECT FROM pg_catalog.pg_class c WHERE c.relnamespace = n.oid AND c.relname = %(name)s)
       OR EXISTS (SELECT FROM pg_catalog.pg_constraint c WHERE c.connamespace = n.oid AND c.conname = %(name)s))
"""


def is_free(connection: PgConnection, schema: str, name: str) -> bool:
    """Nothing in the schema has this name: neither a relation nor a constraint."""
    return connection.execute(_TAKEN, {"schema": schema, "name": name}).fetchone() is None


def marks_of(connection: PgConnection, stage: QualifiedName) -> dict[str, str | None]:
    """The stage's indexes and their marks."""
    return dict(connection.execute(_MARKS, (ddl.identifier(stage).as_string(),)).fetchall())


def settle_built(connection: PgConnection, stage: QualifiedName, indexes: Sequence[StageIndex]) -> frozenset[str]:
    """Names of those of `indexes` that the stage has; any other index of the stage is dropped.

    In the publishing transaction: the target may have others than when they were built.
    """
    found = marks_of(connection, stage)
    built = frozenset(each.name for each in indexes if found.get(each.name) == each.mark)
    for name in sorted(found.keys() - built):
        connection.execute(ddl.drop_index(stage, name))
    return built


@frozen
class _Work:
    """What is to be built, and how many may build it."""

    indexes: Sequence[StageIndex]
    """The costliest first."""
    sessions: int
    workers: int
    helpers: int
    """Processes that the server gives to one index."""
    memory_bytes: int
    """For each session: maintenance_work_mem is what one build at a time may have, here they share it."""


def build_ahead(
    session: LeaderSession, login: Connection, held: HeldRun, publications: Sequence[Publication], workers: int
) -> None:
    """Builds what the large ones among these stages lack, each index in a transaction of its own.

    `session` looks, sessions of their own build. It returns when they have ended, or been stopped. Raises nothing of
    what the publish is about to meet, too.
    """
    large = [
        each
        for each in publications
        if each.receipts.rows >= max(WORTH_A_SESSION_ROWS, each.contract.replace.min_rows or 0)
    ]
    stages = [each for each in large if each.contract.stage is not None and each.contract.publish in BECOMES_TARGET]
    if not stages or workers < 2:
        return
    try:
        work = _look(session, stages, workers)
    except RapidbyteError:
        return
    if not work.sessions:
        return
    crew = _Crew(work, login, held, session)
    with ThreadPoolExecutor(max_workers=work.sessions, thread_name_prefix="indexes") as threads:
        building = [threads.submit(crew.build) for _ in range(work.sessions)]
    for each in building:
        each.result()


def _look(session: LeaderSession, publications: Sequence[Publication], workers: int) -> _Work:
    missing: list[StageIndex] = []
    sizes: dict[tuple[QualifiedName, str], int] = {}
    with session.looking("looking at the indexes to build") as connection:
        locks.limit_waits(connection, LOOK_SECONDS)
        for contract in (each.contract for each in publications):
            facts = look_up(connection, contract.target)
            if contract.stage is None or not _takes_place(contract, facts):
                continue
            marks = marks_of(connection, contract.stage)
            for each in wanted(contract, facts):
                free = each.becomes is None or is_free(connection, contract.target.schema, each.becomes)
                if free and each.name not in marks and not (each.unique and may_lose_rows(contract)):
                    missing.append(each)
                    sizes[each.stage, each.name] = _size(connection, contract.target, each)
        left = server_facts(connection, loads=True).connections_left
        found = connection.execute(_HELPERS).fetchone() or (0, 0)
    helpers = helpers_of_one(setting=found[0], memory_bytes=found[1])
    gain = gain_by_sessions(missing, workers=workers, allowed=helpers)
    sessions = sessions_for(len(missing), workers=workers, connections_left=left or 0) if gain else 0
    return _Work(
        indexes=costliest_first(missing, sizes),
        sessions=sessions,
        workers=workers,
        helpers=helpers,
        memory_bytes=min(found[1], max(LEAST_BYTES, found[1] // max(1, sessions))),
    )


def _takes_place(contract: WriteContract, facts: TargetFacts) -> bool:
    """Whether, by what is there now, the stage will be the target; the publish tells why not."""
    if facts.oid != contract.replace.target_oid:
        return False
    return not facts.exists or not swap_obstacles(facts, frozenset(column.name for column in contract.columns))


def _size(connection: PgConnection, target: QualifiedName, index: StageIndex) -> int:
    row = None if index.like is None else connection.execute(_SIZE, (target.schema, index.like)).fetchone()
    return 0 if row is None else int(row[0])


class _Crew:
    """Threads that take the costliest index that nobody has taken yet. The first that fails ends all: what has failed
    is repeated by the publish, and would most likely fail it.
    """

    def __init__(self, work: _Work, login: Connection, held: HeldRun, session: LeaderSession) -> None:
        self._work = work
        self._login = login
        self._held = held
        self._stop = session.stop
        self._waiting = deque(work.indexes)
        self._unfinished = len(work.indexes)
        self._lock = threading.Lock()
        self._failed = threading.Event()

    def build(self) -> None:
        """One thread's work, in a session of its own. Raises nothing."""
        stop = self._stop
        session = LeaderSession(self._login, self._held.pipeline, lambda: self._failed.is_set() or stop())
        with closing(session):
            try:
                session.open()
            except RapidbyteError:
                return  # without a connection for this one the others go on
            try:
                while (taken := self._take()) is not None:
                    self._build(session, *taken)
            except RapidbyteError:
                self._failed.set()

    def _take(self) -> tuple[StageIndex, int] | None:
        """An index, and how many helpers it gets."""
        with self._lock:
            if not self._waiting or self._failed.is_set():
                return None
            work = self._work
            helpers = helpers_for(self._unfinished, sessions=work.sessions, workers=work.workers, allowed=work.helpers)
            return self._waiting.popleft(), helpers

    def _build(self, session: LeaderSession, index: StageIndex, helpers: int) -> None:
        with session.changing(f"building an index of {index.stage}") as connection:
            leases.require_fence(connection, pipeline=self._held.pipeline, fence=self._held.fence)
            connection.execute(sql.SQL("SET LOCAL max_parallel_maintenance_workers = {}").format(sql.Literal(helpers)))
            memory = f"{max(1024, self._work.memory_bytes // 1024)}kB"
            connection.execute(sql.SQL("SET LOCAL maintenance_work_mem = {}").format(sql.Literal(memory)))
            # binary=True takes the extended protocol, in which a text is one statement: a source's came from elsewhere.
            connection.execute(
                ddl.create_index(index.stage, index.name, unique=index.unique, tail=index.tail), binary=True
            )
            connection.execute(ddl.comment_on_index(index.stage, index.name, index.mark))
        with self._lock:
            self._unfinished -= 1
