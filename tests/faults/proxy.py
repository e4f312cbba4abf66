"""A TCP proxy before a server's Unix socket, which cuts a connection where it is told to, or is slow."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import struct
import threading
import time
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import urlsplit

COMMIT = b"Q\x00\x00\x00\x0bCOMMIT\x00"
"""The message of the simple query COMMIT; it is sent alone."""
BLACKHOLE_SECONDS = 1.0
"""How long nothing passes before the connection is reset: nobody waits for ever for a network that is gone."""

How = Literal["rst", "fin", "blackhole"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """Where one connection is cut; it happens once."""

    how: How = "rst"
    direction: Literal["up", "down"] | None = None
    """Of the bytes that are counted, over all connections: up to the server, down to the client."""
    offset: int = 0
    commit_of: str | None = None
    """Instead: at the COMMIT of the first session whose application_name begins so..."""
    after: bytes = b""
    """...and which has sent this before."""
    answered: bool = True
    """Cut when the server has answered the COMMIT; else at once, with the COMMIT on its way."""
    delay_s: float = 0.0
    """What passes in either direction passes so much later, one piece after the other."""
    stall_s: float = 0.0
    """One piece of a hundred waits so long."""


@dataclass(slots=True)
class Proxy:
    """Listens on 127.0.0.1 while it is entered; afterwards `happened` says whether it has cut."""

    host: str
    port: str
    cut: Cut
    happened: bool = False
    counts: dict[str, int] = field(default_factory=lambda: {"up": 0, "down": 0})
    _listener: socket.socket = field(default_factory=lambda: socket.create_server(("127.0.0.1", 0)))
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _pairs: list[_Pair] = field(default_factory=list)

    def __enter__(self) -> Proxy:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()
        for pair in list(self._pairs):
            pair.close()

    def through(self, dsn: str) -> str:
        """The same database, by way of the proxy."""
        parts = urlsplit(dsn)
        return f"postgresql://{parts.username}@127.0.0.1:{self._listener.getsockname()[1]}{parts.path}?sslmode=disable"

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.socket(socket.AF_UNIX)
            try:
                server.connect(os.path.join(self.host, f".s.PGSQL.{self.port}"))  # noqa: PTH118
            except OSError:
                client.close()
                continue
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            pair = _Pair(proxy=self, client=client, server=server)
            self._pairs.append(pair)
            threading.Thread(target=pair.pump, daemon=True).start()

    def reset(self, name: str) -> int:
        """Resets every connection whose application_name begins so; returns how many."""
        found = [pair for pair in list(self._pairs) if name.encode() in pair.startup and not pair.ended.is_set()]
        for pair in found:
            pair.wake.send(b"!")
        for pair in found:
            pair.ended.wait(10)
        return len(found)

    def passes(self, direction: str, size: int) -> int | None:
        """Counts bytes; how many of them may pass when the cut is among them, else None."""
        with self._lock:
            before = self.counts[direction]
            self.counts[direction] += size
            if self.happened or self.cut.direction != direction or before + size <= self.cut.offset:
                return None
            self.happened = True
            return max(0, self.cut.offset - before)

    def takes(self) -> bool:
        """True for the first who asks: the cut is his."""
        with self._lock:
            mine, self.happened = not self.happened, True
            return mine


@dataclass(slots=True)
class _Pair:
    """One client's connection and the server's."""

    proxy: Proxy
    client: socket.socket
    server: socket.socket
    startup: bytes = b""
    """The first message, which tells the application_name."""
    sent: bytes = b""
    committing: bool = False
    ended: threading.Event = field(default_factory=threading.Event)
    passed: int = 0
    wake: socket.socket = field(init=False)
    _waked: socket.socket = field(init=False)

    def __post_init__(self) -> None:
        self.wake, self._waked = socket.socketpair()

    def pump(self) -> None:
        """Passes bytes on until either end is closed. Never waits inside a recv, so that a close is one at once."""
        with contextlib.suppress(OSError, ValueError):
            while True:
                readable, _, _ = select.select([self.client, self.server, self._waked], [], [], 5)
                if self._waked in readable:
                    self.break_off()
                    return
                for source in readable:
                    data = source.recv(65536)
                    if not data or not self._pass("up" if source is self.client else "down", data):
                        self.close()
                        return
        self.close()

    def _pass(self, direction: str, data: bytes) -> bool:
        """Sends these bytes on; False when the connection has been cut."""
        target = self.server if direction == "up" else self.client
        self.startup = self.startup or data
        self._dawdle()
        allowed = self.proxy.passes(direction, len(data))
        if allowed is not None:
            target.sendall(data[:allowed])
            return self.break_off()
        if direction == "down" and self.committing:
            return self.break_off()  # the server has answered; nobody hears it
        if direction == "up" and self._is_commit(data):
            self.committing = True
            target.sendall(data)
            return True if self.proxy.cut.answered else self.break_off()
        target.sendall(data)
        return True

    def _dawdle(self) -> None:
        self.passed += 1
        cut = self.proxy.cut
        if cut.delay_s:
            time.sleep(cut.delay_s + (cut.stall_s if self.passed % 100 == 0 else 0.0))

    def _is_commit(self, data: bytes) -> bool:
        """Whether this is the COMMIT at which to cut, which it then is."""
        cut = self.proxy.cut
        if cut.commit_of is None:
            return False
        self.sent = (self.sent + data)[-8192:]
        if not (cut.commit_of.encode() in self.startup and data.endswith(COMMIT) and cut.after in self.sent):
            self.sent = b"-" if data.endswith(COMMIT) else self.sent
            return False
        return self.proxy.takes()

    def break_off(self) -> bool:
        """Ends the connection in the way that was asked for. Returns False."""
        if self.proxy.cut.how == "blackhole":
            time.sleep(BLACKHOLE_SECONDS)
        if self.proxy.cut.how != "fin":
            with contextlib.suppress(OSError):
                self.client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()
        return False

    def close(self) -> None:
        for end in (self.client, self.server, self.wake, self._waked):
            end.close()
        self.ended.set()
