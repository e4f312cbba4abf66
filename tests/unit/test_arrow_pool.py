"""Which memory pool Arrow uses is chosen before it is loaded, and only where nobody else has."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

SHOW = "import pyarrow as pa; print(pa.default_memory_pool().backend_name)"
CHOOSE = "from rapidbyte.sources.local.pool import choose_pool; choose_pool()"


def backend(*statements: str, **environment: str) -> str:
    """The pool that a process of its own uses after these statements."""
    known = {name: value for name, value in os.environ.items() if name != "ARROW_DEFAULT_MEMORY_POOL"}
    command = [sys.executable, "-c", "; ".join(statements)]
    return subprocess.run(command, env=known | environment, check=True, capture_output=True, text=True).stdout.strip()


@pytest.mark.skipif(sys.platform != "linux", reason="Arrow has jemalloc on Linux")
def test_the_pool_of_one_arena_is_chosen() -> None:
    """jemalloc, with its settings in the environment."""
    shown = backend(CHOOSE, SHOW, "import os; print(os.environ['JE_ARROW_MALLOC_CONF'])")
    assert shown.split() == ["jemalloc", "narenas:1"]


def test_who_has_chosen_or_loaded_arrow_before_keeps_the_pool() -> None:
    """A variable of the environment, and a process that is not ours."""
    assert backend(CHOOSE, SHOW, ARROW_DEFAULT_MEMORY_POOL="system") == "system"
    assert backend("import pyarrow", CHOOSE, SHOW) == backend(SHOW)
