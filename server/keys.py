"""`collapse keys`: makes, lists and revokes keys of the API, on the database itself."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jobs.settings import Settings
    from jobs.store import KeyStore
    from jobs.tables import ApiKey

    Run = Callable[[Settings, argparse.Namespace], int]
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

LONGEST_TEXT = 255
LIMITS = {
    "max_bytes": "bytes that the owner's feature sets may have",
    "max_queued_jobs": "jobs of the owner that may be queued",
    "max_running_jobs": "jobs of the owner that may run at once",
    "requests_per_minute": "requests with this key",
}


def add_keys(subparsers: Subparsers, add: Callable[[Subparsers, str, Run, str], argparse.ArgumentParser]) -> None:
    """Add create, list and revoke, by the way that all commands are added."""
    create = add(subparsers, "create", _create, "Make a key; it is printed once, on standard output.")
    create.add_argument("--owner", type=_text, metavar="NAME", help="whose things it opens; without it, its own")
    create.add_argument("--scopes", type=_scopes, default="read,write", help="of read, write, admin (%(default)s)")
    create.add_argument("--expires-in", type=_days, metavar="DAYS", help="without it, never")
    create.add_argument("--note", type=_text, metavar="TEXT", help="for whoever lists the keys")
    for name, text in LIMITS.items():
        create.add_argument(f"--{name.replace('_', '-')}", type=_number, metavar="N", help=text)
    listed = add(subparsers, "list", _list, "List the keys, the newest first.")
    revoke = add(subparsers, "revoke", _revoke, "Let nobody in by a key, from now on.")
    revoke.add_argument("key", metavar="ID|PREFIX", help="as they are listed")
    for parser in (create, listed, revoke):
        parser.add_argument(
            "--data-dir", type=Path, metavar="DIR", help="as of `collapse serve`; COLLAPSE_DATABASE_URL goes before it"
        )


def has_active_key(settings: Settings) -> bool:
    """Whether somebody could get in by a key of the database, as far as there is one already."""
    from jobs.errors import Unavailable

    try:
        with _opened(settings) as keys:
            return keys is not None and keys.any_active()
    except Unavailable:
        return False


def _create(settings: Settings, arguments: argparse.Namespace) -> int:
    from jobs.keys import Limits
    from server.migrate import migrate

    settings = _placed(settings, arguments)
    if settings.database_url is None and _is_missing(settings.database):
        settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        migrate(settings.database)
    with _found(settings, arguments) as keys:
        row, key = keys.create(
            owner=arguments.owner,
            scopes=arguments.scopes,
            limits=Limits(**{name: getattr(arguments, name) for name in LIMITS}),
            lifetime=arguments.expires_in,
            note=arguments.note,
        )
    print(key)
    print(f"This is the only time it is shown. Id {row.id}, owner {row.owner!r}.", file=sys.stderr)
    return 0


def _list(settings: Settings, arguments: argparse.Namespace) -> int:
    with _found(settings, arguments) as keys:
        rows = [_told(row, keys.database.now()) for row in keys.list()]
    if not rows:
        print("There are no keys: on this machine nobody needs one.", file=sys.stderr)
        return 0
    widths = [max(map(len, column)) for column in zip(*rows, HEAD, strict=True)]
    for row in (HEAD, *rows):
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    return 0


def _revoke(settings: Settings, arguments: argparse.Namespace) -> int:
    with _found(settings, arguments) as keys:
        row = keys.revoke(arguments.key)
    print(f"Key {row.id} ({row.prefix}…) of {row.owner!r} is revoked.", file=sys.stderr)
    return 0


HEAD = ("id", "prefix", "owner", "scopes", "state", "created", "expires", "limits", "note")


def _told(row: ApiKey, now: datetime) -> tuple[str, ...]:
    expired = row.expires_at is not None and row.expires_at <= now
    limits = [f"{name}={value}" for name in LIMITS if (value := getattr(row, name)) is not None]
    return (
        row.id,
        row.prefix,
        row.owner or "''",
        ",".join(row.scopes),
        "revoked" if row.revoked_at else "expired" if expired else "active",
        f"{row.created_at:%Y-%m-%d %H:%MZ}",
        f"{row.expires_at:%Y-%m-%d %H:%MZ}" if row.expires_at else "never",
        " ".join(limits) or "none",
        row.note or "",
    )


@contextmanager
def _found(settings: Settings, arguments: argparse.Namespace) -> Iterator[KeyStore]:
    """The keys, to work with; what goes wrong is said in words."""
    from jobs.errors import JobsError
    from server.errors import StartRefused

    try:
        with _opened(_placed(settings, arguments)) as keys:
            if keys is None:
                raise StartRefused(
                    "This database has no keys: it is empty, or of an older version. Run `collapse migrate`, or name "
                    "another by --data-dir or COLLAPSE_DATABASE_URL."
                )
            yield keys
    except JobsError as error:
        raise StartRefused(error.detail) from error


def _placed(settings: Settings, arguments: argparse.Namespace) -> Settings:
    """The settings that `collapse serve` would have with these arguments."""
    from server.serve import folder_of

    return settings.model_copy(update={"data_dir": folder_of(settings, arguments.data_dir)})


@contextmanager
def _opened(settings: Settings) -> Iterator[KeyStore | None]:
    """The keys of the database in force; None where there is no database yet, or none that knows of keys."""
    from sqlalchemy import inspect

    from jobs.store import Database, KeyStore
    from jobs.store.database import unavailable_when_away
    from jobs.tables import ApiKey

    database = Database(settings.database)
    try:
        with unavailable_when_away():
            # To connect to SQLite would make the file.
            there = not _is_missing(settings.database) and inspect(database.engine).has_table(ApiKey.__tablename__)
        yield KeyStore(database) if there else None
    finally:
        database.close()


def _is_missing(url: str) -> bool:
    """Whether the database is a file of SQLite that is not there."""
    from sqlalchemy import make_url

    address = make_url(url)
    return address.get_backend_name() == "sqlite" and not Path(address.database or "").is_file()


def _text(text: str) -> str:
    if len(text) > LONGEST_TEXT or not (text.isprintable()):
        raise argparse.ArgumentTypeError(f"give at most {LONGEST_TEXT} characters that can be printed")
    return text


def _scopes(text: str) -> list[str]:
    from jobs.keys import SCOPES

    scopes = [scope.strip() for scope in text.split(",")]
    if unknown := [scope for scope in scopes if scope not in SCOPES]:
        raise argparse.ArgumentTypeError(f"{unknown[0]!r} is no scope; give some of {', '.join(SCOPES)}")
    return list(dict.fromkeys(scopes))


def _days(text: str) -> timedelta:
    try:
        lifetime = timedelta(days=float(text))
    except (ValueError, OverflowError):
        lifetime = timedelta()
    if not timedelta() < lifetime <= timedelta(days=36_500):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of days; give one from 0.001 to 36500")
    return lifetime


def _number(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) < 2**63:
        raise argparse.ArgumentTypeError(f"{text!r} is no limit; give a whole number from 1")
    return int(text)
