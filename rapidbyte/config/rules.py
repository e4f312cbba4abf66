"""Rules that concern several keys of a pipeline. Pure: sections that are valid in themselves -> findings."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from rapidbyte.config.confinement_keys import Limits, Permissions
from rapidbyte.config.connection_keys import ConnectionKeys
from rapidbyte.config.cursor_rules import check_cursor
from rapidbyte.config.destination_keys import Destination
from rapidbyte.config.problems import Finding, Path
from rapidbyte.config.source_keys import (
    DatabaseFileSource,
    DatabaseFileStream,
    FilesSource,
    FilesSourceKeys,
    FilesStream,
    PostgresSource,
    PostgresStream,
)
from rapidbyte.config.transform_keys import TransformKeys
from rapidbyte.config.transform_rules import check_transforms
from rapidbyte.model import IDENTIFIER_BYTES
from rapidbyte.spec import MEGABYTE, dsn_fault, paths_of
from rapidbyte.values import frozen

Stream = PostgresStream | FilesStream | DatabaseFileStream
Connector = PostgresSource | FilesSource | DatabaseFileSource | Destination

_REMOTE = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")
_SSLMODE_IN_DSN = re.compile(r"(?:[?&\s]|^)sslmode\s*=\s*'?([a-z-]+)")


@frozen
class Sections:
    """What of a document is valid in itself; None and left out where it is not."""

    source: PostgresSource | FilesSource | DatabaseFileSource | None
    """Its own `streams` may lack some; `streams` counts."""
    streams: tuple[tuple[int, Stream], ...]
    """With their positions in the file."""
    destination: Destination | None
    environment: Mapping[str, str]
    transforms: tuple[tuple[int, TransformKeys], ...] = ()
    """With their positions in the file."""


def check_rules(sections: Sections) -> Iterator[Finding]:
    """Everything that does not go together."""
    yield from _streams_together(sections)
    yield from _standard_input(sections)
    yield from check_transforms(sections.transforms, {stream.name for _, stream in sections.streams})
    for position, stream in sections.streams:
        path: Path = ("source", "streams", position)
        if not sections.transforms:  # what the keys name are columns as they are written
            yield from _keys_in_columns(stream, sections.destination, path)
        yield from _write_mode(stream, sections.destination, path)
        yield from check_cursor(stream, sections.destination, path)
        yield from _own_name_as_target(stream, path)
        if isinstance(stream, PostgresStream):
            yield from _pattern(stream, path)
            yield from _query(stream, path)
        elif isinstance(stream, FilesStream):
            yield from _file(stream, sections.source, path)
        else:
            yield from _database_file(stream, sections.source, path)
    if isinstance(sections.source, FilesSource):
        yield from _file_options(sections.source.config)
    for name, connector in (("source", sections.source), ("destination", sections.destination)):
        if connector is not None:
            yield from _connector(connector, (name,), sections.environment)


def _streams_together(sections: Sections) -> Iterator[Finding]:
    names: dict[str, int] = {}
    targets: dict[str, str] = {}
    for position, stream in sections.streams:
        path: Path = ("source", "streams", position)
        target = stream.target or stream.name
        if stream.name in names:
            yield Finding(
                path=(*path, "name"),
                message=f"a stream of this name stands at position {names[stream.name]} already",
                hint="give each stream its own name; `query` streams may have any",
            )
        elif target in targets and "*" not in target:
            where = (*path, "target") if stream.target else (*path, "name")
            yield Finding(
                path=where,
                message=f"stream {targets[target]} writes this table already",
                hint="give each stream its own target",
            )
        names.setdefault(stream.name, position)
        targets.setdefault(target, stream.name)


def _keys_in_columns(stream: Stream, destination: Destination | None, path: Path) -> Iterator[Finding]:
    if not stream.columns:
        return
    inherited = destination.primary_key if destination is not None else ()
    lacking = [name for name in stream.primary_key or inherited if name not in stream.columns]
    if lacking:
        where = "primary_key" if stream.primary_key else "columns"
        yield Finding(
            path=(*path, where),
            message=f"`columns` lacks the primary key's {', '.join(lacking)}",
            hint="add it to `columns`",
        )
    unknown = [name for name in stream.allow_lossy if name not in stream.columns]
    if unknown:
        yield Finding(path=(*path, "allow_lossy"), message=f"`columns` lacks {', '.join(unknown)}")


def _write_mode(stream: Stream, destination: Destination | None, path: Path) -> Iterator[Finding]:
    mode = stream.write_mode or (destination.write_mode if destination is not None else None)
    if "on_duplicate_key" in stream.model_fields_set and mode not in (None, "upsert"):
        yield Finding(path=(*path, "on_duplicate_key"), message="`on_duplicate_key` is a key of `write_mode: upsert`")
    if destination is None or destination.append_strategy != "direct":
        return
    if mode != "append":
        own = stream.write_mode is not None
        yield Finding(
            path=(*path, "write_mode") if own else ("destination", "append_strategy"),
            message=f"`append_strategy: direct` does not go with {mode}",
            hint="load such streams with a pipeline of their own",
        )
        return
    if destination.on_data_error != "fail":
        message = f"`on_data_error: {destination.on_data_error}` does not go with `append_strategy: direct`"
        hint = "`append_strategy: staged` sets bad rows aside before any row shows"
        yield Finding(path=("destination", "on_data_error"), message=message, hint=hint)
    if destination.hooks.before_load:
        yield Finding(
            path=("destination", "hooks", "before_load"),
            message="`before_load` does not go with `append_strategy: direct`: rows are there before it could run",
            hint="use `after_load`, or `append_strategy: staged`",
        )
    if stream.min_rows is not None:
        message = "`min_rows` cannot be kept with `append_strategy: direct`: rows are there before they are counted"
        yield Finding(path=(*path, "min_rows"), message=message)


def _own_name_as_target(stream: Stream, path: Path) -> Iterator[Finding]:
    """A query's or a file's name is any text, unless it is the target's as well."""
    is_table = not isinstance(stream, FilesStream) and stream.query is None
    size = len(stream.name.encode())
    if not is_table and stream.target is None and size > IDENTIFIER_BYTES:
        yield Finding(
            path=(*path, "name"),
            message=f"the name has {size} bytes; PostgreSQL keeps {IDENTIFIER_BYTES}",
            hint="shorten it, or give the stream a target",
        )


