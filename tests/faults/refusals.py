"""P4: what a server can refuse, each with the exit code that it must lead to, and what the result must say."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field

from tests.faults.dataset import MODES
from tests.faults.lane import Lane, Place, connect, published
from tests.faults.oracle import exit_problems
from tests.faults.smalldisk import NotPossible, small_tablespace
from tests.faults.sweep import Outcome, attempt_problems, end_problems

WORKERS = 2
LOADER = "faults_loader"
SUPER = "faults_super"
"""A superuser beside the tests' own, whose settings they do not share."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """What is done to the destination before the first run, and what that run must end with."""

    name: str
    sql: str = ""
    """In the destination; `{database}` is its name."""
    exit_code: int
    says: str = ""
    """A part of what stderr says."""
    undo: str = ""
    """In the destination, before the second run, which must succeed."""
    modes: tuple[str, ...] = ()
    """Only these; empty: all."""
    role: str | None = None
    """Who runs it; None: the superuser."""
    retried: bool = False
    """The result must count a retry."""
    blocker: str = ""
    """A statement in a transaction that another session keeps open meanwhile."""
    settings: dict[str, str] = field(default_factory=dict)
    source_role: str | None = None
    """Who reads the source; None: the superuser."""
    source_undo: str = ""
    """In the source, before the second run. It is taken back after it."""
    source_redo: str = ""
    disk: str = ""
    """The size of the file system that the first run finds for its stages."""


def _raising(sqlstate: str, times: int) -> str:
    """A trigger that fails with this SQLSTATE, so many times; a sequence counts, for it is not rolled back."""
    return (
        "CREATE SEQUENCE raw.refused_count;"
        "CREATE FUNCTION raw.refused() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        f" IF nextval('raw.refused_count') <= {times} THEN RAISE 'refused' USING ERRCODE = '{sqlstate}'; END IF;"
        " RETURN NULL; END $$;"
        "CREATE TRIGGER refused AFTER INSERT ON raw.orders FOR EACH STATEMENT EXECUTE FUNCTION raw.refused();"
    )


_NO_LONGER = "DROP FUNCTION raw.refused CASCADE; DROP SEQUENCE raw.refused_count;"
_WITH_TRIGGERS = ("append", "replace-in-place", "upsert")
_GRANTED = (
    f"GRANT CREATE, CONNECT, TEMPORARY ON DATABASE {{database}} TO {LOADER};"
    f"GRANT USAGE, CREATE ON SCHEMA raw TO {LOADER};"
    f"DO $$ DECLARE r record; BEGIN FOR r IN SELECT oid::regclass AS t FROM pg_class WHERE relnamespace ="
    f" 'raw'::regnamespace AND relkind IN ('r', 'm', 'v', 'S') LOOP"
    f" IF (SELECT relkind FROM pg_class WHERE oid = r.t) <> 'S' OR NOT EXISTS (SELECT FROM pg_depend WHERE objid = r.t"
    f" AND deptype = 'a') THEN EXECUTE format('ALTER TABLE %s OWNER TO {LOADER}', r.t); END IF; END LOOP; END $$;"
)
"""All that a loader without superuser's rights needs: it owns what it replaces."""

