"""A plan, a check and the streams of a source as text to read, or as YAML to paste. Pure."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from rapidbyte.report.escape import printable, shown
from rapidbyte.report.summary import byte_size, count, counted

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rapidbyte.cursor import CursorPlan
    from rapidbyte.model import Column
    from rapidbyte.plan import CheckReport, RunPlan, SchemaChange, StreamPlan, StreamShape
    from rapidbyte.spec import FilePath, Hooks

_INDENT = "  "
_PLAIN_YAML = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*")
# What YAML 1.1 reads as a boolean or as null, whatever its case.
_YAML_WORDS = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null"})


def plan_text(plan: RunPlan) -> str:
    """The plan, stream by stream. `{load}` in a statement stands for the id of the load."""
    source = plan.source_title if plan.source is None else f"{plan.source_title} {shown(plan.source.version)}"
    flush = plan.flush
    lines = [
        f"pipeline {shown(plan.pipeline)}: {source} -> PostgreSQL {shown(plan.destination.version)}",
        f"workers: {plan.workers} ({shown(plan.workers_reason)})",
        f"hand-over: {byte_size(flush.block_bytes)} blocks, {byte_size(flush.max_inflight_bytes)} a worker at most",
        *_hooks(plan.hooks),
        *_warnings(plan.warnings),
    ]
    for stream in plan.streams:
        lines += ["", *_stream_plan(stream, plan.partition_bytes(stream))]
    return _joined(lines)


def _stream_plan(stream: StreamPlan, partition_bytes: int) -> list[str]:
    shape = stream.shape
    exists = "exists" if stream.replace.target_exists else "will be created"
    about = _estimate(shape)
    split = f"{shown(shape.partitioning) or 'one partition'}, {byte_size(partition_bytes)} each at most"
    lines = [
        f"{shown(stream.name)} -> {shown(str(stream.target))} ({exists})",
        f"{_INDENT}{_kind(stream)}{about}; {split}",
        f"{_INDENT}{stream.write_mode}, published by {stream.publish}: {shown(stream.publish_reason)}",
        f"{_INDENT}wire: {stream.wire}",
        f"{_INDENT}bad rows: {_bad_rows(stream)}",
        *(_cursor(stream.cursor) if stream.cursor is not None else ()),
        *(f"{_INDENT}transform: {shown(phrase)}" for phrase in shape.transforms),
    ]
    lines += [
        f"{_INDENT}column {shown(column.source.name)}: {shown(column.source.type.name)} -> "
        f"{shown(column.target.type.name)} ({column.conversion})"
        + (f" -- {shown(column.source.reason)}" if column.source.reason else "")
        for column in stream.columns
        if column.conversion != "identical" or column.source.reason or shape.transforms
    ]
    for statement in stream.statements:
        lines += [f"{_INDENT}{printable(line)}" for line in statement.splitlines()]
    lines += [f"{_INDENT}drift: {_drift(change)}" for change in stream.schema_changes if change.kind != "create_table"]
    return lines + [_INDENT + line for line in _warnings((*shape.warnings, *stream.warnings))]


def _kind(stream: StreamPlan) -> str:
    """What it is read from; of files how many there are, and how many of them an increment loads."""
    files = stream.shape.files
    if not files:
        return stream.shape.kind
    new = "" if stream.new_files is None else f", {count(stream.new_files)} of them new or changed"
    return f"{counted(len(files), 'file')}{new}"


def _bad_rows(stream: StreamPlan) -> str:
    policy = stream.rejects
    what = {"fail": "the first one ends the load", "skip": "left out", "dlq": "left out and stored"}[policy.action]
    return f"{what} (on_data_error: {policy.action}" + (f", max_rejects: {policy.limit})" if policy.sets_aside else ")")


def _hooks(hooks: Hooks) -> list[str]:
    """The statements, without what their literals hold."""
    return [
        f"{name}: {shown(without_literals(statement))}"
        for name, statements in (("before_load", hooks.before_load), ("after_load", hooks.after_load))
        for statement in statements
    ]


def without_literals(statement: str) -> str:
    """SQL on one line, with stars in the place of each quoted text: it may hold a password."""
    masked = re.sub(r"(\$\w*\$).*?(?:\1|$)", "'***'", statement, flags=re.DOTALL)
    masked = re.sub(r"'(?:[^'\\]|''|\\.)*(?:'|$)", "'***'", masked, flags=re.DOTALL)
    return " ".join(masked.split())


def _cursor(cursor: CursorPlan) -> list[str]:
    """By what increments are read, from where the next begins."""
    column = cursor.column
    begins = "at the beginning" if cursor.stored is None else f"at {shown(cursor.stored)}"
    index = f"index {shown(column.index)}" if column.index is not None else "no index"
    ties = f", ties by {shown(cursor.tie_breaker)}" if cursor.tie_breaker is not None else ""
    return [f"{_INDENT}increments by {shown(cursor.field)} ({shown(cursor.type)}, {index}){ties}; begins {begins}"]


def _drift(change: SchemaChange) -> str:
    """What differs; the statement that settles it stands among the stream's."""
    types = " -> ".join(shown(name) for name in (change.before, change.after) if name)
    words = (change.kind, shown(change.column or ""), types, "" if change.statement else "(nothing is done)")
    return " ".join(word for word in words if word)


