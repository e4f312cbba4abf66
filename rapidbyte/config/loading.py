"""A pipeline file -> PipelineSpec, or one ConfigError with everything that is wrong."""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, cast

from pydantic import ValidationError

from rapidbyte.config import document
from rapidbyte.config.conversion import make_spec
from rapidbyte.config.destination_keys import Destination
from rapidbyte.config.document import Node, printable, read_document, read_text
from rapidbyte.config.environment import Substitution, find_variables
from rapidbyte.config.models import DatabaseFilePipeline, FilesPipeline, Pipeline, PostgresPipeline
from rapidbyte.config.overrides import apply_overrides
from rapidbyte.config.problems import Finding, Index, config_error, findings_of
from rapidbyte.config.rules import Sections, check_rules
from rapidbyte.config.section import Section
from rapidbyte.config.source_keys import (
    DatabaseFileSource,
    DatabaseFileStream,
    FilesSource,
    FilesStream,
    PostgresSource,
    PostgresStream,
)
from rapidbyte.config.transform_keys import TransformKeys
from rapidbyte.errors import ConfigError, Problem
from rapidbyte.spec import PipelineSpec

S = TypeVar("S", bound=Section)


def load(
    path: str | os.PathLike[str],
    *,
    env: Mapping[str, str] | None = None,
    overrides: Sequence[tuple[str, str]] = (),
    env_file: str | os.PathLike[str] | None = None,
) -> PipelineSpec:
    """The pipeline of a file, complete and checked; nothing is connected to.

    `${NAME}` is looked up in `env_file`, then in `env` (None: the process's environment), then, without an
    `env_file`, in `.env` beside the pipeline. `overrides` are the (path, value) pairs of `--set`. Raises
    ConfigError, whose `problems` are all that is wrong, in the order of the file.
    """
    file = printable(os.fspath(path))
    _require_file(Path(path), file)
    variables = find_variables(Path(path), env, env_file)
    tree, structure = read_document(read_text(path, what="the pipeline file"), file)
    root, wrong = _mapping(tree, file, overrides, structure)
    substitution = Substitution(variables)
    index = Index(substitution.apply(root))
    wrong = (*wrong, *substitution.problems())
    model, findings = _judge(index, os.environ if env is None else env)
    problems = [*wrong, *(index.problem(finding) for finding in findings)]
    if problems or model is None:
        raise config_error(file, problems)
    return make_spec(model, Path(path))


def _is_missing(path: Path) -> bool:
    try:
        path.stat()
    except FileNotFoundError:
        return True
    except (OSError, ValueError):
        return False  # whoever opens it says why it cannot
    return False


def _require_file(path: Path, file: str) -> None:
    """Raises ConfigError where there is no such file, with the names that it may have been mistaken for."""
    if not _is_missing(path):
        return
    others = {found.stem: found for ending in ("*.yml", "*.yaml") for found in sorted(path.parent.glob(ending))}
    near = difflib.get_close_matches(path.stem, others, n=3)
    there = ", ".join(printable(str(others[stem])) for stem in (near or sorted(others)[:3]))
    first = f"{'did you mean' if near else 'here is'} {there}? " if there else ""
    raise ConfigError(
        f"the pipeline file {file} cannot be read: there is no such file",
        code="config_unreadable",
        hint=f"{first}`rapidbyte init` writes one to start from, `rapidbyte demo` shows two that work",
    )


def _mapping(
    tree: Node | None, file: str, overrides: Sequence[tuple[str, str]], problems: tuple[Problem, ...]
) -> tuple[document.Mapping, tuple[Problem, ...]]:
    """The document with `--set` applied. Raises ConfigError where there is no mapping to look into."""
    if isinstance(tree, document.Mapping):
        root, more = apply_overrides(tree, overrides)
        return root, (*problems, *more)
    if tree is not None and not problems:
        place, hint = tree.place, 'it begins with version: "1.0"'
        message = "the file holds a list, not keys" if isinstance(tree, document.Listing) else "the file holds no keys"
        problem = Problem(message=message, file=file, line=place.line, column=place.column, hint=hint)
        problems = (problem,)
    raise config_error(file, problems)


_PIPELINES: dict[str, type[PostgresPipeline | FilesPipeline | DatabaseFilePipeline]] = {
    "postgres": PostgresPipeline,
    "source-postgres": PostgresPipeline,
    "files": FilesPipeline,
    "sqlite": DatabaseFilePipeline,
    "duckdb": DatabaseFilePipeline,
}
_SOURCES: dict[
    str,
    tuple[
        type[PostgresSource | FilesSource | DatabaseFileSource], type[PostgresStream | FilesStream | DatabaseFileStream]
    ],
] = {
    "files": (FilesSource, FilesStream),
    "sqlite": (DatabaseFileSource, DatabaseFileStream),
    "duckdb": (DatabaseFileSource, DatabaseFileStream),
}


def _judge(index: Index, environment: Mapping[str, str]) -> tuple[Pipeline | None, list[Finding]]:
    """The model, and everything that is wrong with it; None where it has no valid shape."""
    use = index.text(("source", "use"))
    model = _PIPELINES.get(use or "", PostgresPipeline)
    is_known = use in _PIPELINES
    try:
        pipeline = model.model_validate(index.data)
    except ValidationError as error:
        findings = findings_of(error, model, index)
    else:
        streams = tuple(enumerate(pipeline.source.streams))
        sections = Sections(
            source=pipeline.source,
            streams=streams,
            destination=pipeline.destination,
            environment=environment,
            transforms=tuple(enumerate(pipeline.transforms)),
        )
        return pipeline, [*_no_streams(streams), *check_rules(sections)]
    if not is_known:  # which keys belong into config and streams cannot be told
        findings = [f for f in findings if f.path[:2] not in (("source", "config"), ("source", "streams"))]
        return None, findings
    return None, [*findings, *check_rules(_valid_sections(index, environment, use or ""))]


def _no_streams(streams: tuple[object, ...]) -> list[Finding]:
    if streams:
        return []
    return [Finding(path=("source", "streams"), message="no stream is listed", hint="write `- name: orders`")]


def _valid_sections(index: Index, environment: Mapping[str, str], use: str) -> Sections:
    """What is valid in itself, so that what is wrong elsewhere does not hide what does not go together."""
    source: Any = index.data.get("source")
    inner = cast("dict[str, Any]", source) if isinstance(source, dict) else {}
    items = _items(inner.get("streams"))
    transforms = [
        (position, _valid(TransformKeys, item)) for position, item in enumerate(_items(index.data.get("transforms")))
    ]
    source_model, stream_model = _SOURCES.get(use, (PostgresSource, PostgresStream))
    judged = [(position, _valid(stream_model, item)) for position, item in enumerate(items)]
    without_streams: dict[str, Any] = {**inner, "streams": []}
    return Sections(
        source=_valid(source_model, without_streams),
        streams=tuple((position, stream) for position, stream in judged if stream is not None),
        destination=_valid(Destination, index.data.get("destination")),
        environment=environment,
        transforms=tuple((position, each) for position, each in transforms if each is not None),
    )


def _items(value: object) -> list[Any]:
    return cast("list[Any]", value) if isinstance(value, list) else []


def _valid(model: type[S], data: object) -> S | None:
    try:
        return model.model_validate(data)
    except ValidationError:
        return None
