"""The seeded defects fit the source as it is: a refactoring that outdates one is told at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.mutants import MUTANTS, Mutant, put_in


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_it_can_be_put_in(mutant: Mutant, tmp_path: Path) -> None:
    """Its text is there exactly once, and what it becomes is Python."""
    package = put_in(mutant, tmp_path) / "rapidbyte"
    for module, _, new in mutant.changes:
        text = (package / module).read_text()
        assert new in text
        compile(text, module, "exec")


def test_there_are_fifteen_or_more() -> None:
    """As the protocol asks for, each with its own name."""
    assert len({mutant.name for mutant in MUTANTS}) >= 15
