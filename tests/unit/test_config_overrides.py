"""`--set path=value`: one value replaced or added, judged like the file."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rapidbyte import config
from rapidbyte.config.document import shown
from rapidbyte.errors import ConfigError
from rapidbyte.model import Secret
from rapidbyte.spec import EmbeddedServer, PipelineSpec

TEXT = """\
version: "1.0"
pipeline: shop
source:
  use: postgres
  config: {host: localhost}
  streams:
    - {name: orders, where: a}
    - {name: sales.orders}
    - {name: sales}
destination: {use: postgres, config: {host: localhost}}
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "shop.yaml"
    path.write_text(TEXT, encoding="utf-8")
    return path


def loaded(path: Path, *overrides: tuple[str, str], env: dict[str, str] | None = None) -> PipelineSpec:
    return config.load(path, env=env or {}, overrides=overrides)


def test_replaces_and_adds(path: Path) -> None:
    """Existing keys, new keys, and mappings on the way that are not there."""
    spec = loaded(
        path,
        ("pipeline", "other"),
        ("destination.config.schema", "raw"),
        ("resources.parallelism", "3"),
        ("destination.config.worker.user", "loader"),
    )
    assert spec.pipeline == "other"
    assert spec.destination.schema == "raw"
    assert spec.resources.parallelism == 3
    assert spec.destination.worker is not None
    assert spec.destination.worker.user == "loader"


def test_counts_or_names_streams(path: Path) -> None:
    """By position from 0, or by name; a name with a dot in it is told from one that ends there."""
    spec = loaded(
        path,
        ("source.streams[0].where", "x = 1"),
        ("source.streams.sales.orders.where", "y = 1"),
        ("source.streams.sales.where", "z = 1"),
    )
    assert [stream.where for stream in spec.streams] == ["x = 1", "y = 1", "z = 1"]
    assert loaded(path, ("source.streams.orders.where", "q")).streams[0].where == "q"


def test_the_last_one_wins(path: Path) -> None:
    """In the order given."""
    assert loaded(path, ("pipeline", "a"), ("pipeline", "b")).pipeline == "b"


def test_a_value_is_text_where_text_is_due(path: Path) -> None:
    """A shell has no quotes for YAML: `no`, `012` and `[a]` are texts there, numbers where numbers are due."""
    assert loaded(path, ("pipeline", "012")).pipeline == "012"
    assert loaded(path, ("source.streams[0].target", "no")).streams[0].target == "no"
    assert loaded(path, ("source.streams[0].where", "[a]")).streams[0].where == "[a]"
    assert loaded(path, ("source.config.password", "")).source.connection.password is None  # type: ignore[union-attr]


def test_a_list_is_written_in_brackets(path: Path) -> None:
    """Where a list is due."""
    assert loaded(path, ("source.streams[0].columns", '[id, "no"]')).streams[0].columns == ("id", "no")
    for value in ("id", "id, x", "{a: b}", "[a", "[a, no]"):
        with pytest.raises(ConfigError, match=r"--set source\.streams"):
            loaded(path, ("source.streams[0].columns", value))


def test_variables_are_replaced(path: Path) -> None:
    """So that a secret need not stand in the process list."""
    spec = loaded(path, ("source.config.password", "${PW}"), env={"PW": "hunter2"})
    assert spec.source.connection.password == Secret("hunter2")  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("where", "says"),
    [
        ("source.streams[9].where", "there is no [9]: the list has 3 entries, counted from 0"),
        ("source.streams.nope.where", "the path names no entry of the list"),
        ("source.streams", "a list is due here"),
        ("source.streams[0]", "keys with values are due here"),
        ("source", "keys with values are due here"),
        ("pipeline.x", "the path goes on below a value that is no mapping"),
        ("nope", "unknown key `nope`"),
        ("destination.config.shema", "unknown key `shema` (did you mean `schema`?)"),
        ("", "the path is empty"),
        (".", "the path is not made of keys and [positions]"),
        ("a..b", "the path is not made of keys and [positions]"),
        ("a.", "the path is not made of keys and [positions]"),
        ("[0]", "the path is not made of keys and [positions]"),
        ("source.streams[x].where", "the path names no entry of the list"),
        ("a" + ".a" * 5000, "the path has more than 50 steps"),
        ("source.streams" + "[0]" * 5000, "the path has more than 50 steps"),
        ("destination.write_mode", "`hunter2` is not one of append, replace, upsert"),
        ("resources.parallelism", "`auto` or a whole number is due here, not `hunter2`"),
    ],
)
def test_refuses(path: Path, where: str, says: str) -> None:
    """A path that leads nowhere, and a value that does not fit, with `--set` as the place."""
    with pytest.raises(ConfigError) as caught:
        loaded(path, (where, "hunter2"))
    assert f"--set {shown(where)}: " in caught.value.message
    assert says in caught.value.message


@given(st.lists(st.tuples(st.text("abc.[]0123456789source", max_size=20), st.text(max_size=10)), max_size=3))
def test_every_override_is_taken_or_refused(path: Path, overrides: list[tuple[str, str]]) -> None:
    """Nothing but a spec or a ConfigError."""
    try:
        found: object = config.load(path, env={}, overrides=overrides)
    except ConfigError as error:
        found = error.problems
    assert found


def test_a_mapping_or_list_is_written_as_yaml_has_it_on_one_line(path: Path) -> None:
    """Where one is due: sections, types, lists of mappings; a variable in it never becomes YAML."""
    spec = config.load(
        path,
        env={"DIR": "/d}, x: {"},
        overrides=[
            ("destination.config", "{embedded: {data_dir: '${DIR}', database: b}}"),
            ("resources", "{parallelism: 2, max_memory: 64mb}"),
            ("source.streams", "[{name: a, columns: [x, y]}, {name: b}]"),
        ],
    )
    assert spec.destination.connection.embedded == EmbeddedServer(data_dir="/d}, x: {", database="b")
    assert (spec.resources.parallelism, spec.resources.max_memory_bytes) == (2, 64 * 1024 * 1024)
    assert [(stream.name, stream.columns) for stream in spec.streams] == [("a", ("x", "y")), ("b", ())]


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("resources", "{parallelism: 2, memory: 1gb}", "--set resources: unknown key `memory` (did you mean"),
        ("resources", "parallelism: 2", "--set resources: keys with values are due here (write it as '{key: value}'"),
        ("resources", "{parallelism: ${NOT_SET}}", "--set resources: the environment variable NOT_SET is not set (set"),
        ("resources", "{parallelism: no}", "--set resources: `auto` or a whole number is due here, not `no`"),
        ("source.streams", "{name: a}", "--set source.streams: a list is due here"),
    ],
)
def test_what_is_wrong_in_a_mapping_is_told_with_its_option(path: Path, key: str, value: str, says: str) -> None:
    """There is no line in a command."""
    with pytest.raises(ConfigError) as raised:
        loaded(path, (key, value))
    assert says in str(raised.value)
