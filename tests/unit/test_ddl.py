"""Statements as data: names are quoted, whatever they are; text is a server's own print."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg import sql

from rapidbyte.destinations.postgres import ddl, rows
from rapidbyte.destinations.postgres.indexes import SourceIndex, source_indexes
from rapidbyte.destinations.postgres.rows import RowMove
from rapidbyte.destinations.postgres.target import CheckFacts, Grant, TargetFacts
from rapidbyte.errors import ConfigError
from rapidbyte.model import Column, QualifiedName
from rapidbyte.pg.types import built_in

EVIL = 'a"; drop table victim; --'
TABLE = QualifiedName(schema="s", name=EVIL)
QUOTED = '"s"."a""; drop table victim; --"'


def test_a_table_with_columns_and_checks() -> None:
    """Types, collations, NOT NULL, CHECK; UNLOGGED where asked for."""
    columns = (
        Column(name=EVIL, type=built_in("numeric", 655366), nullable=False),
        Column(name="b", type=built_in("text"), collation=QualifiedName(schema="pg_catalog", name="C")),
    )
    check = CheckFacts(name="c", definition="CHECK ((b <> ''::text))", columns=("b",))
    assert ddl.text(ddl.create_table(TABLE, columns, checks=[check], unlogged=True)) == (
        f'CREATE UNLOGGED TABLE {QUOTED} (\n  "a""; drop table victim; --" numeric(10,2) NOT NULL,\n'
        '  "b" text COLLATE "pg_catalog"."C",\n  CONSTRAINT "c" CHECK ((b <> \'\'::text))\n)'
    )


@pytest.mark.parametrize(
    ("table", "column", "expected"),
    [
        ("t", "a", "t_a_not_null"),
        ("x" * 63, "a", "x" * 52 + "_a_not_null"),
        ("a", "y" * 63, "a_" + "y" * 52 + "_not_null"),
        ("x" * 63, "y" * 63, "x" * 27 + "_" + "y" * 26 + "_not_null"),
        ("é" * 31, "a", "é" * 26 + "_a_not_null"),
    ],
)
def test_not_null_constraints_are_named_as_the_server_names_them(table: str, column: str, expected: str) -> None:
    """PostgreSQL 18's own names for these were compared in tests/postgres."""
    assert ddl.not_null_name(table, column) == expected
    assert len(expected.encode()) <= 63


@given(table=st.text(min_size=1, max_size=63), column=st.text(min_size=1, max_size=63))
def test_constraint_names_fit(table: str, column: str) -> None:
    """Never more than 63 bytes, never half a character."""
    name = ddl.not_null_name(table.replace("\ud800", ""), column)
    assert len(name.encode("utf-8", "surrogatepass")) <= 63


def test_grants_are_wiped_and_given_again() -> None:
    """Whatever default privileges gave goes; PUBLIC and the owner are no exceptions; columns keep theirs."""
    facts = TargetFacts(
        name=TABLE,
        schema_exists=True,
        may_create=True,
        oid=1,
        owner="boss",
        default_grants=False,
        grants=(
            Grant(grantee="boss", privilege="SELECT"),
            Grant(grantee=None, privilege="INSERT"),
            Grant(grantee="x y", privilege="UPDATE", grantable=True, column="c"),
        ),
    )
    stage = QualifiedName(schema="s", name="stage")
    found = [
        ddl.text(statement) for statement in ddl.carry_grants(stage, facts, (Grant(grantee="d", privilege="SELECT"),))
    ]
    assert found == [
        'REVOKE ALL ON "s"."stage" FROM "d"',
        'REVOKE ALL ON "s"."stage" FROM "boss"',
        'REVOKE ALL ON "s"."stage" FROM PUBLIC',
        'GRANT SELECT ON "s"."stage" TO "boss"',
        'GRANT INSERT ON "s"."stage" TO PUBLIC',
        'GRANT UPDATE ("c") ON "s"."stage" TO "x y" WITH GRANT OPTION',
    ]


def test_drop_never_cascades() -> None:
    """What depends on a table is a reason to fail."""
    assert ddl.text(ddl.drop_table(TABLE)) == f"DROP TABLE {QUOTED}"


MOVE = RowMove(
    stage=QualifiedName(schema="_rapidbyte", name="st"),
    target=QualifiedName(schema="s", name="t"),
    partitioned=False,
    columns=(Column(name="id", type=built_in("integer")), Column(name="n", type=built_in("numeric"))),
    key=("id",),
)


def test_in_place_statements() -> None:
    """Operators and functions are pg_catalog's; inheriting tables are left out; the key is not assigned."""
    stage, target = 'ONLY "_rapidbyte"."st"', 'ONLY "s"."t"'
    match = 't."id" OPERATOR(pg_catalog.=) s."id"'
    differs = 'pg_catalog.record_image_ne(ROW("t"."n"), ROW("s"."n"))'
    assert ddl.text(rows.delete_gone(MOVE)) == (
        f"DELETE FROM {target} AS t WHERE NOT EXISTS (SELECT FROM {stage} AS s WHERE {match})"
    )
    assert ddl.text(rows.update_changed(MOVE)) == (
        f'UPDATE {target} AS t SET "n" = s."n" FROM {stage} AS s WHERE {match} AND {differs}'
    )
    assert ddl.text(rows.insert_new(MOVE)) == (
        f'INSERT INTO "s"."t" ("id", "n") SELECT "s"."id", "s"."n" FROM {stage} AS s'
        f" WHERE NOT EXISTS (SELECT FROM {target} AS t WHERE {match})"
    )


@pytest.mark.parametrize(
    ("kind", "assigned"), [("integer", False), ("text", False), ("numeric", True), ("interval", True)]
)
def test_a_key_whose_equal_values_can_be_other_bytes_is_written_too(kind: str, assigned: bool) -> None:
    """1.0 and 1.00 are equal, and not the same."""
    move = RowMove(
        stage=MOVE.stage,
        target=MOVE.target,
        partitioned=True,
        columns=(Column(name="id", type=built_in(kind)), MOVE.columns[1]),
        key=("id",),
    )
    assert ("id" in move.updatable, "id" in move.compared) == (assigned, assigned)


@pytest.mark.parametrize(
    ("definition", "expected"),
    [
        ("CREATE INDEX i ON public.t USING btree (a)", SourceIndex(name="i", unique=False, tail="USING btree (a)")),
        (
            'CREATE UNIQUE INDEX "o ""d.d"" USING" ON ONLY "A b"."t;" USING gin (x) WHERE (a > 1)',
            SourceIndex(name='o "d.d" USING', unique=True, tail="USING gin (x) WHERE (a > 1)"),
        ),
    ],
)
def test_index_definitions_are_read(definition: str, expected: SourceIndex) -> None:
    """As pg_get_indexdef prints them."""
    assert source_indexes((definition,)) == (expected,)


@pytest.mark.parametrize(
    "definition", ["DROP TABLE x", "CREATE INDEX i ON t USING btree (a)", "CREATE INDEX i ON s.t; DROP"]
)
def test_what_is_no_index_definition_is_refused(definition: str) -> None:
    """A source server may say anything (G13)."""
    with pytest.raises(ConfigError):
        source_indexes((definition,))


@given(name=st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1, max_size=20))
def test_any_name_stays_one_identifier(name: str) -> None:
    """Quoted, with quotes doubled: nothing of a name is SQL (G1)."""
    text = ddl.text(ddl.rename_table(QualifiedName(schema="s", name="t"), name))
    assert text == 'ALTER TABLE "s"."t" RENAME TO "' + name.replace('"', '""') + '"'
    assert sql.Identifier(name).as_string(None) in text
