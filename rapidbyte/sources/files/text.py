"""A CSV file's bytes: decompressed, decoded to UTF-8, ending in a line break, cancellable."""

from __future__ import annotations

import codecs
import io
import itertools
import threading
from collections.abc import Iterator
from typing import Any

from rapidbyte.errors import CancelledError, ConfigError, DataError, SourceError
from rapidbyte.ports import Stop
from rapidbyte.sources.files.opening import open_file
from rapidbyte.sources.files.paths import ByteRange, DataFile, compression_of

_SIGNATURES = {
    b"\x1f\x8b": ("compressed by gzip", "let its name end in .gz"),
    b"\x28\xb5\x2f\xfd": ("compressed by zstd", "let its name end in .zst"),
    b"PAR1": ("a Parquet file", "set `format: parquet`"),
}

_CR = 13

PATIENCE_SECONDS = 0.1
"""How long a reading waits for its turn before it takes it anyway."""


def never() -> bool:
    """A Stop that lets everything run to its end."""
    return False


def check_encoding(encoding: str) -> str:
    """Python's name of an encoding: `utf-8`, `cp1252`. Raises ConfigError for an unknown one."""
    try:
        found = codecs.lookup(encoding)
        "".encode(found.name)  # some codecs are not about text
    except LookupError:
        raise ConfigError(
            f"there is no encoding {encoding!r}", code="encoding_unknown", hint="utf-8, latin-1, cp1252, utf-16, ..."
        ) from None
    return found.name


class TextBytes(io.RawIOBase):
    """The UTF-8 text of a file, from after its byte order mark to a line break at its end.

    Reading raises SourceError where the file cannot be read or decompressed to its very end, DataError where it is
    not in its encoding, CancelledError when `stop` says so.
    """

    def __init__(
        self, file: DataFile, encoding: str, stop: Stop = never, *, skip: int = 0, part: ByteRange | None = None
    ) -> None:
        super().__init__()
        self._file = file
        self._compression = compression_of(file, "csv")
        self._stop = stop
        self._encoding = encoding
        self._file_on_disk = open_file(file)
        self._source = self._opened()
        self._decoder = None if encoding == "utf-8" else codecs.getincrementaldecoder(encoding)()
        self._ready = memoryview(b"")
        self._latest: tuple[bytes, bytes] = (b"", b"")
        self._ended = False
        self._turn = threading.Condition()
        self._readings_left: int | None = None
        self._left = None if part is None or part.high is None else part.high - part.low
        self.lines_dropped = 0
        """Lines at the beginning that are not given out: skipped ones and empty ones."""
        if part is None or not part.low:
            self._begin(skip)
        else:
            self._file_on_disk.seek(part.low)

    def _opened(self) -> Any:
        if self._compression is None:
            return self._file_on_disk
        import pyarrow as pa

        return pa.CompressedInputStream(pa.PythonFile(self._file_on_disk, mode="r"), self._compression)

    @property
    def blocked_s(self) -> float:
        """Seconds spent waiting for the file system so far."""
        return self._file_on_disk.seconds

    @property
    def tail(self) -> bytes:
        """The last bytes that were read, at least as many as the last reading asked for."""
        return b"".join(self._latest)

    def readable(self) -> bool:
        """True."""
        return True

    def allow(self, readings: int) -> None:
        """Lets another thread read so many times more; once this was called, it waits when they are used up.

        Arrow's reader would otherwise be 32 blocks ahead of who takes its batches.
        """
        with self._turn:
            self._readings_left = (self._readings_left or 0) + readings
            self._turn.notify_all()

    def readinto(self, buffer: Any) -> int:
        """Fills as much as there is at once; 0 at the end.

        A CR is not the last byte unless it is the file's: Arrow takes an LF that begins a block for its other half,
        and leaves it out, within quotes too.
        """
        target = memoryview(buffer)
        found = self._piece(len(target))
        target[: len(found)] = found
        return len(found)

    def read(self, size: int = -1) -> bytes:
        """As `readinto`, without copying what was read: what Arrow calls. All of the rest where no size is given."""
        if size < 0:
            return super().read(size) or b""
        found = self._piece(size)
        whole = found.obj
        return whole if isinstance(whole, bytes) and len(whole) == len(found) else bytes(found)

    def _piece(self, size: int) -> memoryview:
        """At most so many bytes of what there is at once; none at the end."""
        with self._turn:
            if self._readings_left is not None:
                self._wait_for_turn()
            while bytes(self._ready[:2]) in (b"", b"\r") and not self._ended and not self.closed:
                following = self._next(size)
                self._ready = memoryview(bytes(self._ready) + following if self._ready else following)
            count = min(size, len(self._ready))
            is_last = self._ended and count == len(self._ready)
            if count > 1 and self._ready[count - 1] == _CR and not is_last:
                count -= 1
            found, self._ready = self._ready[:count], self._ready[count:]
            return found

    def _wait_for_turn(self) -> None:
        """Waits until a reading is allowed. Goes on without after a while: a block of empty lines makes no batch."""
        while not self._readings_left and not self.closed:
            if self._stop() or not self._turn.wait(PATIENCE_SECONDS):
                return
        self._readings_left = max(0, (self._readings_left or 0) - 1)

    def close(self) -> None:
        """Closes the file; a reading that waits for its turn gives up. May be repeated."""
        with self._turn:
            if not self.closed:
                self._source.close()
                self._file_on_disk.close()
            super().close()
            self._turn.notify_all()

    def _begin(self, skip: int) -> None:
        """Drops the byte order mark, `skip` lines, and the empty lines that follow."""
        data = self._next(1 << 16)
        for signature, (what, hint) in _SIGNATURES.items():
            if self._compression is None and data.startswith(signature):
                raise SourceError(f"{self._file.path} is {what}", code="file_format", hint=hint)
        if self._encoding == "utf-8" and data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            raise DataError(
                f"{self._file.path} is not utf-8: its byte order mark is that of utf-16",
                code="encoding_invalid",
                sqlstate="22021",
                hint="set `encoding: utf-16` in source.config",
            )
        data = data.removeprefix(codecs.BOM_UTF8)
        while True:
            cut = _line_end(data, at_end=self._ended)
            if cut == 0 and not self._ended:
                data += self._next(1 << 16)
            elif cut and (skip > 0 or not data[:cut].strip(b"\r\n")):
                data, skip = data[cut:], skip - 1
                self.lines_dropped += 1
            else:
                break
        self._ready = memoryview(data)

    def _next(self, size: int) -> bytes:
        """The next piece of text, about `size` bytes; empty only at the end, or when a character is cut in two."""
        if self._stop():
            raise CancelledError("reading was stopped", code="stopped")
        data = self._read(size)
        if not data:
            self._ended = True
        text = data if self._decoder is None else self._decoded(data)
        if self._ended and not (text or self._latest[1]).endswith((b"\n", b"\r")):
            text += b"\n"
        if text:
            self._latest = (self._latest[1], text)
        return text

    def _read(self, size: int) -> bytes:
        size = size if self._left is None else min(size, self._left)
        try:
            data = self._source.read(size)
            self._left = None if self._left is None else self._left - len(data)
            return data
        except OSError as error:
            reason = str(error).removeprefix("[Errno ") if error.errno is None else error.strerror
            raise SourceError(
                f"{self._file.path} cannot be read to its end: {reason}",
                code="file_corrupt" if self._compression else "file_unreadable",
                hint="is it complete? copy it again" if self._compression else None,
            ) from error

    def _decoded(self, data: bytes) -> bytes:
        assert self._decoder is not None  # noqa: S101 - the caller has looked
        try:
            return self._decoder.decode(data, final=not data).encode()
        except UnicodeError as error:
            raise DataError(
                f"{self._file.path} is not {self._encoding} throughout",
                code="encoding_invalid",
                sqlstate="22021",
                hint="set `encoding` in source.config to the one it has",
            ) from error


