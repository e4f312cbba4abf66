"""Pipeline files as users write them: what is refused, at which place, in which words, and what is taken."""

# ruff: noqa: E501 - one case a line reads as a table

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rapidbyte import config
from rapidbyte.config.document import Place, Scalar
from rapidbyte.config.scalars import as_lag
from rapidbyte.cursor import CursorLag
from rapidbyte.errors import ConfigError
from rapidbyte.model import Secret
from rapidbyte.spec import (
    Connection,
    DestinationSpec,
    EmbeddedServer,
    FilesSourceSpec,
    PipelineSpec,
    PostgresSourceSpec,
    Resources,
    SchemaPolicy,
    StreamSpec,
    WorkerLogin,
)

BASE = """\
version: "1.0"
pipeline: shop
source:
  use: postgres
  config:
    host: localhost
  streams:
    - name: orders
destination:
  use: postgres
  config:
    host: localhost
    schema: raw
  write_mode: append
"""

FILES = """\
version: "1.0"
pipeline: shop
source:
  use: files
  config:
    path: data/*.csv
  streams:
    - name: flights
destination:
  use: postgres
  config:
    host: localhost
  write_mode: append
"""

HERE = "@@"
"""Marks the place that the message must name; it is removed before the file is written."""

BY_ID = "name: a, sync_mode: incremental, cursor_field: id"

