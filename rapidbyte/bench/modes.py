"""Who takes part in which mode, and the pipeline files that rapidbyte runs in it."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path

from rapidbyte.bench import tables
from rapidbyte.bench.contest import BACKSLASH_COPY, ONE_PIPE, Contender
from rapidbyte.bench.ends import Ends, dsn_of, find_psql, psql_environment, yaml_fields
from rapidbyte.bench.files import FileFormat, write_files
from rapidbyte.bench.inserting import DESTINATION_VARIABLE, SOURCE_VARIABLE
from rapidbyte.bench.profiles import Profile
from rapidbyte.pg.session import PgConnection
from rapidbyte.values import frozen


class Mode(StrEnum):
    """What is measured."""

    copy = "copy"
    """Table to table, undecoded, against pipes of psql."""
    transform = "transform"
    """The same through Arrow and a SQL transform."""
    files = "files"
    """CSV, NDJSON and Parquet into a table, against psql's own reading of CSV."""
    insert = "insert"
    """The same table by INSERT, which is what COPY is measured against."""


NOTHING = "bench_nothing"
"""Target of the run that loads no rows."""

_PIPELINE = """\
version: "1.0"
pipeline: {pipeline}
source:
  use: {use}
  config: {{{source}}}
  streams: [{{{stream}}}]
{transforms}destination:
  use: postgres
  config: {{{destination}}}
  write_mode: replace
"""
_IDENTITY = 'transforms: [{use: sql, config: {query: "SELECT * FROM input"}}]\n'
"""Through Arrow and DuckDB and back; the rows stay what they are, so that they can be compared with the source's."""


@frozen
class Field:
    """Where the contest takes place."""

    reading: PgConnection
    ends: Ends
    profile: Profile
    folder: Path
    """For pipeline files and data; removed afterwards."""
    workers: tuple[int, ...]
    with_empty: bool
    """Whether a run without rows takes part."""


def contenders(field: Field, mode: Mode) -> tuple[Contender, ...]:
    """The floor first, then what is measured against it."""
    if mode is Mode.files:
        return _of_files(field)
    floors = _pipes(field)
    if mode is Mode.insert:
        return (*floors, *_inserts(field), *_relays(field, "", "rapidbyte"))
    if mode is Mode.transform:
        return (*floors, *_relays(field, _IDENTITY, "rapidbyte sql"))
    empty = (_empty(field),) if field.with_empty else ()
    return (*floors, *_relays(field, "", "rapidbyte"), *empty)


def _pipes(field: Field) -> tuple[Contender, ...]:
    """The floor with one pipe and with one per worker, where there is a psql."""
    psql = find_psql()
    if psql is None:
        return ()
    table = field.profile.name
    return tuple(
        psql_pipes(psql, selects=tables.selects(field.reading, table, pipes), table=table, ends=field.ends)
        for pipes in sorted({1, *field.workers})
    )


def psql_pipes(psql: str, *, selects: Sequence[str], table: str, ends: Ends) -> Contender:
    """The floor: `psql COPY TO STDOUT | psql COPY FROM STDIN`, binary, one pipe for each of `selects`."""
    quiet = (psql, "-X", "-q", "-v", "ON_ERROR_STOP=1", "-c")
    pipes = tuple(
        (
            (*quiet, f"COPY ({select}) TO STDOUT (FORMAT binary)"),
            (*quiet, f"COPY {tables.SCHEMA}.{table} FROM STDIN (FORMAT binary)"),
        )
        for select in selects
    )
    return Contender(
        name=ONE_PIPE if len(pipes) == 1 else f"psql | psql, {len(pipes)} pipes",
        role="floor",
        pipes=pipes,
        environments=(psql_environment(ends.source), psql_environment(ends.destination)),
        workers=len(pipes),
        makes_table=False,
        target=table,
    )


def backslash_copy(psql: str, path: Path, *, table: str, ends: Ends) -> Contender:
    """The floor of files: psql reads the CSV and sends it as it is, with one connection."""
    script = rf"\copy {tables.SCHEMA}.{table} FROM '{path}' (FORMAT csv, HEADER)"
    return Contender(
        name=BACKSLASH_COPY,
        role="floor",
        pipes=(((psql, "-X", "-q", "-v", "ON_ERROR_STOP=1", "-c", script),),),
        environments=(psql_environment(ends.destination),),
        workers=1,
        makes_table=False,
        target=table,
    )


