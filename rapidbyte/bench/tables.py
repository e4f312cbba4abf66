"""The table that is measured, at both ends: made, counted, compared, cleared. All of the benchmark's SQL."""

from __future__ import annotations

from collections.abc import Sequence

from psycopg import sql

from rapidbyte.bench.profiles import Profile
from rapidbyte.pg.checksum import checksum_query
from rapidbyte.pg.session import SESSION, PgConnection, begin, rollback

SCHEMA = "bench"
"""Of the table, at both ends."""


def make_databases(connection: PgConnection, names: Sequence[str]) -> None:
    """Creates those of these databases that are missing."""
    for name in names:
        if connection.execute("SELECT FROM pg_database WHERE datname = %s", (name,)).fetchone() is None:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))


def make_table(connection: PgConnection, profile: Profile, rows: int) -> None:
    """The profile's table, unless the one that is there says in its comment that it is the same."""
    mark = f"rapidbyte bench {profile.name} {rows}"
    found = connection.execute(
        "SELECT pg_catalog.obj_description(pg_catalog.to_regclass(%s), 'pg_class')", (f"{SCHEMA}.{profile.name}",)
    ).fetchone()
    if found is not None and found[0] == mark:
        return
    table = sql.Identifier(SCHEMA, profile.name)
    connection.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(table))
    _create(connection, profile, rows)
    connection.execute(sql.SQL("VACUUM (ANALYZE, FREEZE) {}").format(table))
    connection.execute(sql.SQL("COMMENT ON TABLE {} IS {}").format(table, sql.Literal(mark)))


def _create(connection: PgConnection, profile: Profile, rows: int) -> None:
    """The profile's table with so many rows; with none it is the target of those who cannot make their own."""
    connection.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(sql.Identifier(SCHEMA)))
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute("DISCARD TEMP")
    connection.execute(sql.SQL(profile.setup))
    connection.execute(
        sql.SQL("CREATE TABLE {} AS {}").format(
            sql.Identifier(SCHEMA, profile.name), sql.SQL(profile.select).format(rows=sql.Literal(rows))
        )
    )


def selects(connection: PgConnection, profile: Profile, pipes: int) -> tuple[str, ...]:
    """One SELECT a pipe, over ranges of blocks, the last one open."""
    table = f"{SCHEMA}.{profile.name}"
    row = connection.execute(
        "SELECT pg_catalog.pg_relation_size(%s::regclass) / current_setting('block_size')::int", (table,)
    ).fetchone()
    step = -(-int(row[0] if row else 0) // pipes)
    if pipes == 1:
        return (f"TABLE {table}",)
    lows = [f"ctid >= '({step * pipe},0)'" for pipe in range(pipes)]
    highs = [f" AND ctid < '({step * (pipe + 1)},0)'" for pipe in range(pipes - 1)] + [""]
    return tuple(f"SELECT * FROM {table} WHERE {low}{high}" for low, high in zip(lows, highs, strict=True))  # noqa: S608


def columns_of(connection: PgConnection, profile: Profile) -> tuple[str, ...]:
    """Names of the table's columns, in its order."""
    found = connection.execute(
        "SELECT attname FROM pg_catalog.pg_attribute"
        " WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum",
        (f"{SCHEMA}.{profile.name}",),
    ).fetchall()
    return tuple(str(row[0]) for row in found)


def checksum(connection: PgConnection, profile: Profile, columns: Sequence[str]) -> str:
    """The table's order-free checksum."""
    begin(connection, SESSION)
    row = connection.execute(checksum_query(sql.Identifier(SCHEMA, profile.name), columns)).fetchone()
    rollback(connection)
    return str(row[0]) if row is not None else ""


def clear(writing: PgConnection, profile: Profile, *, make: bool) -> None:
    """Drops the target; makes an empty one for those who cannot."""
    writing.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(sql.Identifier(SCHEMA, profile.name)))
    if make:
        _create(writing, profile, 0)


def server_name(connection: PgConnection) -> str:
    """The server's product and version."""
    row = connection.execute("SELECT 'PostgreSQL ' || current_setting('server_version')").fetchone()
    return str(row[0]) if row is not None else "unknown"
