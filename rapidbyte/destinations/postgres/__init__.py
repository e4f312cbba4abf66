"""PostgreSQL as destination: the leader's side, which changes tables, and the workers', which cannot.

leader      PostgresLeader: look, plan, prepare, finalize, discard
planning    what will happen to a stream (pure): drift, publish method, statements
target      what there is: one look at a target and all that hangs on it
drift       the stream's columns against the target's (pure)
publish     which way a load is published, and why (pure)
ddl, rows   statements as data: tables, rows
indexes     the source's index definitions, read (pure)
privileges  what is missing, as GRANTs
workers     what the workers' role is granted and loses again
finalize    publishing, in one transaction
ledger      schema _rapidbyte: loads and receipts
writer      a worker's COPY; encode: Arrow to COPY bytes
"""
