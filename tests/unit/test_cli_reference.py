"""docs/cli.md and docs/exit-codes.md say what the commands and the error tree say."""

from __future__ import annotations

from pathlib import Path

import pytest

from rapidbyte.cli.application import application
from rapidbyte.cli.reference import PAGES

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize("name", list(PAGES))
def test_the_page_is_up_to_date(name: str) -> None:
    """`make docs` writes it."""
    assert PAGES[name]() == (DOCS / f"{name}.md").read_text()


def test_every_command_and_option_is_on_the_page() -> None:
    """As the user types it."""
    page = PAGES["cli"]()
    for info in application.registered_commands:
        assert info.callback is not None
        assert f"## `rapidbyte {info.callback.__name__}" in page
    for option in ("--stream NAME", "--set PATH=VALUE", "-v`, `--verbose", "--log-format text\\|json", "--from DSN"):
        assert f"`{option}" in page
