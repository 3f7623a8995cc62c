"""The topology of docker-compose.yml on this machine, without containers: `make cluster`.

A real Valkey, PostgreSQL and S3 server, API processes and worker processes on free ports of 127.0.0.1, by the commands
that compose runs: `collapse migrate`, `collapse api`, `collapse worker`. Each API and worker has a data folder of its
own: they share nothing but the three services. Nothing of it is left at the end.
"""

from __future__ import annotations

import argparse
import os
import secrets
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from deployment.broker import running_broker
from deployment.ports import free_port
from deployment.postgres import running_postgres
from deployment.storage import running_storage
from deployment.topology import PREFIX, Cluster, StorageLost
from deployment.waiting import NotStarted
from jobs.memory import memory_for_jobs

TICK_SECONDS = 0.5


@contextmanager
def running_cluster(
    folder: Path, *, apis: int = 2, workers: int = 3, port: int | None = None, settings: Mapping[str, str] | None = None
) -> Iterator[Cluster]:
    """Run a cluster with its files in `folder`, until the block ends.

    `port` is the first API's, the others follow; without it free ones are taken. `settings` are COLLAPSE_* variables of
    all its processes.

    Raises:
        NotStarted: if a part does not come up; then nothing is left running.

    """
    with ExitStack() as stack:
        database_url, postgres = stack.enter_context(running_postgres())
        broker_url, valkey = stack.enter_context(running_broker(folder / "valkey"))
        storage_settings, storage = stack.enter_context(running_storage(folder / "storage"))
        own = {
            "COLLAPSE_API_KEY": secrets.token_urlsafe(32),
            "COLLAPSE_WORKER_MEMORY_BYTES": str(memory_for_jobs(workers=max(workers, 1))),
            "COLLAPSE_DEVICE": "cpu",
            **(settings or {}),
            **storage_settings,
            "COLLAPSE_DATABASE_URL": database_url,
            "COLLAPSE_BROKER_URL": broker_url,
        }
        cluster = Cluster(folder, own, {process.name: process for process in (postgres, valkey, storage)})
        stack.callback(cluster.stop)
        cluster.migrate()
        for _ in range(workers):
            cluster.start_worker()
        for index in range(apis):
            cluster.start_api(port + index if port else free_port())
        cluster.wait_until_ready()
        yield cluster


def main() -> int:
    """Run a cluster until Ctrl-C or SIGTERM."""
    arguments = _parser().parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    signal.signal(signal.SIGINT, lambda *_: sys.exit(0))  # also where a shell has us ignore it, in its background
    settings = {name: value for name, value in os.environ.items() if name.startswith(PREFIX)}
    with tempfile.TemporaryDirectory(prefix="collapse-cluster-") as folder:
        try:
            with running_cluster(
                Path(folder), apis=arguments.apis, workers=arguments.workers, port=arguments.port, settings=settings
            ) as cluster:
                _announce(cluster)
                while True:
                    time.sleep(TICK_SECONDS)
                    for name in cluster.keep_running():
                        print(f"{name} had ended and was started again", flush=True)
        except NotStarted as error:
            print(f"The cluster did not start. {error}", file=sys.stderr)
        except StorageLost as error:
            print(error, file=sys.stderr)
    return 1


def _announce(cluster: Cluster) -> None:
    for name, url in zip(cluster.apis, cluster.urls, strict=True):
        print(f"{name:<10} {url}")
    for process in (*cluster.stores.values(), *cluster.apis.values(), *cluster.workers.values()):
        print(f"{process.name:<10} process {process.pid}, log {process.log}")
    print(f"\nexport COLLAPSE_URL={cluster.urls[0]} COLLAPSE_API_KEY={cluster.api_key}\n\nCtrl-C ends it.", flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m deployment.cluster", description=__doc__)
    parser.add_argument("--apis", type=int, default=2, metavar="N", help="API processes (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=3, metavar="N", help="worker processes (default: %(default)s)")
    parser.add_argument("--port", type=int, help="of the first API, the others follow; default: free ones")
    return parser


if __name__ == "__main__":
    sys.exit(main())
