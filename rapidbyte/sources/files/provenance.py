"""Columns that say where a row comes from: `metadata: [_file, _line, _loaded_at, _run_id]` of a stream of files."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING

from rapidbyte.errors import ConfigError, InternalError
from rapidbyte.model import Column
from rapidbyte.pg.types import built_in
from rapidbyte.spec import FileFormat
from rapidbyte.values import frozen

if TYPE_CHECKING:
    import pyarrow as pa

_TYPES = {
    "_file": "text",
    "_line": "bigint",
    "_loaded_at": "timestamp with time zone",
    "_run_id": "text",
}


@frozen
class Provenance:
    """What is the same for all rows of a file, as far as a run reads them."""

    names: tuple[str, ...]
    """The columns that are asked for, in order."""
    file: str
    """As the pipeline has it: relative to the pipeline file's folder where it lies below it."""
    loaded_at: dt.datetime | None
    """When the run began to read; by this machine's clock."""
    run_id: str | None

    def added(self, batch: pa.RecordBatch, lines: Iterator[int]) -> pa.RecordBatch:
        """The batch with these columns at its end; takes as many of the lines as it has rows, if they are wanted.

        Raises InternalError where there are fewer lines than rows.
        """
        import pyarrow as pa

        values: dict[str, pa.Scalar] = {
            "_file": pa.scalar(self.file, pa.string()),
            "_loaded_at": pa.scalar(self.loaded_at, pa.timestamp("us", "UTC")),
            "_run_id": pa.scalar(self.run_id, pa.string()),
        }
        arrays = [
            _line_numbers(lines, batch.num_rows) if name == "_line" else pa.repeat(values[name], batch.num_rows)
            for name in self.names
        ]
        return pa.RecordBatch.from_arrays([*batch.columns, *arrays], names=[*batch.schema.names, *self.names])


def _line_numbers(lines: Iterator[int], count: int) -> pa.Array:
    import pyarrow as pa

    numbers = list(islice(lines, count))
    if len(numbers) != count:
        raise InternalError(f"{count} rows stand on {len(numbers)} lines", code="lines_miscounted")
    return pa.array(numbers, pa.int64())


def provenance_columns(names: tuple[str, ...], known: tuple[str, ...], file_format: FileFormat) -> tuple[Column, ...]:
    """The columns as they are described. Raises ConfigError for one that the files have, and for lines of Parquet."""
    taken = [name for name in names if name in known]
    if taken:
        raise ConfigError(
            f"metadata: the files have a column {', '.join(taken)} of their own",
            code="column_taken",
            hint="leave it out of `metadata`",
        )
    if "_line" in names and file_format not in ("csv", "ndjson"):
        raise ConfigError(f"metadata: {file_format} has no lines", code="no_lines", hint="leave `_line` out")
    return tuple(
        Column(name=name, type=built_in(_TYPES[name]), arrow=str(_arrow(name)), reason="asked for by `metadata`")
        for name in names
    )


def provenance_fields(names: tuple[str, ...]) -> list[pa.Field]:
    """The columns as Arrow has them."""
    import pyarrow as pa

    return [pa.field(name, _arrow(name)) for name in names]


def _arrow(name: str) -> pa.DataType:
    import pyarrow as pa

    if name == "_line":
        return pa.int64()
    return pa.timestamp("us", "UTC") if name == "_loaded_at" else pa.string()
