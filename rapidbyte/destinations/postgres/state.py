"""What the commands `state`, `gc` and `runs` look at and change in the ledger.

Looking needs no lease, and makes no ledger. Whatever changes something holds the pipeline's lease meanwhile, so that it
never meets a run that is under way: then it raises BusyError, as a second run does.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from typing import Any, LiteralString

from rapidbyte.cursor import CURSOR_TYPES, StoredCursor
from rapidbyte.destinations.postgres import cursors, direct, leases, ledger, loads, orphans, prepare, replay, runs
from rapidbyte.destinations.postgres.cursors import CursorRecord
from rapidbyte.destinations.postgres.dropping import Dropped, drop
from rapidbyte.destinations.postgres.lease import Lease
from rapidbyte.destinations.postgres.leases import HeldRun
from rapidbyte.destinations.postgres.loads import LoadRecord
from rapidbyte.destinations.postgres.replay import ALL, Named, Replayed, StoredReject, StreamKeys
from rapidbyte.destinations.postgres.runs import RunRecord
from rapidbyte.destinations.postgres.sessions import LeaderSession
from rapidbyte.errors import ConfigError, RapidbyteError
from rapidbyte.model import QualifiedName
from rapidbyte.pg.session import PgConnection
from rapidbyte.ports import Stop, never
from rapidbyte.spec import Connection, RunRequest
from rapidbyte.values import frozen


@frozen
class LeaseRecord:
    """Who may load a pipeline now."""

    fence: int
    run_id: str | None
    """None: nobody."""
    host: str | None
    pid: int | None
    acquired_at: datetime | None
    renewed_at: datetime | None
    connected: bool
    """Its session is there. A run that died leaves the row as it was, and the next one takes the lease."""

    @property
    def running(self) -> str | None:
        """The run that is under way."""
        return self.run_id if self.connected else None


@frozen
class PipelineState:
    """All that the ledger knows of a pipeline but its history."""

    pipeline: str
    lease: LeaseRecord | None
    cursors: tuple[CursorRecord, ...]
    unfinished: tuple[LoadRecord, ...]
    """Loads of dead runs, and of one that is under way; the newest first."""
    receipts: dict[str, tuple[int, int]]
    """(partitions, rows) that are committed, by the load's id, of these loads."""


@frozen
class Landed:
    """A direct load that did not end."""

    stream: str
    load_id: str
    rows: int
    """In its target, as its receipts say."""
    removed: int | None
    """Rows that were removed: all that nobody has changed since. None: it was not asked for, and they stay."""


@frozen
class Orphan:
    """A table that is named as a stage, and of whose load the ledger has no row."""

    table: QualifiedName
    drop: str
    """The statement that drops it."""


@frozen
class Resumable:
    """A load that did not end, and has receipts."""

    stream: str
    load_id: str
    partitions: int
    rows: int


@frozen
class Sweep:
    """What `gc` has done."""

    dropped: tuple[QualifiedName, ...]
    """Stages of dead runs."""
    kept: tuple[QualifiedName, ...]
    """Stages that could not be dropped: somebody looks at them, or we may not. They stay recorded."""
    receipts: int
    """Receipts of loads that have ended."""
    landed: tuple[Landed, ...] = ()
    """Direct loads that did not end: what they had landed, and what was removed of it."""
    resumable: tuple[Resumable, ...] = ()
    """Only of a look: loads among those that would be dropped, which the next run could go on with."""
    orphans: tuple[Orphan, ...] = ()
    """Stages of whichever pipeline that the ledger does not know of. They are left to a person."""


