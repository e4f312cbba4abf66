"""The charts of the HTML report as SVG text: who worked when, where the time went, how fast it was. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from rapidbyte.report.escape import shown
from rapidbyte.report.summary import byte_size, count, seconds
from rapidbyte.values import frozen

WIDTH = 960
"""Of every chart, in SVG units; the page scales them."""

LABEL_WIDTH = 90
ROW_HEIGHT = 22
MOST_BARS = 4_000
"""Bars of a timeline; those beyond would make a page that no browser likes."""

BUCKETS = 80
"""Points of the throughput chart."""

HUES = 6
"""Colours of the page: classes c0 to c5."""


@frozen
class Bar:
    """One partition on its worker's row. Seconds are from the run's start."""

    worker: int
    started_s: float
    ended_s: float
    rows: int
    bytes: int
    stream: int
    """Index of the stream: its colour."""
    label: str


@frozen
class Share:
    """One part of a whole, in seconds."""

    name: str
    seconds: float


def text(value: str) -> str:
    """Fit for HTML: no markup, no control character, no bidirectional override, no password."""
    return escape(shown(value), quote=True)


def timeline(bars: Sequence[Bar], duration_s: float) -> str:
    """One row for each worker, one bar for each partition; a tooltip names it."""
    workers = sorted({bar.worker for bar in bars})
    if not workers:
        return ""
    span = max([duration_s, *(bar.ended_s for bar in bars)]) or 1.0
    scale = (WIDTH - LABEL_WIDTH) / span
    height = ROW_HEIGHT * len(workers) + 24
    parts = [
        f'<text class="label" x="0" y="{row * ROW_HEIGHT + 15}">worker {worker}</text>'
        for row, worker in enumerate(workers)
    ]
    for bar in bars[:MOST_BARS]:
        x = LABEL_WIDTH + bar.started_s * scale
        width = max(1.0, (bar.ended_s - bar.started_s) * scale - 0.5)
        y = workers.index(bar.worker) * ROW_HEIGHT + 3
        tip = f"{bar.label}: {count(bar.rows)} rows, {byte_size(bar.bytes)}, {seconds(bar.ended_s - bar.started_s)}"
        parts.append(
            f'<rect class="c{bar.stream % HUES}" x="{x:.1f}" y="{y}" width="{width:.1f}" height="{ROW_HEIGHT - 6}">'
            f"<title>{text(tip)}</title></rect>"
        )
    parts += _axis(span, height - 8)
    left_out = f"<p>The first {MOST_BARS} partitions are drawn.</p>" if len(bars) > MOST_BARS else ""
    return _svg(height, parts, "Timeline of the workers") + left_out


def _axis(span: float, y: float) -> list[str]:
    scale = (WIDTH - LABEL_WIDTH) / span
    marks: list[str] = []
    for step in range(5):
        at = span * step / 4
        x = LABEL_WIDTH + at * scale
        anchor = "end" if step == 4 else "middle" if step else "start"
        marks.append(f'<line class="grid" x1="{x:.1f}" y1="0" x2="{x:.1f}" y2="{y - 12}"/>')
        marks.append(f'<text class="axis" x="{x:.1f}" y="{y}" text-anchor="{anchor}">{seconds(at)}</text>')
    return marks


def shares(parts: Sequence[Share], title: str) -> str:
    """One bar of the parts side by side, and a legend with their seconds; parts of no length are in neither."""
    known = [part for part in parts if part.seconds > 0]
    total = sum(part.seconds for part in known)
    if not total:
        return ""
    drawn: list[str] = []
    x = 0.0
    for part in known:
        width = part.seconds / total * WIDTH
        tip = f"{part.name}: {seconds(part.seconds)}, {part.seconds / total:.0%}"
        drawn.append(
            f'<rect class="c{parts.index(part) % HUES}" x="{x:.1f}" y="0" width="{max(0.5, width):.1f}" height="26">'
            f"<title>{text(tip)}</title></rect>"
        )
        x += width
    legend = "".join(
        f'<li><span class="key b{parts.index(part) % HUES}"></span>{text(part.name)} '
        f"{seconds(part.seconds)} ({part.seconds / total:.0%})</li>"
        for part in known
    )
    return _svg(26, drawn, title) + f'<ul class="legend">{legend}</ul>'


def throughput(bars: Sequence[Bar], duration_s: float) -> str:
    """Bytes a second over time: each partition's bytes spread evenly over its own time."""
    rates = spread(bars, duration_s)
    peak = max(rates, default=0.0)
    if not peak:
        return ""
    height, step = 120, (WIDTH - LABEL_WIDTH) / len(rates)
    points = [f"{LABEL_WIDTH},{height}"]
    for index, rate in enumerate(rates):
        y = height - rate / peak * (height - 8)
        points += [f"{LABEL_WIDTH + index * step:.1f},{y:.1f}", f"{LABEL_WIDTH + (index + 1) * step:.1f},{y:.1f}"]
    points.append(f"{WIDTH},{height}")
    span = max([duration_s, *(bar.ended_s for bar in bars)])
    drawn = [
        f'<text class="label" x="0" y="12">{byte_size(round(peak))}/s</text>',
        f'<polygon class="area" points="{" ".join(points)}"/>',
        *_axis(span, height + 14),
    ]
    return _svg(height + 18, drawn, "Throughput over time")


def spread(bars: Sequence[Bar], duration_s: float) -> list[float]:
    """Bytes a second in each of `BUCKETS` equal stretches of the run. Their integral is all bytes of the bars."""
    span = max([duration_s, *(bar.ended_s for bar in bars)], default=0.0)
    if span <= 0:
        return []
    width = span / BUCKETS
    rates = [0.0] * BUCKETS
    for bar in bars:
        # One that took no measurable time is drawn in the stretch in which it began.
        length = max(bar.ended_s - bar.started_s, width / 1_000)
        start = min(bar.started_s, span - length)
        first, last = int(start / width), min(BUCKETS - 1, int((start + length) / width))
        for index in range(max(0, first), last + 1):
            overlap = min(start + length, (index + 1) * width) - max(start, index * width)
            rates[index] += bar.bytes * max(0.0, overlap) / length / width
    return rates


def _svg(height: float, parts: Sequence[str], title: str) -> str:
    return (
        f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{text(title)}">'
        f"<title>{text(title)}</title>{''.join(parts)}</svg>"
    )
