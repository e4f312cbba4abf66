"""The stream's types as the destination knows them. Looks up, changes nothing."""

from __future__ import annotations

from rapidbyte.destinations.postgres.drift import ResolvedType
from rapidbyte.destinations.postgres.wire import choose_wire
from rapidbyte.model import ColumnType, QualifiedName, Wire
from rapidbyte.pg.catalog import column_types, find_type
from rapidbyte.pg.conversions import relay_wire
from rapidbyte.pg.definition import create_type_statement, difference
from rapidbyte.pg.session import PgConnection
from rapidbyte.plan import ColumnPlan, StreamShape


def choose_stream_wire(shape: StreamShape, columns: tuple[ColumnPlan, ...]) -> Wire:
    """The wire format of a stream: a relay's for what comes as COPY bytes, else what Arrow can be encoded to."""
    if shape.delivers == "arrow":
        return choose_wire(columns)
    return relay_wire((column.source.type, column.target.type) for column in columns)


def resolve_types(connection: PgConnection, shape: StreamShape) -> dict[str, ResolvedType]:
    """Every column's type as the destination knows it. Nothing that the source has printed becomes SQL."""
    built_in = [column.type for column in shape.columns if column.type.built_in]
    found = column_types(connection, [(kind.oid, kind.typmod) for kind in built_in])
    own = {(kind.oid, kind.typmod): kind for kind in found}
    collations = _known_collations(connection, shape)
    resolved: dict[str, ResolvedType] = {}
    for column in shape.columns:
        known = column.collation is None or column.collation in collations
        if column.type.built_in:
            kind = own.get((column.type.oid, column.type.typmod))
            resolved[column.name] = ResolvedType(type=kind, collation_known=known)
        else:
            resolved[column.name] = _resolve_user_type(connection, shape, column.type, collation_known=known)
    return resolved


def _resolve_user_type(
    connection: PgConnection, shape: StreamShape, kind: ColumnType, *, collation_known: bool
) -> ResolvedType:
    source = next((definition for definition in shape.types if definition.oid == kind.oid), None)
    if source is None:
        return ResolvedType(type=None, collation_known=collation_known)
    own = find_type(connection, source.name.schema, source.name.name)
    if own is None:
        remedy = f"run there: {create_type_statement(source)}"
        return ResolvedType(type=None, remedy=remedy, collation_known=collation_known)
    found = column_types(connection, [(own.oid, kind.typmod)])
    return ResolvedType(type=found[0], difference=difference(source, own), collation_known=collation_known)


def _known_collations(connection: PgConnection, shape: StreamShape) -> set[QualifiedName]:
    wanted = [column.collation for column in shape.columns if column.collation is not None]
    if not wanted:
        return set()
    rows = connection.execute(
        "SELECT n.nspname, c.collname FROM pg_collation c JOIN pg_namespace n ON n.oid = c.collnamespace"
        " JOIN unnest(%s::text[], %s::text[]) AS w (schema, name) ON w.schema = n.nspname AND w.name = c.collname",
        ([name.schema for name in wanted], [name.name for name in wanted]),
    ).fetchall()
    return {QualifiedName(schema=schema, name=name) for schema, name in rows}
