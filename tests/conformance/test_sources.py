"""What every source promises: every row in exactly one partition, the whole of it or an error, on any executor."""

from __future__ import annotations

import pickle
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import duckdb
import psycopg
import pyarrow as pa
import pyarrow.parquet
import pytest

from rapidbyte.cursor import plan_cursor
from rapidbyte.decisions import make_plan
from rapidbyte.errors import CancelledError, ConfigError, RapidbyteError
from rapidbyte.model import QualifiedName, Secret, Wire
from rapidbyte.partition import Partition
from rapidbyte.pg.messages import Stripper
from rapidbyte.plan import ColumnPlan, RunPlan, StreamPlan, StreamShape
from rapidbyte.ports import Block, Snapshot, Source
from rapidbyte.sources.files import FilesSource
from rapidbyte.sources.local import LocalSource
from rapidbyte.sources.local.duck import DuckDatabase
from rapidbyte.sources.local.sqlite import SqliteDatabase
from rapidbyte.sources.postgres import PostgresSource
from rapidbyte.spec import Connection, FilesSourceSpec, PostgresSourceSpec, Resources, RunOptions, StreamSpec
from tests.fakes import FACTS, FakeLeader

ROWS = 5000


@dataclass
class Case:
    """A source with a stream `numbers` of the ids 1 to ROWS, and how to read ids out of its blocks."""

    source: Source
    spec: StreamSpec
    wire: Wire
    ids: Callable[[Block], list[int]]
    missing: StreamSpec
    forwards: bool = False


def text_ids(block: Block) -> list[int]:
    assert isinstance(block.data, bytes)
    return [int(line.split(b"\t")[0]) for line in block.data.splitlines()]


def message_ids(block: Block) -> list[int]:
    assert isinstance(block.data, bytes)
    assert block.is_framed
    return text_ids(replace(block, data=Stripper().strip(block.data)))


def arrow_ids(block: Block) -> list[int]:
    return block.data.column("id").to_pylist()  # type: ignore[union-attr]


@pytest.fixture
def postgres_case(source_db: str, connect: Callable[..., psycopg.Connection]) -> Case:
    connect(source_db).execute(
        f"CREATE TABLE numbers AS SELECT i AS id, repeat('x', 200) AS pad FROM generate_series(1, {ROWS}) i;"  # type: ignore[arg-type]
        "ANALYZE numbers"
    )
    spec = PostgresSourceSpec(connection=Connection(dsn=Secret(source_db)))
    return Case(
        source=PostgresSource(spec, pipeline="shop"),
        spec=StreamSpec(name="numbers"),
        wire="text-relay",
        ids=text_ids,
        missing=StreamSpec(name="nowhere"),
    )


@pytest.fixture
def forwarding_case(postgres_case: Case) -> Case:
    """The same table, as the messages it comes in."""
    return replace(postgres_case, ids=message_ids, forwards=True)


def files_case(folder: Path, pattern: str) -> Case:
    return Case(
        source=FilesSource(FilesSourceSpec(base_dir=str(folder)), max_memory_bytes=64 * 1024 * 1024),
        spec=StreamSpec(name="numbers", path=pattern),
        wire="arrow-binary",
        ids=arrow_ids,
        missing=StreamSpec(name="nowhere", path="nowhere*.csv"),
    )


@pytest.fixture
def csv_case(tmp_path: Path) -> Case:
    for part in range(3):
        ids = [i for i in range(1, ROWS + 1) if i % 3 == part]
        lines = ["id,pad", *(f"{i},{'x' * 200}" for i in ids)]
        (tmp_path / f"part{part}.csv").write_text("\n".join(lines) + "\n")
    return files_case(tmp_path, "part*.csv")


@pytest.fixture
def parquet_case(tmp_path: Path) -> Case:
    table = pa.table({"id": list(range(1, ROWS + 1)), "pad": ["x" * 200] * ROWS})
    pyarrow.parquet.write_table(table, tmp_path / "numbers.parquet", row_group_size=500, compression="none")
    return files_case(tmp_path, "numbers.parquet")


