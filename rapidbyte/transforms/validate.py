"""`use: validate`: rules that every row must meet, evaluated by DuckDB; a row that does not ends the load.

From the first violation on no row is handed on any more, but all of the partition's are still looked at, so that what
is told (how many, and where the first one is) is the same in every run.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal, InvalidOperation, localcontext
from typing import TYPE_CHECKING

from rapidbyte.errors import ConfigError, DataError
from rapidbyte.model import Column
from rapidbyte.ports import Place, Stop
from rapidbyte.rejects import Reject
from rapidbyte.spec import Rule, ValidateTransform
from rapidbyte.transforms.engine import Database, explained, identifier, interruptible, literal, open_database
from rapidbyte.transforms.firsts import Firsts, joined, rejected
from rapidbyte.transforms.flow import Batch, Given, require_going
from rapidbyte.transforms.misfits import left_of, sifted
from rapidbyte.transforms.sql import duckdb_schema, selected, unsteady
from rapidbyte.transforms.types import BOOLEANS, delivered, require_takeable
from rapidbyte.values import frozen

if TYPE_CHECKING:
    import pyarrow as pa

_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,3})?\Z")
_WHOLE = frozenset({"int16", "int32", "int64"})
_FLOATS = frozenset({"float", "double"})
_TIMES = {
    "date32[day]": ("DATE", r"\d{4}-\d\d-\d\d"),
    "time64[us]": ("TIME", r"\d\d:\d\d(:\d\d(\.\d{1,6})?)?"),
    "timestamp[us]": ("TIMESTAMP", r"\d{4}-\d\d-\d\d([ T]\d\d:\d\d(:\d\d(\.\d{1,6})?)?)?"),
    "timestamp[us, tz=UTC]": (
        "TIMESTAMPTZ",
        r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d(:\d\d(\.\d{1,6})?)?(Z|[+-]\d\d(:?\d\d)?)",
    ),
}
"""DuckDB's type for a bound, and how it is written."""


@frozen
class Check:
    """One rule as SQL."""

    rule: str
    """`assert_range`."""
    subject: str
    """The column, or the expression: what the rule is about."""
    column: str | None
    sql: str
    """True for a row that violates it."""


