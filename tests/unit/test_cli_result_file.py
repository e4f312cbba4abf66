"""`--result FILE` is refused before the run or written in one piece after it (C21, G9)."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rapidbyte.cli.result_file import ResultFile, open_result_file
from rapidbyte.errors import ConfigError


def refused(path: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        open_result_file(path)
    assert (caught.value.code, caught.value.exit_code) == ("result_unwritable", 2)
    return caught.value.message


def test_what_is_no_plain_file_is_refused(tmp_path: Path) -> None:
    """Links, also dangling ones, folders, pipes, devices: another user could have put them there."""
    (tmp_path / "file").write_text("old")
    (tmp_path / "link").symlink_to("file")
    (tmp_path / "dangling").symlink_to("nowhere")
    os.mkfifo(tmp_path / "pipe")
    assert "a symbolic link" in refused(tmp_path / "link")
    assert "a symbolic link" in refused(tmp_path / "dangling")
    assert "a folder" in refused(tmp_path)
    assert "not a regular file" in refused(tmp_path / "pipe")
    assert "not a regular file" in refused(Path("/dev/null"))
    assert (tmp_path / "file").read_text() == "old"


def test_a_place_that_takes_no_file_is_refused(tmp_path: Path) -> None:
    """No folder, a file as a folder, a name that is too long, NUL."""
    (tmp_path / "file").write_text("old")
    assert "No such file or directory" in refused(tmp_path / "no" / "result.json")
    assert "Not a directory" in refused(tmp_path / "file" / "result.json")
    assert "File name too long" in refused(tmp_path / ("x" * 300))
    assert "null byte" in refused(tmp_path / "a\0b")


def test_the_old_file_stays_until_the_new_one_is_whole(tmp_path: Path) -> None:
    """Until it is written no file of ours is there: a run that is killed leaves none (C15)."""
    path = tmp_path / "result.json"
    path.write_text("old")
    file = open_result_file(path)
    assert [path.read_text(), *tmp_path.iterdir()] == ["old", path]
    file.write("new")
    assert [path.read_text(), *tmp_path.iterdir()] == ["new", path]


def test_a_link_that_appears_during_the_run_is_replaced_not_followed(tmp_path: Path) -> None:
    """What it points to is not touched."""
    victim = tmp_path / "victim"
    victim.write_text("mine")
    path = tmp_path / "result.json"
    file = open_result_file(path)
    path.symlink_to(victim)
    file.write("new")
    assert (victim.read_text(), path.read_text(), path.is_symlink()) == ("mine", "new", False)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error is raised, the draft removed."""
    path = tmp_path / "result.json"
    path.write_text("old")
    file = open_result_file(path)
    create = ResultFile.create

    def full(place: ResultFile) -> int:
        os.close(create(place))
        return os.open("/dev/full", os.O_WRONLY)

    monkeypatch.setattr(ResultFile, "create", full)
    with pytest.raises(OSError, match="No space left"):
        file.write("new")
    assert [path.read_text(), *tmp_path.iterdir()] == ["old", path]
