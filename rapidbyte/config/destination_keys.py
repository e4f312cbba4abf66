"""The keys of `destination`."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from rapidbyte.config.confinement_keys import Limits, Permissions
from rapidbyte.config.connection_keys import ConnectionKeys
from rapidbyte.config.scalars import (
    Duration,
    Identifier,
    Names,
    Rejects,
    SecretText,
    Size,
    Text,
    Texts,
    Word,
    as_word,
    fault,
    not_yet,
)
from rapidbyte.config.section import NO_EFFECT, Section
from rapidbyte.model import WriteMode
from rapidbyte.rejects import OnDataError
from rapidbyte.spec import AppendStrategy, NullabilityPolicy, ReplaceStrategy, TypeChangePolicy


class WorkerKeys(Section, frozen=True):
    """The workers' own login."""

    user: Text = Field(description="Role that the COPY writers log in as; it needs no right to create anything.")
    password: SecretText | None = Field(default=None, description="Its password.")


class DestinationKeys(ConnectionKeys, frozen=True):
    """`destination.config`."""

    schema_: Identifier = Field(default="public", alias="schema", description="Schema of targets that name none.")
    worker: WorkerKeys | None = Field(default=None, description="The workers' own login. Default: the leader's.")
    load_method: Annotated[Literal["copy", "insert"], Word] | None = Field(
        default=None, description=f"{NO_EFFECT} rows are always loaded with COPY."
    )
    copy_flush_bytes: Size | None = Field(
        default=None, description=f"{NO_EFFECT} `resources.max_memory` bounds the blocks."
    )


def _removed(value: Any) -> Any:
    """The Rust tool's `add` meant `ignore` here."""
    word = as_word(value)
    return "ignore" if word == "add" else word


class SchemaEvolution(Section, frozen=True):
    """What may differ between source and target."""

    new_column: Annotated[Literal["add", "ignore", "fail"], Word] = Field(
        default="add", description="A column the target lacks."
    )
    removed_column: Annotated[Literal["ignore", "fail"], BeforeValidator(_removed)] = Field(
        default="ignore", description="A column the source lacks."
    )
    type_change: Annotated[TypeChangePolicy, Word, AfterValidator(not_yet("null"))] = Field(
        default="fail",
        description="A column whose type has outgrown the target's (integer to bigint, real to double precision, more "
        "text or digits). `coerce` widens the target's, and has the server read text as richer types. `null` is not "
        "available in this version.",
    )
    nullability_change: Annotated[NullabilityPolicy, Word] = Field(
        default="allow", description="A column that may be NULL in the source alone."
    )


_FIRST_WORDS = re.compile(r"(?:\s|--[^\n]*(?:\n|\Z)|/\*.*?\*/)*([A-Za-z]*)(?:\s+([A-Za-z]+))?", re.DOTALL)
_ENDS_TRANSACTION = ("BEGIN", "START", "COMMIT", "END", "ROLLBACK", "ABORT", "SAVEPOINT", "RELEASE", "COPY")


def _statements(texts: tuple[str, ...]) -> tuple[str, ...]:
    for text in texts:
        found = _FIRST_WORDS.match(text)
        word, second = (word or "" for word in found.groups()) if found is not None else ("", "")
        if not word:
            raise fault("a statement is due here")
        if word.upper() in _ENDS_TRANSACTION or (word.upper(), second.upper()) == ("PREPARE", "TRANSACTION"):
            raise fault(
                f"{word.upper()} cannot be a hook",
                "hooks run in the transaction that publishes, which is not theirs to begin, to end or to copy in",
            )
    return texts


Statements = Annotated[Texts, AfterValidator(_statements)]


class Hooks(Section, frozen=True):
    """SQL to run around a load."""

    before_load: Statements = Field(
        default=(),
        description="Statements, one each, run first in every transaction that publishes; a failure publishes nothing.",
    )
    after_load: Statements = Field(default=(), description="The same, run last.")


class Destination(Section, frozen=True):
    """`destination`."""

    use: Annotated[Literal["postgres", "dest-postgres"], Word] = Field(description="The connector.")
    config: DestinationKeys = Field(description="The connector's own keys.")
    write_mode: Annotated[WriteMode, Word] = Field(
        default="append",
        description="`append` adds rows, `replace` swaps the whole content, `upsert` updates and adds by key.",
    )
    primary_key: Names = Field(default=(), description="Key columns of every stream that names none.")
    replace_strategy: Annotated[ReplaceStrategy, Word] = Field(
        default="auto", description="How a replace is published: a new table swapped in, or rows exchanged in place."
    )
    append_strategy: Annotated[AppendStrategy, Word] = Field(
        default="staged",
        description="Whether an append goes through a stage. With `direct` readers see partitions as they land, also "
        "those of a run that fails later.",
    )
    schema_evolution: SchemaEvolution = Field(
        default_factory=SchemaEvolution, description="What may differ between source and target."
    )
    publish_timeout: Duration = Field(default=600.0, description="How long to wait for locks when publishing.")
    settle_timeout: Duration = Field(
        default=30.0,
        description="How long an incremental load waits for the source's open transactions to end.",
    )
    publish: Annotated[Literal["each", "together"], Word] = Field(
        default="each",
        description="`each` stream is published by itself, in pipeline order; `together`: all of them in one "
        "transaction, and none when one fails.",
    )
    on_data_error: Annotated[OnDataError, Word] = Field(
        default="fail",
        description="What a bad row does: `fail` ends the load, `skip` leaves it out and counts it, `dlq` also stores "
        "it (docs/rejects.md).",
    )
    max_rejects: Rejects = Field(
        default=1000,
        description="How many rows of a stream may be set aside, or which part of those that are read, as `1%`; with "
        "more the load fails.",
    )
    hooks: Hooks = Field(default_factory=Hooks, description="SQL to run in the transaction that publishes.")
    permissions: Permissions | None = Field(default=None, description="Limits what the connector may do.")
    limits: Limits | None = Field(default=None, description="Limits what the connector may take.")
