"""Which types COPY carries into which, and at what price: one table of rules, each with its sentence. Pure.

COPY changes values in silence between many pairs (in binary: int8 into float8 gives 2.08e-322; in text: numeric into
numeric(4,1), timestamp into date). So what is not named here is `lossy`, and refused unless the column is allowed it.
Every rule is proved against a server by the matrix in `tests/postgres/test_type_pairs.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from rapidbyte.model import ColumnType, Wire
from rapidbyte.pg.types import base_name, element_type, length_modifier, numeric_modifier
from rapidbyte.plan import ConversionKind
from rapidbyte.values import frozen

TEXT_LIKE = frozenset({"text", "character varying"})
"""Types that hold any text as it is."""

MAY_END_IN_SPACE = frozenset(
    {"text", "character varying", "character", "name", '"char"', "json", "xml", "refcursor", "tsquery"}
)
"""Types whose text can end in spaces: varchar(n) drops those beyond its length in silence, also in COPY."""

INTEGER_DIGITS = {"smallint": 5, "integer": 10, "bigint": 19}
WHOLE_NUMBERS = frozenset({*INTEGER_DIGITS, "oid", "xid", "cid", "xid8"})
"""Types whose text is digits, with or without a sign, and nothing else."""

TIMES = frozenset(
    {
        "time without time zone",
        "time with time zone",
        "timestamp without time zone",
        "timestamp with time zone",
    }
)
BITS = frozenset({"bit", "bit varying"})
ADDRESSES = frozenset({"inet", "cidr"})
INTEGER_RANGES = (frozenset({"int4range", "int8range"}), frozenset({"int4multirange", "int8multirange"}))

READ_FROM_TEXT = frozenset({*INTEGER_DIGITS, "numeric", "uuid", "boolean", "inet", "xml"})
"""Types whose input takes a text for what it says, or refuses it. Not among them: what rounds (float8), normalises
(jsonb), guesses (date: `01/02/2020`, `today`) or supplies what is missing (timestamptz)."""

FINEST = 6
"""Digits of a second's fraction where none are given."""

TEXT_ONLY = frozenset(
    {
        "aclitem",
        "regproc",
        "regprocedure",
        "regoper",
        "regoperator",
        "regclass",
        "regtype",
        "regconfig",
        "regdictionary",
        "regnamespace",
        "regrole",
        "regcollation",
        "tsquery",
        "int2vector",
        "oidvector",
    }
)
"""Built-in types that must travel as text: the bytes of reg* are OIDs, which name other things in another database;
aclitem has none; and no server reads those of an empty tsquery, int2vector, oidvector back (PostgreSQL 15 and 18)."""

UNREADABLE = frozenset({"gtsvector"})
"""Types whose text no server reads back."""


@frozen
class Pair:
    """Two types that are to be judged, with the names of those that are built in."""

    source: ColumnType
    target: ColumnType
    source_base: str | None
    target_base: str | None

    def within(self, types: frozenset[str]) -> bool:
        """Both are of these built-in types."""
        return self.source_base in types and self.target_base in types


@frozen
class Rule:
    """One way from type to type."""

    kind: ConversionKind
    sentence: str
    """Why it holds, for people: shown by `plan` and by the refusal."""
    holds: Callable[[Pair], bool]


def pair_of(source: ColumnType, target: ColumnType) -> Pair:
    """The pair with its base names."""
    return Pair(source=source, target=target, source_base=base_name(source), target_base=base_name(target))


def _unreadable(pair: Pair) -> bool:
    types = (pair.source, pair.target)
    return any(kind.kind == "pseudo" for kind in types) or bool({_element_or_self(kind) for kind in types} & UNREADABLE)


def _element_or_self(kind: ColumnType) -> str | None:
    element = element_type(kind)
    return base_name(kind if element is None else element)


def _same_built_in(pair: Pair) -> bool:
    source, target = pair.source, pair.target
    return source.built_in and source.oid == target.oid and source.typmod == target.typmod


def _same_user_defined(pair: Pair) -> bool:
    source, target = pair.source, pair.target
    return not source.built_in and not target.built_in and (source.kind, source.name) == (target.kind, target.name)


def _any_text(pair: Pair) -> bool:
    return pair.target_base in TEXT_LIKE and length_modifier(pair.target.typmod) is None


def _bounded_text(pair: Pair) -> bool:
    if pair.target_base != "character varying":
        return False
    return pair.source.built_in and pair.source.kind != "array" and pair.source_base not in MAY_END_IN_SPACE


