"""DuckDB's tables and queries, and queries over files: every type in PostgreSQL's, nothing rounded."""

from __future__ import annotations

import re
from collections.abc import Generator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rapidbyte.errors import CancelledError, ConfigError, DataError, RapidbyteError, SourceError
from rapidbyte.model import Column, ColumnType, QualifiedName
from rapidbyte.partition import Partition
from rapidbyte.pg.types import built_in
from rapidbyte.plan import StreamShape
from rapidbyte.ports import Stop
from rapidbyte.rejects import Reject
from rapidbyte.sources.files.condition import Sandbox, open_sandbox
from rapidbyte.sources.files.parquet import ParquetFacts, Settled, deliver, settle
from rapidbyte.sources.local.tables import (
    FIRST_ROWS,
    MOST_ROWS,
    Found,
    Rows,
    TableBlocks,
    condition,
    from_clause,
    next_rows,
    quoted,
    relation_of,
    require_text,
    require_wanted,
)
from rapidbyte.spec import StreamSpec
from rapidbyte.transforms.engine import AHEAD, interrupting
from rapidbyte.transforms.flow import Batch
from rapidbyte.transforms.misfits import sifted
from rapidbyte.values import frozen

if TYPE_CHECKING:
    import pyarrow as pa

_AS_TEXT = {
    "HUGEINT": "numeric",
    "UHUGEINT": "numeric",
    "BIGNUM": "numeric",
    "VARINT": "numeric",
    "TIME WITH TIME ZONE": "time with time zone",
    "INTERVAL": "interval",
    "BIT": "bit varying",
    "UUID": "uuid",
    "JSON": "json",
    '"NULL"': "text",
}
"""Types whose values are carried as DuckDB's own text, which PostgreSQL reads."""

_ENDLESS = ("DATE", "TIMESTAMP", "TIMESTAMP_S", "TIMESTAMP_MS", "TIMESTAMP_NS", "TIMESTAMP WITH TIME ZONE")
"""Types that have infinities, of which Arrow would make dates."""

_PLAIN = re.compile(
    r"BOOLEAN|U?TINYINT|U?SMALLINT|U?INTEGER|U?BIGINT|FLOAT|DOUBLE|DECIMAL\(\d+,\d+\)|VARCHAR|BLOB|TIME"
)
_PLAIN_LIST = re.compile(rf"(?:{_PLAIN.pattern})\[\d*\]")
_INFINITE = "rapidbyte: infinity"


@frozen
class DuckColumn:
    """One column: how it is asked for, and what becomes of it."""

    name: str
    expression: str
    settled: Settled
    lossy: bool = False


@frozen
class DuckTask:
    """All that reading one stream's partitions needs. Picklable."""

    path: str | None
    """None: a database in memory, whose queries are over files."""
    base_dir: str
    memory_bytes: int
    stream: StreamSpec
    columns: tuple[DuckColumn, ...]
    sets_aside: bool = False
    """Rows with a value that has no exact form do not end the load."""


class DuckDatabase:
    """A DuckDB file, opened for reading; or, without a path, what queries over files are run in."""

    def __init__(
        self, path: str | None, *, base_dir: str, memory_bytes: int, stop: Stop, sets_aside: bool = False
    ) -> None:
        self._path = path if path is None else str(Path(base_dir) / Path(path).expanduser())
        self._base_dir = base_dir
        self._memory_bytes = memory_bytes
        self._stop = stop
        self._sets_aside = sets_aside
        self._held: Any = None

    def _open(self) -> Any:
        """Held open, so that no other process can write."""
        if self._held is None:
            self._held = _connected(self._path, self._base_dir, self._memory_bytes)
        return self._held

    def version(self) -> object:
        """Nobody can write while it is open for reading."""
        self._open()
        return None

    def close(self) -> None:
        """Closes it. May be repeated."""
        if self._held is not None:
            self._held.close()
            self._held = None

    def names(self) -> tuple[str, ...]:
        """Of all tables and views; with their schema where it is not `main`."""
        with _told("the database"):
            rows = self._open().execute(
                "SELECT schema_name, table_name FROM duckdb_tables() WHERE NOT internal"
                " UNION ALL SELECT schema_name, view_name FROM duckdb_views() WHERE NOT internal ORDER BY ALL"
            )
            return tuple(name if schema == "main" else f"{schema}.{name}" for schema, name in rows.fetchall())

    def describe(self, stream: StreamSpec) -> Found:
        """The stream's columns and types. Raises ConfigError, SourceError."""
        require_text(stream)
        connection = self._open()
        with _told(stream.name, is_asked=True), interrupting(connection, self._stop):
            _require_one(connection, stream)
            described = connection.execute(f"SELECT * FROM {from_clause(stream)} LIMIT 0").description  # noqa: S608
            types = {str(name): str(kind) for name, kind, *_ in described}
            names = tuple(str(name) for name, *_ in described)
            wanted = require_wanted(stream, names)
            if stream.types:
                raise ConfigError(
                    "types: DuckDB's own types count", code="types_unsupported", hint="CAST in a `query` says others"
                )
            columns = tuple(_column(connection, stream, name, types[name]) for name in wanted)
            rows, rowids = self._extent(connection, stream)
        task = DuckTask(
            path=self._path,
            base_dir=self._base_dir,
            memory_bytes=self._memory_bytes,
            stream=stream,
            columns=columns,
            sets_aside=self._sets_aside,
        )
        shape = StreamShape(
            spec=stream,
            kind="query" if stream.query is not None else "table" if rowids is not None else "view",
            relation=None if stream.query is not None else _relation(stream),
            columns=tuple(
                Column(name=c.name, type=c.settled.type, arrow=str(c.settled.arrow), reason=c.settled.reason)
                for c in columns
            ),
            estimated_rows=rows,
            estimated_bytes=None if rows is None else rows * _row_bytes(task),
            delivers="arrow",
            partitioning="ranges of row ids" if rowids is not None else "one partition: a query",
        )
        return Found(shape=shape, read=partial(read_partition, task), rowids=rowids)

    @staticmethod
    def _extent(connection: Any, stream: StreamSpec) -> tuple[int | None, tuple[int, int] | None]:
        """Rows, and the least and greatest row id of a table that has rows."""
        if stream.query is not None:
            return None, None
        schema, name = relation_of(stream)
        kinds = connection.execute(
            "SELECT estimated_size FROM duckdb_tables() WHERE table_name = ? AND schema_name = coalesce(?, 'main')",
            (name, schema),
        ).fetchall()
        if not kinds:
            return None, None
        low, high = connection.execute(f"SELECT min(rowid), max(rowid) FROM {from_clause(stream)}").fetchone()  # noqa: S608
        return int(kinds[0][0]), None if low is None else (int(low), int(high))


