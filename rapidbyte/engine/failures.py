"""Failures as they are told: by the target's name, without what depends on timing, with what is left behind."""

from __future__ import annotations

from dataclasses import replace

from rapidbyte.contract import WriteContract
from rapidbyte.errors import DataError, RapidbyteError
from rapidbyte.plan import StreamPlan
from rapidbyte.rejects import RejectPolicy


def with_way_out(error: RapidbyteError, rejects: RejectPolicy, stream: StreamPlan | None = None) -> RapidbyteError:
    """The error of one bad row says how to load the others; one that has a hint of its own keeps it."""
    is_a_row = isinstance(error, DataError) and error.context.line is not None
    if is_a_row and error.hint is None and not rejects.sets_aside:
        aside = "have such rows set aside: `on_data_error: dlq` or `skip` at the destination"
        typed = _about_the_type(error, stream) if stream is not None else None
        error.hint = f"correct the row, or {aside}" if typed is None else f"{typed}, or {aside}"
    return error


def _about_the_type(error: RapidbyteError, stream: StreamPlan) -> str | None:
    """What the type of a column that was made of files is, and where it can be changed; None for other errors.

    Where the target is there, its type may be that of the first files alone; else the type is what the stream says.
    """
    settled = next((each for each in stream.columns if each.target.name == error.context.column), None)
    if error.code != "value_does_not_fit" or settled is None or settled.source.reason is None:
        return None
    kind = settled.target.type.name
    if stream.replace.target_exists:
        return f"{settled.target.name} is {kind} in the target: correct the row, alter the column's type there"
    if stream.shape.kind == "file" and not stream.shape.transforms:
        return (
            f"{settled.target.name} is read as {kind}: correct the row, give it another type by `types` in the stream"
        )
    return None


def of_the_target(error: RapidbyteError, contract: WriteContract) -> RapidbyteError:
    """The error with the target's name for the stage's, which is another in every run and gone when it is read."""
    if contract.stage is None:
        return error
    if error.context.sqlstate == "42P01" and contract.stage.name in error.message:
        error.message = f"the stage of {contract.target} is gone: somebody dropped it while it was being loaded"
        error.code, error.hint = "stage_gone", "run again; tables named _rb_... are stages of loads under way"
    error.message = error.message.replace(str(contract.stage), str(contract.target)).replace(
        contract.stage.name, contract.target.name
    )
    if error.context.table == str(contract.stage):
        error.context = replace(error.context, table=str(contract.target))
    return error


def reported(error: RapidbyteError) -> RapidbyteError:
    """The error as it is told: a lost server is nobody's partition, or the report would depend on timing."""
    if error.code == "connection_lost":
        error.context = replace(error.context, partition=None, worker=None, line=None)
    return error


def afterwards(stream: StreamPlan, error: RapidbyteError) -> str:
    """In which state a stream's target is after a failure."""
    if error.context.commit_state == "after_commit_unknown":
        return f"whether {stream.target} was published is not known: look before you run it again"
    if error.code == "target_changed":
        return f"this run has published nothing to {stream.target}"
    if stream.publish == "direct":
        return f"partitions that had landed in {stream.target} stay there, beside the rows that it had before"
    if not stream.replace.target_exists:
        return f"{stream.target} was not created"
    if any(change.kind == "widen_column" for change in stream.schema_changes):
        return f"{stream.target} has the rows it had before; the changes to its columns stay"
    if any(change.kind == "add_column" for change in stream.schema_changes):
        return f"{stream.target} has the rows it had before; the columns that were added to it stay"
    return f"{stream.target} is as it was before"
