"""Drift, as a table of cases: what the policy does with every difference between stream and target."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from rapidbyte.destinations.postgres.drift import ResolvedType, Widening, name_fault, plan_columns, widening
from rapidbyte.destinations.postgres.target import TargetColumn
from rapidbyte.errors import ConfigError, SchemaError
from rapidbyte.model import Column, ColumnType, QualifiedName
from rapidbyte.pg.conversions import conversion
from rapidbyte.pg.types import built_in
from rapidbyte.plan import SchemaChange
from rapidbyte.spec import SchemaPolicy

INT, BIG, TEXT, NUMERIC = built_in("integer"), built_in("bigint"), built_in("text"), built_in("numeric", 655366)
MOOD = ColumnType(name="app.mood", oid=70000, kind="enum", built_in=False)


def column(name: str, kind: ColumnType = INT, **more: Any) -> Column:
    """A column of the stream."""
    return Column(name=name, type=kind, **more)


def there(name: str, kind: ColumnType = INT, **more: Any) -> TargetColumn:
    """A column of the target."""
    own = {key: more.pop(key) for key in ("default", "identity_always") if key in more}
    return TargetColumn(column=Column(name=name, type=kind, **more), **own)


def drift(
    incoming: tuple[Column, ...],
    target: tuple[TargetColumn, ...] | None,
    *,
    policy: SchemaPolicy | None = None,
    allow_lossy: tuple[str, ...] = (),
    key: tuple[str, ...] = (),
    types: dict[str, ResolvedType] | None = None,
):
    """plan_columns with defaults."""
    known = {each.name: ResolvedType(type=each.type) for each in incoming}
    return plan_columns(
        incoming,
        stream="s",
        target=target,
        types={**known, **(types or {})},
        key=key,
        policy=policy or SchemaPolicy(),
        allow_lossy=allow_lossy,
        conversion=conversion,
    )


def test_equal_columns_are_no_drift() -> None:
    """In any order: the stream's order is kept."""
    found = drift((column("a"), column("b", TEXT)), (there("b", TEXT), there("a")))
    assert [(each.source.name, each.target.name, each.conversion) for each in found.columns] == [
        ("a", "a", "identical"),
        ("b", "b", "identical"),
    ]
    assert (found.added, found.changes, found.lossy_columns, found.warnings) == ((), (), (), ())


def test_a_created_target_gets_plain_columns() -> None:
    """NOT NULL where the source says so or the key needs it; generated and identity become plain, with a warning."""
    incoming = (
        column("id", identity=True, nullable=False),
        column("k", TEXT, collation=QualifiedName(schema="pg_catalog", name="C")),
        column("g", generated=True),
    )
    found = drift(incoming, None, key=("k",))
    assert [each.target for each in found.columns] == [
        column("id", nullable=False),
        column("k", TEXT, collation=QualifiedName(schema="pg_catalog", name="C"), nullable=False),
        column("g"),
    ]
    assert found.warnings == (
        "column id is an identity column in the source and becomes a plain column",
        "column g is generated in the source and becomes a plain column",
    )


def test_a_created_column_has_the_destinations_type() -> None:
    """Not the source's, whose OID means nothing there."""
    own = replace(MOOD, oid=80000)
    found = drift((column("m", MOOD),), None, types={"m": ResolvedType(type=own)})
    assert found.columns[0].target.type == own


NEW = ((column("a"), column("n", TEXT, nullable=False)), (there("a"),))
GONE = ((column("a"),), (there("a"), there("r", TEXT)))
NULLABLE = ((column("a"),), (there("a", nullable=False),))


def test_a_new_column_is_added_nullable() -> None:
    """new_column: add."""
    found = drift(*NEW)
    assert found.added == (column("n", TEXT),)
    assert found.changes == (SchemaChange(kind="add_column", column="n", after="text"),)
    assert [each.target.name for each in found.columns] == ["a", "n"]


def test_a_new_column_is_left_out() -> None:
    """new_column: ignore."""
    found = drift(*NEW, policy=SchemaPolicy(new_column="ignore"))
    assert found.added == ()
    assert found.changes == (SchemaChange(kind="ignored_column", column="n", before="text"),)
    assert [each.target.name for each in found.columns] == ["a"]


