"""Files as a source: which files, which columns, which partitions, and every row in exactly one of them."""

from __future__ import annotations

import datetime as dt
import gzip
import os
import pickle
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rapidbyte.contract import ReplaceFacts
from rapidbyte.decisions import make_plan
from rapidbyte.errors import CancelledError, ConfigError, DataError, InternalError, RapidbyteError, SourceError
from rapidbyte.model import QualifiedName, ServerFacts
from rapidbyte.plan import StreamPlan, StreamShape
from rapidbyte.sources.files import FilesSource
from rapidbyte.sources.files.parquet import RowGroup, group_ranges
from rapidbyte.sources.files.read import pieces
from rapidbyte.spec import FilesSourceSpec, Resources, RunOptions, StreamSpec


def plan_of(shape: StreamShape) -> StreamPlan:
    return StreamPlan(
        order=0,
        shape=shape,
        target=QualifiedName(schema="public", name=shape.spec.name),
        write_mode="append",
        publish="rename",
        publish_reason="",
        wire="arrow-binary",
        columns=(),
        primary_key=(),
        replace=ReplaceFacts(target_exists=False),
        statements=(),
    )


def run_plan(*streams: StreamPlan) -> Any:
    facts = ServerFacts(version="18.0", version_number=180000)
    return make_plan(
        pipeline="p",
        streams=streams,
        resources=Resources(),
        options=RunOptions(),
        source=None,
        destination=facts,
        cores=2,
    )


class Folder:
    """Files, and what a source reads of them."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, name: str, data: str | bytes) -> Path:
        file = self.path / name
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(data.encode() if isinstance(data, str) else data)
        return file

    def parquet(self, name: str, table: pa.Table, **options: Any) -> Path:
        pq.write_table(table, self.path / name, **options)
        return self.path / name

    def source(self, **config: Any) -> FilesSource:
        return FilesSource(FilesSourceSpec(base_dir=str(self.path), **config))

    def shape(self, path: str | None = None, *, config: dict[str, Any] | None = None, **stream: Any) -> StreamShape:
        spec = StreamSpec(name=stream.pop("name", "s"), path=path, **stream)
        return self.source(**config or {}).describe((spec,))[0]

    def rows(
        self, path: str, *, config: dict[str, Any] | None = None, partition_bytes: int = 1 << 30, **stream: Any
    ) -> list[list[tuple]]:
        """The rows of each partition."""
        source = self.source(**config or {})
        (shape,) = source.describe((StreamSpec(name="s", path=path, **stream),))
        plan = plan_of(shape)
        found: list[list[tuple]] = []
        with source.snapshot((plan,)) as snapshot:
            read = pickle.loads(pickle.dumps(snapshot.reader(plan, run_plan(plan))))
            for partition in snapshot.partitions(plan, partition_bytes):
                rows: list[tuple] = []
                with read(partition, lambda: False, 0) as blocks:
                    for block in blocks:
                        assert (block.rows, block.size) == (block.data.num_rows, block.data.nbytes)
                        assert [column.name for column in shape.columns] == block.data.schema.names
                        assert [column.arrow for column in shape.columns] == [str(t) for t in block.data.schema.types]
                        rows += [tuple(row.values()) for row in block.data.to_pylist()]
                    assert len(rows) == blocks.row_count
                found.append(rows)
        return found


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


@pytest.fixture
def small_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few hundred rows are looked at, in small blocks, so that a late row need not be a millionth."""
    monkeypatch.setattr("rapidbyte.sources.files.sample.SAMPLE_BYTES", 1 << 12)
    monkeypatch.setattr("rapidbyte.sources.files.sample.BLOCK_BYTES", 1 << 12)
    monkeypatch.setattr("rapidbyte.sources.files.describe.BLOCK_BYTES", 1 << 12)


def test_a_csv_file_has_columns_with_types_and_reasons(folder: Folder) -> None:
    """Names from the header, types from the rows, the estimate exact where all were seen."""
    folder.write("a.csv", "id,zip,at\n1,00501,2013-01-01\n2,,2013-01-02\n")
    shape = folder.shape("a.csv")
    assert [(column.name, column.type.name, column.arrow) for column in shape.columns] == [
        ("id", "bigint", "int64"),
        ("zip", "text", "string"),
        ("at", "date", "date32[day]"),
    ]
    assert shape.columns[0].reason == "all 2 rows: whole numbers"
    assert (shape.kind, shape.delivers, shape.relation) == ("file", "arrow", None)
    assert (shape.estimated_rows, shape.estimated_bytes) == (2, 43)
    assert folder.rows("a.csv") == [[(1, "00501", dt.date(2013, 1, 1)), (2, None, dt.date(2013, 1, 2))]]


