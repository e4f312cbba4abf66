"""dlt: sql_database with an Arrow backend, loaded as the file format that its postgres destination takes fastest."""

import os
import tempfile

backend, table = os.environ["PEER_BACKEND"], os.environ["PEER_TABLE"]
os.environ.setdefault("RUNTIME__DLTHUB_TELEMETRY", "false")
os.environ.setdefault("RUNTIME__LOG_LEVEL", "ERROR")
os.environ["NORMALIZE__WORKERS"] = "2"
os.environ["LOAD__WORKERS"] = "2"
# Several files, so that several jobs load.
os.environ["DATA_WRITER__FILE_MAX_ITEMS"] = "250000"
os.environ["SOURCES__DATA_WRITER__FILE_MAX_ITEMS"] = "250000"
os.environ["NORMALIZE__PARQUET_NORMALIZER__ADD_DLT_LOAD_ID"] = "false"

import dlt  # noqa: E402
from dlt.sources.sql_database import sql_table  # noqa: E402

with tempfile.TemporaryDirectory() as folder:
    rows = sql_table(
        credentials=os.environ["PEER_SOURCE"].replace("postgresql://", "postgresql+psycopg2://"),
        schema="bench",
        table=table,
        backend=backend,
        chunk_size=100_000,
        reflection_level="full_with_precision",
        backend_kwargs={"return_type": "arrow"} if backend == "connectorx" else {},
    )
    pipeline = dlt.pipeline(
        pipeline_name=f"peers_{backend}",
        pipelines_dir=folder,
        destination=dlt.destinations.postgres(os.environ["PEER_DESTINATION"]),
        dataset_name="bench",
    )
    info = pipeline.run(rows, write_disposition="replace", loader_file_format=os.environ["PEER_FORMAT"])
    info.raise_on_failed_jobs()