def test_a_removed_column_is_noted() -> None:
    """removed_column: ignore."""
    assert drift(*GONE).changes == (SchemaChange(kind="missing_column", column="r", before="text"),)


def test_a_nullable_column_into_not_null_is_let_through() -> None:
    """nullability_change: allow. A NULL that comes is an error of that row."""
    found = drift(*NULLABLE)
    assert (found.changes, found.warnings, len(found.columns)) == ((), (), 1)


@pytest.mark.parametrize(
    ("sides", "policy", "message"),
    [
        (NEW, SchemaPolicy(new_column="fail"), "column n is new"),
        (GONE, SchemaPolicy(removed_column="fail"), "does not carry the target's column r"),
        (NULLABLE, SchemaPolicy(nullability_change="fail"), "column a may be NULL in the source"),
        (((column("a"),), (there("a"), there("r", nullable=False))), SchemaPolicy(), "column r is NOT NULL without"),
        (((column("a"),), (there("b"),)), SchemaPolicy(new_column="ignore"), "no column of the stream is left"),
        (((column("a"),), (there("a", generated=True),)), SchemaPolicy(), "no column of the stream is left"),
    ],
)
def test_what_the_policy_refuses_is_a_schema_error(sides: Any, policy: SchemaPolicy, message: str) -> None:
    """Exit 6."""
    with pytest.raises(SchemaError, match=message) as caught:
        drift(*sides, policy=policy)
    assert (caught.value.exit_code, caught.value.context.stream) == (6, "s")


@pytest.mark.parametrize(
    "missing",
    [
        there("r", nullable=False, default="nextval('s')"),
        there("r", nullable=False, identity=True),
        there("r", nullable=False, generated=True),
        there("r"),
    ],
)
def test_a_column_that_the_server_fills_may_be_missing(missing: TargetColumn) -> None:
    """NOT NULL with a default, identity, generated; or nullable."""
    assert len(drift((column("a"),), (there("a"), missing)).columns) == 1


def test_a_generated_column_of_the_target_is_computed_there() -> None:
    """It is never in a COPY's column list (B17), whatever its type; and its absence is none."""
    found = drift((column("a"), column("g", TEXT)), (there("a"), there("g", generated=True)))
    assert [each.target.name for each in found.columns] == ["a"]
    assert found.warnings == ("column g is generated in the target: the server computes its values",)


@pytest.mark.parametrize(
    ("source", "target", "kind"),
    [
        (INT, INT, "identical"),
        (INT, BIG, "exact"),
        (INT, TEXT, "exact"),
        (INT, NUMERIC, "checked"),
        (MOOD, replace(MOOD, oid=80000), "identical"),
    ],
)
def test_pairs_that_keep_their_values_pass(source: ColumnType, target: ColumnType, kind: str) -> None:
    """Under every policy of type_change that is built."""
    for policy in (SchemaPolicy(type_change="fail"), SchemaPolicy(type_change="coerce")):
        found = drift((column("a", source),), (there("a", target),), policy=policy)
        assert (found.columns[0].conversion, found.lossy_columns) == (kind, ())


