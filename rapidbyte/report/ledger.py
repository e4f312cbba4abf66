"""What `runs`, `state` and `gc` print of the ledger, as text and as JSON documents. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from rapidbyte.report.escape import shown
from rapidbyte.report.summary import UNKNOWN, count, counted, seconds

if TYPE_CHECKING:
    from rapidbyte.cursor import StoredCursor
    from rapidbyte.destinations.postgres.cursors import CursorRecord
    from rapidbyte.destinations.postgres.loads import LoadRecord
    from rapidbyte.destinations.postgres.runs import RunRecord
    from rapidbyte.destinations.postgres.state import Landed, PipelineState, Sweep


def runs_document(runs: Sequence[RunRecord]) -> dict[str, Any]:
    """What `rapidbyte runs --output json` prints; the newest first."""
    return {"schema_version": 1, "runs": [run_document(run) for run in runs]}


def run_document(run: RunRecord) -> dict[str, Any]:
    """What the ledger knows of a run but its result."""
    return {
        "run_id": run.run_id,
        "pipeline": run.pipeline,
        "key": run.run_key,
        "status": run.status,
        "exit_code": run.exit_code,
        "started_at": _moment(run.started_at),
        "finished_at": _moment(run.finished_at),
        "host": run.host,
        "pid": run.pid,
        "tool_version": run.tool_version,
        "streams": [{"name": name, "status": status} for name, status in run.streams],
    }


def runs_text(runs: Sequence[RunRecord], pipeline: str | None = None) -> str:
    """One line a run, the newest first; `pipeline` is the one whose runs were asked for, None for all."""
    if not runs:
        whose = "" if pipeline is None else f" of pipeline {shown(pipeline)}"
        return f"no run{whose} is recorded in this destination\n"
    width = max(len(shown(run.pipeline)) for run in runs)
    return "".join(f"{_run_line(run, width)}\n" for run in runs)


def _run_line(run: RunRecord, width: int) -> str:
    lasted = None if run.finished_at is None else (run.finished_at - run.started_at).total_seconds()
    bad = [f"{shown(name)} {status}" for name, status in run.streams if status not in ("succeeded", None)]
    code = UNKNOWN if run.exit_code is None else str(run.exit_code)
    line = (
        f"{shown(run.run_id)}  {shown(run.pipeline):<{width}}  {run.started_at.astimezone(UTC):%Y-%m-%d %H:%M:%S}  "
        f"{seconds(lasted):>8}  {run.status:<9}  exit {code:>2}  {counted(len(run.streams), 'stream')}"
    )
    gone = "; its process is gone: run it again" if run.status == "lost" and run.finished_at is None else ""
    return line + (f": {', '.join(bad)}" if bad else "") + gone


def state_document(state: PipelineState, stream: str | None = None) -> dict[str, Any]:
    """What `rapidbyte state show --output json` prints; with `stream` only what concerns it."""
    lease = state.lease
    running = lease is not None and lease.running is not None
    return {
        "schema_version": 1,
        "pipeline": state.pipeline,
        "running": None
        if lease is None or not running
        else {
            "run_id": lease.run_id,
            "host": lease.host,
            "pid": lease.pid,
            "since": _moment(lease.acquired_at),
            "renewed_at": _moment(lease.renewed_at),
        },
        "cursors": [_cursor(each) for each in state.cursors if stream in (None, each.stream)],
        "unfinished_loads": [_load(state, load) for load in state.unfinished if stream in (None, load.stream)],
    }


def _cursor(record: CursorRecord) -> dict[str, Any]:
    files = [{"path": file.path, "size": file.size, "digest": file.digest} for file in record.cursor.files]
    return {
        "stream": record.stream,
        "field": record.cursor.field,
        "type": record.cursor.type,
        "value": record.cursor.value,
        **({"files": files} if files else {}),
        "run_id": record.run_id,
        "updated_at": _moment(record.updated_at),
    }


def _load(state: PipelineState, load: LoadRecord) -> dict[str, Any]:
    partitions, rows = state.receipts.get(load.load_id, (0, 0))
    return {
        "stream": load.stream,
        "load_id": load.load_id,
        "publish": load.publish,
        "stage": str(load.stage) if load.stage is not None else None,
        "partitions": partitions,
        "rows": rows,
    }


def state_text(state: PipelineState, stream: str | None = None) -> str:
    """The same for people."""
    lines = [f"pipeline {shown(state.pipeline)}"]
    lease = state.lease
    if lease is not None and lease.running is not None:
        lines.append(f"  run {shown(lease.running)} has the lease: process {lease.pid} on {shown(str(lease.host))}")
    for each in state.cursors:
        if stream in (None, each.stream):
            by = "by hand" if each.run_id is None else f"by run {shown(each.run_id)}"
            cursor = each.cursor
            lines.append(f"  {shown(each.stream)}: {_up_to(cursor)}, set {by}")
    for load in state.unfinished:
        if stream in (None, load.stream):
            partitions, rows = state.receipts.get(load.load_id, (0, 0))
            lines.append(
                f"  {shown(load.stream)}: load {load.load_id} is not finished: {counted(rows, 'row')} in "
                f"{counted(partitions, 'partition')}, stage {shown(str(load.stage or UNKNOWN))}"
            )
    if len(lines) == 1:
        lines.append("  the ledger has no cursor and no unfinished load of it")
    return "".join(f"{line}\n" for line in lines)


def _up_to(cursor: StoredCursor) -> str:
    if cursor.files:
        return f"{counted(len(cursor.files), 'file')} loaded; the last by name is {shown(cursor.files[-1].path)}"
    return f"loaded up to {shown(cursor.field)} = {shown(cursor.value)}"


def sweep_document(sweep: Sweep, pipeline: str, *, dry_run: bool) -> dict[str, Any]:
    """What `rapidbyte gc --output json` prints."""
    return {
        "schema_version": 1,
        "pipeline": pipeline,
        "dry_run": dry_run,
        "stages_dropped": [str(name) for name in sweep.dropped],
        "stages_kept": [str(name) for name in sweep.kept],
        "resumable": [
            {"stream": load.stream, "load_id": load.load_id, "partitions": load.partitions, "rows": load.rows}
            for load in sweep.resumable
        ],
        "receipts_deleted": sweep.receipts,
        "direct_loads": [
            {"stream": load.stream, "load_id": load.load_id, "rows": load.rows, "rows_removed": load.removed}
            for load in sweep.landed
        ],
        "orphans": [{"table": str(each.table), "drop": each.drop} for each in sweep.orphans],
    }


def sweep_text(sweep: Sweep, *, dry_run: bool) -> str:
    """The same for people."""
    verb = "would be dropped" if dry_run else "dropped"
    lines = [f"{shown(str(name))}: {verb}" for name in sweep.dropped]
    lines += [f"{shown(str(name))}: kept, it could not be dropped now; run gc again" for name in sweep.kept]
    lines += [
        f"{shown(load.stream)}: the next run could go on with load {load.load_id}, which holds"
        f" {counted(load.rows, 'row')} in {counted(load.partitions, 'partition')}; gc gives it up"
        for load in sweep.resumable
    ]
    lines += [_landed_line(load, dry_run=dry_run) for load in sweep.landed]
    if not dry_run and sweep.receipts:
        lines.append(f"{counted(sweep.receipts, 'receipt')} of ended loads: deleted")
    lines += [
        f"{shown(str(each.table))}: named as a stage, and the ledger knows of no such load; if it is of no use: "
        f"{shown(each.drop)}"
        for each in sweep.orphans
    ]
    return "".join(f"{line}\n" for line in lines or ["nothing was left behind"])


def _landed_line(load: Landed, *, dry_run: bool) -> str:
    what = f"{shown(load.stream)}: {counted(load.rows, 'row')} of the direct load {load.load_id}, which did not end,"
    if load.removed is None:
        return f"{what} are in the target; " + ("--undo would remove them" if dry_run else "gc --undo removes them")
    left = load.rows - load.removed
    kept = f"; {count(left)} have changed since" if left else ""
    return f"{what} were in the target: {count(load.removed)} removed{kept}"


def _moment(moment: datetime | None) -> str | None:
    return None if moment is None else moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
