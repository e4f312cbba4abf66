"""Partitions of prepared streams -> jobs for the workers, and who is told of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rapidbyte.contract import WorkerReport, WriteContract
from rapidbyte.engine.outcome import PhaseClock
from rapidbyte.engine.pool import Watchers
from rapidbyte.engine.retry import RetryPolicy
from rapidbyte.engine.stopping import Stopping
from rapidbyte.engine.worker import PartitionJob
from rapidbyte.errors import RapidbyteError
from rapidbyte.partition import Partition
from rapidbyte.plan import RunPlan, StreamPlan
from rapidbyte.ports import Block, BlockMoved, Observer, PartitionLoaded, Retried, Runtime, Snapshot, StreamStarted


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What the steps of one run share."""

    plan: RunPlan
    run_id: str
    runtime: Runtime
    clock: PhaseClock
    stopping: Stopping

    @property
    def policy(self) -> RetryPolicy:
        """How long partitions and publishes are tried again."""
        return RetryPolicy(max_retries=self.plan.max_retries)

    @property
    def isolated(self) -> bool:
        """A stream that fails does not end the others."""
        return self.runtime.options.keep_going


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamLoad:
    """A stream that is prepared."""

    plan: StreamPlan
    contract: WriteContract

    @property
    def name(self) -> str:
        """The stream's name."""
        return self.plan.name


def jobs_of(work: Work, load: StreamLoad, partitions: Sequence[Partition], snapshot: Snapshot) -> list[PartitionJob]:
    """One job a partition, in order; their `order` counts from 0 within the stream."""
    work.runtime.observe(
        StreamStarted(
            stream=load.name,
            target=str(load.plan.target),
            partitions=len(partitions),
            estimated_rows=load.plan.shape.estimated_rows,
            estimated_bytes=load.plan.shape.estimated_bytes,
        )
    )
    read = snapshot.reader(load.plan, work.plan)
    return [
        PartitionJob(
            order=order,
            read=read,
            write=work.runtime.write,
            target=load.contract.copy,
            partition=partition,
            max_inflight_bytes=load.contract.flush.max_inflight_bytes,
            retry=work.policy,
        )
        for order, partition in enumerate(partitions)
    ]


def watchers(observe: Observer) -> Watchers:
    """Tells an observer what the workers do."""

    def block(job: PartitionJob, worker: int, moved: Block) -> None:
        part = job.partition
        observe(
            BlockMoved(stream=part.stream, partition=part.index, worker=worker, rows=moved.rows, bytes=moved.size)
        )

    def retried(job: PartitionJob, worker: int, error: RapidbyteError, failures: int) -> None:
        observe(retry_event(error, failures, stream=job.partition.stream, partition=job.partition.index, worker=worker))

    def loaded(report: WorkerReport) -> None:
        receipt = report.receipt
        observe(
            PartitionLoaded(
                stream=receipt.stream,
                partition=receipt.partition,
                worker=report.worker,
                rows=receipt.rows,
                bytes=receipt.bytes,
            )
        )

    return Watchers(block=block, retried=retried, loaded=loaded)


def retry_event(
    error: RapidbyteError, failures: int, *, stream: str | None, partition: int | None = None, worker: int | None = None
) -> Retried:
    """What is told of a failure that is not the end."""
    return Retried(
        stream=stream, partition=partition, worker=worker, failures=failures, code=error.code, message=error.message
    )
