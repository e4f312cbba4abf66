"""What `verify` will compare, how rows are cut into pieces, and what was found. Values and pure decisions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

from rapidbyte.comparison import NULL_KEYS, ComparedColumn, Cut, Digest
from rapidbyte.cursor import StoredCursor
from rapidbyte.model import Column, ColumnType, QualifiedName, ServerFacts, WriteMode
from rapidbyte.plan import ConversionKind
from rapidbyte.values import field, frozen

Conversion = Callable[[ColumnType, ColumnType], ConversionKind]

INTEGERS = frozenset({"smallint", "integer", "bigint"})
ROWS_PER_PIECE = 2_000
MOST_PIECES = 1_024
"""Checksums of this many pieces are held in memory; a table of 100 million rows has 100,000 in each."""

SHOWN = 20
"""Keys, and pieces, of a stream that are named."""

DifferenceKind = Literal["missing", "extra", "different"]


@frozen
class NotCompared:
    """A column of the stream that was left out, and why."""

    column: str
    reason: str
    is_difference: bool = False
    """It should be at the destination, and is not."""


@frozen
class ComparisonPlan:
    """How one stream will be compared."""

    stream: str
    target: QualifiedName
    write_mode: WriteMode
    columns: tuple[ComparedColumn, ...]
    not_compared: tuple[NotCompared, ...]
    key: tuple[ComparedColumn, ...]
    """Empty: no row can be named."""
    integer_key: bool
    """The key is one integer column, at both ends."""
    cursor: StoredCursor | None
    """Rows of the source beyond it are not to be loaded yet."""
    incremental: bool
    published_rows: int | None
    """Rows that the target has according to the ledger; None where it does not tell."""
    estimated_rows: int | None
    target_exists: bool = True

    @property
    def may_hold_more(self) -> bool:
        """Rows at the destination that the source does not have are no difference: earlier loads brought them."""
        return self.write_mode == "append"


@frozen
class DifferentKey:
    """One key whose rows are not the same at both ends."""

    kind: DifferenceKind
    """missing: not at the destination; extra: not at the source; different: the row's other columns."""
    key: tuple[str | None, ...]


@frozen
class DifferentPiece:
    """One piece whose rows are not the same at both ends."""

    piece: int
    source: Digest
    destination: Digest


@frozen
class StreamComparison:
    """What the comparison of one stream found."""

    plan: ComparisonPlan
    cut: Cut
    source_rows: int | None
    """That should be at the destination by now. None: not looked at, there being no target."""
    destination_rows: int | None
    pieces: tuple[DifferentPiece, ...] = ()
    """Those that differ, the first `SHOWN` of `piece_count`."""
    piece_count: int = 0
    keys: tuple[DifferentKey, ...] = ()
    """The first `SHOWN`, in the order in which they were found."""
    counts: Mapping[DifferenceKind, int] = field(default_factory=dict[DifferenceKind, int])
    """Keys, or rows where there is no key, by kind."""
    counts_complete: bool = True
    """False: more may differ; the comparison stopped once it knew enough."""
    pending: int = 0
    """Keys whose row at the source has changed since the cursor, so that the destination has an older one."""
    unexplained_rows: int = 0
    """Rows at the destination beyond all that the loads of the ledger brought, of a stream that appends."""

    @property
    def equal(self) -> bool:
        """Nothing differs."""
        return not (
            self.piece_count
            or any(self.counts.values())
            or self.unexplained_rows
            or not self.plan.target_exists
            or any(each.is_difference for each in self.plan.not_compared)
        )


@frozen
class VerifyReport:
    """What `rapidbyte verify` found, stream by stream in pipeline order."""

    pipeline: str
    source: ServerFacts
    destination: ServerFacts
    streams: tuple[StreamComparison, ...]
    duration_s: float

    @property
    def equal(self) -> bool:
        """No stream differs."""
        return all(stream.equal for stream in self.streams)


