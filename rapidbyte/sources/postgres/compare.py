"""The source's rows for `verify`: all that a stream selects, in one snapshot, and which of them are loaded."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import closing, contextmanager
from dataclasses import replace
from typing import LiteralString, cast

from psycopg import sql

from rapidbyte.comparison import ComparedColumn
from rapidbyte.cursor import CURSOR_TYPES, TIME_TYPES, NullCursor, StoredCursor
from rapidbyte.errors import ConfigError
from rapidbyte.model import session_name
from rapidbyte.partition import Whole
from rapidbyte.pg.catalog import find_relations
from rapidbyte.pg.row_images import ComparedRows, PostgresRows
from rapidbyte.pg.session import OWN_SQL, PgConnection, begin, connect, rollback, translated
from rapidbyte.plan import StreamShape
from rapidbyte.ports import Stop
from rapidbyte.sources.postgres.select import StreamRead, conditions, lock_statements, relation_of
from rapidbyte.spec import Connection


class SourceRows:
    """The source in one transaction: the rows of one stream after the other. Used by one thread."""

    def __init__(self, connection: PgConnection, reads: Mapping[str, StreamRead], *, search_path: str) -> None:
        self._connection = connection
        self._reads = reads
        self._search_path = search_path

    def of_stream(
        self,
        stream: str,
        columns: tuple[ComparedColumn, ...],
        key: tuple[ComparedColumn, ...],
        *,
        cursor: StoredCursor | None,
        nulls: NullCursor,
    ) -> PostgresRows:
        """The stream's rows; those beyond the cursor are not loaded yet. Valid until the next stream is asked for."""
        read = self._reads[stream]
        doing = f"reading {stream} to compare it"
        with translated("source", doing):
            path = self._search_path if read.runs_user_sql else "pg_catalog"
            self._connection.execute("SELECT pg_catalog.set_config('search_path', %s, true)", (path,))
        rows = ComparedRows(
            relation=_selected(read),
            columns=columns,
            key=key,
            loaded=loaded_condition(cursor, nulls=nulls),
        )
        return PostgresRows(self._connection, rows, side="source", doing=doing)


@contextmanager
def open_source_rows(
    connection: Connection, *, pipeline: str, search_path: str, shapes: tuple[StreamShape, ...], stop: Stop
) -> Generator[SourceRows]:
    """Locks what the streams read, then fixes what is seen: a snapshot alone does not protect from a TRUNCATE.

    Raises SourceError. Nothing is written; the transaction is rolled back when it is left.
    """
    session = connect(connection, side="source", application_name=session_name("reader-0", pipeline), stop=stop)
    reads = tuple(map(_read, shapes))
    with closing(session):
        with translated("source", "locking the tables to compare"):
            begin(session, OWN_SQL, mode="ISOLATION LEVEL READ COMMITTED READ ONLY")
            known = find_relations(session, [read.relation for read in reads if read.relation is not None])
            rollback(session)
            session.stop = stop
            reads = tuple(
                replace(read, may_lock=known[read.relation].may_select) if read.relation in known else read
                for read in reads
            )
            begin(session, OWN_SQL, mode="ISOLATION LEVEL REPEATABLE READ READ ONLY")
            session.execute(sql.SQL("SET LOCAL search_path = {}").format(sql.SQL("pg_catalog")))
            session.execute("SET LOCAL lock_timeout = '60s'")
            for statement in lock_statements([read for read in reads if read.is_locked_by_name]):
                session.execute(statement)
        yield SourceRows(session, {read.stream: read for read in reads}, search_path=search_path)
        rollback(session)


def _read(shape: StreamShape) -> StreamRead:
    return StreamRead(
        stream=shape.spec.name,
        kind=shape.kind,
        relation=shape.relation,
        query=shape.spec.query,
        where=shape.spec.where,
        columns=tuple(column.name for column in shape.columns),
    )


def _selected(read: StreamRead) -> sql.Composed:
    found = conditions(read, Whole())
    relation = relation_of(read)
    return sql.SQL("{} WHERE {}").format(relation, sql.SQL(" AND ").join(found)) if found else relation


def loaded_condition(cursor: StoredCursor | None, *, nulls: NullCursor) -> sql.Composed:
    """What a row fulfils that is to be at the destination by now; all rows do where there is no cursor. Pure.

    Times of the cursor are a moment of the source's clock before which all was loaded; other cursors are the greatest
    value that was.
    """
    if cursor is None:
        return sql.Composed([sql.SQL("true")])
    comparison = sql.SQL("<" if cursor.type in TIME_TYPES else "<=")
    if cursor.type not in CURSOR_TYPES:
        raise ConfigError(
            f"the ledger has a cursor of type {cursor.type!r}, which is no type of a cursor",
            code="cursor_type",
            hint="forget the cursor with `rapidbyte state reset`",
        )
    kind = sql.SQL(cast("LiteralString", cursor.type))
    return sql.SQL("coalesce({} {} CAST({} AS {}), {})").format(
        sql.Identifier(cursor.field),
        comparison,
        sql.Literal(cursor.value),
        kind,
        sql.SQL("true" if nulls == "always" else "false"),
    )
