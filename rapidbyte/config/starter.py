"""The commented pipeline file that `rapidbyte init` writes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import PurePath
from urllib.parse import parse_qsl, unquote

from rapidbyte.config.document import quoted
from rapidbyte.errors import ConfigError
from rapidbyte.values import frozen

_FIELDS = {
    "host": "host",
    "port": "port",
    "user": "user",
    "dbname": "database",
    "sslmode": "sslmode",
    "sslrootcert": "sslrootcert",
    "sslcert": "sslcert",
    "sslkey": "sslkey",
    "service": "service",
    "connect_timeout": "connect_timeout",
}
_NUMBERS = ("port", "connect_timeout")
_NUMBER = re.compile(r"[1-9][0-9]{0,4}\Z")
_PAIR = re.compile(r"\s*([a-z_]+)\s*=\s*(?:'((?:\\.|[^'\\])*)'|((?:\\.|[^\s'\\])*))(?=\s|\Z)")
_URI = re.compile(
    r"(?:(?P<user>[^/?#@:]*)(?::(?P<password>[^/?#@]*))?@)?"
    r"(?P<host>\[[0-9A-Fa-f:.]+\]|[^/?#@:\[\],]*)(?::(?P<port>[0-9]*))?"
    r"(?:/(?P<database>[^/?#@]*))?(?:\?(?P<query>[^#@]*))?"
)


@frozen
class _End:
    """One end of the pipeline, as YAML lines below `config:`."""

    lines: tuple[str, ...]
    name: str
    """What to call a pipeline that begins or ends here."""
    variables: tuple[str, ...] = ()
    """Environment variables that have to be set."""


@frozen
class Starter:
    """A pipeline file to start from."""

    text: str
    variables: tuple[str, ...]
    """Environment variables that it reads, for what must not stand in it."""


def starter(source: str, destination: str) -> Starter:
    """A commented pipeline file from `source`, a DSN or a path of files, to `destination`, a DSN or `embedded`.

    The file holds no secret: a password becomes `${SOURCE_PASSWORD}` or `${DESTINATION_PASSWORD}`, and a DSN that
    cannot be taken apart becomes `${SOURCE_DSN}` or `${DESTINATION_DSN}`; comments tell what to set. Raises
    ConfigError for an address that is none.
    """
    target = _database(destination, "DESTINATION")
    if _is_dsn(source) or source == "embedded":
        origin, use, streams = _database(source, "SOURCE"), "postgres", _TABLES
    else:
        origin, use, streams = _files(source)
    variables = (*origin.variables, *target.variables)
    text = _TEXT.format(
        variables=_set_first(variables),
        pipeline=quoted(_pipeline_name(origin.name)),
        use=use,
        source=_indented(origin.lines),
        streams=streams,
        destination=_indented(target.lines),
    )
    return Starter(text=text, variables=variables)


def _is_dsn(text: str) -> bool:
    return "://" in text or _PAIR.match(text) is not None


def _indented(lines: tuple[str, ...]) -> str:
    return "\n".join(f"    {line}" for line in lines)


def _set_first(variables: tuple[str, ...]) -> str:
    if not variables:
        return "# It needs no environment variable."
    names = "\n".join(f"#   {name}" for name in variables)
    return f"# Set before running, in the environment or as NAME=value lines in a file .env beside this one:\n{names}"


def _pipeline_name(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", text).strip("_.")[:63] or "pipeline"


def _literal(text: str) -> str:
    """A value that is taken as it is: quoted, its dollars doubled."""
    return quoted(text.replace("$", "$$"))


def _database(address: str, side: str) -> _End:
    if address == "embedded":
        return _End(lines=("embedded: true", "# data_dir and database can be given instead of true"), name="embedded")
    if not _is_dsn(address):
        raise ConfigError(
            f"the {side.lower()} is no connection string",
            code="address_invalid",
            hint="write postgresql://user:password@host:port/database, or host=... dbname=...",
        )
    settings = _uri_settings(address) if "://" in address else _pair_settings(address)
    if settings is None or not _has_fields_only(settings):
        return _End(lines=(f"dsn: ${{{side}_DSN}}",), name=side.lower(), variables=(f"{side}_DSN",))
    return _End(
        lines=tuple(_field_lines(settings, f"{side}_PASSWORD")),
        name=settings.get("dbname") or settings.get("service") or side.lower(),
        variables=(f"{side}_PASSWORD",) if "password" in settings else (),
    )


def _has_fields_only(settings: dict[str, str]) -> bool:
    """Whether the pipeline file has a key for each setting, and would take its value."""
    numbers = [settings[key] for key in _NUMBERS if settings.get(key)]
    return settings.keys() <= {*_FIELDS, "password"} and all(_NUMBER.match(number) for number in numbers)


def _field_lines(settings: dict[str, str], password: str) -> Iterator[str]:
    for key, name in _FIELDS.items():
        if settings.get(key):
            yield f"{name}: {settings[key] if key in _NUMBERS else _literal(settings[key])}"
        if key == "user" and "password" in settings:
            yield f"password: ${{{password}}}"
    yield "# sslmode: verify-full    # check the server's certificate; hosts that are not local get `require`"


def _uri_settings(address: str) -> dict[str, str] | None:
    """The libpq keywords of a URI; None where it cannot be taken apart safely."""
    scheme, rest = address.split("://", 1)
    if scheme not in ("postgres", "postgresql"):
        if scheme.startswith("postgres"):
            hint = "write postgresql://, without a driver's name"
            raise ConfigError("the address is no PostgreSQL URI", code="address_invalid", hint=hint)
        raise ConfigError("remote files are not available in this version", code="address_invalid")
    found = _URI.fullmatch(rest)
    if found is None:
        return None
    parts = {
        "host": (found["host"] or "").strip("[]"),
        "port": found["port"],
        "user": found["user"],
        "password": found["password"],
        "dbname": found["database"],
    }
    settings = {key: unquote(value) for key, value in parts.items() if value}
    plus_is_plus = (found["query"] or "").replace("+", "%2B")
    return settings | dict(parse_qsl(plus_is_plus))


def _pair_settings(address: str) -> dict[str, str] | None:
    """The libpq keywords of a key=value string; None where it cannot be taken apart."""
    settings: dict[str, str] = {}
    at = 0
    while at < len(address.rstrip()):
        found = _PAIR.match(address, at)
        if found is None:
            return None
        value = found[2] if found[2] is not None else found[3]
        settings[found[1]] = re.sub(r"\\(.)", r"\1", value)
        at = found.end()
    return settings


def _files(path: str) -> tuple[_End, str, str]:
    if not path.strip() or not path.isprintable():
        raise ConfigError("the source's path is empty or not printable", code="address_invalid")
    pure = PurePath(path)
    plain = pure.name if "*" not in pure.name else pure.parent.name
    name = re.sub(r"[^A-Za-z0-9_]+", "_", plain.split(".", 1)[0]).strip("_").lower() or "files"
    lines = (
        f"path: {_literal(path)}    # relative to this file; * stands for anything",
        "# format: csv    # guessed from the name",
        "# header: true   # csv: whether the first line holds names",
    )
    return _End(lines=lines, name=name), "files", _FILES.format(name=quoted(name[:63]))


_TEXT = """\
# A pipeline of rapidbyte. `rapidbyte plan` shows what it would do, `rapidbyte run` does it.
# Every key: docs/pipeline.md, `rapidbyte schema pipeline`.
{variables}
version: "1.0"
pipeline: {pipeline}    # name of state, lease and receipts

source:
  use: {use}
  config:
{source}
  streams:
{streams}

destination:
  use: postgres
  config:
{destination}
    schema: "public"    # where tables are written
  write_mode: append    # append adds rows; replace swaps the whole content
  # primary_key: [id]

resources:
  parallelism: auto    # or a number of workers
"""

_TABLES = """\
    # `rapidbyte discover FILE --output yaml` prints this whole block, a stream for each of the source's tables.
    - name: "public.*"    # a table, schema.table, or a pattern; every table becomes a stream
      # exclude: ["tmp_*"]
      # target: "raw.*"   # default: the same schema and name
    # - name: orders
    #   columns: [id, amount]
    #   where: "amount > 0"
    # - name: totals
    #   query: select region, sum(amount) from orders group by region"""

_FILES = """\
    - name: {name}    # the table to write, unless `target` names another
      # columns: [id, amount]
      # types: {{amount: "numeric(12,2)"}}"""
