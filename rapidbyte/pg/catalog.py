"""Read-only look-ups in a server's catalogs. One query each, for many relations at once; nothing is cached.

Every query qualifies its names and takes values as parameters. Run them in a transaction with `session.OWN_SQL`, or
another whose search_path is `pg_catalog`, so that `format_type` prints the schema of everything that is not built in.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from rapidbyte.model import Column, ColumnType, QualifiedName, RelationKind, TypeDefinition, TypeKind
from rapidbyte.pg.definition import MONEY_OIDS
from rapidbyte.pg.session import PgConnection
from rapidbyte.pg.types import BUILT_IN_BY_OID, BUILT_IN_TYPES
from rapidbyte.values import frozen

_BUILT_IN_OIDS = frozenset(BUILT_IN_BY_OID) | {found.array_oid for found in BUILT_IN_TYPES.values()}

_KINDS: dict[str, RelationKind] = {
    "r": "table",
    "p": "partitioned",
    "v": "view",
    "m": "materialized_view",
    "f": "foreign",
}

_TYPE_KINDS: dict[str, TypeKind] = {
    "b": "base",
    "a": "array",
    "e": "enum",
    "d": "domain",
    "c": "composite",
    "r": "range",
    "m": "multirange",
    "p": "pseudo",
}


@frozen
class Relation:
    """Something that can stand after FROM."""

    oid: int
    name: QualifiedName
    kind: RelationKind
    is_child: bool
    """It is a partition, or inherits from another table: its rows come with the parent's."""
    is_heap: bool
    """Its rows lie in heap blocks, which ctid ranges name."""
    may_use_schema: bool
    may_select: bool
    """The role has SELECT on the whole relation; it may still have it on some columns."""
    hides_rows: bool
    """Row-level security applies to this role: reading with `row_security = off` is refused."""


@frozen
class CatalogColumn:
    """A column, and whether the role may read it."""

    column: Column
    may_select: bool


@frozen
class Leaf:
    """A relation of an inheritance tree that holds rows itself."""

    oid: int
    name: QualifiedName
    is_heap: bool
    is_foreign: bool
    may_read: bool
    """The role may use its schema and select from it directly, and no policy hides rows."""


@frozen
class Size:
    """How big a relation is, now."""

    rows: int | None
    """An estimate from the last ANALYZE, scaled to the current size; None where there was none."""
    blocks: int
    """Heap blocks."""
    bytes: int
    """With TOAST, without indexes."""


_RELATIONS = """
SELECT c.oid, n.nspname, c.relname, c.relkind::text,
       EXISTS (SELECT FROM pg_catalog.pg_inherits i WHERE i.inhrelid = c.oid),
       coalesce(a.amname = 'heap', false),
       pg_catalog.has_schema_privilege(n.oid, 'USAGE'), pg_catalog.has_table_privilege(c.oid, 'SELECT'),
       pg_catalog.row_security_active(c.oid)
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
     LEFT JOIN pg_catalog.pg_am a ON a.oid = c.relam
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND c.relpersistence <> 't' AND
"""

_USER_SCHEMA = """
n.nspname <> ALL (ARRAY['information_schema', '_rapidbyte']) AND n.nspname !~ '^pg_' ORDER BY n.nspname, c.relname
"""


def _relation(row: Sequence[Any]) -> Relation:
    return Relation(
        oid=row[0],
        name=QualifiedName(schema=row[1], name=row[2]),
        kind=_KINDS[row[3]],
        is_child=row[4],
        is_heap=row[5],
        may_use_schema=row[6],
        may_select=row[7],
        hides_rows=row[8],
    )


def find_relations(connection: PgConnection, names: Sequence[QualifiedName]) -> dict[QualifiedName, Relation]:
    """Those of the names that exist as a table, view, materialized view or foreign table."""
    rows = connection.execute(
        _RELATIONS + "(n.nspname::text, c.relname::text) IN (SELECT * FROM unnest(%s::text[], %s::text[]))",  # noqa: S608
        ([name.schema for name in names], [name.name for name in names]),
    ).fetchall()
    return {relation.name: relation for relation in map(_relation, rows)}


def relations_of_schema(connection: PgConnection, schema: str) -> tuple[Relation, ...]:
    """Everything in one schema that rows can be read from, by name."""
    query = _RELATIONS + "n.nspname = %s ORDER BY c.relname"
    return tuple(map(_relation, connection.execute(query, (schema,)).fetchall()))


