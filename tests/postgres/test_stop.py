"""A run that is told to stop while a server keeps it waiting: at every step, at both ends (C15)."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace

import psycopg
import pytest

import rapidbyte
from rapidbyte.destinations.postgres import sessions
from rapidbyte.errors import CancelledError, DestinationError
from rapidbyte.events import Event, PartitionLoaded, PhaseStarted
from rapidbyte.model import Secret
from rapidbyte.pg.session import begin, commit, translated
from rapidbyte.pg.session import connect as open_session
from rapidbyte.result import RunResult
from rapidbyte.sources.postgres import blocking
from rapidbyte.spec import Connection, PipelineSpec, RunOptions, StreamSpec
from tests.postgres.test_run import no_session_is_left, spec

Connect = Callable[..., psycopg.Connection]

GUARD_SECONDS = 60.0

WAITS = """
CREATE FUNCTION {schema}.waits(n int) RETURNS int IMMUTABLE LANGUAGE plpgsql SET search_path = pg_catalog AS
$$ BEGIN
    IF {condition} THEN PERFORM pg_advisory_lock_shared(99); PERFORM pg_advisory_unlock_shared(99); END IF;
    RETURN n;
END $$;
"""
"""Waits for whoever holds lock 99."""

WAITING = """
SELECT FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE %s
    AND (wait_event_type = 'Lock' OR wait_event = 'PgSleep')
"""


@dataclass(frozen=True, kw_only=True)
class Ends:
    """A source with table t, a destination, and a session in each that gets into the run's way."""

    source: psycopg.Connection
    destination: psycopg.Connection
    spec: PipelineSpec


@pytest.fixture
def ends(source_db: str, destination_db: str, connect: Connect) -> Ends:
    """Table t of 2,000 rows, and raw.t with one old row and an index."""
    source, destination = connect(source_db), connect(destination_db)
    source.execute("CREATE TABLE t AS SELECT i AS id, md5(i::text) AS v FROM generate_series(1, 2000) i; ANALYZE t")
    destination.execute("CREATE SCHEMA raw; CREATE TABLE raw.t (id int, v text); INSERT INTO raw.t VALUES (0, 'old')")
    destination.execute("CREATE INDEX ON raw.t (v)")
    return Ends(source=source, destination=destination, spec=spec(source_db, destination_db, "t"))


Hook = Callable[[Event], None]


def nothing(event: Event) -> None:
    """No hook."""


def stopped_while_waiting(
    waiter: psycopg.Connection,
    pipeline: PipelineSpec,
    *,
    who: str,
    hook: Hook = nothing,
    options: RunOptions | None = None,
) -> RunResult:
    """The result of a run that is told to stop once a session of it waits in this database."""
    stop, results = threading.Event(), list[RunResult]()
    run = threading.Thread(
        target=lambda: results.append(rapidbyte.run(pipeline, options=options, observe=hook, stop=stop))
    )
    run.start()
    with psycopg.connect(waiter.info.dsn, autocommit=True) as watcher:  # in a transaction the activity stays as it was
        while watcher.execute(WAITING, (f"rapidbyte {who}%",)).fetchone() is None:
            assert run.is_alive(), results[0].error
    stop.set()
    run.join(GUARD_SECONDS)
    assert not run.is_alive(), "it does not stop"
    return results[0]


def require_cancelled(ends: Ends, result: RunResult) -> None:
    """Exit 7 as told, the target as it was, no stage, no session at either end."""
    assert result.error is not None
    assert (result.status, result.exit_code, result.error.code) == ("cancelled", 7, "cancelled"), result.error
    assert result.warnings == ()
    assert ends.destination.execute("SELECT * FROM raw.t").fetchall() == [(0, "old")]
    left = "SELECT relname FROM pg_class WHERE relname LIKE '%rapidbyte%' OR relname LIKE '\\_rb\\_%'"
    assert ends.destination.execute(left).fetchall() == []
    assert stages(ends) == []
    assert no_session_is_left(ends.destination)
    assert no_session_is_left(ends.source)


def stages(ends: Ends) -> list[tuple[str, ...]]:
    """Stages that the ledger holds to be there and that are."""
    if ends.destination.execute("SELECT to_regclass('_rapidbyte.loads')").fetchone() == (None,):
        return []
    return ends.destination.execute(
        "SELECT relname FROM pg_class JOIN _rapidbyte.loads ON relname = stage_table AND relname <> target_table"
    ).fetchall()


