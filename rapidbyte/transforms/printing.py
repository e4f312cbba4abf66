"""Values as PostgreSQL prints them, for the rows that a dry run shows."""

from __future__ import annotations

import datetime as dt
import uuid
from decimal import Decimal
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    import pyarrow as pa


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
