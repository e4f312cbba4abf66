"""Partitions of prepared streams -> jobs for the workers, and who is told of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import TypeVar

from rapidbyte.contract import LoadReceipts, WorkerReport, WriteContract
from rapidbyte.cursor import CursorBounds
from rapidbyte.engine.outcome import PhaseClock
from rapidbyte.engine.pool import Watchers
from rapidbyte.engine.stopping import Stopping
from rapidbyte.engine.worker import PartitionJob
from rapidbyte.errors import RapidbyteError
from rapidbyte.events import BlockMoved, Observer, PartitionLoaded, Retried, StreamStarted
from rapidbyte.partition import Partition, can_be_named_again
from rapidbyte.plan import RunPlan, StreamPlan
from rapidbyte.ports import Block, Runtime, Snapshot
from rapidbyte.rejects import RejectPolicy, first_of, too_many
from rapidbyte.retry import RetryPolicy, repeat
from rapidbyte.values import field, frozen

T = TypeVar("T")


@frozen
class Work:
    """What the steps of one run share."""

    plan: RunPlan
    run_id: str
    runtime: Runtime
    clock: PhaseClock
    stopping: Stopping
    together: bool = False
    """All streams are published in one transaction."""
    retries: Counter[str | None] = field(default_factory=Counter[str | None])
    """Tries beyond the first of the leader's own steps, by stream; None: those of the whole run."""

    @property
    def policy(self) -> RetryPolicy:
        """How long partitions and publishes are tried again."""
        return RetryPolicy(max_retries=self.plan.max_retries)

    @property
    def isolated(self) -> bool:
        """A stream that fails does not end the others."""
        return self.runtime.options.keep_going

    def again(self, step: Callable[[], T], stream: str | None = None) -> T:
        """What `step` returns; tried again where that may help, and counted. Raises its last error, CancelledError.

        A step leaves nothing half done: it may have been carried out although its answer was lost.
        """
        noted = partial(self.note, stream=stream)
        return repeat(lambda _: step(), self.policy, stop=self.stopping.event.is_set, noted=noted)

    def note(self, error: RapidbyteError, failures: int, stream: str | None = None) -> None:
        """Counts and tells a retry."""
        self.retries[stream] += 1
        self.runtime.observe(retry_event(error, failures, stream=stream))


@frozen
class StreamLoad:
    """A stream that is prepared."""

    plan: StreamPlan
    contract: WriteContract
    resumable: bool = False
    """Its partitions are recorded: a later run can go on with it."""
    bounds: CursorBounds | None = None
    """Of this very run; the contract of a load that goes on has those of the run that began it."""

    @property
    def name(self) -> str:
        """The stream's name."""
        return self.plan.name


def partitions_of(work: Work, load: StreamLoad, snapshot: Snapshot) -> tuple[StreamLoad, tuple[Partition, ...]]:
    """A load's partitions: as recorded where it is resumed, else made now, and recorded where they can be named again.

    A load whose source has changed since cannot be resumed: then the load that is returned is another, in a new stage.
    """
    resume = load.contract.resume
    if resume.resumed:
        if snapshot.still_has(load.plan, resume.partitions):
            return replace(load, resumable=True), resume.partitions
        load = begun_anew(work, load)
    partitions = snapshot.partitions(load.plan, work.plan.partition_bytes(load.plan), load.contract.bounds)
    if all(can_be_named_again(partition.range) for partition in partitions):
        # Names what is to be loaded, and may be repeated: a lost connection or a deadlock is no reason to give up.
        work.again(lambda: work.runtime.leader.record_partitions(load.contract, partitions), load.name)
        load = replace(load, resumable=True)
    return load, partitions


def begun_anew(work: Work, load: StreamLoad) -> StreamLoad:
    """The stream in a new load; the old one's stage is gone. Bounds stay: nothing has been published.

    But for those of files: what the dead run had found of them may have changed.
    """
    work.again(lambda: work.runtime.leader.discard_stream(load.contract), load.name)
    bounds = load.bounds if load.bounds is not None and load.bounds.files else load.contract.bounds
    return replace(load, contract=contract_of(work, load.plan, bounds), resumable=False)


def contract_of(work: Work, stream: StreamPlan, bounds: CursorBounds | None) -> WriteContract:
    """The stream prepared, in this run's load; a lost connection is opened again (E18)."""
    return work.again(lambda: work.runtime.leader.prepare_stream(work.plan, stream, work.run_id, bounds), stream.name)


def jobs_of(work: Work, load: StreamLoad, partitions: Sequence[Partition], snapshot: Snapshot) -> list[PartitionJob]:
    """One job a partition that is not loaded yet, in order; whoever puts them among others gives them `order`."""
    loaded = set(load.contract.resume.loaded_partitions)
    work.runtime.observe(
        StreamStarted(
            stream=load.name,
            target=str(load.plan.target),
            partitions=len(partitions),
            estimated_rows=load.plan.shape.estimated_rows,
            estimated_bytes=load.plan.shape.estimated_bytes,
            resumed=len(loaded),
        )
    )
    read = snapshot.reader(load.plan, work.plan)
    transform = work.runtime.transform(load.plan)
    missing = [partition for partition in partitions if partition.index not in loaded]
    return [
        PartitionJob(
            order=0,
            read=read,
            write=work.runtime.write,
            transform=transform,
            target=load.contract.copy,
            partition=partition,
            max_inflight_bytes=load.contract.flush.max_inflight_bytes,
            retry=work.policy,
        )
        for partition in missing
    ]


def require_few_rejects(policy: RejectPolicy, receipts: LoadReceipts) -> None:
    """Raises DataError where more rows of the whole load were set aside than the policy allows."""
    error = too_many(
        policy,
        stream=receipts.stream,
        rejected=receipts.rejected,
        read=receipts.rows + receipts.rejected,
        first=first_of(receipt.first_reject for receipt in receipts.receipts),
    )
    if error is not None:
        raise error


def watchers(observe: Observer, landed: Callable[[str], None], noted: Callable[[WorkerReport], None]) -> Watchers:
    """Tells an observer what the workers do, `landed` of which streams a partition is committed, `noted` its report."""

    def block(job: PartitionJob, worker: int, moved: Block) -> None:
        part = job.partition
        observe(BlockMoved(stream=part.stream, partition=part.index, worker=worker, rows=moved.rows, bytes=moved.size))

    def retried(job: PartitionJob, worker: int, error: RapidbyteError, failures: int) -> None:
        observe(retry_event(error, failures, stream=job.partition.stream, partition=job.partition.index, worker=worker))

    def loaded(report: WorkerReport) -> None:
        receipt = report.receipt
        landed(receipt.stream)
        noted(report)
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
