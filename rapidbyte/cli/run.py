"""`rapidbyte run`: loads the streams of a pipeline and prints the result, also of a run that failed."""

from __future__ import annotations

import contextlib
import gc
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rapidbyte.cli.options import (
    DeadlineOption,
    EnvFileOption,
    EventsOption,
    FailedOption,
    FullRefreshOption,
    KeepGoingOption,
    KeyOption,
    OutputOption,
    PipelineArgument,
    ResultFormat,
    SetOption,
    ShowRowValuesOption,
    StreamOption,
    WorkersOption,
    parse_deadline,
    parse_key,
    parse_overrides,
)
from rapidbyte.failpoints import failpoint
from rapidbyte.values import frozen

if TYPE_CHECKING:
    from rapidbyte.cli.console import Console
    from rapidbyte.cli.events_file import EventsFile
    from rapidbyte.cli.result_file import ResultFile
    from rapidbyte.errors import Problem, RapidbyteError
    from rapidbyte.events import Event, Observer
    from rapidbyte.result import RunResult
    from rapidbyte.spec import PipelineSpec, RunOptions

GARBAGE_THRESHOLD = 50_000
"""New objects before Python looks for cycles; a run makes none worth finding soon. With Python's own 700, one look in
ten went over all modules: 28 % of the client's CPU."""


def run(
    context: typer.Context,
    pipeline: PipelineArgument,
    stream: StreamOption = None,
    workers: WorkersOption = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Read, write nothing, show the first rows.")] = False,
    limit: Annotated[
        int | None, typer.Option("--limit", metavar="N", min=1, help="Read N rows a stream; implies --dry-run.")
    ] = None,
    override: SetOption = None,
    env_file: EnvFileOption = None,
    output: OutputOption = ResultFormat.auto,
    result: Annotated[
        Path | None, typer.Option("--result", metavar="FILE", help="Also write the JSON result to this file.")
    ] = None,
    show_row_values: ShowRowValuesOption = False,
    checksum: Annotated[
        bool, typer.Option("--checksum", help="Compare checksums of source and stage before publishing.")
    ] = False,
    deadline: DeadlineOption = None,
    keep_going: KeepGoingOption = False,
    failed: FailedOption = False,
    key: KeyOption = None,
    full_refresh: FullRefreshOption = False,
    events: EventsOption = None,
) -> int:
    """Load the streams of a pipeline."""
    from rapidbyte.spec import RunOptions

    console: Console = context.obj
    options = RunOptions(
        streams=tuple(stream or ()),
        workers=workers,
        dry_run=dry_run or limit is not None,
        limit=limit,
        checksum=checksum,
        show_row_values=show_row_values,
        deadline_seconds=parse_deadline(deadline),
        keep_going=keep_going,
        failed=failed,
        key=parse_key(key),
        full_refresh=full_refresh,
    )
    report = RunReport(console=console, options=options, output=output, pipeline=pipeline, file=None)
    console.fail = report.tell_unstarted
    if result is not None:
        from rapidbyte.cli.result_file import open_result_file

        report = RunReport(
            console=console, options=options, output=output, pipeline=pipeline, file=open_result_file(result)
        )
        console.fail = report.tell_unstarted
    told = open_events(console, events)
    spec = load_spec(pipeline, override, env_file)
    return report.tell(run_spec(console, spec, options, told))


def load_spec(pipeline: Path, override: list[str] | None, env_file: Path | None) -> PipelineSpec:
    """The pipeline file, with `--set` and `--env-file` applied. Raises ConfigError."""
    from rapidbyte.config import load

    return load(pipeline, env=os.environ, overrides=parse_overrides(override), env_file=env_file)


def open_events(console: Console, path: Path | None) -> EventsFile | None:
    """The file of `--events`, open. Raises ConfigError where it cannot be written."""
    if path is None:
        return None
    from rapidbyte.cli.events_file import open_events_file

    return open_events_file(path, lambda message: console.tell(message, level="warning"))