def _longer_text(pair: Pair) -> bool:
    room = length_modifier(pair.target.typmod)
    if pair.target_base != "character varying" or room is None:
        return False
    fixed = {"name": 63, '"char"': 4}.get(pair.source_base or "")
    longest = fixed if fixed is not None else length_modifier(pair.source.typmod)
    return pair.source_base in (*TEXT_LIKE, "character", "name", '"char"') and longest is not None and longest <= room


def _unpadded(pair: Pair) -> bool:
    return pair.source_base == pair.target_base == "character" and length_modifier(pair.target.typmod) is None


def _padded(pair: Pair) -> bool:
    room, length = length_modifier(pair.target.typmod), length_modifier(pair.source.typmod)
    both = pair.source_base == pair.target_base == "character"
    return both and room is not None and length is not None and length <= room


def _whole_numbers(pair: Pair) -> bool:
    return pair.source_base in WHOLE_NUMBERS and pair.target_base in INTEGER_DIGITS


def _scale(kind: ColumnType) -> int | None:
    found = numeric_modifier(kind.typmod)
    return None if found is None else found[1]


def _whole_into_numeric(pair: Pair) -> bool:
    return pair.source_base in WHOLE_NUMBERS and pair.target_base == "numeric" and _scale(pair.target) in (None, 0)


def _whole_into_scaled(pair: Pair) -> bool:
    scale = _scale(pair.target)
    return pair.source_base in WHOLE_NUMBERS and pair.target_base == "numeric" and scale is not None and scale > 0


def _numeric_into_whole(pair: Pair) -> bool:
    scale = _scale(pair.source)
    return pair.source_base == "numeric" and pair.target_base in INTEGER_DIGITS and (scale is None or scale <= 0)


def _both_numeric(pair: Pair) -> bool:
    return pair.source_base == pair.target_base == "numeric"


def _same_scale(pair: Pair) -> bool:
    source, target = _scale(pair.source), _scale(pair.target)
    return _both_numeric(pair) and (target is None or (source == target and target >= 0))


def _wider_scale(pair: Pair) -> bool:
    source, target = _scale(pair.source), _scale(pair.target)
    return _both_numeric(pair) and source is not None and target is not None and target >= max(source, 0)


def _small_into_float(pair: Pair) -> bool:
    exact = {"real": ("smallint",), "double precision": ("smallint", "integer")}
    return pair.source_base in exact.get(pair.target_base or "", ())


def _finer_time(pair: Pair) -> bool:
    if pair.source_base != pair.target_base or pair.source_base not in TIMES:
        return False
    source, target = (FINEST if kind.typmod < 0 else kind.typmod for kind in (pair.source, pair.target))
    return source <= target


def _finer_interval(pair: Pair) -> bool:
    if not pair.source_base == pair.target_base == "interval":
        return False
    if pair.target.typmod < 0:
        return True
    if pair.source.typmod < 0:
        return False
    fields, target_fields = pair.source.typmod >> 16, pair.target.typmod >> 16
    digits, target_digits = (min(kind.typmod & 0xFFFF, FINEST) for kind in (pair.source, pair.target))
    return fields == target_fields and digits <= target_digits


def _date_into_timestamp(pair: Pair) -> bool:
    return pair.source_base == "date" and pair.target_base == "timestamp without time zone"


def _bits(pair: Pair) -> bool:
    return pair.within(BITS)


def _addresses(pair: Pair) -> bool:
    return pair.within(ADDRESSES)


def _integer_ranges(pair: Pair) -> bool:
    return any(pair.within(types) for types in INTEGER_RANGES)


def _verbatim_json(pair: Pair) -> bool:
    return pair.target_base == "json" and pair.source_base in (*TEXT_LIKE, "jsonb")


def _label(pair: Pair) -> bool:
    return pair.target.kind == "enum" and pair.source_base in TEXT_LIKE


def _read_text(pair: Pair) -> bool:
    if pair.target_base == "numeric" and pair.target.typmod >= 0:
        return False
    return pair.target_base in READ_FROM_TEXT and pair.source_base in TEXT_LIKE


