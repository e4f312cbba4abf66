"""An increment -> ranges of its cursor, each of about `partition_bytes`. The server picks the values that part them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from psycopg import sql

from rapidbyte.cursor import CursorBounds
from rapidbyte.partition import CursorRange, cursor_ranges
from rapidbyte.pg.catalog import Leaf, sizes_of
from rapidbyte.pg.session import PgConnection
from rapidbyte.plan import StreamPlan
from rapidbyte.sources.postgres.select import StreamRead, conditions, relation_of
from rapidbyte.values import frozen

SAMPLE_BLOCKS = 2000
"""Heap blocks that are looked at to guess how much an increment is: 16 MB, some milliseconds."""

MOST_SCANS = 8
"""Ranges of an increment whose cursor has no index, at the most: each of them reads the whole table."""


@frozen
class Sample:
    """What stands after FROM to look at a share of a relation's rows."""

    rows: sql.Composed
    bytes: int
    """Of the whole relation."""


def split_increment(
    connection: PgConnection,
    stream: StreamPlan,
    read: StreamRead,
    leaves: Sequence[Leaf],
    *,
    bounds: CursorBounds,
    partition_bytes: int,
) -> tuple[CursorRange, ...]:
    """The ranges of an increment, at least one; rows with equal cursors are in one of them (E3)."""
    whole = cursor_ranges(bounds, ())
    if bounds.high is None:
        return whole
    where = sql.SQL(" AND ").join(conditions(read, whole[0]))
    sample = _sample(connection, read, leaves)
    size = _estimate(connection, read, where) if sample is None else _share(connection, sample, where)
    count = ranges_due(size, partition_bytes, has_index=stream.cursor is None or stream.cursor.column.index is not None)
    if count < 2:
        return whole
    rows = relation_of(read) if sample is None else sample.rows
    return cursor_ranges(bounds, _quantiles(connection, bounds.field, rows, where, count))


def ranges_due(size: int, partition_bytes: int, *, has_index: bool) -> int:
    """How many ranges of `partition_bytes` an increment of `size` bytes makes."""
    count = max(1, -(-size // max(1, partition_bytes)))
    return count if has_index else min(count, MOST_SCANS)


def _sample(connection: PgConnection, read: StreamRead, leaves: Sequence[Leaf]) -> Sample | None:
    """A share of the relation's blocks, all of them where they are few; None for what does not lie in heaps."""
    if read.kind not in ("table", "partitioned", "materialized_view") or not all(leaf.is_heap for leaf in leaves):
        return None
    sizes = sizes_of(connection, [leaf.oid for leaf in leaves]).values()
    blocks = sum(size.blocks for size in sizes)
    rows = relation_of(read)
    if blocks > SAMPLE_BLOCKS:
        rows += sql.SQL(" TABLESAMPLE SYSTEM ({})").format(sql.Literal(100.0 * SAMPLE_BLOCKS / blocks))
    return Sample(rows=rows, bytes=sum(size.bytes for size in sizes))


def _share(connection: PgConnection, sample: Sample, where: sql.Composed) -> int:
    """Bytes of the rows that fulfil the condition, by their share of the sample's rows."""
    row = connection.execute(
        sql.SQL("SELECT pg_catalog.count(*) FILTER (WHERE {}), pg_catalog.count(*) FROM {}").format(where, sample.rows)
    ).fetchone()
    found, rows = row if row is not None else (0, 0)
    return sample.bytes * found // rows if rows else 0


def _estimate(connection: PgConnection, read: StreamRead, where: sql.Composed) -> int:
    """Bytes that the planner expects."""
    columns = sql.SQL(", ").join(map(sql.Identifier, read.columns))
    statement = sql.SQL("EXPLAIN (FORMAT JSON) SELECT {} FROM {} WHERE {}").format(columns, relation_of(read), where)
    row = connection.execute(statement).fetchone()
    plan: dict[str, Any] = row[0][0]["Plan"] if row is not None else {}
    return int(plan.get("Plan Rows", 0)) * max(1, int(plan.get("Plan Width", 0)))


def _quantiles(
    connection: PgConnection, field: str, rows: sql.Composed, where: sql.Composed, count: int
) -> tuple[str, ...]:
    """`count - 1` values of the increment that part it evenly, in order; fewer where many rows have the same."""
    shares = [number / count for number in range(1, count)]
    row = connection.execute(
        sql.SQL(
            "SELECT (pg_catalog.percentile_disc({}::pg_catalog.float8[]) WITHIN GROUP (ORDER BY {}))"
            "::pg_catalog.text[] FROM {} WHERE {}"
        ).format(sql.Literal(shares), sql.Identifier(field), rows, where)
    ).fetchone()
    values: list[str | None] = row[0] or [] if row is not None else []
    return tuple(dict.fromkeys(value for value in values if value is not None))