@pytest.fixture
def increment_case(postgres_case: Case) -> Case:
    """The same table, read by its ids."""
    return replace(postgres_case, spec=StreamSpec(name="numbers", sync_mode="incremental", cursor_field="id"))


@pytest.fixture
def ndjson_case(tmp_path: Path) -> Case:
    (tmp_path / "numbers.ndjson").write_text(
        "".join(f'{{"id": {i}, "pad": "{"x" * 600}"}}\n' for i in range(1, ROWS + 1))
    )
    return files_case(tmp_path, "numbers.ndjson")


@pytest.fixture
def sqlite_case(tmp_path: Path) -> Case:
    with closing(sqlite3.connect(tmp_path / "shop.db")) as made:
        made.execute("CREATE TABLE numbers (id INTEGER PRIMARY KEY, pad TEXT)")
        made.executemany("INSERT INTO numbers VALUES (?, ?)", ((i, "x" * 200) for i in range(1, ROWS + 1)))
        made.commit()
    database = SqliteDatabase("shop.db", base_dir=str(tmp_path), stop=lambda: False)
    return local_case(LocalSource(database, lambda: False))


@pytest.fixture
def duckdb_case(tmp_path: Path) -> Case:
    with duckdb.connect(tmp_path / "shop.duckdb") as made:
        made.execute(
            f"CREATE TABLE numbers AS SELECT i::bigint AS id, repeat('x', 200) AS pad FROM range(1, {ROWS + 1}) t(i)"
        )
    database = DuckDatabase("shop.duckdb", base_dir=str(tmp_path), memory_bytes=1 << 27, stop=lambda: False)
    return local_case(LocalSource(database, lambda: False))


def local_case(source: LocalSource) -> Case:
    return Case(
        source=source,
        spec=StreamSpec(name="numbers"),
        wire="arrow-binary",
        ids=arrow_ids,
        missing=StreamSpec(name="nowhere"),
    )


@pytest.fixture(params=["postgres", "forwarding", "increment", "csv", "parquet", "ndjson", "sqlite", "duckdb"])
def case(request: pytest.FixtureRequest) -> Case:
    return request.getfixturevalue(f"{request.param}_case")


def plan_of(case: Case, shape: StreamShape) -> tuple[StreamPlan, RunPlan]:
    stream = StreamPlan(
        order=0,
        shape=shape,
        target=QualifiedName(schema="raw", name="numbers"),
        write_mode="replace",
        publish="rename",
        publish_reason="",
        wire=case.wire,
        columns=tuple(ColumnPlan(source=c, target=c, conversion="identical") for c in shape.columns),
        primary_key=(),
        replace=FakeLeader().plan_stream(0, shape).replace,
        statements=(),
        cursor=plan_cursor(shape.cursor, stored=None, lag=None, nulls="fail", stream="numbers")
        if shape.cursor is not None
        else None,
    )
    plan = make_plan(
        pipeline="shop",
        streams=(stream,),
        resources=Resources(checkpoint_interval_bytes=100_000),
        options=RunOptions(workers=2),
        source=case.source.facts(),
        destination=replace(FACTS, is_plain=case.forwards),
        cores=2,
    )
    return stream, plan


@contextmanager
def opened(case: Case) -> Iterator[tuple[Snapshot, StreamPlan, RunPlan]]:
    stream, plan = plan_of(case, case.source.describe((case.spec,))[0])
    with case.source.snapshot((stream,)) as snapshot:
        yield snapshot, stream, plan


def parts(case: Case, snapshot: Snapshot, stream: StreamPlan, plan: RunPlan) -> tuple[Partition, ...]:
    """The stream's partitions, or those of its first increment."""
    (bounds,) = case.source.bounds((stream,), {})
    return snapshot.partitions(stream, plan.partition_bytes(stream), bounds)