def test_a_declared_type_wins_over_the_inferred_one(folder: Folder) -> None:
    """Also where the text would be a number."""
    folder.write("a.csv", "id,zip,price\n1,501,1.5\n")
    types = (("zip", "text"), ("price", "numeric(12,2)"))
    assert [column.type.name for column in folder.shape("a.csv", types=types).columns] == [
        "bigint",
        "text",
        "numeric(12,2)",
    ]
    assert folder.rows("a.csv", types=types) == [[(1, "501", Decimal("1.50"))]]


@pytest.mark.slow
@pytest.mark.usefixtures("small_sample")
@pytest.mark.parametrize(("late", "types"), [("007,x", ()), ("1.5,x", (("n", "int"),))])
def test_a_late_value_that_does_not_fit_is_a_data_error(folder: Folder, late: str, types: tuple) -> None:
    """File, line and column are named; the value is not, it is in `row_detail` at most (G6)."""
    early = "".join(f'{i},"two\nlines"\n' for i in range(6_000))
    folder.write("a.csv", f"n,t\n{early}{late}\n1,y\n")
    with pytest.raises(DataError) as raised:
        folder.rows("a.csv", types=types)
    error = raised.value
    assert (error.context.line, error.context.column, error.exit_code) == (12_002, "n", 5)
    assert "a.csv, line 12002: the value of column n is not exactly a" in error.message
    assert error.hint == "types: {n: text} in the stream loads it as it is"


@pytest.mark.usefixtures("small_sample")
def test_only_the_first_rows_of_a_large_file_are_looked_at(folder: Folder) -> None:
    """The reason says so, and the rows are estimated from their length."""
    folder.write("a.csv", "n\n" + "".join(f"{i:07d}1\n" for i in range(15_000)))
    shape = folder.shape("a.csv")
    assert shape.estimated_rows == 15_000
    assert "rows looked at: numbers that would change" in str(shape.columns[0].reason)


def test_a_glob_is_one_stream_with_a_partition_a_file(folder: Folder) -> None:
    """In the order of the names; columns by name, whatever their order; compressed or not."""
    folder.write("p-1.csv", "a,b\n1,x\n")
    folder.write("p-2.csv.gz", gzip.compress(b"b,a\ny,2\n"))
    folder.write("other.csv", "z\n1\n")
    assert folder.rows("p-*.csv*") == [[(1, "x")], [(2, "y")]]
    assert folder.shape("p-*.csv*").columns[0].reason == "all 2 rows: whole numbers"


def test_types_of_a_glob_are_those_of_all_its_files(folder: Folder) -> None:
    """The second file's leading zero counts."""
    folder.write("p-1.csv", "a\n1\n")
    folder.write("p-2.csv", "a\n007\n")
    assert folder.rows("p-*.csv") == [[("1",)], [("007",)]]


def test_the_configured_path_serves_streams_without_one(folder: Folder) -> None:
    """The file that is called like the stream, else all of them."""
    folder.write("data/a.csv", "x\n1\n")
    folder.write("data/b.csv.gz", gzip.compress(b"x\n2\n"))
    config = {"path": "data/*"}
    assert folder.shape(config=config, name="b").estimated_bytes == (folder.path / "data/b.csv.gz").stat().st_size
    assert folder.shape(config=config, name="all").estimated_rows == 2


def test_discover_lists_every_file(folder: Folder) -> None:
    """Of the path, or of the folder."""
    folder.write("a.csv", "x\n1\n")
    folder.parquet("b.parquet", pa.table({"y": [1]}))
    folder.write("c.txt.bak", "?")
    found = folder.source().discover()
    assert [(shape.spec.name, [column.name for column in shape.columns]) for shape in found] == [
        ("a", ["x"]),
        ("b", ["y"]),
    ]
    assert [shape.spec.name for shape in folder.source(path="*.parquet").discover()] == ["b"]