BAD: list[tuple[str, str, str]] = [
    # what is replaced in BASE, by what, and what the message says at the mark
    # A1: unknown keys
    ("    - name: orders", "    - @@tabel: orders", "unknown key `tabel` (did you mean `name`?)"),
    ("pipeline: shop", "@@pipelin: shop", "unknown key `pipelin` (did you mean `pipeline`?)"),
    ("  write_mode: append", "  @@write_moed: append", "unknown key `write_moed` (did you mean `write_mode`?)"),
    ("  write_mode: append", "  @@mode: append", "unknown key `mode` (did you mean `write_mode`?)"),
    ("  write_mode: append", "  @@schema: raw", "unknown key `schema` (it belongs under `destination.config`)"),
    ("    schema: raw", "    @@Schema: raw", "unknown key `Schema` (did you mean `schema`?)"),
    ("    host: localhost\n  streams", "    @@dbname: x\n  streams", "unknown key `dbname` (did you mean `database`?)"),
    ("    host: localhost\n  streams", "    @@url: x\n  streams", "unknown key `url` (did you mean `dsn`?)"),
    ("    - name: orders", "    - {name: orders, @@filter: x}", "unknown key `filter` (did you mean `where`?)"),
    ("    - name: orders", "    - {name: a, @@path: x.csv}", "unknown key `path` (it belongs to use: files)"),
    ("pipeline: shop", "pipeline: shop\n@@write_mode: append", "unknown key `write_mode` (it belongs under"),
    (
        "    - name: orders",
        "    - {name: a, @@transforms: []}",
        "unknown key `transforms` (it belongs at the top of the file, beside `source`)",
    ),
    ("pipeline: shop", "pipeline: shop\n@@zzzz: 1", "unknown key `zzzz` (known keys: version, pipeline,"),
    ("pipeline: shop", 'pipeline: shop\n@@"a\\eb": 1', "unknown key `a\\x1bb`"),
    ("  write_mode: append", "  schema_evolution: {@@new_columns: add}", "did you mean `new_column`?"),
    ("pipeline: shop", "pipeline: shop\nresources: {@@workers: 2}", "did you mean `parallelism`?"),
    # A2: duplicates
    ("  write_mode: append", "  write_mode: append\n  @@write_mode: replace", "`write_mode` is given twice (it was given"),
    ("    - name: orders", "    - {name: a, @@name: b}", "the key `name` is given twice"),
    ("    - name: orders", '    - {name: a, @@"name": b}', "the key `name` is given twice"),
    # A3: what YAML 1.1 would read as something else
    ('version: "1.0"', "version: @@1.0", 'YAML reads this as a number (write "1.0")'),
    ("pipeline: shop", "pipeline: @@2024-01-01", 'YAML reads this as a date (write "2024-01-01")'),
    ("pipeline: shop", "pipeline: @@12", 'YAML reads this as a number (write "12")'),
    ("    - name: orders", "    - name: @@no", 'YAML reads this as a boolean (write "no")'),
    ("    - name: orders", "    - name: @@22:22", 'YAML reads this as a base 60 number (write "22:22")'),
    ("    - name: orders", "    - name: @@012", 'YAML reads this as a number (write "012")'),
    ("    - name: orders", "    - name: @@1.10", 'YAML reads this as a number (write "1.10")'),
    ("    - name: orders", "    - name: @@1_000", 'YAML reads this as a number (write "1_000")'),
    ("    - name: orders", "    - name: @@1e3", 'YAML reads this as a number (write "1e3")'),
    ("    - name: orders", "    - name: @@0x1F", 'YAML reads this as a number (write "0x1F")'),
    ("    - name: orders", "    - name: @@.inf", 'YAML reads this as a number (write ".inf")'),
    ("    - name: orders", "    - {name: a, columns: [id, @@on]}", 'YAML reads this as a boolean (write "on")'),
    ("    schema: raw", "    schema: @@Off", 'YAML reads this as a boolean (write "Off")'),
    ("    schema: raw", "    schema: raw\n    @@on: x", 'the key would be read as a boolean (write "on")'),
    ("    schema: raw", "    schema: raw\n    password: @@0123", "YAML reads this as a number (put it in quotes)"),
    # a value is due
    ("    schema: raw", "    schema: @@~", "there is no value here (give it a value, or remove the key)"),
    ("    - name: orders", "    - name:@@ ", "there is no value here"),
    ("    - name: orders", "    - {name: orders, columns: @@null}", "there is no value here"),
    ("pipeline: shop", "pipeline: shop\nresources: @@~", "there is no value here"),
    # shapes
    ("pipeline: shop", "pipeline: @@[shop]", "a single value is due here, not a list or a mapping"),
    ("pipeline: shop", "pipeline: @@{a: b}", "a single value is due here, not a list or a mapping"),
    ("    - name: orders", "    - @@orders", "keys with values are due here (write `- name: orders`)"),
    ("    - name: orders", "    - {name: a, columns: @@id}", "a list is due here (write it as [a, b]"),
    ("    - name: orders", "    - {name: a, columns: @@[]}", "the list is empty"),
    ("    - name: orders", "    - {name: a, columns: @@{id: 1}}", "a list is due here"),
    ("    host: localhost\n    schema: raw", "    worker: @@[a]", "keys with values are due here"),
    # missing
    ("    - name: orders", "    - @@where: a", "`name` is missing (write `- name: orders`)"),
    ("    host: localhost\n    schema: raw", "    worker: @@{password: x}", "`user` is missing"),
    # A11: nothing selected
    ("  streams:\n    - name: orders", "  streams: @@[]", "no stream is listed (write `- name: orders`)"),
    # words
    ("  write_mode: append", "  write_mode: @@apend", "`apend` is not one of append, replace, upsert (did you mean `append`?)"),
    ("  write_mode: append", "  write_mode: @@1.10", "`1.10` is not one of append, replace, upsert"),
    ("  use: postgres\n  config:\n    host: localhost\n  streams", "  use: @@mysql\n  config:\n    hots: x\n  streams", "`mysql` is no source (use postgres or files)"),
    ("destination:\n  use: postgres", "destination:\n  use: @@files", "`files` is no destination (use postgres)"),
    ("    schema: raw", "    sslmode: @@maybe", "`maybe` is not one of disable, allow, prefer, require, verify-ca, verify-full"),
    ('version: "1.0"', 'version: @@"2.0"', 'the version must be "1.0"'),
    # numbers, sizes, durations
    ("    schema: raw", "    port: @@http", "a whole number is due here, not `http`"),
    ("    schema: raw", "    port: @@70000", "the number must be at least 1 and at most 65535"),
    ("    schema: raw", "    port: @@5432.5", "a whole number is due here, not `5432.5`"),
    ("    schema: raw", "    port: @@05432", "a whole number is due here, not `05432`"),
    ("pipeline: shop", "pipeline: shop\nresources: {parallelism: @@0}", "the number must be at least 1"),
    ("pipeline: shop", "pipeline: shop\nresources: {parallelism: @@many}", "`auto` or a whole number is due here"),
    ("pipeline: shop", "pipeline: shop\nresources: {max_memory: @@lots}", "a size is due here, not `lots` (write it as"),
    ("pipeline: shop", "pipeline: shop\nresources: {max_memory: @@64kb}", "the number must be at least 1048576"),
    ("pipeline: shop", "pipeline: shop\nresources: {max_inflight_batches: @@0}", "the number must be at least 1"),
    ("  write_mode: append", "  publish_timeout: @@soon", "a duration is due here, not `soon`"),
    ("  write_mode: append", "  publish_timeout: @@0s", "a duration must be more than 0"),
    ("  write_mode: append", "  publish_timeout: @@10:00", "a duration is due here, not `10:00`"),
    ("    - name: orders", "    - {name: a, min_rows: @@-1}", "the number must be at least 0"),
    # names: F7, F10, G10
    ("pipeline: shop", "pipeline: @@../etc/x", "a pipeline's name has 1 to 63 of the characters"),
    ("pipeline: shop", f"pipeline: @@{'x' * 64}", "a pipeline's name has 1 to 63 of the characters"),
    ("pipeline: shop", 'pipeline: @@""', "a pipeline's name has 1 to 63 of the characters"),
    ("    - name: orders", f"    - name: @@{'é' * 32}", "the name has 64 bytes; PostgreSQL keeps 63"),
    ("    - name: orders", '    - name: @@""', "the name is empty"),
    ("    - name: orders", '    - name: @@"a\\0b"', "the text holds a NUL character"),
    ("    - name: orders", '    - name: @@"a\\nb"', "the name holds a control character"),
    ("    - name: orders", "    - {name: a, target: @@sales.}", "the schema's or the table's name is empty"),
    ("    - name: orders", f"    - {{name: a, target: @@s.{'t' * 64}}}", "the name has 64 bytes; PostgreSQL keeps 63"),
    ("    - name: orders", f"    - name: @@s.{'t' * 64}", "the name has 66 bytes; PostgreSQL keeps 63"),
    ("    - name: orders", f"    - {{name: @@{'q' * 64}, query: select 1, target: t}}", "the name has 64 bytes"),
    ("    schema: raw", f"    schema: @@{'s' * 64}", "the name has 64 bytes; PostgreSQL keeps 63"),
    ("    - name: orders", '    - {name: a, columns: [id, @@"x\\ty"]}', "the name holds a control character"),
    ("    - name: orders", "    - {name: a, columns: @@[id, id]}", "a name is given twice in this list"),
    ("    - name: orders", '    - {name: a, where: @@" "}', "the text is empty"),
    ("    - name: orders", '    - {name: a, where: @@"x\\0y"}', "the text holds a NUL character"),
    # A6, A9 and other rules over several keys
    ("    - name: orders", "    - {name: a, columns: [x], primary_key: @@[id]}", "`columns` lacks the primary key's id"),
    ("    - name: orders", "    - {name: a, columns: [x], allow_lossy: @@[y]}", "`columns` lacks y"),
    ("    - name: orders", "    - name: orders\n    - name: @@orders", "a stream of this name stands at position 0 already"),
    ("    - name: orders", "    - name: orders\n    - {name: b, target: @@orders}", "stream orders writes this table already"),
    ("    - name: orders", '    - {name: "s.*", target: @@one}', "all tables of the pattern would be written to this one"),
    ("    - name: orders", '    - {name: orders, target: @@"raw.*"}', "a * in `target` needs a pattern in `name`"),
    ("    - name: orders", "    - {name: orders, exclude: @@[x]}", "`exclude` needs a pattern in `name`"),
    ("    - name: orders", "    - {name: q, query: select 1, indexes: @@source}", "`indexes` does not go with `query`"),
    ("    - name: orders", "    - {name: @@q*, query: select 1}", "a stream with `query` has a name, not a pattern"),
    ("    schema: raw", "    dsn: postgresql:///d?sslmode=require\n    sslmode: @@disable", "`dsn` and `sslmode` contradict"),
    ("    schema: raw", "    dsn: postgresql:///d\n    service: @@prod", "`service` does not go with `dsn`"),
    ("    host: localhost\n    schema: raw", "    embedded: true\n    host: @@x", "`host` does not go with `embedded`"),
    ("    host: localhost\n    schema: raw", "    embedded: @@maybe", "true, false, or a mapping with `data_dir`"),
    # incremental streams
    ("    - name: orders", "    - @@{name: a, sync_mode: incremental}", "an incremental stream needs a `cursor_field`"),
    ("    - name: orders", "    - {name: a, columns: [id], cursor_field: @@t}", "`columns` lacks t (add it to `columns`)"),
    ("    - name: orders", "    - {name: a, tie_breaker_field: @@t}", "`tie_breaker_field` needs a `cursor_field`"),
    ("    - name: orders", "    - {name: a, null_cursor: @@skip}", "`null_cursor` is a key of incremental streams"),
    ("    - name: orders", "    - {name: a, cursor_lag: @@5m}", "`cursor_lag` is a key of incremental streams"),
    ("    - name: orders", f"    - {{{BY_ID}, write_mode: @@replace}}", "replace would leave nothing but the last increment"),
    ("    - name: orders", f"    - {{{BY_ID}, cursor_lag: @@5}}", "`cursor_lag` reads rows again, and append would add them"),
    ("    - name: orders", f"    - {{{BY_ID}, cursor_lag: @@0}}", "a lag must be more than 0 (remove the key to have none)"),
    ("    - name: orders", f"    - {{{BY_ID}, cursor_lag: @@5d}}", "a duration or a whole number is due here, not `5d`"),
    ("    - name: orders", f"    - {{{BY_ID}, cursor_lag: @@99999h}}", "a lag must be at most ten years"),
    ("    - name: orders", f"    - {{{BY_ID}, null_cursor: @@drop}}", "`drop` is not one of fail, skip, always"),
    # what comes later is refused, never ignored
    ("    - name: orders", "    - {name: a, on_duplicate_key: @@any}", "`on_duplicate_key` is a key of `write_mode: upsert`"),
    ("    - name: orders", "    - {name: a, on_duplicate_key: @@last}", "`last` is not one of fail, any"),
    ("    - name: orders", "    - {name: a, sync_mode: @@cdc}", "`cdc` is not available in this version"),
    ("  write_mode: append", "  on_data_error: @@log", "`log` is not one of fail, skip, dlq"),
    ("  write_mode: append", "  append_strategy: direct\n  on_data_error: @@dlq", "`on_data_error: dlq` does not go with `append_strategy: direct`"),
    ("  write_mode: append", "  schema_evolution: {type_change: @@null}", "`null` is not available in this version"),
    ("  write_mode: append", "  append_strategy: @@straight", "`straight` is not one of staged, direct"),
    ("  write_mode: append", "  write_mode: upsert\n  append_strategy: @@direct", "`append_strategy: direct` does not go with upsert"),
    ("  write_mode: append", "  publish: @@all", "`all` is not one of each, together"),
    ("  write_mode: append", "  max_rejects: @@-5", "a number of rows or a percentage is due here, not `-5`"),
    ("  write_mode: append", "  max_rejects: @@101%", "a number of rows or a percentage is due here, not `101%`"),
    ("  write_mode: append", "  max_rejects: @@1.5", "a number of rows or a percentage is due here, not `1.5`"),
    ("  write_mode: append", "  hooks: {before_load: @@['/* x */ commit']}", "COMMIT cannot be a hook"),
    ("  write_mode: append", "  hooks: {after_load: @@['/* */']}", "a statement is due here"),
    # transforms
    ("pipeline: shop", "pipeline: shop\ntransforms: [{use: @@sqll, config: {}}]", "`sqll` is not one of sql, validate"),
    ("pipeline: shop", "pipeline: shop\ntransforms: [{use: sql, config: {@@querry: x}}]", "unknown key `querry`"),
    ("pipeline: shop", "pipeline: shop\ntransforms: [{use: sql, config: @@{}}]", "`query` is missing, which sql needs"),
    ("pipeline: shop", "pipeline: shop\ntransforms: [{use: drop, config: {columns: [a], @@to: lower}}]", "key of use: case"),
    ("pipeline: shop", "pipeline: shop\ntransforms: [{use: mask, config: @@{fields: {a: hash}}}]", "`hash` needs a `key`"),
    ("pipeline: shop", "pipeline: shop\ntransforms: [{use: mask, config: {fields: {a: hash}, key: @@abc}}]", "fewer than 16"),
    ("pipeline: shop", "pipeline: shop\ntransforms: [{use: validate, config: {rules: [@@{}]}}]", "a rule is one of"),
    ("pipeline: shop", "pipeline: shop\ntransforms: [{use: drop, streams: [@@x], config: {columns: [a]}}]", "no stream is called x"),
    ("pipeline: shop", "pipeline: shop\nexecution: {engine: @@dask}", "`dask` is not available in this version"),
    ("    host: localhost\n  streams", "    publication: @@p\n  streams", "`publication` is not available in this version"),
    ("pipeline: shop", "pipeline: shop\nresources: {checkpoint_interval_rows: @@5}", "`checkpoint_interval_rows` is not"),
    # the Rust tool's restrictions, where they cannot be kept
    ("  write_mode: append", "  permissions: {fs: {allowed_preopens: @@[/x]}}", "`allowed_preopens` is not available"),
    ("  write_mode: append", "  permissions: {network: {allowed_hosts: @@[a.b]}}", "the list does not allow the connection's `host`"),
    ("  write_mode: append", "  permissions: {env: {allowed_vars: @@[X]}}", "libpq would read PGUSER, which the list does not"),
    ("  write_mode: append", "  limits: {max_memory: @@64kb}", "less than 1mb does not suffice for a run"),
    ("  write_mode: append", "  limits: {timeout_seconds: @@0}", "the number must be at least 1"),
    # A4, G7: the document
    ("pipeline: shop", "pipeline: @@&x shop", "anchors (&) are not allowed"),
    ("pipeline: shop", "pipeline: @@!!str shop", "tags (!) are not allowed"),
    ("    schema: raw", "    schema: @@*x", "aliases (*) are not allowed"),
    ("    schema: raw", "    @@<<: {a: b}", "merge keys (<<) are not allowed (write the keys out)"),
    ("  write_mode: append\n", "  write_mode: append\n@@---\na: b\n", "a second document begins here"),
    ("    schema: raw", "@@\tschema: raw", "a tab is used for indentation (indent with spaces)"),
    ("    schema: raw", "    schema: a@@\x01b", "a control character (\\x01) is not allowed here"),
    ("    schema: raw", "    schema: @@\ufeffraw", "a byte order mark is not allowed here"),
    ("    schema: raw", "    schema: @@\ufeffr\x07aw", "a byte order mark is not allowed here"),
    ("    schema: raw", "    schema: @@\x07r\ufeffaw", "a control character (\\x07) is not allowed here"),
    ("    schema: raw", "    ? @@[a]\n    : b", "a key must be a word, not a list or a mapping"),
    ("    schema: raw", "    schema: [a", "not YAML: did not find expected ',' or ']'"),
    ("    schema: raw", "    schema: " + "[" * 47 + "@@" + "[" * 13, "the document is nested deeper than 50 levels"),
]  # fmt: skip

