"""What takes part in a benchmark, and one timed run of it: whole processes, from start to exit."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rapidbyte.errors import CheckError
from rapidbyte.values import frozen

ONE_PIPE = "psql | psql, 1 pipe"
"""The name of the floor."""


@frozen
class Contender:
    """One way of copying the table: processes that run side by side, each a pipe of commands."""

    name: str
    pipes: tuple[tuple[tuple[str, ...], ...], ...]
    environments: tuple[Mapping[str, str], ...]
    """One for each command of a pipe, in order; added to the environment of this process."""
    workers: int
    makes_table: bool
    """True where it creates the target itself; else an empty one must stand there."""


@frozen
class Measurement:
    """One run of one contender. `cpu_s` and `peak_rss_mb` are the client's processes, not the server's."""

    contender: str
    wall_s: float
    cpu_s: float
    peak_rss_mb: float
    """Of the largest single process."""
    result: dict[str, Any] | None
    """rapidbyte's own result; None for the others."""


def rapidbyte(pipeline: Path, *, source: Mapping[str, str], destination: Mapping[str, str], workers: int) -> Contender:
    """`rapidbyte run` in a process of its own, as a shell script would start it."""
    command = (sys.executable, "-m", "rapidbyte", "run", str(pipeline), "--workers", str(workers), "--output", "json")
    return Contender(
        name=f"rapidbyte, {workers} worker{'s' if workers > 1 else ''}",
        pipes=((command,),),
        environments=({**source, **destination},),
        workers=workers,
        makes_table=True,
    )


def psql_pipes(
    psql: str,
    *,
    selects: Sequence[str],
    target: str,
    source: Mapping[str, str],
    destination: Mapping[str, str],
) -> Contender:
    """The floor: `psql COPY TO STDOUT | psql COPY FROM STDIN`, binary, one pipe for each of `selects`."""
    quiet = (psql, "-X", "-q", "-v", "ON_ERROR_STOP=1", "-c")
    pipes = tuple(
        (
            (*quiet, f"COPY ({select}) TO STDOUT (FORMAT binary)"),
            (*quiet, f"COPY {target} FROM STDIN (FORMAT binary)"),
        )
        for select in selects
    )
    return Contender(
        name=f"psql | psql, {len(pipes)} pipe{'s' if len(pipes) > 1 else ''}",
        pipes=pipes,
        environments=(source, destination),
        workers=len(pipes),
        makes_table=False,
    )


def measure(contender: Contender) -> Measurement:
    """Runs a contender once. Raises CheckError, with what it said, when a command of it fails."""
    started = time.monotonic()
    with tempfile.TemporaryFile() as complaints, tempfile.TemporaryFile() as output:
        running = [process for pipe in contender.pipes for process in _start(contender, pipe, output, complaints)]
        usages = [os.wait4(process.pid, 0) for process in running]
        wall = time.monotonic() - started
        for process, (_, status, _) in zip(running, usages, strict=True):
            process.returncode = os.waitstatus_to_exitcode(status)
        complaints.seek(0)
        output.seek(0)
        if any(process.returncode for process in running):
            said = complaints.read().decode(errors="replace").strip()
            raise CheckError(f"{contender.name} failed: {said[-2000:]}", code="contender_failed")
        document = output.read()
    return Measurement(
        contender=contender.name,
        wall_s=wall,
        cpu_s=sum(usage.ru_utime + usage.ru_stime for _, _, usage in usages),
        peak_rss_mb=max(usage.ru_maxrss for _, _, usage in usages) / 1024,
        result=json.loads(document) if contender.makes_table else None,
    )


def _start(
    contender: Contender, pipe: tuple[tuple[str, ...], ...], output: Any, complaints: Any
) -> list[subprocess.Popen[bytes]]:
    """Starts the commands of one pipe, each one's output the next one's input."""
    processes: list[subprocess.Popen[bytes]] = []
    for place, command in enumerate(pipe):
        last = place == len(pipe) - 1
        process = subprocess.Popen(  # noqa: S603 - the commands are ours, no shell is involved
            command,
            stdin=processes[-1].stdout if processes else subprocess.DEVNULL,
            stdout=output if last else subprocess.PIPE,
            stderr=complaints,
            env={**os.environ, **contender.environments[place]},
        )
        if processes and (upstream := processes[-1].stdout) is not None:
            upstream.close()
        processes.append(process)
    return processes
