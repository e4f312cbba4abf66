"""Rows with a value that has no exact form in the type it shall have: found by halving, and set aside."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar

from rapidbyte.errors import DataError
from rapidbyte.ports import Place
from rapidbyte.rejects import Reject, columns_json
from rapidbyte.transforms.flow import Batch
from rapidbyte.transforms.printing import listed, printed

if TYPE_CHECKING:
    import pyarrow as pa

Made = TypeVar("Made")


def misfits(convert: Callable[[pa.RecordBatch], object], rows: pa.RecordBatch) -> dict[int, DataError]:
    """Every row that does not fit, in order, and why: what fails is halved until one row is left."""
    found: dict[int, DataError] = {}
    waiting = [(0, rows.num_rows)]
    while waiting:
        low, high = waiting.pop()
        try:
            if low < high:
                convert(rows.slice(low, high - low))
        except DataError as error:
            if high - low == 1:
                found[low] = error
            else:
                middle = (low + high) // 2
                waiting += [(middle, high), (low, middle)]
    return found


def without(rows: pa.RecordBatch, left_out: Sequence[int]) -> tuple[pa.RecordBatch, list[int]]:
    """The other rows, and which ones they were."""
    import pyarrow as pa

    gone = set(left_out)
    kept = [row for row in range(rows.num_rows) if row not in gone]
    return rows.take(pa.array(kept, pa.int64())), kept


def left_of(batch: Batch, left_out: Sequence[int]) -> Batch:
    """The batch without these rows; the others still know where they come from."""
    if not left_out:
        return batch
    rows, kept = without(batch.rows, left_out)
    origin = batch.origin
    return Batch(rows=rows, origin=None if origin is None else (lambda row: origin(kept[row])))


def sifted(
    batch: Batch, convert: Callable[[pa.RecordBatch], Made], set_aside: Callable[[Reject], None]
) -> tuple[Made, Batch]:
    """What `convert` makes of the rows, and these; those on which it fails are set aside.

    `convert` raises DataError where a row does not fit.
    """
    try:
        return convert(batch.rows), batch
    except DataError:
        bad = misfits(convert, batch.rows)
    for row, error in bad.items():
        place = batch.origin(row) if batch.origin is not None else None
        set_aside(misfitting(texts_of_row(batch.rows, row), error, place))
    left = left_of(batch, list(bad))
    return convert(left.rows), left


def texts_of_row(rows: pa.RecordBatch, row: int) -> dict[str, str | None]:
    """One row by its columns, as PostgreSQL would print its values."""
    import pyarrow as pa

    return {
        name: printed(listed(values.slice(row, 1))[0], "uuid" if values.type == pa.binary(16) else "")
        for name, values in zip(rows.schema.names, rows.columns, strict=True)
    }


def misfitting(values: Mapping[str, str | None], error: DataError, place: Place | None) -> Reject:
    """The reject of a row that `error` is about."""
    told = error.message if place is None else error.message.removeprefix(f"{place}: ").removeprefix(f"{place.file}: ")
    return Reject(
        code=error.code,
        message=told,
        sqlstate=error.context.sqlstate,
        column=error.context.column,
        file=None if place is None else place.file,
        line=None if place is None else place.line if place.line is not None else place.row,
        row=columns_json(values),
        form="source",
    )
