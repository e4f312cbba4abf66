"""A proxy before a server that loses what is said about a COMMIT."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TypeVar

import pytest
from psycopg.conninfo import conninfo_to_dict


def hang_up(*ends: socket.socket) -> None:
    """Ends the connections, also for threads that wait for them."""
    for end in ends:
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


class Proxy:
    """A TCP proxy before the server; armed, it does something at the next COMMIT that a client sends."""

    def __init__(self, dsn: str) -> None:
        parameters = conninfo_to_dict(dsn)
        self._to = f"{parameters['host']}/.s.PGSQL.{parameters['port']}"
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.armed: str | None = None
        """What happens: "before" it arrives, "after" it was carried out, "unreachable": before, and for ever."""
        self.spared = 0
        """So many COMMITs pass before the one at which it happens."""
        self.dsn = f"postgresql://postgres@127.0.0.1:{self._listener.getsockname()[1]}/{parameters['dbname']}?sslmode=disable&gssencmode=disable"
        self._threads: list[threading.Thread] = []
        self._sockets: list[socket.socket] = []
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.socket(socket.AF_UNIX)
            server.connect(self._to)
            self._sockets += [client, server]
            lost = threading.Event()
            for target in (self._up, self._down):
                thread = threading.Thread(target=target, args=(client, server, lost), daemon=True)
                self._threads.append(thread)
                thread.start()

    def _up(self, client: socket.socket, server: socket.socket, lost: threading.Event) -> None:
        with suppress(OSError):
            while data := client.recv(65536):
                if b"COMMIT\x00" not in data or not self.armed:
                    server.sendall(data)
                    continue
                if self.spared:
                    self.spared -= 1
                    server.sendall(data)
                    continue
                what, self.armed = self.armed, None
                if what == "unreachable":
                    self.stop()
                lost.set()
                if what == "after":
                    server.sendall(data)
                    return  # what comes back is dropped, and both ends are closed then
                break
        hang_up(server, client)

    def _down(self, client: socket.socket, server: socket.socket, lost: threading.Event) -> None:
        with suppress(OSError):
            while data := server.recv(65536):
                if lost.is_set():
                    break
                client.sendall(data)
        hang_up(client, server)

    def stop(self) -> None:
        """No new connections."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


P = TypeVar("P", bound=Proxy)


@contextmanager
def proxied(dsn: str, kind: type[P] = Proxy) -> Iterator[P]:
    """A proxy before this server; skipped where the server is not on a Unix socket."""
    if not str(conninfo_to_dict(dsn).get("host", "")).startswith("/"):
        pytest.skip("the proxy leads to a Unix socket")
    proxy = kind(dsn)
    try:
        yield proxy
    finally:
        proxy.stop()
        hang_up(*proxy._sockets)
        for thread in [proxy._accepting, *proxy._threads]:
            thread.join(10)
        for end in proxy._sockets:
            end.close()
