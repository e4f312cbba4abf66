"""What takes part in a benchmark, and one timed run of it: whole processes, from start to exit."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal

from rapidbyte.bench.memory import PeakMemory
from rapidbyte.errors import CheckError
from rapidbyte.values import frozen

ONE_PIPE = "psql | psql, 1 pipe"
"""The name of the floor of what comes from a table."""

BACKSLASH_COPY = r"psql \copy"
"""The name of the floor of what comes from a CSV file."""

FLOORS = (ONE_PIPE, BACKSLASH_COPY)
"""Of a report at most one takes part."""

Role = Literal["floor", "ours", "peer", "empty"]
"""`empty` is ours with no rows to load: what a run costs before and after its work."""


@frozen
class Contender:
    """One way of loading the table: processes that run side by side, each a pipe of commands."""

    name: str
    role: Role
    pipes: tuple[tuple[tuple[str, ...], ...], ...]
    environments: tuple[Mapping[str, str], ...]
    """One for each command of a pipe, in order; added to the environment of this process."""
    workers: int
    makes_table: bool
    """True where it creates the target itself; else an empty one must stand there."""
    target: str
    """Name of the table that it loads, within the bench's schema."""


@frozen
class Measurement:
    """One run of one contender. `cpu_s` and `peak_rss_mb` are the client's processes, not the server's."""

    contender: str
    wall_s: float
    cpu_s: float
    peak_rss_mb: float
    """Of all its processes together, descendants included."""
    result: dict[str, Any] | None
    """rapidbyte's own result; None for the others."""


def measure(contender: Contender) -> Measurement:
    """Runs a contender once. Raises CheckError, with what it said, when a command of it fails."""
    started = time.monotonic()
    with tempfile.TemporaryFile() as complaints, tempfile.TemporaryFile() as output:
        running: list[subprocess.Popen[bytes]] = []
        with _ended_with_us(running):
            for pipe in contender.pipes:
                _start(contender, pipe, output, complaints, running)
            with PeakMemory([process.pid for process in running]) as memory:
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
        peak_rss_mb=memory.peak_mb,
        result=json.loads(document) if contender.role in ("ours", "empty") else None,
    )


@contextmanager
def _ended_with_us(running: Sequence[subprocess.Popen[bytes]]) -> Generator[None]:
    """Whatever ends this block early, Ctrl-C or a SIGTERM to us alone, ends these processes, and awaits them."""
    is_over = False
    try:
        yield
        is_over = True
    finally:
        if not is_over:
            for process in running:
                process.terminate()
            for process in running:
                process.wait()


def _start(
    contender: Contender,
    pipe: tuple[tuple[str, ...], ...],
    output: Any,
    complaints: Any,
    running: list[subprocess.Popen[bytes]],
) -> None:
    """Starts the commands of one pipe, each one's output the next one's input, and adds them to `running`."""
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
        running.append(process)
