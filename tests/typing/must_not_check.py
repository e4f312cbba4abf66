"""Calls that must not type-check.

Never run. `basedpyright` checks this file, and an ignore that is not needed is an error there: so if one of these
calls should become acceptable, `make check` turns red. Each ignore names the one rule that it expects.
"""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
from psycopg import sql

from rapidbyte.contract import CopyTarget, LoadReceipts, PartitionReceipt, WriteContract
from rapidbyte.destinations.postgres.writer import write_partition
from rapidbyte.model import ColumnType, QualifiedName, Secret
from rapidbyte.partition import Partition
from rapidbyte.pg.copy import CopyIn
from rapidbyte.pg.session import begin, translated
from rapidbyte.ports import BlockStream, Leader, WritePartition
from rapidbyte.result import RunResult
from rapidbyte.spec import Connection


def never() -> bool:
    """A `Stop` that does not."""
    return False


def text_is_no_sql(connection: psycopg.Connection, name: str) -> None:
    """SQL is composed or literal: an f-string is not a query (G1)."""
    connection.execute(f"DROP TABLE {name}")  # pyright: ignore[reportCallIssue, reportArgumentType]
    connection.execute("DROP TABLE " + name)  # pyright: ignore[reportCallIssue, reportArgumentType]
    connection.execute("DROP TABLE %s" % name)  # pyright: ignore[reportCallIssue, reportArgumentType]  # noqa: UP031
    connection.execute(name)  # pyright: ignore[reportCallIssue, reportArgumentType]
    connection.execute(sql.SQL(name))  # pyright: ignore[reportArgumentType]
    connection.execute(sql.SQL(f"DROP TABLE {name}"))  # pyright: ignore[reportArgumentType]
    connection.execute(sql.SQL("DROP TABLE {}").format(sql.SQL(name)))  # pyright: ignore[reportArgumentType]
    begin(connection, (), mode=name)  # pyright: ignore[reportArgumentType]
    CopyIn(connection, f"COPY {name} FROM STDIN", stop=never, doing="")  # pyright: ignore[reportArgumentType]


def a_worker_gets_the_copy_target_alone(
    contract: WriteContract, leader: Leader, partition: Partition, blocks: BlockStream
) -> None:
    """The write port takes what a COPY needs: no contract, no leader, no name, and no partition's number."""
    write_partition(contract, partition, blocks, worker=0, stop=never)  # pyright: ignore[reportArgumentType]
    write_partition(leader, partition, blocks, worker=0, stop=never)  # pyright: ignore[reportArgumentType]
    write_partition("public.t", partition, blocks, worker=0, stop=never)  # pyright: ignore[reportArgumentType]
    write_partition(contract.copy, 7, blocks, worker=0, stop=never)  # pyright: ignore[reportArgumentType]
    write_partition(contract.copy, partition, [b"row"], worker=0, stop=never)  # pyright: ignore[reportArgumentType]


def a_writer_of_another_shape_is_none(connection: psycopg.Connection) -> WritePartition:
    """A writer that keeps a connection, and so could do anything with it, does not fit the port."""

    def write(connection: psycopg.Connection, blocks: Iterator[bytes]) -> int:
        del connection, blocks
        return 0

    return write  # pyright: ignore[reportReturnType]


def a_copy_target_reaches_nothing(target: CopyTarget) -> None:
    """Neither the contract nor the leader can be had from what a worker holds."""
    target.publish  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]  # noqa: B018
    target.leader  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]  # noqa: B018
    target.replace  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]  # noqa: B018


def values_are_frozen(target: CopyTarget, receipt: PartitionReceipt, contract: WriteContract, done: RunResult) -> None:
    """What goes from step to step is not changed on the way."""
    target.table = QualifiedName(schema="public", name="victim")  # pyright: ignore[reportAttributeAccessIssue]
    target.columns += ()  # pyright: ignore[reportAttributeAccessIssue]
    receipt.rows = 0  # pyright: ignore[reportAttributeAccessIssue]
    contract.copy = target  # pyright: ignore[reportAttributeAccessIssue]
    contract.resume.loaded_partitions.append(1)  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
    done.status = "succeeded"  # pyright: ignore[reportAttributeAccessIssue]


def values_are_named(receipts: tuple[PartitionReceipt, ...]) -> None:
    """Fields are given by name: two texts or two numbers cannot change places."""
    QualifiedName("t", "public")  # pyright: ignore[reportCallIssue]
    ColumnType("int4", 23)  # pyright: ignore[reportCallIssue]
    LoadReceipts("load", "stream", 1, receipts)  # pyright: ignore[reportCallIssue]


def words_are_closed() -> None:
    """Sides, wires, modes are words of a list."""
    translated("middle", "copying")  # pyright: ignore[reportArgumentType]
    ColumnType(name="int4", oid=23, kind="base type")  # pyright: ignore[reportArgumentType]


def a_secret_is_no_text() -> str:
    """A secret cannot be put where text is due, and text is no secret."""
    Connection(password="pw")  # pyright: ignore[reportArgumentType]
    return Secret("pw")  # pyright: ignore[reportReturnType]