def check_text(report: CheckReport) -> str:
    """One line a check, with the hint of those that failed."""
    lines: list[str] = []
    for item in report.items:
        lines.append(f"{'ok  ' if item.ok else 'FAIL'}  {shown(item.name)}: {shown(item.detail)}")
        if item.hint and not item.ok:
            lines.append(f"      hint: {shown(item.hint)}")
    return _joined(lines)


def streams_text(shapes: tuple[StreamShape, ...]) -> str:
    """Every stream with its columns, one a line."""
    lines: list[str] = []
    for shape in shapes:
        key = f", key ({', '.join(shown(column) for column in shape.primary_key)})" if shape.primary_key else ""
        lines.append(f"{shown(shape.spec.name)}: {shape.kind}{_estimate(shape)}{key}")
        lines += [f"{_INDENT}{_column(column)}" for column in shape.columns]
        lines += [_INDENT + line for line in _warnings(shape.warnings)]
    return _joined(lines)


def _column(column: Column) -> str:
    parts = [
        shown(column.type.name),
        "" if column.nullable else "not null",
        "generated" if column.generated else "",
        "identity" if column.identity else "",
        f"-- {shown(column.reason)}" if column.reason else "",
    ]
    return f"{shown(column.name)} {' '.join(part for part in parts if part)}"


def streams_yaml(shapes: tuple[StreamShape, ...]) -> str:
    """The `streams:` block as it stands below `source:`, indented by two blanks; columns as a comment."""
    lines = ["  streams:"]
    for shape in shapes:
        lines.append(f"    - name: {pipeline_yaml(shape.spec.name)}")
        if shape.spec.path is not None:
            lines.append(f"      path: {_paths_yaml(shape.spec.path)}")
        if shape.spec.query is not None:
            lines.append(f"      query: {pipeline_yaml(shape.spec.query)}")
        if shape.primary_key:
            lines.append(f"      primary_key: [{', '.join(pipeline_yaml(column) for column in shape.primary_key)}]")
        columns = ", ".join(f"{shown(column.name)} {shown(column.type.name)}" for column in shape.columns)
        lines.append(f"      # {shape.kind}{_estimate(shape)}: {columns}")
    return _joined(lines)


def _paths_yaml(path: FilePath) -> str:
    if isinstance(path, str):
        return pipeline_yaml(path)
    return f"[{', '.join(pipeline_yaml(part) for part in path)}]"


def pipeline_yaml(text: str) -> str:
    """A scalar of a pipeline file that stands for this text: a dollar is doubled there."""
    return yaml_text(text.replace("$", "$$"))


def yaml_text(text: str) -> str:
    """A YAML scalar that reads as exactly this string, in YAML 1.1 and 1.2: quoted unless it is plainly a word."""
    if _PLAIN_YAML.fullmatch(text) and text.lower() not in _YAML_WORDS:
        return text
    # A JSON string is a YAML double-quoted scalar, but for a pair of surrogate escapes, which YAML takes as two.
    quoted = json.dumps(text, ensure_ascii=False)
    return "".join(_yaml_character(character) for character in quoted)


def _yaml_character(character: str) -> str:
    if printable(character) == character:
        return character
    code = ord(character)
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _estimate(shape: StreamShape) -> str:
    rows = f", about {count(shape.estimated_rows)} rows" if shape.estimated_rows is not None else ""
    size = f", {byte_size(shape.estimated_bytes)}" if shape.estimated_bytes is not None else ""
    return rows + size


def _warnings(warnings: Iterable[str]) -> list[str]:
    return [f"warning: {shown(warning)}" for warning in warnings]


def _joined(lines: list[str]) -> str:
    return "".join(f"{line}\n" for line in lines)
