"""What every writer promises: rows and receipt together or not at all, once, and all of them."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from rapidbyte.contract import CopyTarget, RejectTarget
from rapidbyte.destinations.postgres import ledger
from rapidbyte.destinations.postgres.writer import write_partition
from rapidbyte.errors import CancelledError, ContractError, DataError, DestinationError, SourceError
from rapidbyte.model import Column, Secret
from rapidbyte.partition import Partition, Whole
from rapidbyte.pg.session import OWN_SQL
from rapidbyte.pg.types import built_in
from rapidbyte.ports import Block, WritePartition
from rapidbyte.rejects import RejectPolicy
from rapidbyte.spec import Connection
from tests.fakes import copy_target
from tests.fakes import write as write_nowhere

HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
TRAILER = b"\xff\xff"


def row(value: int) -> bytes:
    """One row of one int8, as binary COPY has it."""
    return struct.pack(">hiq", 1, 8, value)


@dataclass
class Blocks:
    """A BlockStream over given blocks; then perhaps a failure."""

    data: list[bytes]
    row_count: int
    failure: Exception | None = None

    def __iter__(self) -> Iterator[Block]:
        for data in self.data:
            yield Block(data=data, rows=1, size=len(data))
        if self.failure is not None:
            raise self.failure


def three() -> Blocks:
    return Blocks([HEADER + row(1), row(2), row(3) + TRAILER], 3)


def part(index: int = 0) -> Partition:
    return Partition(stream="orders", index=index, range=Whole())


@dataclass
class Bench:
    """A writer, where it writes to, and a look at what it left."""

    write: WritePartition
    target: CopyTarget
    rows: Callable[[], list[int]] | None
    receipts: Callable[[], list[tuple[int, int, int]]] | None


@pytest.fixture
def postgres(destination_db: str, connect: Callable[..., psycopg.Connection]) -> Bench:
    """The COPY writer, on a real server with a ledger and a stage."""
    admin = connect(destination_db)
    admin.execute("CREATE SCHEMA _rapidbyte")
    for statement in ledger.bootstrap_statements():
        admin.execute(statement)
    admin.execute("CREATE SCHEMA raw; CREATE TABLE raw.stage (id bigint)")
    return Bench(
        write=write_partition,
        target=copy_target(
            login=Connection(dsn=Secret(destination_db)),
            session=OWN_SQL,
            columns=(Column(name="id", type=built_in("bigint")),),
        ),
        rows=lambda: [found[0] for found in admin.execute("SELECT id FROM raw.stage ORDER BY id").fetchall()],
        receipts=lambda: admin.execute("SELECT partition, rows, bytes FROM _rapidbyte.receipts ORDER BY 1").fetchall(),
    )


@pytest.fixture(params=["fake", "postgres"])
def bench(request: pytest.FixtureRequest) -> Bench:
    if request.param == "fake":
        return Bench(write=write_nowhere, target=copy_target(), rows=None, receipts=None)
    return request.getfixturevalue("postgres")


def test_a_receipt_tells_rows_bytes_and_times(bench: Bench) -> None:
    """Its times are measured; nothing is loaded twice or left out."""
    receipt = bench.write(bench.target, part(), three(), worker=0, stop=lambda: False)
    assert (receipt.load_id, receipt.stream, receipt.partition) == ("load-1", "orders", 0)
    assert (receipt.rows, receipt.bytes, receipt.already_loaded) == (3, 19 + 3 * 14 + 2, False)
    assert receipt.times.total_s > 0
    if bench.rows is not None:
        assert bench.rows() == [1, 2, 3]


def test_an_incomplete_target_is_refused(bench: Bench) -> None:
    """Before anything is opened."""
    with pytest.raises(ContractError, match="columns"):
        bench.write(replace(bench.target, columns=()), part(), three(), worker=0, stop=lambda: False)


def test_what_the_source_raises_comes_through_and_leaves_nothing(bench: Bench) -> None:
    """A source that fails is no end of data."""
    blocks = Blocks([HEADER + row(1), row(2)], 2, SourceError("cut", code="connection_lost"))
    with pytest.raises(SourceError, match="cut"):
        bench.write(bench.target, part(), blocks, worker=0, stop=lambda: False)
    if bench.rows is not None and bench.receipts is not None:
        assert (bench.rows(), bench.receipts()) == ([], [])


def test_a_partition_that_has_its_receipt_is_not_written_again(postgres: Bench) -> None:
    """E15: a retry after a lost acknowledgement finds the receipt."""
    first = postgres.write(postgres.target, part(), three(), worker=0, stop=lambda: False)
    again = postgres.write(postgres.target, part(), three(), worker=1, stop=lambda: False)
    assert (again.already_loaded, again.rows, again.bytes) == (True, first.rows, first.bytes)
    assert postgres.rows is not None
    assert postgres.receipts is not None
    assert postgres.rows() == [1, 2, 3]
    assert postgres.receipts() == [(0, 3, first.bytes)]


def test_a_retry_waits_for_the_first_attempt_whose_commit_is_under_way(
    postgres: Bench, connect: Callable[..., psycopg.Connection], destination_db: str
) -> None:
    """The lock is the server's: while somebody holds the partition, nobody else looks for its receipt."""
    holder = connect(destination_db)
    holder.execute("BEGIN")
    holder.execute("SELECT pg_advisory_xact_lock(hashtextextended('load-1/0', 0))")
    admin = connect(destination_db)
    admin.execute(
        "ALTER DATABASE " + conninfo_to_dict(destination_db)["dbname"] + " SET lock_timeout = '1h'"  # type: ignore[operator]
    )
    impatient = replace(postgres.target, session=(*OWN_SQL, ("lock_timeout", "150ms")))
    with pytest.raises(DestinationError) as raised:
        postgres.write(impatient, part(), three(), worker=0, stop=lambda: False)
    assert raised.value.context.sqlstate == "55P03"
    holder.execute("ROLLBACK")
    assert postgres.write(postgres.target, part(), three(), worker=0, stop=lambda: False).rows == 3