BAD_FILES: list[tuple[str, str, str]] = [
    ("    path: data/*.csv", "    path: @@ftp://b/x.csv", "ftp:// cannot be read"),
    ("    path: data/*.csv", "    path: @@https://u:p@b/x.csv", "the address holds a user or password"),
    ("    - name: flights", '    - {name: a, path: "-", sync_mode: @@incremental}', "standard input has no increments"),
    ("    path: data/*.csv", "    path: x\n    format: ndjson\n    decimal_comma: @@true", "is an option of csv, not of ndjson"),
    ("    path: data/*.csv", "    format: csv", "the stream has no `path`"),
    ("    path: data/*.csv", "    path: x\n    format: @@xml", "`xml` is not one of csv, ndjson, parquet, arrow"),
    ("    path: data/*.csv", "    path: x\n    delimiter: @@ab", "a single visible ASCII character, or a tab, is due here"),
    ("    path: data/*.csv", '    path: x\n    delimiter: @@"\\n"', "a single visible ASCII character, or a tab, is due"),
    ("    - name: flights", f"    - name: @@{'f' * 64}", "the name has 64 bytes; PostgreSQL keeps 63 (shorten it, or give"),
    ("    path: data/*.csv", "    path: x\n    header: @@yes", "true or false is due here, not `yes`"),
    ("    path: data/*.csv", "    path: x\n    skip: @@-1", "the number must be at least 0"),
    ("    path: data/*.csv", "    path: x\n    format: parquet\n    header: @@true", "`header` is an option of csv, not of"),
    ("    path: data/*.csv", "    @@dsn: x", "unknown key `dsn` (it belongs to use: postgres)"),
    ("    - name: flights", "    - {name: a, @@partition_key: select 1}", "unknown key `partition_key` (it belongs to use: postgres)"),
    ("    - name: flights", '    - {name: a, infer: @@"off"}', "`off` is not one of sample, full"),
    ("    - name: flights", "    - {name: a, types: @@text}", "a mapping of columns to types is due here"),
    ("    - name: flights", '    - {name: a, types: @@{id: "int\\n"}}', "the type of column `id` is no type's name"),
    ("    - name: flights", "    - {name: a, types: {@@no: text}}", 'the key would be read as a boolean (write "no")'),
    ("    - name: flights", "    - {name: a, sync_mode: incremental, cursor_lag: @@5m}", "increments of files go by file"),
    ("    - name: flights", '    - name: @@"*"', "the pattern belongs into `path`"),
]  # fmt: skip