def test_a_pair_that_changes_values_is_refused_or_listed() -> None:
    """Exit 2 with the column, both types and `allow_lossy`; allowed, it is lossy."""
    sides = ((column("a", NUMERIC),), (there("a", built_in("real")),))
    with pytest.raises(ConfigError) as caught:
        drift(*sides)
    assert caught.value.exit_code == 2
    assert caught.value.message == (
        "stream s is refused: column a: numeric(10,2) into real would change values, or cannot be told not to"
    )
    assert caught.value.hint == "change one of the types, or permit it with allow_lossy: [a]"
    inferred = replace(column("a", built_in("double precision")), reason="all 6 rows: numbers")
    with pytest.raises(ConfigError) as caught:
        drift((inferred,), (there("a", NUMERIC),))
    assert caught.value.hint == (
        '`types: {a: "numeric(10,2)"}` in the stream reads the texts as that; or permit it with allow_lossy: [a]'
    )
    whole, real = built_in("bigint"), built_in("real")
    for kind, target, keeping in (
        (built_in("double precision"), whole, "numeric"),
        (NUMERIC, whole, "numeric"),
        (NUMERIC, real, "numeric"),
        (built_in("double precision"), real, "double precision"),
        (TEXT, built_in("double precision"), "numeric"),
    ):
        inferred = replace(column("a", kind), reason="all 6 rows: numbers")
        with pytest.raises(ConfigError) as caught:
            drift((inferred,), (there("a", target),))
        assert caught.value.hint == (
            f"alter the target's column to {keeping} and write `types: {{a: {keeping}}}` in the stream,"
            " which keeps every digit; or permit it with allow_lossy: [a]"
        )
    found = drift(*sides, allow_lossy=("a",))
    assert (found.lossy_columns, found.columns[0].conversion) == (("a",), "lossy")


def test_types_of_one_name_that_differ_are_lossy() -> None:
    """Two enums called app.mood with other labels."""
    types = {"a": ResolvedType(type=MOOD, difference="their labels differ")}
    with pytest.raises(ConfigError, match=r"app\.mood into app\.mood"):
        drift((column("a", MOOD),), (there("a", MOOD),), types=types)
    with pytest.raises(ConfigError, match="not the same at both ends: their labels differ"):
        drift((column("a", MOOD),), None, types=types)


def test_everything_that_is_wrong_is_told_at_once() -> None:
    """In the stream's order, each with its hint."""
    incoming = (
        column("a", MOOD),
        column("b", TEXT, collation=QualifiedName(schema="x", name="y")),
        column("c", NUMERIC),
        column("x" * 64),
        column("c", NUMERIC),
    )
    types = {
        "a": ResolvedType(type=None, remedy="CREATE TYPE app.mood ..."),
        "b": ResolvedType(type=TEXT, collation_known=False),
    }
    with pytest.raises(ConfigError) as caught:
        drift(incoming, None, types=types)
    assert [problem.message[:40] for problem in caught.value.problems] == [
        f"the name of column '{'x' * 20}",
        "two columns are called 'c'",
        "column a: the destination has no type ap",
        "column b: the destination has no collati",
    ]


def test_a_permission_for_no_column_is_a_warning() -> None:
    """With a pattern it may be another table's."""
    found = drift((column("a"),), (there("a"),), allow_lossy=("zz",))
    assert found.warnings == ("allow_lossy names column zz, which the stream does not have",)


@pytest.mark.parametrize(
    ("name", "faulty"),
    [
        ("a", False),
        ("x" * 63, False),
        ("é" * 31, False),
        ("x" * 64, True),
        ("é" * 32, True),
        ("", True),
        ("a\x00", True),
    ],
)
def test_names_are_counted_in_bytes(name: str, faulty: bool) -> None:
    """63 bytes are the most; NUL and nothing are no names."""
    assert (name_fault(name, "table") is not None) == faulty


def typed(name: str, typmod: int = -1) -> ColumnType:
    """A built-in type with its modifier."""
    return built_in(name, typmod)


def numeric(precision: int, scale: int) -> ColumnType:
    """numeric(precision,scale)."""
    return built_in("numeric", (precision << 16 | scale) + 4)


def varchar(length: int) -> ColumnType:
    """varchar(length)."""
    return built_in("character varying", length + 4)


SMALL, REAL, DOUBLE, VARCHAR = map(typed, ("smallint", "real", "double precision", "character varying"))


@pytest.mark.parametrize(
    ("source", "target", "rewrites"),
    [
        (INT, SMALL, True),
        (BIG, SMALL, True),
        (BIG, INT, True),
        (DOUBLE, REAL, True),
        (varchar(20), varchar(10), False),
        (VARCHAR, varchar(10), False),
        (TEXT, varchar(10), False),
        (numeric(12, 2), numeric(10, 2), False),
    ],
)
def test_a_target_grows_with_the_source(source: ColumnType, target: ColumnType, rewrites: bool) -> None:
    """F3; and never the other way round."""
    assert widening(source, target) == Widening(rewrites=rewrites)
    assert widening(target, source) is None