def test_columns_are_described_in_order(case: Case) -> None:
    """Names and PostgreSQL types; sizes are known."""
    shape = case.source.describe((case.spec,))[0]
    assert [column.name for column in shape.columns] == ["id", "pad"]
    assert [column.type.name for column in shape.columns] in (["integer", "text"], ["bigint", "text"])
    assert shape.estimated_bytes is not None
    assert shape.estimated_bytes > 0


def test_every_row_is_in_exactly_one_partition(case: Case) -> None:
    """Several partitions, numbered from 0; together they are the stream; counts are the source's own."""
    with opened(case) as (snapshot, stream, plan):
        partitions = parts(case, snapshot, stream, plan)
        assert [partition.index for partition in partitions] == list(range(len(partitions)))
        assert len(partitions) > 1
        read = snapshot.reader(stream, plan)
        found: list[int] = []
        for partition in partitions:
            with read(partition, lambda: False, 0) as blocks:
                ids = [value for block in blocks for value in case.ids(block)]
                assert blocks.row_count == len(ids)
                assert blocks.times.blocked_s >= 0
                assert blocks.times.busy_s >= 0
            found += ids
    assert sorted(found) == list(range(1, ROWS + 1))


def test_blocks_tell_their_size_and_rows(case: Case) -> None:
    """What the hand-over is bounded by is what is there."""
    with opened(case) as (snapshot, stream, plan):
        partition = parts(case, snapshot, stream, plan)[0]
        with snapshot.reader(stream, plan)(partition, lambda: False, 0) as blocks:
            rows = 0
            for block in blocks:
                data = Stripper().strip(block.data) if block.is_framed else block.data  # type: ignore[arg-type]
                size = len(data) if isinstance(data, bytes) else data.nbytes
                assert block.size == size
                assert block.size <= plan.flush.max_inflight_bytes
                rows += block.rows
            assert rows == blocks.row_count


def test_a_reader_pickles(case: Case) -> None:
    """It can be sent to a worker in another process, the snapshot being open."""
    with opened(case) as (snapshot, stream, plan):
        partition = parts(case, snapshot, stream, plan)[0]
        read = pickle.loads(pickle.dumps(snapshot.reader(stream, plan)))
        with read(partition, lambda: False, 0) as blocks:
            assert sum(len(case.ids(block)) for block in blocks) == blocks.row_count > 0


def test_a_reader_that_is_told_to_stop_raises_and_does_not_end(case: Case) -> None:
    """CancelledError, never the end of the data."""
    with opened(case) as (snapshot, stream, plan):
        partition = parts(case, snapshot, stream, plan)[0]
        read = snapshot.reader(stream, plan)
        with pytest.raises(CancelledError), read(partition, lambda: True, 0) as blocks:
            list(blocks)


def test_a_reader_that_is_left_early_leaves_nothing_open(case: Case) -> None:
    """The next partition is read as if nothing had been."""
    with opened(case) as (snapshot, stream, plan):
        partitions = parts(case, snapshot, stream, plan)
        read = snapshot.reader(stream, plan)
        with read(partitions[0], lambda: False, 0) as blocks:
            next(iter(blocks))
        with read(partitions[0], lambda: False, 0) as blocks:
            assert sum(len(case.ids(block)) for block in blocks) == blocks.row_count > 0


def test_a_stream_that_is_not_there_is_refused_by_name(case: Case) -> None:
    """Before anything moves."""
    with pytest.raises((ConfigError, RapidbyteError), match="nowhere") as raised:
        case.source.describe((case.missing,))
    assert raised.value.exit_code in (2, 3)


def test_a_sample_is_text_in_the_order_of_the_columns(case: Case) -> None:
    """For a dry run; NULL would be None."""
    with opened(case) as (snapshot, stream, _):
        rows = snapshot.sample(stream, 3).rows
    assert len(rows) == 3
    assert all(row[1] in {"x" * 200, "x" * 600} and row[0] is not None and row[0].isdigit() for row in rows)


def test_a_snapshot_says_that_it_is_alive(case: Case) -> None:
    """While it is; see the sources' own tests for when it is not."""
    with opened(case) as (snapshot, _, _):
        snapshot.require_alive()
