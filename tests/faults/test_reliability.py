"""RELIABILITY.md is made of the results that are checked in, and of nothing else."""

from __future__ import annotations

from typing import Any

from rapidbyte.failpoints import FAILPOINTS
from tests.faults.cells import unfired
from tests.faults.protocol import Queue, Task
from tests.faults.reliability import PAGE, page, read
from tests.faults.sweep import Outcome

PART = {"cells": 2, "planned": 5, "attempts": 4, "reads": 7, "kinds": {"SIGKILL of a run, upsert": 2}, "skipped": {}}


def _run(**parts: dict[str, Any]) -> dict[str, Any]:
    return {
        "parts": parts,
        "started_at": "2026-11-22 22:00Z",
        "full": True,
        "minutes": 3.0,
        "seconds": 180.0,
        "seed": 9,
        "versions": {"rapidbyte": "0.1.0"},
        "fired": {"cfg.parsed": 3},
        "unfired": ["pub.acked"],
    }


def test_the_page_is_that_of_the_results() -> None:
    """Nobody has written into it by hand, and no result has been added without it."""
    assert PAGE.read_text() == page(*read())


def test_a_failing_cell_is_told() -> None:
    """With what was wrong; and no bound is claimed then."""
    failing = {"cell": {"mode": "upsert"}, "problems": ["raw.orders has 3 rows"], "evidence": []}
    text = page([_run(P2={**PART, "failing": [failing]})], None)
    assert "2 cells, 1 failing" in text
    assert '- P2: `{"mode": "upsert"}`: raw.orders has 3 rows' in text
    assert "- seed 9: failpoint pub.acked fired in no cell" in text
    assert "rule of three" not in text


def test_what_was_not_reached_is_told() -> None:
    """How many of the planned cells there were when the time was up."""
    text = page([_run(P2={**PART, "failing": []})], None)
    assert "2 of 5 of P2" in text
    assert "fewer than 1e+02 %" in text
    assert "| | SIGKILL of a run | 2 |" in text


def test_a_failpoint_that_did_not_fire_is_found() -> None:
    """All but those that fired."""
    assert unfired(list(FAILPOINTS)[1:]) == ["cfg.parsed"]


def test_each_part_has_its_share_of_the_time() -> None:
    """The part that has had least of its share is next; none is once the time is up."""
    tasks = [Task(part=part, kind="", run=lambda _lane: Outcome()) for part in ("P1", "P1", "P4")]
    queue = Queue(tasks)
    taken = []
    while (task := queue.take()) is not None:
        taken.append(task.part)
        queue.spent(task.part, 1.0)
    assert taken == ["P1", "P4", "P1"]
    assert Queue(tasks, seconds=-1.0).take() is None
