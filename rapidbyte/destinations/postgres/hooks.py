"""A user's statements before and after a load, in the transaction that publishes it: carried out with it, or not.

Each is one statement, run by the leader in the role's own search_path, the targets' schema first. What ends a
transaction is refused before anything is connected; a second statement, and a table that will not be there, when the
pipeline is looked at. No hook is run for that: the server parses it, and looks its names up.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import LiteralString, cast

import psycopg
from psycopg import sql
from psycopg.errors import error_from_result
from psycopg.generators import execute
from psycopg.pq import ExecStatus

from rapidbyte.destinations.postgres import ledger
from rapidbyte.errors import ConfigError
from rapidbyte.model import QualifiedName
from rapidbyte.pg.failure import is_connection_loss, translate
from rapidbyte.pg.session import OWN_SQL, PgConnection, apply_settings
from rapidbyte.spec import Hooks

_SEARCH_PATH: LiteralString = """
SELECT pg_catalog.set_config('search_path', pg_catalog.concat_ws(', ', pg_catalog.quote_ident(%s),
    nullif(pg_catalog.current_setting('search_path'), '')), true)
"""


_MAKES_NOTHING = re.compile(
    r"\s*(?:insert|update|delete|merge|truncate|analyze|vacuum|refresh|lock|notify|comment|grant|revoke|reindex)\b",
    re.IGNORECASE,
)
"""Statements after which no table is there that was not before. A SELECT may call a function that makes one."""

_RELATION = re.compile(r"\"([^\"]+)\"|«([^»]+)»|„([^“]+)“")
"""What a message about a missing relation quotes, in the server's language."""


def check_hooks(connection: PgConnection, hooks: Hooks, *, schema: str, targets: Collection[QualifiedName]) -> None:
    """Raises ConfigError for a text that is not one statement, and for a table that will not be there when it is run.

    A table may be a target, if the hook comes after the load; one of the ledger's; or made by an earlier hook. Columns
    and functions that are missing are not judged: the load, or a hook, may bring them.
    """
    makes = False
    for name, text in _named(hooks):
        try:
            with connection.transaction(force_rollback=True):
                _look_in(connection, schema)
                _parse(connection, text)
        except psycopg.errors.SyntaxError as error:
            raise _not_a_statement(name, text, error) from error
        except psycopg.errors.UndefinedTable as error:
            later = targets if name.startswith("after_load") else ()
            if not makes and not _names_a_literal(text, error) and is_missing(error.diag.message_primary or "", later):
                raise _table_missing(name, text, error) from error
        except psycopg.Error as error:
            if is_connection_loss(error):
                raise
        makes = makes or _MAKES_NOTHING.match(text) is None


def _not_a_statement(name: str, text: str, error: psycopg.Error) -> ConfigError:
    """What the server's parser says, and where. Two statements in one text are a syntax error to it as well."""
    said = _said(error)
    if "multiple commands" in said:
        what, hint = "holds more than one statement", "write each statement as an entry of its own"
    else:
        what, hint = said, "correct the statement: PostgreSQL's parser refuses it"
    return ConfigError(f"hooks.{name}{_line(text, error)}: {what}", code="hook_invalid", hint=hint, sqlstate="42601")


def _table_missing(name: str, text: str, error: psycopg.Error) -> ConfigError:
    return ConfigError(
        f"hooks.{name}{_line(text, error)}: {_said(error)}",
        code="hook_invalid",
        hint="create the table, name its schema, or create it in an earlier hook; a target of this load is there for"
        " after_load alone",
        sqlstate="42P01",
    )


def _said(error: psycopg.Error) -> str:
    """The server's words, without what a literal of the hook holds."""
    said = " ".join((error.diag.message_primary or str(error)).split())
    return re.sub(r"[\"«„](?:[ebxn]|u&)?(?:'|\$\w*\$).*", '"***"', said, flags=re.IGNORECASE)


def _line(text: str, error: psycopg.Error) -> str:
    """`, line 3`, where the server names a place and the statement has several lines."""
    place = error.diag.statement_position
    if place is None or "\n" not in text.strip():
        return ""
    return f", line {text[: int(place) - 1].count(chr(10)) + 1}"


def is_missing(message: str, targets: Collection[QualifiedName]) -> bool:
    """Whether the relation that the server misses will not be there either when the hook is run. Pure.

    False where the message does not tell which it is.
    """
    found = _RELATION.search(message)
    if found is None:
        return False
    # French has spaces within its quotes.
    said = next(group for group in found.groups() if group is not None).strip()
    head, dot, tail = said.rpartition(".")
    if head == ledger.SCHEMA:
        return False
    return not any(
        target.name == said or (target.name == tail and (target.schema == head if dot else True)) for target in targets
    )


def _names_a_literal(text: str, error: psycopg.Error) -> bool:
    """Whether the name is a text, as in `'orders_pkey'::regclass`: it may be an index, which the load makes. Pure."""
    place = error.diag.statement_position
    return place is not None and text[int(place) - 1 :].startswith(("'", "E'", "e'", "U&'", "u&'", "$"))


def run_before(connection: PgConnection, hooks: Hooks, schema: str) -> None:
    """Runs `before_load`, in order, in the transaction that is open. Raises RapidbyteError; then it is rolled back."""
    _run(connection, tuple(each for each in _named(hooks) if each[0].startswith("before_load")), schema)


def run_after(connection: PgConnection, hooks: Hooks, schema: str) -> None:
    """The same with `after_load`."""
    _run(connection, tuple(each for each in _named(hooks) if each[0].startswith("after_load")), schema)


def _named(hooks: Hooks) -> tuple[tuple[str, str], ...]:
    return (
        *((f"before_load, statement {number}", text) for number, text in enumerate(hooks.before_load, 1)),
        *((f"after_load, statement {number}", text) for number, text in enumerate(hooks.after_load, 1)),
    )


def _run(connection: PgConnection, named: tuple[tuple[str, str], ...], schema: str) -> None:
    if not named:
        return
    connection.execute("SET LOCAL row_security TO DEFAULT")
    _look_in(connection, schema)
    for name, text in named:
        try:
            # binary=True takes the extended protocol, in which a text is one statement.
            connection.execute(_statement(text), binary=True)
        except psycopg.Error as error:
            if is_connection_loss(error):
                raise
            found = translate(error, side="destination", doing=f"running hooks.{name}{_line(text, error)}")
            raise found.at(afterwards="nothing was published, and no hook took effect") from error
    apply_settings(connection, OWN_SQL)


def _look_in(connection: PgConnection, schema: str) -> None:
    """Until the transaction's end names are looked up in this schema, then where the role looks."""
    connection.execute("SET LOCAL search_path TO DEFAULT")
    connection.execute(_SEARCH_PATH, (schema,))


def _statement(text: str) -> sql.SQL:
    """A user's own SQL, as a statement by itself."""
    return sql.SQL(cast("LiteralString", text))


def _parse(connection: PgConnection, text: str) -> None:
    """Has the server parse it, and no more. Raises psycopg.Error."""
    pgconn = connection.pgconn
    pgconn.send_prepare(b"", _statement(text).as_bytes(connection))
    result = connection.wait(execute(pgconn))[-1]
    if result.status != ExecStatus.COMMAND_OK:
        raise error_from_result(result, encoding=connection.info.encoding)
