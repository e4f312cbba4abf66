"""Files, opened: here, in a temporary file, or in a store. And whether they are still what they were."""

from __future__ import annotations

from pathlib import Path
from typing import TypeAlias

from rapidbyte.errors import SourceError
from rapidbyte.sources.files.paths import DataFile, TimedFile, stamp
from rapidbyte.sources.files.remote import RemoteFile, stamp_remote

OpenFile: TypeAlias = TimedFile | RemoteFile
"""Bytes of a file, and the `seconds` that reading them took."""


def open_file(file: DataFile) -> OpenFile:
    """The file's bytes, from the first. Raises OSError for one that is here, SourceError for one in a store."""
    if file.address is None:
        return TimedFile(file.spool or file.path)
    return RemoteFile(file)


def require_unchanged(file: DataFile) -> None:
    """Raises SourceError when the file is not the one that was found: what was read may not belong together."""
    if _fingerprint_now(file) != (file.inode, file.fingerprint):
        raise SourceError(
            f"{file.path} has changed since it was looked at",
            code="file_changed",
            hint="run again when nothing writes to it any more",
        )


def _fingerprint_now(file: DataFile) -> tuple[int, str]:
    if file.address is None:
        now = stamp(Path(file.spool or file.path))
    else:
        now = stamp_remote(file.address, file.path)
    return now.inode, now.fingerprint
