"""The keys of `transforms`: one model for an entry, whose `config` holds the keys of all kinds, each of its own kind.

Which keys belong to which `use` is checked by `transform_rules`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, PlainValidator, WithJsonSchema

from rapidbyte.config.document import Scalar
from rapidbyte.config.scalars import (
    Identifier,
    Integer,
    Kind,
    Name,
    Names,
    RawText,
    SecretText,
    Sql,
    Word,
    as_list,
    as_text,
    as_written,
    at_least,
    fault,
)
from rapidbyte.config.section import Section
from rapidbyte.model import IDENTIFIER_BYTES
from rapidbyte.spec import CaseStyle, MaskMethod

_VALUE_SCHEMA = {"type": ["string", "number", "boolean"]}
_METHODS = ("hash", "redact", "partial", "null")


def _as_value(value: Any) -> str:
    """A value to compare with, as it is written: quotes are not needed around a number or a date."""
    if not isinstance(value, Scalar):
        raise fault("a single value is due here, not a list or a mapping")
    if value.plain and value.origin == "file" and value.text in ("", "~", "null", "Null", "NULL"):
        raise fault("there is no value here", "NULL meets every rule but assert_not_null")
    return value.text


def _as_names(value: Any) -> tuple[str, ...]:
    """One column, or several."""
    value = as_written(value)
    items = [value] if isinstance(value, Scalar) else as_list(value)
    names = tuple(as_text(item) for item in items)
    if not names or not all(names) or len(set(names)) < len(names):
        raise fault("a column, or a list of different columns, is due here")
    return names


def _as_pairs(value: Any) -> tuple[tuple[str, str], ...]:
    """A mapping of columns to a word each."""
    value = as_written(value)
    if not isinstance(value, dict) or not value:
        raise fault("a mapping is due here", "write it as {column: word}")
    return tuple((str(column), as_text(node)) for column, node in value.items())  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]


def _new_names(pairs: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    for _, name in pairs:
        if not name or len(name.encode()) > IDENTIFIER_BYTES:
            raise fault(f"a new name has 1 to {IDENTIFIER_BYTES} bytes")
    return pairs


Value = Annotated[str, PlainValidator(_as_value), Kind(name="value"), WithJsonSchema(_VALUE_SCHEMA)]
Values = Annotated[tuple[Value, ...], BeforeValidator(as_list), Kind(name="list of values")]
OneOrMoreNames = Annotated[
    tuple[str, ...],
    PlainValidator(_as_names),
    Kind(name="name, or a list of names"),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}),
]
_MAPPING = WithJsonSchema({"type": "object", "additionalProperties": {"type": "string"}})
Pairs = Annotated[tuple[tuple[str, str], ...], PlainValidator(_as_pairs), Kind(name="mapping"), _MAPPING]
NewNames = Annotated[
    tuple[tuple[str, str], ...], PlainValidator(_as_pairs), AfterValidator(_new_names), Kind(name="mapping"), _MAPPING
]
Length = Annotated[Integer, AfterValidator(at_least(0, 10_000))]


class Regex(Section, frozen=True):
    """`assert_regex`."""

    field: Identifier = Field(description="Column of text.")
    pattern: RawText = Field(description="Regular expression (RE2) that is found in the value; ^ and $ for all of it.")


class Range(Section, frozen=True):
    """`assert_range`."""

    field: Identifier = Field(description="Column of numbers, dates, times or text.")
    min: Value | None = Field(default=None, description="Least value allowed.")
    max: Value | None = Field(default=None, description="Greatest value allowed.")


class In(Section, frozen=True):
    """`assert_in`."""

    field: Identifier = Field(description="Column of text, whole numbers, decimals, booleans, dates or uuids.")
    values: Values = Field(description="The values allowed.")


class RuleKeys(Section, frozen=True):
    """One rule: one of these keys."""

    assert_not_null: OneOrMoreNames | None = Field(default=None, description="Columns that hold no NULL.")
    assert_unique: OneOrMoreNames | None = Field(
        default=None,
        description="Columns whose values, taken together, stand in one row of the stream only. Rows with a NULL among "
        "them are left alone. The stream is loaded in one partition.",
    )
    assert_regex: Regex | None = Field(default=None, description="Text that a pattern is found in. NULL passes.")
    assert_range: Range | None = Field(
        default=None, description="Values between bounds, which are allowed themselves. NULL passes, NaN does not."
    )
    assert_in: In | None = Field(default=None, description="Values out of a list. NULL passes.")
    assert_expression: Sql | None = Field(
        default=None, description="DuckDB condition that is not false for any row, as in a CHECK."
    )


class MaskKeys(Section, frozen=True):
    """One masked column."""

    field: Identifier = Field(description="Column to mask.")
    method: Annotated[MaskMethod, Word] = Field(
        description="`hash`: HMAC-SHA256 of the value's text, in hexadecimal; equal values stay equal. `redact`: a "
        'constant text. `partial`: stars but for some characters. `"null"`: NULL.'
    )
    keep_start: Length = Field(default=0, description="partial: characters left at the start.")
    keep_end: Length = Field(default=0, description="partial: characters left at the end.")
    text: RawText = Field(default="***", description="redact: the text.")


def _as_masks(value: Any) -> Any:
    """The list of masks; `{email: hash, phone: redact}` is short for it."""
    value = as_written(value)
    if not isinstance(value, dict):
        return as_list(value)
    items: list[Any] = []
    for column, method in value.items():  # pyright: ignore[reportUnknownVariableType]
        if not isinstance(method, Scalar) or method.text not in _METHODS:
            hint = "or a list of {field, method, ...}"
            raise fault(f"the method of column `{column}` is one of {', '.join(_METHODS)}", hint)
        name = Scalar(text=str(column), written=str(column), plain=False, place=method.place)  # pyright: ignore[reportUnknownArgumentType]
        items.append({"field": name, "method": method})
    return items


class TransformConfig(Section, frozen=True):
    """`config` of a transform. Each key belongs to one `use`."""

    query: Sql | None = Field(
        default=None,
        description="sql: one SELECT in DuckDB's dialect. The rows are the table `input`, also called like the stream.",
    )
    tables: Pairs | None = Field(
        default=None,
        description="sql: files that the query may join with, as {name: path}; paths as in `source.config.path`.",
    )
    rules: Annotated[tuple[RuleKeys, ...], BeforeValidator(as_list)] | None = Field(
        default=None, description="validate: what every row must meet."
    )
    fields: Annotated[tuple[MaskKeys, ...], BeforeValidator(_as_masks)] | None = Field(
        default=None, description="mask: columns, as {email: hash} or as a list of {field, method, ...}."
    )
    key: SecretText | None = Field(default=None, description="mask: key of `hash`, from the environment: ${MASK_KEY}.")
    names: NewNames | None = Field(default=None, description="rename: {column: new name}.")
    columns: Names | None = Field(default=None, description="drop: columns to leave out.")
    types: Pairs | None = Field(default=None, description="cast: {column: PostgreSQL type}.")
    to: Annotated[CaseStyle, Word] | None = Field(
        default=None, description="case: how all columns are spelled: lower, upper or snake."
    )


TransformUse = Literal[
    "sql", "transform-sql", "validate", "transform-validate", "mask", "rename", "drop", "cast", "case"
]


class TransformKeys(Section, frozen=True):
    """One entry of `transforms`."""

    use: Annotated[TransformUse, Word] = Field(description="What it does.")
    streams: Annotated[tuple[Name, ...], BeforeValidator(as_list)] = Field(
        default=(), description="Streams whose rows pass through it. Default: all."
    )
    config: TransformConfig = Field(description="Its own keys.")
