"""What must hold, of the databases and of what a run has said. Every function returns what is wrong, as sentences."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psycopg

from tests.faults.dataset import CANARY
from tests.kit.catalog import CHECKSUM, catalog_of, differences

if TYPE_CHECKING:
    from tests.faults.lane import Place
    from tests.faults.spawn import Attempt

LEDGER_TABLES = frozenset(
    f"_rapidbyte.{name}"
    for name in (
        *("ledger", "loads", "receipts", "leases", "runs", "cursors", "rejects", "files"),
        "rejects_reject_id_seq",
    )
)
KILLED = {"exit": 137, "stop": -9}


@dataclass(frozen=True, slots=True)
class Sum:
    """Order-free checksum of a multiset of rows; sums of disjoint multisets add."""

    rows: int = 0
    total: int = 0
    mixed: int = 0

    def plus(self, other: Sum, times: int = 1) -> Sum:
        """With the other rows `times` times."""
        mixed = self.mixed ^ other.mixed if times % 2 else self.mixed
        return Sum(self.rows + times * other.rows, self.total + times * other.total, mixed)


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """The model."""

    result: str
    before: dict[str, Sum]
    source: dict[str, Sum]
    kept: dict[str, Sum]

    def after(self, table: str, publishes: int) -> Sum:
        """What the table holds after so many publishes."""
        if publishes == 0:
            return self.before[table]
        if self.result == "replaced":
            return self.source[table]
        if self.result == "added":
            return self.before[table].plus(self.source[table], publishes)
        return self.source[table].plus(self.kept[table])


def sum_of(connection: psycopg.Connection, relation: str) -> Sum:
    """Of a relation's rows; of one that does not exist: of none."""
    try:
        row = connection.execute(CHECKSUM.format(relation=relation)).fetchone()  # type: ignore[arg-type]
    except psycopg.errors.UndefinedTable:
        return Sum()
    assert row is not None
    return Sum(row[0], int(row[1]), row[2])


def quiet(dsns: list[str], seconds: float = 15.0) -> list[str]:
    """Waits until no session of ours is left in these databases."""
    until = time.monotonic() + seconds
    while True:
        left: list[str] = []
        for dsn in dsns:
            with psycopg.connect(dsn, autocommit=True) as connection:
                left += [
                    f"{name} ({state})"
                    for name, state in connection.execute(
                        "SELECT application_name, state FROM pg_stat_activity"
                        " WHERE application_name LIKE 'rapidbyte%' AND datname = current_database()"
                    )
                ]
        if not left:
            return []
        if time.monotonic() > until:
            return [f"sessions are left: {', '.join(left)}"]
        time.sleep(0.01)


def exit_problems(attempt: Attempt, action: str | None) -> list[str]:
    """Whether the exit code is that of what was done to the run."""
    code = attempt.exit_code
    if attempt.hung:
        return ["the run hung"]
    fired = bool(attempt.fired)
    if action in KILLED and fired and code != KILLED[action]:
        return [f"exit code {code} after {action}"]
    if action in ("raise", "fail") and fired and code == 0:
        return [f"exit code 0 although {attempt.fired} fired"]
    if not fired and action != "signal" and code != 0:
        return [f"exit code {code} although nothing was done to the run: {attempt.stderr[-400:]}"]
    return []


def output_problems(attempt: Attempt) -> list[str]:
    """What no run may print, however it ends."""
    printed = attempt.stdout + attempt.stderr
    return [
        f"{what} was printed"
        for what, text in (("a traceback", "Traceback (most recent"), ("the password", CANARY))
        if text in printed
    ]


def claim_problems(attempt: Attempt, before: dict[str, int], after: dict[str, int]) -> list[str]:
    """Whether what the run says of each stream is what happened. `before`, `after`: published loads by stream."""
    code = attempt.exit_code
    if code is None or code < 0 or code in (137, 99):
        return []
    document = attempt.document
    if document is None:
        return [f"exit code {code}, and stdout is no JSON: {attempt.stdout[:200]!r}"]
    problems: list[str] = []
    if (document["status"] == "succeeded") != (code == 0):
        problems.append(f"status {document['status']} with exit code {code}")
    told = {stream["name"]: stream for stream in document["streams"]}
    for name, count in after.items():
        happened = count > before[name]
        said = told[name]["commit_state"] if name in told else _run_wide(document)
        if happened and said == "before_commit":
            problems.append(f"{name} was published, and the result says {said}")
        if not happened and said == "after_commit_confirmed" and not _published_before(told.get(name)):
            problems.append(f"{name} was not published, and the result says {said}")
        if code == 0 and name in told and told[name]["status"] != "succeeded":
            problems.append(f"{name} is {told[name]['status']} in a run that succeeded")
    return problems


def _run_wide(document: dict[str, Any]) -> str:
    return (document.get("error") or {}).get("commit_state", "before_commit")


