"""Stream names, patterns and their faults, against a catalog that is handed in."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rapidbyte.errors import ConfigError, PrivilegeError, Problem
from rapidbyte.model import Column, QualifiedName, RelationKind
from rapidbyte.pg.catalog import CatalogColumn, Relation
from rapidbyte.pg.types import built_in
from rapidbyte.sources.postgres.faults import fault, key_faults, privilege_faults, projection, refuse
from rapidbyte.sources.postgres.names import Selected, candidates, matcher, resolve_exact, resolve_pattern
from rapidbyte.spec import StreamSpec


def relation(text: str, kind: RelationKind = "table", *, is_child: bool = False, **rights: bool) -> Relation:
    """A relation of the catalog, its name split at the first dot."""
    schema, _, name = text.partition(".")
    allowed = {"may_use_schema": True, "may_select": True, "hides_rows": False, **rights}
    return Relation(
        oid=1, name=QualifiedName(schema=schema, name=name), kind=kind, is_child=is_child, is_heap=True, **allowed
    )


def known(*texts: str) -> dict[QualifiedName, Relation]:
    """A catalog of tables."""
    return {found.name: found for found in map(relation, texts)}


def column(name: str, kind: str = "bigint", *, may_select: bool = True) -> CatalogColumn:
    """A column of the catalog."""
    return CatalogColumn(column=Column(name=name, type=built_in(kind)), may_select=may_select)


def exact(name: str, *texts: str) -> str:
    """What a name resolves to: the relation's name, or the problem with its hint."""
    catalog = known(*texts)
    found = resolve_exact(StreamSpec(name=name), "shop", catalog, catalog.values())
    return str(found) if isinstance(found, Problem) else str(found.relation and found.relation.name)


def matched(spec: StreamSpec, *relations: Relation, taken: frozenset[QualifiedName] = frozenset()) -> list[StreamSpec]:
    """The entries that a pattern becomes."""
    found = resolve_pattern(spec, "shop", relations, taken)
    assert isinstance(found, tuple), found
    return [each.spec for each in found]


def test_a_name_may_be_split_at_any_of_its_dots():
    """`a.b.c` is a table `a.b.c` of the default schema, `b.c` of schema `a`, or `c` of schema `a.b`."""
    assert [(name.schema, name.name) for name in candidates("a.b.c", "shop")] == [
        ("shop", "a.b.c"),
        ("a", "b.c"),
        ("a.b", "c"),
    ]
    assert [(name.schema, name.name) for name in candidates(".x.", "shop")] == [("shop", ".x.")]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("orders", "shop.orders"),
        ("sales.orders", "sales.orders"),
        ("no such", "the source has no table or view 'no such' (schema 'shop' where none is given)"),
    ],
)
def test_exact_names(name: str, expected: str):
    """With and without a schema."""
    assert exact(name, "shop.orders", "sales.orders") == expected


def test_a_misspelt_name_is_told_the_nearest():
    """Upper and lower case included, since names are taken as the catalog has them."""
    assert exact("ordrs", "shop.orders").endswith("(did you mean 'orders'?)")
    assert exact("Orders", "shop.orders").endswith("(did you mean 'orders'? Upper and lower case differ)")
    assert exact("sale.orders", "sales.orders").endswith("(did you mean 'sales.orders'?)")


def test_a_name_that_can_mean_two_tables_is_refused():
    """A table `sales.orders` in the default schema, and `orders` in schema `sales`."""
    both = {name: replace(relation("x.y"), name=name) for name in candidates("sales.orders", "shop")}
    found = resolve_exact(StreamSpec(name="sales.orders"), "shop", both, ())
    assert isinstance(found, Problem)
    assert found.message == "stream 'sales.orders' can mean 'shop.sales.orders' and 'sales.orders'"


def test_a_pattern_becomes_one_stream_a_table():
    """In the default schema the names are short, else qualified; the target is the table's own name."""
    tables = [relation("shop.orders"), relation("shop.ordinals"), relation("shop.items")]
    found = matched(StreamSpec(name="ord*", min_rows=1), *tables)
    assert found == [
        StreamSpec(name="orders", target="orders", min_rows=1),
        StreamSpec(name="ordinals", target="ordinals", min_rows=1),
    ]
    assert [spec.name for spec in matched(StreamSpec(name="shop.*"), *tables)] == [
        "shop.orders",
        "shop.ordinals",
        "shop.items",
    ]


def test_a_pattern_leaves_out_what_is_excluded_named_or_a_part_of_another():
    """`exclude` compares with `table` and `schema.table`; partitions come with their parents; views by name alone."""
    tables = [
        relation("shop.a"),
        relation("shop.a_tmp"),
        relation("shop.b"),
        relation("shop.c"),
        relation("shop.c_1", is_child=True),
        relation("shop.v", "view"),
        relation("shop.p", "partitioned"),
    ]
    spec = StreamSpec(name="*", exclude=("*_tmp", "shop.b"))
    taken = frozenset({QualifiedName(schema="shop", name="a")})
    assert [each.name for each in matched(spec, *tables, taken=taken)] == ["c", "p"]


