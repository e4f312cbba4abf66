"""Further tables, for the record: shapes that the three profiles do not have. Pure."""

from __future__ import annotations

from typing import LiteralString

from rapidbyte.bench.profiles import PROFILES, SMALL, Profile

_DIGITS: tuple[LiteralString, ...] = ("0", "1", "2", "3", "4", "5", "6", "7", "8", "9")
_NUMBERS: tuple[LiteralString, ...] = tuple(tens + ones for tens in _DIGITS for ones in _DIGITS)

_MANY: LiteralString = ", ".join(
    f"i * 1{number}::bigint AS n{number}, 't' || i % 1{number} AS t{number}, "
    f"i / 1{number}.0::double precision AS d{number}"
    for number in _NUMBERS
)

NARROW = Profile(
    name="narrow",
    rows=2_000_000,
    what="5 columns: a bigint and four floats, 44 bytes of values a row",
    setup="SELECT 1",
    select="""
        SELECT i::bigint AS id, i / 3.0::double precision AS a, i / 7.0::double precision AS b,
               i / 11.0::double precision AS c, i / 13.0::double precision AS d
        FROM generate_series(1, {rows}) AS i
    """,
)

COLUMNS = Profile(
    name="columns",
    rows=50_000,
    what="300 columns: bigint, short text and double precision in turn",
    setup="SELECT 1",
    select="SELECT " + _MANY + " FROM generate_series(1, {rows}) AS i",  # noqa: S608 - of literals alone
)

NULLS = Profile(
    name="nulls",
    rows=1_000_000,
    what="20 columns of which 19 are NULL in nine rows of ten",
    setup="SELECT 1",
    select="""
        SELECT i::bigint AS id, a.*, b.*, c.*
        FROM generate_series(1, {rows}) AS i
        LEFT JOIN LATERAL (
            SELECT i AS a1, i + 1 AS a2, i::numeric(12,2) AS a3, 'a' || i AS a4, i % 2 = 0 AS a5,
                   date '2024-01-01' + i % 300 AS a6
        ) AS a ON i % 10 = 0
        LEFT JOIN LATERAL (
            SELECT i AS b1, i + 1 AS b2, i::numeric(12,2) AS b3, 'b' || i AS b4, i % 2 = 0 AS b5,
                   date '2024-01-01' + i % 300 AS b6
        ) AS b ON i % 10 = 3
        LEFT JOIN LATERAL (
            SELECT i AS c1, i + 1 AS c2, i::numeric(12,2) AS c3, 'c' || i AS c4, i % 2 = 0 AS c5,
                   date '2024-01-01' + i % 300 AS c6, md5(i::text)::uuid AS c7
        ) AS c ON i % 10 = 7
    """,
)

WIDE = Profile(
    name="wide",
    rows=40_000,
    what="wide text: a key and one text of about 5 KB",
    setup="""
        CREATE TEMP TABLE words AS
        SELECT k, string_agg(md5(k || '/' || j), ' ' ORDER BY j) AS words
        FROM generate_series(0, 63) AS k, generate_series(1, 155) AS j GROUP BY k
    """,
    select="""
        SELECT i::bigint AS id, i || words.words AS body
        FROM generate_series(1, {rows}) AS i JOIN words ON words.k = i % 64
    """,
)

INDEXED = Profile(
    name="indexed",
    rows=500_000,
    what="the event stream of small, into a target with a primary key and four indexes",
    setup="SELECT 1",
    select=SMALL.select,
    indexes=(
        "ALTER TABLE {table} ADD PRIMARY KEY (id)",
        "CREATE INDEX ON {table} (event_id)",
        "CREATE INDEX ON {table} (user_name, created_at)",
        "CREATE INDEX ON {table} (url)",
        "CREATE INDEX ON {table} (received_at)",
    ),
)

SHAPES: dict[str, Profile] = {shape.name: shape for shape in (NARROW, COLUMNS, NULLS, WIDE, INDEXED)}
"""Extras: no figure of theirs is a target, but for narrow's."""

TABLES: dict[str, Profile] = PROFILES | SHAPES
"""All that `--profile` takes."""
