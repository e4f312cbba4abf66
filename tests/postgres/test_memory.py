"""Memory of a whole `rapidbyte run`, by the operating system's count, whatever the width of the rows."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, LiteralString

import pytest
import yaml

from rapidbyte.pg.large_rows import doubled
from tests.postgres.command import PATIENCE_SECONDS, ROOT, Connect, Project, postgres, project
from tests.postgres.proxying import proxied

MB = 1 << 20
ROW_MB = 24
ROWS = 8
WIDE = f"""
    CREATE TABLE t (id int, filler text, body %s);
    ALTER TABLE t ALTER filler SET STORAGE PLAIN, ALTER body SET STORAGE EXTERNAL;
    INSERT INTO t SELECT i, repeat('x', 5000), %s FROM generate_series(1, {ROWS}) i
"""
"""One row a block, so that every row is a partition of its own."""
TEXT = WIDE % ("text", f"repeat(md5(i::text), {ROW_MB * MB // 32})")
BYTEA = WIDE % ("bytea", f"convert_to(repeat(md5(i::text), {ROW_MB * MB // 32}), 'UTF8')")


def with_memory(made: Project, *, workers: int, max_memory: str) -> Project:
    """The project with these resources."""
    made.document["resources"] = {"parallelism": workers, "max_memory": max_memory}
    return made


_MEASURE = """
import os, sys
pid = os.posix_spawn(sys.executable, [sys.executable, "-m", "rapidbyte", "run", "pipeline.yaml", "--quiet"], os.environ)
_, status, usage = os.wait4(pid, 0)
print("PEAK", usage.ru_maxrss * 1024)
"""
"""A process of its own: what is started by another one begins with that one's size, as the system counts."""


def peak_of(made: Project) -> tuple[int, dict[str, Any]]:
    """Peak resident bytes of the whole process, as the system counts them when it has ended, and the result."""
    made.folder.mkdir(exist_ok=True)
    (made.folder / "pipeline.yaml").write_text(yaml.safe_dump(made.document))
    done = subprocess.run(
        [sys.executable, "-c", _MEASURE],
        cwd=made.folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=True,
    )
    document, peak = done.stdout.split("PEAK")
    return int(peak), json.loads(document)


@pytest.mark.slow
@pytest.mark.parametrize("table", [TEXT, BYTEA], ids=["text", "bytea"])
@pytest.mark.parametrize("workers", [2, 4])
def test_values_of_many_megabytes_are_never_held_as_a_whole(
    tmp_path: Path, source_db: str, destination_db: str, connect: Connect, table: str, workers: int
) -> None:
    """B27: between connections without encryption rows go on in pieces; the process is as small as with narrow rows."""
    connect(source_db).execute(table)
    made = project(tmp_path / "p", postgres(source_db), destination_db, stream={"name": "t"})
    peak, document = peak_of(with_memory(made, workers=workers, max_memory="16mb"))
    assert document["status"] == "succeeded", document["error"]
    assert document["records_written"] == ROWS
    assert peak <= 90 * MB, f"{peak >> 20} MB"


@pytest.mark.slow
@pytest.mark.parametrize("table", [TEXT, BYTEA], ids=["text", "bytea"])
@pytest.mark.parametrize("workers", [2, 4])
def test_values_of_many_megabytes_stay_within_max_memory(
    tmp_path: Path, source_db: str, destination_db: str, connect: Connect, table: str, workers: int
) -> None:
    """B27: the process as a whole, with its interpreter and what the allocator keeps (docs/performance.md)."""
    connect(source_db).execute(table)
    with proxied(destination_db) as proxy:
        # Over TCP with GSS encryption allowed, messages are not passed on as they are; as with TLS.
        target = proxy.dsn.replace("gssencmode=disable", "gssencmode=prefer")
        made = project(tmp_path / "p", postgres(source_db), target, stream={"name": "t"})
        peak, document = peak_of(with_memory(made, workers=workers, max_memory="160mb"))
    assert document["status"] == "succeeded", document["error"]
    assert document["records_written"] == ROWS
    assert 90 * MB < peak <= (160 + 64) * MB, f"{peak >> 20} MB"


KEPT = 64 * MB
"""What the allocator may keep."""


@pytest.mark.slow
@pytest.mark.parametrize(("table", "row_bytes"), [(TEXT, ROW_MB * MB), (BYTEA, 2 * ROW_MB * MB)], ids=["text", "bytea"])
def test_values_of_many_megabytes_pass_through_transforms_one_at_a_time(
    tmp_path: Path, source_db: str, destination_db: str, connect: Connect, table: str, row_bytes: int
) -> None:
    """B27: as docs/performance.md has it: the process, libpq's buffer and what a row takes on its way."""
    connect(source_db).execute(table)
    made = project(tmp_path / "p", postgres(source_db), destination_db, stream={"name": "t"})
    made.document["transforms"] = [{"use": "sql", "config": {"query": "SELECT * FROM input"}}]
    peak, document = peak_of(with_memory(made, workers=4, max_memory="160mb"))
    assert document["status"] == "succeeded", document["error"]
    assert peak <= 150 * MB + doubled(row_bytes) + 10 * row_bytes + KEPT, f"{peak >> 20} MB"


