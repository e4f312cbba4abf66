"""Publishing: what stands in the target afterwards, and what is refused."""

from __future__ import annotations

from tests.postgres.leading import lead, rows_of, run

ORDERS = "CREATE SCHEMA app; CREATE TABLE app.orders (id int PRIMARY KEY, note text, price numeric(10,2) NOT NULL)"
TWO = "VALUES (1, 'a', 1.50), (2, NULL, 2.00)"


def test_append_to_a_missing_target_creates_it_with_types_and_key(destination_db: str) -> None:
    """A created target has the stream's columns, types, NOT NULL and primary key."""
    run(destination_db, ORDERS)
    with lead(destination_db, "orders") as load:
        assert load.stream_plan().publish == "rename"
        report = load.publish(TWO)
    assert (report.publish, report.rows, report.warnings) == ("rename", 2, ())
    assert rows_of(destination_db, "SELECT id, note, price::text FROM raw.orders ORDER BY id") == [
        (1, "a", "1.50"),
        (2, None, "2.00"),
    ]
    assert rows_of(
        destination_db,
        "SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint"
        " WHERE conrelid = 'raw.orders'::regclass AND contype = 'p'",
    ) == [("orders_pkey", "PRIMARY KEY (id)")]


def test_append_adds_rows(destination_db: str) -> None:
    """A second append inserts."""
    run(destination_db, ORDERS)
    with lead(destination_db, "orders") as load:
        load.publish(TWO)
        report = load.publish("VALUES (3, 'c', 3)")
    assert (report.publish, report.rows) == ("insert", 1)
    assert rows_of(destination_db, "SELECT id FROM raw.orders ORDER BY id") == [(1,), (2,), (3,)]
    assert rows_of(destination_db, "SELECT relname FROM pg_class WHERE relname LIKE '\\_rb\\_%'") == []


def test_replace_swaps(destination_db: str) -> None:
    """A second replace swaps."""
    run(destination_db, ORDERS)
    with lead(destination_db, "orders", write_mode="replace") as load:
        load.publish(TWO)
        report = load.publish("VALUES (3, 'c', 3)")
    assert (report.publish, report.rows) == ("swap", 1)
    assert rows_of(destination_db, "SELECT id FROM raw.orders ORDER BY id") == [(3,)]


def test_replace_in_place(destination_db: str) -> None:
    """With a view on the target the rows are replaced where they are."""
    run(destination_db, ORDERS)
    with lead(destination_db, "orders", write_mode="replace") as load:
        load.publish(TWO)
        run(destination_db, "CREATE VIEW raw.v AS SELECT * FROM raw.orders")
        report = load.publish("VALUES (2, 'b', 2), (3, 'c', 3)")
    assert (report.publish, report.rows) == ("in_place", 2)
    assert rows_of(destination_db, "SELECT id, note FROM raw.v ORDER BY id") == [(2, "b"), (3, "c")]
