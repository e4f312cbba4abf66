"""A run's result for a reader in a hurry: a table of streams, and the sentences under it. Pure, without rich."""

from __future__ import annotations

from rapidbyte.report.escape import shown
from rapidbyte.report.failure import EXIT_WORDS
from rapidbyte.result import RunResult, SampleRows, StreamResult
from rapidbyte.values import frozen

UNKNOWN = "-"
STREAM_HEADINGS = ("stream", "target", "rows", "bytes", "time", "rows/s", "publish", "wire", "status")
NUMERIC_HEADINGS = frozenset({"rows", "bytes", "time", "rows/s"})

_LEAST_MISSED = ("wire", "rows/s", "publish", "bytes")
"""Columns that a narrow terminal is spared, the first one first."""
_BETWEEN_CELLS = 3
"""Blanks and a line between two cells."""
_ROWS_PER_SAMPLE = 10
_CELL_WIDTH = 40


@frozen
class TableView:
    """A table as text; every cell is fit for a terminal."""

    title: str
    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@frozen
class Summary:
    """What is shown of a run."""

    streams: TableView
    samples: tuple[TableView, ...]
    """First rows of each stream, of a dry run."""
    lines: tuple[str, ...]


def summarize(result: RunResult, *, verbose: bool = False) -> Summary:
    """The whole summary. Figures that are not known show as `-`; `verbose` tells why there were so many workers."""
    return Summary(
        streams=TableView(
            title=_title(result),
            headings=STREAM_HEADINGS,
            rows=tuple(_stream_row(stream, dry_run=result.dry_run) for stream in result.streams),
        ),
        samples=tuple(
            _sample_view(stream.name, stream.sample) for stream in result.streams if stream.sample is not None
        ),
        lines=tuple(_lines(result, verbose=verbose)),
    )


def narrowed(view: TableView, width: int) -> TableView:
    """The table without what is least missed, as far as its lines would not fit into so many columns. Pure.

    The JSON document has it all; a table whose cells are folded is hard to read.
    """
    for heading in _LEAST_MISSED:
        needed = sum(max(map(len, cells)) for cells in zip(view.headings, *view.rows, strict=True))
        if needed + _BETWEEN_CELLS * len(view.headings) <= width:
            break
        if heading in view.headings:
            view = _without(view, view.headings.index(heading))
    return view


def _without(view: TableView, place: int) -> TableView:
    rows = tuple((*row[:place], *row[place + 1 :]) for row in view.rows)
    return TableView(title=view.title, headings=(*view.headings[:place], *view.headings[place + 1 :]), rows=rows)


def _title(result: RunResult) -> str:
    what = "dry run" if result.dry_run else "run"
    return f"{shown(result.pipeline)}: {what} {result.status} in {seconds(result.duration_s)}"


def _stream_row(stream: StreamResult, *, dry_run: bool) -> tuple[str, ...]:
    rows = stream.records_read if dry_run else stream.records_written
    size = stream.bytes_read if dry_run else stream.bytes_written
    return (
        shown(stream.name),
        shown(stream.target),
        count(rows),
        byte_size(size),
        seconds(stream.duration_s),
        count(_rate(rows, stream.duration_s)),
        stream.publish or UNKNOWN,
        stream.wire or UNKNOWN,
        stream.status,
    )


def _sample_view(name: str, sample: SampleRows) -> TableView:
    cells = tuple(tuple(_cell(value) for value in row) for row in sample.rows[:_ROWS_PER_SAMPLE])
    return TableView(
        title=f"{shown(name)}: the first {len(cells)} rows",
        headings=tuple(shown(column) for column in sample.columns),
        rows=cells,
    )


def _cell(value: str | None) -> str:
    if value is None:
        return "NULL"
    text = shown(value)
    return text if len(text) <= _CELL_WIDTH else f"{text[: _CELL_WIDTH - 3]}..."


def _lines(result: RunResult, *, verbose: bool) -> list[str]:
    lines = [_totals(result)]
    lines += [_workers(result), _phases(result)] if result.streams else []
    lines += _tuning(result) if verbose else []
    lines += _verdict(result) if result.error is None else []  # else it is the error that there is to mend
    lines += [_checksum(stream) for stream in result.streams if stream.checksum is not None]
    lines.append(_exit(result))
    return lines


