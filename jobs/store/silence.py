"""PostgreSQL connections that notice a server that hangs: it keeps connections open, and never answers.

Neither TCP nor the server's own time limits help: the kernel acknowledges what a stopped process does not read. So a
statement that is silent for a while asks the server over another connection whether it is there at all. As long as it
is, a long statement may take its time; else the statement fails, and so do all others for a moment, without asking.
"""

import socket
import threading
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import psycopg

SILENT_SECONDS = 1.0
"""From which on the server is asked, again and again, whether it is there."""
ANSWER_SECONDS = 2.0
"""In which it must answer then."""
BELIEVED_SECONDS = 1.0
"""How long what was found out once holds for everybody."""
LONGEST_SECONDS = 20.0
"""For any one statement: more than the server itself allows, so this is for one process of it that hangs alone."""
QUESTION = bytes.fromhex("00000008 04d2162f")
"""Whether it speaks TLS (SSLRequest): the shortest one that every server answers, whoever asks."""


class Silence:
    """What all connections of an engine know together."""

    def __init__(self) -> None:
        self._until = 0.0
        self._asking = threading.Lock()

    @property
    def lasts(self) -> bool:
        """Whether the server was found silent just now."""
        return time.monotonic() < self._until

    def note(self) -> None:
        """Remember that it is silent."""
        self._until = time.monotonic() + BELIEVED_SECONDS

    def connect(self, *arguments: Any, **parameters: Any) -> "WatchfulConnection":
        """Open a connection; OperationalError if the server does not answer, or did not just now."""
        if self.lasts:
            raise psycopg.OperationalError("the server does not answer")
        try:
            connection = WatchfulConnection.connect(*arguments, **parameters)
        except psycopg.errors.ConnectionTimeout:
            self.note()
            raise
        connection.silence = self
        return connection

    def ends(self, host: str, port: int) -> bool:
        """Ask the server whether it is there; one asks, and whoever would have asked meanwhile believes it."""
        with self._asking:
            if self.lasts:
                return False
            answered = answers(host, port)
            if not answered:
                self.note()
            return answered


class WatchfulConnection(psycopg.Connection[Any]):
    """A connection whose statements do not wait for a server that hangs."""

    silence = Silence()
    """of its engine; until it has one, its own class's"""

    def wait(self, gen: Any, interval: float = 0.1, timeout: float | None = None) -> Any:
        """Wait as psycopg does, and look after the server meanwhile."""
        return super().wait(self._watched(gen), interval, timeout)

    def _watched(self, gen: Generator[Any, Any, Any]) -> Generator[Any, Any, Any]:
        started = asked = time.monotonic()
        try:
            wanted = next(gen)
            while True:
                ready = yield wanted
                if not ready and time.monotonic() - asked > SILENT_SECONDS:
                    self._require_answer(time.monotonic() - started)
                    asked = time.monotonic()
                wanted = gen.send(ready)
        except StopIteration as end:
            return end.value

    def _require_answer(self, seconds: float) -> None:
        if seconds < LONGEST_SECONDS and self.silence.ends(self.info.host, self.info.port):
            return
        self.pgconn.finish()  # the pool must not keep it
        raise psycopg.OperationalError("the server does not answer")


def answers(host: str, port: int) -> bool:
    """Whether a server answers in time, on a port or on a Unix socket in the folder `host`."""
    try:
        with _connected(host, port) as connection:
            connection.sendall(QUESTION)
            return bool(connection.recv(1))
    except OSError:
        return False


def _connected(host: str, port: int) -> socket.socket:
    if not host.startswith("/"):
        return socket.create_connection((host, port), timeout=ANSWER_SECONDS)
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(ANSWER_SECONDS)
    connection.connect(str(Path(host) / f".s.PGSQL.{port}"))
    return connection