NARROW = "SELECT i AS id, i / 3.0::float8 AS a, i / 7.0::float8 AS b, i / 11.0::float8 AS c, i / 13.0::float8 AS d"
EVENTS = "SELECT i AS id, md5('e' || i)::uuid AS event, 'user ' || i AS who, i % 2 = 0 AS is_mobile, now() AS at"
DOCUMENTS = "SELECT i AS id, repeat(md5(i::text), 600) AS body, repeat(md5((-i)::text), 600) AS notes"
SELECT, RULE = (
    {"use": "sql", "config": {"query": "SELECT * FROM input"}},
    {"use": "validate", "config": {"rules": [{"assert_not_null": "id"}, {"assert_expression": "id > 0"}]}},
)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 4])
@pytest.mark.parametrize(
    ("query", "rows"), [(NARROW, 400_000), (EVENTS, 200_000), (DOCUMENTS, 1_500)], ids=["narrow", "events", "documents"]
)
def test_rows_pass_through_transforms_in_little_memory_whatever_their_width(
    tmp_path: Path, source_db: str, destination_db: str, connect: Connect, query: LiteralString, rows: int, workers: int
) -> None:
    """B27: as docs/performance.md has it: interpreter and libraries, and so much for each worker."""
    connect(source_db).execute(f"CREATE TABLE t AS {query} FROM generate_series(1::bigint, {rows}) i")
    made = project(tmp_path / "p", postgres(source_db), destination_db, stream={"name": "t"})
    made.document["transforms"] = [SELECT, RULE]
    peak, document = peak_of(with_memory(made, workers=workers, max_memory="32mb"))
    assert (document["status"], document["records_written"]) == ("succeeded", rows), document["error"]
    assert peak <= 140 * MB + workers * 10 * MB, f"{peak >> 20} MB"


@pytest.mark.slow
def test_a_query_does_not_collect_wide_rows(
    tmp_path: Path, source_db: str, destination_db: str, connect: Connect
) -> None:
    """B27: 96 rows of 2 MB, most of which DuckDB would keep until it had 256 of them."""
    connect(source_db).execute(
        "CREATE TABLE t (id int, body text); ALTER TABLE t ALTER body SET STORAGE EXTERNAL;"
        "INSERT INTO t SELECT i, repeat(md5(i::text), 65536) FROM generate_series(1, 96) i"
    )
    made = project(tmp_path / "p", postgres(source_db), destination_db, stream={"name": "t"})
    made.document["transforms"] = [{"use": "sql", "config": {"query": "SELECT * FROM input"}}]
    peak, document = peak_of(with_memory(made, workers=4, max_memory="160mb"))
    assert (document["status"], document["records_written"]) == ("succeeded", 96), document["error"]
    assert peak <= 160 * MB + KEPT + 20 * MB, f"{peak >> 20} MB"


@pytest.mark.slow
@pytest.mark.parametrize(("action", "copies"), [("skip", 4), ("dlq", 6)])
@pytest.mark.parametrize(("table", "row_bytes"), [(TEXT, ROW_MB * MB), (BYTEA, 2 * ROW_MB * MB)], ids=["text", "bytea"])
def test_values_of_many_megabytes_are_set_aside_within_a_bound(
    tmp_path: Path,
    source_db: str,
    destination_db: str,
    connect: Connect,
    table: str,
    row_bytes: int,
    action: str,
    copies: int,
) -> None:
    """B27: two of the rows are refused by a CHECK; what is not stored is not taken apart."""
    connect(source_db).execute(table)
    kind = "text" if table == TEXT else "bytea"
    connect(destination_db).execute(
        f"CREATE SCHEMA raw; CREATE TABLE raw.t (id int CHECK (id NOT IN (3, 6)), filler text, body {kind})"
    )
    made = project(tmp_path / "p", postgres(source_db), destination_db, stream={"name": "t"}, on_data_error=action)
    peak, document = peak_of(with_memory(made, workers=4, max_memory="160mb"))
    assert (document["status"], document["records_written"]) == ("succeeded", ROWS - 2), document["error"]
    assert peak <= max(160 * MB, 70 * MB + doubled(row_bytes) + copies * row_bytes) + KEPT, f"{peak >> 20} MB"


def test_a_row_that_is_longer_than_max_memory_is_refused(
    tmp_path: Path, source_db: str, destination_db: str, connect: Connect
) -> None:
    """Exit 5, with what to do; nothing is published, and no process is killed for want of memory."""
    connect(source_db).execute("CREATE TABLE t AS SELECT repeat(md5('x'), 262144) AS v")
    made = project(tmp_path / "p", postgres(source_db), destination_db, stream={"name": "t"})
    made.document["destination"]["on_data_error"] = "skip"  # rows are kept until the server has taken them
    found = with_memory(made, workers=2, max_memory="4mb").run("--quiet")
    assert (found.exit_code, found.document["error"]["code"]) == (5, "row_too_large")
    assert found.document["error"]["hint"] == ("raise resources.max_memory: such a row takes 6 times its size at most")
