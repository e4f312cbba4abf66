"""Fan-out and publish: from streams that are prepared to streams that have ended.

Loading goes in rounds; one is enough unless the source's snapshot or a stage is lost. A round takes one snapshot, reads
every partition of every stream that is not loaded yet, and publishes what is complete, in pipeline order.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from copy import copy
from dataclasses import replace

from rapidbyte.contract import LoadReceipts, WorkerReport, WriteContract
from rapidbyte.engine.failures import afterwards, of_the_target, reported, with_way_out
from rapidbyte.engine.fencing import or_fenced
from rapidbyte.engine.jobs import (
    StreamLoad,
    Work,
    begun_anew,
    jobs_of,
    partitions_of,
    require_few_rejects,
    retry_event,
    watchers,
)
from rapidbyte.engine.outcome import StreamOutcome
from rapidbyte.engine.pool import Fanout
from rapidbyte.engine.tuner import Tuner
from rapidbyte.engine.volatile import explained
from rapidbyte.engine.worker import PartitionJob
from rapidbyte.errors import CancelledError, RapidbyteError, SourceError
from rapidbyte.events import StreamFinished
from rapidbyte.failpoints import failpoint
from rapidbyte.ports import FinalizeReport, Publication, Snapshot
from rapidbyte.result import StreamStatus
from rapidbyte.values import frozen

SNAPSHOT_LOST = "snapshot_lost"
"""The source's session that held the snapshot is gone: what was not read in it cannot be."""
STAGE_EMPTIED = "stage_emptied"
"""A crash of the destination has emptied an unlogged stage, after its partitions were committed."""

NOT_RESUMED = frozenset({"config", "data", "schema", "check"})
"""Categories of errors that would be met again: such a load begins anew."""


