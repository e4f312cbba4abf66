"""Least privilege: each thing that is missing is named by the GRANT that cures it; workers can INSERT and no more."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import psycopg
import pytest

from rapidbyte.contract import WriteContract
from rapidbyte.errors import ConfigError, PrivilegeError
from rapidbyte.model import Secret
from rapidbyte.plan import RunPlan
from rapidbyte.spec import WorkerLogin
from tests.kit.catalog import catalog_of
from tests.postgres.leading import Lead, finalize, lead, rows_of, run

T = "CREATE SCHEMA app; CREATE TABLE app.t (id int PRIMARY KEY, a text);"
TWO = "VALUES (1, 'one'), (2, 'two')"
LEDGER = "CREATE SCHEMA _rapidbyte; GRANT USAGE, CREATE ON SCHEMA _rapidbyte TO {role};"


def as_role(dsn: str, role: str) -> str:
    """The same database as another role."""
    return dsn.replace("postgres@", f"{role}@", 1)


SETTINGS = {
    "created": "",
    "created in a schema that is there": "CREATE SCHEMA raw; GRANT USAGE, CREATE ON SCHEMA raw TO {role};" + LEDGER,
    "insert": LEDGER + "CREATE SCHEMA raw; GRANT USAGE ON SCHEMA raw TO {role}; CREATE TABLE raw.t (id int, a text);"
    "GRANT INSERT ON raw.t TO {role}",
    "insert by columns": LEDGER + "CREATE SCHEMA raw; GRANT USAGE ON SCHEMA raw TO {role};"
    "CREATE TABLE raw.t (id int, a text); GRANT INSERT (id, a) ON raw.t TO {role}",
    "insert into what may be read": LEDGER + "CREATE SCHEMA raw; GRANT USAGE ON SCHEMA raw TO {role};"
    "CREATE TABLE raw.t (id int, a text); GRANT SELECT, INSERT ON raw.t TO {role}",
    "insert beside a serial column": LEDGER + "CREATE SCHEMA raw; GRANT USAGE ON SCHEMA raw TO {role};"
    "CREATE TABLE raw.t (id int, a text, n serial); GRANT INSERT ON raw.t TO {role};"
    "GRANT USAGE ON SEQUENCE raw.t_n_seq TO {role}",
    "new column": LEDGER + "CREATE SCHEMA raw; GRANT USAGE ON SCHEMA raw TO {role}; CREATE ROLE {role}_owner;"
    "GRANT USAGE, CREATE ON SCHEMA raw TO {role}_owner; CREATE TABLE raw.t (id int);"
    "ALTER TABLE raw.t OWNER TO {role}_owner; GRANT {role}_owner TO {role}; INSERT INTO raw.t VALUES (9)",
}
"""What an administrator sets up, for a role that then has just enough."""

MISSING = {
    (
        "created",
        'GRANT CREATE ON DATABASE "{database}" TO "{role}"',
    ): "REVOKE CREATE ON DATABASE {database} FROM {role}",
    ("created in a schema that is there", 'GRANT CREATE ON SCHEMA "raw" TO "{role}"'): (
        "REVOKE CREATE ON SCHEMA raw FROM {role}"
    ),
    ("created in a schema that is there", 'GRANT USAGE ON SCHEMA "raw" TO "{role}"'): (
        "REVOKE USAGE ON SCHEMA raw FROM {role}"
    ),
    ("insert", 'GRANT USAGE ON SCHEMA "raw" TO "{role}"'): "REVOKE USAGE ON SCHEMA raw FROM {role}",
    (
        "insert into what may be read",
        'GRANT USAGE ON SCHEMA "raw" TO "{role}"',
    ): "REVOKE USAGE ON SCHEMA raw FROM {role}",
    ("insert", 'GRANT INSERT ON TABLE "raw"."t" TO "{role}"'): "REVOKE INSERT ON raw.t FROM {role}",
    ("insert", 'GRANT CREATE ON SCHEMA "_rapidbyte" TO "{role}"'): "REVOKE CREATE ON SCHEMA _rapidbyte FROM {role}",
    ("insert", 'GRANT USAGE ON SCHEMA "_rapidbyte" TO "{role}"'): "REVOKE USAGE ON SCHEMA _rapidbyte FROM {role}",
    ("insert", 'ALTER ROLE "{role}" BYPASSRLS'): "ALTER TABLE raw.t ENABLE ROW LEVEL SECURITY",
    ("insert by columns", 'GRANT INSERT ON TABLE "raw"."t" TO "{role}"'): "SELECT",
    ("insert beside a serial column", 'GRANT USAGE ON SEQUENCE "raw"."t_n_seq" TO "{role}"'): (
        "REVOKE USAGE ON SEQUENCE raw.t_n_seq FROM {role}"
    ),
    ("new column", 'GRANT "{role}_owner" TO "{role}"'): (
        "REVOKE {role}_owner FROM {role}; GRANT INSERT ON raw.t TO {role}"
    ),
}


def set_up(dsn: str, setting: str, role: str) -> None:
    """The administrator's part."""
    run(dsn, T + f"GRANT USAGE ON SCHEMA app TO {role}; GRANT CREATE ON DATABASE {name_of(dsn)} TO {role};")
    run(dsn, SETTINGS[setting].format(role=role) or "SELECT")
    if setting != "created":
        run(dsn, f"REVOKE CREATE ON DATABASE {name_of(dsn)} FROM {role}")


