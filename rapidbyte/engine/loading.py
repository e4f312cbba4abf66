"""Fan-out and publish: from streams that are prepared to streams that have ended.

Loading goes in rounds; one is enough unless the source's snapshot or a stage is lost. A round takes one snapshot, reads
every partition of every stream that is not loaded yet, and publishes what is complete, in pipeline order.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace

from rapidbyte.contract import LoadReceipts, WorkerReport, WriteContract
from rapidbyte.engine.jobs import StreamLoad, Work, jobs_of, retry_event, watchers
from rapidbyte.engine.outcome import StreamOutcome
from rapidbyte.engine.pool import Fanout, of_the_target, reported, thread_pool
from rapidbyte.engine.publishing import publish
from rapidbyte.engine.retry import RetryPolicy, repeat
from rapidbyte.engine.worker import PartitionJob
from rapidbyte.errors import CancelledError, RapidbyteError
from rapidbyte.plan import StreamPlan
from rapidbyte.ports import FinalizeReport, Publication, Snapshot, StreamFinished

SNAPSHOT_LOST = "snapshot_lost"
"""The source's session that held the snapshot is gone: what was not read in it cannot be."""
STAGE_EMPTIED = "stage_emptied"
"""A crash of the destination has emptied an unlogged stage, after its partitions were committed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """A stream of which every partition is committed, all of them read in one snapshot."""

    load: StreamLoad
    reports: tuple[WorkerReport, ...]
    receipts: LoadReceipts
    source_checksum: str | None


class Loading:
    """The prepared streams of one run on their way to their ends. Used by the leader's thread; `finish` it once."""

    def __init__(self, work: Work, loads: Sequence[StreamLoad]) -> None:
        self._work = work
        self._loads = {load.name: load for load in loads}
        self._partitions: dict[str, int] = {}
        self._loaded: dict[str, Loaded] = {}
        self._ended: dict[str, StreamOutcome] = {}
        self._again: list[StreamLoad] = []
        self._reloaded: set[str] = set()
        self._retries: Counter[str] = Counter()
        self._snapshot_lost = False
        self._snapshots_lost = 0
        self._gave_up = False
        self.rounds = 0
        self.error: RapidbyteError | None = None
        """What ended the run where it was no stream's own failure."""

    @property
    def outcomes(self) -> tuple[StreamOutcome, ...]:
        """How the streams ended, in pipeline order, after `finish`."""
        return tuple(self._ended[name] for name in self._loads)

    @property
    def contracts(self) -> tuple[WriteContract, ...]:
        """The loads in the end: not those that were begun anew."""
        return tuple(load.contract for load in self._loads.values())

    def finish(self) -> None:
        """Loads and publishes until every stream has ended. A failure is an outcome; nothing of ours is raised."""
        while len(self._ended) < len(self._loads):
            self.rounds += 1
            waiting = [load for name, load in self._loads.items() if name not in self._loaded | self._ended]
            try:
                if waiting:
                    self._round(waiting)
            except RapidbyteError as error:
                self._fail_all(waiting, error)
            if not self._again:
                self._settle()
            self._begin_again()

    # --- a round

    def _round(self, waiting: Sequence[StreamLoad]) -> None:
        self._snapshot_lost = False
        with self._snapshot(waiting) as snapshot, thread_pool(self._work.plan.workers) as executor:
            jobs = self._jobs(waiting, snapshot)
            with Fanout(
                executor,
                jobs,
                stop=self._work.stopping.event,
                isolated=self._work.isolated,
                watchers=watchers(self._work.runtime.observe),
            ) as fanout:
                for name, load in self._loads.items():
                    if name not in self._loaded and not self._skipped(load):
                        self._join(load, fanout, snapshot)
                    if name in self._loaded and self._may_publish(name):
                        self._publish([self._loaded[name]], fanout)

    @contextmanager
    def _snapshot(self, waiting: Sequence[StreamLoad]) -> Generator[Snapshot]:
        """One for all streams that are to be read; tried again where the source refuses for the moment."""
        work = self._work
        plans = tuple(load.plan for load in waiting)
        with ExitStack() as stack:
            yield repeat(
                lambda _: stack.enter_context(work.runtime.source.snapshot(plans)),
                work.policy,
                stop=work.stopping.event.is_set,
                noted=lambda error, failures: self._note_retry(error, failures, waiting[0].name),
            )

    def _jobs(self, waiting: Sequence[StreamLoad], snapshot: Snapshot) -> tuple[PartitionJob, ...]:
        """In (stream, partition) order. A stream whose partitions cannot be told has failed."""
        jobs: list[PartitionJob] = []
        for load in waiting:
            try:
                partitions = snapshot.partitions(load.plan, self._work.plan.partition_bytes(load.plan))
                own = jobs_of(self._work, load, partitions, snapshot)
            except RapidbyteError as error:
                if not self._work.isolated:
                    raise error.at(stream=load.name) from error.__cause__
                self._end_failed(load, error)
                continue
            self._partitions[load.name] = len(partitions)
            jobs.extend(replace(job, order=len(jobs) + job.order) for job in own)
        return tuple(jobs)

    def _join(self, load: StreamLoad, fanout: Fanout, snapshot: Snapshot) -> None:
        """Waits for a stream's partitions: afterwards it is loaded, has failed, or begins again."""
        options = self._work.runtime.options
        try:
            reports = fanout.join(load.name)
            snapshot.require_alive()
            self._work.stopping.require_going()
            self._loaded[load.name] = Loaded(
                load=load,
                reports=reports,
                receipts=LoadReceipts(
                    load_id=load.contract.load_id,
                    stream=load.name,
                    planned=self._partitions[load.name],
                    receipts=tuple(report.receipt for report in reports),
                ),
                source_checksum=snapshot.checksum(load.plan) if options.checksum else None,
            )
        except RapidbyteError as error:
            if self._begins_again(error):
                fanout.cancel()
                self._again.append(load)
            else:
                self._give_up(load, error, fanout)
        self._retries[load.name] += fanout.retries(load.name)

    def _give_up(self, load: StreamLoad, error: RapidbyteError, fanout: Fanout) -> None:
        """A stream has failed: its partitions are to stop, and without isolation those of the others."""
        fanout.cancel(load.name if self._work.isolated else None)
        retries = self._retries[load.name] + fanout.retries(load.name)
        self._end_failed(load, error, reports=fanout.committed(load.name), retries=retries)

    # --- beginning again

    def _begins_again(self, error: RapidbyteError) -> bool:
        """Whether a stream that could not be read is read anew, in another snapshot."""
        if self._work.stopping.event.is_set():
            return False
        if self._snapshot_lost:
            return error.code == SNAPSHOT_LOST or isinstance(error, CancelledError)
        if error.code != SNAPSHOT_LOST or self._snapshots_lost >= self._work.policy.max_retries:
            return False
        self._snapshot_lost = True
        self._snapshots_lost += 1
        self._note_retry(error, self._snapshots_lost, None)
        return True

    def _is_reloaded(self, load: StreamLoad, error: RapidbyteError) -> bool:
        """Whether a stream whose stage was emptied is loaded anew: once."""
        if error.code != STAGE_EMPTIED or load.name in self._reloaded or not self._work.policy.max_retries:
            return False
        self._reloaded.add(load.name)
        self._note_retry(error, 1, load.name)
        return True

    def _begin_again(self) -> None:
        """New loads, in new stages, for the streams that could not be finished."""
        work = self._work
        again, self._again = self._again, []
        for load in again:
            work.clock.enter("prepare")
            try:
                work.stopping.require_going()
                work.runtime.leader.discard_stream(load.contract)
                contract = work.runtime.leader.prepare_stream(work.plan, load.plan, work.run_id)
                self._loads[load.name] = replace(load, contract=contract)
            except RapidbyteError as error:
                self._end_failed(load, error)
        work.clock.enter("load")

    # --- publishing

    def _may_publish(self, name: str) -> bool:
        """Whether a loaded stream is published while others are still being loaded.

        Not where source and destination are one database: the snapshot's holder has locks there, which a swap of a
        table that another stream reads would wait for.
        """
        if self._work.plan.same_database or self._work.runtime.together:
            return False
        return name not in self._ended and (self._work.isolated or all(e in self._ended for e in self._before(name)))

    def _settle(self) -> None:
        """Publishes what is loaded and has not been published while loading."""
        if self._work.runtime.together:
            failed = any(outcome.error is not None for outcome in self._ended.values()) or self.error is not None
            loaded = list(self._loaded.values())
            if loaded and not failed:
                self._publish(loaded)
            if not self._again:
                for each in loaded:
                    if each.load.name not in self._ended:
                        self._end(each.load, self._outcome(each.load, status="skipped", reports=each.reports))
            return
        for name, load in self._loads.items():
            if name in self._loaded and not self._skipped(load) and not self._again:
                self._publish([self._loaded[name]])

    def _publish(self, members: Sequence[Loaded], fanout: Fanout | None = None) -> None:
        """One transaction for all of them: each has ended afterwards, or begins again."""
        work = self._work
        options = work.runtime.options
        work.clock.enter("finalize")
        publications = [
            Publication(
                contract=each.load.contract,
                receipts=each.receipts,
                expected_checksum=each.source_checksum if each.load.plan.moves_rows_unchanged else None,
                checksum=options.checksum,
            )
            for each in members
        ]
        try:
            reports = repeat(
                lambda _: work.runtime.leader.finalize(publications),
                RetryPolicy(max_retries=0) if self._gave_up else work.policy,
                stop=work.stopping.event.is_set,
                noted=lambda error, failures: self._note_retry(error, failures, members[0].load.name),
            )
        except RapidbyteError as error:
            self._gave_up = self._gave_up or error.retry == "connection"
            self._not_published(members, error, fanout)
        else:
            for each, report in zip(members, reports, strict=True):
                self._end_published(each, report)
        work.clock.enter("load")
