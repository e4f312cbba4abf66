"""Reading PostgreSQL.

source        PostgresSource: who it is
names         stream names -> relations (pure); faults: collected until all are known
describe      columns, keys, rows; cursors: what `cursor_field` names (pure)
user_sql      a user's `query` and `where`, checked by the server's parser
snapshot      one view of it; blocking: who has a lock that it waits for
bounds        from where to where an increment goes; settle: open transactions have ended
cursor_value  a cursor's value that a person gives
split         a relation -> partitions (pure); increment: an increment -> ranges
select        a partition's SELECT (pure); typed: cursor values in it
reader        one partition, read
compare       `verify`'s view of the rows
"""

from rapidbyte.sources.postgres.source import PostgresSource

__all__ = ["PostgresSource"]
