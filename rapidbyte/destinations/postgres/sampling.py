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

MARGIN = 1.2
"""The number of rows by which autovacuum decides is an estimate from the sample's pages."""

ADDS_OR_MERGES: frozenset[PublishMethod] = frozenset({"insert", "direct", "merge"})
"""Changes as many rows as were loaded, at most; a replace in place deletes others as well."""

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
    postponed: bool
    """The table whose place it will take has an index of an expression, or a column with a target of its own: both
    come with the publish, and the statistics after it."""
    rows: float
    """At the last ANALYZE; 0 or less where there was none."""
    unseen: int
    """Rows that have changed since then, as far as sessions have told it."""
    threshold: float
    scale: float
    """More changed rows than `threshold` + `scale` x the table's rows bring autovacuum to analyse it: its own storage
    parameters, or those of the table whose place it will take, else the server's settings."""

    def due(self, rows: float) -> float:
        """Up to so many changed rows nothing comes, where the last ANALYZE found `rows`."""
        return self.threshold + self.scale * max(rows, 0.0)


@frozen
class Sample:
    """One ANALYZE."""

    target: int
    """`default_statistics_target`."""
    columns: tuple[str, ...] = ()
    """Named ones leave autovacuum its work. Empty: all, and nothing is left."""


def sample(table: AnalysedTable, loaded: int, publish: PublishMethod) -> Sample | None:
    """The ANALYZE after a load of `loaded` rows; None where the statistics that the table has are still its own.

    An append or a merge may be a small part of the table. The server's own rule then tells whether it matters (50
    rows and a tenth of the table's, unless set otherwise): less is counted, and autovacuum comes when it is due. A
    small sample takes the place of a large one only where autovacuum is sure to come.
    """
    whole = Sample(target=table.target)
    target = max(LEAST_TARGET, loaded // LOADED_ROWS)
    if not table.autovacuum or table.computed or target >= table.target:
        return whole
    if publish in ADDS_OR_MERGES and table.rows > 0 and table.unseen + loaded <= table.due(table.rows):
        return None
    if loaded <= LEAST_TARGET * SAMPLED_ROWS or not _autovacuum_comes(table, loaded, publish):
        return whole
    return Sample(target=target, columns=table.columns)


def _autovacuum_comes(table: AnalysedTable, loaded: int, publish: PublishMethod) -> bool:
    """After an ANALYZE that finds the new number of rows, and leaves the count of changed ones as it is."""
    if publish in BECOMES_TARGET:
        return loaded > MARGIN * table.due(loaded)
    if publish not in ADDS_ROWS:
        # A merge, and a replace by key, writes what differs, which may be no row.
        return False
    # What sessions have told may hold the loaded rows already.
    return max(table.unseen, loaded) > MARGIN * table.due(max(table.rows, 0.0) + loaded)
