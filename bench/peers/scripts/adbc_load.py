"""ADBC: an Arrow stream out of PostgreSQL, ingested as binary COPY."""

import os

from adbc_driver_postgresql import dbapi

table = os.environ["PEER_TABLE"]
with (
    dbapi.connect(os.environ["PEER_SOURCE"]) as source,
    dbapi.connect(os.environ["PEER_DESTINATION"]) as destination,
    source.cursor() as reading,
    destination.cursor() as writing,
):
    # What ADBC hands over as opaque bytes it cannot ingest as what it was: such columns go as text.
    reading.execute(os.environ["PEER_QUERY"])
    writing.adbc_ingest(table, reading.fetch_record_batch(), mode="create", db_schema_name="bench")
    destination.commit()
