"""The run's result, `schema_version` 1: one value, of which JSON, summary and report are three views.

Times are seconds, sizes bytes. A figure that is not known is None, never 0. `to_document` gives the JSON
document; its JSON Schema is `rapidbyte schema result`. The docstrings are the schema's descriptions and docs/result.md:
they speak of the document, where None is null.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Literal, cast

from rapidbyte.errors import CommitState, ErrorCategory, RapidbyteError
from rapidbyte.model import PublishMethod, SyncMode, Wire, WriteMode
from rapidbyte.values import frozen

SCHEMA_VERSION = 1

RunStatus = Literal["succeeded", "failed", "cancelled", "partial"]
StreamStatus = Literal["succeeded", "failed", "cancelled", "skipped"]
Bottleneck = Literal["source", "client", "destination", "balanced"]


@frozen
class ToolInfo:
    """What ran."""

    name: str
    """`rapidbyte`."""
    version: str
    """Of the installed package."""
    python: str
    """The interpreter's version."""


@frozen
class ServerInfo:
    """The servers' versions."""

    source: str | None
    """`server_version` of the source; null for files, and where preflight did not end well."""
    destination: str | None
    """`server_version` of the destination; null where preflight did not end well."""


@frozen
class ErrorInfo:
    """One error. Row values are masked unless `--show-row-values`."""

    category: ErrorCategory
    """Whose fault it is; the exit code follows from it."""
    code: str
    """A stable word in snake_case, for programs to decide on."""
    message: str
    """What happened, in one sentence; what a server quotes of a row's values is masked in it."""
    hint: str | None
    """What to do next; null where there is nothing to say."""
    sqlstate: str | None
    """PostgreSQL's error code, five characters; null where no server gave one."""
    stream: str | None
    """The stream's name; null where the error is not of one stream."""
    table: str | None
    """The table that the server named, else the stream's target, as `schema.table`; null where neither is known."""
    column: str | None
    """The column's name; null where the error is not of one column, or the server did not name it."""
    worker: int | None
    """Number of the worker, from 0; null outside of a partition, and for a lost connection."""
    partition: int | None
    """Number of the stream's partition, from 0; null outside of a partition, and for a lost connection."""
    line: int | None
    """Line of the file, or row of the COPY as the server counted it, from 1; null where it is not known."""
    retryable: bool
    """Whether the same work, done again, may succeed without anybody's help."""
    safe_to_retry: bool
    """Whether a rerun is safe: what failed here cannot arrive twice."""
    commit_state: CommitState
    """Whether what failed was committed; `after_commit_unknown`: the server could not be asked."""
    afterwards: str | None
    """In which state the destination is, as a sentence; null where nothing is known of it."""
    row_detail: str | None
    """The row's values as the server printed them; null without `--show-row-values`, or where it printed none."""


@frozen
class Phases:
    """Seconds of the leader's own thread; they add up to the run's duration."""

    preflight_s: float
    """Reading facts and shapes at both ends, planning, privileges; in a dry run also reading the rows it shows."""
    prepare_s: float
    """Schema, ledger, targets and stages."""
    load_s: float
    """Snapshot, partitions, waiting for the workers, the source's checksums."""
    finalize_s: float
    """Publishing the streams, one after the other, while workers may go on loading later ones; ANALYZE."""
    cleanup_s: float
    """Dropping the stages of what was not published, closing the leader's connections."""


@frozen
class CpuUsage:
    """This process and its children over the run."""

    process_cpu_s: float
    """`user_s` + `system_s`."""
    user_s: float
    """CPU seconds in user mode, by the kernel's counters."""
    system_s: float
    """CPU seconds in the kernel on behalf of these processes, by its counters."""
    pct_one_core: float
    """`process_cpu_s` per second that passed, in per cent: 150 is one core and a half."""
    pct_available_cores: float
    """`pct_one_core` / `available_cores`."""
    available_cores: int
    """Cores that this process may run on (its affinity), not the machine's count."""
    peak_rss_mb: float
    """Greatest resident memory in MiB: of the samples, and of the process itself since it started."""
    samples: int
    """How often memory was sampled: at the start, then every 0.25 s."""


