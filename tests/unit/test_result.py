"""The result's document has the keys that were promised, in JSON's own terms, and fits its schema."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from rapidbyte.config.schema import result_schema
from rapidbyte.errors import CancelledError, DataError, RapidbyteError, SourceError
from rapidbyte.result import (
    AdjustmentResult,
    ChecksumResult,
    CpuUsage,
    CursorResult,
    ErrorInfo,
    PartitionCounts,
    Phases,
    RunResult,
    SampleRows,
    SchemaChangeResult,
    ServerInfo,
    StreamResult,
    TimelineEntry,
    TimeShares,
    ToolInfo,
    TuningResult,
    Verdict,
    WaitTimes,
    WorkerResult,
    WorkersSummary,
    error_info,
    to_document,
)

SCHEMA = Draft202012Validator(result_schema())

PROMISED = {
    "": """run_id pipeline status started_at finished_at duration_s attempts retry_count ddl_race_retries tool server
        records_read records_written records_rejected bytes_read bytes_written rows_per_s mb_per_s
        phases cpu workers streams verdict error schema_version""",
    "tool": "name version python",
    "server": "source destination",
    "phases": "preflight_s prepare_s load_s finalize_s cleanup_s",
    "cpu": """process_cpu_s user_s system_s pct_one_core pct_available_cores available_cores peak_rss_mb samples""",
    "workers": """count active_s wait_s active_ratio rows_min rows_max rows_skew_ratio active_skew_ratio""",
    "streams[]": """name target sync_mode write_mode publish wire status commit_state safe_to_retry
        records_read records_written records_rejected bytes_read bytes_written duration_s partitions cursor
        schema_changes lossy_columns warnings checksum error workers timeline""",
    "streams[].partitions": "total loaded resumed",
    "streams[].cursor": "field from to",
    "streams[].schema_changes[]": "kind column from to statement",
    "streams[].workers[]": """worker application_name partitions rows bytes started_s ended_s connect_s wait_s
        transform_s encode_s write_s commit_s active_s retries""",
    "streams[].workers[].wait_s": "source queue",
    "streams[].timeline[]": "partition worker started_s ended_s rows bytes",
    "verdict": "bottleneck shares advice",
    "verdict.shares": "source client destination",
    "error": """category code sqlstate message hint stream table column worker partition line retryable safe_to_retry
        commit_state""",
}
"""Keys of the result by the path of their object: the contract of `schema_version` 1."""

ADDED = {
    "": "exit_code dry_run warnings verdict_missing tuning",
    "tuning": "mode workers_started workers_limit reason adjustments",
    "tuning.adjustments[]": "at_s workers reason",
    "streams[]": "publish_reason sample",
    "error": "afterwards row_detail",
}
"""Keys beyond the contract."""

ERROR = error_info(
    DataError(
        "value does not fit [22P02]",
        code="value_does_not_fit",
        hint="look at row 7",
        sqlstate="22P02",
        stream="orders",
        table="raw.orders",
        column="amount",
        worker=1,
        partition=3,
        line=7,
        row_detail="(7, canary)",
        afterwards="raw.orders is as it was before",
    ),
    show_row_values=False,
)


def worker(number: int = 0) -> WorkerResult:
    return WorkerResult(
        worker=number,
        application_name=f"rapidbyte worker-{number} shop",
        partitions=1,
        rows=10,
        bytes=100,
        started_s=0.5,
        ended_s=2.5,
        connect_s=0.25,
        wait_s=WaitTimes(source=0.5, queue=0.25),
        transform_s=0.0,
        encode_s=0.25,
        write_s=0.5,
        commit_s=0.25,
        active_s=1.0,
        retries=0,
    )


def stream(**changes: Any) -> StreamResult:
    """A stream that was loaded, with every part that a result can have."""
    loaded = StreamResult(
        name="orders",
        target="raw.orders",
        sync_mode="full_refresh",
        write_mode="replace",
        publish="swap",
        publish_reason="all that hangs on the target can be carried",
        wire="binary-relay",
        status="succeeded",
        commit_state="after_commit_confirmed",
        safe_to_retry=True,
        records_read=10,
        records_written=10,
        records_rejected=0,
        bytes_read=100,
        bytes_written=100,
        duration_s=2.0,
        partitions=PartitionCounts(total=1, loaded=1, resumed=0),
        cursor=CursorResult(field="updated_at", low=None, high="2026-01-31"),
        schema_changes=(
            SchemaChangeResult(kind="add_column", column="note", before=None, after="text", statement="ALTER TABLE"),
        ),
        lossy_columns=("amount",),
        warnings=("a trigger fired",),
        checksum=ChecksumResult(source="1:2:3", destination="1:2:3", match=True),
        workers=(worker(),),
        timeline=(TimelineEntry(partition=0, worker=0, started_s=0.5, ended_s=2.5, rows=10, bytes=100),),
        error=None,
    )
    return replace(loaded, **changes)


def run(*streams: StreamResult, **changes: Any) -> RunResult:
    """A run that has succeeded."""
    ended = RunResult(
        run_id="20260131T235959Z-0a1b2c3d",
        pipeline="shop",
        status="succeeded",
        exit_code=0,
        dry_run=False,
        started_at="2026-01-31T23:59:59.000Z",
        finished_at="2026-02-01T00:00:02.000Z",
        duration_s=3.0,
        attempts=1,
        retry_count=0,
        ddl_race_retries=0,
        tool=ToolInfo(name="rapidbyte", version="0.1.0", python="3.11.7"),
        server=ServerInfo(source="15.18", destination="18.4"),
        tuning=TuningResult(
            mode="auto",
            workers_started=2,
            workers_limit=8,
            reason="auto: 2 cores",
            adjustments=(AdjustmentResult(at_s=1.5, workers=3, reason="the destination was idle"),),
        ),
        records_read=10,
        records_written=10,
        records_rejected=0,
        bytes_read=100,
        bytes_written=100,
        rows_per_s=10 / 3,
        mb_per_s=0.00003,
        phases=Phases(preflight_s=0.25, prepare_s=0.25, load_s=2.0, finalize_s=0.25, cleanup_s=0.25),
        cpu=CpuUsage(
            process_cpu_s=0.75,
            user_s=0.5,
            system_s=0.25,
            pct_one_core=25.0,
            pct_available_cores=12.5,
            available_cores=2,
            peak_rss_mb=64.0,
            samples=13,
        ),
        workers=WorkersSummary(
            count=1,
            active_s=1.0,
            wait_s=0.75,
            active_ratio=0.5,
            rows_min=10,
            rows_max=10,
            rows_skew_ratio=1.0,
            active_skew_ratio=1.0,
        ),
        streams=streams,
        verdict=Verdict(
            bottleneck="destination", shares=TimeShares(source=0.25, client=0.25, destination=0.5), advice="Wait."
        ),
        warnings=("a key has no effect",),
        error=None,
    )
    return replace(ended, **changes)


def failed(error: ErrorInfo) -> RunResult:
    """One stream failed before it had committed anything, the next was skipped."""
    unknown = {
        "records_read": None,
        "records_written": None,
        "records_rejected": None,
        "bytes_read": None,
        "bytes_written": None,
        "duration_s": None,
        "partitions": None,
        "cursor": None,
        "checksum": None,
        "commit_state": "before_commit",
        "workers": (),
        "timeline": (),
    }
    unplanned = {"write_mode": None, "publish": None, "publish_reason": None, "wire": None, "schema_changes": ()}
    return run(
        stream(**unknown, status="failed", error=error),
        stream(**unknown, **unplanned, name="items", status="skipped"),
        status="failed",
        exit_code=5,
        records_read=0,
        records_written=0,
        bytes_read=0,
        bytes_written=0,
        rows_per_s=None,
        mb_per_s=None,
        server=ServerInfo(source=None, destination=None),
        workers=WorkersSummary(
            count=0,
            active_s=0.0,
            wait_s=0.0,
            active_ratio=None,
            rows_min=None,
            rows_max=None,
            rows_skew_ratio=None,
            active_skew_ratio=None,
        ),
        verdict=None,
        error=error,
    )


def dry_run() -> RunResult:
    """Two rows were read and shown."""
    sample = SampleRows(columns=("id", "note"), rows=(("1", None), ("2", "")))
    shown = stream(
        sample=sample,
        commit_state="before_commit",
        records_read=2,
        records_written=0,
        records_rejected=None,
        bytes_read=None,
        bytes_written=None,
        duration_s=None,
        partitions=None,
        cursor=None,
        checksum=None,
        workers=(),
        timeline=(),
    )
    return run(shown, dry_run=True, records_read=2, records_written=0, rows_per_s=None, mb_per_s=None, verdict=None)


def keys_by_path(value: Any, path: str = "") -> dict[str, set[str]]:
    """The keys of every object in a document; lists count as one place."""
    found: dict[str, set[str]] = {}
    if isinstance(value, list):
        for item in value:
            found.update(keys_by_path(item, f"{path}[]"))
    elif isinstance(value, dict):
        found[path] = set(value)
        for key, item in value.items():
            found.update(keys_by_path(item, f"{path}.{key}" if path else key))
    return found


def test_every_promised_key_is_there_and_no_other() -> None:
    """By name and place. A key that is added is named here, one that is missing breaks somebody's script."""
    document = to_document(run(stream(sample=SampleRows(columns=(), rows=())), error=ERROR))
    expected = {path: set(f"{keys} {ADDED.get(path, '')}".split()) for path, keys in PROMISED.items()}
    expected["streams[].checksum"] = {"source", "destination", "match"}
    expected |= {path: set(ADDED[path].split()) for path in ("tuning", "tuning.adjustments[]")}
    expected["streams[].sample"] = {"columns", "rows"}
    assert expected == keys_by_path(document)


