"""Increments of files: each file once. Which are new, and what tells a file from a later one of its name."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from rapidbyte.cursor import FILES_FIELD, CursorBounds, FileMark, files_value
from rapidbyte.errors import CancelledError, SourceError
from rapidbyte.ports import Stop
from rapidbyte.sources.files.opening import open_file, require_unchanged
from rapidbyte.sources.files.paths import DataFile, relative

HASHED_BYTES = 1 << 20
"""Read at once; between two readings it is asked whether to stop."""


def new_files(
    files: Sequence[DataFile],
    known: Sequence[FileMark],
    *,
    stored: str | None,
    base_dir: str,
    reloads: bool,
    stop: Stop,
) -> CursorBounds:
    """The files that are to be loaded: those whose path is not known; with `reloads` also those that have changed.

    A file whose size and time are as they were is taken for the same; another one is read, and its content decides.
    Raises SourceError for one that has changed, unless `reloads`; CancelledError.
    """
    loaded = {mark.path: mark for mark in known}
    new: list[FileMark] = []
    changed: list[str] = []
    for file in files:
        before = loaded.get(relative(file.path, base_dir))
        if before is not None and before.stamp == file.fingerprint:
            continue
        mark = mark_of(file, base_dir, stop)
        if before is not None and before.digest == mark.digest:
            continue
        if before is not None and not reloads:
            changed.append(mark.path)
        new.append(mark)
    if changed:
        raise _changed(changed)
    after = tuple({**loaded, **{mark.path: mark for mark in new}}.values())
    return CursorBounds(
        field=FILES_FIELD,
        type="text",
        low=stored,
        low_inclusive=False,
        high=files_value(after) if new else None,
        high_inclusive=True,
        stored=stored,
        files=tuple(new),
        warnings=_copies(new, known),
    )


def mark_of(file: DataFile, base_dir: str, stop: Stop) -> FileMark:
    """The file as it is now; reads it to its end, unless a store tells its versions apart. Raises SourceError,
    CancelledError.
    """
    name = relative(file.path, base_dir)
    if file.address is not None and file.tag:
        return FileMark(path=name, size=file.size, stamp=file.fingerprint, digest=file.tag)
    content = hashlib.sha256()
    try:
        with open_file(file) as source:
            while piece := source.read(HASHED_BYTES):
                if stop():
                    raise CancelledError(f"stopped while {file.path} was looked at", code="stopped")
                content.update(piece)
    except OSError as error:
        raise SourceError(f"{file.path}: {error.strerror}", code="file_unreadable") from error
    require_unchanged(file)
    return FileMark(path=name, size=file.size, stamp=file.fingerprint, digest=content.hexdigest())


def require_as_marked(files: Sequence[DataFile], marks: Sequence[FileMark], base_dir: str) -> frozenset[str]:
    """The paths of the files that are marked. Raises SourceError where one of them is not what it was."""
    now = {relative(file.path, base_dir): file for file in files}
    for mark in marks:
        found = now.get(mark.path)
        if found is None or found.fingerprint != mark.stamp:
            raise SourceError(
                f"{mark.path} has changed since it was looked at" if found else f"{mark.path} is gone",
                code="file_changed",
                hint="run again when nothing writes to it any more",
            )
    return frozenset(now[mark.path].path for mark in marks)


def _changed(paths: Sequence[str]) -> SourceError:
    named = ", ".join(paths[:3]) + (f" and {len(paths) - 3} more" if len(paths) > 3 else "")
    return SourceError(
        f"{named}: changed since it was loaded, and an append would add rows that are there already",
        code="file_changed_after_load",
        hint="give what is new a file of its own, use `write_mode: upsert`, or load all anew with --full-refresh",
        afterwards="nothing was loaded",
    )


def _copies(new: Sequence[FileMark], known: Sequence[FileMark]) -> tuple[str, ...]:
    """A sentence for each new file that has the content of a loaded one: it may be that one, under another name."""
    by_digest = {mark.digest: mark.path for mark in known}
    return tuple(
        f"{mark.path} is loaded as a new file, and has the same content as {by_digest[mark.digest]}"
        for mark in new
        if by_digest.get(mark.digest, mark.path) != mark.path
    )
