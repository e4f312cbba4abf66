"""What the steps of a chain hand to each other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Protocol

from rapidbyte.errors import CancelledError, ConfigError
from rapidbyte.model import Column
from rapidbyte.partition import Partition
from rapidbyte.ports import Place, ReadPartition, Stop
from rapidbyte.values import frozen

if TYPE_CHECKING:
    import pyarrow as pa


@frozen
class Batch:
    """Some rows of a partition, in order, with the columns that the step before has promised."""

    rows: pa.RecordBatch
    origin: Callable[[int], Place] | None = None
    """Where a row comes from; None once a query has made it."""


@frozen
class Reference:
    """A file that a query sees as a table. Pickles."""

    name: str
    columns: tuple[Column, ...]
    """Each with its Arrow type."""
    read: ReadPartition
    parts: tuple[Partition, ...]


Refer = Callable[[str, str, str], Reference]
"""(stream, name, path) -> the file, looked at to its end. Raises SourceError, DataError, ConfigError."""


@frozen
class Resources:
    """What a chain may take."""

    sets_aside: bool = False
    """Rows that a rule refuses do not end the load (`on_data_error`)."""
    memory_bytes: int = 64 << 20
    """DuckDB's limit of one partition; what does not fit goes to a folder of its own, encrypted."""
    refer: Refer | None = None
    """Looks up files to join with."""


@frozen
class Given:
    """What a step is planned from."""

    stream: str
    columns: tuple[Column, ...]
    """As the step gets them; each has its Arrow type."""
    resources: Resources = Resources()

    def column(self, name: str, what: str) -> Column:
        """The column of this name. Raises ConfigError where there is none."""
        found = next((column for column in self.columns if column.name == name), None)
        if found is None:
            raise ConfigError(
                f"{what}: there is no column {name}",
                code="column_unknown",
                hint=f"at this point there are: {', '.join(column.name for column in self.columns)}",
                stream=self.stream,
                column=name,
            )
        return found


class Step(Protocol):
    """One transform of one stream, planned. A frozen dataclass that pickles; applied to each partition anew."""

    @property
    def columns(self) -> tuple[Column, ...]:
        """As it delivers them."""
        ...

    @property
    def needs_all(self) -> bool:
        """It must see the whole stream: the stream is one partition then."""
        ...

    @property
    def phrase(self) -> str:
        """What it does, for `plan`."""
        ...

    def apply(self, batches: Iterator[Batch], stop: Stop) -> Iterator[Batch]:
        """The batches, transformed. Takes all of them, to the end. Raises DataError, CancelledError."""
        ...


def require_going(stop: Stop) -> None:
    """Raises CancelledError once the partition's work is to end."""
    if stop():
        raise CancelledError("transforming was stopped", code="stopped")
