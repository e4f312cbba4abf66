"""Databases that are files: SQLite and DuckDB, into Arrow record batches.

source      LocalSource: streams, snapshot, partitions, for either of them
tables      what the two have in common: a stream as it is found, and the blocks of one partition
sqlite      SQLite's columns, and its rows with every value checked against its column's declared type
affinity    SQLite's declared types in PostgreSQL's, and the check of one column's values
duck        DuckDB's columns and rows, and queries over files
"""

from rapidbyte.sources.local.source import LocalSource

__all__ = ["LocalSource"]
