"""One partition, read: COPY TO STDOUT inside the run's snapshot, bytes handed on as they came."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager, suppress

import psycopg
from psycopg import sql
from psycopg.pq import TransactionStatus

from rapidbyte.errors import InternalError, SourceError
from rapidbyte.metrics import ReadTimes
from rapidbyte.model import Wire, session_name
from rapidbyte.partition import Partition
from rapidbyte.pg.copy import CopyOut
from rapidbyte.pg.large_rows import RowBudget
from rapidbyte.pg.message_reader import MessagesOut
from rapidbyte.pg.session import SESSION, PgConnection, begin, connect, is_plain, translated
from rapidbyte.ports import Block, Stop
from rapidbyte.sources.postgres.select import StreamRead, lock_statements, select
from rapidbyte.spec import Connection
from rapidbyte.values import frozen

CANCEL_SECONDS = 5.0
"""How long a reader that stops waits for the server to end its COPY; then it just leaves."""

LOCK_SECONDS = 10
"""How long a reader waits for a lock that the snapshot's holder has. It waits only behind somebody who wants the
table for himself and who waits for the holder: for ever, then."""

LOCKS_PER_SESSION = 200
"""A reader locks all tables of the run when it begins, as long as there are no more than these: the server's lock
table has room for 64 a connection. With more, it locks those of the stream it reads."""

TRANSFORMED_COPIES = 8
"""Of a large row that passes through transforms: as CSV, as Arrow, as the transforms', as COPY bytes. Measured."""

WHOLE_COPIES = 4
"""Of a large row that is kept until the server has taken it, so that it can be set aside: with rows of 48 MB, two of
them refused, 248 to 360 MB were measured, of which 70 are the interpreter's and 64 libpq's."""

SNAPSHOT_GONE = (
    psycopg.errors.InvalidParameterValue,  # up to version 17
    psycopg.errors.UndefinedObject,
    psycopg.errors.ObjectNotInPrerequisiteState,
)
"""What SET TRANSACTION SNAPSHOT says when the holder has ended."""

_COPY_OPTIONS: dict[Wire, sql.SQL] = {
    "binary-relay": sql.SQL("FORMAT binary"),
    "text-relay": sql.SQL("FORMAT text, ENCODING 'UTF8'"),
    # For transforms, which take whole rows of CSV: every value in quotes, NULL without.
    "arrow-text": sql.SQL("FORMAT csv, FORCE_QUOTE *, ENCODING 'UTF8'"),
}


@frozen
class ReadTask:
    """All that a reader of one stream needs. Picklable."""

    connection: Connection
    pipeline: str
    snapshot_id: str
    search_path: str
    """For the user's SQL, as `search_path` takes it."""
    read: StreamRead
    locks: tuple[StreamRead, ...]
    """What to lock when a session begins."""
    wire: Wire
    block_bytes: int
    large_rows_bytes: int
    """What rows larger than a block may take, those of all readers of a run together."""
    max_row_bytes: int
    whole_rows: bool
    """No row may be handed on in pieces: somebody looks at rows between here and the destination."""
    forwards: bool = False
    """The writer takes messages as they are, and its connection is plain."""

    @property
    def row_copies(self) -> int:
        """How many copies of a row are in memory beside libpq's buffer, at the most."""
        if self.wire == "arrow-text":
            return TRANSFORMED_COPIES
        return WHOLE_COPIES if self.whole_rows else 1


class ReaderSessions:
    """Sessions in the snapshot, kept from one partition to the next, so that what they have locked stays locked.

    A session that came later could wait for ever: behind a TRUNCATE that waits for the snapshot's holder, which waits
    for its readers. One per worker, closed by `close`. Pickled, it keeps none: in another process nobody would close
    them.
    """

    def __init__(self, *, keep: bool = True) -> None:
        self._lock = threading.Lock()
        self._idle: dict[int, PgConnection] = {}
        self._closed = not keep
        self._rows: RowBudget | None = None

    def __reduce__(self) -> tuple[Callable[[], ReaderSessions], tuple[()]]:
        return (_keep_none, ())

    def take(self, worker: int) -> PgConnection | None:
        """The session that this worker gave back; None where it has none."""
        with self._lock:
            return self._idle.pop(worker, None)

    def give_back(self, worker: int, connection: PgConnection) -> None:
        """Keeps a session whose COPY has ended."""
        with self._lock:
            if not self._closed and worker not in self._idle:
                self._idle[worker] = connection
                return
        connection.close()

    def rows(self, task: ReadTask) -> RowBudget:
        """The room that large rows share; made when it is first asked for."""
        with self._lock:
            if self._rows is None:
                self._rows = RowBudget(limit_bytes=task.large_rows_bytes, max_row_bytes=task.max_row_bytes)
            return self._rows

    def close(self) -> None:
        """Closes all sessions that are not in use; the others are closed when they are given back."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, {}
        for connection in idle.values():
            connection.close()


def _keep_none() -> ReaderSessions:
    return ReaderSessions(keep=False)


class PartitionBlocks:
    """The blocks of one partition, in order; afterwards `row_count` is the server's own count of its rows."""

    def __init__(self, copy: CopyOut | MessagesOut, *, binary: bool, doing: str) -> None:
        self._copy = copy
        self._binary = binary
        self._doing = doing
        self._seconds = 0.0
        self._rows = 0

    @property
    def finished(self) -> bool:
        """The server has sent everything and said so."""
        return self._copy.row_count is not None

    @property
    def row_count(self) -> int:
        """The server's count. Raises InternalError before the end, or when other rows than these were handed on."""
        if self._copy.row_count != self._rows:
            raise InternalError(
                f"{self._rows} rows were handed on while {self._doing}, the server counts {self._copy.row_count}",
                code="row_count",
            )
        return self._rows

    @property
    def times(self) -> ReadTimes:
        """Seconds so far, without those in which nobody asked for the next block."""
        blocked = self._copy.blocked_s
        return ReadTimes(blocked_s=blocked, busy_s=max(0.0, self._seconds - blocked))

    def __iter__(self) -> Iterator[Block]:
        # The trailer of binary COPY is a message of its own, and no row. Nobody knows which block it will be in, so
        # it is taken off the first: a row counts as ended when the next message is there.
        spare = 1 if self._binary else 0
        with translated("source", self._doing):
            started = time.monotonic()
            for block in self._copied(spare):
                self._seconds += time.monotonic() - started
                self._rows += block.rows
                yield block
                del block  # a large row is in memory as often as someone holds on to it
                started = time.monotonic()
            self._seconds += time.monotonic() - started

    def _copied(self, spare: int) -> Iterator[Block]:
        if isinstance(self._copy, CopyOut):
            for data, messages in self._copy:
                rows = max(0, messages - spare)
                spare -= messages - rows
                yield Block(data=data, rows=rows, size=len(data))
                del data
            return
        for frames in self._copy:
            rows = max(0, frames.rows - spare)
            spare -= frames.rows - rows
            missing = frames.missing_bytes
            yield Block(data=frames.data, rows=rows, size=frames.size, is_framed=True, missing_bytes=missing)


