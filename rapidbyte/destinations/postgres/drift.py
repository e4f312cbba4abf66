"""The stream's columns against the target's: what goes where, what changes, what is refused. Pure.

What the policy refuses is a SchemaError (exit 6); a pair of types whose values would be changed is a ConfigError
(exit 2) unless `allow_lossy` names the column. Everything that is wrong with a stream is told at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from rapidbyte.destinations.postgres.target import TargetColumn
from rapidbyte.destinations.postgres.text_checks import decimals_fit, is_checked
from rapidbyte.errors import ConfigError, Problem, SchemaError
from rapidbyte.model import IDENTIFIER_BYTES, Column, ColumnType
from rapidbyte.pg.types import base_name, length_modifier, numeric_modifier
from rapidbyte.plan import ColumnPlan, ConversionKind, SchemaChange
from rapidbyte.spec import SchemaPolicy
from rapidbyte.values import field, frozen

Conversion = Callable[[ColumnType, ColumnType], ConversionKind]


@frozen
class ResolvedType:
    """A stream column's type as the destination knows it."""

    type: ColumnType | None
    """None: the destination has no such type."""
    difference: str | None = None
    """How the destination's type of that name differs from the source's, as a phrase."""
    remedy: str | None = None
    """The statement that would create it."""
    collation_known: bool = True
    """The column's collation exists at the destination."""


WHOLE = ("smallint", "integer", "bigint")
"""From narrow to wide."""

_FLOATS = ("real", "double precision")

READ_AS = frozenset(
    {
        "jsonb",
        "numeric",
        "real",
        "double precision",
        "date",
        "timestamp without time zone",
        "timestamp with time zone",
    }
)
"""Types as which `type_change: coerce` lets a text be read: what is none is refused, what is one may be normalised."""


@frozen
class Widening:
    """A target's column gets the source's type."""

    rewrites: bool
    """The server writes the whole table again, and keeps everybody out meanwhile."""


@frozen
class Drift:
    """What becomes of a stream's columns."""

    columns: tuple[ColumnPlan, ...]
    """In the stream's order, without those that are left out."""
    added: tuple[Column, ...] = ()
    """Columns that the target gets."""
    changes: tuple[SchemaChange, ...] = ()
    """Statements are filled in by who composes them."""
    lossy_columns: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


@frozen
class _Findings:
    """What has been found so far, in the stream's order."""

    columns: list[ColumnPlan] = field(default_factory=list[ColumnPlan])
    added: list[Column] = field(default_factory=list[Column])
    changes: list[SchemaChange] = field(default_factory=list[SchemaChange])
    lossy: list[str] = field(default_factory=list[str])
    warnings: list[str] = field(default_factory=list[str])
    refused: list[str] = field(default_factory=list[str])
    misfits: list[Problem] = field(default_factory=list[Problem])


def plan_columns(
    arriving: Iterable[Column],
    *,
    stream: str,
    target: tuple[TargetColumn, ...] | None,
    types: Mapping[str, ResolvedType],
    key: tuple[str, ...],
    policy: SchemaPolicy,
    allow_lossy: tuple[str, ...],
    conversion: Conversion,
) -> Drift:
    """What becomes of each column.

    `target` is None where the target is to be created. `types` has an entry for every column. `key` is the primary key
    of a target that is created: its columns are NOT NULL.
    Raises SchemaError, ConfigError.
    """
    incoming = tuple(arriving)
    found = _Findings()
    _check_names(incoming, allow_lossy, found)
    existing = {column.name: column for column in target or ()}
    for column in incoming:
        if target is None:
            _create(column, types, column.name in key, found)
        elif column.name in existing:
            kind = conversion(column.type, existing[column.name].column.type)
            if kind == "identical" and types[column.name].difference is not None:
                kind = "lossy"
            if not _grow(column, existing[column.name], types, policy, allow_lossy, found):
                _match(column, existing[column.name], kind, policy, allow_lossy, found)
        else:
            _add(column, types, policy, found)
    if target is not None:
        arrived = {column.name for column in incoming}
        for missing in (column for column in target if column.name not in arrived):
            _miss(missing, policy, found)
    if not found.columns:
        found.refused.append("no column of the stream is left to load")
    _raise(stream, found)
    return Drift(
        columns=tuple(found.columns),
        added=tuple(found.added),
        changes=tuple(found.changes),
        lossy_columns=tuple(found.lossy),
        warnings=tuple(found.warnings),
    )


