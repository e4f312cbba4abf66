"""ANALYZE: of a stage that will be the target, while its rows are counted; of any other target once it is published.

Side by side they take as long as the slower one, and the table is published with its statistics. How many rows are
looked at: `sampling`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace

import psycopg

from rapidbyte.contract import WriteContract
from rapidbyte.destinations.postgres import ddl
from rapidbyte.destinations.postgres.sampling import BECOMES_TARGET, AnalysedTable, sample
from rapidbyte.destinations.postgres.sessions import LeaderSession
from rapidbyte.errors import RapidbyteError
from rapidbyte.model import PublishMethod, QualifiedName
from rapidbyte.pg.session import PgConnection
from rapidbyte.ports import FinalizeReport, Publication, Stop
from rapidbyte.spec import Connection

WORTH_A_SESSION_ROWS = 100_000
"""Stages with fewer rows are analysed once they are published: a session more costs 10 to 20 ms."""


class StageStatistics:
    """Which stages are being analysed. `settle` one before its table is changed in any way."""

    def __init__(self, running: dict[QualifiedName, Future[bool]]) -> None:
        self._running = running

    def settle(self, stage: QualifiedName) -> None:
        """Returns when nobody analyses the stage any more."""
        if stage in self._running:
            self._running[stage].result()

    def renewed(self, contract: WriteContract, report: FinalizeReport) -> bool:
        """The stage was analysed, and is the target now."""
        done = None if contract.stage is None else self._running.get(contract.stage)
        return done is not None and report.publish in BECOMES_TARGET and done.result()


@contextmanager
def analysed_alongside(
    connection: Connection, pipeline: str, publications: Sequence[Publication], stop: Stop
) -> Generator[StageStatistics]:
    """Analyses the stages that will be targets in a session of their own. It has ended when the block has."""
    stages = [
        (each.contract, each.contract.stage, each.receipts.rows)
        for each in publications
        if each.contract.stage is not None
        and each.contract.publish in BECOMES_TARGET
        and each.receipts.rows >= WORTH_A_SESSION_ROWS
    ]
    if not stages:
        yield StageStatistics({})
        return
    left = threading.Event()
    session = LeaderSession(connection, pipeline, lambda: left.is_set() or stop())
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="statistics") as thread:
        try:
            yield StageStatistics(
                {stage: thread.submit(_analysed, session, contract, stage, rows) for contract, stage, rows in stages}
            )
        finally:
            left.set()
            thread.submit(session.close)


def _analysed(session: LeaderSession, contract: WriteContract, stage: QualifiedName, loaded: int) -> bool:
    """Whether it could be analysed. Where not, for want of a connection say, it is done after publishing."""
    try:
        return _analyse(session, stage, contract.target, loaded, contract.publish) == []
    except RapidbyteError:
        return False


def _analyse(
    session: LeaderSession, table: QualifiedName, target: QualifiedName, loaded: int, publish: PublishMethod
) -> list[str] | None:
    """The server's warnings; None where it is to be done once the table has taken its target's place."""
    notices: list[str] = []
    with session.changing(f"analysing {table}") as connection:
        handler = _collector(notices)
        connection.add_notice_handler(handler)
        try:
            found = _look_at(connection, table, target)
            if found.postponed:
                return None
            chosen = sample(found, loaded, publish)
            if chosen is not None:
                connection.execute(_SETTINGS, (str(chosen.target),))
                connection.execute(ddl.analyze(table, chosen.columns))
        finally:
            connection.remove_notice_handler(handler)
    return notices


_SETTINGS = """
SELECT pg_catalog.set_config('lock_timeout', '10s', true),
       pg_catalog.set_config('default_statistics_target', %s, true)
