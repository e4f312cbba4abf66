"""`assert_unique` where bad rows are set aside: of the rows with equal values the first one of the stream is kept.

Values are kept by DuckDB, what does not fit into memory on disk. Rows are looked at in lots of some megabytes: each
lot is joined with all values that were kept before it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from rapidbyte.model import Column
from rapidbyte.ports import Stop
from rapidbyte.rejects import Reject, columns_json
from rapidbyte.transforms.engine import Database, explained
from rapidbyte.transforms.flow import Batch, require_going
from rapidbyte.transforms.misfits import left_of
from rapidbyte.transforms.printing import listed, printed
from rapidbyte.transforms.sql import selected

if TYPE_CHECKING:
    import pyarrow as pa


class Firsts:
    """The values that were seen, by which rows are told that repeat them. Used once, by one thread."""

    def __init__(
        self,
        database: Database,
        columns: tuple[Column, ...],
        unique: tuple[tuple[str, ...], ...],
        stop: Stop,
        *,
        hold_bytes: int,
    ) -> None:
        self._database = database
        self._columns = columns
        self._unique = unique
        self._names = tuple(dict.fromkeys(name for names in unique for name in names))
        self._stop = stop
        self._hold_bytes = hold_bytes
        self._begun = False

    def of(self, batches: Iterable[Batch], set_aside: Callable[[Reject], None]) -> Iterator[Batch]:
        """The rows that repeat no earlier one in any of the rules; the others are set aside."""
        held: list[Batch] = []
        size = 0
        for batch in batches:
            held.append(batch)
            size += batch.rows.nbytes
            if size >= self._hold_bytes:
                yield from self._sifted(held, set_aside)
                held, size = [], 0
        yield from self._sifted(held, set_aside)

    def _sifted(self, held: list[Batch], set_aside: Callable[[Reject], None]) -> Iterator[Batch]:
        """The lot without rows that repeat; its values are kept."""
        require_going(self._stop)
        if not sum(batch.rows.num_rows for batch in held):
            return
        with explained("the validate transform", self._stop):
            repeated = self._repeated(held)
        before = 0
        for batch in held:
            count = batch.rows.num_rows
            bad = {place - before: rules for place, rules in repeated.items() if before <= place < before + count}
            for row in sorted(bad):
                first = bad[row][0]
                message = joined(
                    f"assert_unique: {', '.join(names)}: an earlier row has the same" for names in bad[row]
                )
                set_aside(rejected(message, first[0] if len(first) == 1 else None, self._columns, batch, row))
            yield left_of(batch, list(bad))
            before += count

    def _repeated(self, held: list[Batch]) -> dict[int, list[tuple[str, ...]]]:
        """Places within the lot of rows that repeat an earlier one, each with the rules that it violates, in order."""
        run = self._database.connection.execute
        self._database.give(["arriving"], self._values(held).to_reader())
        run("CREATE OR REPLACE TEMP TABLE fresh AS SELECT * FROM arriving")
        if not self._begun:
            run("CREATE TEMP TABLE keys AS SELECT * EXCLUDE (place) FROM fresh LIMIT 0")
            self._begun = True
        run("CREATE OR REPLACE TEMP TABLE aside AS SELECT * FROM fresh LIMIT 0")
        found: dict[int, list[tuple[str, ...]]] = {}
        for names in self._unique:
            own = [f"k{self._names.index(name)}" for name in names]
            for place in self._repeated_as_well(own) if found else ():
                found[place].append(names)
            present = " AND ".join(f"{name} IS NOT NULL" for name in own)
            listed_names = ", ".join(own)
            rows = run(
                f"SELECT place FROM fresh SEMI JOIN keys USING ({listed_names})"  # noqa: S608 - names of ours
                f" UNION SELECT place FROM (SELECT place, row_number() OVER (PARTITION BY {listed_names}"
                f" ORDER BY place) AS standing FROM fresh WHERE {present}) WHERE standing > 1"
            ).fetchall()
            found.update({int(place): [names] for (place,) in rows})
            run("CREATE OR REPLACE TEMP TABLE bad (place BIGINT)")
            if rows:
                run("INSERT INTO bad SELECT unnest(?)", [[place for (place,) in rows]])
                run("INSERT INTO aside SELECT * FROM fresh WHERE place IN (SELECT place FROM bad)")
            run("DELETE FROM fresh WHERE place IN (SELECT place FROM bad)")
        run("INSERT INTO keys SELECT * EXCLUDE (place) FROM fresh")
        return found

    def _repeated_as_well(self, own: list[str]) -> list[int]:
        """Places of rows that an earlier rule sets aside and that repeat an earlier row by these columns, too."""
        equal = " AND ".join(f"f.{name} = a.{name}" for name in own)
        rows = self._database.connection.execute(
            f"SELECT place FROM aside SEMI JOIN keys USING ({', '.join(own)}) UNION"  # noqa: S608 - names of ours
            f" SELECT a.place FROM aside AS a JOIN (SELECT {', '.join(own)}, min(place) AS place FROM fresh"
            f" GROUP BY {', '.join(own)}) AS f ON {equal} AND f.place < a.place"
        ).fetchall()
        return [int(place) for (place,) in rows]

    def _values(self, held: list[Batch]) -> pa.Table:
        """What the rules look at, and each row's place in the lot."""
        import pyarrow as pa

        tables = [selected(self._columns, self._names, batch.rows) for batch in held]
        rows = pa.concat_tables(tables)
        rows = rows.rename_columns([f"k{self._names.index(name)}" for name in rows.column_names])
        return rows.append_column("place", pa.array(range(rows.num_rows), pa.int64()))


def joined(phrases: Iterable[str]) -> str:
    """The first, and what is violated besides: `assert_not_null: email; also assert_range: amount (0 to)`."""
    return "; also ".join(phrases)


def rejected(message: str, column: str | None, columns: tuple[Column, ...], batch: Batch, row: int) -> Reject:
    """A row that violates a rule, in the columns of the rule's transform."""
    place = batch.origin(row) if batch.origin is not None else None
    values = {
        column.name: printed(listed(each.slice(row, 1))[0], column.type.name)
        for column, each in zip(columns, batch.rows.columns, strict=True)
    }
    return Reject(
        code="rule_violated",
        message=message,
        column=column,
        file=None if place is None else place.file,
        line=None if place is None else place.line if place.line is not None else place.row,
        row=columns_json(values),
        form="target",
    )
