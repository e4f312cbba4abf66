"""What is loaded, how, and what must be there afterwards. Two tables; `orders` has columns of all families of types."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tests.kit.samples import SAMPLES

ORDERS_ROWS = 1200
EVENTS_ROWS = 500
PIPELINE_SCHEMA = "fresh"
"""A schema that no template has."""
CANARY = "canary-4c1e9b"
"""A password that nobody asks for, and that nothing may print (G4)."""
CONNECT_TIMEOUT = "60s"
"""A machine that is busy with something else may take more than the usual 10 s to begin a session."""
OLD_ONLY = 1_000_000
"""Rows of a target that the source does not have begin here."""

COLUMNS: dict[str, str] = {
    "small": "smallint",
    "medium": "integer",
    "amount": "numeric(6,3)",
    "free": "numeric",
    "ratio": "double precision",
    "single": "real",
    "flag": "boolean",
    "code": "character(5)",
    '"Odd ""Name"""': "text",
    "note": "character varying",
    "raw": "bytea",
    "born": "date",
    "at": "time without time zone",
    "seen": "timestamp without time zone",
    "updated": "timestamp with time zone",
    "span": "interval",
    "uid": "uuid",
    "doc": "json",
    "docb": "jsonb",
    "addr": "inet",
    "tags": "text[]",
    "during": "int8range",
    "bits": "bit varying",
}
"""Besides the key, `id`; and `version`, the cursor, which has ties."""


def literal(text: str) -> str:
    """A text as SQL writes it, whatever it holds."""
    return "E'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _values(kind: str) -> str:
    texts = SAMPLES[kind]
    picked = f"(ARRAY[{', '.join(map(literal, texts))}])[1 + (i * 7 + {len(kind)} + shift) % {len(texts)}]"
    return f"CASE WHEN (i + {len(kind)}) % 11 = 0 THEN NULL ELSE {picked}::{kind} END"


def orders_table(name: str) -> str:
    """CREATE TABLE."""
    columns = ", ".join(f"{column} {kind}" for column, kind in COLUMNS.items())
    return f"CREATE TABLE {name} (id bigint PRIMARY KEY, version integer NOT NULL, {columns})"


def orders_rows(first: int, last: int, shift: int) -> str:
    """SELECT of the rows with these ids; another shift, other values."""
    values = ", ".join(f"{_values(kind)} AS {column}" for column, kind in COLUMNS.items())
    return (
        f"SELECT i::bigint AS id, (i / 7)::integer AS version, {values}"
        f" FROM generate_series({first}, {last}) i, (VALUES ({shift})) s (shift)"
    )


EVENTS_TABLE = "CREATE TABLE {} (id integer PRIMARY KEY, order_id bigint NOT NULL, kind text, happened timestamptz)"


def events_rows(first: int, last: int, shift: int) -> str:
    """Likewise; three rows an instant."""
    return (
        f"SELECT i AS id, (i * 3)::bigint AS order_id, 'kind ' || (i + {shift}) % 5 AS kind,"
        f" timestamptz '2024-03-01 00:00:00.123456+00' + i / 3 * interval '1.000001 s' AS happened"
        f" FROM generate_series({first}, {last}) i"
    )


FIRST_ORDERS, FIRST_EVENTS = 419, 200
"""Rows of a first increment. The next order has the next version: ties across a bound would be late rows."""


def source_sql(*, first_increment: bool = False) -> str:
    """The source's two tables, or the first part of their rows."""
    orders, events = (FIRST_ORDERS, FIRST_EVENTS) if first_increment else (ORDERS_ROWS, EVENTS_ROWS)
    return (
        f"{orders_table('public.orders')};"
        f"INSERT INTO public.orders {orders_rows(1, orders, 0)};"
        f"{EVENTS_TABLE.format('public.events')};"
        f"INSERT INTO public.events {events_rows(1, events, 0)};"
        "CREATE INDEX ON public.orders (version); CREATE INDEX ON public.events (happened); ANALYZE"
    )


def more_sql(*, changes: bool) -> str:
    """The rest of the rows, three an instant, after the clock of the first increment; with changes to old ones."""
    changed = (
        "UPDATE public.orders SET version = 1000 + id / 3, note = 'changed' WHERE id <= 50;"
        "UPDATE public.events SET happened = clock_timestamp(), kind = 'changed' WHERE id <= 50;"
    )
    return (
        f"INSERT INTO public.orders {orders_rows(FIRST_ORDERS + 1, ORDERS_ROWS, 0)};"
        f"INSERT INTO public.events SELECT id, order_id, kind, now() + (id / 3) * interval '1 microsecond'"
        f" FROM ({events_rows(FIRST_EVENTS + 1, EVENTS_ROWS, 0)}) e;" + (changed if changes else "") + "ANALYZE"
    )


