"""Indexes of a large stage, built by several sessions before it is published: the same tables, names and errors."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from rapidbyte.errors import CancelledError, CheckError, DataError
from rapidbyte.ports import Publication
from rapidbyte.rejects import RejectPolicy
from rapidbyte.spec import StreamSpec
from tests.kit.catalog import catalog_of, differences
from tests.postgres.command import KILLED, postgres, project
from tests.postgres.leading import Lead, finalize, lead, rows_of, run
from tests.postgres.test_stop import WAITING, WAITS

SOURCE = "CREATE SCHEMA app; CREATE TABLE app.t (id int PRIMARY KEY, a text, b numeric(10,2));"
TARGET = """
CREATE SCHEMA raw;
CREATE TABLE raw.t (id int CONSTRAINT "the key" PRIMARY KEY, a text, b numeric(10,2),
  CONSTRAINT late UNIQUE (a, id) DEFERRABLE INITIALLY DEFERRED);
CREATE UNIQUE INDEX "odd ""name"" USING" ON raw.t USING btree (lower(a) DESC NULLS LAST, id) INCLUDE (b) WHERE b > 1;
CREATE INDEX hashed ON raw.t USING hash (a);
CREATE INDEX brinny ON raw.t USING brin (b) WITH (pages_per_range = 8);
COMMENT ON INDEX raw.brinny IS 'an index';
INSERT INTO raw.t VALUES (1, 'old', 1);
"""
MANY = "SELECT i, md5(i::text), i FROM generate_series(1, 100000) i"
REPEATED = "SELECT i / 2, md5(i::text), i FROM generate_series(1, 100000) i"
LEFT = "SELECT relname FROM pg_class WHERE relname LIKE '\\_rb\\_%'"


def ahead(load: Lead) -> Lead:
    """With more workers than one index has processes."""
    return replace(load, workers=4)


def builds(server_log, dsn: str) -> list[str]:
    """Indexes of stages that were built, as the server logged it."""
    found = [text for _, text in server_log.statements(dsn, "rapidbyte leader")]
    return [text for text in found if text.startswith("CREATE ") and "INDEX" in text and '"_rb_' in text]


def failed_after_the_builds(load: Lead, contract, receipts) -> None:
    """A first publish, which ends when everything is built."""
    with pytest.raises(CheckError):
        load.leader.finalize(
            [Publication(contract=contract, receipts=receipts, checksum=True, expected_checksum="another")]
        )


def test_indexes_that_several_sessions_built_are_as_before(destination_db: str, server_log) -> None:
    """Names, definitions, constraints, comments; each is built once, before the publish (D10)."""
    run(destination_db, SOURCE + TARGET)
    before = catalog_of(destination_db, "raw", "t")
    server_log.watch(destination_db)
    with lead(destination_db, "t", write_mode="replace") as load:
        assert ahead(load).publish(MANY).publish == "swap"
    assert differences(before, catalog_of(destination_db, "raw", "t")) == {}
    assert rows_of(destination_db, "SELECT count(*) FROM raw.t") == [(100000,)]
    assert rows_of(destination_db, LEFT) == []
    statements = [text for _, text in server_log.statements(destination_db, "rapidbyte leader")]
    built = [place for place, text in enumerate(statements) if text in builds(server_log, destination_db)]
    assert len(built) == 5
    assert max(built) < next(place for place, text in enumerate(statements) if text.startswith("DROP TABLE"))
    assert sum("max_parallel_maintenance_workers" in text for text in statements) == 6  # one looks, five are set


def test_a_created_target_has_the_names_that_the_server_would_give(destination_db: str) -> None:
    """Key and copied indexes, among them one whose name is taken (F9)."""
    run(destination_db, SOURCE + "CREATE SCHEMA raw; CREATE TABLE raw.taken ();")
    definitions = (
        "CREATE INDEX taken ON app.t USING btree (b)",
        'CREATE UNIQUE INDEX "Odd; name" ON app.t USING btree (lower(a)) WHERE (id > 0)',
    )
    found = []
    for workers in (1, 4):
        with lead(destination_db, "t", spec=StreamSpec(name="t", indexes="source")) as load:
            shape = replace(load.shape, index_definitions=definitions)
            assert replace(load, shape=shape, workers=workers).publish(MANY).publish == "rename"
        found.append(catalog_of(destination_db, "raw", "t"))
        run(destination_db, "DROP TABLE raw.t")
    assert differences(*found) == {}
    assert [row[0] for row in found[1]["indexes"]] == ["Odd; name", "t_b_idx", "t_pkey"]


def test_a_key_whose_name_is_taken_gets_the_next_one(destination_db: str) -> None:
    """Also where the name was free when the index was built."""
    run(destination_db, SOURCE)
    with lead(destination_db, "t", spec=StreamSpec(name="t", indexes="source")) as load:
        shape = replace(load.shape, index_definitions=("CREATE INDEX i ON app.t USING btree (b)",))
        load = replace(load, shape=shape, workers=4)
        contract = load.prepare()
        receipts = load.fill(contract, MANY)
        failed_after_the_builds(load, contract, receipts)
        run(destination_db, "CREATE TABLE raw.t_pkey (); CREATE TABLE raw.i ()")
        finalize(load.leader, contract, receipts)
    assert [row[0] for row in catalog_of(destination_db, "raw", "t")["indexes"]] == ["t_b_idx", "t_pkey1"]
    assert rows_of(destination_db, LEFT) == []


def test_duplicates_are_told_as_ever(destination_db: str) -> None:
    """By the constraint's own name, and the target is as it was."""
    run(destination_db, SOURCE + TARGET)
    before = catalog_of(destination_db, "raw", "t")
    told = []
    for workers in (1, 4):
        with lead(destination_db, "t", write_mode="replace") as load:
            load = replace(load, workers=workers)
            contract = load.prepare()
            receipts = load.fill(contract, REPEATED)
            with pytest.raises(DataError) as caught:
                finalize(load.leader, contract, receipts)
            load.leader.discard_stream(contract)
        told.append((caught.value.code, caught.value.message, caught.value.hint, caught.value.context.sqlstate))
    assert told[0] == told[1]
    assert told[0][3] == "23505"
    assert "the key" in told[0][1]
    assert differences(before, catalog_of(destination_db, "raw", "t")) == {}
    assert rows_of(destination_db, LEFT) == []


