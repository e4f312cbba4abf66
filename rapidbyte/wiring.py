"""The composition root: a pipeline's spec -> source, leader, writer, executor. The only module that names adapters.

A new source is a new module, a spec, one line in `_source`, its name in the conformance suite, one scenario.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from rapidbyte import __version__
from rapidbyte.cursor import StoredCursor
from rapidbyte.decisions import select_streams
from rapidbyte.engine.preflight import preflight
from rapidbyte.engine.run import execute, new_run_id
from rapidbyte.engine.verification import VerifyReport
from rapidbyte.errors import ConfigError, RapidbyteError, SourceError
from rapidbyte.events import Event, Notice, Observer
from rapidbyte.memory import choose_pool
from rapidbyte.partition import Partition
from rapidbyte.plan import CheckItem, CheckReport, RunPlan, StreamShape
from rapidbyte.ports import Leader, ReadPartition, Runtime, Source, Stop, WritePartition, never
from rapidbyte.result import RunResult
from rapidbyte.spec import (
    MEGABYTE,
    Connection,
    DatabaseFileSpec,
    EmbeddedServer,
    FilesSourceSpec,
    PipelineSpec,
    PostgresSourceSpec,
    RunOptions,
    RunRequest,
    Storage,
    StreamSpec,
)

if TYPE_CHECKING:
    from rapidbyte.destinations.postgres.state import PipelineLedger
    from rapidbyte.pg.embedded import EmbeddedAddress
    from rapidbyte.sources.local import LocalSource


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
    options, stop = options or RunOptions(), stop or threading.Event()
    with _runtime(spec, options, observe, makes=not options.dry_run, stop=stop.is_set) as (runtime, missing):
        for sentence in missing:
            observe(Notice(message=sentence))
        return execute(spec, runtime, stop)


def plan(pipeline: PipelineSpec | str | os.PathLike[str], *, options: RunOptions | None = None) -> RunPlan:
    """What a run would do. Nothing is changed. Raises RapidbyteError."""
    spec = _loaded(pipeline)
    with _runtime(spec, options or RunOptions(), _ignore, makes=False) as (runtime, missing):
        found = preflight(spec, runtime)
    return replace(found, warnings=(*found.warnings, *missing))


def check(pipeline: PipelineSpec | str | os.PathLike[str], *, options: RunOptions | None = None) -> CheckReport:
    """Connections, privileges, the targets' shapes: one item each, in order. Nothing is changed.

    Raises ConfigError for the file, and what an embedded server raises that does not start.
    """
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

    with _runtime(spec, options or RunOptions(), _ignore, makes=False) as (runtime, missing):
        reached = look("source", lambda: _source_detail(spec, runtime.source))
        if look("destination", lambda: "; ".join((_version(runtime.leader), *missing))) and reached:
            look("plan", lambda: _plan_detail(preflight(spec, runtime)))
    return CheckReport(pipeline=spec.pipeline, items=tuple(items))


def discover(
    pipeline: PipelineSpec | str | os.PathLike[str], *, options: RunOptions | None = None
) -> tuple[StreamShape, ...]:
    """Everything that the source could deliver. Nothing is changed. Raises RapidbyteError.

    Of files also what the pipeline's queries give. Where the source has no `path` and there are queries, what the
    pipeline's streams read is all there is: no folder is searched.
    """
    spec, options = _loaded(pipeline), options or RunOptions()
    source = _source(replace(spec, source=_reached_source(spec.source, options)))
    asked = tuple(stream for stream in spec.streams if stream.query is not None)
    if not isinstance(spec.source, FilesSourceSpec) or not asked:
        return source.discover()
    return source.describe(spec.streams) if spec.source.path is None else (*source.discover(), *source.describe(asked))


def _version(leader: Leader) -> str:
    return f"PostgreSQL {leader.facts().version}"


def verify(
    pipeline: PipelineSpec | str | os.PathLike[str], *, options: RunOptions | None = None, stop: Stop = never
) -> VerifyReport:
    """Compares what was loaded with the source, row by row. Nothing is changed. Raises RapidbyteError.

    `stop` is asked at least every 0.2 s; CancelledError is raised once it is true.
    """
    spec = _loaded(pipeline)
    if not isinstance(spec.source, PostgresSourceSpec):
        raise ConfigError(
            f"verify compares two servers, and the source of this pipeline is {spec.source.title}",
            code="verify_unsupported",
            afterwards="nothing was started",
        )
    if any(stream.transforms for stream in spec.streams):
        raise ConfigError(
            "verify compares rows as they are, and the transforms of this pipeline change them",
            code="verify_unsupported",
            afterwards="nothing was started",
        )
    from rapidbyte.destinations.postgres.compare import TargetsReader
    from rapidbyte.engine.comparing import verify_streams
    from rapidbyte.sources.postgres import PostgresSource

    options = options or RunOptions()
    reached = _reached_server(spec.source)
    with _reached(spec.destination.connection, makes=False) as (connection, _):
        return verify_streams(
            spec,
            options,
            source=PostgresSource(reached, pipeline=spec.pipeline, stop=stop),
            destination=TargetsReader(spec, connection=connection, stop=stop),
        )


@contextmanager
def ledger(pipeline: PipelineSpec | str | os.PathLike[str], *, named: str | None = None) -> Generator[PipelineLedger]:
    """What the destination's ledger knows of the pipeline, or of another one with this name."""
    from rapidbyte.destinations.postgres.state import PipelineLedger

    spec = _loaded(pipeline)
    request = RunRequest(
        run_id=new_run_id(),
        pipeline=named or spec.pipeline,
        streams=(),
        host=socket.gethostname(),
        pid=os.getpid(),
        tool_version=__version__,
    )
    with _reached(spec.destination.connection, makes=False) as (connection, _):
        found = PipelineLedger(connection, request)
        try:
            yield found
        finally:
            found.close()


