"""Every way a run can fail, as one tree. This module imports nothing of ours.

    RapidbyteError
    ├── ConfigError          exit  2   what can be judged without moving a row
    │   └── PrivilegeError   exit  2   a missing GRANT, named exactly
    ├── SourceError          exit  3   the source, also unreachable or wrong password
    ├── DestinationError     exit  4   the destination, also unreachable or disk full
    │   └── ContractError    exit  4   a worker was handed an incomplete contract
    ├── DataError            exit  5   a value that does not fit, a constraint violated
    ├── SchemaError          exit  6   a drift that the policy refuses
    ├── CancelledError       exit  7   SIGINT, SIGTERM, deadline, or a sibling failed first
    ├── BusyError            exit  8   another run of this pipeline is under way
    │   └── FenceError       exit  8   another run has taken this one's lease over
    ├── CheckError           exit  9   verify found a difference, a bench gate was missed
    └── InternalError        exit 70   a defect of ours

`category` and `exit_code` belong to the class. Where it happened, and whether the same work may be tried again,
belong to the instance; they go into the result's JSON as they are (`ErrorContext`).
A message never contains a secret; it contains a row's values only in `row_detail`, which is shown
with `--show-row-values` and nowhere else.
"""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any, ClassVar, Literal

from rapidbyte.values import frozen

ErrorCategory = Literal[
    "config",
    "source",
    "destination",
    "data",
    "schema",
    "cancelled",
    "busy",
    "check",
    "internal",
]
RetryKind = Literal["never", "transaction", "connection"]
"""never: it would fail again. transaction: another one may succeed. connection: a new one may."""
CommitState = Literal["before_commit", "after_commit_unknown", "after_commit_confirmed"]


@frozen
class ErrorContext:
    """Where an error happened. A field that is not known is None."""

    sqlstate: str | None = None
    """Five characters from the server; None where libpq gave none."""
    stream: str | None = None
    table: str | None = None
    column: str | None = None
    worker: int | None = None
    partition: int | None = None
    line: int | None = None
    """1-based line of the file, or row of the COPY, as the server counted it."""
    row_detail: str | None = None
    """Row values, as the server printed them. Masked unless `--show-row-values`."""
    afterwards: str | None = None
    """In which state the destination is, as a sentence."""
    commit_state: CommitState = "before_commit"
    safe_to_retry: bool = True
    attempts: int = 1
    """How often the work was tried, this failure included."""

    def merged(self, **known: Any) -> ErrorContext:
        """This context with the fields filled that were None; what is known already stays."""
        missing = {key: value for key, value in known.items() if getattr(self, key) is None}
        return replace(self, **missing) if missing else self


class RapidbyteError(Exception):
    """Base of the tree. `code` is a stable word in snake_case, `hint` says what to do next."""

    category: ClassVar[ErrorCategory] = "internal"
    exit_code: ClassVar[int] = 70

    def __init__(
        self, message: str, *, code: str, hint: str | None = None, retry: RetryKind = "never", **where: Any
    ) -> None:
        super().__init__(message)
        self.retry: RetryKind = retry
        self.message = message
        self.code = code
        self.hint = hint
        self.context = ErrorContext(**where)

    @property
    def retryable(self) -> bool:
        """Whether the same work, done again, may succeed without anybody's help."""
        return self.retry != "never"

    def at(self, **where: Any) -> RapidbyteError:
        """The same error, with the fields of its context filled that were not known yet."""
        self.context = self.context.merged(**where)
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        """Errors travel from a worker process: keep code, hint and context."""
        where = {field.name: getattr(self.context, field.name) for field in fields(ErrorContext)}
        return (_rebuild, (type(self), self.message, self.code, self.hint, {**where, "retry": self.retry}))


def _rebuild(
    kind: type[RapidbyteError], message: str, code: str, hint: str | None, where: dict[str, Any]
) -> RapidbyteError:
    error = kind.__new__(kind)
    RapidbyteError.__init__(error, message, code=code, hint=hint, **where)
    return error


@frozen
class Problem:
    """One thing that is wrong in a pipeline file. Lines and columns count from 1."""

    message: str
    path: str = ""
    """Where in the document, as `destination.config.schema` or `source.streams[2].name`."""
    file: str | None = None
    line: int | None = None
    column: int | None = None
    hint: str | None = None

    def __str__(self) -> str:
        place = ":".join(str(part) for part in (self.file, self.line, self.column) if part is not None)
        text = f"{place}: {self.message}" if place else self.message
        return f"{text} ({self.hint})" if self.hint else text


class ConfigError(RapidbyteError):
    """The pipeline file, an option or the environment is wrong; nothing was touched.

    `problems` holds every fault that was found, in the order of the file.
    """

    category = "config"
    exit_code = 2

    def __init__(
        self,
        message: str,
        *,
        code: str = "config_invalid",
        hint: str | None = None,
        problems: tuple[Problem, ...] = (),
        **where: Any,
    ) -> None:
        super().__init__(message, code=code, hint=hint, **where)
        self.problems = problems

    def __reduce__(self) -> tuple[Any, ...]:
        """Keeps the problems, too."""
        rebuild, arguments = super().__reduce__()
        return (rebuild, arguments, {"problems": self.problems})


class PrivilegeError(ConfigError):
    """A role lacks a privilege; `hint` is the GRANT that gives it."""


class SourceError(RapidbyteError):
    """The source failed, cannot be reached, or refused the login."""

    category = "source"
    exit_code = 3


class DestinationError(RapidbyteError):
    """The destination failed, cannot be reached, refused the login, or is full."""

    category = "destination"
    exit_code = 4


class ContractError(DestinationError):
    """A worker was handed a contract that lacks something; it has not connected."""


class DataError(RapidbyteError):
    """A value does not fit, or a row violates a constraint of the target."""

    category = "data"
    exit_code = 5

    def found_in(self, place: str, line: int | None) -> DataError:
        """The same error, which names the place in the source; its line is the file's from now on."""
        self.message = f"{place}: {self.message}"
        self.context = replace(self.context, line=line)
        return self


class SchemaError(RapidbyteError):
    """Source and target differ in a way that the schema policy refuses."""

    category = "schema"
    exit_code = 6


class CancelledError(RapidbyteError):
    """The run was told to stop, or this part of it stopped because a sibling failed first."""

    category = "cancelled"
    exit_code = 7


class BusyError(RapidbyteError):
    """Another run of this pipeline is under way."""

    category = "busy"
    exit_code = 8


class FenceError(BusyError):
    """Another run has taken this pipeline's lease over: this one publishes nothing more."""


class CheckError(RapidbyteError):
    """A comparison that was asked for found a difference."""

    category = "check"
    exit_code = 9


class InternalError(RapidbyteError):
    """A defect of rapidbyte."""

    category = "internal"
    exit_code = 70
