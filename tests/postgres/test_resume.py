"""What a dead run has left: gone on with where that is right, dropped where it is not, never another's."""

from __future__ import annotations

from dataclasses import replace

import psycopg
import pytest

from rapidbyte.contract import LoadReceipts, WriteContract
from rapidbyte.cursor import CursorBounds, StoredCursor
from rapidbyte.destinations.postgres import lease
from rapidbyte.errors import DataError, FenceError
from rapidbyte.partition import FileRange, Partition
from rapidbyte.ports import Publication
from rapidbyte.spec import RunRequest, StreamSpec
from tests.postgres.leading import Lead, finalize, lead, leader_for, open_run, rows_of, run, shape_of

T = "CREATE SCHEMA app; CREATE TABLE app.t (id int PRIMARY KEY, at timestamptz); CREATE SCHEMA raw;"
TARGET = T + "CREATE TABLE raw.t (id int PRIMARY KEY, at timestamptz);"
PARTITIONS = tuple(Partition(stream="t", index=index, range=FileRange(path=f"part-{index}.csv")) for index in range(2))
STAGES = "SELECT relname FROM pg_class WHERE relname LIKE '\\_rb\\_%' AND relkind = 'r'"
LOADS = "SELECT load_id, state FROM _rapidbyte.loads ORDER BY prepared_at"


def begin(load: Lead, bounds: CursorBounds | None = None) -> WriteContract:
    """Prepares, and records two partitions that can be named again."""
    plan = load.plan()
    open_run(load.leader)
    contract = load.leader.prepare_stream(plan, plan.streams[0], "run-1", bounds)
    load.leader.record_partitions(contract, PARTITIONS)
    return contract


def resume(load: Lead, bounds: CursorBounds | None = None) -> WriteContract:
    """What the next run gets."""
    plan = load.plan()
    open_run(load.leader)
    return load.leader.prepare_stream(plan, plan.streams[0], "run-2", bounds)


def fill(load: Lead, contract: WriteContract, partition: int, rows: str) -> None:
    """As a worker does."""
    with psycopg.connect(load.dsn) as connection:
        stage = f'"{contract.copy.table.schema}"."{contract.copy.table.name}"'
        count = connection.execute(f"INSERT INTO {stage} (id) {rows}").rowcount  # type: ignore[arg-type]
        connection.execute(
            "INSERT INTO _rapidbyte.receipts (load_id, partition, pipeline, stream, worker, rows, bytes)"
            " VALUES (%s, %s, 'shop', 't', 0, %s, 0)",
            (contract.load_id, partition, count),
        )


def publication(load: Lead, contract: WriteContract) -> Publication:
    """With the receipts that the ledger has."""
    found = rows_of(load.dsn, f"SELECT partition, rows FROM _rapidbyte.receipts WHERE load_id = '{contract.load_id}'")
    receipts = tuple(
        replace(contract.resume.receipts[0], partition=partition, rows=count)  # type: ignore[arg-type]
        for partition, count in found
    )
    whole = LoadReceipts(load_id=contract.load_id, stream="t", planned=len(receipts), receipts=receipts)
    return Publication(contract=contract, receipts=whole)


@pytest.mark.parametrize("tables", [T, TARGET])
@pytest.mark.parametrize("mode", ["append", "replace"])
def test_the_next_run_goes_on_in_the_same_stage(tables: str, mode: str, destination_db: str) -> None:
    """Same load, same stage, the partitions as recorded, and the receipts of those that are loaded (E1)."""
    run(destination_db, tables)
    with lead(destination_db, "t", write_mode=mode) as dead:
        first = begin(dead)
        fill(dead, first, 1, "VALUES (11), (12)")
    with lead(destination_db, "t", write_mode=mode) as load:
        second = resume(load)
        assert (second.load_id, second.stage) == (first.load_id, first.stage)
        assert second.resume.partitions == PARTITIONS
        assert [(each.partition, each.rows, each.already_loaded) for each in second.resume.receipts] == [(1, 2, True)]
        assert rows_of(destination_db, "SELECT fence FROM _rapidbyte.loads") == [(second.fence,)]
        fill(load, second, 0, "VALUES (1)")
        (report,) = load.leader.finalize((publication(load, second),))
    assert report.rows == 3
    assert rows_of(destination_db, "SELECT id FROM raw.t ORDER BY id") == [(1,), (11,), (12,)]
    assert rows_of(destination_db, STAGES) == []


