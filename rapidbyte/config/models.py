"""The keys of a pipeline file: one model for each mapping, one line for each key. pydantic lives here.

A key of a feature that is not there yet is listed and refused; a key of the Rust rapidbyte of early 2026 is accepted
where it has a counterpart or does no harm. What is within `source`, `transforms` and `destination` has modules of its
own; rules that concern several keys are in `rules`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, PlainValidator, WithJsonSchema

from rapidbyte.config.destination_keys import Destination
from rapidbyte.config.scalars import (
    Count,
    Flag,
    Integer,
    Kind,
    PipelineName,
    Positive,
    SecretText,
    Size,
    Text,
    Word,
    as_count_or_auto,
    as_list,
    as_written,
    at_least,
    fault,
    not_yet,
    only,
)
from rapidbyte.config.section import NO_EFFECT, NOT_YET, Section
from rapidbyte.config.source_keys import DatabaseFileSource, FilesSource, PostgresSource, SourceKeys
from rapidbyte.config.transform_keys import TransformKeys
from rapidbyte.spec import MEGABYTE

Parallelism = Annotated[
    int | None,
    PlainValidator(as_count_or_auto),
    Kind(name="auto, or a number"),
    WithJsonSchema(
        {"anyOf": [{"const": "auto"}, {"type": "integer", "minimum": 1}, {"type": "string", "pattern": r"\$\{"}]}
    ),
]


class Autotune(Section, frozen=True):
    """Hints of the Rust tool."""

    enabled: Flag | None = Field(default=None, description=f"{NO_EFFECT} sizes follow from the plan.")
    parallelism: Annotated[Positive, AfterValidator(at_least(1, 1024))] | None = Field(
        default=None, description="Used where `resources.parallelism` is auto. Also `pin_parallelism`."
    )
    partition_mode: Annotated[Literal["mod", "mod_hash", "range"], Word] | None = Field(
        default=None, description=f"{NO_EFFECT} the source decides. Also `pin_source_partition_mode`."
    )
    flush_bytes: Size | None = Field(
        default=None, description=f"{NO_EFFECT} `resources.max_memory` bounds the blocks. Also `pin_copy_flush_bytes`."
    )


def _unpinned(value: Any) -> Any:
    """`autotune` with the keys' older names replaced."""
    value = as_written(value)
    if not isinstance(value, dict):
        return value  # the model refuses it
    names = {
        "pin_parallelism": "parallelism",
        "pin_source_partition_mode": "partition_mode",
        "pin_copy_flush_bytes": "flush_bytes",
    }
    return {names.get(str(key), str(key)): node for key, node in value.items()}  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]


class ResourceKeys(Section, frozen=True):
    """`resources`."""

    parallelism: Parallelism = Field(
        default=None, description="Number of workers of the run; `auto`: see performance.md."
    )
    max_memory: Annotated[Size, AfterValidator(at_least(MEGABYTE))] = Field(
        default=256 * MEGABYTE,
        description="Bound of what is in memory between reading and writing; see performance.md.",
    )
    max_batch_bytes: Annotated[Size, AfterValidator(at_least(1024))] = Field(
        default=64 * MEGABYTE, description="Bound of one batch."
    )
    checkpoint_interval_bytes: Size = Field(
        default=64 * MEGABYTE, description="Size of a partition, the unit of commit and retry; 0: no bound."
    )
    checkpoint_interval_rows: Annotated[Integer, AfterValidator(only(0))] = Field(
        default=0, description="Refused unless 0: partitions are bounded in bytes."
    )
    checkpoint_interval_seconds: Annotated[Integer, AfterValidator(only(0))] = Field(
        default=0, description="Refused unless 0: partitions are bounded in bytes."
    )
    max_retries: Annotated[Count, AfterValidator(at_least(0, 1000))] = Field(
        default=3, description="How often a partition or a publish may be tried again."
    )
    max_inflight_batches: Annotated[Integer, AfterValidator(at_least(1))] = Field(
        default=16, description="Batches between a reader and its writer."
    )
    compression: Annotated[Literal["lz4", "zstd"], Word] | None = Field(
        default=None, description=f"{NO_EFFECT} there is one process."
    )
    autotune: Annotated[Autotune, BeforeValidator(_unpinned)] | None = Field(
        default=None, description="Hints of the Rust rapidbyte."
    )


class State(Section, frozen=True):
    """`state`."""

    backend: Annotated[Literal["sqlite", "postgres"], Word] | None = Field(
        default=None, description=f"{NO_EFFECT} the ledger in the destination is used."
    )
    connection: SecretText | None = Field(
        default=None, description=f"{NO_EFFECT} the ledger in the destination is used."
    )


class Dask(Section, frozen=True):
    """`execution.dask`."""

    address: Annotated[Text, AfterValidator(only())] | None = Field(default=None, description=f"Scheduler. {NOT_YET}")


class Execution(Section, frozen=True):
    """`execution`."""

    engine: Annotated[Literal["threads", "dask"], Word, AfterValidator(not_yet("dask"))] = Field(
        default="threads", description="Where workers run. `dask` is not available in this version."
    )
    dask: Dask | None = Field(default=None, description=f"The cluster. {NOT_YET}")


def _version(text: str) -> str:
    if text != "1.0":
        raise fault('the version must be "1.0"')
    return text


class PipelineKeys(Section, frozen=True):
    """A whole pipeline file, whatever its source."""

    version: Annotated[Text, AfterValidator(_version), WithJsonSchema({"const": "1.0"})] = Field(
        description='Version of this format: "1.0", in quotes.'
    )
    pipeline: PipelineName = Field(description="Name of state, lease and receipts.")
    source: SourceKeys = Field(description="Where rows come from.")
    transforms: Annotated[tuple[TransformKeys, ...], BeforeValidator(as_list)] = Field(
        default=(), description="What happens to the rows on the way, in order (docs/transforms.md)."
    )
    destination: Destination = Field(description="Where rows go.")
    resources: ResourceKeys = Field(default_factory=ResourceKeys, description="How much the run may take.")
    execution: Execution = Field(default_factory=Execution, description="Where workers run.")
    state: State | None = Field(default=None, description=f"{NO_EFFECT} the ledger in the destination is used.")


class PostgresPipeline(PipelineKeys, frozen=True):
    """A pipeline that reads PostgreSQL."""

    source: PostgresSource = Field(description="Where rows come from.")


class FilesPipeline(PipelineKeys, frozen=True):
    """A pipeline that reads files."""

    source: FilesSource = Field(description="Where rows come from.")


class DatabaseFilePipeline(PipelineKeys, frozen=True):
    """A pipeline that reads a database that is a file."""

    source: DatabaseFileSource = Field(description="Where rows come from.")


Pipeline = PostgresPipeline | FilesPipeline | DatabaseFilePipeline
