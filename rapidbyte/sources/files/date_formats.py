"""Dates and times that are written in a format of the pipeline's, as 31.12.2024."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import TYPE_CHECKING

from rapidbyte.errors import ConfigError

if TYPE_CHECKING:
    import pyarrow as pa

Convert = Callable[["pa.Array"], "pa.Array"]
"""Text -> values. Raises ArrowInvalid when one text is not exactly a value. NULL stays NULL."""


def check_formats(formats: tuple[str, ...]) -> tuple[str, ...]:
    """These formats. Raises ConfigError for one that does not tell a day, or that cannot be read back."""
    day = dt.datetime(2003, 12, 31, 22, 58, 59)
    for pattern in formats:
        try:
            again = dt.datetime.strptime(day.strftime(pattern), pattern)
        except ValueError:
            again = None
        if again is None or again.date() != day.date() or "%z" in pattern.lower():
            raise ConfigError(
                f"date_formats: {pattern!r} does not tell day, month and year of a time without a zone",
                code="date_format_invalid",
                hint="as %d.%m.%Y, %m/%d/%Y or %d.%m.%Y %H:%M:%S",
            )
    return formats


def written_as(formats: tuple[str, ...], target: pa.DataType, otherwise: Convert) -> Convert:
    """Text in the first of these formats that fits, else as `otherwise` reads it. Raises ArrowInvalid."""

    def convert(texts: pa.Array) -> pa.Array:
        import pyarrow as pa
        from pyarrow import compute as pc

        words = pc.dictionary_encode(texts)
        found: list[dt.datetime | None] = []
        rest: list[str | None] = []
        for word in words.dictionary.to_pylist():
            moment = _moment(word, formats)
            found.append(moment)
            rest.append(word if moment is None else None)
        moments = pc.cast(pa.array(found, pa.timestamp("us")), target)
        both = pc.coalesce(moments, otherwise(pa.array(rest, pa.string())))
        return pc.take(both, words.indices)

    return convert


def _moment(text: str, formats: tuple[str, ...]) -> dt.datetime | None:
    for pattern in formats:
        try:
            return dt.datetime.strptime(text, pattern)
        except ValueError:
            continue
    return None
