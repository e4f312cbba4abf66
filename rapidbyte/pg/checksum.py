"""An order-free checksum of rows, the same on every server, version and encoding. One statement, built here alone.

Both ends compute it over the rows' text under `session.EXACT_TEXT`: `count:sum:sum`, the sums being of two hashes
with different seeds. (`bit_xor` came with version 14 and does not see a row that is there twice more; a sum does.)
"""

from __future__ import annotations

from collections.abc import Sequence

from psycopg import sql

_QUERY = sql.SQL(
    "SELECT pg_catalog.concat_ws(':', pg_catalog.count(*), "
    "coalesce(pg_catalog.sum(pg_catalog.hashtextextended(image, 0)), 0), "
    "coalesce(pg_catalog.sum(pg_catalog.hashtextextended(image, 1)), 0)) "
    "FROM (SELECT pg_catalog.encode(pg_catalog.convert_to(ROW({columns})::pg_catalog.text, 'UTF8'), 'escape') "
    'COLLATE pg_catalog."C" AS image FROM {relation}) AS images'
)


def checksum_query(relation: sql.Composable, columns: Sequence[str]) -> sql.Composed:
    """A SELECT of one text, `count:sum:sum`, over these columns in this order.

    `relation` is what may stand after FROM: a quoted name, `ONLY` and a name, or `(SELECT ...) AS alias`. It can be
    compared only where every column's text is the same at both ends: conversions `identical` and `exact`. Run it in
    a transaction that has the settings of `session.SESSION`.
    """
    # The image is ASCII ('escape'), so that two servers of different encodings hash the same bytes.
    return _QUERY.format(columns=sql.SQL(", ").join(map(sql.Identifier, columns)), relation=relation)
