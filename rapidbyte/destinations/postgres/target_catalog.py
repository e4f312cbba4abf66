"""One look at a target and at everything that hangs on it, in the server's catalog. Reads only.

`look_up` runs in the caller's transaction, whose search_path must be pg_catalog: so every type, default and
definition is printed with its schema, and can be compared and used again as it is.
"""

from __future__ import annotations

from typing import Any, LiteralString

from psycopg import sql

from rapidbyte.destinations.postgres.target import CheckFacts, Grant, IndexFacts, TargetColumn, TargetFacts
from rapidbyte.model import Column, ColumnType, QualifiedName
from rapidbyte.pg.session import PgConnection, ask_together

_SCHEMA: LiteralString = """
SELECT n.oid,
       CASE WHEN n.oid IS NULL
            THEN has_database_privilege(current_database(), 'CREATE')
            ELSE has_schema_privilege(n.oid, 'CREATE') END,
       coalesce(has_schema_privilege(n.oid, 'USAGE'), true),
       ARRAY(SELECT p.pubname::text FROM pg_publication p
             WHERE p.puballtables
                OR EXISTS (SELECT FROM pg_publication_namespace pn WHERE pn.pnpubid = p.oid AND pn.pnnspid = n.oid)
             ORDER BY 1),
       ARRAY(SELECT p.pubname::text FROM pg_publication p WHERE p.puballtables ORDER BY 1)
FROM (SELECT %(schema)s::text AS name) AS wanted LEFT JOIN pg_namespace n ON n.nspname = wanted.name
"""

_TABLE: LiteralString = """
SELECT c.oid, c.relkind::text, pg_get_userbyid(c.relowner), pg_has_role(c.relowner, 'USAGE'),
       pg_has_role(c.relowner, 'MEMBER')
         AND has_schema_privilege(c.relowner, c.relnamespace, 'CREATE'),
       CASE WHEN current_setting('server_version_num')::int >= 160000
            THEN pg_has_role(c.relowner, CASE WHEN current_setting('server_version_num')::int >= 160000
                                              THEN 'SET' ELSE 'MEMBER' END)
            ELSE true END,
       ARRAY(SELECT p FROM unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) AS p
             WHERE has_table_privilege(c.oid, p)),
       row_security_active(c.oid), obj_description(c.oid, 'pg_class'),
       coalesce(c.reloptions, '{}') || ARRAY(SELECT 'toast.' || o FROM pg_class t, unnest(t.reloptions) AS o
                                             WHERE t.oid = c.reltoastrelid),
       c.relacl IS NULL,
       array_remove(ARRAY[
         CASE WHEN c.relkind = 'p' THEN 'it is partitioned' END,
         CASE WHEN c.relpersistence = 'u' THEN 'it is unlogged' END,
         CASE WHEN c.relispartition THEN 'it is a partition' END,
         CASE WHEN NOT c.relispartition AND EXISTS (SELECT FROM pg_inherits WHERE inhrelid = c.oid)
              THEN 'it inherits from another table' END,
         CASE WHEN c.reloftype <> 0 THEN 'it is a typed table' END,
         CASE WHEN c.relrowsecurity OR c.relforcerowsecurity THEN 'row-level security is enabled on it' END,
         CASE WHEN c.relreplident <> 'd' THEN 'it has a replica identity of its own' END,
         CASE WHEN c.reltablespace <> 0 THEN 'it has a tablespace of its own' END,
         CASE WHEN c.relam <> 2 AND c.relkind = 'r' THEN 'its access method is not heap' END,
         CASE WHEN EXISTS (SELECT FROM aclexplode(c.relacl) x WHERE x.grantor <> c.relowner)
                OR EXISTS (SELECT FROM pg_attribute a, aclexplode(a.attacl) x
                           WHERE a.attrelid = c.oid AND NOT a.attisdropped AND x.grantor <> c.relowner)
              THEN 'others than its owner have granted privileges on it' END,
         CASE WHEN EXISTS (SELECT FROM pg_seclabel s WHERE s.classoid = 'pg_class'::regclass AND s.objoid = c.oid)
              THEN 'it has a security label' END,
         CASE WHEN EXISTS (SELECT FROM pg_subscription_rel s WHERE s.srrelid = c.oid)
              THEN 'a subscription writes to it' END,
         (SELECT 'it belongs to extension ' || e.extname FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid
          WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.refclassid = 'pg_extension'::regclass
          LIMIT 1)
       ], NULL)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = %(schema)s AND c.relname = %(name)s
"""

