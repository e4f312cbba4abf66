"""Transforms on batches: what comes out, what is refused, what needs the whole stream."""

from __future__ import annotations

import gc
import hashlib
import hmac
import pickle
import struct
import weakref
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rapidbyte.errors import CancelledError, ConfigError, DataError
from rapidbyte.model import Column, Secret
from rapidbyte.pg.types import parse_type_name
from rapidbyte.ports import Block, Place, never
from rapidbyte.spec import (
    CaseTransform,
    CastTransform,
    DropTransform,
    FieldMask,
    MaskTransform,
    RenameTransform,
    Rule,
    SqlTransform,
    StreamSpec,
    Transform,
    ValidateTransform,
)
from rapidbyte.transforms.chain import Chain, plan_chain
from rapidbyte.transforms.columns import cased
from rapidbyte.transforms.decode import arrow_columns, decoded
from rapidbyte.transforms.flow import Resources

KEY = Secret("0123456789abcdef-key")


def columns_of(table: pa.Table, **types: str) -> tuple[Column, ...]:
    names = {"string": "text", "int64": "bigint", "int32": "integer", "double": "double precision", "bool": "boolean"}
    return tuple(
        Column(
            name=field.name,
            type=parse_type_name(types.get(field.name) or names.get(str(field.type), "text")),
            arrow=str(field.type),
        )
        for field in table.schema
    )


def chain_of(table: pa.Table, *transforms: Transform, stream: str = "orders", **types: str) -> Chain:
    spec = StreamSpec(name=stream, transforms=transforms)
    return pickle.loads(pickle.dumps(plan_chain(spec, columns_of(table, **types), Resources())))


def blocks_of(table: pa.Table, rows: int = 2) -> Iterator[Block]:
    first = 0
    for batch in table.to_batches(max_chunksize=rows):
        start = first
        first += batch.num_rows
        yield Block(
            data=batch,
            rows=batch.num_rows,
            size=batch.nbytes,
            origin=lambda row, start=start: Place(file="a.csv", line=start + row + 2),
        )


def run(table: pa.Table, *transforms: Transform, **types: str) -> list[dict[str, Any]]:
    chain = chain_of(table, *transforms, **types)
    return [row for block in chain(blocks_of(table), never) for row in block.data.to_pylist()]  # type: ignore[union-attr]


def sql(query: str) -> SqlTransform:
    return SqlTransform(query=query)


def rules(*found: Rule) -> ValidateTransform:
    return ValidateTransform(rules=found)


NUMBERS = pa.table({"id": pa.array([3, 1, 2, 1], pa.int64()), "name": ["Ä", "b", None, ""]})


def test_queries_are_chained_and_the_input_has_two_names() -> None:
    """`input` and the stream's name are the rows of the step before."""
    first = sql("select id + 1 as n, upper(name) as name from input where id < 3;")
    assert run(NUMBERS, first, sql("select n * 10 as n, name from orders")) == [
        {"n": 20, "name": "B"},
        {"n": 30, "name": None},
        {"n": 20, "name": ""},
    ]


@pytest.mark.parametrize(
    ("query", "needs_all"),
    [
        ("select * from input", False),
        ("with q as (select id from input where id > 1) select id * 2 as x from q", False),
        ("select coalesce(name, 'x') as n, case when id > 1 then 1 else 0 end as c from input", False),
        ("select sum(id) as s from input", True),
        ("select distinct id from input", True),
        ("select id from input order by id", True),
        ("select id from input limit 1", True),
        ("select row_number() over () as n from input", True),
        ("select a.id from input a join input b using (id)", True),
        ("select id from input where id in (select max(id) from input)", True),
        ("select id from input union all select id from orders", True),
        ("select unnest([id, id]) as x from input", True),
        ("select id, random() as r from input", True),
        ("select id, current_date as d from input", True),
        ("select id, now() as t from input", True),
        ("select id from input where false", True),
    ],
)
def test_only_what_is_about_each_row_alone_runs_in_parallel(query: str, *, needs_all: bool) -> None:
    """Everything else sees the whole stream in one partition."""
    assert chain_of(NUMBERS, sql(query)).needs_all is needs_all


def test_a_query_may_read_its_input_twice() -> None:
    """A self-join finds all rows on both sides."""
    query = sql("select a.id, count(*) as n from input a join orders b using (id) group by all order by all")
    assert run(NUMBERS, query) == [{"id": 1, "n": 4}, {"id": 2, "n": 1}, {"id": 3, "n": 1}]


