"""Pictures of a report: SVG files that stand alone."""

from __future__ import annotations

from xml.etree import ElementTree

from rapidbyte.bench.contest import ONE_PIPE
from rapidbyte.bench.plots import plots
from tests.kit.bench_reports import report

SVG = "{http://www.w3.org/2000/svg}"


def bars(picture: str, kind: str) -> list[float]:
    """Widths of the bars of a class."""
    return [
        float(each.get("width", "0"))
        for each in ElementTree.fromstring(picture).iter(f"{SVG}rect")
        if each.get("class") == kind
    ]


def test_each_picture_is_well_formed_and_needs_nothing_else() -> None:
    """No script, no font, no address but the name space; names are escaped."""
    drawn = plots(report({ONE_PIPE: (1.0,), "a <b> & c, 1 worker": (2.0,), "a <b> & c, 2 workers": (1.5,)}))
    assert list(drawn) == ["copy-small-throughput.svg", "copy-small-phases.svg", "copy-small-scaling.svg"]
    for picture in drawn.values():
        assert ElementTree.fromstring(picture).tag == f"{SVG}svg"
        assert picture.count("http") == 1
        assert "script" not in picture


def test_bars_are_as_long_as_the_rates() -> None:
    """Half as fast is half as long."""
    picture = plots(report({ONE_PIPE: (1.0,), "x, 2 workers": (2.0,)}))["copy-small-throughput.svg"]
    (floor,), (ours,) = bars(picture, "floor"), bars(picture, "ours")
    assert abs(floor / ours - 2) < 0.01


def test_phases_of_a_run_fill_its_bar() -> None:
    """Each as long as its seconds: 0.5 s of start, 2 s of load."""
    picture = plots(report({"x, 2 workers": (3.0,)}))["copy-small-phases.svg"]
    start, load = bars(picture, "p0")[0], bars(picture, "p3")[0]
    assert abs(load / start - 4) < 0.01


def test_what_there_is_nothing_to_draw_of_is_left_out() -> None:
    """One number of workers has no scaling, psql alone no phases."""
    assert list(plots(report({"x, 2 workers": (3.0,)}))) == ["copy-small-throughput.svg", "copy-small-phases.svg"]
    assert list(plots(report({ONE_PIPE: (3.0,)}))) == ["copy-small-throughput.svg"]
