"""What a connector may do and take: the same keys in `source` and `destination`."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from rapidbyte.config.scalars import Positive, Size, Texts, only
from rapidbyte.config.section import Section


class Network(Section, frozen=True):
    """Hosts a connector may reach."""

    allowed_hosts: Texts | None = Field(
        default=None, description="Checked against `config.host`; `*.domain` is allowed."
    )


class EnvironmentPermission(Section, frozen=True):
    """Variables a connector may see."""

    allowed_vars: Texts | None = Field(
        default=None, description="Checked against the PG* variables that libpq would read."
    )


class FileSystem(Section, frozen=True):
    """Folders a connector may open."""

    allowed_preopens: Annotated[Texts, AfterValidator(only())] | None = Field(
        default=None, description="Refused: a connector is not confined to folders here."
    )


class Permissions(Section, frozen=True):
    """What a connector may do."""

    network: Network = Field(default_factory=Network, description="Hosts it may reach.")
    env: EnvironmentPermission = Field(default_factory=EnvironmentPermission, description="Variables it may see.")
    fs: FileSystem = Field(default_factory=FileSystem, description="Folders it may open.")


class Limits(Section, frozen=True):
    """How much a connector may take."""

    max_memory: Size | None = Field(default=None, description="Lowers `resources.max_memory`.")
    timeout_seconds: Positive | None = Field(
        default=None, description="Cancels the run after this many seconds; the least counts."
    )
