"""Every case of bad input has a test or a scenario that cites its id, or a line in docs/limits.md."""

from __future__ import annotations

import functools
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

HAZARDS = """
A1  unknown or misspelt key
A2  duplicate keys of YAML
A3  YAML 1.1 guesses types
A4  file is no document
A5  environment variable is missing
A6  missing or unusable key
A7  cursor not among columns
A8  mode changed between runs
A9  two streams, one target
A10 source is the target
A11 no stream is selected
A12 workers exceed free connections
A13 DSN cannot be read
A14 password is not escaped
A15 full refresh of a window
B1  NUL within a text
B2  half a surrogate pair
B3  bytes that are no text
B4  infinite and far dates
B5  intervals of whole months
B6  numbers that are none
B7  digits would be rounded
B8  integer is too great
B9  binary of another type
B10 empty text is no NULL
B11 backslashes, tabs, line ends
B12 time without a zone
B13 text is too long
B14 a constraint is violated
B15 one key comes twice
B16 NULL within a key
B17 generated columns are written
B18 sequences are left behind
B19 a trigger drops rows
B20 no partition for rows
B21 type unknown at target
B22 values and rows too large
B23 a row nobody sent
B24 json normalised or not
B25 floats keep every bit
B26 collations order differently there
B27 large objects and values
C1  backend terminated in COPY
C2  server crashes and recovers
C3  server restarts under publish
C4  COMMIT without an answer
C5  source dies while read
C6  statement timeout of role
C7  lock is not given
C8  idle transaction is ended
C9  deadlock or serialization failure
C10 disk full at server
C11 too many open connections
C12 login, database, TLS refused
C13 server accepts no writes
C14 client killed or frozen
C15 SIGINT and SIGTERM, twice
C16 one worker thread fails
C17 pooler lends per transaction
C18 standby conflicts with recovery
C19 server does not answer
C20 old server, missing extension
C21 stdout or result unwritable
C22 clock of host jumps
D1  pipeline runs twice, here
D2  pipeline runs twice, elsewhere
D3  leader loses its lease
D4  pipelines share fresh schema
D5  catalog row changed meanwhile
D6  stage with fixed name
D7  readers during a replace
D8  long readers hold locks
D9  dependent views and functions
D10 what hangs on tables
D11 inbound foreign keys remain
D12 policies on the target
D13 maintenance of the target
D14 target changed during load
D15 writers during a replace
D16 source changes between readers
D17 target is replicated further
E1  killed at every stage
E2  killed again while recovering
E3  ties at cursor's boundary
E4  transactions that commit late
E5  precision of the cursor
E6  cursor regresses or infinite
E7  deletes in the source
E8  increment without any rows
E9  replace by no rows
E10 some streams fail alone
E11 ledger damaged or newer
E12 ledger or target gone
E13 name reused, other source
E14 target restored from backup
E15 partition written again twice
E16 append must never delete
E17 leftovers of dead runs
E18 retries have an end
F1  column new at source
F2  column gone at source
F3  type widened or narrowed
F4  columns in other order
F5  column has been renamed
F6  drift during the run
F7  names over 63 bytes
F8  names that need quotes
F9  index name is taken
F10 control characters in names
F11 search_path surprises our SQL
G1  injection through a name
G2  injection through a type
G3  custom SQL stays harmless
G4  secrets in any output
G5  tracebacks with their locals
G6  customer data in errors
G7  YAML bombs and tags
G8  TLS is never downgraded
G9  modes of written files
G10 names that are paths
G11 escapes for a terminal
G12 least privilege is enough
G13 source server is hostile
G14 COPY PROGRAM and friends
G15 supply chain and network
"""
"""Id and title of all 125 cases."""

TITLES = dict(re.findall(r"^([A-G]\d+) +(.+)$", HAZARDS, re.MULTILINE))
ID = re.compile(r"(?<![\w.%'\"])[A-G]\d{1,2}(?![\w'\"%])")
"""An id in prose: B4, (D9); not a text of one word, as "F0"."""


@functools.cache
def cited() -> dict[str, set[str]]:
    """Each id with the files that cite it: tests and scenarios, this one left out."""
    found: dict[str, set[str]] = {}
    for folder in ("tests", "scenarios"):
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix not in (".py", ".sh", ".md", ".sql", ".yaml") or path == Path(__file__):
                continue
            for name in ID.findall(path.read_text().replace('"""', " ")):
                found.setdefault(name, set()).add(path.relative_to(ROOT).as_posix())
    return found


@functools.cache
def explained() -> set[str]:
    """The ids that docs/limits.md names."""
    return set(ID.findall((ROOT / "docs/limits.md").read_text()))


def test_the_list_is_whole() -> None:
    """15, 27, 22, 17, 18, 11 and 15 cases, numbered without a gap, each with a title of its own."""
    counts = {"A": 15, "B": 27, "C": 22, "D": 17, "E": 18, "F": 11, "G": 15}
    assert list(TITLES) == [f"{group}{number}" for group, count in counts.items() for number in range(1, count + 1)]
    assert len(set(TITLES.values())) == len(TITLES) == 125


@pytest.mark.parametrize("name", TITLES)
def test_every_case_has_a_test_or_a_reason(name: str) -> None:
    """A docstring or comment of a test that shows it, or a line that says why it is refused or left."""
    shown = name in cited() or name in explained()
    assert shown, f"nothing shows {name}: {TITLES[name]}"


def test_no_id_is_cited_that_there_is_not() -> None:
    """A misspelt id would pass for a test of the case that was meant."""
    unknown = {name: files for name, files in cited().items() if name not in TITLES}
    assert unknown == {}
    assert explained() <= set(TITLES)
