"""The JSON documents: valid, in ASCII, without passwords, also of a run that never started."""

from __future__ import annotations

import json
import threading

import jsonschema
import pytest

from rapidbyte.config.schema import result_schema
from rapidbyte.engine.preflight import preflight
from rapidbyte.engine.run import execute
from rapidbyte.errors import CancelledError, ConfigError, RapidbyteError
from rapidbyte.plan import CheckItem, CheckReport
from rapidbyte.ports import Runtime
from rapidbyte.report.document import (
    check_document,
    document_text,
    failed_before_start,
    plan_document,
    streams_document,
)
from rapidbyte.result import to_document
from rapidbyte.spec import RunOptions
from tests import fakes
from tests.fakes import FakeLeader, FakeSource, pipeline_spec


def runtime(**options: object) -> Runtime:
    return Runtime(
        source=FakeSource(2),
        leader=FakeLeader(),
        write=fakes.write,
        options=RunOptions(**options),  # type: ignore[arg-type]
        observe=lambda event: None,
    )


def unstarted(error: RapidbyteError) -> dict[str, object]:
    result = failed_before_start(error, pipeline="p.yaml", elapsed_s=0.25, dry_run=False, show_row_values=False)
    return json.loads(document_text(to_document(result)))


@pytest.mark.parametrize(
    ("error", "status", "exit_code"),
    [
        (ConfigError("bad", hint="fix it"), "failed", 2),
        (CancelledError("stopped by SIGINT", code="cancelled"), "cancelled", 7),
    ],
)
def test_a_run_that_never_started_has_a_whole_result(error: RapidbyteError, status: str, exit_code: int) -> None:
    """It validates against the schema like any other, and says what failed."""
    document = unstarted(error)
    jsonschema.validate(document, result_schema())
    assert (document["status"], document["exit_code"], document["pipeline"]) == (status, exit_code, "p.yaml")
    assert document["duration_s"] == 0.25
    assert document["streams"] == []


def test_the_document_of_a_run_validates() -> None:
    """A finished run and a dry run, which has samples."""
    for dry_run in (False, True):
        result = execute(pipeline_spec("a", "b"), runtime(workers=2, dry_run=dry_run), threading.Event())
        document = json.loads(document_text(to_document(result)))
        jsonschema.validate(document, result_schema())
        assert [("sample" in stream) for stream in document["streams"]] == [dry_run, dry_run]


def test_json_is_ascii_and_keeps_every_text_as_it_is() -> None:
    """Nothing in it can act on a terminal or upset an encoding, and a reader gets the very same text back (G11)."""
    wild = "größe \x1b[2J \x7f \u202e \udc80 \U0001f642"
    text = document_text({"name": wild})
    assert text.isascii()
    assert {character for character in text if not character.isprintable()} == {"\n"}
    assert json.loads(text) == {"name": wild}


def test_sentences_lose_passwords_and_names_do_not_change() -> None:
    """A server's words are masked; a stream may be called what it likes."""
    dsn = "postgresql://ann:canary@db"
    document = {"name": dsn, "warnings": [dsn], "error": {"message": dsn, "hint": None}}
    masked = "postgresql://ann:***@db"
    assert json.loads(document_text(document)) == {
        "name": dsn,
        "warnings": [masked],
        "error": {"message": masked, "hint": None},
    }


def test_a_figure_that_is_no_number_is_refused() -> None:
    """NaN is not JSON: better a defect that shows than a document that nobody can read."""
    with pytest.raises(ValueError, match="Out of range float"):
        document_text({"rows_per_s": float("nan")})


def test_the_plan_names_method_reason_columns_and_partitions() -> None:
    """What `plan --output json` prints of a stream."""
    found = plan_document(preflight(pipeline_spec("a"), runtime(workers=1)))
    (stream,) = found["streams"]
    assert (stream["publish"], stream["publish_reason"], stream["wire"]) == ("swap", "because", "binary-relay")
    assert stream["columns"] == [
        {
            "name": "id",
            "target": "id",
            "source_type": "bigint",
            "target_type": "bigint",
            "conversion": "identical",
            "reason": None,
        }
    ]
    assert stream["partition_bytes"] == 250
    assert (found["source"], found["destination"], found["workers"]) == ("17.0", "18.0", 1)
    json.loads(document_text(found))


def test_check_and_discover_say_what_they_found() -> None:
    """Items in order with their hints; streams with their columns."""
    items = (
        CheckItem(name="source", ok=True, detail="PostgreSQL 17.0"),
        CheckItem(name="plan", ok=False, detail="no INSERT", hint="GRANT INSERT ON t TO r;"),
    )
    assert check_document(CheckReport(pipeline="shop", items=items)) == {
        "schema_version": 1,
        "pipeline": "shop",
        "ok": False,
        "items": [
            {"name": "source", "ok": True, "detail": "PostgreSQL 17.0", "hint": None},
            {"name": "plan", "ok": False, "detail": "no INSERT", "hint": "GRANT INSERT ON t TO r;"},
        ],
    }
    shapes = FakeSource(1).describe(pipeline_spec("a").streams)
    (stream,) = streams_document(shapes)["streams"]
    assert (stream["name"], stream["relation"], stream["estimated_bytes"]) == ("a", "public.a", 1000)
    assert [(column["name"], column["type"]) for column in stream["columns"]] == [("id", "bigint")]
