"""What the pipeline's entries are in the source's catalog: shapes, or every fault of them at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import psycopg
from psycopg import sql
from psycopg.pq import TransactionStatus

from rapidbyte.errors import Problem
from rapidbyte.model import Column, QualifiedName
from rapidbyte.pg.catalog import (
    CatalogColumn,
    Leaf,
    Relation,
    Size,
    column_types,
    columns_of,
    describe_types,
    find_relations,
    index_definitions,
    integer_keys,
    leading_index,
    leaves_of,
    locked_relations,
    primary_keys,
    relations_of_schema,
    sizes_of,
    user_relations,
)
from rapidbyte.pg.definition import MONEY_OIDS, holds_money
from rapidbyte.pg.session import PgConnection
from rapidbyte.plan import StreamShape
from rapidbyte.sources.postgres.cursors import cursor_of
from rapidbyte.sources.postgres.faults import Fault, fault, key_faults, privilege_faults, projection, refuse
from rapidbyte.sources.postgres.names import (
    Selected,
    candidates,
    is_pattern,
    pattern_parts,
    resolve_exact,
    resolve_pattern,
)
from rapidbyte.sources.postgres.select import quoted
from rapidbyte.sources.postgres.split import choose_split
from rapidbyte.sources.postgres.user_sql import ResultColumn, check_query, check_where, condition, subquery
from rapidbyte.spec import StreamSpec
from rapidbyte.values import frozen

USER_FAULTS = ("42", "22", "0A", "3F", "2F", "25", "54")
"""SQLSTATE classes of a user's SQL that is wrong; others are the server's troubles."""

_T = TypeVar("_T")


@frozen
class Looked:
    """What the catalogs hold of relations, by oid."""

    columns: dict[int, tuple[CatalogColumn, ...]]
    keys: dict[int, tuple[str, ...]]
    leaves: dict[int, tuple[Leaf, ...]]
    indexed: dict[int, str]
    sizes: dict[int, Size]
    """Of the leaves, by their oids."""


@frozen
class Estimate:
    """What the planner expects of a query."""

    rows: int
    bytes: int
    reads: tuple[QualifiedName, ...]
    """What it locked to plan it: exactly what the text names, views and what is behind them included."""


class SourceCatalog:
    """The source as one read-only transaction sees it, its settings being `session.OWN_SQL`.

    `user_path` is the search_path under which the user's SQL runs; ours runs under `pg_catalog` alone.
    """

    def __init__(self, connection: PgConnection, *, schema: str, user_path: str) -> None:
        self._connection = connection
        self._schema = schema
        self._user_path = user_path
        self._faults: list[Fault] = []

    def describe(self, streams: Sequence[StreamSpec]) -> tuple[StreamShape, ...]:
        """One shape a stream, in order, patterns resolved. Raises ConfigError, PrivilegeError with every fault."""
        selected = self._resolve(streams)
        looked = self._look_up([each.relation for each in selected if each.relation is not None])
        kept, passed_over = without_columnless(selected, looked.columns)
        shapes = [
            self._query_shape(each.spec)
            if each.relation is None
            else self._relation_shape(each.spec, each.relation, looked)
            for each in kept
        ]
        refuse(self._faults)
        found = tuple(shape for shape in shapes if shape is not None)
        return (replace(found[0], warnings=(*passed_over, *found[0].warnings)), *found[1:]) if passed_over else found

    def discover(self) -> tuple[StreamShape, ...]:
        """Every relation outside of the system's schemas; partitions and inheriting tables come with their parents."""
        relations = [relation for relation in user_relations(self._connection) if not relation.is_child]
        looked = self._look_up(relations)
        return tuple(self._discovered(relation, looked) for relation in relations)

    def _resolve(self, streams: Sequence[StreamSpec]) -> tuple[Selected, ...]:
        tables = [spec for spec in streams if spec.query is None]
        known = find_relations(
            self._connection, [name for spec in tables for name in candidates(spec.name, self._schema)]
        )
        exact = {spec.name: resolve_exact(spec, self._schema, known, ()) for spec in tables}
        named = [found.relation for found in exact.values() if isinstance(found, Selected)]
        taken = frozenset(relation.name for relation in named if relation is not None)
        selected: list[Selected] = []
        for spec in streams:
            found = Selected(spec=spec, relation=None) if spec.query is not None else exact[spec.name]
            if isinstance(found, Selected):
                selected.append(replace(found, spec=spec))
            else:
                selected += self._several(spec, known, taken)
        names = [each.spec.name for each in selected]
        repeated = {each.spec.name: each.spec for each in selected if names.count(each.spec.name) > 1}
        self._faults += [fault(spec, "two entries or patterns select it: use `exclude`") for spec in repeated.values()]
        return tuple(selected)

    def _several(
        self, spec: StreamSpec, known: dict[QualifiedName, Relation], taken: frozenset[QualifiedName]
    ) -> tuple[Selected, ...]:
        """What a name stands for that is no relation's: a pattern's tables, or nothing and a fault."""
        schema = pattern_parts(spec.name, self._schema).schema
        if not is_pattern(spec.name):
            found = resolve_exact(spec, self._schema, known, user_relations(self._connection))
        elif is_pattern(schema):
            found = resolve_pattern(spec, self._schema, user_relations(self._connection), taken)
        else:
            found = resolve_pattern(spec, self._schema, relations_of_schema(self._connection, schema), taken)
        if isinstance(found, Problem):
            self._faults.append(Fault(problem=found))
            return ()
        return found if isinstance(found, tuple) else (found,)

    def _look_up(self, relations: Sequence[Relation]) -> Looked:
        oids = [relation.oid for relation in relations]
        leaves = leaves_of(self._connection, oids)
        return Looked(
            columns=columns_of(self._connection, oids),
            keys=primary_keys(self._connection, oids),
            leaves=leaves,
            indexed=integer_keys(self._connection, oids),
            sizes=sizes_of(self._connection, [leaf.oid for each in leaves.values() for leaf in each]),
        )

    def _relation_shape(self, spec: StreamSpec, relation: Relation, looked: Looked) -> StreamShape | None:
        """The shape of a relation's stream; None where it has faults."""
        known = looked.columns[relation.oid]
        columns, faults = projection(spec, known)
        faults += privilege_faults(spec, relation, columns, self._connection.info.user)
        faults += key_faults(spec, [column.column for column in known])
        self._faults += faults
        if faults:
            return None
        names = [column.column.name for column in columns]
        key = looked.keys.get(relation.oid, ())
        shape = replace(
            self._catalog_shape(spec, relation, looked),
            columns=tuple(column.column for column in columns),
            primary_key=key if set(key) <= set(names) else (),
        )
        if spec.indexes == "source":
            shape = replace(shape, index_definitions=index_definitions(self._connection, relation.oid, names))
        shape = self._with_cursor(self._with_types(shape), relation.oid)
        if relation.kind != "view" and spec.where is None:
            return shape
        after_from = sql.SQL("{} AS {}").format(quoted(relation.name), sql.Identifier(relation.name.name))
        return self._with_estimate(shape, after_from)

    def _catalog_shape(self, spec: StreamSpec, relation: Relation, looked: Looked) -> StreamShape:
        """A relation's shape with all its columns; sizes are those of its leaves together."""
        leaves = looked.leaves[relation.oid]
        sizes = [looked.sizes[leaf.oid] for leaf in leaves]
        rows = [size.rows for size in sizes if size.rows is not None]
        split = choose_split(
            kind=relation.kind,
            root_oid=relation.oid,
            leaves=leaves,
            version_number=self._connection.info.server_version,
            partition_key=spec.partition_key,
            indexed_key=looked.indexed.get(relation.oid),
        )
        return StreamShape(
            spec=spec,
            kind=relation.kind,
            relation=relation.name,
            columns=tuple(column.column for column in looked.columns[relation.oid]),
            primary_key=looked.keys.get(relation.oid, ()),
            leaves=tuple(leaf.name for leaf in leaves),
            estimated_rows=sum(rows) if len(rows) == len(sizes) and relation.kind != "view" else None,
            estimated_bytes=sum(size.bytes for size in sizes) if relation.kind not in ("view", "foreign") else None,
            partitioning=split.reason,
            warnings=foreign_warnings(leaves),
        )

    def _discovered(self, relation: Relation, looked: Looked) -> StreamShape:
        """A relation as `discover` lists it. What the role may not read is listed too, with a warning."""
        name = relation.name.name if relation.name.schema == self._schema else str(relation.name)
        shape = self._catalog_shape(StreamSpec(name=name), relation, looked)
        known = looked.columns[relation.oid]
        missing = privilege_faults(shape.spec, relation, known, self._connection.info.user)
        return replace(shape, warnings=(*shape.warnings, *(str(found.problem) for found in missing)))

    def _query_shape(self, spec: StreamSpec) -> StreamShape | None:
        """The shape of a query's stream; None where it has faults."""
        query = spec.query or ""
        found = self._tried(spec, "`query`", lambda: check_query(self._connection, query))
        if found is None:
            return None
        known = self._result_columns(found)
        columns, faults = projection(spec, known)
        faults += key_faults(spec, [column.column for column in known])
        self._faults += faults
        if faults:
            return None
        shape = StreamShape(
            spec=spec,
            kind="query",
            relation=None,
            columns=tuple(column.column for column in columns),
            partitioning=choose_split(
                kind="query",
                root_oid=None,
                leaves=(),
                version_number=self._connection.info.server_version,
                partition_key=spec.partition_key,
                indexed_key=None,
            ).reason,
        )
        return self._with_estimate(self._with_cursor(self._with_types(shape), None), subquery(query))

    def _with_types(self, shape: StreamShape) -> StreamShape:
        """The shape with the definitions of its types that are not built in."""
        wanted = {column.type.oid for column in shape.columns if not column.type.built_in}
        types = describe_types(self._connection, wanted) if wanted else {}
        rich = {oid for oid, definition in types.items() if holds_money(definition)}
        columns = tuple(replace(column, money=column.money or column.type.oid in rich) for column in shape.columns)
        return replace(shape, columns=columns, types=tuple(types[oid] for oid in sorted(types)))

    def _with_cursor(self, shape: StreamShape, oid: int | None) -> StreamShape:
        """The shape with what `cursor_field` names; the same shape and faults where it cannot be a cursor (A7)."""
        field = shape.spec.cursor_field
        if field is None:
            return shape
        cursor, faults = cursor_of(shape)
        self._faults += faults
        if cursor is None:
            return shape
        index = leading_index(self._connection, oid, field) if oid is not None else None
        return replace(shape, cursor=replace(cursor, index=index))

    def _result_columns(self, found: Sequence[ResultColumn]) -> tuple[CatalogColumn, ...]:
        types = column_types(self._connection, [(column.oid, column.typmod) for column in found])
        return tuple(
            CatalogColumn(column=Column(name=column.name, type=kind, money=kind.oid in MONEY_OIDS), may_select=True)
            for column, kind in zip(found, types, strict=True)
        )

    def _with_estimate(self, shape: StreamShape, after_from: sql.Composed) -> StreamShape | None:
        """The shape with what the planner expects; bytes only where the size on disk is not known.

        None where the user's SQL is wrong. To explain a query is also to check the privileges it needs.
        """
        spec, where = shape.spec, shape.spec.where
        if where is not None:
            checked = self._tried(spec, "`where`", lambda: check_where(self._connection, after_from, where) or True)
            if checked is None:
                return None
        estimate = self._tried(spec, "it", lambda: self._explain(shape, after_from))
        if estimate is None:
            return None
        size = estimate.bytes if shape.estimated_bytes is None else shape.estimated_bytes
        return replace(shape, estimated_rows=estimate.rows, estimated_bytes=size, reads=estimate.reads)

    def _explain(self, shape: StreamShape, after_from: sql.Composed) -> Estimate:
        statement = sql.SQL("EXPLAIN (FORMAT JSON) SELECT {} FROM {}").format(
            sql.SQL(", ").join(sql.Identifier(column.name) for column in shape.columns), after_from
        )
        if shape.spec.where is not None:
            statement += sql.SQL(" WHERE {}").format(condition(shape.spec.where))
        with self._connection.transaction(force_rollback=True):
            row = self._connection.execute(statement).fetchone()
            reads = locked_relations(self._connection)
        plan: dict[str, Any] = row[0][0]["Plan"] if row is not None else {}
        rows, width = int(plan.get("Plan Rows", 0)), int(plan.get("Plan Width", 0))
        return Estimate(rows=rows, bytes=rows * max(1, width), reads=reads)

    def _tried(self, spec: StreamSpec, what: str, look: Callable[[], _T]) -> _T | None:
        """What `look` finds under the user's search_path; None and a fault where the user's SQL is at fault.

        psycopg.Error of other causes is raised.
        """
        self._set_path(self._user_path)
        try:
            return look()
        except psycopg.Error as error:
            state = error.sqlstate or ""
            if not state.startswith(USER_FAULTS):
                raise
            said = error.diag.message_primary or str(error)
            self._faults.append(_user_fault(spec, f"{what} is refused by the server: {said} [{state}]", error))
            return None
        finally:
            if self._connection.info.transaction_status == TransactionStatus.INTRANS:
                self._set_path("pg_catalog")

    def _set_path(self, path: str) -> None:
        self._connection.execute("SELECT pg_catalog.set_config('search_path', %s, true)", (path,))


