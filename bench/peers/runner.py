"""Runs each installed peer on the same rows in the same session as psql and rapidbyte; see README.md beside it."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import venv
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict, replace
from datetime import UTC, datetime
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from contestants import HERE, VENV, Peer, of_files, of_tables, ours
from markdown import insert, to_markdown

from rapidbyte.bench import tables
from rapidbyte.bench.contest import Contender, Measurement, measure
from rapidbyte.bench.ends import Ends, choose_ends
from rapidbyte.bench.figures import floor_of, line
from rapidbyte.bench.files import write_files
from rapidbyte.bench.modes import Field, Mode
from rapidbyte.bench.shapes import TABLES
from rapidbyte.errors import CheckError
from rapidbyte.metrics import available_cores
from rapidbyte.pg.session import PgConnection, connect

SOURCE_DATABASE = "rapidbyte_peers_source"
DESTINATION_DATABASE = "rapidbyte_peers_destination"


def main() -> int:
    """Installs, measures, or writes the tables, as asked; returns the exit code."""
    options = _options()
    if options.install:
        install()
    if options.write:
        return write_tables(options.write)
    if not options.dsn:
        return 0 if options.install else _say("name a server with --dsn, or --install", 2)
    report = run(options)
    text = json.dumps(report, indent=2) + "\n"
    if options.save:
        options.save.write_text(text)
    print(to_markdown(report))
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench/peers/run", description=__doc__)
    parser.add_argument("--install", action="store_true", help="install the peers of requirements.txt into .venv here")
    parser.add_argument("--dsn", help="a server over TCP, as its superuser: two databases are made on it")
    parser.add_argument("--work", choices=("table", "files"), default="table", help="table to table, or files to table")
    parser.add_argument("--profile", choices=tuple(TABLES), default="small")
    parser.add_argument("--rows", type=int, help="instead of the profile's")
    parser.add_argument("--iters", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2, help="rapidbyte's")
    parser.add_argument("--only", help="parts of names, separated by commas; psql and rapidbyte always take part")
    parser.add_argument("--note", default="", help="what else the machine did meanwhile")
    parser.add_argument("--save", type=Path, metavar="FILE", help="the JSON report")
    written = "put the tables of these reports between the markers of PERF_ANALYSIS.md and README.md"
    parser.add_argument("--write", nargs="+", type=Path, metavar="FILE", help=written)
    return parser.parse_args()


def _say(message: str, code: int) -> int:
    print(message, file=sys.stderr)
    return code


def install() -> None:
    """The peers' own virtual environment. Nothing of it is rapidbyte's."""
    venv.create(VENV, with_pip=True)
    pip = (str(VENV / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
    subprocess.run((*pip, "-r", str(HERE / "requirements.txt")), check=True)


def write_tables(reports: Sequence[Path]) -> int:
    """Both documents, from saved reports."""
    root = HERE.parent.parent
    found = [json.loads(path.read_text()) for path in reports]
    for name in ("PERF_ANALYSIS.md", "README.md"):
        document = root / name
        document.write_text(insert(document.read_text(), found, short=name == "README.md"))
    return 0


def run(options: argparse.Namespace) -> dict[str, Any]:
    """One warm-up of each, then the iterations, in turn. A peer that fails is told and takes no further part."""
    profile = TABLES[options.profile]
    rows = options.rows or profile.rows
    ends = _ends(options.dsn)
    with (
        closing(connect(ends.source, side="source", application_name="rapidbyte peers")) as reading,
        closing(connect(ends.destination, side="destination", application_name="rapidbyte peers")) as writing,
        tempfile.TemporaryDirectory(prefix="rapidbyte-peers-") as name,
    ):
        folder = Path(name)
        reading.autocommit = writing.autocommit = True
        print(f"making {rows:,} rows of {profile.name}", file=sys.stderr)
        _keep_only(reading, profile.name)
        tables.make_table(reading, profile, rows)
        field = Field(
            reading=reading, ends=ends, profile=profile, folder=folder, workers=(options.workers,), with_empty=False
        )
        peers = _peers(field, options, folder)
        facts, runs = _compete(field, writing, peers, options.iters, rows)
        return _report(field, writing, options, rows, peers, facts, runs)


def _ends(dsn: str) -> Ends:
    """Databases of their own: one of the peers copies whole ones."""
    ends = choose_ends(dsn, dsn)
    with closing(connect(ends.destination, side="destination", application_name="rapidbyte peers")) as connection:
        connection.autocommit = True
        tables.make_databases(connection, (SOURCE_DATABASE, DESTINATION_DATABASE))
    return Ends(
        source=replace(ends.source, database=SOURCE_DATABASE),
        destination=replace(ends.destination, database=DESTINATION_DATABASE),
    )


def _keep_only(reading: PgConnection, table: str) -> None:
    for name in TABLES:
        if name != table:
            reading.execute(f'DROP TABLE IF EXISTS "{tables.SCHEMA}"."{name}"')


def _peers(field: Field, options: argparse.Namespace, folder: Path) -> list[Peer]:
    if options.work == "table":
        own = ours(field, Mode.copy)
        others = of_tables(field, _query(field), folder)
    else:
        files = write_files(field.reading, field.profile.name, folder)
        own = ours(field, Mode.files)
        others = of_files(field, {str(form): path for form, path in files.items()}, folder)
    wanted = options.only.casefold().split(",") if options.only else [""]
    return own + [peer for peer in others if any(word in peer.name.casefold() for word in wanted)]


def _query(field: Field) -> str:
    """The columns by name. ADBC has no type for some: the server makes text of those."""
    kinds = tables.column_types(field.reading, field.profile.name)
    columns = [
        f"{name}::text AS {name}" if kind in ("inet", "jsonb") or kind.startswith("numeric") else name
        for name, kind in kinds.items()
    ]
    return f"SELECT {', '.join(columns)} FROM {tables.SCHEMA}.{field.profile.name}"


def _compete(
    field: Field, writing: PgConnection, peers: Sequence[Peer], iterations: int, rows: int
) -> tuple[dict[str, dict[str, Any]], dict[str, list[Measurement]]]:
    facts: dict[str, dict[str, Any]] = {
        peer.name: {"setting": peer.setting, "status": "measured" if peer.contender else "missing", "needs": peer.needs}
        for peer in peers
    }
    runs: dict[str, list[Measurement]] = {peer.name: [] for peer in peers}
    known: dict[tuple[str, ...], str] = {}
    for iteration in range(iterations + 1):
        for peer in peers:
            if facts[peer.name]["status"] != "measured" or peer.contender is None:
                continue
            _make_room(field, writing, peer.contender)
            try:
                measured = measure(peer.contender)
                _count(field, writing, rows)
                if not iteration:
                    facts[peer.name] |= _check(field, writing, known)
            except CheckError as error:
                facts[peer.name] |= {"status": "failed", "why": str(error)[-600:]}
                print(f"{peer.name} failed: {str(error)[-600:]}", file=sys.stderr)
                continue
            print(f"{iteration}: {peer.name} {measured.wall_s:.2f} s", file=sys.stderr)
            if iteration:
                runs[peer.name].append(measured)
    return facts, runs


def _make_room(field: Field, writing: PgConnection, contender: Contender) -> None:
    """A schema without anything that another, or it, has left there; an empty table for those who need one."""
    writing.execute(f'DROP SCHEMA IF EXISTS "{tables.SCHEMA}" CASCADE')
    writing.execute(f'CREATE SCHEMA "{tables.SCHEMA}"')
    tables.clear(writing, field.profile, contender.target, make=not contender.makes_table)


def _count(field: Field, writing: PgConnection, rows: int) -> None:
    """Raises CheckError where rows are missing or were loaded twice. After every run."""
    row = writing.execute(f'SELECT count(*) FROM "{tables.SCHEMA}"."{field.profile.name}"').fetchone()
    if row is None or row[0] != rows:
        raise CheckError(f"{row and row[0]} rows instead of {rows}", code="rows_differ")


def _check(field: Field, writing: PgConnection, known: dict[tuple[str, ...], str]) -> dict[str, Any]:
    """Types compared, and by checksum the values of columns that kept theirs. After the warm-up; `known` are the
    source's checksums, which do not change.
    """
    table = field.profile.name
    wanted, found = (tables.column_types(each, table) for each in (field.reading, writing))
    same = tuple(name for name, kind in wanted.items() if found.get(name) == kind)
    if same not in known:
        known[same] = tables.checksum(field.reading, table, same)
    here, there = known[same], tables.checksum(writing, table, same)
    return {
        "values": "equal" if here == there else "differ",
        "losses": [
            {"column": name, "source": kind, "target": found.get(name, "missing")}
            for name, kind in wanted.items()
            if found.get(name) != kind and not _as_good(kind, found.get(name))
        ],
        "added": [name for name in found if name not in wanted],
    }


def _as_good(kind: str, other: str | None) -> bool:
    """Types that hold the same values under another name."""
    return {kind, other} == {"text", "character varying"}


def _report(
    field: Field,
    writing: PgConnection,
    options: argparse.Namespace,
    rows: int,
    peers: Sequence[Peer],
    facts: dict[str, dict[str, Any]],
    runs: dict[str, list[Measurement]],
) -> dict[str, Any]:
    measured = [peer for peer in peers if facts[peer.name]["status"] == "measured"]
    floor = floor_of([peer.name for peer in measured])
    written = [run.result["bytes_written"] for each in runs.values() for run in each if run.result is not None]
    size = max((int(each) for each in written), default=0)
    lines = {}
    for peer in measured:
        if peer.contender is not None:
            made = line(peer.contender, runs[peer.name], runs[floor] if floor else (), rows=rows, size=size)
            lines[peer.name] = {key: value for key, value in asdict(made).items() if value is not None}
    return {
        "schema_version": 1,
        "work": options.work,
        "profile": field.profile.name,
        "rows": rows,
        "bytes": size,
        "iterations": options.iters,
        "server": tables.server_name(writing),
        "cores": available_cores(),
        "date": datetime.now(UTC).date().isoformat(),
        "load_average": list(os.getloadavg()),
        "note": options.note,
        "command": "bench/peers/run --dsn DSN"
        f" --work {options.work} --profile {options.profile} --rows {rows} --iters {options.iters}"
        + (f" --only {options.only}" if options.only else ""),
        "versions": versions(),
        "floor": floor,
        "peers": [{"name": peer.name, **facts[peer.name], **lines.get(peer.name, {})} for peer in peers],
    }


def versions() -> dict[str, str]:
    """What is installed, of the peers' environment and of the system."""
    pinned = ("duckdb", "adbc-driver-postgresql", "polars", "connectorx", "dlt", "sling-linux-amd64", "pyarrow")
    folders = [str(each) for each in VENV.glob("lib/python*/site-packages")]
    found = {each.metadata["Name"]: each.version for each in distributions(path=folders)}
    known = {name: version for name, version in found.items() if name in pinned}
    for program in ("pgcopydb", "pgloader", "psql"):
        try:
            said = subprocess.run((program, "--version"), capture_output=True, text=True, check=False)
        except FileNotFoundError:
            continue
        words = (said.stdout + said.stderr).replace('"', " ").split()
        known[program] = next((word for word in words if word[0].isdigit() and "." in word), "?")
    return known


if __name__ == "__main__":
    sys.exit(main())
