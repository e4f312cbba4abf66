"""SQLite's tables and queries: every value checked against its column's type, misfits told with their row id."""

from __future__ import annotations

import sqlite3
from collections.abc import Generator, Sequence
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from rapidbyte.errors import CancelledError, ConfigError, DataError, RapidbyteError, SourceError
from rapidbyte.model import Column, ColumnType, QualifiedName
from rapidbyte.partition import Partition
from rapidbyte.pg.types import parse_type_name
from rapidbyte.plan import StreamShape
from rapidbyte.ports import Place, Stop
from rapidbyte.rejects import Reject, columns_json
from rapidbyte.sources.local.affinity import (
    Affinity,
    BadText,
    MisfitError,
    affinity_of,
    affinity_of_values,
    arrow_of,
    delivered,
    misfits_of,
    text_of,
)
from rapidbyte.sources.local.tables import (
    FIRST_ROWS,
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
from rapidbyte.values import frozen

if TYPE_CHECKING:
    import pyarrow as pa

_STEPS = 10_000
"""Of SQLite's machine, after each of which it is asked whether to stop."""


@frozen
class SqliteTask:
    """All that reading one stream's partitions needs. Picklable."""

    path: str
    stream: StreamSpec
    columns: tuple[tuple[str, ColumnType], ...]
    rowid: str | None
    """What the table's row ids are called; None where it has none."""
    sets_aside: bool = False
    """Rows with a value that is not of its column's type do not end the load."""


class SqliteDatabase:
    """A SQLite file, opened for reading."""

    def __init__(self, path: str, *, base_dir: str, stop: Stop, sets_aside: bool = False) -> None:
        self._path = str((Path(base_dir) / Path(path).expanduser()).absolute())
        self._sets_aside = sets_aside
        self._stop = stop
        self._held: sqlite3.Connection | None = None

    def _open(self) -> sqlite3.Connection:
        if self._held is None:
            self._held = _connected(self._path, self._stop)
        return self._held

    def version(self) -> object:
        """What SQLite counts for a connection when another one commits. Raises SourceError."""
        with _told(self._path):
            return self._open().execute("PRAGMA data_version").fetchone()

    def close(self) -> None:
        """Closes it. May be repeated."""
        if self._held is not None:
            self._held.close()
            self._held = None

    def names(self) -> tuple[str, ...]:
        """Of all tables and views but SQLite's own."""
        with _told(self._path):
            rows = self._open().execute(
                "SELECT name FROM sqlite_schema WHERE type IN ('table', 'view') AND substr(name, 1, 7) <> 'sqlite_'"
                " ORDER BY name"
            )
            return tuple(name for (name,) in rows)

    def describe(self, stream: StreamSpec) -> Found:
        """The stream's columns and types. Raises ConfigError, SourceError."""
        require_text(stream)
        connection = self._open()
        with _told(stream.name, is_asked=True):
            names = _names(connection, stream)
            wanted = require_wanted(stream, names)
            declared = {} if stream.query is not None else _declared(connection, stream)
            affinities = {name: _affinity(connection, stream, name, declared.get(name, ("", 0))[0]) for name in wanted}
            rowid = None if stream.query is not None else _rowid(connection, stream, names)
            rows, rowids = _extent(connection, stream, rowid)
            width = _row_bytes(connection, stream, wanted)
        task = SqliteTask(
            path=self._path,
            stream=stream,
            columns=tuple((name, each.type) for name, each in affinities.items()),
            rowid=rowid,
            sets_aside=self._sets_aside,
        )
        key = sorted((place, name) for name, (_, place) in declared.items() if place)
        return Found(
            shape=StreamShape(
                spec=stream,
                kind="query" if stream.query is not None else "table" if rowid is not None else "view",
                relation=None if stream.query is not None else _relation(stream),
                columns=tuple(
                    Column(name=name, type=each.type, arrow=str(arrow_of(each.type)), reason=each.reason)
                    for name, each in affinities.items()
                ),
                primary_key=tuple(name for _, name in key),
                estimated_rows=rows,
                estimated_bytes=None if rows is None else rows * width,
                delivers="arrow",
                partitioning="ranges of row ids" if rowids is not None else "one partition: it has no row ids",
            ),
            read=partial(read_partition, task),
            rowids=rowids,
        )


def _relation(stream: StreamSpec) -> QualifiedName:
    schema, name = relation_of(stream)
    return QualifiedName(schema=schema or "main", name=name)


def _connected(path: str, stop: Stop) -> sqlite3.Connection:
    """An open database that cannot be written to. Raises SourceError."""
    if not Path(path).is_file():
        raise SourceError(f"{path}: there is no such file", code="file_not_found", hint="is the path right?")
    with _told(path):
        opened = sqlite3.connect(
            f"file:{quote(path)}?mode=ro", uri=True, isolation_level=None, check_same_thread=False, timeout=10
        )
        opened.text_factory = _decoded
        opened.set_progress_handler(lambda: 1 if stop() else 0, _STEPS)
        opened.execute("PRAGMA query_only = true")
        opened.execute("PRAGMA trusted_schema = false")
        opened.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    return opened


def _decoded(data: bytes) -> Any:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return BadText(data=data)


def _names(connection: sqlite3.Connection, stream: StreamSpec) -> tuple[str, ...]:
    """The columns' names. A query is one statement: SQLite itself refuses a second one."""
    where = f" WHERE (\n{stream.where}\n)" if stream.where is not None else ""
    with closing(connection.execute(f"SELECT * FROM {from_clause(stream)}{where} LIMIT 0")) as cursor:  # noqa: S608
        return tuple(str(column[0]) for column in cursor.description)


def _declared(connection: sqlite3.Connection, stream: StreamSpec) -> dict[str, tuple[str, int]]:
    """(declared type, place in the primary key or 0) by name; generated columns too."""
    schema, name = relation_of(stream)
    rows = connection.execute("SELECT name, type, pk FROM pragma_table_xinfo(?, ?)", (name, schema or "main"))
    return {str(column): (str(kind), int(place)) for column, kind, place in rows}


def _affinity(connection: sqlite3.Connection, stream: StreamSpec, name: str, declared: str) -> Affinity:
    """`types` wins, then the declared type, then what all values are. Raises ConfigError."""
    said = dict(stream.types).get(name)
    if said is not None:
        return Affinity(type=parse_type_name(said), reason="declared in the pipeline")
    if (found := affinity_of(declared)) is not None:
        return found
    kinds = connection.execute(f"SELECT DISTINCT typeof({quoted(name)}) FROM {from_clause(stream)}").fetchall()  # noqa: S608
    found = affinity_of_values(frozenset(str(kind) for (kind,) in kinds))
    if found is None:
        held = ", ".join(sorted(str(kind) for (kind,) in kinds))
        raise ConfigError(
            f"column {name} has no declared type, and holds values of several: {held}",
            code="type_unknown",
            column=name,
            hint=f"`types: {{{name}: ...}}` in the stream says what they have to be; a `query` with CAST makes them so",
        )
    return found


def _rowid(connection: sqlite3.Connection, stream: StreamSpec, names: tuple[str, ...]) -> str | None:
    """What the row ids are called, unless a column has that name; None for a view and a table WITHOUT ROWID."""
    taken = {name.lower() for name in names}
    for alias in ("rowid", "_rowid_", "oid"):
        if alias in taken:
            continue
        try:
            connection.execute(f"SELECT {alias} FROM {from_clause(stream)} LIMIT 0").close()  # noqa: S608
        except sqlite3.OperationalError:
            return None
        schema, name = relation_of(stream)
        kinds = connection.execute("SELECT type FROM pragma_table_list(?) WHERE schema = ?", (name, schema or "main"))
        return alias if kinds.fetchone() != ("view",) else None
    return None


def _extent(
    connection: sqlite3.Connection, stream: StreamSpec, rowid: str | None
) -> tuple[int | None, tuple[int, int] | None]:
    """About how many rows, and the least and greatest row id."""
    if rowid is None:
        return None, None
    low, high = connection.execute(f"SELECT min({rowid}), max({rowid}) FROM {from_clause(stream)}").fetchone()  # noqa: S608
    return (0, None) if low is None else (high - low + 1, (low, high))


def _row_bytes(connection: sqlite3.Connection, stream: StreamSpec, names: tuple[str, ...]) -> int:
    """Of the first rows."""
    listed = " + ".join(f"coalesce(length(CAST({quoted(name)} AS BLOB)), 0) + 1" for name in names)
    some = f"SELECT {listed} AS b FROM {from_clause(stream)} LIMIT {FIRST_ROWS}"  # noqa: S608
    found = connection.execute(f"SELECT avg(b) FROM ({some})")  # noqa: S608
    return max(1, round(found.fetchone()[0] or 1))


@contextmanager
def read_partition(task: SqliteTask, partition: Partition, stop: Stop, worker: int) -> Generator[TableBlocks]:  # noqa: ARG001
    """The rows of one partition. A `ReadPartition` once `task` is bound. Raises SourceError, DataError."""
    if stop():
        raise CancelledError("reading was stopped", code="stopped")
    with (
        closing(_connected(task.path, stop)) as connection,
        closing(_batches(task, connection, partition)) as batches,
    ):
        yield TableBlocks(batches, stop)


def _batches(task: SqliteTask, connection: sqlite3.Connection, partition: Partition) -> Generator[Rows]:
    names = [name for name, _ in task.columns]
    listed = ", ".join(quoted(name) for name in names)
    number = task.rowid or "NULL"
    where = condition(task.stream, partition, number)
    statement = f"SELECT {number}, {listed} FROM {from_clause(task.stream)}{where}"  # noqa: S608
    count, before = FIRST_ROWS, 0
    with _told(task.stream.name), closing(connection.execute(statement)) as cursor:
        while rows := cursor.fetchmany(count):
            found = _rows(task, rows, before)
            yield found
            before += len(rows)
            count = next_rows(max(1, found.batch.num_rows), found.batch.nbytes)


def _rows(task: SqliteTask, rows: list[Any], before: int) -> Rows:
    """These rows in their columns' types; `before` came before them."""
    numbers = [before + place + 1 if row[0] is None else int(row[0]) for place, row in enumerate(rows)]
    try:
        return Rows(batch=_batch(task, rows), origin=partial(_place, task.path, numbers))
    except _PlacedMisfitError as misfit:
        if not task.sets_aside:
            raise misfit.error(task, numbers[misfit.place]) from None
    bad: dict[int, _PlacedMisfitError] = {}
    for (name, kind), values in zip(task.columns, list(zip(*rows, strict=True))[1:], strict=True):
        for place, held in misfits_of(values, kind):
            bad.setdefault(place, _PlacedMisfitError(name, kind, held, place, values[place]))
    kept = [place for place in range(len(rows)) if place not in bad]
    return Rows(
        batch=_batch(task, [rows[place] for place in kept]),
        origin=partial(_place, task.path, [numbers[place] for place in kept]),
        rejects=tuple(bad[place].reject(task, numbers[place], rows[place][1:]) for place in sorted(bad)),
    )


def _batch(task: SqliteTask, rows: list[Any]) -> pa.RecordBatch:
    """Raises _PlacedMisfitError."""
    import pyarrow as pa

    columns = list(zip(*rows, strict=True))[1:] or [()] * len(task.columns)
    arrays = [_array(*each, values) for each, values in zip(task.columns, columns, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, names=[name for name, _ in task.columns])


def _place(path: str, numbers: list[int], row: int) -> Place:
    return Place(file=path, row=numbers[row])


class _PlacedMisfitError(Exception):
    """A value of some rows is not of its column's type."""

    def __init__(self, column: str, kind: ColumnType, held: str, place: int, value: Any) -> None:
        super().__init__()
        self.column, self.kind, self.held, self.place, self.value = column, kind, held, place, value

    @property
    def _what(self) -> str:
        held = f"{self.held}, which" if self.held.startswith(("a", "text")) else "a value that"
        return f"holds {held} is no {self.kind.name}"

    def error(self, task: SqliteTask, number: int) -> DataError:
        """As the load's end."""
        row = f"rowid {number}" if task.rowid is not None else f"row {number}"
        return DataError(
            f"{task.stream.name}, {row}: column {self.column} {self._what}",
            code="value_misfit",
            sqlstate="22P02",
            column=self.column,
            hint=f"correct it, or say with `types: {{{self.column}: ...}}` or a `query` with CAST what it has to be",
            row_detail=f"{self.column}: {self.value!r}",
        )

    def reject(self, task: SqliteTask, number: int, values: Sequence[Any]) -> Reject:
        """As a row that is set aside."""
        return Reject(
            code="value_misfit",
            message=f"the column {self._what}",
            sqlstate="22P02",
            column=self.column,
            file=task.path,
            line=number,
            row=columns_json({name: text_of(value) for (name, _), value in zip(task.columns, values, strict=True)}),
            form="source",
        )


def _array(name: str, kind: ColumnType, values: Any) -> pa.Array:
    try:
        return delivered(values, kind)
    except MisfitError as error:
        place = int(error.args[1])
        raise _PlacedMisfitError(name, kind, str(error.args[0]), place, values[place]) from None


@contextmanager
def _told(what: str, *, is_asked: bool = False) -> Generator[None]:
    """Inside, SQLite's errors become ours. `is_asked`: what the pipeline says is being looked at."""
    try:
        yield
    except sqlite3.Error as error:
        raise _translated(error, what, is_asked=is_asked) from error


def _translated(error: sqlite3.Error, what: str, *, is_asked: bool) -> RapidbyteError:
    name = getattr(error, "sqlite_errorname", "") or ""
    if name == "SQLITE_INTERRUPT":
        return CancelledError("reading was stopped", code="stopped")
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return SourceError(f"{what}: another process writes to the database", code="source_busy", retry="transaction")
    if name.startswith(("SQLITE_NOTADB", "SQLITE_CORRUPT")):
        return SourceError(f"{what}: {error}", code="file_corrupt", hint="is it a SQLite database, and complete?")
    if (is_asked and name in ("SQLITE_ERROR", "")) or isinstance(error, (sqlite3.ProgrammingError, sqlite3.Warning)):
        return ConfigError(f"{what}: {error}", code="query_invalid", hint="`rapidbyte discover` lists what is there")
    return SourceError(f"{what}: {error}", code="source_failed")
