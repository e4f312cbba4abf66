"""Every pair of types against a real server: what the rules let through never changes in silence (P6, B5 to B9)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import psycopg
import pytest
from psycopg import sql

from rapidbyte.model import ColumnType, Secret
from rapidbyte.pg.catalog import column_types
from rapidbyte.pg.conversions import conversion, relay_wire, travels_in_binary
from rapidbyte.pg.copy import CopyIn, CopyOut
from rapidbyte.pg.session import SESSION, PgConnection, begin, connect
from rapidbyte.pg.types import BUILT_IN_TYPES
from rapidbyte.spec import Connection
from tests.kit.samples import SAMPLES
from tests.kit.server import Server, unique_name

NEVER_A_COLUMN = {"gtsvector"}
"""Types whose values only an index has."""

TRY = """
CREATE FUNCTION pairs.try(target text, value text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE found text;
BEGIN
    -- A record's input calls the input of its columns' types with their modifiers, just as COPY does (a cast would
    -- not), and format() the output, just as COPY does.
    EXECUTE format('SELECT format(''%%s'', (%L::pairs.%I).c)',
                   '("' || replace(replace(value, '\\', '\\\\'), '"', '""') || '")', target) INTO found;
    RETURN found;
EXCEPTION WHEN OTHERS THEN
    RETURN NULL;
END $$
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One value of one type, read by another."""

    source: ColumnType
    target: ColumnType
    before: str
    after: str | None
    """None where the server refused it."""


@pytest.fixture(scope="module")
def tables(server: Server) -> Iterator[PgConnection]:
    """A session of ours in a fresh database, in a transaction, with one table for each type of the samples."""
    name = unique_name("rb_pairs")
    with psycopg.connect(server.admin_dsn, autocommit=True) as admin:
        create = sql.SQL("CREATE DATABASE {} TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C.UTF-8'")
        admin.execute(create.format(sql.Identifier(name)))
        connection = connect(Connection(dsn=Secret(server.dsn(name))), side="source", application_name="test")
        begin(connection, (*SESSION, ("search_path", "pg_catalog")))
        fill(connection)
        yield connection
        connection.close()
        admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture
def session(tables: PgConnection) -> Iterator[PgConnection]:
    """The same session, as it was."""
    tables.execute("SAVEPOINT test")
    yield tables
    tables.execute("ROLLBACK TO SAVEPOINT test")


def fill(connection: PgConnection) -> None:
    connection.execute("CREATE SCHEMA pairs")
    connection.execute(TRY)
    for name in available(connection):
        table = sql.Identifier("pairs", name)
        connection.execute(sql.SQL("CREATE TABLE {} (c {})").format(table, sql.SQL(name)))  # type: ignore[arg-type]
        for value in SAMPLES[name]:
            connection.execute(sql.SQL("INSERT INTO {} VALUES ({})").format(table, sql.Literal(value)))


def available(connection: PgConnection) -> list[str]:
    """The samples' types; without xml where the server was built without it."""
    features = connection.execute("SELECT setting FROM pg_config WHERE name = 'CONFIGURE'").fetchone()
    without_xml = features is None or "--with-libxml" not in features[0]
    return [name for name in SAMPLES if not (without_xml and name == "xml")]


def types_of(connection: PgConnection, names: list[str]) -> dict[str, ColumnType]:
    """The types of the tables, as the catalog has them."""
    rows = connection.execute(
        "SELECT c.relname, a.atttypid, a.atttypmod FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid"
        " WHERE c.relnamespace = 'pairs'::regnamespace AND a.attnum = 1 AND c.relkind = 'r'"
    ).fetchall()
    found = column_types(connection, [(oid, typmod) for _, oid, typmod in rows])
    by_name = {row[0]: kind for row, kind in zip(rows, found, strict=True)}
    return {name: by_name[name[:63]] for name in names}


@pytest.fixture(scope="module")
def outcomes(tables: PgConnection) -> list[Outcome]:
    """Every sample of every type, read by every type."""
    names = available(tables)
    types = types_of(tables, names)
    found: list[Outcome] = []
    for source in names:
        rows = tables.execute(
            sql.SQL(
                "SELECT t.name, s.before, pairs.try(t.name, s.before) FROM (SELECT format('%s', c) AS before"
                " FROM pairs.{}) s, unnest({}::text[]) AS t (name)"
            ).format(sql.Identifier(source), sql.Literal(names))
        ).fetchall()
        found += [
            Outcome(source=types[source], target=types[target], before=before, after=after)
            for target, before, after in rows
        ]
    return found


def shown(found: list[Outcome]) -> list[str]:
    return sorted({f"{o.source.name} -> {o.target.name}: {o.before!r} became {o.after!r}" for o in found})


def test_samples_cover_every_built_in_type():
    """A type that is added to the table must be added to the samples, or the matrix does not see it."""
    modified = {"bit": "bit(4)", "character": "character(5)"}
    assert {modified.get(name, name) for name in BUILT_IN_TYPES} - NEVER_A_COLUMN <= set(SAMPLES)


def test_exact_pairs_keep_the_text_or_refuse_it(outcomes: list[Outcome]):
    """No sample of any type changes on its way into a type that the rules call identical or exact."""
    promised = [o for o in outcomes if conversion(o.source, o.target) in ("identical", "exact")]
    assert shown([o for o in promised if o.after not in (None, o.before)]) == []
    identical = [o for o in promised if conversion(o.source, o.target) == "identical"]
    assert shown([o for o in identical if o.after is None]) == []


def test_refused_pairs_would_change_values_in_silence(outcomes: list[Outcome]):
    """The refusal is needed: without it COPY takes hundreds of these samples for something else."""
    refused = [o for o in outcomes if conversion(o.source, o.target) == "lossy"]
    changed = [o for o in refused if o.after not in (None, o.before)]
    assert len({(o.source, o.target) for o in changed}) > 200


MEANINGS = {
    ("date", "timestamp without time zone"): "{after}::timestamp = {before}::date",
    ("bpchar", "bpchar"): "{after}::bpchar = {before}::bpchar",
    ("numeric", "numeric"): "{after}::numeric = {before}::numeric",
    ("whole", "numeric"): "{after}::numeric = {before}::numeric",
    ("inet", "cidr"): "{after}::cidr = {before}::inet",
    ("cidr", "inet"): "{after}::inet = {before}::cidr",
    ("text", "boolean"): "{after}::bool = {before}::bool",
    ("text", "inet"): "{after}::inet = {before}::inet",
    ("text", "numeric"): "{after}::numeric = {before}::numeric",
    ("text", "uuid"): "replace({after}, '-', '') = lower(translate({before}, '-{{}}', ''))",
    ("text", "whole"): "{after}::numeric = {before}::numeric",
}
"""What must hold between a value's text before and after, where a pair is `checked`; by families of types."""

FAMILIES = {"smallint": "whole", "integer": "whole", "bigint": "whole", "oid": "whole", "xid": "whole", "cid": "whole"}
FAMILIES |= {"xid8": "whole", "character varying": "text", "character": "bpchar"}


def family(kind: ColumnType) -> str:
    base = kind.name.replace("(", " (").split(" (")[0]
    base = base if "time" not in kind.name else kind.name
    return FAMILIES.get(base, base)


def test_checked_pairs_keep_the_meaning_or_refuse_it(session: PgConnection, outcomes: list[Outcome]):
    """What a checked pair makes of a sample means what the sample meant; every such pair of types is looked at."""
    checked = [o for o in outcomes if conversion(o.source, o.target) == "checked" and o.after is not None]
    scalar = [o for o in checked if o.source.kind != "array" and o.target.name != "xml"]
    seen: set[tuple[str, str]] = set()
    wrong: list[Outcome] = []
    for outcome in scalar:
        pair = (family(outcome.source), family(outcome.target))
        pair = ("date", "timestamp without time zone") if pair[0] == "date" else pair
        seen.add(pair)
        condition = MEANINGS[pair].format(
            before=f"{sql.Literal(outcome.before).as_string()}::text",
            after=f"{sql.Literal(outcome.after).as_string()}::text",
        )
        row = session.execute(f"SELECT {condition}").fetchone()  # type: ignore[arg-type]
        if row != (True,):
            wrong.append(outcome)
    assert shown(wrong) == []
    assert seen == set(MEANINGS)


def test_relay_in_binary_is_exact_for_every_type_that_the_rules_send_so(session: PgConnection):
    """COPY out and in again in binary: the same text, and the same bytes of the type's own send function."""
    names = available(session)
    types = types_of(session, names)
    binary = [name for name in names if travels_in_binary(types[name])]
    assert len(binary) > 80
    changed: list[str] = []
    for name in binary:
        assert relay_wire([(types[name], types[name])]) == "binary-relay"
        if relayed(session, name, "FORMAT binary"):
            changed.append(name)
    assert changed == []


def test_relay_in_text_is_exact_for_every_type(session: PgConnection):
    """COPY out and in again in text: the same text, and the same bytes where the type has a send function."""
    names = available(session)
    assert [name for name in names if relayed(session, name, "FORMAT text, ENCODING 'UTF8'")] == []


def test_relay_of_arrays_is_exact_on_the_wire_that_the_rules_choose(session: PgConnection):
    """Arrays of each type, with NULL, an empty one and another lower bound, arrive as they were."""
    names = [name for name in available(session) if not name.endswith(("[]", "vector")) or name == "tsvector"]
    changed: list[str] = []
    for name in names:
        table = sql.Identifier("pairs", f"{name}[] of all")
        session.execute(
            sql.SQL(
                "CREATE TABLE {} AS SELECT array_agg(c) || NULL::{} AS c FROM {}"
                " UNION ALL SELECT array_fill(NULL::{}, ARRAY[2], ARRAY[2]) UNION ALL SELECT '{{}}'"
            ).format(table, sql.SQL(name), sql.Identifier("pairs", name), sql.SQL(name))  # type: ignore[arg-type]
        )
        kind = types_of(session, [f"{name}[] of all"])[f"{name}[] of all"]
        binary = relay_wire([(kind, kind)]) == "binary-relay"
        if relayed(session, f"{name}[] of all", "FORMAT binary" if binary else "FORMAT text", rows=3):
            changed.append(name)
    assert changed == []


def relayed(session: PgConnection, name: str, options: str, rows: int | None = None) -> list[tuple[str, ...]]:
    """What differs after a relay of the samples of one type, as text and as the bytes that the type sends."""
    table, copy = sql.Identifier("pairs", name), sql.Identifier("pairs", "copy")
    session.execute("SAVEPOINT relay")
    session.execute(sql.SQL("CREATE TABLE {} (LIKE {})").format(copy, table))
    statement = sql.SQL("COPY {} TO STDOUT ({})").format(table, sql.SQL(options))  # type: ignore[arg-type]
    out = CopyOut(session, statement, block_bytes=1000, stop=lambda: False, doing="testing")
    data = b"".join(block for block, _ in out)
    statement = sql.SQL("COPY {} FROM STDIN ({})").format(copy, sql.SQL(options))  # type: ignore[arg-type]
    try:
        with CopyIn(session, statement, stop=lambda: False, doing="testing") as into:
            into.write(data)
            assert into.finish() == out.row_count == (rows or len(SAMPLES[name]))
    except psycopg.Error as error:
        session.execute("ROLLBACK TO SAVEPOINT relay")
        return [(str(error),)]
    values = (
        sql.SQL("format('%s', c), array_send(ARRAY[c])") if has_bytes(session, name) else sql.SQL("format('%s', c)")
    )
    changed = session.execute(
        sql.SQL("SELECT {0} FROM {1} EXCEPT ALL SELECT {0} FROM {2}").format(values, table, copy)
    ).fetchall()
    session.execute("ROLLBACK TO SAVEPOINT relay")
    return changed


def has_bytes(session: PgConnection, name: str) -> bool:
    """The type has a send function, and is no array itself (an array of arrays is one array)."""
    row = session.execute(
        "SELECT t.typsend <> 0 AND t.typcategory <> 'A' FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid"
        " WHERE a.attnum = 1 AND a.attrelid = format('pairs.%%I', %s::text)::regclass",
        (name,),
    ).fetchone()
    return row is not None and row[0]