def _verdict(result: RunResult) -> list[str]:
    if result.verdict is not None:
        return [f"verdict: {result.verdict.bottleneck}. {shown(result.verdict.advice)}"]
    return [] if result.verdict_missing is None else [f"verdict: none: {shown(result.verdict_missing)}"]


def _exit(result: RunResult) -> str:
    """The code, what it means in a word, and which error it was."""
    word = EXIT_WORDS.get(result.exit_code, "unknown")
    code = f" ({shown(result.error.code)})" if result.error is not None else ""
    return f"exit {result.exit_code}: {word}{code}"


def _totals(result: RunResult) -> str:
    rows = result.records_read if result.dry_run else result.records_written
    size = result.bytes_read if result.dry_run else result.bytes_written
    done = "read" if result.dry_run else "written"
    rate = f", {count(result.rows_per_s)} rows/s" if result.rows_per_s is not None else ""
    speed = f", {result.mb_per_s:.1f} MB/s" if result.mb_per_s is not None else ""
    would = "would be " if result.dry_run else ""
    aside = f", {count(result.records_rejected)} {would}set aside" if result.records_rejected else ""
    return f"total: {count(rows)} rows {done}{aside}, {byte_size(size)}{rate}{speed}"


def _workers(result: RunResult) -> str:
    workers = result.workers
    ratio = "" if workers.active_ratio is None else f" ({workers.active_ratio:.0%} active)"
    skew = "" if workers.rows_skew_ratio is None else f", balance {workers.rows_skew_ratio:.2f}"
    busy = f"active {seconds(workers.active_s)}, waiting {seconds(workers.wait_s)}{ratio}{skew}"
    cpu = f"cpu {seconds(result.cpu.process_cpu_s)}, peak memory {result.cpu.peak_rss_mb:.0f} MB"
    return f"workers: {workers.count}, {busy}; {cpu}"


def _tuning(result: RunResult) -> list[str]:
    """The number of workers: chosen why, changed when and why."""
    tuning = result.tuning
    if tuning is None:
        return []
    words = (f"workers began as {tuning.workers_started}", f"at most {tuning.workers_limit}", shown(tuning.reason))
    later = [
        f"tuning: {each.workers} workers after {seconds(each.at_s)}: {shown(each.reason)}"
        for each in tuning.adjustments
    ]
    return [f"tuning: {', '.join(words)}", *later]


def _phases(result: RunResult) -> str:
    phases = result.phases
    parts = (
        ("preflight", phases.preflight_s),
        ("prepare", phases.prepare_s),
        ("load", phases.load_s),
        ("finalize", phases.finalize_s),
        ("cleanup", phases.cleanup_s),
    )
    return "phases: " + ", ".join(f"{name} {seconds(value)}" for name, value in parts)


def _checksum(stream: StreamResult) -> str:
    match = stream.checksum.match if stream.checksum is not None else None
    word = {True: "equal", False: "DIFFERENT", None: "not known"}[match]
    return f"checksum of {shown(stream.name)}: {word}"


def _rate(rows: int | None, duration_s: float | None) -> float | None:
    return None if rows is None or not duration_s else rows / duration_s


def count(value: float | None) -> str:
    """`1,234,567`; `-` where it is not known."""
    return UNKNOWN if value is None else f"{value:,.0f}"


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """`1 row`, `2 rows`."""
    return f"{count(number)} {noun if number == 1 else plural or noun + 's'}"


def seconds(value: float | None) -> str:
    """`0.42 s`, `12.3 s`, `3m05s`, `2h03m`; `-` where it is not known."""
    if value is None:
        return UNKNOWN
    if value < 9.995:
        return f"{value:.2f} s"
    if value < 59.95:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    if minutes < 60:
        return f"{minutes}m{rest:02d}s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02d}m"


def byte_size(value: int | None) -> str:
    """`512 B`, `1.5 KB`, `64.0 MB`, in powers of 1024; `-` where it is not known."""
    if value is None:
        return UNKNOWN
    if value < 1024:
        return f"{value} B"
    size = float(value)
    for unit in ("KB", "MB", "GB"):
        size /= 1024
        if size < 1023.95:
            return f"{size:.1f} {unit}"
    return f"{size / 1024:.1f} TB"