def at_phase(phase: str, connection: psycopg.Connection, statement: str) -> Hook:
    """Runs a statement when the run comes to a phase, in the leader's thread."""

    def hook(event: Event) -> None:
        if isinstance(event, PhaseStarted) and event.phase == phase:
            connection.execute(statement)  # type: ignore[arg-type]

    return hook


def test_in_preflight_at_a_source_table_that_somebody_has_for_himself(ends: Ends) -> None:
    """The look at its size waits."""
    ends.source.execute("BEGIN; LOCK TABLE t")
    result = stopped_while_waiting(ends.source, ends.spec, who="reader")
    ends.source.execute("ROLLBACK")
    require_cancelled(ends, result)


@pytest.mark.parametrize(
    "stream",
    [
        StreamSpec(name="q", query="SELECT * FROM t", target="t"),
        StreamSpec(name="view", target="t"),
        StreamSpec(name="beside", where="EXISTS (SELECT FROM t)", target="t"),
    ],
)
def test_in_preflight_while_a_users_sql_is_parsed(ends: Ends, stream: StreamSpec) -> None:
    """Parse takes locks too; libpq's own PQprepare would sleep through everything."""
    ends.source.execute("CREATE VIEW view AS TABLE t; CREATE TABLE beside AS TABLE t; ANALYZE beside")
    ends.source.execute("BEGIN; LOCK TABLE t")
    result = stopped_while_waiting(ends.source, replace(ends.spec, streams=(stream,)), who="reader")
    ends.source.execute("ROLLBACK")
    require_cancelled(ends, result)


def test_in_preflight_at_a_target_that_somebody_has_for_himself(ends: Ends) -> None:
    """The leader's look at it waits."""
    ends.destination.execute("BEGIN; LOCK TABLE raw.t")
    result = stopped_while_waiting(ends.destination, ends.spec, who="leader")
    ends.destination.execute("ROLLBACK")
    require_cancelled(ends, result)


def test_in_prepare_at_another_leaders_lock(ends: Ends) -> None:
    """Leaders of one schema prepare one after the other."""
    ends.destination.execute("SELECT pg_advisory_lock(hashtextextended('rapidbyte schema raw', 0))")
    result = stopped_while_waiting(ends.destination, ends.spec, who="leader")
    require_cancelled(ends, result)


def test_in_prepare_in_a_slow_statement(ends: Ends) -> None:
    """An event trigger sleeps when the stage is created."""
    ends.destination.execute(
        "CREATE FUNCTION sleeps() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(600); END $$;"
        "CREATE EVENT TRIGGER sleeps ON ddl_command_start WHEN TAG IN ('CREATE TABLE') EXECUTE FUNCTION sleeps()"
    )
    require_cancelled(ends, stopped_while_waiting(ends.destination, ends.spec, who="leader"))


def test_while_the_snapshots_holder_waits_for_its_lock(ends: Ends) -> None:
    """Somebody has taken the table since preflight; the stage is dropped."""
    hook = at_phase("load", ends.source, "BEGIN; LOCK TABLE t")
    result = stopped_while_waiting(ends.source, ends.spec, who="reader-0", hook=hook)
    ends.source.execute("ROLLBACK")
    require_cancelled(ends, result)


def test_while_a_stream_is_split_by_its_key(ends: Ends) -> None:
    """min and max of the key are asked for in the snapshot."""
    ends.source.execute(WAITS.format(schema="public", condition="true"))
    ends.source.execute("CREATE VIEW slow AS SELECT id, v FROM t WHERE public.waits(id) = id")
    stream = StreamSpec(name="slow", target="t", partition_key="id")
    hook = at_phase("load", ends.source, "SELECT pg_advisory_lock(99)")
    result = stopped_while_waiting(ends.source, replace(ends.spec, streams=(stream,)), who="reader-0", hook=hook)
    require_cancelled(ends, result)


def test_while_the_sources_checksum_is_computed(ends: Ends) -> None:
    """All rows are in the stage by then."""
    ends.source.execute(WAITS.format(schema="public", condition="true"))
    ends.source.execute("CREATE VIEW slow AS SELECT id, v FROM t WHERE public.waits(id) = id")

    def hook(event: Event) -> None:
        if isinstance(event, PartitionLoaded):
            ends.source.execute("SELECT pg_advisory_lock(99)")

    pipeline = replace(ends.spec, streams=(StreamSpec(name="slow", target="t"),))
    options = RunOptions(checksum=True)
    result = stopped_while_waiting(ends.source, pipeline, who="reader-0", hook=hook, options=options)
    require_cancelled(ends, result)


