"""`discover` of files and of databases that are files: what it looks at, and what it calls them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from rapidbyte import wiring
from rapidbyte.errors import ConfigError, SourceError
from rapidbyte.plan import StreamShape
from rapidbyte.report.overview import streams_yaml

QUERY = "SELECT count(*) AS n FROM 'a.csv'"


def discovered(folder: Path, config: dict[str, Any], *streams: dict[str, Any]) -> tuple[StreamShape, ...]:
    (folder / "a.csv").write_text("id\n1\n2\n")
    (folder / "b.csv").write_text("id,x\n1,2\n")
    return wiring.discover(written(folder, "files", config, *streams))


def written(folder: Path, use: str, config: dict[str, Any], *streams: dict[str, Any]) -> Path:
    pipeline = folder / "pipeline.yaml"
    destination = {"use": "postgres", "config": {"host": "localhost", "database": "nowhere"}}
    source = {"use": use, "config": config, "streams": list(streams)}
    pipeline.write_text(
        yaml.safe_dump({"version": "1.0", "pipeline": "p", "source": source, "destination": destination})
    )
    return pipeline


def test_queries_alone_are_all_there_is(tmp_path: Path) -> None:
    """No file of the folder is read that nobody has named."""
    (shape,) = discovered(tmp_path, {}, {"name": "totals", "query": QUERY})
    assert (shape.spec.name, shape.kind, [column.name for column in shape.columns]) == ("totals", "query", ["n"])


def test_queries_stand_beside_the_files_that_are_named(tmp_path: Path) -> None:
    """By a stream's own path, or by the source's."""
    query = {"name": "totals", "query": QUERY}
    own = discovered(tmp_path, {}, {"name": "b", "path": "b.csv"}, query)
    assert [shape.spec.name for shape in own] == ["b", "totals"]
    whole = discovered(tmp_path, {"path": "*.csv"}, query)
    assert [shape.spec.name for shape in whole] == ["a", "b", "totals"]


def test_without_queries_the_folder_is_searched(tmp_path: Path) -> None:
    """As before."""
    assert [shape.spec.name for shape in discovered(tmp_path, {}, {"name": "b", "path": "b.csv"})] == ["a", "b"]


def test_a_query_can_be_pasted(tmp_path: Path) -> None:
    """The YAML of a query's stream has the query."""
    shapes = discovered(tmp_path, {}, {"name": "totals", "query": QUERY})
    assert yaml.safe_load(streams_yaml(shapes)) == {"streams": [{"name": "totals", "query": QUERY}]}


def test_a_name_that_comes_twice_is_told_with_what_to_write(tmp_path: Path) -> None:
    """The hint reads the file without its header, lines that are skipped already included."""
    (tmp_path / "twice.csv").write_text("a title\nid,id\n1,2\n")
    pipeline = written(tmp_path, "files", {"path": "twice.csv", "skip": 1}, {"name": "twice"})
    with pytest.raises(SourceError, match="has 'id' more than once") as found:
        wiring.discover(pipeline)
    assert "`header: false, skip: 2`" in (found.value.hint or "")
    read = written(tmp_path, "files", {"path": "twice.csv", "skip": 2, "header": False}, {"name": "twice"})
    assert [column.name for column in wiring.discover(read)[0].columns] == ["column1", "column2"]


@pytest.mark.parametrize(
    ("text", "skip", "line"),
    [
        ("\n\n\nid,id\n1,2\n", 0, 4),
        ("a title\n\n\r\nid,id\n1,2\n", 1, 4),
        ('\n"a\nb","a\nb"\n1,2\n', 0, 4),
    ],
)
def test_the_hint_for_a_name_that_comes_twice_counts_empty_lines(
    tmp_path: Path, text: str, skip: int, line: int
) -> None:
    """So many lines are left out that the first row is the first record; empty ones before the header count."""
    (tmp_path / "twice.csv").write_text(text, newline="")
    pipeline = written(tmp_path, "files", {"path": "twice.csv", "skip": skip}, {"name": "twice"})
    with pytest.raises(SourceError, match="more than once") as found:
        wiring.discover(pipeline)
    assert f"`header: false, skip: {line}`" in (found.value.hint or "")
    read = written(tmp_path, "files", {"path": "twice.csv", "skip": line, "header": False}, {"name": "twice"})
    assert [column.type.name for column in wiring.discover(read)[0].columns] == ["bigint", "bigint"]


@pytest.mark.parametrize(("use", "title"), [("sqlite", "SQLite"), ("duckdb", "DuckDB"), ("files", "files")])
def test_what_cannot_be_verified_is_called_what_it_is(tmp_path: Path, use: str, title: str) -> None:
    """SQLite and DuckDB are not called files."""
    with pytest.raises(ConfigError, match=f"the source of this pipeline is {title}$"):
        wiring.verify(written(tmp_path, use, {"path": "shop.db"}, {"name": "a"}))
