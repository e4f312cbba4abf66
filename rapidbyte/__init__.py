"""rapidbyte loads data into PostgreSQL with COPY, in parallel, from a YAML file.

The map, in reading order:

    contract                      what the leader hands to the workers, and what comes back
    ports                         the seams: source, leader, writer, watcher
    engine.run                    a run, step by step, on one screen
    engine.worker                 one partition: read, hand over, write, receipt
    destinations.postgres.writer  one connection, one COPY, one receipt, one COMMIT
    scenarios/01_*                all of it, from the outside

    values, errors, model         words: @frozen, the error tree, names, columns, types, secrets
    partition, metrics            the half-open ranges; laps and CPU
    memory                        what the process keeps beside its rows
    spec, plan, result            what was asked for, what will be done, what was done
    decisions                     from the one to the next, for a run as a whole
    events                        what a run says of itself while it goes on
    transforms                    what happens to rows on their way: sql, validate, mask, columns
    cursor, rejects               how far an increment has come; bad rows: what is told of one, how many there may be
    tuning, retry                 how many workers, and why; what is tried again
    comparison                    what `verify` asks of each end
    failpoints                    where tests make a run fail
    config                        YAML -> PipelineSpec, every problem at once
    pg                            the one door to psycopg, types, catalog look-ups
    sources, destinations         adapters; they do not know each other
    engine                        steps, pool, hand-over; knows ports only
    report, bench                 views of a result; measuring
    wiring                        the only module that names adapters
    cli                           one file a command

`run` and `load` are offered here and imported when they are first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["__version__", "load", "run"]

if TYPE_CHECKING:
    from rapidbyte.config import load as load
    from rapidbyte.wiring import run as run


def __getattr__(name: str) -> Any:
    """Imports `run` and `load` on first use, so that `rapidbyte --help` imports neither driver nor YAML."""
    if name == "run":
        from rapidbyte.wiring import run

        return run
    if name == "load":
        from rapidbyte.config import load

        return load
    raise AttributeError(f"module 'rapidbyte' has no attribute {name!r}")
