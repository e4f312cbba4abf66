"""`@frozen`: a frozen, slotted, keyword-only dataclass that costs little to declare. Imports nothing of ours.

What the standard decorator writes and compiles as source text for each class (`__init__`, `__repr__`, `__eq__`,
`__hash__`, `__setattr__`, `__delattr__`) is here one function for all of them: 0.11 ms a class instead of 0.85, and
a run declares 200. Making one takes 2.3 us instead of 1.6, comparing two 0.5 instead of 0.3. `dataclasses.fields`,
`replace`, `asdict` and `is_dataclass` take such a class for what it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, FrozenInstanceError, dataclass, field, fields
from operator import attrgetter
from typing import Any, NamedTuple, TypeVar, dataclass_transform

__all__ = ["field", "frozen"]

_Kind = TypeVar("_Kind")


class _Shape(NamedTuple):
    """What the methods know of their class. All in the order of the fields."""

    names: tuple[str, ...]
    shown: tuple[str, ...]
    """Of `repr`."""
    key: Callable[[Any], object]
    """What is compared and hashed."""
    defaults: Mapping[str, Any]
    factories: Mapping[str, Callable[[], Any]]
    setters: tuple[tuple[str, Callable[[Any, Any], None]], ...]
    """The slots' own: the class's `__setattr__` refuses."""
    is_checked: bool
    """It has a `__post_init__`."""


@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(field,))
def frozen(kind: type[_Kind]) -> type[_Kind]:
    """The class as a frozen value: made by keywords, equal and hashed by its fields, with `field` as in `dataclasses`.

    Methods of the class's own win over those it is given. `__post_init__` may check, and not change, what was given.
    """
    for name, method in _METHODS.items():
        if name not in vars(kind):
            setattr(kind, name, method)
    kind.__doc__ = kind.__doc__ or kind.__name__  # else the standard decorator spells out a signature: 0.2 ms
    made: Any = dataclass(init=False, repr=False, eq=False, kw_only=True, slots=True)(kind)
    own = fields(made)
    compared = [each.name for each in own if each.compare]
    made.__shape__ = _Shape(
        names=tuple(each.name for each in own),
        shown=tuple(each.name for each in own if each.repr),
        key=attrgetter(*compared) if compared else _no_key,
        defaults={each.name: each.default for each in own if each.default is not MISSING},
        factories={each.name: each.default_factory for each in own if each.default_factory is not MISSING},
        setters=tuple((each.name, getattr(made, each.name).__set__) for each in own),
        is_checked=hasattr(made, "__post_init__"),
    )
    return made


def _init(self: Any, /, **given: Any) -> None:
    shape: _Shape = self.__shape__
    if len(given) != len(shape.names):
        made = {name: make() for name, make in shape.factories.items() if name not in given}
        given = {**shape.defaults, **made, **given}
    if len(given) != len(shape.names):
        raise _misfit(self, given)
    try:
        for name, put in shape.setters:
            put(self, given[name])
    except KeyError:
        raise _misfit(self, given) from None
    if shape.is_checked:
        self.__post_init__()


def _misfit(self: Any, given: Mapping[str, Any]) -> TypeError:
    shape: _Shape = self.__shape__
    missing = [name for name in shape.names if name not in {**given, **shape.defaults, **shape.factories}]
    unknown = [name for name in given if name not in shape.names]
    said = f"needs {', '.join(missing)}" if missing else f"has no {', '.join(unknown)}"
    return TypeError(f"{self.__class__.__qualname__} {said}")


def _repr(self: Any) -> str:
    told = ", ".join(f"{name}={getattr(self, name)!r}" for name in self.__shape__.shown)
    return f"{self.__class__.__qualname__}({told})"


def _no_key(_: object) -> tuple[()]:
    return ()


def _eq(self: Any, other: object) -> bool:
    if other.__class__ is not self.__class__:
        return NotImplemented
    key = self.__shape__.key
    return key(self) == key(other)


def _hash(self: Any) -> int:
    return hash(self.__shape__.key(self))


def _refuse_to_set(_: object, name: str, __: object) -> None:
    raise FrozenInstanceError(f"cannot assign to field {name!r}")


def _refuse_to_delete(_: object, name: str) -> None:
    raise FrozenInstanceError(f"cannot delete field {name!r}")


def _state(self: Any) -> list[Any]:
    return [getattr(self, name) for name in self.__shape__.names]


def _restore(self: Any, state: list[Any]) -> None:
    for (_, put), each in zip(self.__shape__.setters, state, strict=True):
        put(self, each)


_METHODS: Mapping[str, Callable[..., Any]] = {
    "__init__": _init,
    "__repr__": _repr,
    "__eq__": _eq,
    "__hash__": _hash,
    "__setattr__": _refuse_to_set,
    "__delattr__": _refuse_to_delete,
    "__getstate__": _state,
    "__setstate__": _restore,
}
