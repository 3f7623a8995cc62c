"""`collapse api`: the API process, uvicorn with the bounds that a public address needs."""

import signal
import socket
import sys

import uvicorn

from jobs.settings import Settings
from server.patience import ImpatientProtocol

APPLICATION = "api.app:create_app"
HEADER_BYTES = 64 * 1024
IDLE_SECONDS = 15
GRACE_SECONDS = 5


def run_api(settings: Settings, listener: socket.socket) -> None:
    """Serve on a listening socket until SIGTERM or SIGINT."""
    config = uvicorn.Config(
        APPLICATION,
        factory=True,
        loop="asyncio",
        http=ImpatientProtocol,  # on h11: httptools takes a header of 32 MiB
        ws="none",
        lifespan="on",
        log_config=None,  # the application configures the logs of the process
        access_log=False,
        proxy_headers=False,  # a client must not choose its own address
        server_header=False,
        h11_max_incomplete_event_size=HEADER_BYTES,
        limit_concurrency=settings.max_connections,
        timeout_keep_alive=IDLE_SECONDS,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    # uvicorn ends in order at SIGTERM and then raises it once more: an end that was asked for is a success.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    _Server(config).run(sockets=[listener])


class _Server(uvicorn.Server):
    """Tells the application that it ends, before it waits for the answers under way: some go on as long as a job does.

    The lifespan's end comes too late for that: after the last answer.
    """

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn's, with streams and held answers ended first."""
        self.config.loaded_app.state.services.watcher.stop()
        await super().shutdown(sockets=sockets)
