"""A defect of ours: one line for the user, the traceback into a file that only the user can read."""

from __future__ import annotations

import contextlib
import os
import tempfile
import traceback

from rapidbyte.errors import InternalError


def internal_error(error: BaseException) -> InternalError:
    """The error as one of the tree, with the path of the details as its hint. Never raises OSError.

    The file has mode 0600 and holds the traceback, without the local variables: those may be rows or passwords.
    """
    path = _write_details("".join(traceback.format_exception(error)))
    where = f"the details are in {path}" if path else "the details could not be written to the temp folder"
    return InternalError(
        f"rapidbyte has a defect: {type(error).__name__}",
        code="internal",
        hint=f"{where}; please report them",
        safe_to_retry=False,
    )


def _write_details(text: str) -> str | None:
    with contextlib.suppress(OSError):
        descriptor, path = tempfile.mkstemp(prefix="rapidbyte-", suffix=".txt")
        with os.fdopen(descriptor, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(text)
        return path
    return None
