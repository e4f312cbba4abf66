"""Which cells there are in each part: a slice for every commit, all of them for `make soak`."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tests.faults import cells, sweep
from tests.faults.cells import Cell
from tests.faults.lane import Lane
from tests.faults.protocol import Task

WORKERS = (1, 4)


def _sweep(lanes: Sequence[Lane], modes: Sequence[str], *, full: bool, seed: int) -> list[Task]:
    passings = sweep.learn(lanes, tuple(modes), WORKERS)
    chosen = cells.all_cells(passings, seed) if full else cells.slice_cells(passings, seed, 1)

    def task(cell: Cell) -> Task:
        return Task(part="P1", kind=cell.mode, document=cell.document(), run=lambda lane: sweep.run_cell(lane, cell))

    return [task(cell) for cell in chosen]


PARTS: dict[str, Callable[..., list[Task]]] = {"P1": _sweep}


def tasks_of(part: str, lanes: Sequence[Lane], modes: Sequence[str], *, full: bool, seed: int) -> list[Task]:
    """The part's cells, in the order in which they are carried out."""
    return PARTS[part](lanes, modes, full=full, seed=seed)
