"""PostgreSQL as destination: the leader's side, which changes tables, and the workers', which cannot.

The leader's, in the order of a run:

leader      PostgresLeader: look, plan, prepare, finalize, discard
sessions    its connection, and DDL that may lose a race
target      a target and all that hangs on it, as values; target_catalog: the look
resolve     the stream's types as the destination knows them
planning    what will happen to a stream (pure): drift, publish method, statements
drift       the stream's columns against the target's (pure)
publish     which way a load is published, and why (pure)
ddl, rows   statements as data: tables, rows
indexes     the source's index definitions, read (pure)
privileges  what is missing, as GRANTs
workers     what the workers' role is granted and loses again
progress    what keeps an increment from loading too much or too little
prepare     target or stage, made and recorded; direct: loads that ended half-way; last_run: `--failed`
finalize    publishing, in one transaction: outcome (commits while the lease is ours), order (parents before children),
            locks (asked for in short tries), guards (what must hold), hooks (a user's statements), rewrite (insert,
            in_place, merge), merge (one row a key), statistics (ANALYZE), sampling (of how many rows)
builds      indexes of large stages, by several sessions before the publish; stage_indexes: which, how many (pure)
conflicts   rows that the target's keys would refuse: clashes (unique, exclusion), aside (out of the stage)
replay      `rejects replay`; dropping: `rejects drop`
compare     `verify`'s view of the targets
state       what `state`, `gc` and `runs` look at and change

The ledger, schema _rapidbyte, a module for each table's rows:

ledger      the tables, made and migrated; orphans: stages that no ledger knows of
loads       loads and receipts; records: what another run needs to go on (pure)
lease       the lease; leases: its rows
cursors     how far increments have come; loaded_files: the same of files
runs        who ran, when, how it ended

The workers':

writer      one connection, one COPY, one receipt, one COMMIT
encode      Arrow -> COPY bytes; wire: binary or text (pure); copy_values: a column's arrays as they are written;
            addresses: inet; text_checks: texts that a richer column reads
sieve       a COPY where bad rows are set aside; sent: which row of the source a row of a COPY is
"""
