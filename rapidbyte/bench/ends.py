"""Where a benchmark reads and writes: two databases, and how each contender is told of them."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace

from psycopg.conninfo import make_conninfo

from rapidbyte.bench import tables
from rapidbyte.errors import ConfigError
from rapidbyte.model import Secret
from rapidbyte.pg import conninfo
from rapidbyte.pg.session import connect, translated
from rapidbyte.spec import Connection
from rapidbyte.values import frozen

SOURCE_DATABASE = "rapidbyte_bench_source"
DESTINATION_DATABASE = "rapidbyte_bench_destination"

_PSQL_VARIABLES = {
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


@frozen
class Ends:
    """The two databases. Names of settings are in commands and files, their values in the environment alone."""

    source: Connection
    destination: Connection


def choose_ends(dsn: str | None, source_dsn: str | None) -> Ends:
    """Source and destination; makes their databases where they are ours to make.

    Without a DSN both are on the embedded server, without a source of its own the source is a second database
    beside the destination's. Raises ConfigError.
    """
    if dsn is None:
        if source_dsn is not None:
            raise ConfigError("--source-dsn needs --dsn", code="usage", hint="name both ends, or neither")
        from rapidbyte.pg.embedded import start_embedded

        start_embedded(None, SOURCE_DATABASE)
        address = start_embedded(None, DESTINATION_DATABASE)
        end = Connection(host=address.host, port=address.port, user=address.user, database=DESTINATION_DATABASE)
        return Ends(source=replace(end, database=SOURCE_DATABASE), destination=end)
    destination = _fields(Connection(dsn=Secret(dsn)))
    if source_dsn is not None:
        return Ends(source=_fields(Connection(dsn=Secret(source_dsn))), destination=destination)
    with closing(connect(destination, side="destination", application_name="rapidbyte bench")) as connection:
        connection.autocommit = True
        with translated("destination", "making the bench's databases"):
            tables.make_databases(connection, (SOURCE_DATABASE, DESTINATION_DATABASE))
    return Ends(
        source=replace(destination, database=SOURCE_DATABASE),
        destination=replace(destination, database=DESTINATION_DATABASE),
    )


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


def yaml_fields(connection: Connection, prefix: str) -> tuple[str, Mapping[str, str]]:
    """A connection's fields for a pipeline file, each a variable, and the environment that fills them."""
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


def psql_environment(connection: Connection) -> Mapping[str, str]:
    """The variables by which psql, and whatever else uses libpq, reaches this database."""
    parameters = conninfo.parameters(connection)
    return {variable: parameters[name] for name, variable in _PSQL_VARIABLES.items() if name in parameters}


def dsn_of(connection: Connection) -> str:
    """The connection as one text for libpq, password included: for an environment, never for a command."""
    wanted = {name: value for name, value in conninfo.parameters(connection).items() if name in _PSQL_VARIABLES}
    return make_conninfo("", **wanted)


def find_psql() -> str | None:
    """The psql on the PATH, or the embedded server's."""
    found = shutil.which("psql")
    if found is not None:
        return found
    from rapidbyte.pg.embedded import embedded_bin_dir

    try:
        return str(embedded_bin_dir() / "psql")
    except ConfigError:
        return None
