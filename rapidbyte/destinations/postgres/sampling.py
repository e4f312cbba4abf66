"""How thoroughly a loaded table is analysed: decided here, carried out in `statistics`.

ANALYZE looks at 300 rows for each unit of its target, 30,000 at the server's default of 100, however few were loaded:
0.44 s for 1,000,000 rows of 15 columns that load in 2.4 s, 1.1 s for 200,000 of 22, 11 s for 50,000 of 300 columns that
load in 1.8 s. So a run takes a sample of half a percent of what it has loaded (3,000 rows at least, the server's own
sample from 6,000,000 rows on), which costs about 3 % of the load, and leaves the rest to autovacuum: ANALYZE of named
columns does not take back the count of changed rows by which autovacuum finds its work
(https://www.postgresql.org/docs/current/routine-vacuuming.html#VACUUM-FOR-STATISTICS), and so it analyses the table
fully within its `autovacuum_naptime`. Where it will not come, the run does all of it.
"""

from __future__ import annotations

from rapidbyte.model import PublishMethod
from rapidbyte.values import frozen

SAMPLED_ROWS = 300
"""For each unit of the target (`std_typanalyze` of the server)."""

LOADED_ROWS = 60_000
"""For each unit of the target: half a percent of the rows is looked at."""

LEAST_TARGET = 10
"""3,000 rows: 55 ms for the 15 columns of small, 66 ms for medium, where 100 takes 443 and 1,100."""

BECOMES_TARGET: frozenset[PublishMethod] = frozenset({"rename", "swap"})
"""The stage becomes the table."""

ADDS_ROWS: frozenset[PublishMethod] = frozenset({"insert", "direct"})
"""Every row of the load is a row more."""


@frozen
class AnalysedTable:
    """What the server says of a table before it is analysed."""

    columns: tuple[str, ...]
    """In their order."""
    target: int
    """The session's `default_statistics_target`."""
    autovacuum: bool
    """The server analyses the table by itself: it is on, and the table is an ordinary one that does not refuse it."""
    computed: bool
    """It has an index of an expression, whose statistics come only with those of all columns."""
    rows: float
    """At the last ANALYZE; 0 or less where there was none."""
    unseen: int
    """Rows that have changed since then, as far as sessions have told it."""
    due: float
    """As many of them bring autovacuum to analyse the table."""


@frozen
class Sample:
    """One ANALYZE."""

    target: int
    """`default_statistics_target`."""
    columns: tuple[str, ...] = ()
    """Named ones leave autovacuum its work. Empty: all, and nothing is left."""


def sample(table: AnalysedTable, loaded: int, publish: PublishMethod) -> Sample | None:
    """The ANALYZE after a load of `loaded` rows; None where the statistics that the table has are still its own.

    A load into a table with rows may be a small part of it. The server's own rule then tells whether it matters (a
    tenth of the rows, unless set otherwise): less is counted, and autovacuum comes when it is due. A small sample
    takes the place of a large one only where autovacuum is sure to come.
    """
    whole = Sample(target=table.target)
    target = max(LEAST_TARGET, loaded // LOADED_ROWS)
    if not table.autovacuum or table.computed or target >= table.target:
        return whole
    if publish not in BECOMES_TARGET:
        if table.rows > 0 and table.unseen + loaded <= table.due:
            return None
        # A merge, and a replace by key, writes what differs, which may be no row; and what sessions have told may
        # hold the loaded rows already.
        if publish not in ADDS_ROWS or max(table.unseen, loaded) <= table.due:
            return whole
    return whole if loaded <= LEAST_TARGET * SAMPLED_ROWS else Sample(target=target, columns=table.columns)