def name_of(dsn: str) -> str:
    """The database's name."""
    return str(rows_of(dsn, "SELECT current_database()")[0][0])


def load_of(load: Lead, dsn: str) -> Lead:
    """The same load, whose stage is filled by the superuser."""
    return replace(load, dsn=dsn)


@pytest.mark.parametrize("setting", [name for name in SETTINGS if name not in ("new column", "insert by columns")])
def test_just_enough_is_enough(setting: str, destination_db: str, make_role: Callable[..., str]) -> None:
    """No superuser, no ownership where the method needs none: a load goes through, and a second one."""
    role = make_role()
    set_up(destination_db, setting, role)
    with lead(as_role(destination_db, role), "t", source=destination_db) as load:
        for _ in range(2):
            load_of(load, destination_db).publish(TWO if _ == 0 else "VALUES (3, 'three')")
    assert rows_of(destination_db, "SELECT id FROM raw.t ORDER BY id") == [(1,), (2,), (3,)]


@pytest.mark.parametrize(("setting", "cure"), MISSING)
def test_each_missing_privilege_is_named_by_the_grant_that_cures_it(
    setting: str, cure: str, make_database: Callable[..., str], server_dsn: str
) -> None:
    """Exit 2 before anything is made; the hint, when executed, lets the load through (G12)."""
    destination_db = make_database()
    role = f"rb_p_{name_of(destination_db)[-12:]}"
    run(server_dsn, f"CREATE ROLE {role} LOGIN")
    try:
        set_up(destination_db, setting, role)
        run(destination_db, MISSING[setting, cure].format(role=role, database=name_of(destination_db)))
        with lead(as_role(destination_db, role), "t", source=destination_db) as load:
            plan = load.plan()
            with pytest.raises(PrivilegeError) as caught:
                load.leader.check_privileges(plan)
            assert caught.value.hint == cure.format(role=role, database=name_of(destination_db)) + ";"
            run(destination_db, str(caught.value.hint))
            assert load_of(load, destination_db).publish(TWO).rows == 2
    finally:
        run(server_dsn, f"DROP DATABASE {name_of(destination_db)} WITH (FORCE)")
        run(server_dsn, f"DROP ROLE IF EXISTS {role}_owner; DROP ROLE {role}")


