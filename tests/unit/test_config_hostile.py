"""Whatever is thrown at it, `load` gives a spec or a ConfigError, and no error ever holds a secret."""

# ruff: noqa: E501 - one case a line reads as a table

from __future__ import annotations

import json
import pickle
import random
import traceback
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rapidbyte import config
from rapidbyte.errors import ConfigError
from rapidbyte.spec import PipelineSpec
from tests.unit.test_config_loading import BAD, BASE, FILES, RUST, marked

CANARY = "c4n4ry-Zx9"

WORDS = [
    *"[]{}:,-?!&*#|>'\"%@`~=<\n\t \\$",
    "${A}", "${", "$$", "<<: ", "- ", ": ", "---\n", "...\n", "!!binary ", "&a ", "*a", "? ", "%YAML 1.1\n", "null",
    "no", "012", "1.0", "22:22", "2024-01-01", ".inf", "0x1f", "9" * 400, "-1", "1e999", "\ufeff", "\x00", "\x85",
    "\u2028", "é", "😀", "upsert", "incremental", "use: files", "name: a", "columns: []", "streams: []", "embedded: true",
    "transforms: ", "\r\n", "\U0010ff00",
]  # fmt: skip


def outcome(path: Path, **options: object) -> PipelineSpec | ConfigError:
    """What becomes of it. Anything but a ConfigError fails the test."""
    try:
        return config.load(path, **{"env": {"A": "x"}, **options})  # type: ignore[arg-type]
    except ConfigError as error:
        found = error
    assert found.exit_code == 2
    assert all(line.isprintable() for line in found.message.split("\n"))
    return found


def mutated(text: str, seed: int) -> str:
    """The text with a few words inserted, cut or doubled."""
    chance = random.Random(seed)
    for _ in range(chance.randint(1, 4)):
        at, length = chance.randrange(len(text) + 1), chance.choice((0, 0, 1, 3, 20))
        kind = chance.randrange(3)
        piece = chance.choice(WORDS) if kind else text[at : at + 40]
        text = text[:at] + piece + text[at + length :]
    return text


@pytest.mark.slow
@pytest.mark.parametrize("base", [BASE, FILES, RUST], ids=["tables", "files", "rust"])
@given(seed=st.integers(0, 2**32))
@settings(max_examples=300)
def test_mutations(tmp_path: Path, base: str, seed: int) -> None:
    """A damaged pipeline is a spec or a ConfigError, as a value that pickles and prints."""
    path = tmp_path / "m.yaml"
    path.write_text(mutated(base, seed), encoding="utf-8", newline="")
    found = outcome(path)
    assert isinstance(found, PipelineSpec | ConfigError)
    assert repr(pickle.loads(pickle.dumps(found))) == repr(found)


@given(st.binary(max_size=200))
def test_bytes(tmp_path: Path, content: bytes) -> None:
    """So are arbitrary bytes."""
    path = tmp_path / "m.yaml"
    path.write_bytes(content)
    assert isinstance(outcome(path), ConfigError)


TREES = st.recursive(
    st.one_of(st.sampled_from(["postgres", "files", "1.0", "a", "no", "12", "${A}", "", "*", "a.b"]), st.none()),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(["use", "config", "streams", "name", "dsn", "columns", "embedded", "permissions", "limits",
                             "types", "autotune", "path", "max_memory", "network", "allowed_hosts"]),
            inner,
            max_size=4,
        ),
    ),
    max_leaves=12,
)  # fmt: skip


@given(
    st.dictionaries(
        st.sampled_from(
            ["version", "pipeline", "source", "transforms", "destination", "resources", "execution", "state"]
        ),
        TREES,
        max_size=8,
    )
)
def test_shapes(tmp_path: Path, tree: dict[str, object]) -> None:
    """Known keys with values of any shape, at any place."""
    path = tmp_path / "m.yaml"
    path.write_text(json.dumps(tree))
    assert isinstance(outcome(path), PipelineSpec | ConfigError)


def everything(error: ConfigError) -> str:
    """All that could be printed of an error."""
    return "\n".join(
        [
            str(error),
            repr(error),
            repr(error.problems),
            str(error.hint),
            repr(error.__dict__),
            "".join(traceback.format_exception(error)),
            repr(error.__cause__),
            repr(error.__context__),
        ]
    )


