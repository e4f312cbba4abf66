"""What `verify` found, as text to read and as a JSON document. Pure. Names and keys are shown, other values never."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rapidbyte.engine.verification import SHOWN, piece_words
from rapidbyte.report.escape import shown
from rapidbyte.report.summary import count, seconds

if TYPE_CHECKING:
    from rapidbyte.engine.verification import DifferentPiece, StreamComparison, VerifyReport

_INDENT = "  "
_WORDS = {
    "missing": "missing at the destination",
    "extra": "not at the source",
    "different": "different in other columns",
}


def verify_document(report: VerifyReport) -> dict[str, Any]:
    """What `rapidbyte verify --output json` prints; docs/verify.md describes it."""
    return {
        "schema_version": 1,
        "pipeline": report.pipeline,
        "equal": report.equal,
        "source": report.source.version,
        "destination": report.destination.version,
        "duration_s": report.duration_s,
        "streams": [_stream(stream) for stream in report.streams],
    }


def _stream(found: StreamComparison) -> dict[str, Any]:
    plan, cut = found.plan, found.cut
    cursor = plan.cursor
    return {
        "name": plan.stream,
        "target": str(plan.target),
        "equal": found.equal,
        "as_of": "now" if cursor is None else "cursor",
        "cursor": None if cursor is None else {"field": cursor.field, "type": cursor.type, "value": cursor.value},
        "source_rows": found.source_rows,
        "destination_rows": found.destination_rows,
        "compared_by": cut.by,
        "key": list(cut.key),
        "pieces": cut.count,
        "different_pieces": found.piece_count,
        "different_pieces_shown": [_piece(found, piece) for piece in found.pieces],
        "missing": found.counts.get("missing", 0),
        "extra": found.counts.get("extra", 0),
        "different": found.counts.get("different", 0),
        "counts_complete": found.counts_complete,
        "keys": [{"kind": each.kind, "key": dict(zip(cut.key, each.key, strict=True))} for each in found.keys],
        "pending": found.pending,
        "unexplained_rows": found.unexplained_rows,
        "columns": [column.name for column in plan.columns],
        "not_compared": [
            {"column": each.column, "reason": each.reason, "is_difference": each.is_difference}
            for each in plan.not_compared
        ],
        "notes": notes(found),
    }


def _piece(found: StreamComparison, piece: DifferentPiece) -> dict[str, Any]:
    return {
        "rows": piece_words(found.cut, piece.piece),
        "source_rows": piece.source.rows,
        "source_checksum": piece.source.checksum,
        "destination_rows": piece.destination.rows,
        "destination_checksum": piece.destination.checksum,
    }


def notes(found: StreamComparison) -> list[str]:
    """What a reader must know to read the figures right."""
    plan = found.plan
    if not plan.target_exists:
        return [f"{plan.target} does not exist: nothing has been loaded"]
    lines: list[str] = []
    if plan.cursor is not None:
        lines.append(f"compared up to {plan.cursor.field} = {plan.cursor.value}, as far as it is loaded")
    elif plan.incremental:
        lines.append("the ledger has no cursor of this stream: compared as of now")
    else:
        lines.append("compared as of now: what has changed at the source since the load counts as a difference")
    if plan.cursor is not None and not plan.may_hold_more:
        lines.append("an increment does not see deletes: rows deleted at the source since count as extra")
    if plan.may_hold_more:
        lines.append("the stream appends: the target may hold more rows, from earlier loads")
    if found.unexplained_rows:
        lines.append(f"the target has {count(found.unexplained_rows)} rows more than all loads have brought")
    if found.pending:
        lines.append(
            f"{count(found.pending)} keys have changed at the source since the cursor: the next increment brings them"
        )
    if not plan.key:
        lines.append("the stream has no key that both ends have: rows can be counted, not named")
    if not found.counts_complete:
        lines.append("more rows may differ: the comparison stopped when it knew enough")
    return lines


def verify_text(report: VerifyReport) -> str:
    """The same for people."""
    word = "equal" if report.equal else "DIFFERENT"
    lines = [f"{shown(report.pipeline)}: {word}, compared in {seconds(report.duration_s)}"]
    for stream in report.streams:
        lines += _stream_lines(stream)
    return "".join(f"{line}\n" for line in lines)


def _stream_lines(found: StreamComparison) -> list[str]:
    plan = found.plan
    word = "equal" if found.equal else "DIFFERENT"
    rows = f", {count(found.source_rows)} rows at the source, {count(found.destination_rows)} at the destination"
    lines = ["", f"{shown(plan.stream)} -> {shown(str(plan.target))}: {word}{rows if plan.target_exists else ''}"]
    what = "keys" if plan.key else "rows"
    atleast = "" if found.counts_complete else "at least "
    lines += [
        f"{_INDENT}{atleast}{count(number)} {what} {_WORDS[kind]}" for kind, number in found.counts.items() if number
    ]
    lines += [
        f"{_INDENT}in {shown(piece_words(found.cut, piece.piece))}: {count(piece.source.rows)} rows at the source, "
        f"{count(piece.destination.rows)} at the destination"
        for piece in found.pieces
    ]
    if found.piece_count > len(found.pieces):
        lines.append(f"{_INDENT}and {count(found.piece_count - len(found.pieces))} pieces more")
    lines += [
        f"{_INDENT}{each.kind}: "
        + ", ".join(
            f"{shown(name)} = {'NULL' if value is None else shown(value)}"
            for name, value in zip(found.cut.key, each.key, strict=True)
        )
        for each in found.keys
    ]
    if sum(found.counts.values()) > len(found.keys) == SHOWN:
        lines.append(f"{_INDENT}and more keys: the first {SHOWN} are shown")
    lines += [
        f"{_INDENT}column {shown(each.column)} is not compared: {shown(each.reason)}" for each in plan.not_compared
    ]
    return lines + [f"{_INDENT}note: {shown(line)}" for line in notes(found)]
