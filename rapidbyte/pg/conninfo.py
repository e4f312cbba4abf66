"""Connection settings -> libpq parameters. Judged before anything is opened, and never echoed."""

from __future__ import annotations

import os

import psycopg
from psycopg.conninfo import conninfo_to_dict

from rapidbyte.errors import ConfigError
from rapidbyte.spec import Connection, dsn_fault

SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")


def is_local(host: str | None) -> bool:
    """True for a socket directory, an unnamed host and the loopback names."""
    if not host:
        return True
    return all(
        part.startswith(("/", "@", "127.")) or part in ("localhost", "::1", "[::1]", "") for part in host.split(",")
    )


def _parse_dsn(dsn: str) -> dict[str, str]:
    """Libpq's own parse of a DSN that passed our look. Raises ConfigError that quotes none of it."""
    fault = dsn_fault(dsn)
    if fault is not None:
        raise ConfigError(fault[0], code="dsn_invalid", hint=fault[1])
    try:
        return {key: str(value) for key, value in conninfo_to_dict(dsn).items() if value is not None}
    except (psycopg.Error, ValueError):
        raise ConfigError(
            "the DSN cannot be read",
            code="dsn_invalid",
            hint="write postgresql://user:password@host:port/database or host=... user=... password=... dbname=...",
        ) from None


def parameters(connection: Connection) -> dict[str, str]:
    """The libpq parameters of a connection: its DSN's, overridden by none; fields add to it.

    TLS is at least `require` for hosts that are not local unless the file or PGSSLMODE says otherwise. Raises
    ConfigError when the DSN cannot be read or contradicts a field.
    """
    found = _parse_dsn(connection.dsn.reveal()) if connection.dsn is not None else {}
    fields = {
        "host": connection.host,
        "port": None if connection.port is None else str(connection.port),
        "user": connection.user,
        "password": None if connection.password is None else connection.password.reveal(),
        "dbname": connection.database,
        "sslmode": connection.sslmode,
        "sslrootcert": connection.sslrootcert,
        "sslcert": connection.sslcert,
        "sslkey": connection.sslkey,
        "service": connection.service,
    }
    for name, value in fields.items():
        if value is None:
            continue
        if name in found and found[name] != value:
            raise ConfigError(
                f"the DSN and the field `{name}` contradict each other",
                code="dsn_contradiction",
                hint=f"give {name} once",
            )
        found[name] = value
    if connection.login is not None:
        found["user"] = connection.login.user
        found.pop("password", None)
        if connection.login.password is not None:
            found["password"] = connection.login.password.reveal()
    mode = found.get("sslmode") or os.environ.get("PGSSLMODE")
    if mode is not None and mode not in SSL_MODES:
        raise ConfigError("sslmode is none of " + ", ".join(SSL_MODES), code="sslmode_invalid")
    if mode is None and "service" not in found and not is_local(found.get("host") or os.environ.get("PGHOST")):
        found["sslmode"] = "require"
    found.setdefault("connect_timeout", str(connection.connect_timeout_seconds))
    # A dead peer is noticed within about a minute instead of the kernel's two hours.
    found.setdefault("keepalives_idle", "20")
    found.setdefault("keepalives_interval", "10")
    found.setdefault("keepalives_count", "3")
    found.setdefault("tcp_user_timeout", "60000")
    return found


def describe(connection: Connection) -> str:
    """Where a connection goes, for people: host, port and database; never user's secrets."""
    found = parameters(connection)
    host = found.get("host") or os.environ.get("PGHOST") or "the local socket"
    port = found.get("port") or os.environ.get("PGPORT") or "5432"
    database = found.get("dbname") or os.environ.get("PGDATABASE") or found.get("user") or "?"
    if "service" in found:
        return f"service {found['service']}"
    return f"{host}:{port}/{database}"