def test_rows_that_clash_are_set_aside_before_the_key_is_built(destination_db: str) -> None:
    """Only the other indexes are built ahead of that."""
    run(destination_db, SOURCE + TARGET)
    with lead(destination_db, "t", write_mode="replace", rejects=RejectPolicy(action="skip", max_rows=100000)) as load:
        report = ahead(load).publish(REPEATED)
    assert (report.publish, report.rows, report.rejected) == ("swap", 50001, 49999)
    assert rows_of(destination_db, "SELECT count(*), count(DISTINCT id) FROM raw.t") == [(50001, 50001)]


def test_what_is_built_is_used_by_the_publish_that_is_tried_again(destination_db: str, server_log) -> None:
    """A second try finds the indexes, and builds none."""
    run(destination_db, SOURCE + TARGET)
    before = catalog_of(destination_db, "raw", "t")
    with lead(destination_db, "t", write_mode="replace") as load:
        contract = ahead(load).prepare()
        receipts = load.fill(contract, MANY)
        failed_after_the_builds(load, contract, receipts)
        server_log.watch(destination_db)
        assert finalize(load.leader, contract, receipts).publish == "swap"
    assert builds(server_log, destination_db) == []
    assert differences(before, catalog_of(destination_db, "raw", "t")) == {}


def test_indexes_that_the_target_has_changed_meanwhile_are_built_again(destination_db: str) -> None:
    """One is gone, one has another definition, one is new: the mark tells them apart."""
    run(destination_db, SOURCE + TARGET)
    with lead(destination_db, "t", write_mode="replace") as load:
        contract = ahead(load).prepare()
        receipts = load.fill(contract, MANY)
        failed_after_the_builds(load, contract, receipts)
        run(
            destination_db,
            "DROP INDEX raw.brinny; DROP INDEX raw.hashed; CREATE INDEX hashed ON raw.t (b, a);"
            "CREATE INDEX newer ON raw.t (b); ALTER TABLE raw.t DROP CONSTRAINT late",
        )
        before = catalog_of(destination_db, "raw", "t")
        assert finalize(load.leader, contract, receipts).publish == "swap"
    assert differences(before, catalog_of(destination_db, "raw", "t")) == {}


def test_a_view_that_came_meanwhile_is_kept_as_ever(destination_db: str) -> None:
    """The stage and its indexes go; the rows are replaced in place (D9)."""
    run(destination_db, SOURCE + TARGET)
    with lead(destination_db, "t", write_mode="replace") as load:
        contract = ahead(load).prepare()
        receipts = load.fill(contract, MANY)
        failed_after_the_builds(load, contract, receipts)
        run(destination_db, "CREATE VIEW raw.v AS SELECT id FROM raw.t")
        assert finalize(load.leader, contract, receipts).publish == "in_place"
    assert rows_of(destination_db, "SELECT count(*) FROM raw.v") == [(100000,)]
    assert rows_of(destination_db, LEFT) == []


