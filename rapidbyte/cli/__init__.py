"""The command line. `main` is the console script; one file a command; the only broad `except` of the project.

application   the Typer application: global options and the list of commands
run, check, plan, discover, verify, runs, state, rejects, gc, report, init, schema, demo, psql, bench
looking       what check and plan have in common
options       what several commands take
console       stdout for the result, stderr for the rest
progress      events counted and told; live: the same and the summary with rich
library_log   what libraries log, told the same way
events_file   --events
result_file   --result; signals: SIGINT and SIGTERM; crash: a defect of ours, told in one line
reference     writes docs/cli.md and docs/exit-codes.md from the application

Nothing heavy is imported here: `--help` and `--version` answer in under 0.2 s.
"""

from __future__ import annotations

import atexit
import gc
import os
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    import typer

    from rapidbyte.cli.console import Console
    from rapidbyte.errors import ConfigError

_GLOBAL_FLAGS = frozenset({"--quiet", "-v", "-vv", "-vvv", "--verbose"})
_GLOBAL_VALUE = "--log-format"
_TYPER_INTERRUPTED = 130
"""What Typer returns for KeyboardInterrupt when it does not end the process itself."""
_CANCELLED = 7
"""CancelledError.exit_code, where nothing of ours is imported yet."""


def main() -> None:
    """Runs the command line of this process, and ends the process with the exit code.

    Ctrl-C ends it with one line at every moment, also while modules are imported, before anybody answers signals.
    """
    try:
        _leave(carry_out())
    except KeyboardInterrupt:
        os.write(2, b"error: stopped by SIGINT\n")
        os._exit(_CANCELLED)


def carry_out() -> int:
    """Runs the command line of this process; returns the exit code, when everything that was said is out."""
    # What is imported lives as long as the process: looking for cycles among it takes a tenth of the start.
    gc.disable()
    # Looking for plugins of pydantic reads the metadata of every installed package (25 ms).
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    arguments = sys.argv[1:]
    from rapidbyte.cli.console import Console, prepare_streams

    prepare_streams()
    console = Console()
    console.stop_request.install()
    code = answer_version(console) if arguments == ["--version"] else answer(arguments, console)
    console.stop_request.retire()
    if not console.close():
        # The thread that waits for stderr holds its lock; the interpreter's shutdown would abort over that (C21).
        os._exit(code)
    return code


def _leave(code: int) -> NoReturn:
    """Ends the process as the interpreter would, without taking 600 modules down one by one (0.1 s, on busy cores 0.3).

    A thread that is left makes the interpreter do it: it waits for such threads.
    """
    if all(thread.daemon or thread is threading.main_thread() for thread in threading.enumerate()):
        # An embedded server is stopped, temporary folders are removed.
        atexit._run_exitfuncs()  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):  # what can be told of it has been told when the console was closed
                stream.flush()
        os._exit(code)
    sys.exit(code)


def answer_version(console: Console) -> int:
    """`rapidbyte --version` without Typer, whose import and coercion take 0.2 s."""
    from rapidbyte import __version__
    from rapidbyte.errors import ConfigError

    console.start()
    try:
        console.require_print(f"rapidbyte {__version__}\n")
    except ConfigError as error:
        return console.fail(error)
    return 0


def answer(arguments: Sequence[str], console: Console) -> int:
    """Runs one command and returns its exit code; every failure has been told when it returns."""
    console.start()
    return _guarded(
        lambda: _carried_out(arguments, console),
        lambda defect: _guarded(lambda: _fail_defect(defect, console), _tell_plainly),
    )


def _guarded(work: Callable[[], int], otherwise: Callable[[Exception], int]) -> int:
    """What `work` returns; whatever it raises is `otherwise`'s."""
    try:
        return work()
    except Exception as error:  # noqa: BLE001  the one place: whatever it is, one line and exit 70
        return otherwise(error)


def _carried_out(arguments: Sequence[str], console: Console) -> int:
    import typer

    from rapidbyte.cli.application import application_for
    from rapidbyte.cli.console import UnwritableStdout, stdout_error
    from rapidbyte.errors import RapidbyteError

    try:
        front = hoisted(arguments)
        code = application_for(front)(front, prog_name="rapidbyte", standalone_mode=False, obj=console)
        return _fail_interrupted(console) if code == _TYPER_INTERRUPTED else int(code or 0)
    except RapidbyteError as error:
        return console.fail(error)
    except typer.TyperException as error:
        return console.fail(_usage_error(error))
    except (KeyboardInterrupt, typer.Abort):
        return _fail_interrupted(console)
    except UnwritableStdout as error:  # Typer's own: --help, --show-completion
        console.forget_stdout()
        return 0 if error.reader_is_gone else console.fail(stdout_error(error))


def _fail_defect(defect: Exception, console: Console) -> int:
    from rapidbyte.cli.crash import internal_error

    return console.fail(internal_error(defect))


def _tell_plainly(second: Exception) -> int:
    """The last resort, when telling of a defect has failed as well: one line, both tracebacks in the file."""
    from rapidbyte.cli.crash import internal_error

    told = internal_error(second)
    os.write(2, f"error: {told.message}; {told.hint}\n".encode("ascii", "backslashreplace"))
    return told.exit_code


def _fail_interrupted(console: Console) -> int:
    return console.fail(console.stop_request.error())


def _usage_error(error: typer.TyperException) -> ConfigError:
    """What Typer found wrong with the arguments, in the form of every other error."""
    from rapidbyte.errors import ConfigError

    context: typer.Context | None = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "rapidbyte"
    message = error.format_message().replace(": Value error, ", ": ")
    hint = _meant(message) or f"{command} --help"
    return ConfigError(message, code="usage", hint=hint, afterwards="nothing was started")


def _meant(message: str) -> str | None:
    """A hint with the word that was probably meant, out of `'x' is not one of 'a', 'b'`."""
    import difflib
    import re

    given, said, known = message.partition(" is not one of ")
    near = difflib.get_close_matches(given.rpartition(": ")[2].strip("'"), re.findall(r"'([^']*)'", known), n=1)
    return f"did you mean `{near[0]}`?" if said and near else None


def hoisted(arguments: Sequence[str]) -> list[str]:
    """The arguments with the global options first, so that they may also follow the command. Pure."""
    front: list[str] = []
    rest: list[str] = []
    remaining = list(arguments)
    while remaining:
        argument = remaining.pop(0)
        if argument == "--":
            rest += [argument, *remaining]
            break
        if argument in _GLOBAL_FLAGS or argument.startswith(f"{_GLOBAL_VALUE}="):
            front.append(argument)
        elif argument == _GLOBAL_VALUE:
            front += [argument, *remaining[:1]]
            del remaining[:1]
        else:
            rest.append(argument)
    return front + rest
