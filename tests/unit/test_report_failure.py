"""An error in words: what, where, what to do next, in which state the destination is."""

from __future__ import annotations

import pytest

from rapidbyte.errors import ConfigError, DataError, DestinationError, Problem, RapidbyteError
from rapidbyte.report.failure import EXIT_MEANINGS, failure_lines
from rapidbyte.result import error_info


def lines(error: RapidbyteError, *, show_row_values: bool = False) -> tuple[str, ...]:
    problems = error.problems if isinstance(error, ConfigError) else ()
    return failure_lines(error_info(error, show_row_values=show_row_values), problems)


def test_an_error_tells_what_where_hint_and_afterwards() -> None:
    """In this order, one line each; row values only where they were asked for."""
    error = DataError(
        "a value does not fit",
        code="value_out_of_range",
        hint="widen the column",
        sqlstate="22003",
        stream="orders",
        table="raw.orders",
        column="amount",
        line=7,
        row_detail="id=1, amount=99999",
        afterwards="raw.orders holds its old rows",
    )
    expected = (
        "error: a value does not fit (SQLSTATE 22003)",
        "  in stream orders, table raw.orders, column amount, line 7",
        "hint: widen the column",
        "Afterwards: raw.orders holds its old rows",
    )
    assert expected == lines(error)
    assert "  row: id=1, amount=99999" in lines(error, show_row_values=True)


def test_every_problem_of_a_configuration_has_its_line() -> None:
    """All of them, with file:line:column; a single one takes the place of the headline."""
    first = Problem(message="unknown key `usee`", file="p.yaml", line=4, column=3, hint="did you mean `use`?")
    second = Problem(message="`streams` is missing", file="p.yaml", line=3, column=1)
    two = lines(ConfigError("2 problems in p.yaml", problems=(first, second)))
    assert two == (
        "error: 2 problems in p.yaml",
        "  p.yaml:4:3: unknown key `usee` (did you mean `use`?)",
        "  p.yaml:3:1: `streams` is missing",
        "Afterwards: the destination was not touched",
    )
    one = lines(ConfigError("1 problem in p.yaml", problems=(first,)))
    assert one[0] == "error: p.yaml:4:3: unknown key `usee` (did you mean `use`?)"


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ("after_commit_confirmed", "Afterwards: the rows are committed"),
        (
            "after_commit_unknown",
            "Afterwards: it is not known whether the last commit took effect; look before you run it again",
        ),
    ],
)
def test_the_commit_state_speaks_where_the_error_says_nothing(state: str, expected: str) -> None:
    """An unknown commit is never told as harmless."""
    assert expected == lines(DestinationError("lost", code="lost", commit_state=state))[-1]


def test_an_error_that_knows_nothing_of_the_destination_claims_nothing() -> None:
    """Only a configuration error proves that nothing was touched."""
    assert lines(DestinationError("disk full", code="disk_full")) == ("error: disk full",)


def test_names_and_server_messages_stay_on_their_line_and_lose_passwords() -> None:
    """A table called `x\\nAfterwards: all fine` cannot write a line of its own (G11)."""
    error = DestinationError(
        "no table \x1b[31mx\nerror: fake in postgresql://ann:canary@db",
        code="missing",
        hint="h\nAfterwards: all fine",
        stream="x\nhint: run rm",
        afterwards="a\u202eb",
    )
    assert lines(error) == (
        "error: no table \\x1b[31mx\\nerror: fake in postgresql://ann:***@db",
        "  in stream x\\nhint: run rm",
        "hint: h\\nAfterwards: all fine",
        "Afterwards: a\\u202eb",
    )


def test_every_class_of_error_has_its_exit_code_in_the_table() -> None:
    """And no two meanings are the same."""

    def codes(kind: type[RapidbyteError]) -> set[int]:
        return {kind.exit_code}.union(*(codes(child) for child in kind.__subclasses__()))

    assert codes(RapidbyteError) | {0} == set(EXIT_MEANINGS)
    assert len(set(EXIT_MEANINGS.values())) == len(EXIT_MEANINGS)


def test_problems_are_told_once() -> None:
    """Where the message is all of them in a row, it is not told before them."""
    problems = (Problem(message="stream a is wrong"), Problem(message="stream b is wrong"))
    told = lines(ConfigError("stream a is wrong; stream b is wrong", problems=problems))
    assert told[:3] == ("error: 2 problems", "  stream a is wrong", "  stream b is wrong")


def test_a_sqlstate_is_told_once() -> None:
    """A message that ends in it needs no second one."""
    assert lines(DataError("no [22P02]", code="c", sqlstate="22P02"))[0] == "error: no [22P02]"
    assert lines(DataError("no", code="c", sqlstate="22P02"))[0] == "error: no (SQLSTATE 22P02)"
