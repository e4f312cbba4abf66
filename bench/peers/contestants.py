"""Who is compared, each in its fastest documented setting, and how each is started."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from rapidbyte.bench.contest import Contender
from rapidbyte.bench.ends import find_psql
from rapidbyte.bench.modes import Field, Mode, contenders
from rapidbyte.pg import conninfo
from rapidbyte.spec import Connection

HERE = Path(__file__).parent
VENV = HERE / ".venv"
SCRIPTS = HERE / "scripts"


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """One tool in one setting. `contender` is None where it is missing."""

    name: str
    setting: str
    package: str
    """What must be installed for it."""
    contender: Contender | None
    needs: str = ""
    """What is missing."""


def address(connection: Connection) -> str:
    """The database as the URI that every tool understands. For environments, not for commands."""
    found = conninfo.parameters(connection)
    # Some insist on a password, also where the server asks for none.
    login = f"{found.get('user', 'postgres')}:{found.get('password', 'none')}"
    return f"postgresql://{login}@{found.get('host', '127.0.0.1')}:{found.get('port', '5432')}/{found['dbname']}"


def ours(field: Field, mode: Mode) -> list[Peer]:
    """psql, which is the floor, and rapidbyte, as `rapidbyte bench` runs them."""
    missing = [] if find_psql() else [Peer(name="psql", setting="", package="psql", contender=None, needs="psql")]
    return missing + [
        Peer(
            name=each.name,
            setting=_SETTINGS.get(each.role, ""),
            package=each.name.split()[0].strip(","),
            contender=each,
        )
        for each in contenders(field, mode)
    ]


_SETTINGS = {"floor": "COPY", "ours": "`rapidbyte run`, whole command"}


def of_tables(field: Field, query: str, folder: Path) -> list[Peer]:
    """Tools that copy a table from one PostgreSQL to another."""
    table = field.profile.name
    tool = _Tools(field, {"PEER_TABLE": table, "PEER_QUERY": query})
    return [
        tool.script("DuckDB postgres extension", "CREATE TABLE AS between two attached databases, binary COPY",
                    "duckdb_load.py", "duckdb_extension_postgres_scanner"),
        tool.script("ADBC", "an Arrow stream into adbc_ingest, binary COPY", "adbc_load.py", "adbc_driver_postgresql"),
        tool.script("polars", 'read_database_uri and write_database, engine="adbc"', "polars_load.py", "polars"),
        tool.script("dlt, connectorx", "Arrow backend, parquet by ADBC, 2 workers", "dlt_load.py", "connectorx",
                    {"PEER_BACKEND": "connectorx", "PEER_FORMAT": "parquet"}),
        tool.script("dlt, pyarrow", "Arrow backend, csv by COPY, 2 workers", "dlt_load.py", "dlt",
                    {"PEER_BACKEND": "pyarrow", "PEER_FORMAT": "csv"}),
        tool.program("pgcopydb", "clone of a database with this table alone, --table-jobs 2", "pgcopydb",
                     ("clone", "--dir", str(folder / "pgcopydb"), "--drop-if-exists", "--no-owner", "--no-acl",
                      "--skip-large-objects", "--table-jobs", "2", "--index-jobs", "2", "--restart"),
                     {"PGCOPYDB_SOURCE_PGURI": tool.source, "PGCOPYDB_TARGET_PGURI": tool.destination}),
        tool.program("pgloader", "LOAD DATABASE, workers 2, concurrency 2", "pgloader",
                     (str(_pgloader_table(folder, tool, table)),)),
        tool.sling("bench." + table),
    ]  # fmt: skip


def of_files(field: Field, files: dict[str, Path], folder: Path) -> list[Peer]:
    """Tools that load a file into PostgreSQL."""
    table = field.profile.name
    peers: list[Peer] = []
    for form, path in files.items():
        tool = _Tools(field, {"PEER_TABLE": table, "PEER_FILE": str(path)})
        peers += [
            tool.script(f"DuckDB {form}", "CREATE TABLE AS, binary COPY", "duckdb_load.py",
                        "duckdb_extension_postgres_scanner"),
            tool.script(f"polars {form}", 'write_database, engine="adbc"', "polars_load.py", "polars"),
        ]  # fmt: skip
    tool = _Tools(field, {})
    script = _pgloader_csv(folder, tool, table, files["csv"], field)
    return [
        *peers,
        tool.program("pgloader csv", "LOAD CSV, workers 2, concurrency 2", "pgloader", (str(script),), makes=False),
        tool.sling(f"file://{files['csv']}", " csv"),
    ]


class _Tools:
    """Makes contenders of one field with one environment."""

    def __init__(self, field: Field, environment: dict[str, str]) -> None:
        self.source, self.destination = address(field.ends.source), address(field.ends.destination)
        self._table = field.profile.name
        self._environment = {"PEER_SOURCE": self.source, "PEER_DESTINATION": self.destination, **environment}

    def script(self, name: str, setting: str, file: str, package: str, more: dict[str, str] | None = None) -> Peer:
        """A script of ours that the peers' Python runs."""
        present = any(VENV.glob(f"lib/python*/site-packages/{package}"))
        command = (str(VENV / "bin" / "python"), str(SCRIPTS / file))
        return self._peer(name, setting, package, command if present else None, more or {}, makes=True)

    def program(
        self,
        name: str,
        setting: str,
        program: str,
        arguments: tuple[str, ...],
        more: dict[str, str] | None = None,
        *,
        makes: bool = True,
    ) -> Peer:
        """A program of the system."""
        found = shutil.which(program)
        # In a session of its own: pgcopydb ends its whole process group when it fails.
        arguments = (program, *arguments)
        return self._peer(
            name, setting, program, ("setsid", "--wait", *arguments) if found else None, more or {}, makes=makes
        )

    def sling(self, stream: str, suffix: str = "") -> Peer:
        """Sling's binary as PyPI has it."""
        binary = next(VENV.glob("lib/python*/site-packages/sling_linux_amd64/bin/sling-linux-amd64"), None)
        arguments = ("run", "--src-stream", stream, "--tgt-conn", "DST",
                     "--tgt-object", f"bench.{self._table}", "--mode", "full-refresh")  # fmt: skip
        if not stream.startswith("file:"):
            arguments += ("--src-conn", "SRC")
        more = {
            "SRC": self.source + "?sslmode=disable",
            "DST": self.destination + "?sslmode=disable",
            "SLING_DISABLE_TELEMETRY": "TRUE",
        }
        command = (str(binary), *arguments) if binary else None
        return self._peer(f"sling{suffix}", "full-refresh, bulk load on", "sling", command, more, makes=True)

    def _peer(
        self,
        name: str,
        setting: str,
        package: str,
        command: tuple[str, ...] | None,
        more: dict[str, str],
        *,
        makes: bool,
    ) -> Peer:
        if command is None:
            return Peer(name=name, setting=setting, package=package, contender=None, needs=package)
        environment = {**self._environment, **more, "HOME": os.environ.get("HOME", "/")}
        contender = Contender(
            name=name,
            role="peer",
            pipes=((command,),),
            environments=(environment,),
            workers=1,
            makes_table=makes,
            target=self._table,
        )
        return Peer(name=name, setting=setting, package=package, contender=contender)


def _pgloader_table(folder: Path, tool: _Tools, table: str) -> Path:
    script = folder / "table.load"
    script.write_text(
        f"LOAD DATABASE FROM {tool.source} INTO {tool.destination}\n"
        "WITH include drop, create tables, workers = 2, concurrency = 2\n"
        f"INCLUDING ONLY TABLE NAMES MATCHING '{table}' IN SCHEMA 'bench';\n"
    )
    return script


def _pgloader_csv(folder: Path, tool: _Tools, table: str, path: Path, field: Field) -> Path:
    from rapidbyte.bench import tables

    columns = ", ".join(f"{name} [null if blanks]" for name in tables.column_types(field.reading, table))
    script = folder / "csv.load"
    script.write_text(
        f"LOAD CSV FROM '{path}' ({columns}) INTO {tool.destination} TARGET TABLE bench.{table}\n"
        "WITH skip header = 1, fields optionally enclosed by '\"', fields terminated by ',', "
        "workers = 2, concurrency = 2;\n"
    )
    return script
