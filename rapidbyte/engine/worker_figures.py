"""What the workers measured -> the workers' part of the result, of a run and of a stream. Pure."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence

from rapidbyte.contract import WorkerReport
from rapidbyte.metrics import WorkTimes
from rapidbyte.model import session_name
from rapidbyte.result import TimelineEntry, WaitTimes, WorkerResult, WorkersSummary


def _ratio(values: Sequence[float]) -> float | None:
    """Min / max; None where there is nothing to compare."""
    return min(values) / max(values) if values and max(values) > 0 else None


def by_worker(reports: Iterable[WorkerReport]) -> dict[int, list[WorkerReport]]:
    """The workers' reports by their numbers, each worker's in the order of time."""
    grouped: dict[int, list[WorkerReport]] = {}
    for report in sorted(reports, key=lambda report: (report.worker, report.started_s)):
        grouped.setdefault(report.worker, []).append(report)
    return grouped


def lifetime(reports: Sequence[WorkerReport]) -> WorkTimes:
    """One worker's times, in the order of its partitions; the gaps between them are waiting for work."""
    total = WorkTimes()
    for report in reports:
        total = total.plus(report.times)
    gaps = sum(after.started_s - before.ended_s for before, after in itertools.pairwise(reports))
    return total.plus(WorkTimes(wait_queue_s=gaps))


def workers_summary(reports: Sequence[WorkerReport], count: int) -> WorkersSummary:
    """All workers of the run; skews are over those that were given a partition."""
    times = {worker: lifetime(own) for worker, own in by_worker(reports).items()}
    rows = [sum(report.receipt.rows for report in own) for own in by_worker(reports).values()]
    active = sum(each.active_s for each in times.values())
    wait = sum(each.wait_source_s + each.wait_queue_s for each in times.values())
    total = sum(each.total_s for each in times.values())
    return WorkersSummary(
        count=count,
        active_s=active,
        wait_s=wait,
        active_ratio=active / total if total else None,
        rows_min=min(rows, default=None),
        rows_max=max(rows, default=None),
        rows_skew_ratio=_ratio(rows),
        active_skew_ratio=_ratio([each.active_s for each in times.values()]),
    )


def worker_result(pipeline: str, worker: int, reports: Sequence[WorkerReport], started_s: float) -> WorkerResult:
    """One worker's part of one stream."""
    times = lifetime(reports)
    return WorkerResult(
        worker=worker,
        application_name=session_name(f"worker-{worker}", pipeline),
        partitions=len(reports),
        rows=sum(report.receipt.rows for report in reports),
        bytes=sum(report.receipt.bytes for report in reports),
        started_s=reports[0].started_s - started_s,
        ended_s=reports[-1].ended_s - started_s,
        connect_s=times.connect_s,
        wait_s=WaitTimes(source=times.wait_source_s, queue=times.wait_queue_s),
        transform_s=times.transform_s,
        encode_s=times.encode_s,
        write_s=times.write_s,
        commit_s=times.commit_s,
        active_s=times.active_s,
        retries=sum(report.attempts - 1 for report in reports),
    )


def timeline(reports: Sequence[WorkerReport], started_s: float) -> tuple[TimelineEntry, ...]:
    """The committed partitions by number. Seconds from `started_s`, which is the run's start."""
    return tuple(
        TimelineEntry(
            partition=report.receipt.partition,
            worker=report.worker,
            started_s=report.started_s - started_s,
            ended_s=report.ended_s - started_s,
            rows=report.receipt.rows,
            bytes=report.receipt.bytes,
        )
        for report in sorted(reports, key=lambda report: report.receipt.partition)
    )
