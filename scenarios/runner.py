"""Runs each scenario's run.sh in a folder of its own, with two fresh databases. Exits 1 when one fails.

A scenario is a folder <nn>_<name> with run.sh, a pipeline.yaml, README.md (why it is there), and, where it needs
one, seed.sql, which is run on the source first. run.sh sees:

    SOURCE_DSN, DEST_DSN   the two databases, as a superuser of a server whose defaults are hostile
    ROLE                   a name for a role; every role whose name begins so is dropped afterwards
    SCENARIOS              this folder: `. "$SCENARIOS/lib.sh"` for expect, source_sql, dest_sql, ...
    SERVER_LOG             the server's log, where it can be read: `serverlog "$DEST_DSN"`
    PATH                   rapidbyte, psql, json, serverlog
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
from psycopg import sql

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from tests.kit.server import Server, kill_leftover, make_folder, running_server, unique_name  # noqa: E402

TIMEOUT_SECONDS = 300


def main() -> int:
    """Runs what the command line asks for; returns the exit code."""
    parser = argparse.ArgumentParser(description="Run the scenarios.")
    parser.add_argument("filters", nargs="*", help="parts of names; default: all")
    parser.add_argument("-j", "--jobs", type=int, default=2, help="how many at once")
    parser.add_argument("-v", "--verbose", action="store_true", help="print what those that pass say")
    arguments = parser.parse_args()
    scenarios = [
        folder
        for folder in sorted(HERE.glob("[0-9][0-9]_*"))
        if (folder / "run.sh").exists() and (not arguments.filters or any(f in folder.name for f in arguments.filters))
    ]
    if not scenarios:
        print(f"no scenario's name contains {' or '.join(arguments.filters)}", file=sys.stderr)
        return 2
    base = make_folder()
    os.environ["XDG_CACHE_HOME"] = str(base / "cache")
    try:
        with running_server(base) as server, ThreadPoolExecutor(arguments.jobs) as pool:
            outcomes = pool.map(lambda folder: run(folder, server, base), scenarios)
            failed = [name for name, passed in tell(outcomes, verbose=arguments.verbose) if not passed]
    finally:
        kill_leftover(base)
        shutil.rmtree(base, ignore_errors=True)
    print(f"{len(scenarios) - len(failed)} of {len(scenarios)} scenarios passed" + "".join(f"\n  {n}" for n in failed))
    return 1 if failed else 0


def tell(outcomes, *, verbose: bool):
    """One line each as they end, in order; with its output where it failed."""
    for name, seconds, code, output in outcomes:
        print(f"{'FAIL' if code else 'PASS'} {name} ({seconds:.1f} s)", flush=True)
        if code or verbose:
            print("".join(f"     {line}\n" for line in output.splitlines()), end="", flush=True)
        yield name, code == 0


def run(folder: Path, server: Server, base: Path) -> tuple[str, float, int, str]:
    """(name, seconds, exit code, output) of one scenario."""
    started = time.monotonic()
    name = unique_name("rb_sc")
    work = base / name
    shutil.copytree(folder, work)
    try:
        with psycopg.connect(server.admin_dsn, autocommit=True) as admin:
            for role in ("source", "dest"):
                admin.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(sql.Identifier(f"{name}_{role}")))
        code, output = execute(work, environment(server, name))
    finally:
        remove(server, name)
        shutil.rmtree(work, ignore_errors=True)
    return folder.name, time.monotonic() - started, code, output


def environment(server: Server, name: str) -> dict[str, str]:
    """What run.sh sees; nothing of libpq's from outside."""
    from rapidbyte.pg.embedded import embedded_bin_dir

    kept = {key: value for key, value in os.environ.items() if not key.startswith("PG")}
    return {
        **kept,
        "SOURCE_DSN": server.dsn(f"{name}_source"),
        "DEST_DSN": server.dsn(f"{name}_dest"),
        "ROLE": name,
        **({"SERVER_LOG": str(server.log)} if server.log else {}),
        "SCENARIOS": str(HERE),
        "PATH": os.pathsep.join([str(HERE / "bin"), str(embedded_bin_dir()), kept["PATH"]]),
    }


def execute(work: Path, variables: dict[str, str]) -> tuple[int, str]:
    """Seeds the source, then runs run.sh; a group of its own, so that nothing it has started outlives it."""
    script = (
        'if [ -e seed.sql ]; then . "$SCENARIOS/lib.sh"; source_sql -f seed.sql; fi; exec bash -eu -o pipefail run.sh'
    )
    with subprocess.Popen(
        ["bash", "-eu", "-c", script],
        cwd=work,
        env=variables,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            output, _ = process.communicate(timeout=TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            output, _ = process.communicate()
            return 124, f"{output}\nstill running after {TIMEOUT_SECONDS} s"
        return process.returncode, output


def remove(server: Server, name: str) -> None:
    """Drops the databases and the roles of a scenario."""
    with psycopg.connect(server.admin_dsn, autocommit=True) as admin:
        for role in ("source", "dest"):
            admin.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(f"{name}_{role}")))
        for (found,) in admin.execute("SELECT rolname FROM pg_roles WHERE starts_with(rolname, %s)", [name]).fetchall():
            admin.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(found)))


if __name__ == "__main__":
    sys.exit(main())
