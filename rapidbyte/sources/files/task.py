"""What reading a stream's partitions needs to know."""

from __future__ import annotations

import datetime as dt

from rapidbyte.sources.files.dialect import Dialect
from rapidbyte.sources.files.ndjson import JsonKind
from rapidbyte.sources.files.paths import DataFile
from rapidbyte.sources.files.readings import Reading
from rapidbyte.spec import FileFormat
from rapidbyte.values import frozen


@frozen
class FileColumn:
    """One column of the files."""

    name: str
    reading: Reading | None = None
    """How its text becomes values: always in CSV and NDJSON; elsewhere where the pipeline declares a type."""
    kind: JsonKind | None = None
    """What its values are in NDJSON."""
    lossy: bool = False
    """The pipeline allows that values change."""


@frozen
class FileTask:
    """All that reading one stream's partitions needs. Picklable."""

    files: tuple[DataFile, ...]
    columns: tuple[FileColumn, ...]
    """All columns of the files."""
    wanted: tuple[str, ...]
    """Those that are delivered, in this order."""
    format: FileFormat
    dialect: Dialect | None = None
    """Of CSV."""
    encoding: str = "utf-8"
    """Of NDJSON."""
    flatten: bool = False
    metadata: tuple[str, ...] = ()
    """Columns that say where a row comes from; they are among the `wanted`."""
    base_dir: str = "."
    run_id: str | None = None
    loaded_at: dt.datetime | None = None
    is_closed: bool = False
    """All columns are wanted: a key of NDJSON that is none of them is an error."""
    where: str | None
    block_bytes: int
    max_row_bytes: int
    tells_at_once: bool = False
    """What is set aside of a batch is told before the batch: somebody may stop reading early."""
    sets_aside: bool = False
    """Rows that cannot be parsed, or have a value that does not fit, do not end the load."""

    @property
    def is_text(self) -> bool:
        """The files are CSV or NDJSON: they can be cut between lines."""
        return self.format in ("csv", "ndjson")

    @property
    def needed(self) -> tuple[FileColumn, ...]:
        """What must be read: what is delivered, and everything that a condition may look at."""
        return tuple(column for column in self.columns if self.where is not None or column.name in self.wanted)
