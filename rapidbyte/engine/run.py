"""A run, step by step: preflight, prepare, load, finalize, cleanup, result."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

from rapidbyte.contract import WriteContract
from rapidbyte.engine.failures import reported, with_way_out
from rapidbyte.engine.figures import RunIdentity, build
from rapidbyte.engine.jobs import Work
from rapidbyte.engine.loading import Loading
from rapidbyte.engine.outcome import PhaseClock, RunOutcome, StreamOutcome
from rapidbyte.engine.preflight import Preflight, first_error, last_run, look
from rapidbyte.engine.prepare import Prepared, prepare
from rapidbyte.engine.stopping import Stopping, deadline_seconds
from rapidbyte.errors import CancelledError, RapidbyteError
from rapidbyte.events import Notice, RunFinished, RunStarted
from rapidbyte.failpoints import failpoint
from rapidbyte.memory import release_libraries
from rapidbyte.metrics import CpuMeter
from rapidbyte.ports import Runtime
from rapidbyte.result import RunResult, SampleRows, StreamStatus
from rapidbyte.spec import PipelineSpec, StreamSpec

SAMPLE_ROWS = 10
"""Rows that a dry run shows where no `--limit` is given."""


def execute(spec: PipelineSpec, runtime: Runtime, stop: threading.Event) -> RunResult:
    """Runs a pipeline. A run that fails is a result too; only a defect of ours raises.

    When this returns every thread has been joined, and every connection but the caller's is closed.
    """
    failpoint("cfg.parsed")
    clock = PhaseClock(runtime.observe)
    identity = RunIdentity(run_id=new_run_id(), started_at=datetime.now(UTC), started_s=clock.started_s)
    names = tuple(stream.name for stream in spec.streams)
    runtime.observe(RunStarted(run_id=identity.run_id, pipeline=spec.pipeline, streams=names))
    with CpuMeter() as meter, Stopping(stop, deadline_seconds(spec, runtime.options)) as stopping:
        outcome = _carry_out(spec, runtime, identity, clock, stopping)
        clock.enter("cleanup")
        failpoint("cleanup.mid")
        cpu, phases = meter.read(), clock.read()
        duration_s = time.monotonic() - identity.started_s
    result = build(
        spec,
        runtime.options,
        identity,
        outcome,
        phases=phases,
        duration_s=duration_s,
        cpu=cpu,
        ddl_races=runtime.leader.ddl_race_retries,
    )
    result = replace(result, warnings=(*result.warnings, *_close(runtime, result)))
    runtime.observe(_finished(result))
    return result


def _close(runtime: Runtime, result: RunResult) -> tuple[str, ...]:
    """Has the run recorded and its lease released; what fails here is a warning, and changes nothing of the run."""
    try:
        return runtime.leader.close_run(result)
    except RapidbyteError as error:
        return (f"the run's end could not be recorded in the ledger: {error.message}",)
    finally:
        runtime.leader.close()


def _finished(result: RunResult) -> RunFinished:
    return RunFinished(
        run_id=result.run_id,
        status=result.status,
        exit_code=result.exit_code,
        rows=result.records_written,
        duration_s=result.duration_s,
        error_code=result.error.code if result.error is not None else None,
    )


def new_run_id() -> str:
    """A name for a run: sortable by time for people, unique by chance; no decision rests on its clock."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(4)}"


def _carry_out(
    spec: PipelineSpec, runtime: Runtime, identity: RunIdentity, clock: PhaseClock, stopping: Stopping
) -> RunOutcome:
    for notice in spec.notices:
        runtime.observe(Notice(message=notice))
    try:
        stopping.require_going()
        last = last_run(spec, runtime)
        if last is not None and all(succeeded for _, succeeded in last.streams):
            return RunOutcome(
                plan=None, streams=(), warnings=(f"no stream failed in run {last.run_id}: nothing to do",)
            )
        found = look(spec, runtime, last)
        stopping.require_going()
    except RapidbyteError as error:
        return _failed_before_plan(spec, runtime, stopping.told(error))
    if runtime.options.dry_run:
        clock.enter("load")
        return _dry_run(runtime, found, stopping)
    work = Work(
        plan=replace(found.plan, run_id=identity.run_id),
        run_id=identity.run_id,
        runtime=runtime,
        clock=clock,
        stopping=stopping,
        together=spec.destination.publish_together,
    )
    clock.enter("prepare")
    prepared = prepare(work)
    if prepared.error is not None:
        clock.enter("cleanup")
        warnings = _discard(prepared.contracts, runtime)
        failed = _failed_early(found, prepared, prepared.error)
        streams = tuple(replace(each, retries=work.retries[each.spec.name]) for each in failed.streams)
        return replace(failed, streams=streams, retries=work.retries[None], warnings=warnings)
    release_libraries()
    clock.enter("load")
    loading = Loading(work, prepared.loads)
    loading.finish()
    clock.enter("cleanup")
    kept = loading.kept()
    warnings = (*_discard(loading.unpublished(), runtime), *kept)
    ended = _ended(found, prepared, loading, (*prepared.warnings, *warnings))
    return replace(ended, retries=work.retries[None])