def test_the_version_is_first() -> None:
    """A reader that goes from the top knows what it reads."""
    assert next(iter(to_document(run(stream())).items())) == ("schema_version", 1)


def test_from_and_to_stand_for_before_and_after_low_and_high() -> None:
    """`from` is no name in Python; in the document it is."""
    found = to_document(run(stream()))["streams"][0]
    assert found["schema_changes"] == [
        {"kind": "add_column", "column": "note", "from": None, "to": "text", "statement": "ALTER TABLE"}
    ]
    assert found["cursor"] == {"field": "updated_at", "from": None, "to": "2026-01-31"}


@pytest.mark.parametrize("result", [run(stream(), stream()), failed(ERROR), dry_run(), run()])
def test_the_document_is_what_json_gives_back(result: RunResult) -> None:
    """Lists for tuples, at every depth: a tuple would come back as another value."""
    document = to_document(result)
    assert json.loads(json.dumps(document)) == document


def test_a_dry_run_shows_its_rows_as_lists_and_others_have_no_sample() -> None:
    """Absent, not null."""
    assert to_document(dry_run())["streams"][0]["sample"] == {
        "columns": ["id", "note"],
        "rows": [["1", None], ["2", ""]],
    }
    assert "sample" not in to_document(run(stream()))["streams"][0]


