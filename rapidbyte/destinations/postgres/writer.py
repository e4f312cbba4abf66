"""A worker's COPY: one connection, one transaction, one receipt. Nothing else is reachable from here.

This module cannot change a table: it imports neither statements that do nor the leader, its connection is a local
variable, and the only statements it has are those below; where bad rows are set aside, those of `sieve`, too.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace

from psycopg import sql

from rapidbyte.contract import CopyTarget, PartitionReceipt, RejectTarget
from rapidbyte.destinations.postgres.encode import Encoder, first_refused
from rapidbyte.destinations.postgres.sent import Sent
from rapidbyte.destinations.postgres.sieve import Sieve
from rapidbyte.destinations.postgres.text_checks import TextChecks
from rapidbyte.errors import DataError, FenceError
from rapidbyte.failpoints import failpoint
from rapidbyte.metrics import Laps
from rapidbyte.model import Wire, session_name
from rapidbyte.partition import Partition
from rapidbyte.pg.copy import CopyIn
from rapidbyte.pg.session import PgConnection, begin, commit, connect, translated
from rapidbyte.ports import Block, BlockStream, Stop

_COPY_OPTIONS: dict[Wire, sql.SQL] = {
    "binary-relay": sql.SQL("FORMAT binary"),
    "text-relay": sql.SQL("FORMAT text, ENCODING 'UTF8'"),
    "arrow-binary": sql.SQL("FORMAT binary"),
    "arrow-text": sql.SQL("FORMAT csv, ENCODING 'UTF8'"),
}


def write_partition(
    target: CopyTarget, partition: Partition, blocks: BlockStream, *, worker: int, stop: Stop
) -> PartitionReceipt:
    """Copies a partition into the target and commits it together with its receipt.

    It connects when the first block is there, so a slow source leaves no session idle, in a transaction or not.
    A retry waits for the end of an earlier attempt whose COMMIT is still under way, and then finds its receipt.
    Raises ContractError before connecting; DataError, DestinationError, CancelledError, and what `blocks` raises:
    then nothing of this partition is left.
    """
    target.require_complete()
    laps = Laps()
    doing = f"copying into {target.table}"
    # Connected once there is something to write: no session of ours lies idle until a slow source delivers.
    arriving = _Arriving(blocks, laps)
    arriving.await_first()
    login = connect(
        target.login, side="destination", application_name=session_name(f"worker-{worker}", target.pipeline), stop=stop
    )
    with closing(login) as connection:
        laps.lap("connect")
        failpoint("w.connected")
        sent = Sent(target.wire)
        with sent.located(), translated("destination", doing):
            begin(connection, target.session, mode="ISOLATION LEVEL READ COMMITTED READ WRITE")
            receipt = _earlier_receipt(connection, target, partition)
            if receipt is None and target.rejects is not None:
                receipt = _sifted(connection, target, target.rejects, partition, blocks, arriving, laps, stop)
                _insert_receipt(connection, target, receipt, worker=worker)
                failpoint("w.receipt")
            elif receipt is None:
                with CopyIn(connection, _copy_statement(target), stop=stop, doing=doing) as copy:
                    failpoint("w.copy_begin")
                    laps.lap("write")
                    size = _send(copy, target, arriving, laps, sent)
                    failpoint("w.copy_end")
                    blocked_s = copy.blocked_s  # what comes is the commit's time
                    rows = copy.finish()
                _require_all_rows(target, rows=rows, sent=blocks.row_count)
                receipt = _receipt(target, partition, rows=rows, size=size, blocked_s=blocked_s)
                _insert_receipt(connection, target, receipt, worker=worker)
                failpoint("w.receipt")
            failpoint("w.commit_before")
            commit(connection, sent=lambda: failpoint("w.commit_sent"))
            failpoint("w.commit_acked")
        laps.lap("commit")
    laps.lap("connect")
    return replace(receipt, times=laps.times())


def _sifted(
    connection: PgConnection,
    target: CopyTarget,
    rejects: RejectTarget,
    partition: Partition,
    blocks: BlockStream,
    arriving: _Arriving,
    laps: Laps,
    stop: Stop,
) -> PartitionReceipt:
    """Copies what can be copied, and sets the rest aside, in the transaction that is open."""
    failpoint("w.copy_begin")
    sieve = Sieve(
        connection,
        target,
        rejects,
        partition,
        _copy_statement(target),
        laps,
        stop=stop,
        doing=f"copying into {target.table}",
    )
    found = sieve.sift(arriving.next)
    failpoint("w.copy_end")
    _require_all_rows(target, rows=found.rows, sent=blocks.row_count - found.refused)
    return replace(
        _receipt(target, partition, rows=found.rows, size=found.bytes, blocked_s=found.blocked_s),
        rejected=found.rejected,
        first_reject=found.first_reject,
    )


def _send(copy: CopyIn, target: CopyTarget, arriving: _Arriving, laps: Laps, sent: Sent) -> int:
    """Encodes and writes every block; returns the bytes that went out."""
    encoder = Encoder(target.columns, target.wire)
    checks = TextChecks(target.columns, target.checked) if target.checked else None
    size, is_first = 0, True
    block = arriving.next()
    while block is not None:
        sent.begun(block)
        if checks is not None and not isinstance(block.data, bytes):
            checks.require(block.data)
        data = b""
        if block.is_framed and isinstance(block.data, bytes):
            laps.lap("encode")
            copy.forward(block.data, missing_bytes=block.missing_bytes)
            size += block.size
        else:
            data = _encoded(encoder, target, block, sent)
            sent.encoded(block, data)
            laps.lap("encode")
            copy.write(data)
            size += len(data)
        if is_first:
            failpoint("w.copy_mid")
            is_first = False
        laps.lap("write")
        del data, block  # they may be large, and the next one comes beside them
        block = arriving.next()
    end = encoder.finish()
    if end:
        copy.write(end)
    laps.lap("write")
    return size + len(end)


def _encoded(encoder: Encoder, target: CopyTarget, block: Block, sent: Sent) -> bytes:
    """The block's bytes. A DataError names the row, from 1, of this COPY."""
    try:
        return encoder.encode(block.data)
    except DataError as error:
        error.at(line=sent.rows_before + first_refused(target.columns, target.wire, block.data) + 1)
        raise


