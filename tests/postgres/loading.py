"""What tests of whole runs share: pipelines between two databases, or from files into one, and what came of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import rapidbyte
from rapidbyte.errors import ErrorContext
from rapidbyte.model import Secret
from rapidbyte.result import RunResult
from rapidbyte.spec import (
    Connection,
    DestinationSpec,
    FilesSourceSpec,
    PipelineSpec,
    PostgresSourceSpec,
    Resources,
    RunOptions,
    StreamSpec,
)


def pipeline(
    source: str | Path, destination: str, *streams: StreamSpec | str, name: str = "shop", **settings: Any
) -> PipelineSpec:
    """Streams into schema raw, replaced unless `settings`, which are the destination's, say otherwise."""
    origin = (
        FilesSourceSpec(path=str(source))
        if isinstance(source, Path)
        else PostgresSourceSpec(connection=Connection(dsn=Secret(source)))
    )
    return PipelineSpec(
        pipeline=name,
        source=origin,
        streams=tuple(StreamSpec(name=stream) if isinstance(stream, str) else stream for stream in streams),
        destination=DestinationSpec(
            connection=Connection(dsn=Secret(destination)), schema="raw", **{"write_mode": "replace", **settings}
        ),
        resources=Resources(parallelism=2, checkpoint_interval_bytes=256 * 1024),
    )


def loaded(spec: PipelineSpec, **options: Any) -> RunResult:
    """The result of a run that must succeed."""
    result = rapidbyte.run(spec, options=RunOptions(**options))
    assert (result.status, result.error) == ("succeeded", None)
    return result


def refused(spec: PipelineSpec, exit_code: int, code: str, **options: Any) -> tuple[str, ErrorContext | Any]:
    """Message and whole error of a run that must fail so."""
    result = rapidbyte.run(spec, options=RunOptions(**options))
    assert result.error is not None, "the run succeeded"
    assert (result.status, result.exit_code, result.error.code) == ("failed", exit_code, code), result.error
    return result.error.message, result.error