def cursor_at(pipeline: PipelineSpec | str | os.PathLike[str], stream: str, value: str) -> StoredCursor:
    """A stream's cursor at this value, as its source reads and prints it. Raises RapidbyteError."""
    spec = _loaded(pipeline)
    (named,) = select_streams(spec.streams, (stream,))
    if not isinstance(spec.source, PostgresSourceSpec):
        raise ConfigError(f"a source of {spec.source.title} has no cursor", code="no_cursor", stream=stream)
    from rapidbyte.sources.postgres import PostgresSource

    return PostgresSource(_reached_server(spec.source), pipeline=spec.pipeline).cursor_at(named, value)


def _source_detail(spec: PipelineSpec, source: Source) -> str:
    facts = source.facts()
    return spec.source.title if facts is None else f"{spec.source.title} {facts.version}"


def _plan_detail(planned: RunPlan) -> str:
    return "; ".join(f"{stream.name} -> {stream.target} by {stream.publish}" for stream in planned.streams)


def _loaded(pipeline: PipelineSpec | str | os.PathLike[str]) -> PipelineSpec:
    if isinstance(pipeline, PipelineSpec):
        return pipeline
    from rapidbyte.config import load

    return load(pipeline)


@contextmanager
def _runtime(
    spec: PipelineSpec, options: RunOptions, observe: Observer, *, makes: bool, stop: Stop = never
) -> Generator[tuple[Runtime, tuple[str, ...]]]:
    """What the engine runs with, embedded servers started, and a sentence about each that is not there yet.

    Unless `makes` none is made that is missing.
    """
    source = _source(replace(spec, source=_reached_source(spec.source, options)), stop)
    with _reached(spec.destination.connection, makes=makes) as (connection, missing):
        leader = _leader(replace(spec, destination=replace(spec.destination, connection=connection)), stop)
        try:
            runtime = Runtime(source=source, leader=leader, write=_writer(), options=options, observe=observe)
            yield _transformed(spec, runtime, stop), missing
        finally:
            leader.close()


def _source(spec: PipelineSpec, stop: Stop = never) -> Source:
    """The source's adapter, imported when it is named."""
    if isinstance(spec.source, FilesSourceSpec):
        from rapidbyte.sources.files import FilesSource

        tolerant = replace(spec.source, sets_aside=spec.destination.rejects.sets_aside)
        memory = spec.resources.max_memory_bytes
        asked = any(stream.query for stream in spec.streams)
        queries = _duckdb(None, tolerant.base_dir, memory, stop, tolerant.sets_aside) if asked else None
        return FilesSource(tolerant, max_memory_bytes=memory, stop=stop, queries=queries)
    if isinstance(spec.source, DatabaseFileSpec):
        memory, sets_aside = spec.resources.max_memory_bytes, spec.destination.rejects.sets_aside
        return _database_file(spec.source, memory, stop, sets_aside)
    from rapidbyte.sources.postgres import PostgresSource

    return PostgresSource(
        spec.source, pipeline=spec.pipeline, settle_seconds=spec.destination.settle_timeout_seconds, stop=stop
    )


def _database_file(source: DatabaseFileSpec, memory_bytes: int, stop: Stop, sets_aside: bool) -> Source:
    from rapidbyte.sources.local import LocalSource

    if source.kind == "sqlite":
        from rapidbyte.sources.local.sqlite import SqliteDatabase

        database = SqliteDatabase(source.path, base_dir=source.base_dir, stop=stop, sets_aside=sets_aside)
        return LocalSource(database, stop)
    return _duckdb(source.path, source.base_dir, memory_bytes, stop, sets_aside)


