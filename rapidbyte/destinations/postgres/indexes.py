"""The source's index definitions, for `indexes: source`. Pure.

What a source server printed is not trusted: only the part after the table's name is used, it must begin with USING,
and it is run as one statement (extended protocol).
"""

from __future__ import annotations

import re

from rapidbyte.errors import ConfigError
from rapidbyte.values import frozen

_NAME = r'(?:"(?:[^"]|"")+"|[^\s".;()]+)'
_DEFINITION = re.compile(
    rf"CREATE (?P<unique>UNIQUE )?INDEX (?P<name>{_NAME}) ON (?:ONLY )?{_NAME}\.{_NAME} (?P<tail>USING .+)", re.DOTALL
)


@frozen
class SourceIndex:
    """An index as the source has it."""

    name: str
    unique: bool
    tail: str
    """`USING btree (a) ...`."""


def source_indexes(definitions: tuple[str, ...]) -> tuple[SourceIndex, ...]:
    """The indexes of these definitions, as `pg_get_indexdef` prints them. Raises ConfigError."""
    found: list[SourceIndex] = []
    for definition in definitions:
        match = _DEFINITION.fullmatch(definition)
        if match is None:
            raise ConfigError(
                f"an index definition of the source cannot be read: {definition[:100]}",
                code="index_unreadable",
                hint="set `indexes: none` for this stream",
            )
        found.append(SourceIndex(name=_unquoted(match["name"]), unique=match["unique"] is not None, tail=match["tail"]))
    return tuple(found)


def _unquoted(name: str) -> str:
    return name[1:-1].replace('""', '"') if name.startswith('"') else name
