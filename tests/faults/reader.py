"""Reads the targets while runs are broken and mended: only the old rows or the new ones may be seen."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import psycopg

from tests.faults.oracle import Sum, sum_of

if TYPE_CHECKING:
    from tests.faults.lane import Place

PAUSE_SECONDS = 0.01


class Reader:
    """Entered, it reads until it is left; then `problems` says what it saw that nobody may see."""

    def __init__(self, place: Place, publishes: int = 4) -> None:
        from tests.faults.lane import TABLES

        expected = place.template.expected
        self._allowed = {table: {expected.after(table, times) for times in range(publishes)} for table in TABLES}
        self._dsn = place.dsn
        self._all = place.mode.partly_visible
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self.seen: dict[str, set[Sum]] = {table: set() for table in TABLES}
        self.reads = 0
        self.errors: list[str] = []

    def __enter__(self) -> Reader:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(30)

    def _read(self) -> None:
        while not self._stop.is_set():
            try:
                with psycopg.connect(
                    self._dsn,
                    autocommit=True,
                    application_name="faults reader",
                    options="-c TimeZone=UTC -c DateStyle=ISO -c IntervalStyle=postgres -c bytea_output=hex"
                    " -c extra_float_digits=1",
                ) as connection:
                    while not self._stop.is_set():
                        for table in self.seen:
                            self.seen[table].add(sum_of(connection, f"raw.{table}"))
                        self.reads += 1
                        time.sleep(PAUSE_SECONDS)
            except psycopg.OperationalError:
                time.sleep(0.05)  # the server is stopped and started in some cells
            except psycopg.Error as error:
                self.errors.append(f"a reader got {type(error).__name__}: {error}")
                return

    def problems(self) -> list[str]:
        found = list(self.errors)
        for table, sums in self.seen.items():
            strange = sums - self._allowed[table]
            if strange and not self._all:
                found.append(f"readers saw neither old nor new rows of raw.{table}: {[s.rows for s in strange]} rows")
        return found