def test_a_value_that_does_not_fit_names_line_and_column_and_leaves_nothing(postgres: Bench) -> None:
    """B8: text COPY of a number too large; the value itself is masked."""
    blocks = Blocks([b"1\n2\n", b"99999999999999999999\n"], 3)
    with pytest.raises(DataError) as raised:
        postgres.write(replace(postgres.target, wire="text-relay"), part(), blocks, worker=0, stop=lambda: False)
    where = raised.value.context
    assert (where.sqlstate, where.line, where.column) == ("22003", 3, "id")
    assert "99999999999999999999" not in raised.value.message
    assert where.row_detail is not None
    assert "99999999999999999999" in where.row_detail
    assert postgres.rows is not None
    assert postgres.rows() == []


def test_an_error_comes_early_and_a_long_stream_is_not_sent_in_vain(postgres: Bench) -> None:
    """The server ends the COPY at the first bad row; the writer notices while it writes."""
    blocks = Blocks([b"x\n", *([b"1\n" * 50_000] * 200)], 10_000_001)
    taken: list[int] = []

    class Counted:
        row_count = 10_000_001

        def __iter__(self) -> Iterator[Block]:
            for block in blocks:
                taken.append(1)
                yield block

    with pytest.raises(DataError):
        postgres.write(replace(postgres.target, wire="text-relay"), part(), Counted(), worker=0, stop=lambda: False)
    assert len(taken) < 201


def test_rows_that_a_trigger_drops_are_noticed(
    postgres: Bench, connect: Callable[..., psycopg.Connection], destination_db: str
) -> None:
    """B19: COPY of 3 rows said "COPY 2"."""
    connect(destination_db).execute(
        "CREATE FUNCTION drop_two() RETURNS trigger LANGUAGE plpgsql AS"
        " $$BEGIN IF NEW.id = 2 THEN RETURN NULL; END IF; RETURN NEW; END$$;"
        "CREATE TRIGGER t BEFORE INSERT ON raw.stage FOR EACH ROW EXECUTE FUNCTION drop_two()"
    )
    with pytest.raises(DataError, match="kept 2 of 3 rows"):
        postgres.write(postgres.target, part(), three(), worker=0, stop=lambda: False)
    assert postgres.rows is not None
    assert postgres.rows() == []


def test_a_killed_backend_is_a_lost_connection_and_leaves_nothing(
    postgres: Bench, connect: Callable[..., psycopg.Connection], destination_db: str
) -> None:
    """C1: in mid-COPY psycopg gives no SQLSTATE."""
    admin = connect(destination_db)

    class Killing:
        row_count = 2

        def __iter__(self) -> Iterator[Block]:
            yield Block(data=HEADER + row(1), rows=1, size=1)
            admin.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
                " WHERE application_name = 'rapidbyte worker-7 shop'"
            )
            yield Block(data=row(2) + TRAILER, rows=1, size=1)

    with pytest.raises(DestinationError) as raised:
        postgres.write(postgres.target, part(), Killing(), worker=7, stop=lambda: False)
    assert raised.value.code == "connection_lost"
    assert postgres.rows is not None
    assert postgres.rows() == []


def test_a_writer_that_is_told_to_stop_while_it_waits_does_so(
    postgres: Bench, connect: Callable[..., psycopg.Connection], destination_db: str
) -> None:
    """The stage is locked by somebody: `stop` is asked while waiting, nothing is left, no backend stays."""
    holder = connect(destination_db)
    holder.execute("BEGIN; LOCK TABLE raw.stage")
    asked: list[int] = []

    def stop() -> bool:
        asked.append(1)
        return len(asked) > 2

    with pytest.raises(CancelledError):
        postgres.write(postgres.target, part(), three(), worker=3, stop=stop)
    holder.execute("ROLLBACK")
    assert postgres.rows is not None
    assert postgres.rows() == []


