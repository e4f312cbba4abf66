"""The command against real servers, as a process of its own: with failpoints, with signals."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml

Connect = Callable[..., psycopg.Connection]
ROOT = Path(__file__).parents[2]
KILLED = 137
PATIENCE_SECONDS = 120
"""How long a process may take before a test gives it up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """A process that is over."""

    exit_code: int
    document: dict[str, Any]
    """What it printed on stdout; empty where it was killed."""
    stderr: str

    @property
    def stream(self) -> dict[str, Any]:
        """The first stream's part of the result."""
        return self.document["streams"][0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """A folder with a pipeline file."""

    folder: Path
    document: dict[str, Any]

    def start(self, *arguments: str, failpoint: str | None = None) -> subprocess.Popen[str]:
        """`rapidbyte ...` in the folder; `failpoint` as RAPIDBYTE_FAILPOINT."""
        self.folder.mkdir(exist_ok=True)
        (self.folder / "pipeline.yaml").write_text(yaml.safe_dump(self.document))
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        if failpoint is not None:
            environment |= {"RAPIDBYTE_FAILPOINT": failpoint, "RAPIDBYTE_FAILPOINT_DIR": str(self.folder)}
        return subprocess.Popen(
            [sys.executable, "-m", "rapidbyte", *arguments],
            cwd=self.folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *options: str, failpoint: str | None = None) -> Ended:
        """`rapidbyte run pipeline.yaml ...`, to its end."""
        return ended(self.start("run", "pipeline.yaml", *options, failpoint=failpoint))

    def did(self, *arguments: str) -> Ended:
        """Any other command, to its end."""
        return ended(self.start(*arguments))


def ended(process: subprocess.Popen[str]) -> Ended:
    """Waits for it. A process that does not end is killed, and fails the test."""
    try:
        stdout, stderr = process.communicate(timeout=PATIENCE_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        pytest.fail(f"it did not end: {process.communicate()[1][-2000:]}")
    return Ended(exit_code=process.returncode, document=json.loads(stdout) if stdout else {}, stderr=stderr)


def project(
    folder: Path, source: dict[str, Any], destination: str, *, stream: dict[str, Any], **settings: Any
) -> Project:
    """One stream into schema raw, two workers, small partitions."""
    document = {
        "version": "1.0",
        "pipeline": "shop",
        "source": {**source, "streams": [stream]},
        "destination": {"use": "postgres", "config": {"dsn": destination, "schema": "raw"}, **settings},
        "resources": {"parallelism": 2, "checkpoint_interval_bytes": "64kb"},
    }
    return Project(folder=folder, document=document)


def postgres(dsn: str) -> dict[str, Any]:
    """A source."""
    return {"use": "postgres", "config": {"dsn": dsn}}
