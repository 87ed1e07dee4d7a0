"""The little of Redis' protocol (RESP2) that recommend needs.

https://redis.io/docs/latest/develop/reference/protocol-spec/
"""

import socket
from urllib.parse import urlsplit

TIMEOUT = 5.0  # seconds


class Error(Exception):
    """What Redis refused."""


class Redis:
    """One connection; not for several threads at once. It is made when it is first needed, and again after it broke."""

    def __init__(self, address):
        parts = urlsplit(address)
        self.host, self.port = parts.hostname, parts.port or 6379
        self.file = None

    def call(self, *words):
        """Sends one command and returns its answer: str, int, None, or a list of these."""
        try:
            if self.file is None:
                self.file = socket.create_connection((self.host, self.port), TIMEOUT).makefile("rwb")
            encoded = [str(w).encode() for w in words]
            self.file.write(b"*%d\r\n" % len(encoded) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in encoded))
            self.file.flush()
            return self.read()
        except OSError:
            self.file = None
            raise

    def read(self):
        line = self.file.readline()
        if not line.endswith(b"\r\n"):
            raise ConnectionError("Redis hung up")
        kind, rest = line[:1], line[1:-2]
        if kind == b"+":
            return rest.decode()
        if kind == b"-":
            raise Error(rest.decode())
        if kind == b":":
            return int(rest)
        if kind == b"$":
            size = int(rest)
            return None if size < 0 else self.file.read(size + 2)[:-2].decode()
        if kind == b"*":
            return [self.read() for _ in range(int(rest))]
        raise ConnectionError(f"Redis answered {line!r}")
