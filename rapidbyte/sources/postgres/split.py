"""How a relation is split into partitions. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from rapidbyte.model import RelationKind
from rapidbyte.pg.catalog import Leaf
from rapidbyte.values import frozen

CTID_RANGES_FROM = 140000
"""TID range scans came with version 14; before, every ctid range read the whole table."""


@frozen
class Split:
    """The way, and the reason as a phrase for `plan`."""

    method: Literal["ctid", "key", "whole"]
    reason: str
    key: str | None = None
    """The integer column, where the method is `key`."""


def choose_split(
    *,
    kind: RelationKind,
    root_oid: int | None,
    leaves: Sequence[Leaf],
    version_number: int,
    partition_key: str | None,
    indexed_key: str | None,
) -> Split:
    """Heap blocks where rows lie in them and may be read there, else an integer key, else one partition.

    `partition_key` is what the user names, `indexed_key` an indexed integer column of the relation.
    """
    if kind in ("query", "view", "foreign"):
        return _by_key(partition_key, what=f"a {kind} table" if kind == "foreign" else f"a {kind}")
    key = partition_key or indexed_key
    if not any(leaf.is_heap for leaf in leaves):
        return _by_key(key, what="no heap")
    if version_number < CTID_RANGES_FROM:
        return _by_key(key, what="no indexed integer column, and the server is older than version 14")
    if not all(leaf.may_read for leaf in leaves if leaf.oid != root_oid):
        return _by_key(key, what="the role may not read the partitions by themselves")
    return Split(method="ctid", reason=f"ctid ranges of {len(leaves)} leaves" if len(leaves) > 1 else "ctid ranges")


def _by_key(key: str | None, *, what: str) -> Split:
    if key is None:
        return Split(method="whole", reason=f"one partition: {what}")
    return Split(method="key", reason=f"ranges of {key}", key=key)
