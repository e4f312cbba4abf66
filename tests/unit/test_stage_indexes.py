"""Which indexes of a stage are built first, and by how many."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rapidbyte.destinations.postgres.ddl import primary_key_name
from rapidbyte.destinations.postgres.stage_indexes import (
    StageIndex,
    costliest_first,
    gain_by_sessions,
    helpers_for,
    helpers_of_one,
    sessions_for,
)
from rapidbyte.model import QualifiedName

STAGE = QualifiedName(schema="raw", name="_rb_1")


def index(number: int, tail: str) -> StageIndex:
    """An index of the stage."""
    return StageIndex(stage=STAGE, name=f"_rb_1_{number}", unique=False, tail=tail, becomes=None)


def test_the_costliest_come_first() -> None:
    """By the size that the target's has; of equals what is no B-tree; else as they are given."""
    given_ = [
        index(0, "USING btree (a)"),
        index(1, "USING gin (b)"),
        index(2, "USING btree (c)"),
        index(3, "USING btree (d)"),
    ]
    found = costliest_first(given_, {(STAGE, "_rb_1_2"): 8192})
    assert [each.name for each in found] == ["_rb_1_2", "_rb_1_1", "_rb_1_0", "_rb_1_3"]


@pytest.mark.parametrize(
    ("indexes", "workers", "left", "sessions"),
    [(5, 2, 90, 2), (5, 8, 90, 5), (5, 8, 11, 3), (5, 8, 9, 0), (1, 8, 90, 0), (0, 8, 90, 0), (5, 1, 90, 0)],
)
def test_as_many_sessions_as_there_is_work_and_room_for(indexes: int, workers: int, left: int, sessions: int) -> None:
    """One an index, one a worker, and none of the connections that the workers may need; one alone is no gain."""
    assert sessions == sessions_for(indexes, workers=workers, connections_left=left)


@pytest.mark.parametrize(
    ("unfinished", "sessions", "workers", "allowed", "helpers"),
    [(5, 2, 2, 2, 0), (1, 2, 2, 2, 2), (6, 6, 8, 2, 0), (2, 2, 8, 2, 2), (3, 3, 8, 2, 1), (1, 2, 2, 0, 0)],
)
def test_cores_are_not_oversubscribed(unfinished: int, sessions: int, workers: int, allowed: int, helpers: int) -> None:
    """What is left for the others is used by the last; the server's setting is the most that an index gets."""
    assert helpers == helpers_for(unfinished, sessions=sessions, workers=workers, allowed=allowed)


@pytest.mark.parametrize(
    ("setting", "megabytes", "helpers"), [(2, 64, 1), (2, 1024, 2), (0, 1024, 0), (8, 256, 7), (2, 16, 0), (2, 1, 0)]
)
def test_the_servers_memory_bounds_its_helpers(setting: int, megabytes: int, helpers: int) -> None:
    """32 MB of maintenance_work_mem a process, the session's own among them."""
    assert helpers == helpers_of_one(setting=setting, memory_bytes=megabytes << 20)


@pytest.mark.parametrize(
    ("methods", "workers", "allowed", "gain"),
    [
        (("btree", "btree"), 2, 1, False),
        (("btree", "brin"), 3, 2, False),
        (("btree", "btree"), 3, 1, True),
        (("btree", "btree"), 2, 0, True),
        (("btree", "gist"), 2, 2, True),
        (("hash", "hash"), 2, 1, True),
    ],
)
def test_sessions_are_taken_where_one_leaves_cores_idle(
    methods: tuple[str, ...], workers: int, allowed: int, gain: bool
) -> None:
    """More workers than one index has processes, or an index that has no helpers."""
    indexes = [index(number, f"USING {method} (a)") for number, method in enumerate(methods)]
    assert gain == gain_by_sessions(indexes, workers=workers, allowed=allowed)


@given(st.integers(1, 50), st.integers(2, 64), st.integers(2, 64), st.integers(0, 8))
def test_all_together_are_no_more_than_the_workers_or_one_index_alone(
    unfinished: int, sessions: int, workers: int, allowed: int
) -> None:
    """Sessions and helpers."""
    busy = min(unfinished, sessions, workers)
    helpers = helpers_for(unfinished, sessions=min(sessions, workers), workers=workers, allowed=allowed)
    assert busy * (1 + helpers) <= max(workers, 1 + allowed)


@pytest.mark.parametrize(
    ("table", "name"),
    [
        ("orders", "orders_pkey"),
        ("x" * 63, "x" * 58 + "_pkey"),
        ("ä" * 31, "ä" * 29 + "_pkey"),
        ("a" + "ä" * 31, "a" + "ä" * 28 + "_pkey"),
    ],
)
def test_a_primary_keys_name_is_shortened_as_the_server_does_it(table: str, name: str) -> None:
    """By bytes, and never within a character."""
    assert name == primary_key_name(table)