class PipelineLedger:
    """A pipeline's part of the ledger. Used by one thread; `close` it.

    `request` says who asks, in case a run meets us; its `streams` are of no account.
    """

    def __init__(self, connection: Connection, request: RunRequest, stop: Stop = never) -> None:
        self._connection = connection
        self._request = request
        self._session = LeaderSession(connection, request.pipeline, stop)
        self._pipeline = request.pipeline

    def close(self) -> None:
        """Closes the connection. May be repeated."""
        self._session.close()

    # --- looking

    def state(self) -> PipelineState:
        """Lease, cursors and unfinished loads. Empty where nothing was ever loaded."""
        with self._looking("looking at the pipeline's state") as connection:
            if connection is None:
                return PipelineState(pipeline=self._pipeline, lease=None, cursors=(), unfinished=(), receipts={})
            unfinished = loads.unfinished_loads(connection, pipeline=self._pipeline)
            return PipelineState(
                pipeline=self._pipeline,
                lease=_lease(connection, self._pipeline),
                cursors=cursors.list_cursors(connection, self._pipeline),
                unfinished=unfinished,
                receipts={load.load_id: loads.receipts_total(connection, load.load_id) for load in unfinished},
            )

    def runs(self, *, limit: int = 20, all_pipelines: bool = False) -> tuple[RunRecord, ...]:
        """The latest runs; the newest first."""
        with self._looking("looking at past runs") as connection:
            if connection is None:
                return ()
            return runs.list_runs(connection, pipeline=None if all_pipelines else self._pipeline, limit=limit)

    def run(self, run_id: str) -> tuple[RunRecord, dict[str, Any] | None] | None:
        """One run and its result's document, None where it never told its end; None where there is no such run."""
        with self._looking("looking at a run") as connection:
            return None if connection is None else runs.find_run(connection, run_id)

    def rejects(self, named: Named = ALL, *, limit: int | None = None) -> tuple[StoredReject, ...]:
        """Rows that were set aside, in the order in which that was done."""
        with self._looking("looking at rows that were set aside") as connection:
            if connection is None:
                return ()
            return replay.stored(connection, named, pipeline=self._pipeline, limit=limit)

    # --- changing

    def replay(self, keys: dict[str, StreamKeys], named: Named = ALL) -> tuple[Replayed, ...]:
        """Loads rows that were set aside into their targets, in one transaction in which they are marked.

        What is refused again stays, with its new reason.
        """
        with self._changing("loading rows that were set aside") as connection:
            found = replay.stored(connection, named, pipeline=self._pipeline, limit=None, lock=True)
            waiting = [each for each in found if named.ids is not None or each.state == "waiting"]
            return replay.replay(connection, waiting, keys, run_id=self._request.run_id)

    def drop(self, named: Named) -> tuple[Dropped, ...]:
        """Deletes rows that were set aside; those of a load that is not published stay.

        Where there is none of them no lease is taken, and no ledger made.
        """
        if not self.rejects(named, limit=1):
            return ()
        with self._changing("dropping rows that were set aside") as connection:
            return drop(connection, replay.stored(connection, named, pipeline=self._pipeline, limit=None, lock=True))

    def set_cursor(self, stream: str, to: StoredCursor) -> bool:
        """Sets a cursor; what dead runs of the stream have loaded is given up. Whether it has moved backwards.

        The value is taken as it is: whether it is one of its type is the source's to say. Raises ConfigError for a
        type that no cursor can have.
        """
        if to.type not in CURSOR_TYPES:
            raise ConfigError(
                f"{to.type} is no type that a cursor can have",
                code="cursor_type",
                hint=f"one of: {', '.join(sorted(CURSOR_TYPES))}",
                stream=stream,
            )
        with self._changing(f"setting the cursor of {stream}") as connection:
            before = cursors.stored_cursors(connection, self._pipeline).get(stream)
            backwards = before is not None and cursors.is_before(connection, to, before)
            cursors.set_cursor(connection, pipeline=self._pipeline, stream=stream, source=None, to=to)
            self._give_up(connection, stream)
            return backwards

    def reset(self, stream: str | None = None) -> tuple[str, ...]:
        """Forgets a stream's cursor, or all of them and which source it was; returns the streams that had one.

        What dead runs have loaded of these streams is given up. Targets are not touched.
        """
        with self._changing("resetting the pipeline's state") as connection:
            found = cursors.reset_cursors(connection, pipeline=self._pipeline, stream=stream)
            self._give_up(connection, stream)
            if stream is None:
                loads.forget_source(connection, self._pipeline)
            return found

    def sweep(self, *, undo: bool = False) -> Sweep:
        """Drops what dead runs have left behind, of streams too that the pipeline has no more.

        With `undo` also the rows that a failed direct load has landed; otherwise they and their receipts stay.
        """
        with self._changing("dropping what dead runs have left") as connection:
            landed = tuple(
                replace(load, removed=direct.undo(connection, load.load_id)) if undo else load
                for load in _landed(connection, self._pipeline)
            )
            dropped, kept = self._give_up(connection, None)
            receipts = loads.delete_all_old_receipts(connection, self._pipeline)
            return Sweep(dropped=dropped, kept=kept, receipts=receipts, landed=landed)

    def leftovers(self) -> Sweep:
        """What a sweep would find now, told without the lease: loads of a run that is under way are not among it."""
        with self._looking("looking for what dead runs have left") as connection:
            if connection is None:
                return Sweep(dropped=(), kept=(), receipts=0)
            lease_now = _lease(connection, self._pipeline)
            running = lease_now.running if lease_now is not None else None
            unfinished = loads.unfinished_loads(connection, pipeline=self._pipeline)
            left = [load for load in unfinished if running is None or load.run_id != running]
            ids = {load.load_id for load in left}
            return Sweep(
                dropped=tuple(load.stage for load in left if load.stage is not None),
                kept=(),
                receipts=0,
                landed=tuple(load for load in _landed(connection, self._pipeline) if load.load_id in ids),
                resumable=tuple(_resumable(connection, left)),
            )

    def orphans(self) -> tuple[Orphan, ...]:
        """Stages that the ledger does not know of, also where there is no ledger. Nothing is dropped."""
        with self._session.looking("looking for stages that no ledger knows") as connection:
            found = orphans.unknown_stages(connection)
        return tuple(Orphan(table=table, drop=orphans.drop_statement(table)) for table in found)

    def _give_up(
        self, connection: PgConnection, stream: str | None
    ) -> tuple[tuple[QualifiedName, ...], tuple[QualifiedName, ...]]:
        """Discards unfinished loads; (stages dropped, stages kept). A load whose stage is kept is never continued."""
        dropped: list[QualifiedName] = []
        kept: list[QualifiedName] = []
        for load in loads.unfinished_loads(connection, pipeline=self._pipeline, stream=stream):
            gone = prepare.drop_leftover(connection, load.load_id)
            if not gone:
                loads.forget_partitions(connection, load.load_id)
            if load.stage is not None:
                (dropped if gone else kept).append(load.stage)
        return tuple(dropped), tuple(kept)

    # --- sessions

    @contextmanager
    def _looking(self, doing: str) -> Generator[PgConnection | None]:
        """None where there is no ledger, or one from before there were runs and cursors."""
        with self._session.looking(doing) as connection:
            yield connection if (ledger.installed_version(connection) or 0) >= ledger.CURSORS_SINCE else None

    @contextmanager
    def _changing(self, doing: str) -> Generator[PgConnection]:
        """A transaction that holds the lease from before it begins until it has ended."""
        with self._session.changing("opening the ledger") as connection:
            self._session.ensure_ledger(connection)
        hold = Lease(self._connection, self._request, _ignore)
        try:
            fence = hold.take(self._session.open())
            with self._session.changing(doing) as connection:
                leases.require_fence(connection, pipeline=self._pipeline, fence=fence)
                yield connection
                held = HeldRun(pipeline=self._pipeline, run_id=self._request.run_id, fence=fence)
                leases.free(connection, held)
        finally:
            hold.close()


