"""money between servers that print it differently."""

from __future__ import annotations

import pytest

from rapidbyte.contract import ReplaceFacts
from rapidbyte.decisions import check_money
from rapidbyte.errors import ConfigError
from rapidbyte.model import Column, QualifiedName, ServerFacts
from rapidbyte.pg.types import built_in
from rapidbyte.plan import ColumnPlan, ConversionKind, StreamPlan, StreamShape
from rapidbyte.spec import StreamSpec

HERE = ServerFacts(version="18.1", version_number=180001, lc_monetary="C")
THERE = ServerFacts(version="18.1", version_number=180001, lc_monetary="ja_JP.UTF-8")


def stream(*, money: bool, conversion: ConversionKind) -> StreamPlan:
    """A stream of one column of prices."""
    source = Column(name="price", type=built_in("money"), money=money)
    shape = StreamShape(spec=StreamSpec(name="items"), kind="table", relation=None, columns=(source,))
    return StreamPlan(
        order=0,
        shape=shape,
        target=QualifiedName(schema="raw", name="items"),
        write_mode="append",
        publish="insert",
        publish_reason="",
        wire="binary-relay",
        columns=(ColumnPlan(source=source, target=source, conversion=conversion),),
        primary_key=(),
        replace=ReplaceFacts(target_exists=False),
        statements=(),
    )


def test_money_is_refused_where_lc_monetary_differs():
    """The same bytes would be another amount: yen have no cents."""
    with pytest.raises(ConfigError) as error:
        check_money((stream(money=True, conversion="identical"),), source=HERE, destination=THERE)
    assert error.value.code == "money_locale"
    assert error.value.message == (
        "stream 'items': column 'price' is of type money, "
        "and lc_monetary is C at the source, ja_JP.UTF-8 at the destination"
    )


@pytest.mark.parametrize(
    ("money", "conversion", "destination"),
    [(True, "identical", HERE), (True, "exact", THERE), (False, "identical", THERE)],
)
def test_money_passes_where_it_means_the_same(*, money: bool, conversion: ConversionKind, destination: ServerFacts):
    """Equal locales, money that becomes text, and columns of other types."""
    check_money((stream(money=money, conversion=conversion),), source=HERE, destination=destination)
