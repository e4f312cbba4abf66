"""The tests' own instruments measure what they claim to."""

import psycopg
import pytest

from tests.kit.catalog import LOOK_UPS, differences

HANGERS = {
    "table": "ALTER TABLE app.t SET (fillfactor = 70)",
    "grants": "GRANT SELECT ON app.t TO public",
    "column_grants": "GRANT UPDATE (v) ON app.t TO public",
    "columns": "ALTER TABLE app.t ALTER v SET STORAGE EXTERNAL",
    "indexes": "CREATE INDEX t_v ON app.t (v)",
    "constraints": "ALTER TABLE app.t ADD CONSTRAINT positive CHECK (id > 0)",
    "referenced_by": "CREATE TABLE app.child (t_id int REFERENCES app.t)",
    "triggers": "CREATE TRIGGER tr BEFORE UPDATE ON app.t EXECUTE FUNCTION app.f()",
    "rules": "CREATE RULE nothing AS ON DELETE TO app.t DO ALSO NOTHING",
    "policies": "CREATE POLICY p ON app.t USING (id > 1)",
    "views": "CREATE VIEW app.v AS SELECT id FROM app.t",
    "statistics": "CREATE STATISTICS app.s (dependencies) ON id, v FROM app.t",
    "publications": "CREATE PUBLICATION pub FOR TABLE app.t",
    "inherits": "CREATE TABLE app.heir () INHERITS (app.t)",
    "functions": "CREATE FUNCTION app.g(app.t) RETURNS int LANGUAGE sql RETURN 1",
    "sequences": "SELECT nextval('app.t_id_seq')",
}


@pytest.mark.parametrize(("look_up", "statement"), HANGERS.items())
def test_a_change_to_what_hangs_on_a_table_is_seen(source_db, connect, catalog_of, look_up, statement):
    """Each look-up of the catalog sees the change that it is there for."""
    db = connect(source_db)
    db.execute("CREATE SCHEMA app; CREATE TABLE app.t (id serial PRIMARY KEY, v text)")
    db.execute("CREATE FUNCTION app.f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'")
    before = catalog_of(source_db, "app", "t")
    assert catalog_of(source_db, "app", "t") == before
    db.execute(statement)
    assert look_up in differences(before, catalog_of(source_db, "app", "t"))


def test_every_look_up_has_its_change():
    """No look-up goes without a test; labels need a provider that is not there."""
    assert set(LOOK_UPS) - {"security_labels"} == set(HANGERS)


def test_a_checksum_tells_rows_apart_and_ignores_their_order(source_db, connect, checksum_of):
    """Equal for the same rows in any order; different for a row twice, a changed one, NULL against ''."""
    db = connect(source_db)
    db.execute("CREATE TABLE a AS SELECT i, i::text AS v FROM generate_series(1, 9) i")
    db.execute("CREATE TABLE b AS SELECT * FROM a ORDER BY i DESC")
    assert checksum_of(source_db, "a") == checksum_of(source_db, "b")
    db.execute("UPDATE b SET v = NULL WHERE i = 1; UPDATE a SET v = '' WHERE i = 1")
    assert checksum_of(source_db, "a") != checksum_of(source_db, "b")
    db.execute("UPDATE b SET v = ''; UPDATE a SET v = ''; UPDATE b SET i = 2 WHERE i = 1")
    assert checksum_of(source_db, "a") != checksum_of(source_db, "b")


def test_the_log_tells_who_ran_what(source_db, connect, server_log):
    """Statements come with the application_name of their session, in order, of this database alone."""
    server_log.watch(source_db)
    connect(source_db, application_name="rapidbyte leader x").execute("CREATE TABLE t (i int)")
    connect(source_db, application_name="rapidbyte worker-1 x").execute("INSERT INTO t VALUES (%s)", [1])
    assert server_log.statements(source_db, "rapidbyte leader") == [("rapidbyte leader x", "CREATE TABLE t (i int)")]
    assert server_log.statements(source_db, "rapidbyte") == [
        ("rapidbyte leader x", "CREATE TABLE t (i int)"),
        ("rapidbyte worker-1 x", "INSERT INTO t VALUES ($1)"),
    ]


def test_a_role_with_a_password_must_give_it(source_db, connect, make_role, server, server_version_num):
    """Roles made with a password are not trusted, so that a wrong one can be tested."""
    role = make_role(password="s3cret")
    assert connect(server.dsn(connect(source_db).info.dbname, user=role, password="s3cret")).info.user == role
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        connect(server.dsn(connect(source_db).info.dbname, user=role, password="wrong"))
