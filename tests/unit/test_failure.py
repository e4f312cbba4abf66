"""A server's errors become ours: whose fault, where, and without the row's values."""

from __future__ import annotations

import inspect

import psycopg
import pytest
from psycopg import errors as server_errors

from rapidbyte.errors import DataError, DestinationError, PrivilegeError, SourceError
from rapidbyte.pg.failure import KNOWN_CLASSES, code_and_hint, copy_place, error_class, is_connection_loss, masked

UNNAMED_CLASSES = {
    "01", "02", "03", "09", "0B", "0F", "0L", "0P", "0Z", "10", "20", "24", "26", "27", "2B", "2D", "2F", "34", "38",
    "39", "3B", "3F", "72", "F0", "HV",
}  # fmt: skip
"""Classes that COPY, DDL and look-ups do not raise by themselves; they are told as `server_error`."""


def test_every_sqlstate_class_that_psycopg_knows_has_a_home() -> None:
    """A driver that grows a class turns this red, so that somebody decides whose fault it is."""
    states = {
        error.sqlstate
        for _, error in inspect.getmembers(server_errors, inspect.isclass)
        if issubclass(error, psycopg.Error) and error.sqlstate
    }
    assert {state[:2] for state in states} - KNOWN_CLASSES == UNNAMED_CLASSES & {state[:2] for state in states}


@pytest.mark.parametrize(
    ("sqlstate", "side", "expected"),
    [
        ("22003", "destination", DataError),
        ("23505", "destination", DataError),
        ("P0001", "destination", DataError),
        ("21000", "destination", DataError),
        ("53100", "destination", DestinationError),
        ("57014", "destination", DestinationError),
        ("42501", "destination", PrivilegeError),
        ("42501", "source", PrivilegeError),
        ("22012", "source", SourceError),
        (None, "source", SourceError),
        (None, "destination", DestinationError),
    ],
)
def test_the_sqlstate_and_the_side_say_whose_fault_it_is(sqlstate: str | None, side: str, expected: type) -> None:
    """Values and constraints at the destination are data; everything at the source is the source's."""
    assert error_class(sqlstate, side) is expected  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("context", "line", "column"),
    [
        ('COPY t, line 2, column a: "x"', 2, "a"),
        ("COPY orders, line 17", 17, None),
        ('COPY t, line 3: "1,2,3"', 3, None),
        ('SQL function\nCOPY t, line 5, column b c: "v"', 5, "b c"),
        ("PL/pgSQL function f() line 3 at RAISE", None, None),
        (None, None, None),
    ],
)
def test_line_and_column_come_out_of_the_copy_context(
    context: str | None, line: int | None, column: str | None
) -> None:
    """The forms of PostgreSQL 15 and 18."""
    place = copy_place(context)
    assert (place.line, place.column) == (line, column)


@pytest.mark.parametrize(
    ("message", "sqlstate", "expected"),
    [
        ('invalid input for type integer: "alice@example.com"', "22P02", 'invalid input for type integer: "***"'),
        ('value "99999999999" is out of range for integer', "22003", 'value "***" is out of range for integer'),
        ('ungültige Eingabesyntax für Typ integer: „alice“', "22P02", 'ungültige Eingabesyntax für Typ integer: "***"'),
        ('null value in column "a" of relation "t" violates not-null constraint', "23502", None),
        ('invalid byte sequence for encoding "UTF8": 0x00', "22021", None),
    ],
)  # fmt: skip
def test_row_values_are_masked_and_names_are_not(message: str, sqlstate: str, expected: str | None) -> None:
    """G6: a class 22 message quotes the value, a class 23 message quotes names."""
    assert masked(message, sqlstate) == (expected or message)


@pytest.mark.parametrize(("sqlstate", "lost"), [("57P01", True), ("08006", True), ("25P03", True), ("22003", False)])
def test_a_lost_connection_is_told_apart(sqlstate: str, lost: bool) -> None:
    """C1: psycopg gives no SQLSTATE for a killed backend, so an OperationalError without one is a loss too."""
    assert is_connection_loss(server_errors.lookup(sqlstate)("x")) is lost
    assert is_connection_loss(psycopg.OperationalError("server closed the connection unexpectedly"))
    assert not is_connection_loss(psycopg.DataError("x"))


def test_codes_are_stable_words() -> None:
    """Scripts match on them."""
    assert code_and_hint("53100")[0] == "disk_full"
    assert code_and_hint("23505")[0] == "constraint_violated"
    assert code_and_hint("99999")[0] == "server_error"