def write(folder: Path, text: str) -> Path:
    path = folder / "shop.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def marked(base: str, old: str, new: str) -> tuple[str, str | None]:
    """The document with the replacement in it, and the marked `line:column`."""
    assert base.count(old) == 1
    text = base.replace(old, new)
    if HERE not in text:
        return text, None
    before, after = text.split(HERE)
    return before + after, f"{before.count(chr(10)) + 1}:{len(before) - before.rfind(chr(10))}"


def refusal(path: Path, **options: object) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        config.load(path, **{"env": {"PGUSER": "x"}, **options})  # type: ignore[arg-type]
    assert str(caught.value) == caught.value.message
    return caught.value


@pytest.mark.parametrize(
    ("base", "old", "new", "says"),
    [(BASE, *case) for case in BAD] + [(FILES, *case) for case in BAD_FILES],
    ids=[f"{number}-{says[:30]}" for number, (_, _, says) in enumerate(BAD + BAD_FILES)],
)
def test_refuses(tmp_path: Path, base: str, old: str, new: str, says: str) -> None:
    """Each document is refused with exit code 2, at the marked place, in these words."""
    text, place = marked(base, old, new)
    path = write(tmp_path, text)
    error = refusal(path)
    assert error.exit_code == 2
    lines = [line.strip() for line in error.message.splitlines()[1:]]
    fitting = [line for line in lines if says in line]
    assert fitting, error.message
    if place is not None:
        assert f"{path}:{place}: " in fitting[0]