def _pattern(stream: PostgresStream, path: Path) -> Iterator[Finding]:
    is_pattern = "*" in stream.name and stream.query is None
    target = stream.target or ""
    if is_pattern and target and "*" not in target:
        yield Finding(
            path=(*path, "target"),
            message="all tables of the pattern would be written to this one table",
            hint='put a * where each table\'s name shall stand, as "raw.*"',
        )
    if "*" in target and not is_pattern:
        yield Finding(path=(*path, "target"), message="a * in `target` needs a pattern in `name`")
    if stream.exclude and not is_pattern:
        yield Finding(path=(*path, "exclude"), message="`exclude` needs a pattern in `name`", hint="as sales.*")


def _query(stream: PostgresStream, path: Path) -> Iterator[Finding]:
    if stream.query is None:
        return
    if "*" in stream.name:
        yield Finding(path=(*path, "name"), message="a stream with `query` has a name, not a pattern")
    if stream.indexes != "none":
        yield Finding(path=(*path, "indexes"), message="`indexes` does not go with `query`: a query has none")


def _database_file(
    stream: DatabaseFileStream, source: PostgresSource | FilesSource | DatabaseFileSource | None, path: Path
) -> Iterator[Finding]:
    if "*" in stream.name or (stream.target is not None and "*" in stream.target):
        yield Finding(path=(*path, "name"), message="patterns are not available here", hint="list the tables")
    if stream.sync_mode == "incremental":
        message = "increments are not available for databases that are files"
        yield Finding(path=(*path, "sync_mode"), message=message, hint="use full_refresh, perhaps with a `where`")
    if stream.types and isinstance(source, DatabaseFileSource) and source.use == "duckdb":
        yield Finding(path=(*path, "types"), message="`types` is a key of sqlite", hint="CAST in a `query`")


_NOT_OF_A_QUERY = ("path", "types", "infer", "flatten", "metadata")


def _file(
    stream: FilesStream, source: PostgresSource | FilesSource | DatabaseFileSource | None, path: Path
) -> Iterator[Finding]:
    shared = source.config.path if isinstance(source, FilesSource) else None
    if "*" in stream.name:
        yield Finding(path=(*path, "name"), message="a stream of files has a name; the pattern belongs into `path`")
    if stream.target is not None and "*" in stream.target:
        yield Finding(path=(*path, "target"), message="a * in `target` needs a pattern in `name`")
    if stream.query is not None:
        for key in _NOT_OF_A_QUERY:
            if key in stream.model_fields_set:
                message = f"`{key}` does not go with `query`, which names its files itself"
                yield Finding(path=(*path, key), message=message, hint="remove one of them")
        if stream.sync_mode == "incremental":
            yield Finding(path=(*path, "sync_mode"), message="a query over files has no increments")
        return
    if stream.path is None and shared is None and isinstance(source, FilesSource):
        yield Finding(
            path=path, message="the stream has no `path`", hint="give it one, or `source.config` a path for all"
        )
    yield from _elsewhere(paths_of(stream.path), (*path, "path"))


_SCHEMES = ("s3", "gs", "gcs", "az", "abfs", "http", "https")


def _elsewhere(paths: tuple[str, ...], path: Path) -> Iterator[Finding]:
    for found in filter(None, map(_REMOTE.match, paths)):
        if found[1].lower() not in _SCHEMES:
            yield Finding(path=path, message=f"{found[1]}:// cannot be read", hint="s3, gs, az, http and https can")
        elif re.match(r"https?://[^/]*@", found.string):
            message = "the address holds a user or password"
            yield Finding(path=path, message=message, hint="write it in source.config.storage.authorization instead")