_OLD = (
    f"{orders_table('raw.orders')};"
    f"INSERT INTO raw.orders {orders_rows(1, 300, 3)};"
    f"INSERT INTO raw.orders {orders_rows(OLD_ONLY + 1, OLD_ONLY + 60, 1)};"
)
_OLD_EVENTS = (
    f"{EVENTS_TABLE.format('raw.events')};"
    f"INSERT INTO raw.events {events_rows(1, 200, 2)};"
    f"INSERT INTO raw.events {events_rows(OLD_ONLY + 1, OLD_ONLY + 30, 0)};"
)
_KEYLESS = (
    f"CREATE TABLE raw.orders AS {orders_rows(OLD_ONLY + 1, OLD_ONLY + 300, 1)};"
    "CREATE INDEX orders_version ON raw.orders (version);"
)
_CARRIED = """
CREATE INDEX orders_version ON raw.orders (version) WITH (fillfactor = 77);
CREATE UNIQUE INDEX orders_both ON raw.orders (id, version);
ALTER TABLE raw.orders ADD CONSTRAINT positive CHECK (id > 0);
ALTER TABLE raw.orders SET (autovacuum_enabled = off);
COMMENT ON TABLE raw.orders IS 'orders; the whole of them';
COMMENT ON COLUMN raw.orders.note IS 'free text';
GRANT SELECT ON raw.orders TO faults_reader;
GRANT UPDATE (note) ON raw.orders TO faults_reader;
"""
_ATTACHED = """
CREATE VIEW raw.orders_view AS TABLE raw.orders;
CREATE MATERIALIZED VIEW raw.orders_counted AS SELECT count(*) FROM raw.orders;
CREATE FUNCTION raw.noted() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$;
CREATE TRIGGER noted BEFORE INSERT OR UPDATE ON raw.orders FOR EACH ROW EXECUTE FUNCTION raw.noted();
CREATE POLICY own ON raw.orders FOR SELECT USING (id > 0);
CREATE STATISTICS raw.orders_stats ON id, version FROM raw.orders;
CREATE SEQUENCE raw.orders_id_seq OWNED BY raw.orders.id;
SELECT setval('raw.orders_id_seq', 5000000);
ALTER TABLE raw.orders ALTER id SET DEFAULT nextval('raw.orders_id_seq');
CREATE TABLE raw.hangs_on (order_id bigint REFERENCES raw.orders ON DELETE CASCADE);
INSERT INTO raw.hangs_on SELECT generate_series(1, 100);
"""


_CURSORS: dict[str, dict[str, Any]] = {
    "orders": {"sync_mode": "incremental", "cursor_field": "version", "tie_breaker_field": "id"},
    "events": {"sync_mode": "incremental", "cursor_field": "happened", "tie_breaker_field": "id"},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Mode:
    """A way to load, the destination before it, and what the targets hold afterwards."""

    name: str
    before: str
    """SQL in the destination; its schema `raw` is there."""
    destination: dict[str, Any]
    """Keys of the pipeline's `destination`."""
    streams: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Keys of the streams."""
    result: str
    """replaced: the source's rows. added: as often as it was published, above the old ones. merged: the source's rows
    above those that only the target has."""
    incremental: bool = False
    """A first part of the rows was loaded before, by a run; cursors are compared."""
    keeps_oid: tuple[str, ...] = ()
    """Targets that stay the relation they are."""
    partly_visible: bool = False
    """Readers see partitions as they land."""
    run_options: tuple[str, ...] = ()
    exactly_once: bool = False
    """However often it is run, each stream is published once."""


MODES: dict[str, Mode] = {
    mode.name: mode
    for mode in (
        Mode(
            name="append",
            before=_KEYLESS,
            destination={"write_mode": "append"},
            result="added",
            keeps_oid=("orders",),
        ),
        Mode(
            name="replace-swap",
            before=_OLD + _CARRIED + _OLD_EVENTS,
            destination={"write_mode": "replace"},
            result="replaced",
        ),
        Mode(
            name="replace-in-place",
            before=_OLD + _CARRIED + _ATTACHED + f"CREATE TABLE raw.events AS {events_rows(900, 950, 0)};"
            "CREATE VIEW raw.events_view AS TABLE raw.events;",
            destination={"write_mode": "replace", "replace_strategy": "in_place"},
            result="replaced",
            keeps_oid=("orders", "events"),
        ),
        Mode(
            name="upsert",
            before=_OLD + "CREATE VIEW raw.orders_view AS TABLE raw.orders;",
            destination={"write_mode": "upsert"},
            result="merged",
            keeps_oid=("orders",),
        ),
        Mode(
            name="append-key",
            before=_KEYLESS,
            destination={"write_mode": "append"},
            result="added",
            keeps_oid=("orders",),
            run_options=("--key", "2024-03-01"),
            exactly_once=True,
        ),
        Mode(
            name="incremental-append",
            before="",
            destination={"write_mode": "append"},
            streams=_CURSORS,
            result="replaced",
            incremental=True,
            keeps_oid=("orders", "events"),
            exactly_once=True,
        ),
        Mode(
            name="incremental-direct",
            before="",
            destination={"write_mode": "append", "append_strategy": "direct"},
            streams=_CURSORS,
            result="replaced",
            incremental=True,
            keeps_oid=("orders", "events"),
            partly_visible=True,
            exactly_once=True,
        ),
        Mode(
            name="incremental-upsert",
            before="",
            destination={"write_mode": "upsert"},
            streams=_CURSORS,
            result="replaced",
            incremental=True,
            keeps_oid=("orders", "events"),
            exactly_once=True,
        ),
    )
}
"""By name. `events` does not exist before an append: its stage becomes the table."""


def pipeline(mode: Mode, name: str, source: str, destination: str, **settings: Any) -> dict[str, Any]:
    """The pipeline file as a document; `settings` go to the destination."""
    source, destination = (dsn.replace("@", f":{CANARY}@", 1) for dsn in (source, destination))
    return {
        "version": "1.0",
        "pipeline": name,
        "source": {
            "use": "postgres",
            "config": {"dsn": source, "connect_timeout": CONNECT_TIMEOUT},
            "streams": [{"name": stream, **mode.streams.get(stream, {})} for stream in ("orders", "events")],
        },
        "destination": {
            "use": "postgres",
            "config": {"dsn": destination, "schema": "raw", "connect_timeout": CONNECT_TIMEOUT},
            **mode.destination,
            **settings,
        },
    }