"""

_ANALYSED_TABLE = """
WITH named AS (
    SELECT c.oid, c.relkind, c.reltuples, pg_catalog.to_regclass(%(target)s)::pg_catalog.oid AS target
    FROM pg_catalog.pg_class c WHERE c.oid = %(table)s::pg_catalog.regclass
), options AS (
    SELECT o.option_name AS name, o.option_value AS value
    FROM named n JOIN pg_catalog.pg_class t ON t.oid IN (n.oid, n.target),
         pg_catalog.pg_options_to_table(t.reloptions) o
)
SELECT ARRAY(SELECT a.attname::text FROM pg_catalog.pg_attribute a
             WHERE a.attrelid = n.oid AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum) AS columns,
       pg_catalog.current_setting('default_statistics_target')::int AS target,
       n.relkind = 'r'
       AND pg_catalog.current_setting('autovacuum')::bool AND pg_catalog.current_setting('track_counts')::bool
       AND NOT EXISTS (SELECT FROM options WHERE name = 'autovacuum_enabled' AND NOT value::bool) AS autovacuum,
       EXISTS (SELECT FROM pg_catalog.pg_index i WHERE i.indrelid = n.oid AND i.indexprs IS NOT NULL) AS computed,
       n.target <> n.oid
       AND (EXISTS (SELECT FROM pg_catalog.pg_index i WHERE i.indrelid = n.target AND i.indexprs IS NOT NULL)
            OR EXISTS (SELECT FROM pg_catalog.pg_attribute a
                       WHERE a.attrelid = n.target AND a.attnum > 0 AND coalesce(a.attstattarget, -1) >= 0)
           ) AS postponed,
       n.reltuples::float8 AS rows,
       pg_catalog.pg_stat_get_mod_since_analyze(n.oid) AS unseen,
       coalesce((SELECT max(value::float8) FROM options WHERE name = 'autovacuum_analyze_threshold'),
                pg_catalog.current_setting('autovacuum_analyze_threshold')::float8) AS threshold,
       coalesce((SELECT max(value::float8) FROM options WHERE name = 'autovacuum_analyze_scale_factor'),
                pg_catalog.current_setting('autovacuum_analyze_scale_factor')::float8) AS scale
FROM named n
"""
"""A stage takes the target's storage parameters when it takes its place."""


def _look_at(connection: PgConnection, table: QualifiedName, target: QualifiedName) -> AnalysedTable:
    names = {"table": ddl.identifier(table).as_string(), "target": ddl.identifier(target).as_string()}
    (row,) = connection.execute(_ANALYSED_TABLE, names).fetchall()
    columns, default, autovacuum, computed, postponed, rows, unseen, threshold, scale = row
    return AnalysedTable(
        columns=tuple(columns),
        target=default,
        autovacuum=autovacuum,
        computed=computed,
        postponed=bool(postponed),
        rows=rows,
        unseen=unseen,
        threshold=threshold,
        scale=scale,
    )


def with_statistics(
    session: LeaderSession, contract: WriteContract, report: FinalizeReport, *, renewed: bool
) -> FinalizeReport:
    """ANALYZE of the target, unless it has been done. The load is published: what fails here is a warning."""
    try:
        if renewed and not _has_computed_index(session, contract.target):
            return report
        notices = _analyse(session, contract.target, contract.target, report.rows, report.publish) or []
    except RapidbyteError as error:
        notices = [error.message]
    warnings = tuple(f"statistics of {contract.target} were not renewed: {notice}" for notice in notices)
    return replace(report, warnings=(*report.warnings, *warnings))


def _has_computed_index(session: LeaderSession, table: QualifiedName) -> bool:
    """Indexes are built after a stage was analysed, and those of expressions have statistics of their own."""
    with session.looking(f"looking at the indexes of {table}") as connection:
        found = connection.execute(
            "SELECT FROM pg_catalog.pg_index WHERE indrelid = %s::pg_catalog.regclass AND indexprs IS NOT NULL",
            (ddl.identifier(table).as_string(),),
        )
        return found.fetchone() is not None


def _collector(notices: list[str]) -> Callable[[psycopg.errors.Diagnostic], None]:
    def collect(notice: psycopg.errors.Diagnostic) -> None:
        if notice.severity_nonlocalized == "WARNING":
            notices.append(notice.message_primary or "")

    return collect
