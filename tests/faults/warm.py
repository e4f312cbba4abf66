"""An interpreter that has imported everything, and forks a run for every line of JSON on its standard input.

Each child is as a freshly started `rapidbyte`, but for the imports: a session and process group of its own, its own
environment, standard streams and failpoints. Answers, one line each: `started N PID`, `ended N STATUS`.
"""

from __future__ import annotations

import gc
import json
import os
import select
import sys
import tempfile
import threading
from pathlib import Path

PIPELINE = """
version: "1.0"
pipeline: warm
source: {use: postgres, config: {dsn: "postgresql://localhost:1/x"}, streams: [{name: t}]}
destination: {use: postgres, config: {dsn: "postgresql://localhost:1/x"}}
"""


def main() -> None:
    """Serves until its input ends."""
    _import_everything()
    running: dict[int, int] = {}
    waiting = b""
    print("ready", flush=True)
    while True:
        readable, _, _ = select.select([0], [], [], 0.004 if running else None)
        if readable:
            data = os.read(0, 65536)
            if not data:
                return
            *lines, waiting = (waiting + data).split(b"\n")
            for line in lines:
                request = json.loads(line)
                pid = os.fork()
                if pid == 0:
                    _become(request)
                    return
                running[pid] = request["number"]
                print("started", request["number"], pid, flush=True)
        while running:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                break
            print("ended", running.pop(pid), os.waitstatus_to_exitcode(status), flush=True)


def _import_everything() -> None:
    from rapidbyte.config import load

    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        file.write(PIPELINE)
        file.flush()
        load(Path(file.name), env={})  # builds the models
    gc.collect()
    gc.freeze()  # children do not touch, and so do not copy, the pages of all that was imported


def _become(request: dict) -> None:
    """This process is now the run; the interpreter's own end is its end."""
    os.setsid()
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    for number, name, mode in (
        (0, os.devnull, os.O_RDONLY),
        (1, request["stdout"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC),
        (2, request["stderr"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC),
    ):
        opened = os.open(name, mode, 0o600)
        os.dup2(opened, number)
        os.close(opened)
    sys.argv = ["rapidbyte", *request["arguments"]]
    from rapidbyte.cli import carry_out
    from rapidbyte.failpoints import arm_from_environment

    arm_from_environment()
    code = carry_out()
    threading._shutdown()  # as the interpreter's end does: joins what was left running
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
