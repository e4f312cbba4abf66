"""The profile's table as files: CSV as the server writes it, NDJSON as it makes JSON, Parquet of the CSV."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from rapidbyte.bench import tables
from rapidbyte.errors import ConfigError
from rapidbyte.pg.session import PgConnection

FileFormat = Literal["csv", "ndjson", "parquet"]
FORMATS: tuple[FileFormat, ...] = ("csv", "ndjson", "parquet")

BLOCK_BYTES = 4 * 1024 * 1024
"""Of the CSV that is turned into Parquet at once."""

ROW_GROUP_ROWS = 65_536
"""At most, of a Parquet file: what several workers share."""


def write_files(connection: PgConnection, table: str, folder: Path) -> Mapping[FileFormat, Path]:
    """Writes all formats into the folder. The rows are the table's, in its order."""
    paths: dict[FileFormat, Path] = {each: folder / f"{table}.{each}" for each in FORMATS}
    with paths["csv"].open("wb") as file:
        tables.copy_out(connection, table, "csv", file.write)
    with paths["ndjson"].open("wb") as file:
        # COPY's text format doubles backslashes, and escapes nothing else of a JSON text.
        tables.copy_out(connection, table, "ndjson", lambda block: file.write(block.replace(rb"\\", b"\\")))
    _write_parquet(paths["csv"], paths["parquet"], tables.column_types(connection, table))
    return paths


def _write_parquet(csv_path: Path, path: Path, types: Mapping[str, str]) -> None:
    from pyarrow import csv, parquet

    reader = csv.open_csv(
        csv_path,
        read_options=csv.ReadOptions(block_size=BLOCK_BYTES),
        parse_options=csv.ParseOptions(newlines_in_values=True),
        convert_options=csv.ConvertOptions(
            column_types={name: arrow_type(kind) for name, kind in types.items()},
            null_values=[""],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
            true_values=["t"],
            false_values=["f"],
        ),
    )
    with reader, parquet.ParquetWriter(path, reader.schema) as writer:
        for batch in reader:
            writer.write_batch(batch, row_group_size=ROW_GROUP_ROWS)


def arrow_type(kind: str) -> Any:
    """The Arrow type of a column, from its PostgreSQL type's name; text for what Arrow has no type for."""
    import pyarrow as pa

    simple: dict[str, Any] = {
        "smallint": pa.int16(),
        "integer": pa.int32(),
        "bigint": pa.int64(),
        "real": pa.float32(),
        "double precision": pa.float64(),
        "boolean": pa.bool_(),
        "date": pa.date32(),
        "timestamp without time zone": pa.timestamp("us"),
        "timestamp with time zone": pa.timestamp("us", "UTC"),
    }
    if kind.startswith("numeric("):
        precision, scale = kind.removeprefix("numeric(").removesuffix(")").split(",")
        return pa.decimal128(int(precision), int(scale))
    if kind == "numeric":
        raise ConfigError("a column of numeric without precision has no Parquet type", code="usage")
    return simple.get(kind, pa.string())
