"""What `rejects` prints, as text and as JSON documents. Pure."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from datetime import UTC
from typing import TYPE_CHECKING, Any

from rapidbyte.rejects import line_word
from rapidbyte.report.escape import shown
from rapidbyte.report.summary import count

if TYPE_CHECKING:
    from datetime import datetime

    from rapidbyte.destinations.postgres.dropping import Dropped
    from rapidbyte.destinations.postgres.replay import Replayed, StoredReject


def rejects_document(
    rejects: Sequence[StoredReject], pipeline: str, *, shows_rows: bool, has_more: bool
) -> dict[str, Any]:
    """What `rapidbyte rejects list` and `show` print with `--output json`; the first that was set aside first."""
    return {
        "schema_version": 1,
        "pipeline": pipeline,
        "rejects": [_document(each, shows_rows=shows_rows) for each in rejects],
        "has_more": has_more,
    }


def _document(reject: StoredReject, *, shows_rows: bool) -> dict[str, Any]:
    return {
        "id": reject.reject_id,
        "stream": reject.stream,
        "run_id": reject.run_id,
        "load_id": reject.load_id,
        "partition": reject.partition,
        "file": reject.file,
        "line": reject.line,
        "column": reject.column,
        "code": reject.code,
        "sqlstate": reject.sqlstate,
        "message": reject.message,
        "form": reject.form,
        "state": reject.state,
        "target": str(reject.target),
        "rejected_at": _moment(reject.rejected_at),
        "replayed_at": None if reject.replayed_at is None else _moment(reject.replayed_at),
        **({"row": reject.row} if shows_rows else {}),
    }


def _moment(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _place(reject: StoredReject) -> str:
    """File, line and column, as far as they are known."""
    place = shown(reject.file) if reject.file is not None else "a row"
    place += f", {line_word(reject.file)} {reject.line}" if reject.line is not None else ""
    return place + (f", column {shown(reject.column)}" if reject.column is not None else "")


def rejects_text(rejects: Sequence[StoredReject], *, shows_rows: bool, has_more: bool, chosen: bool) -> str:
    """One line a row, and its values below it where they are to be shown; whether these are all of them.

    `chosen`: only some were asked for, by their stream or code.
    """
    if not rejects:
        return f"no {'such ' if chosen else ''}row of this pipeline is set aside\n"
    lines: list[str] = []
    for reject in rejects:
        state = f" [{reject.code}, {reject.sqlstate}]" if reject.sqlstate is not None else f" [{reject.code}]"
        lines.append(
            f"{reject.reject_id:>6}  {reject.state:<10}  {shown(reject.stream)}: {_place(reject)}:"
            f" {shown(reject.message)}{state}"
        )
        if shows_rows:
            lines.append(f"        {json.dumps(reject.row)}")
    if has_more:
        lines.append(f"these are the first {count(len(rejects))}; -n shows more")
    return "".join(f"{line}\n" for line in lines)


def replay_document(done: Sequence[Replayed], pipeline: str) -> dict[str, Any]:
    """What `rapidbyte rejects replay --output json` prints."""
    rows = [
        {"id": each.reject_id, "stream": each.stream, "outcome": each.outcome, "reason": each.reason} for each in done
    ]
    return _outcomes(rows, pipeline, "loaded", "refused", "left")


def _outcomes(rows: list[dict[str, Any]], pipeline: str, *outcomes: str) -> dict[str, Any]:
    """How many rows came to each of these ends, and the rows."""
    counts = Counter(row["outcome"] for row in rows)
    return {
        "schema_version": 1,
        "pipeline": pipeline,
        **{outcome: counts[outcome] for outcome in outcomes},
        "rows": rows,
    }


def replay_text(done: Sequence[Replayed]) -> str:
    """The rows that were not loaded, and how many were."""
    lines = [
        f"{each.reject_id:>6}  {each.outcome:<8}  {shown(each.stream)}: {shown(each.reason or '')}"
        for each in done
        if each.outcome != "loaded"
    ]
    loaded = sum(each.outcome == "loaded" for each in done)
    lines.append(f"{count(loaded)} of {count(len(done))} rows loaded")
    if loaded < len(done):
        lines.append("hint: `rapidbyte rejects drop PIPELINE ID...` deletes those that shall not be loaded any more")
    return "".join(f"{line}\n" for line in lines)


def drop_document(done: Sequence[Dropped], pipeline: str) -> dict[str, Any]:
    """What `rapidbyte rejects drop --output json` prints: every row that is gone now, without its values."""
    rows = [
        {
            "id": each.reject.reject_id,
            "stream": each.reject.stream,
            "outcome": each.outcome,
            "reason": each.reason,
            "state": each.reject.state,
            "file": each.reject.file,
            "line": each.reject.line,
            "code": each.reject.code,
            "message": each.reject.message,
        }
        for each in done
    ]
    return _outcomes(rows, pipeline, "dropped", "left")


def drop_text(done: Sequence[Dropped]) -> str:
    """Every row, gone or left, and how many are gone."""
    lines = [
        f"{each.reject.reject_id:>6}  {each.outcome:<8}  {shown(each.reject.stream)}: {_place(each.reject)}:"
        f" {shown(each.reason or each.reject.message)}"
        for each in done
    ]
    lines.append(f"{count(sum(each.outcome == 'dropped' for each in done))} of {count(len(done))} rows dropped")
    return "".join(f"{line}\n" for line in lines)