def _published_before(stream: dict[str, Any] | None) -> bool:
    """An idempotence key that has been published, or an increment without rows: nothing new, and it says so."""
    return stream is not None and (bool(stream.get("warnings")) or stream.get("records_written") == 0)


def state_problems(place: Place, publishes: dict[str, int]) -> list[str]:
    """Rows: each table holds what the model says after so many publishes."""
    from tests.faults.lane import TABLES, connect

    problems: list[str] = []
    with connect(place.dsn) as connection:
        for table in TABLES:
            found = sum_of(connection, f"raw.{table}")
            wanted = place.template.expected.after(table, publishes[table])
            if place.mode.partly_visible and not publishes[table]:
                continue  # some of its partitions have landed
            if found != wanted:
                problems.append(
                    f"raw.{table} has {found.rows} rows after {publishes[table]} publishes; the model has {wanted.rows}"
                    + (", with other values" if found.rows == wanted.rows else "")
                )
    return problems


def leftover_problems(place: Place) -> list[str]:
    """No stage, lease, session, lock or unfinished load is left."""
    from tests.faults.lane import connect, relations_of

    problems = quiet([place.dsn])
    with connect(place.dsn) as connection:
        known = place.template.relations | LEDGER_TABLES | {"raw.orders", "raw.events"}
        stray = sorted(set(relations_of(connection)) - known)
        if stray:
            problems.append(f"relations are left: {', '.join(stray)}")
        locks = connection.execute(
            "SELECT locktype, mode FROM pg_locks WHERE pid <> pg_backend_pid()"
            " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
            " AND locktype IN ('advisory', 'relation') AND pid NOT IN (SELECT pid FROM pg_stat_activity WHERE"
            " backend_type <> 'client backend' OR application_name LIKE 'faults reader%')"
        ).fetchall()
        if locks:
            problems.append(f"locks are left: {locks}")
        if connection.execute("SELECT to_regclass('_rapidbyte.loads') IS NULL").fetchone() == (True,):
            return [*problems, "there is no ledger"]
        unfinished = connection.execute(
            "SELECT stream, state FROM _rapidbyte.loads WHERE state NOT IN ('published', 'discarded')"
        ).fetchall()
        if unfinished:
            problems.append(f"loads are unfinished: {unfinished}")
        # A lease of a run that was killed is taken by the next run, and there was none.
        if not place.attempts or place.attempts[-1].exit_code not in KILLED.values():
            leases = connection.execute(
                "SELECT pipeline, expires_at FROM _rapidbyte.leases WHERE expires_at > clock_timestamp()"
            ).fetchall()
            if leases:
                problems.append(f"leases are left: {leases}")
    return problems


def cursor_problems(place: Place) -> list[str]:
    """Each cursor stands at the last value that was published: neither before nor behind it."""
    from tests.faults.lane import connect

    if not place.mode.incremental:
        return []
    with connect(place.dsn) as connection, connect(place.lane.source(place.mode)) as source:
        stored = dict(connection.execute("SELECT stream, value FROM _rapidbyte.cursors").fetchall())
        wanted = source.execute(
            "SELECT (SELECT max(version) FROM orders)::text, %s::timestamptz BETWEEN"
            " (SELECT max(happened) FROM events) AND clock_timestamp()",
            [stored.get("events")],
        ).fetchone()
    problems = []
    if wanted is None or stored.get("orders") != wanted[0]:
        problems.append(f"the cursor of orders is {stored.get('orders')}, the greatest version {wanted and wanted[0]}")
    if wanted is None or not wanted[1]:
        problems.append(f"the cursor of events is {stored.get('events')}")
    return problems


def catalog_problems(place: Place, publishes: dict[str, int]) -> list[str]:
    """What hangs on the targets is as before, and they are the relations they should be."""
    from tests.faults.lane import TABLES, connect, oid_of

    problems: list[str] = []
    with connect(place.dsn) as connection:
        now = {table: oid_of(connection, table) for table in TABLES}
        if "raw.hangs_on" in place.template.relations:
            row = connection.execute("SELECT count(*) FROM raw.hangs_on").fetchone()
            if row != (100,):
                problems.append(f"raw.hangs_on, which refers to raw.orders, has {row} rows of 100")
    for table in TABLES:
        before = place.template.oids[table]
        if now[table] is None and publishes[table]:
            problems.append(f"raw.{table} is gone")
        if before is None or now[table] is None:
            continue
        if table in place.mode.keeps_oid and now[table] != before:
            problems.append(f"raw.{table} is another relation now")
        for what, (gone, new) in differences(
            place.template.catalogs[table], catalog_of(place.dsn, "raw", table)
        ).items():
            problems.append(f"{what} of raw.{table} changed: gone {gone}, new {new}")
    return problems
