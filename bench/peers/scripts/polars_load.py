"""Polars: a frame from PostgreSQL or a file, written with engine="adbc", which is binary COPY."""

import os

import polars as pl

table, file = os.environ["PEER_TABLE"], os.environ.get("PEER_FILE")
if file is None:
    frame = pl.read_database_uri(os.environ["PEER_QUERY"], os.environ["PEER_SOURCE"], engine="adbc")
elif file.endswith(".csv"):
    frame = pl.read_csv(file, try_parse_dates=True, infer_schema_length=10_000)
elif file.endswith(".ndjson"):
    frame = pl.read_ndjson(file)
else:
    frame = pl.read_parquet(file)
frame.write_database(f"bench.{table}", os.environ["PEER_DESTINATION"], engine="adbc", if_table_exists="replace")
