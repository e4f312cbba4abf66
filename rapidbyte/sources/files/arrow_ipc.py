"""Arrow IPC: the file format, whose record batches several workers read, and the stream format, for one reader."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rapidbyte.errors import SourceError
from rapidbyte.sources.files.opening import OpenFile, open_file
from rapidbyte.sources.files.parquet import ParquetFacts, RowGroup, require_names
from rapidbyte.sources.files.paths import DataFile

if TYPE_CHECKING:
    import pyarrow as pa

_MAGIC = b"ARROW1"
_END_OF_STREAM = b"\xff\xff\xff\xff" + bytes(4)
"""A message of no length after the last one."""


@contextmanager
def _opened(file: DataFile) -> Generator[tuple[Any, OpenFile, bool]]:
    """The reader, what it reads, and whether it is of the file format."""
    import pyarrow as pa
    from pyarrow import ipc

    try:
        with open_file(file) as on_disk:
            is_file = on_disk.read(len(_MAGIC)) == _MAGIC
            on_disk.seek(0)
            source = pa.PythonFile(on_disk, mode="r")
            opener = ipc.open_file if is_file else ipc.open_stream
            with opener(source) as reader:
                yield reader, on_disk, is_file
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError) as error:
        raise SourceError(
            f"{file.path} cannot be read as Arrow IPC: {error}",
            code="file_corrupt",
            hint="is it complete? is `format` right?",
        ) from error


def read_facts(file: DataFile) -> ParquetFacts:
    """Schema and record batches. Raises SourceError where they cannot be read, or where two columns have one name."""
    with _opened(file) as (reader, on_disk, is_file):
        schema: pa.Schema = reader.schema
        count = reader.num_record_batches if is_file else 1
        if not is_file:
            _require_end(file, on_disk)
    require_names(file, schema.names)
    # A batch's rows are not known before it is read; its size is taken as equal to that of all others.
    groups = tuple(RowGroup(rows=0, size=file.size // max(1, count)) for _ in range(count))
    return ParquetFacts(schema=schema, groups=groups, intervals=(), old_timestamps=())


def rows_before(file: DataFile, batch: int) -> int:
    """Rows of the record batches before this one. Reads them."""
    if not batch:
        return 0
    with _opened(file) as (reader, _, _is_file):
        return sum(reader.get_batch(index).num_rows for index in range(batch))


def _require_end(file: DataFile, on_disk: OpenFile) -> None:
    """Raises SourceError for a stream without its end mark: one that was cut between two batches looks complete."""
    on_disk.seek(max(0, file.size - len(_END_OF_STREAM)))
    if on_disk.read(len(_END_OF_STREAM)) != _END_OF_STREAM:
        raise SourceError(
            f"{file.path} is an Arrow stream without the mark at its end",
            code="file_corrupt",
            hint="is it complete? a writer that is closed writes the mark",
        )


class Batches:
    """The rows of the record batches `low <= batch < high`, in order, with these columns. Iterated once.

    A record batch is in memory as a whole.
    """

    def __init__(self, file: DataFile, names: Sequence[str], low: int, high: int) -> None:
        self._file = file
        self._names = list(names)
        self._batches = range(low, high)
        self.blocked_s = 0.0
        """Seconds spent waiting for the file system so far."""

    def __iter__(self) -> Generator[pa.RecordBatch]:
        with _opened(self._file) as (reader, on_disk, is_file):
            for batch in self._read(reader, is_file=is_file):
                self.blocked_s = on_disk.seconds
                yield batch.select(self._names)

    def _read(self, reader: Any, *, is_file: bool) -> Iterator[pa.RecordBatch]:
        if is_file:
            yield from (reader.get_batch(index) for index in self._batches)
        else:
            yield from reader
