"""PostgreSQL as both ends need it: the one door to psycopg, its errors translated, COPY, types, look-ups.

session         the one psycopg.connect; conninfo: its settings; stoppable: statements end when the run is to
embedded        the embedded server
failure         server errors -> ours (pure)
copy            COPY by blocks, through libpq
message_reader  COPY as the messages it travels in; messages: where one ends (pure)
large_rows      room that readers ask for before they take a wide row
catalog         look-ups for many relations at once
types           names and kinds of types; conversions: which COPY carries into which (pure); uuids: texts -> UUIDs
definition      user-defined types: whether two servers' are the same (pure)
checksum        an order-free checksum of rows; row_images: the statements of `verify`
"""