@pytest.mark.parametrize("privilege", ["SELECT", "INSERT", "UPDATE", "DELETE"])
def test_in_place_needs_four_privileges_and_no_more(
    privilege: str, destination_db: str, make_role: Callable[..., str]
) -> None:
    """No ownership, no TRUNCATE, no CREATE but on the ledger's schema."""
    role = make_role()
    run(
        destination_db,
        T + LEDGER.format(role=role) + "CREATE SCHEMA raw; CREATE TABLE raw.t (id int PRIMARY KEY, a text);"
        f"INSERT INTO raw.t VALUES (1, 'x'), (5, 'y'); GRANT USAGE ON SCHEMA raw TO {role};"
        f"GRANT SELECT, INSERT, UPDATE, DELETE ON raw.t TO {role}; REVOKE {privilege} ON raw.t FROM {role}",
    )
    with lead(as_role(destination_db, role), "t", source=destination_db, write_mode="replace") as load:
        plan = load.plan()
        assert plan.streams[0].publish == "in_place"
        with pytest.raises(PrivilegeError) as caught:
            load.leader.check_privileges(plan)
        assert caught.value.hint == f'GRANT {privilege} ON TABLE "raw"."t" TO "{role}";'
        run(destination_db, caught.value.hint)
        assert load_of(load, destination_db).publish(TWO).publish == "in_place"
    assert rows_of(destination_db, "SELECT id, a FROM raw.t ORDER BY id") == [(1, "one"), (2, "two")]


def test_a_second_leader_needs_the_ledger(destination_db: str, make_role: Callable[..., str]) -> None:
    """Another role than the one that made it: every grant is named, and they suffice."""
    role = make_role()
    run(destination_db, T)
    with lead(destination_db, "t") as load:
        load.publish(TWO)
    run(destination_db, f"GRANT USAGE ON SCHEMA app, raw TO {role}; GRANT INSERT ON raw.t TO {role}")
    with lead(as_role(destination_db, role), "t", source=destination_db) as load:
        plan = load.plan()
        with pytest.raises(PrivilegeError) as caught:
            load.leader.check_privileges(plan)
        assert caught.value.message == f"role {role} lacks 10 privileges at the destination"
        run(destination_db, str(caught.value.hint))
        load_of(load, destination_db).publish("VALUES (3, 'three')")
    assert rows_of(destination_db, "SELECT count(*) FROM raw.t") == [(3,)]


def test_a_swap_keeps_an_owner_that_the_leader_is_a_member_of(
    destination_db: str, make_role: Callable[..., str]
) -> None:
    """The rights of the owner suffice to give the new table to it."""
    owner, role = make_role("NOLOGIN"), make_role()
    run(
        destination_db,
        T + LEDGER.format(role=role) + f"CREATE SCHEMA raw AUTHORIZATION {owner};"
        f"CREATE TABLE raw.t (id int PRIMARY KEY, a text); ALTER TABLE raw.t OWNER TO {owner};"
        f"GRANT {owner} TO {role}; INSERT INTO raw.t VALUES (7, 'x')",
    )
    with lead(as_role(destination_db, role), "t", source=destination_db, write_mode="replace") as load:
        assert load_of(load, destination_db).publish(TWO).publish == "swap"
    assert catalog_of(destination_db, "raw", "t")["table"][0][9] == owner


# --- the workers' own role

THERE = """
CREATE SCHEMA raw;
CREATE TABLE raw.t (id int PRIMARY KEY, a text, m app.mood);
INSERT INTO raw.t VALUES (9);
"""


@pytest.fixture
def worker(make_role: Callable[..., str]) -> str:
    """A role that may log in and nothing else."""
    return make_role()


def session(dsn: str, worker: str) -> psycopg.Connection:
    """A worker's session."""
    return psycopg.connect(as_role(dsn, worker), autocommit=True)


def write(connection: psycopg.Connection, contract: WriteContract, rows: str) -> None:
    """What a worker does: INSERT (as COPY does), look for a receipt, insert one."""
    stage = f'"{contract.copy.table.schema}"."{contract.copy.table.name}"'
    connection.execute(f"INSERT INTO {stage} {rows}")
    connection.execute("SELECT rows, bytes FROM _rapidbyte.receipts WHERE load_id = %s", (contract.load_id,))
    connection.execute(
        "INSERT INTO _rapidbyte.receipts (load_id, partition, pipeline, stream, worker, rows, bytes)"
        " VALUES (%s, 1, 'shop', 't', 0, 0, 0)",
        (contract.load_id,),
    )


