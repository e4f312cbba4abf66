"""The table that is measured, at both ends: made, counted, compared, cleared. All of the benchmark's SQL."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from psycopg import sql

from rapidbyte.bench.profiles import Profile
from rapidbyte.errors import BusyError
from rapidbyte.pg.checksum import checksum_query
from rapidbyte.pg.session import SESSION, PgConnection, begin, rollback

SCHEMA = "bench"
"""Of the table, at both ends."""


def make_databases(connection: PgConnection, names: Sequence[str]) -> None:
    """Creates those of these databases that are missing."""
    for name in names:
        if connection.execute("SELECT FROM pg_database WHERE datname = %s", (name,)).fetchone() is None:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))


def claim(connection: PgConnection) -> None:
    """Keeps other benchmarks off this database until the connection is closed. Raises BusyError."""
    row = connection.execute("SELECT pg_try_advisory_lock(pg_catalog.hashtext('rapidbyte bench'))").fetchone()
    if row is None or not row[0]:
        raise BusyError(
            "another benchmark uses this database",
            code="bench_busy",
            hint="wait for its end, or name another server with --dsn",
        )


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
    _create(connection, profile, rows, profile.name)
    connection.execute(sql.SQL("VACUUM (ANALYZE, FREEZE) {}").format(table))
    connection.execute(sql.SQL("COMMENT ON TABLE {} IS {}").format(table, sql.Literal(mark)))


def _create(connection: PgConnection, profile: Profile, rows: int, table: str) -> None:
    """A table of the profile's shape with so many rows; with none a target for those who cannot make their own."""
    connection.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(sql.Identifier(SCHEMA)))
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute("DISCARD TEMP")
    connection.execute(sql.SQL(profile.setup))
    connection.execute(
        sql.SQL("CREATE TABLE {} AS {}").format(
            sql.Identifier(SCHEMA, table), sql.SQL(profile.select).format(rows=sql.Literal(rows))
        )
    )


def selects(connection: PgConnection, table: str, pipes: int) -> tuple[str, ...]:
    """One SELECT a pipe, over ranges of blocks, the last one open."""
    name = f"{SCHEMA}.{table}"
    row = connection.execute(
        "SELECT pg_catalog.pg_relation_size(%s::regclass) / current_setting('block_size')::int", (name,)
    ).fetchone()
    step = -(-int(row[0] if row else 0) // pipes)
    if pipes == 1:
        return (f"TABLE {name}",)
    lows = [f"ctid >= '({step * pipe},0)'" for pipe in range(pipes)]
    highs = [f" AND ctid < '({step * (pipe + 1)},0)'" for pipe in range(pipes - 1)] + [""]
    return tuple(f"SELECT * FROM {name} WHERE {low}{high}" for low, high in zip(lows, highs, strict=True))  # noqa: S608


def column_types(connection: PgConnection, table: str) -> Mapping[str, str]:
    """The table's columns, in its order, with their types as PostgreSQL writes them."""
    found = connection.execute(
        "SELECT attname, pg_catalog.format_type(atttypid, atttypmod) FROM pg_catalog.pg_attribute"
        " WHERE attrelid = pg_catalog.to_regclass(%s) AND attnum > 0 AND NOT attisdropped ORDER BY attnum",
        (f"{SCHEMA}.{table}",),
    ).fetchall()
    return {str(name): str(kind) for name, kind in found}


def checksum(connection: PgConnection, table: str, columns: Sequence[str]) -> str:
    """The table's order-free checksum over these columns."""
    begin(connection, SESSION)
    row = connection.execute(checksum_query(sql.Identifier(SCHEMA, table), columns)).fetchone()
    rollback(connection)
    return str(row[0]) if row is not None else ""


def copy_out(
    connection: PgConnection, table: str, form: Literal["csv", "ndjson"], write: Callable[[bytes], Any]
) -> None:
    """Hands the table's text to `write`, a row or more a call: CSV with a header, or one JSON object a line."""
    name = sql.Identifier(SCHEMA, table)
    if form == "csv":
        statement = sql.SQL("COPY {} TO STDOUT (FORMAT csv, HEADER)").format(name)
    else:
        statement = sql.SQL("COPY (SELECT pg_catalog.row_to_json(t) FROM {} AS t) TO STDOUT").format(name)
    begin(connection, SESSION)
    with connection.cursor().copy(statement) as copy:
        for block in copy:
            write(bytes(block))
    rollback(connection)


def clear(writing: PgConnection, profile: Profile, target: str, *, make: bool) -> None:
    """Drops the target; makes an empty one for those who cannot, and wherever it has indexes."""
    table = sql.Identifier(SCHEMA, target)
    writing.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(table))
    if make or profile.indexes:
        _create(writing, profile, 0, target)
        for index in profile.indexes:
            writing.execute(sql.SQL(index).format(table=table))


def server_name(connection: PgConnection) -> str:
    """The server's product and version."""
    row = connection.execute("SELECT 'PostgreSQL ' || current_setting('server_version')").fetchone()
    return str(row[0]) if row is not None else "unknown"
