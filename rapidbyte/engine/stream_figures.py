"""What became of a stream -> its part of the result. Pure."""

from __future__ import annotations

from rapidbyte.contract import PartitionReceipt, WorkerReport
from rapidbyte.engine.outcome import StreamOutcome
from rapidbyte.engine.worker_figures import by_worker, timeline, worker_result
from rapidbyte.errors import CommitState
from rapidbyte.result import (
    ChecksumResult,
    CursorResult,
    PartitionCounts,
    SchemaChangeResult,
    StreamResult,
    error_info,
)
from rapidbyte.spec import PipelineSpec, RunOptions


def stream_result(spec: PipelineSpec, options: RunOptions, outcome: StreamOutcome, started_s: float) -> StreamResult:
    """One stream, whatever became of it. Nothing is written where nothing is published.

    `started_s` is the run's start, by the monotonic clock.
    """
    plan, published, reports = outcome.plan, outcome.published, outcome.reports
    began = outcome.partition_count is not None
    idle = outcome.published_by is not None or (outcome.bounds is not None and outcome.bounds.is_empty)
    read = _rows_read(outcome) if began else 0 if idle else None
    return StreamResult(
        name=outcome.spec.name,
        target=str(plan.target) if plan is not None else outcome.spec.target or outcome.spec.name,
        sync_mode=outcome.spec.sync_mode,
        write_mode=plan.write_mode if plan is not None else outcome.spec.write_mode or spec.destination.write_mode,
        publish=published.publish if published is not None else plan.publish if plan is not None else None,
        publish_reason=plan.publish_reason if plan is not None else None,
        wire=plan.wire if plan is not None else None,
        status=outcome.status,
        commit_state=commit_state(outcome),
        safe_to_retry=safe_to_retry(outcome) or (outcome.error is None and options.key is not None),
        records_read=len(outcome.sample.rows) if outcome.sample is not None else read,
        records_written=_rows_written(outcome) if read is not None or options.dry_run else None,
        records_rejected=_rows_rejected(outcome) if began else _rows_to_reject(outcome),
        bytes_read=sum(report.bytes_read for report in reports) if began else None,
        bytes_written=sum(receipt.bytes for receipt in _receipts(outcome))
        if published is not None or _landed(outcome)
        else 0
        if began
        else None,
        duration_s=_duration(outcome),
        partitions=_partitions(outcome),
        cursor=_cursor(outcome),
        schema_changes=_schema_changes(outcome),
        lossy_columns=plan.lossy_columns if plan is not None else (),
        warnings=_warnings(outcome),
        checksum=_checksum(outcome),
        workers=tuple(
            worker_result(spec.pipeline, worker, own, started_s) for worker, own in by_worker(reports).items()
        ),
        timeline=timeline(reports, started_s),
        error=error_info(outcome.error, show_row_values=options.show_row_values) if outcome.error else None,
        sample=outcome.sample,
    )


def _rows_read(outcome: StreamOutcome) -> int:
    """Rows that the source has delivered; of partitions of an earlier run, those that were written."""
    now = sum(
        report.receipt.rows + report.receipt.rejected if report.rows_read is None else report.rows_read
        for report in outcome.reports
    )
    return now + sum(receipt.rows + receipt.rejected for receipt in outcome.resumed)


def _rows_rejected(outcome: StreamOutcome) -> int:
    """Rows that were set aside by the workers, and by the leader when it published; none of a load that is given up."""
    if outcome.published is None and not outcome.resumable:
        return 0  # deleted with it
    published = outcome.published.rejected if outcome.published is not None else 0
    return published + sum(receipt.rejected for receipt in _receipts(outcome))


def _rows_to_reject(outcome: StreamOutcome) -> int | None:
    """Of a dry run, rows that a load would set aside, among those that were looked at."""
    sets_aside = outcome.plan is not None and outcome.plan.rejects.sets_aside
    return outcome.sampled.rejected if outcome.sampled is not None and sets_aside else None


def _rows_written(outcome: StreamOutcome) -> int:
    """Rows that readers of the target can see."""
    if outcome.published is not None:
        return outcome.published.rows
    return sum(receipt.rows for receipt in _receipts(outcome)) if _landed(outcome) else 0


def _landed(outcome: StreamOutcome) -> bool:
    """Partitions of a direct load are in the target, and the load has failed."""
    direct = outcome.plan is not None and outcome.plan.publish == "direct"
    return direct and outcome.published is None and bool(outcome.reports or outcome.resumed)