def test_projection_and_condition_apply(folder: Folder) -> None:
    """The condition may look at columns that are not delivered; NULL is not true."""
    folder.write("a.csv", "a,b,c\n1,x,1\n2,y,\n3,z,3\n")
    assert folder.rows("a.csv", columns=("b", "a"), where="c > 0 -- true") == [[("x", 1), ("z", 3)]]
    folder.parquet("a.parquet", pa.table({"a": [1, 2, 3], "b": ["x", "y", "z"], "c": [1, None, 3]}))
    assert folder.rows("a.parquet", columns=("b", "a"), where="c > 0 or b = 'y'") == [[("x", 1), ("y", 2), ("z", 3)]]


@pytest.mark.slow
@pytest.mark.usefixtures("small_sample")
def test_a_value_that_a_condition_would_leave_out_must_fit_as_well(folder: Folder) -> None:
    """A text that is no number is not NULL, which the condition would drop."""
    folder.write("a.csv", "a\n" + "1\n" * 30_000 + "x\n")
    with pytest.raises(DataError) as raised:
        folder.rows("a.csv", where="a > 5")
    assert raised.value.context.line == 30_002


@pytest.mark.parametrize(
    "where",
    [
        "",
        "nope > 1",
        "a >",
        "a > 1; drop table x",
        "a > 1) or (1 = 1",
        "count(*) > 1",
        "a > (select 1 from read_csv('/etc/passwd'))",
        "a in (select a from batch)",
        "exists (select 1 from read_text('/etc/passwd'))",
        "exists (select 1 from glob('/*'))",
        "a > 1, a < 3",
        "a",
    ],
)
def test_what_is_no_condition_is_a_config_error(folder: Folder, where: str) -> None:
    """Found before anything is read; nothing but the row can be looked at."""
    folder.write("a.csv", "a,b\n1,x\n")
    if where == "a":  # DuckDB takes a number for a condition
        assert folder.rows("a.csv", where=where) == [[(1, "x")]]
        return
    with pytest.raises(ConfigError) as raised:
        folder.shape("a.csv", where=where)
    assert raised.value.code == "where_invalid"


def test_a_condition_that_fails_on_a_row_is_a_data_error(folder: Folder) -> None:
    """Without the row's value in the message."""
    folder.write("a.csv", "a\nsecret\n")
    with pytest.raises(DataError) as raised:
        folder.rows("a.csv", where="cast(a as int) > 1")
    assert (
        raised.value.code,
        "secret" in raised.value.message.replace("'cast(a as int) > 1'", ""),
    ) == ("where_failed", False)


def faults(folder: Folder) -> dict[str, tuple[type[RapidbyteError], str]]:
    """path -> the error that describing it raises."""
    folder.write("empty.csv", "")
    folder.write("empty.parquet", "")
    folder.write("blank.csv", "\n\n")
    folder.write("double.csv", "a,a\n1,2\n")
    folder.write("text.parquet", "a,b\n1,2\n")
    folder.write("a.dat", "a\n1\n")
    folder.write("a.ndjson", "{}\n")
    folder.write("a.csv.bz2", "a\n1\n")
    folder.write("a.parquet.gz", "a\n1\n")
    folder.write("mixed-1.csv", "a,b\n1,2\n")
    folder.write("mixed-2.csv", "a,c\n1,2\n")
    folder.write("kinds-1.csv", "a\n1\n")
    folder.parquet("kinds-2.parquet", pa.table({"a": [1]}))
    folder.parquet("types-1.parquet", pa.table({"a": [1]}))
    folder.parquet("types-2.parquet", pa.table({"a": ["x"]}))
    whole = folder.parquet("whole.parquet", pa.table({"a": [1]})).read_bytes()
    folder.write("cut.parquet", whole[: len(whole) - 20])
    folder.write("short.csv", "a,b\n1\n")
    (folder.path / "folder.csv").mkdir()
    os.mkfifo(folder.path / "fifo.csv")
    return {
        "nope.csv": (SourceError, "file_not_found"),
        "nope-*.csv": (SourceError, "file_not_found"),
        "a.csv/b.csv": (SourceError, "file_not_found"),
        "folder.csv": (SourceError, "file_not_found"),
        "fifo.csv": (SourceError, "file_not_plain"),
        "empty.csv": (SourceError, "file_empty"),
        "empty.parquet": (SourceError, "file_empty"),
        "blank.csv": (SourceError, "file_empty"),
        "double.csv": (SourceError, "header_invalid"),
        "text.parquet": (SourceError, "file_format"),
        "cut.parquet": (SourceError, "file_format"),
        "mixed-*.csv": (SourceError, "schemas_differ"),
        "types-*.parquet": (SourceError, "schemas_differ"),
        "short.csv": (DataError, "row_malformed"),
        "a.dat": (ConfigError, "format_unknown"),
        "a.csv.bz2": (ConfigError, "compression_unsupported"),
        "a.parquet.gz": (ConfigError, "compression_unsupported"),
        "kinds-*": (ConfigError, "formats_mixed"),
        "ftp://example.com/a.csv": (ConfigError, "path_remote"),
    }


