"""PostgreSQL's built-in types: one closed table, and the two ways to a `ColumnType` that need no server.

OIDs below 10000 are assigned by hand and never change, so a type of this table is the same on every server.
Text from a pipeline file never becomes SQL: it is parsed here, and what is written is the name of this table
(hazard G2: `int); drop table victim; --` as a type dropped the table).
"""

from __future__ import annotations

import difflib
import re

from rapidbyte.errors import ConfigError
from rapidbyte.model import ColumnType, TypeKind
from rapidbyte.values import frozen


@frozen
class BuiltIn:
    """One row of `pg_type`."""

    name: str
    """As `format_type(oid, NULL)` prints it."""
    oid: int
    array_oid: int
    kind: TypeKind = "base"


_TABLE = """
boolean 16 1000|bytea 17 1001|"char" 18 1002|name 19 1003|bigint 20 1016|smallint 21 1005|int2vector 22 1006
integer 23 1007|regproc 24 1008|text 25 1009|oid 26 1028|tid 27 1010|xid 28 1011|cid 29 1012|oidvector 30 1013
json 114 199|xml 142 143|point 600 1017|lseg 601 1018|path 602 1019|box 603 1020|polygon 604 1027|line 628 629
cidr 650 651|real 700 1021|double precision 701 1022|circle 718 719|macaddr8 774 775|money 790 791|macaddr 829 1040
inet 869 1041|aclitem 1033 1034|character 1042 1014|character varying 1043 1015|date 1082 1182
time without time zone 1083 1183|timestamp without time zone 1114 1115|timestamp with time zone 1184 1185
interval 1186 1187|time with time zone 1266 1270|bit 1560 1561|bit varying 1562 1563|numeric 1700 1231
refcursor 1790 2201|regprocedure 2202 2207|regoper 2203 2208|regoperator 2204 2209|regclass 2205 2210
regtype 2206 2211|uuid 2950 2951|txid_snapshot 2970 2949|pg_lsn 3220 3221|tsvector 3614 3643|tsquery 3615 3645
gtsvector 3642 3644|regconfig 3734 3735|regdictionary 3769 3770|jsonb 3802 3807|int4range 3904 3905
numrange 3906 3907|tsrange 3908 3909|tstzrange 3910 3911|daterange 3912 3913|int8range 3926 3927|jsonpath 4072 4073
regnamespace 4089 4090|regrole 4096 4097|regcollation 4191 4192|int4multirange 4451 6150|nummultirange 4532 6151
tsmultirange 4533 6152|tstzmultirange 4534 6153|datemultirange 4535 6155|int8multirange 4536 6157
pg_snapshot 5038 5039|xid8 5069 271
"""
"""Every base, range and multirange type that a user's column can have, on PostgreSQL 15 and 18 alike."""


def _read(entry: str) -> BuiltIn:
    name, oid, array_oid = entry.rsplit(" ", 2)
    kind: TypeKind = "base"
    if name.endswith("multirange"):
        kind = "multirange"
    elif name.endswith("range"):
        kind = "range"
    return BuiltIn(name=name, oid=int(oid), array_oid=int(array_oid), kind=kind)


BUILT_IN_TYPES: dict[str, BuiltIn] = {
    found.name: found for line in _TABLE.split("\n") if line for found in map(_read, line.split("|"))
}
"""By the name that `format_type(oid, NULL)` prints."""

BUILT_IN_BY_OID: dict[int, BuiltIn] = {found.oid: found for found in BUILT_IN_TYPES.values()}

ALIASES = {
    "bool": "boolean",
    "int2": "smallint",
    "int": "integer",
    "int4": "integer",
    "int8": "bigint",
    "float4": "real",
    "float": "double precision",
    "float8": "double precision",
    "decimal": "numeric",
    "dec": "numeric",
    "char": "character",
    "bpchar": "character",
    "varchar": "character varying",
    "char varying": "character varying",
    "varbit": "bit varying",
    "time": "time without time zone",
    "timetz": "time with time zone",
    "timestamp": "timestamp without time zone",
    "timestamptz": "timestamp with time zone",
    "datetime": "timestamp without time zone",
}
"""Other spellings that people write. `datetime` is nobody's SQL, and everybody's CSV."""

ZONED = ("time", "timestamp")
DEFAULT_LENGTH_ONE = ("character", "bit")
"""`char` and `bit` without a length mean a length of one; `bpchar` means any."""


def numeric_modifier(typmod: int) -> tuple[int, int] | None:
    """(precision, scale) of a numeric's typmod; None where any number fits. The scale may be negative."""
    if typmod < 0:
        return None
    packed = typmod - 4
    return (packed >> 16) & 0xFFFF, ((packed & 0x7FF) ^ 0x400) - 0x400


def length_modifier(typmod: int) -> int | None:
    """Characters of a varchar's or char's typmod; None where there is no bound."""
    return typmod - 4 if typmod >= 4 else None


def type_name(base: str, typmod: int) -> str:
    """The name as `format_type(oid, typmod)` prints it, for a base name of the table."""
    if typmod < 0:
        return {"character": "bpchar", "bit": '"bit"'}.get(base, base)
    if base == "numeric":
        precision, scale = numeric_modifier(typmod) or (0, 0)
        return f"numeric({precision},{scale})"
    if base in ("character", "character varying"):
        return f"{base}({typmod - 4})"
    if base in ("bit", "bit varying"):
        return f"{base}({typmod})"
    if base == "interval":
        return f"interval({typmod & 0xFFFF})"
    head, _, zone = base.partition(" ")
    return f"{head}({typmod}) {zone}"


