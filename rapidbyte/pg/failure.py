"""A server's error -> ours: whose fault, which row and column, without the row's values. Pure.

Sources: PostgreSQL's errcodes.txt for the classes; `COPY t, line 2, column a: "x"` in `diag.context` for the
place (PostgreSQL 15 and 18). `message_detail` and everything quoted in a class 22 message are row values (G6):
they go to `row_detail`, which is shown with --show-row-values only.
"""

from __future__ import annotations

import re
from typing import Literal

import psycopg

from rapidbyte.errors import (
    CancelledError,
    DataError,
    DestinationError,
    PrivilegeError,
    RapidbyteError,
    RetryKind,
    SourceError,
)
from rapidbyte.values import frozen

Side = Literal["source", "destination"]

_COPY_PLACE = re.compile(
    r"COPY (?P<table>.+?), line (?P<line>\d+)(?:, column (?P<column>[^:]+?))?(?::|$)", re.MULTILINE
)
_QUOTED = re.compile(r"\"[^\"]*\"|„[^“]*“|«[^»]*»|“[^”]*”")

_DATA_CLASSES = ("21", "22", "23", "44", "P0")
_CODES: dict[str, tuple[str, str | None]] = {
    "08": ("connection_lost", None),
    "0A": ("not_supported", None),
    "21": ("cardinality_violation", None),
    "22": ("value_does_not_fit", None),
    "23": ("constraint_violated", None),
    "25": ("transaction_state", None),
    "28": ("login_refused", "check user, password and pg_hba.conf"),
    "3D": ("database_missing", "create the database or correct its name"),
    "40": ("serialization_failure", None),
    "42": ("statement_refused", None),
    "44": ("constraint_violated", None),
    "53": ("server_out_of_resources", None),
    "54": ("server_limit", None),
    "55": ("object_in_use", None),
    "57": ("server_intervened", None),
    "58": ("server_io_error", None),
    "P0": ("raised_by_trigger", None),
    "XX": ("server_internal_error", None),
}
_EXACT: dict[str, tuple[str, str | None]] = {
    "23001": ("constraint_violated", "load the table that refers to these rows too, with `publish: together`"),
    "23503": (
        "constraint_violated",
        "load the table that is referred to first, or both with `publish: together`",
    ),
    "23505": (
        "constraint_violated",
        "two rows have one value of what the constraint says is unique; was an append repeated? See write_mode",
    ),
    "23P01": (
        "constraint_violated",
        "two rows exclude each other by the constraint, in the source's rows or the table's",
    ),
    "25006": ("read_only", "this server accepts no writes: a standby? Use target_session_attrs=read-write"),
    "25P03": ("idle_in_transaction_timeout", "the server ended an idle transaction"),
    "3F000": ("schema_missing", None),
    "42P01": ("table_missing", None),
    "42501": ("privilege_missing", None),
    "42703": ("column_missing", None),
    "53100": ("disk_full", "free space on the server; nothing is retried"),
    "53300": ("too_many_connections", "lower `parallelism` or raise max_connections"),
    "53400": ("configuration_limit", None),
    "55P03": ("lock_not_available", "another session holds a lock on the table"),
    "57014": ("statement_cancelled", "a statement_timeout or pg_cancel_backend ended it"),
    "57P01": ("connection_lost", "the server is shutting down or the session was terminated"),
    "57P03": ("server_starting", "the server is starting or recovering: try again shortly"),
}


FIND_BYTES = (
    "the server does not say which column holds it: leave columns out with `columns` until the stream is read, then "
    "look at the rows that SELECT ctid FROM ... WHERE the_column ~ '[^[:ascii:]]' lists, and correct them there"
)
"""What to do about bytes that are no text: SQL_ASCII databases take them, and COPY TO gives no context (B3)."""


@frozen
class CopyPlace:
    """Where a COPY failed. `line` counts rows of this COPY from 1."""

    line: int | None = None
    column: str | None = None


def copy_place(context: str | None) -> CopyPlace:
    """Line and column out of a COPY's error context; None where the server gave none."""
    match = _COPY_PLACE.search(context or "")
    if match is None:
        return CopyPlace()
    return CopyPlace(line=int(match["line"]), column=match["column"])


def masked(message: str, sqlstate: str | None) -> str:
    """The message without row values: in class 22 everything quoted is one, but for encodings (22021, 22P05)."""
    if sqlstate is not None and sqlstate.startswith(("22", "P0")) and sqlstate not in ("22021", "22P05"):
        return _QUOTED.sub('"***"', message)
    return message


def is_connection_loss(error: psycopg.Error) -> bool:
    """True when the session is gone. psycopg gives no SQLSTATE for a backend killed in mid-COPY (C1)."""
    state = error.sqlstate
    if state is None:
        return isinstance(error, (psycopg.OperationalError, psycopg.InterfaceError))
    return state.startswith("08") or state in ("57P01", "57P02", "57P03", "57P05", "25P03")


def code_and_hint(sqlstate: str | None) -> tuple[str, str | None]:
    """The stable word for a SQLSTATE, and what to do about it."""
    if sqlstate is None:
        return "connection_lost", None
    return _EXACT.get(sqlstate) or _CODES.get(sqlstate[:2], ("server_error", None))


