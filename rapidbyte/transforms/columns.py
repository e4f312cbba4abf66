"""`rename`, `drop`, `cast`, `case`: what columns are called, which there are, and of which type."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from rapidbyte.errors import ConfigError, DataError
from rapidbyte.model import IDENTIFIER_BYTES, Column, ColumnType
from rapidbyte.pg.types import base_name, numeric_modifier, parse_type_name
from rapidbyte.ports import Stop
from rapidbyte.rejects import Reject
from rapidbyte.spec import CaseStyle, CaseTransform, CastTransform, DropTransform, RenameTransform
from rapidbyte.transforms.flow import Batch, Given, require_going
from rapidbyte.transforms.misfits import sifted
from rapidbyte.transforms.types import ARROW_NAMES, arrow_type, schema_of, times_of
from rapidbyte.values import frozen

if TYPE_CHECKING:
    import pyarrow as pa

_ARROW = {**ARROW_NAMES, "text": "string"}
"""Types to cast to, without a modifier; numeric(p,s) as well."""

_WHOLE = ("int16", "int32", "int64")
_FROM: dict[str, tuple[str, ...]] = {
    "bool": ("string",),
    "int16": (*_WHOLE, "string", "bool", "float", "double", "decimal128"),
    "int32": (*_WHOLE, "string", "bool", "float", "double", "decimal128"),
    "int64": (*_WHOLE, "string", "bool", "float", "double", "decimal128"),
    "float": ("int16", "string"),
    "double": (*_WHOLE, "float", "string"),
    "string": (*_WHOLE, "bool", "date32[day]", "decimal128"),
    "date32[day]": ("string", "timestamp[us]"),
    "time64[us]": ("string",),
    "timestamp[us]": ("string", "date32[day]"),
    "timestamp[us, tz=UTC]": ("string",),
    "decimal128": (*_WHOLE, "string", "decimal128"),
}
"""What Arrow casts to these types exactly, or refuses value by value."""

PASSED_ON = frozenset({"uuid", "json", "jsonb", "inet", "cidr", "numeric", "xml", "bytea"})
"""Types that text is cast to by PostgreSQL itself, which refuses what it cannot read."""


def _rebuilt(
    batches: Iterator[Batch], columns: tuple[Column, ...], stop: Stop, arrays_of: Callable[[Batch], list[pa.Array]]
) -> Iterator[Batch]:
    """Each batch with other arrays, which are these columns'."""
    import pyarrow as pa

    schema = schema_of(columns)
    for batch in batches:
        require_going(stop)
        yield replace(batch, rows=pa.RecordBatch.from_arrays(arrays_of(batch), schema=schema))


@frozen
class ColumnsStep:
    """Some of the columns, in order, under new names."""

    columns: tuple[Column, ...]
    places: tuple[int, ...]
    """Of each in the batches that arrive."""
    phrase: str
    needs_all: bool = False

    def apply(self, batches: Iterator[Batch], stop: Stop) -> Iterator[Batch]:
        """The batches with these columns."""

        def arrays_of(batch: Batch) -> list[pa.Array]:
            return [batch.rows.column(place) for place in self.places]

        return _rebuilt(batches, self.columns, stop, arrays_of)


@frozen
class CastStep:
    """Columns in other types."""

    columns: tuple[Column, ...]
    cast: tuple[str, ...]
    phrase: str
    needs_all: bool = False

    def apply(self, batches: Iterator[Batch], stop: Stop) -> Iterator[Batch]:
        """The batches with these values. Raises DataError for the first value that does not fit exactly."""
        return _rebuilt(batches, self.columns, stop, self._arrays_of)

    def sift(self, batches: Iterator[Batch], stop: Stop, set_aside: Callable[[Reject], None]) -> Iterator[Batch]:
        """As `apply`; rows with a value that does not fit are set aside."""
        import pyarrow as pa

        schema = schema_of(self.columns)

        def convert(rows: pa.RecordBatch) -> pa.RecordBatch:
            return pa.RecordBatch.from_arrays(self._arrays_of(Batch(rows=rows)), schema=schema)

        for batch in batches:
            require_going(stop)
            found, left = sifted(batch, convert, set_aside)
            yield replace(left, rows=found)

    def _arrays_of(self, batch: Batch) -> list[pa.Array]:
        return [
            self._cast(batch, place, field.type) if field.name in self.cast else batch.rows.column(place)
            for place, field in enumerate(schema_of(self.columns))
        ]

    def _cast(self, batch: Batch, place: int, target: pa.DataType) -> pa.Array:
        import pyarrow as pa

        values = batch.rows.column(place)
        try:
            return exactly(values, target)
        except pa.ArrowInvalid as error:
            row = _first_misfit(values, target)
            where = batch.origin(row) if batch.origin is not None else None
            column = self.columns[place]
            raise DataError(
                (f"{where}: " if where is not None else "")
                + f"the value of column {column.name} is not exactly {column.type.phrase}",
                code="value_misfit",
                sqlstate="22P02",
                column=column.name,
                line=where.line if where is not None else None,
                row_detail=f"{column.name}: {values[row].as_py()}",
            ) from error


