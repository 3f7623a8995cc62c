"""A TCP proxy that lets through so many bytes a second, in each direction."""

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

BLOCK = 4096


def _copy(source: socket.socket, target: socket.socket, bytes_per_second: float) -> None:
    with contextlib.suppress(OSError):  # either side may go at any time
        while block := source.recv(BLOCK):
            time.sleep(len(block) / bytes_per_second)
            target.sendall(block)
    for side in (source, target):
        with contextlib.suppress(OSError):  # it has gone already
            side.shutdown(socket.SHUT_RDWR)


def _serve(listener: socket.socket, address: tuple[str, int], bytes_per_second: float, opened: list) -> None:
    with contextlib.suppress(OSError):  # closed at the end of the test
        while True:
            near, _ = listener.accept()
            far = socket.create_connection(address)
            opened += [near, far]
            for pair in ((near, far), (far, near)):
                threading.Thread(target=_copy, args=(*pair, bytes_per_second), daemon=True).start()


@contextlib.contextmanager
def slow_proxy(url: str, bytes_per_second: float) -> Iterator[tuple[str, Callable[[], None]]]:
    """Give the address of a proxy to the service at `url`, and what ends it with all its connections."""
    target = urlsplit(url)
    opened: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        arguments = (listener, (target.hostname, target.port), bytes_per_second, opened)
        thread = threading.Thread(target=_serve, args=arguments, daemon=True)
        thread.start()

        def cut() -> None:
            for connection in (listener, *opened):
                with contextlib.suppress(OSError):  # ended already
                    connection.shutdown(socket.SHUT_RDWR)

        yield f"http://127.0.0.1:{listener.getsockname()[1]}", cut
        cut()
    thread.join()
    for connection in opened:
        connection.close()