@pytest.mark.parametrize(
    ("sizes", "handed_back"), [((1, 30_000, 30_000), 2), ((1,) * 50 + (30_000, 30_000), 2), ((64,) * 900, 225)]
)
def test_batches_handed_back_are_as_large_as_the_first_ones_allow(sizes: tuple[int, ...], handed_back: int) -> None:
    """Not as a first one of a single row, as an Arrow file may begin with; small ones alone lead to small ones."""
    table = pa.table({"a": pa.array(range(sum(sizes)), pa.int64()), "b": pa.array(range(sum(sizes)), pa.int64())})
    starts = [sum(sizes[:index]) for index in range(len(sizes))]
    given = [
        block
        for start, size in zip(starts, sizes, strict=True)
        for block in blocks_of(table[start : start + size], size)
    ]
    found = list(chain_of(table, sql("SELECT a, b + 1 AS b FROM input"))(iter(given), never))
    assert [a for block in found for a in block.data["a"].to_pylist()] == list(range(sum(sizes)))  # type: ignore[index]
    assert len(found) == handed_back


def test_a_query_that_ends_early_still_takes_every_row() -> None:
    """LIMIT does not hide that a source fails later on."""

    def failing() -> Iterator[Block]:
        yield from blocks_of(NUMBERS)
        raise DataError("line 7 is broken", code="row_malformed")

    with pytest.raises(DataError, match="line 7 is broken"):
        list(chain_of(NUMBERS, sql("select id from input limit 1"))(failing(), never))


def test_the_sources_own_failure_is_told_not_duckdbs() -> None:
    """An error that passes through DuckDB is the one that was raised."""

    def failing() -> Iterator[Block]:
        yield from blocks_of(NUMBERS)
        raise CancelledError("reading was stopped", code="stopped")

    with pytest.raises(CancelledError, match="reading was stopped"):
        list(chain_of(NUMBERS, sql("select sum(id) as s from input"))(failing(), never))


@pytest.mark.parametrize(
    ("expression", "type_name", "value"),
    [
        ("sum(id)", "numeric(38,0)", Decimal(7)),
        ("340282366920938463463374607431768211455::uhugeint", "numeric", "340282366920938463463374607431768211455"),
        ("'-0.0'::double", "double precision", "-0.0"),
        ("'nan'::double", "double precision", "nan"),
        ("'-inf'::float", "real", "-inf"),
        ("interval '1 month -2 days'", "interval", "1 month -2 days"),
        ("'10:00:00+02'::timetz", "time with time zone", "10:00:00+02"),
        ("[1, null]", "integer[]", [1, None]),
        ("[true, null]", "boolean[]", [True, None]),
        ("{'a': 1, 'b': [2]}", "jsonb", '{"a":1,"b":[2]}'),
        ("map {'k': 1}", "jsonb", '{"k":1}'),
        ("'b'::enum('a', 'b')", "text", "b"),
        ("null", "text", None),
        ("true", "boolean", True),
        ("1.10::decimal(12,2)", "numeric(12,2)", Decimal("1.10")),
        ("'101'::bit", "bit varying", "101"),
        ("200::utinyint", "smallint", 200),
    ],
)
def test_duckdbs_types_have_exact_ones_here(expression: str, type_name: str, value: Any) -> None:
    """Every value arrives as it was, whatever its type."""
    query = sql(f"select {expression} as x from input" + ("" if "sum" in expression else " limit 1"))
    assert chain_of(NUMBERS, query).columns[0].type.name == type_name
    (row,) = run(NUMBERS, query)
    assert (str(row["x"]) if isinstance(row["x"], float) else row["x"]) == value


@pytest.mark.parametrize(
    "expression",
    [
        "170141183460469231731687303715884105727::hugeint",
        "timestamp 'infinity'",
        "timestamp '-infinity'",
        "timestamptz 'infinity'",
        "timestamp_ns '2020-01-01 00:00:00.000000001'",
        "cast(name as integer)",
    ],
)
def test_a_value_without_an_exact_form_ends_the_load(expression: str) -> None:
    """Nothing is rounded, cut or made another moment; the message holds no value (G6)."""
    with pytest.raises(DataError) as failure:
        run(NUMBERS, sql(f"select {expression} as x from input"))
    assert failure.value.code == "transform_failed"
    assert "Ä" not in failure.value.message