@pytest.mark.parametrize("mode", ["append", "replace"])
@pytest.mark.parametrize("target", ["", THERE])
def test_workers_can_insert_into_the_stage_and_do_nothing_else(
    mode: str, target: str, destination_db: str, worker: str
) -> None:
    """With what the leader grants alone; every other statement is refused by the server; afterwards nothing is left."""
    run(destination_db, T + "REVOKE ALL ON SCHEMA public FROM PUBLIC; CREATE TYPE app.mood AS ENUM ('ok');"
        "REVOKE ALL ON TYPE app.mood FROM PUBLIC; ALTER TABLE app.t ADD m app.mood;" + target)  # fmt: skip
    before = grants_of(destination_db, worker)
    with lead(destination_db, "t", write_mode=mode, worker=WorkerLogin(user=worker)) as load:
        contract = load.prepare()
        assert contract.copy.login.login == WorkerLogin(user=worker)
        stage = f'"{contract.copy.table.schema}"."{contract.copy.table.name}"'
        with session(destination_db, worker) as connection:
            write(connection, contract, "VALUES (1, 'a', 'ok')")
            for statement in (
                f"SELECT * FROM {stage}",
                f"UPDATE {stage} SET id = 2",
                f"DELETE FROM {stage}",
                f"TRUNCATE {stage}",
                f"DROP TABLE {stage}",
                f"ALTER TABLE {stage} ADD x int",
                f"CREATE INDEX ON {stage} (id)",
                f'CREATE TABLE "{contract.copy.table.schema}".x ()',
                "CREATE TABLE _rapidbyte.x ()",
                "CREATE SCHEMA x",
                "DELETE FROM _rapidbyte.receipts",
                "UPDATE _rapidbyte.receipts SET rows = 7",
                "SELECT * FROM _rapidbyte.loads",
                "UPDATE _rapidbyte.loads SET state = 'published'",
            ):
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    connection.execute(statement)
        run(destination_db, "DELETE FROM _rapidbyte.receipts" + f"; TRUNCATE {stage}")
        finalize(load.leader, contract, load.fill(contract, "VALUES (1, 'a', 'ok')"))
    assert grants_of(destination_db, worker) == before


def grants_of(dsn: str, role: str) -> list[tuple[object, ...]]:
    """Everything in this database that the role has been granted by name."""
    return rows_of(
        dsn,
        "SELECT classid::regclass::text, pg_describe_object(classid, objid, objsubid) FROM pg_shdepend"
        f" JOIN pg_database d ON d.oid = dbid AND datname = current_database() WHERE refobjid = '{role}'::regrole"
        " ORDER BY 1, 2",
    )  # fmt: skip


def test_a_discarded_load_takes_the_grants_back(destination_db: str, worker: str) -> None:
    """As a published one does."""
    run(destination_db, T)
    with lead(destination_db, "t", worker=WorkerLogin(user=worker)) as load:
        contract = load.prepare()
        assert grants_of(destination_db, worker) != []
        load.leader.discard_stream(contract)
    assert grants_of(destination_db, worker) == []


def test_what_several_loads_share_is_revoked_with_the_last(destination_db: str, worker: str) -> None:
    """The first load to end leaves the second one working."""
    run(destination_db, T + "CREATE TABLE app.u (id int PRIMARY KEY, a text)")
    login = WorkerLogin(user=worker)
    with (
        lead(destination_db, "t", worker=login) as one,
        lead(destination_db, "u", worker=login, pipeline="other") as two,
    ):
        first, second = one.prepare(), two.prepare()
        finalize(one.leader, first, one.fill(first, TWO))
        with session(destination_db, worker) as connection:
            connection.execute(f"INSERT INTO raw.\"{second.copy.table.name}\" VALUES (1, 'a')")
            connection.execute("SELECT FROM _rapidbyte.receipts")
        two.leader.discard_stream(second)
    assert grants_of(destination_db, worker) == []


