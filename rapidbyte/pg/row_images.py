"""`comparison.RowEnd` of a PostgreSQL server: the statements, and who runs them. The same at both ends."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from typing import LiteralString, cast

from psycopg import sql

from rapidbyte.comparison import NULL_KEYS, ComparedColumn, Cut, Digest, RowImage
from rapidbyte.pg.checksum import SUMS, row_image
from rapidbyte.pg.failure import Side
from rapidbyte.pg.session import PgConnection, translated
from rapidbyte.values import frozen

FETCHED_ROWS = 5_000
"""Rows that one end holds in memory while it compares."""

CANCEL_SECONDS = 5.0
"""How long a server is asked to end a statement."""


@frozen
class ComparedRows:
    """Which rows of an end are compared, and by what."""

    relation: sql.Composed
    """What stands after FROM, with the user's WHERE where there is one."""
    columns: tuple[ComparedColumn, ...]
    key: tuple[ComparedColumn, ...]
    loaded: sql.Composed
    """A condition: true for the rows that are to be at the destination by now. Never NULL."""


class PostgresRows:
    """One end's rows of one stream, read in the transaction that is open on the connection. Used by one thread."""

    def __init__(self, connection: PgConnection, rows: ComparedRows, *, side: Side, doing: str) -> None:
        self._connection = connection
        self._rows = rows
        self._side: Side = side
        self._doing = doing

    def key_bounds(self) -> tuple[int | None, int | None]:
        """The least and the greatest key, of all rows."""
        with translated(self._side, self._doing):
            row = self._connection.execute(key_bounds_query(self._rows)).fetchone()
        return (None, None) if row is None else (row[0], row[1])

    def digests(self, cut: Cut) -> Mapping[int, Digest]:
        """One pass over the rows."""
        with translated(self._side, self._doing):
            found = self._connection.execute(digest_query(self._rows, cut)).fetchall()
        return {piece: Digest(rows=count, checksum=checksum) for piece, count, checksum in found}

    def rows(self, cut: Cut, pieces: Sequence[int]) -> Iterator[RowImage]:
        """Sorted by order, identity, pending and the two hashes."""
        with translated(self._side, self._doing), closing(self._connection.cursor("rapidbyte_rows")) as cursor:
            cursor.itersize = FETCHED_ROWS
            cursor.execute(rows_query(self._rows, cut, pieces))
            for *values, key in cursor:
                yield RowImage(*values, key=tuple(key))

    def cancel(self) -> None:
        """Asks the server to end what it is doing."""
        if not self._connection.closed:
            self._connection.cancel_safe(timeout=CANCEL_SECONDS)


def key_bounds_query(rows: ComparedRows) -> sql.Composed:
    """One row: the least and the greatest key as bigint."""
    key = sql.Identifier(rows.key[0].name)
    return sql.SQL(
        "SELECT pg_catalog.min({key})::pg_catalog.int8, pg_catalog.max({key})::pg_catalog.int8 FROM {}"
    ).format(rows.relation, key=key)


def digest_query(rows: ComparedRows, cut: Cut) -> sql.Composed:
    """(piece, rows, checksum) of each piece that has rows."""
    return sql.SQL(
        "SELECT piece, pg_catalog.count(*), {} FROM (SELECT {} AS piece, image FROM ({}) AS ordered WHERE loaded)"
        " AS images GROUP BY piece"
    ).format(SUMS, _piece(cut), _ordered(rows, cut))


def rows_query(rows: ComparedRows, cut: Cut, pieces: Sequence[int]) -> sql.Composed:
    """The fields of `RowImage` for each different row of these pieces, sorted.

    Rows that are not to be loaded yet come too, marked as pending, where a key tells whose they are.
    """
    condition = _within(cut, pieces)
    if cut.by == "row_hash":
        condition = sql.SQL("({}) AND loaded").format(condition)
    return sql.SQL(
        'SELECT "order", identity, NOT loaded AS pending, pg_catalog.hashtextextended(image, 0) AS first,'
        " pg_catalog.hashtextextended(image, 1) AS second, pg_catalog.count(*), pg_catalog.max(key)"
        ' FROM ({}) AS ordered WHERE {} GROUP BY "order", identity, pending, first, second'
        ' ORDER BY "order", identity, pending, first, second'
    ).format(_ordered(rows, cut), condition)


