"""Files as a source: CSV, NDJSON, Parquet, Arrow IPC, one or many, compressed or not, into Arrow record batches.

    paths           which files a stream is, their format, and whether they stay what they were
    text            a text file's bytes: decompressed, decoded, cancellable
    split           where a large text file is cut for several workers
    dialect         how CSV is written, and its names; delimited: its records as text, and on which line each stands
    infer           texts -> a type, only where nothing is lost on the way; inference, commas
    readings        as which type a column's text is read, and in which notation
    converters      text -> values of one type, exactly or with an error; date_formats
    sample          CSV's first rows, or all of them, as types
    ndjson          a line of NDJSON -> its members; ndjson_columns, ndjson_records, ndjson_fast, ndjson_shapes
    parquet         row groups, and Arrow's types in PostgreSQL's; arrow_ipc, nested
    condition       `where`, and nested values as JSON: the only DuckDB
    increment       which files are new, and what tells one from a later one of its name
    provenance      columns that say where a row comes from
    spool           what can be read only once; remote, opening: what lies in a store
    read            one partition, read; task: what that needs to know; aside: rows that are set aside meanwhile
    csv_values      CSV's records as values; group_values: Parquet's and Arrow's row groups
    places          where a row stands in its file
    describe        columns, types, rows; contents
    source          FilesSource: streams, snapshot, partitions

CSV is parsed by Arrow, not by DuckDB 2.0, which reads the same files with twice the CPU time and gives wrong answers
without an error: of 2,000,002 rows it drops the last two when the last is malformed and the first of them stands at
byte 8,000,004, it takes a truncated .zst for a short one, and it reads 7.5 as the integer 8.
"""

from rapidbyte.sources.files.source import FilesSource

__all__ = ["FilesSource"]