def test_bad_files_are_refused_by_whose_fault_it_is(folder: Folder) -> None:
    """Missing, empty, broken, unlike each other: the source's. What the pipeline says wrongly: its own."""
    for path, (kind, code) in faults(folder).items():
        with pytest.raises(kind) as raised:
            folder.shape(path)
        assert (path, code, "s") == (path, raised.value.code, raised.value.context.stream)
        assert code == "formats_mixed" or path.split("-")[0] in raised.value.message


def test_damaged_pages_are_a_source_error(folder: Folder) -> None:
    """The footer is whole, a page is not: lengths, or checksums where the file has them."""
    table = pa.table({"a": [f"value {index}" for index in range(1000)]})
    whole = folder.parquet("a.parquet", table, use_dictionary=False, write_page_checksum=True).read_bytes()
    for place in (10, 300):
        damaged = bytearray(whole)
        damaged[place] ^= 0xFF
        folder.write("b.parquet", bytes(damaged))
        with pytest.raises(SourceError) as raised:
            folder.rows("b.parquet")
        assert raised.value.code == "file_corrupt"


@pytest.mark.parametrize(
    ("stream", "code"),
    [
        ({"columns": ("a", "nope")}, "column_unknown"),
        ({"types": (("nope", "int"),)}, "column_unknown"),
        ({"types": (("a", "integr"),)}, "type_unknown"),
        ({"allow_lossy": ("nope",)}, "column_unknown"),
        ({"sync_mode": "cdc"}, "sync_mode_unsupported"),
    ],
)
def test_what_the_stream_says_wrongly_is_a_config_error(folder: Folder, stream: dict[str, Any], code: str) -> None:
    """With a hint."""
    folder.write("a.csv", "a\n1\n")
    with pytest.raises(ConfigError) as raised:
        folder.shape("a.csv", **stream)
    assert raised.value.code == code


def test_a_file_that_changes_is_a_source_error(folder: Folder) -> None:
    """Before the snapshot, before its partition is read, and while it is read."""
    file = folder.write("a.csv", "a\n" + "1\n" * 2_000_000)
    source = folder.source()
    (shape,) = source.describe((StreamSpec(name="s", path="a.csv"),))
    plan = plan_of(shape)
    with source.snapshot((plan,)) as snapshot:
        (partition,) = snapshot.partitions(plan, 1 << 30)
        read = snapshot.reader(plan, run_plan(plan))
        with read(partition, lambda: False, 0) as blocks:
            arriving = iter(blocks)
            next(arriving)
            with pytest.raises(InternalError):
                _ = blocks.row_count
            with file.open("a") as more:
                more.write("2\n")
            with pytest.raises(SourceError) as raised:
                list(arriving)
        assert raised.value.code == "file_changed"
        with pytest.raises(SourceError), read(partition, lambda: False, 0):
            pass
    with pytest.raises(SourceError), source.snapshot((plan,)):
        pass


def test_reading_stops_when_told(folder: Folder) -> None:
    """CancelledError, at the next block."""
    folder.write("a.csv", "a\n" + "1\n" * 2_000_000)
    source = folder.source()
    plan = plan_of(source.describe((StreamSpec(name="s", path="a.csv"),))[0])
    with source.snapshot((plan,)) as snapshot:
        (partition,) = snapshot.partitions(plan, 1 << 30)
        answers = iter([False] * 9)
        with (
            pytest.raises(CancelledError),
            snapshot.reader(plan, run_plan(plan))(partition, lambda: next(answers, True), 0) as blocks,
        ):
            list(blocks)


@given(st.lists(st.integers(0, 100), max_size=20), st.integers(1, 300))
def test_row_groups_are_in_exactly_one_range(sizes: list[int], partition_bytes: int) -> None:
    """Half-open, in order, none left out, about the size that was asked for."""
    groups = [RowGroup(rows=1, size=size) for size in sizes]
    ranges = group_ranges(groups, partition_bytes)
    covered = [index for low, high in ranges for index in range(low, high)]
    assert covered == list(range(len(groups)))
    assert all(sum(sizes[low:high]) >= partition_bytes for low, high in ranges[:-1])
    assert all(sum(sizes[low : high - 1]) < partition_bytes for low, high in ranges)


