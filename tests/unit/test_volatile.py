"""A checksum that differs is explained where the stream's own SQL gives other rows each time."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rapidbyte.engine.preflight import preflight
from rapidbyte.engine.volatile import changing, explained
from rapidbyte.errors import CheckError, RapidbyteError
from rapidbyte.plan import StreamPlan
from rapidbyte.ports import Runtime
from rapidbyte.spec import RunOptions
from tests import fakes
from tests.fakes import FakeLeader, FakeSource, pipeline_spec


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("SELECT id, Random() AS r, now ( ) FROM t WHERE random() < 1", ("random()", "now()")),
        ("SELECT current_timestamp FROM t TABLESAMPLE system (1)", ("current_timestamp", "tablesample")),
        ("SELECT my_random_id, knows(1), nowhere FROM randoms", ()),
    ],
)
def test_what_changes_is_found_by_its_name(text: str, found: tuple[str, ...]) -> None:
    """Whole words alone, calls only with their parenthesis."""
    assert changing(text) == found


def stream(**spec: str) -> StreamPlan:
    options = RunOptions()
    runtime = Runtime(
        source=FakeSource(1), leader=FakeLeader(), write=fakes.write, options=options, observe=lambda event: None
    )
    (found,) = preflight(pipeline_spec("a"), runtime).streams
    return replace(found, shape=replace(found.shape, spec=replace(found.shape.spec, **spec)))


def test_only_a_checksum_of_ones_own_sql_is_explained() -> None:
    """With what was found in it; a table's mismatch stays what it is."""
    error = CheckError("they differ", code="checksum_mismatch", hint="please report this", stream="a", table="raw.a")
    assert explained(error, stream()) is error
    other = RapidbyteError("x", code="other")
    assert explained(other, stream(query="SELECT random()")) is other
    told = explained(error, stream(query="SELECT random() AS r"))
    assert told.message.startswith("the checksums of stream a cannot agree: its `query` is volatile, by random(), and")
    assert (told.exit_code, told.code, told.context) == (9, "checksum_mismatch", error.context)
    unknown = explained(error, stream(where="f(x)"))
    assert unknown.message == "they differ"
    assert (unknown.hint or "").startswith("the checksum is of a second reading: a `where` that gives other rows")
