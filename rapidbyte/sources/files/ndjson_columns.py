"""The columns of NDJSON: every key of the rows that are looked at, and a type that gives all of its values back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from rapidbyte.errors import DataError, SourceError
from rapidbyte.model import Column
from rapidbyte.pg.types import built_in
from rapidbyte.sources.files.contents import BLOCK_BYTES, SAMPLE_BYTES, SAMPLED_FILES, Contents, declared_types
from rapidbyte.sources.files.infer import text_reading
from rapidbyte.sources.files.inference import Inference
from rapidbyte.sources.files.ndjson import JsonKind, JsonPlan, plain_number
from rapidbyte.sources.files.ndjson_records import JsonRecords
from rapidbyte.sources.files.paths import DataFile, compression_of
from rapidbyte.sources.files.readings import Reading, arrow_type
from rapidbyte.sources.files.task import FileColumn
from rapidbyte.sources.files.text import check_encoding
from rapidbyte.spec import FilesSourceSpec, StreamSpec

SMALLER_SAMPLE = 4
"""Of NDJSON so much less is looked at than of CSV: one by one its lines take longer."""

Row = Mapping[str, tuple[JsonKind | None, str | None]]

_AMONG: dict[JsonKind, tuple[str, ...]] = {
    "number": ("bigint", "double precision"),
    "boolean": ("boolean",),
    "string": ("date", "timestamp without time zone", "timestamp with time zone", "uuid"),
}
"""What the values of a kind can be: a string that looks like a number is none."""


class _Key:
    """What is known of one key."""

    def __init__(self) -> None:
        self.kinds: set[JsonKind] = set()
        self._inferences: dict[JsonKind, Inference] = {}

    def add(self, values: list[tuple[JsonKind | None, str | None]]) -> None:
        """The key's values in the next rows."""
        import pyarrow as pa

        self.kinds |= {kind for kind, _ in values if kind is not None}
        if len(self.kinds) != 1 or "any" in self.kinds:
            return
        (kind,) = self.kinds
        if kind not in self._inferences:
            self._inferences[kind] = Inference(among=_AMONG[kind])
        texts = [plain_number(text) if kind == "number" and text is not None else text for _, text in values]
        self._inferences[kind].add(pa.array([_storable(text) for text in texts], pa.string()))

    def settled(self, rows: str) -> tuple[JsonKind, Reading]:
        """What its values are, and the type that gives every one of them back."""
        if not self.kinds:
            return "string", text_reading(f"no value in {rows}")
        if len(self.kinds) > 1 or "any" in self.kinds:
            what = (
                "objects or arrays" if self.kinds == {"any"} else f"{' and '.join(sorted(self.kinds - {'any'}))} mixed"
            )
            return "any", replace(text_reading(f"{rows}: {what}, as JSON"), type=built_in("jsonb"))
        (kind,) = self.kinds
        found = self._inferences[kind].found(rows)
        if found is not None:
            return kind, found
        if kind != "number":
            return kind, text_reading(f"{rows}: text")
        reason = f"{rows}: numbers with more digits than other types give back"
        return kind, Reading(type=built_in("numeric"), arrow="string", check="declared", reason=reason)


def describe_json(
    spec: FilesSourceSpec, stream: StreamSpec, files: tuple[DataFile, ...], max_row_bytes: int
) -> Contents:
    """Columns of the NDJSON files. Raises SourceError where no row is found, DataError for a malformed one."""
    import pyarrow as pa

    encoding = check_encoding(spec.encoding or "utf-8")
    keys, count, is_whole = _looked_at(stream, files, encoding, max_row_bytes, lenient=spec.sets_aside)
    if not count or not keys:
        raise SourceError(f"{files[0].path} holds no row", code="file_empty")
    for name in keys:
        if not name:
            raise DataError(f"{files[0].path} has a key without a name", code="header_invalid")
    phrase = f"all {count} rows" if is_whole else f"{count} rows looked at"
    declared = declared_types(stream, tuple(keys))
    settled = {name: key.settled(phrase) for name, key in keys.items()}
    columns = tuple(
        FileColumn(name=name, kind=_kind(kind, declared.get(name)), reading=declared.get(name) or reading)
        for name, (kind, reading) in settled.items()
    )
    readings = {column.name: column.reading for column in columns if column.reading is not None}
    return Contents(
        columns=columns,
        described=tuple(
            Column(name=name, type=reading.type, arrow=reading.arrow, reason=reading.reason)
            for name, reading in readings.items()
        ),
        schema=pa.schema([pa.field(name, arrow_type(reading.arrow)) for name, reading in readings.items()]),
        rows=count if is_whole else None,
        format="ndjson",
        encoding=encoding,
    )


def _storable(text: str | None) -> str | None:
    """Half of a surrogate pair is refused where the row is read; for its column's type it is any character."""
    return text if text is None or text.isascii() else text.encode(errors="replace").decode()


def _kind(found: JsonKind, declared: Reading | None) -> JsonKind:
    """A declared json takes whatever there is, as JSON."""
    return "any" if declared is not None and declared.type.name in ("json", "jsonb") else found


def _looked_at(
    stream: StreamSpec, files: tuple[DataFile, ...], encoding: str, max_row_bytes: int, *, lenient: bool
) -> tuple[dict[str, _Key], int, bool]:
    """The keys in the order in which they come, how many rows they were found in, and whether these are all."""
    chosen = files if stream.infers_fully else files[:: -(-len(files) // SAMPLED_FILES)]
    plan = JsonPlan(columns=(), is_closed=False, known=frozenset(), flatten=stream.flatten, encoding=encoding)
    keys: dict[str, _Key] = {}
    count, is_whole = 0, len(chosen) == len(files)
    for file in chosen:
        records = JsonRecords(file, plan, block_bytes=BLOCK_BYTES, max_row_bytes=max_row_bytes)
        left = SAMPLE_BYTES // SMALLER_SAMPLE // len(chosen)
        for lines in records.blocks():
            rows = [row for _, row in records.rows(lines, lenient=lenient)]
            _add(keys, rows)
            count += len(rows)
            left -= len(lines.data)
            if left <= 0 and not stream.infers_fully:
                is_whole = is_whole and compression_of(file, "ndjson") is None and len(lines.data) >= file.size
                break
    return keys, count, is_whole


def _add(keys: dict[str, _Key], rows: list[Row]) -> None:
    values: dict[str, list[tuple[JsonKind | None, str | None]]] = {}
    for row in rows:
        for name, value in row.items():
            values.setdefault(name, []).append(value)
    for name, found in values.items():
        keys.setdefault(name, _Key()).add(found)