def run_spec(console: Console, spec: PipelineSpec, options: RunOptions, events: EventsFile | None = None) -> RunResult:
    """Runs it with progress on stderr; SIGINT and SIGTERM stop it. A run that fails is a result, too."""
    from rapidbyte import wiring
    from rapidbyte.cli.progress import told_progress

    stop = console.stop_request.take_over(lambda message: console.tell(message, level="warning"))
    collect_garbage()
    with told_progress(console) as observe:
        if events is None:
            return wiring.run(spec, options=options, observe=observe, stop=stop)
        with contextlib.closing(events):
            return wiring.run(spec, options=options, observe=_both(observe, events.write), stop=stop)


def _both(first: Observer, second: Observer) -> Observer:
    def observe(event: Event) -> None:
        first(event)
        second(event)

    return observe


def collect_garbage() -> None:
    """Lets Python look for cycles again, which `main` has stopped, but never among what the start has made."""
    gc.freeze()
    gc.set_threshold(GARBAGE_THRESHOLD, 20, 20)
    gc.enable()


@frozen
class RunReport:
    """Where the result of this run goes: the file of `--result`, stdout, and the errors to stderr."""

    console: Console
    options: RunOptions
    output: ResultFormat
    pipeline: Path
    file: ResultFile | None

    def tell(self, result: RunResult, problems: tuple[Problem, ...] = ()) -> int:
        """Prints the result, then its warnings and its error; returns the exit code.

        The exit code is the run's own, also when the result cannot be written somewhere: a scheduler that takes a
        full disk for a failed load would load everything twice.
        """
        failpoint("result.before_write")
        self._write_file(result)
        print_result(self.console, result, self.output)
        for warning in (*result.warnings, *(warning for stream in result.streams for warning in stream.warnings)):
            self.console.warn(warning)
        if result.error is not None:
            self.console.tell_failure(result.error, problems, exit_code=result.exit_code)
        return result.exit_code

    def tell_unstarted(self, error: RapidbyteError) -> int:
        """The same for a run that an error ended before, or outside of, the engine."""
        from rapidbyte.errors import ConfigError, InternalError
        from rapidbyte.report.document import failed_before_start

        problems = error.problems if isinstance(error, ConfigError) else ()
        if isinstance(error, InternalError):
            # A defect may have struck anywhere, after a publish too: nothing is claimed about the destination.
            error.context = replace(error.context, commit_state="after_commit_unknown")
        result = failed_before_start(
            error,
            pipeline=str(self.pipeline),
            elapsed_s=time.monotonic() - self.console.started_at,
            dry_run=self.options.dry_run,
            show_row_values=self.options.show_row_values,
        )
        return self.tell(result, problems)

    def _write_file(self, result: RunResult) -> None:
        if self.file is None:
            return
        from rapidbyte.report.document import document_text
        from rapidbyte.result import to_document

        try:
            self.file.write(document_text(to_document(result)))
        except OSError as error:
            self.console.tell(
                f"error: the result could not be written to {self.file.path}: {error.strerror}; "
                f"the run has {result.status} all the same",
                level="error",
            )


def print_result(console: Console, result: RunResult, output: ResultFormat) -> None:
    """The result on stdout, as a summary or as JSON. A stdout that takes nothing is told, and changes nothing."""
    from rapidbyte.report.document import document_text
    from rapidbyte.result import to_document

    if wants_text(console, output):
        from rapidbyte.cli.live import summary_text
        from rapidbyte.report.summary import summarize

        text = summary_text(summarize(result, verbose=console.verbosity > 0))
    else:
        text = document_text(to_document(result))
    try:
        console.print(text)
    except OSError as error:
        console.tell(
            f"error: the result could not be written to stdout: {error.strerror}; "
            f"the run has {result.status} all the same",
            level="error",
        )


def wants_text(console: Console, output: ResultFormat) -> bool:
    """Whether stdout gets text: asked for, or `auto` on a terminal."""
    return output is ResultFormat.text or (output is ResultFormat.auto and console.stdout_is_terminal)