def _relays(field: Field, transforms: str, title: str) -> tuple[Contender, ...]:
    table = field.profile.name
    reads, source = yaml_fields(field.ends.source, "BENCH_SOURCE")
    stream = f"name: {table}, target: {table}"
    pipeline = _pipeline(field, "bench", f"use: postgres, {reads}", stream, transforms=transforms)
    return tuple(rapidbyte(field, title, pipeline, workers, source, target=table) for workers in field.workers)


def _empty(field: Field) -> Contender:
    """The relay of no rows: process start, preflight, lease, prepare, publish, result."""
    reads, source = yaml_fields(field.ends.source, "BENCH_SOURCE")
    stream = f"name: {field.profile.name}, target: {NOTHING}, where: 'false'"
    pipeline = _pipeline(field, "bench_nothing", f"use: postgres, {reads}", stream)
    return rapidbyte(field, "rapidbyte, no rows", pipeline, 1, source, target=NOTHING, empty=True)


def _of_files(field: Field) -> tuple[Contender, ...]:
    """Psql's own reading of the CSV, where there is a psql; then each format with each number of workers."""
    table = field.profile.name
    paths = write_files(field.reading, table, field.folder)
    psql = find_psql()
    floors = () if psql is None else (backslash_copy(psql, paths["csv"], table=table, ends=field.ends),)
    ours = [
        rapidbyte(field, f"rapidbyte {form}", file_pipeline(field, form, path), workers, {}, target=table, makes=False)
        for form, path in paths.items()
        for workers in field.workers
    ]
    return (*floors, *ours)


def file_pipeline(field: Field, form: FileFormat, path: Path) -> Path:
    """A pipeline of one file. Numbers whose precision JSON does not tell have their types declared."""
    table = field.profile.name
    kinds = tables.column_types(field.reading, table)
    declared = ", ".join(f'"{name}": "{kind}"' for name, kind in kinds.items() if kind.startswith("numeric"))
    types = f", types: {{{declared}}}" if declared and form == "ndjson" else ""
    stream = f'name: {table}, path: "{path}", target: {table}{types}'
    return _pipeline(field, f"bench_{form}", "use: files", stream)


def _pipeline(field: Field, name: str, source: str, stream: str, *, transforms: str = "") -> Path:
    use, _, config = source.removeprefix("use: ").partition(", ")
    path = field.folder / f"{name}.yaml"
    writes, _ = yaml_fields(field.ends.destination, "BENCH_DESTINATION")
    text = _PIPELINE.format(
        pipeline=name, use=use, source=config, stream=stream, transforms=transforms, destination=writes
    )
    path.write_text(text)
    return path


def rapidbyte(
    field: Field,
    title: str,
    pipeline: Path,
    workers: int,
    source: Mapping[str, str],
    *,
    target: str,
    makes: bool = True,
    empty: bool = False,
) -> Contender:
    """`rapidbyte run` in a process of its own, as a shell script would start it."""
    command = (sys.executable, "-m", "rapidbyte", "run", str(pipeline), "--workers", str(workers), "--output", "json")
    _, destination = yaml_fields(field.ends.destination, "BENCH_DESTINATION")
    return Contender(
        name=title if empty else f"{title}, {workers} worker{'s' if workers > 1 else ''}",
        role="empty" if empty else "ours",
        pipes=((command,),),
        environments=({**source, **destination},),
        workers=workers,
        makes_table=makes,
        target=target,
    )


def _inserts(field: Field) -> tuple[Contender, ...]:
    table = field.profile.name
    environment = {
        SOURCE_VARIABLE: dsn_of(field.ends.source),
        DESTINATION_VARIABLE: dsn_of(field.ends.destination),
    }
    return tuple(
        Contender(
            name=name,
            role="peer",
            pipes=(((sys.executable, "-m", "rapidbyte.bench.inserting", method, tables.SCHEMA, table),),),
            environments=(environment,),
            workers=1,
            makes_table=False,
            target=table,
        )
        for name, method in (("INSERT by executemany", "executemany"), ("INSERT of 1,000 rows", "values"))
    )
