"""What COPY is measured against: rows by INSERT, as a script with psycopg would send them. A process of its own.

`python -m rapidbyte.bench.inserting executemany|values SCHEMA TABLE`; both ends are DSNs in the environment.
"""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Iterator
from contextlib import closing
from typing import Any, Literal

import psycopg
from psycopg import sql
from psycopg.types.string import TextLoader

from rapidbyte.model import Secret
from rapidbyte.pg.session import SESSION, PgConnection, begin, commit, connect
from rapidbyte.spec import Connection

SOURCE_VARIABLE = "RAPIDBYTE_BENCH_SOURCE"
DESTINATION_VARIABLE = "RAPIDBYTE_BENCH_DESTINATION"

BATCH_ROWS = 10_000
"""Rows that are fetched, and sent, together."""

MOST_PARAMETERS = 60_000
"""Of one statement; the protocol counts them in 16 bits."""

STATEMENT_ROWS = 1_000
"""Of one INSERT with many rows; more of them gained nothing."""


def main() -> None:
    """Reads with a server-side cursor, inserts, commits once."""
    _, method, schema, table = sys.argv
    with (
        closing(_open("source", SOURCE_VARIABLE)) as source,
        closing(_open("destination", DESTINATION_VARIABLE)) as destination,
    ):
        for kind in ("json", "jsonb"):
            source.adapters.register_loader(kind, TextLoader)
        begin(source, SESSION)
        begin(destination, SESSION)
        name = sql.Identifier(schema, table)
        with source.cursor(name="bench") as reading, destination.cursor() as writing:
            reading.itersize = BATCH_ROWS
            reading.execute(sql.SQL("TABLE {}").format(name))
            width = len(reading.description or ())
            for batch in _batches(reading):
                if method == "executemany":
                    writing.executemany(statement(name, width, 1), batch)
                else:
                    _insert_values(writing, name, width, batch)
        commit(destination)


def _open(side: Literal["source", "destination"], variable: str) -> PgConnection:
    return connect(Connection(dsn=Secret(os.environ[variable])), side=side, application_name="rapidbyte bench insert")


def _batches(cursor: psycopg.ServerCursor[Any]) -> Iterator[list[tuple[Any, ...]]]:
    while batch := cursor.fetchmany(BATCH_ROWS):
        yield batch


def _insert_values(writing: psycopg.Cursor[Any], name: sql.Identifier, width: int, rows: list[tuple[Any, ...]]) -> None:
    step = min(STATEMENT_ROWS, MOST_PARAMETERS // width)
    for start in range(0, len(rows), step):
        part = rows[start : start + step]
        writing.execute(statement(name, width, len(part)), list(itertools.chain.from_iterable(part)))


def statement(name: sql.Identifier, width: int, rows: int) -> sql.Composed:
    """An INSERT of so many rows of so many parameters."""
    row = sql.SQL("({})").format(sql.SQL(", ").join([sql.Placeholder()] * width))
    return sql.SQL("INSERT INTO {} VALUES {}").format(name, sql.SQL(", ").join([row] * rows))


if __name__ == "__main__":
    main()