@frozen
class WorkersSummary:
    """All workers of the run together. A skew ratio is min / max; 1 is balanced."""

    count: int
    """Workers that were planned; 0 where no plan was made."""
    active_s: float
    """Sum of the workers' `active_s`."""
    wait_s: float
    """Sum of the workers' `wait_s`, for the source and for work."""
    active_ratio: float | None
    """`active_s` / the workers' connect + wait + active; null where no partition was committed."""
    rows_min: int | None
    """Rows of the worker that committed the fewest, of those that committed a partition; null where none did."""
    rows_max: int | None
    """Rows of the worker that committed the most; null where none committed a partition."""
    rows_skew_ratio: float | None
    """`rows_min` / `rows_max`; null where there are no rows."""
    active_skew_ratio: float | None
    """The least `active_s` of a worker / the greatest; null where no partition was committed."""


@frozen
class WaitTimes:
    """Why a worker waited."""

    source: float
    """Seconds in which the worker was ready to write and the source had delivered nothing."""
    queue: float
    """Seconds between its partitions: none to be had, taking one up and putting it down, tries that failed."""


@frozen
class WorkerResult:
    """One worker's part of a stream. connect + wait + active is its lifetime; active is the sum of its four parts."""

    worker: int
    """Its number in the run, from 0."""
    application_name: str
    """What its connections call themselves; PostgreSQL shows the first 63 bytes."""
    partitions: int
    """Partitions of this stream that it committed."""
    rows: int
    """Rows of these partitions, as the server counted them in COPY."""
    bytes: int
    """COPY payload of these partitions, as sent to the destination."""
    started_s: float
    """When it took up the first of them: seconds from the run's start, monotonic clock."""
    ended_s: float
    """When it put down the last of them, by the same clock; less `started_s` it is the lifetime."""
    connect_s: float
    """Opening and closing its connection, once for each partition."""
    wait_s: WaitTimes
    """Why it waited."""
    transform_s: float
    """Transforming rows; 0 without transforms."""
    encode_s: float
    """Making COPY bytes of rows; next to nothing for a relay, which passes them on."""
    write_s: float
    """BEGIN, looking for a receipt, starting COPY, handing it bytes and waiting for the server to take them."""
    commit_s: float
    """End of COPY, receipt and COMMIT."""
    active_s: float
    """`transform_s` + `encode_s` + `write_s` + `commit_s`."""
    retries: int
    """Tries beyond the first, of the partitions that were committed in the end."""


@frozen
class TimelineEntry:
    """One committed partition: who loaded it, and when."""

    partition: int
    """Its number in the stream, from 0."""
    worker: int
    """Number of the worker that committed it."""
    started_s: float
    """When the worker took it up, tries that failed included: seconds from the run's start, monotonic clock."""
    ended_s: float
    """When the worker put it down, committed, by the same clock."""
    rows: int
    """Rows, as the server counted them in COPY."""
    bytes: int
    """COPY payload, as sent to the destination."""


@frozen
class SchemaChangeResult:
    """One difference between stream and target, and what was done about it."""

    kind: str
    """`create_table`, `add_column`, `ignored_column` (not loaded), `missing_column` (not in the stream)."""
    column: str | None
    """The column's name; null for the table as a whole."""
    before: str | None
    """The column's type before; null where there was none."""
    after: str | None
    """The column's type afterwards, or the table created; null where nothing is done."""
    statement: str | None
    """The DDL that settles it, with the target's name for the stage's; null where nothing is done."""


@frozen
class PartitionCounts:
    """Partitions of a stream: planned, committed now, and found committed."""

    total: int
    """Partitions that were planned."""
    loaded: int
    """Committed by this run's workers."""
    resumed: int
    """Committed by an earlier run of the same load, and not read again."""


