"""What a command speaks through: the result to stdout, everything else to stderr, a line at a time.

One `Console` a process, made by `main`, handed to every command as the Typer context's `obj`.
"""

from __future__ import annotations

import contextlib
import io
import os
import queue
import sys
import threading
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal, TextIO

from rapidbyte.cli.signals import StopRequest
from rapidbyte.errors import ConfigError, RapidbyteError
from rapidbyte.report.escape import masked, shown

if TYPE_CHECKING:
    from collections.abc import Callable

    from rapidbyte.errors import Problem
    from rapidbyte.result import ErrorInfo

LogFormat = Literal["text", "json"]
Level = Literal["debug", "info", "warning", "error"]

STDERR_PATIENCE_SECONDS = 2.0
"""How long the end of the process waits for a stderr that nobody reads."""


class UnwritableStdout(OSError):
    """Stdout takes nothing: a full disk, or a reader that has gone away. Raised by `Stdout` alone.

    It has no `errno`: Typer would end the process with 1 at the sight of EPIPE.
    """

    def __init__(self, cause: OSError) -> None:
        super().__init__(str(cause))
        self.strerror = cause.strerror
        self.reader_is_gone = isinstance(cause, BrokenPipeError)
        """Nobody reads any more, which is no failure."""


class Stdout(io.TextIOWrapper):
    """Stdout whose failures cannot be mistaken for those of another file."""

    def write(self, text: str, /) -> int:
        """Raises UnwritableStdout."""
        try:
            return super().write(text)
        except OSError as error:
            raise UnwritableStdout(error) from error

    def flush(self) -> None:
        """Raises UnwritableStdout."""
        try:
            super().flush()
        except OSError as error:
            raise UnwritableStdout(error) from error


def stdout_error(error: OSError, afterwards: str = "nothing was changed") -> ConfigError:
    """The error of a command whose result could not be printed."""
    return ConfigError(
        f"stdout takes nothing: {error.strerror}",
        code="stdout_unwritable",
        hint="is the disk full that it goes to?",
        afterwards=afterwards,
    )


class LineWriter:
    """Lines to stderr in order, from any thread; `put` never blocks (C21).

    A daemon thread writes them, from `start` to `close`.
    """

    def __init__(self) -> None:
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._write_all, name="rapidbyte stderr", daemon=True)

    def start(self) -> None:
        """Starts to write. Once."""
        self._thread.start()

    def put(self, line: str) -> None:
        """Hands the line over."""
        self._lines.put(line)

    def close(self) -> bool:
        """Waits for the last line, `STDERR_PATIENCE_SECONDS` at most. False when stderr takes nothing."""
        self._lines.put(None)
        self._thread.join(STDERR_PATIENCE_SECONDS)
        return not self._thread.is_alive()

    def _write_all(self) -> None:
        for line in iter(self._lines.get, None):
            # A closed stderr is no reason to stop a load; ValueError is what a closed file object raises.
            with contextlib.suppress(OSError, ValueError):
                sys.stderr.write(f"{line}\n")
                sys.stderr.flush()