@given(rows=st.integers(0, 500), group=st.integers(1, 200), partition_bytes=st.sampled_from([1, 300, 10_000]))
@settings(max_examples=12)
def test_every_row_of_a_parquet_file_is_in_exactly_one_partition(
    tmp_path: Path, rows: int, group: int, partition_bytes: int
) -> None:
    """In order, whatever the row groups; a file without rows is one partition without rows."""
    folder = Folder(tmp_path)
    folder.parquet("a.parquet", pa.table({"i": pa.array(range(rows), pa.int64())}), row_group_size=group)
    parts = folder.rows("a.parquet", partition_bytes=partition_bytes)
    assert [row[0] for part in parts for row in part] == list(range(rows))
    assert len(parts) >= 1


def test_blocks_are_bounded_in_bytes() -> None:
    """Slices of a batch that is too large; none for a batch without rows."""
    batch = pa.record_batch({"a": ["x" * 1000] * 1000})
    sizes = [piece.nbytes for piece in pieces(batch, 100_000)]
    assert sum(piece.num_rows for piece in pieces(batch, 100_000)) == 1000
    assert max(sizes) <= 102_000
    assert list(pieces(batch.slice(0, 0), 10)) == []
    assert [piece.num_rows for piece in pieces(batch.slice(0, 2), 10)] == [1, 1]


def test_the_sample_is_printed_as_postgresql_prints(folder: Folder) -> None:
    """The first rows over all files, the condition applied."""
    folder.write("a-1.csv", "a,b,c\n1,true,\n2,false,x\n")
    folder.write("a-2.csv", "a,b,c\n3,true,y\n")
    source = folder.source()
    plan = plan_of(source.describe((StreamSpec(name="s", path="a-*.csv", where="a <> 2"),))[0])
    with source.snapshot((plan,)) as snapshot:
        assert snapshot.sample(plan, 5).rows == (("1", "t", None), ("3", "t", "y"))
        assert snapshot.sample(plan, 1).rows == (("1", "t", None),)
        assert snapshot.checksum(plan) is None
        snapshot.require_alive()


NAIVE, ZONED = "timestamp without time zone", "timestamp with time zone"
ONES, ONE = "1" * 50, Decimal("1.0")


def moment(microseconds: int, zone: dt.tzinfo | None = None) -> dt.datetime:
    return dt.datetime(1970, 1, 1, tzinfo=zone) + dt.timedelta(microseconds=microseconds)