def test_grants_that_an_administrator_made_stay(destination_db: str, worker: str) -> None:
    """What the role had before is neither granted nor revoked, default privileges included."""
    run(destination_db, T + f"CREATE SCHEMA raw; GRANT USAGE ON SCHEMA raw TO {worker};"
        f"ALTER DEFAULT PRIVILEGES IN SCHEMA raw GRANT INSERT ON TABLES TO {worker}")  # fmt: skip
    with lead(destination_db, "t", worker=WorkerLogin(user=worker)) as load:
        load.publish(TWO)
    assert rows_of(destination_db, f"SELECT has_schema_privilege('{worker}', 'raw', 'USAGE')"
        f" AND has_table_privilege('{worker}', 'raw.t', 'INSERT')") == [(True,)]  # fmt: skip
    assert rows_of(destination_db, f"SELECT has_schema_privilege('{worker}', '_rapidbyte', 'USAGE')") == [(False,)]


def test_a_worker_role_that_does_not_exist_is_refused(destination_db: str) -> None:
    """Exit 2, with what creates it."""
    run(destination_db, T)
    with lead(destination_db, "t", worker=WorkerLogin(user='no"body')) as load:
        plan = load.plan()
        with pytest.raises(ConfigError) as caught:
            load.leader.check_privileges(plan)
    assert caught.value.code == "worker_role_missing"
    assert caught.value.hint == 'CREATE ROLE "no""body" LOGIN PASSWORD \'...\';'


def test_workers_that_log_in_as_the_leader_need_no_grants(destination_db: str) -> None:
    """Nothing is granted to, and nothing revoked from the owner."""
    run(destination_db, T)
    with lead(destination_db, "t", worker=WorkerLogin(user="postgres", password=Secret("x"))) as load:
        load.publish(TWO)
    assert rows_of(destination_db, "SELECT worker_role, granted FROM _rapidbyte.loads") == [(None, [])]
    assert rows_of(destination_db, "SELECT relacl FROM pg_class WHERE oid = 'raw.t'::regclass") == [(None,)]


def test_what_the_leader_cannot_grant_to_workers_is_named(
    destination_db: str, worker: str, make_role: Callable[..., str]
) -> None:
    """A leader that did not make the ledger: the workers' grants are an administrator's business."""
    role = make_role()
    run(destination_db, T)
    with lead(destination_db, "t") as load:
        load.publish(TWO)
    run(destination_db, f"GRANT USAGE ON SCHEMA app, raw TO {role}; GRANT INSERT ON raw.t TO {role};"
        f"GRANT USAGE, CREATE ON SCHEMA _rapidbyte TO {role}; GRANT SELECT ON _rapidbyte.ledger TO {role};"
        f"GRANT SELECT, INSERT, UPDATE ON _rapidbyte.loads, _rapidbyte.leases, _rapidbyte.runs TO {role};"
        f"GRANT SELECT, INSERT, DELETE ON _rapidbyte.receipts TO {role};"
        "GRANT SELECT, INSERT, UPDATE, DELETE ON _rapidbyte.cursors, _rapidbyte.files, _rapidbyte.rejects"
        f" TO {role}")  # fmt: skip
    login = WorkerLogin(user=worker)
    with lead(as_role(destination_db, role), "t", source=destination_db, worker=login) as load:
        plan: RunPlan = load.plan()
        with pytest.raises(PrivilegeError) as caught:
            load.leader.check_privileges(plan)
        assert caught.value.hint == (
            f'GRANT SELECT, INSERT ON TABLE "_rapidbyte"."receipts" TO "{worker}";'
            f' GRANT USAGE ON SCHEMA "_rapidbyte" TO "{worker}";'
        )
        run(destination_db, caught.value.hint)
        load_of(load, destination_db).publish("VALUES (3, 'three')")
    assert rows_of(destination_db, "SELECT count(*) FROM raw.t") == [(3,)]
