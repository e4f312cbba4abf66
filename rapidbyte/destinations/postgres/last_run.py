"""Which streams of a pipeline's last run are published: what `run --failed` leaves out."""

from __future__ import annotations

from typing import LiteralString

from rapidbyte.pg.session import PgConnection
from rapidbyte.ports import LastRun

_LAST_RUN: LiteralString = """
SELECT r.run_id, s.stream ->> 'name',
       coalesce(s.stream ->> 'status', '') = 'succeeded' OR EXISTS (
           SELECT FROM _rapidbyte.loads AS l
           WHERE l.run_id = r.run_id AND l.stream = s.stream ->> 'name' AND l.state = 'published')
FROM (SELECT run_id, streams FROM _rapidbyte.runs WHERE pipeline = %s
      ORDER BY started_at DESC, run_id DESC LIMIT 1) AS r
LEFT JOIN LATERAL pg_catalog.jsonb_array_elements(r.streams) WITH ORDINALITY AS s (stream, place) ON true
ORDER BY s.place
"""


def last_run(connection: PgConnection, pipeline: str) -> LastRun | None:
    """The pipeline's last run as far as the ledger tells; None where there is none.

    Of a run that was killed, and told no end, the loads tell what it published.
    """
    known = connection.execute("SELECT pg_catalog.to_regclass('_rapidbyte.runs')").fetchone()
    if known is None or known[0] is None:
        return None
    rows = connection.execute(_LAST_RUN, (pipeline,)).fetchall()
    if not rows:
        return None
    return LastRun(run_id=rows[0][0], streams=tuple((name, bool(done)) for _, name, done in rows if name is not None))