_COLUMNS: LiteralString = """
SELECT a.attname, format_type(a.atttypid, a.atttypmod), a.atttypid, a.atttypmod,
       CASE WHEN EXISTS (SELECT FROM pg_type e WHERE e.typarray = t.oid) THEN 'array'
            ELSE CASE t.typtype WHEN 'b' THEN 'base' WHEN 'c' THEN 'composite' WHEN 'd' THEN 'domain'
                                WHEN 'e' THEN 'enum' WHEN 'r' THEN 'range' WHEN 'm' THEN 'multirange'
                                ELSE 'pseudo' END END,
       a.attnotnull, pg_get_expr(d.adbin, d.adrelid), a.attgenerated <> '', a.attidentity::text,
       CASE WHEN a.attcollation <> t.typcollation THEN cn.nspname END,
       CASE WHEN a.attcollation <> t.typcollation THEN co.collname END,
       nullif(a.attstattarget, -1), coalesce(a.attoptions, '{}'), col_description(a.attrelid, a.attnum),
       a.attstorage = t.typstorage AND a.attcompression = '',
       own.nspname, own.relname,
       ARRAY(SELECT DISTINCT ARRAY[sn.nspname::text, s.relname::text]
             FROM pg_depend p JOIN pg_class s ON s.oid = p.refobjid AND s.relkind = 'S'
                  JOIN pg_namespace sn ON sn.oid = s.relnamespace
             WHERE p.classid = 'pg_attrdef'::regclass AND p.objid = d.oid AND p.refclassid = 'pg_class'::regclass)
FROM pg_attribute a
     JOIN pg_type t ON t.oid = a.atttypid
     LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
     LEFT JOIN pg_collation co ON co.oid = a.attcollation
     LEFT JOIN pg_namespace cn ON cn.oid = co.collnamespace
     LEFT JOIN LATERAL (
       SELECT sn.nspname, s.relname FROM pg_depend p JOIN pg_class s ON s.oid = p.objid AND s.relkind = 'S'
              JOIN pg_namespace sn ON sn.oid = s.relnamespace
       WHERE p.classid = 'pg_class'::regclass AND p.refclassid = 'pg_class'::regclass AND p.refobjid = a.attrelid
         AND p.refobjsubid = a.attnum AND p.deptype IN ('a', 'i') LIMIT 1) AS own ON true
WHERE a.attrelid = %(oid)s AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attnum
"""