SCALARS: tuple[Rule, ...] = (
    Rule(kind="exact", sentence="text holds every type's text as it is", holds=_any_text),
    Rule(kind="exact", sentence="this text never ends in a space, and one too long is refused", holds=_bounded_text),
    Rule(kind="exact", sentence="there is room for the longest", holds=_longer_text),
    Rule(kind="exact", sentence="char without a length keeps its spaces", holds=_unpadded),
    Rule(kind="checked", sentence="spaces are added at the end, which char does not count", holds=_padded),
    Rule(kind="exact", sentence="a whole number keeps its digits, and one too large is refused", holds=_whole_numbers),
    Rule(
        kind="exact",
        sentence="a whole number keeps its digits, and one too large is refused",
        holds=_whole_into_numeric,
    ),
    Rule(kind="checked", sentence="zeros are added after the point", holds=_whole_into_scaled),
    Rule(kind="exact", sentence="a fraction is refused, and so is a number too large", holds=_numeric_into_whole),
    Rule(kind="exact", sentence="the digits after the point are the same", holds=_same_scale),
    Rule(kind="checked", sentence="zeros are added after the point", holds=_wider_scale),
    Rule(kind="exact", sentence="every number of this size is a float's", holds=_small_into_float),
    Rule(kind="exact", sentence="the seconds keep their digits", holds=_finer_time),
    Rule(kind="exact", sentence="the interval keeps its fields and digits", holds=_finer_interval),
    Rule(kind="checked", sentence="a date becomes its midnight", holds=_date_into_timestamp),
    Rule(kind="exact", sentence="the bits are the same, and another length is refused", holds=_bits),
    Rule(kind="checked", sentence="the same network, or it is refused", holds=_addresses),
    Rule(kind="exact", sentence="the bounds are the same, and one too large is refused", holds=_integer_ranges),
    Rule(kind="exact", sentence="json keeps its text, and refuses what is none", holds=_verbatim_json),
    Rule(kind="exact", sentence="a label that the enum has not got is refused", holds=_label),
    Rule(kind="checked", sentence="the text is taken for what it says, or refused", holds=_read_text),
)
"""From one type to another. The first that holds is the one."""


def _elements(pair: Pair) -> Pair | None:
    """The pair of the elements of two arrays; None where one is no built-in array."""
    source, target = element_type(pair.source), element_type(pair.target)
    if source is None or target is None or "box" in (base_name(source), base_name(target)):
        return None  # box[] has ; between its elements, and text[] would read it as other elements
    return pair_of(source, target)


def _array_rule(kind: ConversionKind) -> Callable[[Pair], bool]:
    def holds(pair: Pair) -> bool:
        elements = _elements(pair)
        return elements is not None and next((r.kind for r in SCALARS if r.holds(elements)), None) == kind

    return holds


RULES: tuple[Rule, ...] = (
    Rule(kind="lossy", sentence="no server reads this type's text back", holds=_unreadable),
    Rule(kind="identical", sentence="the same type", holds=_same_built_in),
    Rule(kind="identical", sentence="the same type, if its definition is the same", holds=_same_user_defined),
    *SCALARS,
    Rule(kind="exact", sentence="every element is carried over exactly", holds=_array_rule("exact")),
    Rule(kind="checked", sentence="every element keeps its meaning, or is refused", holds=_array_rule("checked")),
    Rule(kind="lossy", sentence="COPY would change values between these types in silence", holds=lambda _: True),
)
"""Every pair of types has a rule: the last one holds for all."""


def rule_for(source: ColumnType, target: ColumnType) -> Rule:
    """The first rule that holds for this pair."""
    pair = pair_of(source, target)
    return next(rule for rule in RULES if rule.holds(pair))


def conversion(source: ColumnType, target: ColumnType) -> ConversionKind:
    """What happens to the values of one type in a column of the other.

    `identical`: the same type. `exact`: text COPY gives the identical text, or an error. `checked`: another text of
    the same meaning, or an error. `lossy`: all else. For user-defined types `identical` goes by kind and qualified
    name; whether their definitions agree is for `definition.difference` to say.
    """
    return rule_for(source, target).kind


def travels_in_binary(kind: ColumnType) -> bool:
    """Whether binary COPY carries this type between any two servers, of versions 13 to 18, exactly."""
    return kind.built_in and base_name(kind) is not None and _element_or_self(kind) not in TEXT_ONLY | UNREADABLE


def relay_wire(pairs: Iterable[tuple[ColumnType, ColumnType]]) -> Wire:
    """`binary-relay` where every pair is one built-in type with one modifier, else `text-relay`."""
    binary = all(_same_built_in(pair_of(source, target)) and travels_in_binary(source) for source, target in pairs)
    return "binary-relay" if binary else "text-relay"
