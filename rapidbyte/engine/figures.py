"""What happened -> the run's result. Pure: figures are added up, never measured."""

from __future__ import annotations

import platform
from datetime import datetime, timedelta

import rapidbyte
from rapidbyte.engine.outcome import RunOutcome
from rapidbyte.engine.stream_figures import stream_result
from rapidbyte.engine.verdict import Surroundings, verdict, why_no_verdict
from rapidbyte.engine.worker_figures import workers_summary
from rapidbyte.errors import CancelledError
from rapidbyte.metrics import CpuTimes
from rapidbyte.result import (
    AdjustmentResult,
    CpuUsage,
    Phases,
    RunResult,
    RunStatus,
    ServerInfo,
    ToolInfo,
    TuningResult,
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
    streams = tuple(stream_result(spec, options, stream, identity.started_s) for stream in outcome.streams)
    reports = [report for stream in outcome.streams for report in stream.reports]
    written = sum(stream.records_written or 0 for stream in streams)
    bytes_written = sum(stream.bytes_written or 0 for stream in streams)
    plan = outcome.plan
    around = _surroundings(spec, outcome, phases, cpu)
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
        verdict=verdict(reports, around),
        verdict_missing=None if options.dry_run else why_no_verdict(reports, has_ended=around.has_ended),
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
        has_ended=outcome.error is None,
        direct=any(stream.plan is not None and stream.plan.publish == "direct" for stream in outcome.streams),
        from_server=isinstance(spec.source, PostgresSourceSpec),
        toast_compression=outcome.plan.destination.toast_compression if outcome.plan is not None else "",
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
