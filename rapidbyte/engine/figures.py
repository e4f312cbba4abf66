"""What happened -> the run's result. Pure: figures are added up here, never measured."""

from __future__ import annotations

import itertools
import platform
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

import rapidbyte
from rapidbyte.contract import PartitionReceipt, WorkerReport
from rapidbyte.engine.outcome import RunOutcome, StreamOutcome
from rapidbyte.engine.verdict import Surroundings, verdict, why_no_verdict
from rapidbyte.errors import CancelledError, CommitState
from rapidbyte.metrics import CpuTimes, WorkTimes
from rapidbyte.model import session_name
from rapidbyte.result import (
    AdjustmentResult,
    ChecksumResult,
    CpuUsage,
    CursorResult,
    PartitionCounts,
    Phases,
    RunResult,
    RunStatus,
    SchemaChangeResult,
    ServerInfo,
    StreamResult,
    TimelineEntry,
    ToolInfo,
    TuningResult,
    WaitTimes,
    WorkerResult,
    WorkersSummary,
    error_info,
)
from rapidbyte.spec import PipelineSpec, PostgresSourceSpec, RunOptions
from rapidbyte.values import frozen

MEGABYTE = 1024 * 1024


@frozen
class RunIdentity:
    """The run's name and its start, by both clocks: UTC for people, monotonic for figures."""

    run_id: str
    started_at: datetime
    started_s: float


def build(
    spec: PipelineSpec,
    options: RunOptions,
    identity: RunIdentity,
    outcome: RunOutcome,
    *,
    phases: Phases,
    duration_s: float,
    cpu: CpuTimes,
    ddl_races: int,
) -> RunResult:
    """The result of a run that has ended, well or not."""
    streams = tuple(stream_result(spec, options, identity, stream) for stream in outcome.streams)
    reports = [report for stream in outcome.streams for report in stream.reports]
    written = sum(stream.records_written or 0 for stream in streams)
    bytes_written = sum(stream.bytes_written or 0 for stream in streams)
    plan = outcome.plan
    return RunResult(
        run_id=identity.run_id,
        pipeline=spec.pipeline,
        status=run_status(outcome),
        exit_code=outcome.error.exit_code if outcome.error is not None else 0,
        dry_run=options.dry_run,
        started_at=_timestamp(identity.started_at),
        finished_at=_timestamp(identity.started_at + timedelta(seconds=duration_s)),
        duration_s=duration_s,
        attempts=outcome.attempts,
        retry_count=outcome.retries + sum(stream.retries for stream in outcome.streams),
        ddl_race_retries=ddl_races,
        tool=tool_info(),
        server=ServerInfo(
            source=plan.source.version if plan is not None and plan.source is not None else None,
            destination=plan.destination.version if plan is not None else None,
        ),
        records_read=sum(stream.records_read or 0 for stream in streams),
        records_written=written,
        records_rejected=sum(stream.records_rejected or 0 for stream in streams),
        bytes_read=sum(stream.bytes_read or 0 for stream in streams),
        bytes_written=bytes_written,
        rows_per_s=written / duration_s if written else None,
        mb_per_s=bytes_written / MEGABYTE / duration_s if written else None,
        phases=phases,
        cpu=cpu_usage(cpu),
        workers=workers_summary(reports, _workers(outcome)),
        tuning=tuning(outcome, identity.started_s),
        streams=streams,
        verdict=verdict(reports, _surroundings(spec, outcome, phases, cpu)),
        verdict_missing=None if options.dry_run else why_no_verdict(reports),
        warnings=(*spec.notices, *(plan.warnings if plan is not None else ()), *outcome.warnings),
        error=error_info(outcome.error, show_row_values=options.show_row_values) if outcome.error else None,
    )


def _surroundings(spec: PipelineSpec, outcome: RunOutcome, phases: Phases, cpu: CpuTimes) -> Surroundings:
    return Surroundings(
        workers=_workers(outcome),
        partitions=sum(stream.partition_count or 0 for stream in outcome.streams),
        cores=cpu.cores,
        busy_cores=(cpu.user_s + cpu.system_s) / cpu.elapsed_s / cpu.cores if cpu.elapsed_s else 0.0,
        phases=phases,
        direct=any(stream.plan is not None and stream.plan.publish == "direct" for stream in outcome.streams),
        from_server=isinstance(spec.source, PostgresSourceSpec),
    )


def _workers(outcome: RunOutcome) -> int:
    """How many the run came to have."""
    found = [adjustment.workers for adjustment in outcome.adjustments]
    return found[-1] if found else outcome.plan.workers if outcome.plan is not None else 0


def tuning(outcome: RunOutcome, started_s: float) -> TuningResult | None:
    """The number of workers: chosen why, changed when and why."""
    if outcome.plan is None:
        return None
    choice = outcome.plan.choice
    return TuningResult(
        mode=choice.mode,
        workers_started=choice.workers,
        workers_limit=choice.limit,
        reason=choice.reason,
        adjustments=tuple(
            AdjustmentResult(at_s=each.at_s - started_s, workers=each.workers, reason=each.reason)
            for each in outcome.adjustments
        ),
    )


def tool_info() -> ToolInfo:
    """This program."""
    return ToolInfo(name="rapidbyte", version=rapidbyte.__version__, python=platform.python_version())


