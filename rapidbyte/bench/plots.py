"""A report as pictures: files of SVG that need nothing else. Pure.

The charts of `rapidbyte report` are parts of a page, which has their colours; these stand alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from rapidbyte.bench.figures import PHASES, BenchReport, Line

WIDTH = 860
LEFT = 210
"""Where the bars begin; the names stand before."""

RIGHT = 90
"""For the figure behind a bar."""

ROW = 30
HEAD = 46
FOOT = 26

_STYLE = (
    "text{font:13px system-ui,sans-serif;fill:#222}.t{font-size:15px;font-weight:600}.s{fill:#666;font-size:12px}"
    ".grid{stroke:#ddd}.floor{fill:#9aa5b1}.ours{fill:#2f6fde}.empty,.peer{fill:#c58b2a}.range{stroke:#222}"
    ".line{fill:none;stroke:#2f6fde;stroke-width:2}.pipe{fill:none;stroke:#9aa5b1;stroke-dasharray:5 4}"
    ".p0{fill:#9aa5b1}.p1{fill:#7b61c9}.p2{fill:#3aa0a0}.p3{fill:#2f6fde}.p4{fill:#c58b2a}.p5{fill:#b5484b}"
)


def plots(report: BenchReport) -> Mapping[str, str]:
    """File name to SVG: throughput, and where there is something to draw, phases and scaling."""
    stem = f"{report.mode}-{report.profile}"
    drawn = {
        f"{stem}-throughput.svg": throughput(report),
        f"{stem}-phases.svg": phases(report),
        f"{stem}-scaling.svg": scaling(report),
    }
    return {name: picture for name, picture in drawn.items() if picture}


def _subtitle(report: BenchReport) -> str:
    return f"{report.rows:,} rows, median of {report.iterations}, {report.server}, {report.cores} cores"


def throughput(report: BenchReport) -> str:
    """A bar for each contender: rows a second of the median; a line from its slowest to its fastest iteration."""
    lines = [each for each in report.lines if each.rows_per_s > 0]
    most = max((report.rows / each.wall_min_s for each in lines), default=0.0)
    if not most:
        return ""
    scale = (WIDTH - LEFT - RIGHT) / most
    parts: list[str] = []
    for row, each in enumerate(lines):
        y = HEAD + row * ROW
        width = each.rows_per_s * scale
        low, high = (LEFT + report.rows / wall * scale for wall in (each.wall_max_s, each.wall_min_s))
        parts += [
            _name(each.contender, y),
            f'<rect class="{each.role}" x="{LEFT}" y="{y + 5}" width="{width:.1f}" height="{ROW - 10}"/>',
            f'<line class="range" x1="{low:.1f}" y1="{y + 15}" x2="{high:.1f}" y2="{y + 15}"/>',
            f'<text x="{high + 6:.1f}" y="{y + 19}">{_short(each.rows_per_s)}</text>',
        ]
    return _svg(HEAD + len(lines) * ROW + 8, f"{report.mode}, {report.profile}: rows a second", report, parts)


def phases(report: BenchReport) -> str:
    """A bar for each of our contenders, of its phases side by side, in seconds."""
    lines = [each for each in report.lines if each.phases is not None]
    most = max((sum((each.phases or {}).values()) for each in lines), default=0.0)
    if not most:
        return ""
    scale = (WIDTH - LEFT - RIGHT) / most
    parts: list[str] = []
    for row, each in enumerate(lines):
        y = HEAD + row * ROW
        parts += [_name(each.contender, y), *_phase_bars(each, y, scale)]
    bottom = HEAD + len(lines) * ROW
    for place, phase in enumerate(PHASES):
        x = LEFT + place * 100
        parts.append(f'<rect class="p{place}" x="{x}" y="{bottom + 8}" width="12" height="12"/>')
        parts.append(f'<text class="s" x="{x + 17}" y="{bottom + 18}">{phase.removesuffix("_s")}</text>')
    return _svg(bottom + FOOT, f"{report.mode}, {report.profile}: seconds by phase", report, parts)


def _phase_bars(each: Line, y: float, scale: float) -> list[str]:
    parts: list[str] = []
    x, total = float(LEFT), 0.0
    for place, phase in enumerate(PHASES):
        seconds = (each.phases or {}).get(phase, 0.0)
        parts.append(
            f'<rect class="p{place}" x="{x:.1f}" y="{y + 5}" width="{seconds * scale:.1f}" height="{ROW - 10}">'
            f"<title>{phase.removesuffix('_s')} {seconds:.2f} s</title></rect>"
        )
        x, total = x + seconds * scale, total + seconds
    return [*parts, f'<text x="{x + 6:.1f}" y="{y + 19}">{total:.2f} s</text>']


def scaling(report: BenchReport) -> str:
    """Rows a second over the number of workers, a line for each kind of contender; dashed for the floor."""
    kinds = _kinds(report)
    if not any(lines[0].role == "ours" for lines in kinds.values()):
        return ""
    workers = sorted({each.workers for lines in kinds.values() for each in lines})
    most = max(each.rows_per_s for lines in kinds.values() for each in lines)
    height = 240
    step = (WIDTH - LEFT - RIGHT) / (workers[-1] - workers[0])

    def place(each: Line) -> tuple[float, float]:
        return LEFT + (each.workers - workers[0]) * step, HEAD + height - each.rows_per_s / most * (height - 30)

    parts = [
        f'<text class="s" x="{LEFT + (count - workers[0]) * step:.1f}" y="{HEAD + height + 16}">{count}</text>'
        for count in workers
    ]
    for kind, lines in kinds.items():
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in map(place, lines))
        x, y = place(lines[-1])
        parts += [
            f'<polyline class="{"line" if lines[0].role == "ours" else "pipe"}" points="{points}"/>',
            f'<text x="{x:.1f}" y="{y - 8:.1f}" text-anchor="end">{escape(kind)}</text>',
            f'<text x="{x + 6:.1f}" y="{y + 4:.1f}">{_short(lines[-1].rows_per_s)}</text>',
        ]
    parts.append(f'<line class="grid" x1="{LEFT}" y1="{HEAD + height}" x2="{WIDTH - RIGHT}" y2="{HEAD + height}"/>')
    return _svg(HEAD + height + FOOT, f"{report.mode}, {report.profile}: rows a second over workers", report, parts)


def _kinds(report: BenchReport) -> Mapping[str, Sequence[Line]]:
    """Contenders that took part with several numbers of workers, under the name without the number."""
    kinds: dict[str, list[Line]] = {}
    for each in report.lines:
        if each.role in ("ours", "floor"):
            kinds.setdefault(each.contender.rpartition(",")[0], []).append(each)
    return {
        kind: sorted(lines, key=lambda each: each.workers)
        for kind, lines in kinds.items()
        if len({each.workers for each in lines}) > 1
    }


def _name(name: str, y: float) -> str:
    return f'<text x="{LEFT - 8}" y="{y + 19}" text-anchor="end">{escape(name)}</text>'


def _short(rate: float) -> str:
    """1,234,567 as 1.23 M."""
    if rate >= 1_000_000:
        return f"{rate / 1_000_000:.2f} M"
    return f"{rate / 1_000:.0f} k" if rate >= 10_000 else f"{rate:,.0f}"


def _svg(height: float, title: str, report: BenchReport, parts: Sequence[str]) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        f'role="img"><title>{escape(title)}</title><style>{_STYLE}</style>'
        f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>'
        f'<text class="t" x="8" y="20">{escape(title)}</text>'
        f'<text class="s" x="8" y="38">{escape(_subtitle(report))}</text>{"".join(parts)}</svg>\n'
    )
