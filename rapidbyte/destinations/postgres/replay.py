"""Rows that were set aside: listed, and loaded again once their cause is gone. Run by the leader, with the lease.

All rows of one replay go into their targets in one transaction, in which they are marked as replayed: so none is loaded
twice, whatever becomes of the command. A row that is refused again stays, with the new reason.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal, LiteralString

import psycopg
from psycopg import sql

from rapidbyte.destinations.postgres.ledger import identifier
from rapidbyte.destinations.postgres.target import TargetFacts
from rapidbyte.destinations.postgres.target_catalog import look_up
from rapidbyte.model import QualifiedName
from rapidbyte.pg.failure import code_and_hint, masked
from rapidbyte.pg.session import PgConnection
from rapidbyte.rejects import is_about_a_row
from rapidbyte.values import frozen

RejectState = Literal["waiting", "replayed", "outdated", "unfinished"]
"""It can be replayed; it was; a later load of the stream has taken the place of its load; its load is not published."""

LONGEST_LIST = 1000

PARSE = "parse"
"""Stands among codes for all lines that could not be parsed, whatever their code."""


@frozen
class Named:
    """Which of a pipeline's rows are meant: those that meet all that is not None."""

    stream: str | None = None
    ids: tuple[int, ...] | None = None
    reason: str | None = None
    """A code, or PARSE."""


ALL = Named()


@frozen
class StoredReject:
    """A row of `rejects`, and what its load says of it."""

    reject_id: int
    stream: str
    run_id: str
    load_id: str
    partition: int | None
    file: str | None
    line: int | None
    column: str | None
    code: str
    sqlstate: str | None
    message: str
    form: str
    row: Any
    """The document."""
    rejected_at: datetime
    replayed_at: datetime | None
    replayed_by: str | None
    target: QualifiedName
    write_mode: str
    state: RejectState


@frozen
class StreamKeys:
    """How a stream's rows find their place in an upsert."""

    primary_key: tuple[str, ...] = ()
    """Empty: the target's own."""
    order: tuple[str, ...] = ()
    """Cursor and tie-breaker: a row that is there with greater ones stays."""
    transformed: bool = False
    """The file's columns are not the target's."""


@frozen
class Replayed:
    """What became of one row."""

    reject_id: int
    stream: str
    outcome: Literal["loaded", "refused", "left"]
    reason: str | None = None
    """Why it was not loaded, without a value."""


_SELECT: LiteralString = """
SELECT r.reject_id, r.stream, r.run_id, r.load_id, r.partition, r.file, r.line, r.column_name, r.code, r.sqlstate,
       r.message, r.form, r.row_data::text, r.rejected_at, r.replayed_at, r.replayed_by,
       l.target_schema, l.target_table, l.write_mode,
       CASE WHEN r.replayed_at IS NOT NULL THEN 'replayed'
            WHEN l.state <> 'published' THEN 'unfinished'
            WHEN EXISTS (SELECT FROM _rapidbyte.loads n
                         WHERE n.pipeline = l.pipeline AND n.stream = l.stream AND n.state = 'published'
                               AND n.write_mode = 'replace' AND n.ended_at > l.ended_at) THEN 'outdated'
            ELSE 'waiting' END
FROM _rapidbyte.rejects r JOIN _rapidbyte.loads l ON l.load_id = r.load_id
WHERE r.pipeline = %(pipeline)s AND r.stream = coalesce(%(stream)s, r.stream)
      AND (%(ids)s::bigint[] IS NULL OR r.reject_id = ANY (%(ids)s::bigint[]))
      AND (%(reason)s::text IS NULL OR r.code = %(reason)s OR %(reason)s = 'parse' AND r.form = 'text')
"""