@frozen
class CursorResult:
    """How far an incremental stream has come, as the server's text."""

    field: str
    """The cursor's column."""
    low: str | None
    """How far the load before this one had come; null where there was none."""
    high: str | None
    """How far this load has come, or was to come where it is not published; null where no row has a value."""


@frozen
class ChecksumResult:
    """Order-free checksums: equal when source and destination hold the same rows."""

    source: str | None
    """`count:sum:sum` of the snapshot's rows, computed by the source's server; null for files."""
    destination: str | None
    """The same of the stage's rows before they are published, by the destination's server; null where not computed."""
    match: bool | None
    """Whether both are equal; null where they cannot be compared: files, or a column whose type differs."""


@frozen
class StreamResult:
    """One stream, in pipeline order."""

    name: str
    """Its name in the pipeline, with patterns resolved."""
    target: str
    """The table it is loaded into, as `schema.table`; as the pipeline has it where it was not planned."""
    sync_mode: SyncMode
    """How the source is read."""
    write_mode: WriteMode | None
    """What becomes of the target's rows; null where it is not known."""
    publish: PublishMethod | None
    """The method that was used, or the planned one of a stream not published; null where it was not planned."""
    publish_reason: str | None
    """Why the plan chose its method; null where it was not planned."""
    wire: Wire | None
    """What travels: the source's COPY bytes (relay), or Arrow encoded as COPY; null where it was not planned."""
    status: StreamStatus
    """`skipped`: an earlier stream failed, or the run did before this one began."""
    commit_state: CommitState
    """Of the stream as a whole: `after_commit_confirmed` once it is published."""
    safe_to_retry: bool
    """The error's `safe_to_retry`; true where the stream has no error."""
    records_read: int | None
    """Rows of the committed partitions; of a dry run, the rows shown; null where it was skipped or not begun."""
    records_written: int | None
    """Rows published; 0 where none were, also in a dry run; null where it was skipped or not begun."""
    records_rejected: int | None
    """Bad rows set aside, 0 where the load was given up; of a dry run those that would be; null: none judged."""
    bytes_read: int | None
    """Of the committed partitions: COPY payload from a server, Arrow data from files; null where there was none."""
    bytes_written: int | None
    """COPY payload of a stream that was published, else 0; null as `bytes_read`."""
    duration_s: float | None
    """From its first committed partition's start until it was published or given up; null where none was committed."""
    partitions: PartitionCounts | None
    """Null where it was skipped or not begun, and in a dry run."""
    cursor: CursorResult | None
    """Null for a stream that is not incremental."""
    schema_changes: tuple[SchemaChangeResult, ...]
    """How stream and target differ, as planned; empty where they do not, or it was not planned."""
    lossy_columns: tuple[str, ...]
    """Columns whose values may change on the way, as `allow_lossy` permits."""
    warnings: tuple[str, ...]
    """Sentences for the user, each once."""
    checksum: ChecksumResult | None
    """Null without `--checksum`, and where the stream was not published."""
    workers: tuple[WorkerResult, ...]
    """By number; those that committed a partition of this stream."""
    timeline: tuple[TimelineEntry, ...]
    """Its committed partitions, by number."""
    error: ErrorInfo | None
    """Why it failed; null where it did not."""
    sample: SampleRows | None = None
    """The first rows, with `--dry-run` only."""


@frozen
class SampleRows:
    """Rows as a dry run saw them, in the source's own text; null is NULL."""

    columns: tuple[str, ...]
    """Names of the columns in the target."""
    rows: tuple[tuple[str | None, ...], ...]
    """One list a row, in the order of `columns`."""


@frozen
class AdjustmentResult:
    """One change of the number of workers, or why there were no more changes."""

    at_s: float
    """Seconds from the run's start, monotonic clock."""
    workers: int
    """How many there were from then on."""
    reason: str
    """What was measured, as a phrase."""


