"""Everything that hangs on a table, and what it holds, as values that can be compared."""

from __future__ import annotations

from typing import Any

import psycopg

from tests.kit.server import SANE

CHECKSUM = """
SELECT count(*),
       coalesce(sum(hashtextextended(t::text, 0)::numeric), 0)::text,
       coalesce(bit_xor(hashtextextended(t::text, 1)), 0)
FROM {relation} t
"""
"""Order-free: equal for the same multiset of rows. `t` must be a row, not a single value."""

LOOK_UPS: dict[str, str] = {
    "table": """
        SELECT c.relname, n.nspname, c.relkind::text, c.relpersistence::text, c.relreplident::text,
               c.reloptions, c.relrowsecurity, c.relforcerowsecurity, c.relispartition,
               pg_get_userbyid(c.relowner), am.amname, c.reltablespace,
               obj_description(c.oid, 'pg_class'), (SELECT t.reloptions FROM pg_class t WHERE t.oid = c.reltoastrelid)
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace LEFT JOIN pg_am am ON am.oid = c.relam
        WHERE c.oid = $1""",
    "grants": """
        SELECT pg_get_userbyid(a.grantor), CASE a.grantee WHEN 0 THEN 'public' ELSE pg_get_userbyid(a.grantee) END,
               a.privilege_type, a.is_grantable
        FROM pg_class c, aclexplode(coalesce(c.relacl, acldefault('r', c.relowner))) a WHERE c.oid = $1""",
    "column_grants": """
        SELECT t.attname, pg_get_userbyid(a.grantor),
               CASE a.grantee WHEN 0 THEN 'public' ELSE pg_get_userbyid(a.grantee) END, a.privilege_type, a.is_grantable
        FROM pg_attribute t, aclexplode(t.attacl) a WHERE t.attrelid = $1 AND NOT t.attisdropped""",
    "columns": """
        SELECT row_number() OVER (ORDER BY a.attnum), a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull,
               pg_get_expr(d.adbin, d.adrelid), a.attidentity::text, a.attgenerated::text, a.attstorage::text,
               a.attcompression::text, a.attstattarget, a.attoptions, a.attcollation::regcollation::text,
               col_description(a.attrelid, a.attnum)
        FROM pg_attribute a LEFT JOIN pg_attrdef d ON (d.adrelid, d.adnum) = (a.attrelid, a.attnum)
        WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped""",
    "indexes": """
        SELECT c.relname, pg_get_indexdef(i.indexrelid), i.indisunique, i.indisprimary, i.indisclustered,
               i.indisreplident, i.indisvalid, c.reloptions, pg_get_userbyid(c.relowner),
               obj_description(c.oid, 'pg_class'),
               (SELECT array_agg(a.attstattarget ORDER BY a.attnum) FROM pg_attribute a WHERE a.attrelid = c.oid)
        FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid WHERE i.indrelid = $1""",
    "constraints": """
        SELECT conname, contype::text, pg_get_constraintdef(oid), convalidated, condeferrable, condeferred,
               obj_description(oid, 'pg_constraint')
        FROM pg_constraint WHERE conrelid = $1""",
    "referenced_by": """
        SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid), convalidated
        FROM pg_constraint WHERE confrelid = $1 AND contype = 'f'""",
    "triggers": """
        SELECT tgname, pg_get_triggerdef(oid), tgenabled::text, obj_description(oid, 'pg_trigger')
        FROM pg_trigger WHERE tgrelid = $1 AND NOT tgisinternal""",
    "rules": """
        SELECT rulename, pg_get_ruledef(oid), ev_enabled::text, obj_description(oid, 'pg_rewrite')
        FROM pg_rewrite WHERE ev_class = $1""",
    "policies": """
        SELECT polname, polcmd::text, polpermissive, ARRAY(SELECT CASE r WHEN 0 THEN 'public' ELSE
                 pg_get_userbyid(r) END FROM unnest(polroles) r ORDER BY 1),
               pg_get_expr(polqual, polrelid), pg_get_expr(polwithcheck, polrelid), obj_description(oid, 'pg_policy')
        FROM pg_policy WHERE polrelid = $1""",
    "views": """
        SELECT DISTINCT v.oid::regclass::text, v.relkind::text, pg_get_viewdef(v.oid), pg_get_userbyid(v.relowner),
               v.relacl::text
        FROM pg_depend d JOIN pg_rewrite r ON r.oid = d.objid JOIN pg_class v ON v.oid = r.ev_class
        WHERE d.classid = 'pg_rewrite'::regclass AND d.refclassid = 'pg_class'::regclass AND d.refobjid = $1
              AND v.oid <> $1""",
    "statistics": """
        SELECT stxname, pg_get_statisticsobjdef(oid), stxstattarget, pg_get_userbyid(stxowner)
        FROM pg_statistic_ext WHERE stxrelid = $1""",
    "publications": """
        SELECT p.pubname, pr.prattrs::text, pg_get_expr(pr.prqual, pr.prrelid)
        FROM pg_publication_rel pr JOIN pg_publication p ON p.oid = pr.prpubid WHERE pr.prrelid = $1""",
    "inherits": """
        SELECT CASE inhrelid WHEN $1 THEN 'child of' ELSE 'parent of' END,
               CASE inhrelid WHEN $1 THEN inhparent::regclass::text ELSE inhrelid::regclass::text END
        FROM pg_inherits WHERE $1 IN (inhrelid, inhparent)""",
    "functions": """
        SELECT DISTINCT p.oid::regprocedure::text FROM pg_depend d JOIN pg_proc p ON p.oid = d.objid
        WHERE d.classid = 'pg_proc'::regclass AND d.refclassid IN ('pg_class'::regclass, 'pg_type'::regclass)
              AND d.refobjid IN ($1, (SELECT reltype FROM pg_class WHERE oid = $1))""",
    "sequences": """
        SELECT s.oid::regclass::text, a.attname, d.deptype::text, pg_get_userbyid(s.relowner), s.relacl::text
        FROM pg_depend d JOIN pg_class s ON s.oid = d.objid AND s.relkind = 'S'
             JOIN pg_attribute a ON (a.attrelid, a.attnum) = (d.refobjid, d.refobjsubid)
        WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass AND d.refobjid = $1""",
    "security_labels": "SELECT provider, label FROM pg_seclabel WHERE objoid = $1 AND objsubid = 0",
}
"""One query each, of the table's oid; no OID in what they return."""


