"""A checked pipeline model -> PipelineSpec: known spellings resolved, limits applied, notices written."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from rapidbyte.config.confinement_keys import Limits
from rapidbyte.config.connection_keys import ConnectionKeys
from rapidbyte.config.destination_keys import Destination, DestinationKeys
from rapidbyte.config.models import Pipeline, ResourceKeys
from rapidbyte.config.scalars import NO_BOUND
from rapidbyte.config.source_keys import (
    DatabaseFileSource,
    DatabaseFileStream,
    FilesSource,
    FilesSourceKeys,
    FilesStream,
    PostgresSource,
    PostgresSourceKeys,
    PostgresStream,
)
from rapidbyte.config.transform_conversion import transforms_of
from rapidbyte.rejects import RejectPolicy
from rapidbyte.spec import (
    Connection,
    DatabaseFileSpec,
    DestinationSpec,
    EmbeddedServer,
    FilesSourceSpec,
    Hooks,
    PipelineSpec,
    PostgresSourceSpec,
    Resources,
    SchemaPolicy,
    Storage,
    StreamSpec,
    WorkerLogin,
)


def make_spec(model: Pipeline, path: Path) -> PipelineSpec:
    """The pipeline as the rest of rapidbyte knows it. Never fails: everything was checked before."""
    limits = [part.limits for part in (model.source, model.destination) if part.limits is not None]
    timeouts = [limit.timeout_seconds for limit in limits if limit.timeout_seconds is not None]
    folder = path.parent
    return PipelineSpec(
        pipeline=model.pipeline,
        source=_source(model.source, folder),
        streams=tuple(
            replace(_stream(stream), transforms=transforms_of(model.transforms, stream.name, folder))
            for stream in model.source.streams
        ),
        destination=_destination(model.destination, folder),
        resources=_resources(model.resources, limits),
        timeout_seconds=float(min(timeouts)) if timeouts else None,
        notices=tuple(_notices(model)),
        path=str(path),
    )


def _source(
    source: PostgresSource | FilesSource | DatabaseFileSource, folder: Path
) -> PostgresSourceSpec | FilesSourceSpec | DatabaseFileSpec:
    if isinstance(source, DatabaseFileSource):
        return DatabaseFileSpec(kind=source.use, path=source.config.path, base_dir=str(folder))
    if isinstance(source, FilesSource):
        return _files(source.config, folder)
    config: PostgresSourceKeys = source.config
    return PostgresSourceSpec(connection=_connection(config, folder), schema=config.schema_)


def _files(config: FilesSourceKeys, folder: Path) -> FilesSourceSpec:
    return FilesSourceSpec(
        path=config.path,
        format=config.format,
        base_dir=str(folder),
        delimiter=config.delimiter,
        quote=config.quote,
        escape=config.escape,
        header=config.header,
        null_strings=config.null_strings,
        encoding=config.encoding,
        skip=config.skip,
        decimal_comma=config.decimal_comma,
        date_formats=config.date_formats or (),
        follows_links=config.follow_symlinks,
        storage=Storage(**{name: getattr(config.storage, name) for name in type(config.storage).model_fields}),
    )


def _connection(config: ConnectionKeys, folder: Path) -> Connection:
    has_password = config.password is not None and config.password.reveal() != ""
    return Connection(
        dsn=config.dsn,
        host=config.host,
        port=config.port,
        user=config.user,
        password=config.password if has_password else None,
        database=config.database,
        sslmode=config.sslmode,
        sslrootcert=config.sslrootcert,
        sslcert=config.sslcert,
        sslkey=config.sslkey,
        service=config.service,
        connect_timeout_seconds=max(1, round(config.connect_timeout)),
        embedded=_embedded(config, folder),
    )


def _embedded(config: ConnectionKeys, folder: Path) -> EmbeddedServer | None:
    if config.embedded is None:
        return None
    given = config.embedded.data_dir
    data_dir = None if given is None else str(folder / os.path.expanduser(given))  # noqa: PTH111 - "~" alone, not a path
    return EmbeddedServer(data_dir=data_dir, database=config.embedded.database)


def _stream(stream: PostgresStream | FilesStream | DatabaseFileStream) -> StreamSpec:
    spec = StreamSpec(
        name=stream.name,
        sync_mode=stream.sync_mode,
        columns=stream.columns,
        where=stream.where,
        query=stream.query,
        target=stream.target,
        write_mode=stream.write_mode,
        primary_key=stream.primary_key,
        on_duplicate_key=stream.on_duplicate_key,
        min_rows=stream.min_rows,
        allow_lossy=stream.allow_lossy,
        cursor_field=stream.cursor_field,
        tie_breaker_field=stream.tie_breaker_field,
        null_cursor=stream.null_cursor,
        cursor_lag=stream.cursor_lag,
    )
    if isinstance(stream, PostgresStream):
        return replace(spec, partition_key=stream.partition_key, exclude=stream.exclude, indexes=stream.indexes)
    if isinstance(stream, DatabaseFileStream):
        return replace(spec, types=stream.types)
    return replace(
        spec,
        path=stream.path,
        types=stream.types,
        infers_fully=stream.infer == "full",
        flatten=stream.flatten,
        metadata=stream.metadata,
    )


def _destination(destination: Destination, folder: Path) -> DestinationSpec:
    config: DestinationKeys = destination.config
    policy = destination.schema_evolution
    worker = config.worker
    return DestinationSpec(
        connection=_connection(config, folder),
        schema=config.schema_,
        worker=None if worker is None else WorkerLogin(user=worker.user, password=worker.password),
        write_mode=destination.write_mode,
        primary_key=destination.primary_key,
        replace_strategy=destination.replace_strategy,
        append_strategy=destination.append_strategy,
        schema_policy=SchemaPolicy(
            new_column=policy.new_column,
            removed_column=policy.removed_column,
            type_change=policy.type_change,
            nullability_change=policy.nullability_change,
        ),
        publish_timeout_seconds=destination.publish_timeout,
        publish_together=destination.publish == "together",
        settle_timeout_seconds=destination.settle_timeout,
        rejects=_rejects(destination),
        hooks=Hooks(before_load=destination.hooks.before_load, after_load=destination.hooks.after_load),
    )


def _rejects(destination: Destination) -> RejectPolicy:
    limit = destination.max_rejects
    if isinstance(limit, float):
        return RejectPolicy(action=destination.on_data_error, max_rows=None, max_percent=limit)
    return RejectPolicy(action=destination.on_data_error, max_rows=limit)


def _resources(keys: ResourceKeys, limits: list[Limits]) -> Resources:
    memory = [limit.max_memory for limit in limits if limit.max_memory is not None]
    pinned = keys.autotune.parallelism if keys.autotune is not None else None
    return Resources(
        parallelism=keys.parallelism if keys.parallelism is not None else pinned,
        max_memory_bytes=min([keys.max_memory, *memory]),
        max_batch_bytes=keys.max_batch_bytes,
        checkpoint_interval_bytes=keys.checkpoint_interval_bytes or NO_BOUND,
        max_retries=keys.max_retries,
        max_inflight_batches=keys.max_inflight_batches,
    )


def _notices(model: Pipeline) -> Iterator[str]:
    """One line for each accepted key that changes nothing here."""
    config: DestinationKeys = model.destination.config
    if config.load_method is not None:
        yield f"destination.config.load_method: {config.load_method} has no effect: rows are always loaded with COPY"
    if config.copy_flush_bytes is not None:
        yield "destination.config.copy_flush_bytes has no effect: resources.max_memory bounds what is in flight"
    if model.resources.compression is not None:
        yield "resources.compression has no effect: reading and writing happen in one process"
    hints = model.resources.autotune
    if hints is not None and (hints.enabled, hints.partition_mode, hints.flush_bytes) != (None, None, None):
        yield "resources.autotune has no effect beyond parallelism: sizes follow from the plan"
    if model.state is not None:
        yield "state has no effect: the ledger in the destination is used"
