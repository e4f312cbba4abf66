"""What libraries log or warn about, told as every other line: escaped, and as JSON where that is asked for."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from rapidbyte.cli.console import Level


class Tell(Protocol):
    """`Console.tell`."""

    def __call__(self, message: str, *, level: Level) -> None:
        """One line on stderr."""
        ...


class _Telling(logging.Handler):
    """Hands each record on; without it logging would write raw text to stderr."""

    def __init__(self, tell: Tell) -> None:
        super().__init__(logging.WARNING)
        self._tell = tell

    def emit(self, record: logging.LogRecord) -> None:
        """The record as a warning: our own errors do not come this way."""
        self._tell(f"{record.name}: {record.getMessage()}", level="warning")


def tell_library_messages(tell: Tell) -> None:
    """From now on `logging` and `warnings` speak through `tell`. Takes the place of an earlier one."""
    root = logging.getLogger()
    for handler in [found for found in root.handlers if isinstance(found, _Telling)]:
        root.removeHandler(handler)
    root.addHandler(_Telling(tell))
    logging.captureWarnings(capture=True)
