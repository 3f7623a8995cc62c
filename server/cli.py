"""The service's commands: serve, api, worker, migrate, keys, gc, doctor, backup, restore.

`collapse` takes them in by the group collapse.commands.

What a command needs is imported when it runs: `collapse` loads this module for every command of the client as well.
"""

from __future__ import annotations

import argparse
import os
import socket
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from server.keys import add_keys
from server.storage import add_storage_commands

if TYPE_CHECKING:
    from jobs.settings import Settings

    Run = Callable[[Settings, argparse.Namespace], int]
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

DISTRIBUTION = "collapse-service"
MOST_WORKERS = 64


def service_version() -> str:
    """Read the version of the installed service."""
    return metadata.version(DISTRIBUTION)


def add_commands(subparsers: Subparsers) -> None:
    """Add them all; each sets `handler`, from the arguments to the exit code."""
    serve = _add(subparsers, "serve", _serve, "Run the whole service: broker, database, API and workers.")
    _add_address(serve)
    serve.add_argument(
        "--data-dir", type=Path, metavar="DIR", help="default: COLLAPSE_DATA_DIR, ~/.local/share/collapse"
    )
    serve.add_argument("--workers", type=_count, default=1, metavar="N", help="worker processes (default: %(default)s)")
    api = _add(subparsers, "api", _api, "Run one API process.")
    _add_address(api)
    api.add_argument("--fd", type=int, metavar="N", help="serve on this inherited listening socket instead")
    _add(subparsers, "worker", _worker, "Run one worker process.")
    migrate = _add(subparsers, "migrate", _migrate, "Upgrade the database to the service's schema.")
    migrate.add_argument("--revision", default="head", help="an Alembic revision (default: %(default)s)")
    keys = subparsers.add_parser("keys", help="Make, list and revoke keys of the API.")
    add_keys(keys.add_subparsers(metavar="COMMAND", required=True), _add)
    add_storage_commands(subparsers, _add)


def _add(subparsers: Subparsers, name: str, run: Run, text: str) -> argparse.ArgumentParser:
    parser = subparsers.add_parser(name, help=text, description=f"{text} Settings: COLLAPSE_* in the environment.")

    def handler(arguments: argparse.Namespace) -> int:
        return _run(run, arguments)

    parser.set_defaults(handler=handler)
    return parser


def _add_address(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=_port, default=8000, help="0 takes a free one (default: %(default)s)")


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port; give a number from 0 to 65535")
    return int(text)


def _count(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= MOST_WORKERS:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of workers; give one from 1 to {MOST_WORKERS}")
    return int(text)


def _run(run: Run, arguments: argparse.Namespace) -> int:
    """Read the settings and run a command; what an operator can put right is said in words, without a trace."""
    from pydantic import ValidationError

    from jobs.settings import Settings
    from server.errors import StartRefused

    try:
        return run(Settings(), arguments)
    except ValidationError as error:
        for problem in error.errors():
            name = "_".join(str(part) for part in problem["loc"]).upper()
            print(f"collapse: COLLAPSE_{name}: {problem['msg']}. Correct or unset it.", file=sys.stderr)
        return 2
    except StartRefused as error:
        print(f"collapse: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 130


def _serve(settings: Settings, arguments: argparse.Namespace) -> int:
    from jobs.logs import configure_logs
    from server.serve import serve

    configure_logs(settings)
    return serve(
        settings, host=arguments.host, port=arguments.port, data_dir=arguments.data_dir, workers=arguments.workers
    )


def _api(settings: Settings, arguments: argparse.Namespace) -> int:
    from server.address import listen
    from server.asgi import run_api
    from server.numbers import numbers_of_host

    os.environ["COLLAPSE_METRICS_DIR"] = str(numbers_of_host(settings))
    if arguments.fd is not None:
        listener = socket.socket(fileno=arguments.fd)
    else:
        listener = listen(arguments.host, arguments.port, settings)
    run_api(settings, listener)
    return 0


def _worker(settings: Settings, arguments: argparse.Namespace) -> int:
    from server.numbers import numbers_of_host

    os.environ["COLLAPSE_METRICS_DIR"] = str(numbers_of_host(settings))
    os.execv(sys.executable, [sys.executable, "-m", "worker"])


def _migrate(settings: Settings, arguments: argparse.Namespace) -> int:
    from server.migrate import migrate

    if settings.database_url is None:
        settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    migrate(settings.database, arguments.revision)
    return 0


def main() -> int:
    """Run `python -m server`: the service's commands without the client's."""
    parser = argparse.ArgumentParser(prog="python -m server", description="The service's side of `collapse`.")
    parser.add_argument("--version", action="version", version=service_version())
    subparsers = parser.add_subparsers(metavar="COMMAND", required=True)
    add_commands(subparsers)
    arguments = parser.parse_args()
    code: int = arguments.handler(arguments)
    return code
