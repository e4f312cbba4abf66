"""Fan-out: jobs in order onto an Executor; the lowest failure wins, whatever the timing.

A failing job cancels only the jobs above it; those below it end by themselves. So if partitions 3 and 5 are both bad,
3 is reported in every run, whichever thread came first. Where streams are isolated, it cancels those of its own stream.
"""

from __future__ import annotations

import itertools
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any, ParamSpec, Self, TypeVar

from rapidbyte.contract import WorkerReport
from rapidbyte.engine.worker import PartitionJob, PartitionRetried, Watch, become_worker, run_partition
from rapidbyte.errors import CancelledError, RapidbyteError
from rapidbyte.ports import Stop
from rapidbyte.values import frozen

P = ParamSpec("P")
T = TypeVar("T")


@frozen
class Watchers:
    """Who is told of what, by the thread in which it happens. They must not block and must not raise."""

    block: Watch | None = None
    retried: PartitionRetried | None = None
    loaded: Callable[[WorkerReport], None] | None = None


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


class Crew(ThreadPoolExecutor):
    """An Executor whose threads are workers 0, 1, 2 and so on; it can take in more, up to `limit`."""

    def __init__(self, workers: int, *, limit: int | None = None) -> None:
        self._limit = max(workers, limit or workers)
        self._places = threading.Semaphore(workers)
        self._handed_in: deque[Future[Any]] = deque()
        numbers = itertools.count()

        def begin() -> None:
            # A thread of an executor begins with the first job that finds none idle; those beyond `workers` wait here.
            self._places.acquire()
            become_worker(next(numbers))

        super().__init__(self._limit, thread_name_prefix="worker", initializer=begin)

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """As every Executor's."""
        future = super().submit(fn, *args, **kwargs)
        self._handed_in.append(future)
        return future

    @property
    def waiting(self) -> int:
        """Jobs that no worker has taken up; they are taken up in the order in which they came."""
        while self._handed_in and (self._handed_in[0].running() or self._handed_in[0].done()):
            self._handed_in.popleft()
        return len(self._handed_in)

    def grow(self) -> None:
        """One more worker, who begins at once where there is work."""
        self._places.release()

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """As every Executor's."""
        self._places.release(self._limit)  # threads that were never needed are to end, too
        super().shutdown(wait=wait, cancel_futures=cancel_futures)


def thread_pool(workers: int) -> Crew:
    """An Executor whose threads are workers 0 to `workers - 1`."""
    return Crew(workers)


class Fanout(AbstractContextManager["Fanout"]):
    """Jobs under way. Left, by success or failure, only when every one of them has ended."""

    def __init__(
        self,
        executor: Executor,
        jobs: Sequence[PartitionJob],
        *,
        stop: threading.Event,
        isolated: bool = False,
        watchers: Watchers | None = None,
    ) -> None:
        self._watchers = watchers or Watchers()
        shared = StopLine(stop)
        self._lines: dict[str, StopLine] = {}
        self._futures: dict[int, Future[WorkerReport]] = {}
        self._orders: dict[str, list[int]] = {}
        for job in jobs:
            stream, order = job.partition.stream, job.order
            line = self._lines.setdefault(stream, StopLine(stop) if isolated else shared)
            self._orders.setdefault(stream, []).append(order)
            future = executor.submit(run_partition, job, line.of(order), self._watchers.block, self._watchers.retried)
            self._futures[order] = future
            future.add_done_callback(lambda done, job=job: self._note(job, done))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self.cancel()
        wait(self._futures.values())

    def cancel(self, stream: str | None = None) -> None:
        """Every job is to stop, or every one of a stream that is isolated; what is committed stays committed."""
        for each in list(self._lines) if stream is None else [stream]:
            self._stop_above(each, -1)

    def _note(self, job: PartitionJob, done: Future[WorkerReport]) -> None:
        """A job has ended: when it failed, those above it need not go on."""
        if done.cancelled():
            return
        if done.exception() is not None:
            self._stop_above(job.partition.stream, job.order)
        elif self._watchers.loaded is not None:
            self._watchers.loaded(done.result())

    def _stop_above(self, stream: str, order: int) -> None:
        """Stops the jobs above `order` that stand behind the same line as the stream's."""
        line = self._lines.get(stream)
        if line is None:
            return
        line.lower_to(order)
        for other, orders in list(self._orders.items()):
            if self._lines.get(other) is line:
                for each in list(orders):
                    if each > order and each in self._futures:
                        self._futures[each].cancel()

    def join(self, stream: str) -> tuple[WorkerReport, ...]:
        """The reports of a stream's partitions, in order, when all of them have ended.

        Raises the failure of the lowest partition that failed. Jobs of later streams go on.
        """
        return tuple(_outcome(future, stream) for future in self._ended(stream))

    def committed(self, stream: str) -> tuple[WorkerReport, ...]:
        """The reports of those partitions of a stream that were committed, after everything has ended."""
        futures = self._ended(stream)
        return tuple(future.result() for future in futures if not future.cancelled() and future.exception() is None)

    def retries(self, stream: str) -> int:
        """How often partitions of a stream were tried again, also those that failed in the end."""
        return sum(_attempts(future) - 1 for future in self._ended(stream))

    def _ended(self, stream: str) -> list[Future[WorkerReport]]:
        futures = [self._futures[order] for order in sorted(self._orders.get(stream, ()))]
        wait(futures)
        return futures


def _attempts(future: Future[WorkerReport]) -> int:
    if future.cancelled():
        return 1
    failure = future.exception()
    if failure is None:
        return future.result().attempts
    return failure.context.attempts if isinstance(failure, RapidbyteError) else 1


def _outcome(future: Future[WorkerReport], stream: str) -> WorkerReport:
    if future.cancelled():
        raise CancelledError("a partition below it failed first", code="stopped", stream=stream)
    return future.result()