_INDEXES: LiteralString = """
SELECT ic.relname, i.indisunique,
       CASE WHEN starts_with(x.definition, x.beginning || 'USING ')
            THEN substr(x.definition, length(x.beginning) + 1) END,
       CASE WHEN i.indexprs IS NULL AND i.indpred IS NULL
            THEN ARRAY(SELECT a.attname::text FROM unnest(i.indkey::int2[]) WITH ORDINALITY AS k (attnum, place)
                       JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
                       WHERE k.place <= i.indnkeyatts ORDER BY k.place)
            ELSE '{}' END,
       CASE co.contype WHEN 'p' THEN 'PRIMARY KEY' WHEN 'u' THEN 'UNIQUE' END,
       co.conname, coalesce(co.condeferrable, false), coalesce(co.condeferred, false),
       obj_description(ic.oid, 'pg_class'), obj_description(co.oid, 'pg_constraint'),
       CASE WHEN co.contype = 'x' THEN 'exclusion constraint ' || quote_ident(co.conname)
            WHEN NOT i.indisvalid OR NOT i.indisready THEN 'invalid index ' || quote_ident(ic.relname)
            WHEN i.indisclustered THEN 'clustered index ' || quote_ident(ic.relname)
            WHEN i.indisreplident THEN 'replica identity index ' || quote_ident(ic.relname)
            WHEN ic.reltablespace <> 0 THEN 'the tablespace of index ' || quote_ident(ic.relname)
            WHEN co.contype IN ('p', 'u') AND am.amname <> 'btree' THEN 'constraint ' || quote_ident(co.conname)
            WHEN EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = ic.oid AND coalesce(a.attstattarget, -1) <> -1)
                 THEN 'statistics target of index ' || quote_ident(ic.relname)
            WHEN NOT starts_with(x.definition, x.beginning || 'USING ') THEN 'index ' || quote_ident(ic.relname)
       END
FROM pg_index i
     JOIN pg_class ic ON ic.oid = i.indexrelid
     JOIN pg_am am ON am.oid = ic.relam
     JOIN pg_class c ON c.oid = i.indrelid
     JOIN pg_namespace n ON n.oid = c.relnamespace
     LEFT JOIN pg_constraint co ON co.conindid = i.indexrelid AND co.conrelid = i.indrelid
                               AND co.contype IN ('p', 'u', 'x')
     CROSS JOIN LATERAL (
       SELECT pg_get_indexdef(i.indexrelid),
              'CREATE ' || CASE WHEN i.indisunique THEN 'UNIQUE ' ELSE '' END || 'INDEX ' || quote_ident(ic.relname)
              || ' ON ' || CASE WHEN c.relkind = 'p' THEN 'ONLY ' ELSE '' END
              || quote_ident(n.nspname) || '.' || quote_ident(c.relname) || ' '
     ) AS x (definition, beginning)
WHERE i.indrelid = %(oid)s
ORDER BY ic.relname
"""

_CHECKS: LiteralString = """
SELECT conname, pg_get_constraintdef(oid),
       ARRAY(SELECT coalesce(a.attname::text, '') FROM unnest(conkey) AS k
             LEFT JOIN pg_attribute a ON a.attrelid = conrelid AND a.attnum = k),
       obj_description(oid, 'pg_constraint'), contype = 'c',
       CASE WHEN NOT convalidated THEN 'constraint ' || quote_ident(conname) || ', which is not validated'
            WHEN contype <> 'c' AND connoinherit THEN 'constraint ' || quote_ident(conname) END
FROM pg_constraint WHERE conrelid = %(oid)s AND contype IN ('c', 'n')
ORDER BY conname
"""

_DEPENDENTS: LiteralString = """
SELECT DISTINCT coalesce(
         (SELECT CASE v.relkind WHEN 'm' THEN 'materialized view ' ELSE 'view ' END || quote_ident(vn.nspname) || '.'
                 || quote_ident(v.relname) || ' depends on it'
          FROM pg_rewrite r JOIN pg_class v ON v.oid = r.ev_class JOIN pg_namespace vn ON vn.oid = v.relnamespace
          WHERE d.classid = 'pg_rewrite'::regclass AND r.oid = d.objid AND r.rulename = '_RETURN'),
         pg_describe_object(d.classid, d.objid, 0))
FROM pg_class c
     LEFT JOIN pg_type t ON t.oid = c.reltype
     JOIN pg_depend d ON (d.refclassid = 'pg_class'::regclass AND d.refobjid = c.oid)
                      OR (d.refclassid = 'pg_type'::regclass AND d.refobjid IN (t.oid, t.typarray) AND t.oid <> 0)
WHERE c.oid = %(oid)s
  AND NOT (d.classid = 'pg_class'::regclass AND d.objid = c.oid)
  AND NOT (d.classid = 'pg_class'::regclass
           AND EXISTS (SELECT FROM pg_class k WHERE k.oid = d.objid AND k.relkind IN ('i', 'I', 't')))
  AND NOT (d.classid = 'pg_type'::regclass AND d.objid IN (t.oid, t.typarray))
  AND NOT (d.classid = 'pg_attrdef'::regclass
           AND EXISTS (SELECT FROM pg_attrdef k WHERE k.oid = d.objid AND k.adrelid = c.oid))
  AND NOT (d.classid = 'pg_constraint'::regclass
           AND EXISTS (SELECT FROM pg_constraint k
                       WHERE k.oid = d.objid AND k.conrelid = c.oid AND k.contype IN ('p', 'u', 'c', 'n')))
  AND NOT (d.classid = 'pg_trigger'::regclass
           AND EXISTS (SELECT FROM pg_trigger k WHERE k.oid = d.objid AND k.tgisinternal))
ORDER BY 1
"""