SECRET_PLACES = [
    ("    host: localhost\n    schema: raw", "    password: {secret}\n    nope: 1"),
    ("    host: localhost\n    schema: raw", "    password: [{secret}]"),
    ("    host: localhost\n    schema: raw", "    password: {{a: {secret}}}"),
    ("    host: localhost\n    schema: raw", '    password: "{secret}\\0"'),
    ("    host: localhost\n    schema: raw", "    password: *{secret}"),
    ("    host: localhost\n    schema: raw", "    password: &{secret} x"),
    ("    host: localhost\n    schema: raw", "    password: !{secret} x"),
    ("    host: localhost\n    schema: raw", "    password: %{secret}"),
    ("    host: localhost\n    schema: raw", "    password: '{secret}"),
    ("    host: localhost\n    schema: raw", "    password: {secret}: x"),
    ("    host: localhost\n    schema: raw", "    password: `{secret}"),
    ("    host: localhost\n    schema: raw", "    password: ${{{secret}}}"),
    ("    host: localhost\n    schema: raw", "    password: ${{PW}} ${{NOPE}}"),
    ("    host: localhost\n    schema: raw", "    port: ${{PW}}"),
    ("    host: localhost\n    schema: raw", "    sslmode: ${{PW}}"),
    ("    host: localhost\n    schema: raw", "    embedded: ${{PW}}"),
    ("    host: localhost\n    schema: raw", "    connect_timeout: ${{PW}}"),
    ("    host: localhost\n    schema: raw", "    load_method: ${{PW}}"),
    ("    host: localhost\n    schema: raw", "    worker: ${{PW}}"),
    ("    host: localhost\n    schema: raw", "    dsn: postgresql+psycopg://u:{secret}@h/d\n    service: x"),
    ("    host: localhost\n    schema: raw", "    dsn: postgresql://u:{secret}@h/d?sslmode=require\n    sslmode: disable"),
    ("    host: localhost\n    schema: raw", "    dns: postgresql://u:{secret}@h/d"),
    ("    host: localhost\n    schema: raw", "    dsn: [postgresql://u:{secret}@h/d]"),
    ("    host: localhost\n    schema: raw", "    schema: \"${{PW}}\\0\""),
    ("pipeline: shop", "pipeline: ${{PW}}!"),
    ("pipeline: shop", "pipeline: shop\nresources: {{max_memory: '${{PW}}'}}"),
    ("pipeline: shop", "pipeline: shop\nresources: {{autotune: {{enabled: '${{PW}}'}}}}"),
    ("pipeline: shop", "pipeline: shop\nstate: {{connection: 'x{secret}', bakend: 1}}"),
    ("  write_mode: append", "  write_mode: ${{PW}}"),
    ("  write_mode: append", "  use2: ${{PW}}"),
    ("    - name: orders", "    - name: ${{PW}}{long}"),
    ("    - name: orders", "    - {{name: a, columns: ['${{PW}}', '${{PW}}']}}"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new"), SECRET_PLACES, ids=[new.strip()[:24] for _, new in SECRET_PLACES])
def test_no_error_holds_a_secret(tmp_path: Path, old: str, new: str) -> None:
    """G4, A13: a canary in a password, a DSN or a variable is in no message, hint, problem, repr or cause."""
    path = tmp_path / "c.yaml"
    text = BASE.replace(old, new.format(secret=CANARY, long="x" * 70))
    path.write_text(text)
    found = outcome(path, env={"PW": CANARY, "A": "x"})
    assert isinstance(found, ConfigError)
    printed = everything(found)
    if f"${{{CANARY}}}" not in text:  # a name is no secret
        assert CANARY not in printed


@pytest.mark.parametrize(
    "where",
    ["source.config.password", "source.config.dsn", "source.config.host.x", "source.streams[7]", "state.connection"],
)
def test_set_does_not_print_a_secret(tmp_path: Path, where: str) -> None:
    """The value of a secret given with `--set` is not in the errors that it, or another value, makes."""
    path = tmp_path / "c.yaml"
    path.write_text(BASE)
    found = outcome(path, overrides=[(where, CANARY), ("nope", "1")])
    assert isinstance(found, ConfigError)
    assert CANARY not in everything(found)


def test_a_spec_hides_its_secrets(tmp_path: Path) -> None:
    """repr of the whole spec shows `***`, and its secrets survive a pickle."""
    path = tmp_path / "c.yaml"
    path.write_text(
        BASE.replace(
            "    schema: raw",
            f"    password: x{CANARY}\n    worker: {{user: u, password: x{CANARY}}}\n",
        ).replace("    host: localhost\n  streams", f"    dsn: postgresql://u:{CANARY}@h/d\n  streams")
    )
    spec = outcome(path)
    assert isinstance(spec, PipelineSpec)
    assert CANARY not in repr(spec)
    assert pickle.loads(pickle.dumps(spec)) == spec
    assert spec.destination.connection.password is not None
    assert spec.destination.connection.password.reveal() == f"x{CANARY}"


def test_every_bad_document_s_error_pickles(tmp_path: Path) -> None:
    """Errors may travel; what is told of them stays."""
    for old, new, _ in BAD:
        path = tmp_path / "b.yaml"
        path.write_text(marked(BASE, old, new)[0], encoding="utf-8")
        found = outcome(path, env={"PGUSER": "x"})
        assert isinstance(found, ConfigError)
        copy = pickle.loads(pickle.dumps(found))
        assert (copy.message, copy.problems) == (found.message, found.problems)