@pytest.mark.parametrize(
    ("query", "part"),
    [
        ("select nothing from input", "nothing"),
        ("selec", "syntax"),
        ("select 1 as a; select 2 as b", "not one SELECT"),
        ("create table x as select 1 as a", "not one SELECT"),
        ("copy input to '/tmp/x'", "not one SELECT"),
        ("select * from read_csv('/etc/passwd')", "disabled"),
        ("select * from '/etc/passwd'", "does not exist"),
        ("select id, id as ID from input", "more than once"),
    ],
)
def test_what_is_no_query_on_these_columns_is_refused_when_planned(query: str, part: str) -> None:
    """One SELECT, that reaches no file (G1)."""
    with pytest.raises(ConfigError, match=part):
        chain_of(NUMBERS, sql(query))


def test_a_query_keeps_types_that_duckdb_lacks() -> None:
    """A column under its old name stays inet; varchar(2) does not, for its input cuts spaces."""
    table = pa.table(
        {"ip": ["10.0.0.1"], "v": ["a"], "j": ['{"a": 1,  "a": 2}'], "u": pa.array([b"0" * 16], pa.binary(16))}
    )
    chain = chain_of(table, sql("select ip, v, j, u, u as k from input"), ip="inet", v="varchar(2)", j="json", u="uuid")
    assert [column.type.name for column in chain.columns] == ["inet", "text", "json", "uuid", "uuid"]
    (row,) = run(table, sql("select ip, v, j, u from input"), ip="inet", v="varchar(2)", j="json", u="uuid")
    assert row == {"ip": "10.0.0.1", "v": "a", "j": '{"a": 1,  "a": 2}', "u": b"0" * 16}


def test_columns_that_differ_in_case_alone_are_refused() -> None:
    """DuckDB would call the second one a_1."""
    with pytest.raises(ConfigError, match="does not tell columns a and A apart"):
        chain_of(pa.table({"a": [1], "A": [2]}), sql("select * from input"))


AMOUNTS = pa.table(
    {
        "id": pa.array([1, 2, 3, 4, 4], pa.int64()),
        "email": ["a@x", None, "nope", "b@x", "c@x"],
        "amount": pa.array([Decimal("1.10"), None, Decimal("-0.01"), Decimal("100.00"), Decimal("100.01")]),
        "ratio": [0.5, float("nan"), -0.0, 1.0, None],
    }
)


@pytest.mark.parametrize(
    ("rule", "count", "line"),
    [
        (Rule(kind="assert_not_null", fields=("email",)), 1, 3),
        (Rule(kind="assert_regex", fields=("email",), pattern="@"), 1, 4),
        (Rule(kind="assert_range", fields=("amount",), low="0"), 1, 4),
        (Rule(kind="assert_range", fields=("amount",), high="100.005"), 1, 6),
        (Rule(kind="assert_range", fields=("amount",), low="-0.009", high="100"), 2, 4),
        (Rule(kind="assert_range", fields=("ratio",), low="0"), 1, 3),
        (Rule(kind="assert_range", fields=("id",), low="1.5"), 1, 2),
        (Rule(kind="assert_in", fields=("id",), values=("1", "2", "3.0")), 2, 5),
        (Rule(kind="assert_expression", expression="id < 4 -- really"), 2, 5),
        (Rule(kind="assert_unique", fields=("id",)), 1, 6),
    ],
)
def test_a_violated_rule_tells_how_many_and_where_the_first_is(rule: Rule, count: int, line: int) -> None:
    """Rule, column, count, file and line, without the value."""
    with pytest.raises(DataError) as failure:
        run(AMOUNTS, rules(rule), amount="numeric(5,2)")
    error = failure.value
    assert error.code == "rule_violated"
    assert error.exit_code == 5
    assert error.message.startswith(f"{count} row{'s violate' if count > 1 else ' violates'} {rule.kind}: ")
    assert error.context.line == line
    assert f"a.csv, line {line}" in error.message


