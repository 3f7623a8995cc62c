"""The reverse proxy of docker-compose.yml, by its own configuration, before APIs on ports of this machine."""

import os
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from deployment.ports import free_port
from deployment.process import Process
from deployment.waiting import answers, wait_until

CONFIGURATION = Path(__file__).with_name("nginx.conf")
PROGRAM = "nginx"


def find_nginx() -> Path | None:
    """Where nginx is, if it is installed."""
    found = shutil.which(PROGRAM) or shutil.which(PROGRAM, path="/usr/sbin")
    return Path(found) if found else None


def configuration(text: str, *, folder: Path, port: int, api_ports: Sequence[int]) -> str:
    """The configuration with the places of this machine in place of a container's; all else is as it was."""
    servers = "\n        ".join(rf"server 127.0.0.1:{api_port} \1;" for api_port in api_ports)
    for pattern, replacement in (
        (r"listen 8080;", f"listen 127.0.0.1:{port};"),
        (r"server api:8000 resolve ([^;]*);", servers),
        (r"resolver [^;]*;", ""),
        (r"/tmp/", f"{folder}/"),
    ):
        text, count = re.subn(pattern, replacement, text)
        if count == 0:
            raise ValueError(f"{CONFIGURATION.name} has no {pattern!r}: adapt deployment/proxy.py to it")
    return text


@contextmanager
def running_proxy(folder: Path, nginx: Path, *, api_ports: Sequence[int]) -> Iterator[tuple[str, Process]]:
    """Run it with its files in `folder`; gives its address and the process."""
    folder.mkdir()
    port = free_port()
    path = folder / "nginx.conf"
    path.write_text(configuration(CONFIGURATION.read_text(), folder=folder, port=port, api_ports=api_ports))
    command: list[str | Path] = [nginx, "-p", folder, "-c", path, "-g", "daemon off;"]
    process = Process("proxy", command, {"PATH": os.defpath}, log=folder / "log")
    process.start()
    url = f"http://127.0.0.1:{port}"
    try:
        wait_until(lambda: answers(f"{url}/healthz"), "the start of nginx", process)
        yield url, process
    finally:
        process.stop()
