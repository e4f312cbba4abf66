"""The process's CPU and memory over a run, by the kernel's own counters."""

from __future__ import annotations

import subprocess
import sys
import threading
import time

from rapidbyte.metrics import CpuMeter, available_cores


def burn(seconds: float) -> None:
    """Uses so much CPU of this thread, however loaded the machine is."""
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        pass


def test_cpu_is_what_the_process_used_while_it_was_measured() -> None:
    """Work before does not count, work of any thread within does."""
    burn(0.2)
    with CpuMeter() as meter:
        before = meter.read()
        worker = threading.Thread(target=burn, args=(0.3,))
        worker.start()
        worker.join()
        after = meter.read()
    assert before.user_s + before.system_s < 0.2
    assert after.user_s + after.system_s >= 0.25
    assert after.cores == available_cores() >= 1


def test_children_count_also_when_they_have_ended() -> None:
    """A child that used CPU and was waited for is in the figures."""
    with CpuMeter() as meter:
        subprocess.run(
            [sys.executable, "-c", "import time\nwhile time.process_time() < 0.3: pass"], check=True, timeout=60
        )
        used = meter.read()
    assert used.user_s + used.system_s >= 0.25


def test_peak_memory_is_not_less_than_what_was_held() -> None:
    """64 MB that were held for a moment are in the peak, though no sample fell into it."""
    with CpuMeter() as meter:
        held = bytearray(64 * 1024 * 1024)
        held[::4096] = b"x" * len(held[::4096])
        del held
    assert meter.read().peak_rss_bytes > 64 * 1024 * 1024
    assert meter.read().samples >= 1


def test_the_meters_thread_ends_with_it() -> None:
    """Nothing is left behind."""
    before = threading.active_count()
    with CpuMeter():
        pass
    assert threading.active_count() == before
