"""Runs against servers, databases and roles that allow few connections."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack, closing

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

import rapidbyte
from rapidbyte.model import Secret
from rapidbyte.pg import session
from rapidbyte.spec import Connection, DestinationSpec, PipelineSpec, PostgresSourceSpec, Resources, StreamSpec

Connect = Callable[..., psycopg.Connection]


def pipeline(source: str, destination: str) -> PipelineSpec:
    """Table `t`, with eight workers."""
    return PipelineSpec(
        pipeline="shop",
        source=PostgresSourceSpec(connection=Connection(dsn=Secret(source))),
        streams=(StreamSpec(name="t"),),
        destination=DestinationSpec(connection=Connection(dsn=Secret(destination)), schema="raw"),
        resources=Resources(parallelism=8, checkpoint_interval_bytes=64 * 1024),
    )


def test_a_roles_connection_limit_bounds_the_workers(
    source_db: str, destination_db: str, make_role: Callable[..., str], connect: Connect
) -> None:
    """`rolconnlimit` counts as max_connections does: fewer workers and a warning, not refused logins (A12, C11)."""
    role = make_role("LOGIN CONNECTION LIMIT 5")
    connect(source_db).execute(
        f"CREATE TABLE t AS SELECT i, repeat('x', 100) FROM generate_series(1, 9000) i; GRANT SELECT ON t TO {role}"
    )
    result = rapidbyte.run(pipeline(make_conninfo(source_db, user=role), destination_db))
    assert (result.status, result.records_written, result.workers.count) == ("succeeded", 9000, 2)
    assert result.warnings[0] == (
        f"2 workers: 8 asked for, 2 fit into the source's free connections (connection limit of role {role})"
    )


@pytest.mark.parametrize(("own", "other"), [("leader", "reader-0"), ("reader-0", "leader")])
def test_a_look_at_the_other_end_takes_no_workers_place(
    source_db: str, make_role: Callable[..., str], own: str, other: str
) -> None:
    """Ends on one server are looked at at the same time: how much fits does not hang on which was first (C11)."""

    shop = conninfo_to_dict(source_db)["dbname"]  # other tests' sessions are on this server, too

    def left(*others: str, **how: bool) -> int | None:
        role = make_role("LOGIN CONNECTION LIMIT 10")  # each time another: a closed session takes a while to go
        login = Connection(dsn=Secret(make_conninfo(source_db, user=role)))
        with ExitStack() as opened:
            for name in others:
                opened.enter_context(closing(session.connect(login, side="source", application_name=name)))
            mine = session.connect(login, side="source", application_name=f"rapidbyte {own} {shop}")
            return session.server_facts(opened.enter_context(closing(mine)), **how).connections_left

    beside = f"rapidbyte {other} {shop}"
    assert (left(), left(beside), left(beside, beside)) == (9, 9, 8)
    assert left(f"rapidbyte {other} {shop}2", f"rapidbyte worker-0 {shop}") == 7
    assert left(beside, loads=True) == 8


def test_a_databases_connection_limit_bounds_the_workers_unless_a_superuser_loads(
    source_db: str, destination_db: str, make_role: Callable[..., str], connect: Connect
) -> None:
    """`datconnlimit` is nothing to superusers."""
    connect(source_db).execute("CREATE TABLE t AS SELECT 1 AS i")
    role, name = make_role(), conninfo_to_dict(destination_db)["dbname"]
    admin = connect(destination_db)
    admin.execute(f"GRANT CREATE ON DATABASE {name} TO {role}; ALTER DATABASE {name} CONNECTION LIMIT 6")
    assert rapidbyte.run(pipeline(source_db, destination_db)).workers.count == 8
    admin.execute("DROP SCHEMA raw, _rapidbyte CASCADE")
    result = rapidbyte.run(pipeline(source_db, make_conninfo(destination_db, user=role)))
    assert (result.status, result.workers.count) == ("succeeded", 2)
    assert f"(connection limit of database {name})" in result.warnings[0]
