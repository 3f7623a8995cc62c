"""The address of the HTTP service: who may reach it, the listening socket, and whether it is ready."""

import ipaddress
import os
import socket
import time

from jobs.settings import Settings
from server.errors import StartRefused
from server.keys import has_active_key

BACKLOG = 2048
PATIENCE_SECONDS = 10.0


def listen(host: str, port: int, settings: Settings) -> socket.socket:
    """Bind and listen; port 0 takes a free one.

    Raises:
        StartRefused: if the address is unknown, taken, or open to other machines without an API key: the operator's
            in the settings, or an active one in the database.

    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM)[0]
    except OSError as error:
        raise StartRefused(f"{host!r} is no address of this machine ({error}). Use --host 127.0.0.1.") from error
    if not ipaddress.ip_address(address[0]).is_loopback and settings.api_key is None and not has_active_key(settings):
        raise StartRefused(
            f"On {host} other machines could use the service without a key. Make one (collapse keys create), or set "
            "COLLAPSE_API_KEY to a long random secret (openssl rand -hex 32), or stay on --host 127.0.0.1."
        )
    try:
        listener = socket.create_server(address[:2], family=family, backlog=BACKLOG)
    except OSError as error:
        raise StartRefused(
            f"Cannot listen on {host}:{port}: {os.strerror(error.errno or 0)}. "
            "Stop what listens there, or choose another --port (0 takes a free one)."
        ) from error
    # Its connections inherit it. asyncio sets it only on sockets that name their protocol, which this one does not; and
    # without it the body of an answer waits 40 ms for the client's acknowledgement of the head.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def url_of(listener: socket.socket) -> str:
    """Write the address for people."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class Readiness:
    """Asks GET /readyz again and again, without ever waiting for the answer."""

    def __init__(self, listener: socket.socket) -> None:
        host, port = listener.getsockname()[:2]
        self._address = ({"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host), port)
        self._connection: socket.socket | None = None
        self._asked_at = 0.0

    def reached(self) -> bool:
        """Tell whether an answer 200 has come; otherwise see to it that a question is on its way."""
        try:
            if self._connection is None:
                self._ask()
                return False
            head = self._connection.recv(64)
        except BlockingIOError:
            if time.monotonic() - self._asked_at > PATIENCE_SECONDS:
                self.close()
            return False
        except OSError:
            head = b""
        self.close()
        return head.split(b" ")[1:2] == [b"200"]

    def _ask(self) -> None:
        # The supervisor itself listens there: the connection is made at once, whether the API runs or not.
        self._connection = socket.create_connection(self._address, timeout=1)
        self._asked_at = time.monotonic()
        self._connection.sendall(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        self._connection.setblocking(False)

    def close(self) -> None:
        """Forget the question."""
        if self._connection:
            self._connection.close()
            self._connection = None