def stored(
    connection: PgConnection,
    named: Named,
    *,
    pipeline: str,
    limit: int | None = LONGEST_LIST,
    lock: bool = False,
) -> tuple[StoredReject, ...]:
    """Rows that were set aside, in the order in which that was done."""
    statement = sql.SQL("{} ORDER BY r.reject_id{}{}").format(
        sql.SQL(_SELECT),
        sql.SQL("") if limit is None else sql.SQL(" LIMIT {}").format(sql.Literal(limit)),
        sql.SQL(" FOR UPDATE OF r" if lock else ""),
    )
    rows = connection.execute(
        statement,
        {
            "pipeline": pipeline,
            "stream": named.stream,
            "ids": None if named.ids is None else list(named.ids),
            "reason": named.reason,
        },
    ).fetchall()
    return tuple(map(_stored, rows))


def _stored(row: tuple[Any, ...]) -> StoredReject:
    *plain, document, rejected_at, replayed_at, replayed_by, schema, table, write_mode, state = row
    reject_id, stream, run_id, load_id, partition, file, line, column, code, sqlstate, message, form = plain
    return StoredReject(
        reject_id=reject_id,
        stream=stream,
        run_id=run_id,
        load_id=load_id,
        partition=partition,
        file=file,
        line=line,
        column=column,
        code=code,
        sqlstate=sqlstate,
        message=message,
        form=form,
        row=json.loads(document),
        rejected_at=rejected_at,
        replayed_at=replayed_at,
        replayed_by=replayed_by,
        target=QualifiedName(schema=schema, name=table),
        write_mode=write_mode,
        state=state,
    )


def replay(
    connection: PgConnection, rejects: Sequence[StoredReject], keys: dict[str, StreamKeys], *, run_id: str
) -> tuple[Replayed, ...]:
    """Loads these rows in the transaction that is open, and marks those that are loaded. Raises psycopg.Error."""
    facts: dict[QualifiedName, TargetFacts] = {}
    found: list[Replayed] = []
    for reject in rejects:
        target = facts.get(reject.target) or look_up(connection, reject.target)
        facts[reject.target] = target
        reason = why_left(reject, target, keys.get(reject.stream, StreamKeys()))
        if reason is not None:
            found.append(Replayed(reject_id=reject.reject_id, stream=reject.stream, outcome="left", reason=reason))
            continue
        found.append(_replayed(connection, reject, target, keys.get(reject.stream, StreamKeys()), run_id))
    return tuple(found)


def why_left(reject: StoredReject, target: TargetFacts, keys: StreamKeys) -> str | None:
    """Why a row cannot be loaded at all; None where it can be tried. Pure."""
    if reject.state == "replayed":
        return "it was replayed already"
    if reject.state == "outdated":
        return "a later replace of the stream has read its source again"
    if reject.state == "unfinished":
        return "the load that it was left out of is not published"
    if reject.form == "text":
        return "it is a line that could not be parsed: correct the file, and load it again"
    if reject.form == "source" and keys.transformed:
        return "it is as it was before the transforms: correct the file, and load it again"
    if not target.exists:
        return f"{reject.target} is gone"
    missing = [name for name in reject.row if target.column(name) is None]
    if missing:
        return f"{reject.target} has no column {', '.join(missing)}"
    if reject.write_mode == "upsert" and not (keys.primary_key or target.primary_key):
        return "nobody says what the key is: name `primary_key` in the pipeline"
    return None


def _replayed(
    connection: PgConnection, reject: StoredReject, target: TargetFacts, keys: StreamKeys, run_id: str
) -> Replayed:
    try:
        with connection.transaction():
            connection.execute("SET LOCAL search_path TO DEFAULT")
            _load(connection, reject, target, keys)
            connection.execute("SET CONSTRAINTS ALL IMMEDIATE")
            connection.execute("SET LOCAL search_path = pg_catalog")
            connection.execute(
                "UPDATE _rapidbyte.rejects SET replayed_at = pg_catalog.clock_timestamp(), replayed_by = %s"
                " WHERE reject_id = %s",
                (run_id, reject.reject_id),
            )
    except psycopg.Error as error:
        if error.sqlstate is not None and not is_about_a_row(error.sqlstate):
            raise
        if error.sqlstate is None and not isinstance(error, psycopg.DataError):
            raise
        return _refused(connection, reject, error)
    return Replayed(reject_id=reject.reject_id, stream=reject.stream, outcome="loaded")