class _Arriving:
    """A partition's blocks, in order. None of them is kept here once it was given: they may be large."""

    def __init__(self, blocks: BlockStream, laps: Laps) -> None:
        self._blocks = iter(blocks)
        self._laps = laps
        self._ahead: list[Block | None] = []

    def await_first(self) -> None:
        """Returns when the first block is there, or it is known that there is none."""
        self._ahead.append(self._awaited())

    def next(self) -> Block | None:
        """The next block; None at the end."""
        return self._ahead.pop() if self._ahead else self._awaited()

    def _awaited(self) -> Block | None:
        """The time until it is there was waiting, but for what this thread spent on transforming it."""
        block = next(self._blocks, None)
        if block is not None:
            self._laps.book("transform", block.transform_s)
        self._laps.lap("wait_source")
        return block


def _copy_statement(target: CopyTarget) -> sql.Composed:
    return sql.SQL("COPY {} ({}) FROM STDIN ({})").format(
        sql.Identifier(target.table.schema, target.table.name),
        sql.SQL(", ").join(sql.Identifier(column.name) for column in target.columns),
        _COPY_OPTIONS[target.wire],
    )


def _earlier_receipt(connection: PgConnection, target: CopyTarget, partition: Partition) -> PartitionReceipt | None:
    """This partition's receipt, once no other attempt at it is under way; None where there is none.

    Without the lock a retry can miss the receipt of an attempt whose COMMIT is still being carried out, and copy the
    partition a second time (200 rows instead of 100).
    """
    connection.execute(
        "SELECT pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtextextended(%s, 0)),"
        " pg_catalog.pg_advisory_xact_lock_shared(pg_catalog.hashtextextended(%s, 0))",
        (f"{target.load_id}/{partition.index}", target.load_id),
    )
    row = connection.execute(
        sql.SQL("SELECT rows, bytes, rejected FROM {} WHERE load_id = %s AND partition = %s").format(
            sql.Identifier(target.receipts.schema, target.receipts.name)
        ),
        (target.load_id, partition.index),
    ).fetchone()
    if row is None:
        _require_open(connection, target)
        return None
    found = _receipt(target, partition, rows=row[0], size=row[1], already_loaded=True)
    return replace(found, rejected=row[2])


def _require_open(connection: PgConnection, target: CopyTarget) -> None:
    """Raises FenceError when another run has ended the load: rows that go straight into the target would come twice.

    Whoever ends a load has its lock to himself, so what is true here stays so until we have committed. A login of the
    workers' own may not read the ledger's loads: from it everything has been revoked instead.
    """
    loads = sql.Identifier(target.receipts.schema, "loads")
    name = loads.as_string(connection)
    readable = connection.execute(
        "SELECT pg_catalog.has_table_privilege(pg_catalog.to_regclass(%s), 'SELECT')", (name,)
    ).fetchone()
    if readable is None or not readable[0]:
        return
    found = connection.execute(
        sql.SQL("SELECT state FROM {} WHERE load_id = %s").format(loads), (target.load_id,)
    ).fetchone()
    if found is not None and found[0] != "prepared":
        raise FenceError(
            f"load {target.load_id} is {found[0]}: nothing can be added to it",
            code="load_ended",
            hint="another run has taken it over; run again",
            table=str(target.table),
        )


def _require_all_rows(target: CopyTarget, *, rows: int, sent: int) -> None:
    """A trigger or rule can drop rows without an error: COPY of 3 rows said "COPY 2" (B19)."""
    if rows != sent:
        raise DataError(
            f"{target.table} kept {rows} of {sent} rows",
            code="rows_dropped",
            hint="does a trigger or rule on the table drop rows?",
            table=str(target.table),
        )


def _insert_receipt(connection: PgConnection, target: CopyTarget, receipt: PartitionReceipt, *, worker: int) -> None:
    connection.execute(
        sql.SQL(
            "INSERT INTO {} (load_id, partition, pipeline, stream, worker, rows, bytes, rejected)"
            " VALUES (%s, %s, %s, %s, %s, %s, %s, %s)"
        ).format(sql.Identifier(target.receipts.schema, target.receipts.name)),
        (
            receipt.load_id,
            receipt.partition,
            target.pipeline,
            receipt.stream,
            worker,
            receipt.rows,
            receipt.bytes,
            receipt.rejected,
        ),
    )


def _receipt(
    target: CopyTarget,
    partition: Partition,
    *,
    rows: int,
    size: int,
    already_loaded: bool = False,
    blocked_s: float = 0.0,
) -> PartitionReceipt:
    return PartitionReceipt(
        load_id=target.load_id,
        stream=target.stream,
        partition=partition.index,
        rows=rows,
        bytes=size,
        already_loaded=already_loaded,
        write_blocked_s=blocked_s,
    )