def widening(source: ColumnType, target: ColumnType) -> Widening | None:
    """How the target's type would have to grow to hold all that the source's can; None where nothing has to.

    Only growth that changes no value that is there: another scale, a shorter text, text into a number are none. A
    target's type that is the richer one (uuid for text) never gives way.
    """
    source_base, target_base = base_name(source), base_name(target)
    if source_base in WHOLE and target_base in WHOLE:
        return Widening(rewrites=True) if WHOLE.index(source_base) > WHOLE.index(target_base) else None
    if (source_base, target_base) == ("double precision", "real"):
        return Widening(rewrites=True)
    room = length_modifier(target.typmod)
    if target_base == "character varying" and room is not None and source_base in ("character varying", "text"):
        length = None if source_base == "text" else length_modifier(source.typmod)
        return Widening(rewrites=False) if length is None or length > room else None
    if source_base == target_base == "numeric":
        grown, held = numeric_modifier(source.typmod), numeric_modifier(target.typmod)
        if grown is not None and held is not None and grown[1] == held[1] and grown[0] > held[0]:
            return Widening(rewrites=False)
    return None


def name_fault(name: str, what: str) -> Problem | None:
    """Why PostgreSQL could not keep this name as it is; None where it can."""
    if not name:
        return Problem(message=f"a {what} has an empty name")
    if "\x00" in name:
        return Problem(message=f"the name of {what} {name!r} holds a NUL character")
    size = len(name.encode("utf-8", "surrogatepass"))
    if size > IDENTIFIER_BYTES:
        return Problem(
            message=f"the name of {what} {name!r} has {size} bytes; PostgreSQL would cut it at {IDENTIFIER_BYTES}",
            hint="give it a shorter name",
        )
    return None


def _check_names(incoming: tuple[Column, ...], allow_lossy: tuple[str, ...], found: _Findings) -> None:
    seen: set[str] = set()
    for column in incoming:
        fault = name_fault(column.name, "column")
        if fault is not None:
            found.misfits.append(fault)
        if column.name in seen:
            found.misfits.append(Problem(message=f"two columns are called {column.name!r}"))
        seen.add(column.name)
    # Not refused: with a pattern it may be meant for another table, and a misspelt one is noticed by its own column.
    found.warnings.extend(
        f"allow_lossy names column {name}, which the stream does not have" for name in allow_lossy if name not in seen
    )


def _own_type(column: Column, types: Mapping[str, ResolvedType], found: _Findings) -> ColumnType:
    """The type of a column that the target gets; what is wrong with it is noted."""
    resolved = types[column.name]
    if resolved.type is None:
        message = f"column {column.name}: the destination has no type {column.type.name}"
        found.misfits.append(Problem(message=message, hint=resolved.remedy))
    elif resolved.difference is not None:
        message = f"column {column.name}: type {column.type.name} is not the same at both ends: {resolved.difference}"
        found.misfits.append(Problem(message=message, hint="make the types equal"))
    if not resolved.collation_known:
        message = f"column {column.name}: the destination has no collation {column.collation}"
        found.misfits.append(Problem(message=message, hint="create that collation there"))
    return resolved.type or column.type


def _create(column: Column, types: Mapping[str, ResolvedType], in_key: bool, found: _Findings) -> None:
    kind = _own_type(column, types, found)
    plain = _plain(column, kind, nullable=column.nullable and not in_key)
    _warn_of_plainness(column, found)
    found.columns.append(ColumnPlan(source=column, target=plain, conversion="identical"))


def _add(column: Column, types: Mapping[str, ResolvedType], policy: SchemaPolicy, found: _Findings) -> None:
    if policy.new_column == "fail":
        found.refused.append(f"column {column.name} is new (schema_evolution: new_column: fail)")
    elif policy.new_column == "ignore":
        found.changes.append(SchemaChange(kind="ignored_column", column=column.name, before=column.type.name))
    else:
        # Nullable: the rows that are there have no value for it.
        plain = _plain(column, _own_type(column, types, found), nullable=True)
        _warn_of_plainness(column, found)
        found.added.append(plain)
        found.changes.append(SchemaChange(kind="add_column", column=column.name, after=plain.type.name))
        found.columns.append(ColumnPlan(source=column, target=plain, conversion="identical"))


def _plain(column: Column, kind: ColumnType, *, nullable: bool) -> Column:
    return replace(column, type=kind, nullable=nullable, generated=False, identity=False)


def _warn_of_plainness(column: Column, found: _Findings) -> None:
    if column.generated or column.identity:
        was = "generated" if column.generated else "an identity column"
        found.warnings.append(f"column {column.name} is {was} in the source and becomes a plain column")