def _line_end(data: bytes, *, at_end: bool) -> int:
    """How long the first line is, its end included; 0 where it is not known yet. Ends are LF, CR LF and CR."""
    feeds = [place for place in (data.find(b"\n"), data.find(b"\r")) if place >= 0]
    if not feeds:
        return 0
    first = min(feeds)
    if data[first : first + 1] == b"\n":
        return first + 1
    if first + 1 < len(data):
        return first + 2 if data[first + 1 : first + 2] == b"\n" else first + 1
    return first + 1 if at_end else 0


def text_lines(file: DataFile, encoding: str, part: ByteRange | None = None, stop: Stop = never) -> Iterator[str]:
    """Every line of the file, or of a part, from its very first; each byte of the UTF-8 text is one character."""
    with TextBytes(file, encoding, stop, part=part) as source:
        yield from itertools.repeat("\n", source.lines_dropped)
        yield from io.TextIOWrapper(io.BufferedReader(source), encoding="latin-1", newline=None)


def lines_before(file: DataFile, encoding: str, part: ByteRange | None) -> int:
    """How many lines of the file lie before a part. Reads them, and counts their ends: LF, CR LF and CR."""
    if part is None or not part.low:
        return 0
    count = 0
    with TextBytes(file, encoding, part=ByteRange(low=0, high=part.low)) as source:
        count += source.lines_dropped
        while data := source.read(1 << 20):  # a CR LF is never cut in two
            count += data.count(b"\n") + data.count(b"\r") - data.count(b"\r\n")
    return count