def _relation(stream: StreamSpec) -> QualifiedName:
    schema, name = relation_of(stream)
    return QualifiedName(schema=schema or "main", name=name)


def _connected(path: str | None, base_dir: str, memory_bytes: int) -> Any:
    """An open database that loads no extension. Raises SourceError."""
    import duckdb

    config: dict[str, str | bool | int | float | list[str]] = {
        "autoinstall_known_extensions": "false",
        "autoload_known_extensions": "false",
        "python_enable_replacements": "false",
        "memory_limit": f"{max(64, memory_bytes >> 20)}MB",
        "preserve_insertion_order": "false",
    }
    if path is not None and not Path(path).is_file():
        raise SourceError(f"{path}: there is no such file", code="file_not_found", hint="is the path right?")
    if path is not None and _is_sqlite(path):
        raise SourceError(f"{path} is a database of SQLite", code="file_corrupt", hint="write `use: sqlite`")
    try:
        if path is None:
            opened = duckdb.connect(":memory:", config=config)
            opened.execute(f"SET file_search_path = '{base_dir.replace(chr(39), chr(39) * 2)}'")
        else:
            opened = duckdb.connect(path, read_only=True, config=config)
        opened.execute("SET TimeZone = 'UTC'")
        opened.execute(f"SET streaming_buffer_size = '{AHEAD}'")
    except duckdb.Error as error:
        message = str(error).partition("\n")[0]
        busy = "lock" in message
        raise SourceError(
            f"{path}: another process writes to it" if busy else f"{path} cannot be opened: {message}",
            code="source_busy" if busy else "file_corrupt",
            hint="DuckDB lets a file be read by others only while nobody has it open for writing" if busy else None,
        ) from error
    return opened


def _is_sqlite(path: str) -> bool:
    """DuckDB would ask for an extension to read it, which is not loaded."""
    with Path(path).open("rb") as file:
        return file.read(16) == b"SQLite format 3\0"


def _require_one(connection: Any, stream: StreamSpec) -> None:
    """Raises ConfigError for a query that is not one that reads, and a condition that is not one."""
    for text in filter(None, (stream.query, stream.where and f"SELECT (\n{stream.where}\n)")):
        found = connection.extract_statements(text)
        if len(found) != 1 or str(found[0].type).rpartition(".")[2] not in ("SELECT", "SELECT_STATEMENT"):
            raise ConfigError("a query must be one SELECT, VALUES or WITH that reads", code="query_invalid")


def _column(connection: Any, stream: StreamSpec, name: str, kind: str) -> DuckColumn:
    lossy, own = name in stream.allow_lossy, quoted(name)
    if kind in _AS_TEXT:
        return DuckColumn(
            name=name, expression=f"CAST({own} AS VARCHAR)", settled=_text(built_in(_AS_TEXT[kind]), kind)
        )
    if kind.startswith("ENUM("):
        return DuckColumn(name=name, expression=f"CAST({own} AS VARCHAR)", settled=_text(built_in("text"), "ENUM"))
    if kind in _ENDLESS:
        expression = f"CASE WHEN isinf({own}) THEN error('{_INFINITE}') ELSE {own} END"
    elif _PLAIN.fullmatch(kind) or _PLAIN_LIST.fullmatch(kind):
        expression = own
    elif kind.startswith(("STRUCT", "MAP", "UNION")) or kind.endswith("]"):
        return DuckColumn(
            name=name,
            expression=f"CAST(to_json({own}) AS VARCHAR)",
            settled=_text(built_in("jsonb"), f"{kind.partition('(')[0]} as JSON"),
        )
    else:
        raise ConfigError(
            f"column {name} is of type {kind}, which cannot be loaded",
            code="type_unsupported",
            column=name,
            hint="leave it out with `columns`, or CAST it in a `query`",
        )
    arrow = connection.sql(_probe(stream, expression)).to_arrow_table().schema
    facts = ParquetFacts(schema=arrow, groups=(), intervals=(), old_timestamps=())
    return DuckColumn(name=name, expression=expression, settled=settle(facts, "c"), lossy=lossy)