@contextmanager
def read_partition(
    task: ReadTask, sessions: ReaderSessions, partition: Partition, stop: Stop, worker: int
) -> Generator[PartitionBlocks]:
    """A partition's blocks. Entered with a session in the run's snapshot; left early, the server's work is cancelled.

    Raises SourceError, PrivilegeError, CancelledError.
    """
    doing = f"reading {task.read.relation or task.read.stream}"
    connection = sessions.take(worker) or open_session(task, worker, stop)
    connection.stop = stop
    share = sessions.rows(task).share(task.read.stream, copies=task.row_copies, stop=stop, doing=doing)
    finished = False
    try:
        with translated("source", doing):
            set_search_path(connection, task)
        statement = sql.SQL("COPY ({}) TO STDOUT ({})").format(
            select(task.read, partition.range), _COPY_OPTIONS[task.wire]
        )
        copy: CopyOut | MessagesOut
        if task.forwards and is_plain(connection):
            copy = MessagesOut(connection, statement, block_bytes=task.block_bytes, stop=stop, doing=doing)
        else:
            copy = CopyOut(
                connection,
                statement,
                block_bytes=task.block_bytes,
                stop=stop,
                doing=doing,
                share=share,
                cuts_rows=not task.whole_rows,
            )
        blocks = PartitionBlocks(copy, binary=task.wire == "binary-relay", doing=doing)
        yield blocks
        finished = blocks.finished
    finally:
        if finished and not share.grew:
            sessions.give_back(worker, connection)
        else:
            abandon(connection)
        share.release()


def open_session(task: ReadTask, worker: int, stop: Stop) -> PgConnection:
    """A session in the run's snapshot, with the tables locked. The caller closes it."""
    connection = connect(
        task.connection, side="source", application_name=session_name(f"reader-{worker}", task.pipeline), stop=stop
    )
    with ExitStack() as undo:
        undo.callback(connection.close)
        with translated("source", "joining the snapshot"):
            enter_snapshot(connection, task)
        undo.pop_all()
    return connection


def enter_snapshot(connection: PgConnection, task: ReadTask) -> None:
    """Begins a transaction that sees what the snapshot's holder sees, and locks what it has locked."""
    settings = (*SESSION, ("lock_timeout", f"{LOCK_SECONDS}s"))
    begin(connection, settings, mode="ISOLATION LEVEL REPEATABLE READ READ ONLY")
    try:
        connection.execute(sql.SQL("SET TRANSACTION SNAPSHOT {}").format(sql.Literal(task.snapshot_id)))
    except SNAPSHOT_GONE as error:
        raise snapshot_lost() from error
    connection.execute("SELECT pg_catalog.set_config('search_path', %s, true)", (task.search_path,))
    try:
        for statement in lock_statements(task.locks):
            connection.execute(statement)
    except psycopg.errors.LockNotAvailable as error:
        raise SourceError(
            "another session waits to have a table of this run for itself (TRUNCATE, ALTER TABLE, VACUUM FULL)",
            code="lock_not_available",
            hint="it came between the snapshot and its first readers: run again",
            sqlstate=error.sqlstate,
        ) from error
    connection.execute("SET LOCAL lock_timeout = 0")


def set_search_path(connection: PgConnection, task: ReadTask) -> None:
    """The role's own search_path for the user's SQL, nothing but the system's for ours; for this transaction."""
    path = task.search_path if task.read.runs_user_sql else "pg_catalog"
    connection.execute("SELECT pg_catalog.set_config('search_path', %s, true)", (path,))


def snapshot_lost() -> SourceError:
    """The error of a run whose snapshot is gone."""
    return SourceError(
        "the source's snapshot is gone: the session that held it has ended",
        code="snapshot_lost",
        hint="run again; nothing of the streams that were under way is published",
    )


def abandon(connection: PgConnection) -> None:
    """Closes a session, and ends what the server still does for it."""
    with suppress(psycopg.Error):
        if connection.pgconn.transaction_status == TransactionStatus.ACTIVE:
            connection.cancel_safe(timeout=CANCEL_SECONDS)
    connection.close()
