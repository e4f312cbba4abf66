"""`rapidbyte bench`: makes the data, lets the contenders run in turn, verifies each run, reports."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Literal

from psycopg import sql

from rapidbyte.bench.contest import Contender, Measurement, measure, psql_pipes, rapidbyte
from rapidbyte.bench.figures import BenchReport, line, noise_note, to_document, to_text
from rapidbyte.bench.profiles import PROFILES, Profile
from rapidbyte.errors import CheckError, ConfigError
from rapidbyte.metrics import available_cores
from rapidbyte.model import Secret
from rapidbyte.pg import conninfo
from rapidbyte.pg.checksum import checksum_query
from rapidbyte.pg.session import SESSION, PgConnection, begin, connect, rollback, translated
from rapidbyte.spec import Connection

SOURCE_DATABASE = "rapidbyte_bench_source"
DESTINATION_DATABASE = "rapidbyte_bench_destination"
SCHEMA = "bench"

_PIPELINE = """\
version: "1.0"
pipeline: bench
source:
  use: postgres
  config: {{{source}}}
  streams: [{{name: {table}, target: {table}}}]
destination:
  use: postgres
  config: {{{destination}}}
  write_mode: replace
"""
_ENVIRONMENT = {
    "host": "PGHOST",
    "port": "PGPORT",
    "user": "PGUSER",
    "password": "PGPASSWORD",
    "dbname": "PGDATABASE",
    "sslmode": "PGSSLMODE",
    "sslrootcert": "PGSSLROOTCERT",
    "sslcert": "PGSSLCERT",
    "sslkey": "PGSSLKEY",
    "service": "PGSERVICE",
}


def run_bench(
    *,
    profile: str,
    iters: int,
    workers: Sequence[int],
    rows: int | None,
    save: Path | None,
    dsn: str | None,
    source_dsn: str | None,
    output: Literal["json", "text"],
) -> str:
    """Runs a benchmark; returns its report as text or JSON. Raises CheckError when a run's rows differ."""
    chosen = PROFILES[profile]
    source, destination = _ends(dsn, source_dsn)
    with (
        closing(connect(source, side="source", application_name="rapidbyte bench")) as reading,
        closing(connect(destination, side="destination", application_name="rapidbyte bench")) as writing,
        tempfile.TemporaryDirectory(prefix="rapidbyte-bench-") as folder,
    ):
        reading.autocommit = writing.autocommit = True
        count = rows or chosen.rows
        with translated("source", f"making the {profile} table"):
            make_table(reading, chosen, count)
        contenders = _contenders(reading, chosen, Path(folder), source, destination, workers)
        report = _measure(reading, writing, chosen, count, contenders, iters)
    document = json.dumps(to_document(report), indent=2)
    if save is not None:
        save.write_text(document + "\n")
    return document if output == "json" else to_text(report)


def _ends(dsn: str | None, source_dsn: str | None) -> tuple[Connection, Connection]:
    """Source and destination. Without a source of its own: a second database beside the destination's."""
    if dsn is None:
        if source_dsn is not None:
            raise ConfigError("--source-dsn needs --dsn", code="usage", hint="name both ends, or neither")
        from rapidbyte.pg.embedded import start_embedded

        start_embedded(None, SOURCE_DATABASE)
        address = start_embedded(None, DESTINATION_DATABASE)
        end = Connection(host=address.host, port=address.port, user=address.user, database=DESTINATION_DATABASE)
        return replace(end, database=SOURCE_DATABASE), end
    destination = _fields(Connection(dsn=Secret(dsn)))
    if source_dsn is not None:
        return _fields(Connection(dsn=Secret(source_dsn))), destination
    with closing(connect(destination, side="destination", application_name="rapidbyte bench")) as connection:
        connection.autocommit = True
        with translated("destination", "making the bench's databases"):
            for name in (SOURCE_DATABASE, DESTINATION_DATABASE):
                if connection.execute("SELECT FROM pg_database WHERE datname = %s", (name,)).fetchone() is None:
                    connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    return replace(destination, database=SOURCE_DATABASE), replace(destination, database=DESTINATION_DATABASE)


