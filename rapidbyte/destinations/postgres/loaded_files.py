"""Rows of `files`: which files each incremental stream has loaded. Written by the transaction that publishes."""

from __future__ import annotations

from itertools import groupby
from typing import LiteralString

from rapidbyte.contract import WriteContract
from rapidbyte.cursor import FileMark
from rapidbyte.pg.session import PgConnection

_UPSERT: LiteralString = """
INSERT INTO _rapidbyte.files (pipeline, stream, path, size, stamp, digest, load_id, run_id)
SELECT %(pipeline)s, %(stream)s, f.path, f.size, f.stamp, f.digest, %(load_id)s, %(run_id)s
FROM unnest(%(paths)s::text[], %(sizes)s::bigint[], %(stamps)s::text[], %(digests)s::text[])
     AS f (path, size, stamp, digest)
ON CONFLICT (pipeline, stream, path) DO UPDATE
SET size = excluded.size, stamp = excluded.stamp, digest = excluded.digest,
    load_id = excluded.load_id, run_id = excluded.run_id, loaded_at = pg_catalog.clock_timestamp()
"""


def list_files(connection: PgConnection, pipeline: str) -> dict[str, tuple[FileMark, ...]]:
    """What every stream of the pipeline has loaded, by path."""
    rows = connection.execute(
        "SELECT stream, path, size, stamp, digest FROM _rapidbyte.files WHERE pipeline = %s ORDER BY stream, path",
        (pipeline,),
    ).fetchall()
    return {
        stream: tuple(
            FileMark(path=path, size=size, stamp=stamp, digest=digest) for _, path, size, stamp, digest in own
        )
        for stream, own in groupby(rows, key=lambda row: row[0])
    }


def record(connection: PgConnection, contract: WriteContract) -> None:
    """The files that a load brought are loaded; where it replaced the target's rows, these alone are.

    Nothing for a load that was no increment of files.
    """
    bounds = contract.bounds
    if bounds is None or not bounds.files:
        return
    if contract.write_mode == "replace":
        forget(connection, pipeline=contract.pipeline, stream=contract.stream)
    connection.execute(
        _UPSERT,
        {
            "pipeline": contract.pipeline,
            "stream": contract.stream,
            "load_id": contract.load_id,
            "run_id": contract.run_id,
            "paths": [mark.path for mark in bounds.files],
            "sizes": [mark.size for mark in bounds.files],
            "stamps": [mark.stamp for mark in bounds.files],
            "digests": [mark.digest for mark in bounds.files],
        },
    )


def forget(connection: PgConnection, *, pipeline: str, stream: str | None = None) -> None:
    """Forgets what a stream, or every stream of the pipeline, has loaded."""
    connection.execute(
        "DELETE FROM _rapidbyte.files WHERE pipeline = %s AND stream = coalesce(%s, stream)", (pipeline, stream)
    )
