"""Rows of the stage that a unique index or an exclusion constraint of the target would refuse: 23505 and 23P01.

Of rows of the stage that clash with each other the first one stays. With rows of the target they clash in an append;
in an upsert with those whose key the stage does not have: the others get the stage's values. A replace leaves none.
"""

from __future__ import annotations

import re
from typing import Any, LiteralString

from psycopg import sql

from rapidbyte.contract import WriteContract
from rapidbyte.destinations.postgres import ddl
from rapidbyte.destinations.postgres.aside import Why, take
from rapidbyte.destinations.postgres.ledger import identifier
from rapidbyte.destinations.postgres.target import TargetFacts
from rapidbyte.model import QualifiedName
from rapidbyte.pg.session import PgConnection
from rapidbyte.values import frozen

_UNIQUE: LiteralString = """
SELECT coalesce(co.conname, ic.relname), i.indisexclusion,
       ARRAY(SELECT pg_get_indexdef(i.indexrelid, k, false) FROM generate_series(1, i.indnkeyatts) AS k ORDER BY k),
       pg_get_expr(i.indpred, i.indrelid),
       ARRAY(SELECT ARRAY[n.nspname::text, o.oprname::text]
             FROM generate_series(1, i.indnkeyatts) AS k
                  JOIN pg_opclass oc ON oc.oid = i.indclass[k - 1]
                  LEFT JOIN pg_amop am ON am.amopfamily = oc.opcfamily AND am.amoplefttype = oc.opcintype
                                      AND am.amoprighttype = oc.opcintype AND am.amopstrategy = 3
                                      AND am.amoppurpose = 's' AND NOT i.indisexclusion
                  JOIN pg_operator o ON o.oid = coalesce(co.conexclop[k], am.amopopr)
                  JOIN pg_namespace n ON n.oid = o.oprnamespace
             ORDER BY k),
       ARRAY(SELECT a.attname::text FROM pg_attribute a
             WHERE a.attrelid = i.indrelid AND a.attnum > 0
               AND (a.attnum = ANY (i.indkey::int2[])
                    OR EXISTS (SELECT FROM pg_depend d
                               WHERE d.classid = 'pg_class'::regclass AND d.objid = i.indexrelid
                                 AND d.refclassid = 'pg_class'::regclass AND d.refobjid = i.indrelid
                                 AND d.refobjsubid = a.attnum))
             ORDER BY a.attnum),
       i.indnullsnotdistinct, pg_get_constraintdef(co.oid)
FROM pg_index i JOIN pg_class ic ON ic.oid = i.indexrelid
     LEFT JOIN pg_constraint co ON co.conindid = i.indexrelid AND co.conrelid = i.indrelid
                               AND co.contype IN ('p', 'u', 'x')
WHERE i.indrelid = %s AND (i.indisunique OR i.indisexclusion) AND i.indisvalid
ORDER BY ic.relname
"""

_PLACE = "_rb_place"


@frozen
class Unique:
    """A unique index, or an exclusion constraint, whose columns the stream carries."""

    name: str
    excludes: bool
    """By operators that need not be equality."""
    keys: tuple[str, ...]
    """Expressions over the table's columns, as the server prints them."""
    predicate: str | None
    operators: tuple[tuple[str, str], ...]
    """(schema, name) of each key's."""
    columns: tuple[str, ...]
    nulls_clash: bool
    definition: str | None
    """Of the constraint, where it is one."""

    @property
    def phrase(self) -> str:
        """The keys, and the name."""
        return f"{', '.join(self.keys)} ({self.name})"


def uniques_of(connection: PgConnection, contract: WriteContract, facts: TargetFacts) -> tuple[Unique, ...]:
    """Those of the target of which the stream carries all columns. The search_path is pg_catalog."""
    carried = {column.name for column in contract.columns}
    found = (_unique(row) for row in connection.execute(_UNIQUE, (facts.oid,)).fetchall())
    return tuple(each for each in found if carried.issuperset(each.columns) and len(each.operators) == len(each.keys))


def _unique(row: tuple[Any, ...]) -> Unique:
    name, excludes, keys, predicate, operators, columns, nulls_clash, definition = row
    return Unique(
        name=name,
        excludes=excludes,
        keys=tuple(keys),
        predicate=predicate,
        operators=tuple((schema, operator) for schema, operator in operators),
        columns=tuple(columns),
        nulls_clash=nulls_clash,
        definition=definition,
    )


def take_among_themselves(
    connection: PgConnection, contract: WriteContract, stage: QualifiedName, unique: Unique
) -> int:
    """Takes rows out of the stage that clash with an earlier one of it; how many."""
    if unique.excludes:
        return _take_excluded(connection, contract, stage, unique)
    why = Why(code="key_duplicate", sqlstate="23505", message=f"another row has this {unique.phrase}")
    return take(connection, contract, _repeated(stage, unique), stage, why=why)


def _conditions(unique: Unique) -> sql.Composed:
    """Which rows the index is about."""
    parts = [sql.SQL("({})").format(ddl.printed(unique.predicate))] if unique.predicate is not None else []
    if not unique.nulls_clash:
        parts += [sql.SQL("({}) IS NOT NULL").format(ddl.printed(key)) for key in unique.keys]
    return sql.SQL(" AND ").join(parts or [sql.SQL("true")])


