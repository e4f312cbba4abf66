"""`rapidbyte bench`: makes the data, lets the contenders run in turn, verifies each run, reports."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

from rapidbyte.bench import tables
from rapidbyte.bench.against import changes, check_comparable, circumstances, read_baseline
from rapidbyte.bench.contest import Contender, Measurement, measure
from rapidbyte.bench.document import to_document
from rapidbyte.bench.ends import choose_ends
from rapidbyte.bench.figures import BenchReport, counted, floor_of, line, noise_note
from rapidbyte.bench.modes import Field, Mode, contenders
from rapidbyte.bench.plots import plots
from rapidbyte.bench.shapes import TABLES
from rapidbyte.bench.targets import judge
from rapidbyte.errors import CheckError, ConfigError
from rapidbyte.metrics import available_cores
from rapidbyte.pg.session import PgConnection, connect, translated
from rapidbyte.spec import Connection
from rapidbyte.values import frozen

NO_ROWS = "0:0:0"
"""The checksum of no rows."""

INSERT_SHARE = 10
"""Rows by INSERT take so many times as long: mode insert takes this part of a profile's rows unless told otherwise."""


@frozen
class BenchOptions:
    """What the command line asked for."""

    profile: str
    mode: Mode
    iters: int
    workers: tuple[int, ...]
    rows: int | None
    gate: bool
    save: Path | None
    against: Path | None
    plots: Path | None
    dsn: str | None
    source_dsn: str | None


def run_bench(options: BenchOptions, tell: Callable[[str], None]) -> BenchReport:
    """Runs a benchmark. `tell` gets a line for each run; `save_report` writes what is to be kept.

    Raises CheckError when a run fails or its rows differ, ConfigError when a file cannot be read, or could not be
    written in the end.
    """
    require_writable(options)
    profile = TABLES[options.profile]
    rows = options.rows or (profile.rows // INSERT_SHARE if options.mode is Mode.insert else profile.rows)
    baseline = _baseline(options, rows)
    ends = choose_ends(options.dsn, options.source_dsn)
    with (
        closing(connect(ends.source, side="source", application_name="rapidbyte bench")) as reading,
        closing(connect(ends.destination, side="destination", application_name="rapidbyte bench")) as writing,
        tempfile.TemporaryDirectory(prefix="rapidbyte-bench-") as folder,
    ):
        reading.autocommit = writing.autocommit = True
        require_two_databases(reading, writing)
        require_connections(writing, options.workers, ends_share_it=_place(ends.source) == _place(ends.destination))
        tables.claim(writing)
        tell(f"making {counted(rows, 'row')} of {profile.name}")
        with translated("source", f"making the {profile.name} table"):
            tables.make_table(reading, profile, rows)
            field = Field(
                reading=reading,
                ends=ends,
                profile=profile,
                folder=Path(folder),
                workers=options.workers,
                with_empty=options.gate,
            )
            taking_part = contenders(field, options.mode)
        report = _measure(field, writing, options, rows, taking_part, tell)
    report = replace(report, targets=judge(report, profile.rows) if options.gate else ())
    if baseline is not None:
        report = replace(
            report,
            against=changes(report, baseline),
            notes=(*report.notes, *circumstances(report, baseline)),
        )
    return report


def _baseline(options: BenchOptions, rows: int) -> Mapping[str, Any] | None:
    """The earlier report, read and judged before minutes are spent on a new one."""
    if options.against is None:
        return None
    try:
        text = options.against.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{options.against} cannot be read: {error}", code="baseline_unreadable", afterwards="nothing was started"
        ) from error
    baseline = read_baseline(text, str(options.against))
    check_comparable(baseline, mode=options.mode.value, profile=options.profile, rows=rows)
    return baseline


def require_writable(options: BenchOptions) -> None:
    """Raises ConfigError for a file that could not be written in the end, before minutes are spent."""
    for path, is_folder in ((options.save, False), (options.plots, True)):
        if path is None:
            continue
        why = _obstacle(path, is_folder=is_folder)
        if why is not None:
            raise ConfigError(f"{path} cannot be written: {why}", code="save_failed", afterwards="nothing was started")


def _obstacle(path: Path, *, is_folder: bool) -> str | None:
    """What keeps a file, or a folder that is made where it is missing, from being written; None where nothing does."""
    if path.exists():
        if path.is_dir() is not is_folder:
            return "it is no folder" if is_folder else "it is a folder"
        return None if os.access(path, os.W_OK) else "no permission"
    above = path.absolute().parent
    while is_folder and not above.exists():
        above = above.parent
    if not above.is_dir():
        return f"there is no folder {above}"
    return None if os.access(above, os.W_OK | os.X_OK) else f"no permission in {above}"


