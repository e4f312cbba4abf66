"""`${NAME}`: where values come from, what is missing, and that a value never becomes YAML."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rapidbyte import config
from rapidbyte.config.document import Mapping, Scalar, read_document
from rapidbyte.config.environment import Substitution, Variables, read_env_file
from rapidbyte.errors import ConfigError

BASE = """\
version: "1.0"
pipeline: shop
source:
  use: postgres
  config: {{host: {host}, port: "{port}"}}
  streams: [{{name: orders}}]
destination: {{use: postgres, config: {{host: localhost}}}}
"""


def pipeline(folder: Path, host: str = "localhost", port: str = "5432") -> Path:
    path = folder / "shop.yaml"
    path.write_text(BASE.format(host=host, port=port), encoding="utf-8")
    return path


def host(path: Path, **options: object) -> str | None:
    spec = config.load(path, **options)  # type: ignore[arg-type]
    return spec.source.connection.host  # type: ignore[union-attr]


def substituted(text: str, values: dict[str, str]) -> tuple[str | None, tuple[str, ...]]:
    """What becomes of one scalar, and the problems."""
    place = read_document("a: b", "f")[0]
    assert isinstance(place, Mapping)
    scalar = Scalar(text=text, written=text, plain=True, place=place.place)
    substitution = Substitution(Variables(environment=values))
    root = substitution.apply(Mapping(entries=((scalar, scalar),), place=place.place))
    node = root.entries[0][1]
    problems = tuple(problem.message for problem in substitution.problems())
    return (node.text if isinstance(node, Scalar) else None), problems


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("${A}", "x"),
        ("pre-${A}-post", "pre-x-post"),
        ("${A}${A}", "xx"),
        ("${B:-y}", "y"),
        ("${A:-y}", "x"),
        ("${EMPTY:-y}", "y"),
        ("${B:-}", ""),
        ("${B:-a b:c}", "a b:c"),
        ("$$", "$"),
        ("$${A}", "${A}"),
        ("$$$", "$$"),
        ("$A", "$A"),
        ("100$", "100$"),
        ("${REF}", "${A}"),
    ],
)
def test_replaces(text: str, expected: str) -> None:
    """References, defaults and dollars; what came out of a variable is not replaced again."""
    values = {"A": "x", "EMPTY": "", "REF": "${A}"}
    assert substituted(text, values) == (expected, ())


@pytest.mark.parametrize("text", ["${", "${}", "${1A}", "${A", "${A-b}", "${vault:secret/pg#password}", "${A:-${B}}"])
def test_refuses_what_is_no_reference(text: str) -> None:
    """A malformed reference is a problem, not text."""
    assert substituted(text, {"A": "x"}) in [
        (None, ("`${` does not begin a reference to a variable",)),
    ]


def test_lists_all_missing_and_empty_names(tmp_path: Path) -> None:
    """A5: each name once, with its first place, told apart whether unset or empty; none is replaced by nothing."""
    path = pipeline(tmp_path, host="${NOPE}${NADA}${NOPE}", port="${VOID}")
    with pytest.raises(ConfigError) as caught:
        config.load(path, env={"VOID": ""})
    assert caught.value.message.splitlines()[1:] == [
        f"  {path}:5:18: the environment variable NOPE is not set, used 2 times (set it, or write ${{NOPE:-default}})",
        f"  {path}:5:18: the environment variable NADA is not set (set it, or write ${{NADA:-default}})",
        f"  {path}:5:47: the environment variable VOID is empty (set it, or write ${{VOID:-default}})",
    ]


@pytest.mark.parametrize("value", ["a: b", "[1, 2]", "{x: y}", "*x", "&x y", "# no", "'", '"', "a\nb: c", "no", "012"])
def test_a_value_never_becomes_yaml(tmp_path: Path, value: str) -> None:
    """Whatever a variable holds, it is one text."""
    assert host(pipeline(tmp_path, host="${H}"), env={"H": value}) == value


def test_keys_and_comments_are_left_alone(tmp_path: Path) -> None:
    """Only values are replaced."""
    path = tmp_path / "shop.yaml"
    path.write_text(BASE.format(host="localhost", port="1") + "# ${NOPE}\n", encoding="utf-8")
    assert host(path, env={}) == "localhost"
    path.write_text(BASE.format(host="localhost", port="1") + "${KEY}: x\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"unknown key `\$\{KEY\}`"):
        config.load(path, env={"KEY": "state"})


def test_a_number_out_of_a_variable_is_a_number(tmp_path: Path) -> None:
    """`port: "${PORT}"` is parsed; what is no number is told as it was written."""
    path = pipeline(tmp_path, port="${PORT}")
    assert config.load(path, env={"PORT": "6432"}).source.connection.port == 6432  # type: ignore[union-attr]
    with pytest.raises(ConfigError, match=r"a whole number is due here, not `\$\{PORT\}`") as caught:
        config.load(path, env={"PORT": "hunter2"})
    assert "hunter2" not in caught.value.message


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    """Python hands over undecodable bytes of the environment as surrogates; they would fail much later."""
    with pytest.raises(ConfigError, match="the text is not UTF-8"):
        config.load(pipeline(tmp_path, host="${H}"), env={"H": "a\udcff"})


def test_the_environment_is_the_process_s_by_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without `env`, os.environ."""
    monkeypatch.setenv("RAPIDBYTE_TEST_HOST", "from-process")
    assert host(pipeline(tmp_path, host="${RAPIDBYTE_TEST_HOST}")) == "from-process"


