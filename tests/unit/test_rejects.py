"""Bad rows, purely: how many there may be, which errors are about a row, how rows are cut, where they stand."""

from __future__ import annotations

import json
from functools import partial

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rapidbyte.destinations.postgres.encode import first_refused, texts_of
from rapidbyte.destinations.postgres.sieve import Piece, cut, text_values, total
from rapidbyte.model import Column
from rapidbyte.pg.types import built_in
from rapidbyte.ports import Place
from rapidbyte.rejects import Reject, RejectPolicy, columns_json, is_about_a_row, text_json, too_many
from rapidbyte.sources.files.aside import Aside, shifted

INT = Column(name="n", type=built_in("smallint"))
TEXT = Column(name="t", type=built_in("text"))


@pytest.mark.parametrize(
    ("policy", "rejected", "read", "allowed"),
    [
        (RejectPolicy(action="skip", max_rows=0), 0, 10, True),
        (RejectPolicy(action="skip", max_rows=0), 1, 10, False),
        (RejectPolicy(action="skip", max_rows=3), 3, 3, True),
        (RejectPolicy(action="skip", max_rows=3), 4, 1_000_000, False),
        (RejectPolicy(action="skip", max_rows=None, max_percent=0.5), 5, 1000, True),
        (RejectPolicy(action="skip", max_rows=None, max_percent=0.5), 6, 1000, False),
        (RejectPolicy(action="skip", max_rows=None, max_percent=0.0), 0, 0, True),
        (RejectPolicy(action="skip", max_rows=None, max_percent=100.0), 7, 7, True),
    ],
)
def test_a_limit_is_a_number_or_a_share(policy: RejectPolicy, rejected: int, read: int, allowed: bool) -> None:
    """Both ends are allowed."""
    assert policy.allows(rejected, read=read) == allowed
    error = too_many(policy, stream="orders", rejected=rejected, read=read, first="a.csv, line 3: broken")
    assert (error is None) == allowed


def test_a_share_is_not_judged_before_all_rows_are_read() -> None:
    """The first row of a stream may be bad."""
    share = RejectPolicy(action="dlq", max_rows=None, max_percent=1.0)
    assert too_many(share, stream="orders", rejected=1, read=None, first=None) is None
    error = too_many(RejectPolicy(action="dlq", max_rows=2), stream="orders", rejected=3, read=None, first="why")
    assert error is not None
    assert (error.exit_code, error.code) == (5, "too_many_rejects")
    assert str(error) == "more rows of stream orders are bad than max_rejects: 2; the first: why"


@pytest.mark.parametrize(
    ("sqlstate", "about"),
    [("22003", True), ("23514", True), ("22021", True), ("22P04", False), ("40001", False), ("57014", False),
     ("P0001", False), (None, False)],
)  # fmt: skip
def test_which_errors_are_about_one_row(sqlstate: str | None, about: bool) -> None:
    """Classes 22 and 23, but for the bytes of the COPY itself."""
    assert is_about_a_row(sqlstate) == about


def test_a_row_is_stored_as_ascii() -> None:
    """What is no text of PostgreSQL's is escaped, and a long line is cut (B1, B2)."""
    assert columns_json({"a": "\0\ud800é", "b": None}) == '{"a": "\\u0000\\ud800\\u00e9", "b": null}'
    assert len(json.loads(text_json("x" * 100_000))) == 65_536


def test_a_reject_tells_its_place_without_a_value() -> None:
    """File, line, column, reason, SQLSTATE."""
    found = Reject(code="c", message="why", sqlstate="22003", column="n", file="a.csv", line=7, row='"v"', form="text")
    assert found.phrase == "a.csv, line 7, column n: why [22003]"
    assert Reject(code="c", message="why", row='"v"', form="text").phrase == "a row: why"
    held = Reject(code="c", message="why", file="a.Parquet", line=7, row="{}", form="source")
    assert held.phrase == "a.Parquet, row 7: why"


def numbered(block: int, row: int) -> Place:
    """A place whose file is the row's number."""
    return Place(file=str(block * 10 + row))


