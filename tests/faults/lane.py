"""A server of our own with a source and templates of destinations. One lane runs one cell at a time."""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import yaml
from psycopg import sql

from tests.faults import dataset
from tests.faults.dataset import MODES, Mode
from tests.faults.oracle import Expected, Sum, sum_of
from tests.faults.spawn import ROOT, Attempt, Forks, Processes
from tests.kit.catalog import catalog_of
from tests.kit.server import SANE, STRATEGY, Server, kill_leftover, make_folder, running_server

PIPELINE = "faults"
TABLES = ("orders", "events")


def connect(dsn: str) -> psycopg.Connection:
    """An autocommit connection of the tests' own."""
    return psycopg.connect(dsn, autocommit=True, options=SANE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """A destination as it is before a cell's first run."""

    mode: Mode
    database: str
    sums: dict[str, Sum]
    """Of the targets' rows; of one that does not exist: of no rows."""
    oids: dict[str, int | None]
    catalogs: dict[str, dict[str, Any]]
    relations: frozenset[str]
    loads: dict[str, int]
    """Published before, by stream."""
    expected: Expected


@dataclass(slots=True)
class Lane:
    """Made by `open_lane`."""

    server: Server
    folder: Path
    package: Path
    launcher: Forks | Processes
    templates: dict[str, Template] = field(default_factory=dict)
    elsewhere: Server | None = None
    """Another server that has the same rows: a source that does not go down with this one."""
    _cells: int = 0

    @property
    def admin(self) -> str:
        return self.server.admin_dsn

    def source(self, mode: Mode) -> str:
        """DSN of the rows to load."""
        return self.server.dsn(f"source_{mode.name}" if mode.incremental else "source")

    def source_elsewhere(self, mode: Mode) -> str:
        """DSN of the same rows on another server, where there is one and the mode has no history with this one."""
        if self.elsewhere is None or mode.incremental:
            return self.source(mode)
        return self.elsewhere.dsn("source")

    def sql(self, dsn: str, text: str) -> None:
        with connect(dsn) as connection:
            connection.execute(text)  # type: ignore[arg-type]

    def create_database(self, name: str, template: str = "template0") -> str:
        statement = sql.SQL("CREATE DATABASE {} TEMPLATE {} {}").format(
            sql.Identifier(name), sql.Identifier(template), sql.SQL(STRATEGY)
        )
        with connect(self.admin) as admin:
            for _ in range(100):
                try:
                    admin.execute(statement)
                    break
                except psycopg.errors.ObjectInUse:
                    time.sleep(0.05)
        return self.server.dsn(name)

    def drop_database(self, name: str) -> None:
        with connect(self.admin) as admin:
            admin.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))

    def prepare(self) -> None:
        """The source, and a role that some grants name."""
        # As servers are: with it off a crash takes the receipts along with an unlogged stage, and hides what is tested.
        self.sql(self.admin, "ALTER SYSTEM SET synchronous_commit = on")
        self.sql(self.admin, "SELECT pg_reload_conf()")
        self.sql(self.admin, "CREATE ROLE faults_reader")
        self.sql(self.create_database("source"), dataset.source_sql())

    def template(self, name: str) -> Template:
        """The destination of a mode, made when it is first asked for."""
        if name not in self.templates:
            self.templates[name] = self._make_template(MODES[name])
        return self.templates[name]

    def _make_template(self, mode: Mode) -> Template:
        database = f"before_{mode.name}"
        dsn = self.create_database(database)
        self.sql(dsn, "CREATE SCHEMA raw;" + mode.before)
        if mode.incremental:
            self.sql(self.create_database(f"source_{mode.name}"), dataset.source_sql(first_increment=True))
            self._load_before(mode, dsn)
            self.sql(self.source(mode), dataset.more_sql(changes=mode.destination["write_mode"] == "upsert"))
        with connect(dsn) as target, connect(self.source(mode)) as source:
            before = {table: sum_of(target, f"raw.{table}") for table in TABLES}
            whole = {table: sum_of(source, f"public.{table}") for table in TABLES}
            kept = {
                table: sum_of(target, f"(SELECT * FROM raw.{table} WHERE id > {dataset.OLD_ONLY})")
                if before[table].rows
                else Sum()
                for table in TABLES
            }
            oids = {table: oid_of(target, table) for table in TABLES}
            relations = frozenset(relations_of(target))
            loads = published(target)
        return Template(
            mode=mode,
            database=database,
            sums=before,
            oids=oids,
            catalogs={table: catalog_of(dsn, "raw", table) for table in TABLES if oids[table] is not None},
            relations=relations,
            loads=loads,
            expected=Expected(result=mode.result, before=before, source=whole, kept=kept),
        )

    def _load_before(self, mode: Mode, dsn: str) -> None:
        """The first increment, by the product itself."""
        with self._folder() as folder:
            self.write_pipeline(folder, mode, dsn)
            attempt = self.launcher.start(folder, ["run", "pipeline.yaml", "--output", "json"])
            assert attempt.wait() == 0, f"{mode.name}: the first increment failed: {attempt.stderr}"

    @contextlib.contextmanager
    def _folder(self) -> Generator[Path]:
        folder = Path(tempfile.mkdtemp(prefix="cell-", dir=self.folder))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def write_pipeline(
        self, folder: Path, mode: Mode, destination: str, *, source: str | None = None, **settings: Any
    ) -> None:
        document = dataset.pipeline(mode, PIPELINE, source or self.source(mode), destination, **settings)
        (folder / "pipeline.yaml").write_text(yaml.safe_dump(document, sort_keys=False))

    @contextlib.contextmanager
    def cell(self, mode_name: str) -> Generator[Place]:
        """A fresh destination and a folder; both are gone afterwards."""
        template = self.template(mode_name)
        self._cells += 1
        name = f"cell_{self._cells}"
        dsn = self.create_database(name, template.database)
        try:
            with self._folder() as folder:
                yield Place(lane=self, template=template, dsn=dsn, folder=folder)
        finally:
            self.drop_database(name)


