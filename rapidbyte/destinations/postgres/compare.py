"""The destination's rows for `verify`: the targets in one read-only snapshot, and what the ledger says of them."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager

from psycopg import sql

from rapidbyte.comparison import ComparedColumn, LedgerFacts
from rapidbyte.cursor import StoredCursor
from rapidbyte.destinations.postgres.ledger import SCHEMA, identifier
from rapidbyte.destinations.postgres.planning import target_name
from rapidbyte.errors import PrivilegeError
from rapidbyte.model import Column, ColumnType, QualifiedName, ServerFacts, session_name
from rapidbyte.pg.catalog import CatalogColumn, columns_of, find_relations
from rapidbyte.pg.conversions import conversion
from rapidbyte.pg.row_images import ComparedRows, PostgresRows
from rapidbyte.pg.session import OWN_SQL, PgConnection, begin, connect, rollback, server_facts, translated
from rapidbyte.plan import ConversionKind, StreamShape
from rapidbyte.ports import Stop
from rapidbyte.spec import Connection, PipelineSpec


class DestinationRows:
    """The destination in one transaction: the rows of one target after the other. Used by one thread."""

    def __init__(self, connection: PgConnection, columns: Mapping[QualifiedName, tuple[CatalogColumn, ...]]) -> None:
        self._connection = connection
        self._columns = columns

    def columns(self, target: QualifiedName) -> tuple[Column, ...] | None:
        """The target's columns; None where there is no such table. Raises PrivilegeError."""
        known = self._columns.get(target)
        if known is None:
            return None
        hidden = [each.column.name for each in known if not each.may_select]
        if hidden:
            raise PrivilegeError(
                f"role {self._connection.info.user} may not read {target}, which a comparison needs",
                code="privilege_missing",
                hint=f"GRANT SELECT ON {identifier(target).as_string(self._connection)} "
                f"TO {sql.Identifier(self._connection.info.user).as_string(self._connection)};",
                table=str(target),
            )
        return tuple(each.column for each in known)

    def ledger(self, pipeline: str, stream: str, target: QualifiedName, *, incremental: bool) -> LedgerFacts:
        """What the ledger says, as of the snapshot; nothing where there is none. Raises PrivilegeError."""
        with translated("destination", "looking into the ledger"):
            return LedgerFacts(
                cursor=_cursor(self._connection, pipeline, stream) if incremental else None,
                published_rows=_published_rows(self._connection, target),
            )

    def of_target(
        self, target: QualifiedName, columns: tuple[ComparedColumn, ...], key: tuple[ComparedColumn, ...]
    ) -> PostgresRows:
        """The target's rows, all of them: what is there was loaded."""
        rows = ComparedRows(
            relation=sql.Composed([identifier(target)]),
            columns=columns,
            key=key,
            loaded=sql.Composed([sql.SQL("true")]),
        )
        return PostgresRows(self._connection, rows, side="destination", doing=f"reading {target} to compare it")


class TargetsReader:
    """The destination of a pipeline, read in read-only transactions. Connects when it is asked something."""

    def __init__(self, spec: PipelineSpec, *, connection: Connection, stop: Stop) -> None:
        self._stop = stop
        self._spec = spec
        self._connection = connection

    def facts(self) -> ServerFacts:
        """The server's own word. Raises DestinationError where it cannot be reached."""
        name = session_name("leader", self._spec.pipeline)
        session = connect(self._connection, side="destination", application_name=name)
        with closing(session), translated("destination", "asking the server who it is"):
            return server_facts(session)

    def target_of(self, shape: StreamShape) -> QualifiedName:
        """Where a stream goes. Raises ConfigError."""
        return target_name(shape.spec, shape, self._spec.destination.schema)

    def conversion(self, source: ColumnType, target: ColumnType) -> ConversionKind:
        """What happens to the values of one type in a column of the other."""
        return conversion(source, target)

    def rows(self, targets: tuple[QualifiedName, ...]) -> AbstractContextManager[DestinationRows]:
        """The targets' rows in one snapshot."""
        return open_destination_rows(self._connection, pipeline=self._spec.pipeline, targets=targets, stop=self._stop)


@contextmanager
def open_destination_rows(
    connection: Connection, *, pipeline: str, targets: tuple[QualifiedName, ...], stop: Stop
) -> Generator[DestinationRows]:
    """Locks the targets against rewrites, then fixes what is seen. Raises DestinationError.

    Nothing is written; the transaction is rolled back when it is left.
    """
    session = connect(connection, side="destination", application_name=session_name("leader", pipeline), stop=stop)
    with closing(session):
        with translated("destination", "locking the tables to compare"):
            begin(session, OWN_SQL, mode="ISOLATION LEVEL READ COMMITTED READ ONLY")
            known = find_relations(session, targets)
            rollback(session)
            session.stop = stop
            begin(session, OWN_SQL, mode="ISOLATION LEVEL REPEATABLE READ READ ONLY")
            session.execute("SET LOCAL lock_timeout = '60s'")
            lockable = [name for name, relation in known.items() if relation.kind in ("table", "partitioned")]
            readable = [name for name in lockable if known[name].may_select]
            if readable:
                names = sql.SQL(", ").join(map(identifier, readable))
                session.execute(sql.SQL("LOCK TABLE {} IN ACCESS SHARE MODE").format(names))
            found = find_relations(session, targets)
            columns = columns_of(session, [relation.oid for relation in found.values()])
        yield DestinationRows(session, {name: columns[relation.oid] for name, relation in found.items()})
        rollback(session)


def _may_read(connection: PgConnection, name: str) -> bool | None:
    """Whether a table of the ledger may be read; None where there is none."""
    row = connection.execute(
        "SELECT pg_catalog.has_schema_privilege(n.oid, 'USAGE') AND pg_catalog.has_table_privilege(c.oid, 'SELECT')"
        " FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
        " WHERE n.nspname = %s AND c.relname = %s",
        (SCHEMA, name),
    ).fetchone()
    return None if row is None else bool(row[0])


def _cursor(connection: PgConnection, pipeline: str, stream: str) -> StoredCursor | None:
    may_read = _may_read(connection, "cursors")
    if may_read is None:
        return None
    if not may_read:
        role = sql.Identifier(connection.info.user).as_string(connection)
        raise PrivilegeError(
            f"role {connection.info.user} may not read the ledger, which has the stream's cursor",
            code="privilege_missing",
            hint=f"GRANT USAGE ON SCHEMA {SCHEMA} TO {role}; GRANT SELECT ON {SCHEMA}.cursors TO {role};",
            stream=stream,
        )
    row = connection.execute(
        "SELECT field, type, value FROM _rapidbyte.cursors WHERE pipeline = %s AND stream = %s", (pipeline, stream)
    ).fetchone()
    return None if row is None else StoredCursor(field=row[0], type=row[1], value=row[2])


def _published_rows(connection: PgConnection, target: QualifiedName) -> int | None:
    """Rows that all loads together brought since the latest one that found the target empty, or replaced its rows.

    None where there was no such load, or one since then that changed rows instead of adding them.
    """
    if not _may_read(connection, "loads"):
        return None
    rows = connection.execute(
        "SELECT publish, row_count FROM _rapidbyte.loads WHERE target_schema = %s AND target_table = %s"
        " AND state = 'published' ORDER BY ended_at DESC, load_id DESC",
        (target.schema, target.name),
    ).fetchall()
    total = 0
    for publish, row_count in rows:
        if publish == "merge" or row_count is None:
            return None
        total += row_count
        if publish in ("rename", "swap", "in_place"):
            return total
    return None
