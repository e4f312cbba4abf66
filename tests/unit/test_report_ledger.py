"""What `runs`, `state` and `gc` print."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from rapidbyte.cursor import FILES_FIELD, FileMark, StoredCursor
from rapidbyte.destinations.postgres.cursors import CursorRecord
from rapidbyte.destinations.postgres.loads import LoadRecord
from rapidbyte.destinations.postgres.runs import RunRecord
from rapidbyte.destinations.postgres.state import Landed, LeaseRecord, Orphan, PipelineState, Resumable, Sweep
from rapidbyte.model import QualifiedName
from rapidbyte.report.ledger import (
    runs_document,
    runs_text,
    state_document,
    state_text,
    sweep_document,
    sweep_text,
)

NOON = datetime(2024, 5, 6, 12, tzinfo=UTC)


def run(status: str = "succeeded", *, lasted_s: float | None = 65, pipeline: str = "shop") -> RunRecord:
    return RunRecord(
        run_id="run-1",
        pipeline=pipeline,
        run_key=None,
        host="here",
        pid=7,
        tool_version="1",
        status=status,
        exit_code=None if lasted_s is None else 0,
        started_at=NOON,
        finished_at=None if lasted_s is None else NOON + timedelta(seconds=lasted_s),
        streams=(("a", "succeeded"), ("b\x1b", "failed")),
    )


def state(*, connected: bool) -> PipelineState:
    lease = LeaseRecord(
        fence=3, run_id="run-9", host="there", pid=5, acquired_at=NOON, renewed_at=NOON, connected=connected
    )
    cursor = StoredCursor(field="at", type="date", value="2024-01-01")
    record = CursorRecord(stream="a", cursor=cursor, source=None, run_id=None, updated_at=NOON)
    return PipelineState(pipeline="shop", lease=lease, cursors=(record,), unfinished=(), receipts={})


def test_runs_are_one_line_each() -> None:
    """Streams that did not succeed are named; control characters are escaped; a run under way has no end (G11)."""
    assert runs_text((run(), run("running", lasted_s=None))).splitlines() == [
        "run-1  shop  2024-05-06 12:00:00     1m05s  succeeded  exit  0  2 streams: b\\x1b failed",
        "run-1  shop  2024-05-06 12:00:00         -  running    exit  -  2 streams: b\\x1b failed",
    ]
    assert runs_text(()) == "no run is recorded in this destination\n"
    assert runs_document((run(),))["runs"][0]["finished_at"] == "2024-05-06T12:01:05.000Z"


def test_a_dead_run_is_not_under_way() -> None:
    """Its row in `leases` stays until the next run; its session does not."""
    assert state_document(state(connected=False))["running"] is None
    assert state_document(state(connected=True))["running"]["run_id"] == "run-9"
    assert "run-9" not in state_text(state(connected=False))
    assert "run run-9 has the lease: process 5 on there" in state_text(state(connected=True))


def test_a_cursor_set_by_hand_is_called_so() -> None:
    """With another stream's name nothing of it is shown."""
    assert "  a: loaded up to at = 2024-01-01, set by hand\n" in state_text(state(connected=False))
    assert state_document(state(connected=False), "b")["cursors"] == []
    assert "no cursor" in state_text(state(connected=False), "b")


def test_what_was_dropped_kept_and_removed_is_told() -> None:
    """Rows of a direct load that were changed since are counted, and left."""
    name = QualifiedName(schema="raw", name="s")
    landed = Landed(stream="a", load_id="L", rows=10, removed=8)
    sweep = Sweep(dropped=(name,), kept=(name,), receipts=3, landed=(landed,))
    assert sweep_text(sweep, dry_run=False).splitlines() == [
        "raw.s: dropped",
        "raw.s: kept, it could not be dropped now; run gc again",
        "a: 10 rows of the direct load L, which did not end, were in the target: 8 removed; 2 have changed since",
        "3 receipts of ended loads: deleted",
    ]
    document = sweep_document(sweep, "shop", dry_run=False)
    assert document["direct_loads"] == [{"stream": "a", "load_id": "L", "rows": 10, "rows_removed": 8}]
    lost = Sweep(dropped=(), kept=(), receipts=0, orphans=(Orphan(table=name, drop='DROP TABLE "raw"."s";'),))
    assert sweep_text(lost, dry_run=False).endswith('if it is of no use: DROP TABLE "raw"."s";\n')
    assert sweep_document(lost, "shop", dry_run=False)["orphans"] == [
        {"table": "raw.s", "drop": 'DROP TABLE "raw"."s";'}
    ]
    assert sweep_text(Sweep(dropped=(), kept=(), receipts=0), dry_run=True) == "nothing was left behind\n"


DOCS = Path(__file__).parents[2] / "docs" / "commands-json.md"


def paths(value: Any, prefix: str = "") -> Iterator[str]:
    """Every field of a document, as the page names it."""
    for each in value if isinstance(value, list) else [value]:
        if isinstance(each, dict):
            for name, inner in each.items():
                path = f"{prefix}.{name}" if prefix else name
                yield path
                yield from paths(inner, f"{path}[]" if isinstance(inner, list) else path)


def full_state() -> PipelineState:
    files = (FileMark(path="a.csv", size=1, stamp="s", digest="d"),)
    cursor = StoredCursor(field=FILES_FIELD, type="text", value="1 files", files=files)
    load = LoadRecord(
        load_id="L", run_id="r", stream="a", state="prepared", publish="insert", row_count=None, stage=None,
        signature=None, partitions=None, bounds=None,
    )  # fmt: skip
    found = state(connected=True)
    record = CursorRecord(stream="f", cursor=cursor, source=None, run_id=None, updated_at=NOON)
    return PipelineState(
        pipeline="shop", lease=found.lease, cursors=(record, *found.cursors), unfinished=(load,), receipts={"L": (1, 2)}
    )


@pytest.mark.parametrize(
    ("title", "document"),
    [
        ("runs", runs_document((run(),))),
        ("state", state_document(full_state())),
        (
            "gc",
            sweep_document(
                Sweep(
                    dropped=(),
                    kept=(),
                    receipts=0,
                    landed=(Landed(stream="a", load_id="L", rows=1, removed=None),),
                    orphans=(Orphan(table=QualifiedName(schema="raw", name="s"), drop=""),),
                    resumable=(Resumable(stream="a", load_id="L", partitions=1, rows=2),),
                ),
                "shop",
                dry_run=True,
            ),
        ),
    ],
)
def test_every_field_that_a_command_prints_is_on_the_page_and_no_other(title: str, document: dict[str, Any]) -> None:
    """docs/commands-json.md, in the order of the document."""
    (section,) = (part for part in DOCS.read_text().split("\n## ") if part.startswith(f"`rapidbyte {title}"))
    assert re.findall(r"^\| `([^`]+)` \|", section, re.MULTILINE) == list(dict.fromkeys(paths(document)))