def _place(end: Connection) -> tuple[object, ...]:
    """By which a server is told from another one, as far as connection settings tell."""
    return end.host, end.port, end.service


def require_two_databases(reading: PgConnection, writing: PgConnection) -> None:
    """Raises ConfigError where both ends are one database: room for a target would be made of the source's table."""
    statement = (
        "SELECT pg_catalog.date_part('epoch', pg_catalog.pg_postmaster_start_time()), oid FROM pg_catalog.pg_database"
        " WHERE datname = pg_catalog.current_database()"
    )
    if reading.execute(statement).fetchone() == writing.execute(statement).fetchone():
        raise ConfigError(
            "--source-dsn and --dsn name the same database",
            code="same_database",
            hint="name two, or leave out --source-dsn: then the bench makes both beside the one of --dsn",
            afterwards="nothing was started",
        )


def require_connections(connection: PgConnection, workers: Sequence[int], *, ends_share_it: bool) -> None:
    """Raises ConfigError for more workers than the server admits connections: their pipes would be refused."""
    row = connection.execute(
        "SELECT current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int"
        " - (SELECT count(*) FROM pg_catalog.pg_stat_activity WHERE backend_type = 'client backend')"
    ).fetchone()
    free, most = int(row[0]) if row else 0, max(workers)
    needed = most * (2 if ends_share_it else 1)
    if needed > free:
        raise ConfigError(
            f"--workers {most} needs {needed} connections, and the server has {free} left",
            code="too_many_workers",
            hint="fewer --workers, or a server with a higher max_connections",
            afterwards="nothing was started",
        )


def save_report(report: BenchReport, options: BenchOptions) -> None:
    """Writes the files that were asked for. Raises ConfigError."""
    try:
        if options.save is not None:
            options.save.write_text(json.dumps(to_document(report), indent=2) + "\n")
        if options.plots is not None:
            options.plots.mkdir(parents=True, exist_ok=True)
            for name, picture in plots(report).items():
                (options.plots / name).write_text(picture)
    except OSError as error:
        done = "the benchmark is done, and its databases stay"
        raise ConfigError(f"the report cannot be written: {error}", code="save_failed", afterwards=done) from error


def _measure(
    field: Field,
    writing: PgConnection,
    options: BenchOptions,
    rows: int,
    taking_part: Sequence[Contender],
    tell: Callable[[str], None],
) -> BenchReport:
    """One warm-up of each, then the iterations, A B C A B C; every run's rows are compared with the source's."""
    columns = tuple(tables.column_types(field.reading, field.profile.name))
    expected = tables.checksum(field.reading, field.profile.name, columns)
    runs: dict[str, list[Measurement]] = {contender.name: [] for contender in taking_part}
    for iteration in range(options.iters + 1):
        for contender in taking_part:
            measured = run_verified(field, writing, contender, columns, expected)
            place = f"iteration {iteration} of {options.iters}" if iteration else "warm-up"
            tell(f"{place}: {contender.name}, {measured.wall_s:.2f} s")
            if iteration > 0:
                runs[contender.name].append(measured)
    return _report(field, writing, options, rows, taking_part, runs, expected)


def run_verified(
    field: Field, writing: PgConnection, contender: Contender, columns: Sequence[str], expected: str
) -> Measurement:
    """Makes room, runs, and compares the target's rows. Raises CheckError where they differ."""
    with translated("destination", "making room for the next run"):
        tables.clear(writing, field.profile, contender.target, make=not contender.makes_table)
    measured = measure(contender)
    with translated("destination", f"checking what {contender.name} has loaded"):
        found = tables.checksum(writing, contender.target, columns)
    wanted = NO_ROWS if contender.role == "empty" else expected
    if found != wanted:
        raise CheckError(
            f"{contender.name} loaded other rows than the source has: {found} instead of {wanted}",
            code="rows_differ",
        )
    return measured


def _report(
    field: Field,
    writing: PgConnection,
    options: BenchOptions,
    rows: int,
    taking_part: Sequence[Contender],
    runs: Mapping[str, Sequence[Measurement]],
    checksum: str,
) -> BenchReport:
    written = [run.result["bytes_written"] for found in runs.values() for run in found if run.result is not None]
    size = max(int(each or 0) for each in written)
    floor = floor_of(list(runs))
    lines = tuple(
        line(contender, runs[contender.name], runs[floor] if floor else (), rows=rows, size=size)
        for contender in taking_part
    )
    missing = () if floor else ("no psql was found: there is no floor to compare with",)
    return BenchReport(
        mode=options.mode.value,
        profile=field.profile.name,
        rows=rows,
        bytes=size,
        iterations=options.iters,
        server=tables.server_name(writing),
        cores=available_cores(),
        checksum=checksum,
        floor=floor,
        lines=lines,
        notes=(*noise_note(lines), *missing),
    )