TYPES: list[tuple[str, pa.Array, str, list[Any]]] = [
    ("bool", pa.array([True, None]), "boolean", [True, None]),
    ("int8", pa.array([-128, None], pa.int8()), "smallint", [-128, None]),
    ("uint8", pa.array([255, None], pa.uint8()), "smallint", [255, None]),
    ("int16", pa.array([-(2**15), None], pa.int16()), "smallint", [-(2**15), None]),
    ("uint16", pa.array([2**16 - 1, None], pa.uint16()), "integer", [2**16 - 1, None]),
    ("int32", pa.array([2**31 - 1, None], pa.int32()), "integer", [2**31 - 1, None]),
    ("uint32", pa.array([2**32 - 1, None], pa.uint32()), "bigint", [2**32 - 1, None]),
    ("int64", pa.array([2**63 - 1, None]), "bigint", [2**63 - 1, None]),
    ("uint64", pa.array([2**64 - 1, None], pa.uint64()), "numeric", [Decimal(2**64 - 1), None]),
    ("float16", pa.array([1.5, None], pa.float16()), "real", [1.5, None]),
    ("float32", pa.array([0.5, None], pa.float32()), "real", [0.5, None]),
    ("float64", pa.array([0.1, None]), "double precision", [0.1, None]),
    ("decimal", pa.array([Decimal("1.50"), None], pa.decimal128(12, 2)), "numeric(12,2)", [Decimal("1.50"), None]),
    ("decimal256", pa.array([Decimal(ONES + ".5"), None], pa.decimal256(60, 2)), "numeric(60,2)", [ONES + ".50", None]),
    ("string", pa.array(["é", None]), "text", ["é", None]),
    ("large_string", pa.array(["x", None], pa.large_string()), "text", ["x", None]),
    ("binary", pa.array([b"\0\xff", None]), "bytea", [b"\0\xff", None]),
    ("fixed", pa.array([b"abc", None], pa.binary(3)), "bytea", [b"abc", None]),
    ("date32", pa.array([dt.date(2013, 1, 1), None]), "date", [dt.date(2013, 1, 1), None]),
    ("date64", pa.array([dt.date(2013, 1, 1), None], pa.date64()), "date", [dt.date(2013, 1, 1), None]),
    ("time32", pa.array([dt.time(10), None], pa.time32("ms")), "time without time zone", [dt.time(10), None]),
    ("time64", pa.array([dt.time(10), None], pa.time64("ns")), "time without time zone", [dt.time(10), None]),
    ("ts_ms", pa.array([1, None], pa.timestamp("ms")), NAIVE, [moment(1000), None]),
    ("ts_ns", pa.array([2000, None], pa.timestamp("ns")), NAIVE, [moment(2), None]),
    ("tz_ns", pa.array([2000, None], pa.timestamp("ns", "Europe/Berlin")), ZONED, [moment(2, dt.UTC), None]),
    ("duration", pa.array([5, None], pa.duration("ms")), "interval", [dt.timedelta(milliseconds=5), None]),
    ("dictionary", pa.array(["a", None]).dictionary_encode(), "text", ["a", None]),
    ("nothing", pa.nulls(2), "text", [None, None]),
    ("uuid", pa.array([b"0123456789abcdef", None], pa.uuid()), "uuid", [b"0123456789abcdef", None]),
    ("json", pa.array(['{"a":  1}', None], pa.json_()), "json", ['{"a":  1}', None]),
    ("list", pa.array([[1, None], None], pa.list_(pa.int32())), "integer[]", [[1, None], None]),
    ("large_list", pa.array([["x"], None], pa.large_list(pa.string())), "text[]", [["x"], None]),
    ("fixed_list", pa.array([[1.5, 2], None], pa.list_(pa.float64(), 2)), "double precision[]", [[1.5, 2.0], None]),
    ("decimals", pa.array([[ONE], None], pa.list_(pa.decimal128(9, 1))), "numeric(9,1)[]", [[ONE], None]),
    ("struct", pa.array([{"a": 1, "b": [None]}, None]), "jsonb", ['{"a":1,"b":[null]}', None]),
    ("map", pa.array([[("k", 1)], None], pa.map_(pa.string(), pa.int64())), "jsonb", ['{"k":1}', None]),
    ("nested", pa.array([[[1], []], None], pa.list_(pa.list_(pa.int64()))), "jsonb", ["[[1],[]]", None]),
]  # fmt: skip
"""Name, values, PostgreSQL type, what is delivered."""


@pytest.mark.parametrize(("array", "type_name", "delivered"), [case[1:] for case in TYPES], ids=[c[0] for c in TYPES])
def test_a_parquet_column_has_the_type_that_holds_it(
    folder: Folder, array: pa.Array, type_name: str, delivered: list[Any]
) -> None:
    """Arrow's type in PostgreSQL's, values exact, in the Arrow type that the column says."""
    folder.parquet("a.parquet", pa.table({"c": array}))
    assert folder.shape("a.parquet").columns[0].type.name == type_name
    rows = folder.rows("a.parquet")[0]
    assert [getattr(row[0], "bytes", row[0]) for row in rows] == delivered


def test_nanoseconds_are_refused_unless_they_may_be_lost(folder: Folder) -> None:
    """Nothing is cut off in silence; `allow_lossy` allows it."""
    folder.parquet("a.parquet", pa.table({"t": pa.array([2001], pa.timestamp("ns"))}))
    with pytest.raises(DataError) as raised:
        folder.rows("a.parquet")
    assert (raised.value.code, raised.value.context.column) == ("value_misfit", "t")
    lossy = folder.rows("a.parquet", allow_lossy=("t",))
    assert lossy == [[(dt.datetime(1970, 1, 1, 0, 0, 0, 2),)]]


def test_old_timestamps_of_far_years_do_not_wrap(folder: Folder) -> None:
    """INT96 as nanoseconds ends in 2262; the reason says what is read."""
    moments = [dt.datetime(9999, 12, 31, 23, 59, 59, 999999), dt.datetime(1, 1, 1)]
    table = pa.table({"t": pa.array(moments, pa.timestamp("us"))})
    folder.parquet("a.parquet", table, use_deprecated_int96_timestamps=True)
    assert folder.shape("a.parquet").columns[0].reason == "INT96, read to the microsecond"
    assert folder.rows("a.parquet") == [[(moment,) for moment in moments]]


