"""What may be shown: no control character, no bidirectional override, no password. Pure."""

from __future__ import annotations

import re
import unicodedata
from typing import Any, cast

MASK = "***"
_SENTENCES = frozenset({"message", "hint", "afterwards", "row_detail", "advice", "warnings", "detail"})

# Cc: ESC, newline, C1. Cf: bidi overrides and isolates, zero-width and tag characters (a name could look like
# another). Cs: lone surrogates, which no encoder takes. Zl, Zp: line ends that a log reader may honour.
_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
_ALLOWED = re.compile(r"[ -~]*")

# `user:password@`, with or without `scheme://` before it: libpq echoes a URI whose scheme is misspelt. A password
# may hold `@` itself, so the last one before a slash, a space or a quote ends it.
_URI_PASSWORD = re.compile(r"((?:^|[\s/\"'])[^\s/:@\"']*:)[^\s/\"']+(@)")
_KEY_PASSWORD = re.compile(r"(?i)(\b(?:ssl)?password\s*=\s*)(?:'(?:[^'\\]|\\.)*'|[^\s'\"&,;)]+)")


def printable(text: str) -> str:
    """The text on one line, with whatever a terminal, a log or a reader could mistake shown as an escape.

    Letters of every script stay as they are. Applying it twice changes nothing more.
    """
    if _ALLOWED.fullmatch(text):
        return text
    return "".join(_shown(character) for character in text)


def _shown(character: str) -> str:
    if unicodedata.category(character) not in _HIDDEN:
        return character
    code = ord(character)
    if character in _SHORT:
        return _SHORT[character]
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def without_passwords(text: str) -> str:
    """The text with the password of every connection string in it masked.

    The second line of defence: a `Secret` prints as `***` by itself, but a server, or libpq, may echo what it was
    given.
    """
    return _KEY_PASSWORD.sub(rf"\1{MASK}", _URI_PASSWORD.sub(rf"\1{MASK}\2", text))


def shown(text: str) -> str:
    """Fit for a terminal and for a log: printable, and without passwords."""
    return printable(without_passwords(text))


def masked(value: Any, *, sentence: bool = False) -> Any:
    """The value with passwords masked in every sentence that may quote a server: messages, hints, warnings."""
    if isinstance(value, dict):
        items = cast("dict[str, Any]", value).items()
        return {key: masked(item, sentence=key in _SENTENCES) for key, item in items}
    if isinstance(value, (list, tuple)):
        return [masked(item, sentence=sentence) for item in cast("list[Any]", value)]
    return without_passwords(value) if sentence and isinstance(value, str) else value