def test_the_base_documents_are_good(tmp_path: Path) -> None:
    """What the bad documents vary is itself accepted, so that each is refused for its own fault."""
    assert config.load(write(tmp_path, BASE), env={}).pipeline == "shop"
    assert config.load(write(tmp_path, FILES), env={}).pipeline == "shop"


def test_tells_all_problems_at_once_in_the_order_of_the_file(tmp_path: Path) -> None:
    """Structure, shape, environment and rules are judged together, however many are wrong."""
    text = """\
version: 1.0
pipeline: shop
pipeline: shop
source:
  use: postgres
  config: {host: "${NO_HOST}", port: x}
  streams:
    - {name: a, columns: [x], primary_key: [id]}
    - {name: a}
    - {nmae: b}
destination:
  use: postgres
  config: {}
  on_data_error: log
"""
    path = write(tmp_path, text)
    error = refusal(path, env={}, overrides=[("resources.nope", "1")])
    assert error.message == "\n".join(
        [
            f"9 problems in {path}",
            f'  {path}:1:10: text is due here, and YAML reads this as a number (write "1.0")',
            f"  {path}:3:1: the key `pipeline` is given twice (it was given first in line 2)",
            f"  {path}:6:18: the environment variable NO_HOST is not set (set it, or write ${{NO_HOST:-default}})",
            f"  {path}:6:38: a whole number is due here, not `x` (write it in digits alone, as 16)",
            f"  {path}:8:44: `columns` lacks the primary key's id (add it to `columns`)",
            f"  {path}:9:14: a stream of this name stands at position 0 already (give each stream its own name; `query` streams may have any)",
            f"  {path}:10:8: unknown key `nmae` (did you mean `name`?)",
            f"  {path}:14:18: `log` is not one of fail, skip, dlq",
            "  --set resources.nope: unknown key `nope` (known keys: parallelism, max_memory, max_batch_bytes, checkpoint_interval_bytes, checkpoint_interval_rows, checkpoint_interval_seconds, max_retries, max_inflight_batches, compression, autotune)",
        ]
    )
    assert [problem.path for problem in error.problems][3:] == [
        "source.config.port",
        "source.streams[0].primary_key",
        "source.streams[1].name",
        "source.streams[2].nmae",
        "destination.on_data_error",
        "resources.nope",
    ]


def test_counts_what_it_does_not_tell(tmp_path: Path) -> None:
    """A file with thousands of problems is refused with a hundred of them and the number of the others."""
    path = write(tmp_path, BASE + "".join(f"k{number}: x\n" for number in range(5000)))
    error = refusal(path)
    assert error.message.splitlines()[0] == f"5000 problems in {path}"
    assert error.message.splitlines()[-1] == "  and 4900 more"
    assert len(error.message.splitlines()) == 102
    assert len(error.problems) == 5000


def test_one_problem_is_one_problem(tmp_path: Path) -> None:
    """A fault is told once, not again by whatever follows from it."""
    for old, new in (
        ("    host: localhost\n    schema: raw", "    port: *anchor\n    schema: raw"),
        ("    host: localhost\n    schema: raw", "    port: ${NOT_SET}"),
        ("    host: localhost\n    schema: raw", "    embedded: ${NOT_SET}"),
        ("  write_mode: append", "  write_mode: ${NOT_SET}"),
        ("    - name: orders", "    - ${NOT_SET}"),
        ("    - name: orders", "    - {name: orders, columns: ${NOT_SET}}"),
        ("  streams:\n    - name: orders", "  streams: ${NOT_SET}"),
        (
            "  use: postgres\n  config:\n    host: localhost\n  streams",
            "  use: ${NOT_SET}\n  config:\n    x: y\n  streams",
        ),
    ):
        error = refusal(write(tmp_path, BASE.replace(old, new)))
        assert len(error.problems) == 1, error.message


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "{path}:1:1: the file is empty"),
        (b"# a comment\n", "{path}:1:1: the file is empty"),
        (b"just text\n", '{path}:1:1: the file holds no keys (it begins with version: "1.0")'),
        (b"- a\n- b\n", "{path}:1:1: the file holds a list, not keys"),
        (b"\xef\xbb\xbfversion: x\n", "{path}:1:1: the file begins with a byte order mark (save it as UTF-8 without BOM)"),
        (b"\xff\xfev\x00", "{path}:1:1: the file is UTF-16 (save it as UTF-8)"),
        (b"a: b\nc: d\xe9\n", "{path}:2:5: the file is not UTF-8 here (save it as UTF-8)"),
        (b"#" * (1024 * 1024 + 1), "{path}: the pipeline file is larger than 1 MiB"),
        (b"--- a\n--- b\n", "{path}:2:1: a second document begins here (keep one document in the file)"),
        (b"%YAML 2.0\n---\na: b\n", "{path}:1:1: not YAML: found incompatible YAML document"),
    ],
)  # fmt: skip
def test_refuses_a_file_that_is_no_document(tmp_path: Path, content: bytes, says: str) -> None:
    """A4: empty, scalar, list, several documents, BOM, other encodings, too large: each with its place."""
    path = tmp_path / "x.yaml"
    path.write_bytes(content)
    assert says.format(path=path) in refusal(path).message


