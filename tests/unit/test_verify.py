"""How rows are cut, merged and judged; what the comparison says of them in words."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rapidbyte.comparison import NULL_KEYS, ComparedColumn, Cut, Digest, RowImage
from rapidbyte.cursor import StoredCursor
from rapidbyte.engine.verification import (
    MOST_PIECES,
    ComparisonPlan,
    DifferentKey,
    DifferentPiece,
    NotCompared,
    StreamComparison,
    VerifyReport,
    choose_cut,
    piece_words,
    plan_comparison,
)
from rapidbyte.engine.verify import KeyRows, judged, merged
from rapidbyte.model import Column, ColumnType, QualifiedName, ServerFacts
from rapidbyte.pg.conversions import conversion
from rapidbyte.pg.row_images import runs_of
from rapidbyte.report.document import document_text
from rapidbyte.report.verification import verify_document, verify_text

INTEGER = ColumnType(name="integer", oid=23)
TEXT = ColumnType(name="text", oid=25)


def plan(**changes: Any) -> ComparisonPlan:
    """Stream orders with an integer key, replaced."""
    key = ComparedColumn(name="id")
    found = ComparisonPlan(
        stream="orders",
        target=QualifiedName(schema="raw", name="orders"),
        write_mode="replace",
        columns=(key, ComparedColumn(name="note")),
        not_compared=(),
        key=(key,),
        integer_key=True,
        cursor=None,
        incremental=False,
        published_rows=None,
        estimated_rows=100_000,
    )
    return replace(found, **changes)


@given(
    st.integers(-(2**63), 2**63 - 1),
    st.integers(-(2**63), 2**63 - 1),
    st.integers(0, 10**9),
    st.integers(-(2**63), 2**63 - 1),
)
def test_every_key_is_in_one_range(low: int, high: int, rows: int, key: int) -> None:
    """Also beyond the least and the greatest; ranges ascend, and are at most `MOST_PIECES`."""
    low, high = min(low, high), max(low, high)
    cut = choose_cut(plan(estimated_rows=rows), (low, high))
    assert list(cut.thresholds) == sorted(set(cut.thresholds))
    assert cut.count == len(cut.thresholds) + 1 <= MOST_PIECES
    piece = cut.piece_of(key, null_key=False)
    assert piece == 0 or cut.thresholds[piece - 1] <= key
    assert piece == len(cut.thresholds) or key < cut.thresholds[piece]
    assert cut.piece_of(key, null_key=True) == NULL_KEYS


@pytest.mark.parametrize(("rows", "pieces"), [(0, 64), (1, 1), (2_001, 2), (6_000, 4), (10**9, 1024), (None, 64)])
def test_hashes_cut_into_a_power_of_two(rows: int | None, pieces: int) -> None:
    """About 2,000 rows a piece; 64 pieces where nobody knows how many rows there are."""
    cut = choose_cut(plan(integer_key=False, estimated_rows=rows), (None, None))
    assert (cut.by, cut.count) == ("key_hash", pieces)
    assert 0 <= cut.piece_of(-(2**63) + 1, null_key=False) < pieces
    assert choose_cut(plan(integer_key=False, key=()), (None, None)).by == "row_hash"


def image(order: int, first: int, *, rows: int = 1, pending: bool = False) -> RowImage:
    return RowImage(order, str(order), pending, first, 0, rows, (str(order),))


rows_of_one_end = st.dictionaries(st.tuples(st.integers(0, 4), st.integers(0, 2)), st.integers(1, 3), max_size=8).map(
    lambda found: sorted(image(order, first, rows=rows) for (order, first), rows in found.items())
)


@given(rows_of_one_end, rows_of_one_end)
def test_merging_counts_what_multisets_would(here: list[RowImage], there: list[RowImage]) -> None:
    """Per key: the rows that are alike, and those that one end has more of."""
    ours = Counter({(row.order, row.first): row.rows for row in here})
    theirs = Counter({(row.order, row.first): row.rows for row in there})
    found = {
        rows.order: (rows.same, rows.source_only, rows.destination_only) for rows in merged(iter(here), iter(there))
    }

    def total(counter: Counter[tuple[int, int]], order: int) -> int:
        return sum(number for (each, _), number in counter.items() if each == order)

    assert found == {
        order: (total(ours & theirs, order), total(ours - theirs, order), total(theirs - ours, order))
        for order in {order for order, _ in (*ours, *theirs)}
    }


def test_a_pending_row_excuses_the_older_one() -> None:
    """It is counted neither as the source's nor as missing; the key is marked."""
    (rows,) = merged(iter([image(1, 9, pending=True)]), iter([image(1, 5)]))
    assert (rows.source_only, rows.destination_only, rows.pending) == (0, 1, True)


