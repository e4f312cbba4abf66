"""A user's statements around a load: in the transaction that publishes, once, or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.postgres.command import KILLED, Connect, Project, project

LOG = "CREATE SCHEMA raw; CREATE TABLE raw.log (what text, rows bigint)"
HOOKS = {
    "before_load": ["INSERT INTO log SELECT 'before', count(*) FROM pg_tables WHERE tablename = 'orders'"],
    "after_load": [
        "INSERT INTO log SELECT 'after', count(*) FROM orders",
        "CREATE INDEX IF NOT EXISTS by_note ON orders (note);",
    ],
}


def shop(folder: Path, destination: str, *, hooks: dict[str, Any], rows: int = 10, **settings: Any) -> Project:
    folder.joinpath("orders.csv").write_text("id,note\n" + "".join(f"{i},x\n" for i in range(rows)))
    source = {"use": "files", "config": {}}
    return project(
        folder, source, destination, stream={"name": "orders", "path": "orders.csv"}, hooks=hooks, **settings
    )


def log(connect: Connect, dsn: str) -> list[tuple[Any, ...]]:
    return connect(dsn).execute("SELECT what, rows FROM raw.log ORDER BY ctid").fetchall()


@pytest.mark.parametrize("mode", [{"write_mode": "replace"}, {"write_mode": "append"}])
def test_hooks_see_what_was_there_and_what_is(
    tmp_path: Path, destination_db: str, connect: Connect, mode: dict[str, Any]
) -> None:
    """Before: the target of the load does not exist yet; after: its rows are there. Names are looked up in `schema`."""
    connect(destination_db).execute(LOG)
    ended = shop(tmp_path, destination_db, hooks=HOOKS, **mode).run()
    assert ended.exit_code == 0, ended.stderr
    assert log(connect, destination_db) == [("before", 0), ("after", 10)]
    indexes = "SELECT count(*) FROM pg_indexes WHERE indexname = 'by_note'"
    assert connect(destination_db).execute(indexes).fetchone() == (1,)


@pytest.mark.parametrize("place", ["pub.commit_before", "pub.acked"])
def test_a_hook_takes_effect_once_for_one_publish(
    tmp_path: Path, destination_db: str, connect: Connect, place: str
) -> None:
    """A run that was killed around its COMMIT, and the same command again, with the same key (E1)."""
    connect(destination_db).execute(LOG)
    pipeline = shop(tmp_path, destination_db, hooks=HOOKS)
    assert pipeline.run("--key", "k", failpoint=f"{place}=exit").exit_code == KILLED
    assert len(log(connect, destination_db)) == (2 if place == "pub.acked" else 0)
    assert pipeline.run("--key", "k").exit_code == 0
    assert log(connect, destination_db) == [("before", 0), ("after", 10)]


@pytest.mark.parametrize(
    ("hook", "code", "exit_code"),
    [
        ("DO 'BEGIN INSERT INTO nowhere VALUES (1); END'", "table_missing", 4),
        ("SELECT 1/0", None, 5),
        ("DO 'BEGIN RAISE EXCEPTION ''no''; END'", None, None),
    ],
)
def test_a_hook_that_fails_publishes_nothing(
    tmp_path: Path, destination_db: str, connect: Connect, hook: str, code: str | None, exit_code: int | None
) -> None:
    """What ran before it is undone, too; the message names it."""
    connect(destination_db).execute(LOG + "; CREATE TABLE raw.orders (id bigint, note text)")
    hooks = {"before_load": HOOKS["before_load"], "after_load": ["INSERT INTO log VALUES ('x', 1)", hook]}
    ended = shop(tmp_path, destination_db, hooks=hooks).run()
    assert ended.exit_code in ((exit_code,) if exit_code else (4, 5))
    assert code in (None, ended.document["error"]["code"])
    assert "hooks.after_load, statement 2" in ended.document["error"]["message"]
    assert log(connect, destination_db) == []
    assert connect(destination_db).execute("SELECT count(*) FROM raw.orders").fetchone() == (0,)


def test_two_statements_in_one_are_refused_before_anything_is_loaded(
    tmp_path: Path, destination_db: str, connect: Connect
) -> None:
    """Exit 2, from the server's own parser; `check` and `plan` tell it, too."""
    pipeline = shop(tmp_path, destination_db, hooks={"after_load": ["SELECT 1; DROP TABLE raw.log"]})
    connect(destination_db).execute(LOG)
    ended = pipeline.run()
    assert (ended.exit_code, ended.document["error"]["code"]) == (2, "hook_invalid")
    assert log(connect, destination_db) == []


