"""The publish method and its reason, as a table of cases."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from rapidbyte.destinations.postgres.planning import target_name
from rapidbyte.destinations.postgres.publish import attached, choose_publish, key_for, shortened, swap_obstacles
from rapidbyte.destinations.postgres.target import CheckFacts, Grant, IndexFacts, TargetColumn, TargetFacts
from rapidbyte.errors import ConfigError
from rapidbyte.model import Column, QualifiedName
from rapidbyte.pg.types import built_in
from rapidbyte.plan import StreamShape
from rapidbyte.spec import StreamSpec

NAME = QualifiedName(schema="raw", name="t")
ABSENT = TargetFacts(name=NAME, schema_exists=True, may_create=True)
PLAIN = TargetFacts(
    name=NAME,
    schema_exists=True,
    may_create=True,
    oid=70000,
    kind="r",
    owner="me",
    owned=True,
    may_give=True,
    privileges=frozenset({"SELECT", "INSERT", "UPDATE", "DELETE"}),
    columns=(
        TargetColumn(column=Column(name="id", type=built_in("integer"), nullable=False)),
        TargetColumn(column=Column(name="a", type=built_in("text"))),
    ),
    empty=False,
)
PRIMARY = IndexFacts(
    name="t_pkey", unique=True, tail="USING btree (id)", key=("id",), constraint="PRIMARY KEY", constraint_name="t_pkey"
)
BOTH = frozenset({"id", "a"})


def choose(facts: TargetFacts, mode: str = "replace", strategy: str = "auto", carried: frozenset[str] = BOTH):
    """(method, reason)."""
    found = choose_publish(facts=facts, write_mode=mode, strategy=strategy, carried=carried)  # type: ignore[arg-type]
    return found.method, found.reason


@pytest.mark.parametrize("mode", ["append", "replace"])
@pytest.mark.parametrize("strategy", ["auto", "swap", "in_place"])
def test_a_target_that_does_not_exist_is_renamed_to(mode: str, strategy: str) -> None:
    """Whatever is asked for."""
    assert choose(ABSENT, mode, strategy) == ("rename", "the target does not exist")


def test_a_publication_of_the_whole_schema_forbids_a_logged_stage() -> None:
    """Subscribers would stop at the stage."""
    covered = replace(ABSENT, publications_of_schema=("pub",))
    assert choose(covered)[0] == "insert"
    there = replace(PLAIN, publications_of_schema=("pub",))
    assert choose(there) == ("in_place", "publication pub covers its whole schema")
    assert choose(there, "append")[0] == "insert"
    assert choose(replace(there, empty=True), "append")[0] == "insert"


@pytest.mark.parametrize(
    ("facts", "mode", "method"),
    [
        (PLAIN, "append", "insert"),
        (PLAIN, "replace", "swap"),
        (replace(PLAIN, empty=True), "append", "rename"),
        (replace(PLAIN, empty=True), "replace", "rename"),
        (replace(PLAIN, empty=None), "append", "insert"),
        (replace(PLAIN, empty=True, indexes=(PRIMARY,)), "append", "insert"),
        (replace(PLAIN, empty=True, indexes=(PRIMARY,)), "replace", "swap"),
        (replace(PLAIN, empty=True, obstacles=("view v",)), "append", "insert"),
        (replace(PLAIN, empty=True, obstacles=("view v",)), "replace", "in_place"),
        (replace(PLAIN, empty=True, owned=False), "append", "insert"),
    ],
)
def test_method_by_mode_and_emptiness(facts: TargetFacts, mode: str, method: str) -> None:
    """An empty target with nothing attached gives way to the stage."""
    assert choose(facts, mode)[0] == method


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"obstacles": ("view raw.v depends on it",)}, "view raw.v depends on it"),
        ({"owned": False, "owner": "boss"}, "it belongs to boss, whose rights we do not have"),
        ({"may_give": False}, "a new table cannot be given to its owner me"),
        ({"may_create": False}, "we may not create tables in schema raw"),
        ({"privileges": frozenset({"INSERT"})}, "we may not read it"),
        ({"obstacles": ("one", "two", "three", "four", "five")}, "one; two; three; and 2 more"),
    ],
)
def test_every_obstacle_makes_it_in_place(change: dict[str, Any], reason: str) -> None:
    """And is the reason; a swap that is insisted on is refused."""
    facts = replace(PLAIN, **change)
    assert choose(facts) == ("in_place", reason)
    assert choose(facts, strategy="in_place") == ("in_place", "replace_strategy: in_place")
    with pytest.raises(ConfigError, match="replace_strategy: swap is impossible for raw"):
        choose(facts, strategy="swap")


def test_a_column_that_the_stream_does_not_carry_is_an_obstacle() -> None:
    """Its values would be lost."""
    assert choose(PLAIN, carried=frozenset({"id"})) == ("in_place", "the stream does not carry column a")
    assert swap_obstacles(PLAIN, BOTH | {"added"}) == ()


def test_in_place_can_be_asked_for() -> None:
    """Also where a swap, or a rename, were possible."""
    assert choose(PLAIN, strategy="in_place")[0] == "in_place"
    assert choose(replace(PLAIN, empty=True), strategy="in_place")[0] == "in_place"


def test_what_is_carried_is_told() -> None:
    """As counts."""
    laden = replace(
        PLAIN,
        indexes=(PRIMARY, replace(PRIMARY, name="i", constraint=None, constraint_name=None, comment="c")),
        checks=(CheckFacts(name="c", definition="CHECK (id > 0)", columns=("id",)),),
        columns=(replace(PLAIN.columns[0], default="1", statistics=7), PLAIN.columns[1]),
        comment="x",
        options=("fillfactor=70",),
        grants=(Grant(grantee=None, privilege="SELECT"), Grant(grantee="a", privilege="SELECT")),
        default_grants=False,
    )
    assert attached(laden) == (
        "1 index",
        "1 key",
        "1 check",
        "1 default",
        "2 grants",
        "2 comments",
        "1 storage parameter",
        "1 column setting",
    )
    assert attached(PLAIN) == ()
    assert choose(PLAIN)[1] == "all that is attached can be carried over: nothing but columns"


def test_the_key_of_in_place() -> None:
    """The stream's, else the target's; only where all of it is carried."""
    keyed = replace(PLAIN, indexes=(PRIMARY,))
    assert key_for(facts=keyed, stream_key=("a",), carried=BOTH) == ("a",)
    assert key_for(facts=keyed, stream_key=(), carried=BOTH) == ("id",)
    assert key_for(facts=keyed, stream_key=("a",), carried=frozenset({"id"})) == ("id",)
    assert key_for(facts=keyed, stream_key=(), carried=frozenset({"a"})) == ()
    assert key_for(facts=PLAIN, stream_key=(), carried=BOTH) == ()


def test_reasons_are_short() -> None:
    """Three, and how many more."""
    assert shortened(("a",)) == "a"
    assert shortened(("a", "b", "c", "d")) == "a; b; c; and 1 more"


@pytest.mark.parametrize(
    ("spec", "relation", "expected"),
    [
        (StreamSpec(name="t"), ("public", "t"), "raw.t"),
        (StreamSpec(name="sales.t"), ("sales", "t"), "sales.t"),
        (StreamSpec(name="with.dot"), ("public", "with.dot"), "raw.with.dot"),
        (StreamSpec(name="t", target="u"), ("public", "t"), "raw.u"),
        (StreamSpec(name="t", target="x.u"), ("public", "t"), "x.u"),
        (StreamSpec(name="sales.t", target="x.*"), ("sales", "t"), "x.t"),
        (StreamSpec(name="sales.t", target="pre_*"), ("sales", "t"), "raw.pre_t"),
        (StreamSpec(name="a.query", query="SELECT 1"), None, "raw.a.query"),
        (StreamSpec(name="flights", path="f.csv"), None, "raw.flights"),
    ],
)
def test_where_a_stream_goes(spec: StreamSpec, relation: tuple[str, str] | None, expected: str) -> None:
    """`target`, else the stream's own name; a schema only where it is written."""
    name = None if relation is None else QualifiedName(schema=relation[0], name=relation[1])
    shape = StreamShape(spec=spec, kind="table", relation=name, columns=())
    assert str(target_name(spec, shape, "raw")) == expected