REFUSALS: tuple[Refusal, ...] = (
    *(
        Refusal(
            name=f"{setting} of the role",
            sql=f"ALTER ROLE {SUPER} IN DATABASE {{database}} SET {setting} = '{value}'",
            exit_code=0,
            role=SUPER,
        )
        for setting, value in (
            ("statement_timeout", "300ms"),
            ("lock_timeout", "300ms"),
            ("idle_in_transaction_session_timeout", "300ms"),
            ("idle_session_timeout", "300ms"),
            ("default_transaction_read_only", "on"),
            ("default_transaction_isolation", "serializable"),
            ("synchronous_commit", "off"),
            ("search_path", "pg_temp"),
            ("row_security", "on"),
            ("standard_conforming_strings", "off"),
        )
    ),
    Refusal(name="serialization failure, once", sql=_raising("40001", 1), undo=_NO_LONGER, exit_code=0, retried=True,
            modes=_WITH_TRIGGERS),
    Refusal(name="deadlock, once", sql=_raising("40P01", 1), undo=_NO_LONGER, exit_code=0, retried=True,
            modes=_WITH_TRIGGERS),
    Refusal(name="deadlock, for ever", sql=_raising("40P01", 9999), undo=_NO_LONGER, exit_code=4,
            modes=_WITH_TRIGGERS),
    Refusal(name="disk full", sql=_raising("53100", 9999), undo=_NO_LONGER, exit_code=4, says="space",
            modes=_WITH_TRIGGERS),
    Refusal(name="no room for temporary files", sql=_raising("53400", 9999), undo=_NO_LONGER, exit_code=4,
            modes=_WITH_TRIGGERS),
    Refusal(name="out of memory", sql=_raising("53200", 9999), undo=_NO_LONGER, exit_code=4, modes=_WITH_TRIGGERS),
    Refusal(name="statement cancelled", sql=_raising("57014", 9999), undo=_NO_LONGER, exit_code=4,
            modes=_WITH_TRIGGERS),
    Refusal(name="read-only server", sql=_raising("25006", 9999), undo=_NO_LONGER, exit_code=4, modes=_WITH_TRIGGERS),
    Refusal(name="a constraint of the target", sql="ALTER TABLE raw.orders ADD CONSTRAINT few CHECK"
            " (id NOT IN (777, 778)) NOT VALID", undo="ALTER TABLE raw.orders DROP CONSTRAINT few", exit_code=5,
            says="few"),
    Refusal(name="a lock that is not given", blocker="LOCK TABLE raw.orders IN SHARE ROW EXCLUSIVE MODE", exit_code=4,
            says="lock", settings={"publish_timeout": "1s"},
            modes=tuple(name for name, mode in MODES.items() if not mode.partly_visible)),  # COPY waits as any writer
    Refusal(name="no database", sql="ALTER DATABASE {database} CONNECTION LIMIT 0", role=LOADER, exit_code=4,
            undo="ALTER DATABASE {database} CONNECTION LIMIT -1", modes=("append", "replace-swap")),
    Refusal(name="no CREATE on the database", role=LOADER, exit_code=2, says="CREATE ON DATABASE",
            sql=f"REVOKE CREATE ON DATABASE {{database}} FROM {LOADER}",
            undo=f"GRANT CREATE ON DATABASE {{database}} TO {LOADER}", modes=("append", "replace-swap")),
    Refusal(name="no CREATE on the schema", role=LOADER, exit_code=2, says="ON SCHEMA",
            sql=f"REVOKE CREATE ON SCHEMA raw FROM {LOADER}", undo=f"GRANT CREATE ON SCHEMA raw TO {LOADER}",
            modes=("append",)),
    Refusal(name="no USAGE on the schema", role=LOADER, exit_code=2, says="USAGE",
            sql=f"REVOKE USAGE ON SCHEMA raw FROM {LOADER}", undo=f"GRANT USAGE ON SCHEMA raw TO {LOADER}",
            modes=("append", "replace-swap", "upsert")),
    Refusal(name="no INSERT on the target", role=LOADER, exit_code=2, says="INSERT",
            sql=f"ALTER TABLE raw.orders OWNER TO postgres; GRANT SELECT ON raw.orders TO {LOADER}",
            undo=f"ALTER TABLE raw.orders OWNER TO {LOADER}", modes=("append", "upsert")),
    *(
        Refusal(name=f"no {privilege} on the target", role=LOADER, exit_code=2, says=privilege, modes=(mode,),
                sql=f"ALTER TABLE raw.orders OWNER TO postgres; GRANT {granted} ON raw.orders TO {LOADER}",
                undo=f"ALTER TABLE raw.orders OWNER TO {LOADER}")
        for privilege, granted, mode in (
            ("SELECT", "INSERT, UPDATE, DELETE", "upsert"),
            ("UPDATE", "SELECT, INSERT, DELETE", "upsert"),
            ("UPDATE", "SELECT, INSERT, DELETE", "replace-in-place"),
            ("DELETE", "SELECT, INSERT, UPDATE", "replace-in-place"),
        )
    ),
    Refusal(name="no right to the ledger", role=LOADER, exit_code=2, says="_rapidbyte",
            undo=f"GRANT USAGE, CREATE ON SCHEMA _rapidbyte TO {LOADER};"
            f"GRANT ALL ON ALL TABLES IN SCHEMA _rapidbyte TO {LOADER}",
            modes=("incremental-append", "incremental-upsert")),
    Refusal(name="no SELECT on the source's table", source_role=LOADER, exit_code=2, says="SELECT",
            source_undo=f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {LOADER}",
            source_redo=f"REVOKE SELECT ON ALL TABLES IN SCHEMA public FROM {LOADER}"),
    Refusal(name="no room for a stage", role=SUPER, exit_code=4, says="space", disk="128k",
            modes=("append", "replace-swap", "replace-in-place", "upsert", "append-key", "incremental-upsert")),
    *(
        Refusal(name=f"{count} connections", role=LOADER, exit_code=exit_code, says="connections" if exit_code else "",
                sql=f"ALTER DATABASE {{database}} CONNECTION LIMIT {count}",
                undo="ALTER DATABASE {database} CONNECTION LIMIT -1", modes=("append", "replace-swap"))
        for count, exit_code in ((1, 2), (2, 2), (5, 0))
    ),
)  # fmt: skip
"""In the order of hazards C6 to C13 and G12."""


