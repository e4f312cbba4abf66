"""Lines that are read by the shape of others have exactly the values that they have member by member."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rapidbyte.errors import DataError
from rapidbyte.pg.types import built_in
from rapidbyte.sources.files.ndjson import JsonColumn, JsonKind, JsonPlan
from rapidbyte.sources.files.ndjson_records import JsonRecords
from rapidbyte.sources.files.ndjson_shapes import MOST_SHAPES, Shapes
from rapidbyte.sources.files.paths import stamp
from rapidbyte.sources.files.readings import Reading

KINDS: dict[str, JsonKind] = {"n": "number", "s": "string", "b": "boolean", "o": "any", "é x": "string", "m": "any"}
PLAN = JsonPlan(
    columns=tuple(
        JsonColumn(
            name=name,
            kind=kind,
            reading=Reading(type=built_in("text"), arrow="string", check="inferred", reason=""),
        )
        for name, kind in KINDS.items()
    ),
    is_closed=True,
    known=frozenset(KINDS),
    flatten=False,
    encoding="utf-8",
)
FIRST = '{"n": 1, "s": "x", "b": true, "o": {"a": [1]}, "é x": "y", "m": [1, 2]}'
NESTED: st.SearchStrategy[Any] = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=5)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=3), inner, max_size=3)),
    max_leaves=6,
)
ROWS = st.fixed_dictionaries(
    {
        "n": st.one_of(st.none(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text(max_size=2)),
        "s": st.one_of(st.none(), st.text(max_size=8), st.booleans()),
        "b": st.one_of(st.none(), st.booleans()),
        "o": NESTED,
        "é x": st.one_of(st.none(), st.text(max_size=3)),
        "m": NESTED,
    }
)


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> JsonRecords:
    path: Path = tmp_path_factory.mktemp("shapes") / "a.ndjson"
    path.write_text(FIRST + "\n")
    return JsonRecords(stamp(path), PLAN, block_bytes=1 << 20, max_row_bytes=1 << 20)


def one_by_one(records: JsonRecords, raw: bytes) -> list[str | None] | None:
    """The same by the reader of members; None where it refuses the line."""
    try:
        return records._texts_of(raw, 1)
    except DataError:
        return None


def learned(*lines: str) -> Shapes:
    shapes = Shapes(PLAN)
    for line in lines:
        assert shapes.texts(line.encode()) is None
    return shapes


@given(row=ROWS, ascii_only=st.booleans(), cut=st.integers(0, 60), put=st.sampled_from(["", '"', ",", "}", "0", "\\"]))
@example(row={"n": -0.0, "s": "", "b": None, "o": {"k": 1}, "é x": None, "m": []}, ascii_only=False, cut=0, put="")
def test_what_a_shape_reads_is_what_the_line_says(
    records: JsonRecords, row: dict[str, Any], ascii_only: bool, cut: int, put: str
) -> None:
    """Also where a character too many stands somewhere: never another value, never one of a line that is refused."""
    line = json.dumps(row, ensure_ascii=ascii_only)
    raw = (line[:cut] + put + line[cut:]).encode(errors="replace")
    found = learned(FIRST).texts(raw)
    assert found is None or found == one_by_one(records, raw)


@pytest.mark.parametrize(
    "line",
    [
        FIRST,
        '{"n":-1.50e3,"s":"é, \u2603","b":false,"o":{"k": "a\\u00e9"},"é x":null,"m":[{"x":"],\\"é x\\":"}]}\r',
        '{ "n" :null , "s":null,"b":null,"o":null,"é x":null,"m":null } ',
    ],
)
def test_a_line_of_the_same_keys_is_read_by_its_shape(records: JsonRecords, line: str) -> None:
    """Blanks, numbers and what is nested may be others."""
    found = learned(FIRST).texts(line.encode())
    assert found is not None
    assert found == one_by_one(records, line.encode())


@pytest.mark.parametrize(
    "line",
    [
        '{"n": 01, "s": "x", "b": true, "o": {}, "é x": "y", "m": []}',
        '{"n": 1, "s": "x\ty", "b": true, "o": {}, "é x": "y", "m": []}',
        '{"n": 1, "s": "x", "b": true, "o": {"a": 1, "a": 2}, "é x": "y", "m": []}',
        '{"n": 1, "s": "x", "b": true, "o": {"a": NaN}, "é x": "y", "m": []}',
        '{"n": 1, "s": "x", "b": true, "o": {"a": "\\ud800"}, "é x": "y", "m": []}',
        '{"n": 1, "s": "x", "b": true, "o": {}, "é x": "y", "m": []} {}',
        '{"n": 1, "s": "x", "b": true, "o": {}, "é x": "y", "m": ' + "[" * 100_000 + "]" * 100_000 + "}",
        '{"n": 1, "s": "x", "b": true, "o": {}, "é x": "y", "m": [], "more": 1}',
    ],
)
def test_what_is_no_row_is_left_to_who_can_name_it(records: JsonRecords, line: str) -> None:
    """A key twice at any depth, half of a surrogate pair, NaN, control characters (B2), a key that nobody knows."""
    assert learned(FIRST).texts(line.encode()) is None
    assert one_by_one(records, line.encode()) is None


def test_a_few_shapes_are_kept() -> None:
    """Keys that come and go have shapes of their own; a missing one is NULL."""
    lines = [f'{{"{name}": null}}' for name in KINDS]
    shapes = learned(*lines[:MOST_SHAPES], lines[-1])
    assert [shapes.texts(line.encode()) for line in lines[:MOST_SHAPES]] == [[None] * len(KINDS)] * MOST_SHAPES
    assert shapes.texts(lines[-1].encode()) is None
