"""On a terminal: live progress on stderr, a summary on stdout, and data that cannot act on either (G11)."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import pexpect
import pytest

from tests.unit.test_cli import PIPELINE
from tests.unit.test_cli_process import PROGRAM, ROOT

pytestmark = pytest.mark.slow

COLOUR = re.compile(r"\x1b\[[0-9;]*m")
GATE = """\
def gate(stop):
    sys.stdin.readline()

"""


@pytest.fixture
def pipeline(tmp_path: Path) -> str:
    """Two streams."""
    path = tmp_path / "pipeline.yaml"
    path.write_text(PIPELINE)
    return str(path)


def spawn(*arguments: str, scripts: str = "{}", **environment: str) -> pexpect.spawn[str]:
    program = PROGRAM.replace("scripts = {SCRIPTS}", GATE + f"scripts = {scripts}")
    env = {**{name: value for name, value in os.environ.items() if name != "NO_COLOR"}, "TERM": "xterm-256color"}
    return pexpect.spawn(
        sys.executable,
        ["-c", program, *arguments],
        cwd=str(ROOT),
        env={**env, **environment},
        encoding="utf-8",
        dimensions=(40, 160),
        timeout=60,
    )


def finish(child: pexpect.spawn[str]) -> tuple[int | None, str]:
    child.expect(pexpect.EOF)
    child.close()
    return child.exitstatus, child.before or ""


def test_progress_is_live_and_leaves_the_summary(pipeline: str) -> None:
    """While a partition waits, its stream and the phase are on the screen; in the end only the summary is."""
    child = spawn("run", pipeline, "--workers", "1", scripts='{("orders", 1): Script(before=gate)}')
    child.expect(r"1 rows")
    child.expect(r"run \S+( s)?, load, ")
    child.sendline("go")
    code, rest = finish(child)
    text = COLOUR.sub("", rest)
    assert code == 0
    assert "shop: run succeeded in" in text
    assert "exit 0: done" in text
    assert "\x1b[?25h" in rest  # the cursor is back


def test_json_comes_also_on_a_terminal_when_asked_for(pipeline: str) -> None:
    """And no summary."""
    code, text = finish(spawn("--quiet", "run", pipeline, "--output", "json"))
    assert code == 0
    assert text.lstrip().startswith("{")
    assert "exit 0: done" not in text


@pytest.mark.parametrize("quiet", [{"TERM": "dumb"}, {}])
def test_no_live_progress_where_it_is_not_wanted(pipeline: str, quiet: dict[str, str]) -> None:
    """On a dumb terminal, with --quiet."""
    arguments = ("run", pipeline) if quiet else ("run", pipeline, "--quiet")
    code, text = finish(spawn(*arguments, **quiet))
    assert code == 0
    assert "\x1b[?25" not in text
    assert "exit 0: done" in text


def test_no_color_is_honoured(pipeline: str) -> None:
    """No colour of anything; with colour allowed there is some."""
    assert re.search(r"\x1b\[[0-9;]*3[0-9]", finish(spawn("run", pipeline, "--quiet"))[1])
    assert not re.search(r"\x1b\[[0-9;]*3[0-9]", finish(spawn("run", pipeline, "--quiet", NO_COLOR="1"))[1])


def test_hostile_names_and_messages_do_nothing(pipeline: str) -> None:
    """Escapes show as text, brackets are no markup, also in the live table and in errors."""
    Path(pipeline).write_text(PIPELINE.replace("name: orders", 'name: "[bold red]x[/]", target: orders'))
    failure = 'Script(before=gate, failure=SourceError("[/oops] \\x1b[2J\\nerror: fake", code="gone"))'
    child = spawn("run", pipeline, "--workers", "1", scripts='{("[bold red]x[/]", 1): ' + failure + "}")
    child.expect_exact("[bold red]x[/]")
    child.expect("1 rows")
    child.sendline("go")
    code, text = finish(child)
    assert (code, "\x1b[2J" in text) == (3, False)
    assert "stream [bold red]x[/]: failed" in COLOUR.sub("", text)
    assert "error: [/oops] \\x1b[2J\\nerror: fake" in COLOUR.sub("", text)


def test_the_first_signal_is_told_above_the_live_table(pipeline: str) -> None:
    """Ctrl-C on the keyboard cancels the run."""
    child = spawn("run", pipeline, "--workers", "1", scripts='{("orders", 0): Script(before=until_stopped)}')
    child.expect("reading")
    child.sendintr()
    code, text = finish(child)
    assert code == 7
    assert "warning: SIGINT: stopping; a second one leaves at once" in COLOUR.sub("", text)
    assert "shop: run cancelled in" in COLOUR.sub("", text)
