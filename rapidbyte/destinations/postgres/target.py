"""What there is at the destination: a target and everything that hangs on it, as values. `target_catalog` looks."""

from __future__ import annotations

from rapidbyte.model import Column, QualifiedName
from rapidbyte.values import frozen


@frozen
class Grant:
    """One privilege that a table's owner has granted."""

    grantee: str | None
    """None is PUBLIC."""
    privilege: str
    grantable: bool = False
    column: str | None = None


@frozen
class TargetColumn:
    """One column of a target, with what an administrator may have set on it."""

    column: Column
    default: str | None = None
    identity_always: bool = False
    sequence: QualifiedName | None = None
    """The sequence that the column owns: serial or identity."""
    default_sequences: tuple[QualifiedName, ...] = ()
    """Every sequence that its default takes values from."""
    statistics: int | None = None
    options: tuple[str, ...] = ()
    comment: str | None = None
    stored_as_type: bool = True
    """Storage and compression are the type's own."""

    @property
    def name(self) -> str:
        """The column's name."""
        return self.column.name

    @property
    def filled_by_server(self) -> bool:
        """Has a value where an INSERT gives none."""
        return self.default is not None or self.column.generated or self.column.identity


@frozen
class IndexFacts:
    """One index, as it can be built again."""

    name: str
    unique: bool
    tail: str | None
    """`USING btree (a) ...`, as the server prints it; None where the print has no beginning that we know."""
    key: tuple[str, ...]
    """Columns, where it is an index over columns alone and without a predicate; INCLUDE left out. Else empty."""
    constraint: str | None = None
    """`PRIMARY KEY` or `UNIQUE` where it carries one."""
    constraint_name: str | None = None
    deferrable: bool = False
    deferred: bool = False
    comment: str | None = None
    constraint_comment: str | None = None
    special: str | None = None
    """Why it cannot be built again as it is; None where it can."""


@frozen
class CheckFacts:
    """One CHECK constraint."""

    name: str
    definition: str
    """As `pg_get_constraintdef` prints it."""
    columns: tuple[str, ...]
    """Those it mentions; a whole-row reference is an empty name."""
    comment: str | None = None


@frozen
class TargetFacts:
    """A target and what hangs on it, as one transaction saw it."""

    name: QualifiedName
    schema_exists: bool
    may_create: bool
    """In its schema; in the database where there is no such schema."""
    may_use: bool = True
    """Its schema."""
    publications_of_schema: tuple[str, ...] = ()
    """Publications that take in every table of the schema."""
    publications_of_all: tuple[str, ...] = ()
    """Those of them that take in every table of the database."""
    oid: int | None = None
    """None: there is no such relation, and all that follows is empty."""
    kind: str = ""
    """`pg_class.relkind`: r is a table, p a partitioned one."""
    owner: str = ""
    owned: bool = False
    """We are the owner, or have its rights."""
    may_give: bool = False
    """A table of ours can be given to its owner."""
    privileges: frozenset[str] = frozenset()
    """Ours on the whole table: SELECT, INSERT, UPDATE, DELETE. (LOCK TABLE asks for those, not for columns'.)"""
    row_security: bool = False
    """A policy would apply to us."""
    columns: tuple[TargetColumn, ...] = ()
    refusing_updates: tuple[str, ...] = ()
    """Publications that send its UPDATEs, and cannot: it has no replica identity. Then the server refuses them."""
    refusing_deletes: tuple[str, ...] = ()
    """Likewise, of DELETEs."""
    empty: bool | None = None
    """None: we may not look."""
    indexes: tuple[IndexFacts, ...] = ()
    checks: tuple[CheckFacts, ...] = ()
    not_null_comments: tuple[tuple[str, str], ...] = ()
    """(constraint, comment): from version 18 NOT NULL constraints have names, and may have comments."""
    obstacles: tuple[str, ...] = ()
    """What a new table in its place could not be given."""
    triggers: tuple[str, ...] = ()
    """User triggers that fire on INSERT, UPDATE or DELETE."""
    rules: tuple[str, ...] = ()
    inbound_keys: tuple[str, ...] = ()
    """Foreign keys of other tables that point here."""
    options: tuple[str, ...] = ()
    """Storage parameters: `fillfactor=70`, `toast.autovacuum_enabled=false`."""
    comment: str | None = None
    grants: tuple[Grant, ...] = ()
    """Also the owner's own; empty with `default_grants`."""
    default_grants: bool = True
    """Nobody has ever granted or revoked anything."""

    @property
    def exists(self) -> bool:
        """There is a relation of this name."""
        return self.oid is not None

    @property
    def primary_key(self) -> tuple[str, ...]:
        """Columns of the primary key; empty where there is none."""
        return next((index.key for index in self.indexes if index.constraint == "PRIMARY KEY"), ())

    def column(self, name: str) -> TargetColumn | None:
        """The column of this name."""
        return next((column for column in self.columns if column.name == name), None)

    def has_unique_key(self, key: tuple[str, ...]) -> bool:
        """No two rows share these columns' values: an index sees to it (NULLs aside)."""
        return any(index.unique and index.special is None and set(index.key) == set(key) for index in self.indexes)
