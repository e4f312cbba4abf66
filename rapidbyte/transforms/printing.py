"""Values as PostgreSQL prints them, for the rows that a dry run shows; and how these are collected."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any, cast

from rapidbyte.model import Column
from rapidbyte.ports import Block, Sampled

if TYPE_CHECKING:
    import pyarrow as pa


class Sampling:
    """The first rows of a stream, as they are collected, and how many were bad on the way to them."""

    def __init__(self, columns: Sequence[Column], limit: int) -> None:
        self._columns = columns
        self._limit = limit
        self._rows: list[tuple[str | None, ...]] = []
        self._delivered = 0
        self._rejected = 0
        self._first: str | None = None

    def take(self, block: Block) -> bool:
        """Takes the stream's next block, which holds Arrow's rows or none. True once there are rows enough."""
        self._rejected += len(block.rejects)
        if block.rejects and self._first is None:
            self._first = block.rejects[0].phrase
        if not isinstance(block.data, bytes):
            self._delivered += block.rows
            wanted = self._limit - len(self._rows)
            columns = [
                [printed(value, column.type.name) for value in listed(values.slice(0, wanted))]
                for values, column in zip(block.data.columns, self._columns, strict=True)
            ]
            self._rows.extend(zip(*columns, strict=True))
        return len(self._rows) >= self._limit

    def found(self) -> Sampled:
        """What was taken so far."""
        return Sampled(
            rows=tuple(self._rows),
            looked_at=self._delivered + self._rejected,
            rejected=self._rejected,
            first_reject=self._first,
        )


def listed(values: pa.Array) -> list[Any]:
    """The values as Python has them; as text where its calendar ends too early."""
    import pyarrow as pa
    from pyarrow import compute as pc

    try:
        return values.to_pylist()
    except (ValueError, OverflowError):
        return pc.cast(values, pa.string()).to_pylist()


def printed(value: Any, type_name: str) -> str | None:
    """A value as PostgreSQL prints it. NULL is None."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "t" if value else "f"
    if isinstance(value, bytes):
        return str(uuid.UUID(bytes=value)) if type_name == "uuid" else f"\\x{value.hex()}"
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, dt.datetime):
        return value.replace(tzinfo=None).isoformat(sep=" ") + ("" if value.tzinfo is None else "+00")
    if isinstance(value, list):
        elements = [printed(element, type_name) for element in cast("list[Any]", value)]
        return "{" + ",".join("NULL" if element is None else element for element in elements) + "}"
    return str(value)
