"""Types inferred from any number of rows in bounded memory: every type that still gives all of them back is kept."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import TYPE_CHECKING

from rapidbyte.sources.files.commas import FORMS, forms_of
from rapidbyte.sources.files.converters import converter
from rapidbyte.sources.files.infer import candidates, first_misfit, is_number_like, survives, text_reading, why_text
from rapidbyte.sources.files.readings import SQL_NOTATION, Misfit, Notation, Reading

if TYPE_CHECKING:
    import pyarrow as pa


class Inference:
    """One column's. Its texts are added in order, in pieces; then asked for the type, once or more often."""

    def __init__(self, among: Collection[str] | None = None, notation: Notation = SQL_NOTATION) -> None:
        self._among = among
        self._notation = notation
        self._alive: list[Reading] | None = None
        self._misfit: Misfit | None = None
        self._rows = 0
        self._looks_like_numbers = True
        self._forms = frozenset[str]() if notation.decimal_comma else FORMS

    def add(self, texts: pa.Array) -> None:
        """The column's next texts."""
        from pyarrow import compute as pc

        before, self._rows = self._rows, self._rows + len(texts)
        present = pc.drop_null(texts)
        if not len(present):
            return
        self._looks_like_numbers = self._looks_like_numbers and is_number_like(present)
        self._forms = self._forms and self._forms & forms_of(present)
        if self._alive is None:
            head = present.slice(0, 1)
            self._alive = [
                reading
                for reading in candidates(head, "", self._notation)
                if (self._among is None or reading.type.name in self._among) and survives(reading, head)
            ]
        for reading in self._alive:
            if not survives(reading, present):
                place = first_misfit(converter(reading), present)
                row = before + pc.indices_nonzero(pc.is_valid(texts))[place].as_py()
                if self._misfit is None or row > self._misfit.row:
                    self._misfit = Misfit(row=row, before=reading.reason.removeprefix(": "))
        self._alive = [reading for reading in self._alive if survives(reading, present)]

    def found(self, rows: str) -> Reading | None:
        """The first type that gives back every text; None where there was none, or no type does."""
        if not self._alive:
            return None
        return replace(self._alive[0], reason=f"{rows}{self._alive[0].reason}")

    def found_or_text(self, rows: str) -> Reading:
        """The same; text where there is none, with the reason."""
        if self._alive is None:
            return text_reading(f"no value in {rows}")
        why = why_text(is_numbers=self._looks_like_numbers, forms=self._forms)
        return self.found(rows) or replace(text_reading(f"{rows}: {why}"), misfit=self._misfit)
