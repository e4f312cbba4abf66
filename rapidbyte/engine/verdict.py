"""What limited a run, and one sentence on what to change. Pure: from what the workers measured on both sides."""

from __future__ import annotations

from collections.abc import Sequence

from rapidbyte.contract import WorkerReport
from rapidbyte.engine.shares import shares
from rapidbyte.result import Bottleneck, Phases, Verdict
from rapidbyte.values import frozen

CLEAR_LEAD = 0.15
"""A share that leads the next one by less is called balanced: two runs of the same load differ by about 0.1."""

TELLING_SECONDS = 0.5
"""Worker time, all together. Of less, connecting and the servers' caches are what was measured."""

TELLING_SECONDS_OF_A_PART = 5.0
"""The same of a load that did not end: its first partitions meet cold caches, and not all of the rows."""

WIDE_ROW_BYTES = 2_000
"""The server compresses what it can of rows about this wide, and moves it out (TOAST)."""

BUSY_CORES = 0.85
"""Share of the cores this process may use; beyond it there is none for another worker."""


@frozen
class Surroundings:
    """What an advice is given from, beside the workers' times."""

    workers: int
    """That the run came to have."""
    partitions: int
    """Of all streams together."""
    cores: int
    """That this process may use."""
    busy_cores: float
    """Share of them that this process used."""
    phases: Phases
    has_ended: bool = True
    """Everything was loaded and published."""
    direct: bool = False
    """A stream was written straight into its target, with its indexes and triggers."""
    from_server: bool = True
    """The source is a server, and no files."""
    toast_compression: str = ""
    """By which the destination compresses wide values."""


def why_no_verdict(reports: Sequence[WorkerReport], *, has_ended: bool) -> str | None:
    """A sentence where what was measured tells nothing; None where there is a verdict."""
    if not sum(report.receipt.rows for report in reports):
        return "no row was loaded"
    spent_s = sum(report.times.wait_source_s + report.times.active_s for report in reports)
    if spent_s < (TELLING_SECONDS if has_ended else TELLING_SECONDS_OF_A_PART):
        what = "the workers had" if has_ended else "the run did not end well, and the partitions it committed were"
        return f"{what} {spent_s:.2f} s of work, which is too short to tell what limits a load"
    return None


def verdict(reports: Sequence[WorkerReport], around: Surroundings) -> Verdict | None:
    """What limited the run, by the greatest share of the workers' time; None where that tells nothing."""
    found = None if why_no_verdict(reports, has_ended=around.has_ended) else shares(reports)
    if found is None:
        return None
    ranked: list[tuple[float, Bottleneck]] = sorted(
        ((found.source, "source"), (found.client, "client"), (found.destination, "destination")), reverse=True
    )
    bottleneck: Bottleneck = ranked[0][1] if ranked[0][0] - ranked[1][0] >= CLEAR_LEAD else "balanced"
    return Verdict(bottleneck=bottleneck, shares=found, advice=_advice(bottleneck, reports, around))


def _advice(bottleneck: Bottleneck, reports: Sequence[WorkerReport], around: Surroundings) -> str:
    phases = around.phases
    if around.has_ended and phases.finalize_s > phases.load_s:
        return (
            f"Publishing took {phases.finalize_s:.1f} s and loading {phases.load_s:.1f} s: the target's indexes and "
            "constraints, and the publish method, count for more than anything before."
        )
    if bottleneck == "source":
        return _of_source(around)
    if bottleneck == "client":
        return _of_client(reports, around)
    if bottleneck == "destination":
        return _of_destination(reports, around)
    return f"No side waits for another: {_more_workers(around)}."


def _of_source(around: Surroundings) -> str:
    if not around.from_server:
        return "The files arrive more slowly than they are written: look at the disk or the network they come over."
    slow = "The source delivers more slowly than the destination takes: "
    if around.partitions < around.workers:
        return (
            f"{slow}only {around.partitions} of {around.workers} workers had a part of it to read; a `partition_key` "
            "splits a query or view, a smaller `checkpoint_interval_bytes` a table."
        )
    return f"{slow}{_more_workers(around)}; else read fewer columns or rows, and look at its CPU, disk and network."


def _of_client(reports: Sequence[WorkerReport], around: Surroundings) -> str:
    transform_s = sum(report.times.transform_s for report in reports)
    encode_s = sum(report.times.encode_s for report in reports)
    reading_s = sum(report.times.wait_source_s for report in reports)
    where = max((transform_s, "in transforms"), (encode_s, "in encoding rows"), (reading_s, "in reading rows"))
    what = "simplify them" if where[1] == "in transforms" else "give it faster cores, or a machine of its own"
    if around.busy_cores >= BUSY_CORES:
        return f"This process is the limit, most of it {where[1]}, and its {around.cores} cores are busy: {what}."
    return f"This process is the limit, most of it {where[1]}: {what}; {_more_workers(around)}."


def _of_destination(reports: Sequence[WorkerReport], around: Surroundings) -> str:
    slow = "The destination takes more slowly than the source delivers"
    rows, size = sum(report.receipt.rows for report in reports), sum(report.receipt.bytes for report in reports)
    if size >= WIDE_ROW_BYTES * rows and around.toast_compression == "pglz":
        return (
            f"{slow}, and what it does with wide values is mostly to compress them by pglz: with `ALTER DATABASE ..."
            " SET default_toast_compression = 'lz4'` there it took a third of the CPU; more workers help as well"
            " while it has idle cores."
        )
    commit_s = sum(report.times.commit_s for report in reports)
    blocked_s = sum(report.receipt.write_blocked_s for report in reports)
    if commit_s > blocked_s:
        return (
            f"{slow}, most of it at the end of a COPY and in COMMIT: look at its disk and WAL; a larger "
            "`checkpoint_interval_bytes` commits less often."
        )
    attached = ", and at indexes and triggers of the target" if around.direct else ""
    return f"{slow}: look at its CPU, disk and WAL, and at the network to it{attached}; more workers rarely help."


def _more_workers(around: Surroundings) -> str:
    """Whether more workers could help, as far as this side can tell."""
    if around.busy_cores >= BUSY_CORES:
        return f"this process keeps its {around.cores} cores busy, so more workers would not help"
    if around.partitions <= around.workers:
        return f"with {around.partitions} partitions, more than {around.workers} workers would have nothing to do"
    return f"more workers than {around.workers} help while both servers have idle cores"
