"""The indexes that a stage needs before it can be the target, and how many are built at a time. Pure.

An index that is built ahead of the publish carries a mark: its comment says which definition it was built by. What the
publish finds on the stage without the mark of what it wants there is dropped, and built then.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256

from rapidbyte.contract import WriteContract
from rapidbyte.destinations.postgres import ddl
from rapidbyte.destinations.postgres.indexes import source_indexes
from rapidbyte.destinations.postgres.target import TargetFacts
from rapidbyte.model import QualifiedName
from rapidbyte.values import frozen

HELPED = ("USING btree", "USING brin")
"""Indexes that the server builds with helpers, or in no time."""

HELPERS_MEMORY_BYTES = 32 << 20
"""How much of maintenance_work_mem the server wants for each process that builds a B-tree."""


@frozen
class StageIndex:
    """An index that the stage will have."""

    stage: QualifiedName
    name: str
    """While it is the stage's."""
    unique: bool
    tail: str
    """`USING btree (a) ...`."""
    becomes: str | None
    """The name that it is to have in a created target, if nothing else has it; None where it takes that of the
    target's own."""
    like: str | None = None
    """The target's index that it is a copy of."""

    @property
    def mark(self) -> str:
        """Tells one definition from another."""
        return f"rapidbyte {sha256(f'{self.unique} {self.tail}'.encode()).hexdigest()[:32]}"


def wanted(contract: WriteContract, facts: TargetFacts) -> tuple[StageIndex, ...]:
    """All indexes of a stage that takes the target's place, or becomes it; none where its rows are moved."""
    stage = contract.stage
    if stage is None or contract.publish not in ("rename", "swap"):
        return ()
    if not facts.exists:
        return (*key_index(contract, stage), *copied_indexes(contract, stage))
    return tuple(
        StageIndex(
            stage=stage,
            name=ddl.temporary_index_name(stage, number),
            unique=index.unique,
            tail=index.tail,
            becomes=None,
            like=index.name,
        )
        for number, index in enumerate(facts.indexes)
        if index.tail is not None
    )


def key_index(contract: WriteContract, stage: QualifiedName) -> tuple[StageIndex, ...]:
    """That of the primary key of a target that is created; none where it has no key."""
    if not contract.primary_key:
        return ()
    return (
        StageIndex(
            stage=stage,
            name=ddl.temporary_index_name(stage, 0),
            unique=True,
            tail=f"USING btree ({ddl.text(ddl.names(contract.primary_key))})",
            becomes=ddl.primary_key_name(contract.target.name),
        ),
    )


def copied_indexes(contract: WriteContract, stage: QualifiedName) -> tuple[StageIndex, ...]:
    """Those of `indexes: source`, in the source's order. Raises ConfigError."""
    return tuple(
        StageIndex(
            stage=stage,
            name=ddl.temporary_index_name(stage, number),
            unique=index.unique,
            tail=index.tail,
            becomes=index.name,
        )
        for number, index in enumerate(source_indexes(contract.index_definitions), 1)
    )


def may_lose_rows(contract: WriteContract) -> bool:
    """Rows may be taken out of the stage before it is published: until then a unique index may be impossible."""
    return contract.merge is not None or contract.rejects.sets_aside


def costliest_first(indexes: Iterable[StageIndex], sizes: dict[tuple[QualifiedName, str], int]) -> list[StageIndex]:
    """By the bytes of the target's own (`sizes`, by stage and name), then what no helper can build with, so that none
    is left over at the end.
    """
    return sorted(
        indexes,
        key=lambda each: (-sizes.get((each.stage, each.name), 0), each.tail.startswith("USING btree")),
    )


def gain_by_sessions(indexes: Iterable[StageIndex], *, workers: int, allowed: int) -> bool:
    """Whether several sessions use cores that one would leave idle. On two cores B-trees, for which the server has
    helpers, took as long side by side as one after the other; hash and GiST indexes among them 13 % less.
    """
    return workers > 1 + allowed or any(not each.tail.startswith(HELPED) for each in indexes)


def sessions_for(indexes: int, *, workers: int, connections_left: int) -> int:
    """How many sessions build: one an index, no more than workers, and none that the workers may need. Fewer than two
    gain nothing: 0.
    """
    found = min(indexes, workers, connections_left - workers)
    return found if found > 1 else 0


def helpers_of_one(*, setting: int, memory_bytes: int) -> int:
    """How many processes the server gives to one index at most, by max_parallel_maintenance_workers and
    maintenance_work_mem.
    """
    return max(0, min(setting, memory_bytes // HELPERS_MEMORY_BYTES - 1))


def helpers_for(unfinished: int, *, sessions: int, workers: int, allowed: int) -> int:
    """How many processes the server may give to an index beside its session's own, of those that it would give
    (`allowed`): all that build are as many as the workers, or as one index alone would have.
    """
    processes = max(workers, 1 + allowed)
    return max(0, min(allowed, processes // max(1, min(sessions, unfinished)) - 1))