def test_rules_that_hold_change_nothing() -> None:
    """NULL passes all but assert_not_null; two NULLs are not the same value; -0 is not below 0."""
    table = pa.table({"a": [1, None, None], "z": [0.0, -0.0, 1.0]})
    held = rules(
        Rule(kind="assert_unique", fields=("a",)),
        Rule(kind="assert_range", fields=("a",), low="1", high="1"),
        Rule(kind="assert_range", fields=("z",), low="0"),
        Rule(kind="assert_in", fields=("a",), values=("1",)),
        Rule(kind="assert_expression", expression="a = 1"),
        Rule(kind="assert_not_null", fields=("z",)),
    )
    assert table.to_pylist() == run(table, held)


def test_unique_values_are_kept_without_the_batches_they_came_in() -> None:
    """Each batch's memory is given back when the next one is asked for; of it only its rows' places stay."""

    class Memory(bytearray):
        """Bytes that tell when they are let go."""

    held: list[weakref.ref[Memory]] = []
    alive: list[int] = []

    def numbers() -> Iterator[Block]:
        for first in range(0, 40, 10):
            memory = Memory(struct.pack("<10q", *range(first, first + 10)))
            held.append(weakref.ref(memory))
            values = pa.Array.from_buffers(pa.int64(), 10, [None, pa.py_buffer(memory)])
            del memory
            rows = pa.record_batch([values], names=["a"])
            del values
            yield Block(data=rows, rows=10, size=80, origin=lambda row: Place(file="a.csv", line=row + 2))
            del rows
            alive.append(sum(each() is not None for each in held))

    chain = chain_of(pa.table({"a": pa.array([], pa.int64())}), rules(Rule(kind="assert_unique", fields=("a",))))
    assert sum(block.rows for block in chain(numbers(), never)) == 40
    gc.collect()
    assert (max(alive), sum(each() is not None for each in held)) == (1, 0)


def test_the_first_violated_rule_is_told_whatever_the_batches() -> None:
    """By the row, then by the order of the rules; the others are named, each with the number of its rows."""
    found = rules(
        Rule(kind="assert_in", fields=("id",), values=("1", "2", "3")),
        Rule(kind="assert_not_null", fields=("email",)),
        Rule(kind="assert_unique", fields=("id",)),
    )
    others = r"also assert_in: id .* \(\d+ rows?\); also assert_unique: id \(1 row\)$"
    told = rf"1 row violates assert_not_null: email; .*; {others}"
    for size in (1, 2, 5):
        with pytest.raises(DataError, match=told):
            list(chain_of(AMOUNTS, found, amount="numeric(5,2)")(blocks_of(AMOUNTS, size), never))


@pytest.mark.parametrize(
    ("rule", "part"),
    [
        (Rule(kind="assert_not_null", fields=("gone",)), "no column gone"),
        (Rule(kind="assert_regex", fields=("id",), pattern="x"), "bigint"),
        (Rule(kind="assert_regex", fields=("email",), pattern="("), "missing"),
        (Rule(kind="assert_range", fields=("id",), low="x"), "no number"),
        (Rule(kind="assert_in", fields=("id",), values=("1.5",)), "none of"),
        (Rule(kind="assert_expression", expression="sum(id) > 1"), "aggregate"),
        (Rule(kind="assert_expression", expression="random() > 0"), "random"),
    ],
)
def test_a_rule_that_does_not_fit_its_column_is_refused_when_planned(rule: Rule, part: str) -> None:
    """Before anything is read."""
    with pytest.raises(ConfigError, match=part):
        chain_of(AMOUNTS, rules(rule), amount="numeric(5,2)")


@settings(max_examples=10)
@given(
    st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=80),
    st.text(min_size=16, max_size=100, alphabet="aé9"),
)
def test_a_hash_is_the_hmac_of_the_text(value: str, key: str) -> None:
    """So that anybody who has the key can compute it, and keys of two tables join."""
    table = pa.table({"a": [value, None]})
    spec = MaskTransform(masks=(FieldMask(field="a", method="hash"),), key=Secret(key))
    wanted = hmac.new(key.encode(), value.encode(), hashlib.sha256).hexdigest()
    assert [{"a": wanted}, {"a": None}] == run(table, spec)


