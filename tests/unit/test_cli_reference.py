"""docs/cli.md and docs/exit-codes.md say what the commands and the error tree say."""

from __future__ import annotations

from pathlib import Path

import pytest

from rapidbyte.cli.application import COMMANDS, EXIT_CODES, application_for
from rapidbyte.cli.reference import PAGES
from rapidbyte.report.failure import EXIT_WORDS

DOCS = Path(__file__).parents[2] / "docs"


def test_the_help_names_every_exit_code() -> None:
    """In the words of the summary; they are written twice, so that help needs no report."""
    assert f"Exit codes: {', '.join(f'{code} {word}' for code, word in EXIT_WORDS.items())}." == EXIT_CODES


@pytest.mark.parametrize("name", list(PAGES))
def test_the_page_is_up_to_date(name: str) -> None:
    """`make docs` writes it."""
    assert PAGES[name]() == (DOCS / f"{name}.md").read_text()


def test_every_command_and_option_is_on_the_page() -> None:
    """As the user types it."""
    page = PAGES["cli"]()
    for command in COMMANDS:
        assert f"## `rapidbyte {command.__name__}" in page
    for option in ("--stream NAME", "--set PATH=VALUE", "-v`, `--verbose", "--log-format text\\|json", "--from DSN"):
        assert f"`{option}" in page


@pytest.mark.parametrize(
    ("arguments", "count"),
    [(["-v", "run", "x.yaml"], 1), (["plan"], 1), (["--help"], len(COMMANDS)), (["rnu"], len(COMMANDS))],
)
def test_only_the_command_that_is_named_is_taken_apart(arguments: list[str], count: int) -> None:
    """All of them where none is, for the help and for what was meant."""
    assert len(application_for(arguments).registered_commands) == count
