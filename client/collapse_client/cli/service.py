"""What all commands that talk to the service share: its address, the client, waiting for a job."""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING, Any, Callable

from collapse_client.gate.aliases import metric_name

if TYPE_CHECKING:
    from collapse_client.client import Client
    from collapse_client.views import JobView

Handler = Callable[[argparse.Namespace], int]
ENVIRONMENT = "Environment: COLLAPSE_URL; COLLAPSE_API_KEY, which a command line would show to others."


def add_command(subparsers: Any, name: str, handler: Handler, text: str, more: str = "") -> argparse.ArgumentParser:
    """Add a command that talks to the service; `more` comes after its options in --help."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        name,
        help=text,
        description=text[0].upper() + text[1:] + ".",
        epilog="\n\n".join(filter(None, (more, ENVIRONMENT))),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,  # --step would pass for --steps
    )
    url = os.environ.get("COLLAPSE_URL", "http://127.0.0.1:8000")
    parser.add_argument("--url", default=url, help="address of the service (default: %(default)s)")
    parser.set_defaults(handler=handler, parser=parser)
    return parser


def add_json(parser: argparse.ArgumentParser, what: str) -> None:
    """Add --json."""
    parser.add_argument("--json", action="store_true", help=f"print {what} as JSON")


def add_selection(parser: argparse.ArgumentParser) -> None:
    """Add --metric and --layer."""
    text = "by the catalogue's name or a short one, as rank or nc1; may be repeated (default: all)"
    parser.add_argument("--metric", action="append", type=metric_name, metavar="NAME", help=text)
    parser.add_argument("--layer", action="append", metavar="NAME", help="may be repeated (default: all)")


def connect(arguments: argparse.Namespace) -> Client:
    """Return a client of the service that the command line and the environment name."""
    from collapse_client.client import Client  # here, so that the other commands start without HTTP

    return Client(arguments.url, api_key=os.environ.get("COLLAPSE_API_KEY"))


def names(text: str) -> list[str]:
    """Read names separated by commas."""
    return text.split(",")


def metric_names(text: str) -> list[str]:
    """Read metrics separated by commas, by the catalogue's names or by short ones."""
    return [metric_name(name) for name in names(text)]


def wait(client: Client, job_id: str) -> JobView:
    """Wait with a progress bar on a terminal; whoever interrupts it is told that the job goes on."""
    from collapse_client.progress import progress_bar

    try:
        with progress_bar() as show:
            if show:
                for job in client.events(job_id):
                    show(job)
            return client.wait(job_id, on_progress=show)  # at once, unless the stream broke off before the end
    except KeyboardInterrupt:
        print(
            f"The job {job_id} goes on: `collapse watch {job_id}` follows it, `collapse cancel {job_id}` stops it.",
            file=sys.stderr,
        )
        raise