@pytest.mark.parametrize(
    ("hooks", "told"),
    [
        ({"before_load": ["SELECT 1", "SELECT 1\nFROM pg_class\nWHER x"]},
         'hooks.before_load, statement 2, line 3: syntax error at or near "x"'),
        ({"before_load": ["SELEKT 'secret'"]}, 'hooks.before_load, statement 1: syntax error at or near "SELEKT"'),
        ({"before_load": ["SELECT 1 'secret'"]}, 'hooks.before_load, statement 1: syntax error at or near "***"'),
        ({"after_load": ["SELECT 1; SELECT 2"]}, "hooks.after_load, statement 1: holds more than one statement"),
        ({"before_load": ["DELETE FROM\n  nowhere"]},
         'hooks.before_load, statement 1, line 2: relation "nowhere" does not exist'),
        ({"before_load": ["DELETE FROM orders"]}, 'hooks.before_load, statement 1: relation "orders" does not exist'),
        ({"after_load": ["DELETE FROM raw.order"]},
         'hooks.after_load, statement 1: relation "raw.order" does not exist'),
    ],
)  # fmt: skip
def test_a_hook_that_must_fail_is_told_by_check(
    tmp_path: Path, destination_db: str, connect: Connect, hooks: dict[str, Any], told: str
) -> None:
    """Which hook, which statement, which line, in PostgreSQL's words; without what its literals hold (G6)."""
    connect(destination_db).execute(LOG)
    pipeline = shop(tmp_path, destination_db, hooks=hooks)
    checked = pipeline.did("check", "pipeline.yaml")
    assert (checked.exit_code, [item["detail"] for item in checked.document["items"] if not item["ok"]]) == (2, [told])
    ended = pipeline.run()
    assert (ended.exit_code, ended.document["error"]["message"]) == (2, told)


def test_what_will_be_there_when_a_hook_runs_is_not_missed(
    tmp_path: Path, destination_db: str, connect: Connect
) -> None:
    """The target after the load, the ledger, what an earlier hook makes."""
    connect(destination_db).execute(LOG)
    hooks = {
        "before_load": ["INSERT INTO log SELECT 'runs', count(*) FROM _rapidbyte.runs", "CREATE TABLE made (i int)"],
        "after_load": ["INSERT INTO made SELECT count(*) FROM orders", "DELETE FROM raw.orders WHERE id = 0"],
    }
    ended = shop(tmp_path, destination_db, hooks=hooks).run()
    assert ended.exit_code == 0, ended.stderr
    assert connect(destination_db).execute("SELECT i FROM raw.made").fetchall() == [(10,)]


def test_a_relation_that_a_text_names_is_not_judged(tmp_path: Path, destination_db: str, connect: Connect) -> None:
    """It may be an index, which the load makes."""
    connect(destination_db).execute(LOG)
    checked = shop(tmp_path, destination_db, hooks={"after_load": ["SELECT 'raw.orders_pkey'::regclass"]}).did(
        "check", "pipeline.yaml"
    )
    assert checked.exit_code == 0, checked.stderr


def test_hooks_run_once_where_streams_are_published_together(
    tmp_path: Path, destination_db: str, connect: Connect
) -> None:
    """One transaction, one hook; each stream by itself, a hook each."""
    connect(destination_db).execute(LOG)
    hooks = {"after_load": ["INSERT INTO log VALUES ('after', 1)"]}
    pipeline = shop(tmp_path, destination_db, hooks=hooks, publish="together")
    pipeline.document["source"]["streams"].append({"name": "more", "path": "orders.csv"})
    assert pipeline.run().exit_code == 0
    assert len(log(connect, destination_db)) == 1
    pipeline.document["destination"]["publish"] = "each"
    assert pipeline.run().exit_code == 0
    assert len(log(connect, destination_db)) == 3
