"""What the process keeps of the system's memory beside its rows: Arrow's pool, and the pages of libraries.

Arrow's default pool, mimalloc, keeps for each thread what it has freed: 1,000,000 rows of CSV with two workers took 248
to 273 MB at their peak, of which Arrow used 17 at any time. jemalloc with one arena for all threads took 187 to 200,
and no more CPU; with an arena a thread 199; glibc's malloc 184 to 230, with a third of the CPU more where it gives
memory back at once. Whether jemalloc gives it back after 20, 100 or 1000 ms made no difference to the peak.
"""

from __future__ import annotations

import ctypes
import importlib
import os
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from rapidbyte.values import frozen

POOL_VARIABLE = "ARROW_DEFAULT_MEMORY_POOL"
"""Arrow's own: who has set it has chosen."""

_SETTINGS = "JE_ARROW_MALLOC_CONF"
"""Read by Arrow's jemalloc when it starts, so set before Arrow is loaded."""

_ARENAS_VARIABLE = "MALLOC_ARENA_MAX"
"""glibc's own."""

SMALLEST_BYTES = 256 << 10
"""Of a mapping that is worth a call of the system."""

_MAPPING = re.compile(r"([0-9a-f]+)-([0-9a-f]+) (\S{4}) \S+ \S+ \d+ *(.*)")

_MADV_DONTNEED = 4
"""Of Linux."""


_M_ARENA_MAX = -8
"""Of glibc's malloc.h."""


def choose_pool() -> None:
    """Lets Arrow use one arena of jemalloc, unless somebody in this process has loaded Arrow before, or chosen.

    Through Arrow's own variables, which are read while it is loaded, so it is loaded here: a pool that is set later is
    Python's alone, and what reads Parquet and computes keeps the default one. Afterwards they are gone from the
    environment again, which is the caller's and its children's. glibc's malloc, from which Python, DuckDB and libpq
    have theirs, gets one arena, too: each keeps what was freed in it. To be called before threads are started; may be
    called again. On Linux with glibc alone: Arrow has jemalloc there, and says so on stderr where it has not.
    """
    if "pyarrow" in sys.modules or POOL_VARIABLE in os.environ or not _has_glibc():
        return
    set_option = getattr(ctypes.CDLL(None), "mallopt", None)
    if set_option is not None and _ARENAS_VARIABLE not in os.environ:
        set_option(_M_ARENA_MAX, 1)
    wanted = {POOL_VARIABLE: "jemalloc", _SETTINGS: "narenas:1,tcache:false"}
    ours = {name: value for name, value in wanted.items() if name not in os.environ}
    os.environ.update(ours)
    try:
        importlib.import_module("pyarrow")
    finally:
        for name in ours:
            os.environ.pop(name, None)


def _has_glibc() -> bool:
    if sys.platform != "linux":
        return False
    try:
        return bool(os.confstr("CS_GNU_LIBC_VERSION"))
    except (ValueError, OSError):  # the name is glibc's own
        return False


def release_libraries() -> None:
    """Gives back the pages of large libraries that only their start needed; what is used comes back by itself.

    Loading Arrow and DuckDB, and making DuckDB's catalog of functions, touches 70 MB of their files, of which a load
    uses half. The pages are clean ones of the system's file cache, so that nothing is read from a disk again. Called
    once, before rows are read. Nothing where neither library is loaded, or the system does not tell (no Linux).
    """
    if "pyarrow" not in sys.modules and "duckdb" not in sys.modules:
        return
    try:
        found = tuple(clean_mappings(Path("/proc/self/smaps").read_text().splitlines()))
    except OSError:
        return
    give_back = getattr(ctypes.CDLL(None), "madvise", None)
    if give_back is None:
        return
    give_back.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    for mapping in found:
        if mapping.resident_bytes >= SMALLEST_BYTES:
            give_back(mapping.start, mapping.end - mapping.start, _MADV_DONTNEED)


@frozen
class Mapping:
    """A part of a library's file in memory, as it is in the file."""

    start: int
    end: int
    resident_bytes: int


def clean_mappings(lines: Iterable[str]) -> Iterator[Mapping]:
    """Of the lines of `/proc/self/smaps` those parts of libraries that nobody can write, or has written.

    What the loader has changed (addresses of other libraries) is in no file, and would be lost.
    """
    start, end, resident, is_library = 0, 0, 0, False
    for line in lines:
        head = _MAPPING.fullmatch(line)
        if head is not None:
            start, end = int(head[1], 16), int(head[2], 16)
            is_library = head[3] in ("r--p", "r-xp") and ".so" in head[4].rpartition("/")[2]
        elif is_library and line.startswith("Rss:"):
            resident = int(line.split()[1]) << 10
        elif is_library and line.startswith("Anonymous:") and line.split()[1] == "0":
            yield Mapping(start=start, end=end, resident_bytes=resident)
