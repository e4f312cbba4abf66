"""What can be read only once, in a temporary file: standard input, and addresses that know no ranges.

So memory stays bounded, a header and a sample can be looked at before the rows are read, and a worker may try again.
"""

from __future__ import annotations

import os
import select
import shutil
import stat
import tempfile
import weakref
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

from rapidbyte.errors import CancelledError, SourceError
from rapidbyte.ports import Stop
from rapidbyte.sources.files.paths import Compression, DataFile, stamp

STANDARD_INPUT = "-"
"""The path that means it."""
NAME = "standard input"
"""What it is called in messages."""
PIECE_BYTES = 1 << 20
PATIENCE_SECONDS = 0.1
"""How long standard input is waited for before it is asked whether to stop."""

_MAGIC: dict[bytes, Compression] = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}


class Spool:
    """A folder of temporary files, which is gone with this object at the latest. Used by one thread."""

    def __init__(self, stop: Stop, *, input_fd: int = 0) -> None:
        self._stop = stop
        self._input_fd = input_fd
        self._folder: str | None = None
        self._kept: dict[str, DataFile] = {}

    def standard_input(self) -> DataFile:
        """Standard input, to its end: the file itself where it is a plain one, else a copy. Made once.

        Raises SourceError where there is none, or nothing in it; CancelledError.
        """
        if NAME not in self._kept:
            try:
                self._kept[NAME] = self._taken()
            except OSError as error:
                raise SourceError(f"{NAME} cannot be read: {error.strerror}", code="file_unreadable") from error
        return self._kept[NAME]

    def keep(self, name: str, pieces: Callable[[], Iterable[bytes]]) -> DataFile:
        """What these pieces make, under this name, asked for once. Raises what they do, SourceError, CancelledError."""
        if name not in self._kept:
            self._kept[name] = self._file(name, self._written(pieces()))
        return self._kept[name]

    def _taken(self) -> DataFile:
        fd = self._input_fd
        if os.isatty(fd):
            raise SourceError(
                f"{NAME} is a terminal: there is nothing to read",
                code="input_missing",
                hint="rapidbyte run pipeline.yaml < FILE, or COMMAND | rapidbyte run pipeline.yaml",
            )
        own = Path(f"/proc/self/fd/{fd}")
        if stat.S_ISREG(os.fstat(fd).st_mode) and os.lseek(fd, 0, os.SEEK_CUR) == 0 and own.exists():
            return self._file(NAME, str(own.resolve()))
        return self._file(NAME, self._written(self._pieces(fd)))

    def _pieces(self, fd: int) -> Iterable[bytes]:
        while True:
            if self._stop():
                raise CancelledError(f"stopped while {NAME} was read", code="stopped")
            if select.select([fd], [], [], PATIENCE_SECONDS)[0]:
                piece = os.read(fd, PIECE_BYTES)
                if not piece:
                    return
                yield piece

    def _written(self, pieces: Iterable[bytes]) -> str:
        if self._folder is None:
            self._folder = tempfile.mkdtemp(prefix="rapidbyte-")
            weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        path = Path(self._folder) / str(len(self._kept))
        try:
            with path.open("wb") as file:
                for piece in pieces:
                    if self._stop():
                        raise CancelledError("stopped while a temporary file was written", code="stopped")
                    file.write(piece)
        except OSError as error:
            raise SourceError(
                f"the temporary file {path} cannot be written: {error.strerror}",
                code="spool_failed",
                hint="TMPDIR names a folder with more room",
            ) from error
        return str(path)

    @staticmethod
    def _file(name: str, path: str) -> DataFile:
        if Path(path).stat().st_size == 0:
            raise SourceError(f"{name} is empty: it has not even a header", code="file_empty")
        with Path(path).open("rb") as file:
            head = file.read(4)
        packed = next((kind for magic, kind in _MAGIC.items() if head.startswith(magic)), None)
        return replace(stamp(Path(path)), path=name, spool=path, packed=packed)
