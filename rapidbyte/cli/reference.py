"""docs/cli.md and docs/exit-codes.md, generated from the commands and the error tree.

`python -m rapidbyte.cli.reference cli > docs/cli.md`, `python -m rapidbyte.cli.reference exit-codes > ...`.
"""

from __future__ import annotations

import inspect
import sys
import types
from collections.abc import Callable, Iterator
from enum import Enum
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from rapidbyte.cli.application import COMMANDS, take_global_options
from rapidbyte.errors import RapidbyteError
from rapidbyte.report.failure import EXIT_MEANINGS

_CLI_HEAD = """\
<!-- Generated: python -m rapidbyte.cli.reference cli > docs/cli.md -->

# The command line

stdout carries the result and nothing else: one JSON document where stdout is no terminal or with `--output json`, a
summary on a terminal or with `--output text`. A failed run prints its result too. stderr carries progress, warnings
and errors: live on a terminal, elsewhere at most one line every 5 seconds.

`--result FILE` is looked at before anything starts: a symbolic link, a folder or a pipe is refused. The file appears
in one piece, with mode 0600. Where it cannot be written in the end, that is told, and the exit code stays the run's.

`--events FILE` is looked at in the same way; its lines are in [events.md](events.md).

`--keep-going` isolates the streams: one that cannot be planned, prepared, loaded or published has failed, and the
others go on. Without it a failure ends the run, and the streams behind it are `skipped`. `--failed` asks the ledger
for the pipeline's last run that took the lease; where nothing failed in it, nothing is done, and the exit code is 0.
`--key` names what this run publishes, for example by a scheduler's run id: run again with the same key, a stream that
is published already succeeds with 0 rows. `--full-refresh` publishes every stream as replace, incremental ones from
the beginning; their cursors then stand at the new end.

SIGINT, SIGTERM and the deadline stop a run, whatever it does: workers end at the next block, what a server is at is
cancelled there, transactions roll back, stages that no later run can go on with are dropped, the result says
`cancelled`, the exit code is 7. Not cut short are a connection that is being opened (`connect_timeout`), a COMMIT that
was sent, whose answer is awaited, and the dropping of stages, which waits for locks for seconds and says in `warnings`
what is left. A stream whose COMMIT came before the stop is published, and is reported so; no later one is. A second
signal leaves at once; the next run recovers as from a crash.

Whatever a server, a file or a name brings is escaped before it reaches a terminal or a log: control characters, line
ends, invisible and bidirectional characters. JSON is ASCII. `NO_COLOR` is honoured.

What each exit code means: [exit-codes.md](exit-codes.md).
"""
_EXIT_HEAD = """\
<!-- Generated: python -m rapidbyte.cli.reference exit-codes > docs/exit-codes.md -->

# Exit codes

A code never changes its meaning. Several streams that fail in different ways: the code of the first failure in
pipeline order; the JSON has them all.
"""
_EXIT_TAIL = """\

## Where the lines are

- **2** is also what a look at both ends shows the file, or an option, to be wrong about: a stream or column that is
  not there, types without an exact way, a hook that cannot run, a server that is too old; what `rejects`, `runs
  show` and `state` are asked for and the ledger does not have; a `state reset` that nobody confirmed; a file of
  `--result`, `--events`, `--save` that cannot be written, a stdout that takes nothing.
- **3** is also a file that is missing, broken, or changes while it is read, and a source whose transactions do not
  end in time (`settle_timeout`). A row of a file that cannot be parsed is 5.
- **4** is also a hook that fails, and a target that somebody changes meanwhile. Where the server's SQLSTATE is of
  class 21, 22, 23, 44 or P0 (a trigger that raises), it is 5, in hooks, too.
- **5** is also a rule of `validate`, a transform that fails on a row, a NULL cursor or key, too few rows
  (`min_rows`), and a replace that bad rows would leave empty. `rejects replay` and `rejects drop` end with it where
  a row stays.
- **7** is also a second signal, which leaves at once, and `verify --deadline`. SIGKILL leaves no code of ours.
- **8** is also what `gc`, `state set`, `state reset`, `rejects replay` and `rejects drop` meet while a run is under
  way, and a second `bench` on the same server.
- **9** is also `run --checksum` where the rows differ (nothing of the stream is published), and in `bench` a
  program that failed, or loaded other rows than there are.

`check` ends with the code of the first of its items that fails, which is what a run would end with; `demo` with its
last run's; `psql` with psql's own. A run whose result cannot be written somewhere keeps its code: the load is what
counts. With `--keep-going` the code is that of the first stream that failed, also where others are published
(`status` is `partial`).

An error is told on stderr as `error: ...`, then where it happened, `hint: ...` and `Afterwards: ...`, the state of the
destination. In the JSON it is `error`, with `category`, `code`, and `safe_to_retry`. The details of a defect (70) are
in a file that only you can read; it holds a traceback without the values of variables.
"""