def _user_fault(spec: StreamSpec, what: str, error: psycopg.Error) -> Fault:
    found = fault(spec, what, hint=error.diag.message_hint)
    return replace(found, grant="GRANT SELECT on what it reads") if error.sqlstate == "42501" else found


def without_columnless(
    selected: Sequence[Selected], columns: Mapping[int, Sequence[CatalogColumn]]
) -> tuple[tuple[Selected, ...], tuple[str, ...]]:
    """What is left without the tables that a pattern matched and that have no columns, and a warning for each of them.

    COPY has nothing to carry there. A table that is named, or nothing else being left, is a fault instead.
    """
    bare = [each for each in selected if each.by_pattern and each.relation and not columns[each.relation.oid]]
    kept = tuple(each for each in selected if each not in bare)
    if not kept:
        return tuple(selected), ()
    return kept, tuple(
        f"pattern {each.by_pattern!r} matches {each.relation.name}, which has no columns: it is passed over"
        for each in bare
        if each.relation is not None
    )


def foreign_warnings(leaves: Sequence[Leaf]) -> tuple[str, ...]:
    """What a run cannot promise for rows that lie on another server."""
    return tuple(
        f"{leaf.name} is a foreign table: the snapshot does not cover its rows" for leaf in leaves if leaf.is_foreign
    )
