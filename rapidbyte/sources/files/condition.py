"""DuckDB, for what Arrow has no words for: a user's `where`, and nested values as JSON.

It sees one batch at a time and nothing else: no file, no network, no extension, no variable of this process.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rapidbyte.errors import ConfigError, DataError

if TYPE_CHECKING:
    import pyarrow as pa

MEMORY_LIMIT = "64MB"
"""More than any batch; a condition that needs more is refused by DuckDB."""


@contextmanager
def open_sandbox() -> Generator[Sandbox]:
    """A DuckDB in memory that can reach nothing outside of itself. It starts when it is first used."""
    sandbox = Sandbox()
    try:
        yield sandbox
    finally:
        sandbox.close()


def _connect() -> Any:
    import duckdb

    connection = duckdb.connect(
        ":memory:",
        config={
            "autoinstall_known_extensions": "false",
            "autoload_known_extensions": "false",
            "python_enable_replacements": "false",
            "memory_limit": MEMORY_LIMIT,
            "temp_directory": "",
            "threads": "1",
        },
    )
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")
    return connection


class Sandbox:
    """One thread's DuckDB."""

    def __init__(self) -> None:
        self._connection: Any = None

    def close(self) -> None:
        """Ends it, if it was started."""
        if self._connection is not None:
            self._connection.close()

    def _relation(self, table: pa.Table) -> Any:
        self._connection = self._connection or _connect()
        return self._connection.from_arrow(table)

    def filtered(self, batch: pa.RecordBatch, where: str) -> pa.RecordBatch:
        """The rows for which the condition is true, in their order. Raises DataError when it cannot be evaluated."""
        import duckdb

        try:
            return self._filtered(batch, where)
        except duckdb.Error as error:
            raise DataError(
                f"the condition {where!r} fails on a row: {_kind(error)}",
                code="where_failed",
                row_detail=str(error),
            ) from error

    def check(self, schema: pa.Schema, where: str) -> None:
        """Raises ConfigError unless this is one condition on these columns."""
        import duckdb
        import pyarrow as pa

        empty = pa.RecordBatch.from_arrays([pa.nulls(0, field.type) for field in schema], schema=schema)
        try:
            self._filtered(empty, where)
        except duckdb.Error as error:
            reason = str(error).partition("\n")[0]
            raise ConfigError(
                f"where: {where!r} is no condition on these columns: {reason}", code="where_invalid"
            ) from error

    def json(self, values: pa.Array) -> pa.Array:
        """Every value as JSON. Raises DataError for a value that has none."""
        import duckdb
        import pyarrow as pa

        try:
            rows = self._relation(pa.table({"x": values})).project("to_json(x) AS j")
            made: Any = rows.to_arrow_table().column(0).cast(pa.string())
        except duckdb.Error as error:
            raise DataError(
                f"{values.type} cannot be written as JSON: {_kind(error)}", code="json_failed", row_detail=str(error)
            ) from error
        return pa.concat_arrays(made.chunks) if made.num_chunks else pa.nulls(0, pa.string())

    def _filtered(self, batch: pa.RecordBatch, where: str) -> pa.RecordBatch:
        import pyarrow as pa
        from pyarrow import compute as pc

        place = "row" + "_" * max(len(name) for name in batch.schema.names)  # a name that no column has
        numbered: Any = pa.Table.from_batches([batch])
        numbered = numbered.append_column(place, pa.array(range(batch.num_rows), pa.int64()))
        kept = self._relation(numbered).filter(where).project(place).to_arrow_table()
        return pc.take(batch, kept.column(0).combine_chunks())


def _kind(error: Exception) -> str:
    """What kind of error it is, without the values that its text may hold."""
    return str(error).partition(":")[0]
