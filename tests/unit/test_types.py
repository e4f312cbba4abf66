"""The table of built-in types, and text that names a type."""

import pytest

from rapidbyte.errors import ConfigError
from rapidbyte.model import ColumnType
from rapidbyte.pg.types import (
    BUILT_IN_TYPES,
    base_name,
    built_in,
    element_type,
    length_modifier,
    numeric_modifier,
    parse_type_name,
)


@pytest.mark.parametrize(
    ("text", "name", "oid", "typmod"),
    [
        ("int", "integer", 23, -1),
        (" BIGINT ", "bigint", 20, -1),
        ("numeric(12,2)", "numeric(12,2)", 1700, 786438),
        ("numeric( 12 , 2 )", "numeric(12,2)", 1700, 786438),
        ("decimal(5)", "numeric(5,0)", 1700, 327684),
        ("numeric(3,-2)", "numeric(3,-2)", 1700, 198658),
        ("varchar(20)", "character varying(20)", 1043, 24),
        ("character  varying", "character varying", 1043, -1),
        ("char", "character(1)", 1042, 5),
        ("bpchar", "bpchar", 1042, -1),
        ('"char"', '"char"', 18, -1),
        ("bit", "bit(1)", 1560, 1),
        ("varbit(5)", "bit varying(5)", 1562, 5),
        ("timestamptz", "timestamp with time zone", 1184, -1),
        ("timestamp(3) with time zone", "timestamp(3) with time zone", 1184, 3),
        ("Time (0)", "time(0) without time zone", 1083, 0),
        ("interval(3)", "interval(3)", 1186, 2147418115),
        ("float(24)", "real", 700, -1),
        ("float(25)", "double precision", 701, -1),
        ("int[]", "integer[]", 1007, -1),
        ("int[3][]", "integer[]", 1007, -1),
        ("numeric(4,1)[]", "numeric(4,1)[]", 1231, 262149),
    ],
)
def test_a_type_is_read_as_postgresql_reads_it(text: str, name: str, oid: int, typmod: int) -> None:
    """Name, OID and modifier are those of `format_type` and `pg_attribute`."""
    found = parse_type_name(text)
    assert (name, oid, typmod) == (found.name, found.oid, found.typmod)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "mood",
        "i int); drop table victim; --",
        "int; select 1",
        'text"',
        "text[",
        "int(3)",
        "varchar(0)",
        "varchar(10485761)",
        "numeric(0)",
        "numeric(1001)",
        "numeric(1,2,3)",
        "timestamp(7)",
        "date with time zone",
        'text collate "C"',
        "int\0",
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    """G2: a closed vocabulary; nothing of it can become SQL."""
    with pytest.raises(ConfigError) as raised:
        parse_type_name(text)
    assert raised.value.code in ("type_unknown", "type_modifier_invalid")


def test_a_misspelt_type_is_told_its_neighbour() -> None:
    """The hint has the nearest name."""
    with pytest.raises(ConfigError) as raised:
        parse_type_name("integr")
    assert raised.value.hint == "did you mean integer?"


def test_every_type_has_its_array() -> None:
    """From the array back to the element, modifiers kept; names lead back to the table."""
    for name in BUILT_IN_TYPES:
        array = built_in(f"{name}[]")
        assert built_in(name) == element_type(array)
        assert (name, f"{name}[]") == (base_name(built_in(name)), base_name(array))
    assert built_in("numeric", 786438) == element_type(built_in("numeric[]", 786438))


def test_modifiers_are_told() -> None:
    """Precision and scale, negative ones too; a length; None where there is none."""
    assert numeric_modifier(parse_type_name("numeric(12,2)").typmod) == (12, 2)
    assert numeric_modifier(parse_type_name("numeric(3,-2)").typmod) == (3, -2)
    assert numeric_modifier(-1) is None
    assert length_modifier(parse_type_name("varchar(20)").typmod) == 20
    assert length_modifier(-1) is None


def test_a_type_of_the_server_is_not_built_in() -> None:
    """Neither base name nor element."""
    mood = ColumnType(name="app.mood", oid=16399, kind="enum", built_in=False)
    assert (base_name(mood), element_type(mood)) == (None, None)