def test_masks_are_by_the_texts_of_values() -> None:
    """The number 5 and the text 5 have one hash; partial never shows a short value; NULL stays NULL."""
    table = pa.table({"n": pa.array([5], pa.int64()), "t": ["5"], "p": ["ab€def"], "s": ["ab"], "r": ["x"], "z": [1]})
    spec = MaskTransform(
        masks=(
            FieldMask(field="n", method="hash"),
            FieldMask(field="t", method="hash"),
            FieldMask(field="p", method="partial", keep_start=1, keep_end=2),
            FieldMask(field="s", method="partial", keep_start=1, keep_end=2),
            FieldMask(field="r", method="redact", text="it's gone"),
            FieldMask(field="z", method="null"),
        ),
        key=KEY,
    )
    (row,) = run(table, spec)
    assert row["n"] == row["t"]
    assert {name: row[name] for name in "psrz"} == {"p": "a***ef", "s": "**", "r": "it's gone", "z": None}
    assert [column.type.name for column in chain_of(table, spec).columns] == ["text"] * 5 + ["bigint"]


def test_a_float_is_not_hashed() -> None:
    """It has several texts, of which another program may take another one."""
    with pytest.raises(ConfigError, match="does not take"):
        chain_of(pa.table({"a": [0.5]}), MaskTransform(masks=(FieldMask(field="a", method="hash"),), key=KEY))


def test_columns_are_renamed_dropped_and_spelled() -> None:
    """Each step has the names of the one before."""
    table = pa.table({"Order ID": [1], "b": [2], "c": [3]})
    steps = (
        RenameTransform(names=(("b", "Total HTTPSum"),)),
        DropTransform(columns=("c",)),
        CaseTransform(style="snake"),
    )
    assert run(table, *steps) == [{"order_id": 1, "total_http_sum": 2}]
    with pytest.raises(ConfigError, match="two columns b"):
        chain_of(table, RenameTransform(names=(("c", "b"),)))
    with pytest.raises(ConfigError, match="there is no column gone"):
        chain_of(table, DropTransform(columns=("gone",)))


@pytest.mark.parametrize(("name", "wanted"), [("orderId", "order_id"), ("Ä b", "ä_b"), ("__", "__"), ("ID2X", "id2_x")])
def test_snake_case(name: str, wanted: str) -> None:
    """Words are parted by _, in lower case; a name of signs alone stays."""
    assert cased(name, "snake") == wanted


@pytest.mark.parametrize(
    ("value", "arrow", "source", "target", "wanted"),
    [
        ("12", pa.string(), "text", "integer", 12),
        ("1.50", pa.string(), "text", "numeric(5,2)", Decimal("1.50")),
        ("2020-01-31", pa.string(), "text", "date", "2020-01-31"),
        (12.0, pa.float64(), "double precision", "bigint", 12),
        (7, pa.int64(), "bigint", "text", "7"),
        ("10:00:00.5", pa.string(), "text", "time", "10:00:00.500000"),
        ("x", pa.string(), "text", "uuid", "x"),
    ],
)
def test_a_cast_is_exact(value: Any, arrow: pa.DataType, source: str, target: str, wanted: Any) -> None:
    """The same value in another type; what PostgreSQL reads itself is left to it."""
    (row,) = run(pa.table({"a": pa.array([value], arrow)}), CastTransform(types=(("a", target),)), a=source)
    assert (row["a"] if not hasattr(row["a"], "isoformat") else row["a"].isoformat()) == wanted


@pytest.mark.parametrize(
    ("value", "arrow", "source", "target"),
    [
        ("1.5", pa.string(), "text", "integer"),
        ("1.505", pa.string(), "text", "numeric(5,2)"),
        (1.5, pa.float64(), "double precision", "integer"),
        (2**53 + 1, pa.int64(), "bigint", "double precision"),
        (40000, pa.int64(), "bigint", "smallint"),
        ("yes", pa.string(), "text", "boolean"),
        ("2020-01-01 10:00", pa.string(), "text", "date"),
        ("2020-01-01 10:00", pa.string(), "text", "timestamptz"),
    ],
)
def test_a_cast_that_would_lose_something_ends_the_load(
    value: Any, arrow: pa.DataType, source: str, target: str
) -> None:
    """With file, line and column, and without the value."""
    table = pa.table({"a": pa.array([None, None, value], arrow)})
    with pytest.raises(DataError, match=r"^a.csv, line 4: the value of column a is not exactly an? ") as failure:
        run(table, CastTransform(types=(("a", target),)), a=source)
    assert str(value) not in failure.value.message


@pytest.mark.parametrize(
    ("source", "arrow", "target"), [("real", pa.float32(), "numeric(5,2)"), ("text", pa.string(), "varchar(3)")]
)
def test_a_cast_without_an_exact_way_is_refused_when_planned(source: str, arrow: pa.DataType, target: str) -> None:
    """Its rounding is a query's business."""
    with pytest.raises(ConfigError, match="no exact way"):
        chain_of(pa.table({"a": pa.nulls(1, arrow)}), CastTransform(types=(("a", target),)), a=source)


