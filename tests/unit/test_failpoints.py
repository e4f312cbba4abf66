"""Failpoints: the list is the source's, what is armed happens, at its passing and nowhere else."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from rapidbyte import failpoints
from rapidbyte.errors import ConfigError, DestinationError
from rapidbyte.failpoints import FAILPOINTS, FailpointError, Trigger, arm_from_environment, failpoint, parse

PACKAGE = Path(failpoints.__file__).parent


def calls() -> list[ast.expr]:
    """The first argument of every call of `failpoint` in the package."""
    return [
        node.args[0]
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("failpoint")
    ]


@pytest.fixture
def arm(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """arm(text): as if this process had started with it; returns the folder."""

    def arm(text: str) -> Path:
        monkeypatch.setenv("RAPIDBYTE_FAILPOINT", text)
        monkeypatch.setenv("RAPIDBYTE_FAILPOINT_DIR", str(tmp_path))
        arm_from_environment()
        return tmp_path

    yield arm
    monkeypatch.delenv("RAPIDBYTE_FAILPOINT", raising=False)
    arm_from_environment()


def test_every_failpoint_is_in_the_list_and_every_name_in_the_source():
    """A call with another name, or with no literal, and a name without a call are both found."""
    assert {argument.value for argument in calls() if isinstance(argument, ast.Constant)} == set(FAILPOINTS)
    assert all(isinstance(argument, ast.Constant) for argument in calls())


def test_there_are_the_27_of_the_protocol():
    """Others may come; none of these may go in silence."""
    assert len(FAILPOINTS) >= 27


def test_nothing_happens_unless_the_environment_says_so():
    """Not even for a name that there is not."""
    assert failpoints._switch.on is False
    failpoint("no such name")


def test_the_second_passing_fires_and_no_other(arm):
    """Occurrences are counted by name."""
    folder = arm("w.receipt#2=raise")
    failpoint("w.receipt")
    failpoint("w.copy_mid")
    with pytest.raises(FailpointError, match=r"w\.receipt"):
        failpoint("w.receipt")
    failpoint("w.receipt")
    assert (folder / "fired").read_text() == "w.receipt#2=raise\n"


def test_fail_is_an_error_of_the_tree(arm):
    """It takes the way of every refusal of the server, and is not tried again."""
    arm("pub.state=fail")
    with pytest.raises(DestinationError) as caught:
        failpoint("pub.state")
    assert (caught.value.code, caught.value.retry) == ("failpoint", "never")


def test_a_star_is_every_name_and_every_passing(arm):
    """What the sweep learns occurrences with."""
    folder = arm("*=note")
    for name in ("cfg.parsed", "w.receipt", "w.receipt"):
        failpoint(name)
    assert (folder / "fired").read_text().split() == ["cfg.parsed#1=note", "w.receipt#1=note", "w.receipt#2=note"]


def test_several_are_parted_by_commas():
    """The occurrence is the first where none is named."""
    assert parse("w.receipt#3=exit, pub.begin=stop,w.copy_mid#*=note") == (
        Trigger(name="w.receipt", occurrence=3, action="exit"),
        Trigger(name="pub.begin", occurrence=1, action="stop"),
        Trigger(name="w.copy_mid", occurrence=None, action="note"),
    )


@pytest.mark.parametrize("text", ["nowhere=exit", "w.receipt=explode", "w.receipt", "w.receipt#0=exit", "#1=exit"])
def test_what_cannot_be_read_is_refused(text):
    """A misspelt name would be a test that tests nothing."""
    with pytest.raises(ConfigError, match="RAPIDBYTE_FAILPOINT"):
        parse(text)


@pytest.mark.slow
def test_a_run_with_an_unknown_name_is_refused_at_its_start(tmp_path: Path):
    """Exit code 2, before anything is connected."""
    pipeline = tmp_path / "pipeline.yaml"
    pipeline.write_text(
        'version: "1.0"\npipeline: p\nsource: {use: postgres, config: {dsn: "postgresql://localhost:1/x"},'
        " streams: [{name: t}]}\n"
        'destination: {use: postgres, config: {dsn: "postgresql://localhost:1/x"}}\n'
    )
    done = subprocess.run(
        [sys.executable, "-m", "rapidbyte", "run", str(pipeline)],
        env={"RAPIDBYTE_FAILPOINT": "nowhere=exit"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "there is no failpoint 'nowhere'" in done.stderr


@pytest.mark.slow
def test_exit_ends_the_process_as_a_kill_would():
    """No handler of Python runs; the code is 137."""
    program = "from rapidbyte.failpoints import failpoint\ntry:\n    failpoint('cfg.parsed')\nfinally:\n    print('x')"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={"RAPIDBYTE_FAILPOINT": "cfg.parsed=exit", "PYTHONPATH": str(PACKAGE.parent)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (137, "")
