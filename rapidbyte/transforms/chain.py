"""A stream's transforms in order: planned from its columns, applied to a partition's blocks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from rapidbyte.errors import InternalError, RapidbyteError
from rapidbyte.model import Column
from rapidbyte.ports import Block, Stop
from rapidbyte.rejects import Reject, RejectForm
from rapidbyte.spec import (
    CaseTransform,
    CastTransform,
    DropTransform,
    MaskTransform,
    RenameTransform,
    SqlTransform,
    StreamSpec,
    Transform,
    ValidateTransform,
)
from rapidbyte.transforms.columns import CastStep, plan_case, plan_cast, plan_drop, plan_rename
from rapidbyte.transforms.decode import as_texts, typed
from rapidbyte.transforms.flow import Batch, Given, Resources, Step
from rapidbyte.transforms.mask import plan_mask
from rapidbyte.transforms.misfits import sifted
from rapidbyte.transforms.sql import SqlStep, plan_sql
from rapidbyte.transforms.types import schema_of
from rapidbyte.transforms.validate import ValidateStep, plan_validate
from rapidbyte.values import frozen

if TYPE_CHECKING:
    import pyarrow as pa


@frozen
class Chain:
    """Planned transforms. Called for each partition: a `ports.TransformPartition`. Pickles."""

    given: tuple[Column, ...]
    """As the source delivers them."""
    steps: tuple[Step, ...]
    sets_aside: bool = False
    """Rows that a rule refuses do not end the load."""

    @property
    def columns(self) -> tuple[Column, ...]:
        """As they are written."""
        return self.steps[-1].columns if self.steps else self.given

    @property
    def needs_all(self) -> bool:
        """A step must see the whole stream."""
        return any(step.needs_all for step in self.steps)

    @property
    def phrases(self) -> tuple[str, ...]:
        """What happens, for `plan`."""
        return tuple(step.phrase for step in self.steps)

    def __call__(self, blocks: Iterator[Block], stop: Stop) -> Iterator[Block]:
        """The blocks, transformed. Takes all of them."""
        aside: list[Reject] = []
        batches: Iterator[Batch] = self._batches(blocks, aside)
        for place, step in enumerate(self.steps):
            if self.sets_aside and isinstance(step, ValidateStep | CastStep | SqlStep):
                is_last = place == len(self.steps) - 1
                form: RejectForm = "target" if is_last and isinstance(step, ValidateStep) else "source"
                batches = step.sift(batches, stop, partial(_keep, aside, form))
            else:
                batches = step.apply(batches, stop)
        for batch in batches:
            rejects = tuple(aside)
            aside.clear()
            if batch.rows.num_rows:
                size = batch.rows.nbytes
                origin = batch.origin if self.sets_aside else None
                yield Block(data=batch.rows, rows=batch.rows.num_rows, size=size, origin=origin, rejects=rejects)
            elif rejects:
                yield Block(data=b"", rows=0, size=0, rejects=rejects)
            del batch  # it may be large, and the next one comes beside it
        if aside:
            yield Block(data=b"", rows=0, size=0, rejects=tuple(aside))

    def _batches(self, blocks: Iterator[Block], aside: list[Reject]) -> Iterator[Batch]:
        schema = schema_of(self.given)
        for block in blocks:
            aside += block.rejects
            if not block.rows and isinstance(block.data, bytes) and not block.data:
                continue
            batch = self._taken(block, aside)
            del block
            batch = replace(batch, rows=_as_promised(batch.rows, schema))
            yield batch
            del batch

    def _taken(self, block: Block, aside: list[Reject]) -> Batch:
        """The block's rows; those of a server in their Arrow types, and without those that have none."""
        rows = block.data if not isinstance(block.data, bytes) else as_texts(block.data, self.given)
        if rows.num_rows != block.rows:
            raise InternalError(f"a block of {block.rows} rows holds {rows.num_rows}", code="row_count")
        batch = Batch(rows=rows, origin=block.origin)
        if not isinstance(block.data, bytes):
            return batch
        convert = partial(typed, columns=self.given)
        if not self.sets_aside:
            return replace(batch, rows=convert(rows))
        found, left = sifted(batch, convert, aside.append)
        return replace(left, rows=found)


def _keep(aside: list[Reject], form: RejectForm, reject: Reject) -> None:
    aside.append(replace(reject, form=form))


def _as_promised(rows: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """The batch under the planned schema: names of list elements and NOT NULL marks differ between files."""
    import pyarrow as pa
    from pyarrow import compute as pc

    arrays = [
        values if str(values.type) == str(field.type) else pc.cast(values, field.type)
        for values, field in zip(rows.columns, schema, strict=True)
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def plan_chain(spec: StreamSpec, columns: tuple[Column, ...], resources: Resources) -> Chain:
    """The stream's transforms on these columns. Raises ConfigError, which names the transform that does not fit."""
    steps: list[Step] = []
    current = columns
    for each in spec.transforms:
        try:
            step = _planned(each, Given(stream=spec.name, columns=current, resources=resources))
        except RapidbyteError as error:
            raise error.at(stream=spec.name) from error.__cause__
        steps.append(step)
        current = step.columns
    return Chain(given=columns, steps=tuple(steps), sets_aside=resources.sets_aside)


def _planned(spec: Transform, given: Given) -> Step:
    match spec:
        case SqlTransform():
            return plan_sql(spec, given)
        case ValidateTransform():
            return plan_validate(spec, given)
        case MaskTransform():
            return plan_mask(spec, given)
        case RenameTransform():
            return plan_rename(spec, given)
        case DropTransform():
            return plan_drop(spec, given)
        case CastTransform():
            return plan_cast(spec, given)
        case CaseTransform():
            return plan_case(spec, given)