@frozen
class ValidateStep:
    """Planned rules."""

    columns: tuple[Column, ...]
    checks: tuple[Check, ...]
    unique: tuple[tuple[str, ...], ...]
    """Columns of each `assert_unique`."""
    needed: tuple[str, ...]
    """Columns that the checks look at."""
    memory_bytes: int
    """Of a database of its own, where it must see the whole stream."""

    @property
    def needs_all(self) -> bool:
        """A value that stands twice may stand in two partitions."""
        return bool(self.unique)

    @property
    def phrase(self) -> str:
        """What it does."""
        rules = [f"{check.rule} {check.subject}" for check in self.checks]
        rules += [f"assert_unique {', '.join(names)} (the whole stream in one partition)" for names in self.unique]
        return f"validate: {'; '.join(rules)}"

    def apply(self, batches: Iterator[Batch], stop: Stop) -> Iterator[Batch]:
        """The same batches, as long as no rule is violated. Raises DataError at the end when one was."""
        with (
            open_database(self.memory_bytes if self.needs_all else None) as database,
            interruptible(database, stop),
        ):
            found = _Violations()
            keys = _Keys(database, self, stop)
            count = 0
            for batch in batches:
                require_going(stop)
                self._look(database, batch, found, stop, before=count)
                keys.add(batch, before=count)
                count += batch.rows.num_rows
                if not found:
                    yield batch
            require_none((*found.told(), *keys.told()))

    def sift(self, batches: Iterator[Batch], stop: Stop, set_aside: Callable[[Reject], None]) -> Iterator[Batch]:
        """The rows that violate no rule; those that do, and those on which one fails, are set aside."""
        with (
            open_database(self.memory_bytes if self.needs_all else None) as database,
            interruptible(database, stop),
        ):
            kept = self._each_kept(database, batches, stop, set_aside)
            if not self.unique:
                yield from kept
                return
            firsts = Firsts(database, self.columns, self.unique, stop, hold_bytes=self.memory_bytes // 8)
            yield from firsts.of(kept, set_aside)

    def _each_kept(
        self, database: Database, batches: Iterator[Batch], stop: Stop, set_aside: Callable[[Reject], None]
    ) -> Iterator[Batch]:
        for batch in batches:
            require_going(stop)
            yield self._kept(database, batch, stop, set_aside)

    def _kept(self, database: Database, batch: Batch, stop: Stop, set_aside: Callable[[Reject], None]) -> Batch:
        """The batch without the rows that violate a rule."""

        def flags_of(rows: pa.RecordBatch) -> list[pa.BooleanArray]:
            return self._flags(database, Batch(rows=rows), stop)

        flags, batch = sifted(batch, flags_of, set_aside)
        if not batch.rows.num_rows:
            return batch  # a filter before, or the sifting, left none
        bad: dict[int, list[Check]] = {}
        for check, values in zip(self.checks, flags, strict=True):
            for row in violating(values):
                bad.setdefault(row, []).append(check)
        if not bad:
            return batch
        for row, checks in sorted(bad.items()):
            message = joined(f"{check.rule}: {check.subject}" for check in checks)
            set_aside(rejected(message, checks[0].column, self.columns, batch, row))
        return left_of(batch, list(bad))

    def _flags(self, database: Database, batch: Batch, stop: Stop) -> list[pa.BooleanArray]:
        """True for each row that violates a rule, rule by rule."""
        if not self.checks or not batch.rows.num_rows:
            return []
        import pyarrow as pa

        with explained("the validate transform", stop):
            rows = selected(self.columns, self.needed, batch.rows)
            found = database.evaluate(rows, {f"c{place}": check.sql for place, check in enumerate(self.checks)})
        return [delivered(values.combine_chunks(), pa.bool_()) for values in found.columns]

    def _look(self, database: Database, batch: Batch, found: _Violations, stop: Stop, *, before: int) -> None:
        for check, values in zip(self.checks, self._flags(database, batch, stop), strict=False):
            found.note(check, values, batch, before=before)


def violating(flags: pa.BooleanArray) -> list[int]:
    """The rows whose flag is true."""
    from pyarrow import compute as pc

    return pc.indices_nonzero(flags).to_pylist()


class _Violations:
    """What was found so far: the first violation of each check, and how many there are."""

    def __init__(self) -> None:
        self.counts: dict[Check, int] = {}
        self.places: dict[Check, tuple[int, Place | None]] = {}

    def __bool__(self) -> bool:
        return bool(self.counts)

    def note(self, check: Check, flags: pa.BooleanArray, batch: Batch, *, before: int) -> None:
        """Counts the rows for which the flag is true."""
        from pyarrow import compute as pc

        count = pc.sum(flags).as_py() or 0
        if not count:
            return
        if check not in self.counts:
            row = pc.index(flags, True).as_py()
            self.places[check] = (before + row, batch.origin(row) if batch.origin is not None else None)
        self.counts[check] = self.counts.get(check, 0) + count

    def told(self) -> Iterator[Violated]:
        """Each violated rule; that whose first violation comes first is the first."""
        for check in sorted(self.counts, key=lambda each: self.places[each][0]):
            row, place = self.places[check]
            yield Violated(
                rule=check.rule,
                subject=check.subject,
                column=check.column,
                count=self.counts[check],
                row=row,
                place=place,
            )


@frozen
class Violated:
    """A rule that rows of a partition violate."""

    rule: str
    subject: str
    column: str | None
    count: int
    row: int
    """The first of them, counted from 0."""
    place: Place | None


def require_none(found: Sequence[Violated]) -> None:
    """Raises DataError for the first of these; its message names the others."""
    if not found:
        return
    first, *others = found
    where = str(first.place) if first.place is not None else f"row {first.row + 1} of the partition"
    rows = "1 row violates" if first.count == 1 else f"{first.count} rows violate"
    named = [f"{each.rule}: {each.subject} ({each.count} row{'' if each.count == 1 else 's'})" for each in others]
    raise DataError(
        joined((f"{rows} {first.rule}: {first.subject}; the first is {where}", *named)),
        code="rule_violated",
        hint="mend the rows, or leave them out with a `where` or a sql transform before",
        column=first.column,
        line=first.place.line if first.place is not None else None,
    )


class _Keys:
    """The values of `assert_unique`, kept by DuckDB until the stream's end; what does not fit in memory on disk."""

    def __init__(self, database: Database, step: ValidateStep, stop: Stop) -> None:
        self._database = database
        self._step = step
        self._stop = stop
        self._origins: list[tuple[int, Callable[[int], Place]]] = []  # not the batches: an empty slice holds them
        self._begun = False

    def add(self, batch: Batch, *, before: int) -> None:
        """Keeps a batch's values; `before` rows came before it."""
        import pyarrow as pa

        if not self._step.unique or not batch.rows.num_rows:
            return
        names = tuple(dict.fromkeys(name for names in self._step.unique for name in names))
        rows = selected(self._step.columns, names, batch.rows)
        rows = rows.rename_columns([f"k{names.index(name)}" for name in rows.column_names])
        numbers = pa.array(range(before, before + batch.rows.num_rows), pa.int64())
        with explained("the validate transform", self._stop):
            self._database.give(["fresh"], rows.append_column("place", numbers).to_reader())
            begin = "INSERT INTO keys" if self._begun else "CREATE TEMP TABLE keys AS"
            self._database.connection.execute(f"{begin} SELECT * FROM fresh")  # noqa: S608 - words of ours
        self._begun = True
        if batch.origin is not None:
            self._origins.append((before, batch.origin))

    def told(self) -> Iterator[Violated]:
        """Each of these rules that is violated, in order."""
        if not self._begun:
            return
        every = tuple(dict.fromkeys(name for names in self._step.unique for name in names))
        for names in self._step.unique:
            listed = ", ".join(f"k{every.index(name)}" for name in names)
            present = " AND ".join(f"k{every.index(name)} IS NOT NULL" for name in names)
            with explained("the validate transform", self._stop):
                (found,) = self._database.connection.execute(
                    "SELECT coalesce(sum(n - 1), 0)::BIGINT, min(second)::BIGINT FROM"  # noqa: S608 - names of ours
                    f" (SELECT count(*) AS n, min(place, 2)[2] AS second FROM keys WHERE {present}"
                    f" GROUP BY {listed} HAVING count(*) > 1)"
                ).fetchall()
            if found[0]:
                yield Violated(
                    rule="assert_unique",
                    subject=", ".join(names),
                    column=names[0] if len(names) == 1 else None,
                    count=found[0],
                    row=found[1],
                    place=self._place(found[1]),
                )

    def _place(self, row: int) -> Place | None:
        known = [(start, each) for start, each in self._origins if start <= row]
        if not known:
            return None
        start, origin = known[-1]
        return origin(row - start)


def plan_validate(spec: ValidateTransform, given: Given) -> ValidateStep:
    """The rules on these columns. Raises ConfigError for columns that are not there, and rules that do not fit them."""
    require_takeable(given.columns, "validate", given.stream)
    checks = tuple(_check(rule, given) for rule in spec.rules if rule.kind != "assert_unique")
    unique = tuple(rule.fields for rule in spec.rules if rule.kind == "assert_unique")
    for names in unique:
        for name in names:
            given.column(name, "assert_unique")
    expressions = any(rule.kind == "assert_expression" for rule in spec.rules)
    named = tuple(dict.fromkeys(name for rule in spec.rules for name in rule.fields if rule.kind != "assert_unique"))
    needed = tuple(column.name for column in given.columns) if expressions else named
    step = ValidateStep(
        columns=given.columns,
        checks=checks,
        unique=unique,
        needed=needed,
        memory_bytes=given.resources.memory_bytes,
    )
    _require_valid(step, given)
    return step


def _require_valid(step: ValidateStep, given: Given) -> None:
    """Raises ConfigError for a check that DuckDB cannot evaluate on such rows."""
    import duckdb

    with open_database() as database:
        for check in step.checks:
            try:
                empty = duckdb_schema(given.columns).empty_table()
                found = database.evaluate(empty, {"c": check.sql})
                if str(found.schema.field(0).type) not in BOOLEANS:
                    raise _unusable(check, "it is no condition", given.stream)
                database.give(["input"], empty.to_reader())
                query = f"SELECT {check.sql}\nAS c FROM input"  # noqa: S608 - the user's own SQL, in its sandbox
                if why := unsteady(database, query, given.columns):
                    raise _unusable(check, why, given.stream)
            except duckdb.Error as error:
                raise _unusable(check, str(error).partition("\n")[0], given.stream) from error


def _unusable(check: Check, why: str, stream: str) -> ConfigError:
    return ConfigError(
        f"{check.rule} {check.subject}: {why}",
        code="rule_invalid",
        hint="a rule is a condition on one row's columns",
        stream=stream,
        column=check.column,
    )


def _check(rule: Rule, given: Given) -> Check:
    if rule.kind == "assert_expression":
        return Check(
            rule=rule.kind,
            subject=rule.expression,
            column=None,
            sql=f"coalesce(NOT ({rule.expression}\n), false)",
        )
    column = given.column(rule.fields[0], rule.kind)
    name = identifier(column.name)
    match rule.kind:
        case "assert_not_null":
            return Check(rule=rule.kind, subject=column.name, column=column.name, sql=f"{name} IS NULL")
        case "assert_regex":
            _require_arrow(column, frozenset({"string"}), rule, given)
            sql, what = f"NOT regexp_matches({name}, {literal(rule.pattern)})", rule.pattern
        case "assert_range":
            sql, what = _range(rule, column, name, given), f"{rule.low or ''} to {rule.high or ''}"
        case _:
            listed = ", ".join(_listed(rule, column, given))
            sql, what = f"{name} NOT IN ({listed})", f"one of {len(rule.values)} values"
    return Check(
        rule=rule.kind, subject=f"{column.name} ({what.strip()})", column=column.name, sql=f"coalesce({sql}, false)"
    )


def _require_arrow(column: Column, kinds: frozenset[str], rule: Rule, given: Given) -> None:
    if column.arrow not in kinds:
        raise _misfit(rule, column, f"column {column.name} is {column.type.name}", given)


def _misfit(rule: Rule, column: Column, why: str, given: Given) -> ConfigError:
    return ConfigError(
        f"{rule.kind}: {why}",
        code="rule_invalid",
        hint="assert_expression takes any condition of DuckDB's",
        stream=given.stream,
        column=column.name,
    )


def _range(rule: Rule, column: Column, name: str, given: Given) -> str:
    parts: list[str] = []
    if rule.low is not None:
        parts.append(f"{name} < {_bound(rule, column, rule.low, ROUND_CEILING, given)}")
    if rule.high is not None:
        parts.append(f"{name} > {_bound(rule, column, rule.high, ROUND_FLOOR, given)}")
    if column.arrow in _FLOATS:
        parts.append(f"isnan({name})")
    return f"({' OR '.join(parts)})"


def _bound(rule: Rule, column: Column, text: str, rounding: str, given: Given) -> str:
    """A bound as SQL, in the column's own type: nothing is compared as another type that would round.

    A number with more digits than the column has is rounded into the range: among the column's values that is the same.
    """
    arrow = column.arrow or ""
    scale = 0 if arrow in _WHOLE else _scale(arrow)
    if scale is not None:
        number = _number(text)
        if number is None:
            raise _misfit(rule, column, f"{text!r} is no number, as {column.name} is", given)
        with localcontext() as context:
            context.prec = 400
            rounded = number.quantize(Decimal(1).scaleb(-scale), rounding=rounding)
        digits = len(rounded.as_tuple().digits)
        if digits > 38:
            raise _misfit(rule, column, f"{text!r} is too large for {column.type.name}", given)
        return f"CAST({literal(f'{rounded:f}')} AS {'HUGEINT' if scale == 0 else f'DECIMAL(38, {scale})'})"
    if arrow in _FLOATS and _number(text) is not None:
        return f"CAST({literal(text)} AS {'FLOAT' if arrow == 'float' else 'DOUBLE'})"
    if arrow in _TIMES and re.fullmatch(_TIMES[arrow][1], text):
        return f"CAST({literal(text)} AS {_TIMES[arrow][0]})"
    if arrow == "string" and (column.type.name == "text" or column.type.name.startswith("character")):
        return literal(text)
    raise _misfit(rule, column, f"{text!r} is no bound for {column.type.name}", given)


def _scale(arrow: str) -> int | None:
    found = re.fullmatch(r"decimal128\((\d+), (-?\d+)\)", arrow)
    return int(found[2]) if found else None


def _number(text: str) -> Decimal | None:
    try:
        return Decimal(text) if _NUMBER.match(text) else None
    except InvalidOperation:
        return None


def _listed(rule: Rule, column: Column, given: Given) -> Iterator[str]:
    arrow = column.arrow or ""
    for value in rule.values:
        if arrow in _WHOLE or _scale(arrow) is not None:
            low, high = (_bound(rule, column, value, rounding, given) for rounding in (ROUND_CEILING, ROUND_FLOOR))
            if low != high:
                raise _misfit(rule, column, f"{value!r} is none of {column.type.name}", given)
            yield low
        elif arrow == "bool" and value in ("true", "false"):
            yield value
        elif arrow in _TIMES or (arrow == "string" and column.type.name not in ("json", "jsonb")):
            yield _bound(rule, column, value, ROUND_CEILING, given) if arrow in _TIMES else literal(value)
        elif column.type.name == "uuid" and re.fullmatch(r"[0-9a-fA-F-]{36}", value):
            yield f"CAST({literal(value)} AS UUID)"
        else:
            raise _misfit(rule, column, f"{value!r} is none of {column.type.name}", given)