def test_no_session_waits_for_a_slow_source(
    postgres: Bench, connect: Callable[..., psycopg.Connection], destination_db: str
) -> None:
    """C8: the writer connects when the first block is there; then it has a session, in its COPY."""
    admin = connect(destination_db)
    states: list[list[str]] = []

    def look() -> None:
        found = admin.execute("SELECT state FROM pg_stat_activity WHERE application_name = 'rapidbyte worker-9 shop'")
        states.append([state for (state,) in found])

    class Slow:
        row_count = 1

        def __iter__(self) -> Iterator[Block]:
            look()
            yield Block(data=HEADER + row(1) + TRAILER, rows=1, size=1)
            look()

    postgres.write(postgres.target, part(), Slow(), worker=9, stop=lambda: False)
    assert states == [[], ["active"]]


def test_a_message_that_a_trigger_raised_is_not_shown(
    postgres: Bench, connect: Callable[..., psycopg.Connection], destination_db: str
) -> None:
    """G6: a person wrote it, with values in it, under any SQLSTATE; it is in row_detail alone."""
    connect(destination_db).execute(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS"
        " $$BEGIN RAISE EXCEPTION 'row canary % is bad', NEW.id USING errcode = 'check_violation'; END$$;"
        "CREATE TRIGGER t BEFORE INSERT ON raw.stage FOR EACH ROW EXECUTE FUNCTION refuse()"
    )
    with pytest.raises(DataError) as raised:
        postgres.write(postgres.target, part(), three(), worker=0, stop=lambda: False)
    assert "canary" not in raised.value.message
    assert "canary" in (raised.value.context.row_detail or "")


def test_a_role_that_is_read_only_by_default_and_impatient_still_writes(
    postgres: Bench, connect: Callable[..., psycopg.Connection], destination_db: str
) -> None:
    """Its defaults are for people at a prompt."""
    database = conninfo_to_dict(destination_db)["dbname"]
    admin = connect(destination_db)
    admin.execute(f"ALTER DATABASE {database} SET default_transaction_read_only = on")  # type: ignore[arg-type]
    receipt = postgres.write(postgres.target, part(), three(), worker=0, stop=lambda: False)
    assert receipt.rows == 3


def rejecting(bench: Bench, *, max_rows: int = 10) -> CopyTarget:
    """The same target, where bad rows are stored; its stage takes no 2."""
    rejects = RejectTarget(policy=RejectPolicy(action="dlq", max_rows=max_rows), run_id="run-1", table=ledger.REJECTS)
    return replace(bench.target, wire="text-relay", rejects=rejects)


@pytest.fixture
def refusing(postgres: Bench, destination_db: str, connect: Callable[..., psycopg.Connection]) -> Bench:
    """A stage that refuses every second value."""
    connect(destination_db).execute("ALTER TABLE raw.stage ADD CHECK (id % 2 = 1)")
    return postgres


def test_bad_rows_are_in_the_partitions_transaction(
    refusing: Bench, destination_db: str, connect: Callable[..., psycopg.Connection]
) -> None:
    """Set aside once, counted in the receipt, though the partition is written again (B14)."""
    for _ in range(2):
        blocks = Blocks([b"1\n", b"2\n", b"3\n", b"4\n", b"nine\n"], 5)
        receipt = refusing.write(rejecting(refusing), part(), blocks, worker=0, stop=lambda: False)
        assert (receipt.rows, receipt.rejected) == (2, 3)
    assert refusing.rows is not None
    assert refusing.rows() == [1, 3]
    found = connect(destination_db).execute(
        "SELECT partition, sqlstate, row_data->>'id' FROM _rapidbyte.rejects ORDER BY reject_id"
    )
    assert found.fetchall() == [(0, "23514", "2"), (0, "23514", "4"), (0, "22P02", "nine")]


def test_too_many_bad_rows_leave_nothing(
    refusing: Bench, destination_db: str, connect: Callable[..., psycopg.Connection]
) -> None:
    """Neither rows nor receipt nor what was set aside."""
    blocks = Blocks([b"1\n", b"2\n", b"4\n"], 3)
    with pytest.raises(DataError, match="max_rejects: 1"):
        refusing.write(rejecting(refusing, max_rows=1), part(), blocks, worker=0, stop=lambda: False)
    assert refusing.rows is not None
    assert refusing.receipts is not None
    assert (refusing.rows(), refusing.receipts()) == ([], [])
    assert connect(destination_db).execute("SELECT count(*) FROM _rapidbyte.rejects").fetchall() == [(0,)]
