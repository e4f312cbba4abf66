"""Where Arrow takes its memory from, chosen once for the process.

Arrow's default pool, mimalloc, keeps for each thread what it has freed: 1,000,000 rows of CSV with two workers took 248
to 273 MB at their peak, of which Arrow used 17 at any time. jemalloc with one arena for all threads took 187 to 200,
and no more CPU; with an arena a thread 199; glibc's malloc 184 to 230, with a third of the CPU more where it gives
memory back at once. Whether jemalloc gives it back after 20, 100 or 1000 ms made no difference to the peak.
"""

from __future__ import annotations

import os
import sys

POOL_VARIABLE = "ARROW_DEFAULT_MEMORY_POOL"
"""Arrow's own: who has set it has chosen."""

_SETTINGS = "JE_ARROW_MALLOC_CONF"
"""Read by Arrow's jemalloc when it starts, so set before Arrow is loaded."""


def choose_pool() -> None:
    """Lets Arrow use one arena of jemalloc, unless somebody in this process has loaded Arrow before, or chosen.

    May be called again. Where this Arrow was built without jemalloc, its default stays.
    """
    if "pyarrow" in sys.modules or POOL_VARIABLE in os.environ:
        return
    os.environ.setdefault(_SETTINGS, "narenas:1")
    import pyarrow as pa

    try:
        pa.set_memory_pool(pa.jemalloc_memory_pool())
    except NotImplementedError:
        return
