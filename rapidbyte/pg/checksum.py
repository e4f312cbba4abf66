"""An order-free checksum of rows, the same on every server, version and encoding. One statement, built here alone.

Both ends compute it over the rows' text under `session.EXACT_TEXT`: `count:sum:sum`, the sums being of two hashes
with different seeds. (`bit_xor` came with version 14 and does not see a row that is there twice more; a sum does.)
"""

from __future__ import annotations

from collections.abc import Sequence

from psycopg import sql

SUMS = sql.SQL(
    "pg_catalog.concat_ws(':', pg_catalog.count(*), "
    "coalesce(pg_catalog.sum(pg_catalog.hashtextextended(image, 0)), 0), "
    "coalesce(pg_catalog.sum(pg_catalog.hashtextextended(image, 1)), 0))"
)
"""`count:sum:sum` of a relation that has a column `image`."""


def row_image(columns: Sequence[str]) -> sql.Composed:
    """One ASCII text for these columns of a row, in this order: equal for equal values, different for others."""
    # 'escape' gives ASCII, so that two servers of different encodings hash the same bytes.
    return sql.SQL(
        "pg_catalog.encode(pg_catalog.convert_to(ROW({})::pg_catalog.text, 'UTF8'), 'escape') COLLATE pg_catalog.\"C\""
    ).format(sql.SQL(", ").join(map(sql.Identifier, columns)))


def checksum_query(relation: sql.Composable, columns: Sequence[str]) -> sql.Composed:
    """A SELECT of one text, `count:sum:sum`, over these columns in this order.

    `relation` is what may stand after FROM: a quoted name, `ONLY` and a name, or `(SELECT ...) AS alias`. It can be
    compared only where every column's text is the same at both ends: conversions `identical` and `exact`. Run it in
    a transaction that has the settings of `session.SESSION`.
    """
    return sql.SQL("SELECT {} FROM (SELECT {} AS image FROM {}) AS images").format(SUMS, row_image(columns), relation)
