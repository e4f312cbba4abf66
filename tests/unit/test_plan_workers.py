"""How many workers a run has, by cores and by the connections that servers, databases and roles have left."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rapidbyte.decisions import choose_workers
from rapidbyte.errors import ConfigError
from rapidbyte.model import ServerFacts


def facts(left: int | None, limit: str = "") -> ServerFacts:
    """A server with this many connections left."""
    return ServerFacts(version="18.1", version_number=180001, connections_left=left, connections_limit=limit)


@pytest.mark.parametrize(
    ("asked", "cores", "left", "found"),
    [
        (3, 2, 50, (3, "as asked for")),
        (None, 1, 50, (2, "auto: 1 cores")),
        (None, 64, 50, (8, "auto: 64 cores")),
        (None, 8, 7, (5, "as many as fit into the destination's free connections")),
        (9, 8, 7, (5, "9 asked for, 5 fit into the destination's free connections")),
        (9, 8, None, (9, "as asked for")),
    ],
)
def test_workers_follow_from_cores_and_connections(
    asked: int | None, cores: int, left: int | None, found: tuple[int, str]
) -> None:
    """An explicit number is obeyed as far as connections go (A12, C11)."""
    choice = choose_workers(asked, cores=cores, source=None, destination=facts(left))
    assert (choice.workers, choice.reason) == found


def test_a_limit_of_a_role_or_database_is_named() -> None:
    """The side that has least counts."""
    found = choose_workers(4, cores=2, source=facts(4, "connection limit of role r"), destination=facts(50))
    assert (found.workers, found.reason) == (
        2,
        "4 asked for, 2 fit into the source's free connections (connection limit of role r)",
    )


def test_no_room_for_a_worker_is_refused() -> None:
    """Exit 2, before anything is touched."""
    told = r"\(connection limit of database d\) do not suffice for a single worker: 2 at the destination$"
    with pytest.raises(ConfigError, match=told):
        choose_workers(None, cores=2, source=None, destination=facts(2, "connection limit of database d"))


@pytest.mark.parametrize(
    ("source", "destination", "found"),
    [
        ("7/1", "7/2", (3, "9 asked for, 3 fit into the server's free connections")),
        ("7/1", "7/1", (3, "9 asked for, 3 fit into the server's free connections")),
        ("2026-01-01/5432/1", "2026-01-01/5432/2", (3, "9 asked for, 3 fit into the server's free connections")),
        ("7/1", "8/1", (8, "9 asked for, 8 fit into the destination's free connections")),
        ("", "", (8, "9 asked for, 8 fit into the destination's free connections")),
    ],
)
def test_two_ends_on_one_server_share_its_connections(source: str, destination: str, found: tuple[int, str]) -> None:
    """Ten are left: leader and snapshot take four, each worker two (C11)."""
    ends = [replace(facts(10), identity=identity) for identity in (source, destination)]
    choice = choose_workers(9, cores=2, source=ends[0], destination=ends[1])
    assert (choice.workers, choice.reason) == found


def test_a_limit_of_one_end_is_not_shared() -> None:
    """The source's role may open five more, its server fifty: the snapshot takes two of the five (C11)."""
    source = replace(facts(5, "connection limit of role r"), identity="7/1")
    found = choose_workers(9, cores=2, source=source, destination=replace(facts(50), identity="7/2"))
    assert found.workers == 3
    assert found.reason == "9 asked for, 3 fit into the source's free connections (connection limit of role r)"
