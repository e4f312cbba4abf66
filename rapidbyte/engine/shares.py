"""Whose time the workers' time was. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from rapidbyte.contract import WorkerReport
from rapidbyte.result import TimeShares


def shares(reports: Iterable[WorkerReport]) -> TimeShares | None:
    """Whose time the workers' time was; None where nothing was measured.

    Waiting for the source is the source's share as far as the reading thread itself waited for the server; as far as
    it was busy taking rows off the wire it is the client's. Writing is the destination's as far as its socket took
    nothing, else the client's.
    """
    source = client = destination = 0.0
    for report in reports:
        times, read = report.times, report.read
        reading = read.blocked_s + read.busy_s
        blocked = read.blocked_s / reading if reading else 1.0
        source += times.wait_source_s * blocked
        client += times.wait_source_s * (1 - blocked) + times.transform_s + times.encode_s
        client += times.write_s - report.receipt.write_blocked_s
        destination += report.receipt.write_blocked_s + times.commit_s
    total = source + client + destination
    if total <= 0:
        return None
    return TimeShares(source=source / total, client=client / total, destination=destination / total)