def commit_state(outcome: StreamOutcome) -> CommitState:
    """The stream's as a whole: published, not published, or not known."""
    done = outcome.status == "succeeded" and outcome.sample is None
    if outcome.published is not None or done or _landed(outcome):
        return "after_commit_confirmed"
    return outcome.error.context.commit_state if outcome.error is not None else "before_commit"


def safe_to_retry(outcome: StreamOutcome) -> bool:
    """Whether running the stream again leaves what one run would have: not an append that is, or may be, published,
    unless it was an increment: the next one begins where it ended.
    """
    if outcome.error is not None:
        return outcome.error.context.safe_to_retry and (outcome.resumable or not _landed(outcome))
    if outcome.bounds is not None:
        return True
    return outcome.published is None or outcome.plan is None or outcome.plan.write_mode != "append"


def _duration(outcome: StreamOutcome) -> float | None:
    if outcome.started_s is None or outcome.ended_s is None:
        return None
    return outcome.ended_s - outcome.started_s


def _partitions(outcome: StreamOutcome) -> PartitionCounts | None:
    if outcome.partition_count is None:
        return None
    return PartitionCounts(
        total=outcome.partition_count,
        loaded=sum(not _resumed(report) for report in outcome.reports),
        resumed=len(outcome.resumed) + sum(_resumed(report) for report in outcome.reports),
    )


def _receipts(outcome: StreamOutcome) -> tuple[PartitionReceipt, ...]:
    """Of all partitions that are committed, by this run or an earlier one of the same load."""
    return (*outcome.resumed, *(report.receipt for report in outcome.reports))


def _cursor(outcome: StreamOutcome) -> CursorResult | None:
    """From where to where the load went; for one that is not published, was to go. An empty one stays where it is."""
    bounds = outcome.bounds
    if bounds is None:
        return None
    return CursorResult(field=bounds.field, low=bounds.low, high=bounds.stored if bounds.high is None else bounds.high)


def _resumed(report: WorkerReport) -> bool:
    """An earlier run had committed it. (A retry that finds a receipt finds that of this run's own lost COMMIT.)"""
    return report.receipt.already_loaded and report.attempts == 1


def _schema_changes(outcome: StreamOutcome) -> tuple[SchemaChangeResult, ...]:
    if outcome.plan is None:
        return ()
    return tuple(
        SchemaChangeResult(
            kind=change.kind,
            column=change.column,
            before=change.before,
            after=change.after,
            statement=change.statement,
        )
        for change in outcome.plan.schema_changes
    )


def _warnings(outcome: StreamOutcome) -> tuple[str, ...]:
    planned = outcome.plan.warnings + outcome.plan.shape.warnings if outcome.plan is not None else ()
    published = outcome.published.warnings if outcome.published is not None else ()
    before = outcome.published_by
    known = (f"it was published by run {before} under the same key: nothing was loaded again",) if before else ()
    taken = outcome.bounds.warnings if outcome.bounds is not None else ()
    return tuple(dict.fromkeys((*planned, *known, *taken, *published, *_set_aside(outcome))))


def _set_aside(outcome: StreamOutcome) -> tuple[str, ...]:
    """That a published stream lacks rows of its source; of a dry run, that it would."""
    if outcome.sampled is not None and (bad := _rows_to_reject(outcome)):
        of = f"{bad} of the {outcome.sampled.looked_at} rows looked at would be set aside"
        return (f"{of}; the first: {outcome.sampled.first_reject}",)
    count = _rows_rejected(outcome) if outcome.published is not None else 0
    if not count or outcome.plan is None:
        return ()
    rows = "1 bad row was" if count == 1 else f"{count} bad rows were"
    if not _rows_written(outcome):
        rows = f"no row was loaded, and {rows}"
    if outcome.plan.rejects.action == "dlq":
        return (f"{rows} set aside: `rapidbyte rejects list PIPELINE` names {'it' if count == 1 else 'them'}",)
    return (f"{rows} set aside: they were not kept",)


def _checksum(outcome: StreamOutcome) -> ChecksumResult | None:
    if outcome.published is None or outcome.published.checksum is None:
        return None
    whole = outcome.source_checksum is not None and not _rows_rejected(outcome)
    comparable = whole and outcome.plan is not None and outcome.plan.moves_rows_unchanged
    return ChecksumResult(
        source=outcome.source_checksum,
        destination=outcome.published.checksum,
        match=outcome.source_checksum == outcome.published.checksum if comparable else None,
    )
