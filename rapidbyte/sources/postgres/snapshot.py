"""One consistent view of the source, and the session that holds it open."""

from __future__ import annotations

import functools
from collections.abc import Generator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace

import psycopg
from psycopg import sql

from rapidbyte.contract import FlushSettings
from rapidbyte.cursor import CursorBounds
from rapidbyte.errors import SourceError
from rapidbyte.model import session_name
from rapidbyte.partition import (
    CursorRange,
    KeyRange,
    Partition,
    PartitionRange,
    Whole,
    ctid_ranges,
    cursor_ranges,
    key_ranges,
)
from rapidbyte.pg.catalog import Leaf, Relation, columns_of, find_relations, integer_keys, leaves_of, sizes_of
from rapidbyte.pg.checksum import checksum_query
from rapidbyte.pg.session import OWN_SQL, PgConnection, begin, connect, translated
from rapidbyte.plan import RunPlan, StreamPlan
from rapidbyte.ports import ReadPartition, Sampled, Stop
from rapidbyte.sources.postgres.blocking import bounded_locks
from rapidbyte.sources.postgres.increment import split_increment
from rapidbyte.sources.postgres.reader import (
    LOCKS_PER_SESSION,
    ReaderSessions,
    ReadTask,
    open_session,
    read_partition,
    snapshot_lost,
)
from rapidbyte.sources.postgres.select import StreamRead, conditions, lock_statements, relation_of, select, stream_read
from rapidbyte.sources.postgres.split import Split, choose_split
from rapidbyte.spec import Connection

LOCK_TRIES = 10
"""How often the locks are taken again because a partition was attached meanwhile."""


@contextmanager
def hold_snapshot(
    connection: Connection, *, pipeline: str, search_path: str, streams: tuple[StreamPlan, ...], stop: Stop
) -> Generator[PostgresSnapshot]:
    """Locks all that the streams read, then exports a snapshot, and keeps both until it is left.

    The holder's own transaction is READ COMMITTED: its locks are complete before the snapshot is taken, and it sees
    partitions that were attached meanwhile. Raises SourceError; CancelledError once `stop` is true.
    """
    reads = tuple(map(stream_read, streams))
    sessions = ReaderSessions()
    holder = connect(connection, side="source", application_name=session_name("reader-0", pipeline), stop=stop)
    with closing(holder), closing(sessions):
        with translated("source", "taking the snapshot"):
            begin(holder, OWN_SQL, mode="ISOLATION LEVEL READ COMMITTED READ ONLY")
            with bounded_locks(holder, "locking the tables of this run"):
                reads = _with_rights(reads, _look_up(holder, reads)[0])
                relations, leaves = _lock(holder, reads, search_path)
                _require_unchanged(holder, streams, relations)
            row = holder.execute("SELECT pg_catalog.pg_export_snapshot()").fetchone()
        if row is None:
            raise snapshot_lost()
        yield PostgresSnapshot(
            holder=holder,
            connection=connection,
            pipeline=pipeline,
            search_path=search_path,
            snapshot_id=row[0],
            reads=reads,
            relations=relations,
            leaves=leaves,
            sessions=sessions,
            stop=stop,
        )


Relations = dict[str, Relation]
"""By the stream's name; queries have none."""
Leaves = dict[str, tuple[Leaf, ...]]
"""By the stream's name."""


def _with_rights(reads: Sequence[StreamRead], relations: Relations) -> tuple[StreamRead, ...]:
    """The reads, with whether each relation can be locked by name."""
    return tuple(
        replace(read, may_lock=relations[read.stream].may_select) if read.stream in relations else read
        for read in reads
    )


def _lock(holder: PgConnection, reads: Sequence[StreamRead], search_path: str) -> tuple[Relations, Leaves]:
    """Takes the locks; returns what was found under them. Raises SourceError where a relation is gone."""
    found = _look_up(holder, reads)
    for _ in range(LOCK_TRIES):
        _take_locks(holder, reads, search_path)
        locked, found = found, _look_up(holder, reads)
        if locked == found:
            return found
    raise SourceError(
        "partitions are attached or detached all the time: the tables cannot be locked as a whole",
        code="source_changed",
        hint="run again",
    )


def _take_locks(holder: PgConnection, reads: Sequence[StreamRead], search_path: str) -> None:
    holder.execute("SELECT pg_catalog.set_config('search_path', %s, true)", (search_path,))
    for statement in lock_statements(reads):
        holder.execute(statement)
    holder.execute("SET LOCAL search_path = pg_catalog")