@frozen
class TuningResult:
    """How many workers the run had, and why: see docs/performance.md."""

    mode: Literal["auto", "explicit"]
    """`explicit`: somebody named the number, which is not changed then."""
    workers_started: int
    """How many it began with."""
    workers_limit: int
    """How many it might have come to have."""
    reason: str
    """Why it began with so many, as a phrase."""
    adjustments: tuple[AdjustmentResult, ...]
    """In the order in which they were made; empty where the number stayed as it was."""


@frozen
class TimeShares:
    """Shares of the workers' time, adding up to 1."""

    source: float
    """Waiting for the source while its server, or its files, had delivered nothing."""
    client: float
    """This process: taking rows off the wire, transforming, encoding, handing bytes on."""
    destination: float
    """Waiting for the destination's socket, and for COMMIT."""


@frozen
class Verdict:
    """What limits this run, and one sentence on what to change.

    Of a run that did not end well it is about what was committed, which takes ten times the work to tell; the summary
    leaves it out then.
    """

    bottleneck: Bottleneck
    """Whose share is the greatest; `balanced` where it leads by less than 0.15."""
    shares: TimeShares
    """Of the committed partitions, without connecting and waiting for work."""
    advice: str
    """One sentence."""


@frozen
class RunResult:
    """A run that has ended, well or not."""

    run_id: str
    """Start in UTC and eight random hexadecimal digits: `20260131T235959Z-0a1b2c3d`."""
    pipeline: str
    """Its name; the file's where the name could not be read."""
    status: RunStatus
    """`partial`: some streams are published and others are not."""
    exit_code: int
    """What the process ends with; 0 is done."""
    dry_run: bool
    """Rows were read and shown, nothing was written."""
    started_at: str
    """ISO 8601, UTC."""
    finished_at: str
    """`started_at` + `duration_s`."""
    duration_s: float
    """Sum of the phases, by the monotonic clock; the start of the process is not in it."""
    attempts: int
    """How often loading began: 1, and once more for each time that the source's snapshot, or a stage, was lost."""
    retry_count: int
    """Partitions, publishes and snapshots that were tried again, also where that was in vain."""
    ddl_race_retries: int
    """How often setup lost a race with another session's DDL, and was tried again."""
    tool: ToolInfo
    """What ran."""
    server: ServerInfo
    """What it ran against."""
    records_read: int
    """Sum over the streams; one that was skipped or not begun adds nothing."""
    records_written: int
    """Sum over the streams: rows that are published."""
    records_rejected: int
    """Sum over the streams."""
    bytes_read: int
    """Sum over the streams."""
    bytes_written: int
    """Sum over the streams."""
    rows_per_s: float | None
    """`records_written` / `duration_s`; null where nothing was written."""
    mb_per_s: float | None
    """`bytes_written` in MiB / `duration_s`; null where nothing was written."""
    phases: Phases
    """Where the leader's time went."""
    cpu: CpuUsage
    """This process and its children over the run; since the process began, where the run could not start."""
    workers: WorkersSummary
    """All workers of the run together."""
    tuning: TuningResult | None
    """How the number of workers came about; null where nothing was planned."""
    streams: tuple[StreamResult, ...]
    """In pipeline order; empty where the pipeline could not be read."""
    verdict: Verdict | None
    """What limited the run; null where too little was loaded to tell: 0.5 s of work, 5 s where it did not end well."""
    warnings: tuple[str, ...]
    """Sentences that concern no single stream."""
    error: ErrorInfo | None
    """The first failure in pipeline order; null where nothing failed."""
    verdict_missing: str | None = None
    """Why there is no verdict, as a sentence; null where there is one, in a dry run, and where no run started."""
    schema_version: int = SCHEMA_VERSION
    """Of this document; it changes when a key is renamed, removed or changes its meaning."""


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
