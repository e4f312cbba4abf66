"""Which wire a stream takes is decided by types alone."""

from __future__ import annotations

import pyarrow as pa
import pytest

from rapidbyte.destinations.postgres.encode import BINARY_HEADER, BINARY_TRAILER, Encoder
from rapidbyte.destinations.postgres.wire import choose_wire, family_of
from rapidbyte.errors import ConfigError, InternalError
from rapidbyte.model import Column, ColumnType, TypeKind
from rapidbyte.pg.types import parse_type_name
from rapidbyte.plan import ColumnPlan


def pair(arrow: str | None, target: str) -> tuple[Column, Column]:
    source = Column(name="c", type=parse_type_name("text"), arrow=arrow)
    return source, Column(name="c", type=parse_type_name(target))


@pytest.mark.parametrize(
    ("arrow", "target", "wire"),
    [
        ("int64", "bigint", "arrow-binary"),
        ("int64", "smallint", "arrow-binary"),
        ("uint64", "numeric", "arrow-binary"),
        ("int64", "text", "arrow-text"),
        ("double", "double precision", "arrow-binary"),
        ("double", "numeric", "arrow-text"),
        ("decimal128(38, 2)", "numeric(12,2)", "arrow-binary"),
        ("decimal256(60, 2)", "numeric", "arrow-text"),
        ("string", "varchar(20)", "arrow-binary"),
        ("string", "jsonb", "arrow-binary"),
        ("string", "inet", "arrow-binary"),
        ("string", "cidr", "arrow-text"),
        ("string", "uuid", "arrow-binary"),
        ("string", "name", "arrow-text"),
        ("fixed_size_binary[16]", "uuid", "arrow-binary"),
        ("extension<arrow.uuid>", "uuid", "arrow-binary"),
        ("fixed_size_binary[15]", "bytea", "arrow-binary"),
        ("timestamp[us]", "timestamp", "arrow-binary"),
        ("timestamp[us]", "timestamptz", "arrow-text"),
        ("timestamp[ns, tz=Europe/Berlin]", "timestamptz", "arrow-binary"),
        ("date32[day]", "timestamp", "arrow-text"),
        ("null", "inet", "arrow-binary"),
        ("list<item: int32>", "bigint[]", "arrow-binary"),
        ("list<element: string>", "text[]", "arrow-binary"),
        ("list<item: string>", "varchar[]", "arrow-text"),
        ("list<item: timestamp[us, tz=UTC]>", "timestamptz[]", "arrow-text"),
        ("list<item: fixed_size_binary[16]>", "uuid[]", "arrow-text"),
        ("list<item: int32>", "integer", "arrow-text"),
        ("int32", "integer[]", "arrow-text"),
    ],
)
def test_binary_where_the_target_has_such_a_form(arrow: str, target: str, wire: str) -> None:
    """Text for all others."""
    assert wire == choose_wire([pair(arrow, target)])


def test_one_column_that_needs_text_makes_the_stream_text() -> None:
    """One COPY has one format; plans of columns are taken as well."""
    source, target = pair("string", "cidr")
    plan = ColumnPlan(source=source, target=target, conversion="checked")
    assert choose_wire([pair("int64", "bigint"), plan]) == "arrow-text"
    assert choose_wire([pair("int64", "bigint")] * 2) == "arrow-binary"


@pytest.mark.parametrize(("kind", "wire"), [("enum", "arrow-binary"), ("domain", "arrow-text"), ("base", "arrow-text")])
def test_a_type_of_the_server_goes_as_text_unless_its_binary_form_is_its_label(kind: TypeKind, wire: str) -> None:
    """An enum's label is what it is sent as; of the others nobody knows it."""
    mood = ColumnType(name="app.mood", oid=16399, kind=kind, built_in=False)
    source, _ = pair("string", "text")
    assert wire == choose_wire([(source, Column(name="c", type=mood))])


@pytest.mark.parametrize(
    "arrow",
    [None, "struct<a: int64>", "map<string, int64>", "list<item: list<item: int64>>", "month_day_nano_interval"],
)
def test_what_no_wire_carries_is_a_config_error(arrow: str | None) -> None:
    """Before any row moves; the column is named."""
    with pytest.raises(ConfigError) as raised:
        choose_wire([pair(arrow, "text")])
    assert raised.value.context.column == "c"


@pytest.mark.parametrize(
    "arrow",
    [
        *(pa.bool_(), pa.int8(), pa.uint64(), pa.float16(), pa.float64(), pa.decimal32(5, 1), pa.decimal256(50, 2)),
        *(pa.string(), pa.large_string(), pa.string_view(), pa.binary(), pa.large_binary(), pa.binary(16), pa.date64()),
        *(pa.time32("s"), pa.time64("ns"), pa.timestamp("s"), pa.timestamp("ns", "+02:00"), pa.duration("ns")),
        *(pa.null(), pa.uuid(), pa.json_(), pa.list_(pa.uuid()), pa.large_list(pa.timestamp("us", "UTC"))),
        *(pa.list_(pa.decimal128(9, 2), 3),),
    ],
    ids=str,
)
def test_every_type_that_pyarrow_prints_is_understood(arrow: pa.DataType) -> None:
    """The plan knows types by their names alone."""
    assert family_of(str(arrow)) is not None


def test_bytes_of_a_relay_pass_through() -> None:
    """And nothing is added at their end."""
    for wire in ("binary-relay", "text-relay"):
        encoder = Encoder((), wire)
        assert (encoder.encode(b"\x00x"), encoder.finish()) == (b"\x00x", b"")


def test_a_binary_copy_has_one_header_and_one_trailer() -> None:
    """Whatever the batches, none included."""
    column = Column(name="c", type=parse_type_name("smallint"))
    encoder = Encoder([column], "arrow-binary")
    batch = pa.record_batch({"x": [1]})
    sent = encoder.encode(batch) + encoder.encode(batch.slice(1)) + encoder.encode(batch) + encoder.finish()
    assert sent == BINARY_HEADER + b"\0\x01\0\0\0\x02\0\x01" * 2 + BINARY_TRAILER
    assert Encoder([column], "arrow-binary").finish() == BINARY_HEADER + BINARY_TRAILER


def test_null_is_not_the_empty_text() -> None:
    """In CSV, an empty field and a quoted one."""
    column = Column(name="c", type=parse_type_name("text"))
    encoder = Encoder([column, column], "arrow-text")
    batch = pa.record_batch({"x": [None, "", "\\."], "y": ['"', None, "a\nb"]})
    assert encoder.encode(batch) == b',""""\n"",\n"\\.","a\nb"\n'
    assert encoder.finish() == b""


@pytest.mark.parametrize(("wire", "columns"), [("arrow-binary", 2), ("text-relay", 1)])
def test_a_batch_that_was_not_planned_is_a_defect(wire: str, columns: int) -> None:
    """Other columns, or a batch on a relay."""
    column = Column(name="c", type=parse_type_name("text"))
    with pytest.raises(InternalError):
        Encoder([column] * columns, wire).encode(pa.record_batch({"x": ["a"]}))