def test_without_connections_to_spare_the_publish_builds_them(
    destination_db: str, make_role: Callable[..., str]
) -> None:
    """A role that may connect as often as the leader needs to load, and not once more."""
    role = make_role("LOGIN SUPERUSER")
    run(destination_db, SOURCE + TARGET)
    before = catalog_of(destination_db, "raw", "t")
    dsn = destination_db.replace("postgres@", f"{role}@", 1)
    with lead(dsn, "t", source=destination_db, write_mode="replace") as load:
        contract = ahead(load).prepare()
        receipts = load.fill(contract, MANY)
        run(destination_db, f"ALTER ROLE {role} NOSUPERUSER CONNECTION LIMIT 1; ALTER TABLE raw.t OWNER TO {role};"
            f"ALTER SCHEMA raw OWNER TO {role}")  # fmt: skip
        try:
            report = finalize(load.leader, contract, receipts)
        finally:
            run(destination_db, f"ALTER ROLE {role} SUPERUSER CONNECTION LIMIT -1; ALTER TABLE raw.t OWNER TO postgres")
    assert report.warnings == ()
    assert differences(before, catalog_of(destination_db, "raw", "t")) == {}


KEYED = (
    "CREATE SCHEMA raw; CREATE TABLE raw.t (id int PRIMARY KEY, a text); CREATE INDEX hashed ON raw.t USING hash (a)"
)


@pytest.mark.parametrize("resumes", [False, True], ids=["table", "file"])
def test_a_run_that_died_after_the_builds_leaves_nothing_in_the_way(
    tmp_path: Path, source_db: str, destination_db: str, server_log, *, resumes: bool
) -> None:
    """A table's stage goes with its indexes; a file's is gone on with, and its indexes are not built again (C1)."""
    run(destination_db, KEYED)
    before = catalog_of(destination_db, "raw", "t")
    if resumes:
        (tmp_path / "t.csv").write_text("id,a\n" + "".join(f"{i},v{i}\n" for i in range(100_000)))
        made = project(
            tmp_path / "p",
            {"use": "files", "config": {}},
            destination_db,
            stream={"name": "t", "path": str(tmp_path / "t.csv")},
        )
    else:
        run(source_db, "CREATE TABLE t AS SELECT i AS id, md5(i::text) AS a FROM generate_series(1, 100000) i")
        made = project(tmp_path / "p", postgres(source_db), destination_db, stream={"name": "t"})
    made.document["resources"]["checkpoint_interval_bytes"] = "2mb"
    made.document["destination"]["write_mode"] = "replace"
    server_log.watch(destination_db)
    assert made.run("--quiet", failpoint="pub.built=exit").exit_code == KILLED
    assert len(builds(server_log, destination_db)) == 2
    found = made.run("--quiet")
    assert (found.exit_code, found.document["records_written"]) == (0, 100_000), found.document["error"]
    assert len(builds(server_log, destination_db)) == (2 if resumes else 4)
    assert differences(before, catalog_of(destination_db, "raw", "t")) == {}
    assert rows_of(destination_db, "SELECT count(*) FROM raw.t") == [(100000,)]
    assert rows_of(destination_db, LEFT) == []


def test_a_stop_ends_the_builds_at_the_server(destination_db: str) -> None:
    """Sessions that build are cancelled, nothing is published, the stage can be dropped (C15)."""
    run(destination_db, SOURCE + TARGET)
    run(destination_db, WAITS.format(schema="raw", condition="n > 1"))
    run(destination_db, "CREATE INDEX slow ON raw.t (raw.waits(id)); CREATE INDEX slower ON raw.t (raw.waits(id + 1))")
    stop, raised = threading.Event(), list[BaseException]()
    with (
        psycopg.connect(destination_db, autocommit=True) as watcher,
        lead(destination_db, "t", write_mode="replace") as load,
    ):
        load.leader._session.stop = stop.is_set
        contract = ahead(load).prepare()
        receipts = load.fill(contract, MANY)
        watcher.execute("SELECT pg_advisory_lock(99)")

        def publish() -> None:
            try:
                finalize(load.leader, contract, receipts)
            except CancelledError as error:
                raised.append(error)

        publisher = threading.Thread(target=publish)
        publisher.start()
        while len(watcher.execute(WAITING, ("rapidbyte leader%",)).fetchall()) < 2:
            assert publisher.is_alive()
        stop.set()
        publisher.join(60)
        assert not publisher.is_alive()
        assert len(raised) == 1
        stop.clear()
        load.leader.discard_stream(contract)
    assert rows_of(destination_db, "SELECT id FROM raw.t") == [(1,)]
    assert rows_of(destination_db, LEFT) == []
