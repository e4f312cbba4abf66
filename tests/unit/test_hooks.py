"""Whether a hook's relation will be there, by what the server says in its own language."""

from __future__ import annotations

import pytest

from rapidbyte.destinations.postgres.hooks import is_missing
from rapidbyte.model import QualifiedName

TARGETS = (QualifiedName(schema="shop", name="orders"), QualifiedName(schema="shop", name="2024.orders"))


@pytest.mark.parametrize(
    ("message", "missing"),
    [
        ('relation "orders" does not exist', False),
        ('relation "shop.orders" does not exist', False),
        ('relation "other.orders" does not exist', True),
        ('relation "2024.orders" does not exist', False),
        ('relation "nowhere" does not exist', True),
        ('relation "_rapidbyte.runs" does not exist', False),
        ("la relation «\u00a0orders\u00a0» n'existe pas", False),
        ("la relation « shop.orders » n'existe pas", False),
        ("la relation « nowhere » n'existe pas", True),
        ("Relation »nowhere« existiert nicht", False),
    ],
)
def test_a_relation_is_missing_where_nothing_will_make_it(message: str, missing: bool) -> None:
    """Targets, with and without their schema, and the ledger are made; what is not understood is not judged."""
    assert is_missing(message, TARGETS) is missing
