"""Fan-out: jobs in order onto an Executor; the lowest failure wins, whatever the timing.

A failing job cancels only the jobs above it; those below it end by themselves. So if partitions 3 and 5 are both bad,
3 is reported in every run, whichever thread came first.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager
from dataclasses import replace
from types import TracebackType
from typing import Self

from rapidbyte.contract import WorkerReport, WriteContract
from rapidbyte.engine.worker import PartitionJob, Watch, become_worker, run_partition
from rapidbyte.errors import CancelledError, RapidbyteError
from rapidbyte.ports import Stop


class StopLine:
    """Jobs whose order is above the line are to stop. The line only ever moves down."""

    def __init__(self, outside: threading.Event) -> None:
        self._outside = outside
        self._line: float = float("inf")
        self._lock = threading.Lock()

    def lower_to(self, order: int) -> None:
        """Everything above `order` is to stop."""
        with self._lock:
            self._line = min(self._line, order)

    def of(self, order: int) -> Stop:
        """What the job of that order asks."""
        return lambda: self._outside.is_set() or order > self._line


def thread_pool(workers: int) -> ThreadPoolExecutor:
    """An Executor whose threads are workers 0 to `workers - 1`."""
    numbers = itertools.count()
    return ThreadPoolExecutor(workers, thread_name_prefix="worker", initializer=lambda: become_worker(next(numbers)))


class Fanout(AbstractContextManager["Fanout"]):
    """Jobs under way. Left, by success or failure, only when every one of them has ended."""

    def __init__(
        self,
        executor: Executor,
        jobs: Sequence[PartitionJob],
        *,
        stop: threading.Event,
        watch: Watch | None = None,
        loaded: Callable[[WorkerReport], None] | None = None,
    ) -> None:
        self._loaded = loaded
        self._line = StopLine(stop)
        self._futures: dict[int, Future[WorkerReport]] = {}
        self._by_stream: dict[str, list[int]] = {}
        for job in jobs:
            self._by_stream.setdefault(job.partition.stream, []).append(job.order)
            future = executor.submit(run_partition, job, self._line.of(job.order), watch)
            self._futures[job.order] = future
            future.add_done_callback(lambda done, order=job.order: self._note(order, done))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self.cancel()
        wait(self._futures.values())

    def cancel(self) -> None:
        """Every job is to stop; what is committed stays committed."""
        self._line.lower_to(-1)
        self._cancel_above(-1)

    def _note(self, order: int, done: Future[WorkerReport]) -> None:
        """A job has ended: when it failed, those above it need not go on."""
        if done.cancelled():
            return
        if done.exception() is not None:
            self._line.lower_to(order)
            self._cancel_above(order)
        elif self._loaded is not None:
            self._loaded(done.result())

    def _cancel_above(self, order: int) -> None:
        for other, future in list(self._futures.items()):
            if other > order:
                future.cancel()

    def count(self, stream: str) -> int:
        """Jobs of a stream."""
        return len(self._by_stream.get(stream, ()))

    def join(self, stream: str) -> tuple[WorkerReport, ...]:
        """The reports of a stream's partitions, in order, when all of them have ended.

        Raises the failure of the lowest partition that failed. Jobs of later streams go on.
        """
        futures = [self._futures[order] for order in sorted(self._by_stream.get(stream, ()))]
        wait(futures)
        return tuple(_outcome(future, stream) for future in futures)

    def ended(self, stream: str) -> tuple[WorkerReport, ...]:
        """The reports of those partitions of a stream that were committed, after everything has ended."""
        futures = [self._futures[order] for order in sorted(self._by_stream.get(stream, ()))]
        wait(futures)
        return tuple(future.result() for future in futures if not future.cancelled() and future.exception() is None)


def _outcome(future: Future[WorkerReport], stream: str) -> WorkerReport:
    if future.cancelled():
        raise CancelledError("a partition below it failed first", code="stopped", stream=stream)
    return future.result()


def of_the_target(error: RapidbyteError, contract: WriteContract) -> RapidbyteError:
    """The error with the target's name for the stage's, which is another in every run and gone when it is read."""
    if contract.stage is None:
        return error
    if error.context.sqlstate == "42P01" and contract.stage.name in error.message:
        error.message = f"the stage of {contract.target} is gone: somebody dropped it while it was being loaded"
        error.code, error.hint = "stage_gone", "run again; tables named _rb_... are stages of loads under way"
    error.message = error.message.replace(str(contract.stage), str(contract.target)).replace(
        contract.stage.name, contract.target.name
    )
    if error.context.table == str(contract.stage):
        error.context = replace(error.context, table=str(contract.target))
    return error


def reported(error: RapidbyteError) -> RapidbyteError:
    """The error as it is told: a lost server is nobody's partition, or the report would depend on timing."""
    if error.code == "connection_lost":
        error.context = replace(error.context, partition=None, worker=None, line=None)
    return error
