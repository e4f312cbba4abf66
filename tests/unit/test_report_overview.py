"""Plans, checks and streams as text; streams as YAML that reads back as the very same names."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from rapidbyte.config import load
from rapidbyte.engine.preflight import preflight
from rapidbyte.plan import CheckItem, CheckReport, SchemaChange, StreamShape
from rapidbyte.ports import Runtime
from rapidbyte.rejects import RejectPolicy
from rapidbyte.report.document import plan_document
from rapidbyte.report.overview import check_text, plan_text, streams_text, streams_yaml, yaml_text
from rapidbyte.spec import Hooks, RunOptions, StreamSpec
from tests import fakes
from tests.fakes import FakeLeader, FakeSource, pipeline_spec


def shape(name: str, **changes: object) -> StreamShape:
    (found,) = FakeSource(1).describe((StreamSpec(name=name),))
    return replace(found, **changes)


def test_the_plan_reads_stream_by_stream() -> None:
    """Target, method and why, wire, statements, drift, warnings."""
    runtime = Runtime(
        source=FakeSource(1),
        leader=FakeLeader(),
        write=fakes.write,
        options=RunOptions(workers=2),
        observe=lambda event: None,
    )
    plan = preflight(pipeline_spec("a"), runtime)
    change = SchemaChange(
        kind="add_column", column="new", after="text", statement='ALTER TABLE "raw"."a" ADD COLUMN "new" text'
    )
    stream = replace(
        plan.streams[0], statements=("CREATE TABLE x\n(id bigint)",), schema_changes=(change,), warnings=("slow",)
    )
    assert plan_text(replace(plan, streams=(stream,))) == (
        "pipeline shop: PostgreSQL 17.0 -> PostgreSQL 18.0\n"
        "workers: 2 (as asked for)\n"
        "hand-over: 256.0 KB blocks, 4.0 MB a worker at most\n"
        "\n"
        "a -> raw.a (exists)\n"
        "  table, 1000 B; one partition, 125 B each at most\n"
        "  replace, published by swap: because\n"
        "  wire: binary-relay\n"
        "  bad rows: the first one ends the load (on_data_error: fail)\n"
        "  CREATE TABLE x\n"
        "  (id bigint)\n"
        "  drift: add_column new text\n"
        "  warning: slow\n"
    )


@pytest.mark.parametrize("title", ["files", "SQLite", "DuckDB"])
def test_a_source_without_a_server_is_called_what_it_is(title: str) -> None:
    """A database in a file is not a file of rows."""
    runtime = Runtime(
        source=FakeSource(1),
        leader=FakeLeader(),
        write=fakes.write,
        options=RunOptions(workers=2),
        observe=lambda event: None,
    )
    plan = preflight(pipeline_spec("a"), runtime)
    told = plan_text(replace(plan, source=None, source_title=title))
    assert told.startswith(f"pipeline shop: {title} -> PostgreSQL 18.0\n")


def test_the_plan_shows_files_rejects_and_hooks() -> None:
    """How many files, and how many an increment loads; what bad rows do; statements without what they quote (G6)."""
    runtime = Runtime(
        source=FakeSource(1),
        leader=FakeLeader(),
        write=fakes.write,
        options=RunOptions(workers=2),
        observe=lambda event: None,
    )
    plan = preflight(pipeline_spec("a"), runtime)
    files = (("a.csv", "1/1"), ("b.csv", "1/2"))
    (first, *_) = plan.streams
    stream = replace(
        first,
        shape=replace(first.shape, kind="file", files=files),
        new_files=1,
        rejects=RejectPolicy(action="dlq", max_rows=None, max_percent=0.5),
    )
    hooks = Hooks(before_load=("ALTER ROLE x PASSWORD 'it''s'",), after_load=("SELECT\n $a$secret$a$, E'a\\'b'",))
    lines = plan_text(replace(plan, streams=(stream,), hooks=hooks)).splitlines()
    assert "before_load: ALTER ROLE x PASSWORD '***'" in lines
    assert "after_load: SELECT '***', E'***'" in lines
    assert "  bad rows: left out and stored (on_data_error: dlq, max_rejects: 0.5%)" in lines
    assert any(line.startswith("  2 files, 1 of them new or changed, 1000 B") for line in lines)
    document = plan_document(replace(plan, streams=(stream,), hooks=hooks))
    assert document["hooks"]["after_load"] == ["SELECT '***', E'***'"]
    (told,) = document["streams"]
    assert (told["files"], told["new_files"], told["on_data_error"], told["max_rejects"]) == (2, 1, "dlq", "0.5%")


def test_a_check_tells_the_grant_of_what_failed() -> None:
    """One line an item."""
    items = (
        CheckItem(name="source", ok=True, detail="PostgreSQL 17.0", hint="not shown"),
        CheckItem(name="plan", ok=False, detail="may not write", hint="GRANT INSERT ON raw.t TO r;"),
    )
    assert check_text(CheckReport(pipeline="shop", items=items)) == (
        "ok    source: PostgreSQL 17.0\nFAIL  plan: may not write\n      hint: GRANT INSERT ON raw.t TO r;\n"
    )


def test_streams_show_columns_keys_and_estimates() -> None:
    """As text, names escaped."""
    found = streams_text((shape("a\n", primary_key=("id",), estimated_rows=1234),))
    assert found == "a\\n: table, about 1,234 rows, 1000 B, key (id)\n  id bigint\n"


def test_the_yaml_of_streams_reads_back() -> None:
    """Whatever they are called, and also the paths of files."""
    shapes = (shape("orders", primary_key=("id", "no")), shape("sales.o:x"), shape("f", kind="file"))
    shapes = (*shapes[:2], replace(shapes[2], spec=replace(shapes[2].spec, path="a b/\u202e.csv")))
    assert yaml.safe_load(streams_yaml(shapes)) == {
        "streams": [
            {"name": "orders", "primary_key": ["id", "no"]},
            {"name": "sales.o:x"},
            {"name": "f", "path": "a b/\u202e.csv"},
        ]
    }


def test_a_dollar_in_a_name_is_no_variable(tmp_path: Path) -> None:
    """Pasted into a pipeline, the streams are those of the source."""
    names = ["a$b", "${HOME}", "$$", "c"]
    path = tmp_path / "p.yaml"
    head = 'version: "1.0"\npipeline: p\ndestination: {use: postgres, config: {}}\nsource:\n  use: postgres\n'
    streams = streams_yaml(tuple(shape(name) for name in names))
    path.write_text(head + "  config: {}\n" + streams)
    assert [stream.name for stream in load(path, env={}).streams] == names


@pytest.mark.parametrize("word", ["no", "On", "y", "NULL", "22:22", "1.10", "012", "~", "", "a b", "-", "#", "a.b_1"])
def test_a_scalar_that_yaml_would_take_for_something_else_is_quoted(word: str) -> None:
    """YAML 1.1 has many ways to misread a name."""
    assert yaml.safe_load(yaml_text(word)) == word


@given(st.text())
def test_every_text_survives_yaml(text: str) -> None:
    """And nothing in it acts on a terminal."""
    quoted = yaml_text(text)
    assert yaml.safe_load(f"- {quoted}\n") == [text]
    assert "\x1b" not in quoted
