"""Statements that bring the stage's rows into the target and compare the two, as data. Pure.

They run while the role's own search_path is in force, because triggers, checks and defaults of the target may need
it; so everything is qualified, operators too (F11).
"""

from __future__ import annotations

from psycopg import sql

from rapidbyte.destinations.postgres.ddl import names
from rapidbyte.destinations.postgres.ledger import identifier
from rapidbyte.model import Column, QualifiedName
from rapidbyte.values import frozen

_SAME_IMAGE = frozenset(
    {16, 17, 19, 20, 21, 23, 25, 26, 1042, 1043, 1082, 1083, 1114, 1184, 2950},
)
"""Types of which equal values are the same bytes, under a deterministic collation: bool, bytea, name, integers, text,
oid, varchar, date, time, timestamps, uuid. Not so numeric (1.0, 1.00), floats (0, -0), char, intervals, jsonb.
(1042, char, pads to its length: equal values of one column are the same bytes.)"""


@frozen
class RowMove:
    """Stage and target of one publish, and which columns matter."""

    stage: QualifiedName
    target: QualifiedName
    partitioned: bool
    columns: tuple[Column, ...]
    """Carried, in the stage's order."""
    key: tuple[str, ...] = ()
    uncarried: tuple[Column, ...] = ()
    """Plain columns of the target that the stream does not carry."""
    identity: bool = False
    """One of the target's columns is an identity column."""
    fixed: tuple[str, ...] = ()
    """GENERATED ALWAYS AS IDENTITY: an UPDATE may not set them."""

    @property
    def source(self) -> sql.Composed:
        """The stage, for FROM."""
        return sql.SQL("ONLY {}").format(identifier(self.stage))

    @property
    def relation(self) -> sql.Composed:
        """The target, without tables that inherit from it; of a partitioned one all partitions."""
        return sql.SQL("{}{}").format(sql.SQL("" if self.partitioned else "ONLY "), identifier(self.target))

    @property
    def updatable(self) -> tuple[str, ...]:
        """Columns that an UPDATE sets: all but keys whose equal values are the same bytes, and `fixed`."""
        same = {c.name for c in self.columns if c.name in self.key and is_same_image(c)}
        return tuple(c.name for c in self.columns if c.name not in same and c.name not in self.fixed)

    @property
    def compared(self) -> tuple[str, ...]:
        """Columns that are compared byte by byte."""
        same = {c.name for c in self.columns if c.name in self.key and is_same_image(c)}
        return tuple(c.name for c in self.columns if c.name not in same)


def is_same_image(column: Column) -> bool:
    """Equal values of this column are the same bytes."""
    return column.type.oid in _SAME_IMAGE and column.collation is None


def _matches(key: tuple[str, ...]) -> sql.Composed:
    return sql.SQL(" AND ").join(
        sql.SQL("t.{} OPERATOR(pg_catalog.=) s.{}").format(sql.Identifier(name), sql.Identifier(name)) for name in key
    )


def _differs(columns: tuple[str, ...]) -> sql.Composed:
    def row(alias: str) -> sql.Composed:
        return sql.SQL("ROW({})").format(sql.SQL(", ").join(sql.Identifier(alias, name) for name in columns))

    if not columns:
        return sql.Composed([sql.SQL("false")])
    return sql.SQL("pg_catalog.record_image_ne({}, {})").format(row("t"), row("s"))


def count(relation: sql.Composable) -> sql.Composed:
    """Number of rows."""
    return sql.SQL("SELECT pg_catalog.count(*) FROM {}").format(relation)


def insert_all(move: RowMove) -> sql.Composed:
    """Every row of the stage."""
    return _insert(move, sql.SQL(""))


def insert_new(move: RowMove) -> sql.Composed:
    """The stage's rows whose key the target does not have."""
    return _insert(
        move, sql.SQL(" WHERE NOT EXISTS (SELECT FROM {} AS t WHERE {})").format(move.relation, _matches(move.key))
    )


def _insert(move: RowMove, condition: sql.Composable) -> sql.Composed:
    columns = [column.name for column in move.columns]
    return sql.SQL("INSERT INTO {} ({}) {}SELECT {} FROM {} AS s{}").format(
        identifier(move.target),
        names(columns),
        sql.SQL("OVERRIDING SYSTEM VALUE " if move.identity else ""),
        sql.SQL(", ").join(sql.Identifier("s", name) for name in columns),
        move.source,
        condition,
    )


def delete_all(move: RowMove) -> sql.Composed:
    """DELETE, not TRUNCATE: readers of an older snapshot keep their rows, foreign keys are asked."""
    return sql.SQL("DELETE FROM {}").format(move.relation)


def delete_gone(move: RowMove) -> sql.Composed:
    """The target's rows whose key the stage does not have."""
    return sql.SQL("DELETE FROM {} AS t WHERE NOT EXISTS (SELECT FROM {} AS s WHERE {})").format(
        move.relation, move.source, _matches(move.key)
    )


def count_new(move: RowMove) -> sql.Composed:
    """Rows of the stage whose key the target does not have."""
    return sql.SQL("SELECT pg_catalog.count(*) FROM {} AS s WHERE NOT EXISTS (SELECT FROM {} AS t WHERE {})").format(
        move.source, move.relation, _matches(move.key)
    )


def _changed(move: RowMove) -> sql.Composed:
    return sql.SQL("{} AND {}").format(_matches(move.key), _differs(move.compared))


