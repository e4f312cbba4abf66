"""The SELECT of a stream, of a partition, and the locks that keep its rows as they are. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from psycopg import sql

from rapidbyte.errors import InternalError
from rapidbyte.model import QualifiedName, RelationKind
from rapidbyte.partition import CtidRange, CursorRange, KeyRange, PartitionRange, Whole
from rapidbyte.plan import StreamPlan
from rapidbyte.sources.postgres.typed import in_range
from rapidbyte.sources.postgres.user_sql import condition, subquery
from rapidbyte.values import frozen

LOCKABLE: frozenset[RelationKind] = frozenset({"table", "partitioned"})
"""LOCK TABLE takes these, and with them their partitions and children."""

_USER_SQL: frozenset[RelationKind] = frozenset({"view", "query"})


@frozen
class StreamRead:
    """What of a plan the reading needs. Picklable."""

    stream: str
    kind: RelationKind
    relation: QualifiedName | None
    query: str | None
    where: str | None
    columns: tuple[str, ...]
    may_lock: bool = True
    """The role has SELECT on the whole relation: LOCK TABLE asks for that, also where single columns are read."""

    @property
    def is_locked_by_name(self) -> bool:
        """LOCK TABLE can be had for it."""
        return self.kind in LOCKABLE and self.may_lock

    @property
    def runs_user_sql(self) -> bool:
        """The user's own text runs, or a view's, whose functions may look tables up by search_path."""
        return self.where is not None or self.kind in _USER_SQL


def stream_read(stream: StreamPlan) -> StreamRead:
    """The reading part of a plan."""
    return StreamRead(
        stream=stream.name,
        kind=stream.shape.kind,
        relation=stream.shape.relation,
        query=stream.shape.spec.query,
        where=stream.shape.spec.where,
        columns=tuple(column.source.name for column in stream.columns),
    )


def quoted(name: QualifiedName) -> sql.Identifier:
    """`"schema"."name"`."""
    return sql.Identifier(name.schema, name.name)


def relation_of(read: StreamRead, leaf: QualifiedName | None = None) -> sql.Composed:
    """What stands after FROM: the stream's relation or query; or ONLY one of its leaves, under the relation's name."""
    if read.query is not None:
        return subquery(read.query)
    if read.relation is None:
        raise InternalError(f"stream {read.stream} has neither relation nor query", code="read_incomplete")
    alias = sql.Identifier(read.relation.name)
    if leaf is None:
        return sql.SQL("{} AS {}").format(quoted(read.relation), alias)
    return sql.SQL("ONLY {} AS {}").format(quoted(leaf), alias)


def conditions(read: StreamRead, part: PartitionRange) -> tuple[sql.Composed, ...]:
    """What a row of this partition fulfils: the range's bounds, and the user's `where`."""
    found: list[sql.Composed] = []
    if isinstance(part, CtidRange):
        found += _block_bounds(part)
    elif isinstance(part, KeyRange):
        found += _key_bounds(part)
    elif isinstance(part, CursorRange):
        found.append(in_range(part))
    if read.where is not None:
        found.append(condition(read.where))
    return tuple(found)


def _block_bounds(part: CtidRange) -> list[sql.Composed]:
    bounds: list[sql.Composed] = []
    if part.low_block > 0:
        bounds.append(sql.SQL("ctid >= {}::pg_catalog.tid").format(sql.Literal(f"({part.low_block},0)")))
    if part.high_block is not None:
        bounds.append(sql.SQL("ctid < {}::pg_catalog.tid").format(sql.Literal(f"({part.high_block},0)")))
    return bounds


def _key_bounds(part: KeyRange) -> list[sql.Composed]:
    key = sql.Identifier(part.column)
    # As text with a cast: -9223372036854775808 without quotes is the minus of a numeric, and no index is used.
    bounds = [
        sql.SQL("{} {} {}::pg_catalog.int8").format(key, comparison, sql.Literal(str(bound)))
        for comparison, bound in ((sql.SQL(">="), part.low), (sql.SQL("<"), part.high))
        if bound is not None
    ]
    if not part.with_nulls:
        return bounds or [sql.SQL("{} IS NOT NULL").format(key)]
    if not bounds:
        return []
    return [sql.SQL("({} OR {} IS NULL)").format(sql.SQL(" AND ").join(bounds), key)]


def select(read: StreamRead, part: PartitionRange, *, limit: int | None = None) -> sql.Composed:
    """The rows of one partition."""
    leaf = part.relation if isinstance(part, Whole | CtidRange) else None
    statement = sql.SQL("SELECT {} FROM {}").format(_columns(read), relation_of(read, leaf))
    found = conditions(read, part)
    if found:
        statement += sql.SQL(" WHERE {}").format(sql.SQL(" AND ").join(found))
    return statement if limit is None else statement + sql.SQL(" LIMIT {}").format(sql.Literal(limit))


def _columns(read: StreamRead) -> sql.Composed:
    return sql.SQL(", ").join(map(sql.Identifier, read.columns))


def lock_statements(reads: Sequence[StreamRead]) -> tuple[sql.Composed, ...]:
    """Statements after which nobody can truncate, rewrite or drop what these streams read, until the transaction ends.

    Tables are locked with all that hangs below them. The rest cannot be: LOCK TABLE refuses materialized views and
    foreign tables, and a query names no tables. But to explain a query is to lock all that it reads, in the same mode.
    """
    tables = [quoted(read.relation) for read in reads if read.is_locked_by_name and read.relation is not None]
    lock = sql.SQL("LOCK TABLE {} IN ACCESS SHARE MODE").format(sql.SQL(", ").join(tables))
    explained = tuple(
        sql.SQL("EXPLAIN SELECT {} FROM {}").format(_columns(read), relation_of(read))
        for read in reads
        if not read.is_locked_by_name
    )
    return (lock, *explained) if tables else explained
