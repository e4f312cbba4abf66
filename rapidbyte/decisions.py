"""What concerns a run as a whole is decided here, by pure functions: its streams, its workers, what cannot go together.

`make_plan` puts a run's plan together from its streams' plans, which the leader has made.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from rapidbyte.contract import FlushSettings
from rapidbyte.errors import ConfigError, Problem
from rapidbyte.model import QualifiedName, ServerFacts
from rapidbyte.plan import RunPlan, StreamPlan, StreamShape
from rapidbyte.spec import Hooks, Resources, RunOptions, StreamSpec
from rapidbyte.tuning import Choice, Facts, choose

NEWEST_TESTED = 18
"""Major version of PostgreSQL; a newer destination gives a warning."""


def select_streams(streams: tuple[StreamSpec, ...], names: tuple[str, ...]) -> tuple[StreamSpec, ...]:
    """The streams of `--stream`, in pipeline order; all where no name is given.

    Raises ConfigError for a name that matches nothing.
    """
    if not names:
        return streams
    known = {stream.name for stream in streams}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ConfigError(
            f"no stream is called {', '.join(unknown)}",
            code="stream_unknown",
            hint=f"the pipeline has: {', '.join(sorted(known))}",
        )
    return tuple(stream for stream in streams if stream.name in names)


LEADER_CONNECTIONS = 2
"""At the destination: the leader's session and its lease's."""

SNAPSHOT_CONNECTIONS = 2
"""At the source: the snapshot's holder and a checksum's."""


def choose_workers(
    asked: int | None,
    *,
    cores: int,
    source: ServerFacts | None,
    destination: ServerFacts,
    shapes: tuple[StreamShape, ...] = (),
    large_rows_bytes: int = 0,
) -> Choice:
    """How many workers, and why. An explicit number is obeyed, or refused when connections do not suffice.

    Each worker takes a connection at either end; the leader takes two at the destination, the snapshot two
    at the source: its holder's, and a checksum's. Where both ends are on one server, all of that is counted together.
    """
    room, what = room_for_workers(source, destination)
    if asked is not None:
        fits = min(asked, room)
        reason = f"{asked} asked for, {room} fit into {what}" if asked > room else "as asked for"
        return Choice(mode="explicit", workers=fits, limit=fits, reason=reason)
    return choose(
        Facts(
            cores=cores,
            room=room,
            room_reason=what,
            total_bytes=_total(shape.estimated_bytes for shape in shapes),
            row_bytes=max((_row_bytes(shape) for shape in shapes), default=0) or None,
            large_rows_bytes=large_rows_bytes,
        )
    )


def room_for_workers(source: ServerFacts | None, destination: ServerFacts) -> tuple[int, str]:
    """For how many workers there are connections, and which are the fewest. Raises ConfigError where there are none."""
    room, what = min(_rooms(source, destination), default=(1_000_000, ""))
    if room < 1:
        sides = ((destination, "destination"), (source, "source"))
        left = [f"{facts.connections_left} at the {side}" for facts, side in sides if facts is not None]
        raise ConfigError(
            f"{what} do not suffice for a single worker: {', '.join(left)}",
            code="connections_exhausted",
            hint="raise the limit or end other sessions",
        )
    return room, what


def _total(sizes: Iterable[int | None]) -> int | None:
    known = tuple(sizes)
    return None if None in known or not known else sum(size or 0 for size in known)


def _row_bytes(shape: StreamShape) -> int:
    """The average row on disk; 0 where it is not known."""
    return (shape.estimated_bytes or 0) // shape.estimated_rows if shape.estimated_rows else 0


def _rooms(source: ServerFacts | None, destination: ServerFacts) -> list[tuple[int, str]]:
    """For how many workers connections are left, and where.

    Ends on one server share what max_connections leaves, and a limit that is on both; one that is on the role or the
    database of one end alone is that end's.
    """
    sides = [(destination, "destination"), (source, "source")]
    known = [(facts, side) for facts, side in sides if facts is not None and facts.connections_left is not None]
    shared = source is not None and _is_same_server(source, destination)
    limits = {facts.connections_limit for facts, _ in known}
    rooms: list[tuple[int, str]] = []
    for facts, side in known:
        left = facts.connections_left or 0
        if shared and (not facts.connections_limit or len(limits) == 1):
            rooms.append(((left - LEADER_CONNECTIONS - SNAPSHOT_CONNECTIONS) // 2, _connections_of(facts, "server")))
        else:
            own = LEADER_CONNECTIONS if side == "destination" else SNAPSHOT_CONNECTIONS
            rooms.append((left - own, _connections_of(facts, side)))
    return rooms


def _is_same_server(one: ServerFacts, other: ServerFacts) -> bool:
    """Whether these are databases of one server, as far as they let us know."""
    server, other_server = one.identity.rpartition("/")[0], other.identity.rpartition("/")[0]
    return bool(server) and server == other_server


def _connections_of(facts: ServerFacts, side: str) -> str:
    """`the source's free connections (connection limit of role loader)`."""
    return f"the {side}'s free connections" + (f" ({facts.connections_limit})" if facts.connections_limit else "")


PROCESS_BYTES = 96 * 1024 * 1024
"""What a process that loads from PostgreSQL takes without large rows: the interpreter, libraries, a few workers."""


TRANSFORM_COPIES = 8
"""Rows of a server on their way through transforms are at most so many times in memory what a worker has under way: as
COPY's text, as Arrow's, in DuckDB, as its result, encoded."""


def flush_settings(resources: Resources, workers: int, *, transformed: bool = False) -> FlushSettings:
    """Hand-over bounded in bytes: half of `max_memory` shared by the workers, blocks of a sixteenth of that.

    With `transformed` rows of a server an eighth of a worker's share is under way, and 1 MB at most.
    """
    share = max(256 * 1024, resources.max_memory_bytes // 2 // max(1, workers))
    most = 4 * 1024 * 1024
    if transformed:
        share, most = max(64 * 1024, share // TRANSFORM_COPIES), 1024 * 1024
    inflight = min(share, most, resources.max_batch_bytes * resources.max_inflight_batches)
    return FlushSettings(
        block_bytes=max(16 * 1024, min(256 * 1024, inflight // 4)),
        max_inflight_bytes=inflight,
        large_rows_bytes=max(resources.max_memory_bytes // 2, resources.max_memory_bytes - PROCESS_BYTES),
        max_row_bytes=resources.max_memory_bytes,
    )


def is_same_database(source: ServerFacts | None, destination: ServerFacts) -> bool:
    """Whether both ends are one database, as far as they let us know."""
    return source is not None and bool(source.identity) and source.identity == destination.identity


def readers_of(
    shapes: tuple[StreamShape, ...], *, source: ServerFacts | None, destination: ServerFacts
) -> tuple[tuple[QualifiedName, str], ...]:
    """(relation, stream that reads it), for relations that a stream of this run could also write.

    The snapshot keeps a lock on each of them until the last row is read, so no table can take their place (A10).
    """
    if not is_same_database(source, destination):
        return ()
    return tuple((relation, shape.spec.name) for shape in shapes for relation in relations_of(shape))


def relations_of(shape: StreamShape) -> tuple[QualifiedName, ...]:
    """Every relation that the stream is known to read, once."""
    own = () if shape.relation is None else (shape.relation,)
    return tuple(dict.fromkeys((*own, *shape.leaves, *shape.reads)))


def check_targets(streams: tuple[StreamPlan, ...], *, same_database: bool) -> None:
    """Refuses no streams at all, two streams with one target, and a stream that replaces what it reads.

    A query may add to the table that it reads: its snapshot is older than the load (A10).
    """
    problems: list[Problem] = []
    if not streams:
        raise ConfigError("no stream is selected: there is nothing to do", code="no_streams")
    taken: dict[QualifiedName, str] = {}
    for stream in streams:
        if stream.target in taken:
            message = f"streams {taken[stream.target]} and {stream.name} both write {stream.target}"
            problems.append(Problem(message=message))
        taken[stream.target] = stream.name
        read = relations_of(stream.shape)
        own = read if stream.write_mode == "replace" else tuple({*read} - {*stream.shape.reads})
        if same_database and stream.target in own:
            problems.append(Problem(message=f"stream {stream.name} would write the table it reads, {stream.target}"))
    if problems:
        raise ConfigError(
            "; ".join(problem.message for problem in problems),
            code="target_conflict",
            hint="give the stream another `target`, or the destination another `schema`",
            problems=tuple(problems),
        )


def check_money(streams: tuple[StreamPlan, ...], *, source: ServerFacts, destination: ServerFacts) -> None:
    """Refuses columns of money between servers that read its text differently: 1.00 here may be 100 there."""
    if source.lc_monetary == destination.lc_monetary:
        return
    problems = tuple(
        Problem(message=f"stream {stream.name!r}: column {column.source.name!r} is of type {column.source.type.name}")
        for stream in streams
        for column in stream.columns
        if column.source.money and column.conversion == "identical"
    )
    if problems:
        raise ConfigError(
            "; ".join(problem.message for problem in problems)
            + f", and lc_monetary is {source.lc_monetary} at the source, {destination.lc_monetary} at the destination",
            code="money_locale",
            hint="read it with a query that casts it to numeric",
            problems=problems,
        )


def make_plan(
    *,
    pipeline: str,
    streams: tuple[StreamPlan, ...],
    resources: Resources,
    options: RunOptions,
    source: ServerFacts | None,
    destination: ServerFacts,
    cores: int,
    source_title: str = "files",
    hooks: Hooks | None = None,
) -> RunPlan:
    """The whole run's plan from its streams' plans. Pure. Raises ConfigError for what cannot go together."""
    same_database = is_same_database(source, destination)
    check_targets(streams, same_database=same_database)
    if source is not None:
        check_money(streams, source=source, destination=destination)
    asked = options.workers or resources.parallelism
    choice = choose_workers(
        asked,
        cores=cores,
        source=source,
        destination=destination,
        shapes=tuple(stream.shape for stream in streams),
        large_rows_bytes=flush_settings(resources, 1).large_rows_bytes,
    )
    some = "1 worker" if choice.workers == 1 else f"{choice.workers} workers"
    fewer = (f"{some}: {choice.reason}",) if asked is not None and choice.workers < asked else ()
    return RunPlan(
        pipeline=pipeline,
        streams=_each_once(streams),
        choice=choice,
        checkpoint_interval_bytes=resources.checkpoint_interval_bytes,
        flush=flush_settings(
            resources,
            choice.limit,
            transformed=source is not None and any(stream.shape.transforms for stream in streams),
        ),
        max_retries=resources.max_retries,
        source=source,
        destination=destination,
        same_database=same_database,
        source_title=source_title if source is None else "PostgreSQL",
        warnings=(*fewer, *_version_warnings(destination)),
        hooks=hooks or Hooks(),
    )


def _each_once(streams: tuple[StreamPlan, ...]) -> tuple[StreamPlan, ...]:
    """The streams, of which the first of those that need a schema makes it.

    Whatever is not about a stream's own stage (`{load}`) or target happens once.
    """
    done: set[str] = set()
    planned: list[StreamPlan] = []
    for stream in streams:
        kept = tuple(statement for statement in stream.statements if statement not in done)
        done |= {statement for statement in kept if "{load}" not in statement}
        planned.append(stream if kept == stream.statements else replace(stream, statements=kept))
    return tuple(planned)


def _version_warnings(destination: ServerFacts) -> tuple[str, ...]:
    if destination.version_number < (NEWEST_TESTED + 1) * 10_000:
        return ()
    return (f"the destination is PostgreSQL {destination.version}; {NEWEST_TESTED} is the newest that was tested",)
