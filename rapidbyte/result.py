"""The run's result, `schema_version` 1: one value, of which JSON, summary and report are three views.

Times are seconds, sizes bytes. A figure that is not known is None, never 0. `to_document` gives the JSON
document; its JSON Schema is `rapidbyte schema result`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, cast

from rapidbyte.errors import CommitState, ErrorCategory, RapidbyteError
from rapidbyte.model import PublishMethod, SyncMode, Wire, WriteMode

SCHEMA_VERSION = 1

RunStatus = Literal["succeeded", "failed", "cancelled", "partial"]
StreamStatus = Literal["succeeded", "failed", "cancelled", "skipped"]
Bottleneck = Literal["source", "client", "destination", "balanced"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolInfo:
    """What ran."""

    name: str
    version: str
    python: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerInfo:
    """The servers' versions; None for a source that is no server, or before it was reached."""

    source: str | None
    destination: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorInfo:
    """One error. Row values are masked unless `--show-row-values`."""

    category: ErrorCategory
    code: str
    message: str
    hint: str | None
    sqlstate: str | None
    stream: str | None
    table: str | None
    column: str | None
    worker: int | None
    partition: int | None
    line: int | None
    retryable: bool
    safe_to_retry: bool
    commit_state: CommitState
    afterwards: str | None
    """In which state the destination is."""
    row_detail: str | None
    """The row's values, with `--show-row-values` only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Phases:
    """Seconds of the leader's own thread; they add up to the run's duration."""

    preflight_s: float
    prepare_s: float
    load_s: float
    finalize_s: float
    cleanup_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CpuUsage:
    """This process and its children over the run."""

    process_cpu_s: float
    user_s: float
    system_s: float
    pct_one_core: float
    pct_available_cores: float
    available_cores: int
    peak_rss_mb: float
    samples: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkersSummary:
    """All workers of the run together. A skew ratio is min / max; 1 is balanced."""

    count: int
    active_s: float
    wait_s: float
    active_ratio: float | None
    rows_min: int | None
    rows_max: int | None
    rows_skew_ratio: float | None
    active_skew_ratio: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitTimes:
    """Why a worker waited."""

    source: float
    queue: float


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerResult:
    """One worker's part of a stream. connect + wait + active is its lifetime; active is the sum of its four parts."""

    worker: int
    application_name: str
    partitions: int
    rows: int
    bytes: int
    started_s: float
    ended_s: float
    connect_s: float
    wait_s: WaitTimes
    transform_s: float
    encode_s: float
    write_s: float
    commit_s: float
    active_s: float
    retries: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TimelineEntry:
    """One partition, from the run's start."""

    partition: int
    worker: int
    started_s: float
    ended_s: float
    rows: int
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SchemaChangeResult:
    """One difference between stream and target, and what was done about it."""

    kind: str
    column: str | None
    before: str | None
    after: str | None
    statement: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionCounts:
    """Partitions of a stream: planned, committed, and found committed by an earlier run."""

    total: int
    loaded: int
    resumed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CursorResult:
    """How far an incremental stream has come, as the server's text."""

    field: str
    low: str | None
    high: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChecksumResult:
    """Order-free checksums: equal when source and destination hold the same rows."""

    source: str | None
    destination: str | None
    match: bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamResult:
    """One stream, in pipeline order."""

    name: str
    target: str
    sync_mode: SyncMode
    write_mode: WriteMode | None
    publish: PublishMethod | None
    publish_reason: str | None
    wire: Wire | None
    status: StreamStatus
    commit_state: CommitState
    safe_to_retry: bool
    records_read: int | None
    records_written: int | None
    records_rejected: int | None
    bytes_read: int | None
    bytes_written: int | None
    duration_s: float | None
    partitions: PartitionCounts | None
    cursor: CursorResult | None
    schema_changes: tuple[SchemaChangeResult, ...]
    lossy_columns: tuple[str, ...]
    warnings: tuple[str, ...]
    checksum: ChecksumResult | None
    workers: tuple[WorkerResult, ...]
    timeline: tuple[TimelineEntry, ...]
    error: ErrorInfo | None
    sample: SampleRows | None = None
    """The first rows, with `--dry-run` only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleRows:
    """Rows as a dry run saw them, in the server's own text; None is NULL."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str | None, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeShares:
    """Shares of the workers' time, adding up to 1."""

    source: float
    client: float
    destination: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What limits this run, and one sentence on what to change."""

    bottleneck: Bottleneck
    shares: TimeShares
    advice: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """A run that has ended, well or not."""

    run_id: str
    pipeline: str
    status: RunStatus
    exit_code: int
    dry_run: bool
    started_at: str
    """ISO 8601, UTC."""
    finished_at: str
    duration_s: float
    attempts: int
    retry_count: int
    ddl_race_retries: int
    tool: ToolInfo
    server: ServerInfo
    records_read: int
    records_written: int
    records_rejected: int
    bytes_read: int
    bytes_written: int
    rows_per_s: float | None
    mb_per_s: float | None
    phases: Phases
    cpu: CpuUsage
    workers: WorkersSummary
    streams: tuple[StreamResult, ...]
    verdict: Verdict | None
    warnings: tuple[str, ...]
    error: ErrorInfo | None
    schema_version: int = SCHEMA_VERSION


def error_info(error: RapidbyteError, *, show_row_values: bool) -> ErrorInfo:
    """The error as the result tells it."""
    where = error.context
    return ErrorInfo(
        category=error.category,
        code=error.code,
        message=error.message,
        hint=error.hint,
        sqlstate=where.sqlstate,
        stream=where.stream,
        table=where.table,
        column=where.column,
        worker=where.worker,
        partition=where.partition,
        line=where.line,
        retryable=error.retryable,
        safe_to_retry=where.safe_to_retry,
        commit_state=where.commit_state,
        afterwards=where.afterwards,
        row_detail=where.row_detail if show_row_values else None,
    )


def _plain(value: Any) -> Any:
    """The value with lists for tuples, as JSON has them."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in cast("dict[str, Any]", value).items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in cast("list[Any]", value)]
    return value


def to_document(result: RunResult) -> dict[str, Any]:
    """The JSON document, as plain dicts and lists, `schema_version` first."""
    document = _plain(asdict(result))
    for stream in document["streams"]:
        for change in stream["schema_changes"]:
            change["from"], change["to"] = change.pop("before"), change.pop("after")
        if stream["cursor"] is not None:
            stream["cursor"]["from"], stream["cursor"]["to"] = stream["cursor"].pop("low"), stream["cursor"].pop("high")
        if stream["sample"] is None:
            del stream["sample"]
    return {"schema_version": document.pop("schema_version"), **document}
