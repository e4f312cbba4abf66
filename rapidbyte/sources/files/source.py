"""Files as a source: streams, partitions, and the function that reads one."""

from __future__ import annotations

import datetime as dt
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path

from rapidbyte.cursor import FILES_FIELD, CursorBounds, StoredCursor
from rapidbyte.errors import CancelledError, ConfigError, DataError, InternalError, SourceError
from rapidbyte.memory import choose_pool
from rapidbyte.model import ServerFacts
from rapidbyte.partition import FileRange, Partition
from rapidbyte.plan import RunPlan, StreamPlan, StreamShape
from rapidbyte.ports import ReadPartition, Sampled, Stop
from rapidbyte.sources.files.contents import BLOCK_BYTES
from rapidbyte.sources.files.describe import Described, describe_stream
from rapidbyte.sources.files.increment import new_files, require_as_marked
from rapidbyte.sources.files.opening import require_unchanged
from rapidbyte.sources.files.parquet import group_ranges
from rapidbyte.sources.files.paths import DataFile, find_files, relative
from rapidbyte.sources.files.read import read_partition
from rapidbyte.sources.files.remote import find_remote
from rapidbyte.sources.files.split import cut_lines
from rapidbyte.sources.files.spool import NAME as INPUT_NAME
from rapidbyte.sources.files.spool import STANDARD_INPUT, Spool
from rapidbyte.sources.files.task import FileTask
from rapidbyte.sources.files.text import never
from rapidbyte.sources.local.source import LocalSnapshot, LocalSource
from rapidbyte.spec import FilePath, FilesSourceSpec, StreamSpec, paths_of
from rapidbyte.transforms.printing import Sampling

_TEXT_ENDINGS = ("csv", "tsv", "ndjson", "jsonl", "json")
_DATA_FILES = (
    *(f"*.{ending}{packed}" for ending in _TEXT_ENDINGS for packed in ("", ".gz", ".zst")),
    *("*.parquet", "*.arrow", "*.arrows", "*.feather"),
)