def test_a_pattern_that_matches_nothing_is_refused():
    """With the views that it would have matched as a hint."""
    found = resolve_pattern(StreamSpec(name="shop.*"), "shop", [relation("shop.v", "view")], frozenset())
    assert found == Problem(
        message="pattern 'shop.*' matches no table of the source",
        hint="a pattern matches tables; name views one by one: shop.v",
    )


def test_the_star_of_a_target_is_the_tables_name():
    """And without a star a target is one table, which two cannot share."""
    spec = StreamSpec(name="sales.*", target="raw.x_*")
    assert [each.target for each in matched(spec, relation("sales.a"), relation("sales.b"))] == ["raw.x_a", "raw.x_b"]
    single = StreamSpec(name="sales.*", target="one")
    assert [each.target for each in matched(single, relation("sales.a"))] == ["one"]
    found = resolve_pattern(single, "shop", [relation("sales.a"), relation("sales.b")], frozenset())
    assert isinstance(found, Problem)
    assert found.message == "pattern 'sales.*' matches 2 tables, and its target 'one' is one"


def test_a_pattern_takes_every_other_character_for_itself():
    """Dots, brackets and line ends stand for themselves."""
    assert matcher("a.[b]*").fullmatch("a.[b]\nc")
    assert not matcher("a.b*").fullmatch("axb")


def test_projection_keeps_the_order_of_columns():
    """All in the relation's order, or those listed in theirs."""
    columns = [column("a"), column("b"), column("c")]
    assert [each.column.name for each in projection(StreamSpec(name="t"), columns)[0]] == ["a", "b", "c"]
    chosen, faults = projection(StreamSpec(name="t", columns=("c", "a")), columns)
    assert ([each.column.name for each in chosen], faults) == (["c", "a"], ())


def test_projection_finds_every_fault():
    """A name that is missing, one that is listed twice, one that a query has twice."""
    columns = [column("amount"), column("id"), column("id")]
    _, faults = projection(StreamSpec(name="t", columns=("amout", "amount", "amount")), columns)
    assert [str(found.problem) for found in faults] == [
        "stream 't': the result has several columns 'id' (name each of them: `... AS name`)",
        "stream 't': there is no column 'amout' (did you mean 'amount'?)",
        "stream 't': column 'amount' is listed twice in `columns`",
    ]
    assert [found.problem.message for found in projection(StreamSpec(name="t"), [])[1]] == [
        "stream 't': it has no columns"
    ]


def test_a_partition_key_is_an_integer_column():
    """Missing and of another type are two faults."""
    columns = [column("id").column, column("name", "text").column]
    assert key_faults(StreamSpec(name="t", partition_key="id"), columns) == ()
    assert [str(f.problem) for f in key_faults(StreamSpec(name="t", partition_key="name"), columns)] == [
        "stream 't': `partition_key` 'name' is no integer, it is text"
    ]
    assert [str(f.problem) for f in key_faults(StreamSpec(name="t", partition_key="ids"), columns)] == [
        "stream 't': there is no column 'ids' (`partition_key`) (did you mean 'id'?)"
    ]


def test_missing_privileges_are_named_with_their_grants():
    """Schema, table or the columns alone, policies; names are quoted."""
    table = relation('sh"op.orders', may_use_schema=False, may_select=False, hides_rows=True)
    faults = privilege_faults(StreamSpec(name="t"), table, [column("a", may_select=False)], "bob")
    assert [found.grant for found in faults] == [
        'GRANT USAGE ON SCHEMA "sh""op" TO "bob";',
        'GRANT SELECT ON "sh""op"."orders" TO "bob";',
        'ALTER ROLE "bob" BYPASSRLS;',
    ]
    some = relation("shop.orders", may_select=False)
    faults = privilege_faults(StreamSpec(name="t"), some, [column("a"), column("b", may_select=False)], "bob")
    assert [found.grant for found in faults] == ['GRANT SELECT ("b") ON "shop"."orders" TO "bob";']
    assert privilege_faults(StreamSpec(name="t"), some, [column("a")], "bob") == ()


def test_faults_are_raised_together():
    """As a PrivilegeError where grants would settle all of them."""
    grant = fault(StreamSpec(name="a"), "no", grant="GRANT x;")
    other = fault(StreamSpec(name="b"), "wrong", hint="this way")
    with pytest.raises(PrivilegeError) as missing:
        refuse([grant, grant])
    assert (missing.value.hint, len(missing.value.problems)) == ("GRANT x;", 2)
    with pytest.raises(ConfigError) as wrong:
        refuse([grant, other])
    assert type(wrong.value) is ConfigError
    assert wrong.value.message == "stream 'a': no; stream 'b': wrong"
    refuse([])


def test_selected_keeps_the_entry():
    """An exact name changes nothing of its entry."""
    spec = StreamSpec(name="orders", where="a > 1", target="x")
    assert resolve_exact(spec, "shop", known("shop.orders"), ()) == Selected(
        spec=spec, relation=relation("shop.orders")
    )
