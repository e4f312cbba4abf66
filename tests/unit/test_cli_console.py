"""Lines on stderr: in order, escaped, without passwords, as objects where that is asked for."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Iterator

import pytest

from rapidbyte.cli.console import Console, LogFormat
from rapidbyte.cli.library_log import tell_library_messages
from rapidbyte.errors import DestinationError

WILD = "a\nerror: fake \x1b[2J \u202e \x7f postgresql://ann:canary@db"
TAME = "a\\nerror: fake \\x1b[2J \\u202e \\x7f postgresql://ann:***@db"


@pytest.fixture(autouse=True)
def _logging_restored() -> Iterator[None]:
    """The root logger as it was."""
    yield
    tell_library_messages(lambda message, *, level: None)
    root = logging.getLogger()
    root.removeHandler(root.handlers[-1])
    logging.captureWarnings(capture=False)


def console(*, quiet: bool = False, verbosity: int = 0, log_format: LogFormat = "text") -> Console:
    found = Console()
    found.configure(quiet=quiet, verbosity=verbosity, log_format=log_format)
    found.start()
    return found


def lines(found: Console, capsys: pytest.CaptureFixture[str]) -> list[str]:
    assert found.close()
    return capsys.readouterr().err.splitlines()


def test_a_line_is_a_line_whatever_is_in_it(capsys: pytest.CaptureFixture[str]) -> None:
    """As text and as JSON (G11, G4)."""
    found = console()
    found.tell(WILD)
    assert lines(found, capsys) == [TAME]
    found = console(log_format="json")
    found.tell(WILD)
    found.tell_error(DestinationError(WILD, code="wild", hint=WILD))
    first, second = lines(found, capsys)
    assert json.loads(first)["message"] == TAME
    assert (first + second).isascii()
    assert "\x7f" not in first + second
    assert "canary" not in first + second


def test_lines_keep_their_order(capsys: pytest.CaptureFixture[str]) -> None:
    """And the last is written before the process ends."""
    found = console()
    for number in range(500):
        found.tell(str(number))
    assert lines(found, capsys) == [str(number) for number in range(500)]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, ["info", "warning: w", "e"]),
        ({"verbosity": 1}, ["debug", "info", "warning: w", "e"]),
        ({"quiet": True}, ["e"]),
        ({"quiet": True, "verbosity": 2}, ["e"]),
    ],
)
def test_quiet_and_verbose_choose_what_is_told(
    capsys: pytest.CaptureFixture[str], options: dict[str, bool], expected: list[str]
) -> None:
    """Errors always are."""
    found = console(**options)  # type: ignore[arg-type]
    found.tell("debug", level="debug")
    found.tell("info")
    found.warn("w")
    found.warn("w")
    found.tell("e", level="error")
    assert lines(found, capsys) == expected


def test_what_libraries_log_and_warn_about_is_told_the_same_way(capsys: pytest.CaptureFixture[str]) -> None:
    """psycopg's log, a library's warning: one object a line."""
    found = console(log_format="json")
    logging.getLogger("psycopg").warning("error ignored: %s", "a\nb")
    logging.getLogger("psycopg").info("not told")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(capture=False)  # whatever an earlier test has left
        logging.captureWarnings(capture=True)
        warnings.warn("old", UserWarning, stacklevel=1)
    first, second = (json.loads(line) for line in lines(found, capsys))
    assert (first["level"], first["message"]) == ("warning", "psycopg: error ignored: a\\nb")
    assert "UserWarning: old" in second["message"]


def test_only_one_console_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """Configured again, nothing is told twice."""
    found = console()
    found.configure(quiet=False, verbosity=0, log_format="text")
    logging.getLogger("x").error("once")
    assert lines(found, capsys) == ["warning: x: once"]