def test_a_crash_while_resuming_is_resumed_again(destination_db: str) -> None:
    """E2."""
    run(destination_db, T)
    with lead(destination_db, "t") as dead:
        first = begin(dead)
        fill(dead, first, 1, "VALUES (11)")
    for _ in range(2):
        with lead(destination_db, "t") as load:
            contract = resume(load)
            assert (contract.load_id, contract.resume.loaded_partitions) == (first.load_id, (1,))


@pytest.mark.parametrize(
    ("why", "statement"),
    [
        ("its stage lost rows, as an unlogged one does in a crash (C2)", "TRUNCATE {stage}"),
        ("its stage is gone", "DROP TABLE {stage}"),
        ("its stage has rows that nobody receipted", "INSERT INTO {stage} (id) VALUES (99)"),
        ("its partitions were not recorded", "UPDATE _rapidbyte.loads SET partitions = NULL"),
        ("its partitions are of a kind that is not known", "UPDATE _rapidbyte.loads SET partitions = '[{{\"a\": 1}}]'"),
        ("another source or query", "UPDATE _rapidbyte.loads SET signature = 'x'"),
        ("nothing was receipted", "DELETE FROM _rapidbyte.receipts; TRUNCATE {stage}"),
    ],
)
def test_what_cannot_be_gone_on_with_begins_anew(why: str, statement: str, destination_db: str) -> None:
    """The old stage is dropped, its receipts are gone, a new load begins."""
    run(destination_db, TARGET)
    with lead(destination_db, "t") as dead:
        first = begin(dead)
        fill(dead, first, 1, "VALUES (11)")
    run(destination_db, statement.format(stage=f'"{first.copy.table.schema}"."{first.copy.table.name}"'))
    with lead(destination_db, "t") as load:
        second = resume(load)
        assert second.load_id != first.load_id, why
        assert not second.resume.resumed
        assert rows_of(destination_db, LOADS) == [(first.load_id, "discarded"), (second.load_id, "prepared")]
        assert rows_of(destination_db, STAGES) == [(second.copy.table.name,)]
        assert rows_of(destination_db, "SELECT FROM _rapidbyte.receipts") == []


@pytest.mark.parametrize(
    "spec",
    [StreamSpec(name="t", columns=("id",)), StreamSpec(name="t", where="id > 0"), StreamSpec(name="t", target="u")],
)
def test_a_changed_stream_begins_anew(spec: StreamSpec, destination_db: str) -> None:
    """Whatever decides on the rows is in the signature."""
    run(destination_db, T)
    with lead(destination_db, "t") as dead:
        first = begin(dead)
        fill(dead, first, 1, "VALUES (11)")
    with lead(destination_db, "t", spec=spec) as load:
        assert resume(load).load_id != first.load_id


def test_a_guard_may_change_between_runs(destination_db: str) -> None:
    """min_rows decides on the publish alone: what is loaded stays."""
    run(destination_db, T)
    with lead(destination_db, "t") as dead:
        first = begin(dead)
        fill(dead, first, 1, "VALUES (11)")
    with lead(destination_db, "t", spec=StreamSpec(name="t", min_rows=1)) as load:
        assert resume(load).load_id == first.load_id


def test_a_stage_that_cannot_be_dropped_stays_recorded(destination_db: str) -> None:
    """Somebody looks at it: this run goes on with a new one, and the run after drops it (E17)."""
    run(destination_db, TARGET)
    with lead(destination_db, "t") as dead:
        first = begin(dead)
    with psycopg.connect(destination_db) as reader:
        reader.execute(f'SELECT FROM _rapidbyte."{first.copy.table.name}"')  # type: ignore[arg-type]
        with lead(destination_db, "t") as load:
            second = load.prepare()
            finalize(load.leader, second, load.fill(second, "SELECT 5, NULL::timestamptz"))
        assert rows_of(destination_db, LOADS) == [(first.load_id, "prepared"), (second.load_id, "published")]
    with lead(destination_db, "t") as load:
        third = load.prepare()
        assert [state for _, state in rows_of(destination_db, LOADS)] == ["discarded", "published", "prepared"]
        assert rows_of(destination_db, STAGES) == [(third.copy.table.name,)]


