"""What SQLite and DuckDB have in common as sources: a stream as it is found, and the blocks of one partition."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Protocol

from rapidbyte.errors import CancelledError, ConfigError, InternalError
from rapidbyte.metrics import ReadTimes
from rapidbyte.partition import KeyRange, Partition, Whole
from rapidbyte.plan import StreamShape
from rapidbyte.ports import Block, Place, ReadPartition, Stop
from rapidbyte.rejects import Reject
from rapidbyte.spec import StreamSpec
from rapidbyte.values import frozen

if TYPE_CHECKING:
    import pyarrow as pa

BLOCK_BYTES = 1 << 20
"""About the size of a block; a batch has as many rows as made so many bytes before."""

FIRST_ROWS, MOST_ROWS = 1024, 1 << 16
"""Rows of the first batch, and of any."""


@frozen
class Found:
    """A stream as the database has it."""

    shape: StreamShape
    read: ReadPartition
    """Picklable."""
    rowids: tuple[int, int] | None = None
    """The least and the greatest; None where there are none to part by."""


class Database(Protocol):
    """One of the two."""

    def names(self) -> tuple[str, ...]:
        """Of all tables and views."""
        ...

    def describe(self, stream: StreamSpec) -> Found:
        """The stream. Raises ConfigError, SourceError, DataError."""
        ...

    def version(self) -> object:
        """Equal to what it was before: nobody has changed the database. Raises SourceError."""
        ...

    def close(self) -> None:
        """Closes what was opened. May be repeated."""
        ...


@frozen
class Rows:
    """Some rows, in order, and those that were set aside before them."""

    batch: pa.RecordBatch
    origin: Callable[[int], Place] | None = None
    """Where a row of the batch stands."""
    rejects: tuple[Reject, ...] = ()


class TableBlocks:
    """The blocks of one partition, in order. Iterated once, by one thread."""

    def __init__(self, batches: Iterator[Rows], stop: Stop) -> None:
        self._batches = batches
        self._stop = stop
        self._rows = 0
        self._seconds = 0.0
        self._is_complete = False

    def __iter__(self) -> Iterator[Block]:
        while True:
            if self._stop():
                raise CancelledError("reading was stopped", code="stopped")
            started = time.monotonic()
            found = next(self._batches, None)
            self._seconds += time.monotonic() - started
            if found is None:
                break
            if found.rejects:
                size = sum(len(reject.row) for reject in found.rejects)
                yield Block(data=b"", rows=0, size=size, rejects=found.rejects)
            batch = found.batch
            count = max(1, -(-batch.nbytes // BLOCK_BYTES))
            step = max(1, -(-batch.num_rows // count))
            for start in range(0, batch.num_rows, step):
                piece = batch.slice(start, step)
                self._rows += piece.num_rows
                origin = None if found.origin is None else partial(_shifted, found.origin, start)
                yield Block(data=piece, rows=piece.num_rows, size=piece.nbytes, origin=origin)
        self._is_complete = True

    @property
    def row_count(self) -> int:
        """Rows handed on. Raises InternalError before the end."""
        if not self._is_complete:
            raise InternalError("the row count was asked for before the end", code="row_count_early")
        return self._rows

    @property
    def times(self) -> ReadTimes:
        """All of it is busy: the database is in this process."""
        return ReadTimes(blocked_s=0.0, busy_s=self._seconds)


def _shifted(origin: Callable[[int], Place], first: int, row: int) -> Place:
    return origin(first + row)


def quoted(name: str) -> str:
    """An identifier, for both of them."""
    return '"' + name.replace('"', '""') + '"'


def relation_of(stream: StreamSpec) -> tuple[str | None, str]:
    """(schema or None, name) of a table: `main.orders` is parted at its first dot."""
    head, dot, tail = stream.name.partition(".")
    return (head, tail) if dot else (None, stream.name)


def from_clause(stream: StreamSpec) -> str:
    """What stands after FROM. The line's end closes a comment at a query's end."""
    if stream.query is not None:
        return f"(\n{stream.query.strip().removesuffix(';')}\n)"
    schema, name = relation_of(stream)
    return quoted(name) if schema is None else f"{quoted(schema)}.{quoted(name)}"


def condition(stream: StreamSpec, partition: Partition | None, rowid: str) -> str:
    """The WHERE of a partition; empty where there is nothing to say."""
    parts = [f"(\n{stream.where}\n)"] if stream.where is not None else []
    found = partition.range if partition is not None else Whole()
    if isinstance(found, KeyRange):
        parts += [f"{rowid} >= {found.low:d}"] if found.low is not None else []
        parts += [f"{rowid} < {found.high:d}"] if found.high is not None else []
    elif not isinstance(found, Whole):
        raise InternalError("the partition is of another source", code="partition_kind")
    return f" WHERE {' AND '.join(parts)}" if parts else ""


def require_wanted(stream: StreamSpec, known: tuple[str, ...]) -> tuple[str, ...]:
    """The columns that are loaded, in order. Raises ConfigError for what the stream lacks, or cannot do here."""
    for key, names in (
        ("columns", stream.columns),
        ("allow_lossy", stream.allow_lossy),
        ("types", tuple(name for name, _ in stream.types)),
    ):
        unknown = [name for name in names if name not in known]
        if unknown:
            raise ConfigError(
                f"{key}: {stream.name} has no column {', '.join(unknown)}",
                code="column_unknown",
                hint=f"it has: {', '.join(known)}",
            )
    twice = sorted({name for name in known if known.count(name) > 1})
    if twice:
        raise ConfigError(
            f"{stream.name} has column {', '.join(twice)} more than once", code="column_twice", hint="name them with AS"
        )
    return stream.columns or known


def require_text(stream: StreamSpec) -> None:
    """Raises ConfigError for SQL that is not one text of ours to use, as far as that can be told without a parser."""
    if stream.sync_mode != "full_refresh":
        raise ConfigError(
            f"{stream.sync_mode} is not available for databases that are files",
            code="sync_mode_unsupported",
            hint="full_refresh, perhaps with a `where`",
        )
    if stream.query is not None and not re.match(r"\s*(select|values|with|from|table)\b", stream.query, re.IGNORECASE):
        raise ConfigError("a query must be one SELECT, VALUES or WITH that reads", code="query_invalid")


def next_rows(rows: int, batch_bytes: int) -> int:
    """How many rows the next batch shall have, after one of so many rows and bytes. Pure."""
    width = max(1, batch_bytes // max(1, rows))
    return max(1, min(MOST_ROWS, BLOCK_BYTES // width))
