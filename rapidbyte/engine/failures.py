"""Failures as they are told: by the target's name, without what depends on timing, with what is left behind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from rapidbyte.contract import WriteContract
from rapidbyte.errors import DataError, RapidbyteError
from rapidbyte.plan import ColumnPlan, StreamPlan
from rapidbyte.rejects import RejectPolicy


def with_way_out(error: RapidbyteError, rejects: RejectPolicy, columns: Sequence[ColumnPlan] = ()) -> RapidbyteError:
    """The error of one bad row says how to load the others; one that has a hint of its own keeps it.

    Of a file's column, whose type in the target may be that of the first files alone, it says what that is.
    """
    is_a_row = isinstance(error, DataError) and error.context.line is not None
    if is_a_row and error.hint is None and not rejects.sets_aside:
        aside = "have such rows set aside: `on_data_error: dlq` or `skip` at the destination"
        error.hint = f"correct the row, or {aside}"
        settled = next((each for each in columns if each.target.name == error.context.column), None)
        if error.code == "value_does_not_fit" and settled is not None and settled.source.reason is not None:
            kind = f"{settled.target.name} is {settled.target.type.name} in the target"
            error.hint = f"{kind}: correct the row, alter the column's type there, or {aside}"
    return error


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
