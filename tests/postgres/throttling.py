"""A proxy before a server that lets so many bytes a second pass: a slow network, or a slow server behind it."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress

from psycopg.conninfo import conninfo_to_dict

from tests.postgres.proxying import hang_up

PIECE_BYTES = 32 * 1024
BUFFER_BYTES = 128 * 1024
"""Of the sockets: else the kernel would take megabytes before anybody notices that it is slow."""


class _Meter:
    """Lets bytes pass at a rate. Shared by the connections that are slow together."""

    def __init__(self, bytes_a_second: float) -> None:
        self._rate = bytes_a_second
        self._free_at = 0.0
        self._lock = threading.Lock()

    def pass_on(self, count: int) -> None:
        with self._lock:
            now = time.monotonic()
            self._free_at = max(self._free_at, now) + count / self._rate
            due = self._free_at - now
        time.sleep(due)


class SlowProxy:
    """Slow towards the server (`up`) or from it (`down`); each connection by itself, or all of them `together`."""

    def __init__(self, dsn: str, *, up: float | None = None, down: float | None = None, together: bool = True) -> None:
        parameters = conninfo_to_dict(dsn)
        self._to = f"{parameters['host']}/.s.PGSQL.{parameters['port']}"
        self._rates = (up, down)
        self._shared = tuple(None if rate is None else _Meter(rate) for rate in self._rates) if together else None
        self._sockets: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)
        port = self._listener.getsockname()[1]
        self.dsn = f"postgresql://postgres@127.0.0.1:{port}/{parameters['dbname']}?sslmode=disable&gssencmode=disable"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.socket(socket.AF_UNIX)
            server.connect(self._to)
            self._sockets += [client, server]
            meters = self._shared or tuple(None if rate is None else _Meter(rate) for rate in self._rates)
            for from_, to, meter in ((client, server, meters[0]), (server, client, meters[1])):
                threading.Thread(target=_carry, args=(from_, to, meter), daemon=True).start()

    def close(self) -> None:
        """Nothing passes any more."""
        hang_up(self._listener, *self._sockets)
        for each in (self._listener, *self._sockets):
            each.close()


def _carry(from_: socket.socket, to: socket.socket, meter: _Meter | None) -> None:
    with suppress(OSError):
        while data := from_.recv(PIECE_BYTES):
            if meter is not None:
                meter.pass_on(len(data))
            to.sendall(data)
    hang_up(from_, to)


@contextmanager
def throttled(dsn: str, *, up: float | None = None, down: float | None = None, together: bool = True) -> Generator[str]:
    """The DSN of the server behind the proxy; rates in bytes a second."""
    proxy = SlowProxy(dsn, up=up, down=down, together=together)
    try:
        yield proxy.dsn
    finally:
        proxy.close()
