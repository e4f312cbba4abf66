"""The table of type pairs, as far as it can be judged without a server; `test_type_pairs` proves it on one."""

from __future__ import annotations

import pytest

from rapidbyte.model import ColumnType
from rapidbyte.pg.conversions import RULES, conversion, relay_wire, rule_for, travels_in_binary
from rapidbyte.pg.types import BUILT_IN_TYPES, built_in, parse_type_name

MOOD = ColumnType(name="app.mood", oid=20001, kind="enum", built_in=False)
COLOUR = ColumnType(name="app.colour", oid=20002, kind="enum", built_in=False)
RECORD = ColumnType(name="record", oid=2249, kind="pseudo", built_in=False)


def kind_of(source: str, target: str) -> str:
    """The conversion between two types as people write them."""
    return conversion(parse_type_name(source), parse_type_name(target))


@pytest.mark.parametrize(
    ("source", "target", "expected"),
    [
        ("int8", "float8", "lossy"),
        ("numeric", "numeric(4,1)", "lossy"),
        ("numeric(6,3)", "numeric(4,1)", "lossy"),
        ("numeric(4,1)", "numeric(3,1)", "exact"),
        ("numeric(4,1)", "numeric(6,3)", "checked"),
        ("numeric(4,1)", "numeric", "exact"),
        ("numeric(2,-2)", "numeric(4,0)", "checked"),
        ("numeric(2,-2)", "numeric(2,-3)", "lossy"),
        ("timestamp", "date", "lossy"),
        ("timestamptz", "timestamp", "lossy"),
        ("timestamp", "timestamptz", "lossy"),
        ("timestamp", "timestamp(3)", "lossy"),
        ("timestamp(3)", "timestamp", "exact"),
        ("timestamp(3)", "timestamp(6)", "exact"),
        ("timestamp", "timestamp(6)", "exact"),
        ("date", "timestamp", "checked"),
        ("date", "timestamptz", "lossy"),
        ("interval(3)", "interval", "exact"),
        ("interval", "interval(3)", "lossy"),
        ("text", "name", "lossy"),
        ("float8", "float4", "lossy"),
        ("float4", "float8", "lossy"),
        ("json", "jsonb", "lossy"),
        ("jsonb", "json", "exact"),
        ("text", "jsonb", "lossy"),
        ("text", "json", "exact"),
        ("text", "varchar", "exact"),
        ("text", "varchar(20)", "lossy"),
        ("varchar(20)", "varchar(10)", "lossy"),
        ("varchar(10)", "varchar(20)", "exact"),
        ("char(5)", "varchar(5)", "exact"),
        ("char(5)", "char(6)", "checked"),
        ("char(6)", "char(5)", "lossy"),
        ("uuid", "varchar(10)", "exact"),
        ("integer", "bigint", "exact"),
        ("bigint", "integer", "exact"),
        ("integer", "double precision", "exact"),
        ("bigint", "numeric", "exact"),
        ("bigint", "numeric(10,2)", "checked"),
        ("text", "uuid", "checked"),
        ("text", "date", "lossy"),
        ("text", "bytea", "lossy"),
        ("bytea", "text", "exact"),
        ("cidr", "inet", "checked"),
        ("bit(4)", "varbit", "exact"),
        ("integer[]", "bigint[]", "exact"),
        ("timestamp[]", "date[]", "lossy"),
        ("date[]", "timestamp[]", "checked"),
        ("box[]", "text[]", "lossy"),
        ("int4range", "int8range", "exact"),
        ("integer", "integer[]", "lossy"),
    ],
)
def test_conversion_of_built_in_types(source: str, target: str, expected: str):
    """The pairs that people meet."""
    assert kind_of(source, target) == expected


@pytest.mark.parametrize("name", sorted(BUILT_IN_TYPES))
def test_every_type_is_identical_to_itself(name: str):
    """But for gtsvector, whose text no server reads."""
    expected = "lossy" if name == "gtsvector" else "identical"
    assert conversion(built_in(name), built_in(name)) == expected


@pytest.mark.parametrize("name", sorted(BUILT_IN_TYPES))
def test_every_type_goes_into_text_and_text_has_a_verdict_for_every_type(name: str):
    """Text takes everything; no pair is without a rule."""
    expected = {"gtsvector": "lossy", "text": "identical"}.get(name, "exact")
    assert conversion(built_in(name), built_in("text")) == expected
    assert rule_for(built_in("text"), built_in(name)) in RULES


def test_user_defined_types_are_identical_by_name_whatever_their_oids():
    """Two servers number them differently."""
    other = ColumnType(name="app.mood", oid=30001, kind="enum", built_in=False)
    assert conversion(MOOD, other) == "identical"
    assert conversion(MOOD, COLOUR) == "lossy"
    assert conversion(MOOD, built_in("text")) == "exact"
    assert conversion(MOOD, built_in("character varying", 24)) == "lossy"
    assert conversion(built_in("text"), MOOD) == "exact"


def test_pseudo_types_go_nowhere():
    """No server reads a record's text back."""
    assert conversion(RECORD, RECORD) == "lossy"
    assert conversion(RECORD, built_in("text")) == "lossy"


def test_binary_only_where_every_pair_is_one_built_in_type():
    """One pair that is not puts the whole stream on text."""
    number, text = built_in("bigint"), built_in("text")
    assert relay_wire([(number, number), (text, text)]) == "binary-relay"
    assert relay_wire([(number, number), (text, built_in("character varying"))]) == "text-relay"
    assert relay_wire([(built_in("numeric", 655366), built_in("numeric", 655366))]) == "binary-relay"
    assert relay_wire([(built_in("numeric", 655366), built_in("numeric"))]) == "text-relay"
    assert relay_wire([(MOOD, MOOD)]) == "text-relay"
    assert relay_wire([]) == "binary-relay"


@pytest.mark.parametrize("name", ["regclass", "regclass[]", "aclitem", "tsquery", "int2vector[]"])
def test_types_whose_bytes_mean_nothing_elsewhere_travel_as_text(name: str):
    """OIDs of other objects, or bytes that no server takes back; arrays of them as well."""
    assert not travels_in_binary(built_in(name))


def test_each_rule_has_its_sentence():
    """The table can be shown to people as it is."""
    assert [rule for rule in RULES if not rule.sentence] == []
    assert RULES[-1].kind == "lossy"