def test_a_file_of_exactly_one_mebibyte_is_read(tmp_path: Path) -> None:
    """The limit is inclusive."""
    path = write(tmp_path, BASE + "#" * (1024 * 1024 - len(BASE)))
    assert path.stat().st_size == 1024 * 1024
    assert config.load(path, env={}).pipeline == "shop"


def test_a_missing_file_is_told_with_the_names_like_it(tmp_path: Path) -> None:
    """Those that are spelt nearly so; else some of the folder; never a file of another kind."""
    for name in ("pipeline.yml", "shop.yaml", "notes.txt"):
        (tmp_path / name).write_text("")
    near, far = refusal(tmp_path / "pipelin.yaml").hint, refusal(tmp_path / "xyzw.yaml").hint
    assert (near or "").startswith(f"did you mean {tmp_path / 'pipeline.yml'}? `rapidbyte init`")
    assert (far or "").startswith(f"here is {tmp_path / 'pipeline.yml'}, {tmp_path / 'shop.yaml'}? ")


@pytest.mark.parametrize(
    "dsn", ["postgresql+psycopg://u:c4n4ry@h/d", "mysql://u:c4n4ry@h/d", "postgresql://u:c4n4ry@x@h/d"]
)
def test_a_connection_string_of_something_else_is_refused_at_its_place(tmp_path: Path, dsn: str) -> None:
    """Before anything is opened, with line and column, and without a word of it (G1)."""
    head, _, tail = BASE.rpartition("host: localhost")
    path = write(tmp_path, f'{head}dsn: "{dsn}"{tail}')
    error = refusal(path)
    (problem,) = error.problems
    assert problem.path == "destination.config.dsn"
    assert None not in (problem.line, problem.column)
    assert "c4n4ry" not in str(error)


def test_says_why_a_file_cannot_be_read(tmp_path: Path) -> None:
    """Missing, a folder, an impossible path: a sentence, no traceback."""
    missing = refusal(tmp_path / "none.yaml")
    assert missing.message == f"the pipeline file {tmp_path / 'none.yaml'} cannot be read: there is no such file"
    assert missing.hint == "`rapidbyte init` writes one to start from, `rapidbyte demo` shows two that work"
    assert "cannot be read: it is a folder" in refusal(tmp_path).message
    assert "cannot be read: the path is not valid" in refusal(Path("a\0b")).message
    assert {error.code for error in (missing, refusal(tmp_path))} == {"config_unreadable"}


@pytest.mark.parametrize(
    "bomb",
    [
        "a: &a [x, x]\n" + "".join(f"b{n}: &b{n} [*a, *a, *a, *a, *a, *a, *a, *a, *a]\n" for n in range(20)),
        "a: &a [*a]\n",
        "[" * 500_000,
        "a: " + "{a: " * 100_000,
        "- " * 200_000,
        "? " * 200_000,
        "&a " * 100_000,
        "*a : " * 100_000,
        "{" * 100_000 + "}" * 100_000,
        "a: !!python/object/apply:os.system [true]\n",
    ],
    ids=lambda text: text[:12],
)  # fmt: skip
def test_refuses_bombs(tmp_path: Path, bomb: str) -> None:
    """G7: what would grow, recurse or construct is refused on the parser's events."""
    assert refusal(write(tmp_path, bomb)).exit_code == 2


def test_loads_every_key(tmp_path: Path) -> None:
    """Each key that is due arrives in the spec, in its unit."""
    text = """\
version: "1.0"
pipeline: shop-1.x
source:
  use: postgres
  config: {dsn: ${SHOP_DSN}, sslmode: verify-full, sslrootcert: ca.pem, connect_timeout: 1m, schema: app}
  streams:
    - name: orders
      sync_mode: full_refresh
      columns: [id, "Amount"]
      where: amount > 0 and note <> '$$'
      partition_key: id
      target: raw.orders_raw
      write_mode: replace
      primary_key: [id]
      min_rows: 1
      allow_lossy: [Amount]
      indexes: source
    - {name: "sales.*", exclude: [tmp_*], target: "raw_*"}
    - {name: totals, query: "select 1"}
transforms: []
destination:
  use: dest-postgres
  config: {host: w, port: "5433", user: u, password: ${PW}, database: d, schema: raw, worker: {user: l, password: ${LPW:-}}}
  write_mode: append
  primary_key: [id]
  replace_strategy: in_place
  append_strategy: staged
  on_data_error: fail
  max_rejects: 1000
  schema_evolution: {new_column: fail, removed_column: add, type_change: coerce, nullability_change: fail}
  hooks: {before_load: [], after_load: []}
  publish_timeout: 90
  settle_timeout: 2m
  publish: together
  limits: {timeout_seconds: 60, max_memory: 32mb}
resources:
  parallelism: 4
  max_memory: 64MB
  max_batch_bytes: 8 mb
  checkpoint_interval_bytes: "0"
  max_retries: 0
  max_inflight_batches: 2
execution: {engine: threads}
"""
    path = write(tmp_path, text)
    secrets = {"SHOP_DSN": "postgresql://a:b@h/d", "PW": "p:w @{}"}
    assert config.load(path, env=secrets) == PipelineSpec(
        pipeline="shop-1.x",
        source=PostgresSourceSpec(
            connection=Connection(
                dsn=Secret("postgresql://a:b@h/d"),
                sslmode="verify-full",
                sslrootcert="ca.pem",
                connect_timeout_seconds=60,
            ),
            schema="app",
        ),
        streams=(
            StreamSpec(
                name="orders",
                columns=("id", "Amount"),
                where="amount > 0 and note <> '$'",
                partition_key="id",
                target="raw.orders_raw",
                write_mode="replace",
                primary_key=("id",),
                min_rows=1,
                allow_lossy=("Amount",),
                indexes="source",
            ),
            StreamSpec(name="sales.*", exclude=("tmp_*",), target="raw_*"),
            StreamSpec(name="totals", query="select 1"),
        ),
        destination=DestinationSpec(
            connection=Connection(host="w", port=5433, user="u", password=Secret("p:w @{}"), database="d"),
            schema="raw",
            worker=WorkerLogin(user="l", password=Secret("")),
            write_mode="append",
            primary_key=("id",),
            replace_strategy="in_place",
            schema_policy=SchemaPolicy(
                new_column="fail", removed_column="ignore", type_change="coerce", nullability_change="fail"
            ),
            publish_timeout_seconds=90.0,
            settle_timeout_seconds=120.0,
            publish_together=True,
        ),
        resources=Resources(
            parallelism=4,
            max_memory_bytes=32 * 1024 * 1024,
            max_batch_bytes=8 * 1024 * 1024,
            checkpoint_interval_bytes=2**62,
            max_retries=0,
            max_inflight_batches=2,
        ),
        timeout_seconds=60.0,
        path=str(path),
    )


