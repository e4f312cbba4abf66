"""`rapidbyte demo`: the main job on real data, with a PostgreSQL of its own and nothing to set up."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rapidbyte.cli.options import OutputOption, ResultFormat
from rapidbyte.errors import RapidbyteError
from rapidbyte.values import frozen

if TYPE_CHECKING:
    from rapidbyte.cli.console import Console
    from rapidbyte.result import RunResult

FILES = (
    ("airlines", "airlines.csv", "carrier"),
    ("airports", "airports.csv", "faa"),
    ("planes", "planes.csv", "tailnum"),
    ("weather", "weather.csv.gz", None),
    ("flights", "flights.parquet", None),
)
"""(stream, file, primary key) of the flights of 2013 from New York."""

TYPES = {"weather": "pressure: double precision"}
"""What inference leaves as text, because 1000 is written as 1e3 there: declared instead."""


@frozen
class DemoPaths:
    """Where the demonstration lives: a folder below the temp folder, which stays for the user to play with."""

    folder: Path

    @property
    def server(self) -> Path:
        """Data folder of the embedded PostgreSQL."""
        return self.folder / "server"

    @property
    def load_files(self) -> Path:
        """The pipeline that loads the files."""
        return self.folder / "load_files.yaml"

    @property
    def copy_tables(self) -> Path:
        """The pipeline that copies the tables to a second database."""
        return self.folder / "copy_tables.yaml"


def demo(
    context: typer.Context,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the embedded server's data folder.")] = False,
    output: OutputOption = ResultFormat.text,
) -> int:
    """Load real data into an embedded PostgreSQL, copy it to a second database, show both results."""
    import shutil
    import tempfile

    from rapidbyte.cli.run import wants_text
    from rapidbyte.pg.embedded import start_embedded, stop_embedded

    console: Console = context.obj
    paths = DemoPaths(folder=Path(tempfile.mkdtemp(prefix="rapidbyte-demo-")))
    console.tell("starting an embedded PostgreSQL ...")
    try:
        start_embedded(paths.server)
    except RapidbyteError:
        shutil.rmtree(paths.folder)
        raise
    try:
        paths.load_files.write_text(load_files_yaml(paths, _data_folder()))
        paths.copy_tables.write_text(copy_tables_yaml(paths))
        results = _run_both(console, paths)
    finally:
        stop_embedded(paths.server)
        if not keep:
            shutil.rmtree(paths.server, ignore_errors=True)
    text = wants_text(console, output)
    shown = _demo_text(paths, results) if text else _demo_json(paths, results)
    console.require_print(shown, afterwards="the demonstration has run; its pipelines are in " + str(paths.folder))
    return _tell_errors(console, results)


def _data_folder() -> Path:
    import rapidbyte

    return Path(rapidbyte.__file__).resolve().parent / "demo"


def _run_both(console: Console, paths: DemoPaths) -> list[RunResult]:
    """The files, then, if that went well, the tables with their checksums compared."""
    from rapidbyte.cli.run import load_spec, run_spec
    from rapidbyte.spec import RunOptions

    results: list[RunResult] = []
    for path, options in ((paths.load_files, RunOptions()), (paths.copy_tables, RunOptions(checksum=True))):
        results.append(run_spec(console, load_spec(path, None, None), options))
        if results[-1].exit_code:
            break
    return results


def _tell_errors(console: Console, results: list[RunResult]) -> int:
    for result in results:
        for warning in result.warnings:
            console.warn(warning)
        if result.error is not None:
            console.tell_failure(result.error, exit_code=result.exit_code)
    return results[-1].exit_code


def load_files_yaml(paths: DemoPaths, data: Path) -> str:
    """The first pipeline: five files into database `flights`."""
    from rapidbyte.report.overview import pipeline_yaml

    streams = "".join(
        f"    - name: {name}\n      path: {pipeline_yaml(str(data / file))}\n"
        + (f"      primary_key: [{key}]\n" if key else "")
        + (f"      types: {{{types}}}\n" if (types := TYPES.get(name)) else "")
        for name, file, key in FILES
    )
    return f"""\
# The flights of 2013 from New York: CSV, gzipped CSV and Parquet into PostgreSQL.
version: "1.0"
pipeline: demo_load_files

source:
  use: files
  streams:
{streams}
destination:
  use: postgres
  config:
    embedded: {{data_dir: {pipeline_yaml(str(paths.server))}, database: flights}}
    schema: public
  write_mode: replace              # run it again: readers see the old rows, then the new ones
"""


def copy_tables_yaml(paths: DemoPaths) -> str:
    """The second pipeline: the tables of database `flights` into database `warehouse`."""
    from rapidbyte.report.overview import pipeline_yaml

    server = pipeline_yaml(str(paths.server))
    streams = "".join(f"    - name: {name}\n" for name, _, _ in FILES)
    return f"""\
# The same tables from one PostgreSQL database to another: COPY bytes, undecoded.
version: "1.0"
pipeline: demo_copy_tables

source:
  use: postgres
  config:
    embedded: {{data_dir: {server}, database: flights}}
    schema: public
  streams:
{streams}
destination:
  use: postgres
  config:
    embedded: {{data_dir: {server}, database: warehouse}}
    schema: raw                    # is created
  write_mode: replace
"""


def _demo_text(paths: DemoPaths, results: list[RunResult]) -> str:
    from rapidbyte.cli.live import summary_text
    from rapidbyte.report.summary import summarize

    headings = (
        "1. Files into PostgreSQL: CSV, gzipped CSV, Parquet (the flights of 2013 from New York)",
        "2. PostgreSQL to PostgreSQL: the same tables into a second database",
    )
    parts = [f"{heading}\n\n{summary_text(summarize(result))}\n" for heading, result in zip(headings, results)]  # noqa: B905
    return "".join(parts) + _next_steps(paths)


def program_name() -> str:
    """How this program is called from here: its name where the shell finds it, else its path."""
    called = Path(sys.argv[0])
    found = shutil.which("rapidbyte")
    if called.name != "rapidbyte" or (found is not None and Path(found).resolve() == called.resolve()):
        return "rapidbyte"
    return os.path.relpath(called)


def _next_steps(paths: DemoPaths) -> str:
    load, copy, program = paths.load_files, paths.copy_tables, program_name()
    steps = (
        (f"{program} run {load}", "loads the files again; this server stays, in the folder of the pipelines"),
        (f"{program} run {load} --limit 5", "reads, writes nothing, shows the first rows"),
        (f"{program} plan {copy}", "every statement of the second pipeline, and why it would publish so"),
        (f"{program} run {copy} --output json", "where the time went, in every detail"),
        (f"{program} psql {load}", "looks into that server; `-c 'select ...'` asks one question"),
        (f"{program} init --from data.csv --to postgresql://...", "a pipeline of your own"),
    )
    return "".join(
        [
            "The two pipelines are yours to play with; they start a PostgreSQL of their own. In this order:\n\n",
            *(f"  {command}\n      {what}\n" for command, what in steps),
        ]
    )


def _demo_json(paths: DemoPaths, results: list[RunResult]) -> str:
    from rapidbyte.report.document import document_text
    from rapidbyte.result import to_document

    return document_text(
        {
            "schema_version": 1,
            "pipelines": [str(paths.load_files), str(paths.copy_tables)],
            "results": [to_document(result) for result in results],
        }
    )
