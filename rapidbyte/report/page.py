"""The HTML report of a run: one page without any request to a network, from the JSON result. Pure.

The document may come from anywhere, so nothing in it is trusted: every text is escaped, every figure is looked at.
The page's own policy forbids scripts and requests, should one slip through.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, cast

from rapidbyte.errors import ConfigError
from rapidbyte.report.charts import Bar, Share, shares, text, throughput, timeline
from rapidbyte.report.summary import byte_size, count, seconds

Document = Mapping[str, Any]

_STYLE = """
:root{--bg:#fff;--fg:#1b1f24;--soft:#59636e;--line:#d1d9e0;--card:#f6f8fa;--bad:#b42318;--good:#1a7f37;
--c0:#3b6fd4;--c1:#d97706;--c2:#0f8a7e;--c3:#b4459e;--c4:#6b7280;--c5:#8a9a1c}
@media (prefers-color-scheme:dark){:root{--bg:#0d1117;--fg:#e6edf3;--soft:#9198a1;--line:#3d444d;--card:#151b23;
--bad:#ff7b72;--good:#3fb950;--c0:#6ea0ff;--c1:#f0a848;--c2:#3cc4b5;--c3:#e07acb;--c4:#9ca3af;--c5:#c0d040}}
:root{color-scheme:light dark}
body{margin:0 auto;max-width:1000px;padding:24px;background:var(--bg);color:var(--fg);
font:15px/1.5 system-ui,sans-serif}
h1{font-size:22px;margin:0}h2{font-size:16px;margin:28px 0 8px}p{margin:6px 0}
.soft,.axis{color:var(--soft);fill:var(--soft)}.bad{color:var(--bad)}.good{color:var(--good)}
.error{border-left:4px solid var(--bad);background:var(--card);padding:8px 14px;overflow-wrap:anywhere}
table{border-collapse:collapse;width:100%}.wide{overflow-x:auto}
th,td{padding:4px 10px 4px 0;text-align:left;border-bottom:1px solid var(--line);overflow-wrap:anywhere}
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}
svg{width:100%;height:auto;display:block}.label,.axis{font:11px system-ui,sans-serif}.label{fill:var(--fg)}
.grid{stroke:var(--line)}.area{fill:var(--c0);opacity:.8}
.legend{list-style:none;padding:0;margin:6px 0;display:flex;flex-wrap:wrap;gap:4px 18px}
.key{display:inline-block;width:11px;height:11px;margin-right:6px}
""" + "".join(f".c{i}{{fill:var(--c{i})}}.b{i}{{background:var(--c{i})}}" for i in range(6))

_TIMES = (
    ("waiting for the source", ("wait_s", "source")),
    ("waiting for the queue", ("wait_s", "queue")),
    ("connecting", ("connect_s",)),
    ("transforming and encoding", ("transform_s",)),
    ("writing", ("write_s",)),
    ("committing", ("commit_s",)),
)


def report_page(document: Document) -> str:
    """The whole page. Raises ConfigError for a document that is no result of a run."""
    if document.get("schema_version") != 1 or not isinstance(document.get("streams"), list):
        raise ConfigError(
            "this is no result of a run",
            code="result_invalid",
            hint="`rapidbyte run --result FILE` writes one, and `rapidbyte runs show ID` prints one",
        )
    streams = _mappings(document.get("streams"))
    duration_s = number(document.get("duration_s"))
    bars = [bar for index, stream in enumerate(streams) for bar in _bars(index, stream)]
    title = text(f"{word(document.get('pipeline'))}: {word(document.get('status'))}")
    sections = [
        _header(document),
        _error(_mapping(document.get("error")), "error"),
        _verdict(_mapping(document.get("verdict"))) if not document.get("error") else "",  # it is what there is to mend
        _section("Phases", shares(_phases(_mapping(document.get("phases"))), "Phases")),
        _section("What the workers did", shares(_times(streams), "What the workers did")),
        _section("Timeline", timeline(bars, duration_s) + _legend(streams)) if bars else "",
        _section("Throughput", throughput(bars, duration_s)),
        _section("Streams", _stream_table(streams)),
        _section("Warnings", _warnings(document, streams)),
    ]
    policy = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title}</title><style>{_STYLE}</style></head><body>\n"
        + "\n".join(section for section in sections if section)
        + "\n</body></html>\n"
    )


def _header(document: Document) -> str:
    status = word(document.get("status"))
    tone = "good" if status == "succeeded" else "bad"
    what = "dry run" if document.get("dry_run") is True else "run"
    cpu = _mapping(document.get("cpu"))
    server = _mapping(document.get("server"))
    facts = (
        f"{count(known(document.get('records_written')))} rows written in {seconds(known(document.get('duration_s')))}",
        byte_size(whole(document.get("bytes_written"))),
        f"{count(known(document.get('rows_per_s')))} rows/s",
        f"CPU {seconds(known(cpu.get('process_cpu_s')))}",
        f"peak memory {count(known(cpu.get('peak_rss_mb')))} MB",
        f"{count(known(document.get('retry_count')))} retries",
    )
    origin = (
        f"{what} {word(document.get('run_id'))}, started {word(document.get('started_at'))}; "
        f"source {word(server.get('source'))}, destination {word(server.get('destination'))}; "
        f"exit {count(known(document.get('exit_code')))}"
    )
    return (
        f'<h1>{text(word(document.get("pipeline")))}: <span class="{tone}">{text(status)}</span></h1>'
        f'<p class="soft">{text(origin)}</p><p>{text("; ".join(facts))}</p>'
    )


def _error(error: Document, label: str) -> str:
    if not error:
        return ""
    where = [
        f"{name} {word(error.get(name))}"
        for name in ("stream", "table", "column", "worker", "partition", "line", "sqlstate")
        if error.get(name) is not None
    ]
    lines = [f"<p><strong>{label}:</strong> {text(word(error.get('message')))}</p>"]
    lines += [f'<p class="soft">{text(", ".join(where))}</p>'] if where else []
    lines += [f"<p>{name}: {text(word(error.get(name)))}</p>" for name in ("hint", "afterwards") if error.get(name)]
    return f'<div class="error">{"".join(lines)}</div>'


def _verdict(verdict: Document) -> str:
    if not verdict:
        return ""
    return f"<p><strong>{text(word(verdict.get('bottleneck')))}.</strong> {text(word(verdict.get('advice')))}</p>"


def _section(title: str, content: str) -> str:
    return f'<h2>{text(title)}</h2><div class="wide">{content}</div>' if content else ""


def _phases(phases: Document) -> tuple[Share, ...]:
    names = ("preflight", "prepare", "load", "finalize", "cleanup")
    return tuple(Share(name=name, seconds=number(phases.get(f"{name}_s"))) for name in names)


def _times(streams: list[Document]) -> tuple[Share, ...]:
    workers = [worker for stream in streams for worker in _mappings(stream.get("workers"))]
    found: list[Share] = []
    for name, path in _TIMES:
        total = sum(_at(worker, path) for worker in workers)
        if path == ("transform_s",):
            total += sum(number(worker.get("encode_s")) for worker in workers)
        found.append(Share(name=name, seconds=total))
    return tuple(found)


def _at(worker: Document, path: tuple[str, ...]) -> float:
    holder = worker if len(path) == 1 else _mapping(worker.get(path[0]))
    return number(holder.get(path[-1]))


def _bars(index: int, stream: Document) -> list[Bar]:
    name = word(stream.get("name"))
    return [
        Bar(
            worker=whole(each.get("worker")) or 0,
            started_s=number(each.get("started_s")),
            ended_s=max(number(each.get("started_s")), number(each.get("ended_s"))),
            rows=whole(each.get("rows")) or 0,
            bytes=whole(each.get("bytes")) or 0,
            stream=index,
            label=f"{name}, partition {count(known(each.get('partition')))}",
        )
        for each in _mappings(stream.get("timeline"))
    ]


def _legend(streams: list[Document]) -> str:
    items = "".join(
        f'<li><span class="key b{index % 6}"></span>{text(word(stream.get("name")))}</li>'
        for index, stream in enumerate(streams)
        if stream.get("timeline")
    )
    return f'<ul class="legend">{items}</ul>'


def _stream_table(streams: list[Document]) -> str:
    if not streams:
        return ""
    numeric = {"rows", "bytes", "time"}
    names = ("stream", "target", "status", "rows", "bytes", "time", "publish", "wire")
    head = "".join(f'<th class="n">{name}</th>' if name in numeric else f"<th>{name}</th>" for name in names)
    return f"<table><tr>{head}</tr>{''.join(map(_stream_row, streams))}</table>"


def _stream_row(stream: Document) -> str:
    status = word(stream.get("status"))
    tone = {"succeeded": "good", "failed": "bad"}.get(status, "soft")
    error = _error(_mapping(stream.get("error")), "error")
    cells = (
        f"<td>{text(word(stream.get('name')))}</td><td>{text(word(stream.get('target')))}</td>"
        f'<td class="{tone}">{text(status)}</td>'
        f'<td class="n">{count(known(stream.get("records_written")))}</td>'
        f'<td class="n">{byte_size(whole(stream.get("bytes_written")))}</td>'
        f'<td class="n">{seconds(known(stream.get("duration_s")))}</td>'
        f"<td>{text(word(stream.get('publish')))}</td><td>{text(word(stream.get('wire')))}</td>"
    )
    return f"<tr>{cells}</tr>" + (f'<tr><td colspan="8">{error}</td></tr>' if error else "")


def _warnings(document: Document, streams: list[Document]) -> str:
    told = [*_words(document.get("warnings"))]
    told += [f"{word(stream.get('name'))}: {line}" for stream in streams for line in _words(stream.get("warnings"))]
    return f"<ul>{''.join(f'<li>{text(line)}</li>' for line in dict.fromkeys(told))}</ul>" if told else ""


def known(value: Any) -> float | None:
    """A finite number, not below 0; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) and 0 <= value < 1e18 else None


def number(value: Any) -> float:
    """The same; 0 for anything else."""
    return known(value) or 0.0


def whole(value: Any) -> int | None:
    """The same as a whole number."""
    found = known(value)
    return None if found is None else int(found)


def word(value: Any) -> str:
    """Any value as text; `-` where there is none."""
    return "-" if value is None else str(value)


def _mapping(value: Any) -> Document:
    return cast("Document", value) if isinstance(value, Mapping) else {}


def _mappings(value: Any) -> list[Document]:
    return [each for each in cast("list[Any]", value) if isinstance(each, Mapping)] if isinstance(value, list) else []


def _words(value: Any) -> list[str]:
    return [word(each) for each in cast("list[Any]", value)] if isinstance(value, list) else []
