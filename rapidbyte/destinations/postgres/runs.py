"""Rows of `runs`: who ran, when, and how it ended. History: no decision about data rests on it."""

from __future__ import annotations

from datetime import datetime
from typing import Any, LiteralString, cast

from psycopg import sql
from psycopg.types.json import Jsonb

from rapidbyte.pg.session import PgConnection
from rapidbyte.result import RunResult, to_document
from rapidbyte.spec import RunRequest
from rapidbyte.values import frozen


@frozen
class RunRecord:
    """A row of `runs`."""

    run_id: str
    pipeline: str
    run_key: str | None
    host: str
    pid: int
    tool_version: str
    status: str
    """running, succeeded, failed, cancelled, partial, or lost."""
    exit_code: int | None
    started_at: datetime
    finished_at: datetime | None
    streams: tuple[tuple[str, str | None], ...]
    """(name, status), in order; the status is None while it is not known."""


_SELECT: LiteralString = """
SELECT run_id, pipeline, run_key, host, pid, tool_version,
       CASE WHEN status = 'running' AND NOT EXISTS (
              SELECT FROM _rapidbyte.leases l JOIN pg_catalog.pg_stat_activity a ON a.pid = l.backend_pid
              WHERE l.pipeline = runs.pipeline AND l.run_id = runs.run_id
                    AND a.datname = pg_catalog.current_database()
                    AND coalesce(a.backend_start <= l.renewed_at, true))
            THEN 'lost' ELSE status END,
       exit_code, started_at, finished_at, streams
FROM _rapidbyte.runs
"""
"""A run whose lease nobody holds any more was killed; the next one would record that."""


def begin_run(connection: PgConnection, request: RunRequest) -> None:
    """Records a run that has got the lease; every other one of the pipeline that never ended is lost.

    May be repeated: the first try's COMMIT may have been carried out unheard.
    """
    connection.execute(
        "UPDATE _rapidbyte.runs SET status = 'lost', finished_at = pg_catalog.clock_timestamp()"
        " WHERE pipeline = %s AND status = 'running' AND run_id <> %s",
        (request.pipeline, request.run_id),
    )
    connection.execute(
        "INSERT INTO _rapidbyte.runs (run_id, pipeline, run_key, host, pid, tool_version, streams)"
        " VALUES (%s, %s, %s, %s, %s, %s, %s) ON CONFLICT (run_id) DO NOTHING",
        (
            request.run_id,
            request.pipeline,
            request.key,
            request.host,
            request.pid,
            request.tool_version,
            Jsonb([{"name": name, "status": None} for name in request.streams]),
        ),
    )


def end_run(connection: PgConnection, result: RunResult) -> None:
    """Records how a run ended, with its whole result. A run that was thought lost tells its own end after all."""
    connection.execute(
        "UPDATE _rapidbyte.runs SET status = %s, exit_code = %s, finished_at = pg_catalog.clock_timestamp(),"
        " streams = %s, result = %s WHERE run_id = %s",
        (
            result.status,
            result.exit_code,
            Jsonb([{"name": stream.name, "status": stream.status} for stream in result.streams]),
            Jsonb(_without_row_values(to_document(result))),
            result.run_id,
        ),
    )


def _without_row_values(value: object) -> object:
    """The document with every `row_detail` and the rows of a dry run left out: they were for a terminal (G6)."""
    if isinstance(value, dict):
        document = cast("dict[str, object]", value)
        hidden = ("row_detail", "sample")
        return {key: None if key in hidden else _without_row_values(part) for key, part in document.items()}
    if isinstance(value, list):
        return [_without_row_values(part) for part in cast("list[object]", value)]
    return value


def list_runs(connection: PgConnection, *, pipeline: str | None = None, limit: int = 20) -> tuple[RunRecord, ...]:
    """The latest runs, of one pipeline or of all; the newest first."""
    rows = connection.execute(
        sql.SQL("{} WHERE pipeline = coalesce(%s, pipeline) ORDER BY started_at DESC, run_id DESC LIMIT %s").format(
            sql.SQL(_SELECT)
        ),
        (pipeline, limit),
    ).fetchall()
    return tuple(map(_record, rows))


def find_run(connection: PgConnection, run_id: str) -> tuple[RunRecord, dict[str, Any] | None] | None:
    """One run and its result's document, which is None for one that never told its end; None where there is no run."""
    row = connection.execute(
        sql.SQL("{} WHERE run_id = %s").format(sql.SQL(_SELECT)),
        (run_id,),
    ).fetchone()
    if row is None:
        return None
    found = connection.execute("SELECT result FROM _rapidbyte.runs WHERE run_id = %s", (run_id,)).fetchone()
    return _record(row), found[0] if found else None


def _record(row: tuple[Any, ...]) -> RunRecord:
    *fields, streams = row
    run_id, pipeline, key, host, pid, version, status, exit_code, started_at, finished_at = fields
    return RunRecord(
        run_id=run_id,
        pipeline=pipeline,
        run_key=key,
        host=host,
        pid=pid,
        tool_version=version,
        status=status,
        exit_code=exit_code,
        started_at=started_at,
        finished_at=finished_at,
        streams=tuple((stream["name"], stream["status"]) for stream in streams),
    )