@pytest.mark.parametrize(
    ("same", "here", "there", "pending", "mode", "expected"),
    [
        (1, 0, 0, False, "replace", None),
        (0, 1, 0, False, "replace", "missing"),
        (0, 0, 1, False, "replace", "extra"),
        (0, 1, 1, False, "replace", "different"),
        (1, 1, 0, False, "replace", "missing"),
        (1, 0, 1, False, "upsert", "extra"),
        (0, 0, 1, True, "upsert", None),
        (0, 1, 1, True, "upsert", "different"),
        (1, 0, 5, False, "append", None),
        (0, 0, 5, False, "append", None),
        (0, 1, 0, False, "append", "missing"),
        (0, 1, 1, False, "append", "different"),
        (1, 1, 1, False, "append", "missing"),
    ],
)
def test_what_a_keys_rows_mean(
    same: int, here: int, there: int, pending: bool, mode: str, expected: str | None
) -> None:
    """Rows that only the destination has are a difference unless the stream appends, or the row is to come."""
    rows = KeyRows(
        order=1, identity="1", key=("1",), same=same, source_only=here, destination_only=there, pending=pending
    )
    assert judged(rows, plan(write_mode=mode)) == expected


def column(name: str, kind: ColumnType = INTEGER, **changes: Any) -> Column:
    return replace(Column(name=name, type=kind), **changes)


def planned(source: tuple[Column, ...], destination: tuple[Column, ...] | None, **changes: Any) -> ComparisonPlan:
    values: dict[str, Any] = {
        "stream": "orders",
        "target": QualifiedName(schema="raw", name="orders"),
        "write_mode": "replace",
        "key": ("id",),
        "conversion": conversion,
        "same_money": True,
        "ignores_new_columns": False,
        "cursor": None,
        "incremental": False,
        "published_rows": None,
        "estimated_rows": None,
    }
    return plan_comparison(source=source, destination=destination, **{**values, **changes})


def test_a_key_that_is_not_compared_names_nothing() -> None:
    """The target lacks it, or prints it differently: rows are cut by a hash of the whole row."""
    found = planned((column("id"), column("v")), (column("v"),))
    assert (found.key, [each.is_difference for each in found.not_compared]) == ((), [True])
    found = planned((column("id", ColumnType(name="double precision", oid=701)),), (column("id"),))
    assert (found.key, found.integer_key, [each.is_difference for each in found.not_compared]) == ((), False, [False])


def test_an_integer_key_is_one_at_both_ends() -> None:
    """A bigint for an integer is one; text for an integer is cut by a hash of it."""
    big = ColumnType(name="bigint", oid=20)
    assert planned((column("id"),), (column("id", big),)).integer_key
    found = planned((column("id"),), (column("id", TEXT),))
    assert (found.integer_key, len(found.key)) == (False, 1)


def test_money_of_another_locale_is_not_compared() -> None:
    """Its text is another one there (B20)."""
    money = column("m", ColumnType(name="money", oid=790), money=True)
    assert planned((money,), (money,), same_money=False).columns == ()
    assert len(planned((money,), (money,)).columns) == 1


