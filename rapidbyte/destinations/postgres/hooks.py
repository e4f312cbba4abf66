"""A user's statements before and after a load, in the transaction that publishes it: carried out with it, or not.

Each is one statement, run by the leader in the role's own search_path, the targets' schema first. What ends a
transaction is refused before anything is connected; a second statement, when the pipeline is looked at.
"""

from __future__ import annotations

from typing import LiteralString, cast

import psycopg
from psycopg import sql
from psycopg.errors import error_from_result
from psycopg.generators import execute
from psycopg.pq import ExecStatus

from rapidbyte.errors import ConfigError
from rapidbyte.pg.failure import is_connection_loss, translate
from rapidbyte.pg.session import OWN_SQL, PgConnection, apply_settings
from rapidbyte.spec import Hooks

_SEARCH_PATH: LiteralString = """
SELECT pg_catalog.set_config('search_path', pg_catalog.concat_ws(', ', pg_catalog.quote_ident(%s),
    nullif(pg_catalog.current_setting('search_path'), '')), true)
"""


def check_hooks(connection: PgConnection, hooks: Hooks) -> None:
    """Raises ConfigError for a text that is not one statement. What it names need not be there yet."""
    for name, text in _named(hooks):
        try:
            with connection.transaction(force_rollback=True):
                _parse(connection, text)
        except psycopg.errors.SyntaxError as error:
            reason = error.diag.message_primary or str(error)
            raise ConfigError(
                f"{name} is not one statement: {reason.splitlines()[0]}",
                code="hook_invalid",
                hint="write each statement as an entry of its own",
            ) from error
        except psycopg.Error as error:
            if is_connection_loss(error):
                raise


def run_before(connection: PgConnection, hooks: Hooks, schema: str) -> None:
    """Runs `before_load`, in order, in the transaction that is open. Raises RapidbyteError; then it is rolled back."""
    _run(connection, tuple(each for each in _named(hooks) if each[0].startswith("before_load")), schema)


def run_after(connection: PgConnection, hooks: Hooks, schema: str) -> None:
    """The same with `after_load`."""
    _run(connection, tuple(each for each in _named(hooks) if each[0].startswith("after_load")), schema)


def _named(hooks: Hooks) -> tuple[tuple[str, str], ...]:
    return (
        *((f"before_load, statement {number},", text) for number, text in enumerate(hooks.before_load, 1)),
        *((f"after_load, statement {number},", text) for number, text in enumerate(hooks.after_load, 1)),
    )


def _run(connection: PgConnection, named: tuple[tuple[str, str], ...], schema: str) -> None:
    if not named:
        return
    connection.execute("SET LOCAL search_path TO DEFAULT")
    connection.execute("SET LOCAL row_security TO DEFAULT")
    connection.execute(_SEARCH_PATH, (schema,))
    for name, text in named:
        try:
            # binary=True takes the extended protocol, in which a text is one statement.
            connection.execute(_statement(text), binary=True)
        except psycopg.Error as error:
            if is_connection_loss(error):
                raise
            found = translate(error, side="destination", doing=f"running hooks.{name.rstrip(',')}")
            raise found.at(afterwards="nothing was published, and no hook took effect") from error
    apply_settings(connection, OWN_SQL)


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
