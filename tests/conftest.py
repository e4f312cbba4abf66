"""Fixtures of all tests. Those that need a server start it when the first of them is used.

One embedded PostgreSQL 18 serves all xdist workers; RAPIDBYTE_TEST_DSN (a superuser's) names another server
instead, and RAPIDBYTE_TEST_LOG its JSON log. Databases and roles have unique names and are dropped afterwards.
"""

from __future__ import annotations

import atexit
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from hypothesis import HealthCheck, settings
from psycopg import sql

from tests.kit import catalog
from tests.kit.server import (
    PASSWORD_ROLE,
    SANE,
    STRATEGY,
    Server,
    ServerLog,
    kill_leftover,
    make_folder,
    running_server,
    unique_name,
)

SERVER_FOLDER = "RAPIDBYTE_TEST_FOLDER"
"""Environment variable by which pytest tells its xdist workers where the server is."""

_anywhere = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
settings.register_profile("random", _anywhere)
settings.register_profile("default", _anywhere, derandomize=True)  # a commit is red or green, not red by chance
settings.register_profile("quick", _anywhere, max_examples=20, derandomize=True)
settings.load_profile("default")


def pytest_configure(config: pytest.Config) -> None:
    """The process that starts first makes the folder; xdist workers inherit its name."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        # As a shell has it for what runs behind an &: children would inherit it, and no Ctrl-C would reach them.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if not hasattr(config, "workerinput"):
        os.environ[SERVER_FOLDER] = str(make_folder())
        os.environ["XDG_CACHE_HOME"] = str(Path(os.environ[SERVER_FOLDER], "cache"))
        for name in [name for name in os.environ if name.startswith("PG")]:
            del os.environ[name]  # a developer's PGHOST is not the tests' business
        atexit.register(_remove_folder)


def _remove_folder() -> None:
    """Leaves nothing behind. At exit, because the embedded server's package looks into it at exit, before us."""
    folder = Path(os.environ[SERVER_FOLDER])
    kill_leftover(folder)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """The throwaway server."""
    with running_server(Path(os.environ[SERVER_FOLDER])) as running:
        yield running


@pytest.fixture(scope="session")
def server_dsn(server: Server) -> str:
    """The maintenance database as the superuser: for what concerns the whole server."""
    return server.admin_dsn


@pytest.fixture(scope="session")
def server_version_num(server_dsn: str) -> int:
    """180004 for 18.4."""
    with psycopg.connect(server_dsn) as connection:
        return connection.info.server_version


@pytest.fixture
def make_role(server_dsn: str) -> Iterator[Callable[..., str]]:
    """make_role("LOGIN") -> name of a fresh role; with password="..." it must give that password."""
    made: list[str] = []
    with psycopg.connect(server_dsn, autocommit=True) as admin:

        def make(options: str = "LOGIN", *, password: str | None = None, name: str | None = None) -> str:
            role = name or unique_name("rb_role")
            statement = sql.SQL("CREATE ROLE {} ").format(sql.Identifier(role)) + sql.SQL(options)
            if password is not None:
                statement += sql.SQL(" PASSWORD {} IN ROLE {}").format(
                    sql.Literal(password), sql.Identifier(PASSWORD_ROLE)
                )
            admin.execute(statement)
            made.append(role)
            return role

        yield make
        for role in made:
            admin.execute(sql.SQL("DROP ROLE IF EXISTS {}").format(sql.Identifier(role)))


@pytest.fixture
def make_database(server: Server, server_dsn: str, make_role: Callable[..., str]) -> Iterator[Callable[..., str]]:
    """make_database() -> DSN of a fresh database; options go to CREATE DATABASE: "ENCODING 'SQL_ASCII'".

    Dropped before the roles are, so that what they own goes with it.
    """
    made: list[str] = []
    with psycopg.connect(server_dsn, autocommit=True) as admin:

        def make(options: str = "", *, name: str | None = None) -> str:
            database = name or unique_name("rb_db")
            identifier = sql.Identifier(database)
            statement = sql.SQL("CREATE DATABASE {} TEMPLATE template0 {} {}")
            admin.execute(statement.format(identifier, sql.SQL(STRATEGY), sql.SQL(options)))
            made.append(database)
            return server.dsn(database)

        yield make
        for database in made:
            admin.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(database)))


@pytest.fixture
def source_db(make_database: Callable[..., str]) -> str:
    """DSN of a fresh database to read from."""
    return make_database()


@pytest.fixture
def destination_db(make_database: Callable[..., str]) -> str:
    """DSN of a fresh database to load into."""
    return make_database()


@pytest.fixture
def connect(make_database: Callable[..., str]) -> Iterator[Callable[..., psycopg.Connection]]:
    """connect(dsn, user=..., password=...) -> autocommit connection with sane settings, closed at the end."""
    opened: list[psycopg.Connection] = []

    def connect(dsn: str, **parameters: str) -> psycopg.Connection:
        options = {"options": SANE, **parameters}
        connection = psycopg.connect(dsn, autocommit=True, **options)  # type: ignore[arg-type]
        opened.append(connection)
        return connection

    yield connect
    for connection in opened:
        connection.close()


@pytest.fixture(scope="session")
def catalog_of() -> Callable[[str, str, str], dict[str, object]]:
    """catalog_of(dsn, schema, table): everything that hangs on a table."""
    return catalog.catalog_of


@pytest.fixture(scope="session")
def checksum_of() -> Callable[[str, str], tuple[int, str, int]]:
    """checksum_of(dsn, "public.t"): order-free checksum of its rows."""
    return catalog.checksum_of


@pytest.fixture
def server_log(server: Server, server_dsn: str) -> ServerLog:
    """The server's log from now on: `watch(dsn)`, then `statements(dsn, "rapidbyte worker")`."""
    if server.log is None:
        pytest.skip("the server's log cannot be read: RAPIDBYTE_TEST_LOG names it")
    return ServerLog(server.log)