def exactly(values: pa.Array, target: pa.DataType) -> pa.Array:
    """The values as this type. Raises ArrowInvalid where one would not be the same."""
    import pyarrow as pa
    from pyarrow import compute as pc

    is_date = pa.types.is_timestamp(values.type) and pa.types.is_date(target)
    if pa.types.is_string(values.type) and pa.types.is_time(target):
        return times_of(values)
    ready = pc.cast(values, target)
    if (
        is_date
        and not pc.all(pc.equal(pc.cast(ready, values.type), values)).as_py()
        and len(values) > values.null_count
    ):
        raise pa.ArrowInvalid("a time of day would be lost")
    return ready


def _first_misfit(values: pa.Array, target: pa.DataType) -> int:
    """The first row that does not fit, by halving."""
    import pyarrow as pa

    low, high = 0, len(values)
    while high - low > 1:
        middle = (low + high) // 2
        try:
            exactly(values.slice(low, middle - low), target)
        except pa.ArrowInvalid:
            high = middle
        else:
            low = middle
    return low


def plan_rename(spec: RenameTransform, given: Given) -> ColumnsStep:
    """New names for some columns. Raises ConfigError for one that is not there, or is there twice then."""
    for name, _ in spec.names:
        given.column(name, "rename")
    changed = ", ".join(f"{old} -> {new}" for old, new in spec.names)
    return _renamed(given, dict(spec.names), f"rename: {changed}")


def plan_case(spec: CaseTransform, given: Given) -> ColumnsStep:
    """All names in lower case, upper case or snake case."""
    names = {column.name: cased(column.name, spec.style) for column in given.columns}
    return _renamed(given, names, f"case: {spec.style}")


def cased(name: str, style: CaseStyle) -> str:
    """A name in another spelling: snake of `Order ID` and `orderId` is `order_id`."""
    if style != "snake":
        return name.lower() if style == "lower" else name.upper()
    parted = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name)
    return re.sub(r"\W+|_+", "_", parted).strip("_").lower() or name


def _renamed(given: Given, names: Mapping[str, str], phrase: str) -> ColumnsStep:
    columns = tuple(replace(column, name=names.get(column.name, column.name)) for column in given.columns)
    found = [column.name for column in columns]
    twice = sorted({name for name in found if found.count(name) > 1})
    long = [name for name in found if len(name.encode()) > IDENTIFIER_BYTES]
    if twice or long:
        why = f"there would be two columns {', '.join(twice)}" if twice else f"{long[0]} is too long for a name"
        raise ConfigError(
            f"{phrase}: {why}", code="column_names", hint="rename or drop one of them before", stream=given.stream
        )
    return ColumnsStep(columns=columns, places=tuple(range(len(columns))), phrase=phrase)


def plan_drop(spec: DropTransform, given: Given) -> ColumnsStep:
    """All columns but these. Raises ConfigError for one that is not there, or where none is left."""
    for name in spec.columns:
        given.column(name, "drop")
    places = tuple(place for place, column in enumerate(given.columns) if column.name not in spec.columns)
    if not places:
        raise ConfigError("drop: no column is left", code="column_names", stream=given.stream)
    phrase = f"drop: {', '.join(spec.columns)}"
    return ColumnsStep(columns=tuple(given.columns[place] for place in places), places=places, phrase=phrase)


def plan_cast(spec: CastTransform, given: Given) -> CastStep:
    """Other types for some columns. Raises ConfigError where there is no exact way."""
    wanted: dict[str, ColumnType] = {}
    for name, text in spec.types:
        given.column(name, "cast")
        try:
            wanted[name] = parse_type_name(text)
        except ConfigError as error:
            raise error.at(stream=given.stream, column=name) from None
    columns = tuple(
        _as_type(column, wanted[column.name], given) if column.name in wanted else column for column in given.columns
    )
    changed = ", ".join(f"{name} {kind.name}" for name, kind in wanted.items())
    return CastStep(columns=columns, cast=tuple(wanted), phrase=f"cast: {changed}")


def _as_type(column: Column, kind: ColumnType, given: Given) -> Column:
    base, arrow = base_name(kind) or "", column.arrow or ""
    target = _arrow_of(kind)
    family = "decimal128" if arrow.startswith("decimal128") else arrow
    if target is not None:
        sources = _FROM["decimal128" if target.startswith("decimal128") else target]
        if arrow == target or family in sources:
            arrow_type(target)
            return replace(column, type=kind, arrow=target, generated=False, identity=False, reason=None)
    if base in PASSED_ON and kind.typmod == -1 and arrow == "string":
        return replace(column, type=kind, generated=False, identity=False, reason=None)
    raise ConfigError(
        f"cast: there is no exact way from {column.type.name} to {kind.name} for column {column.name}",
        code="cast_unsupported",
        hint=f'a sql transform casts by DuckDB\'s rules: select cast("{column.name}" as ...)',
        stream=given.stream,
        column=column.name,
    )


def _arrow_of(kind: ColumnType) -> str | None:
    base = base_name(kind) or ""
    if base == "numeric":
        modifier = numeric_modifier(kind.typmod)
        fits = modifier is not None and 0 <= modifier[1] <= modifier[0] <= 38
        return f"decimal128({modifier[0]}, {modifier[1]})" if fits and modifier is not None else None
    return _ARROW.get(base) if kind.typmod == -1 else None
