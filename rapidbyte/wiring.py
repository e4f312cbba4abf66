"""The composition root: a pipeline's spec -> source, leader, writer, executor. The only module that names adapters.

A new source is a new module, a spec, one line in `_source`, its name in the conformance suite, one scenario.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from rapidbyte.engine.preflight import preflight
from rapidbyte.engine.run import execute
from rapidbyte.errors import RapidbyteError
from rapidbyte.plan import CheckItem, CheckReport, RunPlan, StreamShape
from rapidbyte.ports import Event, Leader, Observer, Runtime, Source, Stop, WritePartition, never
from rapidbyte.result import RunResult
from rapidbyte.spec import Connection, FilesSourceSpec, PipelineSpec, RunOptions


def _ignore(_event: Event) -> None:
    """Watches nothing."""


def run(
    pipeline: PipelineSpec | str | os.PathLike[str],
    *,
    options: RunOptions | None = None,
    observe: Observer = _ignore,
    stop: threading.Event | None = None,
) -> RunResult:
    """Runs a pipeline, given as a spec or as the path of its file. The same as `rapidbyte run`.

    A run that fails is a result whose `status` and `error` say so; setting `stop` cancels it. Raises ConfigError when
    the file cannot be read, and nothing else but a defect of ours.
    """
    spec = _loaded(pipeline)
    stop = stop or threading.Event()
    with _runtime(spec, options or RunOptions(), observe, stop=stop.is_set) as runtime:
        return execute(spec, runtime, stop)


def plan(pipeline: PipelineSpec | str | os.PathLike[str], *, options: RunOptions | None = None) -> RunPlan:
    """What a run would do. Nothing is changed. Raises RapidbyteError."""
    spec = _loaded(pipeline)
    with _runtime(spec, options or RunOptions(), _ignore) as runtime:
        return preflight(spec, runtime)


def check(pipeline: PipelineSpec | str | os.PathLike[str], *, options: RunOptions | None = None) -> CheckReport:
    """Connections, privileges, the targets' shapes: one item each, in order. Raises ConfigError for the file alone."""
    spec = _loaded(pipeline)
    items = [
        CheckItem(name="configuration", ok=True, detail=f"streams: {', '.join(stream.name for stream in spec.streams)}")
    ]

    def look(name: str, step: Callable[[], str]) -> bool:
        try:
            items.append(CheckItem(name=name, ok=True, detail=step()))
        except RapidbyteError as error:
            items.append(
                CheckItem(name=name, ok=False, detail=error.message, hint=error.hint, exit_code=error.exit_code)
            )
        return items[-1].ok

    with _runtime(spec, options or RunOptions(), _ignore) as runtime:
        reached = look("source", lambda: _source_detail(runtime.source))
        if look("destination", lambda: f"PostgreSQL {runtime.leader.facts().version}") and reached:
            look("plan", lambda: _plan_detail(preflight(spec, runtime)))
    return CheckReport(pipeline=spec.pipeline, items=tuple(items))


def discover(pipeline: PipelineSpec | str | os.PathLike[str]) -> tuple[StreamShape, ...]:
    """Everything that the source could deliver. Raises RapidbyteError."""
    return _source(_loaded(pipeline)).discover()


def _source_detail(source: Source) -> str:
    facts = source.facts()
    return f"PostgreSQL {facts.version}" if facts is not None else "files"


def _plan_detail(planned: RunPlan) -> str:
    return "; ".join(f"{stream.name} -> {stream.target} by {stream.publish}" for stream in planned.streams)


def _loaded(pipeline: PipelineSpec | str | os.PathLike[str]) -> PipelineSpec:
    if isinstance(pipeline, PipelineSpec):
        return pipeline
    from rapidbyte.config import load

    return load(pipeline)


@contextmanager
def _runtime(spec: PipelineSpec, options: RunOptions, observe: Observer, *, stop: Stop = never) -> Generator[Runtime]:
    leader = _leader(spec, stop)
    try:
        yield Runtime(source=_source(spec, stop), leader=leader, write=_writer(), options=options, observe=observe)
    finally:
        leader.close()


def _source(spec: PipelineSpec, stop: Stop = never) -> Source:
    """The source's adapter, imported when it is named."""
    if isinstance(spec.source, FilesSourceSpec):
        from rapidbyte.sources.files import FilesSource

        return FilesSource(spec.source, max_memory_bytes=spec.resources.max_memory_bytes, stop=stop)
    from rapidbyte.sources.postgres import PostgresSource

    source = replace(spec.source, connection=_resolved(spec.source.connection))
    return PostgresSource(
        source, pipeline=spec.pipeline, settle_seconds=spec.destination.settle_timeout_seconds, stop=stop
    )


def _leader(spec: PipelineSpec, stop: Stop = never) -> Leader:
    from rapidbyte.destinations.postgres.leader import PostgresLeader

    connection = _resolved(spec.destination.connection)
    worker = spec.destination.worker
    return PostgresLeader(spec, connection=connection, worker_connection=replace(connection, login=worker), stop=stop)


def _writer() -> WritePartition:
    from rapidbyte.destinations.postgres.writer import write_partition

    return write_partition


def _resolved(connection: Connection) -> Connection:
    """The connection itself, or the embedded server's, which is started for it."""
    if connection.embedded is None:
        return connection
    from rapidbyte.pg.embedded import start_embedded

    folder = connection.embedded.data_dir
    address = start_embedded(Path(folder) if folder is not None else None, connection.embedded.database)
    return Connection(host=address.host, port=address.port, user=address.user, database=address.database)
