"""One timed run of a contender, and what is left of it when the benchmark is stopped."""

from __future__ import annotations

import os
import select
from pathlib import Path

import pytest

from rapidbyte.bench.contest import Contender, measure


def test_a_contender_ends_when_the_benchmark_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C, or a SIGTERM to the benchmark alone: no psql loads on behind its back."""
    pipe = tmp_path / "pid"
    os.mkfifo(pipe)
    contender = Contender(
        name="sleeper",
        role="peer",
        pipes=((("sh", "-c", f"echo $$ > {pipe}; exec sleep 300"),),),
        environments=({},),
        workers=1,
        makes_table=False,
        target="t",
    )
    found: list[int] = []

    def interrupted(_pid: int, _options: int) -> None:
        with pipe.open() as reading:
            assert select.select([reading], [], [], 60)[0]
            found.append(int(reading.read()))
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "wait4", interrupted)
    with pytest.raises(KeyboardInterrupt):
        measure(contender)
    with pytest.raises(ProcessLookupError):
        os.kill(found[0], 0)
