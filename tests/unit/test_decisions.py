"""What is decided for a run as a whole: targets that do not go together, statements that are run once, memory."""

from __future__ import annotations

import pytest

from rapidbyte.contract import ReplaceFacts
from rapidbyte.decisions import check_targets, flush_settings, make_plan
from rapidbyte.errors import ConfigError
from rapidbyte.model import QualifiedName, ServerFacts, WriteMode
from rapidbyte.plan import StreamPlan, StreamShape
from rapidbyte.spec import Resources, RunOptions, StreamSpec

MB = 1 << 20
ORDERS, TOTALS = QualifiedName(schema="raw", name="orders"), QualifiedName(schema="raw", name="totals")


def stream(
    target: QualifiedName,
    *,
    order: int = 0,
    relation: QualifiedName | None = None,
    reads: tuple[QualifiedName, ...] = (),
    mode: WriteMode = "append",
    statements: tuple[str, ...] = (),
) -> StreamPlan:
    """One that reads these relations."""
    return StreamPlan(
        order=order,
        shape=StreamShape(spec=StreamSpec(name=target.name), kind="query", relation=relation, columns=(), reads=reads),
        target=target,
        write_mode=mode,
        publish="insert",
        publish_reason="",
        wire="binary-relay",
        columns=(),
        primary_key=(),
        replace=ReplaceFacts(target_exists=False),
        statements=statements,
    )


def test_a_query_may_add_to_the_table_that_it_reads() -> None:
    """Its snapshot is older than the load (A10); in another database it is another table."""
    check_targets((stream(ORDERS, reads=(ORDERS,)),), same_database=True)
    check_targets((stream(ORDERS, reads=(ORDERS,), mode="replace"),), same_database=False)


@pytest.mark.parametrize(
    "refused",
    [stream(ORDERS, reads=(ORDERS,), mode="replace"), stream(ORDERS, relation=ORDERS)],
    ids=["replaces what its query reads", "appends a table to itself"],
)
def test_a_stream_does_not_write_the_table_that_it_reads(refused: StreamPlan) -> None:
    """A10: the snapshot's lock would wait for itself, or the table grow by itself."""
    with pytest.raises(ConfigError, match=r"orders would write the table it reads, raw\.orders") as raised:
        check_targets((refused,), same_database=True)
    assert raised.value.code == "target_conflict"


def test_what_several_streams_need_is_made_once_and_their_stages_each() -> None:
    """The first stream makes the schema; a stage is a load's own, though its statement reads the same."""
    schema, stage = 'CREATE SCHEMA "raw"', 'CREATE UNLOGGED TABLE "_rapidbyte"."s_{load}" (a int)'
    server = ServerFacts(version="18.1", version_number=180001)
    plan = make_plan(
        pipeline="p",
        streams=(
            stream(ORDERS, statements=(schema, stage)),
            stream(TOTALS, order=1, statements=(schema, stage)),
        ),
        resources=Resources(),
        options=RunOptions(),
        source=None,
        destination=server,
        cores=2,
    )
    assert [each.statements for each in plan.streams] == [(schema, stage), (stage,)]


@pytest.mark.parametrize(("memory", "room"), [(256, 160), (200, 104), (192, 96), (64, 32)])
def test_large_rows_have_what_a_process_leaves_of_the_memory_and_half_of_it_at_least(memory: int, room: int) -> None:
    """Megabytes; a row of them all is the longest."""
    found = flush_settings(Resources(max_memory_bytes=memory * MB), 2)
    assert (found.large_rows_bytes, found.max_row_bytes) == (room * MB, memory * MB)


@pytest.mark.parametrize(
    ("memory", "workers", "inflight", "block"),
    [(256, 2, 1024, 256), (256, 16, 1024, 256), (64, 8, 512, 128), (32, 4, 512, 128), (16, 8, 128, 32), (1, 8, 64, 16)],
)
def test_what_is_under_way_to_transforms_is_an_eighth_of_a_workers_share(
    memory: int, workers: int, inflight: int, block: int
) -> None:
    """Kilobytes; the share is that of half the memory. Rows are several times in memory there."""
    found = flush_settings(Resources(max_memory_bytes=memory * MB), workers, transformed=True)
    assert (found.max_inflight_bytes >> 10, found.block_bytes >> 10) == (inflight, block)
