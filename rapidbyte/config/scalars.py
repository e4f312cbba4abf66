"""The types of single values: a scalar as it was written -> text, number, size, duration, name.

A message never holds a value that came out of the environment, nor any value of a secret; where a value is shown,
it is as written in the file.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BeforeValidator, PlainValidator, ValidationInfo, WithJsonSchema
from pydantic_core import PydanticCustomError

from rapidbyte.config.document import Scalar, Unusable, misreading, plain, quoted, shown
from rapidbyte.cursor import CursorLag
from rapidbyte.model import IDENTIFIER_BYTES, Secret
from rapidbyte.values import frozen

T = TypeVar("T")

UNITS = {"b": 1, "kb": 1024, "mb": 1024**2, "gb": 1024**3}
GREATEST_PERCENT = 100.0
SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0}
LONGEST_SECONDS = 24 * 86_400
"""PostgreSQL counts timeouts in milliseconds, as a 32-bit integer."""
LONGEST_LAG_SECONDS = 10 * 366 * 86_400
"""Ten years: a lag is an interval of the data, no timeout."""
NO_BOUND = 2**62
"""Bytes, for `checkpoint_interval_bytes: 0`: never split by size."""

_INTEGER = re.compile(r"-?(0|[1-9][0-9]{0,17})\Z")
_PERCENT = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,6})?) *%\Z")
_SIZE = re.compile(r"([0-9]{1,15}) *(b|kb|mb|gb)?\Z", re.IGNORECASE)
_DURATION = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,6})?) *(s|m|h)?\Z")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_CONTROL_BUT_SPACE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
_PIPELINE = re.compile(r"[A-Za-z0-9_.-]{1,63}\Z")
_FROM_ENVIRONMENT = {"type": "string", "pattern": r"\$\{"}


@frozen
class Kind:
    """What a type is called in the documentation."""

    name: str


def fault(message: str, hint: str | None = None) -> PydanticCustomError:
    """A problem in our own words. Braces in either are kept as they are."""
    return PydanticCustomError("rapidbyte", "{message}", {"message": message, "hint": hint})


def refused(what: str) -> PydanticCustomError:
    """A known key or value whose feature is not there yet."""
    return fault(f"`{what}` is not available in this version")


def _scalar(value: Any) -> Scalar:
    """The scalar, if it is one with a value."""
    if isinstance(value, Scalar):
        if value.plain and value.origin == "file" and value.text in ("", "~", "null", "Null", "NULL"):
            raise fault("there is no value here", "give it a value, or remove the key")
        return value
    _usable(value)
    raise fault("a single value is due here, not a list or a mapping")


def _usable(value: Any) -> None:
    """Raises an error that is told to nobody where the value has been complained about already."""
    if isinstance(value, Unusable):
        raise PydanticCustomError("unusable", "the value cannot be judged")


def as_text(value: Any) -> str:
    """A string. A plain scalar that YAML 1.1 would read as something else is refused."""
    scalar = _scalar(value)
    if scalar.plain and scalar.origin == "file" and (meaning := misreading(scalar.text)):
        raise fault(f"text is due here, and YAML reads this as {meaning}", f"write {quoted(shown(scalar.text))}")
    return _clean(scalar.text)


def as_secret(value: Any) -> Secret:
    """Like text; no message holds the value."""
    scalar = _scalar(value)
    if scalar.plain and scalar.origin == "file" and (meaning := misreading(scalar.text)):
        raise fault(f"text is due here, and YAML reads this as {meaning}", "put it in quotes")
    return Secret(_clean(scalar.text))


def _clean(text: str) -> str:
    if "\x00" in text:
        raise fault("the text holds a NUL character")
    if any("\ud800" <= char <= "\udfff" for char in text):
        raise fault("the text is not UTF-8")
    return text


def as_integer(value: Any) -> int:
    """A whole number in decimal notation, from a plain scalar or out of the environment."""
    return _whole_number(value, "a whole number")


def as_count_or_auto(value: Any) -> int | None:
    """A whole number of at least 1; None for `auto`."""
    if isinstance(value, Scalar) and value.text == "auto":
        return None
    return at_least(1, 1024)(_whole_number(value, "`auto` or a whole number"))


def _whole_number(value: Any, what: str) -> int:
    scalar = _scalar(value)
    if _INTEGER.match(scalar.text) is None:
        raise fault(f"{what} is due here, not `{shown(scalar.written)}`", "write it in digits alone, as 16")
    return int(scalar.text)


def as_rejects(value: Any) -> int | float:
    """A number of rows, or a percentage as a float: `1000`, `0.5%`."""
    scalar = _scalar(value)
    found = _PERCENT.match(scalar.text.strip())
    if found is not None and float(found[1]) <= GREATEST_PERCENT:
        return float(found[1])
    if _INTEGER.match(scalar.text) is None or scalar.text.startswith("-"):
        raise fault(f"a number of rows or a percentage is due here, not `{shown(scalar.written)}`", "as 1000, or 0.5%")
    return int(scalar.text)


def as_flag(value: Any) -> bool:
    """`true` or `false`."""
    scalar = _scalar(value)
    if scalar.text not in ("true", "false"):
        raise fault(f"true or false is due here, not `{shown(scalar.written)}`")
    return scalar.text == "true"


def as_size(value: Any) -> int:
    """Bytes, from `64mb`; a bare number is bytes."""
    scalar = _scalar(value)
    found = _SIZE.match(scalar.text.strip())
    if found is None:
        raise fault(f"a size is due here, not `{shown(scalar.written)}`", "write it as 512kb, 64mb or 1gb")
    return min(int(found[1]) * UNITS[(found[2] or "b").lower()], NO_BOUND)


def seconds_of(text: str) -> float | None:
    """Seconds, from `90s`, `10m` or `1h`; a bare number is seconds. None where it is no duration."""
    found = _DURATION.match(text.strip())
    return None if found is None else float(found[1]) * SECONDS[found[2] or "s"]


def as_duration(value: Any) -> float:
    """Seconds, from `90s`, `10m` or `1h`; a bare number is seconds."""
    scalar = _scalar(value)
    seconds = seconds_of(scalar.text)
    if seconds is None:
        raise fault(f"a duration is due here, not `{shown(scalar.written)}`", "write it as 90s, 10m or 1h")
    if not 0 < seconds <= LONGEST_SECONDS:
        raise fault("a duration must be more than 0 and at most 576h")
    return seconds


def as_lag(value: Any) -> CursorLag:
    """How far to read again: `10m` for dates and times, a bare number for both (seconds) and for numbers."""
    scalar = _scalar(value)
    text = scalar.text.strip()
    found = _DURATION.match(text)
    is_count = _INTEGER.match(text) is not None and not text.startswith("-")
    if found is None and not is_count:
        raise fault(
            f"a duration or a whole number is due here, not `{shown(scalar.written)}`", "write it as 10m, or as 1000"
        )
    seconds = float(found[1]) * SECONDS[found[2] or "s"] if found is not None else None
    if seconds == 0 or text == "0":
        raise fault("a lag must be more than 0", "remove the key to have none")
    if seconds is not None and seconds > LONGEST_LAG_SECONDS:
        if not is_count:
            raise fault("a lag must be at most ten years")
        seconds = None
    return CursorLag(seconds=seconds, count=int(text) if is_count else None)


def as_word(value: Any) -> str:
    """One of a few known words; which ones is checked by the type that follows."""
    return value.text if isinstance(value, Scalar) else _scalar(value).text


def as_list(value: Any) -> Any:
    """The items; a value of `--set` is read as `[a, b]`."""
    value = as_written(value)
    if isinstance(value, list):
        return value  # pyright: ignore[reportUnknownVariableType] - items are judged by the type that follows
    _usable(value)
    if isinstance(value, Scalar):
        _scalar(value)
    raise fault("a list is due here", "write it as [a, b], or one item a line after `- `")


def as_written(value: Any) -> Any:
    """A value of `--set` that is a list or a mapping as such, where the key may have one."""
    return plain(value.flow) if isinstance(value, Scalar) and value.flow is not None else value


def as_paths(value: Any) -> str | tuple[str, ...]:
    """One path, or a list of them."""
    value = as_written(value)
    if isinstance(value, Scalar):
        return _filled(as_text(value))
    return tuple(_filled(as_text(item)) for item in _some(as_list(value)))


def _some(items: list[Any]) -> list[Any]:
    if not items:
        raise fault("the list is empty")
    return items


def not_yet(*words: str) -> Callable[[T], T]:
    """Refuses these values: their features are not there yet."""

    def check(value: T) -> T:
        if value in words:
            raise refused(str(value))
        return value

    return check


def only(*harmless: Any) -> Callable[[Any, ValidationInfo], Any]:
    """Refuses every value but these: the key's feature is not there yet."""

    def check(value: Any, info: ValidationInfo) -> Any:
        if value in harmless:
            return value
        raise refused(str(info.field_name))

    return check


