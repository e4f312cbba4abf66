"""The table of built-in types is the server's own."""

import psycopg
import pytest
from psycopg import sql

from rapidbyte.pg.types import ALIASES, BUILT_IN_TYPES, parse_type_name

MODIFIED = [
    *("numeric(12,2)", "numeric(5)", "numeric(3,-2)", "numeric(1000,1000)", "varchar(3)", "char(3)", "bit(3)"),
    *("varbit(4)", "time(3)", "time(3) with time zone", "timestamp(6)", "timestamptz(2)", "interval(3)", "float(3)"),
    *("float(30)", "numeric(4,1)[]", "timestamp(2) without time zone[]", "int[3][]", "bpchar(4)", "bit[]"),
]


@pytest.mark.parametrize("name", [*BUILT_IN_TYPES, *(set(ALIASES) - {"datetime"}), *MODIFIED])
def test_name_oid_and_modifier_are_those_of_the_server(server_dsn: str, name: str) -> None:
    """A column of this type has what `parse_type_name` says."""
    with psycopg.connect(server_dsn) as connection:
        connection.execute(sql.SQL("CREATE TEMP TABLE t (a {})").format(sql.SQL(name)))
        row = connection.execute(
            "SELECT format_type(atttypid, atttypmod), atttypid::bigint, atttypmod FROM pg_attribute"
            " WHERE attrelid = 't'::regclass AND attnum = 1"
        ).fetchone()
        connection.rollback()
    found = parse_type_name(name)
    assert row == (found.name, found.oid, found.typmod)


def test_array_oids_are_those_of_the_server(server_dsn: str) -> None:
    """`typarray` of every entry."""
    with psycopg.connect(server_dsn) as connection:
        arrays = dict(
            connection.execute("SELECT oid::bigint, typarray::bigint FROM pg_type WHERE oid < 10000").fetchall()
        )
    assert {found.oid: found.array_oid for found in BUILT_IN_TYPES.values()} == {
        found.oid: arrays[found.oid] for found in BUILT_IN_TYPES.values()
    }
