"""JSON documents: of a result, a plan, a check, the streams of a source. Pure but for the process's own CPU time."""

from __future__ import annotations

import json
import resource
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

from rapidbyte.cursor import CursorPlan
from rapidbyte.engine.figures import cpu_usage, tool_info
from rapidbyte.engine.run import new_run_id
from rapidbyte.engine.worker_figures import workers_summary
from rapidbyte.errors import RapidbyteError
from rapidbyte.metrics import CpuTimes, available_cores
from rapidbyte.model import Column
from rapidbyte.plan import CheckReport, RunPlan, SchemaChange, StreamPlan, StreamShape
from rapidbyte.report.escape import masked
from rapidbyte.report.overview import without_literals
from rapidbyte.result import Phases, RunResult, ServerInfo, error_info


def document_text(document: dict[str, Any]) -> str:
    """The document as JSON, in ASCII, ending in a newline.

    ASCII, because an escaped control or bidi character harms no terminal, and no encoding of stdout refuses it.
    Sentences that may quote a server lose their passwords.
    """
    text = json.dumps(masked(document), indent=2, ensure_ascii=True, allow_nan=False)
    # JSON does not count DEL among the characters that it must escape; a terminal acts on it.
    return text.replace("\x7f", "\\u007f") + "\n"


def failed_before_start(
    error: RapidbyteError, *, pipeline: str, elapsed_s: float, dry_run: bool, show_row_values: bool
) -> RunResult:
    """The result of a run that ended before the engine could start: a wrong file, a wrong option.

    `pipeline` is its name, or the file's where the name could not be read. CPU figures are the process's own.
    """
    finished_at = datetime.now(UTC)
    used = resource.getrusage(resource.RUSAGE_SELF)
    cpu = CpuTimes(
        user_s=used.ru_utime,
        system_s=used.ru_stime,
        peak_rss_bytes=_resident_bytes(used.ru_maxrss),
        samples=1,
        elapsed_s=elapsed_s,
        cores=available_cores(),
    )
    return RunResult(
        run_id=new_run_id(),
        pipeline=pipeline,
        status="cancelled" if error.category == "cancelled" else "failed",
        exit_code=error.exit_code,
        dry_run=dry_run,
        started_at=_timestamp(finished_at - timedelta(seconds=elapsed_s)),
        finished_at=_timestamp(finished_at),
        duration_s=elapsed_s,
        attempts=1,
        retry_count=0,
        ddl_race_retries=0,
        tool=tool_info(),
        server=ServerInfo(source=None, destination=None),
        records_read=0,
        records_written=0,
        records_rejected=0,
        bytes_read=0,
        bytes_written=0,
        rows_per_s=None,
        mb_per_s=None,
        phases=Phases(preflight_s=elapsed_s, prepare_s=0.0, load_s=0.0, finalize_s=0.0, cleanup_s=0.0),
        cpu=cpu_usage(cpu),
        workers=workers_summary((), 0),
        tuning=None,
        streams=(),
        verdict=None,
        warnings=(),
        error=error_info(error, show_row_values=show_row_values),
    )


def _resident_bytes(max_rss: int) -> int:
    """`ru_maxrss` is in KiB on Linux, in bytes on macOS (getrusage(2) of each)."""
    return max_rss if sys.platform == "darwin" else max_rss * 1024