def test_loads_a_cursor(tmp_path: Path) -> None:
    """Every key of an incremental stream."""
    keys = "cursor_field: at, tie_breaker_field: id, null_cursor: always"
    path = write(tmp_path, BASE.replace("name: orders", f"{{name: a, sync_mode: incremental, {keys}}}"))
    assert config.load(path, env={}).streams == (
        StreamSpec(name="a", sync_mode="incremental", cursor_field="at", tie_breaker_field="id", null_cursor="always"),
    )


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("90s", CursorLag(seconds=90.0)),
        ("1.5h", CursorLag(seconds=5400.0)),
        ("1000", CursorLag(seconds=1000.0, count=1000)),
        ("5000000000", CursorLag(count=5000000000)),
    ],
)
def test_a_lag_is_a_duration_or_a_number(written: str, expected: CursorLag) -> None:
    """A bare number is both: which of them, the cursor's type says."""
    place = Place(file="x", line=1, column=1)
    assert as_lag(Scalar(text=written, written=written, plain=True, origin="file", place=place)) == expected


def test_defaults(tmp_path: Path) -> None:
    """The least file gives the documented defaults."""
    text = BASE.replace("  write_mode: append\n", "").replace("    schema: raw\n", "")
    path = write(tmp_path, text)
    assert config.load(path, env={}) == PipelineSpec(
        pipeline="shop",
        source=PostgresSourceSpec(connection=Connection(host="localhost"), schema="public"),
        streams=(StreamSpec(name="orders", sync_mode="full_refresh"),),
        destination=DestinationSpec(connection=Connection(host="localhost"), schema="public", write_mode="append"),
        resources=Resources(
            parallelism=None,
            max_memory_bytes=256 * 1024**2,
            max_batch_bytes=64 * 1024**2,
            checkpoint_interval_bytes=64 * 1024**2,
            max_retries=3,
            max_inflight_batches=16,
        ),
        path=str(path),
    )


def test_loads_files(tmp_path: Path) -> None:
    """Files' options arrive; paths are relative to the pipeline file's folder."""
    text = FILES.replace(
        "    path: data/*.csv",
        '    {path: x.csv, format: csv, delimiter: ";", quote: "\'", escape: "\\\\", header: true, '
        'null_strings: ["", NA], encoding: latin-1, skip: 2}',
    ).replace("    - name: flights", '    - {name: f, path: y.csv.gz, types: {id: bigint, "no": text}}')
    path = write(tmp_path, text)
    spec = config.load(path, env={})
    assert spec.source == FilesSourceSpec(
        path="x.csv",
        format="csv",
        base_dir=str(tmp_path),
        delimiter=";",
        quote="'",
        escape="\\",
        header=True,
        null_strings=("", "NA"),
        encoding="latin-1",
        skip=2,
    )
    assert spec.streams == (StreamSpec(name="f", path="y.csv.gz", types=(("id", "bigint"), ("no", "text"))),)


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("true", EmbeddedServer()),
        ("false", None),
        ("{}", EmbeddedServer()),
        ("{data_dir: /x/pg, database: shop}", EmbeddedServer(data_dir="/x/pg", database="shop")),
    ],
)
def test_embedded(tmp_path: Path, written: str, expected: EmbeddedServer | None) -> None:
    """`embedded` is a flag or a mapping."""
    text = BASE.replace("    host: localhost\n    schema: raw", f"    embedded: {written}")
    assert config.load(write(tmp_path, text), env={}).destination.connection.embedded == expected


def test_an_embedded_server_s_folder_is_relative_to_the_file(tmp_path: Path) -> None:
    """As every path in the file."""
    text = BASE.replace("    host: localhost\n    schema: raw", "    embedded: {data_dir: pg}")
    embedded = config.load(write(tmp_path, text), env={}).destination.connection.embedded
    assert embedded == EmbeddedServer(data_dir=str(tmp_path / "pg"))


RUST_END = """\
    host: localhost
    port: 5433
    user: postgres
    password: postgres
    database: rapidbyte_test
"""

