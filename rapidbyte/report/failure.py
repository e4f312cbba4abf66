"""A failure in words: what, where, what to do, and in which state the destination is. Pure."""

from __future__ import annotations

from rapidbyte.errors import Problem
from rapidbyte.report.escape import shown
from rapidbyte.result import ErrorInfo

EXIT_MEANINGS: dict[int, str] = {
    0: "done",
    2: "usage or configuration: what can be judged without a server, and a missing privilege",
    3: "source, also unreachable or wrong password",
    4: "destination, also unreachable, wrong password, disk full",
    5: "data: rejected rows over the limit, a constraint violated, a value that does not fit",
    6: "schema: a drift that the policy refuses",
    7: "cancelled (SIGINT, SIGTERM, deadline)",
    8: "busy: another run of this pipeline holds the lease",
    9: "a check failed: `verify` found a difference, a `bench` gate was missed",
    70: "a defect of ours; one line, with where the details were written; never a traceback by default",
}
"""Every exit code and its meaning. A code never changes its meaning."""

EXIT_WORDS: dict[int, str] = {
    0: "done",
    2: "usage or configuration",
    3: "source",
    4: "destination",
    5: "data",
    6: "schema",
    7: "cancelled",
    8: "busy",
    9: "a check failed",
    70: "a defect of ours",
}
"""Each in a word."""

_UNTOUCHED = "the destination was not touched"


def failure_lines(error: ErrorInfo, problems: tuple[Problem, ...] = ()) -> tuple[str, ...]:
    """The lines that tell an error, each fit for a terminal.

    `error:` first, then one line a problem of a ConfigError, then where it happened, `hint:`, `Afterwards:`. Row
    values are in it where the ErrorInfo has them.
    """
    lines = [f"error: {_headline(error)}"]
    if len(problems) == 1:
        lines = [f"error: {shown(str(problems[0]))}"]
    elif problems:
        # Where the first line of the message tells them all, their number takes its place.
        first = error.message.splitlines()[0]
        tells_all = all(problem.message in first for problem in problems)
        lines = [f"error: {f'{len(problems)} problems' if tells_all else shown(first)}"]
        lines += [f"  {shown(str(problem))}" for problem in problems]
    place = _place(error)
    if place:
        lines.append(f"  in {place}")
    if error.row_detail:
        lines.append(f"  row: {shown(error.row_detail)}")
    if error.hint:
        lines.append(f"hint: {shown(error.hint)}")
    afterwards = _afterwards(error)
    if afterwards:
        lines.append(f"Afterwards: {shown(afterwards)}")
    return tuple(lines)


def _headline(error: ErrorInfo) -> str:
    message = shown(error.message)
    told = error.sqlstate is None or f"[{error.sqlstate}]" in message
    return message if told else f"{message} (SQLSTATE {shown(error.sqlstate or '')})"


def _place(error: ErrorInfo) -> str:
    """stream, table, column, line, partition, worker: those that are known."""
    parts = (
        ("stream", error.stream),
        ("table", error.table),
        ("column", error.column),
        ("line", error.line),
        ("partition", error.partition),
        ("worker", error.worker),
    )
    return ", ".join(f"{name} {shown(str(value))}" for name, value in parts if value is not None)


def _afterwards(error: ErrorInfo) -> str:
    """The error's own sentence, else what its category and commit state prove."""
    if error.afterwards:
        return error.afterwards
    if error.commit_state == "after_commit_confirmed":
        return "the rows are committed"
    if error.commit_state == "after_commit_unknown":
        return "it is not known whether the last commit took effect; look before you run it again"
    return _UNTOUCHED if error.category == "config" else ""