def test_copys_csv_is_decoded_exactly() -> None:
    """NULL and the empty text differ; quotes, commas and line ends are values."""
    types = [
        "bigint",
        "text",
        "boolean",
        "uuid",
        "bytea",
        "timestamptz",
        "numeric(4,1)",
        "numeric",
        "double precision",
        "inet",
    ]
    columns = arrow_columns(tuple(Column(name=f"c{i}", type=parse_type_name(t)) for i, t in enumerate(types)))
    data = (
        b'"-1","a ""b"",\n\xc3\xa9","t","00000000-0000-0000-0000-0000000000ff","\\x00ff","2020-01-01 10:00:00.5+00",'
        b'"1.0","1e","-0","10.0.0.1"\n,"",,,,,,,"-Infinity",\n'
    )
    rows = decoded(data, columns).to_pylist()
    assert list(rows[0].values())[:5] == [-1, 'a "b",\né', True, bytes(15) + b"\xff", b"\x00\xff"]
    assert [rows[0]["c5"].isoformat(), rows[0]["c6"], rows[0]["c7"], str(rows[0]["c8"])] == [
        "2020-01-01T10:00:00.500000+00:00", Decimal("1.0"), "1e", "-0.0",
    ]  # fmt: skip
    assert list(rows[1].values()) == [None, "", None, None, None, None, None, None, float("-inf"), None]


@pytest.mark.parametrize(
    ("kind", "text"), [("timestamptz", "infinity"), ("date", "0044-03-15 BC"), ("numeric(4,1)", "NaN")]
)
def test_a_value_that_arrow_lacks_is_refused(kind: str, text: str) -> None:
    """Infinity, BC and NaN among decimals do not become another value (D-hazards of Arrow)."""
    columns = arrow_columns((Column(name="c", type=parse_type_name(kind)),))
    with pytest.raises(DataError, match="cannot pass through transforms"):
        decoded(f'"{text}"\n'.encode(), columns)


def test_a_single_column_of_null_is_a_row() -> None:
    """It is an empty line of CSV."""
    columns = arrow_columns((Column(name="c", type=parse_type_name("text")),))
    assert decoded(b'\n""\n\n', columns).to_pylist() == [{"c": None}, {"c": ""}, {"c": None}]


def test_large_bytes_are_decoded_exactly() -> None:
    """One by one, whether alone, among others, or NULL."""
    columns = arrow_columns((Column(name="c", type=parse_type_name("bytea")),))
    large, larger = bytes(range(256)) * 8192, b"\x00\xff" * 2_000_000
    alone = f'"\\x{large.hex()}"\n'.encode()
    assert decoded(alone, columns).to_pylist() == [{"c": large}]
    several = alone + b'\n"\\x"\n' + f'"\\x{larger.hex()}"\n'.encode()
    assert decoded(several, columns).to_pylist() == [{"c": large}, {"c": None}, {"c": b""}, {"c": larger}]
    with pytest.raises(DataError, match="cannot pass through transforms"):
        decoded(f'"\\x{large.hex()}zz"\n'.encode(), columns)


@pytest.mark.parametrize("width", [40_000, 400_000])
@pytest.mark.parametrize("wide_from", [0, 3, 5, 11])
def test_rows_that_grow_wide_come_out_in_order(wide_from: int, width: int) -> None:
    """A query about each row alone: no row is lost, or comes twice, where batches begin to pass one by one."""
    table = pa.table({"i": list(range(12)), "v": ["x" * (width if i >= wide_from else 3) for i in range(12)]})
    found = run(table, sql("SELECT i * 2 AS j, length(v) AS n FROM input WHERE i <> 4"))
    assert found == [{"j": 2 * i, "n": width if i >= wide_from else 3} for i in range(12) if i != 4]


def test_a_wide_row_that_a_query_fails_on_ends_the_load() -> None:
    """As a narrow one does."""
    table = pa.table({"v": ["x" * 400_000, "y" * 400_000]})
    with pytest.raises(DataError) as caught:
        run(table, sql("SELECT CAST(v AS INTEGER) AS n FROM input"))
    assert caught.value.code == "transform_failed"
