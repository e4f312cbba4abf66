"""What `rejects` prints: for people without values unless they are asked for; as JSON as the page says."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from rapidbyte.destinations.postgres.dropping import Dropped
from rapidbyte.destinations.postgres.replay import Replayed, StoredReject
from rapidbyte.model import QualifiedName
from rapidbyte.report.rejects import (
    drop_document,
    drop_text,
    rejects_document,
    rejects_text,
    replay_document,
    replay_text,
)

DOCS = Path(__file__).parents[2] / "docs" / "commands-json.md"


def stored(**changes: Any) -> StoredReject:
    values: dict[str, Any] = {
        "reject_id": 7,
        "stream": "orders",
        "run_id": "run-1",
        "load_id": "load-1",
        "partition": 0,
        "file": "/data/orders.csv",
        "line": 3,
        "column": "amount",
        "code": "value_misfit",
        "sqlstate": "22P02",
        "message": "not exactly a bigint",
        "form": "source",
        "row": {"amount": "canary"},
        "rejected_at": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
        "replayed_at": None,
        "replayed_by": None,
        "target": QualifiedName(schema="raw", name="orders"),
        "write_mode": "append",
        "state": "waiting",
    }
    return StoredReject(**{**values, **changes})


DONE = (
    Replayed(reject_id=7, stream="orders", outcome="loaded"),
    Replayed(reject_id=8, stream="orders", outcome="refused", reason="out of range"),
)


def test_a_row_is_one_line_without_its_values() -> None:
    """They follow where they were asked for."""
    place = "/data/orders.csv, line 3, column amount"
    line = f"     7  waiting     orders: {place}: not exactly a bigint [value_misfit, 22P02]\n"
    values = '        {"amount": "canary"}\n'
    assert rejects_text((stored(),), shows_rows=False, has_more=False, chosen=False) == line
    assert rejects_text((stored(),), shows_rows=True, has_more=False, chosen=True) == line + values
    told = rejects_text((stored(),), shows_rows=False, has_more=True, chosen=False)
    assert told == line + "these are the first 1; -n shows more\n"


def test_that_there_is_none_is_said_of_what_was_asked_for() -> None:
    """Rows of other streams, or with other codes, may be there."""
    said = [rejects_text((), shows_rows=False, has_more=False, chosen=chosen) for chosen in (False, True)]
    assert said == ["no row of this pipeline is set aside\n", "no such row of this pipeline is set aside\n"]


def test_a_replay_tells_what_was_not_loaded() -> None:
    """And how many were."""
    hint = "hint: `rapidbyte rejects drop PIPELINE ID...` deletes those that shall not be loaded any more\n"
    assert replay_text(DONE) == "     8  refused   orders: out of range\n1 of 2 rows loaded\n" + hint
    assert replay_text(DONE[:1]) == "1 of 1 rows loaded\n"


GONE = (
    Dropped(reject=stored(), outcome="dropped"),
    Dropped(reject=stored(reject_id=8, state="unfinished"), outcome="left", reason="not published"),
)


def test_a_drop_names_every_row() -> None:
    """Those that are gone as well as those that stay: nothing goes in silence."""
    assert drop_text(GONE) == (
        "     7  dropped   orders: /data/orders.csv, line 3, column amount: not exactly a bigint\n"
        "     8  left      orders: /data/orders.csv, line 3, column amount: not published\n"
        "1 of 2 rows dropped\n"
    )
    assert (drop_document(GONE, "shop")["dropped"], drop_document(GONE, "shop")["left"]) == (1, 1)


@pytest.mark.parametrize(
    ("title", "document"),
    [
        ("rejects list", rejects_document((stored(),), "shop", shows_rows=True, has_more=False)),
        ("rejects replay", replay_document(DONE, "shop")),
        ("rejects drop", drop_document(GONE, "shop")),
    ],
)
def test_every_field_is_on_the_page(title: str, document: dict[str, Any]) -> None:
    """docs/commands-json.md, in the order of the document."""
    (section,) = (part for part in DOCS.read_text().split("\n## ") if part.startswith(f"`rapidbyte {title}"))
    expected: list[str] = []
    for name, value in document.items():
        expected.append(name)
        if isinstance(value, list):
            expected += [f"{name}[].{inner}" for inner in value[0]]
    assert re.findall(r"^\| `([^`]+)` \|", section, re.MULTILINE) == expected


def test_values_are_in_no_list() -> None:
    """`show` alone has them (G6)."""
    assert "canary" not in str(rejects_document((stored(),), "shop", shows_rows=False, has_more=False))