def test_declared_types_of_parquet(folder: Folder) -> None:
    """Text is read as CSV's is, numbers are cast where nothing is lost, what has no way is refused."""
    folder.parquet("a.parquet", pa.table({"i": [1, 2], "t": ["7", "8"], "s": ['{"a":1}', None], "b": [b"x", b"y"]}))
    types = (("i", "smallint"), ("t", "int"), ("s", "jsonb"))
    assert [column.type.name for column in folder.shape("a.parquet", types=types).columns] == [
        "smallint",
        "integer",
        "jsonb",
        "bytea",
    ]
    assert folder.rows("a.parquet", types=types) == [[(1, 7, '{"a":1}', b"x"), (2, 8, None, b"y")]]
    with pytest.raises(ConfigError) as raised:
        folder.shape("a.parquet", types=(("b", "date"),))
    assert raised.value.code == "type_unsupported"
    folder.parquet("a.parquet", pa.table({"i": [2**15]}))
    with pytest.raises(DataError):
        folder.rows("a.parquet", types=(("i", "smallint"),))


def test_nullability_is_that_of_all_files(folder: Folder) -> None:
    """NOT NULL only where every file says so."""
    required = pa.schema([pa.field("a", pa.int64(), nullable=False), pa.field("b", pa.int64(), nullable=False)])
    folder.parquet("a-1.parquet", pa.table({"a": [1], "b": [1]}, required))
    folder.parquet("a-2.parquet", pa.table({"a": [1], "b": [None]}, required.set(1, pa.field("b", pa.int64()))))
    assert [column.nullable for column in folder.shape("a-*.parquet").columns] == [False, True]


def test_hostile_names_are_columns_like_others(folder: Folder) -> None:
    """Quotes, dots, case, emoji; conditions quote them."""
    names = ['a"b', "A.b", "select", "é 🐘", "a; drop table x", "'"]
    header = ",".join('"' + name.replace('"', '""') + '"' for name in names)
    folder.write("a.csv", f"{header}\n1,2,3,4,5,6\n")
    assert [column.name for column in folder.shape("a.csv").columns] == names
    assert folder.rows("a.csv", columns=(names[3], names[0]), where='"a""b" = 1 and "A.b" = 2') == [[(4, 1)]]
    folder.parquet("a.parquet", pa.table({name: [index] for index, name in enumerate(names)}))
    assert folder.rows("a.parquet", columns=("A.b", "select")) == [[(1, 2)]]


def test_a_list_of_paths_is_one_stream(folder: Folder) -> None:
    """In the order of the list, each file once."""
    folder.write("b.csv", "x\n1\n")
    folder.write("a.csv", "x\n2\n")
    assert folder.rows(("b.csv", "*.csv")) == [[(1,)], [(2,)]]


def test_a_folder_stands_for_its_files_of_the_format(folder: Folder) -> None:
    """Not those below it unless with **; hidden ones and those of another kind never."""
    for name in ("data/b.csv", "data/a.tsv", "data/.hidden.csv", "data/README.md"):
        folder.write(name, "x\n1\n")
    (folder.path / "data" / "deep").mkdir()
    folder.write("data/deep/c.csv", "x\n3\n")
    assert folder.rows("data") == [[(1,)], [(1,)]]
    assert folder.rows("data/**") == [[(1,)], [(1,)], [(3,)]]
    folder.parquet("data/d.parquet", pa.table({"x": [4]}))
    assert folder.rows("data", config={"format": "parquet"}) == [[(4,)]]
    with pytest.raises(ConfigError, match="different formats"):
        folder.shape("data")


def test_a_folder_without_suitable_files_says_what_it_holds(folder: Folder) -> None:
    """And how to take the files below it."""
    folder.write("data/README.md", "?")
    (folder.path / "data" / "deep").mkdir()
    with pytest.raises(SourceError) as raised:
        folder.shape("data", config={"format": "csv"})
    home = folder.path / "data"
    assert raised.value.message == f"folder {home} holds no csv file"
    assert raised.value.hint == f"it holds README.md; {home}/** takes the folders below it, too"
    with pytest.raises(SourceError, match="holds no csv, ndjson, parquet or arrow file"):
        folder.shape("data/deep/**")


