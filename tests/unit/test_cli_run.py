"""`rapidbyte run`: where the result goes, what stderr says, which code it ends with; the ends live in memory."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from rapidbyte import wiring
from rapidbyte.cli import answer
from rapidbyte.cli.console import Console
from rapidbyte.config.schema import result_schema
from rapidbyte.errors import DataError, SourceError
from rapidbyte.result import RunResult
from rapidbyte.spec import RunOptions
from tests import fakes
from tests.fakes import FakeLeader, FakeSource, Script
from tests.unit.test_cli import PIPELINE


@pytest.fixture
def pipeline(tmp_path: Path) -> str:
    """Two streams."""
    path = tmp_path / "pipeline.yaml"
    path.write_text(PIPELINE)
    return str(path)


@pytest.fixture
def scripts(monkeypatch: pytest.MonkeyPatch) -> dict[tuple[str, int], Script]:
    """What the source's partitions do; empty, all goes well."""
    found: dict[tuple[str, int], Script] = {}
    monkeypatch.setattr(wiring, "_source", lambda spec, *_: FakeSource(2, found))
    monkeypatch.setattr(wiring, "_leader", lambda spec, *_: FakeLeader())
    monkeypatch.setattr(wiring, "_writer", lambda: fakes.write)
    return found


def call(*arguments: str) -> int:
    console = Console()
    code = answer(arguments, console)
    assert console.close()
    return code


def test_stdout_is_one_json_document_where_it_is_no_terminal(
    capsys: pytest.CaptureFixture[str], pipeline: str, scripts: dict[tuple[str, int], Script]
) -> None:
    """And nothing else; a run that goes well says nothing on stderr."""
    assert call("run", pipeline) == 0
    out, err = capsys.readouterr()
    document = json.loads(out)
    jsonschema.validate(document, result_schema())
    assert (document["status"], document["exit_code"], document["records_written"]) == ("succeeded", 0, 4)
    assert err == ""