def _grow(
    column: Column,
    target: TargetColumn,
    types: Mapping[str, ResolvedType],
    policy: SchemaPolicy,
    allow_lossy: tuple[str, ...],
    found: _Findings,
) -> bool:
    """Settles a column whose type has outgrown the target's. False: it has not, or its type was only inferred."""
    own = types[column.name].type
    grown = None if column.reason is not None else widening(column.type, target.column.type)
    if grown is None or own is None or target.column.generated or column.name in allow_lossy:
        return False
    before, after = target.column.type.name, own.name
    if policy.type_change != "coerce":
        found.refused.append(
            f"column {column.name} is {after} in the source and {before} in the target"
            " (schema_evolution: type_change: fail; coerce widens it)"
        )
        return True
    if grown.rewrites:
        found.warnings.append(
            f"column {column.name} becomes {after}: the server writes the whole table again, and locks it meanwhile"
        )
    wider = replace(target.column, type=own)
    found.changes.append(SchemaChange(kind="widen_column", column=column.name, before=before, after=after))
    found.columns.append(ColumnPlan(source=column, target=wider, conversion="identical"))
    _check_null(column, target, policy, found)
    return True


def _check_null(column: Column, target: TargetColumn, policy: SchemaPolicy, found: _Findings) -> None:
    if column.nullable and not target.column.nullable and policy.nullability_change == "fail":
        found.refused.append(
            f"column {column.name} may be NULL in the source and not in the target"
            " (schema_evolution: nullability_change: fail)"
        )


def _is_read(column: Column, target: TargetColumn, policy: SchemaPolicy) -> bool:
    """`type_change: coerce` has the server read a text as what the target holds."""
    text = base_name(column.type) in ("text", "character varying", "json")
    return policy.type_change == "coerce" and text and base_name(target.column.type) in READ_AS


def _is_looked_at(column: Column, target: ColumnType) -> bool:
    """A file's values that would be changed are noticed while they are loaded."""
    return is_checked(column, target) or decimals_fit(column, target)


def _match(
    column: Column,
    target: TargetColumn,
    kind: ConversionKind,
    policy: SchemaPolicy,
    allow_lossy: tuple[str, ...],
    found: _Findings,
) -> None:
    if target.column.generated:
        found.changes.append(SchemaChange(kind="ignored_column", column=column.name, before=column.type.name))
        found.warnings.append(f"column {column.name} is generated in the target: the server computes its values")
        return
    _check_null(column, target, policy, found)
    permitted = column.name in allow_lossy or _is_read(column, target, policy)
    if kind == "lossy" and not permitted and _is_looked_at(column, target.column.type):
        kind = "checked"
    if kind == "lossy":
        if permitted:
            found.lossy.append(column.name)
        else:
            found.misfits.append(
                Problem(
                    message=(
                        f"column {column.name}: {column.type.name} into {target.column.type.name}"
                        " would change values, or cannot be told not to"
                    ),
                    hint=_misfit_hint(column, target.column),
                )
            )
    found.columns.append(ColumnPlan(source=column, target=target.column, conversion=kind))


def _misfit_hint(column: Column, target: Column) -> str:
    """What to do; of a column whose type was read off its rows first of all to say what they are."""
    permit = f"permit it with allow_lossy: [{column.name}]"
    own, kind = base_name(column.type), base_name(target.type)
    is_number = own in ("numeric", *_FLOATS) or (own == "text" and "numbers" in (column.reason or ""))
    if column.reason is not None and " rows" in column.reason:
        if is_number and kind in (*WHOLE, *_FLOATS):
            keeping = "double precision" if own == "double precision" and kind == "real" else "numeric"
            return (
                f"alter the target's column to {keeping} and write `types: {{{column.name}: {keeping}}}` in the stream,"
                f" which keeps every digit; or {permit}"
            )
        return f'`types: {{{column.name}: "{target.type.name}"}}` in the stream reads the texts as that; or {permit}'
    return f"change one of the types, or {permit}"


def _miss(target: TargetColumn, policy: SchemaPolicy, found: _Findings) -> None:
    if target.column.generated:
        return
    if not target.column.nullable and not target.filled_by_server:
        found.refused.append(
            f"the target's column {target.name} is NOT NULL without a default, and the stream does not carry it"
        )
    elif policy.removed_column == "fail":
        found.refused.append(
            f"the stream does not carry the target's column {target.name} (schema_evolution: removed_column: fail)"
        )
    else:
        found.changes.append(SchemaChange(kind="missing_column", column=target.name, before=target.column.type.name))


def _raise(stream: str, found: _Findings) -> None:
    if found.misfits:
        raise ConfigError(
            f"stream {stream} is refused: " + "; ".join(problem.message for problem in found.misfits),
            code="columns_refused",
            hint=next((problem.hint for problem in found.misfits if problem.hint), None),
            problems=tuple(found.misfits),
            stream=stream,
        )
    if found.refused:
        raise SchemaError(
            f"stream {stream} does not fit its target: " + "; ".join(found.refused),
            code="schema_drift",
            hint="change the table, the stream's `columns`, or the policy in `schema_evolution`",
            stream=stream,
        )
