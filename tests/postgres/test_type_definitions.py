"""User-defined types of two servers: described, compared, created at the other end by the statement of the hint."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import psycopg
import pytest

from rapidbyte.model import Secret, TypeDefinition
from rapidbyte.pg.catalog import describe_types, find_type
from rapidbyte.pg.definition import create_type_statement, difference
from rapidbyte.pg.session import OWN_SQL, PgConnection, begin
from rapidbyte.pg.session import connect as open_session
from rapidbyte.spec import Connection

Connect = Callable[..., psycopg.Connection]

TYPES = """
CREATE SCHEMA "a pp";
CREATE TYPE "a pp"."Mood" AS ENUM ('ok', 'it''s bad', '', 'b"ad');
ALTER TYPE "a pp"."Mood" ADD VALUE 'first' BEFORE 'ok';
CREATE DOMAIN "a pp".code AS varchar(5) COLLATE "C" NOT NULL CHECK (value ~ '^[a-z]') CHECK (length(value) > 1);
CREATE TYPE "a pp".pair AS (n numeric(5,1), "m ood" "a pp"."Mood", c "a pp".code[]);
CREATE DOMAIN "a pp".pairs AS "a pp".pair[];
CREATE TYPE "a pp".span AS RANGE (subtype = float8);
CREATE TYPE "a pp".codes AS RANGE (subtype = "a pp".code);
CREATE TABLE "a pp".whole (a int, b "a pp".pair)
"""
NAMES = ["Mood", "code", "pair", "pairs", "span", "codes", "_Mood", "_pair"]


@pytest.fixture
def look(make_database: Callable[..., str]) -> Iterator[Callable[[str], PgConnection]]:
    """look(dsn) -> a session of ours in a transaction, closed at the end."""
    opened: list[PgConnection] = []

    def look(dsn: str) -> PgConnection:
        session = open_session(Connection(dsn=Secret(dsn)), side="source", application_name="test")
        opened.append(session)
        begin(session, OWN_SQL)
        return session

    yield look
    for session in opened:
        session.close()


def named(session: PgConnection, name: str) -> TypeDefinition:
    """A type that must be there."""
    found = find_type(session, "a pp", name)
    assert found is not None, name
    return found


@pytest.mark.parametrize("name", NAMES)
def test_the_hint_creates_the_same_type(
    source_db: str, destination_db: str, connect: Connect, look: Callable[[str], PgConnection], name: str
):
    """With all the types that it is made of; then there is no difference."""
    connect(source_db).execute(TYPES)
    source = named(look(source_db), name)
    session = connect(destination_db)
    session.execute('CREATE SCHEMA "a pp"')
    session.execute(create_type_statement(source))  # type: ignore[arg-type]
    assert difference(source, named(look(destination_db), name)) is None


def test_types_are_described_by_oid_with_what_they_are_made_of(
    source_db: str, connect: Connect, look: Callable[[str], PgConnection]
):
    """Labels in their order, modifiers, constraints; built-in types are no parts."""
    connect(source_db).execute(TYPES)
    session = look(source_db)
    pair = named(session, "pair")
    assert describe_types(session, [pair.oid]) == {pair.oid: pair}
    assert [(name, kind.name) for name, kind in pair.attributes] == [
        ("n", "numeric(5,1)"),
        ("m ood", '"a pp"."Mood"'),
        ("c", '"a pp".code[]'),
    ]
    mood, codes = pair.parts
    assert (mood.kind, mood.labels) == ("enum", ("first", "ok", "it's bad", "", 'b"ad'))
    assert (codes.kind, [part.name.name for part in codes.parts]) == ("array", ["code"])
    assert named(session, "code").constraints[-1] == "NOT NULL"
    assert named(session, "whole").kind == "composite"
    assert find_type(session, "a pp", "nothing") is None


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("Mood", 'ALTER TYPE "a pp"."Mood" ADD VALUE \'new\'', "their labels differ: "),
        ("_Mood", 'ALTER TYPE "a pp"."Mood" ADD VALUE \'new\'', "a pp.Mood, of which they are made, differs: "),
        ("code", 'ALTER DOMAIN "a pp".code DROP NOT NULL', "their constraints differ: "),
        ("pair", 'ALTER DOMAIN "a pp".code DROP NOT NULL', "a pp._code, of which they are made, differs: "),
        ("pair", 'ALTER TYPE "a pp".pair RENAME ATTRIBUTE n TO m', "their attributes differ: "),
        (
            "pairs",
            'DROP TABLE "a pp".whole; ALTER TYPE "a pp".pair ALTER ATTRIBUTE n TYPE numeric(5,2) CASCADE',
            "a pp._pair, of which they are made, differs: a pp.pair, of which they are made, differs: ",
        ),
        ("whole", 'ALTER TABLE "a pp".whole DROP a', "their attributes differ: "),
        (
            "span",
            'DROP TYPE "a pp".span; CREATE TYPE "a pp".span AS RANGE (subtype = numeric)',
            "they are made of double precision and numeric",
        ),
        (
            "span",
            'DROP TYPE "a pp".span; CREATE TYPE "a pp".span AS ENUM ()',
            "one is of kind range, the other of kind enum",
        ),
    ],
)
def test_a_difference_is_found_wherever_it_is(
    source_db: str,
    destination_db: str,
    connect: Connect,
    look: Callable[[str], PgConnection],
    name: str,
    change: str,
    said: str,
):
    """In the type itself, or in one that it is made of."""
    connect(source_db).execute(TYPES)
    session = connect(destination_db)
    session.execute(TYPES)
    session.execute(change)  # type: ignore[arg-type]
    found = difference(named(look(source_db), name), named(look(destination_db), name))
    assert found is not None
    assert found.startswith(said)


def test_an_extensions_type_is_created_by_its_extension(
    source_db: str, connect: Connect, look: Callable[[str], PgConnection]
):
    """The hint names the extension."""
    session = connect(source_db)
    row = session.execute(
        "SELECT name FROM pg_available_extensions WHERE name IN ('vector', 'citext') ORDER BY name LIMIT 1"
    ).fetchone()
    if row is None:
        pytest.skip("neither vector nor citext is there")
    session.execute(f'CREATE SCHEMA "a pp"; CREATE EXTENSION {row[0]} SCHEMA "a pp"')
    found = named(look(source_db), row[0])
    assert (found.extension, create_type_statement(found)) == (row[0], f'CREATE EXTENSION "{row[0]}";')
    assert difference(found, found) is None