def test_the_options_arrive(pipeline: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Every option of the command line in RunOptions or in the spec; --limit implies --dry-run."""
    seen: list[tuple[Any, RunOptions]] = []
    execute = wiring.run

    def run(spec: Any, *, options: RunOptions, **rest: Any) -> RunResult:
        seen.append((spec, options))
        raise SourceError("seen", code="seen")

    monkeypatch.setattr(wiring, "run", run)
    monkeypatch.setenv("GOAL", "from the environment")
    env_file = Path(pipeline).with_name("env")
    env_file.write_text("GOAL=landing\n")
    arguments = ["run", pipeline, "--stream", "items", "--stream", "orders", "--workers", "3", "--limit", "7"]
    arguments += ["--show-row-values", "--checksum", "--env-file", str(env_file)]
    arguments += ["--keep-going", "--failed", "--full-refresh", "--key", "scheduled:2026-01-31T00:00"]
    arguments += ["--set", "destination.config.schema=${GOAL}", "--set", "pipeline=other"]
    assert call(*arguments) == 3
    ((spec, options),) = seen
    assert options == RunOptions(
        streams=("items", "orders"),
        workers=3,
        dry_run=True,
        limit=7,
        checksum=True,
        show_row_values=True,
        keep_going=True,
        failed=True,
        key="scheduled:2026-01-31T00:00",
        full_refresh=True,
    )
    assert (spec.pipeline, spec.destination.schema) == ("other", "landing")
    assert call("run", pipeline) == 3
    assert seen[1][1] == RunOptions()
    assert execute is not wiring.run


def test_text_is_a_summary(
    capsys: pytest.CaptureFixture[str], pipeline: str, scripts: dict[tuple[str, int], Script]
) -> None:
    """Asked for, it comes also where stdout is no terminal: uncoloured, uncut."""
    assert call("run", pipeline, "--output", "text") == 0
    out = capsys.readouterr().out
    assert out.splitlines()[0].startswith("shop: run succeeded in ")
    assert "raw.orders" in out
    assert "exit 0: done" in out
    assert "\x1b" not in out


def test_a_failed_run_prints_its_result_and_its_error(
    capsys: pytest.CaptureFixture[str], pipeline: str, scripts: dict[tuple[str, int], Script]
) -> None:
    """JSON on stdout, the form of every error on stderr, the code of the first failure."""
    failure = SourceError("connection lost", code="connection_lost", hint="run it again")
    scripts["orders", 1] = Script(failure=failure)
    assert call("run", pipeline) == 3
    out, err = capsys.readouterr()
    document = json.loads(out)
    jsonschema.validate(document, result_schema())
    assert (document["status"], document["error"]["code"]) == ("failed", "connection_lost")
    lines = err.splitlines()
    assert "error: connection lost" in lines
    assert any(line.startswith("  in stream orders") for line in lines)
    assert "hint: run it again" in lines
    assert lines[-1] == f"Afterwards: {document['error']['afterwards']}"


def test_row_values_are_masked_unless_asked_for(
    capsys: pytest.CaptureFixture[str], pipeline: str, scripts: dict[tuple[str, int], Script]
) -> None:
    """Neither in the JSON nor on stderr (G6)."""
    scripts["orders", 0] = Script(failure=DataError("too long", code="too_long", row_detail="email=canary"))
    assert call("run", pipeline) == 5
    assert "canary" not in "".join(capsys.readouterr())
    assert call("run", pipeline, "--show-row-values") == 5
    out, err = capsys.readouterr()
    assert json.loads(out)["error"]["row_detail"] == "email=canary"
    assert "  row: email=canary" in err.splitlines()


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("no.yaml",), "config_unreadable"),
        (("pipeline.yaml", "--set", "canary"), "usage"),
        (("pipeline.yaml", "--result", "."), "result_unwritable"),
    ],
)
def test_a_run_that_cannot_start_prints_a_result_too(
    capsys: pytest.CaptureFixture[str],
    pipeline: str,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    code: str,
) -> None:
    """A schema-valid document with the error, exit 2, every problem on stderr."""
    monkeypatch.chdir(Path(pipeline).parent)
    assert call("run", *arguments) == 2
    out, err = capsys.readouterr()
    document = json.loads(out)
    jsonschema.validate(document, result_schema())
    assert (document["status"], document["exit_code"], document["error"]["code"]) == ("failed", 2, code)
    assert err.startswith("error: ")
    assert "canary" not in out + err


def test_every_problem_of_the_file_is_told(capsys: pytest.CaptureFixture[str], pipeline: str) -> None:
    """With file:line:column each."""
    Path(pipeline).write_text(PIPELINE.replace("schema: raw", "shcema: raw").replace("pipeline:", "pipelin:"))
    assert call("run", pipeline) == 2
    places = [line.split(": ")[0].strip() for line in capsys.readouterr().err.splitlines() if pipeline in line]
    assert {f"{pipeline}:2:1", f"{pipeline}:9:29"} <= set(places)


def test_a_defect_prints_a_result_too(
    capsys: pytest.CaptureFixture[str], pipeline: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Exit 70, and nobody is told that a rerun is safe."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    def broken(spec: object, **rest: object) -> RunResult:
        raise ZeroDivisionError

    monkeypatch.setattr(wiring, "run", broken)
    assert call("run", pipeline) == 70
    document = json.loads(capsys.readouterr().out)
    jsonschema.validate(document, result_schema())
    assert (document["error"]["category"], document["error"]["safe_to_retry"]) == ("internal", False)


def test_the_result_goes_to_its_file_as_well(
    capsys: pytest.CaptureFixture[str], pipeline: str, scripts: dict[tuple[str, int], Script], tmp_path: Path
) -> None:
    """The same document, mode 0600 whatever the umask and the file before it; no draft is left."""
    path = tmp_path / "out" / "result.json"
    path.parent.mkdir()
    path.write_text("old")
    path.chmod(0o644)
    before = os.umask(0)
    try:
        assert call("run", pipeline, "--result", str(path)) == 0
    finally:
        os.umask(before)
    assert path.read_text() == capsys.readouterr().out
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(path.parent.iterdir()) == [path]


def test_a_failed_run_and_an_unreadable_file_have_their_result_file(
    capsys: pytest.CaptureFixture[str], pipeline: str, scripts: dict[tuple[str, int], Script], tmp_path: Path
) -> None:
    """A scheduler reads the file in any case."""
    path = tmp_path / "result.json"
    scripts["orders", 0] = Script(failure=SourceError("gone", code="gone"))
    assert call("run", pipeline, "--result", str(path)) == 3
    assert json.loads(path.read_text())["status"] == "failed"
    assert call("run", "no.yaml", "--result", str(path)) == 2
    assert json.loads(path.read_text())["error"]["code"] == "config_unreadable"


def test_a_result_file_that_vanishes_is_told_and_changes_nothing(
    capsys: pytest.CaptureFixture[str], pipeline: str, scripts: dict[tuple[str, int], Script], tmp_path: Path
) -> None:
    """The load is published: the exit code stays 0 and stdout has the result (C21)."""
    path = tmp_path / "out" / "result.json"
    path.parent.mkdir()

    def remove_folder(stop: object) -> None:
        for draft in path.parent.iterdir():
            draft.unlink()
        path.parent.rmdir()

    scripts["orders", 0] = Script(before=remove_folder)
    assert call("run", pipeline, "--result", str(path)) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["status"] == "succeeded"
    assert err.startswith(f"error: the result could not be written to {path}: No such file or directory; the run has")


def test_quiet_leaves_errors_only(
    capsys: pytest.CaptureFixture[str], pipeline: str, scripts: dict[tuple[str, int], Script]
) -> None:
    """Warnings and skipped streams are not told."""
    Path(pipeline).write_text(PIPELINE + "state: {backend: postgres}\n")
    scripts["orders", 0] = Script(failure=SourceError("gone", code="gone"))
    assert call("run", pipeline) == 3
    assert any(line.startswith("warning: ") for line in capsys.readouterr().err.splitlines())
    assert call("run", pipeline, "--quiet") == 3
    assert {line.split()[0] for line in capsys.readouterr().err.splitlines()} <= {
        "error:",
        "in",
        "hint:",
        "Afterwards:",
    }


def test_a_notice_is_told_once(
    capsys: pytest.CaptureFixture[str], pipeline: str, scripts: dict[tuple[str, int], Script]
) -> None:
    """It comes as an event at the start, and again in the result."""
    Path(pipeline).write_text(PIPELINE + "state: {backend: postgres}\n")
    assert call("run", pipeline) == 0
    out, err = capsys.readouterr()
    warnings = json.loads(out)["warnings"]
    assert warnings
    assert [f"warning: {warning}" for warning in warnings] == err.splitlines()


def test_verbose_tells_phases_and_partitions(
    capsys: pytest.CaptureFixture[str], pipeline: str, scripts: dict[tuple[str, int], Script]
) -> None:
    """-v phases, -vv partitions as well; one JSON object a line with --log-format json."""
    assert call("run", pipeline, "-v", "--stream", "orders") == 0
    phases = capsys.readouterr().err.splitlines()
    assert [line.split()[0] for line in phases] == ["prepare", "load", "finalize", "load", "cleanup"]
    assert call("-vv", "--log-format", "json", "run", pipeline, "--stream", "orders") == 0
    messages = [json.loads(line)["message"] for line in capsys.readouterr().err.splitlines()]
    loaded = [message.partition(" loaded")[0] for message in messages if "loaded" in message]
    assert sorted(loaded) == ["stream orders: partition 0", "stream orders: partition 1"]


@pytest.mark.parametrize("key", ["", "a b", "a/b", "ä", "x" * 201, "a\n"])
def test_a_key_that_is_none_is_refused(key: str, pipeline: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit 2, before the pipeline is read."""
    assert call("run", pipeline, "--key", key) == 2
    assert "--key takes 1 to 200 letters" in capsys.readouterr().err