def _timestamp(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def run_status(outcome: RunOutcome) -> RunStatus:
    """`partial` where some streams are published and others are not."""
    if outcome.error is None:
        return "succeeded"
    if any(stream.published is not None or stream.published_by is not None for stream in outcome.streams):
        return "partial"
    return "cancelled" if isinstance(outcome.error, CancelledError) else "failed"


def cpu_usage(cpu: CpuTimes) -> CpuUsage:
    """CPU seconds as shares of one core and of those this process may use."""
    spent = cpu.user_s + cpu.system_s
    one_core = 100.0 * spent / cpu.elapsed_s if cpu.elapsed_s else 0.0
    return CpuUsage(
        process_cpu_s=spent,
        user_s=cpu.user_s,
        system_s=cpu.system_s,
        pct_one_core=one_core,
        pct_available_cores=one_core / cpu.cores,
        available_cores=cpu.cores,
        peak_rss_mb=cpu.peak_rss_bytes / MEGABYTE,
        samples=cpu.samples,
    )


def _ratio(values: Sequence[float]) -> float | None:
    """Min / max; None where there is nothing to compare."""
    return min(values) / max(values) if values and max(values) > 0 else None


def _by_worker(reports: Iterable[WorkerReport]) -> dict[int, list[WorkerReport]]:
    grouped: dict[int, list[WorkerReport]] = {}
    for report in sorted(reports, key=lambda report: (report.worker, report.started_s)):
        grouped.setdefault(report.worker, []).append(report)
    return grouped


def lifetime(reports: Sequence[WorkerReport]) -> WorkTimes:
    """One worker's times, in the order of its partitions; the gaps between them are waiting for work."""
    total = WorkTimes()
    for report in reports:
        total = total.plus(report.times)
    gaps = sum(after.started_s - before.ended_s for before, after in itertools.pairwise(reports))
    return total.plus(WorkTimes(wait_queue_s=gaps))


def workers_summary(reports: Sequence[WorkerReport], count: int) -> WorkersSummary:
    """All workers of the run; skews are over those that were given a partition."""
    times = {worker: lifetime(own) for worker, own in _by_worker(reports).items()}
    rows = [sum(report.receipt.rows for report in own) for own in _by_worker(reports).values()]
    active = sum(each.active_s for each in times.values())
    wait = sum(each.wait_source_s + each.wait_queue_s for each in times.values())
    total = sum(each.total_s for each in times.values())
    return WorkersSummary(
        count=count,
        active_s=active,
        wait_s=wait,
        active_ratio=active / total if total else None,
        rows_min=min(rows, default=None),
        rows_max=max(rows, default=None),
        rows_skew_ratio=_ratio(rows),
        active_skew_ratio=_ratio([each.active_s for each in times.values()]),
    )


def worker_result(pipeline: str, worker: int, reports: Sequence[WorkerReport], started_s: float) -> WorkerResult:
    """One worker's part of one stream."""
    times = lifetime(reports)
    return WorkerResult(
        worker=worker,
        application_name=session_name(f"worker-{worker}", pipeline),
        partitions=len(reports),
        rows=sum(report.receipt.rows for report in reports),
        bytes=sum(report.receipt.bytes for report in reports),
        started_s=reports[0].started_s - started_s,
        ended_s=reports[-1].ended_s - started_s,
        connect_s=times.connect_s,
        wait_s=WaitTimes(source=times.wait_source_s, queue=times.wait_queue_s),
        transform_s=times.transform_s,
        encode_s=times.encode_s,
        write_s=times.write_s,
        commit_s=times.commit_s,
        active_s=times.active_s,
        retries=sum(report.attempts - 1 for report in reports),
    )


def stream_result(
    spec: PipelineSpec, options: RunOptions, identity: RunIdentity, outcome: StreamOutcome
) -> StreamResult:
    """One stream, whatever became of it. Nothing is written where nothing is published."""
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
        records_rejected=_rows_rejected(outcome) if began else None,
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
            worker_result(spec.pipeline, worker, own, identity.started_s) for worker, own in _by_worker(reports).items()
        ),
        timeline=_timeline(reports, identity.started_s),
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
    """Rows that were set aside by the workers, and by the leader when it published."""
    published = outcome.published.rejected if outcome.published is not None else 0
    return published + sum(receipt.rejected for receipt in _receipts(outcome))


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
    """That a published stream lacks rows of its source."""
    count = _rows_rejected(outcome) if outcome.published is not None else 0
    if not count or outcome.plan is None:
        return ()
    rows = "1 bad row was" if count == 1 else f"{count} bad rows were"
    if outcome.plan.rejects.action == "dlq":
        return (f"{rows} set aside: `rapidbyte rejects list PIPELINE` names them",)
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


def _timeline(reports: Sequence[WorkerReport], started_s: float) -> tuple[TimelineEntry, ...]:
    return tuple(
        TimelineEntry(
            partition=report.receipt.partition,
            worker=report.worker,
            started_s=report.started_s - started_s,
            ended_s=report.ended_s - started_s,
            rows=report.receipt.rows,
            bytes=report.receipt.bytes,
        )
        for report in sorted(reports, key=lambda report: report.receipt.partition)
    )
