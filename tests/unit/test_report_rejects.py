"""What `rejects` prints: for people without values unless they are asked for; as JSON as the page says."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from rapidbyte.destinations.postgres.replay import Replayed, StoredReject
from rapidbyte.model import QualifiedName
from rapidbyte.report.rejects import rejects_document, rejects_text, replay_document, replay_text

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
    line = "     7  waiting     orders: /data/orders.csv, line 3, column amount: not exactly a bigint [22P02]\n"
    assert rejects_text((stored(),), shows_rows=False) == line
    assert rejects_text((stored(),), shows_rows=True) == line + '        {"amount": "canary"}\n'
    assert rejects_text((), shows_rows=False) == "no row of this pipeline is set aside\n"


def test_a_replay_tells_what_was_not_loaded() -> None:
    """And how many were."""
    assert replay_text(DONE) == "     8  refused   orders: out of range\n1 of 2 rows loaded\n"


@pytest.mark.parametrize(
    ("title", "document"),
    [
        ("rejects list", rejects_document((stored(),), "shop", shows_rows=True)),
        ("rejects replay", replay_document(DONE, "shop")),
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
    assert "canary" not in str(rejects_document((stored(),), "shop", shows_rows=False))