def cli_page() -> str:
    """docs/cli.md: the global options, then every command."""
    shared = "\n## Options of every command\n\nBefore or after the command.\n\n" + _options(take_global_options)
    return "".join([_CLI_HEAD, shared, *(_command(command) for command in COMMANDS)])


def _command(function: Callable[..., Any]) -> str:
    name = function.__name__
    usage = " ".join(["rapidbyte", name, *(word for word, _ in _arguments(function))])
    parts = [f"\n## `{usage}`\n\n{inspect.getdoc(function)}\n"]
    arguments = "".join(f"\n`{word}`: {text}" for word, text in _arguments(function))
    options = _options(function)
    parts += [f"{arguments}\n"] if arguments else []
    parts += [f"\n{options}"] if options else []
    return "".join(parts)


def _arguments(function: Callable[..., Any]) -> Iterator[tuple[str, str]]:
    """(word, help) of every argument."""
    for name, kind, info, _ in _parameters(function):
        if type(info).__name__ == "ArgumentInfo":
            yield _choices(kind) or info.metavar or name.upper(), info.help


def _options(function: Callable[..., Any]) -> str:
    rows = [
        f"| {words} | {text} | {_default(default)} |\n"
        for words, text, default in (
            (_words(info, kind), f"{_cell(info.help)} {_limits(kind, info)}".rstrip(), default)
            for _, kind, info, default in _parameters(function)
            if type(info).__name__ == "OptionInfo"
        )
    ]
    return "".join(["| option | does | default |\n|---|---|---|\n", *rows]) if rows else ""


def _parameters(function: Callable[..., Any]) -> Iterator[tuple[str, Any, Any, Any]]:
    """(name, type, Typer's description, default) of every parameter that the user sees."""
    hints = get_type_hints(function, include_extras=True)
    for name, parameter in inspect.signature(function).parameters.items():
        if get_origin(hints[name]) is Annotated:
            kind, info = get_args(hints[name])[:2]
            yield name, kind, info, parameter.default


def _words(info: Any, kind: Any) -> str:
    """Every spelling, the last with what it takes."""
    # Inside Annotated, Typer keeps the first spelling where a default would be.
    words = [info.default, *info.param_decls]
    words[-1] = f"{words[-1]} {info.metavar or _choices(kind)}".rstrip()
    return ", ".join(f"`{_cell(word)}`" for word in words)


def _limits(kind: Any, info: Any) -> str:
    return f"At least {info.min}." if info.min is not None and int in _members(kind) else ""


def _choices(kind: Any) -> str:
    """`a|b|c` of an enumeration, else nothing."""
    if isinstance(kind, type) and issubclass(kind, Enum):
        return "|".join(str(member.value) for member in kind)
    return ""


def _members(kind: Any) -> tuple[Any, ...]:
    return get_args(kind) if isinstance(kind, types.UnionType) else (kind,)


def _default(value: Any) -> str:
    if value is None or value is False or value == 0 or value is inspect.Parameter.empty:
        return ""
    return f"`{value.value if isinstance(value, Enum) else value}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def exit_codes_page() -> str:
    """docs/exit-codes.md: every code, its meaning, the errors that end with it."""
    names: dict[int, list[str]] = {}
    for kind in _tree(RapidbyteError):
        names.setdefault(kind.exit_code, []).append(f"`{kind.__name__}`")
    rows = [f"| {code} | {meaning} | {', '.join(names.get(code, []))} |\n" for code, meaning in EXIT_MEANINGS.items()]
    return "".join([_EXIT_HEAD, "\n| exit | meaning | error |\n|--:|---|---|\n", *rows, _EXIT_TAIL])


def _tree(kind: type[RapidbyteError]) -> Iterator[type[RapidbyteError]]:
    """Every class below this one, parents before children."""
    for child in kind.__subclasses__():
        yield child
        yield from _tree(child)


PAGES: dict[str, Callable[[], str]] = {"cli": cli_page, "exit-codes": exit_codes_page}

if __name__ == "__main__":
    sys.stdout.write(PAGES[sys.argv[1]]())