def user_relations(connection: PgConnection) -> tuple[Relation, ...]:
    """Everything outside of the system's schemas and our own that rows can be read from, by schema and name."""
    return tuple(map(_relation, connection.execute(_RELATIONS + _USER_SCHEMA).fetchall()))


_TYPE_KIND = """CASE WHEN t.typelem <> 0
     AND t.oid = (SELECT e.typarray FROM pg_catalog.pg_type e WHERE e.oid = t.typelem)
     THEN 'a' ELSE t.typtype::text END"""

_COLUMNS = f"""
SELECT a.attrelid, a.attname, a.attnotnull, a.attgenerated <> '', a.attidentity <> '',
       pg_catalog.has_column_privilege(a.attrelid, a.attnum, 'SELECT'),
       CASE WHEN a.attcollation <> t.typcollation THEN cn.nspname END, co.collname,
       pg_catalog.format_type(a.atttypid, a.atttypmod), a.atttypid, a.atttypmod, {_TYPE_KIND}
FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
     LEFT JOIN pg_catalog.pg_collation co ON co.oid = a.attcollation
     LEFT JOIN pg_catalog.pg_namespace cn ON cn.oid = co.collnamespace
WHERE a.attrelid = ANY (%s::oid[]) AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attrelid, a.attnum
"""  # noqa: S608 - a constant of this module


def _column_type(name: str, oid: int, typmod: int, kind: str) -> ColumnType:
    return ColumnType(name=name, oid=oid, typmod=typmod, kind=_TYPE_KINDS[kind], built_in=oid in _BUILT_IN_OIDS)


def columns_of(connection: PgConnection, oids: Sequence[int]) -> dict[int, tuple[CatalogColumn, ...]]:
    """The columns of relations, by the relation's oid, in the relation's order."""
    found: dict[int, list[CatalogColumn]] = {oid: [] for oid in oids}
    for row in connection.execute(_COLUMNS, (list(oids),)).fetchall():
        oid, name, not_null, generated, identity, may_select, schema, collation, *of_type = row
        column = Column(
            name=name,
            type=_column_type(*of_type),
            nullable=not not_null,
            collation=None if schema is None else QualifiedName(schema=schema, name=collation),
            generated=generated,
            identity=identity,
            money=of_type[1] in MONEY_OIDS,
        )
        found[oid].append(CatalogColumn(column=column, may_select=may_select))
    return {oid: tuple(columns) for oid, columns in found.items()}


def column_types(connection: PgConnection, types: Sequence[tuple[int, int]]) -> tuple[ColumnType, ...]:
    """The types of these (oid, modifier) pairs, in order."""
    rows = connection.execute(
        f"SELECT pg_catalog.format_type(t.oid, u.typmod), t.oid, u.typmod, {_TYPE_KIND} "  # noqa: S608 - a constant
        "FROM unnest(%s::oid[], %s::int[]) WITH ORDINALITY u (oid, typmod, place) "
        "JOIN pg_catalog.pg_type t ON t.oid = u.oid ORDER BY u.place",
        ([oid for oid, _ in types], [typmod for _, typmod in types]),
    ).fetchall()
    return tuple(_column_type(*row) for row in rows)


def primary_keys(connection: PgConnection, oids: Sequence[int]) -> dict[int, tuple[str, ...]]:
    """The primary keys' columns in the key's order, by the table's oid; tables without one are left out."""
    rows = connection.execute(
        """
        SELECT i.indrelid, pg_catalog.array_agg(a.attname::text ORDER BY k.place)
        FROM pg_catalog.pg_index i
             CROSS JOIN LATERAL pg_catalog.unnest(i.indkey::int2[]) WITH ORDINALITY k (attnum, place)
             JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
        WHERE i.indisprimary AND i.indrelid = ANY (%s::oid[]) AND k.place <= i.indnkeyatts
        GROUP BY i.indrelid
        """,
        (list(oids),),
    ).fetchall()
    return {oid: tuple(names) for oid, names in rows}