@pytest.mark.parametrize(
    "result",
    [
        run(stream(), stream(name="items")),
        run(),
        failed(ERROR),
        run(stream(), stream(status="failed", error=ERROR, checksum=None), status="partial", exit_code=5, error=ERROR),
        run(stream(status="cancelled"), status="cancelled", exit_code=7, error=ERROR),
        dry_run(),
    ],
    ids=["succeeded", "without streams", "failed", "partial", "cancelled", "dry run"],
)
def test_results_fit_the_schema(result: RunResult) -> None:
    """Whatever became of the run."""
    assert [error.message for error in SCHEMA.iter_errors(to_document(result))] == []


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("duration_s",), None),
        (("records_read",), 1.5),
        (("status",), "done"),
        (("schema_version",), 2),
        (("phases", "load_s"), None),
        (("streams", 0, "wire"), "csv"),
        (("streams", 0, "workers", 0, "wait_s"), 0.75),
        (("streams", 0, "schema_changes", 0, "before"), "text"),
        (("verdict", "shares", "network"), 0.0),
    ],
)
def test_other_values_do_not_fit_the_schema(path: tuple[str | int, ...], value: object) -> None:
    """A figure that is always known is never null, words are the listed ones, no key is added at any depth."""
    document = place = to_document(run(stream()))
    for step in path[:-1]:
        place = place[step]  # type: ignore[index]
    place[path[-1]] = value  # type: ignore[index]
    assert len(list(SCHEMA.iter_errors(document))) == 1


@pytest.mark.parametrize(("show_row_values", "expected"), [(False, None), (True, "(7, canary)")])
def test_row_values_are_masked_unless_they_are_asked_for(show_row_values: bool, expected: str | None) -> None:
    """Nowhere in the document is a value of a row."""
    error = DataError("a constraint is violated", code="constraint_violated", row_detail="(7, canary)")
    found = error_info(error, show_row_values=show_row_values)
    assert found.row_detail == expected
    assert ("canary" in json.dumps(to_document(failed(found)))) is show_row_values


def test_an_error_keeps_all_that_is_known_of_it() -> None:
    """Class, place and state go into the document as they are."""
    assert to_document(failed(ERROR))["error"] == {
        "category": "data",
        "code": "value_does_not_fit",
        "message": "value does not fit [22P02]",
        "hint": "look at row 7",
        "sqlstate": "22P02",
        "stream": "orders",
        "table": "raw.orders",
        "column": "amount",
        "worker": 1,
        "partition": 3,
        "line": 7,
        "retryable": False,
        "safe_to_retry": True,
        "commit_state": "before_commit",
        "afterwards": "raw.orders is as it was before",
        "row_detail": None,
    }


@pytest.mark.parametrize(
    ("error", "category", "retryable"),
    [
        (SourceError("lost", code="connection_lost", retry="connection"), "source", True),
        (SourceError("gone", code="table_missing"), "source", False),
        (CancelledError("stopped", code="cancelled"), "cancelled", False),
    ],
)
def test_category_and_retryable_are_the_errors_own(error: RapidbyteError, category: str, retryable: bool) -> None:
    """What is not known of the place is null."""
    found = error_info(error, show_row_values=True)
    assert (found.category, found.retryable) == (category, retryable)
    assert (found.stream, found.table, found.column, found.worker, found.partition, found.line) == (None,) * 6


def test_a_state_that_is_not_known_is_told() -> None:
    """A COMMIT that was not acknowledged: look before you run it again."""
    error = DataError("lost", code="commit_unknown", commit_state="after_commit_unknown", safe_to_retry=False)
    found = error_info(error, show_row_values=False)
    assert (found.commit_state, found.safe_to_retry) == ("after_commit_unknown", False)
