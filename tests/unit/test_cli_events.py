"""`--events FILE`: one JSON object a line, whole lines only, and a run that does not depend on them."""

from __future__ import annotations

import json
import os
import resource
import stat
from dataclasses import fields
from datetime import UTC, datetime
from pathlib import Path
from typing import get_args

import pytest

from rapidbyte.cli.events_file import NAMES, event_line, open_events_file
from rapidbyte.errors import ConfigError
from rapidbyte.events import BlockMoved, Event, Notice, PhaseStarted

DOCS = Path(__file__).parents[2] / "docs" / "events.md"
MOMENT = datetime(2026, 1, 31, 23, 59, 59, 123456, tzinfo=UTC)


def test_every_event_but_a_block_has_a_name_and_is_documented_with_its_fields() -> None:
    """docs/events.md has a heading an event, and a row a field."""
    assert set(NAMES) == set(get_args(Event)) - {BlockMoved}
    text = DOCS.read_text()
    sections = {part.split("\n", 1)[0].strip("` "): part for part in text.split("\n## ")[1:]}
    assert set(sections) == set(NAMES.values())
    for kind, name in NAMES.items():
        documented = [line.split("`")[1] for line in sections[name].splitlines() if line.startswith("| `")]
        assert documented == [field.name for field in fields(kind)]


def test_an_event_is_a_line_of_ascii() -> None:
    """Name, time in UTC, its own fields; a line feed in a name ends no line."""
    line = event_line(Notice(message="é\nx"), MOMENT)
    assert line == '{"event": "notice", "at": "2026-01-31T23:59:59.123Z", "message": "\\u00e9\\nx"}\n'


def test_lines_are_there_as_soon_as_they_are_told(tmp_path: Path) -> None:
    """Nothing waits for the end; blocks are left out; what was in the file is gone; mode 0600."""
    path = tmp_path / "events.ndjson"
    path.write_text("old\n")
    path.chmod(0o644)
    events = open_events_file(path, pytest.fail)
    events.write(PhaseStarted(phase="load"))
    events.write(BlockMoved(stream="a", partition=0, worker=0, rows=1, bytes=1))
    assert [json.loads(line)["phase"] for line in path.read_text().splitlines()] == ["load"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    events.close()
    events.close()
    events.write(PhaseStarted(phase="late"))
    assert len(path.read_text().splitlines()) == 1


def test_a_place_that_takes_no_file_is_refused_before_the_run(tmp_path: Path) -> None:
    """A link, a folder, a pipe, a missing folder, a name with NUL: exit 2, and what the link names is untouched."""
    target = tmp_path / "target"
    target.write_text("precious")
    link, folder, pipe = tmp_path / "link", tmp_path / "folder", tmp_path / "pipe"
    link.symlink_to(target)
    folder.mkdir()
    os.mkfifo(pipe)
    for path in (link, folder, pipe, tmp_path / "no" / "such", tmp_path / "a\0b"):
        with pytest.raises(ConfigError) as refused:
            open_events_file(path, pytest.fail)
        assert (refused.value.code, refused.value.exit_code) == ("events_unwritable", 2)
    assert target.read_text() == "precious"


def test_a_full_disk_is_told_once_and_leaves_whole_lines(tmp_path: Path) -> None:
    """The file may not grow beyond 100 bytes: one line fits, the next does not; the run is not disturbed (C21)."""
    told: list[str] = []
    path = tmp_path / "events.ndjson"
    events = open_events_file(path, told.append)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    try:
        for phase in ("prepare", "load", "finalize"):
            events.write(PhaseStarted(phase=phase))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert told == [f"events are no longer written to {path}: File too large; the run goes on"]
    assert [json.loads(line)["phase"] for line in path.read_text().splitlines()] == ["prepare"]
