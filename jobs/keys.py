"""Keys of the API: what they look like, and what they allow."""

import hashlib
import secrets
from dataclasses import dataclass
from typing import Final

READ, WRITE, ADMIN = SCOPES = ("read", "write", "admin")
"""read: look at one's own things. write: also make, change and delete them. admin: look at everybody's audit log."""
INCLUDED: Final = {READ: {READ}, WRITE: {READ, WRITE}, ADMIN: {ADMIN}}

START: Final = "collapse_"
SECRET_BYTES: Final = 32
PREFIX_LENGTH: Final = 16


def make_key() -> str:
    """A key that nobody has had before and nobody can guess: 256 random bits."""
    return START + secrets.token_urlsafe(SECRET_BYTES)


def digest(key: str) -> str:
    """What is kept of a key. It has no pattern that a slow hash would have to hide.

    >>> digest("collapse_x")[:8]
    '71e939dd'
    """
    return hashlib.sha256(key.encode()).hexdigest()


@dataclass(frozen=True)
class Limits:
    """What an owner, or the bearer of a key, may use; without a limit where it is None."""

    max_bytes: int | None = None
    """of feature sets"""
    max_queued_jobs: int | None = None
    max_running_jobs: int | None = None
    requests_per_minute: int | None = None
    """of one key"""
