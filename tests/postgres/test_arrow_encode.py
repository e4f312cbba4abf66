"""What the encoder writes is what the server stores: every Arrow type, both wires, nulls and extremes."""

from __future__ import annotations

import datetime as dt
import math
import uuid
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import psycopg
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from psycopg import sql

from rapidbyte.destinations.postgres.addresses import address_bytes, inet_bytes
from rapidbyte.destinations.postgres.encode import Encoder
from rapidbyte.destinations.postgres.wire import choose_wire
from rapidbyte.errors import DataError
from rapidbyte.model import Column, ColumnType, Wire
from rapidbyte.pg.types import parse_type_name
from rapidbyte.pg.uuids import any_uuids

OPTIONS: dict[Wire, str] = {"arrow-binary": "FORMAT binary", "arrow-text": "FORMAT csv, ENCODING 'UTF8'"}
WIRES: tuple[Wire, ...] = ("arrow-binary", "arrow-text")
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)
MOMENTS = st.datetimes(min_value=dt.datetime(1, 1, 1), max_value=dt.datetime(9999, 12, 31, 23, 59, 59, 999999))


@pytest.fixture
def connection(server_dsn: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(server_dsn, autocommit=True) as opened:
        opened.execute("SET timezone = 'UTC'")
        opened.execute("SET datestyle = 'ISO'")
        yield opened


def copied(connection: psycopg.Connection, arrays: list[pa.Array], types: list[str], wire: Wire) -> list[tuple]:
    """The rows as the server prints them after a COPY of these arrays into columns of these types."""
    columns = [Column(name=f"c{i}", type=parse_type_name(name)) for i, name in enumerate(types)]
    definition = ", ".join(f"c{i} {name}" for i, name in enumerate(types))
    connection.execute("DROP TABLE IF EXISTS t")
    connection.execute(f"CREATE TEMP TABLE t (row bigint generated always as identity, {definition})")
    encoder = Encoder(columns, wire)
    batch = pa.RecordBatch.from_arrays(arrays, names=[column.name for column in columns])
    names = ", ".join(column.name for column in columns)
    with connection.cursor() as cursor:
        with cursor.copy(f"COPY t ({names}) FROM STDIN ({OPTIONS[wire]})") as copy:
            for piece in (batch.slice(0, len(batch) // 2), batch.slice(len(batch) // 2)):
                copy.write(encoder.encode(piece))
            copy.write(encoder.finish())
        texts = ", ".join(f"c{i}::text" for i in range(len(types)))
        return cursor.execute(f"SELECT {texts} FROM t ORDER BY row").fetchall()


def printed(connection: psycopg.Connection, literals: list[str | None], name: str) -> list[str | None]:
    """What the server makes of these literals: its own input rules, its own output."""
    query = sql.SQL(
        "SELECT x::text FROM unnest(%s::text[]) WITH ORDINALITY AS u(l, n), LATERAL (SELECT l::{}) AS v(x) ORDER BY n"
    )
    return [row[0] for row in connection.execute(query.format(sql.SQL(name)), (literals,))]


def bytea(value: bytes) -> str:
    return "\\x" + value.hex()


def plain(value: object) -> str:
    return str(value)


def floating(value: float) -> str:
    return "NaN" if math.isnan(value) else repr(value).replace("inf", "Infinity")


def integers(bits: int, *, signed: bool = True) -> st.SearchStrategy[int]:
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    return st.one_of(st.integers(low, high), st.sampled_from([low, high, 0]))


def decimals(precision: int, scale: int) -> st.SearchStrategy[Decimal]:
    return st.integers(-(10**precision) + 1, 10**precision - 1).map(
        # Not scaleb: that rounds to the 28 digits of the decimal context.
        lambda n: Decimal((int(n < 0), tuple(map(int, str(abs(n)))), -scale))
    )


Case = tuple[pa.DataType, str, st.SearchStrategy[Any], Callable[[Any], str], str]


def utc(moment: dt.datetime) -> str:
    return moment.isoformat() + "+00"


UUID_BYTES = st.uuids().map(lambda value: value.bytes)
JSONB = st.sampled_from(['{"a": [1, "é"]}', "null", '"x"', " 1 "])
FAR = st.sampled_from(["infinity", "4713-01-01 BC"])
SECONDS = MOMENTS.map(lambda moment: moment.replace(microsecond=0))
CASES: dict[str, Case] = {
    "bool": (pa.bool_(), "boolean", st.booleans(), plain, "both"),
    "int8 to smallint": (pa.int8(), "smallint", integers(8), plain, "both"),
    "int16 to smallint": (pa.int16(), "smallint", integers(16), plain, "both"),
    "uint8 to smallint": (pa.uint8(), "smallint", integers(8, signed=False), plain, "both"),
    "int32 to integer": (pa.int32(), "integer", integers(32), plain, "both"),
    "uint32 to bigint": (pa.uint32(), "bigint", integers(32, signed=False), plain, "both"),
    "int64 to bigint": (pa.int64(), "bigint", integers(64), plain, "both"),
    "uint64 to numeric": (pa.uint64(), "numeric(20,0)", integers(64, signed=False), plain, "both"),
    "int64 to numeric": (pa.int64(), "numeric", integers(64), plain, "both"),
    "int32 to double": (pa.int32(), "double precision", integers(32), plain, "both"),
    "int64 to text": (pa.int64(), "text", integers(64), plain, "text"),
    "float to real": (pa.float32(), "real", st.floats(width=32), floating, "both"),
    "double": (pa.float64(), "double precision", st.floats(), floating, "both"),
    "decimal": (pa.decimal128(38, 10), "numeric(38,10)", decimals(38, 10), "{:f}".format, "both"),
    "decimal of negative scale": (pa.decimal128(5, -3), "numeric", decimals(5, -3), "{:f}".format, "both"),
    "decimal of great scale": (pa.decimal128(38, 38), "numeric", decimals(38, 38), "{:f}".format, "both"),
    "decimal32": (pa.decimal32(9, 2), "numeric(9,2)", decimals(9, 2), "{:f}".format, "both"),
    "decimal256": (pa.decimal256(76, 20), "numeric(76,20)", decimals(76, 20), "{:f}".format, "text"),
    "string to text": (pa.string(), "text", TEXT, plain, "both"),
    "large string to varchar": (pa.large_string(), "varchar", TEXT, plain, "both"),
    "string to jsonb": (pa.string(), "jsonb", JSONB, plain, "both"),
    "string to json": (pa.string(), "json", st.sampled_from(['{"a":   1, "a":2}', "null"]), plain, "both"),
    "string to inet": (pa.string(), "inet", st.one_of(st.ip_addresses(v=4), st.ip_addresses()).map(str), plain, "both"),
    "string to uuid": (pa.string(), "uuid", st.uuids().map("{{{}}}".format), plain, "both"),
    "string to timestamptz": (pa.string(), "timestamptz", FAR, plain, "text"),
    "16 bytes to uuid": (pa.binary(16), "uuid", UUID_BYTES, bytes.hex, "both"),
    "uuid": (pa.uuid(), "uuid", UUID_BYTES, bytes.hex, "both"),
    "json": (pa.json_(), "json", st.sampled_from(['{"a":   1}', "[]"]), plain, "both"),
    "16 bytes to bytea": (pa.binary(16), "bytea", st.binary(min_size=16, max_size=16), bytea, "both"),
    "3 bytes": (pa.binary(3), "bytea", st.binary(min_size=3, max_size=3), bytea, "both"),
    "bytes": (pa.binary(), "bytea", st.binary(max_size=20), bytea, "both"),
    "large bytes": (pa.large_binary(), "bytea", st.binary(max_size=20), bytea, "both"),
    "date32": (pa.date32(), "date", st.dates(), dt.date.isoformat, "both"),
    "time": (pa.time64("us"), "time", st.times(), dt.time.isoformat, "both"),
    "time of seconds": (pa.time32("s"), "time", SECONDS.map(dt.datetime.time), dt.time.isoformat, "both"),
    "timestamp": (pa.timestamp("us"), "timestamp", MOMENTS, dt.datetime.isoformat, "both"),
    "timestamp of seconds": (pa.timestamp("s"), "timestamp", SECONDS, dt.datetime.isoformat, "both"),
    "timestamptz": (pa.timestamp("us", "UTC"), "timestamptz", MOMENTS, utc, "both"),
    "timestamptz elsewhere": (pa.timestamp("ms", "Europe/Berlin"), "timestamptz", SECONDS, utc, "both"),
    "duration": (pa.duration("us"), "interval", st.integers(-(2**62), 2**62), "{} microseconds".format, "both"),
    "null": (pa.null(), "bigint", st.none(), plain, "both"),
}
"""Arrow type, target, values, how to write one as a literal, which wires carry it."""


@pytest.mark.parametrize("name", CASES)
def test_a_value_arrives_as_the_server_would_read_its_text(connection: psycopg.Connection, name: str) -> None:
    """Equal by the server's own text, on each wire that can carry the pair, nulls included."""
    arrow, target, values, literal, wires = CASES[name]

    @given(st.lists(st.one_of(st.none(), values), min_size=1, max_size=30))
    @settings(max_examples=40)
    def check(found: list[Any]) -> None:
        array = pa.array(found, arrow)
        expected = printed(connection, [None if value is None else literal(value) for value in found], target)
        for wire in WIRES if wires == "both" else WIRES[1:]:
            assert expected == [row[0] for row in copied(connection, [array], [target], wire)]

    check()
    source = Column(name="c", type=parse_type_name("text"), arrow=str(arrow))
    chosen = choose_wire([(source, Column(name="c", type=parse_type_name(target)))])
    assert ("arrow-binary" if wires == "both" else "arrow-text") == chosen


LISTS: dict[str, tuple[pa.DataType, str, st.SearchStrategy[Any], str]] = {
    "bool": (pa.bool_(), "boolean", st.booleans(), "both"),
    "int16": (pa.int16(), "smallint", integers(16), "both"),
    "int32": (pa.int32(), "integer", integers(32), "both"),
    "int64": (pa.int64(), "bigint", integers(64), "both"),
    "double": (pa.float64(), "double precision", st.floats(), "both"),
    "decimal": (pa.decimal128(12, 2), "numeric(12,2)", decimals(12, 2), "both"),
    "text": (pa.string(), "text", TEXT, "both"),
    "varchar": (pa.string(), "varchar(20)", TEXT, "text"),
    "bytes": (pa.binary(), "bytea", st.binary(max_size=9), "both"),
    "uuid": (pa.binary(16), "uuid", st.binary(min_size=16, max_size=16), "text"),
    "date": (pa.date32(), "date", st.dates(), "both"),
    "time": (pa.time64("us"), "time", st.times(), "both"),
    "timestamp": (pa.timestamp("us"), "timestamp", MOMENTS, "both"),
    "timestamptz": (pa.timestamp("us", "UTC"), "timestamptz", MOMENTS, "text"),
    "jsonb": (pa.string(), "jsonb", st.sampled_from(['{"a": "b\\"c"}', "1"]), "text"),
}


@pytest.mark.parametrize("name", LISTS)
def test_an_array_arrives_element_by_element(connection: psycopg.Connection, name: str) -> None:
    """unnest of the array is what a plain column of its elements holds."""
    arrow, target, values, wires = LISTS[name]

    @given(st.lists(st.one_of(st.none(), st.lists(st.one_of(st.none(), values), max_size=5)), min_size=1, max_size=9))
    @settings(max_examples=30)
    def check(found: list[Any]) -> None:
        elements = [element for row in found if row is not None for element in row]
        flat = (
            [row[0] for row in copied(connection, [pa.array(elements, arrow)], [target], "arrow-text")]
            if elements
            else []
        )
        for wire in WIRES if wires == "both" else WIRES[1:]:
            rows = copied(connection, [pa.array(found, pa.list_(arrow))], [f"{target}[]"], wire)
            unnested = connection.execute(
                "SELECT u.e::text FROM t, LATERAL unnest(c0) WITH ORDINALITY AS u(e, n) ORDER BY row, n"
            ).fetchall()
            assert flat == [row[0] for row in unnested]
            sizes = connection.execute("SELECT cardinality(c0) FROM t ORDER BY row").fetchall()
            assert [None if row is None else len(row) for row in found] == [row[0] for row in sizes]
            assert len(found) == len(rows)

    check()
    source = Column(name="c", type=parse_type_name("text"), arrow=str(pa.list_(arrow)))
    chosen = choose_wire([(source, Column(name="c", type=parse_type_name(f"{target}[]")))])
    assert ("arrow-binary" if wires == "both" else "arrow-text") == chosen


@given(number=st.one_of(st.integers(-210866803200000000, 2**63 - 1), st.sampled_from([-210866803200000000, 2**63 - 1])))
@settings(max_examples=60)
def test_timestamps_beyond_the_calendar_of_python_arrive_in_binary(connection: psycopg.Connection, number: int) -> None:
    """BC dates and the year 294247 are integers to Arrow and to PostgreSQL (B4)."""
    array = pa.array([number], pa.timestamp("us"))
    days, rest = divmod(number, 86_400_000_000)
    expected = connection.execute(
        "SELECT (timestamp '1970-01-01' + %s * interval '1 day' + (%s || ' microseconds')::interval)::text",
        (days, rest),
    ).fetchone()
    assert [expected] == copied(connection, [array], ["timestamp"], "arrow-binary")


@pytest.mark.parametrize(
    ("array", "target", "wire", "sqlstate"),
    [
        (pa.array([1, 2**15]), "smallint", "arrow-binary", "22003"),
        (pa.array([-(2**31) - 1]), "integer", "arrow-binary", "22003"),
        (pa.array([2**63], pa.uint64()), "bigint", "arrow-binary", "22003"),
        (pa.array([2**53 + 1]), "double precision", "arrow-binary", "22003"),
        (pa.array([1001], pa.timestamp("ns")), "timestamp", "arrow-binary", "22008"),
        (pa.array([1001], pa.timestamp("ns", "UTC")), "timestamptz", "arrow-text", "22008"),
        (pa.array([-(2**63)], pa.timestamp("us")), "timestamp", "arrow-binary", "22008"),
        (pa.array([-210866803200000001], pa.timestamp("us")), "timestamp", "arrow-binary", "22008"),
        (pa.array([2**31 - 1], pa.date32()), "date", "arrow-binary", "22008"),
        (pa.array([-(2**31)], pa.date32()), "date", "arrow-binary", "22008"),
        (pa.array([253402300800000000], pa.timestamp("us")), "timestamp", "arrow-text", "22008"),
        (pa.array([-719163], pa.date32()), "date", "arrow-text", "22008"),
        (pa.array([[2**15]]), "smallint[]", "arrow-binary", "22003"),
    ],
)
def test_a_value_that_does_not_fit_is_a_data_error_that_names_the_column(
    array: pa.Array, target: str, wire: Wire, sqlstate: str
) -> None:
    """Nothing is cut, rounded or turned into infinity."""
    with pytest.raises(DataError) as raised:
        Encoder([Column(name="amount", type=parse_type_name(target))], wire).encode(
            pa.RecordBatch.from_arrays([array], names=["x"])
        )
    assert ("amount", sqlstate) == (raised.value.context.column, raised.value.context.sqlstate)


@pytest.mark.parametrize("wire", WIRES)
def test_a_partition_without_rows_is_a_valid_copy(connection: psycopg.Connection, wire: Wire) -> None:
    """Header and trailer are there although no batch came."""
    connection.execute("CREATE TEMP TABLE t (c0 bigint)")
    encoder = Encoder([Column(name="c0", type=parse_type_name("bigint"))], wire)
    with connection.cursor() as cursor:
        with cursor.copy(f"COPY t (c0) FROM STDIN ({OPTIONS[wire]})") as copy:
            copy.write(encoder.finish())
        assert cursor.rowcount == 0


def test_nul_in_text_is_refused_by_the_server(connection: psycopg.Connection) -> None:
    """B1: never stripped; 22021 names what is wrong."""
    for wire in WIRES:
        with pytest.raises(psycopg.errors.CharacterNotInRepertoire):
            copied(connection, [pa.array(["a\0b"])], ["text"], wire)


def test_all_types_side_by_side_in_one_row(connection: psycopg.Connection) -> None:
    """The columns of one COPY do not disturb each other, and a table of all types takes the same values on both."""
    chosen = {name: case for name, case in CASES.items() if case[4] == "both"}
    arrays = [pa.nulls(3, case[0]) for case in chosen.values()]
    types = [case[1] for case in chosen.values()]
    assert [(None,) * len(types)] * 3 == copied(connection, arrays, types, "arrow-binary")
    assert [(None,) * len(types)] * 3 == copied(connection, arrays, types, "arrow-text")


DOTTED = ["1.2.3.4", "01.2.3.4", ".0", "1.", "1.2", "..", "1.2.3.4.", "1.256", "1..3.4", "1.2.3.4.5"]
GROUPS = st.sampled_from(["", "0", "1", "ffff", "FFFF", "00000", *DOTTED])
OCTETS = st.sampled_from(["0", "1", "255", "256", "007", ""])
PREFIXES = st.sampled_from(["", "", "/0", "/8", "/33", "/064", "/128", "/129", "/", ".", ":", ":/64", "::/1"])
ADDRESSES = st.one_of(
    st.text(alphabet="01259.:/af x", max_size=14),
    st.builds(lambda parts, end: ".".join(parts) + end, st.lists(OCTETS, min_size=1, max_size=5), PREFIXES),
    st.builds(lambda parts, end: ":".join(parts) + end, st.lists(GROUPS, min_size=2, max_size=9), PREFIXES),
)


@given(texts=st.lists(st.one_of(ADDRESSES, st.ip_addresses(v=4).map(str)), min_size=1, max_size=20))
@settings(max_examples=150)
def test_an_address_is_one_exactly_where_it_is_one_to_the_server(
    connection: psycopg.Connection, texts: list[str]
) -> None:
    """Each text becomes the bytes that the server makes of it, or is refused as the server refuses it."""
    for text in [*texts, "10.1/16", "10.1.2.3.", "1:2::3:/64", "::ffff:1.2.3.4/100", "::1.2.3.4:/64", "::.0"]:
        try:
            with connection.transaction():
                expected = connection.execute("SELECT inet_send(%s::inet)", (text,)).fetchone()
        except psycopg.errors.InvalidTextRepresentation:
            expected = None
        try:
            found = tuple(inet_bytes(pa.array([text])).to_pylist())
        except pa.ArrowInvalid:
            found = None
        assert (text, expected) == (text, found)


UUID_TEXTS = st.one_of(
    st.uuids().map(str),
    st.uuids().map(lambda value: str(value).upper()),
    st.builds(
        lambda value, places, ends: "".join(digit + "-" * (n in places) for n, digit in enumerate(value.hex)).join(
            ends
        ),
        st.uuids(),
        st.sets(st.sampled_from([1, 3, 7, 11, 15, 19, 23, 27, 31]), max_size=5),
        st.sampled_from([("", ""), ("{", "}"), ("{", ""), ("", "}"), ("{{", "}}"), ("-", ""), (" ", "")]),
    ),
    st.text(alphabet="0fF-{} gé\n", min_size=30, max_size=40),
)


@given(texts=st.lists(UUID_TEXTS, min_size=1, max_size=20))
@settings(max_examples=150)
def test_a_uuid_is_one_exactly_where_it_is_one_to_the_server(connection: psycopg.Connection, texts: list[str]) -> None:
    """Each text becomes the bytes that the server makes of it, or is refused as the server refuses it."""
    hyphens = "0000000--0000-0000-0000-000000000000"
    for text in [*texts, "0" * 32, hyphens, "{" + "0" * 34 + "}", "0" * 31 + "\n"]:
        try:
            with connection.transaction():
                expected = connection.execute("SELECT uuid_send(%s::uuid)", (text,)).fetchone()
        except psycopg.errors.InvalidTextRepresentation:
            expected = None
        try:
            found = tuple(any_uuids(pa.array([text])).to_pylist())
        except pa.ArrowInvalid:
            found = None
        assert (text, expected) == (text, found)


def test_many_uuids_are_read_like_each_of_them() -> None:
    """NULLs, slices, and a batch whose forms differ."""
    plain = [None, "d0e396cd-efea-458a-9ba8-c685a204d0b4", None, "00000000-0000-0000-0000-00000000000F", None]
    expected = [None if text is None else uuid.UUID(text).bytes for text in plain]
    mixed = [*plain, "{d0e396cdefea-458a9ba8c685a204d0b4}"]
    assert expected == any_uuids(pa.array(plain)).to_pylist()
    assert expected[1:4] == any_uuids(pa.array(plain).slice(1, 3)).to_pylist()
    assert [*expected, expected[1]] == any_uuids(pa.array(mixed)).to_pylist()
    assert any_uuids(pa.array([], pa.string())).to_pylist() == []


def test_many_addresses_are_read_like_each_of_them() -> None:
    """NULLs, slices, and a batch that is not of hosts alone."""
    plain = pa.array([None, "10.0.0.1", None, "192.168.255.7", "0.0.0.0", None])
    expected = [None if text is None else address_bytes(text) for text in plain.to_pylist()]
    mixed = pa.concat_arrays([plain, pa.array(["::1", "10.1/16"])])
    assert expected == inet_bytes(plain).to_pylist()
    assert expected[2:5] == inet_bytes(plain.slice(2, 3)).to_pylist()
    assert [*expected, address_bytes("::1"), address_bytes("10.1/16")] == inet_bytes(mixed).to_pylist()
    assert inet_bytes(pa.array([], pa.string())).to_pylist() == []


def test_an_enum_is_read_from_its_label(connection: psycopg.Connection) -> None:
    """In binary as in text; what is no label is refused by the server."""
    connection.execute("CREATE TYPE pg_temp.mood AS ENUM ('fine', 'so so', 'é')")
    connection.execute("CREATE TEMP TABLE moods (c0 pg_temp.mood)")
    mood = Column(name="c0", type=ColumnType(name="mood", oid=99999, kind="enum", built_in=False))
    for wire in WIRES:
        with connection.cursor() as cursor, cursor.copy(f"COPY moods FROM STDIN ({OPTIONS[wire]})") as copy:
            encoder = Encoder([mood], wire)
            copy.write(encoder.encode(pa.RecordBatch.from_arrays([pa.array(["é", None, "so so"])], names=["x"])))
            copy.write(encoder.finish())
    assert connection.execute("SELECT c0::text FROM moods").fetchall() == [("é",), (None,), ("so so",)] * 2
