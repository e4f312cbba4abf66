"""The values that travel between leader, engine and workers."""

from __future__ import annotations

import dataclasses
import pickle

import pytest

from rapidbyte.contract import FlushSettings, LoadReceipts, PartitionReceipt, WorkerReport, WriteContract
from rapidbyte.decisions import make_plan
from rapidbyte.destinations.postgres.writer import write_partition
from rapidbyte.engine.handoff import Handoff
from rapidbyte.engine.worker import PartitionJob
from rapidbyte.errors import ContractError, DataError, InternalError
from rapidbyte.metrics import ReadTimes, WorkTimes
from rapidbyte.model import QualifiedName, Secret
from rapidbyte.partition import CtidRange, Partition, Whole
from rapidbyte.spec import Resources, RunOptions, StreamSpec
from tests.fakes import FACTS, FakeLeader, FakeSource, copy_target, write


def contract() -> WriteContract:
    leader = FakeLeader()
    shape = FakeSource(1).describe((StreamSpec(name="orders"),))[0]
    plan = make_plan(
        pipeline="shop",
        streams=(leader.plan_stream(0, shape),),
        resources=Resources(),
        options=RunOptions(),
        source=None,
        destination=FACTS,
        cores=2,
    )
    return leader.prepare_stream(plan, plan.streams[0], "run-1")


def receipt(index: int, load_id: str = "load-1") -> PartitionReceipt:
    return PartitionReceipt(load_id=load_id, stream="orders", partition=index, rows=10, bytes=100)


def test_contract_job_receipt_and_report_pickle() -> None:
    """The engine can run on any Executor: what it sends and gets back survives pickling, the password included."""
    leaf = QualifiedName(schema="public", name="orders")
    job = PartitionJob(
        order=0,
        read=len,  # type: ignore[arg-type] - any picklable callable
        write=write,
        target=copy_target(),
        partition=Partition(stream="orders", index=0, range=CtidRange(relation=leaf, low_block=0, high_block=None)),
        max_inflight_bytes=1,
    )
    report = WorkerReport(
        receipt=receipt(0), worker=1, started_s=1.0, ended_s=2.0, times=WorkTimes(), read=ReadTimes(), bytes_read=1
    )
    for value in (contract(), job, report):
        assert pickle.loads(pickle.dumps(value)) == value
    assert pickle.loads(pickle.dumps(copy_target())).login.password.reveal() == "canary"


def test_errors_keep_class_code_and_place_when_they_travel() -> None:
    """A worker's error is the same on the other side of a process border."""
    error = DataError("does not fit", code="value_does_not_fit", hint="look", stream="a", line=3, sqlstate="22003")
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), again.message, again.code, again.hint) == (DataError, "does not fit", error.code, "look")
    assert again.context == error.context


def test_a_contract_cannot_be_changed_and_shows_no_secret() -> None:
    """Frozen, and `***` where the password is."""
    made = contract()
    with pytest.raises(dataclasses.FrozenInstanceError):
        made.stream = "other"  # type: ignore[misc]
    assert "canary" not in repr(made)
    assert "***" in repr(made)
    assert made.flush == FlushSettings()


@pytest.mark.parametrize("part", ["load_id", "pipeline", "stream", "columns", "wire", "session", "table", "receipts"])
def test_an_incomplete_contract_is_refused_before_a_connection_is_opened(part: str) -> None:
    """The writer names what is missing; the host `db` of the login does not even resolve."""
    empty: object = () if part in ("columns", "session") else "" if part not in ("table", "receipts") else None
    target = copy_target(**{part: empty})
    with pytest.raises(ContractError, match=part):
        write_partition(
            target,
            Partition(stream="orders", index=0, range=Whole()),
            Handoff(1),
            worker=0,
            stop=lambda: False,
        )


def test_load_receipts_cannot_be_built_with_one_missing_twice_or_foreign() -> None:
    """The value is the proof that every planned partition is committed exactly once."""
    whole = LoadReceipts(load_id="load-1", stream="orders", planned=2, receipts=(receipt(1), receipt(0)))
    assert whole.rows == 20
    for wrong in (
        (receipt(0),),
        (receipt(0), receipt(0)),
        (receipt(0), receipt(1, "load-2")),
        (receipt(0), receipt(2)),
    ):
        with pytest.raises(InternalError):
            LoadReceipts(load_id="load-1", stream="orders", planned=2, receipts=wrong)


def test_a_secret_prints_as_stars_everywhere() -> None:
    """repr, str, format and an f-string."""
    secret = Secret("canary")
    assert {repr(secret), str(secret), f"{secret}", f"{secret!r}"} == {"***"}
    assert secret == Secret("canary")
    assert secret != Secret("other")