def refused(lane: Lane, mode: str, refusal: Refusal) -> Outcome:
    """The run that is refused, and the run after that."""
    outcome = Outcome()
    with lane.cell(mode) as place, ExitStack() as stack:
        dsn = _as_role(place, refusal.role)
        source = lane.source(place.mode)
        if refusal.source_role:
            source = source.replace("postgresql://postgres@", f"postgresql://{refusal.source_role}@")
            _roles(place)
        before_sql = (_GRANTED if refusal.role == LOADER else "") + refusal.sql
        if before_sql:
            _run(place, before_sql)
        if refusal.blocker:
            blocking = stack.enter_context(connect(place.dsn))
            blocking.execute("BEGIN; " + refusal.blocker)  # type: ignore[arg-type]
        with connect(place.dsn) as connection:
            before = published(connection)
        if refusal.disk:
            try:
                stack.enter_context(small_tablespace(place, SUPER, refusal.disk))
            except NotPossible as error:
                return Outcome(skipped=str(error))
        attempt = place.start(workers=WORKERS, destination=dsn, source=source, **refusal.settings)
        attempt.wait(90)
        if attempt.exit_code != refusal.exit_code:
            outcome.problems.append(f"exit code {attempt.exit_code}, not {refusal.exit_code}: {attempt.stderr[-600:]}")
        outcome.problems += exit_problems(attempt, "signal")
        if refusal.says and refusal.says not in attempt.stderr:
            outcome.problems.append(f"stderr does not say {refusal.says!r}: {attempt.stderr[-600:]}")
        if refusal.retried and not (attempt.document or {}).get("retry_count"):
            outcome.problems.append("no retry is counted")
        if refusal.blocker or refusal.disk:
            stack.close()
        outcome.problems += attempt_problems(place, attempt, before, "signal")
        outcome.problems += _afterwards(place, refusal, dsn, source)
        outcome.attempts = len(place.attempts)
        if outcome.problems:
            outcome.evidence = place.evidence()
    return outcome


def _afterwards(place: Place, refusal: Refusal, dsn: str, source: str) -> list[str]:
    """Once the cause is gone the same command does all."""
    if refusal.undo:
        _run(place, refusal.undo)
    if refusal.source_undo:
        place.lane.sql(place.lane.source(place.mode), refusal.source_undo)
    problems: list[str] = []
    if refusal.exit_code != 0:
        again = place.start(workers=WORKERS, destination=dsn, source=source)
        if again.wait() != 0:
            problems.append(f"exit code {again.exit_code} once nothing is refused any more: {again.stderr[-600:]}")
    if refusal.source_redo:
        place.lane.sql(place.lane.source(place.mode), refusal.source_redo)
    return problems + [
        problem
        for problem in end_problems(place)
        if refusal.role != LOADER or "changed: gone" not in problem  # we have given the tables another owner
    ]


def _as_role(place: Place, role: str | None) -> str:
    if role is None:
        return place.dsn
    _roles(place)
    return place.dsn.replace("postgresql://postgres@", f"postgresql://{role}@")


def _roles(place: Place) -> None:
    """Makes them, once a server."""
    place.lane.sql(
        place.lane.admin,
        f"DO $$ BEGIN IF to_regrole('{LOADER}') IS NULL THEN"
        f" CREATE ROLE {LOADER} LOGIN; CREATE ROLE {SUPER} LOGIN SUPERUSER; END IF; END $$",
    )


def _run(place: Place, text: str) -> None:
    with connect(place.dsn) as connection:
        connection.execute(text.replace("{database}", connection.info.dbname))  # type: ignore[arg-type]


Doing = Callable[[Lane], Outcome]
