"""`/metrics` of a host that runs workers but no API."""

import errno
import threading

import structlog
from prometheus_client import CollectorRegistry, start_http_server

logger = structlog.get_logger()
RETRY_SECONDS = 10.0


class MetricsServer:
    """One worker of a host has the port; the others wait until it goes, and then one of them takes over."""

    def __init__(self, registry: CollectorRegistry, *, host: str, port: int) -> None:
        self._registry, self._host, self._port = registry, host, port

    def start(self) -> None:
        """Begin in a thread of its own, which ends with the process."""
        threading.Thread(target=self._run, name="metrics", daemon=True).start()

    def _run(self) -> None:
        waiting = threading.Event()  # never set: the process ends this thread
        while not self._serve():
            waiting.wait(RETRY_SECONDS)

    def _serve(self) -> bool:
        try:
            start_http_server(self._port, addr=self._host, registry=self._registry)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return False
            logger.warning("the numbers of this worker are not told", host=self._host, reason=error.strerror)
            return True
        logger.info("numbers are told", host=self._host, port=self._port)
        return True
