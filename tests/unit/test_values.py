"""`@frozen` does what the standard library's frozen, slotted, keyword-only dataclass does."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from dataclasses import FrozenInstanceError, dataclass, field
from typing import Any

import pytest

from rapidbyte.values import frozen


@frozen
class Ours:
    """A value."""

    a: int
    secret: str = field(repr=False)
    noise: float = field(compare=False, default=0.0)
    many: list[int] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Standard:
    """The same, by the standard library."""

    a: int
    secret: str = field(repr=False)
    noise: float = field(compare=False, default=0.0)
    many: list[int] = field(default_factory=list)


@frozen
class Checked:
    """A value that looks at itself."""

    low: int
    high: int

    def __post_init__(self) -> None:
        if self.low > self.high:
            raise ValueError("low is above high")


@frozen
class Nothing:
    """A value without fields."""


def made(kind: Any) -> Any:
    return kind(a=1, secret="s")


def test_it_is_a_dataclass_with_the_same_fields_and_values() -> None:
    """fields, asdict, replace, is_dataclass, defaults and factories are those of the standard decorator."""
    ours, standard = made(Ours), made(Standard)
    assert dataclasses.is_dataclass(Ours)
    assert [each.name for each in dataclasses.fields(Standard)] == [each.name for each in dataclasses.fields(Ours)]
    assert dataclasses.asdict(standard) == dataclasses.asdict(ours)
    assert dataclasses.asdict(dataclasses.replace(standard, a=2)) == dataclasses.asdict(dataclasses.replace(ours, a=2))
    assert ours.many is not made(Ours).many


def test_it_is_shown_compared_and_hashed_alike() -> None:
    """What is not to be shown is not in repr, what is not to be compared is not in equality and hash."""
    assert repr(made(Standard)).replace("Standard", "Ours") == repr(made(Ours))
    assert "secret" not in repr(made(Ours))
    same, other = Ours(a=1, secret="s", noise=2.0), Ours(a=2, secret="s")
    assert made(Ours) == same
    assert made(Ours) != other
    assert made(Ours) != made(Standard)
    assert {Checked(low=1, high=2)} == {Checked(low=1, high=2)}
    assert Nothing() == Nothing()
    assert hash(Nothing()) == hash(Nothing())


@pytest.mark.parametrize("name", ["a", "many", "unknown"])
def test_nothing_of_it_can_be_set_or_deleted(name: str) -> None:
    """A value is frozen, and has slots: no attribute can be added either."""
    ours = made(Ours)
    with pytest.raises(FrozenInstanceError):
        setattr(ours, name, 1)
    with pytest.raises(FrozenInstanceError):
        delattr(ours, name)
    assert not hasattr(ours, "__dict__")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"a": 1}, "Ours needs secret"),
        ({}, "Ours needs a, secret"),
        ({"a": 1, "secret": "s", "b": 1}, "Ours has no b"),
        ({"a": 1, "secret": "s", "noise": 1.0, "b": 1}, "Ours has no b"),
        ({"a": 1, "secret": "s", "noise": 1.0, "many": [], "b": 1}, "Ours has no b"),
    ],
)
def test_what_is_missing_or_unknown_is_named(given: dict[str, Any], said: str) -> None:
    """A class cannot be made with other fields than its own."""
    with pytest.raises(TypeError, match=said):
        Ours(**given)


def test_positional_arguments_are_refused() -> None:
    """Values are made by keywords alone."""
    with pytest.raises(TypeError):
        Ours(1, "s")  # type: ignore[misc, call-arg]


def test_it_may_check_itself() -> None:
    """`__post_init__` runs after the fields are set."""
    with pytest.raises(ValueError, match="low is above high"):
        Checked(low=2, high=1)


def test_it_pickles_and_copies() -> None:
    """Contracts, jobs and receipts go to other processes."""
    ours = made(Ours)
    assert ours == pickle.loads(pickle.dumps(ours))
    assert ours == copy.deepcopy(ours)
    assert ours == copy.copy(ours)