def error_class(sqlstate: str | None, side: Side) -> type[RapidbyteError]:
    """Whose fault it is. At the source everything but a missing privilege is the source's (exit 3)."""
    if sqlstate == "42501":
        return PrivilegeError
    if side == "source":
        return SourceError
    if sqlstate is not None and sqlstate.startswith(_DATA_CLASSES):
        return DataError
    return DestinationError


def retry_kind(error: psycopg.Error) -> RetryKind:
    """Whether the same work may be tried again, and how: guarantees are kept either way, thanks to the receipts.

    Everything that is not named here is permanent: a timeout would fire again, a full disk stays full.
    """
    state = error.sqlstate
    if state in ("40001", "40P01", "55P03"):
        return "transaction"
    if state == "XX000" and "tuple concurrently updated" in (error.diag.message_primary or ""):
        return "transaction"
    if state == "23505" and (error.diag.schema_name or "") == "pg_catalog":
        return "transaction"
    if state in ("53300", "57P01", "57P02", "57P03") or (state or "").startswith("08"):
        return "connection"
    if state is None and isinstance(error, (psycopg.OperationalError, psycopg.InterfaceError)):
        return "connection"
    return "never"


def translate(error: psycopg.Error, *, side: Side, doing: str) -> RapidbyteError:
    """Our error for the server's. `doing` completes "while ...": `reading shop.orders`, `copying into raw.orders`."""
    diag = error.diag
    state = error.sqlstate
    kind = error_class(state, side)
    code, hint = code_and_hint(state)
    primary = masked(_one_line(diag.message_primary or str(error) or type(error).__name__), state)
    if _is_raised_by_a_function(error):
        primary = "a function of the server raised an error, whose text may hold row values"
    place = copy_place(diag.context)
    if state == "22021" and side == "source" and place.column is None:
        hint = FIND_BYTES
    lost = is_connection_loss(error)
    where = "" if lost and state is None else f" [{state}]"
    text = f"the {side} failed while {doing}: {primary}{where}"
    if lost:
        text = f"the connection to the {side} was lost while {doing}: {primary}"
    return kind(
        text,
        code=code,
        hint=diag.message_hint or hint,
        retry=retry_kind(error),
        sqlstate=state,
        table=_table(diag.schema_name, diag.table_name),
        column=diag.column_name or place.column,
        line=place.line,
        row_detail=_row_detail(error),
    )


def connect_failure(error: psycopg.Error, *, side: Side, where: str) -> RapidbyteError:
    """Our error for a connection that could not be opened. psycopg gives no SQLSTATE for it (C12): the text decides.

    It may be tried again: preflight has connected once, so that a wrong password is not what ended it. Preflight
    itself tries nothing again.
    """
    # "connection failed: connection to server at ..., port ... failed: FATAL: ...": the place is told already.
    text = _one_line(str(error)).removeprefix("connection failed: ").removeprefix("connection is bad: ")
    kind = SourceError if side == "source" else DestinationError
    lowered = text.lower()
    for words, code, hint in (
        (("password authentication failed", "no password supplied"), "login_refused", "check user and password"),
        (("no pg_hba.conf entry",), "login_refused", "pg_hba.conf of the server admits no such login"),
        (("does not exist",), "database_missing", "create the database or role, or correct its name"),
        (
            ("too many clients", "too many connections", "remaining connection slots"),
            "too_many_connections",
            "lower `parallelism` or raise max_connections",
        ),
        (
            ("does not support ssl", "ssl", "certificate"),
            "tls_failed",
            "see `sslmode`, `sslrootcert` of the connection",
        ),
        (("starting up", "shutting down", "recovery"), "server_starting", "try again shortly"),
        (("timeout expired",), "connect_timeout", "is the host right and its port open?"),
    ):
        if any(word in lowered for word in words):
            return kind(
                f"cannot connect to the {side} at {where}: {text}",
                code=code,
                hint=hint,
                retry="connection",
                sqlstate=error.sqlstate,
            )
    return kind(
        f"cannot connect to the {side} at {where}: {text}",
        code="unreachable",
        hint="is the server running, and are host and port right?",
        retry="connection",
        sqlstate=error.sqlstate,
    )


def stopped(doing: str) -> CancelledError:
    """The error of work that was told to stop."""
    return CancelledError(f"stopped while {doing}", code="stopped")


def _table(schema: str | None, table: str | None) -> str | None:
    return f"{schema}.{table}" if schema and table else table


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _is_raised_by_a_function(error: psycopg.Error) -> bool:
    """Whether a person wrote the message, in a RAISE: what is in it nobody knows (G6)."""
    return (error.sqlstate or "").startswith("P0") or " at RAISE" in (error.diag.context or "")


def _row_detail(error: psycopg.Error) -> str | None:
    diag = error.diag
    raised = _is_raised_by_a_function(error)
    if not raised and (error.sqlstate is None or not error.sqlstate.startswith(_DATA_CLASSES)):
        return None
    parts = [part for part in (diag.message_primary, diag.message_detail, diag.context) if part]
    return "; ".join(_one_line(part) for part in parts) or None


KNOWN_CLASSES = frozenset(_CODES)
"""SQLSTATE classes with a word of their own; every other class is `server_error`."""
