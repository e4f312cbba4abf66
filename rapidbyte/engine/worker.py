"""One partition: a thread reads, the worker's own thread encodes and writes, a receipt comes back.

Runs on any `concurrent.futures.Executor`: a PartitionJob and a WorkerReport pickle.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

from rapidbyte.contract import CopyTarget, WorkerReport
from rapidbyte.engine.handoff import Handoff
from rapidbyte.engine.transforming import Transformed
from rapidbyte.errors import CancelledError, RapidbyteError
from rapidbyte.metrics import Laps, ReadTimes
from rapidbyte.partition import Partition
from rapidbyte.ports import Block, ReadPartition, Stop, TransformPartition, WritePartition
from rapidbyte.retry import RetryPolicy, repeat
from rapidbyte.values import field, frozen

Watch = Callable[["PartitionJob", int, Block], None]
"""Called by the worker for each block that it takes, with its own number."""

PartitionRetried = Callable[["PartitionJob", int, RapidbyteError, int], None]
"""Called by the worker before it tries again, with its own number, the failure and the number of tries so far."""


@frozen
class PartitionJob:
    """All that a worker gets: how to read, how to write, where to, and which part. No plan, leader or config."""

    order: int
    """Position among all jobs of the run, from 0: of two failures the lower one is reported."""
    read: ReadPartition
    write: WritePartition
    target: CopyTarget
    partition: Partition
    max_inflight_bytes: int
    transform: TransformPartition | None = None
    """What happens to the rows between reading and writing."""
    retry: RetryPolicy = field(default_factory=RetryPolicy)


@frozen
class _ReadSummary:
    """What the reading thread has to say at its end."""

    times: ReadTimes
    bytes: int


class _Slot(threading.local):
    """The number of the worker that runs in this thread."""

    number: int = 0


_slot = _Slot()


def become_worker(number: int) -> None:
    """Gives the worker in this thread its number; a pool's threads do this when they start."""
    _slot.number = number


class _Watched:
    """The handoff as the writer sees it: every block taken is announced."""

    def __init__(self, job: PartitionJob, handoff: Handoff, worker: int, watch: Watch | None) -> None:
        self._job = job
        self._handoff = handoff
        self._worker = worker
        self._watch = watch
        self.rejected = 0
        """Rows that the source has set aside."""

    def __iter__(self) -> Iterator[Block]:
        for block in self._handoff:
            self.rejected += len(block.rejects)
            if self._watch is not None:
                self._watch(self._job, self._worker, block)
            yield block
            del block

    @property
    def row_count(self) -> int:
        """As the source counted."""
        return self._handoff.row_count


def run_partition(
    job: PartitionJob, stop: Stop, watch: Watch | None = None, retried: PartitionRetried | None = None
) -> WorkerReport:
    """Loads one partition, again where that may help: what is committed has its receipt, and is not written twice.

    Raises what reading or writing raised last, with partition, worker and the number of tries filled in. No thread of
    its own is left.
    """
    laps = Laps()

    def attempt(number: int) -> WorkerReport:
        if number > 1:
            laps.lap("wait_queue")
        return _try_partition(job, stop, watch, laps, attempts=number)

    def noted(error: RapidbyteError, failures: int) -> None:
        if retried is not None:
            retried(job, _slot.number, error, failures)

    try:
        return repeat(attempt, job.retry, stop=stop, noted=noted)
    except CancelledError as error:
        error.at(stream=job.partition.stream)
        raise
    except RapidbyteError as error:
        error.at(stream=job.partition.stream, partition=job.partition.index, worker=_slot.number)
        raise


def _try_partition(job: PartitionJob, stop: Stop, watch: Watch | None, laps: Laps, *, attempts: int) -> WorkerReport:
    """One try. The reading thread has ended when this returns or raises."""
    worker = _slot.number
    handoff = Handoff(job.max_inflight_bytes)
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"reader-{worker}") as reading:
        reader = reading.submit(_pump, job, handoff, stop, worker)
        reader.add_done_callback(lambda done: _pass_on_failure(done, handoff))
        laps.lap("wait_queue")
        taken = _Watched(job, handoff, worker, watch)
        try:
            blocks = taken if job.transform is None else Transformed(taken, job.transform, stop)
            receipt = job.write(job.target, job.partition, blocks, worker=worker, stop=stop)
        finally:
            handoff.close()
        laps.skip()
    summary = None if receipt.already_loaded else reader.result()
    laps.lap("wait_queue")
    return WorkerReport(
        receipt=receipt,
        worker=worker,
        started_s=laps.started_at,
        ended_s=time.monotonic(),
        times=laps.times().plus(receipt.times),
        read=summary.times if summary is not None else ReadTimes(),
        bytes_read=summary.bytes if summary is not None else 0,
        rows_read=None if job.transform is None or summary is None else handoff.row_count + taken.rejected,
        attempts=attempts,
    )


def _pump(job: PartitionJob, handoff: Handoff, stop: Stop, worker: int) -> _ReadSummary:
    """Reads the whole partition into the handoff."""
    size = 0
    with job.read(job.partition, stop, worker) as blocks:
        for block in blocks:
            size += block.size
            handoff.put(block)
            del block  # it may be large, and the next one comes beside it
        handoff.finish(blocks.row_count)
        return _ReadSummary(times=blocks.times, bytes=size)


def _pass_on_failure(reader: Future[_ReadSummary], handoff: Handoff) -> None:
    failure = reader.exception()
    if failure is not None:
        handoff.fail(failure)