RUST = f"""\
version: "1.0"
pipeline: e2e
source:
  use: source-postgres
  config:
{RUST_END}  streams:
    - name: users
      sync_mode: full_refresh
      columns: [id, name]
    - name: orders
      sync_mode: full_refresh
      partition_key: id
  permissions:
    network:
      allowed_hosts: [localhost, "127.0.0.1"]
    env:
      allowed_vars: [PGPASSWORD]
  limits:
    max_memory: 128mb
    timeout_seconds: 120
destination:
  use: dest-postgres
  config:
{RUST_END}    schema: raw
    load_method: insert
    copy_flush_bytes: 8388608
  write_mode: replace
  on_data_error: fail
  schema_evolution:
    new_column: add
    removed_column: ignore
    type_change: fail
    nullability_change: allow
  limits:
    timeout_seconds: 300
state:
  backend: sqlite
  connection: /var/lib/state.db
resources:
  parallelism: auto
  max_memory: 512mb
  max_batch_bytes: 512mb
  checkpoint_interval_bytes: 32mb
  checkpoint_interval_rows: 0
  checkpoint_interval_seconds: 0
  max_retries: 3
  compression: zstd
  max_inflight_batches: 16
  autotune:
    enabled: true
    pin_parallelism: 8
    partition_mode: range
    flush_bytes: 8388608
"""


def test_a_pipeline_of_the_rust_tool_loads_unchanged(tmp_path: Path) -> None:
    """Its spellings, keys and limits hold; what has no effect here is told in one line each."""
    spec = config.load(write(tmp_path, RUST), env={"PGPASSWORD": "x"})
    assert spec.timeout_seconds == 120.0
    assert spec.resources == Resources(
        parallelism=8,
        max_memory_bytes=128 * 1024**2,
        max_batch_bytes=512 * 1024**2,
        checkpoint_interval_bytes=32 * 1024**2,
    )
    assert spec.destination.write_mode == "replace"
    assert spec.notices == (
        "destination.config.load_method: insert has no effect: rows are always loaded with COPY",
        "destination.config.copy_flush_bytes has no effect: resources.max_memory bounds what is in flight",
        "resources.compression has no effect: reading and writing happen in one process",
        "resources.autotune has no effect beyond parallelism: sizes follow from the plan",
        "state has no effect: the ledger in the destination is used",
    )


def test_the_rust_tool_s_restrictions_are_kept(tmp_path: Path) -> None:
    """A host that is not allowed is refused, as there; a wildcard stands for subdomains."""
    inside = RUST.replace('allowed_hosts: [localhost, "127.0.0.1"]', 'allowed_hosts: ["*.corp"]')
    assert "does not allow the connection's `host`" in refusal(write(tmp_path, inside), env={}).message
    assert config.load(write(tmp_path, inside.replace("host: localhost", "host: db.corp")), env={}).pipeline == "e2e"
    empty = RUST.replace('allowed_hosts: [localhost, "127.0.0.1"]', "allowed_hosts: []")
    assert "does not allow the connection's `host`" in refusal(write(tmp_path, empty), env={}).message
    by_dsn = RUST.replace(RUST_END, "    dsn: postgresql://localhost/x\n", 1)
    assert "can be checked against `host` alone" in refusal(write(tmp_path, by_dsn), env={}).message
    by_both = RUST.replace(RUST_END, "    dsn: postgresql://elsewhere/x\n    host: localhost\n", 1)
    assert "can be checked against `host` alone" in refusal(write(tmp_path, by_both), env={}).message


def test_state_may_be_empty(tmp_path: Path) -> None:
    """`state: {}`, as the Rust tool's later pipelines have it."""
    spec = config.load(write(tmp_path, BASE + "state: {}\n"), env={})
    assert spec.notices == ("state has no effect: the ledger in the destination is used",)


def test_refuses_more_values_than_it_would_judge_in_time(tmp_path: Path) -> None:
    """A megabyte of keys would take seconds; the limit is told with the place where it is passed."""
    path = write(tmp_path, BASE + "x: [" + "a, " * 50_000 + "]\n")
    assert f"{path}:15:" in refusal(path).message
    assert "the document holds more than 50000 keys and values" in refusal(path).message


def test_refuses_variables_that_fill_the_memory(tmp_path: Path) -> None:
    """A value that is named a thousand times is not put in a thousand times."""
    path = write(tmp_path, BASE + "state: {connection: '" + "${A}" * 1000 + "'}\n")
    error = refusal(path, env={"A": "x" * 2000})
    assert "the variables' values are larger than 1 MiB together" in error.message
    assert len(error.problems) == 1


@pytest.mark.parametrize(
    "name", ["a.b", "sales.", ".x", "a.b.c", f"{'s' * 63}.{'t' * 63}", f"a.b.{'t' * 63}", 'we ird"; drop', "Größe", "*"]
)
def test_a_source_s_tables_may_be_called_anything(tmp_path: Path, name: str) -> None:
    """F8: dots, spaces, quotes, case: the catalog decides what a name means."""
    text = BASE.replace("    - name: orders", f"    - name: {json.dumps(name)}")
    assert config.load(write(tmp_path, text), env={}).streams[0].name == name


def test_a_query_s_name_may_be_long_where_it_has_a_target(tmp_path: Path) -> None:
    """And it may be filtered and projected like a table."""
    text = FILES.replace("    - name: flights", f"    - {{name: {'f' * 100}, target: t}}")
    assert config.load(write(tmp_path, text), env={}).streams[0].target == "t"
    text = BASE.replace("    - name: orders", "    - {name: q, query: select 1 as a, columns: [a], where: a > 0}")
    assert config.load(write(tmp_path, text), env={}).streams[0].where == "a > 0"


def test_a_tab_is_a_delimiter(tmp_path: Path) -> None:
    """Although it is a control character."""
    text = FILES.replace("    path: data/*.csv", '    {path: x, delimiter: "\\t"}')
    assert config.load(write(tmp_path, text), env={}).source.delimiter == "\t"  # type: ignore[union-attr]