def test_the_first_misfit_of_a_column_that_became_text_is_named(folder: Folder) -> None:
    """File and line; the value with --show-row-values alone (G6)."""
    folder.write("p-1.csv", 'a,b,c,d\n1,x,007,""\n2,y,1,\n')
    folder.write("p-2.csv", 'd,a,b,c\n1,3,"q\nr",2\n1,s3cret,z,3\n')
    reasons = {column.name: column.reason for column in folder.shape("p-*.csv").columns}
    assert reasons == {
        "a": "all 4 rows: text; whole numbers before p-2.csv, line 4",
        "b": "all 4 rows: text",
        "c": "all 4 rows: numbers that would change: leading zeros, plus signs, exponents, uneven decimals, or too "
        "many digits; the first is in p-1.csv, line 2",
        "d": "all 4 rows: text",
    }
    shown = {column.name: column.reason for column in folder.shape("p-*.csv", config={"shows_values": True}).columns}
    assert shown["a"] == "all 4 rows: text; whole numbers before p-2.csv, line 4: s3cret"


def test_a_value_that_is_refused_is_in_the_row_detail_alone(folder: Folder) -> None:
    """Which --show-row-values shows."""
    folder.write("a.csv", "x,y\n1,s3cret\n")
    with pytest.raises(DataError) as raised:
        folder.rows("a.csv", types=(("y", "date"),))
    assert raised.value.context.row_detail == "y: s3cret"
    assert "s3cret" not in raised.value.message


def test_numbers_may_have_a_comma(folder: Folder) -> None:
    """With it a point makes a text of the column; a declared numeric is read the same way."""
    folder.write("a.csv", "a;b;c;d\n1,50;3,1;1.000,5;2,25\n2,75;-0,25;7,5;3,5\n")
    config = {"decimal_comma": True}
    shape = folder.shape("a.csv", config=config, types=(("d", "numeric(5,2)"),))
    assert [column.type.name for column in shape.columns] == ["numeric", "double precision", "text", "numeric(5,2)"]
    assert folder.rows("a.csv", config=config, types=(("d", "numeric(5,2)"),)) == [
        [
            (Decimal("1.50"), 3.1, "1.000,5", Decimal("2.25")),
            (Decimal("2.75"), -0.25, "7,5", Decimal("3.50")),
        ]
    ]


def test_dates_may_have_formats(folder: Folder) -> None:
    """The first that fits counts, ISO 8601 always; what is no day is not one."""
    folder.write(
        "a.csv", "d,t,no,declared\n31.12.2024,1.2.2024 10:30,31.02.2024,2024-02-29\n2024-02-29,,1.1.2024,1.3.2024\n"
    )
    config = {"date_formats": ("%d.%m.%Y", "%d.%m.%Y %H:%M")}
    types = (("declared", "timestamp"),)
    shape = folder.shape("a.csv", config=config, types=types)
    assert [column.type.name for column in shape.columns] == [
        "date",
        "timestamp without time zone",
        "text",
        "timestamp without time zone",
    ]
    assert folder.rows("a.csv", config=config, types=types) == [
        [
            (dt.date(2024, 12, 31), dt.datetime(2024, 2, 1, 10, 30), "31.02.2024", dt.datetime(2024, 2, 29)),
            (dt.date(2024, 2, 29), None, "1.1.2024", dt.datetime(2024, 3, 1)),
        ]
    ]
    with pytest.raises(ConfigError) as raised:
        folder.shape("a.csv", config={"date_formats": ("%d.%m.",)})
    assert raised.value.code == "date_format_invalid"


def test_all_rows_are_looked_at_where_asked(folder: Folder, small_sample: None) -> None:
    """`infer: full`: a late row changes the type, and the reason names it."""
    lines = ["a,b,c", *["1,1,1.5"] * 3000, "x,2,2", *["1,1,1.5"] * 3000]
    folder.write("a.csv", "\n".join(lines) + "\n")
    with pytest.raises(DataError):
        folder.rows("a.csv")
    shape = folder.shape("a.csv", infers_fully=True)
    assert [(column.type.name, column.reason) for column in shape.columns] == [
        ("text", "all 6001 rows: text; whole numbers before a.csv, line 3002"),
        ("bigint", "all 6001 rows: whole numbers"),
        ("double precision", "all 6001 rows: numbers that a double precision gives back"),
    ]
    assert sum(len(part) for part in folder.rows("a.csv", infers_fully=True)) == 6001