def _probe(stream: StreamSpec, expression: str) -> str:
    return f"SELECT {expression} AS c FROM {from_clause(stream)} LIMIT 0"  # noqa: S608


def _text(kind: ColumnType, reason: str) -> Settled:
    import pyarrow as pa

    return Settled(type=kind, arrow=pa.string(), reason=reason)


def _row_bytes(task: DuckTask) -> int:
    """Of some rows, as they are delivered."""
    connection = _connected(task.path, task.base_dir, task.memory_bytes)
    try:
        with _told(task.stream.name):
            found = connection.sql(_statement(task, None) + f" LIMIT {FIRST_ROWS}").to_arrow_table()
    finally:
        connection.close()
    return max(1, found.nbytes // max(1, found.num_rows))


def _statement(task: DuckTask, partition: Partition | None) -> str:
    listed = ", ".join(f"{column.expression} AS {quoted(column.name)}" for column in task.columns)
    return f"SELECT {listed} FROM {from_clause(task.stream)}{condition(task.stream, partition, 'rowid')}"  # noqa: S608


@contextmanager
def read_partition(task: DuckTask, partition: Partition, stop: Stop, worker: int) -> Generator[TableBlocks]:  # noqa: ARG001
    """The rows of one partition. A `ReadPartition` once `task` is bound. Raises SourceError, DataError."""
    connection = _connected(task.path, task.base_dir, task.memory_bytes)
    try:
        with (
            _told(task.stream.name),
            interrupting(connection, stop),
            closing(_batches(task, connection, partition, stop)) as batches,
        ):
            yield TableBlocks(batches, stop)
    finally:
        connection.close()


def _batches(task: DuckTask, connection: Any, partition: Partition, stop: Stop) -> Generator[Rows]:
    if stop():
        raise CancelledError("reading was stopped", code="stopped")
    rows = next_rows(1, _row_bytes(task))
    with _told(task.stream.name):
        reader = connection.sql(_statement(task, partition)).to_arrow_reader(min(rows, MOST_ROWS))
        with open_sandbox() as sandbox:
            for batch in reader:
                convert = partial(_converted, task, sandbox)
                if not task.sets_aside:
                    yield Rows(batch=convert(batch))
                    continue
                rejects: list[Reject] = []
                found, _ = sifted(Batch(rows=batch), convert, rejects.append)
                yield Rows(batch=found, rejects=tuple(rejects))


def _converted(task: DuckTask, sandbox: Sandbox, batch: pa.RecordBatch) -> pa.RecordBatch:
    """The batch in the types that are delivered. Raises DataError."""
    import pyarrow as pa

    arrays: list[pa.Array] = []
    for column, values in zip(task.columns, batch.columns, strict=True):
        try:
            arrays.append(deliver(values, column.settled, sandbox, lossy=column.lossy))
        except pa.ArrowInvalid as error:
            raise DataError(
                f"a value of column {column.name} does not fit its type without loss",
                code="value_misfit",
                sqlstate="22003",
                column=column.name,
                hint=f"allow_lossy: [{column.name}] in the stream cuts off what does not fit",
            ) from error
    return pa.RecordBatch.from_arrays(arrays, names=[column.name for column in task.columns])


@contextmanager
def _told(what: str, *, is_asked: bool = False) -> Generator[None]:
    """Inside, DuckDB's errors become ours. `is_asked`: what the pipeline says is being looked at."""
    import duckdb

    try:
        yield
    except duckdb.Error as error:
        raise _translated(error, what, is_asked=is_asked) from error


def _translated(error: Exception, what: str, *, is_asked: bool) -> RapidbyteError:
    import duckdb

    message = str(error).partition("\n")[0]
    if isinstance(error, duckdb.InterruptException):
        return CancelledError("reading was stopped", code="stopped")
    if _INFINITE in message:
        return DataError(
            f"{what} holds an infinite date or timestamp, which has no place in Arrow",
            code="value_misfit",
            sqlstate="22008",
            hint="CAST it to VARCHAR in a `query`",
        )
    if isinstance(error, duckdb.IOException):
        return SourceError(f"{what}: {message}", code="source_failed")
    if isinstance(error, (duckdb.CatalogException, duckdb.BinderException, duckdb.ParserException)) and is_asked:
        return ConfigError(f"{what}: {message}", code="query_invalid", hint="`rapidbyte discover` lists what is there")
    kind = message.partition(":")[0]
    return DataError(f"{what}: the query fails on a row: {kind}", code="query_failed", row_detail=message)
