"""The checksum that both ends compute: the same for the same rows, whatever the server; another for other rows."""

from __future__ import annotations

from collections.abc import Callable

import psycopg
import pytest
from psycopg import sql

from rapidbyte.model import Secret
from rapidbyte.pg.checksum import checksum_query
from rapidbyte.pg.session import SESSION, begin
from rapidbyte.pg.session import connect as open_session
from rapidbyte.spec import Connection

Connect = Callable[..., psycopg.Connection]

ROWS = "VALUES (1, 'grün', 1.50, NULL), (2, 'b\\c', 'NaN', date '2024-01-02'), (2, 'b\\c', 'NaN', '2024-01-02')"


def checksum(dsn: str, relation: str, *columns: str) -> str:
    """The checksum, in a session of ours; `relation` is SQL."""
    session = open_session(Connection(dsn=Secret(dsn)), side="source", application_name="test")
    try:
        begin(session, SESSION)
        row = session.execute(checksum_query(sql.SQL(relation), columns)).fetchone()  # type: ignore[arg-type]
        assert row is not None
        return row[0]
    finally:
        session.close()


@pytest.mark.parametrize("encoding", ["LATIN1", "UTF8"])
def test_the_checksum_is_the_same_on_every_server(
    source_db: str, make_database: Callable[..., str], connect: Connect, encoding: str
):
    """In another encoding, with other defaults of the role, in another order, from a subquery."""
    other = make_database(f"ENCODING '{encoding}' LOCALE 'C'")
    for dsn, order in ((source_db, "i"), (other, "i DESC")):
        session = connect(dsn)
        session.execute("CREATE TABLE t (i int, v text, n numeric, d date)")
        session.execute(f"INSERT INTO t SELECT * FROM ({ROWS}) r (i, v, n, d) ORDER BY {order}")  # type: ignore[arg-type]
    session.execute(f"ALTER DATABASE {session.info.dbname} SET datestyle = 'german'")  # type: ignore[arg-type]
    first = checksum(source_db, "t", "i", "v", "n", "d")
    assert first == checksum(other, "(SELECT * FROM t) AS x", "i", "v", "n", "d")
    assert first.startswith("3:")


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE t SET v = v || ' ' WHERE i = 1",
        "UPDATE t SET n = 1.5 WHERE i = 1",
        "UPDATE t SET d = '2024-01-01' WHERE d IS NULL",
        "UPDATE t SET i = i + 1",
        "DELETE FROM t WHERE i = 1",
        "INSERT INTO t SELECT * FROM t",
        "DELETE FROM t WHERE i = 2; INSERT INTO t SELECT 3, v, n, d FROM t; INSERT INTO t SELECT * FROM t WHERE i = 3",
        "UPDATE t SET v = NULL WHERE i = 1",
        "TRUNCATE t",
    ],
)
def test_another_row_makes_another_checksum(source_db: str, connect: Connect, change: str):
    """A value, a scale, a NULL, a row too many or too few, a pair of equal rows for another pair."""
    session = connect(source_db)
    session.execute(f"CREATE TABLE t AS SELECT * FROM ({ROWS}) r (i, v, n, d)")  # type: ignore[arg-type]
    before = checksum(source_db, "t", "i", "v", "n", "d")
    session.execute(change)  # type: ignore[arg-type]
    assert checksum(source_db, "t", "i", "v", "n", "d") != before


def test_the_checksum_of_no_rows(source_db: str, connect: Connect):
    """It is a value too, so that nothing and not known differ."""
    connect(source_db).execute("CREATE TABLE t (i int)")
    assert checksum(source_db, "t", "i") == "0:0:0"