def test_precedence(tmp_path: Path) -> None:
    """`--env-file` wins over the environment, which wins over `.env` beside the pipeline."""
    path = pipeline(tmp_path, host="${H}")
    (tmp_path / ".env").write_text("H=beside\n")
    named = tmp_path / "prod.env"
    named.write_text("H=named\n")
    assert host(path, env={}) == "beside"
    assert host(path, env={"H": ""}) == "beside"
    assert host(path, env={"H": "real"}) == "real"
    assert host(path, env={"H": "real"}, env_file=named) == "named"


def test_env_file_replaces_the_one_beside(tmp_path: Path) -> None:
    """Two environments' files are not mixed."""
    path = pipeline(tmp_path, host="${H}")
    (tmp_path / ".env").write_text("H=beside\n")
    (tmp_path / "prod.env").write_text("OTHER=x\n")
    with pytest.raises(ConfigError, match="the environment variable H is not set"):
        config.load(path, env={}, env_file=tmp_path / "prod.env")


def test_a_missing_env_file_is_told(tmp_path: Path) -> None:
    """It was named on purpose."""
    with pytest.raises(ConfigError, match=r"the environment file .* cannot be read: there is no such file"):
        config.load(pipeline(tmp_path), env={}, env_file=tmp_path / "none")


def test_the_file_beside_is_read_only_when_needed(tmp_path: Path) -> None:
    """Another tool's `.env` that we cannot read does not matter to a pipeline that needs nothing of it."""
    (tmp_path / ".env").write_text("not a line\n")
    assert host(pipeline(tmp_path, host="${H}"), env={"H": "x"}) == "x"
    with pytest.raises(ConfigError, match=r"\.env:1:1: not a NAME=value line"):
        config.load(pipeline(tmp_path, host="${H}"), env={})


def test_reads_an_env_file(tmp_path: Path) -> None:
    """Comments, export, quotes, escapes, line breaks in quotes, CRLF; nothing is expanded."""
    path = tmp_path / ".env"
    path.write_bytes(
        b"# comment\n\n  # indented\nA=1\nexport B = two words  # comment\nC='sin#gle $A'\n"
        b'D="dou\\"ble\\n\\\\" # comment\nE=\nF="two\nlines"\r\nG=a#b\r\nH=\'\'\nI=postgres://u:p@h/d?x=1&y=2'
    )
    assert read_env_file(path) == {
        "A": "1",
        "B": "two words",
        "C": "sin#gle $A",
        "D": 'dou"ble\n\\',
        "E": "",
        "F": "two\nlines",
        "G": "a#b",
        "H": "",
        "I": "postgres://u:p@h/d?x=1&y=2",
    }


@pytest.mark.parametrize("line", ["secret", "1A=secret", "A B=secret", "A='secret", "=secret", "A='x' secret"])
def test_a_wrong_line_of_an_env_file_is_not_quoted(tmp_path: Path, line: str) -> None:
    """Its place is told, its text, which may be a secret, is not."""
    path = tmp_path / ".env"
    path.write_text(f"OK=1\n{line}\n")
    with pytest.raises(ConfigError) as caught:
        read_env_file(path)
    assert caught.value.message == f"1 problem in {path}\n  {path}:2:1: not a NAME=value line"


@given(st.text(max_size=60))
def test_every_env_file_is_read_or_refused(tmp_path: Path, text: str) -> None:
    """Nothing but a mapping or a ConfigError."""
    path = tmp_path / ".env"
    path.write_bytes(text.encode("utf-8", "replace"))
    try:
        values = read_env_file(path)
    except ConfigError:
        return
    assert all(isinstance(value, str) for value in values.values())