@pytest.mark.parametrize(
    ("source", "target"),
    [
        (INT, INT),
        (TEXT, TEXT),
        (TEXT, VARCHAR),
        (varchar(10), varchar(10)),
        (TEXT, typed("uuid")),
        (TEXT, typed("jsonb")),
        (TEXT, NUMERIC),
        (TEXT, typed("timestamp with time zone")),
        (TEXT, INT),
        (BIG, REAL),
        (BIG, numeric(10, 0)),
        (numeric(12, 3), numeric(10, 2)),
        (numeric(12, 2), numeric(12, 2)),
        (typed("numeric"), numeric(10, 2)),
        (DOUBLE, INT),
        (MOOD, varchar(4)),
        (typed("timestamp with time zone"), typed("timestamp without time zone")),
    ],
)
def test_a_richer_or_another_type_never_gives_way(source: ColumnType, target: ColumnType) -> None:
    """It is a cast to be checked, or a refusal; the user's column is not rewritten."""
    assert widening(source, target) is None


COERCE = SchemaPolicy(type_change="coerce")


def test_a_type_that_has_outgrown_the_targets_is_refused_by_default() -> None:
    """type_change: fail."""
    with pytest.raises(SchemaError, match="column a is bigint in the source and integer in the target") as caught:
        drift((column("a", BIG),), (there("a", INT),))
    assert caught.value.exit_code == 6


def test_a_type_that_has_outgrown_the_targets_is_coerced() -> None:
    """type_change: coerce. Everything else of the column stays; a rewrite of the table is a warning."""
    c = QualifiedName(schema="pg_catalog", name="C")
    incoming = (column("a", BIG), column("b", TEXT))
    found = drift(incoming, (there("a", INT, nullable=False), there("b", varchar(5), collation=c)), policy=COERCE)
    assert [each.target for each in found.columns] == [column("a", BIG, nullable=False), column("b", TEXT, collation=c)]
    assert [each.conversion for each in found.columns] == ["identical", "identical"]
    assert found.changes == (
        SchemaChange(kind="widen_column", column="a", before="integer", after="bigint"),
        SchemaChange(kind="widen_column", column="b", before="character varying(5)", after="text"),
    )
    assert found.warnings == (
        "column a becomes bigint: the server writes the whole table again, and locks it meanwhile",
    )


@pytest.mark.parametrize("policy", [SchemaPolicy(), COERCE])
def test_an_inferred_type_is_no_reason_to_change_a_column(policy: SchemaPolicy) -> None:
    """A file's numbers are read as bigint for want of better knowledge: what does not fit the column is refused."""
    found = drift((column("a", BIG, reason="all 3 rows"),), (there("a", INT),), policy=policy)
    assert (found.changes, found.columns[0].target.type, found.columns[0].conversion) == ((), INT, "exact")


def test_a_narrower_source_is_no_drift() -> None:
    """Under every policy."""
    for policy in (SchemaPolicy(), COERCE):
        assert drift((column("a", INT),), (there("a", BIG),), policy=policy).changes == ()


@pytest.mark.parametrize("kind", ["jsonb", "timestamp with time zone", "date", "double precision"])
def test_a_text_is_read_as_the_targets_type_where_that_is_asked_for(kind: str) -> None:
    """type_change: coerce lists the column among those whose values may change; fail refuses, exit 2."""
    sides = (column("a", TEXT),), (there("a", typed(kind)),)
    found = drift(*sides, policy=COERCE)
    assert (found.lossy_columns, found.changes, found.columns[0].target.type) == (("a",), (), typed(kind))
    with pytest.raises(ConfigError):
        drift(*sides)


def test_an_outgrown_column_that_may_change_values_is_left_alone() -> None:
    """allow_lossy goes before every policy."""
    for policy in (SchemaPolicy(), COERCE):
        found = drift((column("a", TEXT),), (there("a", varchar(5)),), policy=policy, allow_lossy=("a",))
        assert (found.lossy_columns, found.changes) == (("a",), ())
