"""DuckDB: from PostgreSQL or a file into PostgreSQL by its postgres extension, which writes binary COPY."""

import os
from pathlib import Path

import duckdb
import duckdb_extension_postgres_scanner as package

table, file = os.environ["PEER_TABLE"], os.environ.get("PEER_FILE")
connection = duckdb.connect(config={"allow_unsigned_extensions": "true"})
extension = next(Path(package.__file__).parent.rglob("postgres_scanner.duckdb_extension"))
connection.execute(f"LOAD '{extension}'")
connection.execute("SET preserve_insertion_order = false")
connection.execute("SET TimeZone = 'UTC'")
connection.execute(f"ATTACH '{os.environ['PEER_DESTINATION']}' AS destination (TYPE postgres)")
if file is None:
    connection.execute(f"ATTACH '{os.environ['PEER_SOURCE']}' AS source (TYPE postgres, READ_ONLY)")
    rows = f"source.bench.{table}"
else:
    reader = {"csv": "read_csv", "ndjson": "read_ndjson", "parquet": "read_parquet"}[file.rpartition(".")[2]]
    rows = f"{reader}('{file}')"
connection.execute(f"CREATE TABLE destination.bench.{table} AS SELECT * FROM {rows}")
