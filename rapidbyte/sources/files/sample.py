"""The first rows of CSV files, as text: what types are inferred from."""

from __future__ import annotations

from collections.abc import Iterable, Set
from dataclasses import replace
from typing import TYPE_CHECKING

from rapidbyte.sources.files.aside import Aside
from rapidbyte.sources.files.contents import BLOCK_BYTES, SAMPLE_BYTES, SAMPLED_FILES
from rapidbyte.sources.files.delimited import Records, texts_of
from rapidbyte.sources.files.dialect import Dialect, read_header
from rapidbyte.sources.files.inference import Inference
from rapidbyte.sources.files.paths import DataFile, compression_of
from rapidbyte.sources.files.readings import Notation, Reading
from rapidbyte.values import frozen

if TYPE_CHECKING:
    import pyarrow as pa


@frozen
class Sample:
    """The first rows of CSV files."""

    texts: dict[str, pa.Array]
    parts: tuple[tuple[DataFile, Records, int], ...]
    """The files in which they stand, and how many of them in each."""
    is_whole: bool
    """They are all rows of all files."""
    files_bytes: int | None
    """Of all files; None where some are compressed."""

    @property
    def rows(self) -> int:
        """How many."""
        return len(next(iter(self.texts.values())))

    @property
    def phrase(self) -> str:
        """Which rows they are."""
        return f"all {self.rows} rows" if self.is_whole else f"{self.rows} rows looked at"

    @property
    def estimated_rows(self) -> int | None:
        """Of all files together, from the length of these rows."""
        if self.is_whole:
            return self.rows
        return None if self.files_bytes is None else self.rows * self.files_bytes // max(1, self._text_bytes)

    @property
    def _text_bytes(self) -> int:
        """Of these rows in their files, quotes aside."""
        from pyarrow import compute as pc

        lengths = [pc.sum(pc.binary_length(texts)).as_py() or 0 for texts in self.texts.values()]
        return sum(lengths) + self.rows * len(self.texts)

    def places(self, rows: Set[int]) -> dict[int, str]:
        """File and line of each of these rows, as `a.csv, line 3`. Reads the files again as far as needed."""
        return places_of(self.parts, rows)


def places_of(parts: Iterable[tuple[DataFile, Records, int]], rows: Set[int]) -> dict[int, str]:
    """File and line of rows that are numbered from 0 over several files, of each of which so many were read."""
    found: dict[int, str] = {}
    before = 0
    for file, records, count in parts:
        lines = records.lines_of({row - before for row in rows if before <= row < before + count})
        found |= {before + row: f"{file.name}, line {line}" for row, line in lines.items()}
        before += count
    return found


def reasons_of(readings: dict[str, Reading], sample: Sample, *, shows_values: bool) -> dict[str, str]:
    """Why each column has its type; for one that became text also what kept it from another."""
    misfits = {name: reading.misfit for name, reading in readings.items() if reading.misfit is not None}
    places = sample.places({misfit.row for misfit in misfits.values()}) if misfits else {}
    reasons = {name: reading.reason for name, reading in readings.items()}
    for name, misfit in misfits.items():
        if (place := places.get(misfit.row)) is not None:
            value = f": {sample.texts[name][misfit.row].as_py()}" if shows_values else ""
            where = f"{misfit.before} before {place}" if misfit.before else f"the first is in {place}"
            reasons[name] += f"; {where}{value}"
    return reasons


def take_sample(
    files: tuple[DataFile, ...],
    dialect: Dialect,
    names: tuple[str, ...],
    max_row_bytes: int,
    *,
    sets_aside: bool = False,
) -> Sample:
    """The first rows of some of the files, as text."""
    import pyarrow as pa

    chosen = files[:: -(-len(files) // SAMPLED_FILES)]
    batches: list[pa.RecordBatch] = []
    parts: list[tuple[DataFile, Records, int]] = []
    is_whole = len(chosen) == len(files)
    for file in chosen:
        own, records = _all_columns(file, dialect, names, max_row_bytes, sets_aside=sets_aside)
        is_whole &= _take(records, [own.index(name) for name in names], batches, SAMPLE_BYTES // len(chosen))
        parts.append((file, records, sum(batch.num_rows for batch in batches) - sum(count for _, _, count in parts)))
    texts = {
        name: pa.concat_arrays([pa.nulls(0, pa.string()), *(batch.column(index) for batch in batches)])
        for index, name in enumerate(names)
    }
    compressed = any(compression_of(file, "csv") for file in files)
    files_bytes = None if compressed else sum(file.size for file in files)
    return Sample(texts=texts, parts=tuple(parts), is_whole=is_whole, files_bytes=files_bytes)


def _all_columns(
    file: DataFile, dialect: Dialect, names: tuple[str, ...], max_row_bytes: int, *, sets_aside: bool
) -> tuple[tuple[str, ...], Records]:
    """The file's own column names, in its order, and its records with all of them."""
    own = read_header(file, dialect) if dialect.header else names
    records = Records(
        file,
        dialect,
        own,
        tuple(range(len(names))),
        block_bytes=BLOCK_BYTES,
        max_row_bytes=max_row_bytes,
        aside=Aside() if sets_aside else None,
    )
    return own, records


def _take(records: Records, order: list[int], batches: list[pa.RecordBatch], size: int) -> bool:
    """Adds batches, their columns in this order, until they have `size` bytes. True when these are all."""
    for found in records:
        batch = texts_of(found)[0] if records.is_binary else found
        batches.append(batch.select(order))
        size -= batch.nbytes
        if size <= 0:
            return False
    return True


def infer_from_all(
    files: tuple[DataFile, ...],
    dialect: Dialect,
    names: tuple[str, ...],
    max_row_bytes: int,
    notation: Notation,
    *,
    sets_aside: bool = False,
) -> dict[str, Reading]:
    """Each column's type, from every row of every file; in bounded memory."""
    inferences = {name: Inference(notation=notation) for name in names}
    parts: list[tuple[DataFile, Records, int]] = []
    for file in files:
        own, records = _all_columns(file, dialect, names, max_row_bytes, sets_aside=sets_aside)
        for found in records:
            batch = texts_of(found)[0] if records.is_binary else found
            for name, texts in zip(own, batch.columns, strict=True):
                inferences[name].add(texts)
        parts.append((file, records, records.row_count))
    count = sum(rows for _, _, rows in parts)
    found = {name: inference.found_or_text(f"all {count} rows") for name, inference in inferences.items()}
    misfits = {name: reading.misfit for name, reading in found.items() if reading.misfit is not None}
    places = places_of(parts, {misfit.row for misfit in misfits.values()})
    for name, misfit in misfits.items():
        if misfit.before and (place := places.get(misfit.row)) is not None:
            found[name] = replace(
                found[name], reason=f"{found[name].reason}; {misfit.before} before {place}", misfit=None
            )
    return {name: replace(reading, misfit=None) for name, reading in found.items()}
