"""The command as a process: signals, broken pipes, full disks, a stderr that nobody reads (C15, C21)."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rapidbyte.cli.console import STDERR_PATIENCE_SECONDS
from tests.unit.test_cli import PIPELINE

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
STARTED: list[subprocess.Popen[str]] = []

PROGRAM = """\
import sys, threading
from rapidbyte import wiring
from rapidbyte.cli import main
from rapidbyte.errors import SourceError
from tests import fakes
from tests.fakes import FakeLeader, FakeSource, Script

def say(word):
    sys.stderr.write(word + "\\n")
    sys.stderr.flush()

def until_stopped(stop):
    say("reading")
    while not stop():
        threading.Event().wait(0.02)

def for_ever(stop):
    say("reading")
    while True:
        threading.Event().wait(60)

def check(spec, *, options):
    say("checking")
    threading.Event().wait()

scripts = {SCRIPTS}
wiring._source = lambda spec, *_: FakeSource(2, scripts)
wiring._leader = lambda spec, *_: FakeLeader()
wiring._writer = lambda: fakes.write
wiring.check = check
main()
"""


@pytest.fixture
def pipeline(tmp_path: Path) -> str:
    """Two streams."""
    path = tmp_path / "pipeline.yaml"
    path.write_text(PIPELINE)
    return str(path)


@pytest.fixture(autouse=True)
def _ended() -> Iterator[None]:
    """No process outlives its test."""
    yield
    while STARTED:
        with STARTED.pop() as process:
            if process.poll() is None:
                process.kill()


def start(*arguments: str, scripts: str = "{}", **pipes: object) -> subprocess.Popen[str]:
    program = PROGRAM.replace("{SCRIPTS}", scripts)
    # Unbuffered streams, as some machines have them, would hide what is still to be written when Python ends.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "env": environment, **pipes}
    command = [sys.executable, "-c", program, *arguments]
    STARTED.append(subprocess.Popen(command, cwd=ROOT, text=True, **streams))  # type: ignore[call-overload]
    return STARTED[-1]


def next_line(process: subprocess.Popen[str]) -> str:
    assert process.stderr is not None
    return process.stderr.readline()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_cancels_the_run_and_the_result_says_so(pipeline: str, number: signal.Signals) -> None:
    """Exit 7, the whole result on stdout, no traceback."""
    process = start("run", pipeline, "--workers", "1", scripts='{("orders", 0): Script(before=until_stopped)}')
    assert next_line(process) == "reading\n"
    process.send_signal(number)
    out, err = process.communicate()
    document = json.loads(out)
    assert process.returncode == 7
    assert (document["status"], document["exit_code"], document["error"]["category"]) == ("cancelled", 7, "cancelled")
    assert err.startswith(f"warning: {number.name}: stopping; a second one leaves at once\n")
    assert "Traceback" not in err


def test_a_second_signal_leaves_at_once(pipeline: str) -> None:
    """Exit 7 and no word more, though a worker does not end."""
    process = start("run", pipeline, "--workers", "1", scripts='{("orders", 0): Script(before=for_ever)}')
    assert next_line(process) == "reading\n"
    process.send_signal(signal.SIGTERM)
    assert next_line(process) == "warning: SIGTERM: stopping; a second one leaves at once\n"
    process.send_signal(signal.SIGINT)
    out, err = process.communicate()
    assert (process.returncode, out, err) == (7, "", "")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_any_other_command_with_7(pipeline: str, number: signal.Signals) -> None:
    """In the form of every error."""
    process = start("check", pipeline)
    assert next_line(process) == "checking\n"
    process.send_signal(number)
    out, err = process.communicate()
    assert (process.returncode, out) == (7, "")
    assert err.startswith(f"error: stopped by {number.name}\n")


def test_ctrl_c_while_modules_are_imported_is_one_line() -> None:
    """Before anybody answers signals: no traceback, exit 7."""
    program = (
        "import sys, threading\n"
        "class Slow:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'rapidbyte.cli.console':\n"
        "            print('importing', file=sys.stderr, flush=True)\n"
        "            threading.Event().wait()\n"
        "sys.meta_path.insert(0, Slow())\n"
        "from rapidbyte.cli import main\n"
        "main()\n"
    )
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    STARTED.append(subprocess.Popen([sys.executable, "-c", program, "init"], cwd=ROOT, text=True, **pipes))  # type: ignore[call-overload]
    process = STARTED[-1]
    assert next_line(process) == "importing\n"
    process.send_signal(signal.SIGINT)
    out, err = process.communicate()
    assert (process.returncode, out, err) == (7, "", "error: stopped by SIGINT\n")


def test_a_second_signal_leaves_no_draft_of_the_result(pipeline: str, tmp_path: Path) -> None:
    """`--result` has made sure of the place, and has left nothing there."""
    place = tmp_path / "result.json"
    process = start(
        *("run", pipeline, "--workers", "1", "--result", str(place)),
        scripts='{("orders", 0): Script(before=for_ever)}',
    )
    assert next_line(process) == "reading\n"
    process.send_signal(signal.SIGTERM)
    assert next_line(process) == "warning: SIGTERM: stopping; a second one leaves at once\n"
    process.send_signal(signal.SIGINT)
    process.communicate()
    assert [path.name for path in tmp_path.iterdir()] == ["pipeline.yaml"]


def test_an_ignored_signal_stays_ignored(pipeline: str) -> None:
    """As nohup and `&` in a script want it."""
    process = start("check", pipeline, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN))
    assert next_line(process) == "checking\n"
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate()
    assert err.startswith("error: stopped by SIGTERM\n")


@pytest.mark.parametrize("output", ["json", "text"])
def test_a_reader_that_has_gone_away_is_passed_over_in_silence(pipeline: str, tmp_path: Path, output: str) -> None:
    """The load is done: exit 0, nothing on stderr, and --result has it all.

    Text is shorter than Python's buffer, so that the interpreter would try again at its end, and exit with 120.
    """
    reading, writing = os.pipe()
    os.close(reading)
    result = tmp_path / "result.json"
    process = start("run", pipeline, "--output", output, "--result", str(result), stdout=writing)
    os.close(writing)
    _, err = process.communicate()
    assert (process.returncode, err) == (0, "")
    assert json.loads(result.read_text())["status"] == "succeeded"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_behind_stdout_is_told_and_the_code_is_the_runs(pipeline: str) -> None:
    """A scheduler must not take it for a failed load."""
    with Path("/dev/full").open("w") as full:
        process = start("run", pipeline, stdout=full)
        _, err = process.communicate()
    assert process.returncode == 0
    assert err == (
        "error: the result could not be written to stdout: No space left on device; "
        "the run has succeeded all the same\n"
    )


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("arguments", [["schema", "result"], ["--help"], ["run", "--help"], ["--version"], ["plan"]])
def test_a_full_disk_behind_stdout_fails_a_command_that_only_prints(pipeline: str, arguments: list[str]) -> None:
    """There is nothing else that it has done. Also where Typer prints."""
    with Path("/dev/full").open("w") as full:
        process = start(*arguments, *([pipeline] if arguments == ["plan"] else []), stdout=full)
        _, err = process.communicate()
    assert process.returncode == 2
    assert err.startswith("error: stdout takes nothing: No space left on device\n")


@pytest.mark.parametrize("arguments", [["schema", "result"], ["--help"], ["--version"]])
def test_a_reader_that_has_gone_away_is_no_failure(arguments: list[str]) -> None:
    """Of `rapidbyte --help | head -1`: exit 0, nothing on stderr."""
    reading, writing = os.pipe()
    os.close(reading)
    process = start(*arguments, stdout=writing)
    os.close(writing)
    _, err = process.communicate()
    assert (process.returncode, err) == (0, "")


@pytest.mark.parametrize("closed", [(1,), (2,), (0, 1, 2)])
def test_closed_descriptors_do_no_harm(pipeline: str, tmp_path: Path, closed: tuple[int, ...]) -> None:
    """A socket that took descriptor 1 would receive what is printed."""
    result = tmp_path / "result.json"

    def close() -> None:
        for descriptor in closed:
            os.close(descriptor)

    process = start("run", pipeline, "--result", str(result), preexec_fn=close)
    out, err = process.communicate()
    assert process.returncode == 0
    assert json.loads(result.read_text())["status"] == "succeeded"
    assert (out == "", err) == (1 in closed, "")


def test_a_stderr_that_nobody_reads_stops_nothing(pipeline: str) -> None:
    """The run ends with its result and its code, though stderr's pipe is full from the start."""
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)
    os.write(writing, b"x" * 4096)
    failing = '{("orders", 0): Script(failure=SourceError("gone", code="gone"))}'
    process = start("run", pipeline, "-vv", scripts=failing, stderr=writing)
    os.close(writing)
    out, _ = process.communicate(timeout=60 + STDERR_PATIENCE_SECONDS)
    os.close(reading)
    assert process.returncode == 3
    assert json.loads(out)["error"]["code"] == "gone"


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_an_encoding_that_lacks_a_character_is_no_obstacle(pipeline: str, encoding: str) -> None:
    """What it cannot print shows as an escape."""
    Path(pipeline).write_text(PIPELINE.replace("name: orders", 'name: "価格"'), encoding="utf-8")
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    process = start("run", pipeline, "--output", "text", env=environment)
    out, err = process.communicate()
    assert (process.returncode, err) == (0, "")
    assert "raw.\\u4fa1\\u683c" in out