def _timestamp(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def plan_document(plan: RunPlan) -> dict[str, Any]:
    """What `rapidbyte plan --output json` prints."""
    return {
        "schema_version": 1,
        "pipeline": plan.pipeline,
        "source": plan.source.version if plan.source is not None else None,
        "destination": plan.destination.version,
        "same_database": plan.same_database,
        "workers": plan.workers,
        "workers_reason": plan.workers_reason,
        "checkpoint_interval_bytes": plan.checkpoint_interval_bytes,
        "block_bytes": plan.flush.block_bytes,
        "max_inflight_bytes": plan.flush.max_inflight_bytes,
        "streams": [_stream_plan(stream, plan.partition_bytes(stream)) for stream in plan.streams],
        "hooks": {
            "before_load": [without_literals(statement) for statement in plan.hooks.before_load],
            "after_load": [without_literals(statement) for statement in plan.hooks.after_load],
        },
        "warnings": list(plan.warnings),
    }


def _stream_plan(stream: StreamPlan, partition_bytes: int) -> dict[str, Any]:
    shape = stream.shape
    return {
        "name": stream.name,
        "kind": shape.kind,
        "relation": str(shape.relation) if shape.relation is not None else None,
        "target": str(stream.target),
        "target_exists": stream.replace.target_exists,
        "sync_mode": shape.spec.sync_mode,
        "cursor": _cursor(stream.cursor) if stream.cursor is not None else None,
        "write_mode": stream.write_mode,
        "publish": stream.publish,
        "publish_reason": stream.publish_reason,
        "wire": stream.wire,
        "primary_key": list(stream.primary_key),
        "partitioning": shape.partitioning,
        "partition_bytes": partition_bytes,
        "estimated_rows": shape.estimated_rows,
        "estimated_bytes": shape.estimated_bytes,
        "files": len(shape.files) if shape.files else None,
        "new_files": stream.new_files,
        "on_data_error": stream.rejects.action,
        "max_rejects": stream.rejects.limit if stream.rejects.sets_aside else None,
        "transforms": list(shape.transforms),
        "columns": [
            {
                "name": column.source.name,
                "target": column.target.name,
                "source_type": column.source.type.name,
                "target_type": column.target.type.name,
                "conversion": column.conversion,
                "reason": column.source.reason,
            }
            for column in stream.columns
        ],
        "statements": list(stream.statements),
        "schema_changes": [_schema_change(change) for change in stream.schema_changes],
        "lossy_columns": list(stream.lossy_columns),
        "warnings": [*shape.warnings, *stream.warnings],
    }


def _cursor(cursor: CursorPlan) -> dict[str, Any]:
    return {
        "field": cursor.field,
        "type": cursor.type,
        "index": cursor.column.index,
        "tie_breaker": cursor.tie_breaker,
        "stored": cursor.stored,
        "lag_seconds": cursor.lag_seconds,
        "lag_count": cursor.lag_count,
        "null_cursor": cursor.nulls,
    }


def _schema_change(change: SchemaChange) -> dict[str, Any]:
    return {
        "kind": change.kind,
        "column": change.column,
        "from": change.before,
        "to": change.after,
        "statement": change.statement,
    }


def streams_document(shapes: tuple[StreamShape, ...]) -> dict[str, Any]:
    """What `rapidbyte discover --output json` prints."""
    return {"schema_version": 1, "streams": [_stream_shape(shape) for shape in shapes]}


def _stream_shape(shape: StreamShape) -> dict[str, Any]:
    return {
        "name": shape.spec.name,
        "kind": shape.kind,
        "relation": str(shape.relation) if shape.relation is not None else None,
        "path": list(shape.spec.path) if isinstance(shape.spec.path, tuple) else shape.spec.path,
        "primary_key": list(shape.primary_key),
        "estimated_rows": shape.estimated_rows,
        "estimated_bytes": shape.estimated_bytes,
        "columns": [_column(column) for column in shape.columns],
        "warnings": list(shape.warnings),
    }


def _column(column: Column) -> dict[str, Any]:
    return {
        "name": column.name,
        "type": column.type.name,
        "nullable": column.nullable,
        "generated": column.generated,
        "identity": column.identity,
        "reason": column.reason,
    }


def check_document(report: CheckReport) -> dict[str, Any]:
    """What `rapidbyte check --output json` prints."""
    return {
        "schema_version": 1,
        "pipeline": report.pipeline,
        "ok": report.ok,
        "items": [
            {"name": item.name, "ok": item.ok, "detail": item.detail, "hint": item.hint} for item in report.items
        ],
    }