def test_a_run_that_lost_its_lease_leaves_the_stage_to_the_other(
    destination_db: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its cleaning up must not drop what the new run goes on with; its preparing makes nothing (D3)."""
    monkeypatch.setattr(lease, "RENEW_SECONDS", 3600.0)
    run(destination_db, T)
    with lead(destination_db, "t") as frozen, lead(destination_db, "t") as second:
        first = begin(frozen)
        fill(frozen, first, 1, "VALUES (11)")
        run(destination_db, "UPDATE _rapidbyte.leases SET expires_at = now() - interval '1 s'")
        contract = resume(second)
        assert contract.load_id == first.load_id
        frozen.leader.discard_stream(first)
        plan = frozen.plan()
        with pytest.raises(FenceError):
            frozen.leader.prepare_stream(plan, plan.streams[0], "run-1")
        fill(second, contract, 0, "VALUES (1)")
        assert second.leader.finalize((publication(second, contract),))[0].rows == 2


def test_the_receipts_of_a_published_load_stay_until_the_next(destination_db: str) -> None:
    """A worker that was thought dead finds its partition receipted; the next publish sweeps them away."""
    run(destination_db, TARGET)
    found: list[list[tuple[object, ...]]] = []
    with lead(destination_db, "t") as load:
        for number in range(3):
            load.publish(f"SELECT {number}, NULL::timestamptz")
            found.append(rows_of(destination_db, "SELECT load_id FROM _rapidbyte.receipts"))
    assert [len(each) for each in found] == [1, 1, 1]
    assert len({each[0] for each in found}) == 3


# --- cursors


def bounds(high: str | None, *, low: str | None = None, kind: str = "bigint", field: str = "id") -> CursorBounds:
    """Up to `high`."""
    return CursorBounds(
        field=field, type=kind, low=low, low_inclusive=False, high=high, high_inclusive=True, stored=low
    )


def publish_with(load: Lead, found: CursorBounds | None, rows: str = "SELECT 1, NULL::timestamptz WHERE false") -> None:
    """An increment."""
    plan = load.plan()
    if load.leader.fence is None:
        open_run(load.leader)
    contract = load.leader.prepare_stream(plan, plan.streams[0], "run-1", found)
    finalize(load.leader, contract, load.fill(contract, rows))


CURSOR = "SELECT field, type, value FROM _rapidbyte.cursors"


@pytest.mark.parametrize(
    ("kind", "values", "kept"),
    [
        ("bigint", ("9", "10"), "10"),  # as texts, 9 would be greater
        ("bigint", ("10", "9"), "10"),
        ("numeric", ("1e3", "999.99"), "1e3"),
        ("date", ("2026-01-31", "2026-01-30"), "2026-01-31"),
        ("timestamp with time zone", ("2026-01-31 12:00:00+00", "2026-01-31 12:30:00+01"), "2026-01-31 12:00:00+00"),
        ("timestamp without time zone", ("2026-01-31 12:00:00", "0044-01-01 00:00:00 BC"), "2026-01-31 12:00:00"),
        ("uuid", ("ffffffff-0000-0000-0000-000000000000", "0fffffff-0000-0000-0000-000000000000"),
         "ffffffff-0000-0000-0000-000000000000"),
        ("text", ("b", "a"), "a"),  # only the source knows the order
    ],
)  # fmt: skip
def test_a_cursor_never_moves_backwards(kind: str, values: tuple[str, ...], kept: str, destination_db: str) -> None:
    """Compared by the server in the cursor's own type; texts are the source's business (E5, E6, B26)."""
    run(destination_db, TARGET)
    with lead(destination_db, "t") as load:
        for value in values:
            publish_with(load, bounds(value, kind=kind))
    assert rows_of(destination_db, CURSOR) == [("id", kind, kept)]


def test_an_increment_without_values_leaves_the_cursor(destination_db: str) -> None:
    """E8."""
    run(destination_db, TARGET)
    with lead(destination_db, "t") as load:
        publish_with(load, bounds("7"))
        publish_with(load, bounds(None, low="7"))
        publish_with(load, None)
    assert rows_of(destination_db, CURSOR) == [("id", "bigint", "7")]


def test_another_cursor_column_takes_the_place_of_the_first(destination_db: str) -> None:
    """The load was planned with it; values of different columns are not compared."""
    run(destination_db, TARGET)
    with lead(destination_db, "t") as load:
        publish_with(load, bounds("7"))
        publish_with(load, bounds("2026-01-01", field="at", kind="date"))
    assert rows_of(destination_db, CURSOR) == [("at", "date", "2026-01-01")]


def test_cursor_and_rows_are_published_together(destination_db: str) -> None:
    """A publish that fails moves nothing; the next run is told the cursor of the last that did not."""
    run(destination_db, TARGET)
    with lead(destination_db, "t") as load:
        publish_with(load, bounds("1"), "SELECT 1, NULL::timestamptz")
        with pytest.raises(DataError):
            publish_with(load, bounds("2", low="1"), "SELECT 1, NULL::timestamptz")
    with leader_for(destination_db) as leader:
        assert open_run(leader).cursors == {"t": StoredCursor(field="id", type="bigint", value="1")}


def test_a_resumed_increment_keeps_its_bounds(destination_db: str) -> None:
    """The bounds that the load was begun with, not those that the next run has taken."""
    run(destination_db, TARGET)
    with lead(destination_db, "t") as dead:
        first = begin(dead, bounds("10"))
        fill(dead, first, 1, "VALUES (10)")
    with lead(destination_db, "t") as load:
        contract = resume(load, bounds("20"))
        assert (contract.load_id, contract.bounds) == (first.load_id, bounds("10"))
        assert contract.resume.bounds == bounds("10")


def test_an_increment_from_another_cursor_begins_anew(destination_db: str) -> None:
    """The cursor was set or reset meanwhile: what was loaded is not what is wanted now."""
    run(destination_db, TARGET)
    with lead(destination_db, "t") as dead:
        first = begin(dead, bounds("10", low="5"))
        fill(dead, first, 1, "VALUES (10)")
    with lead(destination_db, "t") as load:
        assert resume(load, bounds("20", low="3")).load_id != first.load_id


# --- what a run is told


def test_a_key_that_was_published_is_told(destination_db: str) -> None:
    """By stream, with the run that did it; a failed load tells nothing."""
    run(destination_db, TARGET)

    def keyed(load: Lead, key: str | None, run_id: str) -> RunRequest:
        return RunRequest(run_id=run_id, pipeline="shop", streams=("t",), key=key, host="here", pid=7, tool_version="1")

    for key, expected in (("monday", {}), ("monday", {"t": "run-0"}), ("tuesday", {}), (None, {})):
        with lead(destination_db, "t") as load:
            number = rows_of(destination_db, "SELECT to_regclass('_rapidbyte.runs')")
            count = 0 if number == [(None,)] else rows_of(destination_db, "SELECT count(*) FROM _rapidbyte.runs")[0][0]
            opened = load.leader.open_run(keyed(load, key, f"run-{count}"), lambda error: None)
            assert opened.published_by_key == expected
            if count == 0:
                load.publish("SELECT 1, NULL::timestamptz")
            else:
                load.prepare()


def test_unfinished_loads_are_told(destination_db: str) -> None:
    """By stream."""
    run(destination_db, TARGET)
    with lead(destination_db, "t") as dead:
        first = begin(dead)
    with leader_for(destination_db) as leader:
        assert open_run(leader).unfinished == {"t": first.load_id}


def test_several_loads_are_published_in_one_transaction(destination_db: str) -> None:
    """All of them, or none."""
    run(destination_db, TARGET + "CREATE TABLE app.u (id int); CREATE TABLE raw.u (id int UNIQUE)")
    with lead(destination_db, "t") as one:
        first = one.prepare()
        other = replace(one, shape=shape_of(destination_db, StreamSpec(name="u"), "app", "u"))
        second = other.prepare()
        good = Publication(contract=first, receipts=one.fill(first, "SELECT 1, NULL::timestamptz"))
        bad = Publication(contract=second, receipts=other.fill(second, "VALUES (1), (1)"))
        with pytest.raises(DataError):
            one.leader.finalize((good, bad))
        assert rows_of(destination_db, "SELECT FROM raw.t") == []
        assert {state for _, state in rows_of(destination_db, LOADS)} == {"prepared"}
        run(destination_db, "ALTER TABLE raw.u DROP CONSTRAINT u_id_key")
        assert [report.rows for report in one.leader.finalize((good, bad))] == [1, 2]
    assert {state for _, state in rows_of(destination_db, LOADS)} == {"published"}