@dataclass(slots=True)
class Place:
    """Where one cell takes place."""

    lane: Lane
    template: Template
    dsn: str
    folder: Path
    attempts: list[Attempt] = field(default_factory=list)

    @property
    def mode(self) -> Mode:
        return self.template.mode

    def start(
        self,
        *,
        workers: int,
        failpoints: str = "",
        options: tuple[str, ...] = (),
        launcher: Forks | Processes | None = None,
        destination: str | None = None,
        source: str | None = None,
        **settings: Any,
    ) -> Attempt:
        """The next run of the cell, in a folder of its own."""
        folder = self.folder / str(len(self.attempts))
        folder.mkdir()
        self.lane.write_pipeline(folder, self.mode, destination or self.dsn, source=source, **settings)
        arguments = ["run", "pipeline.yaml", "--output", "json", "--workers", str(workers)]
        attempt = (launcher or self.lane.launcher).start(
            folder, [*arguments, *self.mode.run_options, *options], failpoints
        )
        self.attempts.append(attempt)
        return attempt

    def evidence(self) -> list[dict[str, Any]]:
        """What the attempts said, for the report of a cell that failed."""
        return [
            {"exit": attempt.exit_code, "fired": attempt.fired, "stderr": attempt.stderr[-1500:]}
            for attempt in self.attempts
        ]


def oid_of(connection: psycopg.Connection, table: str) -> int | None:
    row = connection.execute("SELECT to_regclass(%s)::oid::bigint", [f"raw.{table}"]).fetchone()
    return row[0] if row else None


def relations_of(connection: psycopg.Connection) -> list[str]:
    """Every relation that is not the system's, indexes and TOAST left out."""
    rows = connection.execute(
        "SELECT n.nspname || '.' || c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE n.nspname !~ '^(pg_|information_schema)' AND c.relkind NOT IN ('i', 'I', 't')"
    ).fetchall()
    return [name for (name,) in rows]


def published(connection: psycopg.Connection) -> dict[str, int]:
    """Published loads by stream, as the ledger has them."""
    found = connection.execute("SELECT to_regclass('_rapidbyte.loads') IS NOT NULL").fetchone()
    if not (found and found[0]):
        return dict.fromkeys(TABLES, 0)
    rows = connection.execute(
        "SELECT stream, count(*) FROM _rapidbyte.loads WHERE state = 'published' GROUP BY stream"
    ).fetchall()
    return {**dict.fromkeys(TABLES, 0), **dict(rows)}


@contextlib.contextmanager
def open_lane(package: Path = ROOT, *, modes: Iterator[str] | tuple[str, ...] = ()) -> Generator[Lane]:
    """A lane with a server of its own, in memory where there is room. Nothing of it is left afterwards."""
    folder = make_folder()
    atexit.register(
        shutil.rmtree, folder, ignore_errors=True
    )  # the embedded server's package writes at exit, before us
    folder.chmod(0o711)
    before = {name: os.environ.pop(name) for name in [*os.environ] if name.startswith(("PG", "RAPIDBYTE_TEST_"))}
    os.environ.setdefault("XDG_CACHE_HOME", str(folder / "cache"))
    try:
        with running_server(folder) as server:
            launcher = Forks(package)
            lane = Lane(server=server, folder=folder, package=package, launcher=launcher)
            try:
                lane.prepare()
                for mode in modes:
                    lane.template(mode)
                yield lane
            finally:
                launcher.close()
    finally:
        os.environ.update(before)
        kill_leftover(folder)
        shutil.rmtree(folder, ignore_errors=True)


def stop_server(lane: Lane, number: int = signal.SIGQUIT) -> int:
    """Sends the lane's postmaster a signal; SIGQUIT is an immediate shutdown. Returns its pid."""
    pid = int((lane.folder / "data" / "postmaster.pid").read_text().split()[0])
    os.kill(pid, number)
    return pid


def as_json(value: Any) -> str:
    return json.dumps(value, default=str)


Check = Callable[[Place], list[str]]
