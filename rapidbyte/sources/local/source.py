"""A database that is a file, as a source. Nothing locks it: whether somebody has written to it is looked at."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager

from rapidbyte.cursor import CursorBounds, StoredCursor
from rapidbyte.errors import CancelledError, RapidbyteError, SourceError
from rapidbyte.memory import choose_pool
from rapidbyte.model import ServerFacts
from rapidbyte.partition import Partition, Whole, key_ranges
from rapidbyte.plan import RunPlan, StreamPlan, StreamShape
from rapidbyte.ports import ReadPartition, Sampled, Stop
from rapidbyte.sources.local.tables import Database, Found
from rapidbyte.spec import StreamSpec
from rapidbyte.transforms.printing import Sampling


class LocalSource:
    """`ports.Source` over SQLite or DuckDB. Used by one thread; the readers it hands out, by many."""

    def __init__(self, database: Database, stop: Stop) -> None:
        choose_pool()
        self._database = database
        self._stop = stop
        self._found: dict[str, Found] = {}

    def facts(self) -> ServerFacts | None:
        """None: there is no server."""
        return None

    def describe(self, streams: tuple[StreamSpec, ...]) -> tuple[StreamShape, ...]:
        """The streams' columns, in order. Raises ConfigError, SourceError, DataError."""
        return tuple(self._describe(stream).shape for stream in streams)

    def discover(self) -> tuple[StreamShape, ...]:
        """Every table and view."""
        return self.describe(tuple(StreamSpec(name=name) for name in self._database.names()))

    def bounds(
        self,
        streams: tuple[StreamPlan, ...],
        stored: Mapping[str, StoredCursor],  # noqa: ARG002 - there are no increments
    ) -> tuple[CursorBounds | None, ...]:
        """None for each: they are read as a whole."""
        return tuple(None for _ in streams)

    @contextmanager
    def snapshot(self, streams: tuple[StreamPlan, ...]) -> Generator[LocalSnapshot]:
        """The database as it is now; `require_alive` says whether it still is."""
        try:
            version = self._database.version()
            found = {
                stream.name: self._found.get(stream.name) or self._describe(stream.shape.spec) for stream in streams
            }
            yield LocalSnapshot(self._database, found, version, self._stop)
        finally:
            self._database.close()

    def _describe(self, stream: StreamSpec) -> Found:
        if self._stop():
            raise CancelledError(f"stopped before {stream.name} was looked at", code="stopped")
        try:
            self._found[stream.name] = found = self._database.describe(stream)
        except RapidbyteError as error:
            raise error.at(stream=stream.name) from error.__cause__
        return found


class LocalSnapshot:
    """Tables and queries of one state of the database."""

    def __init__(self, database: Database, found: dict[str, Found], version: object, stop: Stop) -> None:
        self._database = database
        self._found = found
        self._version = version
        self._stop = stop

    def partitions(
        self,
        stream: StreamPlan,
        partition_bytes: int,
        bounds: CursorBounds | None = None,  # noqa: ARG002 - there are no increments
    ) -> tuple[Partition, ...]:
        """Ranges of row ids; one for what has none."""
        found = self._found[stream.name]
        size = found.shape.estimated_bytes or 0
        if found.rowids is None or size <= partition_bytes:
            return (Partition(stream=stream.name, index=0, range=Whole()),)
        low, high = found.rowids
        ranges = key_ranges("rowid", minimum=low, maximum=high, count=-(-size // partition_bytes))
        return tuple(Partition(stream=stream.name, index=index, range=part) for index, part in enumerate(ranges))

    def reader(self, stream: StreamPlan, plan: RunPlan) -> ReadPartition:  # noqa: ARG002 - nothing is shared
        """Reads one of these partitions. Picklable."""
        return self._found[stream.name].read

    def still_has(self, stream: StreamPlan, partitions: tuple[Partition, ...]) -> bool:  # noqa: ARG002
        """False: another run cannot know that it is the same state."""
        return False

    def checksum(self, stream: StreamPlan, bounds: CursorBounds | None = None) -> str | None:  # noqa: ARG002
        """None: only a server can compute the one that the destination computes."""
        return None

    def sample(self, stream: StreamPlan, limit: int) -> Sampled:
        """The first rows, as PostgreSQL would print their values."""
        found = self._found[stream.name]
        sampling = Sampling(found.shape.columns, limit)
        whole = Partition(stream=stream.name, index=0, range=Whole())
        with found.read(whole, self._stop, 0) as blocks:
            for block in blocks:
                if sampling.take(block):
                    break
        return sampling.found()

    def require_alive(self) -> None:
        """Raises SourceError when somebody has written to the database: what was read may not belong together."""
        if self._database.version() != self._version:
            raise SourceError(
                "the database was written to while it was read",
                code="source_changed",
                hint="run again when nobody writes to it, or load from a copy",
            )