def count_changed(move: RowMove) -> sql.Composed:
    """Rows whose key both have and whose bytes differ."""
    return sql.SQL("SELECT pg_catalog.count(*) FROM {} AS t, {} AS s WHERE {}").format(
        move.relation, move.source, _changed(move)
    )


def update_changed(move: RowMove) -> sql.Composed:
    """Rows whose key both have and whose bytes differ get the stage's values."""
    assignments = sql.SQL(", ").join(
        sql.SQL("{} = s.{}").format(sql.Identifier(name), sql.Identifier(name)) for name in move.updatable
    )
    return sql.SQL("UPDATE {} AS t SET {} FROM {} AS s WHERE {}").format(
        move.relation, assignments, move.source, _changed(move)
    )


def rewrite_changed(move: RowMove) -> sql.Composed:
    """What `update_changed` does, by deleting all changed rows before the first is inserted again.

    So values of a unique column can move between rows. What the stream does not carry is kept. The sort, which reads
    to its end before it delivers, keeps the first insert behind the last delete.
    """
    carried = [column.name for column in move.columns]
    kept = [column.name for column in move.uncarried]
    returned = [sql.Identifier("s", name) for name in carried] + [sql.Identifier("t", name) for name in kept]
    return sql.SQL(
        "WITH gone AS MATERIALIZED (DELETE FROM {} AS t USING {} AS s WHERE {} RETURNING {}) "
        "INSERT INTO {} ({}) {}SELECT * FROM (SELECT * FROM gone ORDER BY {} OFFSET 0) AS again"
    ).format(
        move.relation,
        move.source,
        _changed(move),
        sql.SQL(", ").join(returned),
        identifier(move.target),
        names([*carried, *kept]),
        sql.SQL("OVERRIDING SYSTEM VALUE " if move.identity else ""),
        names(move.key),
    )


def count_null_keys(relation: sql.Composable, key: tuple[str, ...]) -> sql.Composed:
    """Rows with NULL in a column of the key."""
    condition = sql.SQL(" OR ").join(sql.SQL("{} IS NULL").format(sql.Identifier(name)) for name in key)
    return sql.SQL("SELECT pg_catalog.count(*) FROM {} WHERE {}").format(relation, condition)


def count_duplicate_keys(relation: sql.Composable, key: tuple[str, ...]) -> sql.Composed:
    """Rows beyond the first of each key."""
    return sql.SQL(
        "SELECT coalesce(pg_catalog.sum(n OPERATOR(pg_catalog.-) 1), 0)::pg_catalog.int8 FROM"
        " (SELECT pg_catalog.count(*) AS n FROM {} GROUP BY {}) AS k"
    ).format(relation, names(key))


def greatest(relation: sql.Composable, column: str) -> sql.Composed:
    """The greatest value of an integer column."""
    return sql.SQL("SELECT pg_catalog.max({}) FROM {}").format(sql.Identifier(column), relation)


def delete_outranked(relation: sql.Composable, key: tuple[str, ...], order: tuple[str, ...]) -> sql.Composed:
    """Of the rows of each key those stay whose `order` columns are the greatest; NULL is the least of all.

    Run under `search_path = pg_catalog`: the sort takes each type's own default order.
    """
    return _delete_ranked(
        relation,
        sql.SQL("pg_catalog.rank() OVER (PARTITION BY {} ORDER BY {})").format(
            names(key),
            sql.SQL(", ").join(sql.SQL("{} DESC NULLS LAST").format(sql.Identifier(name)) for name in order),
        ),
    )


def delete_repeated(relation: sql.Composable, key: tuple[str, ...]) -> sql.Composed:
    """Of the rows of each key any one stays."""
    return _delete_ranked(relation, sql.SQL("pg_catalog.row_number() OVER (PARTITION BY {})").format(names(key)))


def _delete_ranked(relation: sql.Composable, standing: sql.Composable) -> sql.Composed:
    return sql.SQL(
        "DELETE FROM {} AS s USING (SELECT ctid AS place, {} AS standing FROM {}) AS r"
        " WHERE s.ctid OPERATOR(pg_catalog.=) r.place AND r.standing OPERATOR(pg_catalog.>) 1"
    ).format(relation, standing, relation)


def null_keys(relation: sql.Composable, key: tuple[str, ...]) -> sql.Composed:
    """Places of the rows with NULL in a column of the key."""
    condition = sql.SQL(" OR ").join(sql.SQL("{} IS NULL").format(sql.Identifier(name)) for name in key)
    return sql.SQL("SELECT ctid AS place FROM {} WHERE {}").format(relation, condition)


def repeated_rows(relation: sql.Composable, key: tuple[str, ...]) -> sql.Composed:
    """Places of all rows of each key but the first one of the table. NULL is no key."""
    present = sql.SQL(" AND ").join(sql.SQL("{} IS NOT NULL").format(sql.Identifier(name)) for name in key)
    return sql.SQL(
        "SELECT place FROM (SELECT ctid AS place, pg_catalog.row_number() OVER (PARTITION BY {} ORDER BY ctid)"
        " AS standing FROM {} WHERE {}) AS r WHERE r.standing OPERATOR(pg_catalog.>) 1"
    ).format(names(key), relation, present)


def repeated_keys(relation: sql.Composable, key: tuple[str, ...], limit: int) -> sql.Composed:
    """The first few keys that come more than once, as text."""
    return sql.SQL(
        "SELECT ROW({})::pg_catalog.text FROM {} GROUP BY {} HAVING pg_catalog.count(*) OPERATOR(pg_catalog.>) 1"
        " ORDER BY {} LIMIT {}"
    ).format(names(key), relation, names(key), names(key), sql.Literal(limit))
