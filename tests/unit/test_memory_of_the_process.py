"""Arrow's memory pool is chosen before Arrow is loaded, by nobody else; pages of libraries are given back."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from rapidbyte.memory import Mapping, clean_mappings

SHOW = "import pyarrow as pa; print(pa.default_memory_pool().backend_name)"
CHOOSE = "from rapidbyte.memory import choose_pool; choose_pool()"


def backend(*statements: str, **environment: str) -> str:
    """The pool that a process of its own uses after these statements."""
    known = {name: value for name, value in os.environ.items() if name != "ARROW_DEFAULT_MEMORY_POOL"}
    command = [sys.executable, "-c", "; ".join(statements)]
    return subprocess.run(command, env=known | environment, check=True, capture_output=True, text=True).stdout.strip()


WATCH = """
import os, sys
class Watch:
    def find_spec(self, name, path=None, target=None):
        if name == "pyarrow":
            print(os.environ["JE_ARROW_MALLOC_CONF"])
sys.meta_path.insert(0, Watch())
"""
CHILD = "import os; print(sorted(name for name in os.environ if 'ARROW' in name))"
TELL_CHILD = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {CHILD!r}], check=True)"


@pytest.mark.skipif(sys.platform != "linux", reason="Arrow has jemalloc on Linux")
def test_the_pool_of_one_arena_is_chosen() -> None:
    """jemalloc, with its settings in the environment while Arrow is loaded; the caller's children get none of them."""
    watched = f"exec({WATCH!r})"
    shown = backend(watched, CHOOSE, f"{SHOW}; sys.stdout.flush()", TELL_CHILD)
    assert shown.splitlines() == ["narenas:1,tcache:false", "jemalloc", "[]"]


@pytest.mark.skipif(sys.platform != "linux", reason="Arrow has jemalloc on Linux")
def test_settings_of_jemalloc_that_somebody_has_made_are_left_as_they_were() -> None:
    """They count, and stay in the environment."""
    shown = backend(
        f"exec({WATCH!r})", CHOOSE, f"{SHOW}; sys.stdout.flush()", TELL_CHILD, JE_ARROW_MALLOC_CONF="narenas:2"
    )
    assert shown.splitlines() == ["narenas:2", "jemalloc", "['JE_ARROW_MALLOC_CONF']"]


ELSEWHERE = "import os; os.confstr = int"
"""A ValueError for every name, as where the system does not know it."""


@pytest.mark.skipif(sys.platform != "linux", reason="told by confstr")
def test_without_glibc_arrow_keeps_its_pool() -> None:
    """Its packages for musl have no jemalloc, of which Arrow would tell on stderr."""
    assert backend(ELSEWHERE, CHOOSE, SHOW) == backend(SHOW)


def test_who_has_chosen_or_loaded_arrow_before_keeps_the_pool() -> None:
    """A variable of the environment, and a process that is not ours."""
    assert backend(CHOOSE, SHOW, ARROW_DEFAULT_MEMORY_POOL="system") == "system"
    assert backend("import pyarrow", CHOOSE, SHOW) == backend(SHOW)


SMAPS = """\
7f0000000000-7f0000200000 r-xp 00001000 08:01 77 /opt/lib/libarrow.so.2600
Size:               2048 kB
Rss:                1024 kB
Anonymous:             0 kB
VmFlags: rd ex mr mw me
7f0000200000-7f0000300000 r--p 00201000 08:01 77 /opt/lib/libarrow.so.2600
Rss:                 512 kB
Anonymous:            40 kB
7f0000300000-7f0000400000 rw-p 00301000 08:01 77 /opt/lib/libarrow.so.2600
Rss:                1024 kB
Anonymous:             0 kB
7f0000400000-7f0000500000 r--p 00000000 08:01 78 /opt/lib.so/table.dat
Rss:                 900 kB
Anonymous:             0 kB
7f0000500000-7f0000600000 r--s 00000000 08:01 79 /opt/lib/shared.so
Rss:                 900 kB
Anonymous:             0 kB
7f0000600000-7f0000700000 r--p 00000000 00:00 0
Rss:                 900 kB
Anonymous:             0 kB
7f0000700000-7f0000800000 r--p 00000000 08:01 80 /opt/with a space/lib.cpython-311-x86_64-linux-gnu.so
Rss:                  64 kB
Anonymous:             0 kB
"""


def test_only_what_is_in_a_library_as_in_its_file_is_given_back() -> None:
    """Not what the loader has changed, what can be written, what is shared, what is no library, what has no file."""
    assert list(clean_mappings(SMAPS.splitlines())) == [
        Mapping(start=0x7F0000000000, end=0x7F0000200000, resident_bytes=1024 << 10),
        Mapping(start=0x7F0000700000, end=0x7F0000800000, resident_bytes=64 << 10),
    ]


RELEASE = """
import re
import duckdb
from pathlib import Path
from rapidbyte.memory import release_libraries
def resident(): return int(re.search(r"RssFile:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
duckdb.connect().execute("SELECT 1")
before = resident()
release_libraries()
print(resident() < before - 20_000, duckdb.connect().execute("SELECT sum(i) FROM range(1000) t(i)").fetchall()[0][0])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="told by /proc alone")
def test_libraries_whose_pages_were_given_back_work_on() -> None:
    """Megabytes less are resident, and DuckDB computes what it did before."""
    found = subprocess.run([sys.executable, "-c", RELEASE], check=True, capture_output=True, text=True)
    assert found.stdout.split() == ["True", "499500"]
