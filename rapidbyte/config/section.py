"""What every mapping of the pipeline file is: a model that refuses what it does not know."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, model_validator

from rapidbyte.config.scalars import as_written

NOT_YET = "Not available in this version."
NO_EFFECT = "Accepted, without effect:"
"""What descriptions say of a key that is refused, and of one that does nothing."""


class Section(BaseModel, extra="forbid", frozen=True, hide_input_in_errors=True, defer_build=True):
    """A mapping with known keys. Its validator is built when it is first used: building takes longer than loading."""

    @model_validator(mode="before")
    @classmethod
    def _written(cls, value: Any) -> Any:
        """A mapping of `--set` as such."""
        return as_written(value)