def _repeated(stage: QualifiedName, unique: Unique) -> sql.Composed:
    """Places of all rows of each key but the first one of the table."""
    return sql.SQL(
        "SELECT place FROM (SELECT ctid AS place, pg_catalog.row_number() OVER (PARTITION BY {} ORDER BY ctid)"
        " AS standing FROM {} WHERE {}) AS r WHERE r.standing OPERATOR(pg_catalog.>) 1"
    ).format(
        sql.SQL(", ").join(sql.SQL("({})").format(ddl.printed(key)) for key in unique.keys),
        identifier(stage),
        _conditions(unique),
    )


def _take_excluded(connection: PgConnection, contract: WriteContract, stage: QualifiedName, unique: Unique) -> int:
    """As the server would find it: the rows, in order, go into a table that has this one constraint."""
    definition = re.sub(r"( NOT)? DEFERRABLE.*$", "", unique.definition or "", flags=re.DOTALL)
    probe = QualifiedName(schema=stage.schema, name=f"{stage.name}_probe")
    place = sql.Identifier(_PLACE)
    columns = sql.SQL(", ").join(map(sql.Identifier, unique.columns))
    made = {"probe": identifier(probe), "stage": identifier(stage), "place": place, "columns": columns}
    connection.execute(
        sql.SQL("CREATE UNLOGGED TABLE {probe} AS SELECT ctid AS {place}, {columns} FROM {stage} WITH NO DATA").format(
            **made
        )
    )
    connection.execute(
        sql.SQL("ALTER TABLE {probe} ADD {definition}").format(**made, definition=ddl.printed(definition))
    )
    connection.execute(
        sql.SQL("INSERT INTO {probe} SELECT ctid, {columns} FROM {stage} ORDER BY ctid ON CONFLICT DO NOTHING").format(
            **made
        )
    )
    clashing = sql.SQL(
        "SELECT s.ctid AS place FROM {stage} AS s WHERE NOT EXISTS"
        " (SELECT FROM {probe} AS p WHERE p.{place} OPERATOR(pg_catalog.=) s.ctid)"
    ).format(**made)
    why = Why(code="row_excluded", sqlstate="23P01", message=f"another row excludes this {unique.phrase}")
    found = take(connection, contract, clashing, stage, why=why)
    connection.execute(ddl.drop_table(probe))
    return found


def take_clashing(
    connection: PgConnection, contract: WriteContract, facts: TargetFacts, stage: QualifiedName, unique: Unique
) -> int:
    """Takes rows out of the stage that clash with one of the target that stays as it is; how many."""
    if contract.write_mode == "replace":
        return 0
    whose = "a row of the target with another key" if contract.write_mode == "upsert" else "the target"
    why = Why(code="key_duplicate", sqlstate="23505", message=f"{whose} has this {unique.phrase}")
    if unique.excludes:
        why = Why(code="row_excluded", sqlstate="23P01", message=f"{whose} excludes this {unique.phrase}")
    return take(connection, contract, _clashing(contract, facts, stage, unique), stage, why=why)


def _clashing(contract: WriteContract, facts: TargetFacts, stage: QualifiedName, unique: Unique) -> sql.Composed:
    """Places of the stage's rows that clash with a row of the target; in an upsert of those that will not change."""
    key = contract.primary_key if contract.write_mode == "upsert" else ()
    made = [
        sql.SQL("({}) AS {}").format(ddl.printed(expression), sql.Identifier(f"_rb_{number}"))
        for number, expression in enumerate(unique.keys)
    ]
    keys = [sql.Identifier(name) for name in key]
    matches = [
        sql.SQL("s.{} OPERATOR({}.{}) t.{}").format(
            sql.Identifier(f"_rb_{number}"),
            sql.Identifier(schema),
            ddl.printed(operator),
            sql.Identifier(f"_rb_{number}"),
        )
        if not unique.nulls_clash
        else sql.SQL("s.{0} IS NOT DISTINCT FROM t.{0}").format(sql.Identifier(f"_rb_{number}"))
        for number, (schema, operator) in enumerate(unique.operators)
    ]
    stays = sql.SQL("")
    if key:
        same = sql.SQL(" AND ").join(sql.SQL("k.{} OPERATOR(pg_catalog.=) t.{}").format(name, name) for name in keys)
        stays = sql.SQL(" AND NOT EXISTS (SELECT FROM {} AS k WHERE {})").format(identifier(stage), same)
    return sql.SQL(
        "SELECT s.place FROM (SELECT ctid AS place, {made} FROM {stage} WHERE {about}) AS s WHERE EXISTS"
        " (SELECT FROM (SELECT {both} FROM {only}{target} WHERE {about}) AS t WHERE {matches}{stays})"
    ).format(
        made=sql.SQL(", ").join(made),
        stage=identifier(stage),
        about=_conditions(unique),
        both=sql.SQL(", ").join([*made, *keys]),
        only=sql.SQL("" if facts.kind == "p" else "ONLY "),
        target=identifier(facts.name),
        matches=sql.SQL(" AND ").join(matches),
        stays=stays,
    )