FIELDS = st.one_of(st.none(), st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",))))


def copied(value: str | None) -> str:
    """A value as COPY's text format has it."""
    if value is None:
        return "\\N"
    for character, letter in (
        ("\\", "\\"),
        ("\b", "b"),
        ("\f", "f"),
        ("\n", "n"),
        ("\r", "r"),
        ("\t", "t"),
        ("\v", "v"),
    ):
        value = value.replace(character, f"\\{letter}")
    return value


@given(st.lists(FIELDS, min_size=1, max_size=5))
def test_a_line_of_copy_is_read_by_its_columns(values: list[str | None]) -> None:
    r"""Every escape, and `\N` for NULL (B11)."""
    names = [f"c{place}" for place in range(len(values))]
    line = "\t".join(map(copied, values)).encode() + b"\n"
    assert text_values(line, names) == dict(zip(names, values, strict=True))


@given(st.lists(st.integers(1, 5), max_size=6), st.booleans(), st.data())
def test_cutting_loses_no_row(sizes: list[int], as_text: bool, data: st.DataObject) -> None:
    """Before and behind, of lines and of batches; each row still knows where it came from."""
    pieces: list[Piece] = []
    for block, size in enumerate(sizes):
        numbers = [block * 10 + row for row in range(size)]
        rows = "".join(f"{number}\n" for number in numbers).encode()
        batch = pa.RecordBatch.from_pydict({"n": numbers})
        place = partial(numbered, block)
        pieces.append(Piece(data=rows if as_text else batch, rows=size, size=size, origin=place))

    def numbers_of(some: list[Piece]) -> list[int]:
        return [
            number
            for piece in some
            for number in (
                map(int, piece.data.split()) if isinstance(piece.data, bytes) else piece.data.column("n").to_pylist()
            )
        ]

    row = data.draw(st.integers(0, total(pieces)))
    before, behind = cut(pieces, row)
    assert (total(before), total(behind)) == (row, total(pieces) - row)
    assert numbers_of(before) + numbers_of(behind) == numbers_of(pieces)
    for piece in behind:
        place = piece.place()
        assert place is not None
        assert place.file == str(numbers_of([piece])[0])


@given(st.lists(st.integers(-5, 40_000), min_size=1, max_size=50).filter(lambda values: max(values) > 32767))
def test_the_first_value_that_does_not_fit_is_found(values: list[int]) -> None:
    """By halving (B8)."""
    batch = pa.RecordBatch.from_pydict({"n": pa.array(values, pa.int32())})
    expected = next(place for place, value in enumerate(values) if value > 32767)
    assert first_refused((INT,), "arrow-binary", batch) == expected


def test_a_batchs_row_is_told_as_texts() -> None:
    """Also a value that its column does not take."""
    batch = pa.RecordBatch.from_arrays([pa.array([99999]), pa.array([None], pa.string())], names=["n", "t"])
    assert texts_of((INT, TEXT), batch) == {"n": "99999", "t": None}


@given(st.sets(st.integers(0, 30)), st.integers(0, 30))
def test_rows_are_counted_around_those_that_are_left_out(left_out: set[int], row: int) -> None:
    """The n-th of what remains."""
    remaining = [place for place in range(100) if place not in left_out]
    assert shifted(row, sorted(left_out)) == remaining[row]


@given(st.sets(st.integers(0, 20)), st.sets(st.integers(0, 10)))
def test_lines_of_rows_that_stay_are_those_of_their_records(malformed: set[int], misfits: set[int]) -> None:
    """`kept` and `record_of` agree."""
    aside = Aside()
    for record in malformed:
        aside.malformed(record, lambda line: Reject(code="c", message="m", line=line, row="1", form="text"))
    for row in misfits:
        aside.misfit(row, lambda line: Reject(code="c", message="m", line=line, row="1", form="text"))
    lines = list(aside.kept(range(100, 200)))
    assert lines == [100 + aside.record_of(row) for row in range(len(lines))]
    taken = aside.take(lambda records: {record: record + 100 for record in records})
    assert len(taken) == len(malformed) + len(misfits)
    assert [reject.line for reject in taken] == sorted(reject.line or 0 for reject in taken)