def _standard_input(sections: Sections) -> Iterator[Finding]:
    """It can be read once, by one stream, and no run finds it again."""
    config = sections.source.config if isinstance(sections.source, FilesSource) else None
    readers = [
        (position, stream)
        for position, stream in sections.streams
        if isinstance(stream, FilesStream)
        and stream.query is None
        and "-" in paths_of(stream.path or (config.path if config else None))
    ]
    for position, stream in readers:
        path: Path = ("source", "streams", position)
        if stream.sync_mode == "incremental":
            message = "standard input has no increments: no run finds it again"
            yield Finding(path=(*path, "sync_mode"), message=message, hint="use full_refresh")
        if position != readers[0][0]:
            message = f"standard input is read by stream {readers[0][1].name} already"
            yield Finding(path=path, message=message, hint="it can be read by one stream; a file called - is ./-")


_CSV_OPTIONS = (
    "delimiter",
    "quote",
    "escape",
    "header",
    "null_strings",
    "encoding",
    "skip",
    "decimal_comma",
    "date_formats",
)


def _file_options(config: FilesSourceKeys) -> Iterator[Finding]:
    yield from _elsewhere(paths_of(config.path), ("source", "config", "path"))
    if config.format in (None, "csv"):
        return
    for key in _CSV_OPTIONS:
        if key in config.model_fields_set and (key, config.format) != ("encoding", "ndjson"):
            message = f"`{key}` is an option of csv, not of {config.format}"
            yield Finding(path=("source", "config", key), message=message)


def _connector(connector: Connector, path: Path, environment: Mapping[str, str]) -> Iterator[Finding]:
    connection = connector.config if isinstance(connector.config, ConnectionKeys) else None
    if connection is not None:
        yield from _connection(connection, (*path, "config"))
    if connector.permissions is not None:
        yield from _permissions(connector.permissions, connection, (*path, "permissions"), environment)
    if connector.limits is not None:
        yield from _limits(connector.limits, (*path, "limits"))


def _connection(config: ConnectionKeys, path: Path) -> Iterator[Finding]:
    given = [
        key
        for key in (
            "dsn",
            "host",
            "port",
            "user",
            "password",
            "database",
            "service",
            "sslmode",
            "sslrootcert",
            "sslcert",
            "sslkey",
        )
        if getattr(config, key) is not None
    ]
    if config.embedded is not None:
        for key in given:
            yield Finding(path=(*path, key), message=f"`{key}` does not go with `embedded`", hint="remove one of them")
        return
    if config.dsn is None:
        return
    text = config.dsn.reveal()
    if not text.strip():
        yield Finding(path=(*path, "dsn"), message="the connection string is empty")
    if (wrong := dsn_fault(text)) is not None:
        yield Finding(path=(*path, "dsn"), message=wrong[0], hint=wrong[1])
    if config.service is not None:
        yield Finding(path=(*path, "service"), message="`service` does not go with `dsn`", hint="remove one of them")
    mode = _SSLMODE_IN_DSN.search(text)
    if mode is not None and config.sslmode is not None and mode[1] != config.sslmode:
        yield Finding(
            path=(*path, "sslmode"), message="`dsn` and `sslmode` contradict each other", hint="give sslmode once"
        )


def _permissions(
    permissions: Permissions, connection: ConnectionKeys | None, path: Path, environment: Mapping[str, str]
) -> Iterator[Finding]:
    """Restrictions of the Rust tool's sandbox: checked where they can be, refused where not, never ignored."""
    hosts = permissions.network.allowed_hosts
    if hosts is not None and (finding := _host(hosts, connection)):
        yield Finding(path=(*path, "network", "allowed_hosts"), message=finding)
    names = permissions.env.allowed_vars
    if names is not None:
        seen = sorted(name for name in environment if name.startswith("PG") and name not in names)
        if seen:
            message = f"libpq would read {', '.join(seen)}, which the list does not allow"
            yield Finding(path=(*path, "env", "allowed_vars"), message=message, hint="unset it, or add it to the list")


def _host(allowed: tuple[str, ...], connection: ConnectionKeys | None) -> str | None:
    """Why the connection's host is not allowed; None where it is."""
    if connection is None:
        return "there is no host to check against the list"
    if connection.embedded is not None:
        return None
    if connection.host is None or connection.dsn is not None:
        return "the list can be checked against `host` alone: give host, user, database instead of dsn"
    for pattern in (entry.strip() for entry in allowed):
        if pattern.startswith("*.") and connection.host.endswith(pattern[1:]) and "*" not in pattern[1:]:
            return None
        if pattern == connection.host:
            return None
    return "the list does not allow the connection's `host`"


def _limits(limits: Limits, path: Path) -> Iterator[Finding]:
    if limits.max_memory is not None and limits.max_memory < MEGABYTE:
        yield Finding(path=(*path, "max_memory"), message="less than 1mb does not suffice for a run")