def _ended(found: Preflight, prepared: Prepared, loading: Loading, warnings: tuple[str, ...]) -> RunOutcome:
    """All streams in pipeline order, whichever step they ended in."""
    ended = {**found.failed, **prepared.ended, **loading.outcomes}
    streams = tuple(outcome for _, outcome in sorted(ended.items()))
    error = next((outcome.error for outcome in streams if outcome.error is not None), None)
    return RunOutcome(
        plan=found.plan,
        streams=streams,
        error=error or loading.error,
        warnings=warnings,
        attempts=max(1, loading.rounds),
        adjustments=loading.tuner.adjustments,
    )


def _failed_before_plan(spec: PipelineSpec, runtime: Runtime, error: RapidbyteError) -> RunOutcome:
    """Nothing was planned: the stream that the error names has failed, the others are skipped."""
    with_way_out(error, spec.destination.rejects).at(afterwards="the destination was not touched")
    names = runtime.options.streams
    streams = [stream for stream in spec.streams if not names or stream.name in names]
    return RunOutcome(plan=None, streams=tuple(_unbegun(stream, error) for stream in streams), error=reported(error))


def _failed_early(found: Preflight, prepared: Prepared, error: RapidbyteError) -> RunOutcome:
    """No worker has started: the stream that the error names has failed, the others are skipped."""
    error.at(afterwards="no target was changed")
    planned = {stream.order: replace(_unbegun(stream.shape.spec, error), plan=stream) for stream in found.plan.streams}
    ended = {**planned, **found.failed, **prepared.ended}
    streams = tuple(outcome for _, outcome in sorted(ended.items()))
    return RunOutcome(plan=found.plan, streams=streams, error=reported(error))


def _unbegun(stream: StreamSpec, error: RapidbyteError) -> StreamOutcome:
    if stream.name != error.context.stream:
        return StreamOutcome(spec=stream, status="skipped")
    status: StreamStatus = "cancelled" if isinstance(error, CancelledError) else "failed"
    return StreamOutcome(spec=stream, status=status, error=error)


def _dry_run(runtime: Runtime, found: Preflight, stopping: Stopping) -> RunOutcome:
    """Reads the first rows of every stream; writes nothing."""
    limit = SAMPLE_ROWS if runtime.options.limit is None else runtime.options.limit
    ended = dict(found.failed)
    try:
        with runtime.source.snapshot(found.plan.streams) as snapshot:
            for stream in found.plan.streams:
                columns = tuple(column.target.name for column in stream.columns)
                sampled = snapshot.sample(stream, limit)
                sample = SampleRows(columns=columns, rows=sampled.rows)
                ended[stream.order] = StreamOutcome(
                    spec=stream.shape.spec, plan=stream, status="succeeded", sample=sample, sampled=sampled
                )
    except RapidbyteError as error:
        return _failed_early(found, Prepared(), stopping.told(error))
    streams = tuple(outcome for _, outcome in sorted(ended.items()))
    return RunOutcome(plan=found.plan, streams=streams, error=first_error(found.failed) if found.failed else None)


def _discard(contracts: Sequence[WriteContract], runtime: Runtime) -> tuple[str, ...]:
    """Drops what will not be published; what could not be dropped is told, and is named in the ledger.

    A server that is gone is asked once, not once a stream.
    """
    warnings: list[str] = []
    lost: RapidbyteError | None = None
    for contract in contracts:
        try:
            if lost is not None:
                raise lost
            runtime.leader.discard_stream(contract)
        except RapidbyteError as error:
            lost = error if error.retry == "connection" else None
            warnings.append(f"the stage {contract.stage} of stream {contract.stream} is left behind: {error.message}")
    return tuple(warnings)
