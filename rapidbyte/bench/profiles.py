"""The tables that are measured, made from the row number by SQL, so that they are the same everywhere. Pure."""

from __future__ import annotations

from typing import LiteralString

from rapidbyte.values import frozen


@frozen
class Profile:
    """One kind of table. `select` makes rows `i` of `generate_series(1, rows)`."""

    name: str
    rows: int
    what: str
    setup: LiteralString
    """Run before `select`, in the same session: text to draw from."""
    select: LiteralString
    """The query, with `{rows}` where the number of rows goes."""
    indexes: tuple[LiteralString, ...] = ()
    """Statements that give the empty target its indexes, with `{table}` where its name goes."""


SMALL = Profile(
    name="small",
    rows=1_000_000,
    what="event stream: 15 columns, about 180 bytes a row on the wire",
    setup="SELECT 1",
    select="""
        SELECT i::bigint AS id,
               md5('e' || i)::uuid AS event_id,
               'user_' || (i % 50000) AS user_name,
               CASE WHEN i % 7 <> 0 THEN (i % 9973)::bigint END AS parent_id,
               ('10.' || (i % 256) || '.' || (i / 256 % 256) || '.' || (i % 251))::inet AS client_ip,
               'https://example.com/p/' || (i % 100000) AS url,
               CASE WHEN i % 3 <> 0 THEN 'https://ref.example.com/' || (i % 1000) END AS referrer,
               (i % 1000)::int AS duration_ms,
               (200 + (i % 5) * 100)::int AS status,
               i % 2 = 0 AS is_mobile,
               i % 11 = 0 AS is_bot,
               (ARRAY['click', 'view', 'purchase', 'scroll'])[1 + i % 4] AS kind,
               (i * 7 % 100003)::int AS session_no,
               timestamptz '2024-01-01 00:00:00+00' + i * interval '1.7 s' AS created_at,
               timestamptz '2024-01-01 00:00:05+00' + i * interval '1.7 s' AS received_at
        FROM generate_series(1, {rows}) AS i
    """,
)

MEDIUM = Profile(
    name="medium",
    rows=200_000,
    what="orders: 22 columns, jsonb of about 1 KB, about 1,200 bytes a row",
    setup="""
        CREATE TEMP TABLE item AS
        SELECT k, jsonb_agg(jsonb_build_object('sku', md5(k || '-' || j), 'qty', j, 'note', md5(j || ':' || k))
                            ORDER BY j) AS lines
        FROM generate_series(0, 199) AS k, generate_series(1, 9) AS j GROUP BY k
    """,
    select="""
        SELECT md5('o' || i)::uuid AS order_id,
               i::bigint AS order_no,
               (i % 100000 / 7.0)::numeric(12,2) AS net,
               (i % 100000 / 70.0)::numeric(12,2) AS tax,
               (i % 100000 * 1.1 / 7.0)::numeric(12,2) AS gross,
               'First' || (i % 5000) AS first_name,
               'Last' || (i % 9000) AS last_name,
               'person' || i || '@example.com' AS email,
               (i % 400) || ' Some Street' AS street,
               'City ' || (i % 700) AS city,
               lpad((i % 100000)::text, 5, '0') AS postal_code,
               (ARRAY['DE', 'FR', 'US', 'JP'])[1 + i % 4] AS country,
               (ARRAY['new', 'paid', 'sent', 'returned'])[1 + i % 4] AS status,
               (i % 9)::smallint AS priority,
               i % 13 = 0 AS is_gift,
               CASE WHEN i % 5 = 0 THEN 'Leave at the door, number ' || (i % 77) END AS remark,
               item.lines AS items,
               jsonb_build_object('source', i % 17, 'campaign', md5((i % 31)::text)) AS tags,
               date '2024-01-01' + (i % 365)::int AS due_on,
               timestamptz '2024-01-01 00:00:00+00' + i * interval '13 s' AS created_at,
               timestamptz '2024-01-02 00:00:00+00' + i * interval '13 s' AS updated_at,
               CASE WHEN i % 4 = 3 THEN timestamptz '2024-02-01 00:00:00+00' + i * interval '13 s' END AS closed_at
        FROM generate_series(1, {rows}) AS i JOIN item ON item.k = i % 200
    """,
)

LARGE = Profile(
    name="large",
    rows=20_000,
    what="documents: 20 columns, bodies of 15 and 20 KB, about 36,000 bytes a row",
    setup="""
        CREATE TEMP TABLE body AS
        SELECT k, string_agg(md5(k || '/' || j), ' ' ORDER BY j) AS words
        FROM generate_series(0, 63) AS k, generate_series(1, 620) AS j GROUP BY k
    """,
    select="""
        SELECT i::bigint AS document_id,
               md5('d' || i)::uuid AS uid,
               'Document ' || i AS title,
               i || left(body.words, 15000) AS abstract_text,
               i || right(body.words, 20000) AS full_text,
               jsonb_build_object('author', 'a' || (i % 97), 'words', i % 5000, 'sum', md5(i::text)) AS meta,
               jsonb_build_array(i % 3, i % 5, i % 7, md5((i % 999)::text)) AS labels,
               (ARRAY['en', 'de', 'fr'])[1 + i % 3] AS language,
               'application/pdf' AS media_type,
               (i % 90 + 1)::int AS pages,
               (i * 36000)::bigint AS byte_offset,
               (i % 1000 / 10.0)::numeric(8,3) AS score,
               (i % 17)::double precision / 3 AS weight,
               i % 2 = 0 AS is_public,
               i % 19 = 0 AS is_deleted,
               md5('c' || i) AS content_hash,
               'https://example.com/d/' || i AS url,
               CASE WHEN i % 6 = 0 THEN 'reviewer' || (i % 12) END AS reviewer,
               timestamptz '2023-01-01 00:00:00+00' + i * interval '1 h' AS created_at,
               timestamptz '2023-01-02 00:00:00+00' + i * interval '1 h' AS updated_at
        FROM generate_series(1, {rows}) AS i JOIN body ON body.k = i % 64
    """,
)

PROFILES: dict[str, Profile] = {profile.name: profile for profile in (SMALL, MEDIUM, LARGE)}