def _ordered(rows: ComparedRows, cut: Cut) -> sql.Composed:
    """Rows with image, identity, order, key and whether they are loaded."""
    names = [f"k{index}" for index in range(len(rows.key))]
    identity = row_image(names) if names else sql.SQL("'' COLLATE pg_catalog.\"C\"")
    hashed = sql.SQL("image") if cut.by == "row_hash" else sql.SQL("identity")
    order = sql.SQL("pg_catalog.hashtextextended({}, 0)").format(hashed)
    bound = sql.SQL("NULL")
    if cut.by == "key_range":
        order = sql.SQL("coalesce(k0::pg_catalog.int8, {})").format(order)
        bound = sql.SQL("k0")
    texts = sql.SQL(", ").join(sql.SQL("{}::pg_catalog.text").format(sql.Identifier(name)) for name in names)
    return sql.SQL(
        'SELECT image, identity, {} AS "order", {} AS bound, ARRAY[{}]::pg_catalog.text[] AS key, loaded'
        " FROM (SELECT *, {} AS image, {} AS identity FROM ({}) AS printed) AS imaged"
    ).format(order, bound, texts, row_image(_image_names(rows)), identity, _printed(rows))


def _image_names(rows: ComparedRows) -> list[str]:
    return [f"c{index}" for index in range(len(rows.columns))]


def _printed(rows: ComparedRows) -> sql.Composed:
    """The rows with every value as both ends print it, under names of our own."""
    parts = [
        sql.SQL("{} AS {}").format(_value(column), sql.Identifier(name))
        for name, column in zip(_image_names(rows), rows.columns, strict=True)
    ]
    parts += [
        sql.SQL("{} AS {}").format(_value(column), sql.Identifier(f"k{index}")) for index, column in enumerate(rows.key)
    ]
    parts.append(sql.SQL("{} AS loaded").format(rows.loaded))
    return sql.SQL("SELECT {} FROM {}").format(sql.SQL(", ").join(parts), rows.relation)


def _value(column: ComparedColumn) -> sql.Composable:
    if column.read_as is None:
        return sql.Identifier(column.name)
    # By way of its text, as COPY carries it. The name is the server's own, of format_type.
    kind = sql.SQL(cast("LiteralString", column.read_as.name))
    return sql.SQL("CAST(CAST({} AS pg_catalog.text) AS {})").format(sql.Identifier(column.name), kind)


def _piece(cut: Cut) -> sql.Composable:
    """The piece's index; `Cut.piece_of` says the same."""
    if cut.by != "key_range":
        return sql.SQL('("order" & {})::pg_catalog.int4').format(sql.Literal(cut.count - 1))
    if not cut.thresholds:
        return sql.SQL("CASE WHEN bound IS NULL THEN {} ELSE 0 END").format(sql.Literal(NULL_KEYS))
    thresholds = sql.SQL(", ").join(_bigint(threshold) for threshold in cut.thresholds)
    return sql.SQL("coalesce(pg_catalog.width_bucket(bound::pg_catalog.int8, ARRAY[{}]), {})").format(
        thresholds, sql.Literal(NULL_KEYS)
    )


def _within(cut: Cut, pieces: Sequence[int]) -> sql.Composable:
    """A condition for the rows of these pieces; adjacent ranges become one, which an index can serve."""
    if cut.by != "key_range":
        wanted = sql.SQL(", ").join(map(sql.Literal, sorted(pieces)))
        return sql.SQL("{} IN ({})").format(_piece(cut), wanted)
    ranges = [_range(cut, first, last) for first, last in runs_of(piece for piece in sorted(pieces) if piece >= 0)]
    if NULL_KEYS in pieces:
        ranges.append(sql.SQL("bound IS NULL"))
    return sql.SQL("({})").format(sql.SQL(" OR ").join(ranges))


def _range(cut: Cut, first: int, last: int) -> sql.Composable:
    bounds: list[sql.Composable] = []
    if first > 0:
        bounds.append(sql.SQL("bound >= {}").format(_bigint(cut.thresholds[first - 1])))
    if last < len(cut.thresholds):
        bounds.append(sql.SQL("bound < {}").format(_bigint(cut.thresholds[last])))
    if not bounds:
        bounds.append(sql.SQL("bound IS NOT NULL"))
    return sql.SQL("({})").format(sql.SQL(" AND ").join(bounds))


def runs_of(numbers: Iterator[int] | Sequence[int]) -> list[tuple[int, int]]:
    """Ascending numbers as (first, last) of those that follow each other."""
    found: list[tuple[int, int]] = []
    for number in numbers:
        if found and found[-1][1] == number - 1:
            found[-1] = (found[-1][0], number)
        else:
            found.append((number, number))
    return found


def _bigint(number: int) -> sql.Composed:
    return sql.SQL("{}::pg_catalog.int8").format(sql.Literal(str(number)))