def _load(connection: PgConnection, reject: StoredReject, target: TargetFacts, keys: StreamKeys) -> None:
    """Writes the row as its load would have: values go as texts, which the server reads as their columns' types."""
    values: dict[str, str | None] = reject.row
    key = keys.primary_key or target.primary_key
    if reject.write_mode == "upsert" and _updated(connection, reject.target, values, key, keys.order):
        return
    connection.execute(
        sql.SQL("INSERT INTO {} ({}) OVERRIDING SYSTEM VALUE VALUES ({})").format(
            identifier(reject.target),
            sql.SQL(", ").join(map(sql.Identifier, values)),
            sql.SQL(", ").join(sql.Placeholder() * len(values)),
        ),
        list(values.values()),
    )


def _updated(
    connection: PgConnection,
    target: QualifiedName,
    values: dict[str, str | None],
    key: tuple[str, ...],
    order: tuple[str, ...],
) -> bool:
    """True where the target has a row of this key: it is updated, unless it is the later one."""
    found = _found(connection, target, values, key, order)
    if found is None:
        return False
    place, is_newer = found
    others = [name for name in values if name not in key]
    if others and is_newer:
        connection.execute(
            sql.SQL("UPDATE {} AS t SET {} WHERE t.ctid OPERATOR(pg_catalog.=) {}::pg_catalog.tid").format(
                identifier(target),
                sql.SQL(", ").join(
                    sql.SQL("{} = {}").format(sql.Identifier(name), sql.Placeholder()) for name in others
                ),
                sql.Placeholder(),
            ),
            [*(values[name] for name in others), place],
        )
    return True


def _found(
    connection: PgConnection,
    target: QualifiedName,
    values: dict[str, str | None],
    key: tuple[str, ...],
    order: tuple[str, ...],
) -> tuple[str, bool] | None:
    """Where the row of this key is, locked, and whether this one is not the earlier; None where there is none."""
    connection.execute("SET LOCAL search_path = pg_catalog")
    later = [name for name in order if name in values]
    newer = sql.SQL("coalesce(ROW({}) <= ROW({}), true)").format(
        sql.SQL(", ").join(sql.Identifier("t", name) for name in later),
        sql.SQL(", ").join(sql.Placeholder() * len(later)),
    )
    row = connection.execute(
        sql.SQL("SELECT t.ctid::text, {} FROM {} AS t WHERE {} FOR UPDATE").format(
            newer if later else sql.SQL("true"),
            identifier(target),
            sql.SQL(" AND ").join(sql.SQL("t.{} = {}").format(sql.Identifier(name), sql.Placeholder()) for name in key),
        ),
        [*(values[name] for name in later), *(values[name] for name in key)],
    ).fetchone()
    connection.execute("SET LOCAL search_path TO DEFAULT")
    return None if row is None else (row[0], row[1])


def _refused(connection: PgConnection, reject: StoredReject, error: psycopg.Error) -> Replayed:
    text = " ".join((error.diag.message_primary or "a value is no text of PostgreSQL's").split())
    message = masked(text, error.sqlstate)
    connection.execute(
        "UPDATE _rapidbyte.rejects SET message = %s, sqlstate = %s, code = %s, column_name = %s WHERE reject_id = %s",
        (
            message,
            error.sqlstate,
            code_and_hint(error.sqlstate)[0] if error.sqlstate else reject.code,
            error.diag.column_name or reject.column,
            reject.reject_id,
        ),
    )
    return Replayed(reject_id=reject.reject_id, stream=reject.stream, outcome="refused", reason=message)
