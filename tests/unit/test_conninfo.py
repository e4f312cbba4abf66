"""Connection settings become libpq parameters; nothing of a bad DSN is echoed."""

from __future__ import annotations

import pytest

from rapidbyte.errors import ConfigError
from rapidbyte.model import Secret
from rapidbyte.pg.conninfo import describe, is_local, parameters
from rapidbyte.spec import Connection, WorkerLogin


@pytest.mark.parametrize(
    "dsn",
    [
        "postgresql+psycopg://u:canary@host/db",
        "mysql://u:canary@host/db",
        "postgresql://u:ca@nary@host/db",
        "postgresql://u:ca/nary@host/db",
        "postgresql://u:canary@[::1/db",
        "postgresql://u:canary@host:port/db",
        "host=h password='canary",
        "nonsense canary",
        "postgresql://u:canary@host/db?nonsense=canary",
    ],
)
def test_a_dsn_that_cannot_be_read_is_refused_without_an_echo(dsn: str) -> None:
    """A13, A14: libpq's own message holds the password, and part of it as the host's name."""
    with pytest.raises(ConfigError) as raised:
        parameters(Connection(dsn=Secret(dsn)))
    assert "nary" not in f"{raised.value!r} {raised.value.message} {raised.value.hint} {raised.value.__cause__!r}"
    assert raised.value.exit_code == 2


def test_an_escaped_password_arrives_as_it_was() -> None:
    """%40, %2F and %3A are an @, a / and a :."""
    assert parameters(Connection(dsn=Secret("postgresql://u:p%40s%2Fs%3A@h:7/d")))["password"] == "p@s/s:"


def test_fields_add_to_a_dsn_and_may_not_contradict_it() -> None:
    """G8: sslmode given twice and differently is refused."""
    found = parameters(Connection(dsn=Secret("postgresql://u@h/d"), sslmode="verify-full"))
    assert (found["user"], found["sslmode"]) == ("u", "verify-full")
    with pytest.raises(ConfigError, match="sslmode"):
        parameters(Connection(dsn=Secret("postgresql://u@h/d?sslmode=disable"), sslmode="require"))


@pytest.mark.parametrize(
    ("host", "local"),
    [(None, True), ("/run/postgresql", True), ("localhost", True), ("127.0.0.1", True), ("::1", True), ("db", False),
     ("localhost,db", False), ("10.0.0.1", False)],
)  # fmt: skip
def test_tls_is_required_for_hosts_that_are_not_local(
    host: str | None, local: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """libpq's default falls back to plain text."""
    monkeypatch.delenv("PGSSLMODE", raising=False)
    monkeypatch.delenv("PGHOST", raising=False)
    assert is_local(host) is local
    assert parameters(Connection(host=host)).get("sslmode") == (None if local else "require")
    assert parameters(Connection(host=host, sslmode="disable"))["sslmode"] == "disable"


def test_the_workers_login_takes_the_place_of_user_and_password() -> None:
    """Also of those in a DSN; without a password of its own, .pgpass and PGPASSWORD are asked."""
    dsn = Secret("postgresql://leader:canary@h/d")
    found = parameters(Connection(dsn=dsn, login=WorkerLogin(user="loader", password=Secret("other"))))
    assert (found["user"], found["password"]) == ("loader", "other")
    assert "password" not in parameters(Connection(dsn=dsn, login=WorkerLogin(user="loader")))


def test_a_connection_is_described_without_its_secrets() -> None:
    """For error messages: where it goes."""
    assert describe(Connection(dsn=Secret("postgresql://u:canary@h:7/d"))) == "h:7/d"
