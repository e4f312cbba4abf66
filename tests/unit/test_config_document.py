"""The strict YAML reader: what a tree keeps, and what a plain scalar would be misread as."""

from __future__ import annotations

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from rapidbyte.config import document
from rapidbyte.config.document import Listing, Mapping, Scalar, misreading, printable, read_document, shown


def scalar(text: str) -> Scalar:
    """The one value of `a: text`."""
    tree, problems = read_document(f"a: {text}", "f")
    assert problems == ()
    assert isinstance(tree, Mapping)
    value = tree.get("a")
    assert isinstance(value, Scalar)
    return value


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("no", "a boolean"),
        ("True", "a boolean"),
        ("off", "a boolean"),
        ("12", "a number"),
        ("012", "a number"),
        ("0o17", "a number"),
        ("0b11", "a number"),
        ("1_000", "a number"),
        ("1.10", "a number"),
        ("1e3", "a number"),
        (".nan", "a number"),
        ("22:22", "a base 60 number"),
        ("1:30.5", "a base 60 number"),
        ("2024-01-01", "a date"),
        ("2024-01-01 10:00:00", "a date"),
        ("~", "an empty value"),
        ("", "an empty value"),
        ("y", None),
        ("x", None),
        ("1a", None),
        ("1.2.3", None),
        ("127.0.0.1", None),
        ("=", None),
    ],
)
def test_misreading(text: str, meaning: str | None) -> None:
    """YAML 1.1's guesses are known; `y` and `n`, which no reader of ours guesses, are strings."""
    assert misreading(text) == meaning


@given(st.text(alphabet="0123456789abcdefnoxyON.:-_+~ ", max_size=12))
def test_misreading_agrees_with_yaml(text: str) -> None:
    """Whatever PyYAML makes something other than a string of, we call a misreading."""
    value = yaml.safe_load(f'- "{text}"\n- placeholder')[0]
    assert value == text
    loader = yaml.SafeLoader("")
    tag = loader.resolve(yaml.ScalarNode, text, (True, False))  # type: ignore[no-untyped-call]
    if tag not in ("tag:yaml.org,2002:str", "tag:yaml.org,2002:value"):
        assert misreading(text) is not None


def test_knows_quotes() -> None:
    """A quoted scalar is no plain one; its escapes are read."""
    assert scalar('"a\\tb"').text == "a\tb"
    assert not scalar('"no"').plain
    assert not scalar("'no'").plain
    assert scalar("no").plain
    assert not scalar("|\n  text").plain


def test_places_count_characters() -> None:
    """Columns are characters, not bytes, so that an editor finds them."""
    tree, _ = read_document('é: "日本"\nb: [x, 😀, y]\n', "f")
    assert isinstance(tree, Mapping)
    listing = tree.get("b")
    assert isinstance(listing, Listing)
    assert [(item.place.line, item.place.column) for item in listing.items] == [(2, 5), (2, 8), (2, 11)]


def test_a_reference_may_stand_in_a_flow_mapping() -> None:
    """`{dsn: ${DSN}}` would be broken YAML; the braces of a reference are no syntax."""
    tree, problems = read_document("a: {dsn: ${DSN}, port: ${PORT:-a: b, #c}, x: [${A}, $${B]}", "f")
    assert tree is None or problems  # `$${B` is a dollar and a brace of its own, which YAML wants closed
    tree, problems = read_document("a: {dsn: ${DSN}, port: ${PORT:-a: b, #c}, x: [${A}]}", "f")
    assert problems == ()
    assert isinstance(tree, Mapping)
    inner = tree.get("a")
    assert isinstance(inner, Mapping)
    assert [key.text for key, _ in inner.entries] == ["dsn", "port", "x"]
    assert [(key.place.column, value.place.column) for key, value in inner.entries] == [(5, 10), (18, 24), (43, 46)]
    assert [value.text for _, value in inner.entries if isinstance(value, Scalar)] == ["${DSN}", "${PORT:-a: b, #c}"]


@given(st.text(max_size=40))
def test_every_text_is_a_tree_or_problems(text: str) -> None:
    """No text makes the reader fail; where it gives no tree, it says why and where."""
    tree, problems = read_document(text.encode("utf-8", "replace").decode(), "f")
    assert tree is not None or problems
    assert all(problem.file == "f" for problem in problems)


def test_masking_leaves_a_text_with_such_characters_alone() -> None:
    """A text that holds a private character which would stand for a brace keeps it."""
    assert scalar("\U0010ff00").text == "\U0010ff00"
    assert scalar('"\U0010ff00 ${A}"').text == "\U0010ff00 ${A}"


def test_repr_hides_the_text() -> None:
    """A scalar may be a secret: its repr does not hold the text."""
    assert "hunter2" not in repr(scalar("hunter2"))


def test_shown_is_safe_for_a_terminal() -> None:
    """Escapes, line breaks and overlong texts cannot disturb a terminal."""
    assert shown("a\x1b[31m\nb") == "a\\x1b[31m\\nb"
    assert shown("x" * 100) == "x" * 57 + "..."
    assert printable("é x" * 40) == "é x" * 40
    assert printable("\u202e") == "\\u202e"


def test_works_without_libyaml(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where PyYAML has no C parser, its own gives the same trees and places."""
    text = 'a: [1, "b", {c: ${D}}]\nb: no\n'
    fast = read_document(text, "f")
    monkeypatch.setattr(document, "_LOADER", yaml.SafeLoader)
    assert read_document(text, "f") == fast
    assert read_document("a: *x", "f")[1][0].message == "aliases (*) are not allowed"
    assert read_document("a: [", "f")[1][0].message.startswith("not YAML: ")