class FilesSource:
    """Files, and queries over files. Used by one thread; the readers it hands out, by many."""

    def __init__(
        self,
        spec: FilesSourceSpec,
        *,
        max_memory_bytes: int = 256 << 20,
        stop: Stop = never,
        queries: LocalSource | None = None,
    ) -> None:
        choose_pool()
        self._spec = spec
        self._stop = stop
        self._max_row_bytes = max(BLOCK_BYTES, max_memory_bytes // 16)
        self._described: dict[str, Described] = {}
        self._spool = Spool(stop)
        self._given: dict[str, str] = {}
        self._queries = queries

    def facts(self) -> ServerFacts | None:
        """None: there is no server."""
        return None

    def describe(self, streams: tuple[StreamSpec, ...]) -> tuple[StreamShape, ...]:
        """The streams' columns: Parquet's own, CSV's inferred from its first rows. In order.

        Raises SourceError for files that are missing, broken or unlike each other, ConfigError for what the pipeline
        says of them and is not so, DataError for CSV whose first rows are malformed.
        """
        return tuple(
            self._describe(stream).shape if stream.query is None else self._asked().describe((stream,))[0]
            for stream in streams
        )

    def whole(self, stream: StreamSpec) -> tuple[StreamShape, ReadPartition, tuple[Partition, ...]]:
        """The stream, and how all of it is read, a file at a time: for who has no use for a snapshot.

        Raises what `describe` does; the reader raises SourceError for a file that has changed since.
        """
        found = self._describe(stream)
        parts = tuple(
            Partition(stream=stream.name, index=index, range=FileRange(path=file.path))
            for index, file in enumerate(found.task.files)
        )
        return found.shape, partial(read_partition, found.task), parts

    def discover(self) -> tuple[StreamShape, ...]:
        """Every file of the configured path, or of the folder where there is none, as a stream of its own."""
        folder = self._spec.base_dir
        if self._spec.path is not None:
            found = self._find(self._spec.path)
        else:
            paths = sorted(path for ending in _DATA_FILES for path in Path(folder).glob(ending))
            found = tuple(file for path in paths for file in find_files(str(path.absolute()), folder))
        return self.describe(tuple(StreamSpec(name=_stem(file), path=self._as_written(file)) for file in found))

    def bounds(
        self,
        streams: tuple[StreamPlan, ...],
        stored: Mapping[str, StoredCursor],
    ) -> tuple[CursorBounds | None, ...]:
        """The files that each incremental stream has not loaded yet; None for streams that are read as a whole.

        Reads files to their end whose size and time the ledger does not know. Raises SourceError for an append of which
        a file has changed since it was loaded, CancelledError.
        """
        return tuple(
            self._new_files(stream, stored.get(stream.name)) if stream.shape.spec.sync_mode == "incremental" else None
            for stream in streams
        )

    def _new_files(self, stream: StreamPlan, stored: StoredCursor | None) -> CursorBounds:
        known = stored.files if stored is not None and stored.field == FILES_FIELD else ()
        try:
            return new_files(
                self._of(stream).task.files,
                known,
                stored=stored.value if known and stored is not None else None,
                base_dir=self._spec.base_dir,
                reloads=stream.write_mode != "append",
                stop=self._stop,
            )
        except SourceError as error:
            raise error.at(stream=stream.name) from error.__cause__

    def _of(self, stream: StreamPlan) -> Described:
        return self._described.get(stream.name) or self._describe(stream.shape.spec)

    @contextmanager
    def snapshot(self, streams: tuple[StreamPlan, ...]) -> Generator[FilesSnapshot]:
        """The files as `describe` found them. Raises SourceError when one has changed since."""
        queries = tuple(stream for stream in streams if stream.shape.spec.query is not None)
        described = {stream.name: self._of(stream) for stream in streams if stream not in queries}
        for stream in described.values():
            for file in stream.task.files:
                require_unchanged(file)
        with nullcontext() if self._queries is None else self._queries.snapshot(queries) as asked:
            yield FilesSnapshot(described, asked, self._spec.base_dir, self._stop)

    def _describe(self, stream: StreamSpec) -> Described:
        if self._stop():
            raise CancelledError(f"stopped before {stream.name} was looked at", code="stopped")
        try:
            _refuse_later(stream)
            found = describe_stream(self._spec, stream, self._files(stream), max_row_bytes=self._max_row_bytes)
        except (ConfigError, SourceError, DataError) as error:
            raise error.at(stream=stream.name) from error.__cause__
        self._described[stream.name] = found
        return found

    def _files(self, stream: StreamSpec) -> tuple[DataFile, ...]:
        """The stream's own path; else, of the configured one, the file that is called like it; else all of them."""
        path = stream.path or self._spec.path
        if path is None:
            raise ConfigError(f"stream {stream.name} has no path", code="path_missing", hint="give it one")
        files = self._find(path)
        namesakes = tuple(file for file in files if _stem(file) == stream.name)
        return namesakes if stream.path is None and namesakes else files

    def _asked(self) -> LocalSource:
        """What queries over files are answered by. Raises InternalError where it was not given."""
        if self._queries is None:
            raise InternalError("there is nothing that could answer a query over files", code="query_unsupported")
        return self._queries

    def _as_written(self, file: DataFile) -> str:
        """The path as a pipeline file beside it has it."""
        return STANDARD_INPUT if file.path == INPUT_NAME else relative(file.path, self._spec.base_dir)

    def _find(self, path: FilePath) -> tuple[DataFile, ...]:
        """The files of these paths, each once: here, in a store, and standard input."""
        found = [file for part in paths_of(path) for file in self._found(self._given.get(part, part))]
        return tuple({file.path: file for file in found}.values())

    def _found(self, part: str) -> tuple[DataFile, ...]:
        if part == STANDARD_INPUT:
            found = (self._spool.standard_input(),)
        elif "://" in part:
            found = find_remote(part, self._spec.format, self._spec.storage, self._spool)
        else:
            return find_files(part, self._spec.base_dir, self._spec.format, follows_links=self._spec.follows_links)
        if len(found) == 1:
            self._given[found[0].path] = part
        return found


class FilesSnapshot:
    """Files that are as they were when they were described; whoever reads one looks again, before and after."""

    def __init__(
        self, described: dict[str, Described], queries: LocalSnapshot | None, base_dir: str, stop: Stop
    ) -> None:
        self._described = described
        self._queries = queries
        self._base_dir = base_dir
        self._taken_at = dt.datetime.now(dt.UTC)
        self._stop = stop

    def partitions(
        self,
        stream: StreamPlan,
        partition_bytes: int,
        bounds: CursorBounds | None = None,
    ) -> tuple[Partition, ...]:
        """Ranges of about `partition_bytes`: of lines in text that can be cut, of row groups, of record batches.

        Of an increment's files alone. Raises SourceError where one of these is not what it was.
        """
        if stream.name not in self._described:
            return self._asked().partitions(stream, partition_bytes)
        found = self._described[stream.name]
        chosen = None if bounds is None else require_as_marked(found.task.files, bounds.files, self._base_dir)
        ranges: list[FileRange] = []
        for index, file in enumerate(found.task.files):
            if chosen is not None and file.path not in chosen:
                continue
            if found.task.is_text:
                ranges.extend(_text_ranges(found.task, file, partition_bytes))
                continue
            stamp = file.fingerprint if file.spool is None else None
            for low, high in group_ranges(found.groups[index], partition_bytes):
                ranges.append(FileRange(path=file.path, low_group=low, high_group=high, fingerprint=stamp))
        return tuple(Partition(stream=stream.name, index=index, range=part) for index, part in enumerate(ranges))

    def reader(self, stream: StreamPlan, plan: RunPlan) -> ReadPartition:
        """Reads one of these partitions. Picklable."""
        if stream.name not in self._described:
            return self._asked().reader(stream, plan)
        task = replace(self._described[stream.name].task, tells_at_once=plan.is_sample)
        if task.metadata:
            task = replace(task, run_id=plan.run_id, loaded_at=self._taken_at)
        return partial(read_partition, task)

    def _asked(self) -> LocalSnapshot:
        if self._queries is None:
            raise InternalError("the stream is none of the snapshot's", code="stream_unknown")
        return self._queries

    def still_has(self, stream: StreamPlan, partitions: tuple[Partition, ...]) -> bool:
        """Whether these are partitions of the stream's files as they are now, and of all of them.

        An increment goes on also where more files have come: they are the next one's.
        """
        if stream.name not in self._described:
            return False
        now = {file.path: file.fingerprint for file in self._described[stream.name].task.files}
        then = {part.range.path: part.range.fingerprint for part in partitions if isinstance(part.range, FileRange)}
        return then.items() <= now.items() if stream.is_incremental else now == then

    def checksum(self, stream: StreamPlan, bounds: CursorBounds | None = None) -> str | None:  # noqa: ARG002
        """None: only a server can compute the one that the destination computes."""
        return None

    def sample(self, stream: StreamPlan, limit: int) -> Sampled:
        """The first rows that meet the condition, as PostgreSQL would print their values."""
        if stream.name not in self._described:
            return self._asked().sample(stream, limit)
        found = self._described[stream.name]
        task = replace(found.task, loaded_at=self._taken_at, tells_at_once=True)
        sampling = Sampling(found.shape.columns, limit)
        for index, file in enumerate(found.task.files):
            whole = Partition(stream=stream.name, index=index, range=FileRange(path=file.path))
            with read_partition(task, whole, self._stop, 0) as blocks:
                for block in blocks:
                    if sampling.take(block):
                        return sampling.found()
        return sampling.found()

    def require_alive(self) -> None:
        """Nothing to lose: a file that changed is noticed by whoever reads it."""


def _text_ranges(task: FileTask, file: DataFile, partition_bytes: int) -> Iterator[FileRange]:
    encoding = task.encoding if task.dialect is None else task.dialect.encoding
    if file.spool is not None:
        yield FileRange(path=file.path)  # without a fingerprint: no later run has these bytes again
        return
    cut = cut_lines(file, partition_bytes=partition_bytes, encoding=encoding, dialect=task.dialect)
    for part in cut.parts:
        # A file in one part is a range without bounds, as compressed ones are.
        low = None if len(cut.parts) == 1 else part.low
        yield FileRange(path=file.path, low_byte=low, high_byte=part.high, fingerprint=file.fingerprint)


def _stem(file: DataFile) -> str:
    return file.name.split(".", 1)[0]


def _refuse_later(stream: StreamSpec) -> None:
    """What a stream of files cannot have, in this version or at all."""
    if stream.sync_mode == "cdc":
        raise ConfigError(f"files cannot be read as {stream.sync_mode}", code="sync_mode_unsupported")