def leaves_of(connection: PgConnection, oids: Sequence[int]) -> dict[int, tuple[Leaf, ...]]:
    """What holds the rows of tables and materialized views: each itself, its partitions, its children, and theirs.

    By the oid that was asked for; a table that inherits from two of a tree's members comes once.
    """
    rows = connection.execute(
        """
        WITH RECURSIVE tree (root, oid) AS (
            SELECT r, r FROM unnest(%s::oid[]) r
            UNION
            SELECT t.root, i.inhrelid FROM tree t JOIN pg_catalog.pg_inherits i ON i.inhparent = t.oid
        )
        SELECT t.root, c.oid, n.nspname, c.relname, coalesce(a.amname = 'heap', false), c.relkind = 'f',
               pg_catalog.has_schema_privilege(n.oid, 'USAGE') AND pg_catalog.has_table_privilege(c.oid, 'SELECT')
                 AND NOT pg_catalog.row_security_active(c.oid)
        FROM tree t JOIN pg_catalog.pg_class c ON c.oid = t.oid
             JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace LEFT JOIN pg_catalog.pg_am a ON a.oid = c.relam
        WHERE c.relkind <> 'p' ORDER BY t.root, c.oid <> t.root, n.nspname, c.relname
        """,
        (list(oids),),
    ).fetchall()
    found: dict[int, list[Leaf]] = {oid: [] for oid in oids}
    for root, oid, schema, name, is_heap, is_foreign, may_read in rows:
        qualified = QualifiedName(schema=schema, name=name)
        leaf = Leaf(oid=oid, name=qualified, is_heap=is_heap, is_foreign=is_foreign, may_read=may_read)
        found[root].append(leaf)
    return {root: tuple(leaves) for root, leaves in found.items()}


def sizes_of(connection: PgConnection, oids: Sequence[int]) -> dict[int, Size]:
    """Sizes by oid; a relation that has been dropped meanwhile is left out. Foreign tables have no blocks."""
    rows = connection.execute(
        """
        SELECT s.oid, s.blocks, s.bytes,
               CASE WHEN s.reltuples < 0 OR (s.relpages = 0 AND s.blocks > 0) AND s.relkind <> 'f' THEN NULL
                    WHEN s.relpages = 0 OR s.relkind = 'f' THEN s.reltuples::bigint
                    ELSE (s.reltuples / s.relpages * s.blocks)::bigint END
        FROM (SELECT c.oid, c.relkind, c.reltuples, c.relpages,
                     coalesce(pg_catalog.pg_relation_size(c.oid), 0)
                       / pg_catalog.current_setting('block_size')::bigint AS blocks,
                     coalesce(pg_catalog.pg_table_size(c.oid), 0) AS bytes
              FROM pg_catalog.pg_class c WHERE c.oid = ANY (%s::oid[])) s
        """,
        (list(oids),),
    ).fetchall()
    return {oid: Size(rows=rows, blocks=blocks, bytes=size) for oid, blocks, size, rows in rows}


def locked_relations(connection: PgConnection) -> tuple[QualifiedName, ...]:
    """Tables, views and the like, but the system's, on which this session holds a lock; by name."""
    rows = connection.execute(
        """
        SELECT DISTINCT n.nspname, c.relname
        FROM pg_catalog.pg_locks l JOIN pg_catalog.pg_class c ON c.oid = l.relation
             JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
        WHERE l.pid = pg_catalog.pg_backend_pid() AND l.locktype = 'relation' AND l.granted
              AND l.database = (SELECT d.oid FROM pg_catalog.pg_database d
                                WHERE d.datname = pg_catalog.current_database())
              AND c.relkind IN ('r', 'p', 'v', 'm', 'f') AND n.nspname <> 'pg_catalog'
        ORDER BY 1, 2
        """
    ).fetchall()
    return tuple(QualifiedName(schema=schema, name=name) for schema, name in rows)


def integer_keys(connection: PgConnection, oids: Sequence[int]) -> dict[int, str]:
    """For each table an integer column that leads a complete B-tree index, the primary key's first; by oid."""
    rows = connection.execute(
        """
        SELECT DISTINCT ON (i.indrelid) i.indrelid, a.attname::text
        FROM pg_catalog.pg_index i
             JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid JOIN pg_catalog.pg_am m ON m.oid = c.relam
             JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
        WHERE i.indrelid = ANY (%s::oid[]) AND m.amname = 'btree' AND i.indisvalid AND i.indpred IS NULL
              AND a.atttypid IN (20, 21, 23)
        ORDER BY i.indrelid, i.indisprimary DESC, i.indisunique DESC, i.indnatts, a.attnum
        """,
        (list(oids),),
    ).fetchall()
    return dict(rows)


def leading_index(connection: PgConnection, oid: int, column: str) -> str | None:
    """The name of a complete B-tree index of this table whose first column it is; the smallest of them."""
    row = connection.execute(
        """
        SELECT c.relname::text
        FROM pg_catalog.pg_index i
             JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid JOIN pg_catalog.pg_am m ON m.oid = c.relam
             JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
        WHERE i.indrelid = %s AND a.attname = %s AND m.amname = 'btree' AND i.indisvalid AND i.indpred IS NULL
        ORDER BY i.indnatts, c.relname LIMIT 1
        """,
        (oid, column),
    ).fetchone()
    return None if row is None else row[0]