def catalog_of(dsn: str, schema: str, table: str) -> dict[str, Any]:
    """Everything that hangs on a table, without OIDs; lists are sorted. Sequences come with their values.

    Raises AssertionError when there is no such table.
    """
    with psycopg.connect(dsn, autocommit=True, options=f"{SANE} -c search_path=pg_catalog") as connection:
        found = connection.execute(
            "SELECT c.oid FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
            " WHERE n.nspname = %s AND c.relname = %s",
            [schema, table],
        ).fetchone()
        assert found is not None, f"there is no table {schema}.{table}"
        cursor = psycopg.RawCursor(connection)
        looked_up = {
            name: sorted((tuple(map(_plain, row)) for row in cursor.execute(query, [found[0]])), key=repr)
            for name, query in LOOK_UPS.items()
        }
        sequences = [
            (*row, connection.execute(f"SELECT last_value, is_called FROM {row[0]}").fetchone())  # type: ignore[arg-type]
            for row in looked_up["sequences"]
        ]
    return {**looked_up, "sequences": sequences}


def _plain(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def differences(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    """What differs between two catalogs: {look-up: (gone, new)}."""
    return {
        name: (
            [row for row in before[name] if row not in after[name]],
            [r for r in after[name] if r not in before[name]],
        )
        for name in before
        if before[name] != after[name]
    }


def checksum_of(dsn: str, relation: str) -> tuple[int, str, int]:
    """(rows, sum of hashes, xor of hashes): equal for the same rows in any order.

    `relation` is SQL, quoted by the caller: `public.t`, `"Odd Name"`, `(SELECT a, b FROM t)`.
    """
    with psycopg.connect(dsn, autocommit=True, options=SANE) as connection:
        row = connection.execute(CHECKSUM.format(relation=relation)).fetchone()  # type: ignore[arg-type]
        assert row is not None
        return row
