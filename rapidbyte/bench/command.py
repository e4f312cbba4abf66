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

from rapidbyte.bench import tables
from rapidbyte.bench.contest import ONE_PIPE, Contender, Measurement, measure, psql_pipes, rapidbyte
from rapidbyte.bench.figures import BenchReport, line, noise_note, to_document, to_text
from rapidbyte.bench.profiles import PROFILES, Profile
from rapidbyte.errors import CheckError, ConfigError
from rapidbyte.metrics import available_cores
from rapidbyte.model import Secret
from rapidbyte.pg import conninfo
from rapidbyte.pg.session import PgConnection, connect, translated
from rapidbyte.spec import Connection

SOURCE_DATABASE = "rapidbyte_bench_source"
DESTINATION_DATABASE = "rapidbyte_bench_destination"

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
            tables.make_table(reading, chosen, count)
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
            tables.make_databases(connection, (SOURCE_DATABASE, DESTINATION_DATABASE))
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
            selects=tables.selects(reading, profile, pipes),
            target=f"{tables.SCHEMA}.{profile.name}",
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
    return f"{text}, schema: {tables.SCHEMA}", {f"{prefix}_{name.upper()}": value for name, value in known.items()}


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


def _measure(
    reading: PgConnection,
    writing: PgConnection,
    profile: Profile,
    rows: int,
    contenders: Sequence[Contender],
    iterations: int,
) -> BenchReport:
    """One warm-up of each, then the iterations, A B C A B C; every run's rows are compared with the source's."""
    columns = tables.columns_of(reading, profile)
    expected = tables.checksum(reading, profile, columns)
    runs: dict[str, list[Measurement]] = {contender.name: [] for contender in contenders}
    for iteration in range(iterations + 1):
        for contender in contenders:
            with translated("destination", "making room for the next run"):
                tables.clear(writing, profile, make=not contender.makes_table)
            measured = measure(contender)
            found = tables.checksum(writing, profile, columns)
            if found != expected:
                raise CheckError(
                    f"{contender.name} loaded other rows than the source has: {found} instead of {expected}",
                    code="rows_differ",
                )
            if iteration > 0:
                runs[contender.name].append(measured)
    size = max(run.result["bytes_written"] for found in runs.values() for run in found if run.result is not None)
    floor = runs.get(ONE_PIPE, [])
    lines = tuple(line(name, found, floor, rows=rows, size=size) for name, found in runs.items())
    missing = () if floor else ("no psql was found: there is no floor to compare with",)
    return BenchReport(
        profile=profile.name,
        rows=rows,
        bytes=size,
        iterations=iterations,
        server=tables.server_name(writing),
        cores=available_cores(),
        checksum=expected,
        lines=lines,
        notes=(*noise_note(lines), *missing),
    )
