"""The keys that reach a server: a connection, or the embedded PostgreSQL."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from rapidbyte.config.document import Scalar
from rapidbyte.config.scalars import (
    Duration,
    Identifier,
    Integer,
    Kind,
    SecretText,
    Text,
    Word,
    as_written,
    at_least,
    fault,
)
from rapidbyte.config.section import Section

SslMode = Annotated[Literal["disable", "allow", "prefer", "require", "verify-ca", "verify-full"], Word]
Port = Annotated[Integer, AfterValidator(at_least(1, 65535))]


def _embedded(value: Any) -> Any:
    """`true` is an embedded server with its defaults, `false` none; a mapping is read as it is."""
    value = as_written(value)
    if isinstance(value, Scalar):
        if value.text not in ("true", "false"):
            raise fault("true, false, or a mapping with `data_dir` and `database` is due here")
        return {} if value.text == "true" else None
    return value


class Embedded(Section, frozen=True):
    """The embedded PostgreSQL instead of a connection."""

    data_dir: Text | None = Field(
        default=None, description="Folder of its data. Default: a folder in the user's cache."
    )
    database: Identifier = Field(default="postgres", description="Database to use; made when it is missing.")


EmbeddedServerKey = Annotated[
    Embedded | None,
    BeforeValidator(_embedded),
    Kind(name="true, or a mapping"),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "boolean"},
                {
                    "type": "object",
                    "properties": {"data_dir": {"type": "string"}, "database": {"type": "string"}},
                    "additionalProperties": False,
                },
            ]
        }
    ),
]


class ConnectionKeys(Section, frozen=True):
    """How to reach a server."""

    dsn: SecretText | None = Field(
        default=None, description="Connection URI or key=value string. Fields beside it add what it does not say."
    )
    host: Text | None = Field(default=None, description="Host, or the folder of a Unix socket. Default: libpq's.")
    port: Port | None = Field(default=None, description="Port. Default: libpq's, 5432.")
    user: Text | None = Field(default=None, description="Role to log in as. Default: libpq's.")
    password: SecretText | None = Field(default=None, description="Its password. Default: PGPASSWORD, then .pgpass.")
    database: Text | None = Field(default=None, description="Database. Default: libpq's.")
    sslmode: SslMode | None = Field(
        default=None, description="TLS. Default: `require` for hosts that are not local, otherwise libpq's."
    )
    sslrootcert: Text | None = Field(default=None, description="File with the certificates of trusted authorities.")
    sslcert: Text | None = Field(default=None, description="File with the client's certificate.")
    sslkey: Text | None = Field(default=None, description="File with the client's key.")
    service: Text | None = Field(default=None, description="Name of a section in pg_service.conf.")
    connect_timeout: Duration = Field(default=10.0, description="How long to wait for a connection.")
    embedded: EmbeddedServerKey = Field(
        default=None,
        description="`true`, or `{data_dir, database}`: start the embedded PostgreSQL (extra `embedded`) instead.",
    )