def test_while_a_worker_waits_for_the_receipts(ends: Ends) -> None:
    """Somebody has the ledger's table for himself."""
    hook = at_phase("load", ends.destination, "BEGIN; LOCK TABLE _rapidbyte.receipts")
    result = stopped_while_waiting(ends.destination, ends.spec, who="worker", hook=hook)
    ends.destination.execute("ROLLBACK")
    require_cancelled(ends, result)


def test_in_finalize_while_the_targets_lock_is_tried_for(ends: Ends) -> None:
    """A writer who does nothing keeps swap and in_place out."""
    hook = at_phase("finalize", ends.destination, "BEGIN; LOCK TABLE raw.t IN ROW EXCLUSIVE MODE")
    result = stopped_while_waiting(ends.destination, ends.spec, who="leader", hook=hook)
    ends.destination.execute("ROLLBACK")
    require_cancelled(ends, result)


def test_in_finalize_while_an_index_is_built(ends: Ends) -> None:
    """CREATE INDEX on the stage is cancelled, not awaited."""
    ends.destination.execute(WAITS.format(schema="raw", condition="current_query() LIKE 'CREATE INDEX%'"))
    ends.destination.execute("CREATE INDEX ON raw.t (raw.waits(id))")
    hook = at_phase("finalize", ends.destination, "SELECT pg_advisory_lock(99)")
    require_cancelled(ends, stopped_while_waiting(ends.destination, ends.spec, who="leader", hook=hook))


def test_a_stop_after_the_commit_reports_the_stream_and_publishes_no_other(ends: Ends) -> None:
    """It comes while ANALYZE looks at the first stream's table: that one is published, the second is not."""
    ends.source.execute("CREATE TABLE u AS TABLE t")
    ends.destination.execute(WAITS.format(schema="raw", condition="current_query() LIKE 'ANALYZE%'"))
    ends.destination.execute("CREATE INDEX ON raw.t (raw.waits(id))")
    hook = at_phase("finalize", ends.destination, "SELECT pg_advisory_lock(99)")
    pipeline = replace(ends.spec, streams=(StreamSpec(name="t"), StreamSpec(name="u")))
    result = stopped_while_waiting(ends.destination, pipeline, who="leader", hook=hook)
    assert (result.status, result.exit_code) == ("partial", 7)
    assert [(each.name, each.status, each.commit_state) for each in result.streams] == [
        ("t", "succeeded", "after_commit_confirmed"),
        ("u", "cancelled", "before_commit"),
    ]
    assert result.streams[0].warnings[0].startswith("statistics of raw.t were not renewed: ")
    assert ends.destination.execute("SELECT count(*), to_regclass('raw.u') FROM raw.t").fetchone() == (2000, None)
    assert stages(ends) == []
    assert no_session_is_left(ends.destination)


def test_a_deadline_ends_a_wait_too(ends: Ends) -> None:
    """Nobody tells the run to stop; its time is over while it waits for a lock."""
    ends.source.execute("BEGIN; LOCK TABLE t")
    result = rapidbyte.run(ends.spec, options=RunOptions(deadline_seconds=0.5))
    ends.source.execute("ROLLBACK")
    assert result.error is not None
    assert (result.status, result.exit_code, result.error.code) == ("cancelled", 7, "deadline")
    assert result.error.message == "the run was stopped at its deadline of 0.5 s"
    assert no_session_is_left(ends.source)


