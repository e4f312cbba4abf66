"""The words that every other module uses: names, columns, types, modes, secrets. Frozen values only."""

from __future__ import annotations

import re
from typing import Literal

from rapidbyte.values import frozen

SyncMode = Literal["full_refresh", "incremental", "cdc"]
WriteMode = Literal["append", "replace", "upsert"]
PublishMethod = Literal["rename", "swap", "in_place", "insert", "merge", "direct"]
Wire = Literal["binary-relay", "text-relay", "arrow-binary", "arrow-text"]
TypeKind = Literal["base", "array", "enum", "domain", "composite", "range", "multirange", "pseudo"]
RelationKind = Literal["table", "partitioned", "view", "materialized_view", "foreign", "query", "file"]

IDENTIFIER_BYTES = 63
"""NAMEDATALEN - 1: PostgreSQL silently cuts longer names, so we refuse them. Bytes, not characters."""


class Secret:
    """A value that prints as `***`. Equal to another secret with the same value; pickles.

    The text is to be had by `reveal()` alone, which is called where a connection is opened.
    """

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The text itself. Only for the call that hands it to libpq."""
        return self._text

    def __repr__(self) -> str:
        return "***"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._text == self._text

    def __hash__(self) -> int:
        return hash(self._text)

    def __getstate__(self) -> str:
        return self._text

    def __setstate__(self, state: str) -> None:
        self._text = state


@frozen
class QualifiedName:
    """A relation's schema and name, unquoted, exactly as the catalog has them."""

    schema: str
    name: str

    def __str__(self) -> str:
        return f"{self.schema}.{self.name}"


@frozen
class ColumnType:
    """A PostgreSQL type with its modifier."""

    name: str
    """As `format_type(oid, typmod)` prints it with an empty search_path: `numeric(12,2)`, `app.mood`."""
    oid: int
    typmod: int = -1
    """`atttypmod`; -1 where the type has none."""
    kind: TypeKind = "base"
    built_in: bool = True
    """OID below 16384 and of the server itself: the same type on every server."""

    @property
    def phrase(self) -> str:
        """The name with its article: `an integer`, `a uuid`."""
        return f"{'an' if self.name[:1].lower() in ('a', 'e', 'i', 'o') else 'a'} {self.name}"


@frozen
class Column:
    """One column of a stream or of a table, in the relation's order."""

    name: str
    type: ColumnType
    nullable: bool = True
    collation: QualifiedName | None = None
    """None where it is the type's default."""
    generated: bool = False
    """`GENERATED ALWAYS AS (...)`: never in a COPY's column list (42P10)."""
    identity: bool = False
    money: bool = False
    """Its text depends on the server's `lc_monetary`: it is of type money, or made of it."""
    arrow: str | None = None
    """The Arrow type in which the source delivers it, as pyarrow prints it; None on a relay."""
    reason: str | None = None
    """Why this type, where it was inferred: shown by `discover` and `plan`."""


@frozen
class TypeDefinition:
    """What a user-defined type of a server consists of, so that two servers' types can be compared."""

    oid: int
    name: QualifiedName
    """In the catalog: `_mood` for the array of `mood`."""
    kind: TypeKind
    labels: tuple[str, ...] = ()
    """An enum's labels, in order."""
    base: ColumnType | None = None
    """A domain's base type, with its modifier; an array's element; a range's subtype; a multirange's range."""
    constraints: tuple[str, ...] = ()
    """A domain's, as `pg_get_constraintdef` prints them, sorted, then `NOT NULL`."""
    attributes: tuple[tuple[str, ColumnType], ...] = ()
    """A composite's, in order."""
    extension: str | None = None
    """The extension that made the type."""
    parts: tuple[TypeDefinition, ...] = ()
    """The user-defined types among base and attributes."""


@frozen
class ServerFacts:
    """What a server says of itself."""

    version: str
    """As `server_version` prints it: `15.18 (Debian ...)`."""
    version_number: int
    """`server_version_num`: 150018."""
    encoding: str = "UTF8"
    lc_monetary: str = "C"
    identity: str = ""
    """system_identifier and database oid, where readable: tells two databases apart."""
    connections_left: int | None = None
    """What max_connections, the database's and the role's own limit leave, at the time of asking."""
    connections_limit: str = ""
    """Which of them it is, where it is not max_connections: `connection limit of role loader`."""
    is_plain: bool = False
    """The connection that asked is known to be without encryption."""
    toast_compression: str = ""
    """`default_toast_compression` of the role in this database: pglz or lz4."""

    @property
    def fingerprint(self) -> str | None:
        """The identity where it outlives a restart of the server; None where the role may not read it."""
        return self.identity if re.fullmatch(r"\d+/\d+", self.identity) else None


def session_name(role: str, pipeline: str) -> str:
    """The application_name of a connection. `role` is leader, worker-<n> or reader-<n>: `rapidbyte worker-0 shop`."""
    return f"rapidbyte {role} {pipeline}"
