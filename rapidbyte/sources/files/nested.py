"""Structs of Parquet and Arrow as columns of their own: `outer_inner`, at every depth."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa


def flat_fields(field: pa.Field) -> Iterator[pa.Field]:
    """The columns that a column becomes, in order."""
    import pyarrow as pa

    if not pa.types.is_struct(field.type):
        yield field
        return
    struct: Any = field.type
    for inner in struct:
        nullable = field.nullable or inner.nullable
        yield from flat_fields(pa.field(f"{field.name}_{inner.name}", inner.type, nullable))


def flat_schema(schema: pa.Schema) -> pa.Schema:
    """The columns that all columns become."""
    import pyarrow as pa

    return pa.schema([flat for field in schema for flat in flat_fields(field)])


def flat_batch(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The same rows in these columns. A struct that is NULL is NULL in each."""
    import pyarrow as pa

    arrays = [flat for array in batch.columns for flat in _flat_arrays(array)]
    return pa.RecordBatch.from_arrays(arrays, schema=flat_schema(batch.schema))


def _flat_arrays(array: pa.Array) -> Iterator[pa.Array]:
    import pyarrow as pa

    if not pa.types.is_struct(array.type):
        yield array
        return
    for inner in array.flatten():
        yield from _flat_arrays(inner)