def _look_up(holder: PgConnection, reads: Sequence[StreamRead]) -> tuple[Relations, Leaves]:
    names = {read.stream: read.relation for read in reads if read.relation is not None}
    known = find_relations(holder, list(names.values()))
    gone = [str(name) for name in names.values() if name not in known]
    if gone:
        raise SourceError(
            f"{', '.join(gone)} existed a moment ago and does no more", code="source_changed", hint="run again"
        )
    relations = {stream: known[name] for stream, name in names.items()}
    leaves = leaves_of(holder, [relation.oid for relation in relations.values()])
    return relations, {stream: leaves[relation.oid] for stream, relation in relations.items()}


def _require_unchanged(holder: PgConnection, streams: Sequence[StreamPlan], relations: Relations) -> None:
    """Raises SourceError where a column is not any more what the plan says (F6)."""
    now = columns_of(holder, [relation.oid for relation in relations.values()])
    for stream in streams:
        if stream.name not in relations:
            continue
        types = {known.column.name: known.column.type for known in now[relations[stream.name].oid]}
        changed = [
            column.source.name for column in stream.columns if types.get(column.source.name) != column.source.type
        ]
        if changed:
            raise SourceError(
                f"{stream.shape.relation}: column {', '.join(changed)} has changed since the plan was made",
                code="source_changed",
                hint="run again",
                stream=stream.name,
                table=str(stream.shape.relation),
            )


