"""What the tests of increments share: a stream with a cursor, its bounds, its rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from rapidbyte.cursor import CursorBounds, CursorLag, NullCursor, StoredCursor, plan_cursor
from rapidbyte.model import QualifiedName, Secret
from rapidbyte.partition import Partition
from rapidbyte.plan import StreamPlan
from rapidbyte.sources.postgres import PostgresSource
from rapidbyte.spec import Connection, PostgresSourceSpec, StreamSpec
from tests.postgres.reading import SMALL, Open, plan_of, run_plan


@dataclass
class Increments:
    """A stream that is read increment by increment, as the engine and the ledger would, without a destination."""

    dsn: str
    spec: StreamSpec
    lag: CursorLag | None = None
    nulls: NullCursor = "fail"
    settle_seconds: float = 30.0
    stored: StoredCursor | None = None

    def __post_init__(self) -> None:
        connection = PostgresSourceSpec(connection=Connection(dsn=Secret(self.dsn)))
        self.source = PostgresSource(connection, pipeline="test", settle_seconds=self.settle_seconds)

    def plan(self) -> StreamPlan:
        """The stream's plan, as of now."""
        (shape,) = self.source.describe((self.spec,))
        assert shape.cursor is not None
        cursor = plan_cursor(shape.cursor, stored=self.stored, lag=self.lag, nulls=self.nulls, stream=self.spec.name)
        target = QualifiedName(schema="raw", name=shape.spec.name)
        return replace(plan_of(shape), cursor=cursor, target=target)

    def bounds(self, plan: StreamPlan | None = None) -> CursorBounds:
        """The next increment's."""
        stored: Mapping[str, StoredCursor] = {self.spec.name: self.stored} if self.stored is not None else {}
        (found,) = self.source.bounds((plan or self.plan(),), stored)
        assert found is not None
        return found

    def take(self, *, partition_bytes: int = SMALL) -> list[str]:
        """The next increment's rows, sorted; the cursor moves on."""
        return sorted(row for _, rows in self.parts(partition_bytes=partition_bytes) for row in rows)

    def parts(self, *, partition_bytes: int = SMALL) -> list[tuple[Partition, list[str]]]:
        """The next increment, partition by partition; the cursor moves on."""
        plan = self.plan()
        bounds = self.bounds(plan)
        found: list[tuple[Partition, list[str]]] = []
        if not bounds.is_empty:
            with self.source.snapshot((plan,)) as snapshot:
                read = Open(snapshot=snapshot, plan=run_plan(self.dsn, (plan,)))
                found = [(each, read.lines(each)) for each in snapshot.partitions(plan, partition_bytes, bounds)]
        if bounds.high is not None:
            self.stored = StoredCursor(field=bounds.field, type=bounds.type, value=bounds.high)
        return found


def by(field: str, name: str = "t", **keys: object) -> StreamSpec:
    """An entry that is read by this cursor."""
    return StreamSpec(name=name, sync_mode="incremental", cursor_field=field, **keys)  # type: ignore[arg-type]
