"""From the plan to prepared streams: the lease, then each stream's target, stage and record, committed."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping

from rapidbyte import __version__
from rapidbyte.contract import WriteContract
from rapidbyte.cursor import CursorBounds
from rapidbyte.engine.increments import bounds_of, nothing_new
from rapidbyte.engine.jobs import StreamLoad, Work, contract_of
from rapidbyte.engine.outcome import StreamOutcome
from rapidbyte.errors import RapidbyteError
from rapidbyte.events import StreamFinished
from rapidbyte.plan import StreamPlan
from rapidbyte.ports import OpenedRun
from rapidbyte.spec import RunRequest
from rapidbyte.values import field, frozen


@frozen
class Prepared:
    """What can be loaded, and which streams have ended already."""

    loads: tuple[StreamLoad, ...] = ()
    ended: Mapping[int, StreamOutcome] = field(default_factory=dict[int, StreamOutcome])
    """By their position in pipeline order: failed, or published before under the same key."""
    error: RapidbyteError | None = None
    """What ends the run here; then `loads` are to be discarded."""
    warnings: tuple[str, ...] = ()

    @property
    def contracts(self) -> tuple[WriteContract, ...]:
        """Of the streams that are prepared."""
        return tuple(load.contract for load in self.loads)


def prepare(work: Work) -> Prepared:
    """Opens the run, then prepares its streams in pipeline order. A failure is a value.

    Where streams are isolated, one that cannot be prepared has failed, and the others go on.
    """
    loads: list[StreamLoad] = []
    ended: dict[int, StreamOutcome] = {}
    warnings: tuple[str, ...] = ()
    try:
        work.stopping.require_going()
        asked = request(work)
        opened = work.again(lambda: work.runtime.leader.open_run(asked, work.stopping.stop_for))
        warnings = opened.warnings
        due = [stream for stream in work.plan.streams if stream.name not in opened.published_by_key]
        bounds = bounds_of(work, due, opened.cursors)
        for stream in work.plan.streams:
            work.stopping.require_going()
            if stream.name in opened.published_by_key:
                ended[stream.order] = _published_before(work, stream, opened)
                continue
            prepared = _prepare_stream(work, stream, bounds.get(stream.name))
            if isinstance(prepared, StreamLoad):
                loads.append(prepared)
            else:
                ended[stream.order] = prepared
    except RapidbyteError as error:
        told = work.stopping.told(error)
        return Prepared(loads=tuple(loads), ended=ended, error=told, warnings=warnings)
    return Prepared(loads=tuple(loads), ended=ended, warnings=warnings)


def request(work: Work) -> RunRequest:
    """Who asks for the lease."""
    source = work.plan.source
    return RunRequest(
        run_id=work.run_id,
        pipeline=work.plan.pipeline,
        streams=tuple(stream.name for stream in work.plan.streams),
        key=work.runtime.options.key,
        host=socket.gethostname(),
        pid=os.getpid(),
        source_identity=source.fingerprint if source is not None else None,
        tool_version=__version__,
    )


def _prepare_stream(
    work: Work, stream: StreamPlan, bounds: CursorBounds | RapidbyteError | None
) -> StreamLoad | StreamOutcome:
    try:
        if isinstance(bounds, RapidbyteError):
            raise bounds
        if bounds is not None and bounds.is_empty and not work.runtime.options.full_refresh:
            return nothing_new(work, stream, bounds)
        return StreamLoad(plan=stream, contract=contract_of(work, stream, bounds), bounds=bounds)
    except RapidbyteError as error:
        if not work.isolated:
            raise
        error.at(stream=stream.name, table=str(stream.target), afterwards=f"{stream.target} was not changed")
        failed = StreamFinished(stream=stream.name, status="failed", rows=0, error_code=error.code)
        work.runtime.observe(failed)
        return StreamOutcome(
            spec=stream.shape.spec, plan=stream, status="failed", error=error, retries=work.retries[stream.name]
        )


def _published_before(work: Work, stream: StreamPlan, opened: OpenedRun) -> StreamOutcome:
    """What is published under the run's key is not loaded again."""
    work.runtime.observe(StreamFinished(stream=stream.name, status="succeeded", rows=0))
    return StreamOutcome(
        spec=stream.shape.spec, plan=stream, status="succeeded", published_by=opened.published_by_key[stream.name]
    )
