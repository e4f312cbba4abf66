"""Which way a load is published, and why. Pure: from what was asked for and what hangs on the target.

rename    the stage becomes the target                  no target, or an empty one with nothing attached
swap      likewise, after it was given all that hangs on the old table
in_place  the target's rows are changed                 replace, where something cannot be given to another table
insert    the stage's rows are added                    append
direct    workers write into the target                append, with append_strategy: direct
merge     rows of known keys are updated, others added  upsert
"""

from __future__ import annotations

from rapidbyte.destinations.postgres.target import TargetFacts
from rapidbyte.errors import ConfigError
from rapidbyte.model import PublishMethod, WriteMode
from rapidbyte.pg.definition import quoted
from rapidbyte.spec import AppendStrategy, ReplaceStrategy, StreamSpec
from rapidbyte.values import frozen

SHOWN_OBSTACLES = 3
"""Reasons name this many of the things that are in the way, and count the rest."""


@frozen
class PublishChoice:
    """A publish method, and the reason as a sentence's end: `swap: 2 indexes are carried over`."""

    method: PublishMethod
    reason: str


def choose_publish(
    *,
    facts: TargetFacts,
    write_mode: WriteMode,
    strategy: ReplaceStrategy,
    carried: frozenset[str],
    readers: tuple[str, ...] = (),
    append: AppendStrategy = "staged",
) -> PublishChoice:
    """The publish method for a target. `carried` are the target's columns that the stream delivers, new ones included.

    `readers` are streams of the same run that read the target: the lock of the run's own snapshot, held until the
    last stream is read, keeps any other table from taking its place (A10).

    Raises ConfigError for `replace_strategy: swap` where that is impossible.
    """
    if not facts.exists:
        return _for_new(facts)
    if write_mode == "upsert":
        return PublishChoice(method="merge", reason="upsert into an existing table")
    obstacles = (
        *(f"stream {name} of the same run reads it" for name in dict.fromkeys(readers)),
        *swap_obstacles(facts, carried),
    )
    if facts.empty and not obstacles and not attached(facts) and strategy != "in_place":
        return PublishChoice(method="rename", reason="the target is empty and nothing is attached to it")
    if write_mode == "append" and append == "direct":
        return PublishChoice(method="direct", reason="append_strategy: direct")
    if write_mode == "append":
        return PublishChoice(method="insert", reason="append to an existing table")
    if strategy == "in_place":
        return PublishChoice(method="in_place", reason="replace_strategy: in_place")
    if not obstacles:
        carriage = ", ".join(attached(facts)) or "nothing but columns"
        return PublishChoice(method="swap", reason=f"all that is attached can be carried over: {carriage}")
    if strategy == "swap":
        raise ConfigError(
            f"replace_strategy: swap is impossible for {facts.name}: {shortened(obstacles)}",
            code="swap_impossible",
            hint="use replace_strategy: auto, which then replaces the rows in place",
            table=str(facts.name),
        )
    return PublishChoice(method="in_place", reason=shortened(obstacles))


def _for_new(facts: TargetFacts) -> PublishChoice:
    if facts.publications_of_schema:
        # A logged stage would be published too, and stop the subscribers, who have no such table.
        which = ", ".join(facts.publications_of_schema)
        return PublishChoice(
            method="insert", reason=f"the target does not exist, and publication {which} covers its whole schema"
        )
    return PublishChoice(method="rename", reason="the target does not exist")


def swap_obstacles(facts: TargetFacts, carried: frozenset[str]) -> tuple[str, ...]:
    """Why a new table cannot take the target's place; empty where it can. What is not known to be carried is one."""
    found: list[str] = []
    if facts.publications_of_schema:
        found.append(f"publication {', '.join(facts.publications_of_schema)} covers its whole schema")
    if not facts.owned:
        found.append(f"it belongs to {facts.owner}, whose rights we do not have")
    elif not facts.may_give:
        found.append(f"a new table cannot be given to its owner {facts.owner}")
    if not facts.may_create:
        found.append(f"we may not create tables in schema {facts.name.schema}")
    if "SELECT" not in facts.privileges:
        found.append("we may not read it")
    found += facts.obstacles
    found += [f"trigger {name}" for name in facts.triggers if not _told(name, facts)]
    missing = [column.name for column in facts.columns if column.name not in carried]
    if missing:
        found.append(f"the stream does not carry column {', '.join(missing)}")
    return tuple(dict.fromkeys(found))


def _told(name: str, facts: TargetFacts) -> bool:
    return any(name in obstacle for obstacle in facts.obstacles)


def attached(facts: TargetFacts) -> tuple[str, ...]:
    """What hangs on the target and is carried to another table, as phrases."""
    counts = (
        (len([index for index in facts.indexes if index.constraint is None]), "index", "indexes"),
        (len([index for index in facts.indexes if index.constraint is not None]), "key", "keys"),
        (len(facts.checks), "check", "checks"),
        (len([column for column in facts.columns if column.default is not None]), "default", "defaults"),
        (len(facts.grants), "grant", "grants"),
        (len(_comments(facts)), "comment", "comments"),
        (len(facts.options), "storage parameter", "storage parameters"),
        (
            len([c for c in facts.columns if c.statistics is not None or c.options or not c.stored_as_type]),
            "column setting",
            "column settings",
        ),
    )
    return tuple(f"{count} {one if count == 1 else many}" for count, one, many in counts if count)


def _comments(facts: TargetFacts) -> list[str]:
    texts = [facts.comment, *(column.comment for column in facts.columns), *(check.comment for check in facts.checks)]
    texts += [comment for _, comment in facts.not_null_comments]
    for index in facts.indexes:
        texts += [index.comment, index.constraint_comment]
    return [text for text in texts if text is not None]


def shortened(obstacles: tuple[str, ...]) -> str:
    """The first few, and how many more."""
    text = "; ".join(obstacles[:SHOWN_OBSTACLES])
    more = len(obstacles) - SHOWN_OBSTACLES
    return f"{text}; and {more} more" if more > 0 else text


def key_for(*, facts: TargetFacts, stream_key: tuple[str, ...], carried: frozenset[str]) -> tuple[str, ...]:
    """The key by which in_place finds the same row: the stream's, else the target's primary key; empty for none.

    A key counts only where all of its columns are carried.
    """
    for key in (stream_key, facts.primary_key):
        if key and set(key) <= carried:
            return key
    return ()


def require_replicable(spec: StreamSpec, facts: TargetFacts, method: PublishMethod, *, keyed: bool) -> None:
    """Refuses to change rows whose publication could not tell its subscribers which (D17).

    The server would, after the load. Without a key in_place deletes and inserts; nothing is updated then.
    """
    refusing: set[str] = set()
    if method == "merge" or (method == "in_place" and keyed):
        refusing |= set(facts.refusing_updates)
    if method == "in_place":
        refusing |= set(facts.refusing_deletes)
    if refusing:
        table = f"{quoted(facts.name.schema)}.{quoted(facts.name.name)}"
        raise ConfigError(
            f"{facts.name} has no replica identity, so that publication {', '.join(sorted(refusing))} takes no"
            " UPDATE or DELETE of its rows",
            code="replica_identity_missing",
            hint=f"give it a primary key, or run: ALTER TABLE {table} REPLICA IDENTITY FULL",
            stream=spec.name,
            table=str(facts.name),
        )
