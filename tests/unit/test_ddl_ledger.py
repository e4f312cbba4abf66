"""The ledger's tables, their comments, and the page that describes them say the same."""

from __future__ import annotations

import re
from pathlib import Path

from rapidbyte.destinations.postgres import ddl, ledger

PAGE = Path(__file__).parents[2] / "docs" / "ledger.md"


def columns_of_statements() -> set[str]:
    """`table.column` of every CREATE TABLE."""
    found: set[str] = set()
    for statement in ledger.CREATE_TABLES:
        if (table := re.match(r"CREATE TABLE _rapidbyte\.(\w+)", statement)) is not None:
            lines = [line.split()[0] for line in statement.splitlines()[1:-1]]
            found |= {f"{table[1]}.{name}" for name in lines if name not in ("PRIMARY", "CHECK")}
    return found


def test_every_table_and_column_has_a_comment() -> None:
    """And nothing else has."""
    commented = {thing.removeprefix("COLUMN _rapidbyte.") for thing, _ in ledger.COMMENTS if thing.startswith("COLUMN")}
    assert commented == columns_of_statements()
    assert {thing for thing, _ in ledger.COMMENTS if thing.startswith("TABLE")} == {
        f"TABLE {name}" for name in ledger.TABLES
    }


def test_the_page_says_what_the_comments_say() -> None:
    """docs/ledger.md lists every column, in order, in the comment's words."""
    listed: list[tuple[str, str]] = []
    table = ""
    for line in PAGE.read_text().splitlines():
        if (heading := re.fullmatch(r"## `_rapidbyte\.(\w+)`", line)) is not None:
            table = heading[1]
        elif line.startswith("## "):
            table = ""
        elif table and (row := re.fullmatch(r"\| `(\w+)` \| (.+) \|", line)) is not None:
            listed.append((f"COLUMN _rapidbyte.{table}.{row[1]}", row[2]))
    assert listed == [(thing, text) for thing, text in ledger.COMMENTS if thing.startswith("COLUMN")]


def test_public_gets_nothing() -> None:
    """Whatever default privileges say."""
    statements = [ddl.text(statement) for statement in ledger.bootstrap_statements()]
    assert statements[-len(ledger.TABLES) :] == [
        f'REVOKE ALL ON "{name.schema}"."{name.name}" FROM PUBLIC' for name in ledger.TABLES
    ]