_UNIDENTIFIED: LiteralString = """
SELECT p.pubname::text, p.pubupdate, p.pubdelete
FROM pg_class c JOIN pg_publication p ON p.pubupdate OR p.pubdelete
WHERE c.oid = %(oid)s AND c.relkind = 'r' AND c.relpersistence = 'p'
  AND (p.puballtables
       OR EXISTS (SELECT FROM pg_publication_rel r WHERE r.prpubid = p.oid AND r.prrelid = c.oid)
       OR EXISTS (SELECT FROM pg_publication_namespace n WHERE n.pnpubid = p.oid AND n.pnnspid = c.relnamespace))
  AND CASE c.relreplident
        WHEN 'f' THEN false
        WHEN 'n' THEN true
        ELSE NOT EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid
                         AND CASE c.relreplident WHEN 'i' THEN i.indisreplident ELSE i.indisprimary END) END
ORDER BY 1
"""

_FIRING: LiteralString = """
SELECT 'trigger', t.tgname FROM pg_trigger t
WHERE t.tgrelid = %(oid)s AND NOT t.tgisinternal AND t.tgenabled <> 'D' AND (t.tgtype & 28) <> 0
UNION ALL
SELECT 'rule', r.rulename FROM pg_rewrite r
WHERE r.ev_class = %(oid)s AND r.ev_type IN ('2', '3', '4') AND r.ev_enabled <> 'D'
UNION ALL
SELECT 'key', quote_ident(k.conname) || ' of ' || k.conrelid::regclass::text FROM pg_constraint k
WHERE k.confrelid = %(oid)s AND k.contype = 'f' AND k.conparentid = 0
ORDER BY 1, 2
"""

_GRANTS: LiteralString = """
SELECT CASE x.grantee WHEN 0 THEN NULL ELSE pg_get_userbyid(x.grantee) END, x.privilege_type, x.is_grantable, NULL
FROM pg_class c, aclexplode(c.relacl) AS x WHERE c.oid = %(oid)s
UNION ALL
SELECT CASE x.grantee WHEN 0 THEN NULL ELSE pg_get_userbyid(x.grantee) END, x.privilege_type, x.is_grantable,
       a.attname
FROM pg_attribute a, aclexplode(a.attacl) AS x WHERE a.attrelid = %(oid)s AND NOT a.attisdropped
ORDER BY 4 NULLS FIRST, 1, 2
"""


_PARTS = (_COLUMNS, _INDEXES, _CHECKS, _DEPENDENTS, _FIRING, _GRANTS, _UNIDENTIFIED)


def look_up(connection: PgConnection, name: QualifiedName) -> TargetFacts:
    """The target of this name as the caller's transaction sees it, also where there is none."""
    of_schema, of_table = ask_together(connection, (_SCHEMA, _TABLE), {"schema": name.schema, "name": name.name})
    schema_oid, may_create, may_use, publications, of_all = of_schema[0]
    found = of_table[0] if of_table else None
    basis: dict[str, Any] = {
        "name": name,
        "schema_exists": schema_oid is not None,
        "may_create": may_create,
        "may_use": may_use,
        "publications_of_schema": tuple(publications),
        "publications_of_all": tuple(of_all),
    }
    if found is None:
        return TargetFacts(**basis)
    return _existing(connection, basis, found)


