"""A run, step by step: preflight, prepare, load, finalize, cleanup, result."""

from __future__ import annotations

import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from rapidbyte import __version__
from rapidbyte.contract import LoadReceipts, WorkerReport, WriteContract
from rapidbyte.engine.figures import RunIdentity, build
from rapidbyte.engine.outcome import PhaseClock, RunOutcome, StreamOutcome
from rapidbyte.engine.pool import Fanout, of_the_target, reported, thread_pool
from rapidbyte.engine.retry import RetryPolicy
from rapidbyte.engine.stopping import Stopping
from rapidbyte.engine.worker import PartitionJob, Watch
from rapidbyte.errors import CancelledError, RapidbyteError
from rapidbyte.failpoints import failpoint
from rapidbyte.metrics import CpuMeter, available_cores
from rapidbyte.plan import RunPlan, StreamPlan, StreamShape, make_plan, readers_of, select_streams
from rapidbyte.ports import (
    Block,
    BlockMoved,
    Notice,
    PartitionLoaded,
    Publication,
    Runtime,
    Snapshot,
    StreamFinished,
    StreamStarted,
)
from rapidbyte.result import RunResult, SampleRows
from rapidbyte.spec import PipelineSpec, RunRequest

SAMPLE_ROWS = 10
"""Rows that a dry run shows where no `--limit` is given."""


def execute(spec: PipelineSpec, runtime: Runtime, stop: threading.Event) -> RunResult:
    """Runs a pipeline. A run that fails is a result too; only a defect of ours raises.

    When this returns every thread has been joined, and every connection but the caller's is closed.
    """
    failpoint("cfg.parsed")
    clock = PhaseClock(runtime.observe)
    identity = RunIdentity(run_id=new_run_id(), started_at=datetime.now(UTC), started_s=clock.started_s)
    with CpuMeter() as meter, Stopping(stop, spec.timeout_seconds) as stopping:
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
    warnings = runtime.leader.close_run(result)
    runtime.leader.close()
    return replace(result, warnings=(*result.warnings, *warnings))