@pytest.mark.parametrize(
    ("piece", "words"),
    [(0, "id < 10"), (1, "10 <= id < 20"), (2, "20 <= id"), (NULL_KEYS, "id is NULL")],
)
def test_ranges_are_named_half_open(piece: int, words: str) -> None:
    """As they are cut."""
    assert piece_words(Cut(by="key_range", key=("id",), count=3, thresholds=(10, 20)), piece) == words


def test_pieces_of_a_hash_are_numbered() -> None:
    """There is no range to name."""
    assert piece_words(Cut(by="key_hash", key=("a", "b"), count=4), 3) == "piece 3 of 4 by a hash of (a, b)"
    assert piece_words(Cut(by="key_range", key=("id",), count=1), 0) == "every id"


def test_runs_join_what_follows_each_other() -> None:
    """Adjacent pieces are read as one range."""
    assert runs_of([1, 2, 3, 7, 9, 10]) == [(1, 3), (7, 7), (9, 10)]


def report(**changes: Any) -> VerifyReport:
    stream = StreamComparison(
        plan=plan(
            cursor=StoredCursor(field="at", type="date", value="2024-01-01"),
            not_compared=(NotCompared(column="bad\x1b[2J", reason="no common text"),),
        ),
        cut=Cut(by="key_range", key=("id",), count=2, thresholds=(10,)),
        source_rows=20,
        destination_rows=19,
        pieces=(
            DifferentPiece(
                piece=0, source=Digest(rows=10, checksum="10:1:2"), destination=Digest(rows=9, checksum="9:1:2")
            ),
        ),
        piece_count=3,
        keys=(DifferentKey(kind="missing", key=("7\u202e",)), DifferentKey(kind="extra", key=(None,))),
        counts={"missing": 1, "extra": 1, "different": 0},
        pending=2,
    )
    facts = ServerFacts(version="18.0", version_number=180000)
    return VerifyReport(
        pipeline="shop",
        source=facts,
        destination=facts,
        streams=(replace(stream, **changes),),
        duration_s=1.5,
    )


def test_the_text_names_pieces_and_keys_and_harms_no_terminal() -> None:
    """Control and bidirectional characters are escaped; NULL is a word (G9)."""
    text = verify_text(report())
    assert text.splitlines() == [
        "shop: DIFFERENT, compared in 1.50 s",
        "",
        "orders -> raw.orders: DIFFERENT, 20 rows at the source, 19 at the destination",
        "  1 keys missing at the destination",
        "  1 keys not at the source",
        "  in id < 10: 10 rows at the source, 9 at the destination",
        "  and 2 pieces more",
        "  missing: id = 7\\u202e",
        "  extra: id = NULL",
        "  column bad\\x1b[2J is not compared: no common text",
        "  note: compared up to at = 2024-01-01, as far as it is loaded",
        "  note: an increment does not see deletes: rows deleted at the source since count as extra",
        "  note: 2 keys have changed at the source since the cursor: the next increment brings them",
    ]


def test_the_document_has_the_same() -> None:
    """Figures, pieces and keys; it is JSON."""
    document = json.loads(document_text(verify_document(report())))
    (stream,) = document["streams"]
    assert (document["equal"], stream["equal"], stream["as_of"]) == (False, False, "cursor")
    assert stream["keys"] == [{"kind": "missing", "key": {"id": "7\u202e"}}, {"kind": "extra", "key": {"id": None}}]
    assert stream["different_pieces_shown"][0]["rows"] == "id < 10"


def test_equal_is_without_any_difference() -> None:
    """Pieces, keys, rows that nobody brought, a column that should be there, a target that is not."""
    same: dict[str, Any] = {"pieces": (), "piece_count": 0, "keys": (), "counts": {}}
    assert report(**same).equal
    assert "shop: equal" in verify_text(report(**same))
    assert not report(**same, unexplained_rows=1).equal
    assert not report(**same, plan=plan(target_exists=False)).equal
    lacking = NotCompared(column="v", reason="the target has no such column", is_difference=True)
    assert not report(**same, plan=plan(not_compared=(lacking,))).equal