def _existing(connection: PgConnection, basis: dict[str, Any], row: tuple[Any, ...]) -> TargetFacts:
    oid, kind, owner, owned, member, may_set, privileges, secured, comment, options, plain, obstacles = row
    if kind not in ("r", "p"):
        return TargetFacts(**basis, oid=oid, kind=kind, owner=owner, owned=owned)
    found_columns, found_indexes, constraints, dependents, firing, grants, unidentified = ask_together(
        connection, _PARTS, {"oid": oid}
    )
    columns = tuple(map(_column, found_columns))
    indexes = tuple(map(_index, found_indexes))
    columns_in_the_way = [
        f"column {column.name} is {'generated' if column.column.generated else 'an identity column'}"
        for column in columns
        if column.column.generated or column.column.identity
    ]
    return TargetFacts(
        **basis,
        oid=oid,
        kind=kind,
        owner=owner,
        owned=owned,
        may_give=member and may_set,
        privileges=frozenset(privileges),
        row_security=secured,
        refusing_updates=tuple(name for name, updates, _ in unidentified if updates),
        refusing_deletes=tuple(name for name, _, deletes in unidentified if deletes),
        columns=columns,
        empty=_is_empty(connection, basis["name"], kind)
        if basis["may_use"] and "SELECT" in privileges and not secured
        else None,
        indexes=indexes,
        checks=tuple(
            CheckFacts(name=name, definition=definition, columns=tuple(named), comment=remark)
            for name, definition, named, remark, is_check, _ in constraints
            if is_check
        ),
        not_null_comments=tuple(
            (name, remark) for name, *_, remark, is_check, _ in constraints if not is_check and remark is not None
        ),
        obstacles=(
            *obstacles,
            *columns_in_the_way,
            *(index.special for index in indexes if index.special is not None),
            *(special for *_, special in constraints if special is not None),
            *(text for (text,) in dependents),
        ),
        triggers=tuple(name for what, name in firing if what == "trigger"),
        rules=tuple(name for what, name in firing if what == "rule"),
        inbound_keys=tuple(name for what, name in firing if what == "key"),
        options=tuple(options),
        comment=comment,
        grants=tuple(Grant(grantee=who, privilege=what, grantable=on, column=of) for who, what, on, of in grants),
        default_grants=plain,
    )


def _column(row: tuple[Any, ...]) -> TargetColumn:
    (name, type_name, oid, typmod, kind, not_null, default, generated, identity, collation_schema, collation) = row[:11]
    statistics, options, comment, stored_as_type, sequence_schema, sequence, default_sequences = row[11:]
    return TargetColumn(
        column=Column(
            name=name,
            type=ColumnType(name=type_name, oid=oid, typmod=typmod, kind=kind, built_in=oid < 16384),
            nullable=not not_null,
            collation=None if collation is None else QualifiedName(schema=collation_schema, name=collation),
            generated=generated,
            identity=identity != "",
        ),
        default=None if generated else default,
        identity_always=identity == "a",
        sequence=None if sequence is None else QualifiedName(schema=sequence_schema, name=sequence),
        default_sequences=tuple(QualifiedName(schema=schema, name=name) for schema, name in default_sequences),
        statistics=statistics,
        options=tuple(options),
        comment=comment,
        stored_as_type=stored_as_type,
    )


def _index(row: tuple[Any, ...]) -> IndexFacts:
    name, unique, tail, key, constraint, constraint_name, deferrable, deferred, comment, remark, special = row
    return IndexFacts(
        name=name,
        unique=unique,
        tail=tail,
        key=tuple(key),
        constraint=constraint,
        constraint_name=constraint_name,
        deferrable=deferrable,
        deferred=deferred,
        comment=comment,
        constraint_comment=remark,
        special=special,
    )


def _is_empty(connection: PgConnection, name: QualifiedName, kind: str) -> bool:
    only = sql.SQL("ONLY " if kind == "r" else "")
    row = connection.execute(
        sql.SQL("SELECT NOT EXISTS (SELECT FROM {}{})").format(only, sql.Identifier(name.schema, name.name))
    ).fetchone()
    return bool(row and row[0])
