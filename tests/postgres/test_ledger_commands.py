"""`gc --undo` and what it leaves, on a real ledger."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import psycopg
import pytest

from rapidbyte import wiring
from rapidbyte.cursor import StoredCursor
from rapidbyte.errors import BusyError
from rapidbyte.model import Secret
from rapidbyte.spec import Connection, DestinationSpec, PipelineSpec, PostgresSourceSpec, StreamSpec

Connect = Callable[..., psycopg.Connection]


@pytest.fixture
def pipeline(source_db: str, destination_db: str, connect: Connect) -> PipelineSpec:
    """A pipeline that has run once; then a direct load that was killed, as the ledger shows it."""
    connect(source_db).execute("CREATE TABLE a AS SELECT i AS id FROM generate_series(1, 10) i")
    spec = PipelineSpec(
        pipeline="shop",
        source=PostgresSourceSpec(connection=Connection(dsn=Secret(source_db))),
        streams=(StreamSpec(name="a"),),
        destination=DestinationSpec(connection=Connection(dsn=Secret(destination_db)), schema="raw"),
    )
    assert wiring.run(spec).status == "succeeded"
    admin = connect(destination_db)
    admin.execute(
        "INSERT INTO _rapidbyte.loads (load_id, run_id, pipeline, stream, target_schema, target_table, write_mode,"
        " publish) VALUES ('L', 'dead', 'shop', 'a', 'raw', 'a', 'append', 'direct')"
    )
    admin.execute(
        "BEGIN; INSERT INTO raw.a SELECT i FROM generate_series(101, 105) i; INSERT INTO _rapidbyte.receipts"
        " (load_id, partition, pipeline, stream, worker, rows, bytes) VALUES ('L', 0, 'shop', 'a', 0, 5, 9); COMMIT"
    )
    return spec


def ids(admin: psycopg.Connection) -> list[int]:
    return [row[0] for row in admin.execute("SELECT id FROM raw.a ORDER BY id").fetchall()]


def test_undo_removes_what_a_direct_load_had_landed(
    pipeline: PipelineSpec, destination_db: str, connect: Connect
) -> None:
    """Its rows and no others; without --undo they stay, with their receipts; a second time there is nothing."""
    admin = connect(destination_db)
    with wiring.ledger(pipeline) as ledger:
        assert [(load.rows, load.removed) for load in ledger.leftovers().landed] == [(5, None)]
        assert [(load.rows, load.removed) for load in ledger.sweep().landed] == [(5, None)]
        assert len(ids(admin)) == 15
        assert [(load.rows, load.removed) for load in ledger.sweep(undo=True).landed] == [(5, 5)]
        assert ledger.sweep(undo=True).landed == ()
    assert ids(admin) == list(range(1, 11))


def test_rows_changed_since_are_left(pipeline: PipelineSpec, destination_db: str, connect: Connect) -> None:
    """Somebody has made them his own; how many there are is told."""
    admin = connect(destination_db)
    admin.execute("UPDATE raw.a SET id = 999 WHERE id = 103")
    with wiring.ledger(pipeline) as ledger:
        assert [(load.rows, load.removed) for load in ledger.sweep(undo=True).landed] == [(5, 4)]
    assert ids(admin) == [*range(1, 11), 999]


def test_nothing_is_dropped_while_a_run_has_the_lease(pipeline: PipelineSpec) -> None:
    """BusyError, as for a second run (D1); what is left can be looked at all the same."""
    with wiring.ledger(pipeline) as one, wiring.ledger(pipeline) as other:
        with one._changing("holding the lease"):  # pyright: ignore[reportPrivateUsage]
            with pytest.raises(BusyError):
                other.sweep()
            state = other.state()
            assert state.lease is not None
            assert state.lease.running is not None
        other.sweep()


def test_another_pipeline_sees_nothing_of_it(pipeline: PipelineSpec) -> None:
    """Each has its own cursors, loads and history."""
    with wiring.ledger(replace(pipeline, pipeline="other")) as ledger:
        assert (ledger.runs(), ledger.state().unfinished, ledger.sweep(undo=True).landed) == ((), (), ())
        assert [run.pipeline for run in ledger.runs(all_pipelines=True)] == ["shop"]


def test_stages_that_no_ledger_knows_are_named_and_left(
    pipeline: PipelineSpec, destination_db: str, connect: Connect
) -> None:
    """E17: never dropped by their names; with and without a ledger; those that it knows of are not among them."""
    admin = connect(destination_db)
    known, lost = "0" * 25 + "1", "0" * 25 + "2"
    admin.execute(f"CREATE TABLE raw._rb_{known} (); CREATE TABLE raw._rb_{lost} (); CREATE TABLE raw._rb_mine ()")  # type: ignore[arg-type]
    admin.execute(
        "INSERT INTO _rapidbyte.loads (load_id, run_id, pipeline, stream, target_schema, target_table, write_mode,"
        f" publish, stage_schema, stage_table) VALUES ('{known}', 'dead', 'other', 'a', 'raw', 'a', 'append', 'insert',"  # type: ignore[arg-type]
        f" 'raw', '_rb_{known}')"
    )
    for tables, ended in (([lost], "DROP SCHEMA _rapidbyte CASCADE"), ([known, lost], "SELECT 1")):
        with wiring.ledger(pipeline) as ledger:
            found = ledger.orphans()
        assert [(str(each.table), each.drop) for each in found] == [
            (f"raw._rb_{table}", f'DROP TABLE "raw"."_rb_{table}";') for table in tables
        ]
        admin.execute(ended)  # type: ignore[arg-type]
    assert admin.execute("SELECT count(*) FROM pg_class WHERE relname LIKE '\\_rb\\_%'").fetchone() == (3,)


def test_a_cursor_that_moves_backwards_is_told(pipeline: PipelineSpec) -> None:
    """As the server orders its type: 9 is before 10, and a time before a later one."""
    with wiring.ledger(pipeline) as ledger:
        assert not ledger.set_cursor("a", StoredCursor(field="id", type="bigint", value="10"))
        assert not ledger.set_cursor("a", StoredCursor(field="id", type="bigint", value="11"))
        assert ledger.set_cursor("a", StoredCursor(field="id", type="bigint", value="9"))
        assert not ledger.set_cursor("a", StoredCursor(field="at", type="date", value="2020-01-02"))
        assert ledger.set_cursor("a", StoredCursor(field="at", type="date", value="1999-12-31"))
