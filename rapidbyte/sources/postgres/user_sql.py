"""A user's `query` and `where`: checked by the server's parser alone, and only then put into a statement of ours.

COPY goes with the text as a whole, and the simple protocol would run several statements of it (a COPY of unchecked
text dropped a table from within a read-only transaction). So every text is parsed twice, without being run: by
itself, which refuses two statements, an open comment and a parenthesis too many, and inside the statement in which it
will run, which refuses everything that is no query or no condition.
"""

from __future__ import annotations

import re
from typing import LiteralString, cast

import psycopg
from psycopg import sql
from psycopg.errors import error_from_result
from psycopg.generators import execute
from psycopg.pq import ExecStatus

from rapidbyte.pg.session import PgConnection
from rapidbyte.values import frozen

READING = ("SELECT", "VALUES", "TABLE", "WITH")
ONE_QUERY = "a query must be one SELECT, VALUES, TABLE or WITH that reads"

_BEFORE_WORD = re.compile(r"(?:[\s(]+|--[^\n]*(?:\n|\Z)|/\*.*?\*/)*", re.DOTALL)
_WORD = re.compile(r"[A-Za-z]+")


@frozen
class ResultColumn:
    """A column of a query's result."""

    name: str
    oid: int
    typmod: int


def without_semicolon(query: str) -> str:
    """The query without the semicolon at its very end, which people like to write."""
    return query.strip().removesuffix(";")


def user_text(text: str) -> sql.SQL:
    """A user's own SQL as part of a statement. The only place where text becomes SQL; see `parsed`."""
    return sql.SQL(cast("LiteralString", text))


def subquery(query: str) -> sql.Composed:
    """The query as it stands after FROM. The line's end closes a comment at the query's end."""
    return sql.SQL('(\n{}\n) AS "query"').format(user_text(without_semicolon(query)))


def condition(where: str) -> sql.Composed:
    """The condition in parentheses."""
    return sql.SQL("(\n{}\n)").format(user_text(where))


def parsed(connection: PgConnection, statement: sql.Composable) -> tuple[ResultColumn, ...]:
    """The result columns of a statement, which is parsed and not run. Raises psycopg.Error, SyntaxError of it.

    The transaction goes on after a failure. A statement with parameters ($1) is refused.
    """
    connection.execute("SAVEPOINT parsed")
    try:
        return _described(connection, statement)
    finally:
        connection.execute("ROLLBACK TO SAVEPOINT parsed")


def _described(connection: PgConnection, statement: sql.Composable) -> tuple[ResultColumn, ...]:
    pgconn = connection.pgconn
    encoding = connection.info.encoding
    # Not `pgconn.prepare`, which sleeps in libpq until whoever has locked a table lets go, and nothing ends that.
    pgconn.send_prepare(b"", statement.as_bytes(connection))
    result = connection.wait(execute(pgconn))[-1]
    if result.status == ExecStatus.COMMAND_OK:
        pgconn.send_describe_prepared(b"")
        result = connection.wait(execute(pgconn))[-1]
    if result.status != ExecStatus.COMMAND_OK:
        raise error_from_result(result, encoding=encoding)
    if result.nparams:
        raise psycopg.errors.UndefinedParameter("it has a parameter ($1), for which there is no value")
    return tuple(
        ResultColumn(name=(result.fname(i) or b"").decode(encoding), oid=result.ftype(i), typmod=result.fmod(i))
        for i in range(result.nfields)
    )


def check_query(connection: PgConnection, query: str) -> tuple[ResultColumn, ...]:
    """The result columns of a user's query. Raises psycopg.Error where it is not one query that reads."""
    parsed(connection, user_text(without_semicolon(query)))
    try:
        return parsed(connection, sql.SQL("SELECT * FROM {}").format(subquery(query)))
    except (psycopg.errors.SyntaxError, psycopg.errors.FeatureNotSupported) as error:
        # By itself it is a statement: what it lacks is being a query.
        word = first_word(query)
        what = f"this {word or 'text'} does more" if word in (*READING, "") else f"this is {_article(word)} {word}"
        raise psycopg.errors.SyntaxError(f"{ONE_QUERY}, and {what}") from error


def first_word(query: str) -> str:
    """The word that says what a statement does, in capitals; empty where it does not begin with one. Pure."""
    begun = _BEFORE_WORD.match(query)
    word = _WORD.match(query, begun.end() if begun is not None else 0)
    return word.group().upper() if word is not None else ""


def _article(word: str) -> str:
    return "an" if word[0] in "AEIOU" else "a"


def check_where(connection: PgConnection, relation: sql.Composable, where: str) -> None:
    """Raises psycopg.Error where a user's condition is not one condition on the relation (as it stands after FROM)."""
    parsed(connection, sql.SQL("SELECT 1 FROM {} WHERE \n{}\n").format(relation, user_text(where)))
    parsed(connection, sql.SQL("SELECT 1 FROM {} WHERE {}").format(relation, condition(where)))