def new_run_id() -> str:
    """A name for a run: sortable by time for people, unique by chance; no decision rests on its clock."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(4)}"


def preflight(spec: PipelineSpec, runtime: Runtime) -> RunPlan:
    """Both ends looked at, everything decided, nothing changed. Raises RapidbyteError."""
    streams = select_streams(spec.streams, runtime.options.streams)
    source, destination = runtime.source.facts(), runtime.leader.facts()
    failpoint("pre.connected")
    shapes: tuple[StreamShape, ...] = runtime.source.describe(streams)
    readers = readers_of(shapes, source=source, destination=destination)
    plan = make_plan(
        pipeline=spec.pipeline,
        streams=tuple(runtime.leader.plan_stream(order, shape, readers) for order, shape in enumerate(shapes)),
        resources=spec.resources,
        options=runtime.options,
        source=source,
        destination=destination,
        cores=available_cores(),
    )
    runtime.leader.check_privileges(plan)
    return plan


def _carry_out(
    spec: PipelineSpec, runtime: Runtime, identity: RunIdentity, clock: PhaseClock, stopping: Stopping
) -> RunOutcome:
    for notice in spec.notices:
        runtime.observe(Notice(message=notice))
    try:
        plan = preflight(spec, runtime)
    except RapidbyteError as error:
        return _failed_early(spec, runtime, None, error)
    if runtime.options.dry_run:
        clock.enter("load")
        return _dry_run(spec, runtime, plan)
    contracts: list[WriteContract] = []
    try:
        clock.enter("prepare")
        stopping.require_going()
        runtime.leader.open_run(_request(plan, identity), stopping.stop_for)
        for stream in plan.streams:
            stopping.require_going()
            contracts.append(runtime.leader.prepare_stream(plan, stream, identity.run_id))
        clock.enter("load")
        outcomes = _load(plan, contracts, runtime, clock, stopping)
    except RapidbyteError as error:
        clock.enter("cleanup")
        warnings = _discard(contracts, runtime)
        return replace(_failed_early(spec, runtime, plan, stopping.told(error)), warnings=warnings)
    clock.enter("cleanup")
    published = {outcome.spec.name for outcome in outcomes if outcome.published is not None}
    warnings = _discard([contract for contract in contracts if contract.stream not in published], runtime)
    error = next((outcome.error for outcome in outcomes if outcome.error is not None), None)
    return RunOutcome(plan=plan, streams=outcomes, error=error, warnings=warnings)


def _request(plan: RunPlan, identity: RunIdentity) -> RunRequest:
    """Who asks for the lease."""
    return RunRequest(
        run_id=identity.run_id,
        pipeline=plan.pipeline,
        streams=tuple(stream.name for stream in plan.streams),
        host=socket.gethostname(),
        pid=os.getpid(),
        source_identity=(plan.source.identity or None) if plan.source is not None else None,
        tool_version=__version__,
    )


def _failed_early(spec: PipelineSpec, runtime: Runtime, plan: RunPlan | None, error: RapidbyteError) -> RunOutcome:
    """No worker has started: the stream that the error names failed, the others were skipped."""
    error.at(afterwards="no target was changed" if plan is not None else "the destination was not touched")
    planned = {stream.name: stream for stream in plan.streams} if plan is not None else {}
    specs = [stream.shape.spec for stream in plan.streams] if plan is not None else list(spec.streams)
    outcomes = tuple(
        StreamOutcome(
            spec=stream,
            plan=planned.get(stream.name),
            status="failed" if stream.name == error.context.stream else "skipped",
            error=error if stream.name == error.context.stream else None,
        )
        for stream in specs
        if not runtime.options.streams or stream.name in runtime.options.streams
    )
    return RunOutcome(plan=plan, streams=outcomes, error=reported(error))


def _dry_run(spec: PipelineSpec, runtime: Runtime, plan: RunPlan) -> RunOutcome:
    """Reads the first rows of every stream; writes nothing."""
    limit = SAMPLE_ROWS if runtime.options.limit is None else runtime.options.limit
    try:
        with runtime.source.snapshot(plan.streams) as snapshot:
            outcomes = tuple(
                StreamOutcome(
                    spec=stream.shape.spec,
                    plan=stream,
                    status="succeeded",
                    sample=SampleRows(
                        columns=tuple(column.target.name for column in stream.columns),
                        rows=snapshot.sample(stream, limit),
                    ),
                )
                for stream in plan.streams
            )
    except RapidbyteError as error:
        return _failed_early(spec, runtime, plan, error)
    return RunOutcome(plan=plan, streams=outcomes)


def _load(
    plan: RunPlan,
    contracts: Sequence[WriteContract],
    runtime: Runtime,
    clock: PhaseClock,
    stopping: Stopping,
) -> tuple[StreamOutcome, ...]:
    """Fans out over all partitions of all streams, and publishes the streams in pipeline order."""
    with runtime.source.snapshot(plan.streams) as snapshot:
        failpoint("snap.exported")
        jobs = _jobs(plan, contracts, runtime, snapshot)

        with (
            thread_pool(plan.workers) as executor,
            Fanout(executor, jobs, stop=stopping.event, watch=_watch(runtime), loaded=_loaded(runtime)) as fanout,
        ):
            outcomes: list[StreamOutcome] = []
            for stream, contract in zip(plan.streams, contracts, strict=True):
                if any(outcome.error is not None for outcome in outcomes):
                    outcomes.append(StreamOutcome(spec=stream.shape.spec, plan=stream, status="skipped"))
                    continue
                outcome = _finish_stream(stream, contract, fanout, snapshot, runtime, clock, stopping)
                outcomes.append(outcome)
                runtime.observe(StreamFinished(stream=stream.name, status=outcome.status, rows=_rows(outcome)))
            return tuple(outcomes)


def _watch(runtime: Runtime) -> Watch:
    def watch(job: PartitionJob, worker: int, block: Block) -> None:
        partition = job.partition
        runtime.observe(
            BlockMoved(
                stream=partition.stream, partition=partition.index, worker=worker, rows=block.rows, bytes=block.size
            )
        )

    return watch


def _loaded(runtime: Runtime) -> Callable[[WorkerReport], None]:
    def loaded(report: WorkerReport) -> None:
        receipt = report.receipt
        runtime.observe(
            PartitionLoaded(
                stream=receipt.stream,
                partition=receipt.partition,
                worker=report.worker,
                rows=receipt.rows,
                bytes=receipt.bytes,
            )
        )

    return loaded


def _rows(outcome: StreamOutcome) -> int:
    return sum(report.receipt.rows for report in outcome.reports)


def _jobs(
    plan: RunPlan, contracts: Sequence[WriteContract], runtime: Runtime, snapshot: Snapshot
) -> tuple[PartitionJob, ...]:
    """One job a partition, in (stream, partition) order."""
    jobs: list[PartitionJob] = []
    for stream, contract in zip(plan.streams, contracts, strict=True):
        partitions = snapshot.partitions(stream, plan.partition_bytes(stream))
        runtime.observe(
            StreamStarted(
                stream=stream.name,
                target=str(stream.target),
                partitions=len(partitions),
                estimated_rows=stream.shape.estimated_rows,
                estimated_bytes=stream.shape.estimated_bytes,
            )
        )
        read = snapshot.reader(stream, plan)
        for partition in partitions:
            jobs.append(
                PartitionJob(
                    order=len(jobs),
                    read=read,
                    write=runtime.write,
                    target=contract.copy,
                    partition=partition,
                    max_inflight_bytes=contract.flush.max_inflight_bytes,
                    retry=RetryPolicy(max_retries=plan.max_retries),
                )
            )
    return tuple(jobs)


def _finish_stream(
    stream: StreamPlan,
    contract: WriteContract,
    fanout: Fanout,
    snapshot: Snapshot,
    runtime: Runtime,
    clock: PhaseClock,
    stopping: Stopping,
) -> StreamOutcome:
    """Waits for a stream's partitions, then has it published. A failure is a value here."""
    planned = fanout.count(stream.name)
    outcome = StreamOutcome(spec=stream.shape.spec, plan=stream, status="succeeded", partition_count=planned)
    try:
        reports = fanout.join(stream.name)
        failpoint("join.all_done")
        receipts = LoadReceipts(
            load_id=contract.load_id,
            stream=contract.stream,
            planned=planned,
            receipts=tuple(report.receipt for report in reports),
        )
        snapshot.require_alive()
        stopping.require_going()
        source_checksum = snapshot.checksum(stream) if runtime.options.checksum else None
        clock.enter("finalize")
        publication = Publication(
            contract=contract,
            receipts=receipts,
            expected_checksum=source_checksum if stream.moves_rows_unchanged else None,
            checksum=runtime.options.checksum,
        )
        (published,) = runtime.leader.finalize((publication,))
        outcome = replace(outcome, reports=reports, published=published, source_checksum=source_checksum)
    except RapidbyteError as error:
        fanout.cancel()
        outcome = replace(
            outcome,
            status="cancelled" if isinstance(error, CancelledError) else "failed",
            reports=fanout.ended(stream.name),
            error=reported(
                of_the_target(stopping.told(error), contract).at(
                    stream=stream.name, table=str(stream.target), afterwards=_afterwards(stream, error)
                )
            ),
        )
    clock.enter("load")
    return replace(
        outcome,
        started_s=min((report.started_s for report in outcome.reports), default=None),
        ended_s=time.monotonic(),
    )


def _afterwards(stream: StreamPlan, error: RapidbyteError) -> str:
    """In which state a stream's target is after a failure."""
    if error.context.commit_state == "after_commit_unknown":
        return f"whether {stream.target} was published is not known: look before you run it again"
    if not stream.replace.target_exists:
        return f"{stream.target} was not created"
    if any(change.kind == "add_column" for change in stream.schema_changes):
        return f"{stream.target} has the rows it had before; the columns that were added to it stay"
    return f"{stream.target} is as it was before"


def _discard(contracts: Sequence[WriteContract], runtime: Runtime) -> tuple[str, ...]:
    """Drops what will not be published; what could not be dropped is told, and is named in the ledger."""
    warnings: list[str] = []
    for contract in contracts:
        try:
            runtime.leader.discard_stream(contract)
        except RapidbyteError as error:
            warnings.append(f"the stage {contract.stage} of stream {contract.stream} is left behind: {error.message}")
    return tuple(warnings)
