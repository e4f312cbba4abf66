"""P5: readers of every kind while a table is replaced again and again: nobody sees it empty, mixed, or missing (D7)."""

from __future__ import annotations

import subprocess
import threading
import time
from hashlib import sha256

import psycopg

from rapidbyte.pg.embedded import embedded_bin_dir
from tests.faults import oracle
from tests.faults.lane import Lane, Place, connect
from tests.faults.oracle import Sum
from tests.faults.sweep import Outcome, end_problems

OLD_SECONDS = 2.0
"""How old the snapshot of a reader is before it looks at the table for the first time."""
DIRECT = ("directly", "prepared", "through a function", "at REPEATABLE READ", "twice at REPEATABLE READ")
BY_VIEW = ("through the view", "through the view at REPEATABLE READ", "with an old snapshot", "as pg_dump")
"""Of a table that is replaced in place. A swap leaves tables with views alone, and old snapshots see it empty."""


def readers_of_replaces(lane: Lane, mode: str, replaces: int) -> Outcome:
    """So many replaces with readers of every kind; what they saw that nobody may see."""
    outcome = Outcome()
    with lane.cell(mode) as place:
        stop = threading.Event()
        kinds = DIRECT + (BY_VIEW if "raw.orders_view" in place.template.relations else ())
        watchers = [(_Dump if kind == "as pg_dump" else Watcher)(place, kind, stop) for kind in kinds]
        for watcher in watchers:
            watcher.start()
        try:
            for _ in range(replaces):
                attempt = place.start(workers=2)
                if attempt.wait() != 0:
                    outcome.problems.append(f"exit code {attempt.exit_code}: {attempt.stderr[-600:]}")
        finally:
            stop.set()
        for watcher in watchers:
            watcher.join(30)
            outcome.reads += watcher.reads
            outcome.problems += watcher.problems()
        outcome.problems += end_problems(place)
        outcome.attempts = replaces
        if outcome.problems:
            outcome.evidence = place.evidence()
    return outcome


class Watcher(threading.Thread):
    """One session that reads in one way, as fast as it can."""

    def __init__(self, place: Place, kind: str, stop: threading.Event) -> None:
        super().__init__(daemon=True)
        expected = place.template.expected
        self._allowed: set[object] = {expected.before["orders"], expected.source["orders"]}
        self._place, self._kind, self._stop_it = place, kind, stop
        self.reads = 0
        self._strange: list[str] = []
        self._errors: list[str] = []

    def run(self) -> None:
        relation = "raw.orders_view" if "view" in self._kind else "raw.orders"
        checksum = oracle.CHECKSUM.format(relation=relation)
        with connect(self._place.dsn) as connection:
            try:
                connection.execute("SET application_name = 'faults reader'")
                if self._kind == "prepared":
                    connection.execute(f"PREPARE look AS {checksum}")  # type: ignore[arg-type]
                if self._kind == "through a function":
                    connection.execute(
                        "CREATE FUNCTION pg_temp.look() RETURNS TABLE (n bigint, a text, b bigint) LANGUAGE plpgsql AS"
                        f" $$ BEGIN RETURN QUERY {checksum}; END $$"  # type: ignore[arg-type]
                    )
                while not self._stop_it.is_set():
                    self._look(connection, checksum)
            except psycopg.Error as error:
                self._errors.append(f"{type(error).__name__}: {error}")

    def _look(self, connection: psycopg.Connection, checksum: str) -> None:
        query = {"prepared": "EXECUTE look", "through a function": "SELECT * FROM pg_temp.look()"}.get(
            self._kind, checksum
        )
        repeatable = "REPEATABLE READ" in self._kind or self._kind == "with an old snapshot"
        if repeatable:
            connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        if self._kind == "with an old snapshot":
            connection.execute("SELECT 1")  # takes the snapshot
            self._stop_it.wait(OLD_SECONDS)
        found = self._sum(connection, query)
        if self._kind.startswith("twice"):
            self._stop_it.wait(0.2)
            if (again := self._sum(connection, query)) != found:
                self._strange.append(f"{found.rows} rows and then {again.rows} in one transaction")
        if repeatable:
            connection.execute("COMMIT")
        self.saw(found, f"{found.rows} rows")
        time.sleep(0.001)

    def _sum(self, connection: psycopg.Connection, query: str) -> Sum:
        row = connection.execute(query).fetchone()  # type: ignore[arg-type]
        assert row is not None
        return Sum(row[0], int(row[1]), row[2])

    def saw(self, what: object, words: str) -> None:
        """Notes one reading."""
        self.reads += 1
        if what not in self._allowed:
            self._strange.append(words)

    def problems(self) -> list[str]:
        """What it saw that nobody may see, and what it could not do."""
        found = [f"a reader {self._kind}: {error}" for error in self._errors]
        if self._strange:
            found.append(
                f"a reader {self._kind} saw {len(self._strange)} times neither old nor new: {self._strange[:5]}"
            )
        if not self.reads:
            found.append(f"a reader {self._kind} has read nothing")
        return found


class _Dump(Watcher):
    """pg_dump, again and again; of its output the rows are compared."""

    def __init__(self, place: Place, kind: str, stop: threading.Event) -> None:
        super().__init__(place, kind, stop)
        self._allowed = {_rows(place.dsn, "raw.orders"), _rows(place.lane.source(place.mode), "public.orders")}

    def run(self) -> None:
        try:
            while not self._stop_it.is_set():
                found = _rows(self._place.dsn, "raw.orders")
                self.saw(found, f"{found[0]} rows")
        except subprocess.CalledProcessError as error:
            self._errors.append(f"pg_dump: {error.stderr[-400:]}")


def _rows(dsn: str, table: str) -> tuple[int, str]:
    """Number and checksum of a table's rows as pg_dump writes them, whatever their order."""
    command = [str(embedded_bin_dir() / "pg_dump"), "--data-only", f"--table={table}", dsn]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    rows = sorted(text.split(" FROM stdin;\n", 1)[1].split("\n\\.\n", 1)[0].splitlines())
    return len(rows), sha256("\n".join(rows).encode()).hexdigest()
