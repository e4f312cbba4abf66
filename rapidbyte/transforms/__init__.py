"""What happens to rows between reading and writing. Arrow batches in, Arrow batches out; nothing is lost in silence.

chain     a stream's transforms in order, planned from its columns, and applied to a partition's blocks
flow      what the steps of a chain hand to each other
engine    DuckDB, shut in
sql       one SELECT, by DuckDB
validate  rules that rows must meet; firsts: `assert_unique` where bad rows are set aside
misfits   rows with a value that does not fit, found and set aside
mask      values made unrecognisable
columns   rename, drop, cast, case
types     Arrow's types, DuckDB's and PostgreSQL's; printing: values as PostgreSQL prints them
decode    COPY's CSV -> Arrow, for rows that come from PostgreSQL
source    a source whose streams are those after the transforms
"""
