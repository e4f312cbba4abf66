"""What reaches a terminal or a log can neither act on it nor be mistaken for something else (G11, G4)."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rapidbyte.report.escape import printable, shown, without_passwords


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("orders", "orders"),
        ("größe 価格 🙂", "größe 価格 🙂"),
        ("\x1b[2J\x1b]0;pwned\x07", "\\x1b[2J\\x1b]0;pwned\\x07"),
        ("a\nerror: fake", "a\\nerror: fake"),
        ("a\r\tb", "a\\r\\tb"),
        ("\x7f\x9b31m", "\\x7f\\x9b31m"),
        ("abc\u202etxt.exe", "abc\\u202etxt.exe"),
        ("\u2066a\u2069\u200b\u2028", "\\u2066a\\u2069\\u200b\\u2028"),
        ("\U000e0041", "\\U000e0041"),
        ("\udc80", "\\udc80"),
        ("[bold]x[/bold]", "[bold]x[/bold]"),
    ],
)
def test_hidden_characters_show_as_escapes_and_letters_stay(text: str, expected: str) -> None:
    """Controls, bidi overrides, zero-width, tags, surrogates and line ends are escaped; scripts and emoji are not."""
    assert expected == printable(text)


@given(st.text(st.characters(codec=None)))
def test_nothing_hidden_is_left_whatever_the_text(text: str) -> None:
    """No character of an invisible or line-ending category survives, and a second pass changes nothing."""
    found = printable(text)
    assert {unicodedata.category(character) for character in found} & {"Cc", "Cf", "Cs", "Zl", "Zp"} == set()
    assert found == printable(found)
    found.encode("utf-8")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("postgresql://ann:canary@db/shop", "postgresql://ann:***@db/shop"),
        ("postgres://ann:c@n@ry@db:5432/shop?x=1", "postgres://ann:***@db:5432/shop?x=1"),
        ("postgresql://db/shop", "postgresql://db/shop"),
        ("host=db password=canary user=ann", "host=db password=*** user=ann"),
        ("host=db password='can ary' user=ann", "host=db password=*** user=ann"),
        ("PASSWORD = canary", "PASSWORD = ***"),
        ("sslpassword=canary", "sslpassword=***"),
        ('missing "=" after "postgresql//ann:canary@db" in', 'missing "=" after "postgresql//ann:***@db" in'),
        ('missing "=" after "postgresql:ann:canary@db" in', 'missing "=" after "postgresql:***@db" in'),
        ("at 12:30 mail ann@db", "at 12:30 mail ann@db"),
        ("https://db/?password=canary&user=ann", "https://db/?password=***&user=ann"),
        ('password authentication failed for user "ann"', 'password authentication failed for user "ann"'),
    ],
)
def test_passwords_of_connection_strings_are_masked(text: str, expected: str) -> None:
    """URIs and key=value strings, quoted or not; a sentence about passwords stays as it is."""
    assert expected == without_passwords(text)


def test_what_is_shown_has_neither() -> None:
    """One function does both."""
    assert shown("postgresql://ann:canary@db\n") == "postgresql://ann:***@db\\n"