def plan_comparison(
    *,
    stream: str,
    target: QualifiedName,
    write_mode: WriteMode,
    source: tuple[Column, ...],
    destination: tuple[Column, ...] | None,
    key: tuple[str, ...],
    conversion: Conversion,
    same_money: bool,
    ignores_new_columns: bool,
    cursor: StoredCursor | None,
    incremental: bool,
    published_rows: int | None,
    estimated_rows: int | None,
) -> ComparisonPlan:
    """What of a stream can be compared. Pure. `destination` is None where the target does not exist."""
    known = {column.name: column for column in destination or ()}
    compared: dict[str, ComparedColumn] = {}
    left_out: list[NotCompared] = []
    for column in source if destination is not None else ():
        found = _pair(column, known.get(column.name), conversion, same_money, ignores_new_columns)
        if isinstance(found, NotCompared):
            left_out.append(found)
        else:
            compared[column.name] = found
    named = key if key and set(key) <= set(compared) else ()
    types = {column.name: column.type.name for column in source}
    return ComparisonPlan(
        stream=stream,
        target=target,
        write_mode=write_mode,
        columns=tuple(compared.values()),
        not_compared=tuple(left_out),
        key=tuple(compared[name] for name in named),
        integer_key=len(named) == 1 and types[named[0]] in INTEGERS and known[named[0]].type.name in INTEGERS,
        cursor=cursor,
        incremental=incremental,
        published_rows=published_rows,
        estimated_rows=estimated_rows,
        target_exists=destination is not None,
    )


def _pair(
    source: Column, target: Column | None, conversion: Conversion, same_money: bool, ignores_new_columns: bool
) -> ComparedColumn | NotCompared:
    if target is None:
        reason = "the target has no such column"
        return NotCompared(column=source.name, reason=reason, is_difference=not ignores_new_columns)
    if target.generated:
        return NotCompared(column=source.name, reason="the target generates it")
    if (source.money or target.money) and not same_money:
        return NotCompared(column=source.name, reason="lc_monetary differs: the text of money is not the same")
    kind = conversion(source.type, target.type)
    if kind in ("identical", "exact"):
        return ComparedColumn(name=source.name)
    if kind == "checked" and target.type.built_in:
        return ComparedColumn(name=source.name, read_as=target.type)
    reason = f"{source.type.name} here and {target.type.name} there have no common text"
    return NotCompared(column=source.name, reason=reason)


def plain(columns: tuple[ComparedColumn, ...]) -> tuple[ComparedColumn, ...]:
    """The columns as the destination reads them: it prints its own type."""
    return tuple(ComparedColumn(name=column.name) for column in columns)


def choose_cut(plan: ComparisonPlan, bounds: tuple[int | None, int | None]) -> Cut:
    """Pieces of about `ROWS_PER_PIECE` rows. `bounds` are the least and the greatest integer key of both ends. Pure."""
    key = tuple(column.name for column in plan.key)
    wanted = max(1, -(-(plan.estimated_rows or 64 * ROWS_PER_PIECE) // ROWS_PER_PIECE))
    wanted = min(MOST_PIECES, wanted)
    low, high = bounds
    if plan.integer_key and low is not None and high is not None:
        span = high - low + 1
        count = max(1, min(wanted, span))
        thresholds = tuple(low + span * index // count for index in range(1, count))
        return Cut(by="key_range", key=key, count=count, thresholds=thresholds)
    if plan.integer_key:
        return Cut(by="key_range", key=key, count=1)
    return Cut(by="key_hash" if key else "row_hash", key=key, count=1 << (wanted - 1).bit_length())


def piece_words(cut: Cut, piece: int) -> str:
    """Which rows a piece holds, for people: `1000 <= id < 2000`. Pure."""
    if cut.by != "key_range":
        what = f"({', '.join(cut.key)})" if cut.by == "key_hash" else "the whole row"
        return f"piece {piece} of {cut.count} by a hash of {what}"
    name = cut.key[0]
    if piece == NULL_KEYS:
        return f"{name} is NULL"
    low = f"{cut.thresholds[piece - 1]} <= " if piece > 0 else ""
    high = f" < {cut.thresholds[piece]}" if piece < len(cut.thresholds) else ""
    return f"{low}{name}{high}" if low or high else f"every {name}"
