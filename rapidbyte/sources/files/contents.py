"""What the files of one stream hold, whichever their format, and what the pipeline may say of it."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from rapidbyte.errors import ConfigError, SourceError
from rapidbyte.model import Column
from rapidbyte.pg.types import parse_type_name
from rapidbyte.sources.files.dialect import Dialect
from rapidbyte.sources.files.parquet import RowGroup
from rapidbyte.sources.files.paths import DataFile
from rapidbyte.sources.files.readings import SQL_NOTATION, Notation, Reading, declare
from rapidbyte.sources.files.task import FileColumn
from rapidbyte.spec import FileFormat, StreamSpec
from rapidbyte.values import frozen

if TYPE_CHECKING:
    import pyarrow as pa

BLOCK_BYTES = 1 << 20
"""A block of CSV, and about the size of a batch: 5,000 rows of 200 bytes, which is enough for the encoder. A load of
1,000,000 such rows with two workers took 195 MB in all with this size, 165 with half of it; reading and encoding them
2.0 s of CPU, 2.4 with half of it, 3.0 with a quarter."""

SAMPLE_BYTES = 8 << 20
"""So much of a stream's CSV is looked at for its types, in equal shares of its files."""

SAMPLED_FILES = 8
"""So many files of a glob are looked at for types, evenly spread; the headers of all are."""


@frozen
class Contents:
    """What the files of one format hold, before a stream's own wishes."""

    columns: tuple[FileColumn, ...]
    described: tuple[Column, ...]
    schema: pa.Schema
    """Of all columns as they are delivered."""
    rows: int | None
    format: FileFormat
    dialect: Dialect | None = None
    encoding: str = "utf-8"
    groups: tuple[tuple[RowGroup, ...], ...] = ()


def require_known(key: str, names: tuple[str, ...], known: Collection[str]) -> None:
    """Raises ConfigError for a name that is none of the files' columns."""
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ConfigError(
            f"{key}: the files have no column {', '.join(unknown)}",
            code="column_unknown",
            hint=f"they have: {', '.join(known)}",
        )


def declared_types(stream: StreamSpec, names: tuple[str, ...], notation: Notation = SQL_NOTATION) -> dict[str, Reading]:
    """How the columns are read that the pipeline declares. Raises ConfigError."""
    require_known("types", tuple(name for name, _ in stream.types), dict.fromkeys(names))
    readings: dict[str, Reading] = {}
    for name, text in stream.types:
        try:
            readings[name] = declare(parse_type_name(text), notation)
        except ConfigError as error:
            raise error.at(column=name) from None
    return readings


def require_same_names(first: DataFile, names: tuple[str, ...], file: DataFile, others: tuple[str, ...]) -> None:
    """Raises SourceError unless both files have the same columns, in whichever order."""
    missing = [name for name in names if name not in others]
    added = [name for name in others if name not in names]
    if missing:
        raise unlike(first, file, f"has no column {', '.join(missing)}")
    if added:
        raise unlike(first, file, f"has a column {', '.join(added)}")


def unlike(first: DataFile, file: DataFile, what: str) -> SourceError:
    """The error of a file that does not go with the first one."""
    return SourceError(
        f"{file.path} {what}, unlike {first.name}",
        code="schemas_differ",
        hint="the files of one stream have the same columns; make a stream of each kind",
    )