def at_least(least: int, most: int = NO_BOUND) -> Callable[[int], int]:
    """Refuses numbers out of these bounds, both inclusive."""

    def check(value: int) -> int:
        if not least <= value <= most:
            raise fault(f"the number must be at least {least}" + (f" and at most {most}" if most < NO_BOUND else ""))
        return value

    return check


def _identifier(text: str) -> str:
    _printable(text)
    if len(text.encode()) > IDENTIFIER_BYTES:
        raise fault(f"the name has {len(text.encode())} bytes; PostgreSQL keeps {IDENTIFIER_BYTES}", "shorten it")
    return text


def _relation(text: str) -> str:
    """A table's name, or schema and table parted at the first dot."""
    _printable(text)
    for part in text.split(".", 1):
        if not part:
            raise fault("the schema's or the table's name is empty", "write table or schema.table")
        _identifier(part)
    return text


def _source_name(text: str) -> str:
    """A pattern, or what can be a table: the whole of it, or a schema and a table parted at one of its dots."""
    _printable(text)
    dots = [at for at, char in enumerate(text) if char == "."]
    readings = [(text,), *((text[:at], text[at + 1 :]) for at in dots)]
    if "*" in text or any(all(part and len(part.encode()) <= IDENTIFIER_BYTES for part in parts) for parts in readings):
        return text
    return _identifier(text)