class Console:
    """stdout for the result, stderr for the rest, as the global options ask."""

    def __init__(self) -> None:
        self.quiet = False
        self.verbosity = 0
        self.log_format: LogFormat = "text"
        self.fail: Callable[[RapidbyteError], int] = self.tell_error
        """What is done with the error that ends the command; returns the exit code. `run` replaces it, because
        its result is a document on failure too."""
        self.stop_request = StopRequest()
        self.started_at = time.monotonic()
        self._warned: set[str] = set()
        self._lines = LineWriter()
        self._above: Callable[[str], None] | None = None

    def start(self) -> None:
        """Starts to write what is told. Once, by the thread that also calls `close`."""
        self._lines.start()

    def configure(self, *, quiet: bool, verbosity: int, log_format: LogFormat) -> None:
        """Takes the global options over."""
        self.quiet, self.verbosity, self.log_format = quiet, verbosity, log_format
        from rapidbyte.cli.library_log import tell_library_messages

        tell_library_messages(self.tell)

    @property
    def stdout_is_terminal(self) -> bool:
        """Whether a person reads the result."""
        return sys.stdout.isatty()

    @property
    def shows_live(self) -> bool:
        """Whether live progress is wanted, and stderr is a terminal that can show it."""
        able = sys.stderr.isatty() and os.environ.get("TERM") not in ("dumb", "")
        return able and self.log_format == "text" and not self.quiet

    def tell(self, message: str, *, level: Level = "info", fields: dict[str, Any] | None = None) -> None:
        """One line on stderr: `warning: ...`, or a JSON object. Callable from any thread; never blocks.

        `fields` are for `--log-format json` only. With --quiet only errors are told, without -v nothing of level
        debug.
        """
        if (self.quiet and level != "error") or (level == "debug" and not self.verbosity):
            return
        if self.log_format == "json":
            import json

            moment = datetime.now(UTC).isoformat(timespec="milliseconds")
            line = json.dumps({"at": moment, "level": level, "message": shown(message), **(fields or {})})
            self._put(line.replace("\x7f", "\\u007f"))
        else:
            self._put(shown(f"{level}: {message}") if level == "warning" else shown(message))

    def warn(self, message: str) -> None:
        """`warning: ...`, once for the same words: a notice may come as an event and again in the result."""
        if message not in self._warned:
            self._warned.add(message)
            self.tell(message, level="warning")

    def tell_error(self, error: RapidbyteError) -> int:
        """Prints the error; returns its exit code."""
        from rapidbyte.result import error_info

        problems = error.problems if isinstance(error, ConfigError) else ()
        self.tell_failure(error_info(error, show_row_values=False), problems, exit_code=error.exit_code)
        return error.exit_code

    def tell_failure(self, error: ErrorInfo, problems: tuple[Problem, ...] = (), *, exit_code: int) -> None:
        """The lines of an error, or one JSON object with its fields. Also with --quiet."""
        from dataclasses import asdict

        from rapidbyte.report.failure import failure_lines

        if self.log_format == "json":
            document: dict[str, Any] = masked({"error": asdict(error)})
            document["problems"] = [shown(str(problem)) for problem in problems]
            self.tell(error.message, level="error", fields={**document, "exit_code": exit_code})
            return
        for line in failure_lines(error, problems):
            self._put(line)

    def print(self, text: str) -> bool:
        """Writes the result to stdout; True when it was taken.

        A reader that has gone away (EPIPE) is no failure of the run and is passed over in silence. Raises OSError
        for anything else, such as a full disk.
        """
        try:
            sys.stdout.write(text)
            sys.stdout.flush()
        except OSError as error:
            self.forget_stdout()
            if isinstance(error, BrokenPipeError) or (isinstance(error, UnwritableStdout) and error.reader_is_gone):
                return False
            raise
        return True

    def require_print(self, text: str, *, afterwards: str = "nothing was changed") -> None:
        """`print` for a command that is told to say this. Raises ConfigError where stdout takes nothing."""
        try:
            self.print(text)
        except OSError as error:
            raise stdout_error(error, afterwards) from error

    def forget_stdout(self) -> None:
        """Points stdout at nothing, so that the interpreter's own last flush cannot fail as well."""
        with contextlib.suppress(OSError, ValueError):
            nothing = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nothing, sys.stdout.fileno())
            os.close(nothing)

    @contextlib.contextmanager
    def speaking_above(self, write_line: Callable[[str], None]) -> Any:
        """While live progress owns the terminal, lines go through it."""
        self._above = write_line
        try:
            yield
        finally:
            self._above = None

    def close(self) -> bool:
        """Waits for the last line. False when stderr takes nothing: the process must then leave without it."""
        return self._lines.close()

    def _put(self, line: str) -> None:
        if self._above is not None:
            self._above(line)
        else:
            self._lines.put(line)


def prepare_streams() -> None:
    """Makes stdin, stdout and stderr safe to have: open, and able to take every character.

    A closed descriptor 1 would be given to the next socket, and whatever prints would print into the database's
    protocol.
    """
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    sys.stdout = _telling_failures(_with_escapes(sys.stdout, 1))
    sys.stderr = _with_escapes(sys.stderr, 2)


def _telling_failures(stream: TextIO) -> TextIO:
    if not isinstance(stream, io.TextIOWrapper):  # a test has put something else
        return stream
    lines, unbuffered, encoding = stream.line_buffering, stream.write_through, stream.encoding
    return Stdout(
        stream.detach(),  # pyright: ignore[reportUnknownArgumentType]  TextIOWrapper is generic in its buffer
        encoding=encoding,
        errors="backslashreplace",
        line_buffering=lines,
        write_through=unbuffered,
    )


def _with_escapes(stream: TextIO | None, descriptor: int) -> TextIO:
    if stream is None:
        return os.fdopen(descriptor, "w", errors="backslashreplace")
    if isinstance(stream, io.TextIOWrapper):  # not where a test has put something else
        stream.reconfigure(errors="backslashreplace")
    return stream  # pyright: ignore[reportUnknownVariableType]  TextIOWrapper is generic in its buffer
