"""A connection to the destination that is lost between preflight and the first worker: whole runs go on."""

from __future__ import annotations

import pytest

from tests.postgres.leading import rows_of, run
from tests.postgres.loading import loaded, pipeline
from tests.postgres.proxying import proxied

STEPS = ["ledger", "lease", "run", "stream"]
"""What is committed before a worker starts, in order."""


@pytest.mark.parametrize("what", ["before", "after"])
@pytest.mark.parametrize("step", STEPS)
def test_a_lost_commit_before_the_first_worker_is_repeated(
    step: str, what: str, source_db: str, destination_db: str
) -> None:
    """C4, E18: the COMMIT never arrives, or nobody hears of it; one load, one run, no stage, one retry counted."""
    run(source_db, "CREATE TABLE t AS SELECT i, i * 2 AS more FROM generate_series(1, 100) i")
    run(destination_db, "CREATE SCHEMA raw; CREATE TABLE raw.t (i int); INSERT INTO raw.t VALUES (0)")
    with proxied(destination_db) as proxy:
        proxy.armed, proxy.spared = what, STEPS.index(step)
        result = loaded(pipeline(source_db, proxy.dsn, "t", write_mode="append"))
        assert proxy.armed is None
    assert (result.retry_count, result.attempts) == (1, 1)
    assert rows_of(destination_db, "SELECT count(*), sum(i), sum(more) FROM raw.t") == [(101, 5050, 10100)]
    assert rows_of(destination_db, "SELECT state FROM _rapidbyte.loads") == [("published",)]
    assert rows_of(destination_db, "SELECT run_id, status FROM _rapidbyte.runs") == [(result.run_id, "succeeded")]
    assert rows_of(destination_db, "SELECT count(*) FROM pg_class WHERE relname LIKE '\\_rb\\_%'") == [(0,)]