def _printable(text: str) -> str:
    if not text:
        raise fault("the name is empty")
    if _CONTROL.search(text):
        raise fault("the name holds a control character")
    return text


def _filled(text: str) -> str:
    if not text.strip():
        raise fault("the text is empty")
    return text


def _sql(text: str) -> str:
    if _CONTROL_BUT_SPACE.search(text):
        raise fault("the text holds a control character")
    return _filled(text)


def _pipeline_name(text: str) -> str:
    if _PIPELINE.match(text) is None:
        raise fault("a pipeline's name has 1 to 63 of the characters A-Z a-z 0-9 _ . -")
    return text


def _unique(names: tuple[str, ...]) -> tuple[str, ...]:
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise fault("a name is given twice in this list")
    return names


_STRING = {"type": "string"}
_TEXT = WithJsonSchema(_STRING)
Text = Annotated[str, PlainValidator(as_text), AfterValidator(_filled), Kind(name="text"), _TEXT]
Paths = Annotated[
    str | tuple[str, ...],
    PlainValidator(as_paths),
    Kind(name="text, or a list of texts"),
    WithJsonSchema({"anyOf": [_STRING, {"type": "array", "items": _STRING, "minItems": 1}]}),
]
RawText = Annotated[str, PlainValidator(as_text), Kind(name="text"), _TEXT]
Name = Annotated[str, PlainValidator(as_text), AfterValidator(_printable), Kind(name="name"), _TEXT]
Identifier = Annotated[str, PlainValidator(as_text), AfterValidator(_identifier), Kind(name="name"), _TEXT]
RelationName = Annotated[str, PlainValidator(as_text), AfterValidator(_relation), Kind(name="name"), _TEXT]
SourceName = Annotated[str, PlainValidator(as_text), AfterValidator(_source_name), Kind(name="name"), _TEXT]
PipelineName = Annotated[
    str,
    PlainValidator(as_text),
    AfterValidator(_pipeline_name),
    Kind(name="name"),
    WithJsonSchema({"type": "string", "pattern": r"^[A-Za-z0-9_.-]{1,63}$|\$\{"}),
]
Sql = Annotated[str, PlainValidator(as_text), AfterValidator(_sql), Kind(name="SQL"), _TEXT]
SecretText = Annotated[Secret, PlainValidator(as_secret), Kind(name="secret text"), _TEXT]
Integer = Annotated[
    int,
    PlainValidator(as_integer),
    Kind(name="number"),
    WithJsonSchema({"anyOf": [{"type": "integer"}, _FROM_ENVIRONMENT]}),
]
Rejects = Annotated[
    int | float,
    PlainValidator(as_rejects),
    Kind(name="number, or a percentage"),
    WithJsonSchema(
        {"anyOf": [{"type": "integer", "minimum": 0}, {"type": "string", "pattern": r"^[0-9.]+ *%?$|\$\{"}]}
    ),
]
Flag = Annotated[
    bool,
    PlainValidator(as_flag),
    Kind(name="true or false"),
    WithJsonSchema({"anyOf": [{"type": "boolean"}, _FROM_ENVIRONMENT]}),
]
Size = Annotated[
    int,
    PlainValidator(as_size),
    Kind(name="size"),
    WithJsonSchema({"anyOf": [{"type": "integer"}, {"type": "string", "pattern": r"^[0-9]+ *([kKmMgG]?[bB])?$|\$\{"}]}),
]
Duration = Annotated[
    float,
    PlainValidator(as_duration),
    Kind(name="duration"),
    WithJsonSchema({"anyOf": [{"type": "integer"}, {"type": "string", "pattern": r"^[0-9.]+ *[smh]?$|\$\{"}]}),
]
Lag = Annotated[
    CursorLag,
    PlainValidator(as_lag),
    Kind(name="duration, or a number"),
    WithJsonSchema({"anyOf": [{"type": "integer"}, {"type": "string", "pattern": r"^[0-9.]+ *[smh]?$|\$\{"}]}),
]
Names = Annotated[tuple[Identifier, ...], BeforeValidator(as_list), AfterValidator(_unique), Kind(name="list of names")]
Texts = Annotated[tuple[RawText, ...], BeforeValidator(as_list), Kind(name="list of texts")]
Patterns = Annotated[tuple[Text, ...], BeforeValidator(as_list), AfterValidator(_unique), Kind(name="list of patterns")]
Count = Annotated[Integer, AfterValidator(at_least(0))]
Positive = Annotated[Integer, AfterValidator(at_least(1))]
Word = BeforeValidator(as_word)
"""Before a Literal: one of a few words."""
