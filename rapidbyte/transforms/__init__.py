"""What happens to rows between reading and writing. Arrow batches in, Arrow batches out; nothing is lost in silence.

chain     a stream's transforms in order, planned from its columns, and applied to a partition's blocks
sql       one SELECT, by DuckDB
validate  rules that rows must meet
mask      values made unrecognisable
columns   rename, drop, cast, case
decode    COPY's CSV -> Arrow, for rows that come from PostgreSQL
source    a source whose streams are those after the transforms
"""