def _fields(connection: Connection) -> Connection:
    """The same connection with its DSN taken apart, so that another database can be named."""
    found = conninfo.parameters(connection)
    return Connection(
        host=found.get("host"),
        port=int(found["port"]) if "port" in found else None,
        user=found.get("user"),
        password=Secret(found["password"]) if "password" in found else None,
        database=found.get("dbname"),
        sslmode=found.get("sslmode"),
        service=found.get("service"),
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


def _contenders(
    reading: PgConnection,
    profile: Profile,
    folder: Path,
    source: Connection,
    destination: Connection,
    workers: Sequence[int],
) -> tuple[Contender, ...]:
    """The floor with one pipe and with one per worker, where there is a psql; then rapidbyte."""
    pipeline = folder / "bench.yaml"
    reads, writes = _yaml_fields(source, "BENCH_SOURCE"), _yaml_fields(destination, "BENCH_DESTINATION")
    pipeline.write_text(_PIPELINE.format(source=reads[0], destination=writes[0], table=profile.name))
    ours = [rapidbyte(pipeline, source=reads[1], destination=writes[1], workers=count) for count in workers]
    psql = _psql()
    if psql is None:
        return tuple(ours)
    floors = [
        psql_pipes(
            psql,
            selects=_selects(reading, profile, pipes),
            target=f"{SCHEMA}.{profile.name}",
            source=_psql_environment(source),
            destination=_psql_environment(destination),
        )
        for pipes in sorted({1, *workers})
    ]
    return (*floors, *ours)


def _yaml_fields(connection: Connection, prefix: str) -> tuple[str, dict[str, str]]:
    """A connection's fields for the pipeline file, each a variable, and the environment that fills them."""
    fields: dict[str, str | int | None] = {
        "host": connection.host,
        "port": connection.port,
        "user": connection.user,
        "password": connection.password.reveal() if connection.password is not None else None,
        "database": connection.database,
        "sslmode": connection.sslmode,
        "service": connection.service,
    }
    known = {name: str(value) for name, value in fields.items() if value is not None}
    text = ", ".join(f"{name}: '${{{prefix}_{name.upper()}}}'" for name in known)
    return f"{text}, schema: {SCHEMA}", {f"{prefix}_{name.upper()}": value for name, value in known.items()}


def _psql() -> str | None:
    found = shutil.which("psql")
    if found is not None:
        return found
    from rapidbyte.pg.embedded import embedded_bin_dir

    try:
        return str(embedded_bin_dir() / "psql")
    except ConfigError:
        return None


def _psql_environment(connection: Connection) -> dict[str, str]:
    parameters = conninfo.parameters(connection)
    return {variable: parameters[name] for name, variable in _ENVIRONMENT.items() if name in parameters}


def _selects(connection: PgConnection, profile: Profile, pipes: int) -> tuple[str, ...]:
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


def _measure(
    reading: PgConnection,
    writing: PgConnection,
    profile: Profile,
    rows: int,
    contenders: Sequence[Contender],
    iterations: int,
) -> BenchReport:
    """One warm-up of each, then the iterations, A B C A B C; every run's rows are compared with the source's."""
    columns = _columns(reading, profile)
    expected = _checksum(reading, profile, columns)
    runs: dict[str, list[Measurement]] = {contender.name: [] for contender in contenders}
    for iteration in range(iterations + 1):
        for contender in contenders:
            with translated("destination", "making room for the next run"):
                _clear(writing, profile, make=not contender.makes_table)
            measured = measure(contender)
            found = _checksum(writing, profile, columns)
            if found != expected:
                raise CheckError(
                    f"{contender.name} loaded other rows than the source has: {found} instead of {expected}",
                    code="rows_differ",
                )
            if iteration > 0:
                runs[contender.name].append(measured)
    size = max(run.result["bytes_written"] for found in runs.values() for run in found if run.result is not None)
    floor = next((found for name, found in runs.items() if name == "psql | psql, 1 pipe"), [])
    lines = tuple(line(name, found, floor, rows=rows, size=size) for name, found in runs.items())
    missing = () if floor else ("no psql was found: there is no floor to compare with",)
    return BenchReport(
        profile=profile.name,
        rows=rows,
        bytes=size,
        iterations=iterations,
        server=_server(writing),
        cores=available_cores(),
        checksum=expected,
        lines=lines,
        notes=(*noise_note(lines), *missing),
    )


def _columns(connection: PgConnection, profile: Profile) -> tuple[str, ...]:
    """Names of the table's columns, in its order."""
    found = connection.execute(
        "SELECT attname FROM pg_catalog.pg_attribute"
        " WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum",
        (f"{SCHEMA}.{profile.name}",),
    ).fetchall()
    return tuple(str(row[0]) for row in found)


def _checksum(connection: PgConnection, profile: Profile, columns: Sequence[str]) -> str:
    begin(connection, SESSION)
    row = connection.execute(checksum_query(sql.Identifier(SCHEMA, profile.name), columns)).fetchone()
    rollback(connection)
    return str(row[0]) if row is not None else ""


def _clear(writing: PgConnection, profile: Profile, *, make: bool) -> None:
    """Drops the target; makes an empty one for those who cannot."""
    writing.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(sql.Identifier(SCHEMA, profile.name)))
    if make:
        _create(writing, profile, 0)


def _server(connection: PgConnection) -> str:
    row = connection.execute("SELECT 'PostgreSQL ' || current_setting('server_version')").fetchone()
    return str(row[0]) if row is not None else "unknown"