class PostgresSnapshot:
    """`ports.Snapshot` of a PostgreSQL server. Used by one thread; its readers by any."""

    def __init__(
        self,
        *,
        holder: PgConnection,
        connection: Connection,
        pipeline: str,
        search_path: str,
        snapshot_id: str,
        reads: tuple[StreamRead, ...],
        relations: Relations,
        leaves: Leaves,
        sessions: ReaderSessions,
        stop: Stop,
    ) -> None:
        self._holder = holder
        self._connection = connection
        self._pipeline = pipeline
        self._search_path = search_path
        self._snapshot_id = snapshot_id
        self._reads = {read.stream: read for read in reads}
        self._relations = relations
        self._leaves = leaves
        self._sessions = sessions
        self._stop = stop

    def partitions(
        self, stream: StreamPlan, partition_bytes: int, bounds: CursorBounds | None = None
    ) -> tuple[Partition, ...]:
        """Every row of the stream, or of the increment, in exactly one of them; sizes are asked for now."""
        with translated("source", f"splitting {stream.name}"):
            split = self._split(stream)
            if bounds is not None:
                ranges: Sequence[PartitionRange] = self._cursor_ranges(stream, bounds, partition_bytes)
            elif split.method == "ctid":
                ranges = self._block_ranges(stream, partition_bytes)
            elif split.key is not None:
                ranges = self._key_ranges(stream, split.key, partition_bytes)
            else:
                ranges = [Whole()]
        return tuple(Partition(stream=stream.name, index=index, range=part) for index, part in enumerate(ranges))

    def _split(self, stream: StreamPlan) -> Split:
        relation = self._relations.get(stream.name)
        keys = integer_keys(self._holder, [relation.oid]) if relation is not None else {}
        return choose_split(
            kind=stream.shape.kind,
            root_oid=relation.oid if relation is not None else None,
            leaves=self._leaves.get(stream.name, ()),
            version_number=self._holder.info.server_version,
            partition_key=stream.shape.spec.partition_key,
            indexed_key=keys.get(relation.oid) if relation is not None else None,
        )

    def _block_ranges(self, stream: StreamPlan, partition_bytes: int) -> list[PartitionRange]:
        leaves = self._leaves[stream.name]
        sizes = sizes_of(self._holder, [leaf.oid for leaf in leaves])
        ranges: list[PartitionRange] = []
        for leaf in leaves:
            size = sizes[leaf.oid]
            if leaf.is_heap:
                step = round(size.blocks * partition_bytes / max(1, size.bytes))
                ranges += ctid_ranges(leaf.name, blocks=size.blocks, blocks_per_range=step)
            else:
                ranges.append(Whole(relation=leaf.name))
        return ranges

    def _cursor_ranges(self, stream: StreamPlan, bounds: CursorBounds, partition_bytes: int) -> tuple[CursorRange, ...]:
        read = self._reads[stream.name]
        with self._user_path(read):
            return split_increment(
                self._holder,
                stream,
                read,
                self._leaves.get(stream.name, ()),
                bounds=bounds,
                partition_bytes=partition_bytes,
            )

    @contextmanager
    def _user_path(self, read: StreamRead) -> Generator[None]:
        """Inside, the holder has the search_path that the stream's SQL expects."""
        if read.runs_user_sql:
            self._holder.execute("SELECT pg_catalog.set_config('search_path', %s, true)", (self._search_path,))
        yield
        self._holder.execute("SET LOCAL search_path = pg_catalog")

    def _key_ranges(self, stream: StreamPlan, key: str, partition_bytes: int) -> tuple[KeyRange, ...]:
        """Equal widths between the least and the greatest key as they are now; the outer ranges are open anyway."""
        read = self._reads[stream.name]
        size = stream.shape.estimated_bytes
        count = max(1, -(-size // partition_bytes)) if size is not None else 1
        statement = sql.SQL("SELECT pg_catalog.min({key}), pg_catalog.max({key}) FROM {relation}").format(
            key=sql.Identifier(key), relation=relation_of(read)
        )
        where = conditions(read, Whole())
        if where:
            statement += sql.SQL(" WHERE {}").format(sql.SQL(" AND ").join(where))
        with self._user_path(read):
            row = self._holder.execute(statement).fetchone()
        minimum, maximum = row if row is not None else (None, None)
        return key_ranges(key, minimum=minimum, maximum=maximum, count=count)

    def reader(self, stream: StreamPlan, plan: RunPlan) -> ReadPartition:
        """The function that reads one of the stream's partitions, in this snapshot, from any thread."""
        task = self._task(stream, plan.flush, to_plain=plan.destination.is_plain)
        return functools.partial(read_partition, task, self._sessions)

    def _task(self, stream: StreamPlan, flush: FlushSettings, *, to_plain: bool = False) -> ReadTask:
        read = self._reads[stream.name]
        locked = sum(max(1, len(self._leaves.get(each, ()))) for each in self._reads)
        whole_rows = stream.wire not in ("binary-relay", "text-relay") or stream.rejects.sets_aside
        return ReadTask(
            connection=self._connection,
            pipeline=self._pipeline,
            snapshot_id=self._snapshot_id,
            search_path=self._search_path,
            read=read,
            locks=tuple(self._reads.values()) if locked <= LOCKS_PER_SESSION else (read,),
            wire=stream.wire,
            block_bytes=flush.block_bytes,
            large_rows_bytes=flush.large_rows_bytes,
            max_row_bytes=flush.max_row_bytes,
            whole_rows=whole_rows,
            forwards=to_plain and not whole_rows,
        )

    def still_has(self, stream: StreamPlan, partitions: tuple[Partition, ...]) -> bool:  # noqa: ARG002
        """True: only ranges of a cursor are recorded, and what lies between its bounds is all that is asked for."""
        return True

    def checksum(self, stream: StreamPlan, bounds: CursorBounds | None = None) -> str | None:
        """`count:sum:sum` of the stream's rows, or the increment's, in this snapshot; see `pg.checksum`."""
        read = self._reads[stream.name]
        part = Whole() if bounds is None else cursor_ranges(bounds, ())[0]
        rows = sql.SQL("({}) AS rows").format(select(read, part))
        found = self._ask(stream, checksum_query(rows, read.columns), f"computing the checksum of {stream.name}")
        return found[0][0]

    def sample(self, stream: StreamPlan, limit: int) -> Sampled:
        """The first rows as the server prints them; none of them is judged."""
        statement = select(self._reads[stream.name], Whole(), limit=limit)
        rows = self._ask(stream, statement, f"reading the first rows of {stream.name}")
        return Sampled(rows=rows, looked_at=len(rows))

    def _ask(self, stream: StreamPlan, statement: sql.Composed, doing: str) -> tuple[tuple[str | None, ...], ...]:
        """The rows of a statement that runs in the snapshot, each value as the server's text."""
        with (
            closing(open_session(self._task(stream, FlushSettings()), 0, self._stop)) as session,
            translated("source", doing),
        ):
            result = session.execute(statement).pgresult
            if result is None:
                raise snapshot_lost()
            return tuple(
                tuple(
                    None if (value := result.get_value(row, column)) is None else value.decode()
                    for column in range(result.nfields)
                )
                for row in range(result.ntuples)
            )

    def require_alive(self) -> None:
        """Raises SourceError when the holder is gone: its locks went with it."""
        try:
            self._holder.execute("SELECT 1")
        except psycopg.Error as error:
            raise snapshot_lost() from error