def index_definitions(connection: PgConnection, oid: int, columns: Sequence[str]) -> tuple[str, ...]:
    """CREATE INDEX for each valid index, but the primary key's, that needs no other columns than these; by name."""
    rows = connection.execute(
        """
        SELECT pg_catalog.pg_get_indexdef(i.indexrelid)
        FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
        WHERE i.indrelid = %s AND i.indisvalid AND NOT i.indisprimary AND NOT i.indisexclusion
              AND NOT EXISTS (
                  SELECT FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_attribute a
                       ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
                  WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = i.indexrelid
                        AND d.refobjid = i.indrelid AND d.refobjsubid > 0 AND a.attname <> ALL (%s::text[]))
        ORDER BY c.relname
        """,
        (oid, list(columns)),
    ).fetchall()
    return tuple(row[0] for row in rows)


_TYPES = f"""
SELECT t.oid, n.nspname, t.typname, {_TYPE_KIND},
       ARRAY(SELECT e.enumlabel::text FROM pg_catalog.pg_enum e WHERE e.enumtypid = t.oid ORDER BY e.enumsortorder),
       ARRAY(SELECT pg_catalog.pg_get_constraintdef(k.oid) FROM pg_catalog.pg_constraint k
             WHERE k.contypid = t.oid AND k.contype = 'c' ORDER BY 1)
         || CASE WHEN t.typnotnull THEN ARRAY['NOT NULL'] ELSE '{{}}' END,
       CASE t.typtype WHEN 'd' THEN t.typbasetype
                      WHEN 'r' THEN (SELECT r.rngsubtype FROM pg_catalog.pg_range r WHERE r.rngtypid = t.oid)
                      WHEN 'm' THEN (SELECT r.rngtypid FROM pg_catalog.pg_range r WHERE r.rngmultitypid = t.oid)
                      ELSE t.typelem END, t.typtypmod,
       ARRAY(SELECT a.attname::text FROM pg_catalog.pg_attribute a
             WHERE a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum),
       ARRAY(SELECT a.atttypid FROM pg_catalog.pg_attribute a
             WHERE a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum),
       ARRAY(SELECT a.atttypmod FROM pg_catalog.pg_attribute a
             WHERE a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum),
       (SELECT x.extname FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_extension x ON x.oid = d.refobjid
        WHERE d.classid = 'pg_catalog.pg_type'::pg_catalog.regclass AND d.objid = t.oid AND d.deptype = 'e'
              AND d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass LIMIT 1)
FROM pg_catalog.pg_type t JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace
WHERE t.oid = ANY (%s::oid[])
"""  # noqa: S608 - a constant of this module


def describe_types(connection: PgConnection, oids: Iterable[int]) -> dict[int, TypeDefinition]:
    """The definitions of types, with those of the user-defined types that they are made of; by oid.

    It ends, because no type can be made of itself (42P16).
    """
    wanted = sorted(set(oids))
    if not wanted:
        return {}
    shallow: dict[int, TypeDefinition] = {}
    made_of: dict[int, tuple[int, ...]] = {}
    for row in connection.execute(_TYPES, (wanted,)).fetchall():
        oid, schema, name, kind, labels, constraints, base, typmod, names, types, typmods, extension = row
        bases = [(base, typmod)] if base else []
        found = column_types(connection, [*bases, *zip(types, typmods, strict=True)])
        shallow[oid] = TypeDefinition(
            oid=oid,
            name=QualifiedName(schema=schema, name=name),
            kind=_TYPE_KINDS[kind],
            labels=tuple(labels),
            base=found[0] if base else None,
            constraints=tuple(constraints),
            attributes=tuple(zip(names, found[len(bases) :], strict=True)),
            extension=extension,
        )
        made_of[oid] = tuple(dict.fromkeys(part.oid for part in found if not part.built_in))
    parts = describe_types(connection, (part for part_oids in made_of.values() for part in part_oids))
    return {
        oid: replace(definition, parts=tuple(parts[part] for part in made_of[oid]))
        for oid, definition in shallow.items()
    }


def find_type(connection: PgConnection, schema: str, name: str) -> TypeDefinition | None:
    """The definition of a type by its name in the catalog (`_mood` for an array of `mood`), or None."""
    row = connection.execute(
        "SELECT t.oid FROM pg_catalog.pg_type t JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace "
        "WHERE n.nspname = %s AND t.typname = %s",
        (schema, name),
    ).fetchone()
    return None if row is None else describe_types(connection, [row[0]])[row[0]]
