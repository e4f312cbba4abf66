"""docs/pipeline.md, generated from the models: `python -m rapidbyte.config.reference > docs/pipeline.md`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from rapidbyte.config.models import DatabaseFilePipeline, FilesPipeline, PostgresPipeline
from rapidbyte.config.problems import keys_of, section_in, sections
from rapidbyte.config.scalars import UNITS, Kind
from rapidbyte.config.section import Section

_SHARED = ("permissions", "limits")
"""Mappings that stand at several places with the same keys; told once."""

_HEAD = """\
# The pipeline file

<!-- Generated: python -m rapidbyte.config.reference > docs/pipeline.md -->

YAML, one document. A key that is not listed here is refused, with the nearest one suggested; all problems are told
at once, each with file, line and column.

```yaml
version: "1.0"
pipeline: shop
source:
  use: postgres
  config: {dsn: "${SHOP_DSN}"}
  streams:
    - name: orders
    - {name: "sales.*", exclude: ["tmp_*"]}
destination:
  use: postgres
  config: {dsn: "${WAREHOUSE_DSN}", schema: raw}
  write_mode: replace
```

## Values

- **Text** that YAML 1.1 would read as a boolean, number, date or base 60 number (`no`, `on`, `1.10`, `012`, `22:22`,
  `2024-01-01`) is refused where text is due; in quotes it is taken.
- **Numbers** are decimal digits. A number that comes out of `${NAME}` is parsed where a number is due.
- **Sizes** are bytes, or take `kb`, `mb`, `gb` (1024). **Durations** are seconds, or take `s`, `m`, `h`.
- **Names** of columns, schemas and tables are used as they are written, case included, and have at most 63 bytes.
  Where a stream's name holds dots it is read both ways: as a table of that name, and as `schema.table`.
- Refused: anchors, aliases, tags, merge keys, duplicate keys, a second document, a byte order mark, more than 1 MiB,
  50,000 keys and values, or 50 levels.

## Environment

`${NAME}` is replaced inside of values, after parsing, so that a value can never become YAML; `${NAME:-default}` gives
a default for a name that is unset or empty, `$$` is a dollar. A name without a value is an error that lists all of
them. A name is looked up in

1. the file of `--env-file`, which was named on purpose and so wins,
2. the environment,
3. `.env` beside the pipeline file, unless `--env-file` is given.

Such files hold `NAME=value` lines; `export`, quotes and `#` comments are allowed, nothing in them is expanded. They
serve `${NAME}` alone: the PG* variables that libpq reads come from the environment.

## `--set path=value`

Replaces or adds one value, which is then checked like the file: `--set destination.config.schema=raw`,
`--set "source.streams[0].where=amount > 0"`, or by the stream's name,
`--set "source.streams.orders.columns=[id, amount]"`. Where a list or a mapping is due it is written on one line, as
YAML has it: `--set "destination.config={embedded: true, schema: raw}"`. `${NAME}` and `$$` work as in the file.

## Known spellings

`source-postgres` and `dest-postgres` mean `postgres`. Keys of the Rust rapidbyte of early 2026 that have no effect
here are accepted with a notice of one line. Its `permissions` and `limits` are checked, or refused where there is
nothing to check them against; they are never ignored.
"""


def reference() -> str:
    """The whole page."""
    return "".join([_HEAD, *(_section(path, models) for path, models in _grouped().items())])


def _grouped() -> dict[str, dict[str, type[Section]]]:
    """The mappings of the file by path; for each, its model by the scope in which it holds."""
    grouped: dict[str, dict[str, type[Section]]] = {}
    for scope, pipeline in (
        ("postgres", PostgresPipeline),
        ("files", FilesPipeline),
        ("sqlite, duckdb", DatabaseFilePipeline),
    ):
        for path, model in sections(pipeline):
            first = path.split(".")[-1] if path.split(".")[-1] not in _SHARED else None
            is_inside = any(part in _SHARED for part in path.split(".")[:-1])
            if first is None or is_inside:
                continue
            grouped.setdefault(path, {})[scope] = model
    for path, model in sections(PostgresPipeline, ""):
        if path.startswith(("source.permissions", "source.limits")):
            grouped[path.replace("source.", "source.*, destination.*: ", 1)] = {"": model}
    return grouped


def _section(path: str, models: dict[str, type[Section]]) -> str:
    title = f"`{path}`" if path else "The file"
    title = "`source.streams[]`" if path == "source.streams" else title
    title = title.replace("source.*, destination.*: ", "")
    same = len({id(model) for model in models.values()}) == 1
    rows: dict[str, dict[str, FieldInfo]] = {}
    for scope, model in models.items():
        for key, info in keys_of(model).items():
            rows.setdefault(key, {})[scope] = info
    ordered = sorted(rows.items(), key=lambda row: not next(iter(row[1].values())).is_required())
    lines = [_row(key, infos, everywhere=same or len(infos) > 1) for key, infos in ordered]
    table = "| key | type | default | scope | meaning |\n|---|---|---|---|---|\n" + "\n".join(lines)
    where = "\n\nUnder `source` and `destination` alike." if "destination.*" in path else ""
    return f"\n## {title}{where}\n\n{table}\n"


def _row(key: str, infos: dict[str, FieldInfo], *, everywhere: bool) -> str:
    """One key, which may have another type and the same meaning in each scope."""
    info = next(iter(infos.values()))
    scope = "all" if everywhere else f"use: {', '.join(sorted(infos))}"
    types = ", ".join(dict.fromkeys(_type(each) for each in infos.values()))
    cells = (f"`{key}`", types, _default(info), scope, info.description or "")
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _type(info: FieldInfo) -> str:
    kinds = list(_kinds(info.annotation, info.metadata))
    if kinds:
        return kinds[0]
    if section_in(info.annotation) is not None:
        return "list of mappings" if get_origin(info.annotation) is tuple else "mapping"
    words = [word for word in _words(info.annotation) if not word.startswith(("source-", "dest-"))]
    return ", ".join(f"`{word}`" for word in words)


def _kinds(annotation: Any, metadata: list[Any]) -> Iterator[str]:
    """What the type is called, outermost first."""
    yield from (mark.name for mark in metadata if isinstance(mark, Kind))
    if get_origin(annotation) in (Union, UnionType):
        for part in get_args(annotation):
            if part is not NoneType:
                yield from _kinds(part, list(getattr(part, "__metadata__", ())))


def _words(annotation: Any) -> Iterator[str]:
    if get_origin(annotation) is Literal:
        yield from get_args(annotation)
        return
    for part in get_args(annotation):
        yield from _words(part)


def _default(info: FieldInfo) -> str:
    if info.default is None and any(kind.startswith("auto") for kind in _kinds(info.annotation, info.metadata)):
        return "`auto`"
    if info.default_factory is not None or info.default in (None, ()):
        return ""
    if info.default is PydanticUndefined:
        return "required"
    if "size" in _kinds(info.annotation, info.metadata):
        return f"`{_size(info.default)}`"
    if "duration" in _kinds(info.annotation, info.metadata):
        return f"`{info.default:g}s`"
    return f"`{info.default}`"


def _size(count: int) -> str:
    unit = next(unit for unit in ("gb", "mb", "kb", "b") if count % UNITS[unit] == 0)
    return f"{count // UNITS[unit]}{unit}"


if __name__ == "__main__":
    sys.stdout.write(reference())
