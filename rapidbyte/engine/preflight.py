"""Preflight: both ends looked at, everything decided, nothing changed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TypeVar

from rapidbyte.decisions import make_plan, readers_of, select_streams
from rapidbyte.engine.outcome import StreamOutcome
from rapidbyte.errors import ConfigError, RapidbyteError
from rapidbyte.failpoints import failpoint
from rapidbyte.metrics import available_cores
from rapidbyte.model import QualifiedName, ServerFacts
from rapidbyte.plan import RunPlan, StreamPlan, StreamShape
from rapidbyte.ports import LastRun, Runtime
from rapidbyte.spec import PipelineSpec, RunOptions, StreamSpec
from rapidbyte.values import field, frozen

T = TypeVar("T")
Readers = tuple[tuple[QualifiedName, str], ...]
"""Relations of the destination's database that streams read, with these streams."""


@frozen
class Preflight:
    """What will be done; and, where streams are isolated, which cannot be."""

    plan: RunPlan
    failed: Mapping[int, StreamOutcome] = field(default_factory=dict[int, StreamOutcome])
    """By their position in pipeline order, as `StreamPlan.order`."""


def preflight(spec: PipelineSpec, runtime: Runtime) -> RunPlan:
    """The plan of a run, of which nothing is carried out. Raises RapidbyteError."""
    return look(spec, runtime).plan


def look(spec: PipelineSpec, runtime: Runtime, only: LastRun | None = None) -> Preflight:
    """Looks at both ends and plans. Raises RapidbyteError for what concerns the run.

    With `--keep-going` a stream that cannot be loaded is left out of the plan, unless that leaves none; with `only`,
    every stream but those that failed in that run.
    """
    isolated = runtime.options.keep_going
    require_compatible(spec, runtime.options)
    streams = as_asked(select_streams(spec.streams, runtime.options.streams), runtime.options)
    source, destination = _facts(runtime)
    failpoint("pre.connected")
    failed: dict[int, StreamOutcome] = {}
    if not isolated:
        shapes: Sequence[StreamShape | StreamOutcome] = runtime.source.describe(streams)
    else:
        shapes = _described_alone(streams, runtime)
    if only is not None:
        shapes = _those_that_failed(shapes, only)
    described = tuple(shape for shape in shapes if isinstance(shape, StreamShape))
    readers = readers_of(described, source=source, destination=destination)
    planned: list[StreamPlan] = []
    for order, shape in enumerate(shapes):
        found = shape if isinstance(shape, StreamOutcome) else _planned(order, shape, runtime, readers)
        if isinstance(found, StreamPlan):
            planned.append(found)
        else:
            failed[order] = found
    if failed and not planned:
        raise first_error(failed)

    def plan_of(members: Sequence[StreamPlan]) -> RunPlan:
        return make_plan(
            hooks=spec.destination.hooks,
            pipeline=spec.pipeline,
            streams=tuple(members),
            resources=spec.resources,
            options=runtime.options,
            source=source,
            source_title=spec.source.title,
            destination=destination,
            cores=available_cores(),
        )

    allowed = _allowed(plan_of(planned), failed, runtime, isolated=isolated)
    return Preflight(plan=plan_of(allowed), failed=failed)


def _facts(runtime: Runtime) -> tuple[ServerFacts | None, ServerFacts]:
    """What both servers say of themselves, asked at the same time. Where both fail it is the source's failure."""
    with ThreadPoolExecutor(1, thread_name_prefix="preflight") as aside:
        destination = aside.submit(runtime.leader.facts)
        return runtime.source.facts(), destination.result()


def last_run(spec: PipelineSpec, runtime: Runtime) -> LastRun | None:
    """The run of which `--failed` repeats what failed; None without that option. Raises ConfigError: there is none."""
    if not runtime.options.failed:
        return None
    found = runtime.leader.last_run()
    if found is None:
        raise ConfigError(
            f"pipeline {spec.pipeline} has not run yet, as far as the destination's ledger tells",
            code="no_last_run",
            hint="run it without --failed",
        )
    return found


def _those_that_failed(
    shapes: Sequence[StreamShape | StreamOutcome], last: LastRun
) -> Sequence[StreamShape | StreamOutcome]:
    wanted = {name for name, succeeded in last.streams if not succeeded}
    found = [shape for shape in shapes if shape.spec.name in wanted]
    if not found:
        raise ConfigError(
            f"what failed in run {last.run_id} is not among the streams: {', '.join(sorted(wanted))}",
            code="stream_unknown",
            hint="run it without --failed",
        )
    return found


def require_compatible(spec: PipelineSpec, options: RunOptions) -> None:
    """Raises ConfigError for options that contradict the pipeline."""
    if options.keep_going and spec.destination.publish_together:
        raise ConfigError(
            "--keep-going cannot go with `publish: together`, which publishes every stream or none",
            code="options_conflict",
            hint="leave one of them out",
        )


def as_asked(streams: tuple[StreamSpec, ...], options: RunOptions) -> tuple[StreamSpec, ...]:
    """The streams as this run loads them: with `--full-refresh` everything replaces what is there. Pure."""
    if not options.full_refresh:
        return streams
    return tuple(replace(stream, write_mode="replace") for stream in streams)


def first_error(failed: Mapping[int, StreamOutcome]) -> RapidbyteError:
    """The failure of the first stream in pipeline order; `failed` is not empty, and each has one."""
    return next(outcome.error for _, outcome in sorted(failed.items()) if outcome.error is not None)


def _described_alone(streams: tuple[StreamSpec, ...], runtime: Runtime) -> list[StreamShape | StreamOutcome]:
    """All shapes at once where that goes well; else each entry's by itself, the failures as outcomes."""
    try:
        return list(runtime.source.describe(streams))
    except RapidbyteError:
        if len(streams) == 1:
            raise
    found: list[StreamShape | StreamOutcome] = []
    for stream in streams:
        described = _or_failed(lambda stream=stream: runtime.source.describe((stream,)), stream)
        found.extend([described] if isinstance(described, StreamOutcome) else described)
    return found


def _planned(order: int, shape: StreamShape, runtime: Runtime, readers: Readers) -> StreamPlan | StreamOutcome:
    if not runtime.options.keep_going:
        return runtime.leader.plan_stream(order, shape, readers)
    return _or_failed(lambda: runtime.leader.plan_stream(order, shape, readers), shape.spec)


def _allowed(
    plan: RunPlan, failed: dict[int, StreamOutcome], runtime: Runtime, *, isolated: bool
) -> tuple[StreamPlan, ...]:
    """The streams for which no privilege is missing; those that are left out are put into `failed`."""
    try:
        runtime.leader.check_privileges(plan)
    except RapidbyteError:
        if not isolated or len(plan.streams) == 1:
            raise
    else:
        return plan.streams
    allowed: list[StreamPlan] = []
    for stream in plan.streams:
        alone = replace(plan, streams=(stream,))
        refused = _or_failed(lambda alone=alone: runtime.leader.check_privileges(alone), stream.shape.spec)
        if refused is None:
            allowed.append(stream)
        else:
            failed[stream.order] = replace(refused, plan=stream)
    if not allowed:
        raise first_error(failed)
    return tuple(allowed)


def _or_failed(step: Callable[[], T], stream: StreamSpec) -> T | StreamOutcome:
    """What the step returns; its failure as the stream's outcome."""
    try:
        return step()
    except RapidbyteError as error:
        error.at(stream=stream.name, afterwards="its target was not touched")
        return StreamOutcome(spec=stream, status="failed", error=error)