def _resumable(connection: PgConnection, found: Sequence[LoadRecord]) -> Iterator[Resumable]:
    """Those whose partitions can be named again, and of which some are loaded."""
    for load in found:
        partitions, rows = loads.receipts_total(connection, load.load_id)
        if load.stage is not None and load.partitions is not None and partitions:
            yield Resumable(stream=load.stream, load_id=load.load_id, partitions=partitions, rows=rows)


def _landed(connection: PgConnection, pipeline: str) -> tuple[Landed, ...]:
    return tuple(
        Landed(
            stream=load.stream,
            load_id=load.load_id,
            rows=loads.receipts_total(connection, load.load_id)[1],
            removed=None,
        )
        for load in loads.unfinished_loads(connection, pipeline=pipeline)
        if direct.has_landed(connection, load)
    )


_LEASE: LiteralString = """
SELECT l.fence, l.run_id, l.host, l.pid, l.acquired_at, l.renewed_at,
       EXISTS (SELECT FROM pg_catalog.pg_stat_activity a
               WHERE a.pid = l.backend_pid AND a.datname = pg_catalog.current_database()
                     AND a.backend_start <= l.renewed_at)
FROM _rapidbyte.leases l WHERE l.pipeline = %s
"""


def _ignore(_error: RapidbyteError) -> None:
    """A lease that is lost is noticed by its fence."""


def _lease(connection: PgConnection, pipeline: str) -> LeaseRecord | None:
    row = connection.execute(_LEASE, (pipeline,)).fetchone()
    if row is None:
        return None
    fence, run_id, host, pid, acquired_at, renewed_at, connected = row
    return LeaseRecord(
        fence=fence,
        run_id=run_id,
        host=host,
        pid=pid,
        acquired_at=acquired_at,
        renewed_at=renewed_at,
        connected=connected,
    )
