"""The target's columns grow with the source's before the load, where `schema_evolution` says so (F3)."""

from __future__ import annotations

import pytest

from rapidbyte.errors import SchemaError
from rapidbyte.spec import SchemaPolicy
from tests.postgres.leading import lead, rows_of, run

TABLES = """
CREATE SCHEMA app;
CREATE TABLE app.t (id bigint, f float8, v varchar(20), w text, n numeric(12,2));
CREATE SCHEMA raw;
CREATE TABLE raw.t (id int PRIMARY KEY, f float4, v varchar(5) COLLATE "C" NOT NULL, w varchar(5), n numeric(5,2));
INSERT INTO raw.t VALUES (1, 1.5, 'old', 'old', 9.99);
"""
TYPES = """
SELECT string_agg(attname || ' ' || format_type(atttypid, atttypmod), ', ' ORDER BY attnum) FROM pg_attribute
WHERE attrelid = 'raw.t'::regclass AND attnum > 0
"""
NARROW = "id integer, f real, v character varying(5), w character varying(5), n numeric(5,2)"
WIDE = "id bigint, f double precision, v character varying(20), w text, n numeric(12,2)"
COERCE = SchemaPolicy(type_change="coerce")
GREAT = "VALUES (5000000000::bigint, 1e300::float8, 'a longer text', 'a longer one still', 1234567890.12::numeric)"


@pytest.mark.parametrize(("mode", "method"), [("append", "insert"), ("replace", "swap"), ("upsert", "merge")])
def test_columns_are_widened_and_keep_the_rest(mode: str, method: str, destination_db: str) -> None:
    """Collation, NOT NULL, key and rows; the plan prints every statement and warns of a rewrite."""
    run(destination_db, TABLES)
    with lead(destination_db, "t", write_mode=mode, primary_key=("id",), schema_policy=COERCE) as load:
        plan = load.stream_plan()
        expected = (
            'ALTER TABLE "raw"."t" ALTER COLUMN "id" TYPE bigint',
            'ALTER TABLE "raw"."t" ALTER COLUMN "f" TYPE double precision',
            'ALTER TABLE "raw"."t" ALTER COLUMN "v" TYPE character varying(20) COLLATE "pg_catalog"."C"',
            'ALTER TABLE "raw"."t" ALTER COLUMN "w" TYPE text',
            'ALTER TABLE "raw"."t" ALTER COLUMN "n" TYPE numeric(12,2)',
        )
        assert plan.statements[:5] == expected
        assert [change.statement for change in plan.schema_changes] == list(expected)
        assert [warning.split(":")[0] for warning in plan.warnings[:2]] == [
            "column id becomes bigint",
            "column f becomes double precision",
        ]
        assert load.publish(GREAT).publish == method
    assert rows_of(destination_db, TYPES) == [(WIDE,)]
    left = [] if mode == "replace" else [(1, 1.5, "old", "old", "9.99")]
    assert rows_of(destination_db, "SELECT id, f, v, w, n::text FROM raw.t ORDER BY id") == [
        *left,
        (5000000000, 1e300, "a longer text", "a longer one still", "1234567890.12"),
    ]
    collation = "SELECT attcollation::regcollation::text, attnotnull FROM pg_attribute WHERE attname = 'v'"
    assert rows_of(destination_db, collation + " AND attrelid = 'raw.t'::regclass") == [('"C"', True)]
    with lead(destination_db, "t", write_mode=mode, primary_key=("id",), schema_policy=COERCE) as load:
        assert load.stream_plan().schema_changes == ()


def test_by_default_nothing_is_widened_and_the_load_is_refused(destination_db: str) -> None:
    """type_change: fail, exit 6, before anything is changed; every column is named."""
    run(destination_db, TABLES)
    with lead(destination_db, "t") as load, pytest.raises(SchemaError) as caught:
        load.stream_plan()
    assert [name in caught.value.message for name in ("column id", "column f", "column v", "column w", "column n")] == [
        True
    ] * 5
    assert rows_of(destination_db, TYPES) == [(NARROW,)]


@pytest.mark.parametrize(
    "obstacle",
    [
        "CREATE VIEW raw.v AS SELECT id FROM raw.t",
        "ALTER TABLE raw.t ADD g int GENERATED ALWAYS AS (id * 2) STORED",
    ],
)
def test_a_column_that_something_is_made_of_is_refused_and_nothing_is_changed(
    obstacle: str, destination_db: str
) -> None:
    """Exit 6: neither this column nor the others; no stage is left."""
    run(destination_db, TABLES + obstacle)
    with lead(destination_db, "t", schema_policy=COERCE) as load, pytest.raises(SchemaError) as caught:
        load.prepare()
    assert (caught.value.code, caught.value.exit_code) == ("target_not_alterable", 6)
    assert rows_of(destination_db, TYPES)[0][0].startswith(NARROW)  # type: ignore[attr-defined]
    assert rows_of(destination_db, "SELECT count(*) FROM pg_class WHERE relname LIKE '\\_rb\\_%'") == [(0,)]


def test_a_text_is_read_as_the_targets_richer_type(destination_db: str) -> None:
    """type_change: coerce: the server reads it at COPY time; the column is not rewritten, and is listed as lossy."""
    run(
        destination_db,
        "CREATE SCHEMA app; CREATE TABLE app.t (u text, j text, n text, at text); CREATE SCHEMA raw;"
        " CREATE TABLE raw.t (u uuid, j jsonb, n numeric, at timestamptz)",
    )
    with lead(destination_db, "t", schema_policy=COERCE) as load:
        plan = load.stream_plan()
    assert (plan.lossy_columns, plan.schema_changes, plan.wire) == (("j", "at"), (), "text-relay")
