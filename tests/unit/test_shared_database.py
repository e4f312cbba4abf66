"""Threads share one DuckDB for what is about each row alone; what one does is none of another one's business."""

from __future__ import annotations

import duckdb
import pyarrow as pa
import pytest

from rapidbyte.errors import CancelledError
from rapidbyte.ports import never
from rapidbyte.transforms.engine import explained, interruptible, open_database

ENDLESS = "SELECT count(*) FROM range(100000) a(i), range(100000) b(j), range(100000) c(k) WHERE i + j + k = 7"
"""It needs no memory, or it would end for the want of it."""


def test_connections_see_neither_rows_nor_variables_of_each_other() -> None:
    """The same names with different contents, at the same time; the key of a mask stays in its own connection."""
    with open_database() as one, open_database() as other:
        for number, database in enumerate((one, other)):
            database.give(["input"], pa.table({"a": [number]}).to_reader())
            database.set_variable("inner_key", number)
        query = "SELECT a, getvariable('inner_key') FROM input"
        assert [each.connection.execute(query).fetchall() for each in (one, other)] == [[(0, 0)], [(1, 1)]]
    with open_database() as later:
        assert later.connection.execute("SELECT getvariable('inner_key')").fetchall() == [(None,)]
        with pytest.raises(duckdb.CatalogException):
            later.connection.execute("SELECT * FROM input")


@pytest.mark.parametrize("memory_bytes", [None, 64 << 20], ids=["shared", "its own"])
def test_every_connection_is_shut_in(memory_bytes: int | None) -> None:
    """Also the later ones: no file, no variable of this process, no other settings, the time zone UTC, 1 MB ahead."""
    visible = pa.table({"a": [1]})
    for _ in range(2):
        with open_database(memory_bytes) as database:
            for statement in (
                "SELECT * FROM read_csv('/etc/passwd')",
                "SELECT * FROM visible",
                "SET threads = 2",
                "SET TimeZone = 'Asia/Tokyo'",
                "SET allowed_configs = ['threads']",
            ):
                with pytest.raises(duckdb.Error):
                    database.connection.execute(statement)
            (found,) = database.connection.execute(
                "SELECT current_setting('TimeZone'), current_setting('arrow_lossless_conversion'),"
                " current_setting('streaming_buffer_size'), current_setting('threads')"
            ).fetchall()
            assert found[:2] == ("UTC", True)
            assert found[2:] == ("976.5 KiB", 1)
    assert visible.num_rows == 1


def test_who_is_stopped_interrupts_nobody_else() -> None:
    """A query that has begun goes on while one beside it is interrupted."""
    with open_database() as going, open_database() as stopped:
        going.give(["input"], pa.table({"a": list(range(20_000))}).to_reader(max_chunksize=1000))
        rows = going.connection.sql("SELECT a FROM input").to_arrow_reader(1000)
        read = [next(rows).num_rows]
        with (
            pytest.raises(CancelledError),
            interruptible(stopped, lambda: True),
            explained("it", lambda: True),
        ):
            stopped.connection.execute(ENDLESS)
        with explained("it", never):
            read += [batch.num_rows for batch in rows]
        assert sum(read) == 20_000


def test_what_begins_after_a_stop_is_interrupted_too() -> None:
    """The stop may come between two statements: the next one ends as well."""
    with open_database() as database, interruptible(database, lambda: True):
        for _ in range(2):
            with pytest.raises(CancelledError), explained("it", lambda: True):
                database.connection.execute(ENDLESS)
