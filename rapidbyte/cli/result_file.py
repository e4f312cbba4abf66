"""`--result FILE`: checked before the run, written in one piece after it."""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from pathlib import Path

from rapidbyte.errors import ConfigError
from rapidbyte.values import frozen

_TOKEN = secrets.token_hex(6)


@frozen
class ResultFile:
    """A place for the result that took a new file before the run. No file of ours is there until `write`, so that
    a run that is killed leaves none.
    """

    path: Path

    @property
    def draft(self) -> Path:
        """The new file, in the same folder, mode 0600; it is renamed to `path`. No other process has this name."""
        return self.path.with_name(f".{self.path.name[:100]}.{os.getpid()}.{_TOKEN}.tmp")

    def write(self, text: str) -> None:
        """Puts the text under its name, all of it or nothing. Raises OSError; nothing is left behind then."""
        descriptor = self.create()
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            self.draft.replace(self.path)
        except OSError:
            with contextlib.suppress(OSError):
                self.draft.unlink()
            raise

    def create(self) -> int:
        """The draft's descriptor. Raises OSError, ValueError; then there is no draft."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(self.draft, flags, 0o600)
        os.fchmod(descriptor, 0o600)
        return descriptor


def open_result_file(path: Path) -> ResultFile:
    """Makes sure that a result can be written there: a file is made, and removed.

    Raises ConfigError where the name is a symbolic link, a folder, a pipe or a device (another user could have put
    a link there), or where its folder takes no new file.
    """
    _require_plain(path)
    place = ResultFile(path=path)
    try:
        os.close(place.create())
        place.draft.unlink()
    except (OSError, ValueError) as error:
        raise _unwritable(path, getattr(error, "strerror", None) or str(error)) from error
    return place


def _require_plain(path: Path) -> None:
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    except (OSError, ValueError) as error:
        raise _unwritable(path, getattr(error, "strerror", None) or str(error)) from error
    if not stat.S_ISREG(mode):
        what = "a symbolic link" if stat.S_ISLNK(mode) else "a folder" if stat.S_ISDIR(mode) else "not a regular file"
        raise _unwritable(path, f"it is {what}")


def _unwritable(path: Path, why: str) -> ConfigError:
    return ConfigError(
        f"the file cannot be written to {path}: {why}",
        code="result_unwritable",
        hint="nothing was started; name a file in a folder that you may write",
    )
