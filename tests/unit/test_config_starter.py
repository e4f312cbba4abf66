"""The file that `rapidbyte init` writes: it loads, says what it means, and holds no secret."""

# ruff: noqa: E501 - one case a line reads as a table

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rapidbyte import config
from rapidbyte.errors import ConfigError
from rapidbyte.model import Secret
from rapidbyte.spec import Connection, EmbeddedServer, FilesSourceSpec, PipelineSpec

CANARY = "c4n4ry"
VALUES = {"SOURCE_PASSWORD": "sp", "DESTINATION_PASSWORD": "dp", "SOURCE_DSN": "sd", "DESTINATION_DSN": "dd"}


def loaded(folder: Path, text: str) -> PipelineSpec:
    path = folder / "pipeline.yaml"
    path.write_text(text, encoding="utf-8")
    return config.load(path, env=VALUES)


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        (
            f"postgresql://app:{CANARY}@db.example.com:5433/shop?sslmode=require",
            Connection(
                host="db.example.com",
                port=5433,
                user="app",
                password=Secret("dp"),
                database="shop",
                sslmode="require",
            ),
        ),
        ("postgres:///shop?host=/var/run/pg", Connection(host="/var/run/pg", database="shop")),
        ("postgresql://[::1]:5432/x", Connection(host="::1", port=5432, database="x")),
        ("postgresql://u%40corp:p%40@h/d%20x", Connection(host="h", user="u@corp", password=Secret("dp"), database="d x")),
        ("postgresql://123@h/no", Connection(host="h", user="123", database="no")),
        (f"host=h dbname='my db' password='{CANARY} x'", Connection(host="h", password=Secret("dp"), database="my db")),
        ("service=prod", Connection(service="prod")),
        ("host=h password=$x", Connection(host="h", password=Secret("dp"))),
        ("host=${H} user=a$$b", Connection(host="${H}", user="a$$b")),
        ("embedded", Connection(embedded=EmbeddedServer())),
        # what has no field of its own, or cannot be told apart, goes into a variable as a whole
        (f"postgresql://a:{CANARY}@h1,h2/d", Connection(dsn=Secret("dd"))),
        (f"postgresql://a:{CANARY}/x@h/d", Connection(dsn=Secret("dd"))),
        (f"postgresql://a:p@{CANARY}@h/d", Connection(dsn=Secret("dd"))),
        (f"postgresql://a:p#{CANARY}@h/d", Connection(dsn=Secret("dd"))),
        (f"postgresql://a:p?{CANARY}@h/d", Connection(dsn=Secret("dd"))),
        ("postgresql://h/d?target_session_attrs=read-write", Connection(dsn=Secret("dd"))),
        (f"host=h password={CANARY} options='-c x=1'", Connection(dsn=Secret("dd"))),
        (f"host=h password='{CANARY}", Connection(dsn=Secret("dd"))),
        ("host=h port=abc", Connection(dsn=Secret("dd"))),
        ("postgresql://h:/d", Connection(host="h", database="d")),
    ],
)  # fmt: skip
def test_destinations(tmp_path: Path, address: str, expected: Connection) -> None:
    """The connection is the one that was given, its secrets replaced by variables."""
    text = config.starter("data/flights.csv", address).text
    assert CANARY not in text
    assert loaded(tmp_path, text).destination.connection == expected


def test_a_database_as_source(tmp_path: Path) -> None:
    """All tables of its schema, with examples in comments."""
    text = config.starter(f"postgresql://app:{CANARY}@db/shop", f"postgresql://l:{CANARY}@w/dw").text
    spec = loaded(tmp_path, text)
    assert spec.pipeline == "shop"
    assert [stream.name for stream in spec.streams] == ["public.*"]
    assert spec.source.connection.password == Secret("sp")  # type: ignore[union-attr]
    assert spec.destination.connection.password == Secret("dp")
    assert CANARY not in text


def test_says_which_variables_to_set() -> None:
    """In the comment at the top."""
    text = config.starter("postgresql://a:b@h/d", "postgresql://a:b@h/d").text
    assert "#   SOURCE_PASSWORD\n#   DESTINATION_PASSWORD\n" in text
    assert "# It needs no environment variable." in config.starter("x.csv", "embedded").text


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("data/flights.csv", "flights"),
        ("data/*.csv", "data"),
        ("*.csv", "files"),
        ("/tmp/My Flights 2013.csv.gz", "my_flights_2013"),
        ("x/üñ.parquet", "files"),
        ("C$H.csv", "c_h"),
        ("a: b #c.csv", "a_b_c"),
        ('qu"ote.csv', "qu_ote"),
    ],
)
def test_files(tmp_path: Path, path: str, name: str) -> None:
    """The path is taken as it is, and the stream is called after the file."""
    spec = loaded(tmp_path, config.starter(path, "embedded").text)
    assert spec.source == FilesSourceSpec(path=path, base_dir=str(tmp_path))
    assert [stream.name for stream in spec.streams] == [name]
    assert spec.pipeline == name


def test_the_commented_examples_load_too(tmp_path: Path) -> None:
    """Taking the comment signs off keys gives a file that is still good."""
    text = config.starter("postgresql://h/d", "embedded").text
    text = text.replace("    # - ", "    - ").replace("    #   ", "      ").replace("      # ", "      ")
    text = text.replace('    - name: "public.*"', '    - name: "app.*"').replace("  # primary_key: [id]\n", "")
    spec = loaded(tmp_path, text)
    assert [(stream.name, stream.target) for stream in spec.streams] == [("app.*", "raw.*"), ("orders", None), ("totals", None)]  # fmt: skip
    files = re.sub(r"# (format|header|columns|types)", r"\1", config.starter("x.csv", "embedded").text)
    assert loaded(tmp_path, files).streams[0].types == (("amount", "numeric(12,2)"),)


@pytest.mark.parametrize(
    ("source", "destination"),
    [
        ("x.csv", "somewhere"),
        ("x.csv", ""),
        ("", "embedded"),
        ("a\nb", "embedded"),
        ("s3://bucket/x.csv", "embedded"),
        (f"postgresql+psycopg://u:{CANARY}@h/d", "embedded"),
        ("x.csv", f"postgresql+psycopg://u:{CANARY}@h/d"),
        ("x.csv", f"mysql://u:{CANARY}@h/d"),
    ],
)
def test_refuses_what_is_no_address(source: str, destination: str) -> None:
    """With a hint, and without printing it."""
    with pytest.raises(ConfigError) as caught:
        config.starter(source, destination)
    assert caught.value.code == "address_invalid"
    assert CANARY not in f"{caught.value} {caught.value.hint}"


@given(st.text(max_size=30), st.text(max_size=30))
def test_every_template_loads(tmp_path: Path, source: str, user: str) -> None:
    """Whatever the addresses hold: a file that loads, or a ConfigError."""
    clean = "".join(char for char in user if char.isprintable() and not "\ud800" <= char <= "\udfff")
    quoted = clean.replace("\\", "\\\\").replace("'", "\\'")
    try:
        text = config.starter(source, f"host=h user='{quoted}'").text
    except ConfigError:
        return
    spec = loaded(tmp_path, text)
    if clean.strip():
        assert spec.destination.connection.user == clean


def test_the_variables_to_set_are_told_apart_from_the_text() -> None:
    """So that `init` can name them: those that the file reads, once each."""
    found = config.starter(f"postgresql://app:{CANARY}@db/shop", f"postgresql://l:{CANARY}@w/dw")
    assert found.variables == ("SOURCE_PASSWORD", "DESTINATION_PASSWORD")
    assert config.starter("a.csv", "embedded").variables == ()
