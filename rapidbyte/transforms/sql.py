"""`use: sql`: one SELECT, evaluated by DuckDB over a stream of Arrow batches.

Where the query's plan is nothing but projections and filters over one scan, each partition passes through it by
itself; any other query (aggregate, join, window, DISTINCT, ORDER BY, LIMIT, a clock, chance) sees the whole stream.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, cast

from rapidbyte.errors import ConfigError, InternalError, RapidbyteError
from rapidbyte.model import Column
from rapidbyte.ports import Stop
from rapidbyte.rejects import Reject
from rapidbyte.spec import SqlTransform
from rapidbyte.transforms.engine import Database, Feed, explained, identifier, interruptible, open_database
from rapidbyte.transforms.flow import Batch, Given, Reference, require_going
from rapidbyte.transforms.misfits import sifted
from rapidbyte.transforms.types import (
    Made,
    as_column,
    delivered,
    duckdb_form,
    for_duckdb,
    keeps_type,
    made,
    require_takeable,
    schema_of,
)
from rapidbyte.values import frozen

if TYPE_CHECKING:
    import pyarrow as pa

BATCH_BYTES = 1 << 20
"""About the size of a batch that DuckDB hands back, by the width of the first rows that it was given. Where the first
batches are small, because little memory may be taken, four times the size of the greatest of them."""

LOOKED_AT_BYTES, MOST_LOOKED_AT = BATCH_BYTES // 4, 64
"""Of the first batches: one alone tells nothing, as a file may begin with a batch of one row."""

FEWEST_ROWS, MOST_ROWS = 4, 32768
"""Of such a batch."""

WIDE_ROW_BYTES, WIDEST_ROW_BYTES, GROWN = 16 << 10, 256 << 10, 8
"""Rows that have grown by so much, and are wider on average than the first of these, pass batch by batch, and so do all
that are wider than the second: rows of 2 MB with four workers took 919 MB otherwise, now 169."""

ROW_BY_ROW = frozenset({"PROJECTION", "FILTER"})
"""Operators that make of each row what they would make of it alone."""

SCANS = frozenset({"PYTHON_ARROW_SCAN", "ARROW_SCAN", "ARROW_SCAN_DUMB"})

CLOCKS = frozenset({"current_date", "current_time", "current_timestamp", "localtime", "localtimestamp", "today", "now"})
"""Words that are functions without brackets."""


@frozen
class SqlStep:
    """A planned query."""

    query: str
    """As the user wrote it, without a semicolon at its end."""
    names: tuple[str, ...]
    """What its input is called: `input`, and the stream's name."""
    given: tuple[Column, ...]
    columns: tuple[Column, ...]
    wraps: tuple[str, ...]
    """SQL around each of the columns."""
    needs_all: bool
    reads_twice: bool
    """The query reads its input more than once: it is kept as a table."""
    reason: str
    """Why it must see the whole stream; empty where it need not."""
    memory_bytes: int
    """Of a database of its own, where it must see the whole stream."""
    tables: tuple[Reference, ...] = ()
    """Files that the query sees."""

    @property
    def phrase(self) -> str:
        """What it does."""
        how = f"the whole stream in one partition: {self.reason}" if self.needs_all else "row by row"
        listed = ", ".join(f"{column.name} {column.type.name}" for column in self.columns)
        return f"sql, {how} -> {listed}"

    def apply(self, batches: Iterator[Batch], stop: Stop) -> Iterator[Batch]:
        """The query's rows, as they come. Raises DataError where a value cannot be computed, or has no exact form.

        From the first wide rows on they pass batch by batch, where the query is about each row alone: DuckDB would
        collect hundreds of them.
        """
        if self.needs_all:
            yield from self._streamed(batches, stop)
            return
        ahead: list[Batch] = []
        yield from self._streamed(_narrow(batches, ahead), stop)
        if ahead:
            yield from self._one_by_one(ahead, batches, stop)

    def _one_by_one(self, ahead: list[Batch], batches: Iterator[Batch], stop: Stop) -> Iterator[Batch]:
        """What the query makes of each batch, of the one that is `ahead` first; none is kept."""
        with open_database() as database, interruptible(database, stop):
            while (batch := ahead.pop() if ahead else next(batches, None)) is not None:
                require_going(stop)
                rows = self._of_each(database, batch.rows, stop)
                del batch
                yield Batch(rows=rows)
                del rows

    def _streamed(self, batches: Iterator[Batch], stop: Stop) -> Iterator[Batch]:
        """What the query makes of all of them together."""
        taken = _Taken(self.given, batches)
        feed = Feed(duckdb_schema(self.given), iter(taken))
        with ExitStack() as open_parts:
            database = open_parts.enter_context(open_database(self.memory_bytes if self.needs_all else None))
            open_parts.enter_context(interruptible(database, stop))
            for table in self.tables:
                _filled(database, table, stop)
            with explained("the sql transform", stop, feed):
                rows = self._result(database, feed)
                size = max(FEWEST_ROWS, min(MOST_ROWS, taken.batch_bytes // max(1, taken.row_bytes)))
                found = iter(rows.to_arrow_reader(size))
            while (batch := self._next(found, feed, stop)) is not None:
                yield Batch(rows=batch)
            feed.drain()

    def sift(self, batches: Iterator[Batch], stop: Stop, set_aside: Callable[[Reject], None]) -> Iterator[Batch]:
        """As `apply`; where the query is about each row alone, rows on which it fails are set aside."""
        if self.needs_all:
            yield from self.apply(batches, stop)
            return
        with open_database() as database, interruptible(database, stop):

            def convert(rows: pa.RecordBatch) -> pa.RecordBatch:
                return self._of_each(database, rows, stop)

            for batch in batches:
                require_going(stop)
                yield Batch(rows=sifted(batch, convert, set_aside)[0])

    def _of_each(self, database: Database, rows: pa.RecordBatch, stop: Stop) -> pa.RecordBatch:
        """What the query, which is about each row alone, makes of these."""
        import pyarrow as pa

        schema = schema_of(self.columns)
        with explained("the sql transform", stop):
            reader = pa.RecordBatchReader.from_batches(duckdb_schema(self.given), [duckdb_batch(self.given, rows)])
            database.give(self.names, reader)
            found = wrapped(database, self.query, self.columns, self.wraps).to_arrow_table()
            database.take_back(self.names)
            del reader, rows
            arrays = [
                delivered(_one_array(values), field.type) for values, field in zip(found.columns, schema, strict=True)
            ]
            return pa.RecordBatch.from_arrays(arrays, schema=schema)

    def _result(self, database: Database, feed: Feed) -> Any:
        """The query's relation, each column in a type that Arrow has."""
        if self._reads_twice(database):
            database.give(["rapidbyte_rows"], feed.reader())
            database.connection.execute("CREATE TEMP TABLE rapidbyte_kept AS SELECT * FROM rapidbyte_rows")
            for name in self.names:
                database.connection.execute(
                    f"CREATE TEMP VIEW {identifier(name)} AS SELECT * FROM rapidbyte_kept"  # noqa: S608 - quoted
                )
        else:
            database.give(self.names, feed.reader())
        return wrapped(database, self.query, self.columns, self.wraps)

    def _reads_twice(self, database: Database) -> bool:
        """Also by what the tables hold: they decide on the plan."""
        if not self.tables:
            return self.reads_twice
        database.give(self.names, duckdb_schema(self.given).empty_table().to_reader())
        return _operators(database, self.query)[0] != 1

    def _next(self, found: Iterator[Any], feed: Feed, stop: Stop) -> pa.RecordBatch | None:
        import pyarrow as pa

        require_going(stop)
        with explained("the sql transform", stop, feed):
            batch = next(found, None)
            if batch is None:
                return None
            schema = schema_of(self.columns)
            arrays = [delivered(values, field.type) for values, field in zip(batch.columns, schema, strict=True)]
            return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _one_array(values: Any) -> pa.Array:
    """A column that came in pieces as one array."""
    import pyarrow as pa

    if values.num_chunks == 1:
        return values.chunk(0)  # without a copy: it may be large
    return pa.concat_arrays(values.chunks) if values.num_chunks else pa.nulls(0, values.type)


def _filled(database: Database, table: Reference, stop: Stop) -> None:
    """Makes the file a table. Raises what reading it does."""
    feed = Feed(duckdb_schema(table.columns), _rows_of(table, stop))
    with explained(f"reading table {table.name}", stop, feed):
        database.give(["rapidbyte_arriving"], feed.reader())
        database.connection.execute(
            f"CREATE TEMP TABLE {identifier(table.name)} AS SELECT * FROM rapidbyte_arriving"  # noqa: S608 - quoted
        )


def _rows_of(table: Reference, stop: Stop) -> Iterator[pa.RecordBatch]:
    for part in table.parts:
        with table.read(part, stop, 0) as blocks:
            for block in blocks:
                if not isinstance(block.data, bytes):
                    yield duckdb_batch(table.columns, block.data)


def _narrow(batches: Iterator[Batch], ahead: list[Batch]) -> Iterator[Batch]:
    """The batches before the first one of wide rows, which is put `ahead`."""
    limit = 0
    for batch in batches:
        width = batch.rows.nbytes // max(1, batch.rows.num_rows)
        limit = limit or min(WIDEST_ROW_BYTES, max(WIDE_ROW_BYTES, GROWN * width))
        if width > limit:
            ahead.append(batch)
            return
        yield batch
        del batch


class _Taken:
    """The step's input as DuckDB gets it; the first batches are looked at before."""

    def __init__(self, columns: tuple[Column, ...], batches: Iterator[Batch]) -> None:
        self._columns = columns
        self._batches = batches
        self._first: deque[pa.RecordBatch] = deque()
        row_count, byte_count, greatest = 0, 0, 0
        while byte_count < LOOKED_AT_BYTES and len(self._first) < MOST_LOOKED_AT:
            batch = next(batches, None)
            if batch is None:
                break
            self._first.append(batch.rows)
            row_count, byte_count = row_count + batch.rows.num_rows, byte_count + batch.rows.nbytes
            greatest = max(greatest, batch.rows.nbytes)
        self.batch_bytes = min(BATCH_BYTES, max(4096, 4 * greatest)) if self._first else BATCH_BYTES
        self.row_bytes = byte_count // row_count if row_count else 1

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        while self._first:
            yield duckdb_batch(self._columns, self._first.popleft())
        for batch in self._batches:
            yield duckdb_batch(self._columns, batch.rows)


def duckdb_schema(columns: tuple[Column, ...]) -> pa.Schema:
    """What DuckDB is told of these columns."""
    import pyarrow as pa

    return pa.schema([pa.field(column.name, duckdb_form(column)) for column in columns])


def duckdb_batch(columns: tuple[Column, ...], rows: pa.RecordBatch) -> pa.RecordBatch:
    """The rows as DuckDB gets them."""
    import pyarrow as pa

    arrays = [for_duckdb(column, values) for column, values in zip(columns, rows.columns, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=duckdb_schema(columns))


def selected(columns: tuple[Column, ...], names: tuple[str, ...], rows: pa.RecordBatch) -> pa.Table:
    """Some of the rows' columns as DuckDB gets them; the first one where none is needed."""
    import pyarrow as pa

    return pa.Table.from_batches([duckdb_batch(columns, rows).select(list(names or (columns[0].name,)))])


def wrapped(database: Database, query: str, columns: tuple[Column, ...], wraps: tuple[str, ...]) -> Any:
    """The query's relation with its columns by these names, in types that Arrow has."""
    rows = database.connection.sql(query)
    if set(wraps) == {"{}"}:
        return rows
    names = [identifier(column.name) for column in columns]
    return rows.project(", ".join(f"{wrap.format(name)} AS {name}" for wrap, name in zip(wraps, names, strict=True)))


def plan_sql(spec: SqlTransform, given: Given) -> SqlStep:
    """The query on these columns. Raises ConfigError where it is no SELECT on them, or delivers what has no type."""
    require_takeable(given.columns, "sql", given.stream)
    tables = tuple(_referred(name, path, given) for name, path in spec.tables)
    names = ("input",) if given.stream.lower() == "input" else ("input", given.stream)
    with open_database() as database:
        query = _one_select(database, spec.query, given.stream)
        database.give(names, duckdb_schema(given.columns).empty_table().to_reader())
        for table in tables:
            database.give([table.name], duckdb_schema(table.columns).empty_table().to_reader())
        rows = _described(database, query, given.stream)
        types = {column: str(kind) for column, kind in zip(rows.columns, rows.types, strict=True)}
        scans, operators = _operators(database, query)
        reason = f"it looks into {', '.join(table.name for table in tables)}" if tables else ""
        reason = reason or _why_all(scans, operators) or unsteady(database, query, given.columns)
        before = _types_given(database, given.columns)
    found = {name: _made(name, kind, given.stream) for name, kind in types.items()}
    old = {column.name: column for column in given.columns}
    columns = tuple(
        as_column(
            name,
            each,
            old[name] if name in old and keeps_type(old[name], each, same=before[name] == types[name]) else None,
        )
        for name, each in found.items()
    )
    return SqlStep(
        query=query,
        names=names,
        given=given.columns,
        columns=columns,
        wraps=tuple(each.wrap for each in found.values()),
        needs_all=bool(reason),
        reads_twice=scans != 1,
        reason=reason,
        memory_bytes=given.resources.memory_bytes,
        tables=tables,
    )


def _referred(name: str, path: str, given: Given) -> Reference:
    """The file of this name. Raises what looking at it does, and ConfigError for columns that DuckDB cannot take."""
    if given.resources.refer is None:
        raise InternalError("there is nothing that could read a table", code="tables_unsupported")
    try:
        found = given.resources.refer(given.stream, name, path)
    except RapidbyteError as error:
        error.message = f"sql: table {name}: {error.message}"
        raise
    require_takeable(found.columns, f"sql: table {name}", given.stream)
    return found


def _made(name: str, kind: str, stream: str) -> Made:
    found = made(kind)
    if found is None:
        raise ConfigError(
            f"sql: column {name} is {kind}, which PostgreSQL has no exact type for",
            code="type_unsupported",
            hint="cast it in the query",
            stream=stream,
            column=name,
        )
    return found


def _one_select(database: Database, text: str, stream: str) -> str:
    import duckdb

    try:
        statements = database.connection.extract_statements(text)
    except duckdb.Error as error:
        raise _invalid(error, stream) from error
    if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
        raise ConfigError(
            "sql: `query` is not one SELECT",
            code="query_invalid",
            hint="several queries are several transforms, each with the rows of the one before as `input`",
            stream=stream,
        )
    return str(statements[0].query).strip().rstrip(";").strip()


def _described(database: Database, query: str, stream: str) -> Any:
    import duckdb

    try:
        rows = database.connection.sql(query)
    except duckdb.Error as error:
        raise _invalid(error, stream) from error
    names: list[str] = rows.columns
    twice = sorted({name for name in names if [other.lower() for other in names].count(name.lower()) > 1})
    if twice:
        raise ConfigError(
            f"sql: the query delivers {', '.join(twice)} more than once",
            code="query_invalid",
            hint="name them with AS",
            stream=stream,
        )
    return rows


def _invalid(error: Exception, stream: str) -> ConfigError:
    return ConfigError(
        f"sql: {str(error).partition(chr(10))[0]}",
        code="query_invalid",
        hint="the rows are the table `input`; the dialect is DuckDB's",
        stream=stream,
    )


def _types_given(database: Database, columns: tuple[Column, ...]) -> dict[str, str]:
    database.give(["input"], duckdb_schema(columns).empty_table().to_reader())
    rows = database.connection.sql("SELECT * FROM input")
    return {column.name: str(kind) for column, kind in zip(columns, rows.types, strict=True)}


def _operators(database: Database, query: str) -> tuple[int, frozenset[str]]:
    """How often the plan reads the input, and what else it does."""
    (row,) = database.connection.execute(f"EXPLAIN (FORMAT json) {query}").fetchall()
    waiting: list[dict[str, Any]] = json.loads(row[1])
    names: list[str] = []
    while waiting:
        node = waiting.pop()
        names.append(str(node["name"]).strip())
        waiting.extend(node.get("children", ()))
    return sum(name in SCANS for name in names), frozenset(names) - SCANS


def _functions(database: Database, query: str) -> frozenset[str]:
    """Functions of the query whose value is not a matter of their arguments alone, and those that nobody knows."""
    (text,) = database.connection.execute("SELECT json_serialize_sql(?)", [query]).fetchone()
    used = _named(json.loads(text), "function_name")
    known = database.connection.execute(
        "SELECT DISTINCT function_name FROM duckdb_functions() WHERE function_type IN ('scalar', 'aggregate')"
        " AND stability = 'CONSISTENT'"
    ).fetchall()
    loose = database.connection.execute(
        "SELECT DISTINCT function_name FROM duckdb_functions() WHERE stability <> 'CONSISTENT' OR stability IS NULL"
    ).fetchall()
    return frozenset(used - ({name for (name,) in known} - {name for (name,) in loose}) - {""})


def _named(node: Any, key: str) -> set[str]:
    """Every text under this key, at any depth."""
    found: set[str] = set()
    waiting: list[Any] = [node]
    while waiting:
        each = waiting.pop()
        if isinstance(each, dict):
            fields = cast("dict[str, Any]", each)
            found |= {str(value).lower() for name, value in fields.items() if name == key and isinstance(value, str)}
            waiting.extend(fields.values())
        elif isinstance(each, list):
            waiting.extend(cast("list[Any]", each))
    return found


def unsteady(database: Database, query: str, columns: tuple[Column, ...]) -> str:
    """Why what the query makes of a row is not a matter of the row alone; empty where it is."""
    scans, operators = _operators(database, query)
    words = {word for word in CLOCKS if word in query.lower()} - {column.name.lower() for column in columns}
    words |= _functions(database, query)
    return _why_all(scans, operators) or (f"{', '.join(sorted(words))} is no matter of the row alone" if words else "")


def _why_all(scans: int, operators: frozenset[str]) -> str:
    """What of the query's plan needs the whole stream; empty where nothing does."""
    others = sorted(name.replace("_", " ").lower() for name in operators - ROW_BY_ROW)
    if others:
        return ", ".join(others)
    return "" if scans == 1 else f"it reads its input {scans} times"