def _duckdb(path: str | None, base_dir: str, memory_bytes: int, stop: Stop, sets_aside: bool) -> LocalSource:
    """A DuckDB file; without a path, what answers queries over files."""
    from rapidbyte.sources.local import LocalSource
    from rapidbyte.sources.local.duck import DuckDatabase

    memory = max(64 * MEGABYTE, memory_bytes // 2)
    database = DuckDatabase(path, base_dir=base_dir, memory_bytes=memory, stop=stop, sets_aside=sets_aside)
    return LocalSource(database, stop)


def _transformed(spec: PipelineSpec, runtime: Runtime, stop: Stop) -> Runtime:
    """The same; where the pipeline has transforms, with streams as they are after them."""
    if not any(stream.transforms for stream in spec.streams):
        return runtime
    choose_pool()
    from rapidbyte.transforms.flow import Reference, Resources
    from rapidbyte.transforms.source import TransformedSource

    memory = max(64 * MEGABYTE, spec.resources.max_memory_bytes // 2)

    def refer(stream: str, name: str, path: str) -> Reference:
        shape, read, parts = _reference_file(spec, stream, path, memory, stop)
        return Reference(name=name, columns=shape.columns, read=read, parts=parts)

    resources = Resources(memory_bytes=memory, sets_aside=spec.destination.rejects.sets_aside, refer=refer)
    source = TransformedSource(runtime.source, resources, stop)
    return replace(runtime, source=source, transform=source.transform)


def _reference_file(
    spec: PipelineSpec, stream: str, path: str, memory_bytes: int, stop: Stop
) -> tuple[StreamShape, ReadPartition, tuple[Partition, ...]]:
    """A file that a query joins with: its types are those of all its rows."""
    from rapidbyte.sources.files import FilesSource

    storage = spec.source.storage if isinstance(spec.source, FilesSourceSpec) else Storage()
    source = FilesSource(FilesSourceSpec(path=path, storage=storage), max_memory_bytes=memory_bytes, stop=stop)
    return source.whole(StreamSpec(name=stream, path=path, infers_fully=True))


def _leader(spec: PipelineSpec, stop: Stop = never) -> Leader:
    from rapidbyte.destinations.postgres.leader import PostgresLeader

    connection, worker = spec.destination.connection, spec.destination.worker
    return PostgresLeader(spec, connection=connection, worker_connection=replace(connection, login=worker), stop=stop)


def _writer() -> WritePartition:
    from rapidbyte.destinations.postgres.writer import write_partition

    return write_partition


def _reached_source(
    source: PostgresSourceSpec | FilesSourceSpec | DatabaseFileSpec, options: RunOptions
) -> PostgresSourceSpec | FilesSourceSpec | DatabaseFileSpec:
    """The source with its embedded server started; files with what they may show."""
    if isinstance(source, FilesSourceSpec):
        return replace(source, shows_values=options.show_row_values)
    if isinstance(source, DatabaseFileSpec):
        return source
    return _reached_server(source)


def _reached_server(source: PostgresSourceSpec) -> PostgresSourceSpec:
    """The source with its embedded server started. One that is not there is not made: it would hold nothing to read."""
    if (embedded := source.connection.embedded) is None:
        return source
    from rapidbyte.pg.embedded import default_data_dir, is_made, start_embedded

    folder = _folder(embedded)
    if not is_made(folder):
        raise SourceError(
            f"there is no embedded server in {folder or default_data_dir()}: nothing can be read from it",
            code="embedded_missing",
            hint="load something into it first: name it as the `destination` of a pipeline",
        )
    address = start_embedded(folder, embedded.database, makes_database=False)
    return replace(source, connection=_connection(address))


@contextmanager
def _reached(connection: Connection, *, makes: bool) -> Generator[tuple[Connection, tuple[str, ...]]]:
    """The connection itself, or the embedded server's, which is started for it; and what is not there yet."""
    if (embedded := connection.embedded) is None:
        yield connection, ()
        return
    from rapidbyte.pg.embedded import start_embedded, visited

    folder = _folder(embedded)
    if makes:
        yield _connection(start_embedded(folder, embedded.database)), ()
        return
    with visited(folder, embedded.database) as (address, missing):
        yield _connection(address), () if missing is None else (missing,)


def _folder(embedded: EmbeddedServer) -> Path | None:
    return None if embedded.data_dir is None else Path(embedded.data_dir)


def _connection(address: EmbeddedAddress) -> Connection:
    return Connection(host=address.host, port=address.port, user=address.user, database=address.database)
