"""Rows of `leases`: who may load a pipeline, who may take over, and the fence that everybody else runs into.

Only the server's clock decides.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal, LiteralString

from rapidbyte.errors import BusyError, FenceError
from rapidbyte.pg.session import PgConnection
from rapidbyte.values import frozen

EXPIRES_SECONDS = 30
"""After the last sign of life a holder may be taken for frozen."""

Verdict = Literal["take", "take over", "busy"]


@frozen
class Holder:
    """The lease's row."""

    fence: int
    run_id: str | None
    """None: the lease is free."""
    host: str | None
    pid: int | None
    backend_pid: int | None
    acquired_at: datetime | None
    renewed_at: datetime | None
    expired: bool
    """No sign of life for EXPIRES_SECONDS, by the server's clock."""
    connected: bool
    """The backend that holds the lock, or held it, is there."""


def decide(holder: Holder, *, locked: bool) -> Verdict:
    """Whether a run may take the lease; `locked`: it has got the advisory lock."""
    if holder.run_id is not None and holder.expired:
        return "take" if locked and not holder.connected else "take over"
    if not locked:
        return "busy"
    # A run that took over from a frozen one has the row, and gets the lock when the frozen one's session ends.
    return "busy" if holder.run_id is not None and holder.connected else "take"


LOOK: LiteralString = """
SELECT l.fence, l.run_id, l.host, l.pid, l.backend_pid, l.acquired_at, l.renewed_at,
       coalesce(l.expires_at <= clock_timestamp(), false),
       EXISTS (SELECT FROM pg_stat_activity a
               WHERE a.pid = l.backend_pid AND a.pid <> pg_backend_pid() AND a.datname = current_database()
                     AND a.application_name = %(name)s)
FROM _rapidbyte.leases l WHERE l.pipeline = %(pipeline)s
"""

TAKE: LiteralString = """
UPDATE _rapidbyte.leases
SET fence = fence + 1, run_id = %(run_id)s, host = %(host)s, pid = %(pid)s, backend_pid = pg_backend_pid(),
    acquired_at = clock_timestamp(), renewed_at = clock_timestamp(),
    expires_at = clock_timestamp() + make_interval(secs => %(seconds)s)
WHERE pipeline = %(pipeline)s RETURNING fence
"""

RENEW: LiteralString = """
UPDATE _rapidbyte.leases
SET backend_pid = pg_backend_pid(), renewed_at = clock_timestamp(),
    expires_at = clock_timestamp() + make_interval(secs => %(seconds)s)
WHERE pipeline = %(pipeline)s AND fence = %(fence)s AND run_id = %(run_id)s
"""

_FREE: LiteralString = """
UPDATE _rapidbyte.leases
SET run_id = NULL, host = NULL, pid = NULL, backend_pid = NULL, acquired_at = NULL, renewed_at = NULL,
    expires_at = NULL
WHERE pipeline = %s AND fence = %s AND run_id = %s
"""

TERMINATE: LiteralString = """
SELECT pg_terminate_backend(a.pid) FROM pg_stat_activity a, _rapidbyte.leases l
WHERE l.pipeline = %(pipeline)s AND l.fence = %(fence)s AND l.expires_at <= clock_timestamp()
  AND a.datname = current_database() AND a.pid <> pg_backend_pid()
  AND a.backend_start <= l.renewed_at + interval '6 s'
  AND (a.pid = l.backend_pid OR a.application_name = %(leader)s OR a.application_name ~ %(worker)s)
  AND (pg_has_role(a.usesysid, 'MEMBER') OR pg_has_role('pg_signal_backend', 'MEMBER'))
"""
"""Sessions of the frozen run: it began none later than it would have renewed the lease. Those that the pipeline's name
brought here since, as `plan` does, are younger."""


def require_fence(connection: PgConnection, *, pipeline: str, fence: int) -> None:
    """Raises FenceError unless the lease is still ours. Until the transaction ends, nobody takes it.

    FOR KEY SHARE keeps out a run that would raise the fence, which locks the row FOR UPDATE, and lets our own
    heartbeat renew it: a publish may take longer than the lease does.
    """
    row = _locked_row(connection, pipeline)
    if row is not None and row[0] == fence:
        return
    by = "" if row is None or row[1] is None else f" by run {row[1]} (process {row[3]} on {row[2]})"
    raise FenceError(
        f"the lease of pipeline {pipeline} was taken over{by}: this run gave no sign of life for {EXPIRES_SECONDS} s,"
        " or lost its connection",
        code="lease_lost",
        hint="that run does the work now; wait for it, then run again if it failed",
        afterwards="this run publishes nothing more",
    )


def is_ours(connection: PgConnection, *, pipeline: str, fence: int) -> bool:
    """As `require_fence`, for what a run that has lost its lease simply leaves undone."""
    row = _locked_row(connection, pipeline)
    return row is not None and row[0] == fence


def _locked_row(connection: PgConnection, pipeline: str) -> tuple[Any, ...] | None:
    return connection.execute(
        "SELECT fence, run_id, host, pid FROM _rapidbyte.leases WHERE pipeline = %s FOR KEY SHARE", (pipeline,)
    ).fetchone()


@frozen
class HeldRun:
    """The run that has the lease, as what it writes down says it."""

    pipeline: str
    run_id: str
    fence: int
    run_key: str | None = None
    source: str | None = None


def free(connection: PgConnection, held: HeldRun) -> None:
    """The lease's row is nobody's, if it was ours. The lock goes with the lease's own connection."""
    connection.execute(_FREE, (held.pipeline, held.fence, held.run_id))


def busy(pipeline: str, holder: Holder) -> BusyError:
    """The error of a run that finds another one at work."""
    if holder.run_id is None:
        text = f"another run of pipeline {pipeline} is just starting or ending"
    else:
        since = "" if holder.acquired_at is None else f" since {holder.acquired_at:%Y-%m-%d %H:%M:%S} UTC"
        text = (
            f"pipeline {pipeline} is being run by {holder.run_id}: process {holder.pid} on {holder.host},"
            f" backend {holder.backend_pid},{since}"
        )
    return BusyError(
        text,
        code="pipeline_busy",
        hint=f"wait for it; a run that has died is no obstacle, a frozen one for {EXPIRES_SECONDS} s",
        afterwards="the destination was not touched",
    )
