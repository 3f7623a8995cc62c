"""`collapse serve` with stand-ins for migration, API and worker (the broker is real): run as a script.

STAND_IN_<NAME>=<behaviour> in the environment makes one misbehave.
"""

import os
import signal
import socket
import subprocess
import sys
import time
from functools import partial
from typing import Any

pool: list[subprocess.Popen[bytes]] = []


def serve() -> None:
    """The real command line, with this file in the place of `python -m server`."""
    import server.serve
    from server.cli import main
    from server.supervisor import Supervisor

    server.serve.COMMAND = (sys.executable, __file__)
    server.serve.Supervisor = partial(Supervisor, grace_seconds=float(os.environ["STAND_IN_GRACE"]))
    sys.exit(main())


def migrate() -> None:
    if os.environ.get("STAND_IN_MIGRATE") == "fails":
        sys.exit("the disk is full; make room")
    if os.environ.get("STAND_IN_MIGRATE") == "lasts":
        time.sleep(600)


def api() -> None:
    """Answers every request with 200 and its process id."""
    listener = socket.socket(fileno=int(sys.argv[3]))
    while True:
        connection, _ = listener.accept()
        connection.recv(65536)
        body = b"%d" % os.getpid()
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s" % (len(body), body))
        connection.close()


def worker() -> None:
    """Has a child of its own, in another process group, as pools do."""
    if os.environ.get("STAND_IN_WORKER") == "crashes":
        sys.exit(3)
    pool.append(subprocess.Popen(["sleep", "600"], process_group=0))
    time.sleep(600)


def end(number: int, _: Any) -> None:
    """Say so and end, unless stubborn."""
    if os.environ.get("STAND_IN_WORKER") == "stubborn" and sys.argv[1] == "worker":
        return
    sys.stderr.write(f"stand-in ends: {sys.argv[1]}\n")
    for process in pool:
        process.kill()
    sys.exit(0)


if __name__ == "__main__":
    if sys.argv[1] != "serve":
        signal.signal(signal.SIGTERM, end)
    {"serve": serve, "migrate": migrate, "api": api, "worker": worker}[sys.argv[1]]()