def test_a_stage_that_cannot_be_dropped_is_told_in_time(ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody reads it when the run stops; the next run drops it."""
    monkeypatch.setattr(sessions, "CLEANUP_SECONDS", 0.3)

    def hook(event: Event) -> None:
        if isinstance(event, PhaseStarted) and event.phase == "finalize":
            ((stage,),) = ends.destination.execute("SELECT stage_table FROM _rapidbyte.loads").fetchall()
            ends.destination.execute(f'BEGIN; LOCK TABLE raw."{stage}" IN ACCESS SHARE MODE')  # type: ignore[arg-type]
            ends.destination.execute("LOCK TABLE raw.t IN ROW EXCLUSIVE MODE")

    result = stopped_while_waiting(ends.destination, ends.spec, who="leader", hook=hook)
    ends.destination.execute("ROLLBACK")
    assert (result.status, result.exit_code) == ("cancelled", 7)
    assert len(result.warnings) == 1
    assert (
        " of stream t is left behind: the destination failed while discarding the stage of raw.t" in result.warnings[0]
    )
    assert len(stages(ends)) == 1
    assert rapidbyte.run(ends.spec).status == "succeeded"
    assert stages(ends) == []


def test_a_look_waits_for_a_lock_so_long_and_says_who_has_it(ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    """Thirty seconds, here less; the error names the table and the session."""
    monkeypatch.setattr(blocking, "LOCK_SECONDS", 0.3)
    ends.source.execute("SET application_name = 'nightly job'; BEGIN; LOCK TABLE t")
    result = rapidbyte.run(ends.spec)
    ends.source.execute("ROLLBACK")
    assert result.error is not None
    assert (result.exit_code, result.error.code, result.error.sqlstate) == (3, "lock_not_available", "55P03")
    who = f"public.t is locked by pid {ends.source.info.backend_pid} (nightly job)"
    assert result.error.message == f"a lock was not to be had within 0.3 s while looking its tables up: {who}"


def test_publish_timeout_bounds_all_waiting(ends: Ends) -> None:
    """A writer who stays keeps swap and in_place out: both give up within publish_timeout (D15, C7)."""
    destination = replace(ends.spec.destination, publish_timeout_seconds=1.0)
    hook = at_phase("finalize", ends.destination, "BEGIN; LOCK TABLE raw.t IN ROW EXCLUSIVE MODE")
    result = rapidbyte.run(replace(ends.spec, destination=destination), observe=hook)
    ends.destination.execute("ROLLBACK")
    assert result.error is not None
    assert (result.exit_code, result.error.code) == (4, "lock_not_available")
    assert result.phases.finalize_s < 10


def test_a_statement_timeout_is_no_stop(destination_db: str) -> None:
    """57014 that we have not asked for stays what it is (C6)."""
    session = open_session(
        Connection(dsn=Secret(destination_db)), side="destination", application_name="x", stop=threading.Event().is_set
    )
    with pytest.raises(DestinationError) as error, translated("destination", "sleeping"):
        session.execute("SET statement_timeout = '10ms'; SELECT pg_sleep(600)")
    assert (error.value.code, error.value.context.sqlstate) == ("statement_cancelled", "57014")
    session.close()


def test_a_commit_under_way_is_awaited(destination_db: str, connect: Connect) -> None:
    """The stop that ends another session's statement leaves the COMMIT alone, which waits for the same lock."""
    admin = connect(destination_db)
    admin.execute(
        WAITS.format(schema="public", condition="true") + "CREATE TABLE k (i int);"
        "CREATE FUNCTION late() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN PERFORM public.waits(NEW.i); RETURN NEW; END $$;"
        "CREATE CONSTRAINT TRIGGER late AFTER INSERT ON k DEFERRABLE INITIALLY DEFERRED"
        " FOR EACH ROW EXECUTE FUNCTION late();"
        "SELECT pg_advisory_lock(99)"
    )
    stop = threading.Event()
    login = Connection(dsn=Secret(destination_db))
    one = open_session(login, side="destination", application_name="rapidbyte one", stop=stop.is_set)
    two = open_session(login, side="destination", application_name="rapidbyte two", stop=stop.is_set)
    begin(one, ())
    one.execute("INSERT INTO k VALUES (1)")
    committing = threading.Thread(target=commit, args=(one,))
    committing.start()
    cancelled: list[BaseException] = []

    def ask() -> None:
        try:
            two.execute("SELECT public.waits(1)")
        except CancelledError as error:
            cancelled.append(error)

    asking = threading.Thread(target=ask)
    asking.start()
    for who in ("one", "two"):
        while admin.execute(WAITING, (f"rapidbyte {who}",)).fetchone() is None:
            pass
    stop.set()
    asking.join(GUARD_SECONDS)
    admin.execute("SELECT pg_advisory_unlock(99)")
    committing.join(GUARD_SECONDS)
    assert len(cancelled) == 1
    assert admin.execute("SELECT * FROM k").fetchall() == [(1,)]
    one.close()
    two.close()
