"""The HTML report: whole, without requests, harmless whatever the document says."""

from __future__ import annotations

import copy
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rapidbyte.errors import ConfigError
from rapidbyte.report.charts import BUCKETS, Bar, spread
from rapidbyte.report.page import report_page
from tests.unit.test_cli import call

EXAMPLE = Path(__file__).parents[2] / "docs" / "result-example.json"
HOSTILE = '</title></style><script>alert(1)</script><img src=x onerror=alert(1)>"\u202e\x1b[2J'
VOID = {"meta", "rect", "line"}


class Page(HTMLParser):
    """Counts what a browser would see; fails where a tag is not closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.names: set[str] = set()
        self.open: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Self-closing ones come here too, by handle_startendtag."""
        self.tags.append(tag)
        self.names |= {name for name, _ in attrs}
        if tag not in VOID or (tag == "rect" and (self.get_starttag_text() or "").endswith("/>") is False):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Nothing stays open."""
        self.tags.append(tag)
        self.names |= {name for name, _ in attrs}

    def handle_endtag(self, tag: str) -> None:
        """The one that was opened last."""
        assert self.open.pop() == tag


def example() -> dict[str, Any]:
    document: dict[str, Any] = json.loads(EXAMPLE.read_text(encoding="utf-8"))
    return document


def test_the_page_shows_the_run() -> None:
    """Verdict, a bar for each partition with its tooltip, phases, streams; no script, no address."""
    page = report_page(example())
    seen = Page(page)
    assert page.count("<rect") >= 2
    assert "flights, partition 0: 42,178 rows" in page
    assert "The destination takes more slowly" in page
    assert "worker 1" in page
    assert set(seen.tags) & {"script", "link", "img", "iframe", "object"} == set()
    assert re.findall(r"https?:|url\(|@import", page) == []
    assert "default-src &#x27;none&#x27;" in page or "default-src 'none'" in page
    assert "prefers-color-scheme:dark" in page


def replaced(document: dict[str, Any], text: str) -> dict[str, Any]:
    """The document with every text replaced but keys."""
    return json.loads(re.sub(r'(?<=: )"[^"\\]*(\\.[^"\\]*)*"', lambda _: json.dumps(text), json.dumps(document)))


def test_hostile_names_stay_text() -> None:
    """Markup, quotes, control and bidirectional characters in every text of the document (G9)."""
    document = replaced(example(), HOSTILE)
    document["error"] = {"message": HOSTILE, "hint": HOSTILE, "stream": HOSTILE}
    document["warnings"] = [HOSTILE]
    page = report_page(document)
    seen = Page(page)
    assert set(seen.tags) & {"script", "img"} == set()
    assert "onerror" not in seen.names
    assert "\u202e" not in page
    assert "\x1b" not in page


def test_a_failed_run_shows_its_error() -> None:
    """Without a verdict, a timeline or figures, as a run ends that never reached a server."""
    document = example()
    document.update(status="failed", verdict=None, records_written=None, rows_per_s=None, exit_code=4)
    document["streams"][0].update(status="failed", timeline=[], workers=[], duration_s=None, publish=None)
    document["error"] = {
        "message": "the disk is full",
        "hint": "make room",
        "afterwards": "as before",
        "sqlstate": "53100",
    }
    page = report_page(document)
    Page(page)
    assert "the disk is full" in page
    assert "make room" in page
    assert "sqlstate 53100" in page
    assert "nothing" not in re.findall(r"<h2>([^<]*)</h2>", page)
    assert "Timeline" not in page


def test_no_advice_stands_beside_an_error() -> None:
    """A run that failed after five seconds of work has a verdict in its result; what there is to mend is the error."""
    document = example()
    advice = document["verdict"]["advice"]
    assert advice in report_page(document)
    document.update(status="failed", exit_code=4, error={"message": "the disk is full"})
    page = report_page(document)
    assert ("the disk is full" in page, advice in page) == (True, False)


junk = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(st.data())
def test_any_document_gives_a_page(data: st.DataObject) -> None:
    """Whatever stands where a figure or a list is due: infinite, negative, of another type."""
    document = copy.deepcopy(example())
    for holder in (document, document["streams"][0], document["streams"][0]["workers"][0], document["phases"]):
        key = data.draw(st.sampled_from(sorted(set(holder) - {"streams", "schema_version"})))
        holder[key] = data.draw(junk)
    document["streams"][0]["timeline"] = [{"worker": data.draw(junk), "started_s": data.draw(junk), "ended_s": 1.0}]
    Page(report_page(document))


@given(
    st.lists(st.tuples(st.floats(0, 100), st.floats(0, 50), st.integers(0, 10**9)), min_size=1, max_size=10),
    st.floats(0, 200),
)
def test_throughput_has_all_bytes(parts: list[tuple[float, float, int]], duration_s: float) -> None:
    """The rates' integral over the run is what the partitions carried."""
    bars = [
        Bar(worker=0, started_s=start, ended_s=start + length, rows=1, bytes=size, stream=0, label="")
        for start, length, size in parts
    ]
    span = max([duration_s, *(bar.ended_s for bar in bars)])
    if span < 1e-6:
        return
    total = sum(spread(bars, duration_s)) * span / BUCKETS
    assert total == pytest.approx(sum(bar.bytes for bar in bars), rel=1e-6, abs=1e-3)


@pytest.mark.parametrize("document", [{}, {"schema_version": 2, "streams": []}, {"schema_version": 1, "streams": 5}])
def test_what_is_no_result_is_refused(document: dict[str, Any]) -> None:
    """Exit 2."""
    with pytest.raises(ConfigError):
        report_page(document)


def test_the_command_writes_the_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One file; nothing on stdout. A file that is no JSON, or is not there, is exit 2, and no page appears."""
    page = tmp_path / "run.html"
    assert call("report", str(EXAMPLE), "--html", str(page)) == 0
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert capsys.readouterr().out == ""
    broken, other = tmp_path / "broken.json", tmp_path / "other.html"
    broken.write_text("{")
    assert call("report", str(broken), "--html", str(other)) == 2
    assert call("report", str(tmp_path / "none.json"), "--html", str(other)) == 2
    assert not other.exists()
