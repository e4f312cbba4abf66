"""What `loads` keeps of a load so that another run can go on with it: partitions, bounds, a signature. Pure.

A document that this version cannot read gives None: the load then begins anew, which is always right.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any, get_args

from rapidbyte.cursor import CURSOR_TYPES, CursorBounds, FileMark
from rapidbyte.model import QualifiedName
from rapidbyte.partition import Partition, PartitionRange
from rapidbyte.plan import StreamPlan
from rapidbyte.spec import MaskTransform

_KINDS: dict[str, type[PartitionRange]] = {kind.__name__: kind for kind in get_args(PartitionRange)}


def write_partitions(partitions: Sequence[Partition]) -> list[dict[str, Any]]:
    """As JSON: one object each, in order; the range's kind is its class."""
    return [{"kind": type(each.range).__name__, "range": asdict(each.range)} for each in partitions]


def read_partitions(stream: str, document: Any) -> tuple[Partition, ...] | None:
    """What `write_partitions` wrote."""
    try:
        return tuple(
            Partition(stream=stream, index=index, range=_range(each["kind"], each["range"]))
            for index, each in enumerate(document)
        )
    except (KeyError, TypeError):
        return None


def _range(kind: str, fields: Mapping[str, Any]) -> PartitionRange:
    relation = fields.get("relation")
    values: dict[str, Any] = dict(fields)
    if kind == "CursorRange" and fields["type"] not in CURSOR_TYPES:
        raise TypeError(fields["type"])  # what a ledger says does not become SQL unseen (G2)
    if relation is not None:
        values["relation"] = QualifiedName(**relation)
    return _KINDS[kind](**values)


def write_bounds(bounds: CursorBounds | None) -> dict[str, Any] | None:
    """As JSON. Warnings belong to a run, and are left out."""
    return None if bounds is None else {key: value for key, value in asdict(bounds).items() if key != "warnings"}


def read_bounds(document: Any) -> CursorBounds | None:
    """What `write_bounds` wrote."""
    if document is None:
        return None
    try:
        files = tuple(FileMark(**mark) for mark in document.get("files", ()))
        bounds = replace(CursorBounds(**document), files=files)
    except (TypeError, AttributeError):
        return None
    return bounds if bounds.type in CURSOR_TYPES else None


def signature(plan: StreamPlan, *, source: str | None, worker: str | None) -> str:
    """Of all that must be equal for a load to be continued: whence, what, where to, how. Not of its bounds."""
    # min_rows guards the publish alone.
    spec = {name: value for name, value in asdict(plan.shape.spec).items() if name != "min_rows"}
    parts: dict[str, object] = {
        "source": source,
        "worker": worker,
        "relation": str(plan.shape.relation),
        "leaves": [str(leaf) for leaf in plan.shape.leaves],
        "delivers": plan.shape.delivers,
        "spec": spec,
        "mask_keys": [
            hashlib.sha256(each.key.reveal().encode()).hexdigest()
            for each in plan.shape.spec.transforms
            if isinstance(each, MaskTransform) and each.key is not None
        ],
        "columns": [
            (column.source.name, column.source.type.name, column.target.name, column.target.type.name)
            for column in plan.columns
        ],
        "target": str(plan.target),
        "target_oid": plan.replace.target_oid,
        "key": plan.replace.key,
        "primary_key": plan.primary_key,
        "write_mode": plan.write_mode,
        "publish": plan.publish,
        "wire": plan.wire,
        # A worker is granted what it needs when a load begins.
        "on_data_error": plan.rejects.action,
    }
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()