def built_in(name: str, typmod: int = -1) -> ColumnType:
    """The built-in type of this name, or the array of it (`integer[]`).

    `name` is as `format_type(oid, NULL)` prints it, without a modifier. Raises KeyError for any other name: it is
    for names that our own code writes; text of a user goes through `parse_type_name`.
    """
    base = name.removesuffix("[]")
    found = BUILT_IN_TYPES[base]
    shown = type_name(base, typmod)
    if name.endswith("[]"):
        return ColumnType(name=f"{shown}[]", oid=found.array_oid, typmod=typmod, kind="array")
    return ColumnType(name=shown, oid=found.oid, typmod=typmod, kind=found.kind)


def element_type(array: ColumnType) -> ColumnType | None:
    """The type of a built-in array's elements; None for everything else."""
    for found in BUILT_IN_TYPES.values():
        if found.array_oid == array.oid:
            return built_in(found.name, array.typmod)
    return None


def base_name(of: ColumnType) -> str | None:
    """The name in the table, without modifier: `numeric` for `numeric(12,2)`, `integer[]` for an array.
    None where the type is not built in.
    """
    if of.oid in BUILT_IN_BY_OID:
        return BUILT_IN_BY_OID[of.oid].name
    element = element_type(of)
    return None if element is None else f"{BUILT_IN_BY_OID[element.oid].name}[]"


_SPELLING = re.compile(
    r"""(?P<head>"char"|[a-z_][a-z0-9_]*(?:\ [a-z]+)?)       # numeric, double precision, character varying
        (?:\ ?\(\ ?(?P<first>\d+)\ ?(?:,\ ?(?P<second>-?\d+)\ ?)?\))?
        (?:\ (?P<zone>with(?:out)?\ time\ zone))?
        (?P<array>(?:\ ?\[\d*\])*)""",
    re.VERBOSE,
)


def parse_type_name(text: str) -> ColumnType:
    """The built-in type that a user's text names: `numeric(12,2)`, `varchar(20)`, `timestamptz`, `int[]`.

    Upper and lower case are the same, as in SQL. Raises ConfigError (`type_unknown`, `type_modifier_invalid`).
    """
    spelled = " ".join(text.lower().split())
    match = _SPELLING.fullmatch(spelled)
    head = match["head"] if match else spelled
    if match is None or (base := _base_of(head, match["zone"])) is None:
        near = difflib.get_close_matches(head, [*BUILT_IN_TYPES, *ALIASES], n=1)
        raise ConfigError(
            f"{text!r} is not a type that a column can be declared with",
            code="type_unknown",
            hint=f"did you mean {near[0]}?"
            if near
            else "a built-in type of PostgreSQL, as text, bigint, numeric(12,2)",
        )
    numbers = [int(number) for number in (match["first"], match["second"]) if number is not None]
    base, typmod = _modifier(text, head, base, numbers)
    return built_in(base + ("[]" if match["array"] else ""), typmod)


def _base_of(head: str, zone: str | None) -> str | None:
    if zone is not None:
        return f"{head} {zone}" if head in ZONED else None
    base = ALIASES.get(head, head)
    return base if base in BUILT_IN_TYPES else None


def _modifier(text: str, head: str, base: str, numbers: list[int]) -> tuple[str, int]:
    """(base name, typmod) for the numbers in brackets. PostgreSQL's own limits."""
    if head == "float" and numbers:
        (bits,) = _within(text, numbers, [(1, 53)])
        return ("real" if bits <= 24 else "double precision"), -1
    if base == "numeric" and numbers:
        precision, scale = _within(
            text, [*numbers, 0][:2] if len(numbers) == 1 else numbers, [(1, 1000), (-1000, 1000)]
        )
        return base, ((precision << 16) | (scale & 0x7FF)) + 4
    if base in ("character", "character varying", "bit", "bit varying"):
        if not numbers and (head == "bpchar" or base not in DEFAULT_LENGTH_ONE):
            return base, -1
        (length,) = _within(text, numbers or [1], [(1, 10485760 if base.startswith("c") else 83886080)])
        return base, length + (4 if base.startswith("c") else 0)
    if base.startswith("time") and numbers:
        (digits,) = _within(text, numbers, [(0, 6)])
        return base, digits
    if base == "interval" and numbers:
        (digits,) = _within(text, numbers, [(0, 6)])
        return base, (0x7FFF << 16) | digits
    _within(text, numbers, [])
    return base, -1


def _within(text: str, numbers: list[int], limits: list[tuple[int, int]]) -> list[int]:
    """The numbers, if there are as many as limits and each is within its own."""
    if len(numbers) != len(limits) or any(not low <= n <= high for n, (low, high) in zip(numbers, limits, strict=True)):
        allowed = ", ".join(f"{low} to {high}" for low, high in limits) or "none"
        raise ConfigError(
            f"{text!r}: the numbers in brackets are not what this type takes",
            code="type_modifier_invalid",
            hint=f"allowed: {allowed}",
        )
    return numbers