@frozen
class Loaded:
    """A stream of which every partition is committed, all of them read in one snapshot."""

    load: StreamLoad
    reports: tuple[WorkerReport, ...]
    receipts: LoadReceipts
    """Of this run and, for a load that was resumed, of earlier ones."""
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
        self._landed: set[str] = set()
        self._snapshot_lost: RapidbyteError | None = None
        self._snapshots_lost = 0
        self.tuner = Tuner(work.plan.choice)
        self.rounds = 0
        self.error: RapidbyteError | None = None
        """What ended the run where it was no stream's own failure."""

    @property
    def outcomes(self) -> dict[int, StreamOutcome]:
        """How the streams ended, by their position in pipeline order, after `finish`."""
        return {self._loads[name].plan.order: outcome for name, outcome in self._ended.items()}

    def unpublished(self) -> tuple[WriteContract, ...]:
        """The loads whose stages are of no use any more."""
        ended = ((load, self._ended[load.name]) for load in self._loads.values())
        return tuple(load.contract for load, end in ended if end.published is None and not end.resumable)

    def kept(self) -> tuple[str, ...]:
        """A sentence for each load that the next run can go on with."""
        return tuple(
            f"stream {name}: what is loaded is kept; the same command goes on from there"
            for name in self._loads
            if self._ended[name].resumable
        )

    def finish(self) -> None:
        """Loads and publishes until every stream has ended. A failure is an outcome; nothing of ours is raised."""
        while len(self._ended) < len(self._loads):
            waiting = [load for name, load in self._loads.items() if name not in {*self._loaded, *self._ended}]
            if waiting:
                self.rounds += 1
                try:
                    self._round(waiting)
                except RapidbyteError as error:
                    self._fail_all(waiting, error)
                    continue  # who has not ended yet is read in a round without the one that failed
            if not self._again:
                self._settle()
            self._begin_again()

    # --- a round

    def _round(self, waiting: Sequence[StreamLoad]) -> None:
        self._snapshot_lost = None
        with self._snapshot(waiting) as snapshot, self.tuner.crew() as executor:
            failpoint("snap.exported")
            try:
                jobs = self._jobs(waiting, snapshot)
            except SourceError as error:
                if not self._is_split_again(error):
                    raise
                self._snapshots_lost += 1
                self._work.runtime.observe(retry_event(error, self._snapshots_lost, stream=None))
                self._again += [load for load in waiting if load.name not in self._ended]
                return
            with Fanout(
                executor,
                jobs,
                stop=self._work.stopping.event,
                isolated=self._work.isolated,
                watchers=watchers(self._work.runtime.observe, self._landed.add, self.tuner.note),
            ) as fanout:
                for name, load in self._loads.items():
                    if self._skipped(load):
                        continue
                    if name not in self._loaded:
                        self._join(load, fanout, snapshot)
                    if name in self._loaded and self._may_publish(name):
                        self._publish([self._loaded[name]], fanout)

    @contextmanager
    def _snapshot(self, waiting: Sequence[StreamLoad]) -> Generator[Snapshot]:
        """One for all streams that are to be read; tried again where the source refuses for the moment."""
        work = self._work
        plans = tuple(load.plan for load in waiting)
        with ExitStack() as stack:
            yield work.again(lambda: stack.enter_context(work.runtime.source.snapshot(plans)))

    def _jobs(self, waiting: Sequence[StreamLoad], snapshot: Snapshot) -> tuple[PartitionJob, ...]:
        """In (stream, partition) order. A stream whose partitions cannot be told has failed."""
        jobs: list[PartitionJob] = []
        for load in waiting:
            try:
                current, partitions = partitions_of(self._work, load, snapshot)
                own = jobs_of(self._work, current, partitions, snapshot)
            except RapidbyteError as error:
                if not self._work.isolated or self._is_split_again(error):
                    error.at(stream=load.name)
                    raise
                self._end_failed(load, error)
                continue
            self._loads[load.name] = current
            self._partitions[load.name] = len(partitions)
            jobs.extend(own)
        return tuple(replace(job, order=order) for order, job in enumerate(jobs))

    def _join(self, load: StreamLoad, fanout: Fanout, snapshot: Snapshot) -> None:
        """Waits for a stream's partitions: afterwards it is loaded, has failed, or begins again."""
        options = self._work.runtime.options
        self._work.retries[load.name] += fanout.retries(load.name)
        try:
            reports = fanout.join(load.name)
            failpoint("join.all_done")
            snapshot.require_alive()
            self._work.stopping.require_going()
            receipts = LoadReceipts(
                load_id=load.contract.load_id,
                stream=load.name,
                planned=self._partitions[load.name],
                receipts=(*load.contract.resume.receipts, *(report.receipt for report in reports)),
            )
            require_few_rejects(load.contract.rejects, receipts)
            self._loaded[load.name] = Loaded(
                load=load,
                reports=reports,
                receipts=receipts,
                source_checksum=snapshot.checksum(load.plan, load.contract.bounds) if options.checksum else None,
            )
        except RapidbyteError as error:
            again = self._begins_again(error)
            if again and self._stays(load):
                fanout.cancel()
                self._end_failed(load, self._snapshot_lost or error, reports=fanout.committed(load.name))
            elif again:
                fanout.cancel()
                self._again.append(load)
            else:
                fanout.cancel(load.name if self._work.isolated else None)
                self._end_failed(load, error, reports=fanout.committed(load.name))

    # --- beginning again

    def _begins_again(self, error: RapidbyteError) -> bool:
        """Whether a stream that could not be read is read anew, in another snapshot."""
        if self._work.stopping.event.is_set():
            return False
        if self._snapshot_lost is not None:
            return error.code == SNAPSHOT_LOST or isinstance(error, CancelledError)
        if error.code != SNAPSHOT_LOST or self._snapshots_lost >= self._work.policy.max_retries:
            return False
        self._snapshot_lost = error
        self._snapshots_lost += 1
        self._work.runtime.observe(retry_event(error, self._snapshots_lost, stream=None))
        return True

    def _is_split_again(self, error: RapidbyteError) -> bool:
        """Whether another snapshot is taken, since this one was lost before its partitions were told."""
        lost = isinstance(error, SourceError) and (error.code == SNAPSHOT_LOST or error.retry == "connection")
        may = self._snapshots_lost < self._work.policy.max_retries and not self._work.stopping.event.is_set()
        return lost and may

    def _stays(self, load: StreamLoad) -> bool:
        """Whether what is loaded cannot be taken back: partitions of a direct load are in the target."""
        landed = load.name in self._landed or bool(load.contract.resume.receipts)
        return load.plan.publish == "direct" and landed

    def _is_reloaded(self, load: StreamLoad, error: RapidbyteError) -> bool:
        """Whether a stream whose stage was emptied is loaded anew: once."""
        if error.code != STAGE_EMPTIED or load.name in self._reloaded or not self._work.policy.max_retries:
            return False
        self._reloaded.add(load.name)
        self._work.runtime.observe(retry_event(error, 1, stream=load.name))
        return True

    def _begin_again(self) -> None:
        """New loads, in new stages, for the streams that could not be finished."""
        work = self._work
        again, self._again = self._again, []
        for load in again:
            if self._skipped(load):
                continue
            work.clock.enter("prepare")
            try:
                work.stopping.require_going()
                self._loads[load.name] = begun_anew(work, load)
            except RapidbyteError as error:
                self._end_failed(load, error)
        work.clock.enter("load")

    # --- publishing

    def _may_publish(self, name: str) -> bool:
        """Whether a loaded stream is published while others are still being loaded."""
        if self._work.together:
            return False
        return name not in self._ended and (self._work.isolated or all(e in self._ended for e in self._before(name)))

    def _settle(self) -> None:
        """Publishes what is loaded and has not been published while loading."""
        if self._work.together:
            self._settle_together()
            return
        for name, load in self._loads.items():
            if not self._again and not self._skipped(load):
                self._publish([self._loaded[name]])

    def _settle_together(self) -> None:
        """Publishes all streams, or none: those that are loaded are skipped when another has failed."""
        loaded = [each for each in self._loaded.values() if each.load.name not in self._ended]
        if len(loaded) == len(self._loads):
            self._publish([self._loaded[name] for name in self._loads])
        if not self._again:
            for each in loaded:
                if each.load.name not in self._ended:
                    self._end(each.load, self._outcome(each.load, status="skipped", reports=each.reports))

    def _publish(self, members: Sequence[Loaded], fanout: Fanout | None = None) -> None:
        """One transaction for all of them: each has ended afterwards, or begins again."""
        work = self._work
        options = work.runtime.options
        work.clock.enter("finalize")
        publications = [
            Publication(
                contract=each.load.contract,
                receipts=each.receipts,
                expected_checksum=each.source_checksum
                if each.load.plan.moves_rows_unchanged and not each.receipts.rejected
                else None,
                checksum=options.checksum,
            )
            for each in members
        ]
        try:
            reports = work.again(lambda: work.runtime.leader.finalize(publications), members[0].load.name)
        except RapidbyteError as error:
            self._not_published(members, error, fanout)
        else:
            for each, report in zip(members, reports, strict=True):
                self._end_published(each, report)
        work.clock.enter("load")

    def _not_published(self, members: Sequence[Loaded], error: RapidbyteError, fanout: Fanout | None) -> None:
        """After a publish that failed: whose failure it is, and who begins again."""
        named = [each for each in members if each.load.name == error.context.stream]
        if named and self._is_reloaded(named[0].load, error):
            del self._loaded[named[0].load.name]
            self._again.append(named[0].load)
            return
        if error.context.commit_state != "before_commit" or not named:
            named = list(members)
        if fanout is not None and not self._work.isolated:
            fanout.cancel()
        for each in named:
            self._end_failed(each.load, error, reports=each.reports)

    # --- ends

    def _skipped(self, load: StreamLoad) -> bool:
        """Whether the stream has ended; one behind a failure ends now, as skipped."""
        if load.name in self._ended:
            return True
        failed = any(e in self._ended and self._ended[e].error is not None for e in self._before(load.name))
        if failed and not self._work.isolated:
            self._end(load, self._outcome(load, status="skipped"))
        return load.name in self._ended

    def _before(self, name: str) -> Iterator[str]:
        """The streams before this one in pipeline order."""
        return itertools.takewhile(lambda other: other != name, self._loads)

    def _end_published(self, each: Loaded, report: FinalizeReport) -> None:
        self._end(
            each.load,
            self._outcome(
                each.load,
                status="succeeded",
                reports=each.reports,
                published=report,
                source_checksum=each.source_checksum,
            ),
        )

    def _end_failed(self, load: StreamLoad, error: RapidbyteError, reports: tuple[WorkerReport, ...] = ()) -> None:
        cause = or_fenced(self._work, self._work.stopping.told(error))
        told = explained(of_the_target(copy(cause), load.contract), load.plan)
        told = with_way_out(told, load.plan.rejects, load.plan)
        told.context = replace(told.context, stream=load.name)
        told.at(table=str(load.plan.target), afterwards=afterwards(load.plan, told))
        cancelled = isinstance(told, CancelledError)
        status: StreamStatus = "cancelled" if cancelled else "failed"
        self._end(load, self._outcome(load, status=status, reports=reports, error=reported(told)))

    def _fail_all(self, waiting: Sequence[StreamLoad], error: RapidbyteError) -> None:
        """A round could not be: the stream that the error names has failed; with isolation the others go on."""
        named = [load for load in waiting if load.name == error.context.stream and load.name not in self._ended]
        for load in named:
            self._end_failed(load, error)
        if named and self._work.isolated:
            return
        if not named:
            self.error = reported(self._work.stopping.told(error).at(afterwards="no target was changed"))
        self._again = []
        for name, load in self._loads.items():
            if name not in self._ended:
                self._end(load, self._outcome(load, status="skipped"))

    def _outcome(
        self,
        load: StreamLoad,
        *,
        status: StreamStatus,
        reports: tuple[WorkerReport, ...] = (),
        published: FinalizeReport | None = None,
        error: RapidbyteError | None = None,
        source_checksum: str | None = None,
    ) -> StreamOutcome:
        begun = status != "skipped" or bool(reports)
        return StreamOutcome(
            spec=load.plan.shape.spec,
            plan=load.plan,
            status=status,
            reports=reports,
            resumed=load.contract.resume.receipts if begun else (),
            retries=self._work.retries[load.name],
            partition_count=self._partitions.get(load.name) if begun else None,
            bounds=load.contract.bounds,
            started_s=min((report.started_s for report in reports), default=None),
            ended_s=time.monotonic() if begun else None,
            published=published,
            error=error,
            source_checksum=source_checksum,
        )

    def _is_kept(self, load: StreamLoad, outcome: StreamOutcome) -> bool:
        """Whether an ended load leaves partitions that the next run goes on with."""
        landed = load.name in self._landed or bool(load.contract.resume.receipts)
        for_good = outcome.error is not None and outcome.error.category in NOT_RESUMED
        return outcome.published is None and landed and load.resumable and not for_good

    def _end(self, load: StreamLoad, outcome: StreamOutcome) -> None:
        outcome = replace(outcome, resumable=self._is_kept(load, outcome))
        self._ended[load.name] = outcome
        rows = sum(report.receipt.rows for report in outcome.reports) + sum(each.rows for each in outcome.resumed)
        code = outcome.error.code if outcome.error is not None else None
        self._work.runtime.observe(StreamFinished(stream=load.name, status=outcome.status, rows=rows, error_code=code))
